"""Rooms of Pipes: what several stages make lies in one place, which the next block fills tile by tile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.kernels import firings
from support.machines import array_machine

from accelsim.errors import MappingError
from accelsim.ir import Workload, parse_cascade
from accelsim.lowering import lower
from accelsim.mapping import Loop, Mapping, Move, Op, Pipe, Stay, dumps_mapping, loads_mapping, replay

MACHINE = array_machine(bandwidth="1 GB/s")
AT = ("body",)
BLOCK, TILES = 4, 6
"""Rows of a block, and tiles of two columns in it."""


def softmax_like() -> Workload:
    """Scores whose exponentials wait for all maxima of a row, and are used twice; a byte per element."""
    text = """
QK[m,n] = Q[m,k] * K[n,k]
GM[m]   = max(n) QK[m,n]
S[m,n]  = exp(QK[m,n] - GM[m])
SD[m]   = S[m,n]
AV[m,f] = S[m,n] * V[n,f]
A[m,f]  = AV[m,f] / SD[m]
"""
    sizes = {"m": 3 * BLOCK, "n": 2 * TILES, "k": 4, "f": 5}
    return parse_cascade(text, sizes, name="softmax_like", bits=8)


def in_place(tile: int = 2, last: int = 2) -> Mapping:
    """Three blocks of rows, in tiles of so many columns; the last sweep has others, perhaps."""

    def sweep(name: str, unit: str, variant: str, cut: int = tile) -> Loop:
        return Loop("n", cut, Op(name, unit, variant))

    stages = (
        sweep("QK", "array", "os"), sweep("GM", "vector", "simd"), sweep("S", "vector", "simd"),
        sweep("SD", "vector", "simd"), sweep("AV", "array", "ws", last), Op("A", "vector", "simd"),
    )  # fmt: skip
    room = (Stay("QK", "sram", AT, AT), Stay("S", "sram", AT, AT, over="QK"))
    homes = tuple(Stay(name, "dram", (), ()) for name in ("Q", "K", "V", "A"))
    moves = (
        Move("Q", "dram", "sram", AT, AT, 1), Move("K", "dram", "sram", (*AT, 0, *AT), (*AT, 0, *AT)),
        Move("V", "dram", "sram", (*AT, 4, *AT), (*AT, 4, *AT)), Move("A", "sram", "dram", AT, (), 1, store=True),
    )  # fmt: skip
    root = Loop("m", BLOCK, Pipe(stages, (1,) * 5))
    return Mapping("softmax_like", "array_machine", root, (*homes, *room), moves)


def times(mapping: Mapping) -> dict[str, list[tuple[int, int]]]:
    """Start and end of every firing of the array's Ops, by Einsum."""
    return firings(lower(MACHINE, softmax_like(), mapping))


def test_one_place_is_taken_once() -> None:
    """Against scores and exponentials side by side: a block of 4 rows and 12 columns less."""
    mapping = in_place()
    assert loads_mapping(dumps_mapping(mapping)) == mapping
    apart = replace(mapping, stays=tuple(replace(s, over="") for s in mapping.stays))
    one, two = (replay(m, softmax_like(), MACHINE).peaks["sram"].nbytes for m in (mapping, apart))
    assert two - one == BLOCK * 2 * TILES


def test_the_next_block_follows_tile_by_tile() -> None:
    """A tile of scores begins when the one in its place has been used, and not only when all of them have been."""
    found = times(in_place())
    scores, used = found["QK"], found["AV"]
    assert len(scores) == len(used) == 3 * TILES
    for tile in range(TILES, 3 * TILES):
        assert scores[tile][0] >= used[tile - TILES][1]
    assert scores[TILES][0] < used[TILES - 1][0]


def test_unlike_loops_hand_the_whole_place_on() -> None:
    found = times(in_place(last=3))
    for block in (1, 2):
        assert found["QK"][block * TILES][0] >= found["AV"][block * 4 - 1][1]


def test_what_would_be_overwritten_is_refused() -> None:
    """Maxima that are taken of scores beside their exponentials; and a tensor that is made of others alone."""

    def fault(mapping: Mapping) -> str:
        with pytest.raises(MappingError) as error:
            replay(mapping, softmax_like(), MACHINE)
        return str(error.value)

    mapping = in_place()
    assert isinstance(mapping.root, Loop) and isinstance(mapping.root.body, Pipe)
    stages = list(mapping.root.body.children)
    stages[2] = Pipe((stages[1], stages[2]), (1,))
    pipe = Pipe((stages[0], *stages[2:]), (1,) * 4)
    moves = tuple(replace(m, issue=(*AT, 3, *AT), due=(*AT, 3, *AT)) if m.tensor == "V" else m for m in mapping.moves)
    late = replace(mapping, root=replace(mapping.root, body=pipe), moves=moves)
    assert "cannot lie over QK: GM at body.1.0.body reads it in no earlier stage than S" in fault(late)
    room = (Stay("QK", "sram", AT, AT), Stay("SD", "sram", AT, AT, over="QK"))
    assert "cannot lie over QK" in fault(replace(mapping, stays=(*mapping.stays[:4], *room)))
