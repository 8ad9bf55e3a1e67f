"""One level of a loop nest: every tiling of a bounded space, evaluated in bulk; the inside of a tile is settled lazily.

A level brings tensors into the memories of one distance from the chip's edge. Its space: a tile size per tiled rank out
of a short list; the order of its loops; for every tensor that moves here, outside of which of them its tile is cut: of
a tensor that is cut farther out a larger piece stays, over which the loops further in run again and again.

A tile further in that is all of its tensor's tile of this level comes outside of the innermost loops that do not change
it, and lasts while they run (`Lasts`): the insides are settled knowing that it then comes less often.

The cost of a choice depends on the order only through the set of loops outside of each tensor's cut, where tiles of a
window overlap along it the innermost of them (`Cut`), and the loops for which tiles further in last, so that those are
enumerated, not the orders.

Loads and stores are double buffered unless there is a single tile in all levels. One tensor of a level may have a
single buffer, so that larger tiles of it fit, and all together in levels further in; their transfers overlap with
nothing.

Latency is estimated as the largest of compute time, transfer time over each port, and the round trips of each tensor's
two buffers (a buffer is taken from the start of its load, over the memory's latency, to the end of its use), plus the
first load, the last store, the transfers through a single buffer, and what tiles wait for others at a port
(`stage_kernel`). Where tiles move in pieces (`pieces`) the first load is that of the first piece, and those that come
more slowly than the first pass over them uses them are waited for. Energy is counted actions times their energies,
partial results between tiles on average.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ...ir import Einsum
from ...ir.signature import signature
from ..aims import Aim
from .cuts import Cut, Pieces, Space, cut_table
from .hop_costs import ONCE, Asked, HopCost, Leasts, Numbers, grid, hop_costs
from .least import LeastCut, moves_at_least
from .nest import TIE, Crossing, Found, Hop, Inner, Lasts, Level, Nest, Shortfall, Way, Work
from .operand import Array, Extents, Floats, tiles
from .pick import Bound, Pick
from .pieces import cutting_ranks

if TYPE_CHECKING:  # numba takes a while to load
    from . import stage_kernel as kernel
FIELDS = ("held", "bytes_in", "bytes_out", "instances", "tile", "buffers", "piece", "spread", "share")
NONE: Lasts = {}


class _Least(NamedTuple):
    """Over all cuts of every tiling: cycles of the busiest port, of the first loads and last stores, joules; bytes that
    every operand holds."""

    busiest: Floats
    edge: Floats
    joules: Floats
    held: Floats


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
        pieces: whether tiles move in pieces.
    """

    exact = False

    def __init__(
        self,
        einsum: Einsum,
        hops: Sequence[Hop],
        budgets: Mapping[str, int],
        space: Space,
        inner: Inner,
        aim: Aim,
        clock: float,
        nodes: int,
        *,
        nested: bool = False,
        pieces: bool = False,
    ) -> None:
        self.einsum, self.hops, self.budgets, self.space, self.inner = einsum, tuple(hops), budgets, space, inner
        self.aim, self.clock, self.nodes, self.equal = aim, clock, nodes, 1 + TIE[aim.objective]
        self.nested = nested
        self.reduced = frozenset(einsum.reduced_ranks)
        operands = [hop.operand for hop in hops]
        ranks, slides = tuple(o.ranks for o in operands), tuple(o.slides for o in operands)
        self.further: tuple[Hop, ...] = (*inner.hops, *inner.further) if isinstance(inner, Stage) else ()
        """Operands that move farther in."""
        further = tuple(h.operand.ranks for h in self.further)
        cutting = pieces and not nested
        self.able = tuple(cutting_ranks(o, space.sizes) if cutting else frozenset[str]() for o in operands)
        buffers: Literal["outer", "nested"] = "nested" if nested else "outer"
        self.table = cut_table(space.orders, ranks, slides, further, buffers=buffers, able=self.able)
        self.cuts, self.orders = self.table.cuts, self.table.orders
        self.options = [tuple(dict.fromkeys(cuts[i] for cuts in self.cuts)) for i in range(len(hops))]
        self._settled: dict[Hashable, Found | Shortfall] = {}
        self.insides: dict[Hashable, tuple[Nest, Work] | Shortfall] = {}
        """What runs inside tiles, as far as settled."""
        sizes = tuple((r, tuple(n)) for r, n in space.sizes.items())
        ways = tuple((hop.operand.identity, hop.memory) for hop in hops)
        identity = signature(einsum), ways, further, sizes, space.orders, nested, pieces
        self.costs = hop_costs(Asked(identity, einsum, self.hops, self.options, list(space.sizes)))

    @property
    def late(self) -> float:
        return self.inner.late

    # As what runs inside a level farther out

    def bound(self, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        """The insides' bound, and every operand moved once."""
        least = moves_at_least(self.hops, self.budgets, extents, sums, lasts)
        if self.inner.exact:
            return self._cut_further.around(extents, sums, least)
        return least.around(self.inner.bound(extents, sums, lasts))

    @cached_property
    def _cut_further(self) -> LeastCut:
        return LeastCut(self.einsum, self.hops, self.budgets, self.space.sizes, self.inner)

    def settle(self, extents: Mapping[str, int], sums: int, lasts: Mapping[Way, int]) -> Nest | Shortfall:
        found = self.best(extents, sums, lasts)
        return found if isinstance(found, Shortfall) else found.nest

    def work(self, nest: Nest, extents: Extents, sums: Array, lasts: Lasts = NONE) -> Work:
        level = nest.levels[0]
        tile = {r: np.minimum(t, extents[r]) for r, t in level.loops}
        cuts = []
        loops = [r for r, _ in level.loops]
        for hop, able in zip(self.hops, self.able, strict=True):
            depth, single = max(0, level.depth[hop.key]), level.buffers[hop.key] == 1
            if hop.key in level.slides:
                cuts.append(Cut(frozenset(loops[:depth]), loops[depth - 1], single))
            else:
                pieces = Pieces.of(loops[depth:], hop.operand.ranks, able)
                cuts.append(Cut(frozenset(loops[:depth]), single=single, pieces=pieces))
        inner = Nest(nest.levels[1:], nest.layout)
        longest = self._lasting(nest.levels, extents, tile, lasts)
        inside = self.inside(extents, tile, sums, inner, longest)
        costs = [self.costs.of(hop, cut, extents, tile, sums, lasts) for hop, cut in zip(self.hops, cuts, strict=True)]
        return self.around(costs, inside, self.behind(inner.levels, extents, tile, longest))

    def behind(self, levels: Sequence[Level], extents: Extents, tile: Extents, lasts: Lasts) -> list[Numbers]:
        """By operand, how often the memory behind takes its tile over whole, beside the one before."""
        every = ONCE
        for r, t in tile.items():
            every = every * -(-extents[r] // t)
        found: list[Numbers] = []
        for hop in self.hops:
            places = hop.operand.chain
            way = hop.operand.tensor, places[min(places.index(hop.memory) + 1, len(places) - 1)], hop.operand.is_output
            whole = levels and way in levels[0].depth and levels[0].depth[way] <= 0 and levels[0].buffers[way] > 1
            found.append(every / lasts.get(way, ONCE) if whole else 0 * ONCE)
        return found

    @staticmethod
    def _lasting(levels: Sequence[Level], extents: Extents, tile: Extents, lasts: Lasts) -> dict[Way, Array]:
        """For how many tiles of the first of these levels those of levels farther in last, as their depths say."""
        here, between = levels[0].loops, 0
        found: dict[Way, Array] = {}
        for level in levels[1:]:
            for way, depth in level.depth.items():
                beyond = -depth - between
                if beyond > 0:
                    found[way] = lasts[way] if beyond > len(here) else ONCE
                    for r, _ in here[max(0, len(here) - beyond) :]:
                        found[way] = found[way] * -(-extents[r] // tile[r])
            between += len(level.loops)
        return found

    def lasting(self, kind: int, extents: Extents, tile: Extents, lasts: Lasts) -> dict[Way, Array]:
        """The same of tilings, as far as orders of a kind (see `CutTable.still`) allow."""
        found: dict[Way, Array] = {}
        for hop, still in zip(self.further, self.table.still[kind], strict=True):
            trips = {r: -(-extents[r] // t) for r, t in tile.items()}
            times = ONCE
            for r in still:
                times = times * trips[r]
            if hop.key in lasts:
                alone = np.logical_and.reduce(
                    np.broadcast_arrays(ONCE > 0, *(trips[r] == 1 for r in trips.keys() - still))
                )
                times = np.where(alone, times * lasts[hop.key], times)
            found[hop.key] = times
        return found

    # The search

    def best(
        self, extents: Mapping[str, int], sums: int = 1, lasts: Mapping[Way, int] = MappingProxyType({})
    ) -> Found | Shortfall:
        """The choice of the least sum by the aim over a tile (or the whole) of these extents, on the mean over `sums`
        of them that add up to a result."""
        key = sums, *sorted(extents.items()), *sorted(lasts.items())
        if key not in self._settled:
            self._settled[key] = self._search(extents, sums, {way: np.full(1, n) for way, n in lasts.items()})
        return self._settled[key]

    def _search(self, extents: Mapping[str, int], sums: int, lasts: Lasts) -> Found | Shortfall:
        from . import stage_kernel as kernel

        whole = {r: np.full(1, n, np.int64) for r, n in extents.items()}
        tile = grid(self._lists(extents))
        times = np.full(1, sums, np.int64)
        if self.inner.exact and (found := self._as_one(whole, tile, times, lasts)) is not None:
            return found
        choices, tables, least = self._choices(whole, tile, times, lasts)
        bounds = self._bounds(choices, least)
        held = np.stack([bounds.held[choices.memory == m].sum(axis=0) for m in range(len(self.budgets))] or [[0]])
        rows = np.flatnonzero((held <= np.array([*self.budgets.values()] or [0])[:, None]).all(axis=0))
        if not len(rows):
            lacks = {m: int(n.min()) - b for (m, b), n in zip(self.budgets.items(), held, strict=False)}
            memory = max(lacks, key=lambda m: lacks[m])
            return Shortfall(lacks[memory] + self.budgets[memory], memory, self.budgets[memory])
        kinds = range(len(self.table.still))
        fitting = {r: t[rows] for r, t in tile.items()}
        each = [self.lasting(kind, whole, fitting, lasts) for kind in kinds]
        longest = {way: np.concatenate([np.broadcast_to(x[way], rows.shape) for x in each]) for way in each[0]}
        several = {r: np.tile(t, len(kinds)) for r, t in fitting.items()}
        bounded = self.inside(whole, several, times, None, longest)
        inside = np.zeros((kernel.BEHIND + len(self.hops), len(kinds) * choices.table.shape[2]))
        inside[kernel.BEHIND :] = 0 if self.inner.exact else -1
        rows = np.concatenate([rows + kind * choices.table.shape[2] for kind in kinds])
        inside[0, rows], inside[1, rows], inside[2, rows] = bounded.cycles, bounded.joules, bounded.edge
        busiest, edge, moved = (np.tile(x, len(kinds)) for x in (bounds.busiest, bounds.edge, bounds.joules))
        cycles = np.maximum(inside[0], busiest) + (inside[2] + edge) * choices.once
        joules = inside[1] + moved
        bound = Bound(self.aim.of(cycles, joules), self._tie(cycles, joules))
        return Pick(self, extents, sums, lasts, tile, choices, tables, inside, bound, rows).best()

    def _as_one(self, extents: Extents, tile: Extents, sums: Array, lasts: Lasts) -> Found | None:
        """The single tile, which moves least, where it fits and no bound of a tiling is better: without looking at the
        places where operands could be cut."""
        if self.aim.energy_alone or any(t[0] != extents[r][0] for r, t in tile.items()):
            return None
        first = {r: t[:1] for r, t in tile.items()}
        costs = [self.costs.of(hop, Cut(frozenset()), extents, first, sums, lasts) for hop in self.hops]
        held = dict.fromkeys(self.budgets, 0)
        for hop, cost in zip(self.hops, costs, strict=True):
            held[hop.memory] += int(cost.held[0])
        if any(held[m] > budget for m, budget in self.budgets.items()):
            return None
        own = self.inside(extents, first, sums, None, NONE)
        work = self.around(costs, own, [0 * ONCE] * len(self.hops))
        once = self._once(extents)
        value = float(self.aim.of(work.cycles + work.edge * once, work.joules)[0])
        least = moves_at_least(self.hops, self.budgets, extents, sums, lasts)
        for tilings in (first, tile):  # its own bound first, which takes less to find
            inside = own if tilings is first else self.inside(extents, tile, sums, None, NONE)
            bound = least.around(inside)
            if value > self.aim.of(bound.cycles + inside.edge * once, bound.joules).min() * self.equal:
                return None
        traffic = sum(float(c.bytes_in[0] + c.bytes_out[0]) for h, c in zip(self.hops, costs, strict=True) if h.weighs)
        keys = [hop.key for hop in self.hops]
        buffers, sizes = ({k: int(x[0]) for k, x in zip(keys, column, strict=True)}
                          for column in ([c.buffers for c in costs], [c.tile for c in costs]))  # fmt: skip
        level = Level((), dict.fromkeys(keys, 0), buffers, sizes)
        tie = float(self._tie(work.cycles + work.edge * once, work.joules)[0])
        moved = self.moved(costs, 0)
        return Found(value, tie, int(traffic), Nest((level,)), work, held, moved, float(own.cycles[0]))

    def moved(self, costs: Sequence[HopCost], row: int) -> dict[Crossing, tuple[float, float]]:
        """Bytes over the chip's edge, in and out, of a tiling."""
        found: dict[Crossing, tuple[float, float]] = {}
        for hop, cost in zip(self.hops, costs, strict=True):
            if hop.weighs:
                way = hop.operand.tensor, hop.operand.is_output
                come, gone = found.get(way, (0.0, 0.0))
                found[way] = come + float(cost.bytes_in[row]), gone + float(cost.bytes_out[row])
        return found

    def _once(self, extents: Extents) -> float:
        """The share of the first load and the last store that counts, over the number of tiles of these extents."""
        return self.aim.edge / prod(-(-size // int(extents[r][0])) for r, size in self.einsum.sizes.items())

    def _lists(self, extents: Mapping[str, int]) -> dict[str, list[int]]:
        """Tile sizes inside a tile of these extents, largest first."""
        sizes = self.space.sizes.items()
        return {r: sorted({min(n, extents[r]) for n in given}, reverse=True) for r, given in sizes}

    def _choices(
        self, extents: Extents, tile: Extents, sums: Array, lasts: Lasts
    ) -> tuple[kernel.Choices, list[dict[Cut, HopCost]], tuple[Leasts, ...]]:
        """What the combinations of tilings and cuts are made of, the same by operand and cut, the least by operand."""
        from . import stage_kernel as kernel

        table, least = self.costs.table(extents, tile, sums, lasts)
        rows = iter(table)
        tables = [{cut: HopCost(*next(rows)) for cut in cuts} for cuts in self.options]
        fixed = (*self._cuts, *self._fixed, self._once(extents))
        return kernel.Choices(table, *fixed), tables, least

    @cached_property
    def _fixed(self) -> tuple[Any, ...]:
        """What of the choices does not depend on extents, as `stage_kernel.Choices` has it."""
        ports = sorted({p for h in self.hops for way in (h.load, h.store) for p in way.cycles_per_byte})
        rates = np.array(
            [[[way.cycles_per_byte.get(p, 0.0) for p in ports] for way in (h.load, h.store)] for h in self.hops]
        ).reshape(len(self.hops), 2, len(ports))
        prices = np.array([[h.load.joules_per_byte, h.store.joules_per_byte] for h in self.hops]).reshape(-1, 2)
        single = np.array([self._single(h) for h in self.hops]).reshape(-1, 2)
        memories = list(self.budgets)
        return (
            single, rates, prices, np.array([h.weighs for h in self.hops], np.int64),
            np.array([h.operand.is_output for h in self.hops], np.int64),
            np.array([memories.index(h.memory) for h in self.hops], np.int64),
            np.array([*self.budgets.values()], np.int64), self.aim.cycle, self.aim.joule,
            0.0 if self.nested else 1.0,
        )  # fmt: skip

    @cached_property
    def _cuts(self) -> tuple[Array, Array, Array]:
        """The first option of every operand, all combinations, the first of them of every kind of orders."""
        number = [{cut: i for i, cut in enumerate(cuts)} for cuts in self.options]
        first = np.array(self.costs.first)
        cuts = np.array([[first[h] + number[h][cut] for h, cut in enumerate(cuts)] for cuts in self.cuts], np.int64)
        return first, cuts.reshape(len(self.cuts), len(self.hops)), np.array(self.table.begin)

    def inside(self, extents: Extents, tile: Extents, sums: Array, nest: Nest | None, lasts: Lasts) -> Work:
        """Work inside all tiles; a bound of it without a nest."""
        times = sums
        for r, t in tile.items():
            if r in self.reduced:
                times = times * -(-extents[r] // t)
        # All boxes in one go: a unit's cost takes about as long for few as for many.
        boxes = tiles(extents, tile)
        n = max(len(x) for x in (times, *extents.values(), *lasts.values(), *(count for _, count in boxes)))
        counts = [np.broadcast_to(count, (n,)) for _, count in boxes]
        there = [np.flatnonzero(count) for count in counts]
        which = np.concatenate(there)

        def joined(arrays: Sequence[Array]) -> Array:
            if all(x is arrays[0] for x in arrays):
                return arrays[0] if len(arrays[0]) == 1 else arrays[0][which]
            return np.concatenate([np.broadcast_to(x, (n,))[i] for x, i in zip(arrays, there, strict=True)])

        one = {r: joined([box.get(r, size) for box, _ in boxes]) for r, size in extents.items()}
        longest = {way: joined([x] * len(boxes)) for way, x in lasts.items()}
        sums = joined([times] * len(boxes))
        work = self.inner.bound(one, sums, longest) if nest is None else self.inner.work(nest, one, sums, longest)
        count = joined(counts)
        cycles, joules = (
            np.bincount(which, weights=count * x, minlength=n).astype(np.float64) for x in (work.cycles, work.joules)
        )
        return Work(cycles, joules, np.broadcast_to(work.edge, which.shape)[:n])

    def around(self, costs: Sequence[HopCost], inside: Work, behind: Sequence[Numbers]) -> Work:
        """The work of tiles with that `inside` them; `behind` as in `stage_kernel.BEHIND`, by operand."""
        from . import stage_kernel as kernel

        fields = [getattr(cost, field) for cost in costs for field in FIELDS]
        given = np.stack(np.broadcast_arrays(inside.cycles, inside.joules, inside.edge, *behind, *fields))
        table = given[kernel.BEHIND + len(costs) :].reshape(len(costs), len(FIELDS), given.shape[1])
        one = np.arange(len(costs) + 1)
        fixed = (one, one[None, :-1], np.array([0, 1]), *self._fixed, 1.0)
        choices = kernel.Choices(table, *fixed)
        found = np.empty((3, table.shape[2]))
        kernel.work(choices, kernel.Room.of(choices), given[: kernel.BEHIND + len(costs)], *found)
        return Work(*found)

    def _single(self, hop: Hop) -> tuple[float, float]:
        """Cycles of one tile on its way: per byte, and at its start."""
        way = hop.store if hop.operand.is_output else hop.load
        wait = 0.0 if hop.operand.is_output or not way.ports else way.latency * self.clock
        if hop.operand.is_output and hop.memory == hop.operand.chain[-1]:
            wait = self.late
        return sum(way.cycles_per_byte.values()), wait

    def _tie(self, cycles: Floats, joules: Floats) -> Floats:
        return cycles if self.aim.energy_alone else joules

    def _bounds(self, choices: kernel.Choices, least: Sequence[Leasts]) -> _Least:
        """Bounds over all cuts, each operand cut as is best for it."""
        from . import stage_kernel as kernel

        n = choices.table.shape[2]
        busy = np.zeros((choices.rates.shape[2], n))
        joules, edge, held = np.zeros(n), np.zeros(n), np.zeros((len(self.hops), n))
        for h, (hop, best) in enumerate(zip(self.hops, least, strict=True)):
            for p, (rate_in, rate_out) in enumerate(choices.rates[h].T):
                if rate_in or rate_out:
                    busy[p] += best.bytes_in * rate_in + best.bytes_out * rate_out
            price_in, price_out = choices.prices[h]
            if hop.operand.is_output:
                options = choices.table[choices.first[h] : choices.first[h + 1]]
                come, gone = options[:, kernel.BYTES_IN], options[:, kernel.BYTES_OUT]
                joules += (come * price_in + gone * price_out).min(axis=0)
            else:
                joules += best.bytes_in * price_in
            edge += best.piece * choices.single[h, 0] + choices.single[h, 1]
            held[h] = best.held
        return _Least(busy.max(axis=0, initial=0.0), edge, joules, held)
