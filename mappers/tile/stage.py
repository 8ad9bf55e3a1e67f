"""One level of a loop nest: every tiling of a bounded space, evaluated in bulk; the inside of a tile is settled lazily.

A level brings tensors into the memories of one distance from the chip's edge. Its space: a tile size per tiled rank out
of a short list; the order of its loops; for every tensor that moves here, outside of which of them its tile is cut: of
a tensor that is cut farther out a larger piece stays, over which the loops further in run again and again.

The cost of a choice depends on the order only through the set of loops outside of each tensor's cut and, where tiles of
a window overlap along it, the innermost of them (`Cut`), so that those are enumerated, not the orders.

Loads and stores are double buffered unless there is a single tile in all levels. One tensor of a level may have a
single buffer, so that larger tiles of it fit, and all together in levels further in; their transfers overlap with
nothing.

Latency is estimated as the largest of compute time, transfer time over each port, and the round trips of each tensor's
two buffers (a buffer is taken from the start of its load, over the memory's latency, to the end of its use), plus the
first load, the last store, and the transfers through a single buffer; energy is counted actions times their energies,
partial results between tiles on average.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations, product
from math import inf, prod
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...arch.layout import Layout
from ...ir import Einsum
from ...lowering.ports import Route
from .operand import Array, Extents, Floats, Operand, tiles

TIE = {"latency": 0.01, "energy": 0.001, "edp": 0.01}
"""Plans whose objectives differ by less than this share count as equal, and the one that moves fewer bytes off chip is
taken, for the objective ``energy`` the faster one. Cycles are estimated, energy is counted."""
FIRST_BLOCK, BLOCK = 32, 512
"""Tilings that are evaluated with all cuts at once, first and afterwards."""

Way: TypeAlias = tuple[str, str, bool]
"""A tensor, the memory that it comes to on its way to the unit or leaves on the way back; whether it is a result."""


class Cut(NamedTuple):
    """How a tensor is cut.

    Attributes:
        ranks: whose loops stand around its tile.
        slides: the innermost one, if tiles slide along it.
        single: one buffer for all its tiles.
    """

    ranks: frozenset[str]
    slides: str = ""
    single: bool = False


@dataclass(frozen=True)
class Hop:
    """The way of one operand between two neighbouring memories; `memory` is the one nearer to the unit.

    Attributes:
        weighs: whether its bytes count as off-chip traffic.
    """

    operand: Operand
    memory: str
    load: Route
    store: Route
    weighs: bool

    @property
    def key(self) -> Way:
        return self.operand.tensor, self.memory, self.operand.is_output


@dataclass(frozen=True)
class Work:
    """Time and energy of tiles: cycles of the machine's clock, joules, and cycles until the first one can begin and
    after the last one has ended."""

    cycles: Floats
    joules: Floats
    edge: Floats


@dataclass(frozen=True)
class Level:
    """The loops of one level, (rank, tile), outermost first, and where among them tensors are cut.

    Attributes:
        depth: way to the number of these loops around its tiles.
        slides: those whose tiles bring only what the one before, in the innermost of these loops, did not hold.
        buffers: the same to the number of buffers for them.
        tile_bytes: the same to the bytes of one.
    """

    loops: tuple[tuple[str, int], ...]
    depth: Mapping[Way, int]
    buffers: Mapping[Way, int]
    tile_bytes: Mapping[Way, int]
    slides: frozenset[Way] = frozenset()


@dataclass(frozen=True)
class Nest:
    """Everything inside a level: further levels, and how the unit runs the innermost tiles."""

    levels: tuple[Level, ...] = ()
    layout: Layout | None = None
    complete: bool = True


@dataclass(frozen=True)
class Shortfall:
    """No candidate fits `memory`: the smallest one needs `needed` bytes of it."""

    needed: int
    memory: str = ""
    capacity: int = 0


class Inner(Protocol):
    """What runs inside the tiles of a level."""

    exact: bool
    """Whether `bound` is the cost itself, and there is nothing to settle."""

    def bound(self, extents: Extents, sums: Array) -> Work:
        """At most the work of tiles; `sums` of them add up to a result."""

    def settle(self, extents: Mapping[str, int], sums: int) -> Nest | Shortfall:
        """The best way to run a tile; `sums` of them add up to a result."""

    def work(self, nest: Nest, extents: Extents, sums: Array) -> Work:
        """The work of tiles that run so."""


@dataclass(frozen=True)
class Space:
    """The tilings to look at: sizes of every tiled rank, and the orders of loops that are allowed."""

    sizes: Mapping[str, Sequence[int]]
    orders: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _HopCost:
    """Of one operand cut at one place, one entry per tiling."""

    held: Array
    bytes_in: Floats
    bytes_out: Floats
    instances: Array
    tile: Array
    buffers: Array


class _Bound(NamedTuple):
    """At most the objective of each tiling, and what decides a tie."""

    value: Floats
    tie: Floats


class _Moving(NamedTuple):
    """Cycles of transfers: of the busiest port, of the slowest tensor's tiles one by one, of those that overlap with
    nothing because they have a single buffer."""

    busiest: Floats
    trips: Floats
    alone: Floats

    def beside(self, compute: Floats) -> Floats:
        """Cycles of compute and transfers together."""
        return np.asarray(np.maximum(np.maximum(compute, self.busiest), (compute + self.trips) / 2) + self.alone)


class _Costs(NamedTuple):
    """Of all cuts of some tilings, (cuts, tilings), as far as their insides do not matter."""

    moving: _Moving
    edge: Floats
    joules: Floats
    traffic: Floats
    moved: Array
    fits: NDArray[np.bool_]

    def of(self, tiling: int) -> _Costs:
        """Those of one tiling."""

        def one(x: NDArray[Any]) -> NDArray[Any]:
            return x[:, tiling : tiling + 1] if x.ndim > 1 and x.shape[1] > 1 else x

        moving, *others = self
        return _Costs(_Moving(*map(one, moving)), *map(one, others))


@dataclass(frozen=True)
class Found:
    """The best choice of a level.

    Attributes:
        value: of the objective; `traffic` in bytes off chip.
        work: cycles without the edge, joules and edge.
        held: bytes that it takes of each memory of the level.
    """

    value: float
    traffic: int
    nest: Nest
    work: Work
    held: Mapping[str, int]


class Stage:
    """The search of one level for one Einsum.

    Args:
        hops: operands that move here.
        budgets: bytes that they may take of each memory.
        space: tilings of the whole Einsum; inside a tile of a level farther out, sizes are cut to that tile.
        inner: what runs inside a tile.
        clock: of the machine, in hertz.
        nodes: tilings whose insides are settled at most.
        nested: whether there are levels around this one.
    """

    exact = False

    def __init__(
        self,
        einsum: Einsum,
        hops: Sequence[Hop],
        budgets: Mapping[str, int],
        space: Space,
        inner: Inner,
        objective: str,
        clock: float,
        nodes: int,
        *,
        nested: bool = False,
    ) -> None:
        self.einsum, self.hops, self.budgets, self.space, self.inner = einsum, tuple(hops), budgets, space, inner
        self.objective, self.clock, self.nodes, self.equal = objective, clock, nodes, 1 + TIE[objective]
        self.reduced = frozenset(einsum.reduced_ranks)
        operands = [hop.operand for hop in hops]
        ranks, slides = tuple(o.ranks for o in operands), tuple(o.slides for o in operands)
        table = cut_table(space.orders, ranks, slides, buffers="nested" if nested else "outer")
        self.cuts, self.orders = table.cuts, table.orders
        self._settled: dict[Hashable, Found | Shortfall] = {}

    # As what runs inside a level farther out

    def bound(self, extents: Extents, sums: Array) -> Work:
        """The insides' bound, and every operand moved once."""
        inside = self._cut_further(extents) if self.inner.exact else self.inner.bound(extents, sums)
        return self._bound_around(inside, extents)

    def _bound_around(self, inside: Work, extents: Extents) -> Work:
        """The bound of what is inside, and every operand moved once."""
        joules, moving = inside.joules, inside.cycles
        busy: dict[str, Floats] = {}
        for hop in self.hops:
            way = hop.store if hop.operand.is_output else hop.load
            amount = hop.operand.least_bytes(extents)
            joules = joules + amount * way.joules_per_byte
            for port, per_byte in way.cycles_per_byte.items():
                busy[port] = busy.get(port, np.zeros(1)) + amount * per_byte
        for cycles in busy.values():
            moving = np.maximum(moving, cycles)
        return Work(moving, joules, np.zeros(1))

    def _cut_further(self, extents: Extents) -> Work:
        """At most the work of a unit on tiles that this level cuts: some units work on smaller ones for less, whose
        results their accumulators hold."""
        shares = [extents[r] for r in self._sizes]
        points = np.prod(np.broadcast_arrays(*shares, np.ones(1, np.int64)), axis=0)
        at = tuple(
            np.minimum(np.searchsorted(n, e), len(n) - 1) for n, e in zip(self._sizes.values(), shares, strict=True)
        )
        cycles, joules = (points * table[at] for table in self._per_point)
        return Work(cycles, joules, np.zeros(1))

    @cached_property
    def _sizes(self) -> Mapping[str, Array]:
        """Tile sizes of every tiled rank, smallest first."""
        return {r: np.array(sorted(n), np.int64) for r, n in self.space.sizes.items()}

    @cached_property
    def _per_point(self) -> tuple[Floats, Floats]:
        """Least cycles and joules of a unit per point of a tile at most so large, by the sizes of its ranks."""
        grid = np.meshgrid(*self._sizes.values(), indexing="ij") if self._sizes else [np.ones(1, np.int64)]
        tile = {r: np.full(grid[0].size, n, np.int64) for r, n in self.einsum.sizes.items()}
        tile |= {r: n.ravel() for r, n in zip(self._sizes, grid, strict=False)}
        points = np.prod(grid, axis=0).astype(np.float64)
        found = []
        works = [self.inner.bound(tile, np.full(1, sums, np.int64)) for sums in (1, 2**40)]
        for costs in ([w.cycles for w in works], [w.joules for w in works]):
            table = np.minimum(*costs).reshape(points.shape) / points
            for axis in range(table.ndim):
                table = np.minimum.accumulate(table, axis=axis)
            found.append(table * (1 - 1e-12))
        return found[0], found[1]

    def settle(self, extents: Mapping[str, int], sums: int) -> Nest | Shortfall:
        found = self.best(extents, sums)
        return found if isinstance(found, Shortfall) else found.nest

    def work(self, nest: Nest, extents: Extents, sums: Array) -> Work:
        level = nest.levels[0]
        tile = {r: np.minimum(t, extents[r]) for r, t in level.loops}
        cuts = []
        for hop in self.hops:
            around = [r for r, _ in level.loops[: level.depth[hop.key]]]
            single = level.buffers[hop.key] == 1
            cuts.append(Cut(frozenset(around), around[-1] if hop.key in level.slides else "", single))
        inside = self._inside(extents, tile, sums, Nest(nest.levels[1:], nest.layout))
        costs = [self._hop(hop, cut, extents, tile, sums) for hop, cut in zip(self.hops, cuts, strict=True)]
        moving, edge, joules = self._moving(costs)
        cycles = moving.beside(inside.cycles)
        return Work(cycles, inside.joules + joules, edge + inside.edge)

    # The search

    def best(self, extents: Mapping[str, int], sums: int = 1) -> Found | Shortfall:
        """The choice with the least objective over a tile (or the whole) of these extents, on the mean over `sums` of
        them that add up to a result."""
        key = sums, *sorted(extents.items())
        if key not in self._settled:
            self._settled[key] = self._search(extents, sums)
        return self._settled[key]

    def _search(self, extents: Mapping[str, int], sums: int) -> Found | Shortfall:
        whole = {r: np.full(1, n, np.int64) for r, n in extents.items()}
        tile = self._grid(extents)
        times = np.full(1, sums, np.int64)
        if self.inner.exact and (found := self._as_one(whole, tile, times)) is not None:
            return found
        tables = [
            {cut: self._hop(hop, cut, whole, tile, times) for cut in dict.fromkeys(c[i] for c in self.cuts)}
            for i, hop in enumerate(self.hops)
        ]
        least = self._least(tables)
        fits = np.ones(len(least), np.bool_)
        for memory, budget in self.budgets.items():
            fits &= self._least_held(tables, memory) <= budget
        rows = np.flatnonzero(fits)
        if not len(rows):
            return self._shortfall(tables)
        bounded = self._inside(whole, {r: t[rows] for r, t in tile.items()}, times, None)
        inside = Work(*(np.zeros(len(fits)) for _ in range(3)))
        inside.cycles[rows], inside.joules[rows], inside.edge[rows] = bounded.cycles, bounded.joules, bounded.edge
        cycles = np.maximum(inside.cycles, least) + inside.edge + self._least_edge(tables)
        value = self._value(cycles, inside.joules + self._least_joules(tables))
        bound = _Bound(value, self._tie(cycles, self._least_traffic(tables)))
        order = rows[np.lexsort((bound.tie[rows], bound.value[rows]))]
        if self.objective != "energy" and fits[0] and all(t[0] == extents[r] for r, t in tile.items()):
            # A single tile moves least: where its value is as good as the bound of all, there is nothing to look for.
            whole_tile = _Pick(self, extents, sums, tile, tables, inside, bound, rows[:1]).best()
            if isinstance(whole_tile, Found) and whole_tile.value <= bound.value[order[0]] * self.equal:
                return whole_tile
        return _Pick(self, extents, sums, tile, tables, inside, bound, order).best()

    def _as_one(self, extents: Extents, tile: Extents, sums: Array) -> Found | None:
        """The single tile, which moves least, where it fits and no bound of a tiling is better: without looking at the
        places where operands could be cut."""
        if self.objective == "energy" or any(t[0] != extents[r][0] for r, t in tile.items()):
            return None
        first = {r: t[:1] for r, t in tile.items()}
        costs = [self._hop(hop, Cut(frozenset()), extents, first, sums) for hop in self.hops]
        held = dict.fromkeys(self.budgets, 0)
        for hop, cost in zip(self.hops, costs, strict=True):
            held[hop.memory] += int(cost.held[0])
        if any(held[m] > budget for m, budget in self.budgets.items()):
            return None
        own = self._inside(extents, first, sums, None)
        moving, edge, joules = self._moving(costs)
        work = Work(moving.beside(own.cycles), own.joules + joules, edge + own.edge)
        value = float(self._value(work.cycles + work.edge, work.joules)[0])
        for tilings in (first, tile):  # its own bound first, which takes less to find
            inside = own if tilings is first else self._inside(extents, tile, sums, None)
            bound = self._bound_around(inside, extents)
            if value > self._value(bound.cycles + inside.edge, bound.joules).min() * self.equal:
                return None
        traffic = sum(float(c.bytes_in[0] + c.bytes_out[0]) for h, c in zip(self.hops, costs, strict=True) if h.weighs)
        keys = [hop.key for hop in self.hops]
        buffers, sizes = ({k: int(x[0]) for k, x in zip(keys, column, strict=True)}
                          for column in ([c.buffers for c in costs], [c.tile for c in costs]))  # fmt: skip
        level = Level((), dict.fromkeys(keys, 0), buffers, sizes)
        return Found(value, int(traffic), Nest((level,)), work, held)

    def _grid(self, extents: Mapping[str, int]) -> dict[str, Array]:
        lists = {r: sorted({min(s, extents[r]) for s in sizes}, reverse=True) for r, sizes in self.space.sizes.items()}
        rows = list(product(*lists.values()))
        grid = np.array(rows, np.int64).reshape(len(rows), len(lists))
        return {r: grid[:, i] for i, r in enumerate(lists)}

    def _inside(self, extents: Extents, tile: Extents, sums: Array, nest: Nest | None) -> Work:
        """Work inside all tiles; a bound of it without a nest."""
        times = sums
        for r, t in tile.items():
            if r in self.reduced:
                times = times * -(-extents[r] // t)
        boxes = tiles(extents, tile)
        if nest is not None:
            return self._together(boxes, extents, times, nest)
        cycles, joules, edge = np.zeros(1), np.zeros(1), np.zeros(1)
        for number, (box, count) in enumerate(boxes):
            work = self.inner.bound({**extents, **box}, times)
            cycles = cycles + count * work.cycles
            joules = joules + count * work.joules
            edge = work.edge if number == 0 else edge
        return Work(cycles, joules, edge)

    def _together(
        self, boxes: Sequence[tuple[Mapping[str, Array], Array]], extents: Extents, sums: Array, nest: Nest
    ) -> Work:
        """Work of boxes, as often as each occurs, in one go: a unit's cost takes about as long for few as for many."""
        n = max(len(x) for x in (sums, *extents.values(), *(count for _, count in boxes)))

        def joined(arrays: Sequence[Array]) -> Array:
            return np.concatenate([np.broadcast_to(x, (n,)) for x in arrays])

        one = {r: joined([box.get(r, size) for box, _ in boxes]) for r, size in extents.items()}
        work = self.inner.work(nest, one, joined([sums] * len(boxes)))
        count = joined([count for _, count in boxes])
        cycles, joules = ((count * x).reshape(-1, n).sum(axis=0) for x in (work.cycles, work.joules))
        return Work(cycles, joules, np.broadcast_to(work.edge, count.shape)[:n])

    def _hop(self, hop: Hop, cut: Cut, extents: Extents, tile: Extents, sums: Array) -> _HopCost:
        operand = hop.operand
        here = {**extents, **{r: np.minimum(t, extents[r]) for r, t in tile.items() if r in cut.ranks}}
        size = operand.tile_bytes(here)
        visits = instances = partial = np.ones(1, np.int64)
        for r, t in tile.items():
            if r in cut.ranks:
                trips = -(-extents[r] // t)
                instances = instances * trips
                visits = visits if r in operand.ranks else visits * trips
                partial = partial * trips if r in self.reduced else partial
        swept = operand.swept_bytes(extents, tile, cut.ranks, cut.slides)
        total = (swept * visits).astype(np.float64)
        # Inside a tile of a level farther out the next one's tiles may come while this one's are used.
        again = np.logical_or.reduce(np.broadcast_arrays(*(extents[r] < n for r, n in self.einsum.sizes.items())))
        buffers = np.where((instances > 1) | again, 1 if cut.single else 2, 1)
        held = size * buffers
        if operand.is_output:
            held = held * np.where(partial * sums > 1, 2, 1)
            cost = (held, total - swept / sums, total)
        else:
            cost = (held, total, np.zeros(1))
        n = max(len(t) for t in (*tile.values(), size, sums)) if tile else max(len(size), len(sums))
        arrays = (*cost, instances, size, buffers)
        return _HopCost(*(np.broadcast_to(x, (n,)) for x in arrays))

    def _moving(self, costs: Sequence[_HopCost]) -> tuple[_Moving, Floats, Floats]:
        """Transfers; cycles of the first load and the last store, of those that overlap with others; joules."""
        busy: dict[str, Floats] = {}
        trips, alone, edge, joules = np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1)
        for hop, cost in zip(self.hops, costs, strict=True):
            for way, amount in ((hop.load, cost.bytes_in), (hop.store, cost.bytes_out)):
                joules = joules + amount * way.joules_per_byte
                for port, per_byte in way.cycles_per_byte.items():
                    busy[port] = busy.get(port, np.zeros(1)) + amount * per_byte
            single = self._single(hop, cost)
            trips = np.maximum(trips, np.where(cost.buffers > 1, cost.instances * single, 0.0))
            alone = alone + np.where(cost.buffers > 1, 0.0, cost.instances * single)
            edge = edge + np.where(cost.buffers > 1, single, 0.0)
        busiest = np.zeros(1)
        for cycles in busy.values():
            busiest = np.maximum(busiest, cycles)
        return _Moving(busiest, trips, alone), edge, joules

    def _single(self, hop: Hop, cost: _HopCost) -> Floats:
        """Cycles of one tile on its way."""
        way = hop.store if hop.operand.is_output else hop.load
        wait = 0.0 if hop.operand.is_output or not way.ports else way.latency * self.clock
        return np.asarray(cost.tile * sum(way.cycles_per_byte.values()) + wait, np.float64)

    def _value(self, cycles: Floats, joules: Floats) -> Floats:
        return {"latency": cycles, "energy": joules, "edp": cycles / self.clock * joules}[self.objective]

    def _tie(self, cycles: Floats, traffic: Floats) -> Floats:
        return cycles if self.objective == "energy" else traffic

    # Bounds over all cuts

    def _least(self, tables: Sequence[Mapping[Cut, _HopCost]]) -> Floats:
        busy: dict[str, Floats] = {}
        for hop, table in zip(self.hops, tables, strict=True):
            for way, key in ((hop.load, "bytes_in"), (hop.store, "bytes_out")):
                least = np.min([getattr(c, key) for c in table.values()], axis=0)
                for port, per_byte in way.cycles_per_byte.items():
                    busy[port] = busy.get(port, np.zeros(1)) + least * per_byte
        n = max((len(next(iter(t.values())).held) for t in tables), default=1)
        result = np.zeros(n)
        for cycles in busy.values():
            result = np.maximum(result, cycles)
        return result

    def _least_joules(self, tables: Sequence[Mapping[Cut, _HopCost]]) -> Floats:
        total: Any = np.zeros(1)
        for hop, table in zip(self.hops, tables, strict=True):
            load, store = hop.load.joules_per_byte, hop.store.joules_per_byte
            total = total + np.min([c.bytes_in * load + c.bytes_out * store for c in table.values()], axis=0)
        return np.asarray(total, np.float64)

    def _least_edge(self, tables: Sequence[Mapping[Cut, _HopCost]]) -> Floats:
        total: Floats = np.zeros(1)
        for hop, table in zip(self.hops, tables, strict=True):
            total = total + np.min([self._single(hop, c) for c in table.values()], axis=0)
        return total

    def _least_traffic(self, tables: Sequence[Mapping[Cut, _HopCost]]) -> Floats:
        total: Floats = np.zeros(max((len(next(iter(t.values())).held) for t in tables), default=1))
        for hop, table in zip(self.hops, tables, strict=True):
            if hop.weighs:
                total = total + np.min([c.bytes_in + c.bytes_out for c in table.values()], axis=0)
        return total

    def _least_held(self, tables: Sequence[Mapping[Cut, _HopCost]], memory: str) -> Array:
        total: Array = np.zeros(1, np.int64)
        for hop, table in zip(self.hops, tables, strict=True):
            if hop.memory == memory:
                total = total + np.min([c.held for c in table.values()], axis=0)
        return total

    def _shortfall(self, tables: Sequence[Mapping[Cut, _HopCost]]) -> Shortfall:
        lacks = {m: int(self._least_held(tables, m).min()) - b for m, b in self.budgets.items()}
        memory = max(lacks, key=lambda m: lacks[m])
        return Shortfall(lacks[memory] + self.budgets[memory], memory, self.budgets[memory])


class _Pick:
    """The choice among tilings, in order of their bounds, with all cuts of each."""

    def __init__(
        self,
        stage: Stage,
        extents: Mapping[str, int],
        sums: int,
        tile: dict[str, Array],
        tables: list[dict[Cut, _HopCost]],
        inside: Work,
        bound: _Bound,
        order: Array,
    ) -> None:
        self.stage, self.extents, self.sums, self.tile, self.tables = stage, extents, sums, tile, tables
        self.inside, self.bound, self.order = inside, bound, order
        self.which = [
            np.array([list(table).index(cuts[i]) for cuts in stage.cuts]) for i, table in enumerate(tables)
        ]  # fmt: skip
        self.least = inf
        self.winner = inf, inf
        """Value and tie of the best choice so far: tilings that are no better in either are left out."""
        self.near: list[Floats] = []
        """Value, tie, tiles moved, row, number of the cuts and traffic, a column per choice that may be the best."""
        self.nests: dict[int, tuple[Nest, Work]] = {}
        self.complete = True
        self.crowded: dict[str, int] = {}

    def best(self) -> Found | Shortfall:
        if self.stage.inner.exact:
            self._look_at_all()
        else:
            self._settle_best()
        if not self.near:
            memory = max(self.crowded, key=lambda m: self.crowded[m] - self.stage.budgets.get(m, 0), default="")
            return Shortfall(self.crowded.get(memory, 0), memory, self.stage.budgets.get(memory, 0))
        near = np.concatenate(self.near, axis=1)
        near = near[:, near[0] <= self.least * self.stage.equal]
        value, _, _, row, number, traffic = near[:, np.lexsort((near[4], near[3], near[0], near[2], near[1]))[0]]
        return self._found(float(value), int(traffic), int(row), int(number))

    def _look_at_all(self) -> None:
        start, size = 0, FIRST_BLOCK
        while start < len(self.order):
            rows = self.order[start : start + size]
            start, size = start + size, BLOCK
            if self.bound.value[rows[0]] > self.least * self.stage.equal:
                return
            value, tie = self.winner
            rows = rows[(self.bound.value[rows] < value) | (self.bound.tie[rows] < tie)]
            if len(rows):
                self._consider(rows, self._costs(rows), self._at(rows))

    def _settle_best(self) -> None:
        """Settle the insides of the most promising tilings until no bound of another is better than what there is.

        The bounds are those of the joint cuts. Half of the tilings that may be settled are the first in the order of
        their bounds, the others the first in the order of what decides a tie among those that are as good.
        """
        found, costs = [], []
        for start in range(0, len(self.order), BLOCK):
            rows = self.order[start : start + BLOCK]
            costs.append(self._costs(rows))
            value, tie = self._values(costs[-1], self._at(rows))
            least = value.min(axis=0)
            found.append((least, np.where(value <= least * self.stage.equal, tie, inf).min(axis=0)))
        bound, tie = (np.concatenate(x) for x in zip(*found, strict=True))
        left = np.isfinite(bound)
        by_bound = np.lexsort((self.order, np.round(np.log(bound), 6)))  # of equal ones, large tiles first
        by_tie = np.lexsort((bound, tie))
        nodes = self.stage.nodes
        for order, limit in ((by_bound, nodes // 2), (by_tie, nodes), (by_bound, nodes)):
            for i in order:
                better = bound[i] < self.least if order is by_bound else bound[i] <= self.least * self.stage.equal
                if not left[i] or not better or (order is by_tie and tie[i] >= self.winner[1]):
                    continue
                if len(self.nests) >= limit:
                    break
                left[i] = False
                self._settle(int(self.order[i]), costs[i // BLOCK].of(i % BLOCK))
        self.complete &= not bool((left & (bound < self.least)).any())

    def _at(self, rows: Array) -> Work:
        return Work(self.inside.cycles[rows], self.inside.joules[rows], self.inside.edge[rows])

    def _costs(self, rows: Array) -> _Costs:
        """All cuts of some tilings."""
        columns = [
            _HopCost(*(np.stack([getattr(c, f)[rows] for c in table.values()])[which] for f in _FIELDS))
            for table, which in zip(self.tables, self.which, strict=True)
        ]
        moving, edge, joules = self.stage._moving(columns)
        shape = (len(self.stage.cuts), len(rows))
        traffic, moved = np.zeros(shape), np.zeros(shape, np.int64)
        fits = np.ones(shape, np.bool_)
        for hop, cost in zip(self.stage.hops, columns, strict=True):
            traffic = traffic + (cost.bytes_in + cost.bytes_out if hop.weighs else 0)
            moved = moved + cost.instances
        for memory, budget in self.stage.budgets.items():
            held = sum((c.held for h, c in zip(self.stage.hops, columns, strict=True) if h.memory == memory),
                       np.zeros(shape, np.int64))  # fmt: skip
            fits &= held <= budget
            self.crowded[memory] = min(self.crowded.get(memory, int(held.min())), int(held.min()))
        return _Costs(moving, edge, joules, traffic, moved, fits)

    def _values(self, costs: _Costs, inside: Work) -> tuple[Floats, Floats]:
        """Objective (infinite for what does not fit) and what decides a tie, of all cuts."""
        cycles = costs.moving.beside(inside.cycles) + costs.edge + inside.edge
        value = np.where(costs.fits, self.stage._value(cycles, inside.joules + costs.joules), inf)
        return value, np.broadcast_to(self.stage._tie(cycles, costs.traffic), value.shape)

    def _settle(self, row: int, costs: _Costs) -> None:
        """Settle the inside of one tiling."""
        tile = {r: int(t[row]) for r, t in self.tile.items()}
        parts = prod(-(-self.extents[r] // t) for r, t in tile.items() if r in self.stage.reduced)
        inner = self.stage.inner.settle({**self.extents, **tile}, self.sums * parts)
        if isinstance(inner, Shortfall):
            self.crowded[inner.memory] = min(self.crowded.get(inner.memory, inner.needed), inner.needed)
            return
        self.complete &= inner.complete
        whole = {r: np.full(1, n, np.int64) for r, n in self.extents.items()}
        single = {r: np.full(1, t, np.int64) for r, t in tile.items()}
        work = self.stage._inside(whole, single, np.full(1, self.sums, np.int64), inner)
        self.nests[row] = inner, work
        self._consider(np.array([row]), costs, work)

    def _consider(self, rows: Array, costs: _Costs, inside: Work) -> None:
        value, tie = self._values(costs, inside)
        least = float(value.min())
        if least == inf:
            return
        self.least = min(self.least, least)
        cuts, columns = at = np.nonzero(value <= self.least * self.stage.equal)
        if not len(cuts):
            return
        traffic, moved = (np.broadcast_to(x, value.shape)[at] for x in (costs.traffic, costs.moved))
        near = np.stack([value[at], tie[at], moved, rows[columns], cuts, traffic])
        if self.winner[0] > self.least * self.stage.equal:
            self.winner = inf, inf
        best = np.lexsort((near[0], near[1]))[0]
        found = float(near[0, best]), float(near[1, best])
        self.winner = min(self.winner, found, key=lambda pair: (pair[1], pair[0]))
        self.near.append(near[:, (near[0] < self.winner[0]) | (near[1] <= self.winner[1])])

    def _found(self, value: float, traffic: int, row: int, number: int) -> Found:
        cuts, order = self.stage.cuts[number], self.stage.orders[number]
        size = {r: int(t[row]) for r, t in self.tile.items()}
        loops = tuple((r, size[r]) for r in order if size[r] < self.extents[r])
        costs = [table[cut] for table, cut in zip(self.tables, cuts, strict=True)]
        names = [hop.key for hop in self.stage.hops]
        level = Level(
            loops,
            {n: sum(r in cut.ranks for r, _ in loops) for n, cut in zip(names, cuts, strict=True)},
            {n: int(cost.buffers[row]) for n, cost in zip(names, costs, strict=True)},
            {n: int(cost.tile[row]) for n, cost in zip(names, costs, strict=True)},
            frozenset(n for n, cut in zip(names, cuts, strict=True) if cut.slides in dict(loops)),
        )
        inner, inside = self.nests.get(row, (None, None))
        if inside is None:
            inside = Work(*(x[row : row + 1] for x in (self.inside.cycles, self.inside.joules, self.inside.edge)))
        rest = inner or Nest()
        moving, edge, joules = self.stage._moving([_rows(c, np.array([row])) for c in costs])
        cycles = moving.beside(inside.cycles)
        held = dict.fromkeys(self.stage.budgets, 0)
        for hop, cost in zip(self.stage.hops, costs, strict=True):
            held[hop.memory] += int(cost.held[row])
        return Found(
            value,
            traffic,
            Nest((level, *rest.levels), rest.layout, self.complete),
            Work(cycles, inside.joules + joules, edge + inside.edge),
            held,
        )


_FIELDS = ("held", "bytes_in", "bytes_out", "instances", "tile", "buffers")


def _rows(cost: _HopCost, rows: Array) -> _HopCost:
    return _HopCost(*(getattr(cost, f)[rows] for f in _FIELDS))


@dataclass(frozen=True)
class CutTable:
    """Every combination of cuts that some order of the loops allows, and for each such an order."""

    cuts: tuple[tuple[Cut, ...], ...]
    orders: tuple[tuple[str, ...], ...]


@lru_cache(maxsize=2**10)
def cut_table(
    orders: tuple[tuple[str, ...], ...],
    ranks: tuple[frozenset[str], ...],
    slides: tuple[frozenset[str], ...],
    *,
    buffers: Literal["", "outer", "nested"] = "",
) -> CutTable:
    """Cuts of operands: each directly inside a loop that matters to it, or outside of all.

    Args:
        orders: ranks of the loops, outermost first.
        ranks: those that matter to each operand.
        slides: those along which its tiles overlap.
        buffers: which operands may have a single buffer: none, any one whose tiles a loop changes (of an outer level),
            any one and all together (of one further in).
    """
    found: dict[tuple[Cut, ...], tuple[str, ...]] = {}
    for order in orders:
        options = [
            [
                Cut(frozenset()),
                *(Cut(frozenset(order[: i + 1]), r if r in sliding else "") for i, r in enumerate(order) if r in mine),
            ]
            for mine, sliding in zip(ranks, slides, strict=True)
        ]
        for cuts in product(*options):
            found.setdefault(cuts, order)
            for i, cut in enumerate(cuts):
                if buffers == "nested" or (buffers and cut.ranks):
                    found.setdefault((*cuts[:i], cut._replace(single=True), *cuts[i + 1 :]), order)
            if buffers == "nested":
                found.setdefault(tuple(cut._replace(single=True) for cut in cuts), order)
    return CutTable(tuple(found), tuple(found.values()))


def orders_of(outer: Sequence[str], inner: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Loop orders in which some ranks stand outermost, in the order given, and the others in any."""
    return tuple((*outer, *p) for p in permutations(inner))
