"""FuseMax's mappings as values: where every Einsum runs, in which tiles, and what stays on the chip."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir import Workload
from ...mapping.tree import BODY, Loop, Move, Node, Op, Par, Pipe, Position, Seq, Stay
from ...mapping.tree import Mapping as MappingValue


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


def resident_blocks(head_size: int, tokens: int, side: int, capacity: int, words: int) -> int:
    """Blocks of `side` queries that are resident at once: published, the largest divisor that fits.

    A query has `words` words in the buffer, and a block of keys and one of values lie beside them.
    """
    keys_and_values = 2 * side * head_size * 2
    return largest_divisor(tokens // side, (capacity - keys_and_values) // (words * side * 2))


FIRST = ("first_max", "first_sum", "first_value")
STAGES = ("QK", "LM", "RM", "SLN", "SLD", "SLNV", "PRM", "RD", "RNV")
ON_ARRAY = frozenset((*FIRST, "QK", "LM", "SLN", "SLD", "SLNV"))
"""What FuseMax's 2D array computes; the 1D array has the rest."""
PRODUCTS = frozenset((*FIRST, "QK", "SLNV"))
"""The same where the 2D array has products alone."""


USERS = {"QK": {"QK", "LM", "SLN"}, "SLN": {"SLN", "SLD", "SLNV"}}
"""Who makes and reads scores and exponentials, which stay in the registers of an array that computes all of these."""


def on_unit(
    einsum: str, on_array: Collection[str], products: Mapping[str, str], registers: tuple[str, ...] = ()
) -> Op:
    """An Einsum on the 2D array, as a product of that dataflow or element by element, or on the 1D array.

    Tensors of `registers` are in those of the 2D array.
    """
    if einsum in on_array:
        return Op(einsum, "array2d", products.get(einsum, "elementwise"), registers=registers)
    return Op(einsum, "array1d", "simd")


def _one_pass_op(einsum: str, on_array: Collection[str]) -> Op:
    kept = tuple(t for t, users in USERS.items() if einsum in users and users <= set(on_array))
    return on_unit(einsum, on_array, {"QK": "os", "SLNV": "is"}, kept)


def homes(*tensors: str) -> tuple[Stay, ...]:
    """Tensors that lie in DRAM."""
    return tuple(Stay(t, "dram", (), ()) for t in tensors)


def fused(
    workload: str,
    side: int,
    resident: int,
    *,
    on_array: Collection[str] = ON_ARRAY,
    depth: int = 4,
    blocks: int = 1,
    products: int = 3,
    streamed: int = 2,
    results: int = 2,
) -> MappingValue:
    """FuseMax's binding: blocks of queries stay, keys and values stream past them, and units overlap through buffers.

    Args:
        workload: its name.
        side: queries and keys of a tile.
        resident: blocks of `side` queries that stay on the chip at once.
        on_array: what the 2D array computes.
        depth: tiles of scores that wait for their maxima and exponentials.
        blocks: buffers for resident blocks; with two the next one begins before this one has been divided.
        products: tiles of products with values that wait to be added.
        streamed: buffers of keys, and of values.
        results: buffers of results on their way to DRAM.
    """
    outer = [("b", 1), ("h", 1), ("p", resident * side)]
    depths = (depth, 2, depth, 1, 1, 2, 2, products)  # QK stands before LM and SLN; exponentials are used at once
    tiles = nest([("i", 1), ("p", side)], Pipe(tuple(_one_pass_op(s, on_array) for s in STAGES), depths))
    first = tuple(_one_pass_op(s, on_array) for s in FIRST)
    divide = nest([("p", side)], _one_pass_op("AV", on_array))
    block = Pipe((*first, tiles, divide), (blocks,) * 4)
    at = inside(outer)
    keys = (*at, 3, BODY)
    stream = load("K", keys, streamed), load("V", keys, streamed)
    moves = (load("Q", at, blocks), *stream, store("AV", (*at, 4, BODY), buffers=results))
    return MappingValue(workload, "fusemax", nest(outer, block), homes("Q", "K", "V", "AV"), moves)


@dataclass(frozen=True)
class Pieces:
    """What a small buffer has room for, where everything comes and goes in pieces.

    Attributes:
        channels: of a head in a piece of keys, values and products.
        coming: of a head in a piece of queries.
        leaving: of a head in a piece of results.
        queries: pieces of resident queries and of those that come next.
        streamed: pieces of keys, and of values.
        products: pieces of products with values that wait to be added.
        results: the most pieces of results on their way to DRAM, in free places of queries, keys and values.
    """

    channels: int
    coming: int
    leaving: int
    queries: int
    streamed: int
    products: int = 2
    results: int = 1


def fused_in_pieces(workload: str, side: int, resident: int, pieces: Pieces, *, depth: int = 4) -> MappingValue:
    """The same binding for a buffer of few tiles: pieces come into the places of those used for the last time.

    Queries, keys and values come into rings, in whose free places results wait for DRAM. Sums of a block of queries are
    divided when its last keys are done, and those of the next one take their place, while the other resident blocks go
    on.

    Args:
        workload, side, resident, depth: as for `fused`.
        pieces: what there is room for.
    """
    outer = [("b", 1), ("h", 1), ("p", resident * side)]
    written = [("p", side), ("f", pieces.leaving)]
    ops = {s: _one_pass_op(s, ON_ARRAY) for s in STAGES}
    added = Pipe((ops.pop("SLNV"), ops.pop("RNV")), (pieces.products,))
    scores = nest([("e", pieces.channels), ("e", pieces.coming)], ops.pop("QK"))
    stages = (scores, *ops.values(), Loop("f", pieces.channels, added))
    tiles = nest([("i", 1), ("p", side)], Pipe(stages, (depth, 2, depth, 1, 2, 2, 1)))
    first = tuple(nest([("p", side)], _one_pass_op(s, ON_ARRAY)) for s in FIRST)
    divide = nest(written, _one_pass_op("AV", ON_ARRAY))
    block = Pipe((*first, tiles, divide), (1,) * 4, pieces=(3, 4))
    at = inside(outer)
    keys = (*at, 3, BODY)
    step = (*keys, BODY)
    rings = (
        replace(load(tensor, due, places), pieces=(*step, *used), ring=True)
        for tensor, due, places, used in (
            ("Q", (*at, 3), pieces.queries, (0, BODY, BODY)),
            ("K", keys, pieces.streamed, (0, BODY)),
            ("V", keys, pieces.streamed, (len(stages) - 1, BODY)),
        )
    )
    results = replace(store("AV", (*at, 4, *inside(written)), buffers=pieces.results), ring=True)
    moves = (*rings, results)
    return MappingValue(workload, "fusemax", nest(outer, block), homes("Q", "K", "V", "AV"), moves)


def fused_in_strips(
    workload: str, side: int, resident: int, strip: int, pieces: Pieces, *, depth: int = 2
) -> MappingValue:
    """The same binding in another order: each strip of keys, and of values, meets all resident blocks before the next.

    No tile of keys or values is ever there as a whole, so that their room is for the next queries, and for results that
    leave. Scores of all resident blocks are in registers at once instead, and exponentials in their places. The queries
    of a group come after the results of the group two before.

    Args:
        workload, side, resident: as for `fused`.
        strip: channels of a head that meet all resident blocks before the next ones do.
        pieces: what there is room for.
        depth: tiles of scores, or of exponentials, of each resident block in registers.
    """
    outer = [("b", 1), ("h", 1), ("p", resident * side)]
    block_of = [("p", side)]
    summed = [("f", strip), *block_of]
    ops = {s: _one_pass_op(s, ON_ARRAY) for s in STAGES}
    ops["SLN"] = replace(ops["SLN"], over="QK")
    added = Pipe((ops.pop("SLNV"), ops.pop("RNV")), (pieces.products,))
    scores = nest([("e", strip), *block_of, ("e", pieces.channels), ("e", pieces.coming)], ops.pop("QK"))
    softmax = nest(block_of, Pipe(tuple(ops.values()), (1,) * (len(ops) - 1)))
    stages = (scores, softmax, nest([*summed, ("f", pieces.channels)], added))
    pipe = Pipe(stages, (depth, 1), pieces=(1, 2))
    first = tuple(nest(summed if s == "first_value" else block_of, _one_pass_op(s, ON_ARRAY)) for s in FIRST)
    written = [*summed, ("f", pieces.leaving)]
    divide = nest(written, _one_pass_op("AV", ON_ARRAY))
    block = Pipe((*first, Loop("i", 1, pipe), divide), (1,) * 4, pieces=(3, 4))
    at = inside(outer)
    step = (*at, 3, BODY)
    results = replace(store("AV", (*at, 4, *inside(written)), buffers=pieces.results), ring=True)
    rings = (
        replace(load(tensor, due, places), pieces=(*step, *used), ring=True)
        for tensor, due, places, used in (
            ("Q", (*at, 3), pieces.queries, (0, BODY, BODY, BODY, BODY)),
            ("K", (*step, 0, BODY), pieces.streamed, (0, BODY, BODY, BODY)),
            ("V", (*step, 2, BODY), pieces.streamed, (2, BODY, BODY, BODY)),
        )
    )
    queries, *streams = rings
    moves = (replace(queries, after="AV"), *streams, results)
    return MappingValue(workload, "fusemax", nest(outer, block), homes("Q", "K", "V", "AV"), moves)


def serial(workload: str, side: int, resident: int, *, blocks: int = 1, piece: int = 8) -> MappingValue:
    """FuseMax's array without its binding: the steps of a tile one after the other.

    Only products of the 2D array and the sums that the 1D array takes of them, `piece` channels at a time, overlap.
    """
    outer = [("b", 1), ("h", 1), ("p", resident * side)]
    qk, lm, rm, sln, sld, slnv, prm, rd, rnv = (_one_pass_op(s, ON_ARRAY) for s in STAGES)
    steps = Seq((qk, lm, rm, Par((sln, prm)), sld, Loop("f", piece, Pipe((slnv, rnv), (2,)))))
    tiles = nest([("i", 1), ("p", side)], Pipe((steps, rd), (2,)))
    first = tuple(_one_pass_op(s, ON_ARRAY) for s in FIRST)
    block = Pipe((*first, tiles, nest([("p", side)], _one_pass_op("AV", ON_ARRAY))), (blocks,) * 4)
    at = inside(outer)
    keys, step = (*at, 3, BODY), (*at, 3, BODY, BODY, 0)
    moves = (load("Q", at, blocks), load("K", keys), load("V", keys), store("AV", (*at, 4, BODY)))
    kept = {"QK": (0, 3), "LM": (1, 2), "SLN": (3, 5), "SLD": (4, 4), "PRM": (3, 5)}
    stays = [Stay(t, "buffer", (*step, i), (*step, j)) for t, (i, j) in kept.items()]
    stays += [Stay("RM", "buffer", (*at, 3), (*at, 3))]
    return MappingValue(workload, "fusemax", nest(outer, block), (*homes("Q", "K", "V", "AV"), *stays), moves)


def linear(workload: Workload, capacity: int, rows: int = 128) -> MappingValue:
    """Products of `rows` rows at a time with matrices that stay, or as many of their columns as fit.

    Args:
        workload: Einsums out[t,n] = in[t,k] * W[k,n], one after the other.
        capacity: bytes of the buffer.
        rows: of a tile.
    """
    children: list[Node] = []
    moves: list[Move] = []
    for number, (einsum, _) in enumerate(workload.einsums()):
        (data, matrix), out = einsum.inputs, einsum.output
        (t,), (k,), (n,) = (tuple(index.ranks) for index in (*data.indices, matrix.indices[1]))
        depth = einsum.sizes[k]
        columns = largest_divisor(einsum.sizes[n], (capacity - 4 * rows * depth) // (2 * depth + 4 * rows))
        loops = [(n, columns), (t, rows)]
        children.append(nest(loops, Op(einsum.name, "array2d", "ws")))
        at = (number, *inside(loops))
        moves += [load(matrix.tensor, at[:-1], 1), load(data.tensor, at), store(out.tensor, at, (number,))]
    tensors = dict.fromkeys(m.tensor for m in moves)
    return MappingValue(workload.name, "fusemax", Seq(tuple(children)), homes(*tensors), tuple(moves))
