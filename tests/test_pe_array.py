"""Arrays that run contractions and element-wise operators: closed forms, rates, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL, at, conv, gemm, machine, run

from accelsim.arch.loader import loads_architecture
from accelsim.components.pe_array import PeArray
from accelsim.components.systolic import SystolicArray
from accelsim.errors import AccelsimError, BadInput
from accelsim.ir import Access, Apply, Einsum, Expr, Read, count_operations

DATAFLOWS = st.sampled_from(["os", "ws", "is"])
SIDES = st.tuples(*[st.integers(1, 9)] * 2)
SHAPES = st.tuples(*[st.integers(1, 30)] * 3)


def elementwise(expr: Expr, i: int, j: int, reduce: str = "") -> Einsum:
    """An operator on A[i,j] and B[i]; a reduction is along j."""
    inputs = (Access("A", at("i", "j")), Access("B", at("i")))
    return Einsum("e", Access("O", at("i") if reduce else at("i", "j")), inputs, expr, {"i": i, "j": j}, reduce)


BOTH = (Read(0), Read(1))
SOFTMAX_STEP = Apply("exp", (Apply("sub", BOTH),))


class Walk:
    """An array walked fold by fold, word by word."""

    def __init__(self, sides: tuple[int, int], dataflow: str, mnk: tuple[int, int, int]) -> None:
        (rows, cols), (m, n, k) = sides, mnk
        self.folds = self.cycles = self.macs = self.a = self.b = 0
        along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
        for top, left in product(range(0, along_rows, rows), range(0, along_cols, cols)):
            high, wide = min(rows, along_rows - top), min(cols, along_cols - left)
            self.folds += 1
            self.cycles += stream
            self.macs += high * wide * stream
            held, by_row, by_column = high * wide, high * stream, wide * stream
            self.a += {"os": by_row, "ws": by_row, "is": held}[dataflow]
            self.b += {"os": by_column, "ws": held, "is": by_row}[dataflow]


@given(DATAFLOWS, SIDES, SHAPES, st.integers(1, 3), st.booleans())
@SMALL
def test_contractions_equal_a_walk_over_their_folds(
    dataflow: str, sides: tuple[int, int], mnk: tuple[int, int, int], g: int, overlap: bool
) -> None:
    walk = Walk(sides, dataflow, mnk)
    unit = PeArray(memory="s", rows=sides[0], cols=sides[1], overlap=overlap)
    cost = run(unit, gemm(g, *mnk), dataflow, (16, 8, 16))
    fill = sides[0] if dataflow == "os" else 0
    assert cost.cycles[0] == g * (walk.cycles + (0 if overlap else walk.folds * fill))
    assert cost.latency[0] == (fill if overlap else 0)
    assert cost.actions["mac"][0] == g * walk.macs
    assert cost.actions["register"][0] == g * walk.macs * (2 + 1 + 4)
    assert [int(r[0]) for r in cost.reads] == [2 * g * walk.a, g * walk.b]
    assert cost.writes[0] == 2 * g * mnk[0] * mnk[1]
    assert cost.partial_reads[0] == 0
    assert cost.cycles[0] * unit.peak_rates()["mac"] >= cost.actions["mac"][0]


@given(DATAFLOWS, SIDES, SHAPES, st.integers(1, 3), st.sampled_from([(8, 8, 8), (16, 8, 16), (8, 12, 8), (16, 24, 32)]))
@SMALL
def test_a_systolic_array_that_hides_its_fills_agrees(
    dataflow: str, sides: tuple[int, int], mnk: tuple[int, int, int], g: int, bits: tuple[int, int, int]
) -> None:
    """Where a fold takes as long as its fill, and with accumulators for all sums: the same but for the latency."""
    rows, cols = sides
    m, n, k = (s + rows for s in mnk)
    ours = PeArray(memory="s", rows=rows, cols=cols, overlap=True, mac_bits=8)
    theirs = SystolicArray(memory="s", rows=rows, cols=cols, overlap=True, mac_bits=8, accumulators=2**20)
    found, expected = (run(unit, gemm(g, m, n, k), dataflow, bits) for unit in (ours, theirs))
    assert found.cycles[0] == expected.cycles[0]
    assert [int(r[0]) for r in found.reads] == [int(r[0]) for r in expected.reads]
    assert (found.writes[0], found.partial_reads[0]) == (expected.writes[0], expected.partial_reads[0])
    assert dict(found.actions) == dict(expected.actions)


@given(SIDES, SHAPES)
@SMALL
def test_a_systolic_array_that_shows_its_skew_takes_longer_by_the_columns(
    sides: tuple[int, int], mnk: tuple[int, int, int]
) -> None:
    """Output-stationary, K + rows against K + rows + cols - 2 cycles per fold."""
    ours, theirs = (kind(memory="s", rows=sides[0], cols=sides[1]) for kind in (PeArray, SystolicArray))
    found, expected = (int(run(unit, gemm(1, *mnk), "os").cycles[0]) for unit in (ours, theirs))
    assert found == expected - Walk(sides, "os", mnk).folds * (sides[1] - 2)


def test_convolutions_run_as_products() -> None:
    unit = PeArray(memory="s", rows=4, cols=4, overlap=True)
    # 5x5 outputs, 6 filters, 3 * 2 * 2 along the reduction.
    cycles = {d: int(run(unit, conv(3, 6, 5, 2), d).cycles[0]) for d in ("os", "ws", "is")}
    assert cycles == {"os": 7 * 2 * 12, "ws": 3 * 2 * 25, "is": 3 * 7 * 6}


@given(SIDES, SHAPES, st.booleans())
@SMALL
def test_the_best_dataflow_comes_first(sides: tuple[int, int], mnk: tuple[int, int, int], overlap: bool) -> None:
    unit, e = PeArray(memory="s", rows=sides[0], cols=sides[1], overlap=overlap), gemm(1, *mnk)
    found = [o.variant for o in unit.spatial_options(e)]
    assert sorted(found) == ["is", "os", "ws"]
    cycles = [int((cost := run(unit, e, d)).cycles[0] + cost.latency[0]) for d in found]
    assert cycles == sorted(cycles)


def test_partial_results_between_tiles_have_the_width_of_sums() -> None:
    unit, e = PeArray(memory="s", rows=4, cols=4, accumulator_bits=24), gemm(2, 5, 7, 3)
    extents = {r: np.array([s]) for r, s in e.sizes.items()}
    option = unit.spatial_options(e)[0]
    middle = unit.cost(e, option, extents, (8, 8, 16), resumed=True, unfinished=True)
    assert (middle.writes[0], middle.partial_reads[0]) == (3 * 70, 3 * 70)
    last = unit.cost(e, option, extents, (8, 8, 16), resumed=True)
    assert (last.writes[0], last.partial_reads[0]) == (2 * 70, 3 * 70)


@given(
    SIDES,
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([SOFTMAX_STEP, Apply("max", BOTH), Apply("add", (Read(0), Apply("exp", (Read(1),))))]),
    st.sampled_from(["", "add", "max"]),
    st.fractions(Fraction(1, 16), 4, max_denominator=16),
)
@SMALL
def test_elementwise_cycles_follow_the_rates(
    sides: tuple[int, int], ij: tuple[int, int], expr: Expr, reduce: str, rate: Fraction
) -> None:
    rates: Mapping[str, Fraction] = {"exp": rate, "add": Fraction(1), "max": Fraction(1, 3)}
    unit = PeArray(memory="s", rows=sides[0], cols=sides[1], rates=rates)
    e = elementwise(expr, *ij, reduce)
    cost = run(unit, e, "elementwise", (8, 16, 32))
    counts = count_operations(e).counts
    assert {c: int(n[0]) for c, n in cost.actions.items()} == dict(counts)
    assert cost.cycles[0] == sum(ceil(n / (sides[0] * sides[1] * rates[c])) for c, n in counts.items())
    for c, n in counts.items():
        assert cost.cycles[0] * unit.peak_rates()[c] >= n
    i, j = ij
    assert [int(r[0]) for r in cost.reads] == [i * j, 2 * i]
    assert cost.writes[0] == 4 * (i if reduce else i * j)
    assert (cost.latency[0], cost.partial_reads[0]) == (0, 0)


def test_an_exponential_of_six_multiply_adds() -> None:
    """FuseMax: of 256 x 256 scores, each element subtracts in one cycle and takes six for its exponential."""
    unit = PeArray(memory="s", rows=256, cols=256, rates={"exp": "1/6", "add": 1})
    (option,) = unit.spatial_options(elementwise(SOFTMAX_STEP, 256, 256))
    assert dict(option.spatial) == {"i": "rows", "j": "columns"}
    assert run(unit, elementwise(SOFTMAX_STEP, 256, 256), "elementwise").cycles[0] == 7
    assert run(unit, elementwise(SOFTMAX_STEP, 256, 257), "elementwise").cycles[0] == 2 + 7


def test_a_single_rank_lies_along_the_columns() -> None:
    unit = PeArray(memory="s", rows=4, cols=4, rates={"exp": 1, "add": 1})
    (option,) = unit.spatial_options(elementwise(SOFTMAX_STEP, 1, 9))
    assert dict(option.spatial) == {"j": "columns"}


def test_tiles_are_priced_one_by_one() -> None:
    unit, e = PeArray(memory="s", rows=3, cols=4), gemm(1, 20, 20, 20)
    option = next(o for o in unit.spatial_options(e) if o.variant == "ws")
    sizes = {"g": np.array([1]), "m": np.array([5, 7]), "n": np.array([[4], [9]]), "k": np.array([8])}
    assert unit.cost(e, option, sizes, (8, 8, 8)).cycles.tolist() == [[3 * 5, 3 * 7], [9 * 5, 9 * 7]]


def test_the_memory_that_feeds_an_array_limits_it() -> None:
    unit = PeArray(memory="s", rows=4, cols=4, overlap=True, rates={"exp": 1, "add": 1})
    # 8x8x8 in four folds: both operands twice, the result once.
    for bandwidth, cycles in ((64e9, 32), (3e9, ceil(320 / 3))):
        assert run(machine(unit, bandwidth=bandwidth), gemm(1, 8, 8, 8), "os").cycles[0] == cycles
    fed = machine(unit, bandwidth=1e9)
    assert run(fed, elementwise(SOFTMAX_STEP, 8, 8), "elementwise").cycles[0] == 64 + 8 + 64


def test_what_an_array_has_no_rate_for_it_cannot_run() -> None:
    unit = PeArray(memory="s", rows=4, cols=4, rates={"add": 1, "exp": 0}, name="array")
    e = elementwise(SOFTMAX_STEP, 4, 4)
    assert unit.spatial_options(e) == ()
    assert set(unit.peak_rates()) == {"mac", "add"} == set(unit.action_energy()) - {"register"}
    (option,) = PeArray(memory="s", rows=4, cols=4, rates={"add": 1, "exp": 1}).spatial_options(e)
    extents = {r: np.array([4]) for r in e.sizes}
    with pytest.raises(BadInput, match="array: cannot run e: it has no rate of exp"):
        unit.cost(e, option, extents, (8, 8, 8))


def test_an_array_runs_no_dataflow_that_it_does_not_have() -> None:
    e, other = gemm(1, 4, 4, 4), elementwise(SOFTMAX_STEP, 4, 4)
    unit = PeArray(memory="s", rows=4, cols=4, dataflows=("os",), rates={"add": 1, "exp": 1}, name="array")
    (option,) = unit.spatial_options(e)
    assert option.variant == "os"
    stationary = next(o for o in PeArray(memory="s", rows=4, cols=4).spatial_options(e) if o.variant == "ws")
    with pytest.raises(BadInput, match=r"array: cannot run gemm: no `ws` \(os\)"):
        unit.cost(e, stationary, {r: np.array([4]) for r in e.sizes}, (8, 8, 8))
    with pytest.raises(BadInput, match=r"array: cannot run e: no `os` \(elementwise\)"):
        unit.cost(other, option, {r: np.array([4]) for r in other.sizes}, (8, 8, 8))


@pytest.mark.parametrize(
    "keys, message",
    [
        ("dataflows: [rs]", "dataflows"),
        ("dataflows: []", "at least one dataflow"),
        ("dataflows: [os, os]", "none twice"),
        ("rates: {mac: 1}", "`mac` is no class of element-wise operators"),
        ("energies: {mac: 1 pJ}", "`mac` is no class of element-wise operators"),
        ("rates: {sine: 1}", "no operation class `sine`"),
        ("energies: {sine: 1 pJ}", "no operation class `sine`"),
        ("rates: {exp: -1}", "rate -1 is out of range"),
        ("rates: {exp: fast}", "`fast` is not a rate"),
        ("mac_bits: 0", "mac_bits"),
        ("lanes: 4", "lanes"),
    ],
)
def test_bad_keys(keys: str, message: str) -> None:
    with pytest.raises(AccelsimError, match=message):
        loads_architecture(f"""
name: bad
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 64 GiB, bandwidth: unlimited}}
units:
  array: {{kind: pe_array, memory: dram, rows: 4, cols: 4, {keys}}}
""")
