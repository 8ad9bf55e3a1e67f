"""The independent replay: bytes against explicit walks and against lowering, capacities, and planted faults."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import array_machine, gemm

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.engine.program import Program
from accelsim.errors import DoesNotFit, MappingError
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Role, Tensor, View, Workload, WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mappers.tile import map_workload
from accelsim.mapping import (
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    Par,
    Pipe,
    Position,
    ReplayResult,
    Seq,
    Stay,
    dumps_mapping,
    loads_mapping,
    replay,
    validate,
)
from accelsim.mapping.capacity import Content, collisions, peaks
from accelsim.mapping.scope import Scope

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
MACHINE = array_machine(bandwidth="16 GB/s")


def home(*names: str) -> tuple[Stay, ...]:
    return tuple(Stay(name, "dram", (), ()) for name in names)


def nest(loops: list[tuple[str, int]], op: Node) -> Node:
    for rank, tile in reversed(loops):
        op = Loop(rank, tile, op)
    return op


def at(depth: int, *start: int) -> Position:
    return (*start, *["body"] * depth)


# -- bytes against explicit walks ------------------------------------------------------------------------------------


def walk(loops: list[tuple[str, int]], box: dict[str, range]) -> Iterator[dict[str, range]]:
    """Every iteration of a nest, as the ranges of the ranks that it leaves."""
    if not loops:
        yield box
        return
    (rank, tile), *inner = loops
    for start in range(box[rank].start, box[rank].stop, tile):
        yield from walk(inner, {**box, rank: range(start, min(start + tile, box[rank].stop))})


ranks = st.sampled_from(["m", "n", "k"])
nests = st.lists(st.tuples(ranks, st.integers(1, 6)), max_size=5)


@SETTINGS
@given(st.tuples(*[st.integers(1, 11)] * 3), nests, st.data(), st.sampled_from([4, 8, 12, 16]))
def test_gemm_moves_what_a_walk_over_all_tiles_moves(
    size: tuple[int, int, int], loops: list[tuple[str, int]], data: st.DataObject, bits: int
) -> None:
    m, n, k = size
    a, b, o = (data.draw(st.integers(0, len(loops))) for _ in range(3))
    mapping = Mapping(
        "gemm",
        "array_machine",
        nest(loops, Op("matmul", "array", "os")),
        home("A", "B", "matmul"),
        (
            Move("A", "dram", "sram", (), at(a)),
            Move("B", "dram", "sram", (), at(b)),
            Move("matmul", "sram", "dram", at(o), (), store=True),
        ),
    )
    result = replay(mapping, gemm(m, n, k, bits), MACHINE)

    whole = {"m": range(m), "n": range(n), "k": range(k)}
    expected: Counter[tuple[str, str, str]] = Counter()
    moved = 0

    def count(tensor: str, src: str, dst: str, box: dict[str, range], over: str) -> None:
        nbytes = -(-prod(len(box[r]) for r in over) * bits // 8)
        expected[tensor, src, "read"] += nbytes
        expected[tensor, dst, "write"] += nbytes

    for tensor, depth, over in (("A", a, "mk"), ("B", b, "kn")):
        for box in walk(loops[:depth], whole):
            count(tensor, "dram", "sram", box, over)
            moved += 1
    seen: set[tuple[range, range]] = set()
    for box in walk(loops[:o], whole):
        tile = box["m"], box["n"]
        if tile in seen:
            count("matmul", "dram", "sram", box, "mn")
            moved += 1
        seen.add(tile)
        count("matmul", "sram", "dram", box, "mn")
        moved += 1
    assert dict(result.tensor_bytes) == dict(expected)
    assert result.transfers == moved
    for (memory, direction), nbytes in result.traffic_bytes.items():
        assert nbytes == sum(v for (_, mem, way), v in expected.items() if (mem, way) == (memory, direction))


def convolution(stride: int, dilation: int, width: int, taps: int) -> Workload:
    p = (width - 1) * stride + (taps - 1) * dilation + 1
    return Workload(
        "conv",
        {
            "x": Tensor("x", (3, p), Role.INPUT, 8),
            "w": Tensor("w", (2, 3, taps), Role.WEIGHT, 8),
            "y": Tensor("y", (2, width), Role.OUTPUT, 8),
        },
        (
            Einsum(
                "conv",
                Access("y", (Affine((("f", 1),)), Affine((("p", 1),)))),
                (
                    Access("x", (Affine((("c", 1),)), Affine((("p", stride), ("r", dilation))))),
                    Access("w", (Affine((("f", 1),)), Affine((("c", 1),)), Affine((("r", 1),)))),
                ),
                Apply("mul", (Read(0), Read(1))),
                {"f": 2, "c": 3, "p": width, "r": taps},
                "add",
            ),
        ),
    )


@SETTINGS
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 4)),
    st.lists(st.tuples(st.sampled_from(["f", "c", "p", "r"]), st.integers(1, 4)), max_size=4),
)
def test_halos_are_moved_with_every_tile(shape: tuple[int, int, int, int], loops: list[tuple[str, int]]) -> None:
    stride, dilation, _, _ = shape
    workload = convolution(*shape)
    depth = len(loops)
    mapping = Mapping(
        "conv",
        "array_machine",
        nest(loops, Op("conv", "array", "ws")),
        home("x", "w", "y"),
        (
            Move("x", "dram", "sram", (), at(depth)),
            Move("w", "dram", "sram", (), at(depth)),
            Move("y", "sram", "dram", at(depth), (), store=True),
        ),
    )
    touched = 0
    for box in walk(loops, {r: range(s) for r, s in next(workload.einsums())[0].sizes.items()}):
        columns = {p * stride + r * dilation for p in box["p"] for r in box["r"]}
        touched += len(box["c"]) * len(columns)
    assert replay(mapping, workload, MACHINE).tensor_bytes["x", "dram", "read"] == touched


# -- bytes against lowering ------------------------------------------------------------------------------------------


def transfers(program: Program) -> Counter[tuple[str, str, str]]:
    """Bytes of the actors of a Program that move data, by (tensor, component, direction)."""
    firings, owner = program.phase_firings(), program.actor_of_phase()
    found: Counter[tuple[str, str, str]] = Counter()
    for phase in range(program.n_phases):
        label = program.actor_labels[owner[phase]]
        if label.role in ("load", "store"):
            for i in range(program.action_ptr[phase], program.action_ptr[phase + 1]):
                action = program.actions[program.action_id[i]]
                key = action.tensor, action.component, action.action
                found[key] += int(program.action_count[i] * firings[phase])
    return found


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.tuples(*[st.integers(1, 40)] * 3), nests, st.data())
def test_lowering_moves_the_same_bytes(
    size: tuple[int, int, int], loops: list[tuple[str, int]], data: st.DataObject
) -> None:
    a, b, o = (data.draw(st.integers(0, len(loops))) for _ in range(3))
    mapping = Mapping(
        "gemm",
        "array_machine",
        Seq((nest(loops, Op("matmul", "array", "os")),)),
        home("A", "B", "matmul"),
        (
            Move("A", "dram", "sram", (0,), at(a, 0)),
            Move("B", "dram", "sram", (0,), at(b, 0)),
            Move("matmul", "sram", "dram", at(o, 0), (0,), store=True),
        ),
    )
    workload = gemm(*size)
    assert transfers(lower(MACHINE, workload, mapping)) == Counter(replay(mapping, workload, MACHINE).tensor_bytes)


def network() -> Workload:
    """Convolutions with padding and a residual, pooling, a classifier with softmax, and a Repeat of layers."""
    b = WorkloadBuilder("network", bits=8)
    x = b.input("x", (1, 3, 18, 18))
    y = b.relu(b.conv(x, b.weight("w1", (16, 3, 3, 3)), pads=[1] * 4, strides=[2, 2]))
    z = b.conv(y, b.weight("w2", (16, 16, 3, 3)), pads=[1] * 4)
    h = b.view(b.relu(b.elementwise("add", y, z)), (81, 16), out="h")
    with b.repeat("layer", 3) as layer:
        out = b.linear(h, b.weight("w", (16, 16)))
        layer.carry(out, h)
    b.output(b.softmax(out))
    return b.build()


@pytest.mark.parametrize("capacity", ["2 KiB", "8 KiB", "1 MiB"])
def test_the_tile_mapper_passes_and_agrees_with_lowering(capacity: str) -> None:
    arch, workload = array_machine(bandwidth="16 GB/s", capacity=capacity), network()
    mapping = map_workload(workload, arch)
    assert validate(mapping, workload, arch) == []
    assert loads_mapping(dumps_mapping(mapping)) == mapping
    result = replay(mapping, workload, arch)
    assert transfers(lower(arch, workload, mapping)) == Counter(result.tensor_bytes)
    assert 0 < result.peaks["sram"].nbytes <= arch.memories["sram"].capacity


# -- tiles of several accesses ---------------------------------------------------------------------------------------


def slices(offset: int) -> Workload:
    """y[i] = x[i] + x[i + offset]"""
    b = WorkloadBuilder("slices", bits=8)
    x = b.input("x", (24,))
    i = Affine((("i", 1),))
    accesses = [Access(x, (i,)), Access(x, (replace(i, offset=offset),))]
    b.output(b.compute("add", accesses, ["i"], {"i": 12}, name="op", out="y", bits=8))
    return b.build()


@pytest.mark.parametrize(("offset", "tile", "moved"), [(12, 12, 24), (12, 4, 24), (1, 4, 15), (3, 4, 21), (9, 4, 24)])
def test_accesses_that_keep_step_share_a_box_where_it_is_smaller(offset: int, tile: int, moved: int) -> None:
    mapping = Mapping(
        "slices",
        "array_machine",
        Loop("i", tile, Op("op", "vector", "simd")),
        home("x", "y"),
        (Move("x", "dram", "sram", (), ("body",)), Move("y", "sram", "dram", ("body",), (), store=True)),
    )
    assert replay(mapping, slices(offset), MACHINE).tensor_bytes["x", "dram", "read"] == moved


def test_accesses_that_do_not_keep_step_add_up_to_the_tensor() -> None:
    """y[i,j] = x[i,j] + x[j,i] in rows: a row and a column of tiles, never more than all of x."""
    b = WorkloadBuilder("turned", bits=8)
    x = b.input("x", (8, 8))
    i, j = Affine((("i", 1),)), Affine((("j", 1),))
    b.output(b.compute("add", [Access(x, (i, j)), Access(x, (j, i))], ["i", "j"], {"i": 8, "j": 8}, name="op", out="y"))
    for tile, moved in ((2, 4 * (16 + 16)), (5, (64) + (24 + 24)), (8, 64)):
        mapping = Mapping(
            "turned",
            "array_machine",
            Loop("i", tile, Op("op", "vector", "simd")),
            home("x", "y"),
            (Move("x", "dram", "sram", (), ("body",)), Move("y", "sram", "dram", ("body",), (), store=True)),
        )
        assert replay(mapping, b.build(), MACHINE).tensor_bytes["x", "dram", "read"] == moved


def shared() -> Workload:
    """Two operators over the rows of one input, of which the second also has a rank of its own."""
    b = WorkloadBuilder("shared", bits=8)
    x, w = b.input("x", (20, 6)), b.weight("w", (6, 7))
    rows = Access(x, (Affine((("m", 1),)), Affine((("k", 1),))))
    b.output(b.compute("exp", [rows], ["m", "k"], {"m": 20, "k": 6}, name="one", out="e"))
    b.output(b.matmul(x, w, name="two", out="t"))
    return b.build()


def test_one_load_for_several_ops_moves_their_tile_once() -> None:
    ops = Seq((Op("one", "vector", "simd"), Loop("n", 2, Op("two", "array", "os"))))
    mapping = Mapping(
        "shared",
        "array_machine",
        Loop("m", 8, ops),
        home("x", "w", "e", "t"),
        (
            Move("x", "dram", "sram", (), ("body",)),
            Move("w", "dram", "sram", (), ("body", 1, "body")),
            Move("e", "sram", "dram", ("body", 0), (), store=True),
            Move("t", "sram", "dram", ("body", 1, "body"), (), store=True),
        ),
    )
    result = replay(mapping, shared(), MACHINE)
    assert result.tensor_bytes["x", "dram", "read"] == 20 * 6
    assert result.tensor_bytes["w", "dram", "read"] == 3 * 6 * 7
    assert result.transfers == 3 + 3 * 4 + 3 + 3 * 4
    # 2 tiles of 8 rows of x all through; e is stored while t is made: its buffers live to the end
    assert result.peaks["sram"].nbytes == 2 * (8 * 6) + 2 * (6 * 2) + 2 * (8 * 6) + 2 * (8 * 2)


@SETTINGS
@given(st.integers(1, 30), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 7))
def test_loops_that_do_not_cut_an_op_repeat_it(size: int, tiles: list[int], inner: int) -> None:
    """The second operator lacks the rank of the outer loops, whose ragged tiles decide how often it runs."""
    b = WorkloadBuilder("again", bits=8)
    x, w = b.input("x", (size,)), b.input("w", (5,))
    with b.repeat("layer", 3):
        b.elementwise("exp", x, out="y", name="one")
        b.compute("exp", [Access(w, (Affine((("j", 1),)),))], ["j"], {"j": 5}, name="two", out="z")
    loops = [("i0", t) for t in tiles]
    depth = len(loops) + 1
    both = Seq((Op("one", "vector", "simd"), Loop("j", inner, Op("two", "vector", "simd"))))
    mapping = Mapping(
        "again",
        "array_machine",
        Iterate("layer", 3, nest(loops, both)),
        home("x", "w", "y", "z"),
        (
            Move("x", "dram", "sram", (), (*at(depth), 0)),
            Move("w", "dram", "sram", (), (*at(depth), 1, "body")),
            Move("y", "sram", "dram", (*at(depth), 0), (), store=True),
            Move("z", "sram", "dram", (*at(depth), 1, "body"), (), store=True),
        ),
    )
    times = 3 * len(list(walk(loops, {"i0": range(size)})))
    result = replay(mapping, b.build(), MACHINE)
    assert result.tensor_bytes["w", "dram", "read"] == times * 5
    assert result.tensor_bytes["x", "dram", "read"] == 3 * size
    assert result.transfers == 2 * times + 2 * times * -(-5 // inner)


def test_two_tiers_of_stores_with_a_reduction_between() -> None:
    """k is cut between the two stores: partial results go to and fro between sram and l2, whole ones on to dram."""
    arch = loads_architecture(
        """
name: tiers
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: unlimited}
  l2: {kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: unlimited}
  sram: {kind: buffer, capacity: 64 KiB, parent: l2, bandwidth: unlimited}
units:
  array: {kind: systolic, memory: sram, rows: 8, cols: 8}
links:
  bus: {kind: link, between: [dram, l2]}
"""
    )
    root = nest([("m", 8), ("k", 4), ("n", 8)], Op("matmul", "array", "os"))
    mapping = Mapping(
        "gemm",
        "tiers",
        root,
        home("A", "B", "matmul"),
        (
            Move("A", "dram", "l2", (), ("body",)),
            Move("B", "dram", "l2", (), ()),
            Move("A", "l2", "sram", (), at(2)),
            Move("B", "l2", "sram", (), at(3)),
            Move("matmul", "sram", "l2", at(3), ("body",), store=True),
            Move("matmul", "l2", "dram", ("body",), (), store=True),
        ),
    )
    result = replay(mapping, gemm(16, 16, 16, 8), arch)
    assert result.tensor_bytes["matmul", "sram", "read"] == 16 * 16 * 4
    assert result.tensor_bytes["matmul", "sram", "write"] == 16 * 16 * 3
    assert result.tensor_bytes["matmul", "dram", "write"] == 16 * 16
    assert ("matmul", "dram", "read") not in result.tensor_bytes
    assert result.traffic_bytes["bus", "transfer"] == 3 * 16 * 16
    assert result.tensor_bytes["B", "l2", "read"] == 2 * 16 * 16
    with pytest.raises(MappingError, match="matmul, an output, which never gets to a stay in dram"):
        replay(replace(mapping, moves=mapping.moves[:-1]), gemm(16, 16, 16, 8), arch)
    with pytest.raises(MappingError, match=r"reads A, loaded from l2 for position body\.body, but it does not stay"):
        replay(replace(mapping, moves=mapping.moves[1:]), gemm(16, 16, 16, 8), arch)


# -- capacity --------------------------------------------------------------------------------------------------------


def chain(length: int, size: int = 64) -> Workload:
    """x -> t0 -> t1 -> ... each of `size` bytes."""
    b = WorkloadBuilder("chain", bits=8)
    name = b.input("x", (size,))
    for i in range(length):
        name = b.elementwise("exp", name, out=f"t{i}", name=f"op{i}")
    b.output(name)
    return b.build()


def vector_op(i: int) -> Op:
    return Op(f"op{i}", "vector", "simd")


def chained(length: int, stays: tuple[Stay, ...], moves: tuple[Move, ...]) -> Mapping:
    return Mapping("chain", "array_machine", Seq(tuple(vector_op(i) for i in range(length))), stays, moves)


def on_chip(length: int, capacity: str = "1 MiB", **changes: object) -> tuple[Mapping, Workload, Architecture]:
    """A chain whose activations all stay in the buffer while they are needed."""
    last = f"t{length - 1}"
    stays = tuple(Stay(f"t{i}", "sram", (i,), (i + 1,)) for i in range(length - 1))
    moves = (
        Move("x", "dram", "sram", (0,), (0,), 1),
        Move(last, "sram", "dram", (length - 1,), (length - 1,), 1, store=True),
    )
    mapping = chained(length, (*home("x", last), *stays), moves)
    return replace(mapping, **changes), chain(length), array_machine(capacity=capacity)  # type: ignore[arg-type]


def test_peak_and_traffic_of_a_chain_on_the_chip() -> None:
    result = replay(*on_chip(5))
    assert result.traffic_bytes == {
        ("dram", "read"): 64, ("sram", "write"): 64, ("sram", "read"): 64, ("dram", "write"): 64,
    }  # fmt: skip
    assert (result.peaks["sram"].nbytes, result.peaks["sram"].position) == (128, (0,))
    assert result.peaks["dram"].nbytes == 128
    assert result.transfers == 2


def test_an_overfull_memory_is_named_with_position_and_bytes() -> None:
    mapping, workload, arch = on_chip(5, "150 B")
    assert replay(mapping, workload, arch).peaks["sram"].nbytes == 128
    longer = (*mapping.stays[:3], Stay("t1", "sram", (1,), (3,)), *mapping.stays[4:])
    with pytest.raises(DoesNotFit) as caught:
        replay(replace(mapping, stays=longer), workload, arch)
    assert str(caught.value) == (
        "memory sram is overfull at position 3: 192 bytes, 42 more than it has (150); it holds t1 64, t2 64, t3 64"
    )


def test_overfull_buffers_of_a_move() -> None:
    mapping, workload, arch = on_chip(3, "130 B")
    replay(mapping, workload, arch)
    moves = (replace(mapping.moves[0], buffers=2), mapping.moves[1])
    with pytest.raises(DoesNotFit, match=r"overfull at position 0: 192 bytes, 62 more .* 2 buffers of x 128, t0 64"):
        replay(replace(mapping, moves=moves), workload, arch)


def test_buffers_of_a_load_ahead_and_of_a_store_behind() -> None:
    """Loads live from their issue, stores to their due; a tensor that stays there needs none."""
    b = WorkloadBuilder("two", bits=8)
    x, y = b.input("x", (64,)), b.input("y", (100,))
    for i, name in enumerate((x, y, y)):
        b.output(b.elementwise("exp", name, out=f"t{i}", name=f"op{i}"))
    stays = home("x", "y", "t0", "t1", "t2")
    stores = tuple(Move(f"t{i}", "sram", "dram", (i,), (i,), 1, store=True) for i in range(3))
    loads = (Move("x", "dram", "sram", (0,), (0,), 1), Move("y", "dram", "sram", (1,), (1,), 1))
    base = chained(3, stays, (*loads, Move("y", "dram", "sram", (2,), (2,), 1), *stores))

    def peak(mapping: Mapping) -> tuple[int, Position]:
        found = replay(mapping, b.build(), MACHINE).peaks["sram"]
        return found.nbytes, found.position

    assert peak(base) == (200, (1,))
    early = replace(base, moves=(loads[0], replace(loads[1], issue=(0,)), *base.moves[2:]))
    assert peak(early) == (64 + 64 + 100, (0,))
    late = replace(base, moves=(*base.moves[:4], replace(stores[1], due=(2,)), stores[2]))
    assert peak(late) == (300, (2,))
    staying = replace(base, stays=(*stays, Stay("y", "sram", (1,), (2,))), moves=(*loads, *stores))
    assert peak(staying) == (200, (1,))
    assert replay(staying, b.build(), MACHINE).tensor_bytes["y", "dram", "read"] == 100


def stepped(count: int = 3) -> Workload:
    """In every layer t = exp(w), then s = exp(t), of 10 bytes each."""
    b = WorkloadBuilder("stepped", bits=8)
    with b.repeat("layer", count):
        t = b.elementwise("exp", b.weight("w", (10,)), out="t", name="one")
        b.output(b.elementwise("exp", t, out="s", name="two"))
    return b.build()


ONE, TWO = Op("one", "vector", "simd"), Op("two", "vector", "simd")


def test_buffers_of_moves_that_reach_out_of_a_loop_are_taken_all_through_it() -> None:
    first: Position = (0, "body", 0)
    second: Position = (0, "body", 1)
    mapping = Mapping(
        "stepped",
        "array_machine",
        Seq((Iterate("layer", 3, Seq((ONE, TWO))),)),
        (*home("w", "s"), Stay("t", "sram", first, second)),
        (Move("w", "dram", "sram", first, first, 1), Move("s", "sram", "dram", second, second, 1, store=True)),
    )

    def peak(issue: Position = first, due: Position = second) -> tuple[int, Position]:
        moves = (replace(mapping.moves[0], issue=issue), replace(mapping.moves[1], due=due))
        found = replay(replace(mapping, moves=moves), stepped(), MACHINE).peaks["sram"]
        return found.nbytes, found.position

    assert peak() == (20, first)
    assert peak(issue=(0,)) == (30, second)
    assert peak(due=(0,)) == (30, first)
    assert peak(issue=(), due=()) == (30, first)


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 99)), max_size=12))
def test_peaks_are_the_largest_sums_over_steps(lives: list[tuple[int, int, int]]) -> None:
    mapping, workload, _ = on_chip(10)
    items = [Content(f"c{i}", nbytes, min(a, b), max(a, b)) for i, (a, b, nbytes) in enumerate(lives)]
    peak = peaks(Scope(mapping, workload), {"sram": items})["sram"]
    sums = [sum(c.nbytes for c in items if c.first <= step <= c.last) for step in range(10)]
    assert peak.nbytes == max(sums)
    assert peak.position == (sums.index(max(sums)),)
    assert sum(c.nbytes for c in peak.contents) == peak.nbytes


@SETTINGS
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(1, 99)), max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 99)), max_size=4),
)
def test_what_runs_at_once_adds_up(
    inside: list[tuple[int, int, int, int]], around: list[tuple[int, int, int]]
) -> None:
    """Two Seqs of four in a Par, one step before and one after: the worst pair of steps of the two decides."""
    seqs = [Seq(tuple(vector_op(4 * c + i) for i in range(4))) for c in range(2)]
    root = Seq((vector_op(8), Par(tuple(seqs)), vector_op(9)))
    scope = Scope(Mapping("chain", "a", root), chain(10))
    items = [
        Content("c", n, 1 + 4 * child + min(a, b), 1 + 4 * child + max(a, b)) for child, a, b, n in inside
    ]
    outer = [Content("o", n, min(a, b), max(a, b)) for a, b, n in around]
    crosses = [o for o in outer if not any(f <= o.first and o.last <= f + 3 for f in (1, 5))]
    local = items + [o for o in outer if o not in crosses]
    best = 0
    for step in (0, 9):
        best = max(best, sum(o.nbytes for o in crosses if o.first <= step <= o.last))
    common = sum(o.nbytes for o in crosses if o.first <= 8 and o.last >= 1)
    for i in range(1, 5):
        for j in range(5, 9):
            live = sum(c.nbytes for c in local if c.first <= i <= c.last or c.first <= j <= c.last)
            best = max(best, common + live)
    assert peaks(scope, {"sram": items + outer})["sram"].nbytes == best


def test_instances_of_a_repeat_take_their_bytes() -> None:
    workload, mapping = layers(), looped()
    result = replay(mapping, workload, MACHINE)
    assert result.tensor_bytes["w", "dram", "read"] == 6 * 16
    assert result.peaks["dram"].nbytes == 6 * 16 + 3 * 16
    part = Stay("w", "dram", (), (), None, (0, 4)), Stay("w", "dram", (), (), None, (4, 2))
    split = Seq((Iterate("layer", 4, LAYER), Iterate("layer", 2, LAYER, 4), Op("last", "vector", "simd")))
    moves = (*mapping.moves[:3], *(replace(m, issue=(1, "body"), due=(1, "body")) for m in mapping.moves[:3]),
             *(replace(m, issue=(2,), due=(2,)) for m in mapping.moves[3:]))  # fmt: skip
    halves = replace(mapping, root=split, stays=(*part, *mapping.stays[1:]), moves=moves)
    again = replay(halves, workload, MACHINE)
    assert again.tensor_bytes == result.tensor_bytes
    assert again.peaks["dram"].nbytes == result.peaks["dram"].nbytes
    short = replace(halves, stays=(replace(part[0], iterations=(0, 3)), *halves.stays[1:]))
    with pytest.raises(MappingError, match=r"mm at 0\.body reads w, loaded from dram .* does not stay in dram"):
        replay(short, workload, MACHINE)


# -- addresses -------------------------------------------------------------------------------------------------------


def test_two_stays_in_the_same_bytes_at_the_same_time() -> None:
    mapping, workload, arch = on_chip(4)
    placed = tuple(replace(s, address=a) for s, a in zip(mapping.stays[2:], (0, 64, 0), strict=True))
    good = replace(mapping, stays=(*mapping.stays[:2], *placed))
    replay(good, workload, arch)
    bad = replace(good, stays=(*good.stays[:3], replace(placed[1], address=40), placed[2]))
    with pytest.raises(MappingError) as caught:
        replay(bad, workload, arch)
    assert str(caught.value).splitlines() == [
        "stay of t0 at 0-64 (from 0 to 1) and stay of t1 at 40-104 (from 1 to 2) lie in the same 24 bytes of sram from "
        "40 on at the same time",
    ]
    beyond = replace(good, stays=(*good.stays[:3], replace(placed[1], address=2**20 - 60), placed[2]))
    with pytest.raises(MappingError, match=r"stay of t1 at .* ends 4 bytes beyond sram \(1,048,576 bytes\)"):
        replay(beyond, workload, arch)


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 300)), max_size=8), st.booleans())
def test_collisions_are_those_of_all_pairs(lives: list[tuple[int, int, int]], parallel: bool) -> None:
    """The sweep finds a collision if and only if some pair of Stays shares a byte and a moment."""
    ops = [vector_op(i) for i in range(10)]
    halves = Par((Seq(tuple(ops[:5])), Seq(tuple(ops[5:]))))
    root: Node = halves if parallel else Seq(tuple(ops))
    where = [(i // 5, i % 5) if parallel else (i,) for i in range(10)]
    spans = []
    for i, (a, b, address) in enumerate(lives):
        first, last = min(a, b), max(a, b)
        if parallel and first // 5 != last // 5:
            last = 4
        spans.append((first, last, address, Stay(f"t{i}", "sram", where[first], where[last], address)))
    scope = Scope(Mapping("chain", "a", root, tuple(s[-1] for s in spans)), chain(10))
    clash = any(
        abs(a[2] - b[2]) < 64 and ((a[0] <= b[1] and b[0] <= a[1]) or (parallel and a[0] // 5 != b[0] // 5))
        for i, a in enumerate(spans)
        for b in spans[i + 1 :]
    )
    assert bool(collisions(scope, array_machine())) == clash


# -- planted faults --------------------------------------------------------------------------------------------------


def fault(mapping: Mapping, workload: Workload, arch: Architecture = MACHINE) -> str:
    with pytest.raises(MappingError) as caught:
        replay(mapping, workload, arch)
    return str(caught.value)


def test_structure_is_checked_first() -> None:
    mapping, workload, arch = on_chip(3)
    assert fault(replace(mapping, root=Seq((vector_op(0), vector_op(1)))), workload, arch).startswith(
        "position .: Einsum op2 is never run"
    )
    twice = Seq(tuple(vector_op(i) for i in (0, 1, 2, 2)))
    assert "is run twice" in fault(replace(mapping, root=twice), workload, arch)


def test_use_before_load() -> None:
    mapping, workload, arch = on_chip(3)
    assert fault(replace(mapping, moves=mapping.moves[1:]), workload, arch) == (
        "op0 at 0 reads x in sram, but it neither stays there then nor is moved there at or above the Op; "
        "it stays in dram from . to ."
    )
    short = (*mapping.stays[:2], Stay("t0", "sram", (0,), (0,)), mapping.stays[3])
    assert fault(replace(mapping, stays=short), workload, arch) == (
        "op1 at 1 reads t0 in sram, but it neither stays there then nor is moved there at or above the Op; "
        "it stays in sram from 0 to 0"
    )


def test_load_from_where_it_is_not() -> None:
    mapping, workload, arch = on_chip(3)
    away = (Stay("x", "dram", (1,), (2,)), *mapping.stays[1:])
    assert fault(replace(mapping, stays=away), workload, arch) == (
        "op0 at 0 reads x, loaded from dram for position 0, but it does not stay in dram from 0 to there; "
        "it stays in dram from 1 to 2"
    )
    absent = mapping.stays[1:]
    assert fault(replace(mapping, stays=absent), workload, arch).endswith("from 0 to there; it stays nowhere")


def spilled(due: Position, issue: Position, stay_from: Position = (0,)) -> tuple[Mapping, Workload, Architecture]:
    """A chain whose first activation goes off the chip and comes back for the third operator."""
    b = WorkloadBuilder("spill", bits=8)
    x = b.input("x", (64,))
    t0 = b.elementwise("exp", x, out="t0", name="op0")
    t1 = b.elementwise("exp", t0, out="t1", name="op1")
    b.output(b.elementwise("add", t0, t1, out="y", name="op2"))
    stays = (*home("x", "y"), Stay("t0", "dram", stay_from, (2,)), Stay("t0", "sram", (0,), (1,)),
             Stay("t1", "sram", (1,), (2,)))  # fmt: skip
    moves = (
        Move("x", "dram", "sram", (0,), (0,), 1),
        Move("t0", "sram", "dram", (0,), due, 1, store=True),
        Move("t0", "dram", "sram", issue, (2,), 1),
        Move("y", "sram", "dram", (2,), (2,), 1, store=True),
    )
    return chained(3, stays, moves), b.build(), array_machine()


def test_an_activation_is_read_only_after_it_has_been_stored() -> None:
    result = replay(*spilled(due=(0,), issue=(1,)))
    assert result.tensor_bytes["t0", "dram", "write"] == result.tensor_bytes["t0", "dram", "read"] == 64
    replay(*spilled(due=(1,), issue=(2,)))
    assert fault(*spilled(due=(1,), issue=(1,))) == (
        "op2 at 2 reads t0 from dram at 1, but op0 at 0 has stored it there only by the end of 1"
    )
    assert "has stored it there only by the end of ." in fault(*spilled(due=(), issue=(2,)))
    assert fault(*spilled(due=(0,), issue=(2,), stay_from=(1,))) == (
        "op2 at 2 reads t0 from dram at 2, but op0 at 0, which makes it, does not put it into that stay"
    )
    mapping, workload, arch = spilled(due=(0,), issue=(2,))
    unstored = replace(mapping, moves=(mapping.moves[0], *mapping.moves[2:]))
    assert "op0 at 0, which makes it, does not put it into that stay" in fault(unstored, workload, arch)


def test_ops_out_of_order() -> None:
    mapping, workload, arch = on_chip(3)
    swapped = replace(
        mapping,
        root=Seq((vector_op(0), vector_op(2), vector_op(1))),
        stays=(*home("x", "t2"), Stay("t0", "sram", (0,), (2,)), Stay("t1", "sram", (1,), (2,))),
        moves=(mapping.moves[0], Move("t2", "sram", "dram", (1,), (1,), 1, store=True)),
    )
    assert fault(swapped, workload, arch) == (
        "op2 at 1 reads t1 from sram at 1, but op1 at 2, which makes it, has not ended before"
    )
    at_once = replace(mapping, root=Par((vector_op(0), vector_op(1), vector_op(2))), stays=(*home("x", "t2"),
        Stay("t0", "sram", (), ()), Stay("t1", "sram", (), ())))  # fmt: skip
    assert "op1 at 1 reads t0 from sram at 1, but op0 at 0, which makes it, has not ended before" in fault(
        at_once, workload, arch
    )


def test_a_result_that_nothing_keeps_and_an_output_that_stays_on_the_chip() -> None:
    mapping, workload, arch = on_chip(3)
    assert fault(replace(mapping, moves=mapping.moves[:1]), workload, arch).splitlines() == [
        "op2 at 2 makes t2 in sram, but nothing keeps it: it neither stays there, nor is stored from there at or above "
        "the Op, nor handed to a later stage of a Pipe",
        "op2 at 2 makes t2, an output, which never gets to a stay in dram that lasts to the end of the run; it stays "
        "in dram from . to .",
    ]
    inside = (mapping.stays[0], *mapping.stays[2:], Stay("t2", "sram", (2,), (2,)))
    assert "never gets to a stay in dram" in fault(replace(mapping, stays=inside), workload, arch)
    early = (mapping.stays[0], Stay("t2", "dram", (0,), (2,)), *mapping.stays[2:])
    replay(replace(mapping, stays=early), workload, arch)


def test_data_before_the_run_is_only_in_stays_that_begin_with_it() -> None:
    mapping, workload, arch = on_chip(3)
    preloaded = replace(mapping, stays=(*mapping.stays, Stay("x", "sram", (0,), (0,))), moves=mapping.moves[1:])
    assert replay(preloaded, workload, arch).traffic_bytes == {("sram", "read"): 64, ("dram", "write"): 64}
    b = WorkloadBuilder("late", bits=8)
    x, w = b.input("x", (64,)), b.weight("w", (64,))
    t = b.elementwise("exp", x, out="t0", name="op0")
    b.output(b.elementwise("add", t, w, out="t1", name="op1"))
    late = chained(2, (*home("x", "t1"), Stay("w", "sram", (1,), (1,)), Stay("t0", "sram", (0,), (1,))),
                   (mapping.moves[0], Move("t1", "sram", "dram", (1,), (1,), store=True)))  # fmt: skip
    assert fault(late, b.build()) == (
        "op1 at 1 reads w from sram, but its stay there does not begin with the run, and nothing is moved into it "
        "before"
    )


def test_a_stay_in_a_loop_neither_begins_nor_ends_with_the_run() -> None:
    inside = (0, "body", 0), (0, "body", 1)
    root = Seq((Iterate("layer", 3, Seq((ONE, TWO))),))
    store = Move("s", "sram", "dram", inside[1], inside[1], 1, store=True)
    stays = (*home("s"), Stay("t", "sram", *inside))
    preloaded = Mapping("stepped", "a", root, (*stays, Stay("w", "sram", inside[0], inside[0])), (store,))
    assert "its stay there does not begin with the run" in fault(preloaded, stepped())
    outside = replace(preloaded, stays=(*stays, Stay("w", "sram", (0,), (0,))))
    assert replay(outside, stepped(), MACHINE).peaks["sram"].nbytes == 30 + 10 + 10
    dropped = replace(outside, stays=(Stay("s", "dram", inside[1], inside[1]), *outside.stays[1:]))
    assert "never gets to a stay in dram that lasts to the end of the run" in fault(dropped, stepped())


def test_a_stay_in_a_loop_does_not_hold_for_the_loop() -> None:
    """What is loaded for the whole loop must stay all through it, not within each of its iterations."""
    workload = gemm(8, 8, 8)
    mapping = Mapping(
        "gemm",
        "array_machine",
        Loop("n", 4, Op("matmul", "array", "os")),
        (*home("B", "matmul"), Stay("A", "dram", ("body",), ("body",))),
        (
            Move("A", "dram", "sram", (), ()),
            Move("B", "dram", "sram", (), ("body",)),
            Move("matmul", "sram", "dram", ("body",), (), store=True),
        ),
    )
    assert "reads A, loaded from dram for position ., but it does not stay in dram" in fault(mapping, workload)
    replay(replace(mapping, stays=home("A", "B", "matmul")), workload, MACHINE)


def test_a_load_needs_its_source_from_its_issue_on() -> None:
    b = WorkloadBuilder("two", bits=8)
    for i, name in enumerate((b.input("x", (8,)), b.input("y", (8,)))):
        b.output(b.elementwise("exp", name, out=f"t{i}", name=f"op{i}"))
    moves = (
        *(Move(name, "dram", "sram", (i,), (i,)) for i, name in enumerate("xy")),
        *(Move(f"t{i}", "sram", "dram", (i,), (i,), store=True) for i in range(2)),
    )
    mapping = chained(2, home("x", "y", "t0", "t1"), moves)
    replay(mapping, b.build(), MACHINE)
    staged = replace(mapping, stays=(*home("x", "t0", "t1"), Stay("y", "dram", (1,), (1,))),
                     moves=(moves[0], replace(moves[1], issue=(0,)), *moves[2:]))  # fmt: skip
    assert "loaded from dram for position 1, but it does not stay in dram from 0 to there" in fault(staged, b.build())


def test_a_load_fills_a_stay_for_later_reads_only() -> None:
    b = WorkloadBuilder("filled", bits=8)
    w = b.weight("w", (8,))
    for i in range(3):
        b.output(b.elementwise("exp", w, out=f"t{i}", name=f"op{i}"))
    stores = tuple(Move(f"t{i}", "sram", "dram", (i,), (i,), store=True) for i in range(3))
    fill = Move("w", "dram", "sram", (0,), (0,), 1)
    stays = (*home("w", "t0", "t1", "t2"), Stay("w", "sram", (0,), (2,)))
    assert replay(chained(3, stays, (fill, *stores)), b.build(), MACHINE).tensor_bytes["w", "dram", "read"] == 8
    late = chained(3, (*home("w", "t0", "t1", "t2"), Stay("w", "sram", (1,), (2,))),
                   (fill, replace(fill, issue=(2,), due=(2,)), *stores))  # fmt: skip
    assert "op1 at 1 reads w from sram, but its stay there does not begin with the run" in fault(late, b.build())


def test_a_store_must_end_within_the_stay_that_it_fills() -> None:
    mapping, workload, arch = spilled(due=(1,), issue=(2,))
    short = (*mapping.stays[:2], Stay("t0", "dram", (0,), (0,)), *mapping.stays[3:])
    assert "does not stay in dram from 2 to there" in fault(replace(mapping, stays=short), workload, arch)
    cut = (*short, Stay("t0", "dram", (1,), (2,)))
    assert "does not put it into that stay" in fault(replace(mapping, stays=cut), workload, arch)
    b = WorkloadBuilder("short", bits=8)
    b.output(b.elementwise("exp", b.input("x", (8,)), out="t0", name="op0"))
    b.output(b.elementwise("exp", "t0", out="t1", name="op1"))
    with b.repeat("layer", 2):
        b.elementwise("exp", "t1", out="u", name="op2")
    stays = (*home("x", "t1"), Stay("t0", "sram", (0,), (1,)), Stay("t1", "sram", (1,), (2,)),
             Stay("u", "sram", (2, "body"), (2, "body")))  # fmt: skip
    root = Seq((vector_op(0), vector_op(1), Iterate("layer", 2, vector_op(2))))
    moves = (Move("x", "dram", "sram", (0,), (0,)), Move("t0", "sram", "dram", (0,), (1,), store=True),
             Move("t1", "sram", "dram", (1,), (2,), store=True))  # fmt: skip
    lasting = Mapping("short", "a", root, (*stays, Stay("t0", "dram", (0,), (2,))), moves)
    replay(lasting, b.build(), MACHINE)


def test_a_result_that_is_read_but_kept_nowhere() -> None:
    mapping, workload, arch = on_chip(3)
    found = fault(replace(mapping, stays=(*mapping.stays[:2], mapping.stays[3])), workload, arch)
    assert "op0 at 0 makes t0 in sram, but nothing keeps it" in found
    assert "op1 at 1 reads t0 in sram, but it neither stays there" in found


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


def layers() -> Workload:
    b = WorkloadBuilder("layers", bits=8)
    h = b.input("h", (4, 4))
    with b.repeat("layer", 6) as scope:
        out = b.matmul(h, b.weight("w", (4, 4)), out="h_out", name="mm")
        scope.carry(out, h)
    b.output(b.elementwise("exp", out, out="y", name="last"))
    return b.build()


LAYER = Op("mm", "array", "os")


def looped() -> Mapping:
    inside = (0, "body")
    return Mapping(
        "layers",
        "array_machine",
        Seq((Iterate("layer", 6, LAYER), Op("last", "vector", "simd"))),
        home("w", "h", "h_out", "y"),
        (
            Move("h", "dram", "sram", inside, inside, 1),
            Move("w", "dram", "sram", inside, inside, 1),
            Move("h_out", "sram", "dram", inside, inside, 1, store=True),
            Move("h_out", "dram", "sram", (1,), (1,), 1),
            Move("y", "sram", "dram", (1,), (1,), 1, store=True),
        ),
    )


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


# -- size ------------------------------------------------------------------------------------------------------------


def test_a_mapping_of_thousands_of_ops_is_replayed_step_by_step() -> None:
    """2,000 operators with tensors of random lives: the peak is that of the plain sum over steps."""
    count = 2000
    rng = random.Random(0)
    b = WorkloadBuilder("long", bits=8)
    sizes = [rng.randrange(1, 50) for _ in range(count)]
    stays: list[Stay] = []
    moves: list[Move] = []
    usage = [0] * count
    for i, size in enumerate(sizes):
        name = b.weight(f"w{i}", (size,))
        b.output(b.elementwise("exp", name, out=f"t{i}", name=f"op{i}"))
        stays += home(f"w{i}", f"t{i}")
        issue = max(0, i - rng.randrange(5))
        moves.append(Move(f"w{i}", "dram", "sram", (issue,), (i,), 1))
        moves.append(Move(f"t{i}", "sram", "dram", (i,), (i,), 1, store=True))
        for step in range(issue, i + 1):
            usage[step] += size + (size if step == i else 0)
    mapping = chained(count, tuple(stays), tuple(moves))
    result: ReplayResult = replay(mapping, b.build(), MACHINE)
    assert result.peaks["sram"].nbytes == max(usage)
    assert result.peaks["sram"].position == (usage.index(max(usage)),)
    assert result.traffic_bytes["dram", "read"] == sum(sizes)
    assert result.transfers == 2 * count
