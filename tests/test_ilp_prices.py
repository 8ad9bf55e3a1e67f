"""Prices of memory: none where there is room, those of a case worked out by hand, and a bound that plans keep."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.far_graphs import far_graph

from accelsim.mappers.ilp import layout
from accelsim.mappers.ilp import layout_kernel as kernel
from accelsim.mappers.ilp.arrangement import Along
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Cost, Model
from accelsim.mappers.ilp.layout import _later, laid_out, tables_of
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.prices import prices
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.racing import raced
from accelsim.mappers.ilp.solver import SolverOptions

COUNT = 80


def relaxed(along: Along, price: NDArray[np.float64]) -> float:
    """The least cost if memory is not limited and each byte that is held has its price: a bound for all prices."""
    lives, total = along.lives, 0.0
    for number, epoch in enumerate(lives.epochs):
        gaps = [lives.gaps[i] for i in along.of_epoch.get(number, ())]
        rents = [g.nbytes * float(price[g.first + 1 : g.last].sum()) for g in gaps]
        store = 0.0 if epoch.stored else epoch.nbytes * along.cost.store
        least = sum(min(r, g.nbytes * along.cost.load) for r, g in zip(rents, gaps, strict=True))
        total += min(store + least, sum(rents))
    return float(total - sum(p * (along.capacity - n) for p, n in zip(price.tolist(), along.base, strict=True)))


@pytest.mark.parametrize("seed", range(3))
def test_the_relaxation_at_the_prices_is_a_bound_and_close(seed: int) -> None:
    problem = far_graph(seed, COUNT)
    lives = Lives(problem, range(COUNT))
    capacity = peak_bytes(problem, range(COUNT)) * 65 // 100
    along = Along(lives, capacity, BYTES)
    _, solutions = Model.of(lives, capacity).dropped([BYTES], SolverOptions())
    found = prices(along, capacity)
    assert found.min() >= 0
    assert 0.7 * solutions[0].value < relaxed(along, found) <= solutions[0].value + 1e-6


def test_no_price_where_there_is_room() -> None:
    problem = far_graph(0, COUNT)
    peak = peak_bytes(problem, range(COUNT))
    assert not prices(Along(Lives(problem, range(COUNT)), peak, BYTES), peak).any()


@pytest.mark.parametrize("cost", [BYTES, Cost("energy", 10.0, 10.0)])
def test_the_price_of_the_one_crowded_step(cost: Cost) -> None:
    """`a` and `b` of 4 bytes each are needed again behind a step that has room for one: a byte is worth its load."""
    tensors = {n: Tensor(n, z, source=True) for n, z in {"a": 4, "b": 4, "c": 6}.items()}
    reads = ("a", "b", "c", "b", "a")
    problem = GraphProblem("five", tensors, tuple(Operator(f"o{i}", (name,), ()) for i, name in enumerate(reads)))
    found = prices(Along(Lives(problem, range(5)), 10, cost), 10)
    assert found[2] == pytest.approx(cost.load, rel=0.1)
    assert not found[[0, 1, 3, 4]].any()


def test_rents_of_later_gaps() -> None:
    """Two gaps of a content of 4 bytes: the second holds for one step at 3 a byte, where loading costs 1."""
    tensors = {"a": Tensor("a", 4), "x": Tensor("x", 1, source=True)}
    rows = (((), ("a",)), (("x",), ()), (("a",), ()), (("x",), ()), (("a",), ()))
    problem = GraphProblem("two", tensors, tuple(Operator(f"o{i}", r, w) for i, (r, w) in enumerate(rows)))
    along = Along(Lives(problem, range(5)), 10, BYTES)
    price = np.concatenate([[0.0], np.cumsum([0.0, 0.0, 0.0, 3.0, 0.0])])
    later = _later(along, price, np.zeros(len(along.lives.gaps)))
    first, second = (along.begins["a", step] for step in (0, 2))
    assert (later[first], later[second]) == (3 * 4 - 4, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_layouts_by_prices_replay_and_follow_no_plan(seed: int) -> None:
    problem = far_graph(seed, COUNT)
    lives = Lives(problem, range(COUNT))
    along = Along(lives, peak_bytes(problem, range(COUNT)) * 65 // 100, BYTES)
    dropped, solutions = Model.of(lives, along.capacity).dropped([BYTES], SolverOptions())
    found = raced(along, prices(along, 0.97 * along.capacity), width=64, beams=1)
    assert found is not None
    assert check_plan(problem, found.plan()).spilled == found.value >= solutions[0].bound - 1e-6
    # Without prices and without a plan, all is worth keeping alike: prices know better.
    blind = laid_out(along, width=64)
    assert blind is not None and found.value < blind.value
    tables = tables_of(along, dropped, None)
    assert sorted(np.flatnonzero(tables.rent)) == sorted(dropped) and not tables.price.any()


def test_holes_cost_what_the_memory_is_worth_while_they_are_there() -> None:
    """Tensors of 4 bytes: each step of an end of a hole costs its share of the horizon, and more where a byte does."""
    tensors = {"a": Tensor("a", 4, source=True), "b": Tensor("b", 4, source=True)}
    rows = (("a",), ("b",), ("b",), ("a",))
    problem = GraphProblem("two", tensors, tuple(Operator(f"o{i}", r, ()) for i, r in enumerate(rows)))
    along = Along(Lives(problem, range(4)), 10, Cost("energy", 10.0, 10.0))
    tables = tables_of(along, (), np.array([0.0, 5.0, 0.0, 0.0]))
    step = layout.PRICED * 4 * 10.0 / layout.HORIZON
    assert np.diff(tables.clock).tolist() == pytest.approx([step, step + layout.WASTE * 4 * 5.0, step, step])
    first, second = along.begins["a", 0], along.begins["b", 1]
    assert (tables.until[first], tables.until[second]) == (3, 2)
    # `a` from 0 to 4 and `b` from 4 to 8 in 10 bytes, behind step 1: ends of holes where `b` leaves, and above it.
    tensor, address, gap = (np.array(n, np.int64) for n in ([0, 1], [0, 4], [first, second]))
    ever, stays = kernel._ever(tables, 1), kernel._length(tables, second, 1)
    found = kernel._unlike(tables, 2, tensor, address, gap, 1)
    there = kernel._length(tables, first, 1)
    assert found == pytest.approx((ever - there) + (there - stays) + stays + ever)
