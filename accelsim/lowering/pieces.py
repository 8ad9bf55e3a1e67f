"""The pieces of a tile: what a Move brings, or takes away, for each iteration of the loops that cut it further in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engine.builder import Phase, Run
from ..ir import Access, Tensor
from .schedule import Block, join

Loops = Sequence[tuple[str, int]]
"""(rank, tile), outermost first."""
Array = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """Pieces in the order of the loops that cut them.

    Attributes:
        nbytes: of every piece: what those before it do not hold; their sum are the bytes of the tile.
        trips: by loop, how many iterations each run through it has.
    """

    nbytes: Array
    trips: tuple[Array, ...]


def pieces_of(tensor: Tensor, access: Access, extents: Mapping[str, int], loops: Loops) -> Pieces:
    """The pieces of a tile.

    Args:
        tensor: what the tile is of.
        access: by which it is touched; each of its indices has one of the ranks that are cut at most, each another.
        extents: of all ranks, over the tile.
        loops: that cut it.
    """
    start = {rank: np.zeros(1, np.int64) for rank, _ in loops}
    size = {rank: np.full(1, extents[rank], np.int64) for rank in start}
    trips: list[Array] = []
    for rank, tile in loops:
        number = -(-size[rank] // tile)
        row = np.repeat(np.arange(len(number)), number)
        at = (np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)) * tile
        start, size = ({r: x[row] for r, x in side.items()} for side in (start, size))
        start[rank], size[rank] = start[rank] + at, np.minimum(tile, size[rank] - at)
        trips.append(number)
    fresh = np.ones(len(row) if loops else 1, np.int64)
    for index, limit in zip(access.indices, tensor.shape, strict=True):
        cut = next((rank for rank in index.ranks if rank in start), None)
        if cut is None:
            fresh = fresh * min(limit, index.count(extents))
            continue
        ends, which = np.unique(np.stack([start[cut], start[cut] + size[cut]]), return_inverse=True)
        held = np.array([min(limit, index.count({**extents, cut: n})) if n else 0 for n in ends.tolist()], np.int64)
        fresh = fresh * np.diff(held[which.reshape(2, -1)], axis=0)[0]
    width = tensor.stored_bits
    nbytes = -(-np.cumsum(fresh) * width.numerator // (8 * width.denominator))
    return Pieces(np.diff(nbytes, prepend=0), tuple(trips))


def firings(pieces: Pieces, phase: Callable[[int, bool, bool], Phase]) -> Block:
    """One firing per piece, equal ones merged; `phase` gets its bytes and whether it is the first, or the last one."""
    children = [np.concatenate([[0], np.cumsum(number)]) for number in pieces.trips]
    spans = [np.arange(len(pieces.nbytes) + 1)]
    for first in reversed(children):
        spans.insert(0, spans[0][first])
    known: dict[tuple[bytes, bool, bool], Block] = {}

    def block(level: int, node: int, first: bool, last: bool) -> Block:
        mine = pieces.nbytes[spans[level][node] : spans[level][node + 1]]
        key = mine.tobytes(), first, last
        if key not in known:
            alike = len(mine) - first - last
            if alike >= 0 and (mine == mine[0]).all():
                ends = [(1, (Run(phase(int(mine[0]), at == 0, at > 0)),)) for at in range(2) if (first, last)[at]]
                between = [(alike, (Run(phase(int(mine[0]), False, False)),))] if alike else []
                known[key] = join(*ends[:first], *between, *ends[first:])
            elif level == len(children):
                known[key] = (Run(phase(int(mine[0]), first, last)),)
            else:
                begin, end = (int(x) for x in children[level][node : node + 2])
                known[key] = join(
                    *((1, block(level + 1, i, first and i == begin, last and i == end - 1)) for i in range(begin, end))
                )
        return known[key]

    return block(0, 0, True, True)
