"""The shortest path through all states of an order costs what the integer program does, wherever both apply."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.far_graphs import far_graph
from support.residency import all_states

from accelsim.experiments.memory_mapping.graphs import random_graph
from accelsim.mappers.ilp import states
from accelsim.mappers.ilp.arrangement import Along, Arrangement
from accelsim.mappers.ilp.gap_model import BYTES, Cost, Model
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.plan import PlanClaim
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.residency import FEW, SHORTEST, best_residency
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.states import states_of

UNLIKE = Cost("energy", load=1.5, store=4.0)


def mixed(seed: int, count: int) -> GraphProblem:
    """Operators over recent tensors, weights that are read again, results, and tensors that are written again."""
    rng = random.Random(seed)
    tensors = {f"w{i}": Tensor(f"w{i}", rng.randint(1, 9), source=True) for i in range(3)}
    names, operators = [*tensors], []
    for i in range(count):
        reads = tuple(dict.fromkeys(rng.choice(names[-6:] + names[:3]) for _ in range(rng.randint(1, 3))))
        again = rng.random() < 0.2 and i > 0
        name = rng.choice([n for n in names[-4:] if n.startswith("t")] or ["t0"]) if again else f"t{i}"
        tensors.setdefault(name, Tensor(name, rng.randint(1, 9), result=rng.random() < 0.2))
        operators.append(Operator(f"o{i}", reads, (name,)))
        names = [n for n in names if n != name] + [name]
    return GraphProblem("mixed", tensors, tuple(operators))


@pytest.mark.parametrize("cost", [BYTES, UNLIKE, Cost("loads", 1.0, 0.0)])
@pytest.mark.parametrize("seed", range(12))
def test_the_least_cost_is_that_of_the_integer_program(seed: int, cost: Cost) -> None:
    problem = mixed(seed, 30)
    order = range(len(problem.operators))
    least, most = problem.largest_working_set, peak_bytes(problem, order)
    for capacity in (least, (3 * least + most) // 4, (least + most) // 2):
        found = all_states(problem, capacity, cost)
        gone, solutions = Model.of(found.along.lives, capacity).dropped([cost], SolverOptions())
        assert found.least == pytest.approx(solutions[0].value) == pytest.approx(found.along.price(gone))
        dropped = found.dropped()
        assert Arrangement(found.along, dropped).value == pytest.approx(found.least)
        for gaps, lack in Model.of(found.along.lives, capacity).lacks:
            assert sum(found.along.lives.gaps[i].nbytes for i in gaps & dropped) >= lack


def test_every_state_knows_what_it_costs_from_the_start_and_to_the_end() -> None:
    found = all_states(mixed(1, 30), 30)
    for step in range(31):  # no path is cheaper than the best, and the best passes every step
        assert min(found.paid[step] + found.ahead[step]) == found.least
    close = found.within(found.least + 5)
    assert close.least == found.least and close.dropped() == found.dropped()
    whole, few = (sum(len(layer.keys) for layer in s.layers) for s in (found, close))
    assert 30 <= few < whole
    for step in range(31):
        through = found.paid[step] + found.ahead[step]
        assert sorted(close.paid[step] + close.ahead[step]) == sorted(through[through <= found.least + 5])


def test_what_has_too_many_states_or_places_to_share_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_graph(60, 2, 30)
    order = range(60)
    along = Along(Lives(problem, order), peak_bytes(problem, order), BYTES)
    assert states_of(along, most=50) is None and states_of(along, ends=0.0) is None
    monkeypatch.setattr(states, "EDGES", 1000)
    assert states_of(along) is None
    monkeypatch.setattr(states, "SLOTS", 4)
    assert states_of(along) is None
    names = {"a": Tensor("a", 8, source=True), "b": Tensor("b", 8, result=True)}
    shared = GraphProblem("shared", names, (Operator("o", ("a",), ("b",), (("b", "a"),)),))
    assert states_of(Along(Lives(shared, range(1)), 8, BYTES)) is None


def test_an_operator_of_many_tensors_is_no_matter() -> None:
    names = {f"s{i}": Tensor(f"s{i}", 1, source=True) for i in range(25)}
    operators = (Operator("o", tuple(names), ()), Operator("p", ("s0", "s1"), ()))
    assert all_states(GraphProblem("wide", names, operators), 25).least == 0


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_long_orders_are_solved_by_it_unless_a_solver_is_named(share: float) -> None:
    problem = random_graph(FEW + 20, 2, 8, seed=3)
    order = range(len(problem.operators))
    capacity = max(problem.largest_working_set, int(peak_bytes(problem, order) * share))

    def told(options: SolverOptions) -> PlanClaim:
        plan = best_residency(problem, order, capacity, options=options, addresses=False)
        assert plan.claim is not None and plan.claim.proven
        return plan.claim

    mine, other = told(SolverOptions()), told(SolverOptions("highs"))
    assert mine.solver == SHORTEST != other.solver and mine.value == mine.bound == other.value > 0


def test_where_states_are_too_many_the_solver_is_asked() -> None:
    problem = far_graph(0, FEW + 1)
    order = range(len(problem.operators))
    capacity = peak_bytes(problem, order) * 9 // 10
    plan = best_residency(problem, order, capacity, options=SolverOptions(seconds=10), addresses=False)
    assert plan.claim is not None and plan.claim.solver != SHORTEST
    assert np.isfinite(plan.claim.value)
