"""Tiles that move in pieces: what uses them begins with the first one, what they hold and what moves stays the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.checker import check
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Role, Tensor, Workload, parse_cascade
from accelsim.lowering import lower
from accelsim.lowering.pieces import pieces_of
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import BODY, Loop, Mapping, Move, Op, Pipe, Position, Seq, Stay
from accelsim.mapping.validate import validate
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps
from accelsim.report.cautions import moved_bytes

MACHINE = loads_architecture("""
name: pieces
clock: 1 GHz
memories:
  dram: {kind: dram, standard: DDR4, capacity: 1 GiB, bandwidth: 2 B/cycle}
  sram: {kind: buffer, capacity: 1 MiB, bandwidth: 64 B/cycle, parent: dram}
units:
  array: {kind: systolic, memory: sram, rows: 4, cols: 4}
""")
VECTOR = """
name: vector
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 2 B/cycle}
  sram: {kind: buffer, capacity: 1 MiB, bandwidth: 64 B/cycle, parent: dram}
units:
  v: {kind: vector, memory: sram, lanes: 1}
"""
TOP, LOOPS = (0,), (0, BODY, BODY)


def convolution(filters: int, rows: int, taps: int, stride: int, channels: int, length: int) -> Workload:
    """O[m,p] = I[c, stride·p + r] * W[m,c,r], whose input may be shorter than what the windows reach."""
    sizes = {"m": filters, "p": rows, "c": channels, "r": taps}
    plain = {r: Affine(((r, 1),)) for r in sizes}
    window = Affine((("p", stride), ("r", 1)))
    einsum = Einsum(
        "conv",
        Access("O", (plain["m"], plain["p"])),
        (Access("I", (plain["c"], window), 0.0), Access("W", (plain["m"], plain["c"], plain["r"]))),
        Apply("mul", (Read(0), Read(1))),
        sizes,
        reduce="add",
    )
    tensors = (
        Tensor("I", (channels, length), Role.INPUT, 8),
        Tensor("W", (filters, channels, taps), Role.WEIGHT, 8),
        Tensor("O", (filters, rows), Role.OUTPUT, 8),
    )
    return Workload("conv", {t.name: t for t in tensors}, (einsum,))


def mapping(loops: list[tuple[str, int]], pieces: dict[str, Position], there: Collection[str] = ()) -> Mapping:
    """Everything comes and goes once, the tensors in `pieces` as the loops down to there cut them; what is `there` does
    not move."""
    node: Loop | Op = Op("conv", "array", "os")
    for rank, tile in reversed(loops):
        node = Loop(rank, tile, node)
    return Mapping(
        "conv",
        "pieces",
        Seq((node,)),
        tuple(Stay(t, "sram" if t in there else "dram", (), ()) for t in "IWO"),
        tuple(
            Move(t, *(("sram", "dram") if t == "O" else ("dram", "sram")), TOP, TOP, 1, t == "O", pieces=pieces.get(t))
            for t in "IWO"
            if t not in there
        ),
    )


def cycles(workload: Workload, value: Mapping) -> int:
    assert validate(value, workload, MACHINE) == []
    program = lower(MACHINE, workload, value)
    trace = compiled.run(program, record=10_000)
    assert trace.differences(reference.run(program, record=10_000)) == []
    assert check(program, trace) == []
    assert moved_bytes(trace) == {k: n for k, n in replay(value, workload, MACHINE).traffic_bytes.items() if n}
    return int(trace.finish * MACHINE.clock / program.tick_hz)


def test_only_the_first_and_the_last_piece_are_waited_for() -> None:
    """The array takes longer for each tile than a piece of the filters or of the results does on its way."""
    workload, loops, inputs = convolution(16, 64, 1, 1, 64, 64), [("p", 32), ("m", 4)], frozenset("I")
    whole = cycles(workload, mapping(loops, {}, inputs))
    filters, results = 16 * 64 // 2, 16 * 64 // 2
    assert whole > filters + results
    assert cycles(workload, mapping(loops, {"W": LOOPS}, inputs)) == whole - filters * 3 // 4
    assert cycles(workload, mapping(loops, {"O": LOOPS}, inputs)) == whole - results * 7 // 8
    both = cycles(workload, mapping(loops, {"W": LOOPS, "O": LOOPS}, inputs))
    assert both == whole - filters * 3 // 4 - results * 7 // 8


def test_the_first_pass_alone_waits() -> None:
    """Where pieces come more slowly than the array uses them, it has done all but one of the first pass's tiles before
    the last piece is there."""
    workload, loops, inputs = convolution(16, 64, 1, 1, 64, 64), [("p", 4), ("m", 4)], frozenset("I")
    whole = cycles(workload, mapping(loops, {}, inputs))
    one, rest = divmod(whole - (16 * 64 + 16 * 64) // 2, 64)
    assert rest == 0
    assert one < 4 * 64 // 2
    assert cycles(workload, mapping(loops, {"W": LOOPS}, inputs)) == whole - 3 * one


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 3), st.permutations(["m", "p", "c"]), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 3),
    st.sets(st.sampled_from("IWO")),
)  # fmt: skip
def test_the_same_bytes_move(
    sizes: tuple[int, int, int, int, int], short: int, order: list[str], tiles: tuple[int, int, int], kept: int,
    chosen: set[str],
) -> None:  # fmt: skip
    """With every order of loops, ragged tiles and borders beyond the tensor; both kernels agree."""
    _, rows, taps, stride, _ = sizes
    workload = convolution(*sizes, max(1, stride * (rows - 1) + taps - short))
    loops = list(zip(order, tiles, strict=True))
    place: Position = (0, *(BODY,) * kept)
    wanted = dict.fromkeys(chosen, place)
    value = mapping(loops, wanted)
    ranks = {"I": {"p", "c"}, "W": {"m", "c"}, "O": {"m", "p"}}
    able = {t: place for t in wanted if ranks[t].intersection(order[:kept])}
    assert (validate(value, workload, MACHINE) == []) == (able == wanted)
    value = mapping(loops, able)
    assert loads(dumps(value)) == value
    assert cycles(workload, value) > 0


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 3), st.permutations(["p", "c", "p"]), st.tuples(*[st.integers(1, 9)] * 3),
)  # fmt: skip
def test_a_piece_is_what_those_before_do_not_hold(
    sizes: tuple[int, int, int, int, int], short: int, order: list[str], tiles: tuple[int, int, int]
) -> None:
    """Pieces of inputs, walked over point by point; a rank may be cut twice."""
    _, rows, taps, stride, channels = sizes
    length = max(1, stride * (rows - 1) + taps - short)
    workload = convolution(*sizes, length)
    einsum = next(e for e in workload.body if isinstance(e, Einsum))
    loops = list(zip(order, tiles, strict=True))
    held: set[tuple[int, int]] = set()
    walked: list[int] = []

    def walk(depth: int, box: dict[str, range]) -> None:
        if depth < len(loops):
            rank, tile = loops[depth]
            for at in range(0, len(box[rank]), tile):
                walk(depth + 1, {**box, rank: box[rank][at : at + tile]})
            return
        points = {(c, stride * p + r) for c, p, r in product(box["c"], box["p"], range(taps))}
        walked.append(len(points - held))
        held.update(points)

    walk(0, {r: range(n) for r, n in einsum.sizes.items()})
    found = pieces_of(workload.tensors["I"], einsum.inputs[0], einsum.sizes, loops).nbytes.tolist()
    assert len(found) == len(walked)
    if length >= stride * (rows - 1) + taps:
        assert found == walked
    else:  # a tensor shorter than its windows reach ends with its last element
        assert all(a <= b for a, b in zip(found, walked, strict=True))
    assert sum(found) == channels * min(length, len({p for _, p in held}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pieces": (0,)}, "there must be Loops and Pipes alone"),
        ({"pieces": (0, BODY)}, "no loop there cuts it"),
        ({"pieces": (0, BODY, BODY, BODY)}, "is no position"),
        ({"pieces": (0, BODY, BODY, BODY), "ring": True}, "is no position"),
        ({"pieces": LOOPS, "due": (0, BODY), "sliding": True}, "it slides"),
    ],
)
def test_what_cannot_be(change: dict[str, object], told: str) -> None:
    workload = convolution(4, 4, 1, 1, 4, 4)
    value = mapping([("p", 2), ("m", 2)], {})
    moves = tuple(replace(m, **change) if m.tensor == "W" else m for m in value.moves)  # type: ignore[arg-type]
    problems = validate(replace(value, moves=moves), workload, MACHINE)
    assert any(told in str(p) for p in problems)
    assert not any("does not move in pieces" in str(p) for p in problems)


def test_pieces_are_those_of_the_op_that_uses_them() -> None:
    """Below a Pipe, in the stage of another Op, there are none."""
    workload = parse_cascade("C[m] = A[m]; D[m] = exp(C[m])", {"m": 4}, bits=8)
    root = Loop("m", 4, Pipe((Loop("m", 2, Op("C", "v", "simd")), Loop("m", 2, Op("D", "v", "simd"))), (1,)))
    stays = tuple(Stay(t, "dram", (), ()) for t in "AD")
    arch = loads_architecture(VECTOR)
    for stage, told in ((0, []), (1, ["C at body.0.body is not at or below body.1.body"])):
        at: Position = (BODY,)
        moves = (
            Move("A", "dram", "sram", at, at, 2, pieces=(BODY, stage, BODY)),
            Move("D", "sram", "dram", at, at, store=True),
        )
        problems = [str(p) for p in validate(Mapping("c", "a", root, stays, moves), workload, arch)]
        assert len(problems) == len(told) and all(t in p for t, p in zip(told, problems, strict=True))


def test_partial_results_move_whole() -> None:
    value = mapping([("c", 2), ("m", 2)], {})
    moves = tuple(replace(m, issue=(0, BODY), pieces=LOOPS) if m.store else m for m in value.moves)
    problems = validate(replace(value, moves=moves), convolution(4, 4, 1, 1, 4, 4), MACHINE)
    assert any("partial results move whole" in str(p) for p in problems)


def ringed(loops: list[tuple[str, int]], ring: bool, buffers: int = 1) -> Mapping:
    """Filters come in pieces, a tile of them in every outermost loop; inputs are there, results leave at the end.

    `buffers` are places of pieces in a ring.
    """
    inner: Position = (0, *(BODY,) * len(loops))
    weights = Move("W", "dram", "sram", (0, BODY), (0, BODY), buffers, pieces=inner, ring=ring)
    value = mapping(loops, {}, frozenset("I"))
    return replace(value, moves=(weights, next(m for m in value.moves if m.store)))


def test_a_piece_takes_the_place_of_one_that_has_been_used() -> None:
    """Three tiles of filters, one after the other in one buffer: in a ring the first piece of the next one comes while
    the last pass over the one before goes on, and otherwise after it."""
    workload, loops = convolution(48, 64, 1, 1, 64, 64), [("m", 16), ("p", 32), ("m", 4)]
    piece = 4 * 64 // 2
    whole, ring = cycles(workload, ringed(loops, False)), cycles(workload, ringed(loops, True, 4))
    assert whole - ring == 2 * piece


def test_a_ring_has_room_for_its_pieces() -> None:
    workload, loops = convolution(48, 64, 1, 1, 64, 64), [("m", 16), ("p", 32), ("m", 4)]
    held = [replay(ringed(loops, True, n), workload, MACHINE).peaks["sram"].nbytes for n in (4, 5, 9)]
    assert [n - held[0] for n in held] == [0, 4 * 64, 5 * 4 * 64]
    problems = validate(ringed(loops, True, 3), workload, MACHINE)
    assert [p for p in problems if "it has 3 places, and a tile 4 pieces" in str(p)] == problems != []


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), st.tuples(*[st.integers(1, 3)] * 3),
    st.permutations(["m", "p"]), st.integers(1, 2),
)  # fmt: skip
def test_a_ring_moves_the_same_and_holds_no_more(
    numbers: tuple[int, int, int], tiles: tuple[int, int, int], order: list[str], buffers: int
) -> None:
    """Both kernels and the checker agree, and the bytes are those of whole tiles."""
    (channels, rows, filters), (c, p, m) = numbers, tiles
    workload = convolution(filters * m, rows * p, 1, 1, channels * c, rows * p)
    size = {"m": m, "p": p}
    value = ringed([("c", c), *((rank, size[rank]) for rank in order)], True, buffers * numbers[2])
    whole = tuple(replace(x, buffers=buffers if x.ring else 1, pieces=None, ring=False) for x in value.moves)
    plain = replace(value, moves=whole)
    assert loads(dumps(value)) == value
    assert cycles(workload, value) > 0
    ours, theirs = replay(value, workload, MACHINE), replay(plain, workload, MACHINE)
    assert ours.traffic_bytes == theirs.traffic_bytes
    assert ours.peaks["sram"].nbytes == theirs.peaks["sram"].nbytes


@pytest.mark.parametrize(
    ("tensor", "loops", "pieces", "told"),
    [
        ("W", [("p", 2), ("m", 3)], LOOPS, "pieces along m are not equal"),
        ("I", [("m", 2), ("p", 2)], LOOPS, "pieces along p may overlap"),
        ("O", [("p", 2), ("m", 2)], LOOPS, "they leave in pieces"),
        ("W", [("p", 2), ("m", 2)], None, "it does not move in pieces"),
    ],
)
def test_what_cannot_be_a_ring(tensor: str, loops: list[tuple[str, int]], pieces: Position | None, told: str) -> None:
    value = mapping(loops, {tensor: pieces} if pieces else {})
    moves = tuple(replace(m, ring=True) if m.tensor == tensor else m for m in value.moves)
    problems = validate(replace(value, moves=moves), convolution(4, 4, 1, 1, 4, 4), MACHINE)
    assert any(told in str(p) for p in problems)
