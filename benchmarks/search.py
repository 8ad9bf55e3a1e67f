"""Searches beside drawing at random, and bounds first beside simulating everything, on the space of npu_space.yaml.

    python benchmarks/search.py OUT [PART ...] [--points 2000] [--random 20000] [--sample 400] [--cluster 20] [--jobs 2]

Every study lies in a folder of its own in OUT. One that was stopped is taken up where it was, and one that is finished
is not run again, so that the parts may be run one by one; the time of all stretches adds up. Parts, all by default:

search   NSGA-II with so many points for each of the two models, and with bounds first.
random   So many points for each model drawn at random, with bounds first, which leaves the front and the hypervolume
         what they would be. With both parts, the hypervolumes below the worst result of either.
sample   A sample simulated whole, and with bounds first: points simulated, time, and whether the fronts are the same.
cluster  A small search on a Dask cluster of two local workers: whether its table is that of local processes.

Points of a search or a sample are counted for each model; a point of both takes about half a second of one core, one
that its bounds leave out a fiftieth of that.
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelsim.study import Outcome, Sample, Status, Study, Sweep, run_sweep
from accelsim.study.hypervolume import hypervolume, worst
from accelsim.study.sweep_file import load_sweep

SPACE = Path(__file__).with_name("npu_space.yaml")
PARTS = ("search", "random", "sample", "cluster")
KEPT_EVERY_S = 5.0


class Clock:
    """Seconds that a study has taken in all its stretches, and of processors as far as they came to an end; kept in its
    folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "seconds"
        self.wall, self.cpu = map(float, self._file.read_text().split()) if self._file.exists() else (0.0, 0.0)
        self._start = self._kept = time.perf_counter()
        self._used = used()

    def tick(self, done: int = 0, total: int = 0, outcome: Outcome | None = None) -> None:
        if time.perf_counter() - self._kept > KEPT_EVERY_S:
            self._kept = time.perf_counter()
            self._file.write_text(f"{self.wall + self._kept - self._start:.3f} {self.cpu:.3f}")

    def stop(self) -> None:
        self.wall += time.perf_counter() - self._start
        self.cpu += used() - self._used
        self._file.write_text(f"{self.wall:.3f} {self.cpu:.3f}")


def used() -> float:
    """Processor seconds of this process and of those of its children that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def run(name: str, sweep: Sweep, out: Path, jobs: int, executor: Executor | None = None) -> tuple[Study, Clock]:
    """The study in its folder, run as far as it is not, and the time that it took; a line about it."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    clock, finished = Clock(folder), folder / "finished"
    if finished.exists():
        study = Study.load(folder)
    else:
        study = run_sweep(sweep, folder, jobs=jobs, resume=True, progress=clock.tick, executor=executor)
        clock.stop()
        finished.touch()
    simulated, left = study.count(Status.DONE), study.count(Status.DOMINATED)
    print(f"{name:14} {len(study.rows):6} points, {simulated:6} simulated, {left:6} left, {clock.wall:8.1f} s "
          f"({clock.cpu:.1f} of processors), {len(study.pareto()):4} on the front", flush=True)  # fmt: skip
    return study, clock


def compare(one: Study, other: Study) -> None:
    """Hypervolumes of two studies for every model, below the worst of both."""
    second = other.scores_by_model()
    for model, scores in one.scores_by_model().items():
        here = [score for score in scores if score is not None]
        there = [score for score in second[model] if score is not None]
        reference = worst([*here, *there])
        volumes = hypervolume(here, reference), hypervolume(there, reference)
        print(f"  {model}: hypervolume {volumes[0]:.8g} beside {volumes[1]:.8g}, ratio {volumes[0] / volumes[1]:.6f}")


def fidelity(sweep: Sweep, out: Path, jobs: int) -> None:
    """Bounds first, then everything."""
    some, one = run("bounds_first", replace(sweep, bounds_first=True), out, jobs)
    whole, other = run("everything", sweep, out, jobs)
    fronts = [[(s.rows[i].settings, s.rows[i].outcome) for i in s.pareto()] for s in (whole, some)]
    same = "the same" if fronts[0] == fronts[1] else "DIFFER"
    print(f"  fronts {same}; time {one.wall / other.wall:.2f} of simulating everything, of processors "
          f"{one.cpu / other.cpu:.2f}")  # fmt: skip


def cluster(sweep: Sweep, out: Path, jobs: int) -> None:
    """Two workers of a local cluster, then local processes."""
    import distributed

    from accelsim.study.cluster import cluster as connected

    workers: Any = distributed.LocalCluster
    with (
        workers(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as local,
        connected(local.scheduler_address) as executor,
    ):
        there, _ = run("cluster", sweep, out, jobs, executor)
    here, _ = run("local", sweep, out, jobs)
    print(f"  tables {'the same' if there.digest() == here.digest() else 'DIFFER'}: {here.digest()[:16]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--random", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--cluster", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    space = load_sweep(SPACE)
    assert space.search is not None
    plain = replace(space, search=None)
    found: list[Study] = []
    if "search" in given.part:
        search = replace(space.search, points=given.points)
        found.append(run("search", replace(space, search=search, bounds_first=True), given.out, given.jobs)[0])
    if "random" in given.part:
        drawn = replace(plain, sample=Sample("random", given.random), bounds_first=True)
        found.append(run("random", drawn, given.out, given.jobs)[0])
    if len(found) == 2:
        compare(*found)
    if "sample" in given.part:
        fidelity(replace(plain, sample=Sample("sobol", given.sample)), given.out, given.jobs)
    if "cluster" in given.part:
        small = replace(space.search, points=given.cluster, batch=max(2, given.cluster // 4))
        cluster(replace(space, search=small, bounds_first=True), given.out, given.jobs)


if __name__ == "__main__":
    main()
