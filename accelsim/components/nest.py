"""What a loop nest inside a unit touches: exact counts over all of its iterations, ragged tiles included.

All counts are arrays, one entry per candidate; tiles and extents may differ between candidates, the order of the loops
may not. An iteration space is a product over ranks, so that sums over its tiles are products of sums per rank, but for
the ranks that share an index of a tensor (a sliding window), whose tiles are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from math import gcd
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arch.layout import Layout
from ..ir import Access, Affine, Einsum

IntArray = NDArray[np.int64]


class Piece(NamedTuple):
    """Tiles of a rank of one extent: how many there are, and the innermost loop that cut them (-1: none did)."""

    extent: IntArray
    number: IntArray
    last: IntArray | int


Shares: TypeAlias = Mapping[str, int]
"""Ranks whose points are dealt out to so many holders."""
Parts: TypeAlias = tuple[Collection[str], Sequence[tuple[IntArray, IntArray | int]]]
"""Ranks, and amounts summed over their tiles, each with the innermost loop that cut those."""
Values: TypeAlias = Callable[[str, int], IntArray]
"""Of a rank, by how many of its loops count."""


class LayoutNest:
    """The loops of a `Layout` over tiles of an Einsum.

    Tiles of a rank that is spread must be multiples of its factor, unless they are all of it: counts of what the
    elements hold each for themselves take that for granted.

    Attributes:
        loops: (rank, tile), outermost first: those of the layout, then one per rank that steps by its spread.
        holds: operand to the number of loops around what registers hold of it.
    """

    def __init__(self, einsum: Einsum, layout: Layout, extents: Mapping[str, IntArray], one: IntArray) -> None:
        self.einsum, self.layout, self.one = einsum, layout, one
        self.factor = {r: layout.factor(r) for r in einsum.sizes}
        self.spreads = layout.spreads
        self.loops: list[tuple[str, IntArray | int]] = [*layout.loops, *self.factor.items()]
        self.holds = layout.holds
        looped = {r for r, _ in layout.loops}
        self.joined = {r: o for r, o in layout.joined.items() if not {r, o} & looped}
        self._pieces: dict[str, list[tuple[Piece, ...]]] = {
            r: [(Piece(one * extents[r], one, -1),)] for r in einsum.sizes
        }
        self._largest: dict[str, list[IntArray]] = {r: [one * extents[r]] for r in einsum.sizes}
        for at, (rank, tile) in enumerate(self.loops):
            self._pieces[rank].append(_cut(self._pieces[rank][-1], tile, at))
            self._largest[rank].append(np.minimum(self._largest[rank][-1], tile))

    def cuts(self, rank: str, depth: int) -> int:
        """How many of the outer `depth` loops cut a rank."""
        return sum(1 for r, _ in self.loops[:depth] if r == rank)

    def pieces(self, rank: str, depth: int) -> tuple[Piece, ...]:
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
            if rank in self.joined:
                result = result * self._joint_steps(rank)
            elif rank not in self.joined.values():
                result = result * _count(self._pieces[rank][-1])
        return result

    def visits(self, access: Access, depth: int, *, slide: bool = False) -> IntArray:
        """How often the tile of a tensor inside the outer `depth` loops changes, the first one included.

        Loops that do not matter to the tensor do not change it unless a loop inside them that matters does. With
        `slide`, that the innermost loop moves it on is no change.
        """
        parts: list[Parts] = []
        for rank in self.einsum.sizes:
            if rank in access.ranks:
                pieces = self._swept(rank, depth) if slide else self.pieces(rank, depth)
                parts.append(((rank,), [(p.number, p.last) for p in pieces]))
        return self._over_visits(access, depth, parts, lambda rank, cuts: _count(self._pieces[rank][cuts]))

    def sweeps(self, access: Access, depth: int) -> IntArray:
        """How often the loops directly inside `depth` that do not matter to a tensor go over the same tile of it."""
        result, matters = self.one, np.zeros(self.one.shape, np.bool_)
        for i in range(depth, len(self.loops)):
            if self.loops[i][0] in access.ranks:
                matters = matters | (self.trips(i) > 1)
            else:
                result = np.where(matters, result, result * self.trips(i))
        return result

    def moved(
        self, access: Access, depth: int, private: Collection[str], *, reuse: bool = True, slide: bool = False
    ) -> IntArray:
        """Elements of a tensor that arrive at the holders of its tiles, over all visits.

        Args:
            access: of the tensor.
            depth: number of loops outside of which the tiles are cut.
            private: dimensions of the unit along which every element has a holder of its own; along the others one
                holder serves all. Holders that want the same word each get a copy.
            reuse: a tile that does not change between iterations stays; otherwise it comes again in every iteration.
            slide: what a tile shares with the one before stays too, where the innermost loop slides it (`slides`).
        """
        shares = self._shares(private)
        slide = slide and slides(access, self.layout, depth)
        parts = [
            (index.ranks, self._along_index(index, depth, shares, slide)) for index in access.indices if index.terms
        ]
        if reuse:
            return self._over_visits(
                access, depth, parts, lambda rank, cuts: self._copies(self._pieces[rank][cuts], shares.get(rank, 1))
            )
        result = self.one
        for _, amounts in parts:
            result = result * _total(amounts)
        for rank in self.einsum.sizes:
            if rank not in access.ranks:
                result = result * self._copies(self.pieces(rank, depth), shares.get(rank, 1))
        for rank, outer in self.joined.items():
            if depth == len(self.loops) and outer in access.ranks and rank not in access.ranks and rank not in shares:
                # Steps that run on from one index of the outer rank into the next want words of both.
                apart = self._largest[outer][0] * _count(self._pieces[rank][-1])
                result = result // apart * self._joint_uses(rank)
        return result

    def held(self, access: Access, depth: int, private: Collection[str]) -> IntArray:
        """Elements of a tensor's largest tile in the holder that holds most."""
        shares = self._shares(private)
        result = self.one
        for index in access.indices:
            terms = []
            for rank, step in index.terms:
                share = shares.get(rank, 1)
                terms.append((abs(step) * share, -(-self.largest(rank, depth) // share)))
            result = result * _distinct(terms, self.one)
        for rank, outer in self.joined.items():
            if rank in shares and {rank, outer} <= access.ranks:
                apart = self._largest[outer][0] * -(-self._largest[rank][0] // self.factor[rank])
                result = result // apart * self._joint_steps(rank)
        return result

    def _shares(self, private: Collection[str]) -> Shares:
        """Into how many holders the points of ranks are dealt out, where it is more than one."""
        shares: dict[str, int] = {}
        for spread in self.spreads:
            if spread.dimension in private and spread.factor > 1:
                shares[spread.rank] = shares.get(spread.rank, 1) * spread.factor
        return shares

    def _over_visits(self, access: Access, depth: int, parts: Sequence[Parts], others: Values) -> IntArray:
        """Sum over all visits of a product of amounts per rank.

        The tile of a visit is cut by the loops over ranks of the tensor; of the loops over others, those inside the
        innermost loop that cut it find it there.

        Args:
            access: of the tensor.
            depth: number of loops outside of which the tiles are cut.
            parts: amounts of ranks of the tensor.
            others: amount of another rank, by the number of its loops that count.
        """
        irrelevant = [r for r in self.einsum.sizes if r not in access.ranks]
        known: dict[tuple[str, int], IntArray] = {}

        def outside(loop: int) -> IntArray:
            result = self.one
            for rank in irrelevant:
                key = rank, self.cuts(rank, loop)
                if key not in known:
                    known[key] = others(*key)
                result = result * known[key]
            return result

        amounts = [_total(part, -1) for _, part in parts]
        before = _product(amounts, self.one)
        total = before * outside(0)
        for at, (rank, _) in enumerate(self.loops[:depth]):
            if rank in access.ranks:
                amounts = [
                    _total(part, at) if rank in ranks else amount
                    for amount, (ranks, part) in zip(amounts, parts, strict=True)
                ]
                now = _product(amounts, self.one)
                total = total + (now - before) * outside(at)
                before = now
        return total

    def _copies(self, pieces: Sequence[Piece], share: int) -> IntArray:
        """Holders that take part in the tiles of a rank, summed over the tiles."""
        total = np.zeros_like(self.one)
        for extent, count, _ in pieces:
            total = total + (count * np.minimum(share, extent) if share > 1 else count)
        return total

    def _along_index(
        self, index: Affine, depth: int, shares: Shares, slide: bool
    ) -> list[tuple[IntArray, IntArray | int]]:
        """Elements along one index of a tensor in the tiles of its ranks, copies of each holder counted."""
        if len(index.terms) == 1:
            return [(p.extent * p.number, p.last) for p in self.pieces(index.terms[0][0], depth)]
        amounts: list[tuple[IntArray, IntArray | int]] = []
        pieces = [self._swept(r, depth) if slide else self.pieces(r, depth) for r in index.ranks]
        for combination in product(*pieces):
            number, last = self.one, combination[0].last
            for piece in combination:
                number, last = number * piece.number, np.maximum(last, piece.last)
            amounts.append((number * self._among_holders(index, [p.extent for p in combination], shares), last))
        return amounts

    def _swept(self, rank: str, depth: int) -> tuple[Piece, ...]:
        """Tiles of a rank inside `depth` loops; those that the innermost loop cuts off one another as one."""
        at = depth - 1
        if self.loops[at][0] != rank:
            return self.pieces(rank, depth)
        return tuple(
            Piece(extent, number, np.where(extent > self.loops[at][1], at, last))
            for extent, number, last in self.pieces(rank, at)
        )

    def _among_holders(self, index: Affine, extents: Sequence[IntArray], shares: Shares) -> IntArray:
        """Elements along an index of one tile, summed over holders, each of which has every so many-th point."""
        parts: list[list[tuple[IntArray | int, tuple[int, IntArray]]]] = []
        for (rank, step), extent in zip(index.terms, extents, strict=True):
            share = shares.get(rank, 1)
            more, each = extent % share, extent // share
            parts.append([(share - more, (abs(step) * share, each))])
            if share > 1:
                parts[-1].append((more, (abs(step) * share, each + 1)))
        total = np.zeros_like(self.one)
        for combination in product(*parts):
            holders = self.one
            for number, _ in combination:
                holders = holders * number
            if holders.any():
                total = total + holders * _distinct([term for _, term in combination], self.one)
        return total

    def _joint_steps(self, rank: str) -> IntArray:
        """Steps over a rank whose spread runs on into the next index of another one, through all of both."""
        extent = self._largest[rank][0]
        return -(-extent * self._largest[self.joined[rank]][0] // np.minimum(self.factor[rank], extent))

    def _joint_uses(self, rank: str) -> IntArray:
        """Indices of the other rank that those steps touch, summed over the steps."""
        extent, outer = self._largest[rank][0], self._largest[self.joined[rank]][0]
        aligned = -(-extent * outer // np.lcm(extent, np.minimum(self.factor[rank], extent)))
        return self._joint_steps(rank) + outer - aligned


def slides(access: Access, layout: Layout, depth: int) -> bool:
    """Whether the innermost of `depth` loops of a layout moves the tile of a tensor along a window, alike for all
    elements."""
    rank = layout.loops[depth - 1][0] if depth else ""
    for index in access.indices:
        if rank in index.ranks and len(index.terms) > 1:
            dense = all(abs(step) == 1 for r, step in index.terms if r != rank)
            return dense and all(layout.factor(r) == 1 for r in index.ranks)
    return False


def _cut(pieces: Sequence[Piece], tile: IntArray | int, at: int) -> tuple[Piece, ...]:
    found: list[Piece] = []
    for extent, count, last in pieces:
        full = np.minimum(extent, tile)
        times, rest = extent // full, extent % full
        innermost = np.where((times > 1) | (rest > 0), at, last)
        found.append(Piece(full, count * times, innermost))
        if rest.any():
            found.append(Piece(np.maximum(rest, 1), count * (rest > 0), innermost))
    return tuple(found)


def _count(pieces: Sequence[Piece]) -> IntArray:
    total = pieces[0].number
    for piece in pieces[1:]:
        total = total + piece.number
    return total


def _total(amounts: Sequence[tuple[IntArray, IntArray | int]], limit: int | None = None) -> IntArray:
    """Sum of the amounts of tiles that no loop inside `limit` cut."""
    total: IntArray = np.zeros_like(amounts[0][0])
    for amount, last in amounts:
        total = total + (amount if limit is None else np.where(np.less_equal(last, limit), amount, 0))
    return total


def _product(amounts: Sequence[IntArray], one: IntArray) -> IntArray:
    for amount in amounts:
        one = one * amount
    return one


def _distinct(terms: Sequence[tuple[int, IntArray]], one: IntArray) -> IntArray:
    """Different values of a sum of (step, count) terms, each of which runs over step · (0 … count - 1).

    Of two terms exactly: pairs that differ by (b, -a), where the steps are a·g and b·g, have the same sum, so that
    there are as many sums as pairs without such a neighbour. Of more, exact where a larger step is a multiple of, or
    beyond, what the smaller ones cover.
    """
    if len(terms) == 1:
        return one * terms[0][1]
    if len(terms) == 2:
        (a, m), (b, n) = terms
        shared = gcd(a, b)
        alike: IntArray = np.maximum(m - b // shared, 0) * np.maximum(n - a // shared, 0)
        return m * n - alike
    width = one
    for step, count in sorted(terms, key=lambda term: term[0]):
        width = np.where(step <= width, width + step * (count - 1), width * count)
    return width
