"""What published ratios say of each other: times on the SN40L for which they agree, without any simulation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Implied:
    """Seconds on the SN40L: an expert run, and routing a batch."""

    run_s: float
    route_s: float


def implied(one: float, many: float, batch: int, expert: float, there: float, here: float) -> Implied:
    """The times with which overall ratios of one prompt and of a batch are what they are.

    With runs of x, routing a batch of any size of r and, on the other node, both `expert` times as long, a prompt takes
    (expert (x + r) + there) / (x + r + here) times as long, and a batch of n the same with r / n.

    Args:
        one, many: ratios overall, of one prompt and of a batch.
        batch: n.
        expert: ratio of an expert run.
        there, here: seconds of switching on the other node, and on this one.
    """
    single = (there - one * here) / (one - expert)
    each = (there - many * here) / (many - expert)
    route = (single - each) * batch / (batch - 1)
    return Implied(single - route, route)
