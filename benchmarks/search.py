"""Searches beside drawing at random, and bounds first beside simulating everything, on the space of npu_space.yaml.

    python benchmarks/search.py [--points 1000] [--random 10000] [--sample 400] [--jobs 2]

1. NSGA-II with so many points for each of the two models, then so many drawn at random: time, points on the front and
   hypervolume below the worst result of either.
2. A sample simulated whole and with bounds first: points simulated, time, and whether the fronts are the same.

With the defaults the search takes about ten minutes on two cores, and drawing at random ten times as long.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from accelsim.study import Sample, Status, Study, Sweep, run_sweep
from accelsim.study.hypervolume import hypervolume, worst
from accelsim.study.sweep_file import load_sweep

SPACE = Path(__file__).with_name("npu_space.yaml")


def timed(sweep: Sweep, jobs: int) -> tuple[Study, float]:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        study = run_sweep(sweep, folder, jobs=jobs)
    return study, time.perf_counter() - start


def told(name: str, study: Study, seconds: float) -> None:
    simulated, left = study.count(Status.DONE), study.count(Status.DOMINATED)
    print(f"{name:24} {len(study.rows):6} points, {simulated:6} simulated, {left:6} left, {seconds:8.1f} s, "
          f"{len(study.pareto()):4} on the front", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--random", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    space = load_sweep(SPACE)
    assert space.search is not None

    searched, seconds = timed(replace(space, search=replace(space.search, points=options.points)), options.jobs)
    told("nsga2", searched, seconds)
    if options.random:
        drawn, seconds = timed(replace(space, search=None, sample=Sample("random", options.random)), options.jobs)
        told("random", drawn, seconds)
        compare(searched, drawn)
    if options.sample:
        sample = replace(space, search=None, sample=Sample("sobol", options.sample))
        whole, all_s = timed(sample, options.jobs)
        told("everything", whole, all_s)
        some, some_s = timed(replace(sample, bounds_first=True), options.jobs)
        told("bounds first", some, some_s)
        same = [whole.rows[i].settings for i in whole.pareto()] == [some.rows[i].settings for i in some.pareto()]
        print(f"fronts {'the same' if same else 'DIFFER'}; time {some_s / all_s:.2f} of simulating everything")


def compare(one: Study, other: Study) -> None:
    """Hypervolumes of two studies for every model, below the worst of both."""
    second = other.scores_by_model()
    for model, scores in one.scores_by_model().items():
        here = [score for score in scores if score is not None]
        there = [score for score in second[model] if score is not None]
        reference = worst([*here, *there])
        volumes = hypervolume(here, reference), hypervolume(there, reference)
        print(f"  {model}: hypervolume {volumes[0]:.6g} beside {volumes[1]:.6g}, ratio {volumes[0] / volumes[1]:.4f}")


if __name__ == "__main__":
    main()
