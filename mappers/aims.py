"""What a search for the parts of a whole minimises: so much for every cycle and so much for every joule.

Cycles and joules of the parts add up to those of the whole, and so does a weighted sum of the two, which can therefore
be minimised part by part. The product of the totals, energy times delay, cannot: parts of least product do not make a
whole of least product. But it is least at a whole that minimises a weighted sum. For the product of two positive
numbers is quasi-concave: over the convex hull of what wholes come to, it is least at a vertex, and every vertex
minimises some weighted sum. At the best one the weights are the totals themselves, joules E for a cycle and cycles T
for a joule, since E T' + T E' >= 2 T E wherever T' E' >= T E, by the means; for the same reason a whole that minimises
the sum about the totals of another one has no larger product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])
STAYS = 0.3
"""Share by which a joule's worth in cycles may move: about its least the product is flat."""
Cost: TypeAlias = tuple[float, float]
"""Cycles (or seconds) and joules."""


@dataclass(frozen=True)
class Aim:
    """An objective, and the weighted sum that stands for it part by part.

    Attributes:
        objective: ``latency``, ``energy`` or ``edp``.
        cycle, joule: weight of a cycle (of the machine's clock, where nothing else is said) and of a joule.
        edge: share of the cycles of first loads and last stores that counts; 0 if all of them pass beside other parts.
    """

    objective: str
    cycle: float
    joule: float
    edge: float = 1.0

    @property
    def energy_alone(self) -> bool:
        """Whether cycles count for nothing, but where joules are equal."""
        return self.cycle == 0

    def of(self, cycles: Number, joules: Number) -> Number:
        """The weighted sum."""
        return self.cycle * cycles + self.joule * joules

    def is_near(self, other: Aim) -> bool:
        """Whether a joule is worth nearly as many cycles."""
        if self.joule == other.joule:
            return True
        return min(self.joule, other.joule) > 0 and abs(log(self.joule / other.joule)) <= STAYS


LATENCY, ENERGY = Aim("latency", 1.0, 0.0), Aim("energy", 0.0, 1.0)
AIMS = {aim.objective: aim for aim in (LATENCY, ENERGY)}
"""Of the objectives that add up."""
OVERLAPPING = Aim("latency", 1.0, 0.0, edge=0.0)
"""The least latency where first loads and last stores pass while other parts run."""


def aim_about(cycles: float, joules: float) -> Aim:
    """The aim for energy times delay about what a whole comes to; without energy, the delay."""
    return Aim("edp", 1.0, cycles / joules if joules > 0 else 0.0)


def measured(objective: str, cycles: float, joules: float, clock_hz: float) -> float:
    """What a whole comes to: cycles, joules, or joule seconds."""
    return {"latency": cycles, "energy": joules, "edp": cycles / clock_hz * joules}[objective]


def best_options(objective: str, parts: Sequence[Sequence[Cost]], times: Sequence[float]) -> list[int]:
    """By part, the number of the option to take for the least latency, energy or product of the totals; of equal ones
    that with less of the other, then the first. Arguments are those of `least_product`."""
    if objective == "edp":
        return least_product(parts, times)
    first, then = (0, 1) if objective == "latency" else (1, 0)
    return [min(range(len(options)), key=lambda k: (options[k][first], options[k][then], k)) for options in parts]


def least_product(parts: Sequence[Sequence[Cost]], times: Sequence[float]) -> list[int]:
    """By part, the number of the option to take so that cycles times joules of the whole are least.

    As the weight of a joule rises, each part goes from its fastest option to its thriftiest one over the vertices of
    the convex hull of its options. So all wholes that minimise some weighted sum are found one after the other, and no
    combination of options is better than the best of these.

    Args:
        parts: cycles and joules of the options of each, one or more.
        times: how often each part runs.
    """
    hulls = [_hull(options) for options in parts]
    chosen = [hull[0] for hull in hulls]
    steps = []
    for part, (hull, options) in enumerate(zip(hulls, parts, strict=True)):
        for number, (a, b) in enumerate(pairwise(hull)):
            more, fewer = options[b][0] - options[a][0], options[a][1] - options[b][1]
            steps.append((more / fewer, part, number, b, more, fewer))
    steps.sort()
    cycles, joules = (sum(n * p[k][i] for p, k, n in zip(parts, chosen, times, strict=True)) for i in range(2))
    value, taken = cycles * joules, 0
    for number, (_, part, _, _, more, fewer) in enumerate(steps, 1):
        cycles, joules = cycles + times[part] * more, joules - times[part] * fewer
        if cycles * joules < value:
            value, taken = cycles * joules, number
    for _, part, _, option, _, _ in steps[:taken]:
        chosen[part] = option
    return chosen


def _hull(options: Sequence[Cost]) -> list[int]:
    """Options at the vertices of the lower left of their convex hull, from the fastest to the thriftiest one; of equal
    ones the first."""
    found: list[int] = []
    for k in sorted(range(len(options)), key=lambda k: (*options[k], k)):
        if found and options[k][1] >= options[found[-1]][1]:
            continue
        while len(found) > 1 and _inside(options[found[-2]], options[found[-1]], options[k]):
            found.pop()
        found.append(k)
    return found


def _inside(a: Cost, b: Cost, c: Cost) -> bool:
    """Whether b, between a and c, lies on or above the line from one to the other."""
    return (b[0] - a[0]) * (a[1] - c[1]) >= (c[0] - a[0]) * (a[1] - b[1])
