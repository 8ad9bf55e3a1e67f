"""Lowering of Seq, Pipe, Par and Iterate, worked out by hand on the machines of `support.by_hand`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.by_hand import ALL_FOUR, FOUR, TWO, UNLIMITED, array, cascade, load, machine, mapped, run, store, vector

from accelsim.ir import Workload, WorkloadBuilder
from accelsim.mapping.tree import (
    Iterate,
    Loop,
    Node,
    Par,
    Pipe,
    Seq,
)
from accelsim.mapping.validate import validate
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps

# -- Seq -------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        # Rows of 4 ticks in 4 passes: a row is there after the last one, and its place is free when D has read it.
        ("max(C[m,n], 0)", [0, 4, 8, 12, 16, 20, 24, 28, 32, 36], [28, 32, 60, 64]),
        # D takes 8 ticks for a row: the first pass over the next rows waits for their places, the others do not.
        ("exp(C[m,n]) + 1", [0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 48], [28, 36, 68, 76]),
    ],
)
def test_a_stage_takes_over_piece_by_piece(text: str, first: list[int], second: list[int]) -> None:
    workload = cascade(f"C[m,n] = A[m,k] * B[k,n]; D[m,n] = {text}", **FOUR)
    stages = Loop("k", 1, Loop("m", 1, array("C"))), Loop("m", 1, vector("D"))
    moves = [load("A", "body"), load("B", "."), store("D", "body.1.body", ".")]
    ran = run(
        machine(UNLIMITED), workload, mapped(Loop("m", 2, Pipe(stages, (1,), (1,))), moves, "A B D")
    )
    assert [start for start, _ in ran.spans("C")][: len(first)] == first
    assert [start for start, _ in ran.spans("D")] == second
    whole = run(machine(UNLIMITED), workload, mapped(Loop("m", 2, Pipe(stages, (1,))), moves, "A B D"))
    assert whole.spans("D")[0][0] == 32
    assert whole.spans("C")[8][0] == whole.spans("D")[1][1]


def test_a_piece_that_is_read_again_keeps_its_place() -> None:
    # C's rows take 4 ticks; E reads both of them for each of its columns, 4 ticks each time.
    workload = cascade("C[m,n] = max(A[m,n], 0); E[m,p] = C[m,n] * W[n,p]", m=4, n=4, p=2)
    stages = Loop("m", 1, vector("C")), Loop("p", 1, Loop("m", 1, array("E")))
    moves = [load("A", "body"), load("W", "."), store("E", "body.1.body.body", ".")]
    root = Loop("m", 2, Pipe(stages, (1,), (1,)))
    ran = run(machine(UNLIMITED), workload, mapped(root, moves, "A W E"))
    assert ran.spans("C") == [(0, 4), (4, 8), (16, 20), (20, 24)]
    assert [start for start, _ in ran.spans("E")] == [4, 8, 12, 16, 20, 24, 28, 32]


def test_what_two_stages_cut_otherwise_is_taken_over_whole() -> None:
    workload = cascade(TWO, **FOUR)
    moves = [load("A", "."), load("B", "."), store("D", "1.body", ".")]
    stages = Loop("m", 1, array("C")), Loop("n", 2, vector("D"))
    whole, pieces = (
        run(machine(UNLIMITED), workload, mapped(Pipe(stages, (1,), takes), moves, "A B D")) for takes in ((), (1,))
    )
    assert whole.spans("D") == pieces.spans("D") == [(64, 72), (72, 80)]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("max(C[p+2], 0)", {"m": 6, "p": 4}),  # shifted
        ("max(C[2*p], 0)", {"m": 8, "p": 4}),  # strided
        ("C[p+r] * W[r]", {"m": 6, "p": 4, "r": 3}),  # in windows
    ],
)
def test_tiles_that_are_other_points_for_two_stages_are_taken_over_whole(text: str, sizes: dict[str, int]) -> None:
    """Both stages cut tiles of two, and those of the later one reach beyond the ones that the earlier one has made."""
    workload = cascade(f"C[m] = max(A[m], 0); D[p] = {text}", **sizes)
    later = array("D") if "W" in text else vector("D")
    moves = [load("A", "."), *([load("W", ".")] if "W" in text else []), store("D", "1.body", ".")]
    stages = Loop("m", 2, vector("C")), Loop("p", 2, later)
    whole, pieces = (
        run(machine(UNLIMITED), workload, mapped(Pipe(stages, (1,), takes), moves, "A D" + " W" * ("W" in text)))
        for takes in ((), (1,))
    )
    assert whole.spans("D") == pieces.spans("D")
    assert whole.spans("D")[0][0] == sizes["m"]


@pytest.mark.parametrize("dimension", [0, 1])
def test_what_is_read_under_another_shape_is_taken_over_whole(dimension: int) -> None:
    b = WorkloadBuilder("layers", bits=8)
    made = b.relu(b.input("x", (4, 4)), out="C", name="C")
    b.output(b.relu(b.view(made, (16,)), out="D", name="D"))
    workload = b.build()
    outputs = [einsum.output for einsum, _ in workload.einsums()]
    ranks = outputs[0].indices[dimension].ranks[0], outputs[1].indices[0].ranks[0]
    stages = Loop(ranks[0], 1, vector("C")), Loop(ranks[1], 1, vector("D"))
    moves = [load("x", "."), store("D", "1.body", ".")]
    ran = run(machine(UNLIMITED), workload, mapped(Pipe(stages, (1,), (1,)), moves, "x D"))
    assert ran.spans("D")[0] == (16, 17)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.tuples(*[st.integers(1, 5)] * 4), st.integers(1, 5), st.permutations(["m", "k"]), st.integers(1, 3))
def test_pieces_are_never_later_than_the_whole(
    tiles: tuple[int, int, int, int], rows: int, order: list[str], depth: int
) -> None:
    """Ragged tiles, loops in either order, those of the two stages alike or not: both kernels and the checker agree."""
    outer, made, read, summed = tiles
    workload = cascade("C[m,n] = A[m,k] * B[k,n]; D[m,n] = exp(C[m,n]) + 1", m=rows, n=2, k=5)
    size = {"m": made, "k": summed}
    maker: Node = array("C")
    for rank in reversed(order):
        maker = Loop(rank, size[rank], maker)
    moves = [load("A", "body"), load("B", "."), store("D", "body.1.body", ".")]
    stages = maker, Loop("m", read, vector("D"))
    finish = {}
    for pieces in ((), (1,)):
        mapping = mapped(Loop("m", outer, Pipe(stages, (depth,), pieces)), moves, "A B D")
        assert loads(dumps(mapping)) == mapping
        assert validate(mapping, workload, machine(UNLIMITED)) == []
        finish[pieces] = run(machine(UNLIMITED), workload, mapping).finish
    assert finish[(1,)] <= finish[()]


def test_only_stages_take_over_pieces() -> None:
    root = rows(array("C"), vector("D"), depths=(1,))
    assert isinstance(root, Loop) and isinstance(root.body, Pipe)
    wrong = mapped(replace(root, body=replace(root.body, pieces=(2,))), [], "A B D")
    problems = [str(p) for p in validate(wrong, cascade(TWO, **FOUR), machine())]
    assert any("stage 2 takes over pieces" in p and "a stage from 1 to 1" in p for p in problems)


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
