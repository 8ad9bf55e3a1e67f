"""Candidate tiles of `minimum_traffic`: per group of ranks, what each choice of tiles holds and moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from .einsum import Access, Affine, Einsum

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """The candidates of ranks that are chosen together.

    Attributes:
        ranks: of the group.
        tiles: [candidate, level, rank] tile of each rank at each operand's level, outermost first.
        factors: [candidate, 3 * operands + 1]; see `group_table`.
    """

    ranks: tuple[str, ...]
    tiles: Array
    factors: Array


class Ranks:
    """The ranks of an Einsum as its accesses use them."""

    def __init__(self, einsum: Einsum, accesses: Sequence[Access], shapes: Sequence[tuple[int, ...]]) -> None:
        self.sizes = dict(einsum.sizes)
        self.accesses, self.shapes = tuple(accesses), tuple(shapes)
        self._spans: dict[tuple[int, tuple[str, ...], tuple[int, ...]], tuple[int, int]] = {}
        self._counts: dict[tuple[object, ...], int] = {}

    def groups(self) -> list[tuple[str, ...]]:
        """Ranks that share an index, or a dimension with one that does, together; all others alone."""
        parent = {r: r for r in self.sizes}

        def root(r: str) -> str:
            while parent[r] != r:
                r = parent[r]
            return r

        for access in self.accesses:
            for index in access.indices:
                for r in index.ranks[1:]:
                    parent[root(r)] = root(index.ranks[0])
        members: dict[str, list[str]] = {}
        for r in self.sizes:
            members.setdefault(root(r), []).append(r)
        return [tuple(m) for m in members.values()]

    @cached_property
    def plain(self) -> frozenset[str]:
        """Ranks of which a tile of t touches t values of at most one index of each access, all inside the tensor."""
        return frozenset(r for r in self.even if all(len(i.terms) == 1 for i in self._indices(r)))

    @cached_property
    def even(self) -> frozenset[str]:
        """Ranks whose tiles together touch elements that depend on the number of tiles alone, not on their sizes.

        A tile of t touches a t + b elements, all inside the tensor, whatever stands beside the rank in its index: that
        steps by 1, so it fills an interval (b is the halo), or leaves one between the steps of the rank.
        """
        found = set(self.sizes)
        for x, access in enumerate(self.accesses):
            seen: set[str] = set()
            for index in access.indices:
                found -= seen & set(index.ranks)
                seen |= set(index.ranks)
                for r in index.ranks:
                    if self.clipped[x] or any(abs(c) != 1 for other, c in index.terms if other != r):
                        found.discard(r)
        return frozenset(found)

    @cached_property
    def clipped(self) -> tuple[bool, ...]:
        """Of each access, whether indices fall outside the tensor."""
        return tuple(
            any(i.bounds(self.sizes)[0] < 0 or i.bounds(self.sizes)[1] >= n for i, n in zip(a.indices, s, strict=True))
            for a, s in zip(self.accesses, self.shapes, strict=True)
        )

    def _indices(self, rank: str) -> Iterator[Affine]:
        return (i for a in self.accesses for i in a.indices if rank in i.ranks)

    def spans(self, x: int, group: tuple[str, ...], tiles: Array) -> tuple[Array, Array]:
        """(elements of the largest tile, of all tiles) of access x along a group, for rows of tile sizes."""
        mine = [k for k, r in enumerate(group) if r in self.accesses[x].ranks]
        ones = np.ones(len(tiles), np.int64)
        if not mine:
            return ones, ones
        if len(mine) == 1 and group[mine[0]] in self.plain:
            return tiles[:, mine[0]], ones * self.sizes[group[mine[0]]]
        names = tuple(group[k] for k in mine)
        rows, which = np.unique(tiles[:, mine], axis=0, return_inverse=True)
        found = np.array([self._span(x, names, tuple(map(int, row))) for row in rows], np.int64)[which.ravel()]
        return found[:, 0], found[:, 1]

    def _span(self, x: int, names: tuple[str, ...], tile: tuple[int, ...]) -> tuple[int, int]:
        """(elements of the largest tile, of all tiles) that cut some ranks evenly from 0."""
        key = (x, names, tile)
        if key not in self._spans:
            cuts = [_pieces(self.sizes[r], t, alike=not self.clipped[x]) for r, t in zip(names, tile, strict=True)]
            largest = total = 0
            for boxes in product(*cuts):
                count = self.touched(x, {r: span for r, (span, _) in zip(names, boxes, strict=True)})
                largest = max(largest, count)
                total += count * prod(times for _, times in boxes)
            self._spans[key] = largest, total
        return self._spans[key]

    def touched(self, x: int, box: Mapping[str, range]) -> int:
        """Different elements of access x that a box of some ranks touches, along the dimensions which these index.

        Indices outside the tensor touch nothing.
        """
        indices = zip(self.accesses[x].indices, self.shapes[x], strict=True)
        dims = [(index, n) for index, n in indices if not box.keys().isdisjoint(index.ranks)]
        sizes = {r: len(span) for r, span in box.items()}
        ends = []
        for index, n in dims:
            low = index.offset + sum(c * (box[r][0] if c > 0 else box[r][-1]) for r, c in index.terms)
            ends.append((-low, n - low))  # of the tensor, counted from the lowest index
        cut = tuple((max(0, a), min(index.extent(sizes), b)) for (index, _), (a, b) in zip(dims, ends, strict=True))
        key = (x, tuple(sizes.items()), cut)
        if key not in self._counts:
            alone = sum(len(index.ranks) for index, _ in dims) == len(box)
            self._counts[key] = (
                prod(_different([(abs(c), sizes[r]) for r, c in index.terms], *part)
                     for (index, _), part in zip(dims, cut, strict=True))
                if alone else _different_points([index for index, _ in dims], sizes, cut)
            )  # fmt: skip
        return self._counts[key]


def _different(terms: list[tuple[int, int]], first: int, end: int) -> int:
    """Different values in [first, end) of a sum of step * (0 ... count - 1)."""
    starts, width = np.zeros(1, np.int64), 1
    for step, count in sorted(terms):
        if step <= width:
            width += step * (count - 1)
        else:
            starts = np.unique(starts[:, None] + step * np.arange(count))
    low, high = np.maximum(starts, first), np.minimum(starts + width, end)
    low[1:] = np.maximum(low[1:], (starts + width)[:-1])
    return int(np.maximum(high - low, 0).sum())


def _different_points(
    indices: Sequence[Affine], sizes: Mapping[str, int], cut: Sequence[tuple[int, int]]
) -> int:
    """Different points of several indices that share ranks, counted from the lowest of each, inside the cut."""
    names = list(sizes)
    grid = np.indices(tuple(sizes.values()), sparse=True)
    points = np.zeros((1,) * len(names), np.int64)
    inside = np.ones((1,) * len(names), np.bool_)
    for index, (first, end) in zip(indices, cut, strict=True):
        value = np.zeros((1,) * len(names), np.int64)
        for r, c in index.terms:
            steps = grid[names.index(r)]
            value = value + abs(c) * (steps if c > 0 else sizes[r] - 1 - steps)
        inside = inside & (value >= first) & (value < end)
        points = points * index.extent(sizes) + value
    points, inside = np.broadcast_arrays(points, inside)
    return len(np.unique(points[inside]))


def _pieces(size: int, tile: int, *, alike: bool) -> list[tuple[range, int]]:
    """The tiles of a rank, each once; or, where only their sizes matter, one of each size and how many there are."""
    if not alike:
        return [(range(at, min(at + tile, size)), 1) for at in range(0, size, tile)]
    full, rest = divmod(size, tile)
    return [(range(tile), full)] + ([(range(rest), 1)] if rest else [])


def group_table(
    ranks: Ranks, group: tuple[str, ...], order: tuple[int, ...], divide: bool, ideal: bool
) -> Group:
    """The candidates of one group, those left out that another one matches or beats in every factor.

    A rank is cut above operands that it moves, and is plain for all later ones, down to 1: that costs nothing.

    Args:
        ranks: of the Einsum.
        group: ranks chosen together.
        order: accesses in the order in which they are held, outermost first.
        divide: whether tiles must divide.
        ideal: whether only the outermost operand needs room, so that the others' tiles are never cut further.

    Returns:
        `factors`: per operand the elements of its largest tile; per operand the elements moved, once per visit by
        ranks that do not move it (of the output: once in all); per operand 2 if a loop moves it, else 1; visits of the
        output.
    """
    chains = []
    for r in group:
        levels = [level for level, x in enumerate(order) if r in ranks.accesses[x].ranks]
        cuts = [level for level in levels if level == 0] if ideal else levels
        even, plain = r in ranks.even, r in ranks.plain
        free = next((i for i in range(len(cuts)) if cuts[i:] == list(range(cuts[i], len(order)))), len(cuts))
        found = _chains(ranks.sizes[r], cuts, len(order), divide, even, free if plain else len(cuts))
        chains.append(np.array(sorted(found, reverse=True), np.int64))
    picks = np.indices([len(c) for c in chains]).reshape(len(chains), -1)
    tiles = np.stack([c[i] for c, i in zip(chains, picks, strict=True)], axis=2)
    n = len(order)
    factors = np.ones((len(tiles), 3 * n + 1), np.int64)
    for level, x in enumerate(order):
        largest, moved = ranks.spans(x, group, tiles[:, level])
        visits = np.ones(len(tiles), np.int64)
        for k, r in enumerate(group):
            if r in ranks.accesses[x].ranks:
                cut = tiles[:, level, k] < ranks.sizes[r]
                factors[cut, 2 * n + level] = 2
            else:
                visits = visits * -(-ranks.sizes[r] // tiles[:, level, k])
        output = x == len(order) - 1
        factors[:, level], factors[:, n + level] = largest, moved if output else moved * visits
        if output:
            factors[:, 3 * n] = visits
    judged = factors.copy()
    if ideal:
        judged[:, 1:n] = 0
        judged[:, 2 * n : 3 * n] = 0
    keep = undominated(judged)
    return Group(group, tiles[keep], factors[keep])


def _chains(
    size: int, cut: Sequence[int], levels: int, divide: bool, even: bool, free: int
) -> Iterator[tuple[int, ...]]:
    """Tiles of a rank per level; it may be cut at levels `cut`, from position `free` among them on it is cut to 1."""

    def spread(tiles: Sequence[int]) -> tuple[int, ...]:
        result, current = [], size
        for level in range(levels):
            if level in cut:
                current = tiles[cut.index(level)]
            result.append(current)
        return tuple(result)

    def extend(inner: tuple[int, ...], left: int) -> Iterator[tuple[int, ...]]:
        if left == 0:
            yield inner
            return
        for tile in _around(size, inner[0], divide, even) if inner else _cuts(size, divide, even):
            yield from extend((tile, *inner), left - 1)

    tail = (1,) * (len(cut) - free)
    seen = set()
    for tiles in extend(tail, free):
        seen.add(spread(tiles))
    yield from seen


def _cuts(size: int, divide: bool, even: bool) -> list[int]:
    """Tile sizes of a rank: divisors; else all, but of an even rank only the smallest of each number of tiles."""
    if divide:
        return _divisors(size)
    return _smallest(size) if even else list(range(1, size + 1))


def _around(size: int, inner: int, divide: bool, even: bool) -> list[int]:
    """Tiles of which an inner tile is a part: multiples of it, and the whole rank."""
    trips = -(-size // inner)
    return sorted({min(k * inner, size) for k in _cuts(trips, divide, even)})


def _smallest(size: int) -> list[int]:
    """For each number of tiles that there can be, the smallest tile: ceil(size / number)."""
    found, tile = [], size
    while tile >= 1:
        trips = -(-size // tile)
        tile = -(-size // trips)
        found.append(tile)
        tile -= 1
    return found


def _divisors(size: int) -> list[int]:
    small = [d for d in range(1, int(size**0.5) + 1) if size % d == 0]
    return sorted({*small, *(size // d for d in small)})


def undominated(rows: Array, block: int = 512) -> Array:
    """Positions of the rows that no other row matches or beats in every column; of equal rows the first."""
    rows = rows[:, (rows != rows[:1]).any(axis=0)]
    unique, first = np.unique(rows, axis=0, return_index=True)
    # A row that beats another one has a smaller sum, so that it comes first.
    by_sum = np.lexsort((first, unique.sum(axis=1, dtype=np.float64)))
    unique, first = unique[by_sum], first[by_sum]
    kept, places = unique[:0], [first[:0]]
    for at in range(0, len(unique), block):
        part, where = unique[at : at + block], first[at : at + block]
        for low in range(0, len(kept), block):
            alive = ~_beaten(part, kept[low : low + block], alike=False)
            part, where = part[alive], where[alive]
        alive = ~_beaten(part, part, alike=True)
        kept = np.concatenate([kept, part[alive]])
        places.append(where[alive])
    return np.sort(np.concatenate(places))


def _beaten(rows: Array, front: Array, *, alike: bool) -> NDArray[np.bool_]:
    """[row] whether a row of the front matches or beats it in every column; if both are alike, another row."""
    beaten = np.ones((len(rows), len(front)), np.bool_)
    for column in range(rows.shape[1]):
        beaten &= front[None, :, column] <= rows[:, None, column]
    if alike:
        np.fill_diagonal(beaten, False)
    result: NDArray[np.bool_] = np.logical_or.reduce(beaten, axis=1)
    return result
