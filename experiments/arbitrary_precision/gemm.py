"""A product of two matrices at some widths on one GPU: by planes of single bits, or at the width its units have."""

from __future__ import annotations

from functools import cache

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import Workload, WorkloadBuilder
from ...report.report import Report
from ...simulation import simulate
from ...workloads.transforms import bit_planes
from ..loader import data_path

SIDE = 4096
"""Rows and columns of the weights."""
SUM_BITS = 32
ARRAYS = {1: (128, 128), 4: (64, 64), 8: (32, 64), 16: (32, 32)}
"""Multiply-adds of an SM and clock by width of operands: peaks of 4992, 1248, 624 and 312 TOPS."""
Changes = tuple[tuple[str, str], ...]
"""Paths in the machine to values."""


@cache
def gpu(bits: int, changes: Changes = ()) -> Architecture:
    """The GPU with tensor cores at one width."""
    rows, cols = ARRAYS[bits]
    width = {"units.tensor.rows": str(rows), "units.tensor.cols": str(cols), "units.tensor.mac_bits": str(bits)}
    return load_spec(data_path(__package__ or "", "a100_int.yaml")).with_values({**width, **dict(changes)}).build()


def gemm(rows: int, bits: int) -> Workload:
    """`rows` vectors times square weights."""
    b = WorkloadBuilder("gemm", bits=bits)
    x, w = b.input("x", (rows, SIDE)), b.weight("w", (SIDE, SIDE))
    b.output(b.matmul(x, w, bits=SUM_BITS))
    return b.build()


def in_planes(rows: int, weight: int, operand: int) -> Workload:
    return bit_planes(gemm(rows, operand), {"w": weight}, operand)


@cache
def whole(rows: int, bits: int, changes: Changes = ()) -> Report:
    """At the width of the units."""
    return simulate(gpu(bits, changes), gemm(rows, bits))


@cache
def by_planes(rows: int, weight: int, operand: int, mapper: str = "cascade", changes: Changes = ()) -> Report:
    """By planes; the mapper ``cascade`` sums them as they come, ``tile`` one operator after the other."""
    return simulate(gpu(1, changes), in_planes(rows, weight, operand), mapper=mapper)


def ratio(rows: int, weight: int, operand: int, beside: int = 8, changes: Changes = ()) -> float:
    """Time by planes over that at a width that the units have."""
    return by_planes(rows, weight, operand, "cascade", changes).latency_s / whole(rows, beside, changes).latency_s


def crossover(weight: int, operand: int, beside: int = 8, step: int = 16, most: int = 512) -> int:
    """The most vectors, in multiples of `step`, with which planes are no slower; 0 where they always are."""
    low, high = 0, most // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if ratio(middle * step, weight, operand, beside) <= 1 else (low, middle - 1)
    return low * step
