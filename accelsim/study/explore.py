"""Which points are simulated, and in which order: all, those whose bounds leave them a chance, or those of a search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeAlias

from .batches import Batches
from .floors import Floors
from .outcome import Outcome, Status
from .pareto import front
from .point import Point
from .span import Scalar
from .sweep import Sweep
from .violation import Scored

Score: TypeAlias = tuple[float, ...]
Group: TypeAlias = tuple[tuple[str, Scalar], ...]

BATCH = 16
"""Points simulated between two looks at the bounds; a number of its own, so that results do not depend on `jobs`."""


def simulate_all(points: Sequence[Point], batches: Batches) -> None:
    """Every point, in no particular order."""
    batches.told.total = len({batches.key(point) for point in points})
    batches.run(points)


def explore(sweep: Sweep, points: Sequence[Point], batches: Batches) -> None:
    """Run a search, or of given points those whose bounds no result betters.

    Raises:
        AccelsimError: an objective that fits no column, or a point that cannot be built.
    """
    hope = _Hope(sweep) if sweep.bounds_first else None
    if sweep.search is None:
        assert hope is not None
        _bounds_first(points, batches, hope)
        return
    from .explorer import explorers

    end = time.monotonic() + (sweep.search.seconds or 1e9)
    batches.told.total = sweep.search.points * len(sweep.bases())
    for explorer in explorers(sweep, sweep.search):
        while asked := explorer.ask():
            batches.add(asked)
            outcomes = _hopeful(asked, batches, hope) if hope is not None else batches.run(asked)
            explorer.tell(outcomes, hope.floors if hope is not None else {})
            if time.monotonic() > end:
                break


class _Hope:
    """Which points may still be on the front of their model."""

    def __init__(self, sweep: Sweep) -> None:
        self._floors, self._scored = Floors(sweep), Scored(sweep)
        self.floors: dict[Point, Score] = {}
        self._fronts: dict[Group, list[Score]] = {}

    def add(self, points: Sequence[Point]) -> None:
        """Work out floors. Raises AccelsimError for a point that cannot be built."""
        for point in points:
            if point not in self.floors:
                self.floors[point] = self._floors.of(point)

    def learn(self, point: Point, outcome: Outcome) -> None:
        """Take a result in, if it meets every constraint."""
        if outcome.status is not Status.DONE:
            return
        scored = self._scored.of(point, outcome)
        if scored is not None and not any(scored[1]):
            best = self._fronts.setdefault(_group(point), [])
            best.append(scored[0])
            self._fronts[_group(point)] = [best[i] for i in front(best)]

    def has(self, point: Point) -> bool:
        """Whether no result betters the floors: as small everywhere, and smaller somewhere."""
        floor = self.floors[point]
        for score in self._fronts.get(_group(point), ()):
            pairs = list(zip(score, floor, strict=True))
            if all(s <= f for s, f in pairs) and any(s < f for s, f in pairs):
                return False
        return True


def _hopeful(points: Sequence[Point], batches: Batches, hope: _Hope) -> list[Outcome]:
    """Simulate the points of one batch that have a chance; outcomes in order."""
    hope.add(points)
    chosen = [point for point in points if batches.held(point) or hope.has(point)]
    left = [point for point in points if point not in set(chosen)]
    batches.settle(left, DOMINATED)
    found = dict(zip(chosen, batches.run(chosen), strict=True))
    for point, outcome in found.items():
        hope.learn(point, outcome)
    return [found.get(point, DOMINATED) for point in points]


def _bounds_first(points: Sequence[Point], batches: Batches, hope: _Hope) -> None:
    """The points in batches, those with the best bounds first, as long as they have a chance."""
    batches.told.total = len({batches.key(point) for point in points})
    hope.add(points)
    groups: dict[Group, list[Point]] = {}
    for point in dict.fromkeys(points):
        groups.setdefault(_group(point), []).append(point)
    for waiting in groups.values():
        left = waiting
        while left:
            best = _best(left, hope)
            _hopeful(best, batches, hope)
            chosen = set(best)
            left = [point for point in left if point not in chosen]
            lost = [point for point in left if not hope.has(point)]
            batches.settle(lost, DOMINATED)
            gone = set(lost)
            left = [point for point in left if point not in gone]


def _best(points: Sequence[Point], hope: _Hope) -> list[Point]:
    """A batch from the front of the floors, then from the front of the rest."""
    left, found = list(points), list[Point]()
    while left and len(found) < BATCH:
        chosen = set(front([hope.floors[point] for point in left]))
        found += [point for i, point in enumerate(left) if i in chosen]
        left = [point for i, point in enumerate(left) if i not in chosen]
    return found[:BATCH]


def _group(point: Point) -> Group:
    """Points of one model compete with one another."""
    return tuple((k, v) for k, v in point.settings().items() if k == "model" or k.startswith("model."))


DOMINATED = Outcome(Status.DOMINATED, {}, "", "results of another point better its bounds")
