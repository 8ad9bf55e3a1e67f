"""Systolic arrays against a walk over their folds and against SCALE-Sim."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, at, conv, gemm, run

from accelsim.components.systolic import SystolicArray
from accelsim.errors import BadInput
from accelsim.ir import Access, Apply, Einsum, Read


class Walk:
    """A systolic array walked fold by fold, word by word."""

    def __init__(self, rows: int, cols: int, dataflow: str, m: int, n: int, k: int) -> None:
        self.cycles = self.macs = self.a = self.b = self.out = self.back = 0
        along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
        written: set[tuple[int, int]] = set()
        for top, left in product(range(0, along_rows, rows), range(0, along_cols, cols)):
            high = min(rows, along_rows - top)
            wide = min(cols, along_cols - left)
            self.macs += high * wide * stream
            # The last processing element of a full array starts rows + cols - 2 cycles after the first and needs one
            # cycle per streamed word; a stationary operand is shifted in first, one row per cycle.
            self.cycles += (0 if dataflow == "os" else rows) + (rows - 1) + (cols - 1) + stream
            if dataflow == "os":
                self.a += high * stream
                self.b += wide * stream
                self.out += high * wide
                continue
            held, passed = high * wide, high * stream
            self.a += passed if dataflow == "ws" else held
            self.b += held if dataflow == "ws" else passed
            for column, word in product(range(left, left + wide), range(stream)):
                self.back += (column, word) in written
                written.add((column, word))
                self.out += 1


@given(
    st.sampled_from(["os", "ws", "is"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.integers(1, 3),
)
@SMALL
def test_systolic_equals_a_walk_over_its_folds(
    dataflow: str, shape: tuple[int, int], mnk: tuple[int, int, int], g: int
) -> None:
    m, n, k = mnk
    walk = Walk(*shape, dataflow, m, n, k)
    unit = SystolicArray(memory="s", rows=shape[0], cols=shape[1], accumulator_bits=24)
    cost = run(unit, gemm(g, m, n, k), dataflow, (8, 8, 16))
    assert cost.cycles[0] == g * walk.cycles
    assert cost.latency[0] == 0
    assert cost.actions["mac"][0] == g * walk.macs == g * m * n * k
    assert [int(r[0]) for r in cost.reads] == [g * walk.a, g * walk.b]
    assert cost.partial_reads[0] == 3 * g * walk.back
    assert cost.writes[0] == 2 * g * m * n + 3 * g * (walk.out - m * n)
    assert walk.out - walk.back == m * n


@pytest.mark.parametrize(
    "dataflow, rows, cols, m, n, k, cycles, ifmap, filters, outputs",
    [
        # scalesim 3.0.0, GoogLeNet layers; its printed total is one less, the index of the last cycle.
        ("is", 8, 8, 196, 64, 24, 6450, 4704, 38400, 37632),
        ("is", 8, 128, 49, 48, 832, 19760, 40768, 39936, 244608),
        ("is", 16, 64, 100, 48, 400, 7100, 40000, 38400, 120000),
        ("is", 16, 16, 196, 24, 512, 29120, 100352, 159744, 150528),
        ("ws", 8, 128, 9, 128, 800, 15100, 7200, 102400, 115200),
        ("ws", 8, 8, 9, 128, 800, 49600, 115200, 102400, 115200),
        ("ws", 16, 64, 100, 64, 800, 9700, 80000, 51200, 320000),
        # Its output writes of os count folds * (rows + cols) words more than there are outputs.
        ("os", 8, 8, 128, 64, 128, 18176, 131072, 131072, 10240 - 128 * 16),
        ("os", 128, 8, 128, 64, 128, 2096, 131072, 8192, 9280 - 8 * 136),
    ],
)
def test_systolic_equals_scalesim(
    dataflow: str, rows: int, cols: int, m: int, n: int, k: int, cycles: int, ifmap: int, filters: int, outputs: int
) -> None:
    unit = SystolicArray(memory="s", rows=rows, cols=cols, accumulator_bits=8)
    cost = run(unit, gemm(1, m, n, k), dataflow)
    assert cost.cycles[0] == cycles
    assert (cost.reads[0][0], cost.reads[1][0], cost.writes[0]) == (ifmap, filters, outputs)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.sampled_from(["os", "ws", "is"]))
@SMALL
def test_a_convolution_is_its_im2col(c: int, f: int, side: int, window: int, dataflow: str) -> None:
    unit = SystolicArray(memory="s", rows=4, cols=3)
    as_conv = run(unit, conv(c, f, side, window), dataflow)
    as_gemm = run(unit, gemm(1, side * side, f, c * window * window), dataflow)
    assert as_conv.cycles[0] == as_gemm.cycles[0]
    assert [r[0] for r in as_conv.reads] == [r[0] for r in as_gemm.reads]
    assert as_conv.writes[0] == as_gemm.writes[0]


@given(
    st.sampled_from(["os", "ws", "is"]),
    st.integers(1, 30),
    st.booleans(),
    st.tuples(st.integers(1, 3), *[st.integers(1, 14)] * 3),
)
@settings(SMALL, max_examples=400)
def test_several_arrays_deal_out_the_folds(dataflow: str, arrays: int, overlap: bool, gmnk: tuple[int, ...]) -> None:
    g, m, n, k = gmnk
    one = SystolicArray(memory="s", rows=4, cols=5, overlap=overlap)
    many = one.model_copy(update={"arrays": arrays})
    single, shared = run(one, gemm(*gmnk), dataflow), run(many, gemm(*gmnk), dataflow)
    along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    folds = g * ceil(along_rows / 4) * ceil(along_cols / 5)
    fill = (1 if dataflow == "os" else 2) * 4 + 5 - 2
    parts = 1 if dataflow == "os" else max(1, min(stream, arrays // folds))
    part = ceil(stream / parts)
    work = [0] * arrays  # deal the folds, each cut into pieces of `part` streamed words, to the least loaded array
    for _ in range(folds):
        for _ in range(ceil(stream / part)):
            work[work.index(min(work))] += max(part, 4) if overlap else part + fill
    assert shared.cycles[0] == max(work)
    assert shared.latency[0] == (part + fill - max(part, 4) if overlap else 0)
    assert shared.cycles[0] <= single.cycles[0]
    assert shared.cycles[0] * many.peak_rates()["mac"] >= shared.actions["mac"][0]
    assert shared.actions["mac"][0] == single.actions["mac"][0]
    if dataflow != "os":
        held = 1 if dataflow == "ws" else 0
        assert shared.reads[held][0] == single.reads[held][0] * ceil(stream / part)
        assert shared.reads[1 - held][0] == single.reads[1 - held][0]


def test_wide_operands_take_several_products() -> None:
    unit = SystolicArray(memory="s", rows=4, cols=4, mac_bits=8)
    for dataflow in ("os", "ws", "is"):
        wide = run(unit, gemm(1, 8, 8, 8), dataflow, (16, 12, 8))
        longer = run(unit, gemm(1, 8, 8, 32), dataflow, (8, 6, 8))
        assert wide.cycles[0] == longer.cycles[0]
        assert wide.actions["mac"][0] == longer.actions["mac"][0] == 2048
        assert [r[0] for r in wide.reads] == [r[0] for r in longer.reads]
    assert run(unit, gemm(1, 8, 8, 8), "os", (4, 2, 8)).cycles[0] == run(unit, gemm(1, 8, 8, 8), "os").cycles[0]


def test_partial_sums_that_fit_stay_in_the_accumulators() -> None:
    for room, kept in ((16 * 4 * 4 - 1, False), (16 * 4 * 4, True)):
        unit = SystolicArray(memory="s", rows=4, cols=4, accumulators=room)
        cost = run(unit, gemm(1, 16, 8, 12), "ws")
        assert cost.partial_reads[0] == (0 if kept else 16 * 8 * 2 * 4)
        assert cost.writes[0] == 16 * 8 + cost.partial_reads[0]


def test_a_systolic_array_runs_contractions_only() -> None:
    unit = SystolicArray(memory="s", rows=4, cols=4, dataflows=("ws",), name="u")
    assert [o.variant for o in unit.spatial_options(gemm(1, 2, 2, 2))] == ["ws"]
    assert dict(unit.spatial_options(gemm(1, 2, 2, 2))[0].spatial) == {"k": "rows", "n": "columns"}
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 3})
    assert unit.spatial_options(exp) == ()
    option = SystolicArray(memory="s", rows=4, cols=4).spatial_options(gemm(1, 2, 2, 2))[0]
    with pytest.raises(BadInput, match=r"u: cannot run gemm as `os` \(can: ws\)"):
        unit.cost(gemm(1, 2, 2, 2), option.__class__("os", {}), {r: np.array([1]) for r in "gmnk"}, (8, 8, 8))
    with pytest.raises(BadInput, match=r"gemm: no tile extent for rank 'k' \(needs g, m, n, k\)"):
        unit.cost(gemm(1, 2, 2, 2), option.__class__("ws", {}), {r: np.array([1]) for r in "gmn"}, (8, 8, 8))


def test_the_first_option_is_the_fastest() -> None:
    unit = SystolicArray(memory="s", rows=8, cols=8)
    for sizes in ((1, 1000, 8, 8), (1, 8, 1000, 8), (1, 8, 8, 1000)):
        options = unit.spatial_options(gemm(*sizes))
        cycles = [int(run(unit, gemm(*sizes), o.variant).cycles[0]) for o in options]
        assert cycles == sorted(cycles)
    assert {o.variant for o in options} == {"os", "ws", "is"}
    assert options[0].variant == "os"
