"""``accelsim phases``: a model on a pool of cores, one task after the other, as a dataflow, or in phases of both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from . import options

if TYPE_CHECKING:
    from ..mappers.phases import Fabric, Plan, Result, TaskGraph

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
    plan: Annotated[str | None, typer.Option(metavar="FILE", help="Run the plan of --save-plan instead.")] = None,
    save_plan: Annotated[str | None, typer.Option(metavar="FILE", help="Write the fastest plan as YAML.")] = None,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    precision: options.Precision = None,
    set_: options.Set = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Cycles, on-chip memory, off-chip bytes and launches of a model in several styles of execution."""
    from ..mappers.phases import fabric_of, task_graphs
    from ..study.evaluation import machine
    from ..study.evaluation import model as workload_of

    wanted = options.model_options(phase, batch, seq, context, bits, bind, precision)
    fabric = fabric_of(machine(arch, options.machine_values(set_)), orchestration=orchestration)
    graphs = task_graphs(workload_of(model, wanted), fabric.pool)
    if plan is not None:
        runs = {"plan": _run(_read(plan, graphs, fabric))}
    else:
        runs = _styles(graphs, fabric, style, longest)
    if save_plan is not None:
        _write(save_plan, min(runs.values(), key=lambda results: sum(r.seconds for r in results)))
    told = {"arch": arch, "model": model, "styles": {name: _told(results) for name, results in runs.items()}}
    if json_:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(told)


def _styles(
    graphs: tuple[TaskGraph, ...], fabric: Fabric, wanted: list[str] | None, longest: int
) -> dict[str, list[Result]]:
    """Results by style. A style that was not asked for is left out where it does not fit."""
    from ..errors import DoesNotFit
    from ..mappers.phases import STYLES

    known = (*STYLES, "operators")
    if unknown := [s for s in wanted or () if s not in known]:
        raise BadInput(f"--style {unknown[0]}: no such style (known: {', '.join(known)})")
    runs, problem = {}, None
    for name in wanted or known:
        try:
            runs[name] = _run([_plan(g, fabric, name, longest) for g in graphs])
        except DoesNotFit as error:
            if wanted:
                raise
            problem = error
    if not runs and problem is not None:
        raise problem
    return runs


def _plan(graph: TaskGraph, fabric: Fabric, style: str, longest: int) -> Plan:
    from ..mappers.phases import groups, operators, plan_style, reconfigurable

    if style == "operators":
        return groups(graph, fabric, operators(graph), style=style)
    if style == "reconfigurable":
        return reconfigurable(graph, fabric, longest=longest)
    return plan_style(graph, fabric, style)


def _run(plans: list[Plan]) -> list[Result]:
    from ..mappers.phases import simulate_plan

    return [simulate_plan(p) for p in plans]


def _read(file: str, graphs: tuple[TaskGraph, ...], fabric: Fabric) -> list[Plan]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from ..files import read_text
    from ..mappers.phases import plan_from_dict

    try:
        values = YAML(typ="safe").load(read_text(file))
    except YAMLError as error:
        raise BadInput(f"{file}: {error}") from None
    if not isinstance(values, list) or len(values) != len(graphs):
        raise BadInput(f"{file}: a list of {len(graphs)} plans, one for each of {', '.join(g.name for g in graphs)}")
    return [plan_from_dict(v, g, fabric) for v, g in zip(values, graphs, strict=True)]


def _write(file: str, results: list[Result]) -> None:
    from io import StringIO

    from ruamel.yaml import YAML

    from ..files import write_text

    text = StringIO()
    YAML().dump([r.plan.to_dict() for r in results], text)
    write_text(file, text.getvalue())


def _told(results: list[Result]) -> dict[str, Any]:
    """Plain values; the contract of ``--json``."""
    cycles = sum(r.cycles for r in results)
    return {
        "cycles": cycles,
        "latency_s": sum(r.seconds for r in results),
        "launches": sum(r.launches for r in results),
        "on_chip_bytes": max(r.on_chip_bytes for r in results),
        "off_chip_bytes": {
            "read": sum(r.read_bytes for r in results), "write": sum(r.written_bytes for r in results),
        },
        "utilization": sum(r.utilization * r.cycles for r in results) / cycles,
        "bounds": {
            "machine": sum(r.machine_bound for r in results),
            "program": float(sum(r.program_bound for r in results)),
        },
        "graphs": [
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
            "style": name, "cycles": f"{run['cycles']:,}", "ms": f"{run['latency_s'] * 1e3:,.4g}",
            "bound": f"{run['bounds']['program']:,.0f}", "phases": f"{run['launches']:,}",
            "on chip (KiB)": f"{run['on_chip_bytes'] / 1024:,.0f}", "off chip (MB)": f"{moved / 1e6:,.4g}",
            "utilization": f"{run['utilization']:.1%}",
        })  # fmt: skip
    title = f"{told['model']} on {told['arch']}"
    console().print(table(title, tuple(rows[0]), rows, tuple(rows[0])[1:]))
    best = min(told["styles"].values(), key=lambda run: run["latency_s"])
    for graph in best["graphs"]:
        typer.echo(f"\n{graph['name']}" + (f", {graph['repeat']} times" if graph["repeat"] > 1 else ""))
        for p in graph["phases"]:
            typer.echo(f"    {' | '.join(p['tasks'])}: {p['end'] - p['start']:,} cycles, limited by {p['limit']}")
