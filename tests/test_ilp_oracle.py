"""The gap model against the published formulation, written out literally, on random small graphs."""

from __future__ import annotations

import random

import pytest
from support.literal_schedule import Literal
from support.residency import small_graph

from accelsim.mappers.ilp.orders import minimum_peak
from accelsim.mappers.ilp.problem import GraphProblem
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.search import schedule

FIXED, FREE, BATCH = 160, 60, 20


def some_capacity(problem: GraphProblem, seed: int) -> int:
    """Between working set and peak."""
    least = problem.largest_working_set
    return least + random.Random(seed).randint(0, max(0, minimum_peak(problem).peak - least))


@pytest.mark.parametrize("first", range(0, FIXED, BATCH))
def test_fixed_order(first: int) -> None:
    for seed in range(first, first + BATCH):
        problem = small_graph(seed, 5 if seed % 2 else 6)
        capacity = some_capacity(problem, seed)
        order = range(len(problem.operators))
        plan = best_residency(problem, order, capacity)
        assert plan.claim is not None and plan.claim.proven, seed
        assert plan.claim.value == Literal(problem, capacity, order).optimum(), seed


@pytest.mark.parametrize("first", range(0, FREE, BATCH))
def test_free_order(first: int) -> None:
    for seed in range(first, first + BATCH):
        problem = small_graph(1000 + seed, 5 if seed % 2 else 6)
        capacity = problem.largest_working_set
        plan = schedule(problem, capacity)
        assert plan.claim is not None
        assert plan.claim.value == Literal(problem, capacity, None).optimum(), seed


def test_addresses_may_cost_bytes() -> None:
    """A graph found by search: what is best without addresses has none."""
    problem = small_graph(1249, 8, reach=8)
    order = range(8)
    without = best_residency(problem, order, 24, addresses=False)
    plan = best_residency(problem, order, 24)
    assert without.claim is not None and plan.claim is not None
    assert (without.claim.value, plan.claim.value, plan.claim.proven) == (23, 29, True)
    assert [Literal(problem, 24, order).attains(nbytes) for nbytes in (28, 29)] == [False, True]
