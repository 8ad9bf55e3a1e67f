"""What is kept and where, at once: the least cost with addresses, as programs with cuts find it."""

from __future__ import annotations

import pytest
from support.residency import all_states, small_graph

from accelsim.experiments.memory_mapping.graphs import random_graph
from accelsim.mappers.ilp import residency
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Cost
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.zone_search import FEW, Found, Search, with_addresses


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


@pytest.mark.parametrize("seed", [2, 4, 5, 9])
def test_few_layouts_prove_long_orders(seed: int) -> None:
    """Also where addresses cost bytes (4 and 9)."""
    problem = random_graph(200, 2, 10, seed)
    states = all_states(problem, int(peak_bytes(problem, range(200)) * 0.6))
    search = Search(states, float("inf"), float("inf"), max(FEW))
    search.look(FEW)
    assert search.over
    assert search.bound == replayed(problem, Found(search.best, search.bound))
    assert (search.bound > states.least) is (seed in (4, 9))


DEARER = [(0.5, 3), (0.5, 11), (0.5, 23), (0.6, 8), (0.6, 13), (0.6, 38)]
"""Shares of the peak and seeds of graphs of 60 operators in which addresses cost bytes; found by search."""


@pytest.mark.parametrize("width", [3, 12, 40, 120])
def test_merged_layouts_give_bounds(width: int) -> None:
    """Back and ahead, where those of either way meet, whether a plan is known or not."""
    raised = 0
    for share, seed in DEARER:
        problem = random_graph(60, 2, 9, seed)
        states = all_states(problem, max(problem.largest_working_set, int(peak_bytes(problem, range(60)) * share)))
        value = replayed(problem, with_addresses(states, width=5000))
        for most in (float("inf"), value, value + 3000):
            search = Search(states, most * (1 + 1e-6), float("inf"), 5000)
            search.widths = [width] * len(search.ends)
            bounds = [states.least]
            for back in (True, False, True, False):
                search._sweep(back=back)
                bounds.append(search.bound)
            assert bounds == sorted(bounds) and bounds[-1] <= value
            raised += states.least < bounds[-1]
            least = [(paid + ahead).min() for paid, ahead in zip(search.paid, search.ahead, strict=True)]
            assert max(least) <= value  # a plan is known at every boundary
    assert (raised > 0) is (width >= 40)


@pytest.mark.parametrize("room", [2, 100])
def test_all_is_dropped_or_nothing_is_to_be_decided(room: int) -> None:
    """The least room keeps nothing between two uses; a chain waits for nothing."""
    names = {n: Tensor(n, 1, source=n == "a", result=n == "e") for n in "abcde"}
    chain = GraphProblem("chain", names, tuple(Operator(b, (a,), (b,)) for a, b in zip("abcd", "bcde", strict=True)))
    found = with_addresses(all_states(chain, room), width=10)
    assert found.bound == replayed(chain, found) == 0
    wide = {f"{n}{i}": Tensor(f"{n}{i}", 1, source=n == "s") for n in "sr" for i in range(2)}
    operators = [Operator(f"o{i}", (f"s{i % 2}",), (f"r{i}",)) for i in range(2)]
    operators += [Operator(f"p{i}", (f"s{i}", f"r{i}"), ()) for i in range(2)]
    both = GraphProblem("both", wide, tuple(operators))
    found = with_addresses(all_states(both, room), width=10)
    assert found.bound == replayed(both, found)
    assert (found.bound > 0) is (room == 2)


def test_ctrl_c_leaves_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(search: Search, widths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(residency, "FEW", 10)  # as of a long order
    monkeypatch.setattr(Search, "look", interrupted)
    problem = random_graph(20, 2, 10, seed=36)
    plan = best_residency(problem, range(20), 140_288, options=SolverOptions(seconds=60.0))
    assert plan.claim is not None and plan.claim.interrupted and not plan.claim.proven
    assert plan.claim.value == check_plan(problem, plan).spilled >= plan.claim.bound > 0


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
