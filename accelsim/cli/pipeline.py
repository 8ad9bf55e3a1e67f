"""``accelsim pipeline``: a cascade of Einsums as streaming dataflow."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from ..files import writable_folder, write_text
from . import options
from .cascade import CascadeRef
from .working import working

if TYPE_CHECKING:
    from ..arch.units import Quantity
    from ..mappers.pipeline import Budget, Fabric, Kernel, PipelinePlan, Timing


def pipeline(
    cascade: CascadeRef,
    bind: Annotated[list[str] | None, typer.Option(metavar="RANK=N", help="Size of a rank.")] = None,
    bits: options.Bits = None,
    order: Annotated[str | None, typer.Option(metavar="RANK,...", help="Ranks that stream, outermost first.")] = None,
    inside: Annotated[
        str | None,
        typer.Option(
            metavar="RANK,...", help="Ranks inside a firing, as vectors; default: none, with --arch the fastest."
        ),
    ] = None,
    lanes: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS+CLASS=N", help="Units for operations of these classes: mac+mul=4096, exp=64."),
    ] = None,
    stages: Annotated[int | None, typer.Option(min=1, help="Most stages of a kernel.")] = None,
    on_chip: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory on the chip: '4 MiB'.")] = None,
    bandwidth: Annotated[str | None, typer.Option(metavar="RATE", help="Off-chip memory: '64 B/cycle'.")] = None,
    launch: Annotated[int | None, typer.Option(min=0, help="Cycles from one kernel to the next; default: 0.")] = None,
    kernels: Annotated[int | None, typer.Option(min=1, help="Most kernels.")] = None,
    latency: Annotated[
        int | None, typer.Option(min=1, help="Cycles from the start of a firing to its tokens; default: 1.")
    ] = None,
    recurrence: Annotated[
        int | None, typer.Option(min=1, help="Cycles from one step of a recurrence to the next; default: 1.")
    ] = None,
    clock: Annotated[str | None, typer.Option(help="Of all stages; default: 1 GHz.")] = None,
    arch: Annotated[
        str | None, typer.Option(metavar="ARCH", help="Take the budget and latencies of a machine; others go before.")
    ] = None,
    switch: Annotated[str, typer.Option(help="Who launches kernels: a key of the pool's switches.")] = "",
    set_: options.Set = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Write each kernel's stream graph as YAML.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a pipeline of a cascade: lanes for its stages, FIFO depths, and several kernels where that is faster."""
    from ..mappers.pipeline import check_runs, costs, fabric_of, fastest_pipeline, plan_pipeline
    from ..study.evaluation import machine
    from ..study.evaluation import model as workload_of

    if arch is None and (switch or set_):
        raise BadInput(f"{'--switch' if switch else '--set'} goes with --arch")
    if arch is not None and clock is not None:
        raise BadInput("--clock goes without --arch; --set clock=... changes the machine's")
    if save is not None:
        writable_folder(save)
    workload = workload_of(cascade, options.model_options(None, None, None, None, bits, bind))
    fabric = None if arch is None else fabric_of(machine(arch, options.machine_values(set_)), switch=switch)
    if fabric is not None:
        check_runs(fabric, workload)
    given = {"lanes": tuple(_lanes(text) for text in lanes) if lanes else None, "stages": stages,
             "launch_cycles": launch}  # fmt: skip
    budget, timing = _limits(
        fabric, given, {"latency": latency, "recurrence": recurrence}, on_chip=on_chip, bandwidth=bandwidth, clock=clock
    )
    with working(cascade if arch is None else f"{cascade} on {arch}"):
        if fabric is not None and order is None and inside is None:
            plan = fastest_pipeline(workload, budget, timing=timing, most_kernels=kernels)
        else:
            plan = plan_pipeline(
                workload, budget, timing=timing, order=_names(order), inside=_names(inside), most_kernels=kernels
            )
    if save is not None:
        _save(plan, save)
    told = {**described(plan), **(costs(plan, fabric) if fabric is not None else {})}
    if json_:
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(told)


def _limits(
    fabric: Fabric | None,
    given: dict[str, Any],
    timed: dict[str, Any],
    *,
    on_chip: str | None,
    bandwidth: str | None,
    clock: str | None,
) -> tuple[Budget, Timing]:
    """Budget and times of the machine, if there is one, with what was given on the command line in their place."""
    from ..arch.units import BANDWIDTH, BYTES, FREQUENCY
    from ..mappers.pipeline import Budget, Timing, budget_of, timing_of

    budget, timing = (Budget(), Timing()) if fabric is None else (budget_of(fabric), timing_of(fabric))
    cycle_hz = _quantity("--clock", clock, FREQUENCY) if clock is not None else timing.cycle_hz
    amounts = {
        "on_chip_bytes": None if on_chip is None else int(_quantity("--on-chip", on_chip, BYTES)),
        "off_chip_bytes_per_cycle": None if bandwidth is None
        else _quantity("--bandwidth", bandwidth, BANDWIDTH, cycle_hz) / cycle_hz,
    }  # fmt: skip
    return (
        replace(budget, **_known({**given, **amounts})),
        replace(timing, **_known({**timed, "cycle_hz": cycle_hz})),
    )


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _quantity(option: str, text: str, unit: Quantity, clock: Fraction | None = None) -> Fraction:
    from ..arch.units import QuantityError

    try:
        return Fraction(unit.parse(text, clock))
    except QuantityError as error:
        raise BadInput(f"{option} {text}: {error}") from None


def _lanes(text: str) -> Any:
    from ..mappers.pipeline import Lanes

    classes, equals, count = text.partition("=")
    if not equals or not count.strip().isdecimal():
        raise BadInput(f"--lanes {text}: write CLASS=N or CLASS+CLASS=N")
    return Lanes(classes.strip(), int(count), tuple(c.strip() for c in classes.split("+")))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _save(plan: PipelinePlan, folder: Path) -> None:
    from ..lowering.streams import dumps_graph

    for i, kernel in enumerate(plan.kernels, 1):
        write_text(folder / f"kernel{i}.yaml", dumps_graph(kernel.graph))


def described(plan: PipelinePlan) -> dict[str, Any]:
    """A plan as plain values; the contract of ``--json``."""
    return {
        "cascade": plan.stages.workload.name,
        "streaming_ranks": list(plan.stages.order),
        "cycles": plan.cycles,
        "launch_cycles": plan.launch_cycles,
        "off_chip_bytes": plan.off_chip_bytes,
        "kernels": [
            {
                "cycles": k.cycles, "slowest": k.allotment.slowest, "slowest_cycles": k.allotment.cycles,
                "on_chip_bytes": k.on_chip_bytes, "read_bytes": k.read_bytes, "written_bytes": k.written_bytes,
                "units": dict(k.allotment.used),
                "stages": [_stage(plan, k, name) for name in k.stages],
                "depths": {s.name: s.depth for s in k.graph.streams if s.src in k.stages and s.dst in k.stages},
            }
            for k in plan.kernels
        ],
    }  # fmt: skip


def _stage(plan: PipelinePlan, kernel: Kernel, name: str) -> dict[str, Any]:
    s, node = plan.stages.stage(name), next(n for n in kernel.graph.nodes if n.name == name)
    return {"stage": name, "kind": s.kind, "nest": dict(s.nest), "firings": s.firings,
            "lanes": kernel.allotment.lanes[name], "interval": node.ii, "operations": dict(s.operations)}


def _print(told: dict[str, Any]) -> None:
    from .cells import console, table

    n = len(told["kernels"])
    typer.echo(f"{told['cascade']}: {told['cycles']:,} cycles in {n} kernel{'s' if n > 1 else ''}, "
               f"{told['off_chip_bytes']:,} bytes off chip; streams along {', '.join(told['streaming_ranks'])}")
    if "energy_J" in told:
        typer.echo(f"{told['latency_s'] * 1e3:,.4g} ms, {told['energy_J'] * 1e3:,.4g} mJ; bounds of the machine "
                   f"{told['bounds']['machine']:,.0f} and of these kernels {told['bounds']['program']:,.0f} cycles")
    for i, k in enumerate(told["kernels"], 1):
        rows = [{"stage": s["stage"], "kind": s["kind"], "firings": f"{s['firings']:,}", "lanes": f"{s['lanes']:,}",
                 "interval": f"{s['interval']:,}"} for s in k["stages"]]
        title = (f"kernel {i}: {k['cycles']:,} cycles, slowest stage {k['slowest']} {k['slowest_cycles']:,}; "
                 f"{k['on_chip_bytes']:,} bytes on the chip, {k['read_bytes']:,} read, {k['written_bytes']:,} written")
        console().print(table(title, tuple(rows[0]), rows, ("firings", "lanes", "interval")))
        depths = [{"stream": name, "depth": f"{depth:,}"} for name, depth in k["depths"].items()]
        if depths:
            console().print(table("FIFO depths for full rate", ("stream", "depth"), depths, ("depth",)))
