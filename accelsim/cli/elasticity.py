"""``accelsim elasticity``: what more of each parameter of a machine is worth to a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, options_of_sweep
from .cells import console, table
from .working import working

if TYPE_CHECKING:
    from ..study import Outcome, Point
    from ..study.outcome import Evaluate


def elasticity(
    arch: options.Arch,
    model: options.ModelRef,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    option: options.Option = None,
    precision: options.Precision = None,
    density: options.Density = None,
    set_: options.Set = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Such as memories.dram.bandwidth; without one, all numbers above 0."),
    ] = None,
    step: Annotated[float, typer.Option(help="Share by which a parameter is moved down and up.")] = 0.25,
    mapper: options.Mapper = "auto",
    objective: options.Objective = "latency",
    jobs: options_of_sweep.Jobs = 2,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print d ln(result) / d ln(parameter) of the simulation and of the machine bound: -1 halves what is doubled."""
    from ..study import Point
    from ..study.elasticity import elasticities, movable, numeric_paths
    from ..study.evaluation import machine
    from ..study.evaluation import model as workload_of

    options.check_phase(phase, seq, context)
    wanted = options.model_options(phase, batch, seq, context, bits, bind, precision, False, option, density)
    values = options.machine_values(set_)
    machine(arch, values)
    workload_of(model, wanted)
    base = Point(arch, model, values, wanted, mapper, objective)
    paths = [path.removeprefix("arch.") for path in parameter or []]
    if not paths:
        paths, others = movable(base, numeric_paths(arch), step=step)
        if others:
            typer.echo(f"note: left out, as a share of them is no step: {', '.join(others)}", err=True)
    found = elasticities(base, paths, step=step, run=lambda function, points: _run(function, points, jobs))
    if json_:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    rows = [
        {
            "parameter": one.path, "value": one.value, "latency": _told(one.simulated["latency_s"]),
            "bound": _told(one.bound["latency_s"]), "energy": _told(one.simulated["energy_J"]), "note": one.message,
        }
        for one in sorted(found, key=lambda one: one.simulated["latency_s"] or 0.0)
    ]  # fmt: skip
    names = ["parameter", "value", "latency", "bound", "energy", *(["note"] if any(r["note"] for r in rows) else [])]
    title = "elasticities; bound: of the machine bound on latency"
    console().print(table(title, names, rows, right=["latency", "bound", "energy"]))


def _told(value: float | None) -> str:
    return "" if value is None else f"{value + 0.0:+.2f}"


def _run(function: Evaluate, points: Sequence[Point], jobs: int) -> list[Outcome]:
    from ..study import WorkerPool
    from ..study.outcome import evaluated

    with working("points", total=len(points)) as advance:
        if jobs < 1:
            return [_told_of(evaluated(function, point), advance) for point in points]
        pool = WorkerPool(jobs)
        try:
            futures = [pool.submit(evaluated, function, point) for point in points]
            outcomes = [_told_of(future.result(), advance) for future in futures]
        except BaseException:
            pool.kill()
            raise
        pool.shutdown()
        return outcomes


def _told_of(outcome: Outcome, advance: Callable[[], None]) -> Outcome:
    """The outcome of a point that is done."""
    advance()
    return outcome
