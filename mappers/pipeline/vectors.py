"""Which ranks lie inside a firing: tokens that are vectors along them, so that stages can use more lanes.

A stage fires once a cycle at most, and works on as many points of a firing as it has lanes. The more ranks lie inside,
the more lanes it can use, but the longer the first results take, and the more FIFOs and operands hold. Every choice is
estimated without a simulation; the best few are planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import ceil, inf

from ...errors import BadInput, DoesNotFit
from ...ir import Workload, compulsory_bytes
from ...ir.families import cascade_einsums
from .allot import Budget, allot
from .build import Timing
from .plan import PipelinePlan, plan_pipeline
from .stages import build_stages, streaming_ranks

MOST_RANKS = 6
"""The largest ranks of which all choices are tried."""
PLANNED = 5
"""Choices that are planned and simulated."""


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

    Raises:
        DoesNotFit: no choice fits within the budget; that of the plan in which all ranks stream.
        BadInput: no cascade.
    """
    timing = timing or Timing()
    best: PipelinePlan | None = None
    problem: DoesNotFit | None = None
    choices = sorted(_choices(workload, budget, timing, split))
    for i, choice in enumerate(choices):
        if best is not None and (i >= PLANNED or choice.least >= best.cycles):
            continue
        try:
            plan = plan_pipeline(
                workload, budget, timing=timing, inside=choice.inside, split=split, most_kernels=most_kernels
            )
        except DoesNotFit as error:
            problem = error if problem is None or not choice.inside else problem
            continue
        if best is None or plan.cycles < best.cycles:
            best = plan
    if best is None:
        assert problem is not None
        raise problem
    return best


def _choices(workload: Workload, budget: Budget, timing: Timing, split: bool) -> Iterator[_Choice]:
    einsums = cascade_einsums(workload)
    sizes = {r: n for e in einsums for r, n in e.sizes.items()}
    stepped = {e.iterative for e in einsums}
    free = [r for r in streaming_ranks(einsums) if sizes[r] > 1 and r not in stepped]
    largest = sorted(sorted(free, key=lambda r: -sizes[r])[:MOST_RANKS], key=free.index)
    for n in range(len(largest) + 1):
        for inside in combinations(largest, n):
            try:
                yield _estimated(workload, inside, budget, timing, split)
            except BadInput:
                if not inside:
                    raise  # tokens that come too irregularly along some ranks may come evenly along others


def _estimated(workload: Workload, inside: Sequence[str], budget: Budget, timing: Timing, split: bool) -> _Choice:
    """One kernel: its slowest stage or the compulsory bytes, and a firing of every stage until the last has begun.
    Where one lane each is too many, every stage as a kernel."""
    stages = build_stages(workload, inside=inside, split=split).stages
    least = max(s.firings for s in stages)
    rate, anyhow = budget.off_chip_bytes_per_cycle, replace(budget, stages=None)
    moving = 0 if rate is None else ceil(sum(compulsory_bytes(workload)) / Fraction(rate))
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
