"""Replacement policies: their plans pass the independent check and never spill less than the best residency."""

from __future__ import annotations

import pytest

from accelsim import load_model
from accelsim.errors import BadInput, DoesNotFit
from accelsim.mappers.baselines import POLICIES, replace_by
from accelsim.mappers.ilp.exported import as_exported
from accelsim.mappers.ilp.graph import GraphOptions, graph_of
from accelsim.mappers.ilp.problem import GraphProblem, peak_bytes
from accelsim.mappers.ilp.residency import best_residency


def densenet() -> GraphProblem:
    return graph_of(as_exported(load_model("densenet121", bits=8)), GraphOptions(parameters=False)).problem


@pytest.mark.parametrize("arena", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_policies_spill_no_less_than_the_best(policy: str, arena: bool) -> None:
    problem = densenet()
    order = range(len(problem.operators))
    capacity = problem.largest_working_set
    best = best_residency(problem, order, capacity, addresses=False).traffic(problem).spilled
    plan = replace_by(policy, problem, order, capacity, arena=arena)
    assert plan.traffic(problem).spilled >= best > 0
    assert all((r.address is not None) == arena for r in plan.residences)


@pytest.mark.parametrize("policy", ["belady", "lru"])
def test_nothing_is_spilled_at_the_peak(policy: str) -> None:
    problem = densenet()
    order = range(len(problem.operators))
    assert replace_by(policy, problem, order, peak_bytes(problem, order)).traffic(problem).spilled == 0


def test_what_is_refused() -> None:
    problem = densenet()
    order = range(len(problem.operators))
    with pytest.raises(BadInput, match="no policy 'fifo'"):
        replace_by("fifo", problem, order, 1 << 30)
    with pytest.raises(DoesNotFit, match="1 too few"):
        replace_by("lru", problem, order, problem.largest_working_set - 1)
