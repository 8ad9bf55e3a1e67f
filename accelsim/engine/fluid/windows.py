"""How far every actor of a Program can be, at least and at most, when one of them has come to a given firing."""

from __future__ import annotations

import numpy as np

from ..program import IntArray
from .curves import Curves, Need

ROUNDS = 200
"""Passes over all orders; what has been found holds after every pass."""


def windows(curves: Curves, reference: int, at: IntArray) -> tuple[IntArray, IntArray]:
    """Firings that have ended, at least, and started, at most, when a reference actor has just ended so many.

    Args:
        curves: of the Program.
        reference: an actor.
        at: [k] firings that it has ended.

    Returns:
        [a, k] least and most firings; those that start at that very tick are not counted. Where the least are more than
        the most, no run comes so far.
    """
    number = np.array([len(phases) for phases in curves.phases])
    least = np.zeros((len(number), len(at)), np.int64)
    most = np.repeat(number[:, None], len(at), axis=1)
    least[reference] = most[reference] = at
    for _ in range(ROUNDS):
        before = least.copy(), most.copy()
        for need in curves.needs:
            least[need.other] = np.maximum(least[need.other], ended_before(need, least[need.actor]))
            late = need.other == reference and not need.at_start  # what has just ended let nothing start before
            most[need.actor] = np.minimum(most[need.actor], _started_after(need, most[need.other] - late))
        if np.array_equal(least, before[0]) and np.array_equal(most, before[1]):
            break
    return least, most


def ended_before(need: Need, firings: IntArray) -> IntArray:
    """Firings that the other actor has ended before the one that waits starts the last of so many."""
    asked = need.asked[np.minimum(firings, len(need.asked) - 1)]
    ended = np.searchsorted(need.given, asked, side="left") - need.at_start
    return np.clip(ended, 0, len(need.given))


def _started_after(need: Need, firings: IntArray) -> IntArray:
    """Firings that the one that waits can have started when the other one has started so many."""
    started = np.searchsorted(need.asked, need.given[np.clip(firings, 0, len(need.given) - 1)], side="right") - 1
    return np.maximum(started, 0)
