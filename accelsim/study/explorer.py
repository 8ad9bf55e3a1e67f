"""Explorer: the search itself, through Optuna's samplers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .axis import Axis
from .batches import FloorsOf
from .dimensions import quantity
from .outcome import Outcome, Status
from .point import Point
from .screen import Screen
from .search import Search
from .span import Scalar
from .violation import Scored, Scores

if TYPE_CHECKING:
    import optuna

    from .sweep import Sweep

MADE = 4
"""Points that are made for each one asked for, where floors say what they promise."""
BESIDE = 0.5
"""Share of these that lie one step beside the front."""
LEFT = 20
"""Batches that wait at most: from then on as many are made as are asked for, as every point costs its floors."""
TRIES = 40
"""Proposals for each point of a batch, before a search ends because it finds nothing new."""


class Explorer:
    """One search for one machine and model: `ask` for a batch, `tell` what became of it, until it is empty."""

    def __init__(self, sweep: Sweep, search: Search, base: Point, start: Sequence[Mapping[str, Scalar]] = ()) -> None:
        """Set a search up.

        Args:
            sweep: gives axes, conditions and objectives.
            search: how to search.
            base: the point before any axis changes it.
            start: settings to try first, as far as the axes have them.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sweep, self._search, self._base = sweep, search, base
        self._of_axes, self._of_points = sweep.conditions()
        # Floors say nothing of constraints: a screen would ask for what promises most and is not allowed.
        self._screens = search.method == "nsga2" and sweep.bounds_first and not sweep.constraints
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(sweep.pareto)
        self._study = optuna.create_study(directions=directions, sampler=_sampler(search, self._screens))
        self._scored = Scored(sweep)
        self._seen: dict[Point, Scores | None] = {}
        self._waiting: dict[Point, optuna.trial.Trial] = {}
        self._asked: list[tuple[optuna.trial.Trial, Point]] = []
        self._screen = Screen()
        self._over = False
        for settings in start:
            if (choice := _choice(sweep.axes, settings)) is not None:
                self._study.enqueue_trial(choice, skip_if_exists=True)
        for corner in _corners(sweep.axes) if search.method == "nsga2" else ():
            self._study.enqueue_trial(corner, skip_if_exists=True)

    def ask(self, floors: FloorsOf | None = None) -> list[Point]:
        """The next points, none of which was asked for before; empty at the end.

        Args:
            floors: what the objectives of points are at least. With it, a search that breeds under no constraint makes
                several times as many points, and asks for those that promise most.
        """
        wanted = min(self._search.batch, self._search.points - len(self._seen))
        screened = floors is not None and self._screen.results > 0
        room = LEFT * self._search.batch - len(self._waiting)
        chosen = new = self._made(max(wanted, min(MADE * wanted, room)) if screened else wanted)
        if floors is not None and screened:
            places = {point: _place(self._sweep.axes, self._waiting[point].params) for point in new}
            self._screen.add(dict(zip(new, floors(new), strict=True)), places)
            chosen = self._screen.choose(wanted)
        self._over = len(chosen) < wanted
        self._asked = [(self._waiting.pop(point), point) for point in chosen]
        return chosen

    def _made(self, wanted: int) -> list[Point]:
        """So many new points, or as many as are found; they wait until they are asked for."""
        new: list[Point] = []
        for _ in range(TRIES * wanted):
            if len(new) == wanted or self._over:
                break
            trial = self._study.ask()
            point = self._point(trial)
            refused = any(holds(point.settings()) is False for holds in self._of_points)
            if refused or point in self._waiting or (point in self._seen and self._seen[point] is None):
                self._study.tell(trial, state=_state("FAIL"))
            elif point in self._seen:
                self._give(trial, self._seen[point])
            else:
                new.append(point)
                self._waiting[point] = trial
        return new

    def tell(self, outcomes: Sequence[Outcome], floors: Mapping[Point, tuple[float, ...]]) -> None:
        """Outcomes of the points of the last batch, in their order; of dominated points the floors count, if they are
        given.

        Raises:
            SpecError: an objective or constraint that fits no column of the results.
        """
        for (trial, point), outcome in zip(self._asked, outcomes, strict=True):
            found: Scores | None = None
            if outcome.status is Status.DONE:
                found = self._scored.of(point, outcome)
                if found is not None and self._screens:
                    self._screen.learn(point, found[0])
            elif outcome.status is Status.DOMINATED and point in floors:
                found = floors[point], tuple(0.0 for _ in self._sweep.constraints)
            self._seen[point] = found
            self._give(trial, self._seen[point])
        self._asked = []

    def _give(self, trial: optuna.trial.Trial, found: Scores | None) -> None:
        if found is None:
            self._study.tell(trial, state=_state("FAIL"))
            return
        for i, excess in enumerate(found[1]):
            trial.set_constraint(str(i), excess)
        self._study.tell(trial, list(found[0]))

    def _point(self, trial: optuna.trial.Trial) -> Point:
        def choose(axis: Axis) -> tuple[Scalar, ...]:
            name = _name(axis)
            if axis.spans:
                return axis.at(min(trial.suggest_float(name, 0.0, 1.0), 1 - 2**-53))
            if ordered(axis):
                return axis.steps[trial.suggest_int(name, 0, len(axis.steps) - 1)]
            return axis.steps[trial.suggest_categorical(name, range(len(axis.steps)))]

        return self._sweep.place(self._base, choose, self._of_axes)


def _name(axis: Axis) -> str:
    return "+".join(axis.names)


def _corners(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Every axis at its first value, and every one at its last: often the least and the most of a machine."""
    return [{_name(a): float(last) if a.spans else last * (len(a.steps) - 1) for a in axes} for last in (0, 1)]


def _place(axes: Sequence[Axis], params: Mapping[str, Any]) -> tuple[float, ...]:
    """Where a point lies: on an axis with an order its share of the way, on another 0.5 at its value, else 0."""
    found: list[float] = []
    for axis in axes:
        value = params.get(_name(axis))
        if axis.spans or ordered(axis):
            width = 1 if axis.spans else max(1, len(axis.steps) - 1)
            found.append(0.0 if value is None else value / width)
        else:
            found += [0.5 * (i == value) for i in range(len(axis.steps))]
    return tuple(found)


def ordered(axis: Axis) -> bool:
    """Whether the first values of an axis rise or fall, so that neighbours are alike."""
    values = [_amount(step[0]) for step in axis.steps]
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return False
    pairs = list(pairwise(known))
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)


def _amount(value: Scalar) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        read = quantity(value)
        return None if read is None else read[0]
    return float(value)


def _choice(axes: Sequence[Axis], settings: Mapping[str, Scalar]) -> dict[str, Any] | None:
    """What the sampler would have suggested to reach these settings; None if the axes do not have them."""
    found: dict[str, Any] = {}
    for axis in axes:
        if not all(name in settings for name in axis.names):
            continue
        values = tuple(settings[name] for name in axis.names)
        if axis.spans:
            if (share := axis.spans[0].share(values[0])) is None:
                return None
            found[_name(axis)] = share
        elif values in axis.steps:
            found[_name(axis)] = axis.steps.index(values)
        else:
            return None
    return found


def _sampler(search: Search, screened: bool) -> Any:
    import optuna

    if search.method == "nsga2":
        from .breeding import Breeder

        return Breeder(search.seed, BESIDE if screened else 0.0)
    if search.method == "random":
        return optuna.samplers.RandomSampler(seed=search.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=search.batch)


def _state(name: str) -> Any:
    import optuna

    return optuna.trial.TrialState[name]


def explorers(sweep: Sweep, search: Search) -> Iterator[Explorer]:
    """One explorer for every machine and model. Raises BadInput if `start` names no study."""
    start: list[dict[str, Scalar]] = []
    if search.start:
        from .study import Study

        earlier = Study.load(search.start)
        start = [dict(earlier.rows[i].settings) for i in earlier.pareto()]
    for base in sweep.bases():
        yield Explorer(sweep, search, base, [s for s in start if s["model"] == base.model])
