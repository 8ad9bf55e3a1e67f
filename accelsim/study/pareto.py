"""Pareto fronts: the points that no other point betters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

BLOCK = 512


def front(scores: Sequence[tuple[float, ...]]) -> list[int]:
    """Positions of the scores that are not dominated, in order.

    A score dominates another if it is as small in every objective and smaller in one; of equal scores all stay.

    Args:
        scores: one tuple per point, all of one length, no NaN among them.
    """
    places: dict[tuple[float, ...], list[int]] = {}
    for i, score in enumerate(scores):
        places.setdefault(score, []).append(i)
    # In lexicographic order a score can only be dominated by one that stands before it.
    ordered = sorted(places)
    few = not ordered or len(ordered[0]) <= 3
    best = _staircase(ordered) if few else _blocks(ordered)
    return sorted(i for score in best for i in places[score])


def _staircase(ordered: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Up to three objectives: of the scores so far, the steps by the second, each lower in the third than the last."""
    kept, seconds, thirds = [], list[float](), list[float]()
    for score in ordered:
        _, second, third = (*score, 0.0, 0.0)[:3]
        at = bisect_right(seconds, second)
        if at and thirds[at - 1] <= third:
            continue
        kept.append(score)
        start = at - 1 if at and seconds[at - 1] == second else at
        end = at
        while end < len(thirds) and thirds[end] >= third:
            end += 1
        seconds[start:end], thirds[start:end] = [second], [third]
    return kept


def _blocks(ordered: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Any number of objectives: blocks of scores against the front so far, then against one another."""
    import numpy as np

    kept = np.empty((0, len(ordered[0])))
    for start in range(0, len(ordered), BLOCK):
        block = np.array(ordered[start : start + BLOCK])
        for at in range(0, len(kept), BLOCK):
            part = kept[at : at + BLOCK]
            block = block[~(part[:, None, :] <= block[None, :, :]).all(axis=2).any(axis=0)]
            if not len(block):
                break
        # Among different scores in lexicographic order only an earlier one can be as small everywhere.
        beside = np.triu((block[:, None, :] <= block[None, :, :]).all(axis=2), 1)
        kept = np.concatenate([kept, block[~beside.any(axis=0)]])
    return [tuple(map(float, row)) for row in kept]
