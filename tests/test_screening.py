"""Screening: gains by definition, choices as of an eager count, more of the front than by breeding alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from accelsim.study import Axis, Model, Point, Scalar, Search, Status, Sweep, run_sweep
from accelsim.study.breeding import steps
from accelsim.study.hypervolume import gain, hypervolume
from accelsim.study.screen import Screen

SIDE = 6
SCORES = st.integers(1, 3).flatmap(lambda d: st.lists(st.tuples(*[st.integers(0, SIDE)] * d), min_size=2, max_size=9))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(SCORES)
def test_a_gain_is_what_the_hypervolume_grows_by(scores: list[tuple[float, ...]]) -> None:
    reference = (float(SIDE),) * len(scores[0])
    grown = hypervolume(scores, reference) - hypervolume(scores[1:], reference)
    assert gain(scores[0], scores[1:], reference) == pytest.approx(grown)


def point(i: int) -> Point:
    return Point("edge_npu", "gpt2", seed=i)


def screen(results: Sequence[tuple[float, ...]], floors: Sequence[tuple[float, ...]]) -> Screen:
    found = Screen()
    for i, score in enumerate(results):
        found.learn(point(-1 - i), score)
    points = [point(i) for i in range(len(floors))]
    found.add(dict(zip(points, floors, strict=True)), dict.fromkeys(points, (0.5,)))
    return found


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, SIDE - 1)] * 2), min_size=1, max_size=9), st.integers(1, 9))
def test_each_choice_adds_most_to_those_before(floors: list[tuple[float, ...]], wanted: int) -> None:
    reference = (float(SIDE),) * 2
    waits, waiting = screen([reference, (3.0, 3.0)], floors), dict(enumerate(floors))
    for _ in range(2):  # the second time with gains that were looked at before
        best: list[tuple[float, ...]] = [(3.0, 3.0)]
        for one in waits.choose(wanted):
            most = max(gain(floor, best, reference) for floor in waiting.values())
            best.append(waiting.pop(one.seed))
            assert gain(best[-1], best[:-1], reference) == pytest.approx(most)


def test_an_objective_that_nothing_is_known_of_is_hoped_to_be_the_best_so_far() -> None:
    waits = screen([(9.0, 9.0), (4.0, 2.0)], [(5.0, -math.inf), (3.0, -math.inf), (3.5, 0.0)])
    assert [one.seed for one in waits.choose(3)] == [2, 1, 0]


def test_a_guess_goes_by_the_results_nearby() -> None:
    """Two floors alike, one beside a result at twice its floor, the other beside a result at its floor."""
    waits = Screen()
    waits.learn(point(9), (10.0,))
    near, far = (point(0), point(1)), (point(2), point(3))
    waits.add({near[0]: (4.0,), far[0]: (8.0,)}, {near[0]: (0.0,), far[0]: (1.0,)})
    assert set(waits.choose(2)) == {near[0], far[0]}
    for _ in range(3):
        waits.learn(near[0], (8.0,))
    for _ in range(3):
        waits.learn(far[0], (8.0,))
    waits.add({near[1]: (5.0,), far[1]: (5.0,)}, {near[1]: (0.1,), far[1]: (0.9,)})
    assert waits.choose(2) == [far[1], near[1]]


def test_steps_go_to_the_values_beside() -> None:
    whole, share = IntDistribution(0, 4), FloatDistribution(0.0, 1.0)
    assert steps(whole, 2) == [1, 3]
    assert steps(whole, 0) == [1]
    assert steps(share, 0.5) == pytest.approx([0.4, 0.6, 0.49, 0.51])
    assert steps(share, 1.0) == pytest.approx([0.9, 0.99])
    assert steps(CategoricalDistribution(["a", "b", "c"]), "b") == ["a", "c"]


AXES = tuple(Axis.of(f"arch.a{i}", list(range(8))) for i in range(6))
BENT = Sweep(("edge_npu",), (Model("gpt2"),), AXES, pareto=("latency_s", "energy_J"))


def bent(point: Point) -> Mapping[str, Scalar]:
    """A quarter of a circle, of which two of six parameters choose the point; the others lead away from it."""
    x = [float(value) for _, value in point.arch_values]
    away = 1 + sum(((value - best) / 7) ** 2 for value, best in zip(x[2:], (1, 6, 3, 4), strict=True))
    angle = math.pi / 2 * (8 * x[0] + x[1]) / 63
    return {"latency_s": away * math.cos(angle), "energy_J": away * math.sin(angle)}


def low(sweep: Sweep, points: Sequence[Point]) -> list[tuple[float, ...]]:
    """Floors of 0.6 to 0.95 of the results."""
    shares = [0.6 + 0.05 * float(point.arch_values[3][1]) for point in points]
    return [tuple(share * float(v) for v in bent(p).values()) for share, p in zip(shares, points, strict=True)]


def name_of(point: Point) -> str:
    return repr(point)


def test_screening_finds_more_of_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.study.explore.floors_of", low)
    for seed in range(3):
        volumes = []
        for screened in (False, True):
            sweep = replace(BENT, search=Search("nsga2", 60, seed=seed), bounds_first=screened)
            study = run_sweep(sweep, tmp_path / f"{seed}{screened}", jobs=0, evaluate=bent, identify=name_of)
            assert len({tuple(row.settings.items()) for row in study.rows}) == 60
            scores = next(iter(study.scores_by_model().values()))
            volumes.append(hypervolume([score for score in scores if score is not None], (2.0, 2.0)))
        assert volumes[1] > volumes[0]


class Interrupted(BaseException):
    """Stands for Ctrl-C or worse."""


@pytest.mark.parametrize("after", [7, 33, 50])
def test_a_screened_search_that_was_cut_off_goes_on_as_if_it_had_not_been(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelsim.study.explore.floors_of", low)
    sweep = replace(BENT, search=Search("nsga2", 60, batch=10), bounds_first=True)
    whole = run_sweep(sweep, tmp_path / "whole", jobs=0, evaluate=bent, identify=name_of)
    assert whole.count(Status.DONE) > after
    left = [after]

    def until(point: Point) -> Mapping[str, Scalar]:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        return bent(point)

    with pytest.raises(Interrupted):
        run_sweep(sweep, tmp_path / "cut", jobs=0, evaluate=until, identify=name_of)
    with ThreadPoolExecutor(4) as pool:
        again = run_sweep(
            sweep, tmp_path / "cut", resume=True, evaluate=bent, identify=name_of, executor=pool
        )
    assert again.digest() == whole.digest()
