"""``accelsim phases``: a model on a pool of cores, one task after the other, as a dataflow, or in phases of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from . import options
from .run import RECORDED_FOR_PAGE
from .working import working

if TYPE_CHECKING:
    from ..arch.architecture import Architecture
    from ..ir import Workload
    from ..mappers.phases import Fabric, Plan, TaskGraph
    from ..mapping import Mapping
    from ..report import Report

PoolRef = Annotated[
    str, typer.Argument(metavar="ARCH", help="A machine with a core_pool: sn40l_kernels, versal_vpk180, a YAML file.")
]


def phases(
    arch: PoolRef,
    model: options.ModelRef,
    style: Annotated[
        list[str] | None,
        typer.Option(help="sequential, dataflow, reconfigurable or operators (a phase each); default: all that fit."),
    ] = None,
    orchestration: Annotated[str, typer.Option(help="Who starts phases: a key of the pool's switches.")] = "",
    longest: Annotated[int, typer.Option(min=1, help="Reconfigurable: the most tasks in one phase.")] = 8,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Run this mapping with phases instead.")] = None,
    save_plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the fastest as a mapping.")] = None,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    precision: options.Precision = None,
    set_: options.Set = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report page of the fastest.")] = None,
) -> None:
    """Time, energy, on-chip memory, off-chip bytes and launches of a model in several styles of execution."""
    from ..files import writable_files, write_text
    from ..mapping import dumps_mapping, load_mapping
    from ..simulation import simulate
    from ..study.evaluation import machine
    from ..study.evaluation import model as workload_of

    options.check_phase(phase, seq, context)
    writable_files(save_plan, html, inputs=(arch, model, plan))
    wanted = options.model_options(phase, batch, seq, context, bits, bind, precision)
    built = machine(arch, options.machine_values(set_))
    workload = workload_of(model, wanted)
    if plan is not None:
        mappings = {"plan": load_mapping(plan)}
        if mappings["plan"].phases is None:
            raise BadInput(f"{plan}: a Mapping without `phases` (accelsim run --mapping replays it)")
    else:
        with working(f"{model} on {arch}"):
            mappings = _styles(workload, built, style, orchestration, longest)
    runs = {name: simulate(built, workload, mapping=m) for name, m in mappings.items()}
    best = min(runs, key=lambda name: runs[name].latency_s)
    if save_plan is not None:
        write_text(save_plan, dumps_mapping(mappings[best]))
    if html is not None:
        simulate(built, workload, mapping=mappings[best], record=RECORDED_FOR_PAGE).to_html(html)
    told = {"arch": arch, "model": model, "styles": {name: _told(report) for name, report in runs.items()}}
    if json_:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(told)


def _styles(
    workload: Workload, arch: Architecture, wanted: list[str] | None, orchestration: str, longest: int
) -> dict[str, Mapping]:
    """Mappings by style. A style that was not asked for is left out where it does not fit."""
    from ..errors import DoesNotFit
    from ..mappers.phases import STYLES, fabric_of, task_graphs
    from ..mappers.phases.mapper import mapping_of

    known = (*STYLES, "operators")
    if unknown := [s for s in wanted or () if s not in known]:
        raise BadInput(f"--style {unknown[0]}: no such style (known: {', '.join(known)})")
    fabric = fabric_of(arch, orchestration=orchestration)
    graphs = task_graphs(workload, fabric.pool)
    found: dict[str, Mapping] = {}
    problem = None
    for name in wanted or known:
        try:
            plans = [_plan(g, fabric, name, longest) for g in graphs]
            found[name] = mapping_of(workload, arch, plans, switch=orchestration)
        except DoesNotFit as error:
            if wanted:
                raise
            problem = error
    if not found and problem is not None:
        raise problem
    return found


def _plan(graph: TaskGraph, fabric: Fabric, style: str, longest: int) -> Plan:
    from ..mappers.phases import groups, operators, plan_style, reconfigurable

    if style == "operators":
        return groups(graph, fabric, operators(graph), style=style)
    if style == "reconfigurable":
        return reconfigurable(graph, fabric, longest=longest)
    return plan_style(graph, fabric, style)


def _told(report: Report) -> dict[str, Any]:
    """The JSON of a Report, with what phases have beside it; the contract of ``--json``."""
    from ..lowering.phases import plans_of
    from ..mappers.phases import simulate_plan

    assert report.mapping is not None and report.mapping.phases is not None
    results = [simulate_plan(p) for p in plans_of(report.mapping.phases, report.workload, report.arch)]
    return {
        **report.to_json(),
        "launches": sum(r.launches for r in results),
        "on_chip_bytes": max(r.on_chip_bytes for r in results),
        "off_chip_bytes": {
            "read": sum(r.read_bytes for r in results), "write": sum(r.written_bytes for r in results),
        },
        "parts": [
            {
                "name": r.plan.graph.name,
                "repeat": r.plan.graph.repeat,
                "cycles": r.cycles,
                "phases": [
                    {"tasks": list(p.tasks), "start": p.start, "end": p.end, "on_chip_bytes": p.on_chip_bytes,
                     "limit": p.limit}
                    for p in r.phases
                ],
            }
            for r in results
        ],
    }  # fmt: skip


def _print(told: dict[str, Any]) -> None:
    from .cells import console, table

    rows = []
    for name, run in told["styles"].items():
        moved = run["off_chip_bytes"]["read"] + run["off_chip_bytes"]["write"]
        rows.append({
            "style": name, "cycles": f"{run['cycles']:,.0f}", "ms": f"{run['latency_s'] * 1e3:,.4g}",
            "mJ": f"{run['energy_J'] * 1e3:,.4g}",
            "bound": f"{run['bounds']['program']:,.0f}", "phases": f"{run['launches']:,}",
            "on chip (KiB)": f"{run['on_chip_bytes'] / 1024:,.0f}", "off chip (MB)": f"{moved / 1e6:,.4g}",
            "utilization": f"{max(unit['mac'] for unit in run['utilization'].values()):.1%}",
        })  # fmt: skip
    title = f"{told['model']} on {told['arch']}"
    console().print(table(title, tuple(rows[0]), rows, tuple(rows[0])[1:]))
    best = min(told["styles"].values(), key=lambda run: run["latency_s"])
    for graph in best["parts"]:
        typer.echo(f"\n{graph['name']}" + (f", {graph['repeat']} times" if graph["repeat"] > 1 else ""))
        for p in graph["phases"]:
            typer.echo(f"    {' | '.join(p['tasks'])}: {p['end'] - p['start']:,} cycles, limited by {p['limit']}")
