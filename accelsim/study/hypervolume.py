"""Hypervolume: how much of the space of objectives a front betters, one number to compare fronts by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from .pareto import front

Score: TypeAlias = tuple[float, ...]


def hypervolume(scores: Sequence[Score], reference: Score) -> float:
    """The volume of the points that some score betters and that better the reference themselves.

    By slices along the last objective (Knowles, "Local-search and hybrid evolutionary algorithms for Pareto
    optimization", 2002): between two neighbouring values the slice is the volume in one dimension less of the scores
    up to there.

    Args:
        scores: smaller is better; those not below the reference in every objective add nothing.
        reference: as long as each score.
    """
    inside = [score for score in scores if all(s < r for s, r in zip(score, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(score[0] for score in inside)
    best = sorted({inside[i] for i in front(inside)}, key=lambda score: score[-1])
    if len(reference) == 2:
        return _staircase(best, reference)
    total = 0.0
    for i, score in enumerate(best):
        end = best[i + 1][-1] if i + 1 < len(best) else reference[-1]
        if end > score[-1]:
            total += (end - score[-1]) * hypervolume([s[:-1] for s in best[: i + 1]], reference[:-1])
    return total


def _staircase(best: Sequence[Score], reference: Score) -> float:
    """Steps by the second objective, ascending, so that the first one descends."""
    ends = [*(score[1] for score in best[1:]), reference[1]]
    return sum((reference[0] - score[0]) * (end - score[1]) for score, end in zip(best, ends, strict=True))


def gain(score: Score, scores: Sequence[Score], reference: Score) -> float:
    """By how much one more score would raise the hypervolume of others."""
    if any(s >= r for s, r in zip(score, reference, strict=True)):
        return 0.0
    if any(all(o <= s for o, s in zip(other, score, strict=True)) for other in scores):
        return 0.0
    room = math.prod(r - s for s, r in zip(score, reference, strict=True))
    return max(0.0, room - hypervolume([tuple(map(max, score, other)) for other in scores], reference))


def worst(scores: Sequence[Score]) -> Score:
    """The largest value of every objective: the usual reference. Raises ValueError without scores."""
    return tuple(max(column) for column in zip(*scores, strict=True))


def progress(scores: Sequence[Score | None], reference: Score) -> list[float]:
    """The hypervolume after each of the scores in turn; None adds nothing."""
    found: list[float] = []
    best: list[Score] = []
    volume = 0.0
    for score in scores:
        if score is not None and not any(all(b <= s for b, s in zip(other, score, strict=True)) for other in best):
            best = [*(b for b in best if not all(s <= x for s, x in zip(score, b, strict=True))), score]
            volume = hypervolume(best, reference)
        found.append(volume)
    return found
