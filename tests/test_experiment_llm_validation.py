"""The constants come from the rows marked so alone, and a wrong machine shows."""

from __future__ import annotations

import pytest

from accelsim.arch.loader import load_spec
from accelsim.experiments.llm_validation.all_reduces import NETWORKS, AllReduce, all_reduces, constants
from accelsim.experiments.llm_validation.experiment import SETS, WANTED, fit, held, records
from accelsim.experiments.llm_validation.gpt3_layer import CONTEXT, HIDDEN, SEQUENCES, SOCKETS, decode_operators
from accelsim.study.calibrate import Errors, Predictor, Roofline

SET = "a100_llmcompass"


def error_with(values: dict[str, str]) -> float:
    way = fit(SET, Predictor(load_spec(SETS[SET][0]).with_values(values)))
    return Errors.of(way.errors(held(SET, "matmul"))).mean


def test_products_are_near_and_a_machine_with_too_little_is_not() -> None:
    assert error_with({}) < WANTED
    assert error_with({"units.tensor.arrays": "54"}) > 2 * WANTED
    assert error_with({"memories.hbm.bandwidth": "400 GB/s"}) > 2 * WANTED


@pytest.mark.parametrize("name", SETS)
def test_both_regimes_are_fitted_and_split_as_the_readme_says(name: str) -> None:
    rows = records(name)
    found = fit(name, Roofline(load_spec(SETS[name][0]))).found
    assert len(found.compute_bound) >= 4
    assert len(found.memory_bound) >= 2
    assert {r.operator for r in rows if r.measured.fit} == {"matmul"}


def test_every_third_product_by_intensity_is_fitted() -> None:
    def intensity(m: int, n: int, k: int) -> tuple[float, int]:
        return m * n * k / (m * n + n * k + m * k), m * n * k

    shapes = [r.measured for r in records(SET) if r.operator == "matmul"]
    shapes.sort(key=lambda r: intensity(r.shape.m, r.shape.n, r.shape.k))
    assert [i for i, r in enumerate(shapes) if r.fit] == list(range(0, len(shapes), 3))


def test_all_reduces_give_their_constants_back() -> None:
    peaks = [1e-9, 1e-6, 1e-4, 1e-2]
    rows = [AllReduce(4, 1, p / 0.6 + 7e-6, True, "made", p) for p in peaks]
    assert constants(rows) == pytest.approx((0.6, 7e-6), rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_large_all_reduces_take_their_bytes_at_the_port(name: str) -> None:
    """Every socket sends and receives 2 (n - 1) / n of the bytes, at its port or over n - 1 equal cables."""
    row = max(all_reduces(name), key=lambda r: r.nbytes)
    n = row.sockets
    network = NETWORKS[name](n)
    port = sum(c.bandwidth for c in network.cables if c.src == 0)
    assert row.at_peak == pytest.approx(2 * (n - 1) / n * row.nbytes / port, rel=0.02)
    assert row.at_peak < row.seconds


def test_a_decode_step_reads_the_weights_and_the_cache_of_a_layer() -> None:
    products = [s for s in decode_operators() if s.operator == "matmul"]
    weights = sum(s.n * s.k for s in products if s.batch == 1)
    cache = sum(s.batch * s.n * s.k for s in products if s.batch > 1)
    assert weights == 12 * HIDDEN**2 // SOCKETS
    assert cache == 2 * SEQUENCES * CONTEXT * HIDDEN // SOCKETS
