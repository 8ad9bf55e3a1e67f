"""Sweeps: the grid, the store, worker processes that die, interruption and resumption, Pareto fronts, anomalies."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import evaluators

from accelsim.errors import BadInput, SpecError
from accelsim.study import Axis, Evaluate, Model, Point, Status, Study, Sweep, WorkerDied, WorkerPool, run_sweep
from accelsim.study.anomalies import anomalies
from accelsim.study.outcome import Outcome
from accelsim.study.pareto import front
from accelsim.study.row import Row


def grid(arch: str = "machine", a: int = 6) -> Sweep:
    return Sweep(
        (arch,),
        (Model("model"),),
        (Axis.of("arch.a", list(range(1, a + 1))), Axis.of("arch.b", [10, 20, 30])),
        name="grid",
    )


def run(
    folder: Path,
    evaluate: Evaluate,
    *,
    sweep: Sweep | None = None,
    jobs: int = 2,
    resume: bool = False,
    progress: Callable[[int, int, Outcome | None], None] | None = None,
) -> Study:
    return run_sweep(
        sweep or grid(), folder, jobs=jobs, resume=resume, progress=progress,
        evaluate=evaluate, identify=evaluators.identify,
    )


# -- the grid --------------------------------------------------------------------------------------------------------


def test_points_are_the_product_with_the_last_axis_fastest() -> None:
    points = grid().points()
    assert len(points) == 18
    assert [dict(p.arch_values) for p in points[:4]] == [
        {"a": 1, "b": 10}, {"a": 1, "b": 20}, {"a": 1, "b": 30}, {"a": 2, "b": 10},
    ]


def test_tied_axes_move_together() -> None:
    axis = Axis.tied({"arch.rows": [16, 32], "arch.cols": [8, 4]})
    assert axis.steps == ((16, 8), (32, 4))
    assert axis == Axis.parse("arch.rows+arch.cols=16:8,32:4")
    assert Axis.parse("arch.r+arch.c=16,32").steps == ((16, 16), (32, 32))
    sweep = Sweep(("m",), (Model("w"),), (axis,))
    assert [p.arch_values for p in sweep.points()] == [(("rows", 16), ("cols", 8)), (("rows", 32), ("cols", 4))]


def test_axes_reach_machine_model_and_mapper() -> None:
    texts = ("model.seq=128", "model.bind.N=2", "mapper=tile", "arch.memories.sram.capacity=1 MiB")
    axes = [Axis.parse(text) for text in texts]
    (point,) = Sweep(("m",), (Model.of("w", batch=4),), tuple(axes)).points()
    assert point == Point(
        "m", "w", (("memories.sram.capacity", "1 MiB"),), (("batch", 4), ("seq", 128), ("bind.N", 2)), mapper="tile"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Axis.parse("arch.a"), "not an axis"),
        (lambda: Axis.parse("arch.a="), "not an axis"),
        (lambda: Axis.parse("a.b+c.d+e.f=1:2"), "2 values for 3 names"),
        (lambda: Axis.tied({"arch.a": [1], "arch.b": [1, 2]}), "arch.a has 1, arch.b has 2"),
        (lambda: Sweep(("m",), (Model("w"),), (Axis.of("machine.a", [1]),)).points(), "no axis 'machine.a'"),
        (lambda: Sweep(("m",), (Model("w"),), (Axis.of("model.sequence", [1]),)).points(), "no axis 'model.sequence'"),
        (lambda: Sweep(("m",), (Model("w"),), (Axis.of("arch.a", [1, 1]),)).points(), "lists a value twice"),
        (lambda: Sweep(("m",), (Model("w"),), (Axis.of("arch.a", [1]),) * 2).points(), "stands on two axes"),
        (lambda: Sweep(("m",), ()).points(), "no model"),
        (lambda: Sweep((), (Model("w"),)).points(), "no machine"),
        (lambda: Sweep(("m",), (Model.of("w", length=3),)).points(), "no option 'length'"),
    ],
)
def test_wrong_sweeps_say_what_is_wrong(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_sweep_survives_its_text_form() -> None:
    sweep = Sweep(("m", "n"), (Model.of("w", seq=3),), (Axis.tied({"arch.a": [1], "seed": [7]}),), pareto=("-x",))
    assert Sweep.from_json(sweep.to_json()) == sweep


# -- running ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_rows_come_in_grid_order_whatever_the_workers_do(tmp_path: Path, jobs: int) -> None:
    study = run(tmp_path, evaluators.arithmetic, jobs=jobs)
    expected = [{"latency_s": 1000 / a + b, "energy_J": a + b} for a in range(1, 7) for b in (10, 20, 30)]
    assert [{k: r[k] for k in ("latency_s", "energy_J")} for r in study.table()] == expected
    assert study.digest() == run(tmp_path / "again", evaluators.arithmetic, jobs=0).digest()


def test_any_executor_will_do(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        study = run_sweep(
            grid(), tmp_path, executor=pool, evaluate=evaluators.arithmetic, identify=evaluators.identify
        )
    assert study.count(Status.DONE) == 18


def test_failures_are_rows_with_their_reason(tmp_path: Path) -> None:
    study = run(tmp_path, evaluators.failing)
    assert [study.count(s) for s in (Status.DONE, Status.DOES_NOT_FIT, Status.FAILED, Status.CRASHED)] == [9, 3, 3, 3]
    first = study.failed()[0]
    assert first == {
        "arch.a": 1, "arch.b": 10, "status": "does not fit", "error": "DoesNotFit",
        "message": "sram holds 1 B, tile needs 2 B",
    }
    assert {f["error"] for f in study.failed()} == {"DoesNotFit", "BadInput", "ZeroDivisionError"}
    assert "sram holds 1 B" in study.to_csv()


def test_what_an_evaluation_prints_does_no_harm(tmp_path: Path) -> None:
    assert run(tmp_path, evaluators.printing).count(Status.DONE) == 18


def test_a_worker_killed_once_costs_nothing(tmp_path: Path) -> None:
    study = run(tmp_path / "out", evaluators.lethal_once, sweep=grid(str(tmp_path)))
    assert (tmp_path / "killed").exists()
    assert study.count(Status.DONE) == 18


def test_a_point_that_kills_its_workers_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    study = run(tmp_path, evaluators.lethal)
    (failed,) = study.failed()
    assert (failed["arch.a"], failed["arch.b"], failed["error"]) == (3, 10, "WorkerDied")
    assert "signal 9" in str(failed["message"])
    assert study.count(Status.DONE) == 17


def test_progress_counts_every_point(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(tmp_path, evaluators.arithmetic, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(i, 18) for i in range(19)]


# -- resuming --------------------------------------------------------------------------------------------------------


def test_a_store_is_not_overwritten_unasked(tmp_path: Path) -> None:
    run(tmp_path, evaluators.arithmetic)
    with pytest.raises(BadInput, match="--resume"):
        run(tmp_path, evaluators.arithmetic)


def test_resuming_evaluates_only_what_is_new(tmp_path: Path) -> None:
    run(tmp_path, evaluators.arithmetic, sweep=grid(a=4))
    steps: list[Outcome | None] = []
    study = run(tmp_path, evaluators.arithmetic, resume=True, progress=lambda _d, _t, outcome: steps.append(outcome))
    assert len(steps) == 1 + 2 * 3
    assert study.digest() == run(tmp_path / "once", evaluators.arithmetic).digest()


def test_resuming_tries_crashed_points_again_and_no_others(tmp_path: Path) -> None:
    run(tmp_path, evaluators.failing)
    steps: list[Outcome | None] = []
    study = run(tmp_path, evaluators.arithmetic, resume=True, progress=lambda _d, _t, outcome: steps.append(outcome))
    assert len(steps) == 1 + 3
    assert study.count(Status.CRASHED) == 0
    assert study.count(Status.DOES_NOT_FIT) == 3


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    def second(done: int, total: int, outcome: Outcome | None) -> None:
        if outcome is None:
            with pytest.raises(BadInput, match="another sweep is writing"):
                run(tmp_path, evaluators.arithmetic, resume=True)

    assert run(tmp_path, evaluators.arithmetic, progress=second).count(Status.DONE) == 18


def test_study_can_be_read_while_it_runs(tmp_path: Path) -> None:
    counts: list[int] = []
    run(tmp_path, evaluators.arithmetic, jobs=0,
        progress=lambda _d, _t, _o: counts.append(Study.load(tmp_path).count(Status.DONE)))
    assert counts == list(range(19))
    assert Study.load(tmp_path / "study.sqlite").count(None) == 0


def test_notes_count_what_is_missing(tmp_path: Path) -> None:
    run(tmp_path, evaluators.arithmetic)
    with sqlite3.connect(tmp_path / "study.sqlite") as db:
        db.execute("DELETE FROM results WHERE rowid <= 5")
    study = Study.load(tmp_path)
    assert study.count(None) == 5
    assert any(note.startswith("5 of 18 points are not evaluated yet") for note in study.notes())


@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_what_is_no_study_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "study.sqlite").write_bytes(content)
    with pytest.raises(BadInput, match=str(tmp_path)):
        Study.load(tmp_path)


CHILD = """
import sys
from support import evaluators
from accelsim.study import run_sweep, Sweep, Model, Axis
sweep = Sweep((sys.argv[1],), (Model("model"),), (Axis.of("arch.a", list(range(1, 41))), Axis.of("arch.b", [10, 20])))
run_sweep(sweep, sys.argv[2], jobs=2, evaluate=getattr(evaluators, sys.argv[3]), identify=evaluators.identify,
          progress=lambda done, total, outcome: print(done, flush=True), resume=True)
"""


def child(arch: str, folder: Path, evaluate: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, arch, str(folder), evaluate],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
    )


def children_of(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@linux
@pytest.mark.parametrize("after", [1, 12, 33])
def test_killed_outright_and_resumed_gives_the_same_table(tmp_path: Path, after: int) -> None:
    process = child("m", tmp_path / "killed", "slow")
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= after:
            break
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    assert workers
    wait_until(lambda: gone(workers), "worker processes outlive the sweep")
    kept = Study.load(tmp_path / "killed")
    assert after <= kept.count(Status.DONE) < 80
    assert child("m", tmp_path / "killed", "slow").wait() == 0
    assert child("m", tmp_path / "whole", "arithmetic").wait() == 0
    resumed, whole = Study.load(tmp_path / "killed"), Study.load(tmp_path / "whole")
    assert resumed.digest() == whole.digest()
    assert resumed.to_csv() == whole.to_csv()


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_an_interrupted_sweep(tmp_path: Path, number: signal.Signals) -> None:
    process = child(str(tmp_path), tmp_path / "out", "stuck")
    wait_until(lambda: len(list(tmp_path.glob("pid*"))) == 2, "the workers did not start")
    workers = {int(mark.name.removeprefix("pid")) for mark in tmp_path.glob("pid*")}
    assert workers == children_of(process.pid)
    os.kill(process.pid, number)
    assert process.wait(timeout=30) != 0
    wait_until(lambda: gone(workers), "worker processes outlive the sweep")


# -- the pool --------------------------------------------------------------------------------------------------------


def test_pool_returns_values_and_exceptions() -> None:
    with WorkerPool(2) as pool:
        futures = [pool.submit(divmod, 7, n) for n in (2, 0, 3)]
        assert futures[0].result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            futures[1].result()
        assert futures[2].result() == (2, 1)


def test_pool_replaces_a_dead_worker() -> None:
    with WorkerPool(1) as pool:
        with pytest.raises(WorkerDied, match="exit code 3"):
            pool.submit(os._exit, 3).result()
        assert pool.submit(max, 1, 2).result() == 2


def test_killing_the_pool_ends_what_runs(tmp_path: Path) -> None:
    pool = WorkerPool(2)
    futures = [pool.submit(evaluators.tell_and_sleep, str(tmp_path)) for _ in range(4)]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "the workers did not start")
    pool.kill()
    for worker in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker.name), 0)
    assert len(list(tmp_path.iterdir())) == 2
    assert all(f.cancelled() or isinstance(f.exception(), WorkerDied) for f in futures)


# -- reading the results ---------------------------------------------------------------------------------------------


def test_dataframe_has_settings_then_results(tmp_path: Path) -> None:
    frame = run(tmp_path, evaluators.arithmetic, jobs=0).to_dataframe()
    assert list(frame.columns) == ["arch.a", "arch.b", "status", "latency_s", "energy_J", "bottleneck"]
    assert frame["energy_J"].sum() == sum(a + b for a in range(1, 7) for b in (10, 20, 30))


def test_pareto_front_of_the_grid(tmp_path: Path) -> None:
    """With latency 1000/a + b and energy a + b, only b = 10 is ever on the front, and every a is."""
    study = run(tmp_path, evaluators.arithmetic, jobs=0)
    assert study.pareto() == [0, 3, 6, 9, 12, 15]
    assert study.pareto(["-energy_J"]) == [17]


def test_pareto_fronts_are_per_model(tmp_path: Path) -> None:
    sweep = Sweep(("m",), (Model("one"), Model("two")), (Axis.of("arch.a", [1, 2]), Axis.of("arch.b", [10, 20])))
    assert run(tmp_path, evaluators.arithmetic, sweep=sweep, jobs=0).pareto() == [0, 2, 4, 6]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_front_is_what_its_definition_says(rows: list[tuple[int, int, int]]) -> None:
    def dominates(x: tuple[int, int, int], y: tuple[int, int, int]) -> bool:
        return x != y and x[0] <= y[0] and x[1] <= y[1] and x[2] >= y[2]

    expected = [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]
    assert front([(x, y, -z) for x, y, z in rows]) == expected
    assert front([(x, y) for x, y, _ in rows]) == plain_front([(x, y) for x, y, _ in rows])


def plain_front(rows: Sequence[tuple[float, ...]]) -> list[int]:
    def better(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return [i for i, row in enumerate(rows) if not any(better(other, row) for other in rows)]


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 6])
def test_fronts_of_many_points(columns: int) -> None:
    """More points than the blocks in which four and more objectives are compared, with ties."""
    draw = random.Random(columns)
    rows = [tuple(float(draw.randrange(4 * columns)) for _ in range(columns)) for _ in range(1300)]
    assert front(rows) == plain_front(rows)


def test_front_needs_columns_of_numbers(tmp_path: Path) -> None:
    study = run(tmp_path, evaluators.arithmetic, jobs=0)
    with pytest.raises(BadInput, match="no column 'cost'"):
        study.pareto(["cost"])
    with pytest.raises(BadInput, match=r"no column of numbers 'bottleneck' \(there are arch.a, arch.b, energy_J"):
        study.pareto(["bottleneck"])
    with pytest.raises(BadInput, match="needs an objective"):
        study.pareto([])


def test_page_keeps_the_order_of_sizes(tmp_path: Path) -> None:
    """256 KiB comes before 1 MiB because the axis says so, whatever the alphabet says."""
    sizes = Axis.of("arch.size", ["256 KiB", "512 KiB", "1 MiB"])
    sweep = Sweep(("m",), (Model("w"),), (sizes, Axis.of("arch.a", [2]), Axis.of("arch.b", [3])))
    page = run(tmp_path, evaluators.arithmetic, sweep=sweep, jobs=0).to_html()
    assert '"categoryarray":["256 KiB","512 KiB","1 MiB"]' in page


def anomaly_row(capacity: str, bandwidth: str, latency: float) -> Row:
    settings = {"arch": "m", "arch.memories.sram.capacity": capacity, "arch.memories.dram.bandwidth": bandwidth}
    return Row(settings, Outcome(Status.DONE, {"latency_s": latency}))


def test_a_larger_machine_that_is_slower_is_told() -> None:
    rows = [
        anomaly_row("1 MiB", "10 GB/s", 1.0),
        anomaly_row("512 KiB", "10 GB/s", 0.8),
        anomaly_row("1 MiB", "20 GB/s", 0.7),
        anomaly_row("512 KiB", "20 GB/s", 0.7),
    ]
    head, note = anomalies(rows)
    assert head.startswith("1 pair of points shows a scheduling anomaly")
    assert note == (
        "arch.memories.sram.capacity 1 MiB is 25.00% slower than 512 KiB at arch.memories.dram.bandwidth=10 GB/s"
    )
    assert anomalies(rows[2:]) == []


def test_a_point_that_cannot_be_built_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no model"):
        run_sweep(Sweep(("edge_npu",), (Model("no_such_model"),)), tmp_path / "out", jobs=0)
    (tmp_path / "there").mkdir()
    with pytest.raises(BadInput, match="no model"):
        run_sweep(Sweep(("edge_npu",), (Model("no_such_model"),)), tmp_path / "there", jobs=0)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
