"""COSMA's experiment: known optima exactly, and bytes that move the right way with the budget."""

from __future__ import annotations

import pytest

from accelsim import load_model
from accelsim.errors import DoesNotFit
from accelsim.experiments.cosma.experiment import (
    BASELINES,
    Case,
    baseline,
    best,
    cases,
    optimum,
    problem,
    rows,
)
from accelsim.experiments.loader import data_path, table
from accelsim.ir import Role

KB = 1024
HERE = [r["network"] for r in table("accelsim.experiments.cosma", "networks.csv") if r["model"]]


@pytest.mark.parametrize(
    ("network", "parameters", "order", "kb", "spilled"),
    [
        ("DenseNet-121", False, "default", 1596.25, 2_609_152),
        ("DenseNet-121", False, "default", 1827.1, 1_404_928),
        ("DenseNet-121", False, "default", 2058, 0),
        ("ResNet-50", True, "downsampling first", 2355, 602_112),
        ("ResNet-50", True, "downsampling first", 2404, 602_112),
        ("ResNet-50", True, "downsampling first", 2453, 0),
        ("ResNet-50", True, "default", 2355, 1_003_520),
    ],
)
def test_known_optima(network: str, parameters: bool, order: str, kb: float, spilled: int) -> None:
    """Proven, and with addresses for every tensor."""
    plan = optimum(network, parameters, order, int(kb * KB))
    assert plan.traffic(problem(network, parameters)).spilled == spilled
    assert plan.claim is not None and plan.claim.proven
    assert all(r.address is not None for r in plan.residences)


def test_budgets() -> None:
    """Of DenseNet-121 as published, by way of the budgets of its known optima."""
    assert [c.capacity / KB for c in cases("DenseNet-121", False)] == [1596.25, 1827.125, 2058]
    assert [c.capacity / KB for c in cases("ResNet-50", True)] == [2355, 2404, 2453]
    assert [c.degenerate for c in cases("ResNet-50", True)] == [False, False, True]
    peak = 2352 * KB
    assert cases("ResNet-50", False) == (Case("ResNet-50", False, "M_R = M_H = M_P", peak, peak),)


def test_resnext() -> None:
    """Counts that torchvision publishes for resnext50_32x4d: 25,028,904 parameters and 4.23 G multiply-accumulates."""
    workload = load_model(data_path("accelsim.experiments.cosma", "resnext50_32x4d.yaml"))
    weights = sum(t.elements for t in workload.tensors.values() if t.role is Role.WEIGHT)
    assert weights == 25_028_904
    assert workload.macs / 1e9 == pytest.approx(4.23, abs=0.005)


@pytest.mark.parametrize("network", ["DenseNet-121", "ViT"])
def test_bytes_fall_as_the_budget_grows(network: str) -> None:
    """±20 % of a budget a quarter above the largest working set, which 20 % less is."""
    least = problem(network, False).largest_working_set
    given = least * 5 // 4
    budgets = (given * 4 // 5, given, given * 6 // 5)
    assert budgets[0] == least < given < cases(network, False)[-1].peak < budgets[2]
    less, here, more = (best(network, False, nbytes).value for nbytes in budgets)
    assert less > here > more == 0
    for name in BASELINES:
        first, second, third = (baseline(network, False, nbytes, name, "default") for nbytes in budgets)
        assert first > second > third


@pytest.mark.parametrize("network", HERE)
@pytest.mark.parametrize("parameters", [False, True])
def test_twenty_percent_around_the_budgets(network: str, parameters: bool) -> None:
    """Less than the largest working set is refused; a fifth more than the peak spills nothing."""
    capacities = [case.capacity for case in cases(network, parameters)]
    least, peak = capacities[0], capacities[-1]
    with pytest.raises(DoesNotFit):
        best(network, parameters, least * 4 // 5)
    assert best(network, parameters, peak * 6 // 5).value == 0


@pytest.mark.parametrize("network", HERE)
def test_no_policy_spills_less(network: str) -> None:
    for case in (case for parameters in (False, True) for case in cases(network, parameters)):
        claim = best(network, case.parameters, case.capacity)
        assert claim.bound <= claim.value
        assert case.degenerate is (claim.value == 0)
        for name in BASELINES:
            for order in ("default", "minimum-peak"):
                assert baseline(network, case.parameters, case.capacity, name, order) >= claim.value


def test_every_network_has_a_row() -> None:
    """Those that are not here say so, and means are judged by nobody."""
    found = list(rows())
    for r in table("accelsim.experiments.cosma", "networks.csv"):
        mine = [row for row in found if row.quantity == "non-compulsory bytes" and row.where.startswith(r["network"])]
        assert mine
        here = bool(r["model"])
        assert all((row.accelsim is not None) is here for row in mine)
        assert all(row.note.startswith("unreachable") is not here for row in mine)
    means = [row for row in found if row.quantity.startswith("mean") and row.published is not None]
    assert [row.published for row in means] == [0.84, 0.85]
    assert all(row.ok is None for row in means)
