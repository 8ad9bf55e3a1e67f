"""Multiprocessors: blocks, waves, parts of K."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import pytest
from support.einsums import conv, gemm, group_conv

from accelsim.components.base import ComputeUnit
from accelsim.components.multiprocessors import Multiprocessors
from accelsim.conformance import ComponentConformance
from accelsim.ir import Einsum


class TestMultiprocessors(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return Multiprocessors(memory="sram", count=3, macs=16, blocks=("8x4", "4x4"), port=64)

    def einsums(self) -> Sequence[Einsum]:
        return gemm(2, 9, 10, 11), conv(4, 6, 8, 3), group_conv(g=4, m=2, c=3, side=(6, 6), window=(3, 3))


def cycles(unit: Multiprocessors, m: int, n: int, k: int) -> int:
    """Of a whole product: service and what the last wave takes longer."""
    einsum = gemm(1, m, n, k)
    (option,) = unit.spatial_options(einsum)
    cost = unit.cost(einsum, option, {r: np.array([s]) for r, s in einsum.sizes.items()}, (16, 16, 16))
    return int(cost.cycles[0] + cost.latency[0])


@pytest.mark.parametrize("m, n", [(128, 128), (129, 128), (1024, 1024), (128 * 14, 1024), (1, 4096)])
def test_blocks_come_in_waves(m: int, n: int) -> None:
    unit = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9)
    blocks, k = ceil(m / 128) * ceil(n / 128), 512
    alone = 128 * 128 * k // 1024
    assert cycles(unit, m, n, k // 2) == ceil(blocks / 108) * alone // 2  # too short for parts


def test_few_blocks_are_cut_along_k() -> None:
    unit = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9)
    whole = 128 * 128 * 4096 // 1024
    assert cycles(unit, 128, 27 * 128, 4096) == whole // 4  # four parts of 27 blocks fill all 108
    slow = unit.model_copy(update={"split_overhead": 1e-6})
    assert cycles(slow, 128, 27 * 128, 4096) == whole // 4 + 1000


def test_the_fastest_kernel_is_taken() -> None:
    large = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9, blocks=("256x128",))
    small = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9, blocks=("64x64",))
    both = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9, blocks=("256x128", "64x64"))
    for shape in ((64, 6912, 4096), (256 * 27, 128 * 4, 512)):
        assert cycles(both, *shape) == min(cycles(large, *shape), cycles(small, *shape))


def test_narrow_blocks_wait_for_their_port() -> None:
    free = Multiprocessors(memory="sram", count=4, macs=1024, clock=1e9, blocks=("64x64",))
    fed = free.model_copy(update={"port": 32})
    assert cycles(free, 128, 128, 200) == 64 * 64 * 200 // 1024
    assert cycles(fed, 128, 128, 200) == (64 + 64) * 2 * 200 // 32


@pytest.mark.parametrize("block, fragment, fragments, points", [
    ((128, 128), "64x64", 4, 4 * 128 + 256),  # four warps of 64x64
    ((64, 64), "64x64", 4, 4 * 64 + 128),  # of 32x32, so that there are four
    ((128, 256), "64x256", 1, 2 * 320 + 384),
    ((16, 128), "64x64", 4, 4 * 48 + 144),  # of 16x32
])  # fmt: skip
def test_small_fragments_wait_for_the_shared_memory(
    block: tuple[int, int], fragment: str, fragments: int, points: int
) -> None:
    (rows, cols), k = block, 64
    free = Multiprocessors(memory="sram", count=4, macs=2**20, clock=1e9, blocks=(f"{rows}x{cols}",))
    slow = free.model_copy(update={"shared": 128, "fragment": fragment, "fragments": fragments})
    assert cycles(free, rows, cols, k) == 1 or rows * cols > 2**14
    assert cycles(slow, rows, cols, k) == 2 * points * k // 128


@pytest.mark.parametrize("m, n", [(128, 128), (128, 108 * 128), (256, 81 * 128), (1024, 8192), (100, 4096)])
def test_what_all_sustain_is_a_floor_and_idle_ones_spare(m: int, n: int) -> None:
    """Of whole waves every one takes longer; where enough multiprocessors idle, nothing does."""
    free = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9)
    least = ceil(m * n * 128 / (108 * 1024 * 0.75))
    capped = free.model_copy(update={"sustained": 0.75})
    assert cycles(capped, m, n, 128) == max(cycles(free, m, n, 128), least)
    assert free.model_copy(update={"sustained": 1.0}).peak_rates() == capped.peak_rates()


def test_a_fragment_is_checked() -> None:
    with pytest.raises(ValueError, match="rows x columns"):
        Multiprocessors(memory="sram", count=4, macs=1024, fragment="64")


def test_shapes_of_blocks_are_checked() -> None:
    for blocks in ((), ("128",), ("128x128", "128x128"), ("0x64",)):
        with pytest.raises(ValueError, match="rows x columns"):
            Multiprocessors(memory="sram", count=4, macs=1024, blocks=blocks)


@pytest.mark.parametrize("m, n", [(512, 4096), (4096, 512), (384, 128)])
@pytest.mark.parametrize("block", [(256, 128), (64, 128)])
def test_a_cluster_reads_what_its_blocks_have_in_common_once(block: tuple[int, int], m: int, n: int) -> None:
    """The operand is shared whose sharing saves more: rows by blocks side by side, columns by those in a column."""
    rows, cols = block
    alone = Multiprocessors(memory="sram", count=108, macs=1024, clock=1e9, blocks=(f"{rows}x{cols}",))
    einsum, k = gemm(1, m, n, 64), 64
    (option,) = alone.spatial_options(einsum)

    def reads(unit: Multiprocessors) -> tuple[int, ...]:
        cost = unit.cost(einsum, option, {r: np.array([s]) for r, s in einsum.sizes.items()}, (16, 16, 16))
        return tuple(int(x[0]) for x in cost.reads)

    a, b = 2 * m * k * ceil(n / cols), 2 * n * k * ceil(m / rows)
    assert reads(alone) == (a, b)
    shared = (2 * m * k * ceil(n / cols / 2), b), (a, 2 * n * k * ceil(m / rows / 2))
    assert reads(alone.model_copy(update={"cluster": 2})) == min(shared, key=sum)
