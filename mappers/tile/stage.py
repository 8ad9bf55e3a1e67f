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
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise, permutations, product
from math import inf, prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...arch.layout import Layout
from ...ir import Einsum
from ...lowering.ports import Route
from .operand import Array, Extents, Floats, Operand, tiles

if TYPE_CHECKING:  # numba takes a while to load
    from . import stage_kernel as kernel

TIE = {"latency": 0.01, "energy": 0.001, "edp": 0.01}
"""Plans whose objectives differ by less than this share count as equal, and the one of less energy is taken, for the
objective ``energy`` the faster one. Cycles are estimated, energy is counted."""
GRADE = {"latency": 0.005, "energy": 1e-6, "edp": 0.005}
"""Shares by which bounds are told apart: of one grade that with the least tie is settled first."""
FIRST_BLOCK, BLOCK = 32, 64
"""Tilings whose joint cuts are looked at at once, first and afterwards."""
TINY = 1e-300
Numbers: TypeAlias = NDArray[Any]

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

    held: Numbers
    bytes_in: Floats
    bytes_out: Floats
    instances: Numbers
    tile: Numbers
    buffers: Numbers


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


class _Least(NamedTuple):
    """Over all cuts of every tiling: cycles of the busiest port, of the first loads and last stores, joules; bytes that
    every operand holds."""

    busiest: Floats
    edge: Floats
    joules: Floats
    held: Floats


@dataclass(frozen=True)
class Found:
    """The best choice of a level.

    Attributes:
        value: of the objective.
        tie: what decides among equal ones: joules, for the objective ``energy`` cycles.
        traffic: bytes off chip.
        work: cycles without the edge, joules and edge.
        held: bytes that it takes of each memory of the level.
    """

    value: float
    tie: float
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
        self.options = [tuple(dict.fromkeys(cuts[i] for cuts in self.cuts)) for i in range(len(hops))]
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
        lists = self._lists(extents)
        tile = _grid(lists)
        times = np.full(1, sums, np.int64)
        if self.inner.exact and (found := self._as_one(whole, tile, times)) is not None:
            return found
        choices, tables = self._choices(whole, lists, times)
        bounds = self._bounds(choices)
        held = np.stack([bounds.held[choices.memory == m].sum(axis=0) for m in range(len(self.budgets))] or [[0]])
        rows = np.flatnonzero((held <= np.array([*self.budgets.values()] or [0])[:, None]).all(axis=0))
        if not len(rows):
            lacks = {m: int(n.min()) - b for (m, b), n in zip(self.budgets.items(), held, strict=False)}
            memory = max(lacks, key=lambda m: lacks[m])
            return Shortfall(lacks[memory] + self.budgets[memory], memory, self.budgets[memory])
        bounded = self._inside(whole, {r: t[rows] for r, t in tile.items()}, times, None)
        inside = np.zeros((3, choices.table.shape[2]))
        inside[0, rows], inside[1, rows], inside[2, rows] = bounded.cycles, bounded.joules, bounded.edge
        cycles = np.maximum(inside[0], bounds.busiest) + inside[2] + bounds.edge
        joules = inside[1] + bounds.joules
        bound = _Bound(self._value(cycles, joules), self._tie(cycles, joules))
        return _Pick(self, extents, sums, tile, choices, tables, inside, bound, rows).best()

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
        tie = float(self._tie(work.cycles + work.edge, work.joules)[0])
        return Found(value, tie, int(traffic), Nest((level,)), work, held)

    def _lists(self, extents: Mapping[str, int]) -> dict[str, list[int]]:
        """Tile sizes inside a tile of these extents, largest first."""
        sizes = self.space.sizes.items()
        return {r: sorted({min(n, extents[r]) for n in given}, reverse=True) for r, given in sizes}

    def _choices(
        self, extents: Extents, lists: Mapping[str, Sequence[int]], sums: Array
    ) -> tuple[kernel.Choices, list[dict[Cut, _HopCost]]]:
        """What the combinations of tilings and cuts are made of, and the same by operand and cut."""
        from . import stage_kernel as kernel

        # Along an open mesh an operand's bytes are found once for all tiles of the ranks that it does not have.
        mesh = all(len(h.operand.accesses) == 1 for h in self.hops)
        tile = _open(lists) if mesh else _grid(lists)
        number = prod(len(n) for n in lists.values())
        table = np.empty((sum(map(len, self.options)), kernel.FIELDS, number))
        shape = [len(n) for n in lists.values()] if mesh and lists else [number]
        tables: list[dict[Cut, _HopCost]] = []
        at = 0
        for hop, cuts in zip(self.hops, self.options, strict=True):
            known: dict[Cut, _HopCost] = {}
            tables.append({})
            for cut in cuts:
                twice = cut._replace(single=False)
                if twice not in known:
                    known[twice] = self._hop(hop, twice, extents, tile, sums)
                cost = known[twice]
                if cut.single:
                    one = np.ones(1, np.int64)
                    cost = replace(cost, held=cost.held // cost.buffers, buffers=one)
                for i, field in enumerate(_FIELDS):
                    table[at, i].reshape(shape)[...] = getattr(cost, field)
                tables[-1][cut] = _HopCost(*table[at])
                at += 1
        return kernel.Choices(table, *self._fixed), tables

    @cached_property
    def _fixed(self) -> tuple[Any, ...]:
        """What of the choices does not depend on extents, as `stage_kernel.Choices` has it."""
        from . import stage_kernel as kernel

        ports = sorted({p for h in self.hops for way in (h.load, h.store) for p in way.cycles_per_byte})
        rates = np.array(
            [[[way.cycles_per_byte.get(p, 0.0) for p in ports] for way in (h.load, h.store)] for h in self.hops]
        ).reshape(len(self.hops), 2, len(ports))
        prices = np.array([[h.load.joules_per_byte, h.store.joules_per_byte] for h in self.hops]).reshape(-1, 2)
        single = np.array([self._single(h) for h in self.hops]).reshape(-1, 2)
        number = [{cut: i for i, cut in enumerate(cuts)} for cuts in self.options]
        first = np.cumsum([0, *map(len, self.options)])
        cuts = np.array([[first[h] + number[h][cut] for h, cut in enumerate(cuts)] for cuts in self.cuts], np.int64)
        memories = list(self.budgets)
        return (
            first, cuts.reshape(len(self.cuts), len(self.hops)), single, rates, prices,
            np.array([h.weighs for h in self.hops], np.int64),
            np.array([memories.index(h.memory) for h in self.hops], np.int64),
            np.array([*self.budgets.values()], np.int64), kernel.OBJECTIVES[self.objective], self.clock,
        )  # fmt: skip

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
        return _HopCost(*cost, instances, size, buffers)

    def _moving(self, costs: Sequence[_HopCost]) -> tuple[_Moving, Floats, Floats]:
        """Transfers; cycles of the first load and the last store, of those that overlap with others; joules."""
        busy: dict[str, Floats] = {}
        trips, alone, edge, joules = np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1)
        for hop, cost in zip(self.hops, costs, strict=True):
            for way, amount in ((hop.load, cost.bytes_in), (hop.store, cost.bytes_out)):
                joules = joules + amount * way.joules_per_byte
                for port, per_byte in way.cycles_per_byte.items():
                    busy[port] = busy.get(port, np.zeros(1)) + amount * per_byte
            per_byte, wait = self._single(hop)
            single = cost.tile * per_byte + wait
            trips = np.maximum(trips, np.where(cost.buffers > 1, cost.instances * single, 0.0))
            alone = alone + np.where(cost.buffers > 1, 0.0, cost.instances * single)
            edge = edge + np.where(cost.buffers > 1, single, 0.0)
        busiest = np.zeros(1)
        for cycles in busy.values():
            busiest = np.maximum(busiest, cycles)
        return _Moving(busiest, trips, alone), edge, joules

    def _single(self, hop: Hop) -> tuple[float, float]:
        """Cycles of one tile on its way: per byte, and at its start."""
        way = hop.store if hop.operand.is_output else hop.load
        wait = 0.0 if hop.operand.is_output or not way.ports else way.latency * self.clock
        return sum(way.cycles_per_byte.values()), wait

    def _value(self, cycles: Floats, joules: Floats) -> Floats:
        return {"latency": cycles, "energy": joules, "edp": cycles / self.clock * joules}[self.objective]

    def _tie(self, cycles: Floats, joules: Floats) -> Floats:
        return cycles if self.objective == "energy" else joules

    def _bounds(self, choices: kernel.Choices) -> _Least:
        """Bounds over all cuts, each operand cut as is best for it."""
        from . import stage_kernel as kernel

        n = choices.table.shape[2]
        busy = np.zeros((choices.rates.shape[2], n))
        joules, edge, held = np.zeros(n), np.zeros(n), np.zeros((len(self.hops), n))
        for h, (begin, end) in enumerate(pairwise(choices.first)):
            options = choices.table[begin:end]
            come, gone = options[:, kernel.BYTES_IN], options[:, kernel.BYTES_OUT]
            for p, (rate_in, rate_out) in enumerate(choices.rates[h].T):
                if rate_in or rate_out:
                    busy[p] += come.min(axis=0) * rate_in + gone.min(axis=0) * rate_out
            joules += (come * choices.prices[h, 0] + gone * choices.prices[h, 1]).min(axis=0)
            edge += options[:, kernel.TILE].min(axis=0) * choices.single[h, 0] + choices.single[h, 1]
            held[h] = options[:, kernel.HELD].min(axis=0)
        return _Least(busy.max(axis=0, initial=0.0), edge, joules, held)


class _Pick:
    """The choice among tilings, in order of their bounds, with all cuts of each."""

    def __init__(
        self,
        stage: Stage,
        extents: Mapping[str, int],
        sums: int,
        tile: dict[str, Array],
        choices: kernel.Choices,
        tables: list[dict[Cut, _HopCost]],
        inside: Floats,
        bound: _Bound,
        rows: Array,
    ) -> None:
        from . import stage_kernel as kernel

        self.stage, self.extents, self.sums, self.tile, self.tables = stage, extents, sums, tile, tables
        self.choices, self.room = choices, kernel.Room.of(choices)
        self.inside, self.bound, self.rows = inside, bound, rows
        self.least = inf
        self.nests: dict[int, tuple[Nest, Work]] = {}
        self.settled = np.zeros_like(inside)
        self.tie = np.full(inside.shape[1], inf)
        self.complete = True
        self.short: dict[str, int] = {}

    def best(self) -> Found | Shortfall:
        """The best choice; of those that are equal in value the one with the least tie."""
        from . import stage_kernel as kernel

        if self.stage.inner.exact:
            order = self.rows[np.lexsort((self.bound.tie[self.rows], self.bound.value[self.rows]))]
            self.least = kernel.least(self.choices, self.room, order, self.inside, self.bound.value, self.stage.equal)
            near = self.rows[self.bound.value[self.rows] <= self.least * self.stage.equal]
            best = self._best_of(near, self.inside, self.bound.tie)
        else:
            self._settle_best()
            best = self._best_of(np.array(list(self.nests), np.int64), self.settled, self.tie)
        if best[kernel.B_VALUE] == inf:
            for memory, needed in zip(self.stage.budgets, self.room.crowded.tolist(), strict=True):
                if needed < inf:
                    self.short[memory] = min(self.short.get(memory, int(needed)), int(needed))
            budgets = self.stage.budgets
            memory = max(self.short, key=lambda m: self.short[m] - budgets.get(m, 0), default="")
            return Shortfall(self.short.get(memory, 0), memory, budgets.get(memory, 0))
        return self._found(best)

    def _best_of(self, rows: Array, inside: Floats, tie: Floats) -> Floats:
        from . import stage_kernel as kernel

        best = np.full(kernel.B_WORDS, inf)
        if self.least < inf:
            rows = rows[np.lexsort((rows, tie[rows]))]
            kernel.pick(self.choices, self.room, rows, inside, tie, self.least, self.stage.equal, best)
        return best

    def _settle_best(self) -> None:
        """Settle the insides of the most promising tilings until no bound of another is better than what there is.

        The bounds are those of the joint cuts. Half of the tilings that may be settled are the first in the order of
        their bounds, of equal ones that with the least tie; the others those of the least tie among them that may be
        as good as the best.
        """
        from . import stage_kernel as kernel

        stage = self.stage
        order = self.rows[np.argsort(self.bound.value[self.rows], kind="stable")]
        seen = 0
        value, tie = np.full(len(order), inf), np.full(len(order), inf)
        left = np.ones(len(order), np.bool_)

        def look(limit: float) -> None:
            """Find the bounds of the joint cuts as far as they can lie below a limit."""
            nonlocal seen
            end = int(np.searchsorted(self.bound.value[order], limit, side="right"))
            if end > seen:
                part = slice(seen, end)
                kernel.least_of(
                    self.choices, self.room, order[part], self.inside, stage.equal, value[part], tie[part]
                )  # fmt: skip
                seen = end

        def ranked() -> list[int]:
            """What is left of these, the most promising last."""
            able = np.flatnonzero(left & (value < inf))
            grade = np.round(np.log(np.maximum(value[able], TINY)) / GRADE[stage.objective])
            return [int(i) for i in able[np.lexsort((able, tie[able], grade))][::-1]]

        size = FIRST_BLOCK

        def by_bound(nodes: int) -> None:
            nonlocal size
            able = ranked()
            while True:
                most = value[able[-1]] if able else inf
                ahead = self.bound.value[order[seen]] if seen < len(order) else inf
                if ahead < inf and ahead <= min(most * stage.equal, self.least / stage.equal):
                    look(self.bound.value[order[min(seen + size, len(order)) - 1]])
                    size, able = BLOCK, ranked()
                    continue
                if not able or most * stage.equal >= self.least or len(self.nests) >= nodes:
                    return
                at = able.pop()
                left[at] = False
                self._settle(int(order[at]))

        by_bound(stage.nodes // 2)
        look(self.least * stage.equal)
        for _ in range(stage.nodes - len(self.nests)):
            best = self._best_of(np.array(list(self.nests), np.int64), self.settled, self.tie)
            as_good = left & (value <= self.least * stage.equal) & (tie < best[kernel.B_TIE])
            able = [int(i) for i in np.flatnonzero(as_good)]
            if not able:
                break
            at = min(able, key=lambda i: (tie[i], value[i], i))
            left[at] = False
            self._settle(int(order[at]))
        by_bound(stage.nodes)
        self.complete &= not bool((left & (value * stage.equal < self.least)).any())

    def _settle(self, row: int) -> None:
        """Settle the inside of one tiling."""
        from . import stage_kernel as kernel

        tile = {r: int(t[row]) for r, t in self.tile.items()}
        parts = prod(-(-self.extents[r] // t) for r, t in tile.items() if r in self.stage.reduced)
        inner = self.stage.inner.settle({**self.extents, **tile}, self.sums * parts)
        if isinstance(inner, Shortfall):
            self.short[inner.memory] = min(self.short.get(inner.memory, inner.needed), inner.needed)
            return
        self.complete &= inner.complete
        whole = {r: np.full(1, n, np.int64) for r, n in self.extents.items()}
        single = {r: np.full(1, t, np.int64) for r, t in tile.items()}
        work = self.stage._inside(whole, single, np.full(1, self.sums, np.int64), inner)
        self.nests[row] = inner, work
        for i, amount in enumerate((work.cycles, work.joules, work.edge)):
            self.settled[i, row] = amount.item()
        value, tie = np.empty(1), np.empty(1)
        rows = np.array([row])
        kernel.least_of(self.choices, self.room, rows, self.settled, self.stage.equal, value, tie)
        self.least, self.tie[row] = min(self.least, float(value[0])), tie[0]

    def _found(self, best: Floats) -> Found:
        from . import stage_kernel as kernel

        row, number = int(best[kernel.B_ROW]), int(best[kernel.B_CUTS])
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
            inside = Work(*(x[row : row + 1] for x in self.inside))
        rest = inner or Nest()
        moving, edge, joules = self.stage._moving([_rows(c, np.array([row])) for c in costs])
        cycles = moving.beside(inside.cycles)
        held = dict.fromkeys(self.stage.budgets, 0)
        for hop, cost in zip(self.stage.hops, costs, strict=True):
            held[hop.memory] += int(cost.held[row])
        return Found(
            float(best[kernel.B_VALUE]),
            float(best[kernel.B_TIE]),
            int(best[kernel.B_TRAFFIC]),
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


def _grid(lists: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Tile sizes of all tilings."""
    grid = np.meshgrid(*(np.array(n, np.int64) for n in lists.values()), indexing="ij")
    return {r: n.ravel() for r, n in zip(lists, grid, strict=True)}


def _open(lists: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """The same with an axis per rank."""
    return dict(zip(lists, np.ix_(*(np.array(n, np.int64) for n in lists.values())), strict=True))


def orders_of(outer: Sequence[str], inner: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Loop orders in which some ranks stand outermost, in the order given, and the others in any."""
    return tuple((*outer, *p) for p in permutations(inner))
