"""Straight lines below and above a stretch of a cumulative curve."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Line: TypeAlias = tuple[float, float]
"""Slope, and value at 0."""


def lines_below(x: FloatArray, y: FloatArray) -> list[Line]:
    """The lower hull of points in ascending order of x; a single point is a line of slope 0."""
    if len(x) > 2:
        slopes = np.diff(y) / np.diff(x)
        corner = np.concatenate([[True], slopes[1:] > slopes[:-1], [True]])
        x, y = x[corner], y[corner]
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2:]
            if (y[b] - y[a]) * (x[i] - x[b]) < (y[i] - y[b]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(i)
    if len(hull) == 1:
        return [(0.0, float(y[0]))]
    found = []
    for a, b in pairwise(hull):
        slope = float(y[b] - y[a]) / float(x[b] - x[a])
        found.append((slope, float(y[a]) - slope * float(x[a])))
    return found


def lines_above(x: FloatArray, y: FloatArray) -> list[Line]:
    """The upper hull, likewise."""
    return [(-slope, -value) for slope, value in lines_below(x, -y)]
