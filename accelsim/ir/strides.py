"""Lists of positions as few affine pieces as they fall into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .einsum import Affine

LONGEST_PERIOD = 16
"""Periods that are tried; an upsampling by a whole factor has that factor."""


@dataclass(frozen=True)
class Piece:
    """Elements ``start + period*i + j`` of a list, i < count and j < width, which are ``first + far*i + near*j``."""

    start: int
    period: int
    count: int
    width: int
    first: int
    far: int
    near: int

    def sizes(self, outer: str, inner: str) -> dict[str, int]:
        """The ranks i and j under these names; one of size 1 is left out."""
        return {r: n for r, n in ((outer, self.count), (inner, self.width)) if n > 1}

    def _index(self, outer: str, inner: str, far: int, near: int, offset: int) -> Affine:
        ranks = self.sizes(outer, inner)
        return Affine(tuple((r, c) for r, c in ((outer, far), (inner, near)) if r in ranks and c), offset)

    def place(self, outer: str, inner: str) -> Affine:
        """Index of the elements in the list, less `start`."""
        return self._index(outer, inner, self.period, 1, 0)

    def source(self, outer: str, inner: str) -> Affine:
        """The values of the elements."""
        return self._index(outer, inner, self.far, self.near, self.first)


def pieces(values: Sequence[int]) -> list[Piece]:
    """The fewest Pieces found: runs of equal steps, or phases of a short period, with equal neighbours as one.

    The Pieces are disjoint and together hold every element once, in whatever order is natural to them.
    """
    given = np.asarray(values, dtype=np.int64)
    best = _runs(given)
    for period in range(2, min(LONGEST_PERIOD, len(given) // 3) + 1):
        steps = given[period:] - given[:-period]
        if len(best) > 1 and (steps == steps[0]).all():
            found = _phases(given, period, int(steps[0]))
            best = found if len(found) < len(best) else best
            break
    return best


def _runs(values: np.ndarray) -> list[Piece]:
    """Runs of equal steps, each as long as it can be."""
    found = []
    i, n = 0, len(values)
    while i < n:
        j = i + 1
        step = int(values[j] - values[i]) if j < n else 0
        while j < n and values[j] - values[j - 1] == step:
            j += 1
        found.append(Piece(i, 1, j - i, 1, int(values[i]), step, 0))
        i = j
    return found


def _phases(values: np.ndarray, period: int, far: int) -> list[Piece]:
    """Positions that are equal modulo the period, several side by side where they step evenly and are as many."""
    counts = [-(-(len(values) - phase) // period) for phase in range(period)]
    found = []
    phase = 0
    while phase < period:
        end = phase + 1
        near = int(values[end] - values[phase]) if end < period else 0
        while end < period and counts[end] == counts[phase] and values[end] - values[end - 1] == near:
            end += 1
        found.append(Piece(phase, period, counts[phase], end - phase, int(values[phase]), far, near))
        phase = end
    return found
