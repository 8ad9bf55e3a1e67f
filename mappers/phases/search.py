"""Schedules of phases: one task after the other, all at once, or what dynamic programming finds in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ...errors import BadInput, DoesNotFit
from ...lowering.phases import Fabric, Phase, Plan, Task, TaskGraph, lay_out
from .arrange import arrange, estimate
from .result import Result, program_bound, simulate_plan

STYLES = ("sequential", "dataflow", "reconfigurable")


def sequential(graph: TaskGraph, fabric: Fabric, *, keep: bool = False) -> Plan:
    """Every task a phase of its own on all cores. Results pass through off-chip memory, or with `keep` stay on the chip
    as far as they fit.

    Raises:
        DoesNotFit: the data of one task do not fit on the chip.
    """
    return groups(graph, fabric, [(t.name,) for t in graph.tasks], keep=keep, style="sequential")


def dataflow(graph: TaskGraph, fabric: Fabric) -> Plan:
    """All tasks at once, each on cores of its own.

    Raises:
        DoesNotFit: there are more tasks than cores, or their data do not fit on the chip.
    """
    return groups(graph, fabric, [tuple(t.name for t in graph.tasks)], style="dataflow")


def groups(
    graph: TaskGraph, fabric: Fabric, parts: Sequence[Sequence[str]], *, keep: bool = False, style: str = "groups"
) -> Plan:
    """Given groups of tasks, each a phase.

    Raises:
        DoesNotFit: a group does not fit, with `keep` beside what earlier ones keep.
    """
    phases: list[Phase] = []
    held: frozenset[str] = frozenset()
    done: set[str] = set()
    for part in parts:
        phase = arrange(graph, fabric, part, held)
        done |= set(part)
        held = _still(graph, held, done)
        if keep:
            ways = [kept for kept, _ in _keeping(graph, fabric, phase, held, done)]
            if not ways:
                lay_out(graph, fabric, phase, held)  # raises: beside what earlier phases keep there is no room
            phase = ways[-1]
            held |= set(phase.keep)
        phases.append(phase)
    return Plan(graph, fabric, tuple(phases), style)


@dataclass(frozen=True)
class _State:
    cost: float
    phases: tuple[Phase, ...]


def reconfigurable(
    graph: TaskGraph,
    fabric: Fabric,
    *,
    longest: int = 8,
    units: Sequence[Sequence[str]] | None = None,
    keep: bool = True,
) -> Plan:
    """Phases of neighbouring tasks by dynamic programming.

    A state is how many tasks have run and which results are on the chip; a step is a phase with what it keeps, at its
    estimated time. Sequential execution, and dataflow if the graph is no longer than a phase may be, are tried as well;
    the one that the engine finds fastest is returned.

    Args:
        longest: the most tasks, or units, in one phase.
        units: neighbouring tasks that no cut may part; default: every task is one.
        keep: whether results may stay on the chip from one phase to the next.

    Raises:
        DoesNotFit: no order of phases fits on the chip.
    """
    found: list[tuple[int, int, Plan]] = []
    parts = [(t.name,) for t in graph.tasks] if units is None else [tuple(u) for u in units]
    for plan in _plans(graph, fabric, longest, parts, keep):
        try:
            if found and program_bound(plan) >= min(found)[0]:
                continue
            found.append((simulate_plan(plan).cycles, len(found), plan))
        except DoesNotFit:
            continue
    if not found:
        raise DoesNotFit(f"{graph.name}: no phases fit into {fabric.capacity} bytes of {fabric.on_chip}")
    return replace(min(found)[2], style="reconfigurable")


def _plans(
    graph: TaskGraph, fabric: Fabric, longest: int, units: Sequence[tuple[str, ...]], keep: bool
) -> Iterator[Plan]:
    makers: list[Callable[[], Plan]] = [
        lambda: _programmed(graph, fabric, longest, units, keep),
        lambda: groups(graph, fabric, units),
    ]
    if keep:
        makers.append(lambda: groups(graph, fabric, units, keep=True))
    if len(units) <= longest:
        makers.append(lambda: dataflow(graph, fabric))
    for make in makers:
        try:
            yield make()
        except DoesNotFit:
            continue


def _programmed(graph: TaskGraph, fabric: Fabric, longest: int, units: Sequence[tuple[str, ...]], keep: bool) -> Plan:
    table: list[dict[frozenset[str], _State]] = [{} for _ in range(len(units) + 1)]
    table[0][frozenset()] = _State(0.0, ())
    for i in range(len(units)):
        for held, state in table[i].items():
            for j in range(i + 1, min(len(units), i + longest) + 1):
                try:
                    phase = arrange(graph, fabric, [n for u in units[i:j] for n in u], held)
                except DoesNotFit:
                    continue
                done = {n for u in units[:j] for n in u}
                after = _still(graph, held, done)
                for kept, cost in _keeping(graph, fabric, phase, held, done):
                    here = after | set(kept.keep)
                    total = state.cost + cost
                    if here not in table[j] or total < table[j][here].cost:
                        table[j][here] = _State(total, (*state.phases, kept))
                    if not keep:
                        break
    if not table[-1]:
        raise DoesNotFit(f"{graph.name}: no phases fit into {fabric.capacity} bytes of {fabric.on_chip}")
    return Plan(graph, fabric, min(table[-1].values(), key=lambda s: s.cost).phases, "reconfigurable")


def _keeping(
    graph: TaskGraph, fabric: Fabric, phase: Phase, held: frozenset[str], done: set[str]
) -> Iterator[tuple[Phase, float]]:
    """A phase that keeps none, one, two ... of the results that later ones need, smallest first, with its estimate."""
    made: list[Task] = [graph.by_name[s.task] for s in phase.stages]
    later = [t for t in made if t.output_bytes and any(r not in done for r in graph.readers[t.output])]
    needed = sorted((t.output_bytes, t.output) for t in later)
    for n in range(len(needed) + 1):
        kept = replace(phase, keep=tuple(name for _, name in needed[:n]))
        try:
            layout = lay_out(graph, fabric, kept, held)
        except DoesNotFit:
            return
        yield kept, estimate(layout, graph, fabric)


def _still(graph: TaskGraph, held: frozenset[str], done: set[str]) -> frozenset[str]:
    """Of the tensors on the chip those that a task to come reads."""
    return frozenset(t for t in held if any(r not in done for r in graph.readers[t]))


def plan_style(graph: TaskGraph, fabric: Fabric, style: str) -> Plan:
    """The Plan of a style, one of STYLES.

    Raises:
        BadInput: no such style.
        DoesNotFit: its data do not fit on the chip.
    """
    if style == "sequential":
        return sequential(graph, fabric)
    if style == "dataflow":
        return dataflow(graph, fabric)
    if style == "reconfigurable":
        return reconfigurable(graph, fabric)
    raise BadInput(f"no style '{style}' (known: {', '.join(STYLES)})")


def run_style(graph: TaskGraph, fabric: Fabric, style: str) -> Result:
    """Plan a style and simulate it; raises as `plan_style` does."""
    return simulate_plan(plan_style(graph, fabric, style))
