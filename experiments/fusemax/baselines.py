"""Unfused attention and FLAT as Mapping values: the baselines that FuseMax is compared with."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from ...mapping.tree import BODY, Loop, Op, Par, Pipe, Position, Seq, Stay
from ...mapping.tree import Mapping as MappingValue
from .mappings import homes, inside, largest_divisor, load, nest, on_unit, store

PRODUCTS = {"QK": "os", "AV": "is"}
AHEAD = 4
"""Tiles of scores that may wait for their maxima to be taken."""


def _op(einsum: str, *registers: str) -> Op:
    if einsum == "A":
        return Op(einsum, "divider", "simd")
    return on_unit(einsum, tuple(PRODUCTS), PRODUCTS, registers)


def _rows_at_once(tokens: int, side: int, capacity: int, copies: int) -> int:
    """Queries, a power of two and at most `side`, of whose scores so many copies take half the buffer."""
    return min(side, 1 << max(0, (capacity // 2 // (copies * tokens * 2)).bit_length() - 1))


def unfused(workload: str, tokens: int, head_size: int, side: int, capacity: int) -> MappingValue:
    """Products, softmax by rows, products: scores and weights go through DRAM between them.

    The queries of a head, and what becomes of them, stay while keys and values stream past, all of them if they fit.
    Scores leave the array for DRAM, and weights come to it, past the buffer.
    """
    block = largest_divisor(tokens // side, (capacity - capacity // 8) // (side * head_size * 2)) * side
    buffers = 2 if 2 * block * head_size * 2 <= capacity // 2 else 1
    blocks = [("b", 1), ("h", 1), ("p", block), ("m", side), ("p", side)]
    rows = _rows_at_once(tokens, side, capacity, 8)
    steps = Pipe((_op("GM"), _op("SN"), _op("SD"), _op("A")), (2, 1, 1))
    at: dict[int, list[Position]] = {n: [(n, *(BODY,) * d) for d in range(6)] for n in range(3)}
    moves = (
        load("Q", at[0][3], buffers), load("K", at[0][4]), store("QK", at[0][5], (0,)),
        load("QK", at[1][3]), store("A", (*at[1][3], 3), (1,)),
        load("A", at[2][5]), load("V", at[2][4]), store("AV", at[2][3], (2,), buffers),
    )  # fmt: skip
    root = Seq((nest(blocks, _op("QK", "QK")), nest([*blocks[:2], ("p", rows)], steps), nest(blocks, _op("AV", "A"))))
    return MappingValue(workload, "flat", root, homes("Q", "K", "V", "QK", "A", "AV"), moves)


def flat(
    workload: str, tokens: int, head_size: int, side: int, capacity: int, spilled: Fraction = Fraction(0)
) -> MappingValue:
    """FLAT with a block of `side` rows of scores on the chip: operands stream in again for every tile of it.

    Scores and their exponentials lie beside each other, so that stages work on two blocks, or where there is no room
    for that in one place (`flat_in_place`). Where a part spills, maxima are taken as scores are made.

    Args:
        workload: its name.
        tokens: length of the sequence.
        head_size: of queries, keys and values.
        side: rows of the 2D array.
        capacity: bytes of the buffer.
        spilled: the part of scores, exponentials and weights that goes through DRAM.
    """
    tiles = (side * side + 5 * side * head_size) * 2 * 2
    if 2 * side * tokens * 2 + tiles > capacity + floor(2 * spilled * side * tokens * 2):
        return flat_in_place(workload, tokens, head_size, side, capacity, spilled)
    outer = [("b", 1), ("h", 1), ("p", side)]
    at = inside(outer)
    weights = Loop("m", side, Pipe((_op("A"), _op("AV")), (2,)))
    first, last, stays = (*at, 0, BODY), (*at, 3, BODY), homes("Q", "K", "V", "AV")
    operands = load("Q", first), load("K", first)
    if not spilled:
        whole = Pipe((Loop("m", side, _op("QK")), _op("GM"), _op("SN"), _op("SD"), weights), (1,) * 4)
        simple = (*operands, load("V", (*at, 4, BODY)), store("AV", (*at, 4)))
        return MappingValue(workload, "flat", nest(outer, whole), stays, simple)
    scores = Loop("m", side, Pipe((_op("QK"), _op("GM")), (AHEAD,)))
    kept = {"QK": at, "SN": at, "A": last}
    parts = (Stay(t, "buffer", p, p, share=1 - spilled) for t, p in kept.items())
    moves = (
        *operands, load("V", last), store("AV", (*at, 3)),
        store("QK", (*at, 0)), load("QK", (*at, 1)), store("SN", (*at, 1)), load("SN", (*at, 2)), load("SN", (*at, 3)),
        store("A", (*last, 0)), load("A", (*last, 1)),
    )  # fmt: skip
    root = nest(outer, Pipe((scores, _op("SN"), _op("SD"), weights), (1,) * 3))
    return MappingValue(workload, "flat", root, (*stays, *homes(*kept), *parts), moves)


def flat_in_place(
    workload: str, tokens: int, head_size: int, side: int, capacity: int, spilled: Fraction = Fraction(0)
) -> MappingValue:
    """FLAT with scores, exponentials and weights in one place, into which scores of the next block follow by tiles.

    A block has `side` rows, or as many as fit, which spill nothing then and keep their queries. Arguments are those of
    `flat`.
    """
    tiles = 7 * side * head_size * 2  # queries, keys, values twice, results once
    rests = 20 * floor(spilled * side * side * 2 + 1)
    rows = min(side, floor((capacity - tiles - rests) / ((1 - spilled) * tokens * 2)) // 4 * 4)
    if rows < side:
        spilled, rows = Fraction(0), min(side, (capacity - tiles) // (tokens * 2) // 4 * 4)
    outer = [("b", 1), ("h", 1), ("p", rows)]
    at = inside(outer)
    first, second, third, last = ((*at, n, BODY) for n in range(4))
    sweeps = Pipe((_op("QK"), _op("GM")), (AHEAD,)), _op("SN"), _op("SD"), Pipe((_op("A"), _op("AV")), (2,))
    under = {"QK": "", "SN": "QK", "A": "SN"}
    room = (Stay(t, "buffer", at, at, over=other, share=1 - spilled) for t, other in under.items())
    queries = load("Q", first if rows == side else at)
    moves = [queries, load("K", first), load("V", last), store("AV", (*at, 3), buffers=1)]
    if spilled:
        moves += [
            store("QK", (*first, 0)), load("QK", second), store("SN", second), load("SN", third),
            load("SN", (*last, 0)), store("A", (*last, 0)), load("A", (*last, 1)),
        ]  # fmt: skip
    root = nest(outer, Pipe(tuple(Loop("m", side, sweep) for sweep in sweeps), (1,) * 3))
    off_chip = homes("Q", "K", "V", "AV", *(under if spilled else ()))
    return MappingValue(workload, "flat", root, (*off_chip, *room), tuple(moves))


def flat_off_chip(workload: str, tokens: int, side: int, capacity: int, block: int = 1024) -> MappingValue:
    """FLAT where no rows of scores stay: a block of queries stays, and its scores and weights go through DRAM.

    For `cascade.three_stages`, whose products and softmax work on different blocks at a time.
    """
    outer = [("b", 1), ("h", 1), ("p", block)]
    at = inside(outer)
    rows = _rows_at_once(tokens, side, capacity, 8)
    steps = Pipe((_op("GM"), _op("SN"), _op("SD"), _op("A")), (2, 1, 1))
    root = nest(outer, Par((Loop("m", side, _op("QK")), Loop("p", rows, steps), Loop("m", side, _op("AV")))))
    first, second, third = ((*at, n, BODY) for n in range(3))
    moves = (
        load("Q", (*at, 0)), load("K", first), store("QK", first),
        load("scores", second), store("A", (*second, 3), (*at, 1)),
        load("weights", third), load("V", third), store("AV", (*at, 2)),
    )  # fmt: skip
    return MappingValue(workload, "flat", root, homes("Q", "K", "QK", "scores", "A", "weights", "V", "AV"), moves)
