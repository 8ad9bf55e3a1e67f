"""Candidate tiles of `minimum_traffic`: per group of ranks, what each choice of tiles holds and moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .einsum import Access, Einsum

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
        self._tables: dict[tuple[int, tuple[str, ...], tuple[int, ...]], tuple[int, int]] = {}

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
        found = set(self.sizes)
        for access, shape in zip(self.accesses, self.shapes, strict=True):
            seen: set[str] = set()
            for index, size in zip(access.indices, shape, strict=True):
                low, high = index.bounds(self.sizes)
                if len(index.terms) > 1 or low < 0 or high >= size:
                    found -= set(index.ranks)
                found -= seen & set(index.ranks)
                seen |= set(index.ranks)
        return frozenset(found)

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
        key = (x, names, tile)
        if key not in self._tables:
            counts = [touched(self, x, dict(zip(names, box, strict=True)))
                      for box in product(*(_pieces(self.sizes[r], t) for r, t in zip(names, tile, strict=True)))]
            self._tables[key] = max(counts), sum(counts)
        return self._tables[key]


def touched(ranks: Ranks, x: int, box: dict[str, range]) -> int:
    """Different elements of access x that a box of some ranks touches, along the dimensions which these ranks index.

    Indices outside the tensor touch nothing.
    """
    names = list(box)
    grid = np.meshgrid(*(np.arange(b.start, b.stop) for b in box.values()), indexing="ij", sparse=True)
    points = np.zeros((1,) * len(names), np.int64)
    inside = np.ones((1,) * len(names), np.bool_)
    for index, size in zip(ranks.accesses[x].indices, ranks.shapes[x], strict=True):
        if not set(index.ranks) & set(names):
            continue
        value = index.offset + sum((c * grid[names.index(r)] for r, c in index.terms), np.int64(0))
        inside = inside & (value >= 0) & (value < size)
        points = points * size + value
    points, inside = np.broadcast_arrays(points, inside)
    return len(np.unique(points[inside]))


def _pieces(size: int, tile: int) -> list[range]:
    return [range(at, min(at + tile, size)) for at in range(0, size, tile)]


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
        lone = r in ranks.plain
        free = next((i for i in range(len(cuts)) if cuts[i:] == list(range(cuts[i], len(order)))), len(cuts))
        found = _chains(ranks.sizes[r], cuts, len(order), divide, lone, free if lone else len(cuts))
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
    size: int, cut: Sequence[int], levels: int, divide: bool, lone: bool, free: int
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
        for tile in _around(size, inner[0], divide, lone) if inner else _cuts(size, divide, lone):
            yield from extend((tile, *inner), left - 1)

    tail = (1,) * (len(cut) - free)
    seen = set()
    for tiles in extend(tail, free):
        seen.add(spread(tiles))
    yield from seen


def _cuts(size: int, divide: bool, lone: bool) -> list[int]:
    """Tile sizes of a rank: divisors; else all, of which a rank alone needs the smallest of each number of tiles."""
    if divide:
        return _divisors(size)
    return _smallest(size) if lone else list(range(1, size + 1))


def _around(size: int, inner: int, divide: bool, lone: bool) -> list[int]:
    """Tiles of which an inner tile is a part: multiples of it, and the whole rank."""
    trips = -(-size // inner)
    return sorted({min(k * inner, size) for k in _cuts(trips, divide, lone)})


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


def undominated(rows: Array, block: int = 256) -> Array:
    """Positions of the rows that no other row matches or beats in every column; of equal rows the first."""
    unique, first = np.unique(rows, axis=0, return_index=True)
    by_sum = np.lexsort((first, unique.sum(axis=1, dtype=np.float64)))
    unique, first = unique[by_sum], first[by_sum]
    kept = unique[:0]
    places: list[Array] = [first[:0]]
    for at in range(0, len(unique), block):
        part, where = unique[at : at + block], first[at : at + block]
        alive: NDArray[np.bool_] = np.ones(len(part), np.bool_)
        for low in range(0, len(kept), 4096):
            alive = alive & ~np.logical_or.reduce(_beaten(part, kept[low : low + 4096]), axis=1)
        part, where = part[alive], where[alive]
        beaten = _beaten(part, part)
        np.fill_diagonal(beaten, False)
        alive = ~np.logical_or.reduce(beaten, axis=1)
        kept = np.concatenate([kept, part[alive]])
        places.append(where[alive])
    return np.sort(np.concatenate(places))


def _beaten(rows: Array, front: Array) -> NDArray[np.bool_]:
    """[row, front] whether a row is matched or beaten in every column."""
    return np.logical_and.reduce(front[None, :, :] <= rows[:, None, :], axis=2)  # type: ignore[no-any-return]
