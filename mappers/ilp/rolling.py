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


def rolled(along: Along, dropped: set[int], settings: Settings, *, most: float = inf) -> Arrangement | None:
    """A plan that drops these gaps and, where that has no addresses, others; None once these cost more than `most`."""
    current = Arrangement(along, set(dropped))
    steps = len(along.lives.operators)
    for first in range(0, steps, AHEAD):
        end = min(steps, first + AHEAD)
        found = not settings.over and packed(current, first, end)
        if not found and not settings.over:
            found = decided(current, max(0, first - BACK[1]), end, settings, last=True)
        if not found:
            current = sweep(current, first, end)
        if current.value > most:
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
