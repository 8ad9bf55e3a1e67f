"""What is kept and where, at once: the least cost with addresses, as programs with cuts find it."""

from __future__ import annotations

import pytest
from support.residency import all_states, small_graph

from accelsim.experiments.memory_mapping.graphs import random_graph
from accelsim.mappers.ilp import residency
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Cost
from accelsim.mappers.ilp.problem import GraphProblem, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.zone_search import Found, with_addresses


def replayed(problem: GraphProblem, found: Found, cost: Cost = BYTES) -> float:
    """The cost of a plan, all of whose tensors the independent replay finds at their addresses."""
    assert found.arrangement is not None
    moved = check_plan(problem, found.arrangement.plan())
    if cost is BYTES:
        assert moved.spilled == found.arrangement.value
    return found.arrangement.value


@pytest.mark.parametrize("seed", range(12))
def test_the_least_cost_is_that_of_programs_with_cuts(seed: int) -> None:
    problem = small_graph(seed, 12)
    order = range(12)
    least, most = problem.largest_working_set, peak_bytes(problem, order)
    for capacity in {least, least + (most - least) // 4, least + (most - least) // 2}:
        found = with_addresses(all_states(problem, capacity), width=2000)
        plan = best_residency(problem, order, capacity)
        assert plan.claim is not None and plan.claim.proven
        assert found.bound == replayed(problem, found) == plan.claim.value, capacity


DEAR = [(14, 8, 17, 131584), (20, 10, 31, 159232)]
"""Operators, reach, seed and bytes of graphs in which addresses cost bytes; found by search."""


@pytest.mark.parametrize(("count", "reach", "seed", "capacity"), DEAR)
def test_what_addresses_cost_is_proven(count: int, reach: int, seed: int, capacity: int) -> None:
    problem = random_graph(count, 2, reach, seed)
    states = all_states(problem, capacity)
    found = with_addresses(states, width=2000)
    plan = best_residency(problem, range(count), capacity)
    assert plan.claim is not None and plan.claim.proven
    assert found.bound == replayed(problem, found) == plan.claim.value > states.least
    for width in (1, 3, 10, 30):  # a bound is no higher where few layouts go on
        assert states.least <= with_addresses(states, width=width).bound <= plan.claim.value


@pytest.mark.parametrize("width", [1, 5, 40])
def test_with_little_room_plans_and_bounds_hold(width: int) -> None:
    for seed in range(12):
        problem = small_graph(seed, 30)
        capacity = problem.largest_working_set + 1
        states = all_states(problem, capacity)
        few, all_of_them = with_addresses(states, width=width), with_addresses(states, width=5000)
        value = replayed(problem, all_of_them)
        assert all_of_them.bound == value >= few.bound >= states.least
        assert few.arrangement is None or replayed(problem, few) >= value


def test_other_costs_known_plans_and_limits_of_time() -> None:
    cost = Cost("energy", load=1.5, store=4.0)
    problem = small_graph(5, 30)
    states = all_states(problem, problem.largest_working_set, cost)
    found = with_addresses(states, width=2000)
    value = replayed(problem, found, cost)
    assert found.bound == pytest.approx(value)
    none = with_addresses(states, width=2000, enough=value)
    assert none.arrangement is None and none.bound == pytest.approx(value)  # nothing is better
    late = with_addresses(states, ends=0.0)
    assert late.arrangement is None and late.bound == states.least


@pytest.mark.parametrize("seconds", [60.0, None])
def test_what_is_left_of_a_limit_of_time_goes_to_it(seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program without addresses keeps has none; what costs least is found, and proven where it is looked for."""
    monkeypatch.setattr(residency, "FEW", 10)  # as of a long order
    problem = random_graph(20, 2, 10, seed=36)
    plan = best_residency(problem, range(20), 140_288, options=SolverOptions(seconds=seconds))
    without = best_residency(problem, range(20), 140_288, addresses=False)
    assert plan.claim is not None and without.claim is not None
    assert plan.claim.value == check_plan(problem, plan).spilled > without.claim.value
    assert plan.claim.proven == (seconds is not None)
    assert plan.claim.bound == (plan.claim.value if seconds is not None else without.claim.value)
