"""Where a straight run of Einsums is cut into groups: dynamic programming over cut points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Segment(Generic[T]):
    """Items `first` to `last` (exclusive) as one group; `what` is how, None for an item by itself."""

    first: int
    last: int
    cost: float
    what: T | None = None


def best_cuts(
    single: Sequence[float], fused: Callable[[int, int], tuple[float, T] | None], most: int
) -> list[Segment[T]]:
    """The partition of least summed cost.

    Args:
        single: cost of every item by itself.
        fused: of items i to j (exclusive) as a group, None where they are none.
        most: items of a group.
    """
    n = len(single)
    best = [0.0] + [math.inf] * n
    last: list[Segment[T] | None] = [None] * (n + 1)
    for j in range(1, n + 1):
        best[j], last[j] = best[j - 1] + single[j - 1], Segment(j - 1, j, single[j - 1])
        for i in range(j - 2, max(-1, j - most - 1), -1):
            found = fused(i, j)
            if found is not None and best[i] + found[0] < best[j]:
                best[j], last[j] = best[i] + found[0], Segment(i, j, *found)
    cuts: list[Segment[T]] = []
    j = n
    while j:
        segment = last[j]
        assert segment is not None
        cuts.append(segment)
        j = segment.first
    return cuts[::-1]
