"""Memory mapping: exact plans beside the greedy rule, machines that move them, packings to the byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelsim.experiments.memory_mapping.experiment import HEIGHT, generated, height, simple_height, times
from accelsim.experiments.memory_mapping.graphs import planned, random_graph
from accelsim.experiments.memory_mapping.mapping import Machine, greedy, problem
from accelsim.mappers.ilp.packing import Buffer
from accelsim.mapping.tiers.problem import TierProblem

MODEL = "squeezenet1_1"


def wanted(**scaled: float) -> TierProblem:
    machine = Machine.published()
    changed = {name: getattr(machine, name) * factor for name, factor in scaled.items()}
    return problem(MODEL, 0.125, replace(machine, **changed))


def test_exact_is_no_slower_than_greedy_and_that_than_nothing() -> None:
    found = times(wanted())
    assert found["bound"] <= found["exact"] * (1 + 1e-6)
    assert found["exact"] < found["greedy"] < found["off chip"]


@pytest.mark.parametrize("name", ["hbm", "macs"])
def test_machine(name: str) -> None:
    """±20 % of HBM's bandwidth and of the arrays."""
    less, same, more = (times(wanted(**{name: factor}))["exact"] for factor in (0.8, 1.0, 1.2))
    assert less > same > more


def test_greedy_takes_one_choice_each() -> None:
    assert all(len(step.choices) == 1 for step in greedy(wanted()).steps)


@pytest.mark.parametrize(("count", "seed"), [(20, 0), (50, 1), (90, 2)])
def test_generated_cases_are_full_and_packed(count: int, seed: int) -> None:
    buffers = generated(count, seed)
    assert len(buffers) == count
    for time in range(0, 1000, 37):
        assert sum(b.size for b in buffers if b.lower <= time < b.upper) == HEIGHT
    assert height(buffers, HEIGHT) == HEIGHT
    assert simple_height(buffers) >= HEIGHT


def test_no_packing_is_no_height() -> None:
    assert height([Buffer("a", 0, 2, 3), Buffer("b", 1, 3, 3)], 5) is None


def test_random_graphs_read_recent_results() -> None:
    graph = random_graph(60, 3, 5, seed=1)
    made = ["in", *(op.writes[0] for op in graph.operators)]
    for i, op in enumerate(graph.operators):
        assert 1 <= len(op.reads) <= 3
        assert set(op.reads) <= set(made[max(0, i - 4) : i + 1])


@pytest.mark.parametrize(("share", "spills"), [(1.0, False), (0.7, True)])
def test_random_graph_with_addresses(share: float, spills: bool) -> None:
    for copies in (False, True):
        found, moved = planned(random_graph(60, 2, 8), share, 60.0, copies=copies)
        assert found.proven and found.value == moved.spilled
        assert (found.value > 0) is spills
        assert copies or not moved.copied
