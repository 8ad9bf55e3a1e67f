"""A first plan with addresses, window by window: each is packed by search, what came before it is fixed.

Where a window has no addresses, it begins earlier, so that what lies in the way is moved; where that does not help,
the gap model decides it anew, and at last a sweep drops what is in the way.
"""

from __future__ import annotations

from math import inf

from .arrangement import Along, Arrangement, addresses, stretches, take
from .sweep import sweep
from .windows import Settings, decided

AHEAD = 16
"""Steps that are packed at a time."""
BACK = (0, 16, 48, 112)
"""Steps by which a window begins earlier, one after the other."""
NODES = 20_000
"""Of the exact search for addresses, each time."""
EARLY = 0.1
"""Share of what may be dropped beside the plan that may go in the first steps; beyond, in proportion to the steps."""


def rolled(along: Along, dropped: set[int], settings: Settings, *, most: float = inf) -> Arrangement | None:
    """A plan that drops these gaps and, where that has no addresses, others.

    None once it is to be seen that it will cost more than `most`, as far as the steps so far say.
    """
    current = Arrangement(along, set(dropped))
    least = current.value
    steps = len(along.lives.operators)
    for first in range(0, steps, AHEAD):
        end = min(steps, first + AHEAD)
        found = not settings.over and packed(current, first, end)
        if not found and not settings.over:
            found = decided(current, max(0, first - BACK[1]), end, settings, last=True)
        if not found:
            current = sweep(current, first, end)
        if current.value > most or current.value - least > (most - least) * (EARLY + end / steps):
            return None
    return current


def packed(current: Arrangement, first: int, end: int) -> bool:
    """Find addresses for a window, behind which nothing has any; whether there were some."""
    for back in BACK:
        found = stretches(current, current.dropped, max(0, first - back), end, last=True)
        places, _ = addresses(found, current.along.capacity, nodes=NODES)
        if places is not None:
            take(current, found, places)
            return True
        if back >= first:
            break
    return False
