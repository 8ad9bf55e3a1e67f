"""Products by planes of single bits: the same values, counted products and bytes, and what moves their time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from accelsim.errors import BadInput
from accelsim.experiments.arbitrary_precision.experiment import measured
from accelsim.experiments.arbitrary_precision.gemm import by_planes, crossover, ratio
from accelsim.ir import Role, Workload, WorkloadBuilder, evaluate
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.transformer import Bits, build
from accelsim.workloads.transforms import bit_planes
from accelsim.workloads.zoo import load

WIDTH = st.integers(1, 5)


def products(m: int, k: int, n: int) -> Workload:
    """Two products of one operand, the second with weights that lie across."""
    b = WorkloadBuilder("two")
    x = b.input("x", (2, m, k))
    b.output(b.matmul(x, b.weight("w", (k, n))))
    b.output(b.linear(x, b.weight("v", (n, k))))
    return b.build()


def cut(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return np.stack([(values >> i) & 1 for i in range(bits)])


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), WIDTH, WIDTH, WIDTH, st.integers(0, 2**31))
def test_planes_compute_the_same_values(m: int, k: int, n: int, a: int, w: int, v: int, seed: int) -> None:
    base, rng = products(m, k, n), np.random.default_rng(seed)
    planes = bit_planes(base, {"w": w, "v": v}, a)
    x = rng.integers(0, 2**a, (2, m, k))
    given_ = {"w": rng.integers(0, 2**w, (k, n)), "v": rng.integers(0, 2**v, (n, k))}
    powers = 2 ** np.add.outer(np.arange(a), np.arange(max(w, v)))
    found = evaluate(planes, {"x": x, "w": cut(given_["w"], w), "v": cut(given_["v"], v), "powers_of_two": powers})
    for name, value in evaluate(base, {"x": x, **given_}).items():
        np.testing.assert_array_equal(found[name], value)
    assert planes.macs == a * (w + v) * base.macs // 2
    assert sum(e.kind == "BitPlanes.cut" for e, _ in planes.einsums()) == 1  # both products share the operand's planes


def test_a_model_keeps_its_tables_and_its_attention() -> None:
    spec = load_config(load("opt-125m"), name="opt-125m").spec
    base = build(spec, "decode", 2, 1, 256, "last", Bits(16, 16, 16))
    planes = bit_planes(base, {"layer.*.weight": 3}, 4)
    layers = 12 * (4 * 768**2 + 2 * 768 * 3072)
    table = 4 * 4 * 3  # powers of two
    assert base.bytes_by_role()[Role.WEIGHT] - planes.bytes_by_role()[Role.WEIGHT] == layers * 13 // 8 - table
    assert planes.macs - base.macs == 2 * layers * (3 * 4 - 1)
    assert "accuracy is outside" in planes.notes[-1]


@pytest.mark.parametrize(
    ("weights", "operand", "message"),
    [({"w": 17}, 4, "1 to 16 planes, not 17"), ({"w": 2}, 0, "not 0"), ({"x": 2}, 4, "x is no weight of a product"),
     ({"wrong": 2}, 4, "wrong"), ({"state": 2}, 4, "nothing that is named")],
)  # fmt: skip
def test_what_cannot_be(weights: dict[str, int], operand: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        bit_planes(products(2, 3, 4), weights, operand)


@pytest.mark.parametrize(("weight", "operand"), [(2, 2), (2, 4), (4, 4)])
def test_time_follows_pairs_of_planes_where_products_bound_it(weight: int, operand: int) -> None:
    assert measured("time over that of 8 bits", 4096, weight, operand) == pytest.approx(weight * operand / 8, rel=0.05)


def test_weights_bound_few_vectors_and_products_many() -> None:
    """8 by 8 bits take the bytes of weights over the bandwidth, 4 by 4 their 16 products; they meet at 76 vectors."""
    assert ratio(16, 4, 4) < 0.7 and ratio(16, 2, 2) < 0.4 and ratio(256, 4, 4) > 2
    peak, bandwidth = 108 * 128 * 128 * 1.41e9, 2.039e12
    assert crossover(4, 4) == pytest.approx(peak / 16 / bandwidth, rel=0.25)


def test_sums_of_planes_must_not_pass_through_memory() -> None:
    apart = by_planes(4096, 2, 2, "tile").latency_s
    assert apart > 2 * 4 * 4 * 4096**2 / 2.04e12  # four sums of 32 bits, written and read
    assert by_planes(4096, 2, 2).latency_s < apart / 2


@pytest.mark.parametrize(
    ("rows", "path", "values", "moves"),
    [(16, "memories.hbm.bandwidth", ("1.63 TB/s", "2.45 TB/s"), True), (4096, "clock", ("1128 MHz", "1692 MHz"), True),
     (4096, "memories.hbm.bandwidth", ("1.63 TB/s", "2.45 TB/s"), False),
     (16, "units.cuda.lanes", ("5530", "8294"), False)],
)  # fmt: skip
def test_what_moves_the_time(rows: int, path: str, values: tuple[str, str], moves: bool) -> None:
    """Few vectors wait for weights, many for products; the vector units' part is small."""
    base = by_planes(rows, 2, 4).latency_s
    slow, fast = (by_planes(rows, 2, 4, "cascade", ((path, v),)).latency_s for v in values)
    if moves:
        assert fast < 0.95 * base and slow > 1.05 * base
    else:
        assert abs(fast / base - 1) < 0.05 and abs(slow / base - 1) < 0.05
