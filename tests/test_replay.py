"""The independent replay: bytes against explicit walks and against lowering."""

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
from support.replays import MACHINE, SETTINGS, at, chained, home

from accelsim.arch.loader import loads_architecture
from accelsim.engine.program import Program
from accelsim.errors import MappingError
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Role, Tensor, Workload, WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mappers.tile import map_workload
from accelsim.mapping import (
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    ReplayResult,
    Seq,
    Stay,
    dumps_mapping,
    loads_mapping,
    replay,
    validate,
)


def nest(loops: list[tuple[str, int]], op: Node) -> Node:
    for rank, tile in reversed(loops):
        op = Loop(rank, tile, op)
    return op


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
