"""Bit-serial arrays against a walk over their dot products, and the widths they refuse."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL, at, conv, gemm, machine, run

from accelsim.arch.loader import loads_architecture
from accelsim.components.bit_serial import BitSerialArray
from accelsim.errors import BadInput, UnsupportedPrecision
from accelsim.ir import Access, Apply, Einsum, Read

SHAPES = st.tuples(*[st.integers(1, 20)] * 3)


class Walk:
    """An array walked block by block and dot product by dot product, bit by bit."""

    def __init__(self, rows: int, cols: int, dot: int, m: int, n: int, k: int, bits: int, step: int | None) -> None:
        self.cycles = self.a = self.b = self.macs = 0
        for top, left in product(range(0, n, rows), range(0, m, cols)):
            high, wide = min(rows, n - top), min(cols, m - left)
            self.a += wide * k
            self.b += high * k
            for first in range(0, k, dot):
                self.macs += high * wide * min(dot, k - first)
                left_bits = bits
                while left_bits > 0:
                    left_bits -= step or bits
                    self.cycles += 1


@given(st.tuples(*[st.integers(1, 6)] * 3), SHAPES, st.integers(1, 3), st.integers(1, 9), st.sampled_from([None, 1, 2]))
@SMALL
def test_cycles_equal_a_walk(
    array: tuple[int, int, int], mnk: tuple[int, int, int], g: int, bits: int, step: int | None
) -> None:
    rows, cols, dot = array
    unit = BitSerialArray(memory="s", rows=rows, cols=cols, dot_width=dot, weight_bits_per_cycle=step)
    cost = run(unit, gemm(g, *mnk), "os", (16, bits, 16))
    walk = Walk(*array, *mnk, bits, step)
    assert cost.cycles[0] == g * walk.cycles
    assert cost.reads[0][0] == 2 * g * walk.a
    assert cost.reads[1][0] == ceil(g * walk.b * bits / 8)
    assert cost.writes[0] == 2 * g * mnk[0] * mnk[1]
    assert cost.partial_reads[0] == cost.latency[0] == 0
    assert cost.actions["mac"][0] == g * walk.macs
    assert cost.actions["element"][0] == g * walk.cycles * rows * cols
    assert cost.cycles[0] * unit.peak_rates()["mac"] >= cost.actions["mac"][0]


@given(SHAPES, SHAPES, st.integers(3, 8))
@SMALL
def test_cutting_an_operator_saves_no_cycles(mnk: tuple[int, int, int], tile: tuple[int, int, int], bits: int) -> None:
    unit = BitSerialArray(memory="s", rows=4, cols=3, dot_width=2, weight_bits_per_cycle=2)
    whole = run(unit, gemm(1, *mnk), "os", (16, bits, 16)).cycles[0]
    parts = [[min(t, s - i) for i in range(0, s, t)] for s, t in zip(mnk, tile, strict=True)]
    cut = sum(int(run(unit, gemm(1, *part), "os", (16, bits, 16)).cycles[0]) for part in product(*parts))
    assert cut >= whole
    if all(t % step == 0 for t, step in zip(tile, (3, 4, 2), strict=True)):
        assert cut == whole


@pytest.mark.parametrize(("bits", "cycles"), [(3, 2), (4, 2), (5, 3), (6, 3), (8, 4)])
def test_bit_pairs(bits: int, cycles: int) -> None:
    """BitMoD: 3 and 4 bits take two cycles, 6 bits three, 8 bits four."""
    unit = BitSerialArray(memory="s", rows=32, cols=32, dot_width=4, weight_bits_per_cycle=2)
    assert unit.steps(bits) == cycles
    assert run(unit, gemm(1, 256, 4096, 4096), "os", (16, bits, 16)).cycles[0] == 8 * 128 * 1024 * cycles


def test_partial_sums_pass_through_the_memory_between_tiles() -> None:
    unit = BitSerialArray(memory="s", rows=4, cols=4, accumulator_bits=24)
    e = gemm(2, 5, 7, 3)
    (option,) = unit.spatial_options(e)
    extents = {r: np.array([s, 1]) for r, s in e.sizes.items()}
    plain = unit.cost(e, option, extents, (8, 8, 16))
    middle = unit.cost(e, option, extents, (8, 8, 16), resumed=True, unfinished=True)
    assert plain.writes.tolist() == [140, 2]
    assert middle.writes.tolist() == middle.partial_reads.tolist() == [210, 3]
    assert dict(option.spatial) == {"n": "rows", "m": "columns", "k": "dot product"}


def test_the_memories_limit_it() -> None:
    unit = BitSerialArray(memory="s", rows=4, cols=4, dot_width=2)
    cost = run(machine(unit, bandwidth=1e9), gemm(1, 8, 8, 8), "os")
    assert cost.cycles[0] == cost.reads[0][0] + cost.reads[1][0] + cost.writes[0] == 128 + 128 + 64


def test_a_convolution_is_its_im2col() -> None:
    unit = BitSerialArray(memory="s", rows=4, cols=5, dot_width=4, weight_bits_per_cycle=1)
    assert run(unit, conv(3, 6, 7, 2), "os", (8, 3, 8)).cycles[0] == run(
        unit, gemm(1, 49, 6, 12), "os", (8, 3, 8)
    ).cycles[0]


def test_widths_are_checked() -> None:
    unit = BitSerialArray(memory="s", name="pe", rows=4, cols=4, weight_bits=(8, 3, 4), input_bits=16)
    e = gemm(1, 4, 4, 4)
    assert run(unit, e, "os", (16, 4, 16)).cycles[0] == 4
    with pytest.raises(UnsupportedPrecision, match=r"pe: cannot compute gemm with a second operand of 5 bits \(can: 3, "
                                                   r"4, 8\)"):
        run(unit, e, "os", (16, 5, 16))
    with pytest.raises(UnsupportedPrecision, match=r"pe: .* first operand of 32 bits \(at most 16\)"):
        run(unit, e, "os", (32, 4, 16))
    with pytest.raises(ValueError, match="a width stands twice"):
        BitSerialArray(memory="s", rows=4, cols=4, weight_bits=(4, 4))


def test_only_contractions_run() -> None:
    unit = BitSerialArray(memory="s", name="pe", rows=4, cols=4)
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 9})
    assert unit.spatial_options(exp) == ()
    (option,) = unit.spatial_options(gemm(1, 2, 2, 2))
    with pytest.raises(BadInput, match="pe: cannot run e as `os`"):
        unit.cost(exp, option, {"i": np.array([9])}, (8, 8))


SPEC = """
name: serial
clock: 1 GHz
technology: 28 nm
memories:
  dram: {kind: dram, capacity: 1 GB, bandwidth: 32 GB/s, read_energy: 1 pJ/bit, write_energy: 1 pJ/bit}
  sram: {kind: buffer, parent: dram, capacity: 512 KiB, bandwidth: unlimited}
units:
  pe: {kind: bit_serial, memory: sram, rows: 32, cols: 32, dot_width: 4%s}
"""


def test_energy_is_stated_or_a_share_of_cited_macs() -> None:
    def energy(keys: str) -> float:
        return loads_architecture(SPEC % keys).units["pe"].action_energy()["element"]

    assert energy(", element_energy: 0.5 pJ") == pytest.approx(0.5e-12)
    parallel = energy("")
    assert parallel > 0
    assert energy(", weight_bits_per_cycle: 2") == pytest.approx(parallel / 8)
    assert energy(", weight_bits_per_cycle: 20") == pytest.approx(parallel)
    assert loads_architecture(SPEC % "").units["pe"].action_energy()["mac"] == 0
