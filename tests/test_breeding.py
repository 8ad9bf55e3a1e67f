"""Breeding: crowding by hand, parents by rank, mutations within their ranges, and no point twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.study.breeding import Breeder, _Result, best, crowding


def results(*scores: Sequence[float], excess: Sequence[float] = ()) -> list[_Result]:
    missed = [*excess, *[0.0] * (len(scores) - len(excess))]
    return [_Result({"x": i}, tuple(score), missed[i]) for i, score in enumerate(scores)]


def test_crowding_is_what_it_is_by_hand() -> None:
    """Neighbours of the middle ones: 0 and 4 of 8, then 1 and 8 of 8; 9 and 3 of 9, then 5 and 0 of 9."""
    found = crowding([(0, 9), (1, 5), (4, 3), (8, 0)])
    assert found == [math.inf, 4 / 8 + 6 / 9, 7 / 8 + 5 / 9, math.inf]
    assert crowding([(1.0, 2.0)] * 3) == [0.0] * 3
    assert crowding([]) == []


def test_parents_are_the_best_fronts_and_then_those_that_miss_least() -> None:
    given = results((5, 5), (0, 2), (1, 1), (2, 0), (0, 0), (0, 0), (3, 3), excess=[0, 0, 0, 0, 2.0, 1.0])
    assert [parent.params["x"] for _, _, parent in best(given, 6)] == [1, 3, 2, 6, 0, 5]
    assert [rank for rank, _, _ in best(given, 6)] == [0, 0, 0, 1, 2, 3]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 2), min_size=1, max_size=80), st.integers(1, 50))
def test_none_that_is_left_out_betters_a_parent(scores: list[tuple[int, int]], wanted: int) -> None:
    given = results(*scores)
    kept = best(given, wanted)
    assert len(kept) == min(wanted, len(given))
    places = {parent.params["x"] for _, _, parent in kept}
    for other in (r.score for r in given if r.params["x"] not in places):
        for _, _, parent in kept:
            assert other == parent.score or not all(a <= b for a, b in zip(other, parent.score, strict=True))


def bred(seed: int, trials: int) -> list[dict[str, object]]:
    """Points of a space of all kinds of parameters, one after the other."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=Breeder(seed))
    for _ in range(trials):
        trial = study.ask()
        x, kind = trial.suggest_int("x", 0, 9), trial.suggest_categorical("kind", ["a", "b"])
        y = trial.suggest_float("y", -1.0, 2.0) if kind == "a" else 0.0
        study.tell(trial, [(x - 3) ** 2 + y, (x - 6) ** 2 + y])
    return [dict(trial.params) for trial in study.trials]


def test_points_are_new_and_the_same_ones_again() -> None:
    points = bred(3, 120)
    assert points == bred(3, 120)
    assert points != bred(4, 120)
    assert all(0 <= int(str(p["x"])) <= 9 and -1.0 <= float(str(p.get("y", 0))) <= 2.0 for p in points)
    twice = [n for n in Counter(tuple(p.items()) for p in points if p["kind"] == "a").values() if n > 1]
    assert not twice


def test_it_comes_near_the_front() -> None:
    """The front is x from 3 to 6 at the least y; a point drawn at random is within a tenth of it once in 150."""
    near = [p for p in bred(5, 150)[75:] if 3 <= int(str(p["x"])) <= 6 and float(str(p.get("y", 0))) < -0.9]
    assert len(near) >= 5
