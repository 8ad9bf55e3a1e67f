"""Composition of experts: what is predicted holds, and every parameter moves results the right way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from accelsim.experiments.loader import Row
from accelsim.experiments.sn40l_coe import node as nodes
from accelsim.experiments.sn40l_coe.calibration import on_latencies, on_ratios, on_ratios_alone
from accelsim.experiments.sn40l_coe.experiment import _capacity, _switching, figure, predicted
from accelsim.experiments.sn40l_coe.node import (
    A100,
    H100,
    SN40L,
    Constants,
    Node,
    expert_bytes,
    experts_held,
    knee,
    node,
    popular,
)
from accelsim.experiments.sn40l_coe.request import Setup, mean_latency, miss_share, request_s

FAST = {"prefill": 20e-3, "decode": 2e-3}


class Known(Node):
    """A node whose passes are given, not simulated: a millisecond more for every prompt beyond the first."""

    def pass_s(self, phase: str, tokens: int, batch: int = 1) -> float:
        return FAST[phase] + (batch - 1) * 1e-3 + self.constants.pass_s


def known(name: str, **values: str) -> Known:
    return Known(name, node(name, tuple((k.replace("__", "."), v) for k, v in values.items())).arch)


def test_switching_knee_capacity_and_footprint_are_predicted() -> None:
    rows = [*_capacity(predicted()), *_switching(predicted())]
    assert all(r.ok is not False for r in rows) and sum(r.ok is True for r in rows) == 5


def test_experts_are_as_large_as_the_model() -> None:
    assert expert_bytes() == pytest.approx(2 * 6.738e9, rel=1e-3)


@pytest.mark.parametrize("factor, way", [("25 GB/s", -1), ("150 GB/s", -1), ("100 GB/s", 1)])
def test_links_move_switching(factor: str, way: int) -> None:
    """25 GB/s is far below the 125 GB/s of the spec, 100 is 20 % below, 150 is 20 % above (and below DDR's 200)."""
    base = node(SN40L).switch_s()
    moved = known(SN40L, links__ddr_to_hbm__bandwidth=factor).switch_s()
    expected = 125 / float(factor.split()[0])
    assert moved / base == pytest.approx(expected, rel=1e-6)
    assert (moved > base) == (expected > 1)


def test_ddr_beyond_its_link_moves_nothing_and_below_it_does() -> None:
    base = node(SN40L).switch_s()
    assert known(SN40L, memories__ddr__bandwidth="160 GB/s").switch_s() == pytest.approx(base)
    assert known(SN40L, memories__ddr__bandwidth="100 GB/s").switch_s() > base


@pytest.mark.parametrize("capacity, experts", [("64 GB", 36), ("80 GB", 46), ("96 GB", 55)])
def test_the_knee_is_where_hbm_is_full(capacity: str, experts: int) -> None:
    at = known(A100, memories__hbm__capacity=capacity)
    assert knee(at) == experts == experts_held(at.upper_bytes - expert_bytes())


def test_capacity_follows_ddr() -> None:
    smaller = known(SN40L, memories__ddr__capacity="1.2 TB")
    assert experts_held(smaller.lower_bytes) == 712 < experts_held(node(SN40L).lower_bytes)


def test_latency_grows_beyond_the_knee_and_less_with_popular_experts() -> None:
    at = known(A100)
    few, many = (mean_latency(at, n, 0.0, 20, 120) for n in (40, 150))
    assert few == pytest.approx(2 * (20e-3 + 19 * 2e-3), rel=1e-6)  # routed as an expert runs
    assert many > 2 * few
    assert few < mean_latency(at, 150, 1.0, 20, 120) < many
    assert mean_latency(known(H100), 150, 0.0, 20, 120) < many


RUN = 1e-3 + 20.5e-3 + 19 * 2.5e-3


def of_known_times() -> Node:
    return replace(known(H100), constants=Constants(1e-3, 0.5e-3))


def test_a_request_routes_a_batch_switches_and_runs_one_by_one() -> None:
    at = of_known_times()
    assert at.run_s(20) == pytest.approx(RUN)
    routed = RUN + 20 * 3e-3  # four prompts together
    assert request_s(at, 4, 20) == pytest.approx(routed + 4 * (at.switch_s() + RUN), rel=1e-6)
    assert request_s(at, 1, 200) == pytest.approx(RUN + at.switch_s() + RUN + 180 * 2.5e-3, rel=1e-6)


def test_what_another_setup_changes() -> None:
    at = of_known_times()
    switch, prefill = at.switch_s(), 1e-3 + 20.5e-3
    served = 4 * (switch + RUN)
    assert request_s(at, 4, 20, Setup(together=False)) == pytest.approx(4 * RUN + served, rel=1e-6)
    assert request_s(at, 4, 20, Setup(router_tokens=1)) == pytest.approx(prefill + 3e-3 + served, rel=1e-6)
    longer = request_s(at, 1, 200, Setup(router_tokens=None)) - request_s(at, 1, 200)
    assert longer == pytest.approx(180 * 2.5e-3, rel=1e-6)
    assert switch > RUN  # the link never waits, and the last run alone comes after it
    ahead = RUN + 20 * 3e-3 + 4 * switch + RUN
    assert request_s(at, 4, 20, Setup(ahead=True)) == pytest.approx(ahead, rel=1e-6)


def test_experts_that_are_there_are_not_switched_in() -> None:
    at = of_known_times()
    share = miss_share(at, 150, 0.0)
    saved = request_s(at, 2, 20) - request_s(at, 2, 20, Setup(always=False))
    assert 0.5 < share < 0.9 and saved == pytest.approx(2 * (1 - share) * at.switch_s(), rel=1e-6)


def test_a_latency_gives_the_time_of_a_pass_on_a_dgx() -> None:
    plain = {name: known(name) for name in (SN40L, A100)}
    found = on_latencies(plain, {A100: 98e-3}, 20)
    assert found[A100].run_s(20) == pytest.approx(98e-3) and found[SN40L] is plain[SN40L]
    assert found[A100].constants.pass_s == pytest.approx(2e-3) and found[A100].constants.run_s == 0
    assert on_latencies(plain, {A100: 1e-3}, 20)[A100].constants == Constants()


def ratios_of(made: dict[str, Known]) -> dict[tuple[str, int], float]:
    return {(d, n): made[d].run_s(n) / made[SN40L].run_s(n) for d in (A100, H100) for n in (20, 200)}


@pytest.mark.parametrize("fit, ours", [(on_ratios, Constants(9e-3, 1e-3)), (on_ratios_alone, Constants(9e-3))])
def test_calibration_recovers_constants_from_ratios(fit: Callable[..., dict[str, Node]], ours: Constants) -> None:
    """One of them with the DGX known, the other without."""
    truth = {SN40L: ours, A100: Constants(pass_s=4e-3), H100: Constants(pass_s=3e-3)}
    real = {name: replace(known(name), constants=c) for name, c in truth.items()}
    start = {name: known(name) if name == SN40L or fit is on_ratios_alone else real[name] for name in truth}
    found = fit(start, ratios_of(real))
    for name, constants in truth.items():
        assert found[name].constants.run_s == pytest.approx(constants.run_s, abs=1e-5)
        assert found[name].constants.pass_s == pytest.approx(constants.pass_s, abs=1e-5)


def test_calibration_recovers_one_time_per_run_of_all_nodes() -> None:
    start = {name: known(name) for name in (SN40L, A100, H100)}
    passes = {A100: 5e-3, H100: 3e-3}
    truth = {n: replace(start[n], constants=Constants(9e-3, passes.get(n, 0.0))) for n in start}
    found = on_ratios_alone(start, ratios_of(truth), everywhere=True)
    for name, n in truth.items():
        assert found[name].constants.run_s == pytest.approx(n.constants.run_s, rel=1e-3)
        assert found[name].constants.pass_s == pytest.approx(n.constants.pass_s, abs=1e-6)


def test_hbm_bandwidth_moves_decode() -> None:
    """20 % more or less of it on the GPU, whose decode is bound by it."""
    times = [nodes._gpu(A100, node(A100, (("memories.hbm.bandwidth", f"{b} GB/s"),)).arch, "decode", 128, 1)
             for b in (1631, 2039, 2447)]  # fmt: skip
    assert times[0] > 1.1 * times[1] > 1.1 * 1.05 * times[2]


def test_popularity() -> None:
    drawn = popular(50, 5000, 1.0)
    assert np.bincount(drawn)[0] > 5 * np.bincount(drawn)[20]
    assert popular(50, 20, 0.0, 1) == popular(50, 20, 0.0, 1) != popular(50, 20, 0.0, 2)


def test_the_figure_has_a_line_for_each_node_and_popularity() -> None:
    rows = [Row("latency, uniform", f"{n}, {k} experts", None, 5.0 + k, "ms", None, "s", "n")
            for n in (SN40L, A100) for k in (10, 50)]  # fmt: skip
    drawn = figure(rows)["data"]
    assert [line["x"] for line in drawn] == [[10, 50], [10, 50]]
