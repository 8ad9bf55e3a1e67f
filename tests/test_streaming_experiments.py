"""Attention on streaming dataflow and FIFO sizing: sizes, latencies and intervals beyond those of the experiments."""

from __future__ import annotations

import pytest

from accelsim.engine import reference
from accelsim.experiments.fifo_sizing.experiment import period
from accelsim.experiments.loader import data_path
from accelsim.experiments.sdpa_streaming.experiment import (
    BLOCKING,
    GRAPHS,
    LONG,
    deadlock,
    graph,
    short_depth,
    with_long,
)
from accelsim.lowering.streams import load_graph, run_graph, to_program
from accelsim.mappers.pipeline import Timing, full_rate_depths, trade_off

FORMS = {"naive": (1, 4), "row_max": (2, 5), "reordered": (0, 4), "running_max": (0, 4)}
"""Cycles are N * N + first * N + second."""


@pytest.mark.parametrize("name", GRAPHS)
def test_closed_forms_at_any_size(name: str) -> None:
    first, second = FORMS[name]
    for n in (1, 2, 3, 7, 31, 100, 2048):
        assert run_graph(graph(name, n)).cycles == n * n + first * n + second
    assert run_graph(graph("row_max", 20, derived=True)).cycles == 404


@pytest.mark.parametrize("name", GRAPHS)
def test_long_rows_are_jumped_over(name: str) -> None:
    """Whether FIFOs have bounds or not, a few rows are run, however many there are."""
    for g in (graph(name, 600), full_rate_depths(graph(name, 600)).graph):
        trace = run_graph(g).trace
        assert trace.jumped_firings > 0.95 * int(trace.firings.sum())
        assert trace.differences(run_graph(g, jump=False).trace) == []


def test_published_counts() -> None:
    assert [run_graph(with_long(64, depth)).cycles for depth in (64, 65, 66, 67)] == [4290, 4227, 4164, 4164]


def test_token_level_simpy_says_the_same() -> None:
    for name in GRAPHS:
        timing = Timing(latency=3, credit_latency=2, ii=2)
        for g in (graph(name, 9), graph(name, 9, timing=timing), full_rate_depths(graph(name, 9)).graph):
            program = to_program(g)
            assert reference.run(program).differences(run_graph(g).trace) == []


def test_deadlock_up_to_one_short_of_a_row() -> None:
    for n in (3, 10, 33):
        for depth in {1, n // 2, n - 1} - {0}:
            cycle, freeing = deadlock(n, depth)
            assert set(cycle) == set(BLOCKING)
            assert freeing == n
        assert deadlock(n, n) == ((), None)


@pytest.mark.parametrize("latency", [1, 2, 3, 6])
@pytest.mark.parametrize("credit", [1, 2, 4])
@pytest.mark.parametrize("ii", [1, 2, 3])
def test_least_depths_at_other_latencies(latency: int, credit: int, ii: int) -> None:
    """Short FIFOs hold what is under way, the long one a row and what two latencies and the credit add."""
    n, timing = 12, Timing(latency=latency, credit_latency=credit, ii=ii)
    depths = full_rate_depths(graph("naive", n, timing=timing)).depths
    assert depths[LONG] == n - 1 + -(-(2 * latency + credit) // ii)
    assert depths["QK -> SN"] == depths["A -> AV"] == short_depth(timing)
    constant = [max(full_rate_depths(graph("running_max", n, timing=timing)).point.depths) for n in (8, 16)]
    assert constant == [short_depth(timing)] * 2


@pytest.mark.parametrize(("fork", "reduce", "credit"), [(1, 1, 1), (5, 1, 2), (2, 4, 1), (3, 3, 3)])
def test_long_fifo_by_the_latencies_of_its_two_ways(fork: int, reduce: int, credit: int) -> None:
    """N - 1 + L_fork + L_reduce + r: of exponential, row sum and credit, at most all tokens."""
    for n in (2, 13, 64):
        timing = Timing(latencies={"SN": fork, "SD": reduce}, credit_latency=credit)
        g = graph("naive", n, timing=timing)
        assert run_graph(g).cycles == n * n + n + 4 + (fork - 1) + (reduce - 1)
        assert full_rate_depths(g).depths[LONG] == min(n * n, n - 1 + fork + reduce + credit)


@pytest.mark.parametrize("n", [1, 2, 5, 17, 333])
def test_what_too_short_a_long_fifo_costs(n: int) -> None:
    """A FIFO of N costs 2 (N - 1) cycles, one of N + 1 costs N - 1, one of N + 2 or more nothing."""
    assert [run_graph(with_long(n, n + more)).cycles for more in (0, 1, 2, 7)] == [
        n * n + n + 4 + late for late in (2 * (n - 1), n - 1, 0, 0)
    ]


def test_parameters_move_results_the_right_way() -> None:
    """More latency is never faster, and what is hidden in steady state costs but its fill; a longer interval costs in
    proportion; a slower credit needs deeper FIFOs and, with those, no time."""
    cycles = {i: run_graph(graph("naive", 64, timing=Timing(latency=i))).cycles for i in (4, 5, 6)}
    assert cycles[5] - cycles[4] == cycles[6] - cycles[5] == 5
    slow = {i: run_graph(graph("naive", 64, timing=Timing(ii=i))).cycles for i in (4, 5, 6)}
    assert 1.19 < slow[6] / slow[5] < 1.21 and slow[5] > slow[4]
    credits = {r: full_rate_depths(graph("naive", 64, timing=Timing(credit_latency=r))) for r in (4, 5, 6)}
    assert credits[4].point.cycles == credits[5].point.cycles == credits[6].point.cycles
    assert credits[4].point.total < credits[5].point.total < credits[6].point.total
    for stage in ("QK", "SN", "SD", "A", "AV"):  # each node by itself, faster and slower by a fifth
        by = [run_graph(graph("naive", 64, timing=Timing(ii=5, iis={stage: ii}))).cycles for ii in (4, 5, 6)]
        assert by[0] <= by[1] < by[2]


def test_the_curve_of_attention_has_the_published_points() -> None:
    """A long FIFO of N, N + 1 and N + 2 tokens, all others as deep as full rate needs: the closed forms at N = 64."""
    curve = trade_off(graph("naive", 64))
    assert curve.complete
    assert [p.cycles for p in curve.points[-3:]] == [4290, 4227, 4164]
    assert [p.total - curve.points[-1].total for p in curve.points[-3:]] == [-2, -1, 0]


def test_execution_times_move_the_trade_off() -> None:
    """With every actor a fifth slower, every point of the example has a longer period, at the same depths."""
    example = load_graph(data_path("accelsim.experiments.fifo_sizing", "example.yaml")).shortened(40)
    slower = type(example)(**{**example.__dict__, "nodes": tuple(
        type(n)(**{**n.__dict__, "latency": 6 * n.latency, "ii": 6 * n.ii}) for n in example.nodes)})
    base = type(example)(**{**example.__dict__, "nodes": tuple(
        type(n)(**{**n.__dict__, "latency": 5 * n.latency, "ii": 5 * n.ii}) for n in example.nodes)})
    for one, other in zip(trade_off(base).points, trade_off(slower).points, strict=True):
        assert one.depths == other.depths
        assert 5 * period(slower, other) == 6 * period(base, one)
