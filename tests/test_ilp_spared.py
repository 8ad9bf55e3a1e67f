"""Residency that leaves memory free where addresses were not found: replayed, and free only where asked."""

from __future__ import annotations

import pytest
from support.far_graphs import far_graph

from accelsim.mappers.ilp.arrangement import Along
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Model
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.problem import peak_bytes
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.spared import spared
from accelsim.mappers.ilp.windows import Settings

COUNT = 60


def test_memory_is_left_free_at_the_steps_that_are_named_and_costs_no_less() -> None:
    problem = far_graph(0, COUNT)
    lives = Lives(problem, range(COUNT))
    capacity = peak_bytes(problem, range(COUNT)) * 7 // 10
    spare = [capacity // 10 if 20 <= step < 30 else 0 for step in range(COUNT)]
    whole, solutions = Model.of(lives, capacity).dropped([BYTES], SolverOptions())
    dropped, more = Model.of(lives, capacity, spare=spare).dropped([BYTES], SolverOptions())
    along = Along(lives, capacity, BYTES)
    assert along.price(dropped) >= along.price(whole) == solutions[0].value
    assert more[0].proven
    tight = 0
    for step, (gaps, base) in enumerate(zip(lives.rows(), lives.base(), strict=True)):
        kept = sum(lives.gaps[i].nbytes for i in gaps - dropped)
        assert not kept or base + kept <= capacity - spare[step]
        tight += base + kept > capacity - capacity // 10
    assert tight  # elsewhere the whole memory is used


@pytest.mark.parametrize("seed", range(4))
def test_rounds_replay_and_none_is_better_than_the_bound(seed: int) -> None:
    problem = far_graph(seed, COUNT)
    lives = Lives(problem, range(COUNT))
    along = Along(lives, peak_bytes(problem, range(COUNT)) * 65 // 100, BYTES)
    _, solutions = Model.of(lives, along.capacity).dropped([BYTES], SolverOptions())
    rounds = list(spared(along, Settings(True, SolverOptions())))
    assert rounds
    for found in rounds:
        assert check_plan(problem, found.plan()).spilled == found.value >= solutions[0].bound - 1e-6
    again = [found.value for found in spared(along, Settings(True, SolverOptions()))]
    assert again == [found.value for found in rounds]


def test_no_time_no_plan() -> None:
    problem = far_graph(0, COUNT)
    along = Along(Lives(problem, range(COUNT)), problem.largest_working_set, BYTES)
    assert not list(spared(along, Settings(True, SolverOptions(), ends=0.0)))
