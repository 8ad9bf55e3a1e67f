"""A cascade as one pipeline, or as several kernels, whichever is faster within a budget.

Stages come in an order in which they can run, and a kernel is a stretch of it. A kernel takes its launch, and the
longer of its slowest stage, with all of the budget allotted to its stages, and of its bytes at the memory's bandwidth;
what crosses a cut is written and read. Of all ways to cut into so many kernels, dynamic programming takes the fastest
by that estimate, with the FIFO depths that the whole pipeline needs for full rate. It leaves out how long a kernel
takes to fill and to drain. So what is fastest for each number of kernels is simulated, with each kernel's own depths,
as long as its estimate, which is a lower bound of its time, is below the best time so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil

from ...errors import DoesNotFit
from ...ir import Workload
from ...lowering.streams import run_graph
from .allot import Allotment, Budget, allot
from .build import Timing, link_name, stream_graph
from .kernels import Kernel, Transfer, fifo_bytes, kernel_graph, transfers
from .sizing import full_rate_depths
from .stages import Stages, build_stages


@dataclass(frozen=True)
class PipelinePlan:
    """Kernels, one after the other.

    Attributes:
        stages: of the whole cascade.
        kernels: in order.
        launch_cycles: before each of them.
        estimate_cycles: by which the cuts were chosen among those of as many kernels; at most `cycles`.
    """

    stages: Stages
    kernels: tuple[Kernel, ...]
    launch_cycles: int
    estimate_cycles: int

    @property
    def cycles(self) -> int:
        """Simulated, launches included."""
        return sum(k.cycles + self.launch_cycles for k in self.kernels)

    @property
    def off_chip_bytes(self) -> int:
        return sum(k.read_bytes + k.written_bytes for k in self.kernels)


@dataclass(frozen=True)
class _Stretch:
    """A kernel that could be: its stages, what they move, and its estimate."""

    names: tuple[str, ...]
    allotment: Allotment
    moved: tuple[Transfer, ...]
    on_chip_bytes: int
    cycles: int


def plan_pipeline(
    workload: Workload, budget: Budget, *, timing: Timing | None = None, order: Sequence[str] = (),
    inside: Sequence[str] = (), split: bool = True, most_kernels: int | None = None,
) -> PipelinePlan:
    """The fastest kernels of a cascade within a budget.

    Args:
        workload: a cascade.
        budget: of each kernel.
        timing: latencies, credit latency and clock; intervals follow from the lanes.
        order: see `build_stages`.
        inside: see `build_stages`.
        split: see `build_stages`.
        most_kernels: 1 for one pipeline, however long it takes; None: as many as are fastest.

    Raises:
        DoesNotFit: a stage by itself exceeds the budget, or the cascade does in so few kernels; with the resource.
        BadInput: no cascade.
    """
    timing = timing or Timing()
    stages = build_stages(workload, order=order, inside=inside, split=split)
    depths = full_rate_depths(stream_graph(stages, timing=timing)).depths
    simulated: dict[tuple[str, ...], Kernel] = {}
    best: PipelinePlan | None = None
    for estimate, cuts in _best_cuts(stages, budget, timing, depths, most_kernels):
        if best is not None and best.cycles <= estimate:
            break
        for stretch in cuts:
            if stretch.names not in simulated:
                simulated[stretch.names] = _kernel(stages, stretch, budget, timing)
        plan = PipelinePlan(stages, tuple(simulated[s.names] for s in cuts), budget.launch_cycles, estimate)
        if best is None or plan.cycles < best.cycles:
            best = plan
    assert best is not None
    return best


def _best_cuts(
    stages: Stages, budget: Budget, timing: Timing, depths: dict[str, int], most: int | None
) -> list[tuple[int, list[_Stretch]]]:
    """For each number of kernels the cuts of the lowest estimate, and that estimate, lowest and fewest first.

    Dynamic programming over the last stage of each kernel, and over how many kernels there are. Raises DoesNotFit.
    """
    n = len(stages.stages)
    limit = n if most is None else min(most, n)
    options: dict[tuple[int, int], _Stretch] = {}
    reasons: dict[tuple[int, int], str] = {}
    for first in range(n):
        for stop in range(first + 1, n + 1):  # a longer one may fit where a shorter one has more to write
            try:
                options[first, stop] = _stretch(stages, budget, timing, depths, first, stop)
            except DoesNotFit as error:
                reasons[first, stop] = str(error)
    best: dict[tuple[int, int], tuple[int, list[int]]] = {(0, 0): (0, [0])}
    for stop in range(1, n + 1):
        for k in range(1, limit + 1):
            found = [
                (best[first, k - 1][0] + budget.launch_cycles + options[first, stop].cycles, best[first, k - 1][1])
                for first in range(stop)
                if (first, stop) in options and (first, k - 1) in best
            ]
            if found:
                cycles, before = min(found)
                best[stop, k] = (cycles, [*before, stop])
    ends = [best[n, k] for k in range(1, limit + 1) if (n, k) in best]
    if not ends:
        count = "one kernel" if limit == 1 else f"{limit} kernels"
        alone = min(((b - a, a, b) for a, b in reasons), default=(0, 0, n))[1:]
        why = reasons.get((0, n) if limit == 1 else alone, "use more kernels")
        raise DoesNotFit(f"{stages.workload.name}: {n} stages do not fit in {count}: {why}")
    ends.sort(key=lambda end: (end[0], len(end[1])))
    return [(cycles, [options[a, b] for a, b in pairwise(marks)]) for cycles, marks in ends]


def _stretch(
    stages: Stages, budget: Budget, timing: Timing, depths: dict[str, int], first: int, stop: int
) -> _Stretch:
    """Stages first .. stop - 1 as a kernel. Raises DoesNotFit."""
    chosen = stages.stages[first:stop]
    names = tuple(s.name for s in chosen)
    allotment = allot(chosen, budget)
    fifos = sum(-(-depths[link_name(stages, x)] * x.bits // 8) for x in stages.links
                if x.src in names and x.dst in names)
    fifos += sum(s.held_bytes for s in chosen)
    moved = transfers(stages, names, budget, fifos)
    on_chip = fifos + sum(t.held_bytes for t in moved)
    if budget.on_chip_bytes is not None and on_chip > budget.on_chip_bytes:
        raise DoesNotFit(f"stages {names[0]} to {names[-1]} need {on_chip:,} bytes on the chip for FIFOs and operands, "
                         f"and there are {budget.on_chip_bytes:,}")
    rate = budget.off_chip_bytes_per_cycle
    moving = 0 if rate is None else ceil(sum(t.total for t in moved) / Fraction(rate))
    working = max(s.firings * timing.ii_of(s, allotment.lanes[s.name]) for s in chosen)
    return _Stretch(names, allotment, moved, on_chip, max(working, moving))


def _kernel(stages: Stages, stretch: _Stretch, budget: Budget, timing: Timing) -> Kernel:
    """The kernel with FIFOs as deep as its full rate needs, simulated."""
    unhindered = replace(budget, off_chip_bytes_per_cycle=None)
    free = kernel_graph(stages, stretch.names, stretch.allotment.lanes, (), unhindered, timing)
    depths = full_rate_depths(free).depths if free.streams else {}
    graph = kernel_graph(stages, stretch.names, stretch.allotment.lanes, stretch.moved, budget, timing, depths)
    held = fifo_bytes(graph, stages, stretch.names) + sum(t.held_bytes for t in stretch.moved)
    result = run_graph(graph)
    return Kernel(stretch.names, stretch.allotment, stretch.moved, graph, held, result.cycles, result.bound_cycles)
