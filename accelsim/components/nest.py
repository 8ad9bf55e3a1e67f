"""What a loop nest inside a unit touches: exact counts over all of its iterations, ragged tiles included.

All counts are arrays, one entry per candidate; tiles and extents may differ between candidates, the order of the loops
may not. An iteration space is a product over ranks, so that sums over its tiles are products of sums per rank, but for
the ranks that share an index of a tensor (a sliding window), whose tiles are combined.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..arch.layout import Layout
from ..ir import Access, Einsum

IntArray = NDArray[np.int64]
Pieces = tuple[tuple[IntArray, IntArray], ...]
"""Tiles of a rank as (extent, how many of that extent)."""


class LayoutNest:
    """The loops of a `Layout` over tiles of an Einsum.

    Attributes:
        loops: (rank, tile), outermost first: those of the layout, then one per rank that steps by its spread.
        holds: operand to the number of loops around what registers hold of it.
    """

    def __init__(self, einsum: Einsum, layout: Layout, extents: Mapping[str, IntArray], one: IntArray) -> None:
        self.einsum, self.one = einsum, one
        self.factor = {r: layout.factor(r) for r in einsum.sizes}
        self.along = {s.rank: s.dimension for s in layout.spreads}
        self.loops: list[tuple[str, IntArray | int]] = [*layout.loops, *self.factor.items()]
        self.holds = layout.holds
        self._pieces: dict[str, list[Pieces]] = {r: [((one * extents[r], one),)] for r in einsum.sizes}
        self._largest: dict[str, list[IntArray]] = {r: [one * extents[r]] for r in einsum.sizes}
        for rank, tile in self.loops:
            before = self._pieces[rank][-1]
            self._pieces[rank].append(_cut(before, tile))
            self._largest[rank].append(np.minimum(self._largest[rank][-1], tile))

    def cuts(self, rank: str, depth: int) -> int:
        """How many of the outer `depth` loops cut a rank."""
        return sum(1 for r, _ in self.loops[:depth] if r == rank)

    def pieces(self, rank: str, depth: int) -> Pieces:
        """Tiles of a rank inside the outer `depth` loops."""
        return self._pieces[rank][self.cuts(rank, depth)]

    def largest(self, rank: str, depth: int) -> IntArray:
        """The largest extent of a rank inside the outer `depth` loops."""
        return self._largest[rank][self.cuts(rank, depth)]

    def trips(self, loop: int) -> IntArray:
        """How often the loop at a depth runs, at most, each time it is entered."""
        rank, tile = self.loops[loop]
        return -(-self.largest(rank, loop) // tile)

    @property
    def steps(self) -> IntArray:
        """Iterations of all loops."""
        result = self.one
        for rank in self.einsum.sizes:
            result = result * _count(self._pieces[rank][-1])
        return result

    def visits(self, access: Access, depth: int) -> IntArray:
        """How often the tile of a tensor inside the outer `depth` loops changes, the first one included.

        Loops that do not matter to the tensor do not change it unless a loop inside them that matters does.
        """
        result = self.one
        for rank in self.einsum.sizes:
            counts = [_count(p) for p in self._pieces[rank][: self.cuts(rank, depth) + 1]]
            result = result * (counts[-1] if rank in access.ranks else self._reused(access, depth, rank, counts))
        return result

    def sweeps(self, access: Access, depth: int) -> IntArray:
        """How often the loops directly inside `depth` that do not matter to a tensor go over the same tile of it."""
        result, matters = self.one, np.zeros(self.one.shape, np.bool_)
        for i in range(depth, len(self.loops)):
            if self.loops[i][0] in access.ranks:
                matters = matters | (self.trips(i) > 1)
            else:
                result = np.where(matters, result, result * self.trips(i))
        return result

    def moved(self, access: Access, depth: int, private: Collection[str], *, reuse: bool = True) -> IntArray:
        """Elements of a tensor that arrive at the holders of its tiles, over all visits.

        Args:
            access: of the tensor.
            depth: number of loops outside of which the tiles are cut.
            private: dimensions of the unit along which every element has a holder of its own; along the others one
                holder serves all. Holders that want the same word each get a copy.
            reuse: a tile that does not change between iterations stays; otherwise it comes again in every iteration.
        """
        apart = {r for r, d in self.along.items() if d in private}
        result = self.one
        for rank in self.einsum.sizes:
            if rank in access.ranks:
                continue
            copies = [
                self._copies(rank, p) if rank in apart else _count(p)
                for p in self._pieces[rank][: self.cuts(rank, depth) + 1]
            ]
            result = result * (self._reused(access, depth, rank, copies) if reuse else copies[-1])
        for index in access.indices:
            result = result * self._along_index(index.terms, depth, apart)
        return result

    def held(self, access: Access, depth: int, private: Collection[str]) -> IntArray:
        """Elements of a tensor's largest tile in the holder that holds most."""
        apart = {r for r, d in self.along.items() if d in private}
        result = self.one
        for index in access.indices:
            terms = []
            for rank, step in index.terms:
                share = self.factor[rank] if rank in apart else 1
                terms.append((abs(step) * share, -(-self.largest(rank, depth) // share)))
            result = result * _distinct(terms, self.one)
        return result

    def _copies(self, rank: str, pieces: Pieces) -> IntArray:
        """Elements of the unit, along the dimension of a rank, that take part in its tiles, summed over the tiles."""
        total = np.zeros_like(self.one)
        for extent, count in pieces:
            total = total + count * np.minimum(self.factor[rank], extent)
        return total

    def _along_index(self, terms: Sequence[tuple[str, int]], depth: int, apart: Collection[str]) -> IntArray:
        if len(terms) == 1:
            return self._largest[terms[0][0]][0]  # tiles share out the extent between them
        total = np.zeros_like(self.one)
        for combination in product(*(self.pieces(rank, depth) for rank, _ in terms)):
            times, holders = self.one, self.one
            parts = []
            for (rank, step), (extent, count) in zip(terms, combination, strict=True):
                times = times * count
                share = self.factor[rank] if rank in apart else 1
                holders = holders * np.minimum(extent, share)
                parts.append((abs(step) * share, -(-extent // share)))
            total = total + times * holders * _distinct(parts, self.one)
        return total

    def _reused(self, access: Access, depth: int, rank: str, values: Sequence[IntArray]) -> IntArray:
        """Of values by number of loops over an irrelevant rank, that for its loops around a relevant one."""
        mine = [i for i, (r, _) in enumerate(self.loops[:depth]) if r == rank]
        result = values[0]
        for number, at in enumerate(mine, 1):
            matters = np.zeros(self.one.shape, np.bool_)
            for i in range(at + 1, depth):
                if self.loops[i][0] in access.ranks:
                    matters |= self.trips(i) > 1
            result = np.where(matters, values[number], result)
        return result


def _cut(pieces: Pieces, tile: IntArray | int) -> Pieces:
    found: list[tuple[IntArray, IntArray]] = []
    for extent, count in pieces:
        full = np.minimum(extent, tile)
        found.append((full, count * (extent // full)))
        rest = extent % full
        if rest.any():
            found.append((np.maximum(rest, 1), count * (rest > 0)))
    return tuple(found)


def _count(pieces: Pieces) -> IntArray:
    total = pieces[0][1]
    for _, count in pieces[1:]:
        total = total + count
    return total


def _distinct(terms: Sequence[tuple[int, IntArray]], one: IntArray) -> IntArray:
    """Different values of a sum of (step, count) terms, each of which runs over step · (0 … count - 1).

    Exact where a larger step is a multiple of, or beyond, what the smaller ones cover.
    """
    width = one
    for step, count in sorted(terms, key=lambda term: term[0]):
        width = np.where(step <= width, width + step * (count - 1), width * count)
    return width
