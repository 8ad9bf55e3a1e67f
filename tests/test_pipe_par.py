"""Lowering of Seq, Pipe, Par, Iterate and their Moves, worked out by hand on machines whose rates are whole numbers.

On these machines a tick is a cycle, an element a byte; the array does one product and the vector unit one operation per
tick, so that a tile of a matrix product lasts m*n*k ticks and one of an element-wise operator m*n; DRAM moves 4 bytes
per tick unless the test says otherwise, and the buffer's own ports take no time. Requests of one tick to one channel
are served in order of actors: Ops in order, then Moves as listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from support.kernels import RECORD

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.checker import check
from accelsim.engine.labels import Action
from accelsim.engine.program import Program
from accelsim.engine.trace import Trace
from accelsim.errors import MappingError
from accelsim.ir import Workload, WorkloadBuilder, parse_cascade
from accelsim.lowering import lower
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import (
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    Par,
    Pipe,
    Seq,
    Stay,
    parse_position,
)

UNLIMITED = "unlimited"


def machine(dram: str = "4 GB/s", *, array: str = "", latency: str = "0 ns", far: str = "") -> Architecture:
    """One product and one element-wise operation per tick; `far` adds a memory beyond DRAM of that bandwidth."""
    beyond = f"  far: {{kind: dram, capacity: 1 GiB, bandwidth: {far}}}\n" if far else ""
    parent = "parent: far, " if far else ""
    return loads_architecture(
        f"""
name: machine
clock: 1 GHz
memories:
{beyond}  dram: {{kind: dram, capacity: 1 MiB, {parent}bandwidth: {dram}, latency: {latency}}}
  sram: {{kind: buffer, capacity: 64 KiB, parent: dram, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, {array or "rows: 1, cols: 1"}, dataflows: [os], mac_bits: 8}}
  vector: {{kind: vector, memory: sram, lanes: 1}}
"""
    )


def cascade(text: str, **sizes: int) -> Workload:
    return parse_cascade(text, sizes, bits=8)


def array(einsum: str) -> Op:
    return Op(einsum, "array", "os")


def vector(einsum: str) -> Op:
    return Op(einsum, "vector", "simd")


def load(tensor: str, due: str, issue: str | None = None, buffers: int = 2, way: str = "dram sram") -> Move:
    src, dst = way.split()
    at = parse_position(due)
    return Move(tensor, src, dst, at if issue is None else parse_position(issue), at, buffers)


def store(tensor: str, issue: str, due: str | None = None, buffers: int = 2, way: str = "sram dram") -> Move:
    src, dst = way.split()
    at = parse_position(issue)
    return Move(tensor, src, dst, at, at if due is None else parse_position(due), buffers, store=True)


def mapped(root: Node, moves: list[Move], homes: str, on_chip: str = "", where: str = "dram") -> Mapping:
    """A Mapping in which tensors stay off chip (`homes`) or in the buffer (`on_chip`) all the time."""
    stays = [Stay(t, where, (), ()) for t in homes.split()] + [Stay(t, "sram", (), ()) for t in on_chip.split()]
    return Mapping("cascade", "machine", root, tuple(stays), tuple(moves))


@dataclass(frozen=True)
class Ran:
    """A run that both kernels, the checker of Traces and the replay of the Mapping agree about."""

    program: Program
    trace: Trace
    bound: Fraction

    @property
    def finish(self) -> int:
        return self.trace.finish

    def spans(self, name: str) -> list[tuple[int, int]]:
        """Start and end of every firing of the actors whose name begins so."""
        slices = self.trace.slices
        assert slices is not None
        mine = [a for a, n in enumerate(self.program.actor_names) if n.startswith(name)]
        assert mine, f"no actor {name}: {self.program.actor_names}"
        return [
            (int(s), int(e)) for a, s, e in zip(slices.actor, slices.start, slices.end, strict=True) if int(a) in mine
        ]

    def moved(self, memory: str, direction: str, tensor: str) -> int:
        counts = self.trace.action_counts()
        return sum(
            int(n)
            for a, n in zip(self.program.actions, counts, strict=True)
            if isinstance(a, Action) and (a.component, a.action, a.tensor) == (memory, direction, tensor)
        )


def balance(program: Program) -> list[int]:
    """Tokens put into each FIFO less those taken from it, over the whole run."""
    firings = program.phase_firings()
    left = [0] * len(program.fifos)
    for p, n in enumerate(firings):
        for r in range(int(program.in_ptr[p]), int(program.in_ptr[p + 1])):
            left[int(program.in_fifo[r])] -= int(n) * int(program.in_take[r])
        for r in range(int(program.out_ptr[p]), int(program.out_ptr[p + 1])):
            left[int(program.out_fifo[r])] += int(n) * int(program.out_put[r])
    return left


def run(arch: Architecture, workload: Workload, mapping: Mapping, *, replayed: bool = True) -> Ran:
    program = lower(arch, workload, mapping)
    trace = reference.run(program, record=RECORD)
    for other in (compiled.run(program, record=RECORD), compiled.run(program, jump=False)):
        assert trace.differences(other) == []
    assert check(program, trace) == []
    bound = program_bound(program)
    assert bound <= trace.finish
    assert balance(program) == [0] * len(program.fifos)
    ran = Ran(program, trace, bound)
    if replayed:
        counted = replay(mapping, workload, arch).tensor_bytes
        for (tensor, memory, direction), nbytes in counted.items():
            if not arch.memories[memory].on_chip:  # units, too, read and write on-chip memories
                assert ran.moved(memory, direction, tensor) == nbytes
    return ran


# -- Seq -------------------------------------------------------------------------------------------------------------

TWO = "C[m,n] = A[m,k] * B[k,n]; D[m,n] = max(C[m,n], 0)"
FOUR = {"m": 4, "n": 4, "k": 4}


def test_seq_is_a_barrier_that_waits_for_stores() -> None:
    # A 0-4, B 4-8, product 8-72, C out 72-76, C in 76-80, max 80-96, D out 96-100.
    moves = [load("A", "0"), load("B", "0"), store("C", "0"), load("C", "1"), store("D", "1")]
    ran = run(machine(), cascade(TWO, **FOUR), mapped(Seq((array("C"), vector("D"))), moves, "A B C D"))
    assert ran.finish == 100
    assert ran.spans("load C") == [(76, 80)]
    assert ran.bound == 64 + 16  # of each child the busiest: array 64 against 12, vector unit 16 against 8
    free = run(machine(UNLIMITED), cascade(TWO, **FOUR), mapped(Seq((array("C"), vector("D"))), moves, "A B C D"))
    assert free.finish == free.bound == 64 + 16


def test_a_result_that_stays_needs_no_store() -> None:
    moves = [load("A", "0"), load("B", "0"), store("D", "1")]
    ran = run(machine(), cascade(TWO, **FOUR), mapped(Seq((array("C"), vector("D"))), moves, "A B D", "C"))
    assert ran.finish == 8 + 64 + 16 + 4
    assert ran.bound == 64 + 16


def test_the_bound_takes_the_busiest_of_each_child() -> None:
    # At 1 byte per tick the first child is bound by its 16 + 16 + 16 bytes of DRAM, not by its product of 4 * 4 * 1.
    text = "C[m,n] = A[m] * B[n]; D[m,n] = exp(E[m,n])"
    moves = [load("A", "0"), load("B", "0"), store("C", "0"), load("E", "1"), store("D", "1")]
    root = Seq((vector("C"), vector("D")))
    ran = run(machine("1 GB/s"), cascade(text, m=4, n=4), mapped(root, moves, "A B C D E"))
    # A 0-4, B 4-8, C 8-24, out 24-40; E 40-56, D 56-72, out 72-88.
    assert ran.finish == 88
    assert ran.bound == max(4 + 4 + 16, 16) + max(16 + 16, 16)


def test_results_of_a_pipelined_array_are_there_only_after_its_latency() -> None:
    # 2x2 array with overlap: 4 folds of max(K, rows) = 4 ticks, and K + rows + cols - 2 - 4 = 2 ticks of latency.
    arch = machine(array="rows: 2, cols: 2, overlap: true")
    moves = [load("A", "0"), load("B", "0"), store("D", "1")]
    ran = run(arch, cascade(TWO, **FOUR), mapped(Seq((array("C"), vector("D"))), moves, "A B D", "C"))
    assert ran.spans("C") == [(8, 24)]
    assert ran.spans("D") == [(26, 42)]
    moves = [load("A", "0"), load("B", "0"), store("C", "0"), load("C", "1"), store("D", "1")]
    ran = run(arch, cascade(TWO, **FOUR), mapped(Seq((array("C"), vector("D"))), moves, "A B C D"))
    assert ran.spans("store C") == [(26, 30)]


def test_loop_around_seq_runs_one_iteration_after_the_other() -> None:
    # Rows in two tiles: A 2 ticks, B (whole, before the loop) 4, product 32, max 8, D out 2, each after the other.
    root = Loop("m", 2, Seq((array("C"), vector("D"))))
    moves = [load("A", "body.0"), load("B", ".", "."), store("D", "body.1")]
    ran = run(machine(), cascade(TWO, **FOUR), mapped(root, moves, "A B D", "C"))
    # A 0-2, B 2-6, C 6-38, D 38-46, out 46-48; A 48-50, C 50-82, D 82-90, out 90-92.
    assert ran.spans("load A") == [(0, 2), (48, 50)]
    assert ran.spans("C") == [(6, 38), (50, 82)]
    assert ran.finish == 92
    assert ran.bound == 64 + 16  # B comes in while both children run, but of the Ops one waits for the other
    free = run(machine(UNLIMITED), cascade(TWO, **FOUR), mapped(root, moves, "A B D", "C"))
    assert free.finish == 2 * (32 + 8)


def test_a_load_issued_before_the_loop_runs_ahead() -> None:
    # As above, but A's second tile is fetched during the first iteration, so only D's stores are waited for.
    root = Loop("m", 2, Seq((array("C"), vector("D"))))
    moves = [load("A", "body.0", "."), load("B", ".", "."), store("D", "body.1")]
    ran = run(machine(), cascade(TWO, **FOUR), mapped(root, moves, "A B D", "C"))
    # A and B ask at 0: A 0-2, B 2-6, A 6-8 (it asks again at 2, when B is waiting); D out 46-48, C 48-80, D 80-88.
    assert ran.spans("load A") == [(0, 2), (6, 8)]
    assert ran.spans("C") == [(6, 38), (48, 80)]
    assert ran.finish == 90


@pytest.mark.parametrize("tile", [1, 2, 3, 4])
def test_nested_loops_around_seq(tile: int) -> None:
    # Everything strictly one after the other: the sum of all services, B reloaded for each tile of rows.
    root = Seq((Loop("m", tile, Loop("n", 2, Seq((array("C"), vector("D"))))),))
    moves = [load("A", "0.body.body.0"), load("B", "0.body.body.0"), store("D", "0.body.body.1")]
    ran = run(machine("1 GB/s"), cascade(TWO, **FOUR), mapped(root, moves, "A B D", "C"))
    rows = -(-4 // tile)
    assert ran.moved("dram", "read", "A") == 2 * 16
    assert ran.moved("dram", "read", "B") == rows * 16
    assert ran.finish == (2 * 16 + rows * 16) + 64 + 16 + 16
    # Barriers stand between the children: DRAM's loads or the product, then the maxima or the stores.
    assert ran.bound == max(2 * 16 + rows * 16, 64) + 16


# -- Moves that cross barriers ---------------------------------------------------------------------------------------

CHAIN = "C[m,n] = A[m,k] * B[k,n]; E[m,p] = C[m,q] * W[q,p]"
ALL_FOUR = {"m": 4, "n": 4, "k": 4, "p": 4, "q": 4}


def test_a_prefetch_hides_behind_the_child_before() -> None:
    root = Seq((array("C"), array("E")))
    workload = cascade(CHAIN, **ALL_FOUR)

    def moves(issue: str) -> list[Move]:
        return [load("A", "0"), load("B", "0"), load("W", "1", issue), store("E", "1")]

    # A 0-4, B 4-8, C 8-72; then W 72-76, E 76-140, out 140-144.
    late = run(machine(), workload, mapped(root, moves("1"), "A B W E", "C"))
    assert late.finish == 144
    assert late.bound == 64 + 64
    # W 8-12; E 72-136.
    early = run(machine(), workload, mapped(root, moves("0"), "A B W E", "C"))
    assert early.spans("load W") == [(8, 12)]
    assert early.finish == 140
    assert early.bound == 128  # one stretch: no barrier is left
    slow = "1 GB/s"  # A 0-16, B 16-32, W 32-48, C 32-96, E 96-160, out 160-176; without prefetch W 96-112
    assert run(machine(slow), workload, mapped(root, moves("0"), "A B W E", "C")).finish == 176
    assert run(machine(slow), workload, mapped(root, moves("1"), "A B W E", "C")).finish == 192
    free = run(machine(UNLIMITED), workload, mapped(root, moves("0"), "A B W E", "C"))
    assert free.finish == 128


def test_a_prefetch_takes_its_traffic_over_the_barrier() -> None:
    # C takes 64 ticks, Y 32, and W 64 at half a byte per tick. Fetched beside C, W is hidden: the bounds of the two
    # children, 64 and max(64, 32), must not be added up, but those of their Ops, 64 and 32.
    text = "C[m,n] = A[m,k] * B[k,n]; Y[i] = max(W[i], 0)"
    root = Seq((array("C"), vector("Y")))

    def fetched(issue: str) -> Ran:
        mapping = mapped(root, [load("W", "1", issue)], "W", "A B C Y")
        return run(machine("0.5 GB/s"), cascade(text, i=32, **FOUR), mapping, replayed=False)

    assert fetched("0").finish == 64 + 32
    assert fetched("0").bound == 64 + 32
    assert fetched("1").finish == 64 + 64 + 32
    assert fetched("1").bound == 64 + 64


def test_a_prefetch_goes_no_further_than_its_buffers() -> None:
    # W comes in four tiles of 4 bytes, one tick each; two fit. C runs 8-72, the tiles of E take 16 ticks each.
    root = Seq((array("C"), Loop("p", 1, array("E"))))
    moves = [load("A", "0"), load("B", "0"), load("W", "1.body", "0"), store("E", "1.body", "1")]
    ran = run(machine(), cascade(CHAIN, **ALL_FOUR), mapped(root, moves, "A B W E", "C"))
    assert ran.spans("load W") == [(8, 9), (9, 10), (88, 89), (104, 105)]  # ahead of the stores of E, listed later
    assert ran.spans("E") == [(72, 88), (88, 104), (104, 120), (120, 136)]


def test_a_store_due_later_holds_nobody_up() -> None:
    # X is there when C ends. Due at its own child, C's store (4 ticks) comes before the maxima; due later, beside them.
    text = "C[m,n] = A[m,k] * B[k,n]; Y[m,n] = max(X[m,n], 0)"
    root = Seq((array("C"), vector("Y")))

    def moves(due: str) -> list[Move]:
        return [load("A", "0"), load("B", "0"), load("X", "1", "0"), store("C", "0", due), store("Y", "1")]

    strict = run(machine(), cascade(text, **FOUR), mapped(root, moves("0"), "A B C X Y"))
    assert strict.spans("Y") == [(76, 92)]
    assert strict.finish == 96
    late = run(machine(), cascade(text, **FOUR), mapped(root, moves("1"), "A B C X Y"))
    assert late.spans("store C") == [(72, 76)]
    assert late.spans("Y") == [(72, 88)]
    assert late.finish == 92


def test_a_store_due_at_a_later_child_ends_with_it() -> None:
    # C's store is slow (16 ticks at 1 byte per tick) and due with child 1, so that child 2 waits for it.
    text = "C[m,n] = A[m,k] * B[k,n]; Y[p] = max(X[p], 0); Z[p] = exp(X[p])"
    root = Seq((array("C"), vector("Y"), vector("Z")))
    moves = [load("A", "0"), load("B", "0"), store("C", "0", "1")]
    ran = run(machine("1 GB/s"), cascade(text, p=2, **FOUR), mapped(root, moves, "A B C", "X Y Z"), replayed=False)
    # A 0-16, B 16-32, C 32-96, out 96-112; Y 96-98; Z not before 112.
    assert ran.spans("Y") == [(96, 98)]
    assert ran.spans("Z") == [(112, 114)]


def test_a_load_cannot_be_issued_inside_a_loop_it_is_not_due_in() -> None:
    root = Seq((Loop("m", 2, Seq((array("C"), vector("D")))), vector("E")))
    text = TWO + "; E[m,n] = exp(X[m,n])"
    bad = mapped(root, [load("X", "1", "0.body.0")], "X", "A B C D E")
    with pytest.raises(MappingError, match="issued inside a loop outside of which it is due"):
        lower(machine(), cascade(text, **FOUR), bad)


# -- chains of Moves -------------------------------------------------------------------------------------------------


def test_three_memories_pipeline_tile_by_tile() -> None:
    # A comes in four tiles of 4 bytes: 4 ticks out of far memory, 2 into DRAM, 2 out of it; products of 4 ticks.
    arch = machine("2 GB/s", far="1 GB/s")
    root = Seq((Loop("m", 1, array("C")),))
    stays = (Stay("A", "far", (), ()), Stay("B", "sram", (), ()), Stay("C", "sram", (), ()))
    workload = cascade("C[m,n] = A[m,k] * B[k,n]", m=4, n=1, k=4)

    def moves(buffers: int) -> tuple[Move, ...]:
        return (load("A", "0.body", "0", buffers, "far dram"), load("A", "0.body", "0"))

    # Tile 0: far 0-4, into DRAM 4-6, out 6-8 (its slot in DRAM is free again), product 8-12. Far memory never rests:
    # with two slots in DRAM, tile 2 begins at 8.
    ran = run(arch, workload, Mapping("", "", root, stays, moves(2)), replayed=False)
    assert ran.spans("load A for C (far)") == [(0, 4), (4, 8), (8, 12), (12, 16)]
    assert ran.spans("C") == [(8, 12), (12, 16), (16, 20), (20, 24)]
    assert ran.moved("far", "read", "A") == ran.moved("dram", "write", "A") == ran.moved("dram", "read", "A") == 16
    # With one slot a tile is all the way through before the next begins: 8 ticks each.
    ran = run(arch, workload, Mapping("", "", root, stays, moves(1)), replayed=False)
    assert ran.spans("load A for C (far)") == [(0, 4), (8, 12), (16, 20), (24, 28)]
    assert ran.spans("C") == [(8, 12), (16, 20), (24, 28), (32, 36)]


def test_a_tile_in_the_near_memory_serves_all_its_parts() -> None:
    # far -> DRAM whole (16 bytes), DRAM -> buffer row by row: two rows wait for one arrival, then follow each other.
    arch = machine("2 GB/s", far="1 GB/s")
    root = Seq((Loop("m", 1, array("C")),))
    moves = [load("A", "0", buffers=1, way="far dram"), load("A", "0.body", "0")]
    mapping = Mapping(
        "cascade", "machine", root,
        (Stay("A", "far", (), ()), Stay("B", "sram", (), ()), Stay("C", "sram", (), ())), tuple(moves),
    )  # fmt: skip
    ran = run(arch, cascade("C[m,n] = A[m,k] * B[k,n]", m=4, n=1, k=4), mapping, replayed=False)
    # far 0-16, into DRAM 16-24, rows out 24-26, 26-28, then as the product (4 ticks each) frees its two buffers.
    assert ran.spans("load A for C (dram)") == [(16, 24), (24, 26), (26, 28), (30, 32), (34, 36)]
    assert ran.spans("C") == [(26, 30), (30, 34), (34, 38), (38, 42)]


@pytest.mark.parametrize(("far", "dram"), [(UNLIMITED, "2 GB/s"), ("1 GB/s", UNLIMITED), (UNLIMITED, UNLIMITED)])
def test_chains_with_steps_that_take_no_time(far: str, dram: str) -> None:
    arch = machine(dram, far=far)
    root = Seq((Loop("m", 1, array("C")),))
    moves = [load("A", "0.body", "0", way="far dram"), load("A", "0.body", "0")]
    moves += [store("C", "0.body", "0"), store("C", "0.body", "0", way="dram far")]
    mapping = Mapping(
        "cascade", "machine", root,
        (Stay("A", "far", (), ()), Stay("B", "sram", (), ()), Stay("C", "far", (), ())), tuple(moves),
    )  # fmt: skip
    ran = run(arch, cascade("C[m,n] = A[m,k] * B[k,n]", m=4, n=4, k=4), mapping)
    for memory, direction, tensor in [
        ("far", "read", "A"), ("dram", "write", "A"), ("dram", "read", "A"),
        ("dram", "write", "C"), ("dram", "read", "C"), ("far", "write", "C"),
    ]:  # fmt: skip
        assert ran.moved(memory, direction, tensor) == 16
    # Tiles of 4 bytes: 4 ticks in from far memory and 4 out; or 2 through DRAM's port into it, 2 for the next tile's,
    # then 2 out of it, and at the end 2 into it and 2 out.
    first, last = (4, 4) if far != UNLIMITED else (6, 4) if dram != UNLIMITED else (0, 0)
    assert ran.spans("C") == [(first + 16 * i, first + 16 * (i + 1)) for i in range(4)]
    assert ran.finish == first + 64 + last
    assert ran.bound == 64


# -- one Move, several consumers -------------------------------------------------------------------------------------


def test_one_load_feeds_two_ops_whose_ranks_have_other_names() -> None:
    # A is loaded once per tile of rows and read by both; both have it until both are done with it.
    text = "C[m,n] = A[m,k] * B[k,n]; S[i] = sum(j) A[i,j]"
    workload = cascade(text.replace("sum(j) ", ""), m=4, n=2, k=4, i=4, j=4)
    root = Seq((array("C"), vector("S")))
    moves = [load("A", ".", buffers=1), load("B", "0"), store("C", "0"), store("S", "1")]
    ran = run(machine(), workload, mapped(root, moves, "A B C S"))
    # A 0-4, B 4-6, C 6-38, out 38-40, S 40-56, out 56-57.
    assert ran.moved("dram", "read", "A") == 16
    assert ran.spans("C") == [(6, 38)]
    assert ran.spans("S") == [(40, 56)]
    assert ran.finish == 57


def test_one_load_feeds_ops_that_touch_different_parts() -> None:
    # Both rows of X in one tile: x[i] and x[i+4] keep step, so the box around both is 8 bytes and not 4.
    text = "input X[8]; Y[i] = max(X[i], 0); Z[i] = max(X[i+4], 0)"
    root = Seq((vector("Y"), vector("Z")))
    ran = run(machine("1 GB/s"), cascade(text, i=4), mapped(root, [load("X", ".")], "X", "Y Z"), replayed=False)
    assert ran.moved("dram", "read", "X") == 8
    assert ran.spans("Y") == [(8, 12)]


# -- partial results -------------------------------------------------------------------------------------------------

GEMM = "C[m,n] = A[m,k] * B[k,n]"


def partial_mapping(loops: list[tuple[str, int]], moves: list[Move], homes: str = "C", where: str = "dram") -> Mapping:
    node: Node = array("C")
    for rank, tile in reversed(loops):
        node = Loop(rank, tile, node)
    return mapped(Seq((node,)), moves, homes, "A B", where)


def test_partial_results_return_in_time() -> None:
    # k outside in two halves, rows inside in two tiles; a tile of C is 8 bytes: 2 ticks; products of 16 ticks.
    moves = [store("C", "0.body.body", "0")]
    mapping = partial_mapping([("k", 2), ("m", 2)], moves)
    ran = run(machine(), cascade(GEMM, **FOUR), mapping)
    # Tiles: 0-16, 16-32 with stores 16-18, 32-34; reload of tile 0 asks at 18: 18-20; product 32-48;
    # tile 1's partial sums are out at 34, back 34-36; product 48-64; stores 48-50 and 64-66.
    assert ran.spans("reload C") == [(18, 20), (34, 36)]
    assert ran.spans("C") == [(0, 16), (16, 32), (32, 48), (48, 64)]
    assert ran.finish == 66
    assert ran.moved("dram", "write", "C") == 32
    assert ran.moved("dram", "read", "C") == 16
    free = run(machine(UNLIMITED), cascade(GEMM, **FOUR), mapping)
    assert free.finish == 64
    assert free.moved("dram", "read", "C") == 16


def test_a_tile_that_comes_straight_back_makes_the_array_wait() -> None:
    # k inside the rows: every product but the first of a tile waits for the store and the reload of the one before.
    ran = run(machine(), cascade(GEMM, **FOUR), partial_mapping([("m", 2), ("k", 2)], [store("C", "0.body.body", "0")]))
    # Product 0-16, out 16-18, back 18-20, product 20-36; next tile 36-52, out 52-54, back 54-56, 56-72, out 72-74.
    assert ran.spans("C") == [(0, 16), (20, 36), (36, 52), (56, 72)]
    assert ran.finish == 74


def test_reloads_wait_for_their_own_tile() -> None:
    # Reduction loops at two levels with rows in between: (k0 m0 k0) (k0 m0 k1) (k0 m1 k0) ... The reload for the
    # second visit to tile m1 must not start when m0 has been stored twice, but when m1 has been stored once.
    moves = [store("C", "0.body.body.body", "0", buffers=4)]
    mapping = partial_mapping([("k", 2), ("m", 2), ("k", 1)], moves)
    ran = run(machine(), cascade(GEMM, **FOUR), mapping)
    products, stores, reloads = ran.spans("C"), ran.spans("store C"), ran.spans("reload C")
    visits = [(a, m, b) for a in range(2) for m in range(2) for b in range(2)]
    resumed = [v for v in visits if (v[0], v[2]) != (0, 0)]
    assert (len(products), len(stores), len(reloads)) == (8, 8, 6)
    for visit, (begin, end) in zip(resumed, reloads, strict=True):
        before = max(v for v in visits if v[1] == visit[1] and v < visit)
        assert begin >= stores[visits.index(before)][1]
        assert products[visits.index(visit)][0] >= end
    # Each product (8 ticks) of the second visit to a tile waits 4 ticks for its way out and back.
    assert products[:4] == [(0, 8), (12, 20), (20, 28), (32, 40)]


def test_partial_results_that_return_from_far_pass_through_both_memories() -> None:
    arch = machine("2 GB/s", far="1 GB/s")
    moves = [store("C", "0.body.body", "0"), store("C", "0.body.body", "0", way="dram far")]
    mapping = partial_mapping([("k", 2), ("m", 2)], moves, "C", "far")
    ran = run(arch, cascade(GEMM, **FOUR), mapping)
    assert (ran.moved("far", "write", "C"), ran.moved("far", "read", "C")) == (4 * 8, 2 * 8)
    assert (ran.moved("dram", "write", "C"), ran.moved("dram", "read", "C")) == (6 * 8, 6 * 8)
    # A tile is out of the buffer in 4 ticks, in far memory 4 + 8 later, and takes as long to come back.
    reloads = ran.spans("reload C for C (far)")
    arrived = ran.spans("store C for C (far)")
    assert reloads[0][0] >= arrived[0][1]
    assert ran.spans("C")[2][0] >= reloads[0][1] + 4 + 4


def test_partial_results_in_dram_and_whole_ones_in_far_memory() -> None:
    # The reduction's partial sums go no further than DRAM; the whole result leaves for far memory once.
    arch = machine("2 GB/s", far="1 GB/s")
    moves = [store("C", "0.body.body", "0"), store("C", "0", "0", way="dram far")]
    mapping = partial_mapping([("k", 2), ("m", 2)], moves, "C", "far")
    ran = run(arch, cascade(GEMM, **FOUR), mapping)
    assert ran.moved("dram", "write", "C") == 4 * 8
    assert ran.moved("far", "write", "C") == 16
    assert ran.moved("far", "read", "C") == 0
    # The last tile (product to 64) is in DRAM at 68; the whole result is read there 68-76 and written 76-92.
    assert ran.spans("C")[-1] == (48, 64)
    assert ran.finish == 92


def test_a_reload_takes_the_latency_of_the_memory_it_comes_from() -> None:
    mapping = partial_mapping([("m", 2), ("k", 2)], [store("C", "0.body.body", "0")])
    near, late = (run(machine(latency=x), cascade(GEMM, **FOUR), mapping) for x in ("0 ns", "10 ns"))
    assert late.finish == near.finish + 2 * 10


def test_a_read_port_that_takes_time_beside_a_write_port_that_does_not() -> None:
    # Stores take no time: the reload asks when the product ends, 16-18, and the next product is 18-34.
    mapping = partial_mapping([("m", 4), ("k", 2)], [store("C", "0.body.body", "0")])
    ran = run(_split(read="8 GB/s", write=UNLIMITED), cascade(GEMM, **FOUR), mapping)
    assert ran.spans("C") == [(0, 32), (34, 66)]
    assert (ran.finish, ran.moved("dram", "write", "C"), ran.moved("dram", "read", "C")) == (66, 32, 16)
    ran = run(_split(read=UNLIMITED, write="8 GB/s"), cascade(GEMM, **FOUR), mapping)
    assert ran.spans("C") == [(0, 32), (34, 66)]
    assert (ran.finish, ran.moved("dram", "write", "C"), ran.moved("dram", "read", "C")) == (68, 32, 16)


def test_a_way_back_that_takes_time_only_in_part() -> None:
    # From far memory to DRAM partial results come back in no time, from there to the buffer in 1 tick per row of 8.
    moves = [store("C", "0.body.body", "0"), store("C", "0.body.body", "0", way="dram far")]
    mapping = partial_mapping([("k", 2), ("m", 2)], moves, "C", "far")
    ran = run(_split(read="8 GB/s", write=UNLIMITED, far=True), cascade(GEMM, **FOUR), mapping)
    assert (ran.moved("far", "write", "C"), ran.moved("far", "read", "C")) == (32, 16)
    # Products of 16; a tile is read out of DRAM on its way to far memory (1 tick), and again on its way back (1 tick).
    assert ran.spans("C")[2:] == [(32, 48), (48, 64)]
    assert ran.finish == 65


def _split(read: str, write: str, *, far: bool = False) -> Architecture:
    beyond = "  far: {kind: dram, capacity: 1 MiB, bandwidth: unlimited}\n" if far else ""
    parent = "parent: far, " if far else ""
    return loads_architecture(
        f"""
name: machine
clock: 1 GHz
memories:
{beyond}  dram: {{kind: dram, capacity: 1 MiB, {parent}read_bandwidth: {read}, write_bandwidth: {write}}}
  sram: {{kind: buffer, capacity: 64 KiB, parent: dram, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, rows: 1, cols: 1, dataflows: [os], mac_bits: 8}}
"""
    )


def test_a_store_waits_for_all_that_write_its_tile() -> None:
    b = WorkloadBuilder("halves", bits=8)
    x = b.input("X", (4,))
    y = b.activation("Y", (8,))
    b.elementwise("exp", x, out=y, at=(0,), name="low")
    b.elementwise("exp", x, out=y, at=(4,), name="high")
    b.output(y)
    root = Seq((vector("low"), vector("high")))
    ran = run(machine(), b.build(), mapped(root, [load("X", "."), store("Y", ".")], "X Y"))
    # X 0-1, 1-5, 5-9, all of Y (8 bytes, two halves that keep step) 9-11.
    assert ran.spans("store Y") == [(9, 11)]
    assert ran.moved("dram", "write", "Y") == 8


# -- Pipe ------------------------------------------------------------------------------------------------------------


def rows(*stages: Node, depths: tuple[int, ...], loop: str = "m") -> Node:
    """A Pipe for each row."""
    return Loop(loop, 1, Pipe(stages, depths))


@pytest.mark.parametrize(
    ("text", "k", "depth", "first", "second"),
    [
        # Stage times 8 and 4: with two buffers the slow first stage never waits.
        ("max(C[m,n], 0)", 2, 2, [(0, 8), (8, 16), (16, 24), (24, 32)], [(8, 12), (16, 20), (24, 28), (32, 36)]),
        # With one it waits until the second has read the buffer to its end.
        ("max(C[m,n], 0)", 2, 1, [(0, 8), (12, 20), (24, 32), (36, 44)], [(8, 12), (20, 24), (32, 36), (44, 48)]),
        # Stage times 4 and 8 (two operations): the first runs ahead by its buffers.
        ("exp(C[m,n]) + 1", 1, 2, [(0, 4), (4, 8), (12, 16), (20, 24)], [(4, 12), (12, 20), (20, 28), (28, 36)]),
        ("exp(C[m,n]) + 1", 1, 3, [(0, 4), (4, 8), (8, 12), (12, 16)], [(4, 12), (12, 20), (20, 28), (28, 36)]),
        ("exp(C[m,n]) + 1", 1, 1, [(0, 4), (12, 16), (24, 28), (36, 40)], [(4, 12), (16, 24), (28, 36), (40, 48)]),
    ],
)
def test_stages_overlap_as_far_as_buffers_allow(
    text: str, k: int, depth: int, first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    workload = cascade(f"C[m,n] = A[m,k] * B[k,n]; D[m,n] = {text}", m=4, n=4, k=k)
    moves = [load("A", "body"), load("B", "."), store("D", "body.1", ".")]
    ran = run(machine(UNLIMITED), workload, mapped(rows(array("C"), vector("D"), depths=(depth,)), moves, "A B D"))
    assert ran.spans("C") == first
    assert ran.spans("D") == second
    assert ran.bound == max(4 * (first[0][1] - first[0][0]), 4 * (second[0][1] - second[0][0]))


def test_a_pipe_with_transfers() -> None:
    # A's rows take a tick, B 4, tiles 16 and 4, D's rows one: A 0-1, B 1-5, A 5-6, then rows as slots become free.
    workload = cascade(TWO, **FOUR)
    moves = [load("A", "body", "."), load("B", "."), store("D", "body.1", ".")]
    ran = run(machine(), workload, mapped(rows(array("C"), vector("D"), depths=(2,)), moves, "A B D"))
    assert ran.spans("load A") == [(0, 1), (5, 6), (21, 22), (37, 38)]
    assert ran.spans("C") == [(5, 21), (21, 37), (37, 53), (53, 69)]
    assert ran.spans("D") == [(21, 25), (37, 41), (53, 57), (69, 73)]
    assert ran.finish == 74
    assert ran.bound == 64


def test_a_stage_with_loops_of_its_own_hands_on_whole_tiles() -> None:
    # C's rows come in two halves of the sum (8 ticks each), D's in two halves of columns (2 ticks each).
    workload = cascade(TWO, **FOUR)
    root = rows(Loop("k", 2, array("C")), Loop("n", 2, vector("D")), depths=(1,))
    moves = [load("A", "body"), load("B", "body.0.body"), store("D", "body.1.body", ".")]
    ran = run(machine(UNLIMITED), workload, mapped(root, moves, "A B D"))
    assert ran.spans("C")[:4] == [(0, 8), (8, 16), (20, 28), (28, 36)]
    assert ran.spans("D")[:4] == [(16, 18), (18, 20), (36, 38), (38, 40)]
    assert ran.finish == 4 * 20
    assert ran.moved("dram", "read", "B") == 4 * 16


def test_loops_follow_a_tensor_through_a_pipe_under_other_names() -> None:
    # m is i for the second stage and q for the third, whose own rank m is another one.
    text = "C[m,n] = A[m,k] * B[k,n]; D[i,j] = max(C[i,j], 0); F[q,m] = exp(D[q,m])"
    workload = cascade(text, m=4, n=4, k=4, i=4, j=4, q=4)
    root = rows(array("C"), vector("D"), vector("F"), depths=(1, 1))
    moves = [load("A", "body"), load("B", "."), store("F", "body.2", ".")]
    ran = run(machine(UNLIMITED), workload, mapped(root, moves, "A B F"))
    # 16, 4 and 4 ticks; the first waits for the second, the second (in turn with the third on one unit) for the third.
    assert ran.spans("C")[:2] == [(0, 16), (20, 36)]
    assert ran.spans("D")[:2] == [(16, 20), (36, 40)]
    assert ran.spans("F")[:2] == [(20, 24), (40, 44)]
    assert ran.moved("dram", "write", "F") == 16


def test_a_loop_inside_a_stage_cuts_that_stages_own_rank() -> None:
    # C's columns n are E's k. E's own n, of size 2, is cut inside its stage: 2 tiles of 1*1*4 ticks per row.
    workload = cascade("C[m,n] = A[m,k] * B[k,n]; E[m,n] = C[m,k] * W[k,n] where n=2", m=3, n=4, k=4)
    root = rows(array("C"), Loop("n", 1, array("E")), depths=(2,))
    moves = [load("A", "body"), load("B", "."), load("W", "body.1.body"), store("E", "body.1.body", ".")]
    ran = run(machine(UNLIMITED), workload, mapped(root, moves, "A B W E"))
    assert len(ran.spans("E")) == 3 * 2
    assert ran.spans("E")[0][1] - ran.spans("E")[0][0] == 4
    assert ran.moved("dram", "read", "W") == 3 * 8


@pytest.mark.parametrize(("depth", "finish"), [(1, 4 * 16), (2, 40), (3, 40)])
def test_a_result_that_skips_a_stage(depth: int, finish: int) -> None:
    # 8, 4 and 4 ticks, the last two on one unit. With one buffer between stages the first waits for the third.
    workload = cascade(TWO + "; E[m,n] = C[m,n] + D[m,n]", m=4, n=4, k=2)
    moves = [load("A", "body"), load("B", "."), store("E", "body.2", ".")]
    root = rows(array("C"), vector("D"), vector("E"), depths=(depth, depth))
    ran = run(machine(UNLIMITED), workload, mapped(root, moves, "A B E"))
    assert ran.finish == finish
    assert ran.bound == 4 * 8


def test_a_seq_in_a_stage_runs_once_at_a_time() -> None:
    # C (8) then D (4) for one row, and only then the next row's C; E (4) runs beside.
    workload = cascade(TWO + "; E[m,n] = exp(D[m,n])", m=4, n=4, k=2)
    moves = [load("A", "body", "."), load("B", "."), store("E", "body.1", ".")]
    root = rows(Seq((array("C"), vector("D"))), vector("E"), depths=(2,))
    ran = run(machine(UNLIMITED), workload, mapped(root, moves, "A B E", "C"))
    assert ran.spans("C") == [(0, 8), (12, 20), (24, 32), (36, 44)]
    assert ran.spans("D") == [(8, 12), (20, 24), (32, 36), (44, 48)]
    assert ran.finish == 52


def test_a_seq_waits_for_all_stages_of_the_pipe_before() -> None:
    # The Pipe ends with the store of D's last row (69-73, out 73-74); Z's load is issued then.
    workload = cascade(TWO + "; Z[m,n] = exp(X[m,n])", **FOUR)
    moves = [load("A", "0.body", "0"), load("B", "0"), store("D", "0.body.1", "0"), load("X", "1"), store("Z", "1")]
    root = Seq((rows(array("C"), vector("D"), depths=(2,)), vector("Z")))
    ran = run(machine(), workload, mapped(root, moves, "A B D X Z"))
    assert ran.spans("load X") == [(74, 78)]
    assert ran.finish == 78 + 16 + 4
    assert ran.bound == 64 + 16


def test_a_pipelined_array_hands_on_after_its_latency() -> None:
    # 2x2 array with overlap: a row is 2 folds of 4 ticks, there 2 ticks later.
    arch = machine(UNLIMITED, array="rows: 2, cols: 2, overlap: true")
    moves = [load("A", "body"), load("B", "."), store("D", "body.1", ".")]
    ran = run(arch, cascade(TWO, **FOUR), mapped(rows(array("C"), vector("D"), depths=(2,)), moves, "A B D"))
    assert ran.spans("C") == [(0, 8), (8, 16), (16, 24), (24, 32)]
    assert ran.spans("D") == [(10, 14), (18, 22), (26, 30), (34, 38)]


# -- Par -------------------------------------------------------------------------------------------------------------

BESIDE = "C[m,n] = A[m,k] * B[k,n]; Y[m,n] = max(X[m,n], 0)"


def test_par_runs_at_once_and_shares_the_channel() -> None:
    root = Par((array("C"), vector("Y")))
    loads = [load("A", "0"), load("B", "0"), load("X", "1")]
    stores = [store("C", "0"), store("Y", "1")]
    # A 0-4, B 4-8, X 8-12; C 8-72, out 72-76; Y 12-28, out 28-32.
    ran = run(machine(), cascade(BESIDE, **FOUR), mapped(root, [*loads, *stores], "A B X C Y"))
    assert ran.spans("Y") == [(12, 28)]
    assert ran.spans("store Y") == [(28, 32)]
    assert ran.finish == 76
    assert ran.bound == 64
    # X first: the array waits for it.
    turned = run(machine(), cascade(BESIDE, **FOUR), mapped(root, [loads[2], *loads[:2], *stores], "A B X C Y"))
    assert turned.spans("C") == [(12, 76)]
    assert turned.finish == 80
    free = run(machine(UNLIMITED), cascade(BESIDE, **FOUR), mapped(root, [*loads, *stores], "A B X C Y"))
    assert free.finish == free.bound == 64


def test_a_seq_waits_for_all_children_of_the_par_before() -> None:
    workload = cascade(BESIDE + "; Z[m,n] = C[m,n] + Y[m,n]", **FOUR)
    root = Seq((Par((array("C"), vector("Y"))), vector("Z")))
    moves = [load("A", "0.0"), load("B", "0.0"), load("X", "0.1"), store("Y", "0.1"), load("Y", "1"), store("Z", "1")]
    ran = run(machine(), workload, mapped(root, moves, "A B X Y Z", "C"))
    # C ends last, at 72; Y in 72-76, Z 76-92, out 92-96.
    assert ran.spans("Z") == [(76, 92)]
    assert ran.finish == 96
    assert ran.bound == 64 + 16


def test_seqs_in_a_par_keep_their_own_order() -> None:
    text = BESIDE + "; D[m,n] = max(C[m,n], 0); E[m,p] = Y[m,q] * W[q,p]"
    root = Par((Seq((array("C"), vector("D"))), Seq((vector("Y"), array("E")))))
    moves = [load("A", "0.0"), load("B", "0.0"), load("X", "1.0"), load("W", "1.1")]
    moves += [store("D", "0.1"), store("E", "1.1")]
    ran = run(machine(UNLIMITED), cascade(text, **ALL_FOUR), mapped(root, moves, "A B X W D E", "C Y"))
    assert ran.spans("C") == [(0, 64)]
    assert ran.spans("Y") == [(0, 16)]
    assert ran.spans("D") == [(64, 80)]
    assert ran.spans("E") == [(64, 128)]


def test_loops_in_a_par_contend_tile_by_tile() -> None:
    # Rows of A, with X in halves of 8 bytes; B is on the chip. Products of 16 ticks, maxima of 8; a channel of 1 byte
    # per tick. Requests at 0: A then X; then each asks again when its transfer ends, as long as slots are free.
    root = Par((Loop("m", 1, array("C")), Loop("m", 2, vector("Y"))))
    moves = [load("A", "0.body", "0"), load("X", "1.body", "1")]
    ran = run(machine("1 GB/s"), cascade(BESIDE, **FOUR), mapped(root, moves, "A X", "B C Y"), replayed=False)
    # A 0-4, X 4-12, A 12-16 (asked at 4), X 16-24 (at 12), A 24-28 (slot free at 20), A 36-40 (at 36).
    assert ran.spans("load A") == [(0, 4), (12, 16), (24, 28), (36, 40)]
    assert ran.spans("load X") == [(4, 12), (16, 24)]
    assert ran.spans("C") == [(4, 20), (20, 36), (36, 52), (52, 68)]
    assert ran.spans("Y") == [(12, 20), (24, 32)]


# -- Iterate ---------------------------------------------------------------------------------------------------------


def layers(count: int) -> Workload:
    b = WorkloadBuilder("layers", bits=8)
    h = b.input("h", (4, 4))
    with b.repeat("layer", count) as scope:
        w = b.weight("w", (4, 4))
        out = b.matmul(h, w, out="out", name="mm")
        scope.carry(out, h)
    b.output(out)
    return b.build()


@pytest.mark.parametrize("dram", ["4 GB/s", UNLIMITED])
def test_iterations_run_one_after_the_other(dram: str) -> None:
    root = Iterate("layer", 3, Seq((array("mm"),)))
    moves = [load("h", "body.0"), load("w", "body.0"), store("out", "body.0")]
    ran = run(machine(dram), layers(3), mapped(root, moves, "h w out"), replayed=False)
    once = 64 if dram == UNLIMITED else 4 + 4 + 64 + 4
    assert ran.finish == 3 * once
    assert ran.bound == 3 * 64


def test_weights_of_later_iterations_come_ahead() -> None:
    root = Iterate("layer", 3, Seq((array("mm"),)))
    moves = [load("h", "body.0"), load("w", "body.0", "."), store("out", "body.0")]
    ran = run(machine(), layers(3), mapped(root, moves, "h w out"), replayed=False)
    # h 0-4, w 4-8 and 8-12; product 8-72; w 72-76 (a slot is free), out 76-80, h 80-84, product 84-148 ...
    assert ran.spans("load w") == [(4, 8), (8, 12), (72, 76)]
    assert ran.spans("load h") == [(0, 4), (80, 84), (152, 156)]
    assert ran.spans("mm") == [(8, 72), (84, 148), (156, 220)]
    assert ran.finish == 224
