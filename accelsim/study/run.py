"""Running a sweep: every point that is not yet in the store goes to an executor, every outcome into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import TypeAlias

from ..errors import BadInput
from ..files import writable_folder
from .outcome import Evaluate, Outcome, Status, evaluated, failure
from .point import Point
from .pool import WorkerDied, WorkerPool
from .store import FILE, Store
from .study import Study
from .sweep import Sweep

Progress: TypeAlias = Callable[[int, int, Outcome | None], None]
"""Called with the number of points done, their total, and the last outcome (None at the start)."""

Watch: TypeAlias = Callable[[Point, Outcome], None]
"""Called with every point that is finished, those that the store holds already first."""

ATTEMPTS = 2
"""How often a point is tried whose worker dies."""


def run_sweep(
    sweep: Sweep,
    folder: str | Path,
    *,
    jobs: int = 2,
    resume: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
    evaluate: Evaluate | None = None,
    identify: Callable[[Point], str] | None = None,
    executor: Executor | None = None,
) -> Study:
    """Evaluate all points of a sweep and return the Study; what is finished is kept at every moment.

    Args:
        sweep: the grid.
        folder: where the store goes; made if it is missing.
        jobs: worker processes; 0 evaluates in this process.
        resume: take up a store that is there, and evaluate only points whose content key it does not hold.
        retry_failed: with `resume`, also evaluate points again that failed with an error (not those that do not fit).
        progress: told after every point.
        watch: told of every point and its outcome.
        evaluate: simulates a point; the default calls `accelsim.simulate`.
        identify: the content key of a point; raises AccelsimError for a point that cannot be built.
        executor: any other executor of `concurrent.futures`, in place of worker processes on this machine.

    Raises:
        BadInput: a wrong sweep, a folder that cannot be written, or a store that is there without `resume`.
            All this is found before the first simulation.
        KeyboardInterrupt: after the workers have been ended; finished points are in the store.
    """
    if evaluate is None:
        from .foreseen import check_names

        check_names(sweep)
    if evaluate is None or identify is None:
        from .evaluation import Identity, simulate_point

        evaluate = evaluate or simulate_point
        identify = identify or Identity()
    points = sweep.points()
    where = writable_folder(folder)
    if (where / FILE).exists() and not resume:
        raise BadInput(f"{where}: there is a study here already (--resume takes it up, or give another folder)")
    keys = [identify(point) for point in points]
    store = Store(where, sweep, points, keys)
    try:
        settled = store.settled((Status.CRASHED, Status.FAILED) if retry_failed else (Status.CRASHED,))
        todo = {key: point for key, point in zip(keys, points, strict=True) if key not in settled}
        done, total = len(set(keys)) - len(todo), len(set(keys))
        if watch and settled:
            for point, outcome in store.outcomes(points, settled):
                watch(point, outcome)
        if progress:
            progress(done, total, None)
        for finished in _outcomes(evaluate, todo, executor, jobs):
            store.write(finished)
            for key, outcome in finished:
                done += 1
                if watch:
                    watch(todo[key], outcome)
                if progress:
                    progress(done, total, outcome)
    finally:
        store.close()
    return Study.load(where)


Finished: TypeAlias = Sequence[tuple[str, Outcome]]


def _outcomes(
    evaluate: Evaluate, todo: dict[str, Point], executor: Executor | None, jobs: int
) -> Iterator[Finished]:
    """Outcomes by key, in groups, as they come."""
    if executor is not None:
        yield from _through(executor, evaluate, todo, 2 * max(jobs, 1))
    elif jobs < 1:
        for key, point in todo.items():
            yield [(key, evaluated(evaluate, point))]
    elif todo:
        pool = WorkerPool(min(jobs, len(todo)))
        try:
            yield from _through(pool, evaluate, todo, 2 * jobs)
        except BaseException:
            pool.kill()
            raise
        pool.shutdown()


def _through(executor: Executor, evaluate: Evaluate, todo: dict[str, Point], window: int) -> Iterator[Finished]:
    """Keep up to `window` points with the executor; one whose worker dies is tried again, up to `ATTEMPTS` times."""
    waiting = list(reversed(todo.items()))
    attempts: dict[str, int] = {}
    running: dict[Future[Outcome], str] = {}
    while waiting or running:
        while waiting and len(running) < window:
            key, point = waiting.pop()
            attempts[key] = attempts.get(key, 0) + 1
            running[executor.submit(evaluated, evaluate, point)] = key
        ready, _ = wait(running, return_when=FIRST_COMPLETED)
        finished = []
        for future in ready:
            key = running.pop(future)
            try:
                finished.append((key, future.result()))
            except WorkerDied as error:
                if attempts[key] < ATTEMPTS:
                    waiting.append((key, todo[key]))
                else:
                    finished.append((key, failure(Status.CRASHED, error)))
        if finished:
            yield finished
