"""Composition of experts: what is predicted holds, and every parameter moves results the right way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.experiments.loader import Row
from accelsim.experiments.sn40l_coe import node as nodes
from accelsim.experiments.sn40l_coe.experiment import _capacity, _switching, figure, predicted
from accelsim.experiments.sn40l_coe.implied import implied
from accelsim.experiments.sn40l_coe.node import (
    A100,
    H100,
    ONE_BY_ONE,
    SN40L,
    Constants,
    Node,
    calibrated,
    expert_bytes,
    experts_held,
    knee,
    mean_latency,
    node,
    popular,
)

FAST = {"prefill": 20e-3, "decode": 2e-3}


class Known(Node):
    """A node whose passes are given, not simulated."""

    def pass_s(self, phase: str) -> float:
        return FAST[phase] + self.constants.pass_s


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


def test_a_request_routes_switches_and_runs() -> None:
    at = replace(known(H100), constants=Constants(1e-3, 0.5e-3))
    run = 1e-3 + 20.5e-3 + 19 * 2.5e-3
    assert at.run_s(20) == pytest.approx(run)
    assert at.request_s(4, 20) == pytest.approx(run + 4 * (at.switch_s() + run))
    assert at.request_s(1, 200) == pytest.approx(run + at.switch_s() + run + 180 * 2.5e-3)
    apart = replace(at, router=ONE_BY_ONE)
    assert apart.request_s(4, 20) == pytest.approx(1e-3 + 4 * 20.5e-3 + 4 * (at.switch_s() + run))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0), st.floats(1.1, 5.0), st.floats(0.1, 2.0), st.integers(2, 32))
def test_ratios_say_how_long_runs_and_routing_take(
    run: float, route: float, expert: float, there: float, batch: int
) -> None:
    """The inverse of ratios made from known times, where switching there is slower than either."""
    here, there = 0.013, there * 20
    one, many = (
        (expert * (route + n * run) + n * there) / (route + n * run + n * here) for n in (1, batch)
    )  # fmt: skip
    found = implied(one, many, batch, expert, there, here)
    assert found.run_s == pytest.approx(run, rel=1e-5) and found.route_s == pytest.approx(route, rel=1e-5)


def test_published_ratios_agree_on_a_router_that_runs_as_an_expert() -> None:
    """13.48 GB over 1 TB/s here, over 32 and 64 GB/s there; ratios of both give times within 10 % of each other."""
    found = [implied(4.8, 6.6, 8, 2.0, 13.48 / 32, 13.48e-3), implied(2.8, 3.7, 8, 1.5, 13.48 / 64, 13.48e-3)]
    times = [t for x in found for t in (x.run_s, x.route_s)]
    assert all(62e-3 < t < 69e-3 for t in times)


def test_a_longer_pass_is_calibrated_around() -> None:
    """What a pass on the SN40L takes longer is not fitted, and DGX passes follow it."""
    plain = {name: known(name) for name in (SN40L, A100, H100)}
    ratios = {(d, n): r for d, r in ((A100, 2.0), (H100, 1.5)) for n, r in ((20, r), (200, r * 1.5))}
    short, long = (calibrated(plain, ratios, pass_s) for pass_s in (0.0, 1e-3))
    assert long[SN40L].constants.pass_s == 1e-3
    assert all(long[d].constants.pass_s > short[d].constants.pass_s for d in (A100, H100))


def test_calibration_recovers_constants_from_ratios_alone() -> None:
    plain = {name: known(name) for name in (SN40L, A100, H100)}
    truth = {SN40L: Constants(run_s=9e-3), A100: Constants(pass_s=4e-3), H100: Constants(pass_s=3e-3)}
    real = {name: replace(n, constants=truth[name]) for name, n in plain.items()}
    ratios = {(d, n): real[d].run_s(n) / real[SN40L].run_s(n) for d in (A100, H100) for n in (20, 200)}
    found = calibrated(plain, ratios)
    for name, constants in truth.items():
        assert found[name].constants.run_s == pytest.approx(constants.run_s, abs=1e-5)
        assert found[name].constants.pass_s == pytest.approx(constants.pass_s, abs=1e-5)


def test_hbm_bandwidth_moves_decode() -> None:
    """20 % more or less of it on the GPU, whose decode is bound by it."""
    times = [nodes._gpu(A100, node(A100, (("memories.hbm.bandwidth", f"{b} GB/s"),)).arch, "decode")
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
