"""Published mappings as values: where every Einsum runs, in which tiles, and what stays on the chip."""

from __future__ import annotations

from collections.abc import Sequence

from ...mapping.tree import Loop, Mapping, Move, Node, Op, Pipe, Position, Stay
from .cascade import Model

BODY = "body"


def nest(loops: Sequence[tuple[str, int]], body: Node) -> Node:
    """Loops around a node, outermost first."""
    for rank, tile in reversed(loops):
        body = Loop(rank, tile, body)
    return body


def inside(loops: Sequence[tuple[str, int]]) -> Position:
    """The position of the body of so many loops below the root."""
    return (BODY,) * len(loops)


def load(tensor: str, due: Position, buffers: int = 2) -> Move:
    return Move(tensor, "dram", "buffer", due, due, buffers)


def store(tensor: str, issue: Position, due: Position = (), buffers: int = 2) -> Move:
    return Move(tensor, "buffer", "dram", issue, due, buffers, store=True)


def largest_divisor(n: int, limit: int) -> int:
    """The largest divisor of a number that is not above a limit (at least 1)."""
    return max(d for d in range(1, n + 1) if n % d == 0 and (d <= limit or d == 1))


def resident_blocks(model: Model, tokens: int, side: int, capacity: int, words: int) -> int:
    """Blocks of `side` queries that are resident at once: published, the largest divisor that fits.

    A query has `words` words in the buffer, and a block of keys and one of values lie beside them.
    """
    keys_and_values = 2 * side * model.head_size * 2
    return largest_divisor(tokens // side, (capacity - keys_and_values) // (words * side * 2))


def fused(model: Model, tokens: int, side: int, resident: int, units: dict[str, str], depth: int = 4, blocks: int = 1) -> Mapping:
    """FuseMax's mapping: blocks of queries stay, keys and values stream past them, and units overlap through buffers.

    `units` has the unit of every Einsum, those that no array computes on 1D's under ``""``.
    """

    def op(einsum: str) -> Op:
        unit = units.get(einsum, units[""])
        variant = "simd" if unit == "array1d" else {"QK": "os", "SLNV": "is"}.get(einsum, "elementwise")
        return Op(einsum, unit, variant)

    stages = ("QK", "LM", "RM", "SLN", "SLD", "SLNV", "PRM", "RD", "RNV")
    outer = [("b", 1), ("h", 1), ("p", resident * side)]
    inner = [("i", 1), ("p", side)]
    tiles = Pipe(tuple(op(s) for s in stages), (depth,) * (len(stages) - 1))
    first = tuple(op(s) for s in ("first_max", "first_sum", "first_value"))
    block = Pipe((*first, nest(inner, tiles), nest([("p", side)], op("AV"))), (blocks,) * 4)
    at = inside(outer)
    keys = (*at, 3, BODY)
    moves = [load("Q", at, blocks), load("K", keys), load("V", keys), store("AV", (*at, 4, BODY))]
    stays = [Stay(t, "dram", (), ()) for t in ("Q", "K", "V", "AV")]
    return Mapping(f"{model.name}_{tokens}_one_pass", "fusemax", nest(outer, block), tuple(stays), tuple(moves))
