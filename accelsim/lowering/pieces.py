"""The pieces of a tile: what a Move brings, or takes away, for each iteration of the loops that cut it further in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..ir import Access, Tensor

Loops = Sequence[tuple[str, int]]
"""(rank, tile), outermost first."""
Box = Mapping[str, tuple[int, int]]
"""Rank to where its points begin, and how many there are."""


def piece_bytes(tensor: Tensor, access: Access, extents: Mapping[str, int], loops: Loops) -> list[int]:
    """Bytes of every piece of a tile, in the order of the loops: of what the pieces before it do not hold.

    Args:
        tensor: what the tile is of.
        access: by which it is touched; each of its indices has one of the ranks that are cut at most, each another.
        extents: of all ranks, over the tile.
        loops: that cut it.

    Returns:
        As many as there are iterations, with the bytes of the whole tile as their sum.
    """
    ranks = dict.fromkeys(rank for rank, _ in loops)
    known: dict[tuple[int, str, int], int] = {}

    def up_to(dim: int, rank: str, points: int) -> int:
        """Different values of an index over the first points of a rank."""
        key = dim, rank, points
        if key not in known:
            here = {**extents, rank: points} if rank else extents
            known[key] = min(tensor.shape[dim], access.indices[dim].count(here)) if points else 0
        return known[key]

    cut = [next((r for r in index.ranks if r in ranks), "") for index in access.indices]
    found: list[int] = []
    elements = 0
    for box in _boxes({rank: (0, extents[rank]) for rank in ranks}, loops):
        sides = []
        for dim, rank in enumerate(cut):
            start, size = box[rank] if rank else (0, 1)
            sides.append(up_to(dim, rank, start + size) - (up_to(dim, rank, start) if rank else 0))
        found.append(tensor.bytes_of(elements + prod(sides)) - tensor.bytes_of(elements))
        elements += prod(sides)
    return found


def _boxes(box: Box, loops: Loops) -> Iterator[Box]:
    if not loops:
        yield box
        return
    (rank, tile), *inner = loops
    start, size = box[rank]
    for at in range(0, size, tile):
        yield from _boxes({**box, rank: (start + at, min(tile, size - at))}, inner)
