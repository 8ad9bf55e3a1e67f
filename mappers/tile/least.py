"""At most what a level takes over tiles of which nothing is known but their extents: the bound of `stage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ir import Einsum
from .hop_costs import ONCE
from .nest import Hop, Inner, Lasts, Work
from .operand import Array, Extents, Floats

NONE: Lasts = {}
EXACT = 1 - 1e-12
"""Rounding of a table's sums."""


@dataclass(frozen=True)
class Moved:
    """What operands move at least: cycles by port, joules, and cycles of each operand's tiles one after the other."""

    busy: Mapping[str, Floats]
    joules: Floats
    alone: Sequence[Floats]

    def around(self, inside: Work) -> Work:
        """The work of a level with that inside its tiles."""
        cycles = inside.cycles
        for port in self.busy.values():
            cycles = np.maximum(cycles, port)
        return Work(cycles, inside.joules + self.joules, np.zeros(1))


def moves_at_least(
    hops: Sequence[Hop], budgets: Mapping[str, int], extents: Extents, sums: Array, lasts: Lasts
) -> Moved:
    """Every operand moved once: for all tiles that it lasts for, if the whole of it fits."""
    busy: dict[str, Floats] = {}
    joules, alone = np.zeros(1), []
    for hop in hops:
        least = hop.operand.least_bytes(extents)
        once = least / _lasting(hop, budgets[hop.memory], extents, sums, lasts)
        ways = [(hop.load, once)]
        if hop.operand.is_output:  # partial results come back for all sums but the first
            ways = [(hop.store, once), (hop.load, np.maximum(once - least / sums, 0))]
        alone.append(once * sum(ways[0][0].cycles_per_byte.values()))
        for way, amount in ways:
            joules = joules + amount * way.joules_per_byte
            for port, per_byte in way.cycles_per_byte.items():
                busy[port] = busy.get(port, np.zeros(1)) + amount * per_byte
    return Moved(busy, joules, alone)


def _lasting(hop: Hop, budget: int, extents: Extents, sums: Array, lasts: Lasts) -> Array:
    """For how many tiles of these extents an operand can last: the whole of one has to stay for that."""
    if hop.key not in lasts:
        return ONCE
    times = lasts[hop.key]
    buffers = np.where(sums > times, 2, 1) if hop.operand.is_output else ONCE
    return np.where(hop.operand.tile_bytes(extents) * buffers <= budget, times, 1)


class LeastCut:
    """A unit's least work on tiles that a level may cut further: some units work on smaller tiles for less, whose
    results their accumulators hold.

    What the level has room for limits its tiles, and which of their operands may have two buffers: transfers of the
    others overlap with nothing.

    Args:
        hops: operands that move here.
        budgets: bytes that they may take of each memory.
        sizes: of the tiles of every tiled rank.
        inner: the unit.
    """

    def __init__(
        self,
        einsum: Einsum,
        hops: Sequence[Hop],
        budgets: Mapping[str, int],
        sizes: Mapping[str, Sequence[int]],
        inner: Inner,
    ) -> None:
        self.einsum, self.hops, self.budgets = einsum, hops, budgets
        self.sizes = {r: np.array(sorted(n), np.int64) for r, n in sizes.items()}
        number = range(len(hops))
        self.single = tuple(dict.fromkeys((frozenset[int](), *(frozenset((h,)) for h in number), frozenset(number))))
        """Operands that may have a single buffer together."""
        grid = np.meshgrid(*self.sizes.values(), indexing="ij") if self.sizes else [np.ones(1, np.int64)]
        self.shape = grid[0].shape
        tile = {r: np.full(grid[0].size, n, np.int64) for r, n in einsum.sizes.items()}
        tile |= {r: n.ravel() for r, n in zip(self.sizes, grid, strict=False)}
        points = np.prod(grid, axis=0).astype(np.float64).ravel()
        each = [np.broadcast_to(hop.operand.tile_bytes(tile), points.shape) for hop in hops]
        fits = [self._fits(each, single, points.size) for single in self.single]
        works = [inner.bound(tile, np.full(1, n, np.int64), NONE) for n in (1, 2**40)]
        self.any = [self._least(work.cycles / points) for work in works]
        """Cycles per point of a tile at most so large, by the sizes of its ranks: of one that makes whole results, and
        of one of very many sums."""
        self.joules = [self._least(work.joules / points) for work in works]
        self.fitting = [[self._least(np.where(fit, w.cycles / points, np.inf)) for w in works] for fit in fits]
        """The same of tiles that there is room for, by operands with a single buffer."""

    def _fits(self, each: Sequence[Array], single: frozenset[int], number: int) -> NDArray[np.bool_]:
        """Which tiles there is room for."""
        held = {m: np.zeros(number, np.int64) for m in self.budgets}
        for h, (hop, one) in enumerate(zip(self.hops, each, strict=True)):
            held[hop.memory] += one if h in single else 2 * one
        found = np.full(number, True)
        for m, taken in held.items():
            found &= taken <= self.budgets[m]
        return found

    def _least(self, costs: Floats) -> Floats:
        table = costs.reshape(self.shape)
        for axis in range(table.ndim):
            table = np.minimum.accumulate(table, axis=axis)
        return table * EXACT

    def around(self, extents: Extents, sums: Array, moved: Moved) -> Work:
        """The work of the level, which moves so much."""
        shares = [extents[r] for r in self.sizes]
        points = np.prod(np.broadcast_arrays(*shares, ONCE), axis=0)
        at = tuple(
            np.minimum(np.searchsorted(n, e), len(n) - 1) for n, e in zip(self.sizes.values(), shares, strict=True)
        )
        several = sums > 1

        def cycles(tables: Sequence[Floats]) -> Floats:
            whole, part = (points * table[at] for table in tables)
            return np.asarray(np.where(several, part, np.minimum(whole, part)))

        whole, part = (points * table[at] for table in self.joules)
        joules = np.minimum(part, part + (whole - part) / sums)
        found = moved.around(Work(cycles(self.any), joules, np.zeros(1)))
        best = np.full(1, np.inf)
        for single, tables in zip(self.single, self.fitting, strict=True):
            inside = Work(cycles(tables), joules, np.zeros(1))
            best = np.minimum(best, moved.around(inside).cycles + sum((moved.alone[h] for h in single), np.zeros(1)))
        known = (best < np.inf) & self._on_grid(at, extents)
        return Work(np.where(known, best, found.cycles), found.joules, found.edge)

    def _on_grid(self, at: Sequence[Array], extents: Extents) -> NDArray[np.bool_]:
        """Whether the tables have what a tile may be cut to: not where a size between two of them might fit. A single
        tile of the whole Einsum is not looked at: it has one buffer."""
        known = np.full(1, True)
        whole = np.full(1, True)
        for (r, sizes), i in zip(self.sizes.items(), at, strict=True):
            known = known & (sizes[i] == extents[r])
        for r, n in self.einsum.sizes.items():
            whole = whole & (extents[r] >= n)
        return np.asarray(known & ~whole)
