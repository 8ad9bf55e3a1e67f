"""Which points are simulated, and in which order: all, those whose bounds leave them a chance, or those of a search."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial

from .batches import Batches
from .floors import Contender, Group, Score, bettered, floors_of, group_of
from .outcome import DOMINATED, Evaluate, Outcome, Status
from .pareto import front
from .point import Point
from .sweep import Sweep
from .violation import Scored

BATCH = 16
"""Points simulated between two looks at the bounds; a number of its own, so that results do not depend on `jobs`."""


def simulate_all(points: Sequence[Point], batches: Batches) -> None:
    """Every point, in no particular order."""
    batches.told.total = len({batches.key(point) for point in points})
    batches.run(points)


def explore(sweep: Sweep, points: Sequence[Point], batches: Batches, *, ends: bool) -> None:
    """Run a search, or of given points those whose bounds no result betters.

    Args:
        sweep: with a search, or with bounds first.
        points: all of them, if there is no search.
        batches: takes points to their outcomes.
        ends: whether the simulation of a point may end as soon as results better its bounds.

    Raises:
        AccelsimError: an objective that fits no column, or a point that cannot be built.
    """
    hope = _Hope(sweep, batches, ends) if sweep.bounds_first else None
    if sweep.search is None:
        assert hope is not None
        _bounds_first(points, batches, hope)
        return
    from .explorer import explorers

    end = time.monotonic() + (sweep.search.seconds or 1e9)
    batches.told.total = sweep.search.points * len(sweep.bases())
    for explorer in explorers(sweep, sweep.search):
        while asked := explorer.ask(hope.floors_of if hope is not None else None):
            batches.add(asked)
            outcomes = _hopeful(asked, batches, hope) if hope is not None else batches.run(asked)
            # Of a point that ended later than its floors would have it, the floors say too little to count.
            explorer.tell(outcomes, {p: hope.floors[p] for p in asked if not hope.has(p)} if hope is not None else {})
            if time.monotonic() > end:
                return


class _Hope:
    """Which points may still be on the front of their model."""

    def __init__(self, sweep: Sweep, batches: Batches, ends: bool) -> None:
        self._sweep, self._batches, self._ends = sweep, batches, ends
        self._scored = Scored(sweep)
        self._objectives = json.dumps([sweep.derived, sweep.pareto])
        self.floors: dict[Point, Score] = {}
        self._fronts: dict[Group, list[Score]] = {}

    def add(self, points: Sequence[Point]) -> None:
        """Work out floors. Raises AccelsimError for a point that cannot be built."""
        new = [point for point in dict.fromkeys(points) if point not in self.floors]
        found = self._batches.floors(partial(floors_of, self._sweep), self._objectives, new)
        self.floors.update(zip(new, found, strict=True))

    def floors_of(self, points: Sequence[Point]) -> list[Score]:
        """Floors in order. Raises AccelsimError for a point that cannot be built."""
        self.add(points)
        return [self.floors[point] for point in points]

    def learn(self, point: Point, outcome: Outcome) -> None:
        """Take a result in, if it meets every constraint."""
        if outcome.status is not Status.DONE:
            return
        scored = self._scored.of(point, outcome)
        if scored is not None and not any(scored[1]):
            best = self._fronts.setdefault(group_of(point), [])
            best.append(scored[0])
            self._fronts[group_of(point)] = [best[i] for i in front(best)]

    def front(self, group: Group) -> Sequence[Score]:
        """Scores of results that none betters."""
        return self._fronts.get(group, ())

    def has(self, point: Point) -> bool:
        """Whether no result betters the floors."""
        return not bettered(self.floors[point], self.front(group_of(point)))

    def evaluate(self) -> Evaluate | None:
        """What simulates the points of a batch, if it is not what simulates all."""
        return Contender(self._sweep, dict(self._fronts)) if self._ends else None


def _hopeful(points: Sequence[Point], batches: Batches, hope: _Hope) -> list[Outcome]:
    """Simulate the points of one batch that have a chance; outcomes in order."""
    hope.add(points)
    chosen = [point for point in points if batches.held(point) or hope.has(point)]
    left = [point for point in points if point not in set(chosen)]
    batches.settle(left, DOMINATED)
    found = dict(zip(chosen, batches.run(chosen, hope.evaluate()), strict=True))
    for point, outcome in found.items():
        hope.learn(point, outcome)
    return [found.get(point, DOMINATED) for point in points]


def _bounds_first(points: Sequence[Point], batches: Batches, hope: _Hope) -> None:
    """The points in batches, those with the best bounds first, as long as they have a chance."""
    batches.told.total = len({batches.key(point) for point in points})
    hope.add(points)
    groups: dict[Group, list[Point]] = {}
    for point in dict.fromkeys(points):
        groups.setdefault(group_of(point), []).append(point)
    for group, waiting in groups.items():
        left = _Waiting(waiting, [hope.floors[point] for point in waiting])
        while best := left.best():
            known = set(hope.front(group))
            _hopeful(best, batches, hope)
            batches.settle(left.lost([score for score in hope.front(group) if score not in known]), DOMINATED)


class _Waiting:
    """Points that are neither simulated nor bettered yet, with their floors."""

    def __init__(self, points: Sequence[Point], floors: Sequence[Score]) -> None:
        self._points, self._floors = list(points), list(floors)

    def best(self) -> list[Point]:
        """A batch from the front of the floors, then from the front of the rest, taken out; empty at the end."""
        left, found = list(range(len(self._points))), list[int]()
        while left and len(found) < BATCH:
            chosen = front([self._floors[i] for i in left])
            found += [left[i] for i in chosen]
            taken = set(chosen)
            left = [i for n, i in enumerate(left) if n not in taken]
        return self._taken(found[:BATCH])

    def lost(self, scores: Sequence[Score]) -> list[Point]:
        """The points whose floors one of these scores betters, taken out."""
        import numpy as np

        floors = np.array(self._floors)
        gone = np.zeros(len(floors), np.bool_)
        for score in scores if len(floors) else ():
            gone |= (floors >= score).all(axis=1) & (floors > score).any(axis=1)
        return self._taken(np.flatnonzero(gone).tolist())

    def _taken(self, places: Sequence[int]) -> list[Point]:
        found, taken = [self._points[i] for i in places], set(places)
        self._points = [point for i, point in enumerate(self._points) if i not in taken]
        self._floors = [floor for i, floor in enumerate(self._floors) if i not in taken]
        return found
