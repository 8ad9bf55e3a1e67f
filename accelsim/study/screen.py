"""Screening: of many points whose floors are known, those whose simulation promises most.

The promise of a point is the hypervolume that the front would gain if its result were its floors, or were its floors
times what results nearby were of theirs. Half of the points are chosen by either: by the first to leave nothing aside
that may be good, by the second to go where it is likely. To select by that gain is the idea of Beume, Naujoks and
Emmerich, "SMS-EMOA: Multiobjective selection based on dominated hypervolume" (European Journal of Operational Research
181(3), 2007). What is chosen is a heuristic: a point that is left aside may be on the front.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from .hypervolume import Score, gain, worst
from .pareto import front
from .point import Point

Place: TypeAlias = tuple[float, ...]
"""Where a point lies among all, in coordinates from 0 to 1."""

NEAREST = 3
"""Results whose ratios to their floors a guess is made of."""


@dataclass
class _Waiting:
    """Points that wait with what is hoped of them, in the order in which they came."""

    hopes: dict[Point, Score] = field(default_factory=dict)
    most: dict[Point, float] = field(default_factory=dict)
    """What a point would have gained at some time: no less than now, as gains only fall while the front grows."""

    def best(self, wanted: int, scores: list[Score], taken: list[Score], reference: Score) -> dict[Point, Score]:
        """So many points, or all, each adding most to the hypervolume of the scores and of what is taken before it.

        A gain is only worked out anew for the point whose last known one is the largest (lazy greedy selection).
        """
        chosen, points = dict[Point, Score](), list(self.hopes)
        heap = [(-self.most.get(point, math.inf), i, -1) for i, point in enumerate(points)]
        heapq.heapify(heap)
        while heap and len(chosen) < wanted:
            most, i, beside = heapq.heappop(heap)
            point, hope = points[i], self.hopes[points[i]]
            if beside == len(taken) or not most:
                chosen[point] = hope
                taken = [*taken, hope]
            elif point not in self.most:
                self.most[point] = gain(hope, scores, reference)
                heapq.heappush(heap, (-self.most[point], i, 0))
            else:
                heapq.heappush(heap, (-gain(hope, [*scores, *taken], reference), i, len(taken)))
        return chosen

    def remove(self, point: Point) -> None:
        self.hopes.pop(point, None)
        self.most.pop(point, None)


class Screen:
    """Points that wait, and the results that they have to add to."""

    def __init__(self) -> None:
        self.results = 0
        self._best: list[Score] = []
        self._reference: Score = ()
        self._ideal: Score = ()
        self._known: dict[Point, tuple[Score, Place]] = {}
        self._places: list[Place] = []
        self._ratios: list[Score] = []
        self._floors, self._guesses = _Waiting(), _Waiting()

    def add(self, floors: Mapping[Point, Score], places: Mapping[Point, Place]) -> None:
        """Let points wait that have these floors."""
        for point, floor in floors.items():
            self._known[point] = floor, places[point]
            # Where nothing is known, the best of all results.
            hope = tuple(f if math.isfinite(f) else best for f, best in zip(floor, self._ideal, strict=True))
            self._floors.hopes[point] = hope
            self._guesses.hopes[point] = self._guess(hope, places[point])

    def learn(self, point: Point, score: Score) -> None:
        """Take a result in: the scores of its objectives."""
        self.results += 1
        reference = worst([self._reference or score, score])
        if reference != self._reference:
            self._floors.most, self._guesses.most = {}, {}
        self._reference = reference
        self._ideal = tuple(map(min, self._ideal or score, score))
        if point in self._known:
            floor, place = self._known[point]
            self._places.append(place)
            # Floor and result of one sign: of what is to be large, both are negative.
            pairs = zip(score, floor, strict=True)
            self._ratios.append(tuple(s / f if 0 < s * f < math.inf else 1.0 for s, f in pairs))
        self._best.append(score)
        self._best = [self._best[i] for i in front(self._best)]

    def choose(self, wanted: int) -> list[Point]:
        """So many of the points that wait, or all, those that promise most beside one another; they wait no longer."""
        chosen = self._guesses.best(wanted // 2, self._best, [], self._reference)
        for point in chosen:
            self._floors.remove(point)
        rest = self._floors.best(wanted - len(chosen), self._best, list(chosen.values()), self._reference)
        for point in [*chosen, *rest]:
            self._floors.remove(point)
            self._guesses.remove(point)
        return [*chosen, *rest]

    def _guess(self, floor: Score, place: Place) -> Score:
        """The floors times what the results nearby came to as multiples of theirs."""
        if not self._ratios:
            return floor
        away = np.abs(np.array(self._places) - place).sum(axis=1)
        nearest = np.argsort(away, kind="stable")[:NEAREST]
        ratios = np.array([self._ratios[i] for i in nearest]).mean(axis=0)
        return tuple(f * float(r) for f, r in zip(floor, ratios, strict=True))
