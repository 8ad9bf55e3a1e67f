"""Running a sweep: every point that is not yet in the store goes to an executor, every outcome into the store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from ..errors import AccelsimError, BadInput
from ..files import writable_folder
from .batches import Batches, Progress, Told, Watch, workers
from .explore import explore, simulate_all
from .outcome import Evaluate, Status
from .point import Point
from .pool import check_jobs
from .store import FILE, Store
from .study import Study
from .sweep import Sweep

__all__ = ["Progress", "Watch", "run_sweep"]


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
    check_jobs(jobs)
    simulates = evaluate is None
    if evaluate is None:
        from .foreseen import check_names

        check_names(sweep)
    if evaluate is None or identify is None:
        from .evaluation import Identity, simulate_point

        evaluate = evaluate or simulate_point
        identify = identify or Identity()
    points = sweep.points()
    if sweep.search is not None and sweep.search.start:
        Study.load(sweep.search.start)  # what is wrong with it leaves nothing behind
    made = not Path(folder).exists()
    where = writable_folder(folder)
    if (where / FILE).exists() and not resume:
        raise BadInput(f"{where}: there is a study here already (--resume takes it up, or give another folder)")
    try:
        keys = [identify(point) for point in points]
    except AccelsimError:
        if made:
            with suppress(OSError):
                where.rmdir()
        raise
    store = Store(where, sweep, points, keys)
    try:
        # What is not simulated under some results may be so under others.
        again = {Status.CRASHED, Status.DOMINATED} | ({Status.FAILED} if retry_failed else set())
        with workers(executor, jobs) as pool:
            batches = Batches(store, evaluate, identify, again, pool, 2 * max(jobs, 1), Told(progress, watch))
            if sweep.search is not None or sweep.bounds_first:
                explore(sweep, points, batches, ends=simulates)
            else:
                simulate_all(points, batches)
    finally:
        store.close()
    return Study.load(where)
