"""Plans with addresses by a beam over layouts: replayed, never worse than paid for, exact where there is room."""

from __future__ import annotations

import random

import numpy as np
import pytest

from accelsim.mappers.ilp.arrangement import Along
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Model
from accelsim.mappers.ilp.layout import HORIZON, PRICED, WASTE, laid_out, tables_of
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.solver import SolverOptions


def graph(count: int, seed: int, *, in_place: bool) -> GraphProblem:
    """Operators over results of many steps ago; some write a tensor again, some put a result in an input's place."""
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", 40, source=True)}
    names, operators = ["in"], []
    for i in range(count):
        reads = tuple(dict.fromkeys(rng.choice(names[-12:]) for _ in range(rng.randint(1, 3))))
        name = f"t{i}"
        place = rng.choice(reads) if in_place and rng.random() < 0.4 else ""
        size = tensors[place].nbytes if place else rng.randint(1, 64)
        tensors[name] = Tensor(name, size, result=i == count - 1 or rng.random() < 0.1)
        operators.append(Operator(f"o{i}", reads, (name,), ((name, place),) if place else ()))
        names.append(name)
    return GraphProblem("random", tensors, tuple(operators))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_layouts_replay_and_cost_what_they_say(seed: int, in_place: bool) -> None:
    problem = graph(60, seed, in_place=in_place)
    lives = Lives(problem, range(60))
    least, most = problem.largest_working_set, peak_bytes(problem, range(60))
    for capacity in (least, (least + most) // 2, most):
        along = Along(lives, capacity, BYTES)
        dropped, solutions = Model.of(lives, capacity).dropped([BYTES], SolverOptions())
        values = {}
        for width in (8, 256):
            found = laid_out(along, dropped, width=width)
            if found is None:  # a memory that one step fills may be in pieces then
                assert capacity < most
                continue
            # The replay recounts bytes and looks for collisions; no plan with addresses beats the best one without.
            assert check_plan(problem, found.plan()).spilled == found.value >= solutions[0].bound - 1e-6
            values[width] = found.value
        again = laid_out(along, dropped, width=8)
        assert (again.value if again is not None else None) == values.get(8)
        assert values or capacity == least


def test_roomy_memory_keeps_everything() -> None:
    problem = graph(60, 0, in_place=False)
    along = Along(Lives(problem, range(60)), 3 * peak_bytes(problem, range(60)), BYTES)
    found = laid_out(along, ())
    assert found is not None and found.value == 0 and not found.dropped


def test_plan_that_drops_everything_is_bettered() -> None:
    """What need not leave is kept, though the plan without addresses drops it."""
    problem = graph(30, 1, in_place=False)
    along = Along(Lives(problem, range(30)), 3 * peak_bytes(problem, range(30)), BYTES)
    found = laid_out(along, range(len(along.lives.gaps)))
    assert found is not None and found.value == 0


@pytest.mark.parametrize("wait", [25, 300])
def test_the_horizon_is_as_far_as_gaps_are_long(wait: int) -> None:
    """Each result is read `wait` steps later: lifetimes that differ within that are told apart."""
    sources = {f"s{i}": Tensor(f"s{i}", 8, source=True) for i in range(wait)}
    reads = [f"s{i}" for _ in range(2) for i in range(wait)]
    problem = GraphProblem("later", sources, tuple(Operator(f"o{i}", (name,), ()) for i, name in enumerate(reads)))
    along = Along(Lives(problem, range(len(reads))), 8 * wait, BYTES)
    tables = tables_of(along, (), np.ones(len(reads)))
    horizon = max(HORIZON, wait)
    assert list(tables.horizon) == [horizon]
    over = tables.clock[horizon] - tables.clock[0]  # a hole costs as much over any horizon where the price is the same
    assert over == pytest.approx(8 * (PRICED + WASTE * HORIZON))
