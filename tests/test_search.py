"""Searches: the same points for the same seed, resumed ones equal to uninterrupted ones, bounds that lose nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli import accelsim

from accelsim.errors import BadInput, SpecError
from accelsim.study import Axis, Model, Point, Scalar, Search, Span, Status, Study, Sweep, run_sweep
from accelsim.study.evaluation import simulate_point
from accelsim.study.floors import Contender, Floors, group_of
from accelsim.study.outcome import Bettered, evaluated

X, Y, KIND = "arch.memories.sram.capacity", "arch.memories.dram.latency", "arch.units.array.dataflow"


def toy(point: Point) -> Mapping[str, Scalar]:
    """Two objectives at odds, and a third column for constraints."""
    values = dict(point.arch_values)
    x, y = float(values["memories.sram.capacity"]), float(values["memories.dram.latency"])
    extra = 0.0 if values.get("units.array.dataflow", "output_stationary") == "output_stationary" else 3.0
    return {"latency_s": (x - 20) ** 2 + y + extra, "energy_J": (x - 5) ** 2 + y, "weight": x + y}


def unsteady(point: Point) -> Mapping[str, Scalar]:
    """The same, in another order of time."""
    time.sleep(hash(repr(point)) % 5 / 1000)
    return toy(point)


def name_of(point: Point) -> str:
    return repr(point)


def toy_sweep(search: Search | None, **changes: object) -> Sweep:
    axes = (Axis.of(X, list(range(32))), Axis.of(Y, Span(0, 9)), Axis.of(KIND, ["output_stationary", "other"]))
    sweep = Sweep(("edge_npu",), (Model("gpt2"),), axes, search=search)
    return replace(sweep, **changes)  # type: ignore[arg-type]


def run(sweep: Sweep, folder: Path, **options: object) -> Study:
    return run_sweep(sweep, folder, jobs=0, evaluate=toy, identify=name_of, **options)  # type: ignore[arg-type]


def points_of(study: Study) -> list[tuple[object, ...]]:
    return [tuple(row.settings.items()) for row in study.rows]


@pytest.mark.parametrize("method", ["nsga2", "tpe", "random"])
def test_a_search_asks_for_different_points_and_for_the_same_ones_again(method: str, tmp_path: Path) -> None:
    search = Search(method, 60, seed=3, batch=20)
    one, two = (run(toy_sweep(search), tmp_path / name) for name in "ab")
    assert one.digest() == two.digest()
    assert len(set(points_of(one))) == len(one.rows) == 60
    other = run(toy_sweep(replace(search, seed=4)), tmp_path / "c")
    assert points_of(other) != points_of(one)


def test_breeding_betters_drawing_at_random(tmp_path: Path) -> None:
    """Of 640 points, the front is 16 values of x at y = 0; 120 points that follow results find more of it."""
    def found(method: str) -> int:
        study = run(toy_sweep(Search(method, 120, seed=1, batch=20)), tmp_path / method)
        best = [study.rows[i].settings for i in study.pareto()]
        return sum(settings[Y] == 0 and 5 <= float(settings[X]) <= 20 for settings in best)

    assert found("nsga2") > found("random")


class Interrupted(BaseException):
    """Stands for Ctrl-C or worse."""


@pytest.mark.parametrize("method", ["nsga2", "tpe"])
@pytest.mark.parametrize("after", [1, 19, 20, 33, 59])
def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(method: str, after: int, tmp_path: Path) -> None:
    sweep = toy_sweep(Search(method, 60, seed=3, batch=20))
    whole = run(sweep, tmp_path / "whole")
    left = [after]

    def until(point: Point) -> Mapping[str, Scalar]:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        return toy(point)

    with pytest.raises(Interrupted):
        run_sweep(sweep, tmp_path / "cut", jobs=0, evaluate=until, identify=name_of)
    calls = []

    def counted(point: Point) -> Mapping[str, Scalar]:
        calls.append(point)
        return toy(point)

    again = run_sweep(sweep, tmp_path / "cut", jobs=0, resume=True, evaluate=counted, identify=name_of)
    assert again.digest() == whole.digest()
    assert len(calls) == 60 - after


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    sweep = toy_sweep(Search("nsga2", 40, batch=10))
    with ThreadPoolExecutor(4) as pool:
        side_by_side = run_sweep(sweep, tmp_path / "two", evaluate=unsteady, identify=name_of, executor=pool)
    assert side_by_side.digest() == run(sweep, tmp_path / "one").digest()


def test_a_search_keeps_to_constraints_and_conditions(tmp_path: Path) -> None:
    sweep = toy_sweep(Search("nsga2", 80, batch=20), constraints=("weight <= 12",), when=("capacity != 7",))
    study = run(sweep, tmp_path)
    assert all(row.settings[X] != 7 for row in study.rows)
    feasible = set(study.feasible())
    later = set(range(40, 80))
    assert len(feasible & later) > len(feasible - later)  # drawn to where the constraint is met


def test_an_axis_with_a_condition_is_left_out_of_points(tmp_path: Path) -> None:
    axes = (Axis.of(X, list(range(8))), Axis.of(Y, [0, 1, 2], when="capacity >= 4"))

    def evaluate(point: Point) -> Mapping[str, Scalar]:
        capacity = float(dict(point.arch_values)["memories.sram.capacity"])
        return {"latency_s": float(len(point.arch_values)), "energy_J": capacity}

    sweep = Sweep(("edge_npu",), (Model("gpt2"),), axes, search=Search("nsga2", 500, batch=10))
    study = run_sweep(sweep, tmp_path, jobs=0, evaluate=evaluate, identify=name_of)
    assert len(study.rows) == 4 + 4 * 3  # all there are, though more are wanted
    assert all((Y in row.settings) == (float(row.settings[X]) >= 4) for row in study.rows)


@pytest.mark.parametrize("seconds, points", [(0.0, 24), (1e-9, 4)])
def test_the_time_of_a_search_is_that_of_all_its_models(seconds: float, points: int, tmp_path: Path) -> None:
    sweep = toy_sweep(Search("random", 8, batch=4, seconds=seconds))
    three = replace(sweep, models=tuple(Model(name) for name in ("gpt2", "bert-base", "llama-2-7b")))
    assert len(run(three, tmp_path).rows) == points


def test_an_earlier_study_that_is_none_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no study here"):
        run(toy_sweep(Search("nsga2", 40, batch=20, start=str(tmp_path / "none"))), tmp_path / "later")
    assert not list(tmp_path.iterdir())


def test_an_earlier_study_is_where_a_search_starts(tmp_path: Path) -> None:
    sweep = toy_sweep(Search("random", 100, seed=9))
    first = run(sweep, tmp_path / "first")
    best = {tuple(first.rows[i].settings.items()) for i in first.pareto()}
    later = run(toy_sweep(Search("nsga2", 40, batch=20, start=str(tmp_path / "first"))), tmp_path / "later")
    assert best <= set(points_of(later)[: len(best) + 1])


@pytest.mark.parametrize(
    "search, message",
    [
        (Search("nsga3", 10), "no method 'nsga3'"),
        (Search("nsga2", 0), "points: 0"),
        (Search("nsga2", 10, batch=1), "batch: 1"),
        (Search("nsga2", 10, seconds=-1), "seconds: -1"),
    ],
)
def test_wrong_searches_are_refused(search: Search, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        toy_sweep(search).check()


def test_search_and_sample_or_no_axis_are_refused() -> None:
    from accelsim.study import Sample

    with pytest.raises(SpecError, match="both"):
        toy_sweep(Search("nsga2", 4), sample=Sample("sobol", 4)).check()
    with pytest.raises(SpecError, match="without axes"):
        toy_sweep(Search("nsga2", 4), axes=()).check()


MACHINES = (
    Axis.of("arch.memories.dram.bandwidth", ["2 GB/s", "4 GB/s", "8 GB/s", "16 GB/s", "32 GB/s", "64 GB/s"]),
    Axis.of("arch.memories.sram.capacity", ["256 KiB", "1 MiB"]),
    Axis.of("arch.units.array.rows", [8, 32]),
)


def machines(**changes: object) -> Sweep:
    sweep = Sweep(("edge_npu",), (Model.of("gpt2", phase="decode", context=256),), MACHINES)
    return replace(sweep, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def every_machine(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_sweep(machines(), tmp_path_factory.mktemp("all"), jobs=0)


SIZES = ("latency_s", "machine.on_chip_bytes", "machine.peak_macs_per_s")


@pytest.mark.parametrize("pareto, some_left", [(SIZES[:1], 8), (("latency_s * energy_J",), 8), (SIZES, 8)])
def test_bounds_first_leaves_the_front_as_it_is(
    pareto: tuple[str, ...], some_left: int, every_machine: Study, tmp_path: Path
) -> None:
    some = run_sweep(machines(pareto=pareto, bounds_first=True), tmp_path, jobs=0)
    assert points_of(some) == points_of(every_machine)
    assert some.pareto() == every_machine.pareto(pareto)
    assert some.count(Status.DOMINATED) + some.count(Status.DONE) == 24
    assert some.count(Status.DOMINATED) >= some_left
    assert "not simulated" in " ".join(some.notes())


def test_floors_lie_below_results(every_machine: Study) -> None:
    texts = ("latency_s", "energy_J", "latency * energy / 2", "-machine.peak_macs_per_s", "max(latency, 1 us)",
             "energy - 1 J", "sqrt(energy)", "macs")  # fmt: skip
    floors = Floors(machines(pareto=texts))
    exact = dict(zip(texts, [False, False, False, True, False, False, False, False], strict=True))
    for row, point in zip(every_machine.rows, machines().points(), strict=True):
        assert row.outcome is not None
        judged = every_machine.judged_by(objectives=texts)
        found = floors.of(point)
        scores = judged._scores()[row.number]
        assert scores is not None
        for text, low, score in zip(texts, found, scores, strict=True):
            assert low <= score * (1 + 1e-9) if score > 0 else low <= score
            assert (low == score) == exact[text] or not exact[text]
        assert found[-1] == -math.inf  # nothing is known of it before
        assert found[0] > 0


def test_a_point_ends_as_soon_as_its_rivals_better_it() -> None:
    """A rival between the floor and the result, which shows only while the point is mapped."""
    sweep = Sweep(("edge_npu",), (Model.of("mobilenet_v2", bits=8),), pareto=("latency_s",))
    point = sweep.points()[0]
    floor, values = Floors(sweep).of(point)[0], simulate_point(point)
    result = float(values["latency_s"])
    assert floor < 0.93 * result
    rivals = [{group_of(point): [(share * result,)]} for share in (1.0, 0.93)]
    assert Contender(sweep, {})(point) == Contender(sweep, rivals[0])(point) == values
    with pytest.raises(Bettered):
        Contender(sweep, rivals[1])(point)
    assert evaluated(Contender(sweep, rivals[1]), point).status is Status.DOMINATED


@pytest.mark.parametrize("after", [1, 6])
def test_bounds_first_goes_on_where_it_was_cut_off(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = machines(pareto=SIZES, bounds_first=True)
    whole = run_sweep(sweep, tmp_path / "whole", jobs=0)
    left = [after]

    def until(point: Point, watch: Callable[[float, float], None] | None = None) -> Mapping[str, Scalar]:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        return simulate_point(point, watch)

    with monkeypatch.context() as patched:
        patched.setattr("accelsim.study.floors.simulate_point", until)
        with pytest.raises(Interrupted):
            run_sweep(sweep, tmp_path / "cut", jobs=0)
    def known(sweep: Sweep, points: object) -> None:
        raise AssertionError("floors are in the store by then")

    with monkeypatch.context() as patched:
        patched.setattr("accelsim.study.explore.floors_of", known)
        again = run_sweep(sweep, tmp_path / "cut", jobs=0, resume=True)
    assert again.digest() == whole.digest()


def test_a_search_begins_with_the_corners_of_its_axes(tmp_path: Path) -> None:
    study = run(toy_sweep(Search("nsga2", 6, batch=3)), tmp_path)
    first, last = (dict(study.rows[i].settings) for i in (0, 1))
    assert [first[X], first[Y], first[KIND]] == [0, 0, "output_stationary"]
    assert [last[X], last[KIND]] == [31, "other"]
    assert float(last[Y]) == pytest.approx(9)


def test_the_command_searches(tmp_path: Path) -> None:
    rates = "arch.memories.dram.bandwidth=4 GB/s..32 GB/s step 4 GB/s"
    axes = ("--axis", rates, "--axis", f"{X}=256 KiB,512 KiB,1 MiB")
    call = ("sweep", "edge_npu", "gpt2", "--phase", "decode", "--context", 64, *axes, "--jobs", 0)
    ran = accelsim(*call, "--search", "nsga2:12:1", "--bounds-first", "--out", tmp_path / "a")
    assert ran.code == 0, ran.output
    study = Study.load(tmp_path / "a")
    assert len(study.rows) == 12
    assert study.sweep.search == Search("nsga2", 12, 1)
    wrong = accelsim(*call, "--search", "nsga2", "--out", tmp_path / "b")
    assert wrong.code == 2
    assert "--search nsga2" in wrong.output
    assert not (tmp_path / "b").exists()


def test_a_file_may_hold_a_search(tmp_path: Path) -> None:
    from accelsim.study.sweep_file import load_sweep

    text = (
        "arch: edge_npu\nmodels: [gpt2]\naxes: [{model.seq: [16, 32, 64]}]\n"
        "search: {method: tpe, points: 3, batch: 2}\nbounds_first: true\n"
    )
    (tmp_path / "s.yaml").write_text(text)
    sweep = load_sweep(tmp_path / "s.yaml")
    assert sweep.search == Search("tpe", 3, batch=2)
    assert sweep.bounds_first
    assert Sweep.from_json(sweep.to_json()) == sweep
    (tmp_path / "t.yaml").write_text(text.replace("points: 3", "pionts: 3"))
    with pytest.raises(SpecError, match=r"t.yaml:4"):
        load_sweep(tmp_path / "t.yaml")


