"""Results that an Op makes in the place of what a Pipe hands to it: room, who waits until whom, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernels import firings

from accelsim.arch.loader import loads_architecture
from accelsim.ir import Workload, parse_cascade
from accelsim.lowering import lower
from accelsim.mapping import Loop, Mapping, Move, Node, Op, Pipe, Stay, dumps_mapping, loads_mapping, replay
from accelsim.mapping.validate import validate

MACHINE = loads_architecture("""
name: one_array
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 1 B/cycle}
  sram: {kind: buffer, capacity: 1 MiB, bandwidth: unlimited, parent: dram}
  other: {kind: buffer, capacity: 1 MiB, bandwidth: unlimited, parent: dram}
units:
  array: {kind: pe_array, memory: sram, rows: 4, cols: 4, rates: {exp: 1, add: 1, max: 1}, overlap: true,
          register_bytes: 8 B}
  vector: {kind: vector, memory: sram, lanes: 4}
  far: {kind: vector, memory: other, lanes: 4}
""")
ROWS, COLUMNS, DEEP = 4, 4, 8
TILE = ROWS * COLUMNS * 2
"""Bytes of a tile of scores."""


def work(tiles: int) -> Workload:
    """Scores, their maxima by column, exponentials, and products of these with other numbers."""
    text = """
S[m,n] = A[m,k] * B[k,n]
L[n]   = max(m) S[m,n]
E[m,n] = exp(S[m,n] - L[n])
Z[n,f] = E[m,n] * C[m,f]
"""
    sizes = {"m": ROWS, "n": COLUMNS * tiles, "k": DEEP, "f": 6}
    return parse_cascade(text, sizes, name="chain", bits=16)


REGISTERS = {"S": ("S",), "L": ("S",), "E": ("S", "E"), "Z": ("E",)}


def op(name: str, over: str = "S", *, registers: bool = False) -> Op:
    on_array = {"S": "os", "E": "elementwise", "Z": "ws"} | ({"L": "elementwise"} if registers else {})
    unit, variant = ("array", on_array[name]) if name in on_array else ("vector", "simd")
    return Op(name, unit, variant, registers=REGISTERS[name] if registers else (), over=over if name == "E" else "")


def chain(stages: tuple[Node, ...], depths: tuple[int, ...], pieces: tuple[int, ...] = (), tile: int = 0) -> Mapping:
    """Stages, in a loop over so many columns at a time, or over all of them at once."""
    pipe = Pipe(stages, depths, pieces)
    root = Loop("n", tile, pipe) if tile else pipe
    stays = tuple(Stay(t, m, (), ()) for t, m in (("Z", "dram"), ("A", "sram"), ("B", "sram"), ("C", "sram")))
    at = ("body",) if tile else ()
    moves = (Move("Z", "sram", "dram", at, (), 2, store=True),)
    return Mapping("chain", "one_array", root, stays, moves)


def flat(depth: int, over: str = "S", *, registers: bool = False) -> Mapping:
    """A tile of scores after the other."""
    stages = tuple(op(name, over, registers=registers) for name in "SLEZ")
    return chain(stages, (depth, depth, depth), tile=COLUMNS)


def in_passes(depth: int, strip: int, width: int) -> Mapping:
    """All tiles at once, in strips of the reduced rank, of a block of columns; tiles of products in passes as well."""
    scores = Loop("k", strip, Loop("n", COLUMNS, op("S")))
    softmax = Loop("n", COLUMNS, Pipe((op("L"), op("E")), (1,)))
    products = Loop("f", strip, Loop("n", COLUMNS, op("Z")))
    return chain((scores, softmax, products), (depth, 1), (1, 2), tile=COLUMNS * width)


def times(mapping: Mapping, workload: Workload) -> dict[str, list[tuple[int, int]]]:
    """Start and end of every firing of an Op, by Einsum, in order; the kernels and the checker agree."""
    assert validate(mapping, workload, MACHINE) == []
    return firings(lower(MACHINE, workload, mapping), seed=1, jump=False)


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_both_take_the_tiles_of_one(depth: int, registers: bool) -> None:
    mapping = flat(depth, registers=registers)
    text = dumps_mapping(mapping)
    assert "over: S}" in text
    assert loads_mapping(text) == mapping
    held, apart = (replay(flat(depth, over, registers=registers), work(3), MACHINE) for over in ("S", ""))
    place = "array" if registers else "sram"
    assert apart.peaks[place].nbytes - held.peaks[place].nbytes == depth * TILE
    assert ("array" in held.peaks) == registers
    assert not registers or held.peaks["array"].nbytes == depth * TILE
    assert held.traffic_bytes == apart.traffic_bytes


def test_a_tile_is_free_when_the_result_there_has_been_used() -> None:
    """With one tile all Ops take turns: 8 cycles of scores and 4 of their fill, 4 maxima, 2 of exponentials, 4 of
    products. With two, scores of the next tile are made meanwhile. Apart, one tile of each does that."""
    one, two = (times(flat(depth), work(4)) for depth in (1, 2))
    apart = times(flat(1, over=""), work(4))
    for tile in range(1, 4):
        assert one["S"][tile][0] == one["Z"][tile - 1][1]
        assert apart["S"][tile][0] < apart["Z"][tile - 1][1]
    for tile in range(2, 4):
        assert two["Z"][tile - 2][1] <= two["S"][tile][0] < two["Z"][tile - 1][1]
    for found in (one, two):
        assert all(e[0] >= max_[1] for e, max_ in zip(found["E"], found["L"], strict=True))


def test_others_have_read_before() -> None:
    """Maxima on another unit, which the exponentials do not need: these wait all the same."""
    text = "S[m,n] = A[m,k] * B[k,n]\nL[n] = max(m) S[m,n]\nE[m,n] = exp(S[m,n])\nZ[n,f] = E[m,n] * C[m,f]\n"
    workload = parse_cascade(text, {"m": ROWS, "n": COLUMNS * 3, "k": DEEP, "f": 6}, name="chain", bits=16)
    mapping = flat(1)
    left = Move("L", "sram", "dram", ("body",), (), 2, store=True)
    mapping = replace(mapping, stays=(*mapping.stays, Stay("L", "dram", (), ())), moves=(*mapping.moves, left))
    found = times(mapping, workload)
    assert all(e[0] >= max_[1] for e, max_ in zip(found["E"], found["L"], strict=True))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.sampled_from([2, 4, 8]))
def test_places_last_until_the_last_pass_over_results(depth: int, blocks: int, width: int, strip: int) -> None:
    """Tile by tile, where strips meet all tiles of a block of columns one after the other."""
    found = times(in_passes(depth, strip, width), work(width * blocks))
    first, passes = DEEP // min(strip, DEEP), -(-6 // strip)
    taken = [found["S"][(n // width * first) * width + n % width][0] for n in range(width * blocks)]
    free = [found["Z"][(n // width * passes + passes - 1) * width + n % width][1] for n in range(width * blocks)]
    places = depth * width
    assert all(taken[n] >= free[n - places] for n in range(places, width * blocks))
    last = replay(in_passes(depth, strip, width), work(width * blocks), MACHINE)
    apart = replay(without_place(in_passes(depth, strip, width)), work(width * blocks), MACHINE)
    assert apart.peaks["sram"].nbytes - last.peaks["sram"].nbytes == width * TILE
    if blocks > depth and width > 1 and passes > 1:  # the first tile's place is taken before all are free
        assert taken[places] < max(free[:places])


def without_place(mapping: Mapping) -> Mapping:
    assert isinstance(mapping.root, Loop) and isinstance(mapping.root.body, Pipe)
    scores, softmax, products = mapping.root.body.children
    assert isinstance(softmax, Loop)
    apart = replace(softmax, body=Pipe((op("L"), op("E", "")), (1,)))
    pipe = replace(mapping.root.body, children=(scores, apart, products))
    return replace(mapping, root=replace(mapping.root, body=pipe))


def swapped(mapping: Mapping, *stages: Node) -> Mapping:
    assert isinstance(mapping.root, Loop)
    return replace(mapping, root=replace(mapping.root, body=Pipe(stages, (1,) * (len(stages) - 1))))


STORED = Move("E", "sram", "dram", ("body",), (), store=True)
REPEATED = Loop("f", 3, Pipe((op("E"), op("Z")), (1,)))
TOGETHER = Pipe((op("S"), op("L"), op("E")), (1, 1))


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        (flat(1, "L"), "L: it does not read that element by element"),
        (flat(1, "C"), "C: it does not read that element by element"),
        (swapped(flat(1), op("S"), Pipe((op("E"), op("Z")), (1,)), op("L")), "S: L at body.2 reads that in no earlier"),
        (swapped(flat(1), op("S"), op("L"), Loop("m", 2, op("E")), op("Z")), None),
        (swapped(flat(1), op("S"), op("L"), REPEATED), "in its stage reads that again"),
        (replace(flat(1), moves=(*flat(1).moves, STORED)), "Stays or Moves"),
        (replace(flat(1), stays=(*flat(1).stays, Stay("S", "sram", ("body",), ("body",)))), "Stays or Moves"),
        (swapped(flat(1), op("S"), op("L"), replace(op("E"), registers=("S",)), op("Z")), "in registers"),
        (swapped(flat(1), op("S"), op("L"), Op("E", "far", "simd", over="S"), op("Z")), "in different memories"),
        (swapped(flat(1), TOGETHER, op("Z")), "Z at body.1 does not take it over inside"),
    ],
)
def test_what_cannot_lie_in_the_place_of_an_operand(mapping: Mapping, told: str | None) -> None:
    problems = [str(p) for p in validate(mapping, work(2), MACHINE)]
    if told is None:
        assert problems == []
    else:
        assert any("cannot make its result in the place of" in p and told in p for p in problems), problems
