"""The best tiling of one Einsum on one buffer: every candidate of a bounded space, evaluated in bulk.

The space: a unit and one of its spatial options; a tile size per tiled rank out of a short list; a loop order. Ranks
that all operands carry (groups, heads, batch) run outermost, since their order changes no traffic. Each tensor is cut
inside its innermost loop that matters to it, so that loops that do not matter re-use it. Loads and stores are double
buffered unless there is a single tile.

Latency is estimated as the largest of compute time, transfer time over each port, and the round trips of each tensor's
two buffers (a buffer is taken from the start of its load, over the memory's latency, to the end of its use), plus the
first load and the last store; energy is counted actions times their energies, partial results between tiles on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations, product
from math import inf, prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...arch.component import Memory
from ...components.base import ComputeUnit, SpatialOption
from ...ir import Access, Einsum, contraction
from ...lowering.ports import Route
from ...mapping.constraints import OpConstraint

Array = NDArray[np.int64]
Floats = NDArray[np.float64]
Count = TypeVar("Count", int, Array)

SIZES_PER_RANK = 8
"""Candidate tile sizes of one rank."""
TIE = 0.01
"""Plans whose objectives differ by less than this share count as equal, and the one that moves fewer bytes is taken."""
MAX_TILED = 4
"""Ranks that are tiled; the others, the smallest, stay whole."""


@dataclass(frozen=True)
class Operand:
    """One stored tensor that an Einsum touches, and where it is when the Einsum runs.

    Attributes:
        accesses: index expressions and tensor shapes of all accesses to it.
        home: the memory next to the unit's buffer that it comes from or goes to; None when it stays in the buffer.
    """

    tensor: str
    accesses: tuple[Access, ...]
    shapes: tuple[tuple[int, ...], ...]
    bits: int
    is_output: bool
    home: str | None
    metadata_bits: Fraction = Fraction(0)

    @property
    def ranks(self) -> frozenset[str]:
        return frozenset().union(*(a.ranks for a in self.accesses))


@dataclass(frozen=True)
class Plan:
    """How one Einsum runs: `loops` are (rank, tile), outermost first; `depth` of a tensor is how many of them cut it.

    `cycles` and `energy` are the estimates of the model above; `tile_bytes`, by tensor, what one tile of it takes.
    """

    unit: str
    variant: str
    loops: tuple[tuple[str, int], ...]
    depth: Mapping[str, int]
    buffers: Mapping[str, int]
    tile_bytes: Mapping[str, int]
    cycles: float
    energy: float
    traffic: int
    working_set: int


@dataclass(frozen=True)
class Shortfall:
    """No candidate fits: the smallest one needs `needed` bytes."""

    needed: int


@dataclass(frozen=True)
class Site:
    """A unit with what the search must know of the machine around it.

    Attributes:
        budget: bytes of the unit's buffer that the Einsum may use.
        routes: from and to each memory that tensors may come from: (load, store).
        clock: of the machine, in hertz.
        clock_ratio: machine cycles per cycle of the unit.
    """

    unit: ComputeUnit
    buffer: Memory
    budget: int
    routes: Mapping[str, tuple[Route, Route]]
    clock: float
    clock_ratio: float


def best_plan(
    einsum: Einsum, operands: Sequence[Operand], sites: Sequence[Site], objective: str, constraint: OpConstraint
) -> Plan | Shortfall:
    """The plan with the least objective (``latency``, ``energy`` or ``edp``) over all sites and their options.

    Ties (see TIE) go to less traffic, then to the earlier candidate, so that equal inputs give equal plans.
    """
    best: tuple[tuple[float, int], Plan] | None = None
    needed = 0
    for site in sites:
        if constraint.unit and site.unit.name != constraint.unit:
            continue
        for option in site.unit.spatial_options(einsum):
            if constraint.variant and option.variant != constraint.variant:
                continue
            found = _Space(einsum, operands, site, option, constraint).best(objective)
            if isinstance(found, Shortfall):
                needed = min(needed, found.needed) if needed else found.needed
            elif best is None or _better(found[0], best[0]):
                best = found
    return best[1] if best else Shortfall(needed)


def _better(a: tuple[float, int], b: tuple[float, int]) -> bool:
    """Whether (objective, traffic) `a` beats `b`: clearly by the objective, or by traffic where that is a tie."""
    if abs(a[0] - b[0]) > TIE * min(a[0], b[0]):
        return a[0] < b[0]
    return (a[1], a[0]) < (b[1], b[0])


def tile_sizes(size: int, limit: int = SIZES_PER_RANK) -> list[int]:
    """Candidate tiles of a rank, largest first: whole, equal parts and powers of two, thinned evenly in logarithm."""
    sizes = {-(-size // n) for n in (1, 2, 3, 4, 6, 8)} | {2**i for i in range(size.bit_length()) if 2**i < size}
    ordered = sorted(sizes, reverse=True)
    if len(ordered) <= limit:
        return ordered
    wanted = [size ** (1 - i / (limit - 1)) for i in range(limit)]
    return sorted({min(ordered, key=lambda s, w=w: (abs(np.log(s / w)), s)) for w in wanted}, reverse=True)  # type: ignore[misc]


def _bytes(elements: Count, operand: Operand) -> Count:
    """Bytes of so many elements of an operand (a number or an array) with their metadata, rounded up."""
    share = operand.metadata_bits
    return -(-elements * (operand.bits * share.denominator + share.numerator) // (8 * share.denominator))


class _Space:
    """The candidates of one Einsum on one site in one spatial option."""

    def __init__(
        self, einsum: Einsum, operands: Sequence[Operand], site: Site, option: SpatialOption, constraint: OpConstraint
    ) -> None:
        self.einsum, self.site, self.option = einsum, site, option
        self.operands = operands
        self.moved = [o for o in operands if o.home is not None]
        outer, inner = self._tiled_ranks()
        fixed = dict.fromkeys((*(constraint.order or ()), *constraint.tiles))
        outer += [r for r in fixed if r not in (*outer, *inner)]
        self.ranks = outer + inner
        self.orders = [tuple(outer) + p for p in permutations(inner)]
        if constraint.order:
            self.orders = [p for p in permutations(self.ranks) if constraint.allows(order=p)]
        # Ranks of which many are tiled get fewer sizes each.
        limit = SIZES_PER_RANK if len(self.ranks) <= 3 else SIZES_PER_RANK - 2
        lists = [
            [constraint.tiles[r]] if r in constraint.tiles else tile_sizes(einsum.sizes[r], limit) for r in self.ranks
        ]
        rows = list(product(*lists))
        grid = np.array(rows, np.int64).reshape(len(rows), len(self.ranks))
        self.tile = {r: grid[:, i] for i, r in enumerate(self.ranks)}
        self.fixed = {r: s for r, s in einsum.sizes.items() if r not in self.tile}
        self.n = len(grid)

    def _tiled_ranks(self) -> tuple[list[str], list[str]]:
        """Ranks to tile: those of every operand (outermost), then the others."""
        sizes = self.einsum.sizes
        windows = {
            r
            for o in self.operands
            for a in o.accesses
            for i in a.indices
            if len(i.terms) > 1
            for r in i.ranks
            if r in self.einsum.reduced_ranks
        }
        able = [r for r, s in sizes.items() if s > 1 and r not in windows]
        shared = [r for r in able if all(r in o.ranks for o in self.operands)]
        parts = contraction(self.einsum)
        if parts:
            keep = [
                max(group, key=lambda r: sizes[r])
                for g in (parts.m, parts.n, parts.k)
                if (group := [r for r in g if r in able])
            ]
            more = [r for r in parts.m if r in able and r not in keep]
            inner = keep
            outer = sorted({*(r for r in parts.g if r in able), *more}, key=lambda r: -sizes[r])
        else:
            inner = [r for r in able if r not in shared]
            outer = shared
            if not inner or not self.einsum.reduced_ranks:
                outer, inner = able, []
        outer = sorted(outer, key=lambda r: -sizes[r])[: max(1, MAX_TILED - len(inner))]
        inner = sorted(inner, key=lambda r: -sizes[r])[:3]
        return [r for r in able if r in outer], [r for r in able if r in inner]

    def best(self, objective: str) -> tuple[tuple[float, int], Plan] | Shortfall:
        tiles = {o.tensor: self._hull_bytes(o, self._extents(self.tile)) for o in self.moved}
        trips = {r: -(-self.einsum.sizes[r] // t) for r, t in self.tile.items()}
        need = np.zeros(self.n, np.int64)
        buffers: dict[str, Array] = {}
        for o in self.moved:
            instances = np.ones(self.n, np.int64)
            for r in self.ranks:
                if r in o.ranks:
                    instances = instances * trips[r]
            buffers[o.tensor] = np.where(instances > 1, 2, 1)
            need += buffers[o.tensor] * tiles[o.tensor]
        fits = np.flatnonzero(need <= self.site.budget)
        if not len(fits):
            return Shortfall(int(need.min()))
        self._keep(fits, tiles, trips, buffers)
        need = need[fits]
        compute, energy = self._compute(trips)
        swept = {o.tensor: self._swept_bytes(o, trips) for o in self.moved}
        best: tuple[tuple[float, int], int, tuple[str, ...], float, float, int, int] | None = None
        least = self.site.budget + 1
        for order in self.orders:
            (busiest, round_trips, edge), joules, traffic, tiles_moved = self._transfers(order, trips, tiles, swept)
            held = need + self._reloaded(order, trips, tiles, buffers)
            latency = np.maximum(np.maximum(compute, busiest), (compute + round_trips) / 2) + edge
            total = energy + joules
            value = {"latency": latency, "energy": total, "edp": latency / self.site.clock * total}[objective]
            value = np.where(held <= self.site.budget, value, inf)
            if value.min() == inf:
                continue
            near = np.flatnonzero(value <= value.min() * (1 + TIE))
            i = int(near[np.lexsort((tiles_moved[near], traffic[near]))[0]])
            key = (float(value[i]), int(traffic[i]))
            if best is None or _better(key, best[0]):
                best = (key, i, order, float(latency[i]), float(total[i]), int(traffic[i]), int(held[i]))
        if best is None:
            return Shortfall(least)
        key, i, order, latency_i, energy_i, traffic_i, held_i = best
        loops = tuple((r, int(self.tile[r][i])) for r in order if trips[r][i] > 1)
        depth = {
            o.tensor: max((k + 1 for k, (r, _) in enumerate(loops) if r in o.ranks), default=0) for o in self.moved
        }
        return key, Plan(
            self.site.unit.name,
            self.option.variant,
            loops,
            depth,
            {o.tensor: int(buffers[o.tensor][i]) for o in self.moved},
            {o.tensor: int(tiles[o.tensor][i]) for o in self.moved},
            latency_i,
            energy_i,
            traffic_i,
            held_i,
        )

    def _reloaded(
        self, order: Sequence[str], trips: Mapping[str, Array], tiles: Mapping[str, Array], buffers: Mapping[str, Array]
    ) -> Array:
        """Bytes of the buffers through which partial results come back, for the candidates that have any."""
        held = np.zeros(self.n, np.int64)
        for o in self.moved:
            if o.is_output:
                inside = np.zeros(self.n, np.bool_)
                partial = np.zeros(self.n, np.bool_)
                for r in reversed(order):
                    inside |= (trips[r] > 1) & (r in o.ranks)
                    partial |= inside & (trips[r] > 1) & (r in self.einsum.reduced_ranks)
                held += partial * buffers[o.tensor] * tiles[o.tensor]
        return held

    def _keep(self, rows: Array, *tables: dict[str, Array]) -> None:
        for table in (self.tile, *tables):
            for key, values in table.items():
                table[key] = values[rows]
        self.n = len(rows)

    def _extents(self, tile: Mapping[str, Array]) -> dict[str, Array]:
        return {**{r: np.array(s, np.int64) for r, s in self.fixed.items()}, **tile}

    def _hull_bytes(self, operand: Operand, extents: Mapping[str, Array]) -> Array:
        """Bytes of what an operand's different accesses touch over tiles, at most its whole tensor."""
        total = np.zeros(1, np.int64)
        for indices, shape in dict.fromkeys(zip((a.indices for a in operand.accesses), operand.shapes, strict=True)):
            elements = np.ones(1, np.int64)
            for index, size in zip(indices, shape, strict=True):
                spread = sum((abs(c) * (extents[r] - 1) for r, c in index.terms), np.int64(0))
                elements = elements * np.minimum(1 + spread, size)
            total = total + _bytes(elements, operand)
        whole = max(_bytes(prod(shape), operand) for shape in operand.shapes)
        return np.broadcast_to(np.minimum(total, whole), (self.n,)).copy()

    def _swept_bytes(self, operand: Operand, trips: Mapping[str, Array]) -> Array:
        """Bytes of all different tiles of an operand, halos counted as often as tiles overlap."""
        total = np.zeros(self.n, np.int64)
        mine = [r for r in self.ranks if r in operand.ranks]
        for extents, times in self._ragged(mine, trips):
            total += times * self._hull_bytes(operand, self._extents({**self.tile, **extents}))
        return total

    def _ragged(self, ranks: Sequence[str], trips: Mapping[str, Array]) -> list[tuple[dict[str, Array], Array]]:
        """All combinations of full and ragged last tiles of the ranks, with how often each occurs."""
        found: list[tuple[dict[str, Array], Array]] = []
        for k in range(len(ranks) + 1):
            for last in combinations(ranks, k):
                times = np.ones(self.n, np.int64)
                extents: dict[str, Array] = {}
                for r in ranks:
                    size, tile = self.einsum.sizes[r], self.tile[r]
                    rest = size - (trips[r] - 1) * tile
                    if r in last:
                        extents[r] = rest
                        times = times * (rest < tile)
                    else:
                        extents[r] = tile
                        times = times * np.where(rest < tile, trips[r] - 1, trips[r])
                if times.any():
                    found.append((extents, times))
        return found

    def _compute(self, trips: Mapping[str, Array]) -> tuple[Floats, Floats]:
        """Machine cycles of the unit over all tiles, and joules of the unit and its buffer's unit side."""
        cycles = np.zeros(self.n, np.float64)
        joules = np.zeros(self.n, np.float64)
        unit_energy = self.site.unit.action_energy()
        buffer_energy = self.site.buffer.action_energy()
        shapes = [o.bits for o in self._by_access()]
        sums = np.prod([trips[r] for r in self.ranks if r in self.einsum.reduced_ranks], axis=0, dtype=np.int64)
        sums = np.broadcast_to(sums, (self.n,))
        summing = sums > 1
        for extents, times in self._ragged(self.ranks, trips):
            arrays = {r: np.broadcast_to(e, (self.n,)) for r, e in self._extents({**self.tile, **extents}).items()}
            cost = self.site.unit.cost(self.einsum, self.option, arrays, shapes)
            reads, writes = sum(cost.reads, cost.partial_reads), cost.writes
            joules += times * (reads * buffer_energy["read"] + writes * buffer_energy["write"])
            if summing.any():
                part = self.site.unit.cost(self.einsum, self.option, arrays, shapes, resumed=True, unfinished=True)
                # Of the tiles that add up to a result, all but the first resume and all but the last leave it partial.
                share = times * (1 - 1 / sums)
                more = share * (sum(part.reads, part.partial_reads) - reads) * buffer_energy["read"]
                joules += more + share * (part.writes - writes) * buffer_energy["write"]
                cycles += times * np.where(summing, part.cycles, cost.cycles)
            else:
                cycles += times * cost.cycles
            for action, count in cost.actions.items():
                joules += times * count * unit_energy[action]
        return cycles * self.site.clock_ratio, joules

    def _by_access(self) -> list[Operand]:
        """The operand behind each input of the Einsum, then behind its output."""
        return [
            next(o for o in self.operands if any(a is mine for mine in o.accesses))
            for a in (*self.einsum.inputs, self.einsum.output)
        ]

    def _transfers(
        self, order: Sequence[str], trips: Mapping[str, Array], tiles: Mapping[str, Array], swept: Mapping[str, Array]
    ) -> tuple[tuple[Floats, Floats, Floats], Floats, Array, Array]:
        """((cycles of the busiest port, of the slowest tensor's tiles one by one, of the first load and last store),
        joules, bytes moved, tiles moved).
        """
        busy: dict[str, Floats] = {}
        round_trips = np.zeros(self.n, np.float64)
        tiles_moved = np.zeros(self.n, np.int64)
        edge = np.zeros(self.n, np.float64)
        joules = np.zeros(self.n, np.float64)
        traffic = np.zeros(self.n, np.int64)
        reduced = set(self.einsum.reduced_ranks)
        for o in self.moved:
            assert o.home is not None
            load, store = self.site.routes[o.home]
            visits = np.ones(self.n, np.int64)
            seen = np.zeros(self.n, np.bool_)
            for r in reversed(order):
                if r in o.ranks:
                    seen |= trips[r] > 1
                elif not o.is_output or r in reduced:
                    visits = np.where(seen, visits * trips[r], visits)
            total = swept[o.tensor] * visits
            loads, stores = (total - swept[o.tensor], total) if o.is_output else (total, np.zeros_like(total))
            traffic += loads + stores
            for way, amount in ((load, loads), (store, stores)):
                joules += amount * way.joules_per_byte
                for port, per_byte in way.cycles_per_byte.items():
                    busy[port] = busy.get(port, np.zeros(self.n)) + amount * per_byte
            per_byte = sum((store if o.is_output else load).cycles_per_byte.values())
            cycles = tiles[o.tensor] * per_byte
            instances = visits * np.prod([trips[r] for r in self.ranks if r in o.ranks], axis=0, dtype=np.int64)
            wait = 0.0 if o.is_output else load.latency * self.site.clock
            round_trips = np.maximum(round_trips, np.where(instances > 1, instances * (cycles + wait), 0.0))
            edge += cycles + wait
            tiles_moved += instances
        busiest = np.zeros(self.n)
        for port_cycles in busy.values():
            busiest = np.maximum(busiest, port_cycles)
        return (busiest, round_trips, edge), joules, traffic, tiles_moved
