"""Lowering of Moves: across barriers and memories, for several Ops, of partial results; as in `support.by_hand`."""

from __future__ import annotations

import pytest
from support.by_hand import (
    ALL_FOUR,
    FOUR,
    TWO,
    UNLIMITED,
    Ran,
    array,
    cascade,
    load,
    machine,
    mapped,
    run,
    store,
    vector,
)

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.errors import MappingError
from accelsim.ir import WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mapping.tree import (
    Loop,
    Mapping,
    Move,
    Node,
    Seq,
    Stay,
)

# -- Moves that cross barriers ---------------------------------------------------------------------------------------


CHAIN = "C[m,n] = A[m,k] * B[k,n]; E[m,p] = C[m,q] * W[q,p]"


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
