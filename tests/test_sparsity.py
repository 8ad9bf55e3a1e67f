"""Zeros: what formats store, what units save on them, and what follows for a run."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from math import ceil, comb, log2, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.einsums import SMALL, conv, gemm, group_conv, machine

import accelsim
from accelsim.arch import Architecture
from accelsim.arch.layout import Layout, Spread
from accelsim.arch.loader import load_spec
from accelsim.components.base import ComputeUnit, Cost, SpatialOption
from accelsim.components.sparse import slowest_share
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_kernel import C_CYCLES, C_MAC, TileCosts
from accelsim.components.spatial_layout import RegisterFile
from accelsim.components.systolic import SystolicArray
from accelsim.errors import BadInput, MappingError, SpecError, UnsupportedSparsity
from accelsim.ir import (
    FORMATS,
    FULL,
    Density,
    Einsum,
    Role,
    Tensor,
    Workload,
    WorkloadBuilder,
    format_cascade,
    group_rank,
    parse_density,
    with_density,
    with_precision,
)
from accelsim.mapping.machine_bound import machine_bound
from accelsim.workloads import load_model

SHARES = st.integers(1, 100).map(lambda n: Fraction(n, 100))
RANDOM = ("dense", "bitmask", "run_length", "coordinate", "csr")


def mlp(n: int = 256) -> Workload:
    b = WorkloadBuilder("mlp", bits=8)
    x = b.input("x", (n, n))
    hidden = b.relu(b.linear(x, b.weight("w", (n, n)), b.weight("bias", (n,)), name="fc"))
    b.output(b.linear(hidden, b.weight("v", (n, n)), name="out"))
    return b.build()


def cost(unit: ComputeUnit, einsum: Einsum, variant: str, *densities: str) -> Cost:
    unit = unit.over(einsum, [Density.parse(d) for d in densities])
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    return unit.cost(einsum, SpatialOption(variant, {}), extents, (8, 8, 8))


# Formats


def encoded_bits(zero: NDArray[np.bool_], density: Density, bits: int) -> int:
    """Bits of a tensor by writing it out entry by entry."""
    flat, kept, r = zero.ravel(), int((~zero).sum()), density.parameter
    if density.format == "bitmask":
        return flat.size + kept * bits
    if density.format == "coordinate":
        return kept * (bits + r)
    if density.format == "csr":
        return kept * (bits + ceil(log2(r))) + flat.size // r * 32
    if density.format == "nm_index":
        return kept * (bits + ceil(log2(density.group)))
    assert density.format == "run_length"
    entries = run = 0
    for is_zero in flat.tolist():
        if is_zero and run < 2**r - 1:
            run += 1
        else:
            entries, run = entries + 1, 0
    return entries * (bits + r)


@pytest.mark.parametrize("share", [0.03, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("form", ["bitmask", "run_length:2", "run_length:5", "coordinate", "csr"])
def test_formats_store_what_a_sampled_tensor_needs(form: str, share: float) -> None:
    shape = (500, 400)
    zero = np.random.default_rng(7).random(shape) >= share
    density = Density.parse(f"{share}/{form}").of(shape)
    assert encoded_bits(zero, density, 8) / zero.size == pytest.approx(float(density.bits(8)), rel=0.02)


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 4), (3, 8)])
def test_groups_store_exactly_their_share(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    zero = np.array([rng.permutation([False] * n + [True] * (m - n)) for _ in range(64)])
    tensor = Tensor("w", zero.shape, Role.WEIGHT, 8, density=Density.parse(f"{n}:{m}/nm_index"))
    assert tensor.nbytes == ceil(encoded_bits(zero, tensor.density, 8) / 8)
    masked = Tensor("w", zero.shape, Role.WEIGHT, 8, density=Density.parse(f"{n}:{m}/bitmask"))
    assert masked.nbytes == ceil(encoded_bits(zero, masked.density, 8) / 8)


@SMALL
@given(st.sampled_from(RANDOM), SHARES, SHARES, st.integers(1, 32), st.integers(0, 10**6))
def test_bytes_never_fall_with_density(form: str, a: Fraction, b: Fraction, bits: int, elements: int) -> None:
    low, high = (
        Tensor("t", (1000, 1000), Role.ACTIVATION, bits, density=Density(s, format=form)) for s in sorted((a, b))
    )
    assert low.bytes_of(elements) <= high.bytes_of(elements)
    assert high.bytes_of(elements) >= elements * bits * float(max(a, b)) / 8 - 1e-6 * elements


def test_dense_tensors_are_what_they_were() -> None:
    assert Tensor("t", (3, 5), Role.WEIGHT, 12).stored_bits == 12
    assert FULL.bits(12) == 12 and FULL.is_full
    half = Tensor("t", (64,), Role.WEIGHT, 8, Fraction(1, 4), Density.parse("0.5/bitmask"))
    assert half.stored_bits == Fraction(4 + 1) + Fraction(1, 4)


# Names and text


def test_roles_names_and_patterns() -> None:
    workload = with_density(mlp(), {"v": 0.25}, weight="2:4/nm_index", activation=0.6)
    densities = {name: str(t.density) for name, t in workload.tensors.items() if t.density != FULL}
    assert densities["w"] == "2:4/nm_index" and densities["v"] == "0.25"
    assert "bias" not in densities and "x" not in densities
    assert {d for name, d in densities.items() if name not in "wv"} == {"0.6"}
    assert with_density(mlp(), {"bias": "2:4"}).tensors["bias"].density.group == 4
    assert with_density(mlp(), weight=0.5).tensors["bias"].density.share == Fraction(1, 2)


def test_a_view_is_stored_as_its_tensor() -> None:
    b = WorkloadBuilder("views", bits=8)
    w = b.weight("w", (6, 4, 2))
    b.output(b.linear(b.input("x", (5, 8)), b.reshape(w, (6, 8)), name="fc"))
    workload = with_density(b.build(), weight="0.5/csr")
    bits = {t.stored_bits for t in workload.tensors.values() if t.density != FULL}
    assert bits == {Fraction(8 + 3, 2) + 4}


def test_groups_lie_along_the_channels_that_are_summed_over() -> None:
    assert group_rank(gemm(2, 3, 4, 8), 1) == group_rank(gemm(2, 3, 4, 8), 0) == "k"
    assert group_rank(conv(8, 4, 5, 3), 1) == "c"
    assert group_rank(group_conv(g=2, m=4, c=8, side=(4, 4), window=(3, 3)), 1) == "c"
    resnet = with_density(load_model("mobilenet_v1_1.0"), weight="2:4")
    pruned = {name for name, t in resnet.tensors.items() if t.density.group}
    assert pruned and not any(len(resnet.tensors[n].shape) < 2 for n in pruned)


def test_text_form() -> None:
    found = parse_density("weight=2:4/nm_index+*.up=0.3/run_length:4,activation=0.6")
    assert found == {"weight": Density(Fraction(1, 2), 4, "nm_index"),
                     "*.up": Density(Fraction(3, 10), 0, "run_length", 4), "activation": Density(Fraction(3, 5))}
    assert all(Density.parse(str(d)) == d for d in found.values())
    by_option = load_model("resnet18", density="weight=2:4/nm_index")
    assert by_option.tensors == with_density(load_model("resnet18"), weight="2:4/nm_index").tensors


@pytest.mark.parametrize(("text", "message"), [
    ("0", "density 0: a share .* above 0 and up to 1"),
    ("1.5", "density 1.5: a share"),
    ("-0.5", "density -0.5: a share"),
    ("nan", "write a share such as 0.6"),
    ("3:2", "density 3:2: N:M keeps N, from 1 to M"),
    ("0:4", "density 0:4: N:M keeps N, from 1 to M"),
    ("0.5:4", "density 0.5:4: N:M"),
    ("0.5/bitmsk", "no format 'bitmsk' .*bitmask"),
    ("0.5/nm_index", "nm_index is for N:M"),
    ("2:4/run_length", "run_length is for zeros at random"),
    ("0.5/bitmask:3", "bitmask has no parameter"),
    ("0.5/run_length:17", "its parameter is 1 up to 16"),
    ("half", "write a share such as 0.6"),
])  # fmt: skip
def test_densities_that_are_none(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Density.parse(text)
    with pytest.raises(BadInput, match=message):
        load_model("resnet18", density=f"weight={text}")


def test_densities_that_do_not_fit_the_workload() -> None:
    with pytest.raises(BadInput, match=r"density of 'wieght' fits no tensor \(nearest: weight;"):
        with_density(mlp(), {"wieght": 0.5})
    with pytest.raises(BadInput, match="density 2:4 of 'activation': N:M is for weights"):
        with_density(mlp(), activation="2:4")
    with pytest.raises(BadInput, match=r"density 2:4 of 'x' \(input\): N:M is for weights"):
        with_density(mlp(), {"x": "2:4"})
    b = WorkloadBuilder("loop")
    x = b.input("x", (4, 4))
    with b.repeat("layers", 3) as scope:
        scope.carry(b.relu(x), x)
    b.relu(x)
    loop = b.build()
    with pytest.raises(BadInput, match=r"an iteration hands one on as the other \(give both the same: x=0.5\)"):
        with_density(loop, activation=0.5)
    assert {t.density.share for t in with_density(loop, activation=0.5, input=0.5).tensors.values()} == {Fraction(1, 2)}
    with pytest.raises(BadInput, match="'weight' is given twice"):
        parse_density("weight=0.5,weight=2:4")
    with pytest.raises(BadInput, match="a cascade has no densities"):
        format_cascade(with_density(mlp(), activation=0.5))


# Systolic arrays


def sparse_array(**keys: object) -> ComputeUnit:
    return machine(SystolicArray(memory="s", rows=8, cols=8, **keys), bandwidth=1e15)


@SMALL
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.sampled_from(["os", "ws", "is"]))
def test_skipping_shortens_the_contracted_rank(m: int, n: int, k: int, dataflow: str) -> None:
    """Kept elements counted in a mask; the other operand is read in full, the weights as they are kept."""
    mask = np.arange(k) % 4 < 2
    left = int(mask.sum())
    found = cost(sparse_array(sparsity="skipping", sparse_ratios="2:4"), gemm(1, m, n, k), dataflow, "1", "2:4")
    short = cost(sparse_array(), gemm(1, m, n, left), dataflow, "1", "1")
    assert found.cycles == short.cycles and found.latency == short.latency
    assert found.actions["mac"] == m * n * left
    assert found.reads[1] == short.reads[1]
    assert found.reads[0] * left == short.reads[0] * k
    assert found.writes == short.writes or dataflow != "os"


def test_channels_of_a_convolution_are_shortened_and_its_window_is_not() -> None:
    unit = sparse_array(sparsity="skipping", sparse_ratios="2:4")
    found = cost(unit, conv(6, 4, 5, 3), "ws", "1", "2:4")
    assert found.cycles == cost(sparse_array(), conv(4, 4, 5, 3), "ws", "1", "1").cycles
    assert cost(unit, conv(1, 4, 5, 3), "ws", "1", "2:4").cycles == cost(unit, conv(1, 4, 5, 3), "ws", "1", "1").cycles


@pytest.mark.parametrize(("weights", "ratios", "kept"), [
    ("1:4", ("2:4",), 2 / 4), ("2:8", ("2:4",), 2 / 4), ("1:8", ("2:4", "1:4"), 1 / 4), ("1:2", ("2:4",), 2 / 4),
    ("4:8", ("2:4",), None), ("3:4", ("2:4",), None), ("2:4", ("1:2",), None), ("2:6", ("2:4",), None),
])  # fmt: skip
def test_ratios_that_weights_meet(weights: str, ratios: tuple[str, ...], kept: float | None) -> None:
    """By all masks: weights meet a ratio if none of its groups ever holds more."""
    density, unit = Density.parse(weights), sparse_array(sparsity="skipping", sparse_ratios=ratios)
    span = 24
    fullest = dict.fromkeys(ratios, 0)
    block = [p for p in product((0, 1), repeat=density.group) if sum(p) == density.kept]
    for first, second in product(block, block):
        row = [*first, *second] * (span // density.group)
        for r in ratios:
            size = int(r.split(":")[1])
            fullest[r] = max(fullest[r], *(sum(row[i : i + size]) for i in range(0, span, size)))
    able = [r for r in ratios if fullest[r] <= int(r.split(":")[0])]
    assert bool(able) == (kept is not None)
    if kept is None:
        with pytest.raises(UnsupportedSparsity, match=rf"u: cannot skip zeros of {weights} .* gemm \(can: {ratios[0]}"):
            cost(unit, gemm(1, 8, 8, 64), "ws", "1", weights)
    else:
        assert cost(unit, gemm(1, 8, 8, 64), "ws", "1", weights).actions["mac"] == 8 * 8 * 64 * kept


@SMALL
@given(SHARES, SHARES)
def test_gating_saves_energy_of_macs_alone(a: Fraction, b: Fraction) -> None:
    einsum = gemm(2, 9, 10, 33)
    dense = cost(sparse_array(), einsum, "ws", "1", "1")
    gated = cost(sparse_array(sparsity="gating"), einsum, "ws", str(float(a)), str(float(b)))
    assert gated.actions["mac"] == ceil(a * b * 2 * 9 * 10 * 33)
    assert (gated.cycles, gated.reads, gated.writes) == (dense.cycles, dense.reads, dense.writes)


def test_gated_macs_of_sampled_tensors() -> None:
    rng, (m, n, k) = np.random.default_rng(3), (60, 50, 80)
    a, b = rng.random((m, k)) < 0.6, rng.random((k, n)) < 0.3
    macs = int((a.astype(int) @ b.astype(int)).sum())
    gated = cost(sparse_array(sparsity="gating"), gemm(1, m, n, k), "os", "0.6", "0.3")
    assert gated.actions["mac"][0] == pytest.approx(macs, rel=0.03)


def test_random_zeros_are_not_skipped_by_a_systolic_array() -> None:
    unit, einsum = sparse_array(sparsity="skipping", sparse_ratios="2:4"), gemm(1, 9, 9, 32)
    assert cost(unit, einsum, "ws", "0.5", "0.5").cycles == cost(unit, einsum, "ws", "1", "1").cycles


# Spatial arrays


def test_the_slowest_of_few_elements_by_enumeration() -> None:
    """All outcomes of every element, each with its probability."""
    for elements, window, share in ((1, 5, Fraction(1, 3)), (2, 3, Fraction(1, 2)), (3, 4, Fraction(1, 4))):
        chances = [comb(window, k) * share**k * (1 - share) ** (window - k) for k in range(window + 1)]
        exact = sum(
            (prod((chances[k] for k in ks), start=Fraction(1)) * max(ks)
             for ks in product(range(window + 1), repeat=elements)), Fraction(0),
        )  # fmt: skip
        found = slowest_share(elements, window, share)
        assert 0 <= found - exact / window <= Fraction(2, 2**20)
    assert slowest_share(1, 64, Fraction(1, 4)) == Fraction(1, 4)
    assert slowest_share(100, 64, Fraction(1)) == 1


@pytest.mark.parametrize(("elements", "window", "share"), [(16, 8, 0.5), (168, 16, 0.2), (256, 64, 0.6), (8, 1, 0.3)])
def test_the_slowest_of_sampled_elements(elements: int, window: int, share: float) -> None:
    kept = np.random.default_rng(11).random((20_000 // window, elements, window)) < share
    sampled = kept.sum(axis=2).max(axis=1).mean() / window
    assert float(slowest_share(elements, window, Fraction(str(share)))) == pytest.approx(sampled, rel=0.02)


@SMALL
@given(st.integers(1, 300), st.integers(1, 64), SHARES, SHARES)
def test_the_slowest_never_gets_faster_with_density(elements: int, window: int, a: Fraction, b: Fraction) -> None:
    low, high = (slowest_share(elements, window, s) for s in sorted((a, b)))
    assert min(a, b) <= low + Fraction(1, 2**20) and low <= high <= 1
    assert low <= slowest_share(elements + 1, window, min(a, b))


GRID = Layout((Spread("k", "rows", 4), Spread("n", "columns", 8)))


def grid(**keys: object) -> SpatialArray:
    unit = SpatialArray(memory="s", dimensions={"rows": 4, "columns": 8}, **keys)
    bound = machine(unit, bandwidth=1e15)
    assert isinstance(bound, SpatialArray)
    return bound


def on_grid(unit: SpatialArray, einsum: Einsum, *densities: str, layout: Layout = GRID) -> Cost:
    unit = unit.over(einsum, [Density.parse(d) for d in densities])
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    return unit.cost(einsum, unit.option(einsum, VARIANT, layout), extents, (8, 8, 8))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_skipping_of_a_sampled_matrix(share: float) -> None:
    """Weights dealt out to 4 x 8 elements, which wait for each other after 16 words of theirs; m points for each."""
    m, n, k, window = 3, 1024, 2048, 16
    kept = np.random.default_rng(5).random((k, n)) < share
    queues = kept.reshape(k // 4, 4, n // 8, 8).transpose(1, 3, 0, 2).reshape(32, -1, window)
    sampled = queues.sum(axis=2).max(axis=0).sum() * m
    found = on_grid(grid(sparsity="skipping", skip_window=window), gemm(1, m, n, k), "1", str(share))
    assert found.cycles[0] == pytest.approx(sampled, rel=0.02)
    assert found.actions["mac"][0] == pytest.approx(kept.sum() * m, rel=0.02)


def test_elements_that_get_the_same_word_do_not_wait_for_each_other() -> None:
    unit, einsum = grid(sparsity="skipping", skip_window=16), gemm(1, 64, 64, 64)
    shared = Layout((Spread("m", "rows", 4), Spread("n", "columns", 8)))
    dense = int(on_grid(grid(), einsum, "1", "1", layout=shared).cycles[0])
    for skips, apart in (("weight", 8), ("input", 4)):
        unit = grid(sparsity="skipping", skip_window=16, skips=skips)
        found = on_grid(unit, einsum, *(("1", "0.5") if skips == "weight" else ("0.5", "1")), layout=shared)
        assert found.cycles == ceil(dense * slowest_share(apart, 16, Fraction(1, 2)))


def test_ratios_are_balanced_and_other_groups_are_taken_as_random() -> None:
    einsum = gemm(1, 16, 64, 64)
    dense = on_grid(grid(), einsum, "1", "1")
    both = grid(sparsity="skipping", sparse_ratios="2:4", skip_window=16)
    assert on_grid(both, einsum, "1", "2:4").cycles * 2 == dense.cycles
    random = ceil(int(dense.cycles[0]) * slowest_share(32, 16, Fraction(3, 4)))
    assert on_grid(both, einsum, "1", "3:4").cycles == random
    assert on_grid(both, einsum, "0.5", "1").cycles == dense.cycles
    with pytest.raises(UnsupportedSparsity, match=r"cannot skip zeros of 3:4 weights of gemm \(can: 2:4\)"):
        on_grid(grid(sparsity="skipping", sparse_ratios="2:4"), einsum, "1", "3:4")
    assert issubclass(UnsupportedSparsity, MappingError)


@SMALL
@given(SHARES, SHARES, st.sampled_from(["none", "gating", "skipping"]), st.integers(1, 30), st.integers(1, 40))
def test_costs_never_fall_with_density(a: Fraction, b: Fraction, kind: str, n: int, k: int) -> None:
    unit = grid(sparsity=kind, skip_window=8 if kind == "skipping" else None)
    low, high = (on_grid(unit, gemm(1, 5, n, k), "0.7", str(float(s))) for s in sorted((a, b)))
    assert low.cycles <= high.cycles and low.actions["mac"] <= high.actions["mac"]
    assert low.reads == high.reads and low.writes == high.writes


@SMALL
@given(SHARES, st.sampled_from(["gating", "skipping"]), st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_compiled_costs_are_the_array_s_own(share: Fraction, kind: str, n: int, k: int, held: bool) -> None:
    registers = {"weight": RegisterFile(capacity=2**16)} if held else {}
    unit = grid(sparsity=kind, skip_window=8 if kind == "skipping" else None, registers=registers)
    einsum = gemm(1, 5, n * 8, k * 4)
    over = unit.over(einsum, [Density.parse("0.7"), Density(share)])
    layout = Layout(GRID.spreads, (("n", 8),), {"weight": 1} if held else {})
    mine = over.cost(einsum, over.option(einsum, VARIANT, layout), {r: np.array([x]) for r, x in einsum.sizes.items()},
                     (8, 8, 8))  # fmt: skip
    costs = TileCosts(over, einsum, (8, 8, 8))
    words = costs.cost(costs.body(layout), einsum.sizes)
    assert words[C_CYCLES] == mine.cycles[0] and words[C_MAC] == mine.actions["mac"][0]


# Runs


def npu(keys: Mapping[str, str]) -> Architecture:
    return load_spec("edge_npu").with_values({f"units.array.{k}": v for k, v in keys.items()}).build()


@pytest.mark.parametrize("keys", [{"sparsity": "gating"}, {"sparsity": "skipping", "sparse_ratios": "2:4"}, {}])
def test_runs_keep_to_the_machine_bound_and_fall_with_density(keys: dict[str, str]) -> None:
    arch = npu(keys)
    plain = with_precision(mlp(), {"*": 8})
    sparse = with_density(plain, weight="2:4/nm_index", activation="0.5/bitmask")
    reports = [accelsim.simulate(arch, w) for w in (sparse, plain)]
    for report, workload in zip(reports, (sparse, plain), strict=True):
        bound = machine_bound(workload, arch)
        assert bound.cycles <= report.cycles and bound.energy_J <= report.energy_J
    assert reports[0].cycles <= reports[1].cycles and reports[0].energy_J < reports[1].energy_J
    assert machine_bound(sparse, arch).energy_J < machine_bound(plain, arch).energy_J


def test_compressed_weights_are_moved_as_they_are_held() -> None:
    """By one mapping: 5 bits for every 8."""
    arch, plain = npu({}), with_precision(mlp(), {"*": 8})
    mapping = accelsim.simulate(arch, plain).mapping
    moved = []
    for workload in (plain, with_density(plain, weight="2:4/nm_index")):
        rows = accelsim.simulate(arch, workload, mapping=mapping).energy
        moved.append({t: sum(r.count for r in rows if r.tensor == t and r.crosses_edge) for t in ("w", "x", "bias")})
    assert moved[1]["w"] * 8 == moved[0]["w"] * 5 > 0
    assert (moved[1]["x"], moved[1]["bias"]) == (moved[0]["x"], moved[0]["bias"])


@pytest.mark.parametrize(("keys", "message"), [
    ({"sparsity": "skiping"}, "sparsity"),
    ({"sparsity": "skipping"}, "needs sparse_ratios, such as"),
    ({"sparse_ratios": "2:4"}, "sparse_ratios are for `sparsity: skipping`"),
    ({"sparsity": "skipping", "sparse_ratios": "3:2"}, "3:2"),
    ({"sparsity": "skipping", "sparse_ratios": "0.5"}, "is no ratio"),
    ({"sparsity": "skipping", "sparse_ratios": "4:4"}, "is no ratio"),
])  # fmt: skip
def test_keys_that_make_no_sense(keys: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        npu(keys)


def test_formats_are_all_known_to_the_tests() -> None:
    assert {*RANDOM, "nm_index"} == set(FORMATS)
