"""Long contexts: capacity, switching as events, and what every parameter of the machine moves."""

from __future__ import annotations

import pytest
from support.steps import step_of

from accelsim.engine.compiled import CompiledSession
from accelsim.engine.program import Platform, Program, Server
from accelsim.errors import BadInput, DoesNotFit
from accelsim.experiments.loader import Row
from accelsim.experiments.long_context.experiment import DECIMAL, LONG, SHORT, _concurrency, figure, gpu, switch_s
from accelsim.experiments.long_context.users import model, peak_prefill_s, poisson_turns, take_turns, weight_bytes
from accelsim.serving import Listed, Scenario
from accelsim.serving.llm.arrivals import TICK_HZ
from accelsim.serving.llm.costs import StepCost
from accelsim.serving.llm.sessions import Sessions
from accelsim.serving.loop import completions
from accelsim.workloads.transformer import kv_bytes

KV = kv_bytes(model(), 16)
PCIE = 20e9
QUICK = StepCost(1.0, 0.0, 1.0)


def test_keys_and_values_of_a_token() -> None:
    assert KV == 245_760 == 2 * 60 * 8 * 128 * 2
    assert weight_bytes() == pytest.approx(2 * 34.39e9, rel=1e-3)


@pytest.mark.parametrize("context", [SHORT, LONG])
def test_users_at_once_are_those_of_the_formula(context: int) -> None:
    assert all(r.ok for r in _concurrency(context))


def test_decimal_bytes_hold_no_long_context() -> None:
    assert gpu().concurrency(LONG) == 1 and gpu(DECIMAL).concurrency(LONG) == 0
    assert [gpu().sockets(n) for n in (LONG, 100_000, 10_000_000)] == [1, 2, 30]


def test_multiply_adds_at_peak_are_the_published_prefill() -> None:
    assert peak_prefill_s(SHORT) == pytest.approx(0.9, rel=0.05)
    assert peak_prefill_s(LONG) == pytest.approx(17.8, rel=0.05)


@pytest.mark.parametrize("context", [SHORT, LONG])
def test_a_switch_moves_both_users_over_the_link(context: int) -> None:
    assert switch_s(gpu(), context) == pytest.approx(2 * context * KV / PCIE, rel=0.01)


@pytest.mark.parametrize("values, factor", [
    ((("links.pcie.bandwidth", "24 GB/s"),), 1 / 1.2),
    ((("links.pcie.bandwidth", "16 GB/s"),), 1.25),
    ((("memories.host.bandwidth", "160 GB/s"),), 1.0),  # the link is slower
    ((("memories.host.bandwidth", "10 GB/s"),), 2.0),
    ((("memories.hbm.bandwidth", "1631 GB/s"),), 1.0),  # the link is slower
])  # fmt: skip
def test_the_slowest_on_the_way_moves_a_switch(values: tuple[tuple[str, str], ...], factor: float) -> None:
    assert switch_s(gpu(values), SHORT) / switch_s(gpu(), SHORT) == pytest.approx(factor, rel=0.01)


def test_decode_follows_the_bandwidth_of_hbm() -> None:
    times = [gpu((("memories.hbm.bandwidth", f"{b} GB/s"),)).decode(SHORT).seconds for b in (1631, 2039, 2447)]
    assert times[0] / times[1] == pytest.approx(1.25, rel=0.03) and times[1] / times[2] == pytest.approx(1.2, rel=0.03)
    assert gpu().decode(LONG).seconds > times[1]


def test_more_hbm_means_fewer_switches() -> None:
    arrivals = [(50.0 * i, u) for i, (_, u) in enumerate(poisson_turns(6, 12, 1.0))]
    small, large = (take_turns(gpu((("memories.hbm.capacity", c),)), SHORT, 6, arrivals, lambda first: QUICK)
                    for c in ("72 GB", "80 GiB"))  # fmt: skip
    assert small.switches > large.switches == 0
    assert sum(small.latencies_s) > sum(large.latencies_s)


# -- the Driver ------------------------------------------------------------------------------------------------------

PLATFORM = Platform((Server("gpu"), Server("way")))


def program(server: int, ticks: int) -> Program:
    return step_of(PLATFORM, server, ticks)


def sessions(*blocks: int) -> Sessions:
    return Sessions(blocks, 10, lambda s, first: program(0, 100 if first else 10), lambda way, n: program(1, n), 4096)


def test_sessions_leave_and_come_back_in_order() -> None:
    wanted = Listed(tuple((1000 * i, s) for i, s in enumerate((0, 1, 0, 2, 1, 0))))
    done = list(completions(sessions(4, 4, 4), Scenario(wanted, None), CompiledSession(PLATFORM, TICK_HZ)))
    assert [(c.submission.requests[0], c.submission.note) for c in done] == [
        (0, "turn"), (1, "turn"), (2, "turn"),
        (3, "out"), (3, "turn"),  # 1 leaves for 2, which is new
        (4, "out"), (4, "in"), (4, "turn"),  # 0 leaves, 1 comes back
        (5, "out"), (5, "in"), (5, "turn"),  # 2 leaves, 0 comes back
    ]  # fmt: skip
    assert [c.tick - 1000 * c.submission.requests[0] for c in done[-3:]] == [4, 9, 20]


def test_sessions_that_cannot_be_are_named() -> None:
    with pytest.raises(DoesNotFit, match="a session has 11 blocks and there are 10, 4,096 bytes too few"):
        sessions(11).start(None, 0)
    with pytest.raises(BadInput, match="wants session 5 of 1"):
        list(completions(sessions(1), Scenario(Listed(((0, 5),)), None), CompiledSession(PLATFORM, TICK_HZ)))


def test_the_figure_draws_three_lines() -> None:
    rows = [Row(q, f"{n:,} tokens", None, 1.0, "s", None, "s", "n") for q in ("prefill", "decode") for n in (10, 2000)]
    assert [line["x"] for line in figure(rows)["data"]] == [[10, 2000], [10, 2000], []]
