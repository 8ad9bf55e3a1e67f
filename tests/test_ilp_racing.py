"""Beams that race: replayed, the same with any number of threads, better than one beam, ended by Ctrl-C."""

from __future__ import annotations

import os
import threading
import time

import pytest
from support.far_graphs import far_graph

from accelsim.mappers.ilp import racing
from accelsim.mappers.ilp.arrangement import Along, Arrangement
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Model
from accelsim.mappers.ilp.layout import Beam, laid_out, tables_of, traced
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.prices import prices
from accelsim.mappers.ilp.problem import GraphProblem, peak_bytes
from accelsim.mappers.ilp.racing import raced
from accelsim.mappers.ilp.solver import SolverOptions

COUNT = 130
"""Steps: two stretches and a part of one."""


def along_of(seed: int, percent: int = 60) -> Along:
    problem = far_graph(seed, COUNT)
    return Along(Lives(problem, range(COUNT)), peak_bytes(problem, range(COUNT)) * percent // 100, BYTES)


def race(along: Along, *, beams: int = 4, seed: int = 0) -> Arrangement:
    found = raced(along, prices(along, 0.97 * along.capacity), width=16, beams=beams, seed=seed)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_plans_replay_whatever_the_threads(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    along = along_of(seed)
    bound = Model.of(along.lives, along.capacity).dropped([BYTES], SolverOptions())[1][0].bound
    found = race(along)
    assert check_plan(along.lives.problem, found.plan()).spilled == found.value >= bound - 1e-6
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    alone = race(along)
    assert (alone.dropped, alone.address) == (found.dropped, found.address)
    assert any(race(along, seed=k).value != found.value for k in range(1, 4))  # chance has a say


def test_more_beams_are_better_and_one_that_looks_to_the_end_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    alongs = [along_of(seed) for seed in range(6)]
    assert sum(race(a).value for a in alongs) < 0.97 * sum(race(a, beams=1).value for a in alongs)
    monkeypatch.setattr(racing, "STRETCH", COUNT)
    for along in alongs:
        beam = Beam(along, tables_of(along, (), prices(along, 0.97 * along.capacity)), 16, COUNT)
        assert beam.run(0, COUNT)
        plain = traced(along, beam.path(0, COUNT, 0))
        assert race(along, beams=1).value == plain.value == min(beam.states.paid[: beam.left])


def test_one_beam_goes_on_where_time_is_over() -> None:
    along = along_of(0)
    worth = prices(along, 0.97 * along.capacity)
    found = raced(along, worth, width=16, ends=time.perf_counter())
    assert found is not None and check_plan(along.lives.problem, found.plan()).spilled == found.value
    now = time.perf_counter()
    assert 1 <= racing._affordable(8, now - 1.0, 10 * racing.STRETCH, now + 5.0) <= 4  # half of the seconds are left
    assert racing._affordable(8, now - 1.0, 10 * racing.STRETCH, now + 100.0) >= 8
    assert racing._affordable(8, now - 1.0, racing.STRETCH, now - 1.0) == 1


def test_nothing_and_room_for_all() -> None:
    none = GraphProblem("none", {}, ())
    empty = Along(Lives(none, ()), 10, BYTES)
    for found in (raced(empty, prices(empty, 10)), laid_out(empty)):
        assert found is not None and found.value == 0
    assert race(along_of(0, 300)).value == 0


def test_ctrl_c_ends_all_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    along, run, threads = along_of(0), Beam.run, threading.active_count()
    steps: list[int] = []

    def pressed(beam: Beam, first: int, end: int, **chance: object) -> bool:
        steps.append(first)
        if len(steps) > 40:
            raise KeyboardInterrupt
        return run(beam, first, end, **chance)  # type: ignore[arg-type]

    monkeypatch.setattr(Beam, "run", pressed)
    with pytest.raises(KeyboardInterrupt):
        race(along)
    assert threading.active_count() == threads and max(steps) < COUNT - 1
