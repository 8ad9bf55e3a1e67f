"""Batches: points go to an executor, their outcomes into the store; what the store holds is not run again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from typing import TypeAlias

from .outcome import Evaluate, Outcome, Status, evaluated, failure
from .point import Point
from .pool import WorkerDied, WorkerPool
from .store import Store

Progress: TypeAlias = Callable[[int, int, Outcome | None], None]
"""Called with the number of points done, their total, and the last outcome (None at the start)."""

Watch: TypeAlias = Callable[[Point, Outcome], None]
"""Called with every point that is finished, those that the store holds already first."""

Finished: TypeAlias = Sequence[tuple[str, Outcome]]

Floor: TypeAlias = tuple[float, ...]
FloorsOf: TypeAlias = Callable[[Sequence[Point]], list[Floor]]

ASKED = 16
"""Points whose floors a worker is asked for at once, and which are stored together."""
ATTEMPTS = 2
"""How often a point is tried whose worker dies."""


class Told:
    """Counts what is done, and tells it."""

    def __init__(self, progress: Progress | None, watch: Watch | None) -> None:
        self._progress, self._watch = progress, watch
        self.done = self.total = 0

    def __call__(self, point: Point, outcome: Outcome, *, held: bool = False) -> None:
        self.done += 1
        if self._watch:
            self._watch(point, outcome)
        if self._progress and not held:
            self._progress(self.done, max(self.total, self.done), outcome)

    def begin(self) -> None:
        if self._progress:
            self._progress(self.done, max(self.total, self.done), None)


class Batches:
    """Takes points to their outcomes: from the store, or else from the workers and into the store."""

    def __init__(
        self, store: Store, evaluate: Evaluate, identify: Callable[[Point], str], again: Collection[Status],
        executor: Executor | None, window: int, told: Told,
    ) -> None:  # fmt: skip
        self._store, self._identify, self.told = store, identify, told
        self._keys: dict[Point, str] = {}
        self._evaluate, self._executor, self._window = evaluate, executor, window
        self._floors: dict[str, dict[str, Floor]] = {}
        self._held = {key: outcome for key, outcome in store.results().items() if outcome.status not in again}

    def add(self, points: Sequence[Point]) -> None:
        """Make points rows of the study. Raises AccelsimError for one that cannot be built."""
        self._store.add(points, [self.key(point) for point in points])

    def key(self, point: Point) -> str:
        """The content key of a point."""
        if point not in self._keys:
            self._keys[point] = self._identify(point)
        return self._keys[point]

    def held(self, point: Point) -> Outcome | None:
        """What is known of a point."""
        return self._held.get(self.key(point))

    def settle(self, points: Sequence[Point], outcome: Outcome) -> None:
        """Give points an outcome without simulating them."""
        fresh = {self.key(point): point for point in points}
        self._store.write([(key, outcome) for key in fresh])
        for key, point in fresh.items():
            self._held[key] = outcome
            self.told(point, outcome)

    def floors(self, function: FloorsOf, objectives: str, points: Sequence[Point]) -> list[Floor]:
        """What a function says of points, in order: the workers are asked, and what they say is kept for these
        objectives."""
        if objectives not in self._floors:
            self._floors[objectives] = self._store.floors(objectives)
        known = self._floors[objectives]
        new = list({self.key(point): point for point in points if self.key(point) not in known}.values())
        parts = [new[i : i + ASKED] for i in range(0, len(new), ASKED)]
        asked = [self._executor.submit(function, part) if self._executor else None for part in parts]
        for part, future in zip(parts, asked, strict=True):
            try:
                found = future.result() if future else function(part)
            except WorkerDied:
                found = function(part)
            pairs = [(self.key(point), floor) for point, floor in zip(part, found, strict=True)]
            self._store.write_floors(objectives, pairs)
            known.update(pairs)
        return [known[self.key(point)] for point in points]

    def run(self, points: Sequence[Point], evaluate: Evaluate | None = None) -> list[Outcome]:
        """Outcomes in the order of the points, by another function if one is given; what is finished is kept at every
        moment."""
        keys = [self.key(point) for point in points]
        todo: dict[str, Point] = {}
        for key, point in dict(zip(keys, points, strict=True)).items():
            if key in self._held:
                self.told(point, self._held[key], held=True)
            else:
                todo[key] = point
        self.told.begin()
        for finished in self._outcomes(todo, evaluate or self._evaluate):
            self._store.write(finished)
            for key, outcome in finished:
                self._held[key] = outcome
                self.told(todo[key], outcome)
        return [self._held[key] for key in keys]

    def _outcomes(self, todo: dict[str, Point], evaluate: Evaluate) -> Iterator[Finished]:
        """Outcomes by key, in groups, as they come."""
        if self._executor is not None:
            yield from _through(self._executor, evaluate, todo, self._window)
        else:
            for key, point in todo.items():
                yield [(key, evaluated(evaluate, point))]


@contextmanager
def workers(executor: Executor | None, jobs: int) -> Iterator[Executor | None]:
    """The executor given, or worker processes that end with the block, or none for this process."""
    if executor is not None or jobs < 1:
        yield executor
        return
    pool = WorkerPool(jobs)
    try:
        yield pool
    except BaseException:
        pool.kill()
        raise
    pool.shutdown()


def _through(executor: Executor, evaluate: Evaluate, todo: dict[str, Point], window: int) -> Iterator[Finished]:
    """Keep up to `window` groups of points with the executor; those whose worker dies are tried again, one by one."""
    waiting = list(reversed(todo.items()))
    size = max(1, min(int(getattr(executor, "group", 1)), len(todo) // window))
    window = int(getattr(executor, "window", window))
    attempts: dict[str, int] = {}
    running: dict[Future[list[Outcome]], list[str]] = {}
    while waiting or running:
        while waiting and len(running) < window:
            keys = [waiting.pop()[0]]
            while len(keys) < size and keys[0] not in attempts and waiting and waiting[-1][0] not in attempts:
                keys.append(waiting.pop()[0])
            for key in keys:
                attempts[key] = attempts.get(key, 0) + 1
            running[executor.submit(evaluated_all, evaluate, [todo[key] for key in keys])] = keys
        ready, _ = wait(running, return_when=FIRST_COMPLETED)
        finished: list[tuple[str, Outcome]] = []
        for future in ready:
            keys = running.pop(future)
            try:
                finished += zip(keys, future.result(), strict=True)
            except WorkerDied as error:
                for key in keys:
                    if attempts[key] < ATTEMPTS:
                        waiting.append((key, todo[key]))
                    else:
                        finished.append((key, failure(Status.CRASHED, error)))
        if finished:
            yield finished


def evaluated_all(evaluate: Evaluate, points: Sequence[Point]) -> list[Outcome]:
    """Outcomes of several points, in order."""
    return [evaluated(evaluate, point) for point in points]
