"""Unfused attention and FLAT as Mapping values: the baselines that FuseMax is compared with."""

from __future__ import annotations

from ...mapping.tree import BODY, Loop, Op, Par, Pipe, Position, Seq
from ...mapping.tree import Mapping as MappingValue
from .mappings import homes, inside, largest_divisor, load, nest, on_unit, store

PRODUCTS = {"QK": "os", "AV": "is"}


def _op(einsum: str) -> Op:
    return Op(einsum, "divider", "simd") if einsum == "A" else on_unit(einsum, tuple(PRODUCTS), PRODUCTS)


def _rows_at_once(tokens: int, side: int, capacity: int, copies: int) -> int:
    """Queries, a power of two and at most `side`, of whose scores so many copies take half the buffer."""
    return min(side, 1 << max(0, (capacity // 2 // (copies * tokens * 2)).bit_length() - 1))


def unfused(workload: str, tokens: int, head_size: int, side: int, capacity: int) -> MappingValue:
    """Products, softmax by rows, products: scores and weights go through DRAM between them.

    The queries of a head, and what becomes of them, stay while keys and values stream past, all of them if they fit.
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
    root = Seq((nest(blocks, _op("QK")), nest([*blocks[:2], ("p", rows)], steps), nest(blocks, _op("AV"))))
    return MappingValue(workload, "flat", root, homes("Q", "K", "V", "QK", "A", "AV"), moves)


def flat(workload: str, tokens: int, head_size: int, side: int, capacity: int) -> MappingValue:
    """FLAT with a block of rows of scores on the chip: operands stream in again for every tile of it.

    A block has `side` rows, or as many as fit twice, as scores and as their exponentials; those keep their queries.
    """
    tiles = (side * side + 5 * side * head_size) * 2 * 2
    rows = min(side, (capacity - tiles) // (2 * tokens * 2) // 4 * 4)
    outer = [("b", 1), ("h", 1), ("p", rows)]
    at = inside(outer)
    last = Loop("m", side, Pipe((_op("A"), _op("AV")), (2,)))
    stages = (Loop("m", side, _op("QK")), _op("GM"), _op("SN"), _op("SD"), last)
    queries = load("Q", (*at, 0, BODY) if rows == side else at)
    moves = (queries, load("K", (*at, 0, BODY)), load("V", (*at, 4, BODY)), store("AV", (*at, 4)))
    return MappingValue(workload, "flat", nest(outer, Pipe(stages, (1,) * 4)), homes("Q", "K", "V", "AV"), moves)


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
