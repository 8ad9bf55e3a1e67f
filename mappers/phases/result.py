"""Running a Plan: the engine's time, with bytes, utilisation, the bounds and the phases that make it up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from ...engine.bounds import binding
from ...engine.compiled import run
from ...engine.labels import Action
from ...engine.trace import Trace
from ...lowering.phases import (
    Fabric,
    Layout,
    Phase,
    Plan,
    TaskGraph,
    layouts,
    longest_first,
    lower_plan,
    off_chip_bytes,
    whole_rate,
)


@dataclass(frozen=True)
class StageResult:
    """A task in a phase: start of its first firing, end of its last, and cycles in which it worked."""

    task: str
    start: int
    end: int
    busy: int


@dataclass(frozen=True)
class PhaseResult:
    """One phase, of one run of its graph, in cycles.

    Attributes:
        start, end: from the end of the switch to the end of the last stage, load or store.
        limit: what bounds it.
    """

    stages: tuple[StageResult, ...]
    start: int
    end: int
    on_chip_bytes: int
    limit: str

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(s.task for s in self.stages)


@dataclass(frozen=True)
class Result:
    """What running a Plan gave.

    Attributes:
        cycles: of the pool's clock, as simulated.
        on_chip_bytes: the most that any phase holds.
        read_bytes, written_bytes: through off-chip memory.
        launches: phases run, repeats included.
        program_bound: cycles below which no run of this Plan can be, phase by phase.
        machine_bound: cycles below which no Plan on this fabric can be.
        utilization: multiplier cycles of work over those of the pool.
    """

    plan: Plan
    cycles: int
    seconds: float
    on_chip_bytes: int
    read_bytes: int
    written_bytes: int
    launches: int
    program_bound: Fraction
    machine_bound: int
    utilization: float
    phases: tuple[PhaseResult, ...]


def machine_bound(graph: TaskGraph, fabric: Fabric) -> int:
    """Cycles that all multipliers need for the work at II 1, or all streams for the least bytes, whichever is more."""
    work = sum((t.work for t in graph.tasks if not t.message), Fraction(0)) * graph.repeat
    rate = whole_rate(fabric)
    return max(ceil(work / fabric.pool.lanes), ceil(graph.compulsory_bytes / rate))


def program_bound(plan: Plan) -> Fraction:
    """Cycles below which no run of this Plan can be, phase by phase; found without running it."""
    return sum((b.ticks for b in binding(lower_plan(plan))), Fraction(0))


def simulate_plan(plan: Plan) -> Result:
    """Lower a Plan, run it, and read off what came out.

    Raises:
        DoesNotFit: a phase needs more bytes on the chip than there are.
    """
    program = lower_plan(plan)
    trace = run(program)
    counts = {a: int(n) for a, n in zip(program.actions, trace.action_counts(), strict=True) if isinstance(a, Action)}
    details = layouts(plan)
    limits = {b.segment: b for b in binding(program)}
    once = trace if plan.graph.repeat == 1 else run(lower_plan(replace(plan, graph=replace(plan.graph, repeat=1))))
    phases = tuple(
        _phase(once, k, phase, layout.nbytes, _limit(limits[k].name, k, layout, plan.fabric))
        for k, (phase, layout) in enumerate(zip(plan.phases, details, strict=True))
    )
    repeat, fabric = plan.graph.repeat, plan.fabric
    return Result(
        plan=plan,
        cycles=trace.finish,
        seconds=trace.finish / fabric.clock_hz,
        on_chip_bytes=max(d.nbytes for d in details),
        read_bytes=off_chip_bytes(counts, fabric.off_chip, "read"),
        written_bytes=off_chip_bytes(counts, fabric.off_chip, "write"),
        launches=len(plan.phases) * repeat,
        program_bound=sum((b.ticks for b in limits.values()), Fraction(0)),
        machine_bound=machine_bound(plan.graph, fabric),
        utilization=float(plan.graph.work / (trace.finish * fabric.pool.lanes)),
        phases=phases,
    )


def _limit(server: str, k: int, layout: Layout, fabric: Fabric) -> str:
    """What bounds phase `k`: a task by its name, the switch to it, else the port, channel or network."""
    if server == f"switch {k}":
        return "the switch to it"
    part = server.removeprefix(f"{fabric.pool.name}/")
    return server if part == server else longest_first(layout)[int(part)]


def _phase(once: Trace, k: int, phase: Phase, nbytes: int, limit: str) -> PhaseResult:
    program = once.program
    index = {name: i for i, name in enumerate(program.actor_names)}
    stages = []
    for stage in phase.stages:
        a = index[f"{stage.task}, phase {k}"]
        stages.append(StageResult(stage.task, int(once.start[a]), int(once.end[a]), int(once.busy[a])))
    owners = {int(a) for a, s in zip(program.actor_of_phase(), program.phase_segment, strict=True) if s == k}
    return PhaseResult(
        tuple(stages), int(once.end[index[f"switch {k}"]]), max(int(once.end[a]) for a in owners), nbytes, limit
    )
