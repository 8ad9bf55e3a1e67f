"""The independent replay: tiles inside common loops, Pipes, Repeats, states and tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.replays import MACHINE, ONE, TWO, fault, home, layers, looped, stepped, vector_op

from accelsim.ir import Access, Affine, Apply, Einsum, Read, Role, Tensor, View, Workload, WorkloadBuilder
from accelsim.mapping import (
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    Pipe,
    Position,
    Seq,
    Stay,
    replay,
)

# -- tiles inside common loops, and Pipes ----------------------------------------------------------------------------


def attention_like(p: int = 12, m: int = 8, e: int = 4) -> Workload:
    """QK[p,m] = Q[p,e] K[m,e], S = exp(QK), AV[p,f] = S[p,m] V[m,f]; the builder names the ranks of both m, n, k."""
    b = WorkloadBuilder("attention", bits=8)
    q, k, v = b.input("Q", (p, e)), b.input("K", (m, e)), b.input("V", (m, 5))
    s = b.elementwise("exp", b.matmul(q, k, transpose_b=True, out="QK", name="qk"), out="S", name="exp")
    b.output(b.matmul(s, v, out="AV", name="av"))
    return b.build()


def fused(body: Node, rank: str = "m", tile: int = 5) -> Mapping:
    """All three in one loop over rows, handed on through a Pipe of one unit's memory."""
    return Mapping(
        "attention",
        "array_machine",
        Loop(rank, tile, body),
        home("Q", "K", "V", "AV"),
        (
            Move("Q", "dram", "sram", (), ("body",), 1),
            Move("K", "dram", "sram", (), ("body",), 1),
            Move("V", "dram", "sram", (), ("body",), 1),
            Move("AV", "sram", "dram", ("body",), (), 1, store=True),
        ),
    )


PIPE = Pipe((Op("qk", "array", "os"), Op("exp", "vector", "simd"), Op("av", "array", "ws")), (2, 1))


def test_a_pipe_hands_on_tiles_and_its_loops_cut_every_stage() -> None:
    """The loop over m cuts i0 of exp and m of av, which it reaches through the tensors that the stages hand on."""
    result = replay(fused(PIPE), attention_like(), MACHINE)
    assert result.tensor_bytes["Q", "dram", "read"] == 12 * 4
    assert result.tensor_bytes["K", "dram", "read"] == 3 * 8 * 4
    assert result.tensor_bytes["AV", "dram", "write"] == 12 * 5
    assert not [key for key in result.tensor_bytes if key[0] in ("QK", "S")]
    tiles = 5 * 4 + 8 * 4 + 8 * 5 + 5 * 5
    assert result.peaks["sram"].nbytes == tiles + 2 * (5 * 8) + 5 * 8


def test_a_pipe_may_be_the_root() -> None:
    loads = (Move(name, "dram", "sram", (), (), 1) for name in "QKV")
    moves = (*loads, Move("AV", "sram", "dram", (), (), 1, store=True))
    mapping = Mapping("attention", "array_machine", PIPE, home("Q", "K", "V", "AV"), moves)
    assert replay(mapping, attention_like(), MACHINE).transfers == 4


def test_inside_a_stage_a_loop_cuts_the_rank_of_its_own_einsum() -> None:
    """`n` of av is not the `n` of qk, to which a loop around the Pipe would reach."""
    inner = Pipe((PIPE.children[0], PIPE.children[1], Loop("n", 2, PIPE.children[2])), (2, 1))
    mapping = fused(inner)
    moves = (*mapping.moves[:2], replace(mapping.moves[2], due=("body", 2, "body")), mapping.moves[3])
    result = replay(replace(mapping, moves=moves), attention_like(), MACHINE)
    assert result.tensor_bytes["V", "dram", "read"] == 3 * 8 * 5
    assert result.transfers == 3 + 3 + 3 * 3 + 3


def test_a_sum_that_is_not_complete_cannot_be_handed_on() -> None:
    assert (
        "exp at body.1 reads QK inside the loop over 'k' at ., where qk at body.0 has made but a part of its sums"
        in fault(fused(PIPE, "k", 2), attention_like(m=4))
    )


def test_a_tile_must_hold_all_that_is_read_of_it() -> None:
    staying = (*home("Q", "K", "V", "AV"), Stay("QK", "sram", (), ()), Stay("S", "sram", (), ()))
    rows = replace(fused(Seq(PIPE.children)), stays=staying)
    assert "exp at body.1 reads more of QK in an iteration of the loops around it than qk at body.0 has made there" in (
        fault(rows, attention_like())
    )


def stencil(offset: int, shift: int, *, pipe: bool) -> tuple[Mapping, Workload]:
    """y[i] = t[i] + t[i + offset] tile by tile behind t = exp(x), both of 16 elements beyond padding of `shift`."""
    index = Affine((("i", 1),))
    shape = (16 + shift,)
    workload = Workload(
        "stencil",
        {
            "x": Tensor("x", shape, Role.INPUT, 8),
            "t": Tensor("t", shape, Role.ACTIVATION, 8),
            "y": Tensor("y", shape, Role.OUTPUT, 8),
        },
        (
            Einsum("one", Access("t", (index,)), (Access("x", (index,)),), Apply("exp", (Read(0),)), {"i": shape[0]}),
            Einsum(
                "two",
                Access("y", (index,)),
                (Access("t", (replace(index, offset=offset),), 0.0),),
                Apply("exp", (Read(0),)),
                {"i": shape[0]},
            ),
        ),
    )
    ops = (Op("one", "vector", "simd"), Op("two", "vector", "simd"))
    stays = () if pipe else (Stay("t", "sram", (), ()),)
    mapping = Mapping(
        "stencil",
        "array_machine",
        Loop("i", 4, Pipe(ops, (1,)) if pipe else Seq(ops)),
        (*home("x", "y"), *stays),
        (Move("x", "dram", "sram", (), ("body",)), Move("y", "sram", "dram", ("body",), (), store=True)),
    )
    return mapping, workload


@pytest.mark.parametrize(
    ("offset", "pipe", "good"), [(0, True, True), (0, False, True), (-1, False, True), (-1, True, False),
                                 (1, False, False), (1, True, False)],
)  # fmt: skip
def test_what_lies_behind_is_there_if_it_stays_and_what_lies_ahead_is_not(offset: int, pipe: bool, good: bool) -> None:
    mapping, workload = stencil(offset, 0, pipe=pipe)
    if good:
        replay(mapping, workload, MACHINE)
    else:
        assert "reads more of t in an iteration" in fault(mapping, workload)


def test_a_loop_of_one_tile_leaves_no_part_of_a_sum() -> None:
    workload = attention_like(m=4)
    result = replay(fused(PIPE, "k", 4), workload, MACHINE)
    assert result.transfers == 4


def planes(write: Affine, read: Affine, size: int, *, pipe: bool) -> tuple[Mapping, Workload]:
    """t[i, j] = x[i, j], then y[i, j] = t[read, j - 1]: padded both ways, in a loop over i."""
    i, j = Affine((("i", 1),)), Affine((("j", 1),))
    sizes = {"i": size, "j": 6}
    workload = Workload(
        "planes",
        {name: Tensor(name, (size, 6), role, 8) for name, role in
         (("x", Role.INPUT), ("t", Role.ACTIVATION), ("y", Role.OUTPUT))},
        (
            Einsum("one", Access("t", (write, j)), (Access("x", (i, j)),), Apply("exp", (Read(0),)), sizes),
            Einsum(
                "two",
                Access("y", (i, j)),
                (Access("t", (read, replace(j, offset=-1)), 0.0),),
                Apply("exp", (Read(0),)),
                sizes,
            ),
        ),
    )  # fmt: skip
    mapping, _ = stencil(0, 0, pipe=pipe)
    assert isinstance(mapping.root, Loop)
    return replace(mapping, workload="planes", root=replace(mapping.root, tile=1)), workload


@pytest.mark.parametrize("pipe", [True, False])
def test_padding_in_a_plane_that_is_there_in_full_needs_no_data(pipe: bool) -> None:
    i = Affine((("i", 1),))
    mapping, workload = planes(i, i, 8, pipe=pipe)
    replay(mapping, workload, MACHINE)
    faster = Affine((("i", 2),))
    mapping, workload = planes(i, faster, 8, pipe=pipe)
    assert "reads more of t in an iteration" in fault(mapping, workload)


# -- Repeats ---------------------------------------------------------------------------------------------------------


def test_what_a_repeat_hands_on_is_there_for_the_next_iteration() -> None:
    mapping, workload = looped(), layers()
    assert replay(mapping, workload, MACHINE).tensor_bytes["h", "dram", "read"] == 6 * 16
    weights_ahead = (mapping.moves[0], replace(mapping.moves[1], issue=(0,), buffers=2), *mapping.moves[2:])
    replay(replace(mapping, moves=weights_ahead), workload, MACHINE)
    ahead = (replace(mapping.moves[0], issue=(0,)), *mapping.moves[1:])
    late = (
        "but what mm at 0.body makes of it in one iteration of 0 is not in dram when the next one begins"
    )
    assert late in fault(replace(mapping, moves=ahead), workload)
    behind = (*mapping.moves[:2], replace(mapping.moves[2], due=(0,)), *mapping.moves[3:])
    assert late in fault(replace(mapping, moves=behind), workload)
    kept = (*mapping.moves[:2], *mapping.moves[4:])
    on_chip_only = replace(mapping, moves=kept, stays=(*home("w", "h", "y"), Stay("h_out", "sram", (), ())))
    assert late in fault(on_chip_only, workload)


def test_what_a_repeat_hands_on_must_last_to_the_end_of_an_iteration() -> None:
    b = WorkloadBuilder("residual", bits=8)
    h = b.input("h", (10,))
    with b.repeat("layer", 3) as scope:
        scope.carry(b.elementwise("exp", h, out="g", name="one"), h)
        b.output(b.elementwise("exp", "g", out="s", name="two"))
    first, second = (0, "body", 0), (0, "body", 1)
    root = Seq((Iterate("layer", 3, Seq((ONE, TWO))),))
    stays = (*home("s"), Stay("h", "sram", (), (0,)), Stay("g", "sram", first, second))
    store = Move("s", "sram", "dram", second, second, 1, store=True)
    mapping = Mapping("residual", "array_machine", root, stays, (store,))
    replay(mapping, b.build(), MACHINE)
    shortened = replace(
        mapping,
        stays=(*stays[:2], Stay("g", "sram", first, first), *home("g")),
        moves=(store, Move("g", "sram", "dram", first, first, store=True), Move("g", "dram", "sram", second, second)),
    )
    found = fault(shortened, b.build())
    assert "what one at 0.body.0 makes of it in one iteration of 0 is not in sram when the next one begins" in found


def test_iterations_in_two_parts_depend_on_their_own() -> None:
    """Each part keeps its own t: what one part makes is not needed by the other."""
    parts = [Iterate("layer", 2, Seq((ONE, TWO))), Iterate("layer", 1, Seq((ONE, TWO)), 2)]
    stays: list[Stay] = []
    moves: list[Move] = []
    for i in range(2):
        first, second = (i, "body", 0), (i, "body", 1)
        stays.append(Stay("t", "sram", first, second))
        moves.append(Move("w", "dram", "sram", first, first, 1))
        moves.append(Move("s", "sram", "dram", second, second, 1, store=True))
    mapping = Mapping("stepped", "a", Seq(tuple(parts)), (*home("w", "s"), *stays), tuple(moves))
    assert replay(mapping, stepped(), MACHINE).traffic_bytes["dram", "read"] == 30


def test_only_the_first_part_of_the_iterations_reads_what_stands_before_the_repeat() -> None:
    """The second part loads from off the chip, where the first part has stored, but nothing has before it."""
    b = WorkloadBuilder("begun", bits=8)
    h = b.elementwise("exp", b.input("x", (10,)), out="h", name="begin")
    with b.repeat("layer", 4) as scope:
        scope.carry(b.elementwise("exp", h, out="g", name="one"), h)
    root = Seq((Op("begin", "vector", "simd"), Iterate("layer", 2, ONE), Iterate("layer", 2, ONE, 2)))
    a, z = (1, "body"), (2, "body")
    mapping = Mapping(
        "begun",
        "array_machine",
        root,
        (*home("x", "h", "g"), Stay("h", "sram", (0,), (1,)), Stay("g", "sram", (1,), (1,))),
        (
            Move("x", "dram", "sram", (0,), (0,), 1),
            Move("g", "sram", "dram", a, a, 1, store=True),
            Move("h", "dram", "sram", z, z, 1),
            Move("g", "sram", "dram", z, z, 1, store=True),
        ),
    )
    replay(mapping, b.build(), MACHINE)
    unstored = replace(mapping, moves=(mapping.moves[0], *mapping.moves[2:]))
    assert "one at 2.body reads g from dram at 2.body, but one at 1.body, which makes it, does not put it" in fault(
        unstored, b.build()
    )


def test_what_a_repeat_hands_on_may_stay_on_the_chip() -> None:
    mapping, workload = looped(), layers()
    stays = (*home("w", "y"), Stay("h", "sram", (0,), (0,)), Stay("h_out", "sram", (0,), (1,)))
    moves = (mapping.moves[1], mapping.moves[4])
    result = replay(replace(mapping, stays=stays, moves=moves), workload, MACHINE)
    assert set(result.traffic_bytes.items()) >= {(("dram", "read"), 96), (("dram", "write"), 16)}


def test_fission_of_a_repeat_needs_all_instances_at_once() -> None:
    """All first operators, then all second ones: the tensor between them has six instances in the buffer."""
    b = WorkloadBuilder("fission", bits=8)
    x = b.input("x", (10,))
    with b.repeat("layer", 6):
        t = b.elementwise("mul", x, b.weight("w", (10,)), out="t", name="one")
        b.elementwise("exp", t, out="s", name="two")
    workload = b.build()
    one, two = Op("one", "vector", "simd"), Op("two", "vector", "simd")

    def mapping(root: Node, first: Position, *stays: Stay) -> Mapping:
        loads = Move("x", "dram", "sram", first, first, 1), Move("w", "dram", "sram", first, first, 1)
        return Mapping("fission", "array_machine", root, (*home("x", "w"), *stays), loads)

    together = Seq((Iterate("layer", 6, Seq((one, two))),))
    inside: tuple[Position, Position] = (0, "body", 0), (0, "body", 1)
    current = Stay("t", "sram", *inside), Stay("s", "sram", inside[1], inside[1])
    assert replay(mapping(together, inside[0], *current), workload, MACHINE).peaks["sram"].nbytes == 10 + 10 + 10
    apart = Seq((Iterate("layer", 6, one), Iterate("layer", 6, two)))
    each: Position = (1, "body")
    outside = Stay("t", "sram", (0,), (1,)), Stay("s", "sram", each, each)
    assert replay(mapping(apart, (0, "body"), *outside), workload, MACHINE).peaks["sram"].nbytes == 60 + 10 + 10
    only_one = Stay("t", "sram", (0, "body"), (0, "body")), outside[1]
    assert "two at 1.body reads t in sram" in fault(mapping(apart, (0, "body"), *only_one), workload)


# -- states, tables --------------------------------------------------------------------------------------------------


def cache() -> Workload:
    """A KV cache: one row is written, then all are read."""
    b = WorkloadBuilder("cache", bits=8)
    row, kv = b.input("row", (1, 4)), b.state("kv", (9, 4))
    b.elementwise("exp", row, out=kv, at=(5, 0), name="append")
    b.output(b.elementwise("exp", kv, out="y", name="read"))
    return b.build()


APPEND, READ = Op("append", "vector", "simd"), Op("read", "vector", "simd")


def cached(*ops: Op) -> Mapping:
    a, r = ops.index(APPEND), ops.index(READ)
    return Mapping(
        "cache",
        "array_machine",
        Seq(ops),
        home("row", "kv", "y"),
        (
            Move("row", "dram", "sram", (a,), (a,)),
            Move("kv", "sram", "dram", (a,), (a,), store=True),
            Move("kv", "dram", "sram", (r,), (r,)),
            Move("y", "sram", "dram", (r,), (r,), store=True),
        ),
    )


def test_a_state_is_read_after_it_is_written_and_ends_off_the_chip() -> None:
    result = replay(cached(APPEND, READ), cache(), MACHINE)
    assert result.tensor_bytes["kv", "dram", "write"] == 4
    assert result.tensor_bytes["kv", "dram", "read"] == 36
    assert "read at 0 reads kv from dram at 0, but append at 1 has stored it there only by the end of 1" in fault(
        cached(READ, APPEND), cache()
    )
    mapping = cached(APPEND, READ)
    lost = replace(mapping, stays=(*home("row", "y"), Stay("kv", "dram", (), (0,)), Stay("kv", "dram", (1,), (1,))))
    assert "append at 0 makes kv, a state, which never gets to a stay in dram" in fault(lost, cache())


def test_a_state_is_not_overwritten_before_it_is_read() -> None:
    b = WorkloadBuilder("old", bits=8)
    row, kv = b.input("row", (1, 4)), b.state("kv", (9, 4))
    b.output(b.elementwise("exp", kv, out="y", name="read"))
    b.elementwise("exp", row, out=kv, at=(5, 0), name="append")
    replay(cached(READ, APPEND), b.build(), MACHINE)
    assert fault(cached(APPEND, READ), b.build()) == "read at 1 reads kv after append at 0 has overwritten it"


def gathered() -> Workload:
    b = WorkloadBuilder("embedding", bits=8)
    b.weight("table", (1000, 16))
    b.input("ids", (3,), 32)
    b.activation("rows", (3, 16))
    b.add(View("rows", "table", "ids"))
    b.output(b.elementwise("exp", "rows", out="y", name="op0"))
    return b.build()


@pytest.mark.parametrize("name", ["rows", "table"])
def test_rows_of_a_table_come_from_where_the_table_is(name: str) -> None:
    mapping = Mapping(
        "embedding",
        "array_machine",
        Seq((vector_op(0),)),
        home("table", "y"),
        (Move(name, "dram", "sram", (0,), (0,)), Move("y", "sram", "dram", (0,), (0,), store=True)),
    )
    result = replay(mapping, gathered(), MACHINE)
    assert result.tensor_bytes[name, "dram", "read"] == 3 * 16
    assert result.peaks["dram"].nbytes == 16000 + 48
    assert "does not stay in dram" in fault(replace(mapping, stays=home("y")), gathered())


def test_rows_are_chosen_before_they_are_read() -> None:
    b = WorkloadBuilder("routed", bits=8)
    b.weight("table", (1000, 16))
    ids = b.elementwise("exp", b.input("x", (3,), 32), out="ids", name="op0", bits=32)
    b.activation("rows", (3, 16))
    b.add(View("rows", "table", ids))
    b.output(b.elementwise("exp", "rows", out="y", name="op1"))
    stays = (*home("table", "x", "y"), Stay("ids", "sram", (), ()))

    def mapping(first: int, second: int) -> Mapping:
        at = {first: (0,), second: (1,)}
        moves = (Move("x", "dram", "sram", at[0], at[0]), Move("rows", "dram", "sram", at[1], at[1]),
                 Move("y", "sram", "dram", at[1], at[1], store=True))  # fmt: skip
        return Mapping("routed", "a", Seq((vector_op(first), vector_op(second))), stays, moves)

    replay(mapping(0, 1), b.build(), MACHINE)
    assert fault(mapping(1, 0), b.build()) == "op1 at 0 reads the rows rows, which op0 at 1 has not chosen yet"
