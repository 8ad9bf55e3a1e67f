"""What a byte of the memory is worth at each step: prices at which no more is kept than there is room for.

Where a byte has a price at every step, a gap is kept if its room costs less than dropping it, and what is decided for
one content does not depend on the others (Lagrangian relaxation: Geoffrion, Mathematical Programming Study 2, 1974).
Subgradient steps find the prices: a step's price rises where what is kept does not fit, and falls where it leaves room.
Their mean is taken rather than the best of them, which is 0 at all but a few steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrangement import Along

ROUNDS = 1000
"""Subgradient steps; the mean leaves out the first quarter."""
LENGTH, HALF = 0.05, 20.0
"""Of the first step, in costs of loading for the whole memory, and steps after which they are half as long."""


def prices(along: Along, capacity: float) -> NDArray[np.float64]:
    """By step, the price of a byte in a memory of `capacity` bytes, in the unit of the cost.

    Room for several steps costs the sum of their prices.
    """
    lives, cost = along.lives, along.cost
    steps, gaps = len(lives.operators), lives.gaps
    size = np.array([g.nbytes for g in gaps], np.float64)
    first = np.array([g.first + 1 for g in gaps], np.int64)
    last = np.array([g.last for g in gaps], np.int64)
    epoch = np.array([g.epoch for g in gaps], np.int64)
    load = size * cost.load
    store = np.array([0.0 if e.stored else e.nbytes * cost.store for e in lives.epochs], np.float64)
    room = np.maximum(capacity - np.array(along.base, np.float64), 0.0)
    length = LENGTH * max(cost.load, cost.store) / max(capacity, 1.0)
    found, total = np.zeros(steps), np.zeros(steps)
    for k in range(ROUNDS if gaps else 0):
        sums = np.concatenate([[0.0], np.cumsum(found)])
        rent = size * (sums[last] - sums[first])
        # A content is never written back, and all of its gaps are kept, or it is, and each costs the less of both.
        back = store + np.bincount(epoch, np.minimum(load, rent), len(store))
        whole = np.bincount(epoch, rent, len(store)) <= back
        kept = np.where(whole[epoch] | (rent < load), size, 0.0)
        held = np.cumsum(np.bincount(first, kept, steps + 1) - np.bincount(last, kept, steps + 1))[:steps]
        found = np.maximum(0.0, found + length / (1.0 + k / HALF) * (held - room))
        if k >= ROUNDS // 4:
            total += found
    return total / (ROUNDS - ROUNDS // 4)
