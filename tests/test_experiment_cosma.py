"""COSMA's experiment: known optima exactly, and bytes that move the right way with the budget."""

from __future__ import annotations

import pytest

from accelsim import load_model
from accelsim.errors import DoesNotFit
from accelsim.experiments.cosma import experiment
from accelsim.experiments.cosma.experiment import BASELINES, Case, baseline, best, cases, optimum, problem
from accelsim.experiments.cosma.networks import BUILDERS
from accelsim.experiments.loader import Row, data_path, table
from accelsim.ir import Role

KB = 1024
HERE = [r["network"] for r in table("accelsim.experiments.cosma", "networks.csv")]
SMALL = ["ResNet-50", "DenseNet-121", "ResNeXt-50", "L-RASPP", "R2Plus1D-18", "AmoebaNet-D", "DARTS"]
"""Networks whose schedules take a second."""


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


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("parameters", [False, True])
def test_twenty_percent_around_the_budgets(network: str, parameters: bool) -> None:
    """Less than the largest working set is refused; a fifth more than the peak spills nothing."""
    capacities = [case.capacity for case in cases(network, parameters)]
    least, peak = capacities[0], capacities[-1]
    with pytest.raises(DoesNotFit):
        best(network, parameters, least * 4 // 5)
    assert best(network, parameters, peak * 6 // 5).value == 0


@pytest.mark.parametrize("network", SMALL)
def test_no_policy_spills_less(network: str) -> None:
    for case in (case for parameters in (False, True) for case in cases(network, parameters)):
        claim = best(network, case.parameters, case.capacity)
        assert claim.bound <= claim.value
        assert case.degenerate is (claim.value == 0)
        for name in BASELINES:
            for order in ("default", "minimum-peak"):
                assert baseline(network, case.parameters, case.capacity, name, order) >= claim.value


def counts(network: str) -> tuple[int, int]:
    """Elements of weights, and of biases, of a network that is built here."""
    model = next(r["model"] for r in table("accelsim.experiments.cosma", "networks.csv") if r["network"] == network)
    tensors = [t for t in BUILDERS[model]().tensors.values() if t.role is Role.WEIGHT]
    biases = sum(t.elements for t in tensors if t.name.endswith(".bias"))
    return sum(t.elements for t in tensors) - biases, biases


@pytest.mark.parametrize(
    ("network", "linear", "published"),
    [
        # What torchvision states in the weights' metadata; of FCN and DeepLabV3 less the auxiliary classifier.
        ("R2Plus1D-18", 400, 31_505_325),
        ("S3D", 400, 8_320_048),
        ("FCN", 21, 35_322_218 - 2_365_205),
        ("DeepLabV3", 21, 42_004_074 - 2_365_205),
        # The authors' code of DARTS counts 4.718752 M parameters without the auxiliary head.
        ("DARTS", 1000, 4_718_752),
    ],
)
def test_parameters(network: str, linear: int, published: int) -> None:
    """Batch normalisation has two parameters per channel, of which folding leaves one; last layers have one anyway."""
    weights, biases = counts(network)
    assert weights + 2 * biases - linear == published


@pytest.mark.parametrize(("network", "parameters", "macs"), [("NASNet-A", 5.3e6, 564e6), ("PNASNet-5", 5.1e6, 588e6)])
def test_searched_networks(network: str, parameters: float, macs: float) -> None:
    """Parameters and multiply-accumulates as table 2 of arXiv:1707.07012 and table 5 of arXiv:1712.00559 have them."""
    model = next(r["model"] for r in table("accelsim.experiments.cosma", "networks.csv") if r["network"] == network)
    assert sum(counts(network)) == pytest.approx(parameters, rel=0.02)
    assert BUILDERS[model]().macs == pytest.approx(macs, rel=0.02)


def test_every_network_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every budget; rows at the peak stay out of the first mean, and means are judged by nobody."""

    def compared(case: Case, uncertain: str, reductions: dict[str, list[tuple[Case, float]]]) -> list[Row]:
        for name in BASELINES:
            reductions[name].append((case, 1.0 if case.degenerate else 0.25))
        return [Row("case", case.network, None, 0.0, "", None, "", f"assumed: {uncertain}")]

    def some_cases(network: str, parameters: bool) -> tuple[Case, ...]:
        return tuple(Case(network, parameters, name, nbytes, 2) for name, nbytes in (("M_R", 1), ("M_P", 2)))

    monkeypatch.setattr(experiment, "_compared", compared)
    monkeypatch.setattr(experiment, "cases", some_cases)
    found = list(experiment.rows())
    assert {row.where for row in found if row.quantity == "case"} == set(HERE)
    means = [row for row in found if row.quantity.startswith("mean")]
    published = [(row.where.split()[0], row.published, row.accelsim) for row in means if row.published is not None]
    assert published == [("human", 0.84, 0.25), ("NAS", 0.85, 0.25)]
    assert {row.accelsim for row in means} == {0.25, (0.25 + 1) / 2}
    assert all(row.ok is None for row in means)
