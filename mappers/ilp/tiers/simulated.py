"""What a plan over tiers takes when it runs."""

from __future__ import annotations

from ....lowering.tiers import program_of
from ....mapping.tiers.plan import TierPlan
from ....mapping.tiers.problem import TierProblem


def simulated_seconds(problem: TierProblem, plan: TierPlan) -> float:
    """Seconds of a plan's Program, of one period where it is periodic."""
    from ....engine import compiled

    trace = compiled.run(program_of(problem, plan))
    return float(trace.finish / trace.program.tick_hz)


def claimed_seconds(problem: TierProblem, plan: TierPlan, replayed: float) -> float:
    """What may be claimed of a plan: position by position as `replayed`, or less where its Program overlaps more."""
    return min(replayed, simulated_seconds(problem, plan))
