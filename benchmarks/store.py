"""How long a study of 100,000 points takes to open, to find its Pareto front, and to export.

    python benchmarks/store.py [POINTS]

The points have settings and results as those of one sweep of a small machine: eight settings, thirty results.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from accelsim.study import Axis, Model, Outcome, Point, Status, Study, Sweep
from accelsim.study.export import export_rows
from accelsim.study.store import Store

T = TypeVar("T")
RESULTS = 26
"""Columns of results beside objectives, name and bottleneck."""


def timed(what: str, function: Callable[[], T]) -> T:
    start, used = time.perf_counter(), time.process_time()
    result = function()
    wall, cpu = time.perf_counter() - start, time.process_time() - used
    print(f"{what:34} {wall:6.2f} s ({cpu:.2f} s of the processor)")
    return result


def outcome(draw: random.Random) -> Outcome:
    values: dict[str, str | int | float | bool] = {"name": "gpt2.prefill on edge_npu", "latency_s": draw.random()}
    values |= {"energy_J": draw.random(), "area_mm2": draw.random(), "cycles": draw.random() * 1e7}
    values |= {f"traffic_bytes.memory{i}.read": draw.randrange(10**9) for i in range(RESULTS // 2)}
    values |= {f"utilization.unit{i}.busy": draw.random() for i in range(RESULTS // 2)}
    return Outcome(Status.DONE, {**values, "bottleneck": "Unit array limits: busy 90 % of the time; " * 4})


def fill(folder: Path, count: int) -> None:
    draw = random.Random(0)
    side = round(count**0.5)
    axes = (Axis.of("arch.a", list(range(side))), Axis.of("arch.b", list(range(-(-count // side)))))
    sweep = Sweep(("edge_npu",), (Model.of("gpt2", seq=128, bits=8),), axes, name="many points",
                  constraints=("energy <= 0.9 J",), derived=(("edp", "latency * energy"),))  # fmt: skip
    points: list[Point] = sweep.points()[:count]
    store = Store(folder, sweep, points, [str(i) for i in range(count)])
    store.write((str(i), outcome(draw)) for i in range(count))
    store.close()


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed(f"write {count} points", lambda: fill(folder, count))
        print(f"{'size of the store':34} {(folder / 'study.sqlite').stat().st_size / 1e6:6.1f} MB")
        study = timed("open", lambda: Study.load(folder))
        timed("  derived columns and feasibility", study.feasible)
        front = timed("  front by 2 objectives", study.pareto)
        wide = timed("  front by 4 objectives", lambda: study.pareto(["latency", "energy", "area", "-cycles"]))
        print(f"{'points on the fronts':34} {len(front)}, {len(wide)}")
        timed("  export as CSV", lambda: export_rows(study, folder / "points.csv", range(count)))
        timed("  export as JSON", lambda: export_rows(study, folder / "points.json", range(count)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
