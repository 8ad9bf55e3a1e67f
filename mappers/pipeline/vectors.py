"""Which ranks lie inside a firing: tokens that are vectors along them, so that stages can use more lanes.

A stage fires once a cycle at most, and works on as many points of a firing as it has lanes. The more ranks lie inside,
the more lanes it can use, but the longer the first results take, and the more FIFOs and operands hold. Every choice is
estimated without a simulation; the best few are planned. Where the best is still far from the bound, ranks that stream
are cut into blocks, of which one lies inside a firing: an operand is then read again once a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import ceil, inf

from ...errors import BadInput, DoesNotFit
from ...ir import Workload, compulsory_bytes
from ...ir.families import cascade_einsums
from ...ir.rewrites import NotApplicable, split_rank
from .allot import Budget, allot, units_per_lane
from .build import Timing
from .plan import PipelinePlan, plan_pipeline
from .stages import build_stages, streaming_ranks

MOST_RANKS = 6
"""The largest ranks of which all choices are tried."""
PLANNED = 5
"""Choices that are planned and simulated."""
BLOCKS = (8, 32, 128)
NEAR = 1.1
"""How much more than the bound is near enough to leave ranks whole."""


@dataclass(frozen=True, order=True)
class _Choice:
    """Ranks inside a firing, with cycles that one kernel of them takes by estimate, and that any kernels take."""

    estimate: float
    inside: tuple[str, ...]
    least: int


def fastest_pipeline(
    workload: Workload, budget: Budget, *, timing: Timing | None = None, split: bool = True,
    most_kernels: int | None = None,
) -> PipelinePlan:
    """`plan_pipeline` with those ranks inside a firing that make it fastest, as far as was tried; see the module.

    Ranks that were cut have other names in the plan: m is m1, of blocks, and m0.

    Raises:
        DoesNotFit: no choice fits within the budget; that of the plan in which all ranks stream.
        BadInput: no cascade.
    """
    timing = timing or Timing()
    best: tuple[int, _Choice, PipelinePlan] | None = None
    problem: DoesNotFit | None = None

    def attempt(choice: _Choice, cascade: Workload) -> None:
        nonlocal best, problem
        if best is not None and choice.least >= best[0]:
            return
        try:
            plan = plan_pipeline(
                cascade, budget, timing=timing, inside=choice.inside, split=split, most_kernels=most_kernels
            )
        except DoesNotFit as error:
            problem = error if problem is None or not choice.inside else problem
            return
        if best is None or plan.cycles < best[0]:
            best = plan.cycles, choice, plan

    for i, choice in enumerate(sorted(_choices(workload, budget, timing, split))):
        if best is None or i < PLANNED:
            attempt(choice, workload)
    if best is not None and best[0] > NEAR * _bound(best[2], budget):
        for cascade, inside in tuple(_cut(workload, best[1].inside)):
            with suppress(BadInput):  # tokens in too irregular an order
                attempt(_estimated(cascade, inside, budget, timing, split), cascade)
    if best is None:
        assert problem is not None
        raise problem
    return best[2]


def _bound(plan: PipelinePlan, budget: Budget) -> float:
    """Cycles of the operations on all units, of the compulsory bytes, and of the launches that there are."""
    stages = plan.stages.stages
    busy = [
        sum(s.firings * s.inner * units_per_lane(s, budget).get(kind.name, 0) for s in stages) / kind.count
        for kind in budget.lanes
    ]
    return max(*busy, _moving(plan.stages.workload, budget), 0.0) + budget.launch_cycles * len(plan.kernels)


def _moving(workload: Workload, budget: Budget) -> int:
    """Cycles of the compulsory bytes."""
    rate = budget.off_chip_bytes_per_cycle
    return 0 if rate is None else ceil(sum(compulsory_bytes(workload)) / Fraction(rate))


def _cut(workload: Workload, inside: tuple[str, ...]) -> Iterator[tuple[Workload, tuple[str, ...]]]:
    """The cascade with one of the ranks that stream cut into blocks, and these inside as well."""
    for rank in streaming_ranks(cascade_einsums(workload)):
        for block in BLOCKS if rank not in inside else ():
            try:
                yield split_rank(workload, rank, block), (*inside, f"{rank}0")
            except NotApplicable:  # it is stepped along, or has no such blocks
                continue


def _choices(workload: Workload, budget: Budget, timing: Timing, split: bool) -> list[_Choice]:
    """The sets of whole ranks inside a firing, but for those whose tokens come too irregularly. Raises BadInput."""
    einsums = cascade_einsums(workload)
    sizes = {r: n for e in einsums for r, n in e.sizes.items()}
    stepped = {e.iterative for e in einsums}
    free = [r for r in streaming_ranks(einsums) if sizes[r] > 1 and r not in stepped]
    largest = sorted(sorted(free, key=lambda r: -sizes[r])[:MOST_RANKS], key=free.index)
    found: list[_Choice] = []
    problem: BadInput | None = None
    for n in range(len(largest) + 1):
        for inside in combinations(largest, n):
            try:
                found.append(_estimated(workload, inside, budget, timing, split))
            except BadInput as error:
                problem = problem or error
    if not found and problem is not None:
        raise problem
    return found


def _estimated(workload: Workload, inside: Sequence[str], budget: Budget, timing: Timing, split: bool) -> _Choice:
    """One kernel: its slowest stage or the compulsory bytes, and a firing of every stage until the last has begun.
    Where one lane each is too many, every stage as a kernel."""
    stages = build_stages(workload, inside=inside, split=split).stages
    least = max(s.firings for s in stages)
    moving, anyhow = _moving(workload, budget), replace(budget, stages=None)
    try:
        lanes = allot(stages, anyhow).lanes
        intervals = {s.name: timing.ii_of(s, lanes[s.name]) for s in stages}
        working = max(s.firings * intervals[s.name] for s in stages)
        return _Choice(max(working, moving) + sum(intervals.values()), tuple(inside), least)
    except DoesNotFit:
        pass
    try:
        alone = sum(allot([s], anyhow).cycles + budget.launch_cycles for s in stages)
        return _Choice(max(alone, moving), tuple(inside), least)
    except DoesNotFit:
        return _Choice(inf, tuple(inside), least)
