"""Lowering: closed forms where they hold, and what lies between the bounds where they do not."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from support.machines import array_machine, gemm

from accelsim.arch.architecture import Architecture
from accelsim.engine import reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.labels import Action
from accelsim.engine.program import Program
from accelsim.engine.trace import Trace
from accelsim.ir import Workload
from accelsim.lowering import lower
from accelsim.mapping.tree import Loop, Mapping, Move, Node, Op, Position, Seq, Stay

HOME = (
    Stay("A", "dram", (), ()),
    Stay("B", "dram", (), ()),
    Stay("matmul", "dram", (), ()),
)


def nest(loops: tuple[tuple[str, int], ...], variant: str) -> Node:
    node: Node = Op("matmul", "array", variant)
    for rank, tile in reversed(loops):
        node = Loop(rank, tile, node)
    return Seq((node,))


def at(depth: int) -> Position:
    return (0, *["body"] * depth)


def gemm_mapping(loops: tuple[tuple[str, int], ...], variant: str, a: int, b: int, o: int, buffers: int = 2) -> Mapping:
    """A GEMM in loops, its operands cut at depths a and b, its result at depth o."""
    moves = (
        Move("A", "dram", "sram", (0,), at(a), buffers),
        Move("B", "dram", "sram", (0,), at(b), buffers),
        Move("matmul", "sram", "dram", at(o), (0,), buffers, store=True),
    )
    return Mapping("gemm", "array_machine", nest(loops, variant), HOME, moves)


def run(arch: Architecture, workload: Workload, mapping: Mapping) -> tuple[Program, Trace]:
    program = lower(arch, workload, mapping)
    return program, reference.run(program)


def moved(trace: Trace, component: str, action: str, tensor: str) -> int:
    key = (component, action, tensor)
    found = [
        int(n)
        for a, n in zip(trace.program.actions, trace.action_counts(), strict=True)
        if isinstance(a, Action) and (a.component, a.action, a.tensor) == key
    ]
    assert found, key
    return sum(found)


def folds_times_cycles(dataflow: str, m: int, n: int, k: int, rows: int, cols: int) -> int:
    """SCALE-Sim's closed forms (Samajdar et al., ISPASS 2020)."""
    if dataflow == "os":
        return ceil(m / rows) * ceil(n / cols) * (k + rows + cols - 2)
    if dataflow == "ws":
        return ceil(k / rows) * ceil(n / cols) * (m + 2 * rows + cols - 2)
    return ceil(k / rows) * ceil(m / cols) * (n + 2 * rows + cols - 2)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_unlimited_bandwidth_meets_the_closed_form(dataflow: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        m, n, k = (int(x) for x in rng.integers(1, 300, 3))
        rows, cols = (int(x) for x in rng.integers(1, 33, 2))
        arch = array_machine(rows, cols)
        program, trace = run(arch, gemm(m, n, k), gemm_mapping((), dataflow, 0, 0, 0, buffers=1))
        assert trace.finish == folds_times_cycles(dataflow, m, n, k, rows, cols)
        assert program_bound(program) == trace.finish
        assert moved(trace, "dram", "read", "A") == 2 * m * k
        assert moved(trace, "dram", "read", "B") == 2 * k * n
        assert moved(trace, "dram", "write", "matmul") == 2 * m * n


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_limited_bandwidth_lies_between_bound_and_serial_sum(dataflow: str) -> None:
    rng = np.random.default_rng(8)
    overlapped = 0
    for _ in range(40):
        m, n, k = (int(x) for x in rng.integers(8, 120, 3))
        tm, tn = (int(x) for x in rng.integers(4, 40, 2))
        arch = array_machine(8, 8, bandwidth=f"{int(rng.integers(1, 30))} GB/s")
        mapping = gemm_mapping((("m", tm), ("n", tn)), dataflow, 1, 2, 2)
        program, trace = run(arch, gemm(m, n, k), mapping)
        serial = int(trace.busy.sum())
        assert program_bound(program) <= trace.finish <= serial
        overlapped += trace.finish < serial
    assert overlapped > 30


def test_ragged_tiles_move_every_byte_once_per_visit() -> None:
    # m = 20 in tiles of 8 (8, 8, 4), n = 30 in tiles of 16 (16, 14); A is cut inside m, B inside both.
    arch = array_machine(8, 8, bandwidth="4 GB/s")
    _, trace = run(arch, gemm(20, 30, 10), gemm_mapping((("m", 8), ("n", 16)), "os", 1, 2, 2))
    assert moved(trace, "dram", "read", "A") == 20 * 10 * 2
    assert moved(trace, "dram", "read", "B") == 3 * 30 * 10 * 2
    assert moved(trace, "dram", "write", "matmul") == 20 * 30 * 2
    assert trace.firings.tolist() == [6, 3, 6, 6]


def test_partial_results_leave_and_return_between_reduction_tiles() -> None:
    # k outermost in 3 tiles: the result is stored in every visit and reloaded in all but the first.
    arch = array_machine(8, 8, bandwidth="4 GB/s")
    _, trace = run(arch, gemm(16, 16, 24), gemm_mapping((("k", 8), ("m", 8)), "os", 2, 1, 2))
    assert moved(trace, "dram", "write", "matmul") == 3 * 16 * 16 * 2
    assert moved(trace, "dram", "read", "matmul") == 2 * 16 * 16 * 2
    assert moved(trace, "dram", "read", "A") == 16 * 24 * 2
    assert moved(trace, "dram", "read", "B") == 24 * 16 * 2


def test_schedule_length_does_not_grow_with_trip_counts() -> None:
    arch = array_machine(8, 8, bandwidth="4 GB/s")
    sizes = [
        len(lower(arch, gemm(m, 64, 64), gemm_mapping((("m", 8), ("n", 8)), "os", 1, 2, 2)).code_op)
        for m in (64, 2**20)
    ]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("dataflow", ["ws", "is"])
@pytest.mark.parametrize("tile", [8, 16, 32])
def test_partial_sums_cost_the_same_in_the_array_and_in_a_loop(dataflow: str, tile: int) -> None:
    # Eight folds of 8 rows add up to a result, whether one tile holds them all or a loop cuts them into tiles.
    arch = array_machine(8, 8, bandwidth="16 GB/s")
    model = gemm(24, 16, 64)
    _, whole = run(arch, model, gemm_mapping((), dataflow, 0, 0, 0, buffers=1))
    _, cut = run(arch, model, gemm_mapping((("k", tile),), dataflow, 1, 1, 0))
    for action in ("read", "write"):
        assert moved(cut, "sram", action, "matmul") == moved(whole, "sram", action, "matmul")
    assert moved(whole, "sram", "read", "matmul") > 7 * 24 * 16 * 2
