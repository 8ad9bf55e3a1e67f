"""The best plan of one group: which rank is streamed, all tiles, what is kept, and which unit runs what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...components.pe_array import PeArray
from ...components.systolic import SystolicArray
from ...components.vector import VectorUnit
from ...ir import Einsum
from ...lowering.ports import Route, route
from ...mapping.constraints import Constraints, OpConstraint
from ...mapping.tree import Halo
from ..aims import Aim
from .binding import WIDTH, Bound, Way, Ways, bind
from .groups import Form, Group
from .memories import Memories
from .plan import Arrangement, Fed, Loops, Placed, Placement, Tiling, Transfer

TILES = (14, 6, 3)
"""Sizes of a tile of each rank that are tried around a whole group, of one, two, or more ranks."""
STEPS = 3
"""The same for the rank that is streamed, and for tiles inside."""
SETTLED = 5
"""Tilings, the most promising ones, whose binding is searched for in full."""
DEPTHS = ((4, 2), (4, 1), (2, 1), (1, 1))
"""Tiles between the Ops of a pass, and results between passes: what is tried, until it fits."""
FLAT_DEPTHS = ((4, 4), (2, 2), (1, 1))
"""The same where a group has no passes, and all that its Ops hand on passes between bodies."""
PATCHES = 6
"""Sizes of patches, along rows and along columns, that are tried for chains of windows."""
HOPELESS = 1.1
"""Tilings whose transfers or busiest unit take so many times the cycles of the best one so far are left out."""
ALIKE = 3
"""Of those, that have equal loops around the whole group."""
LEAST = 1 / 64
"""Tiles are no smaller than this share of the largest side of a unit, where the rank is no smaller."""


@dataclass(frozen=True)
class GroupPlan:
    """A group with all that is chosen of it.

    Attributes:
        arrangement: loops and transfers.
        bound: the units of its Einsums, by member.
        cycles: of the machine's clock, expected for the whole group.
        joules: expected.
        traffic: bytes that pass the chip's edge.
        held: bytes of the memory next to the chip's edge.
    """

    arrangement: Arrangement
    bound: Bound
    cycles: float
    joules: float
    traffic: int
    held: int

    def value(self, aim: Aim) -> float:
        return aim.of(self.cycles, self.joules)


@dataclass(frozen=True)
class Site:
    """Where a group runs.

    Attributes:
        budgets: bytes of each memory on the chip that the group may take.
        here: stored tensors that lie in the memory next to the chip's edge already, or shall.
        halos: what loops over ranks whose windows overlap may do.
    """

    arch: Architecture
    ways: Ways
    memories: Memories
    budgets: Mapping[str, int]
    here: frozenset[str]
    aim: Aim
    constraints: Constraints
    halos: frozenset[Halo]


class GroupSearch:
    """Plans of one group."""

    arrangement: type[Arrangement] = Arrangement

    def __init__(self, group: Group, outside: Mapping[str, str], leaving: frozenset[str], site: Site) -> None:
        self.group, self.site = group, site
        self.feeds = [site.ways.feeds(einsum) for einsum in group.einsums]
        self.placement = Placement(group, site.memories, self.feeds, outside, leaving, site.here)
        self.constraints = [self._constraint(einsum) for einsum in group.einsums]
        self.fixed = self._fixed()
        self.sides = sides_of(site.ways.units)
        self._routes: dict[tuple[str, str], Route] = {}
        self._known_sizes: dict[tuple[int, int], list[int]] = {}
        self._hopeless = math.inf
        """Cycles of a unit, or of transfers, from which on a tiling is left out."""
        self._ways_of: dict[tuple[int, Loops], tuple[tuple[Way, ...], float]] = {}
        """Of a member inside loops: ways to run its tiles, and how many there are."""

    def plans(self, limit: float = math.inf, *, coarse: bool = False) -> list[GroupPlan]:
        """Plans that fit, best first as far as can be foreseen; at most `SETTLED` of them.

        Args:
            limit: for latency, those are left out whose transfers surely take more cycles, or whose busiest unit takes
                `HOPELESS` times as many.
            coarse: with the smallest tiles of what is streamed and no loops inside those, as is mostly best.
        """
        if self.fixed is None or not all(self.feeds) or not self._handed_in_the_buffer() or not self._within_reach():
            return []
        rough: list[tuple[float, float, int, Arrangement]] = []
        if any(not self._runs(e) for e in self.group.einsums):
            return []
        quick = self.site.aim.objective == "latency"
        limit = limit if quick else math.inf
        hopeless = min(self._hopeless, HOPELESS * limit)
        for form in self.group.forms():
            for tilings in self._tilings(form, coarse=coarse):
                first = self.arrangement(self.placement, form, tilings[0])
                binding = self._bound(first, width=2)
                if binding is None or max(binding[0].busy.values()) > hopeless:
                    continue
                placed = (first, *(self.arrangement(self.placement, form, t) for t in tilings[1:]))
                found = next((x for p in placed if (x := self._settled(p)) is not None), None)
                if found is None or self._moving(found)[0] > min(limit, hopeless):
                    continue
                plan = self._weighed(found, binding if found.outer == first.outer else self._bound(found, width=2))
                if plan is not None:
                    rough.append((plan.value(self.site.aim), plan.joules, len(rough), found))
                    if quick:
                        hopeless = min(hopeless, HOPELESS * plan.cycles)
                        self._hopeless = min(self._hopeless, hopeless)
        rough.sort(key=lambda r: r[:3])
        most = 1 if coarse else SETTLED
        for _, _, _, best in rough[:most]:
            plan = self._turned(best)
            if plan is not None:
                rough.append((plan.value(self.site.aim), plan.joules, len(rough), plan.arrangement))
        rough.sort(key=lambda r: r[:3])
        wanted = islice(_different(r[3] for r in rough), most)
        plans = [self._weighed(found, self._bound(found)) for found in wanted]
        return sorted((p for p in plans if p is not None), key=lambda p: (p.value(self.site.aim), p.joules))

    def _turned(self, best: Arrangement) -> GroupPlan | None:
        """The same with the two innermost loops around the group in the other order: what they cut comes less often, or
        more."""
        outer = best.tiling.outer
        if best.form.stream >= 0 or len(outer) < 2:
            return None
        tiling = Tiling((*outer[:-2], outer[-1], outer[-2]), best.tiling.step, best.tiling.inner)
        found = self._settled(self.arrangement(self.placement, best.form, tiling))
        return None if found is None else self._weighed(found, self._bound(found, width=2))

    def _runs(self, einsum: Einsum) -> bool:
        return bool(self.site.ways.of(einsum, dict(einsum.sizes), self._constraint(einsum)))

    def _handed_in_the_buffer(self) -> bool:
        """Whether units read what passes between the group's Einsums where others write it."""
        return {m for name, m in self._uses() if name in self.group.makers} <= {self.site.memories.buffer}

    def _within_reach(self) -> bool:
        """Whether what stays next to the edge is on the way to the units that read it."""
        memories, outside = self.site.memories, self.placement.outside
        here = {m for name, m in self._uses() if outside.get(name, name) in self.site.here}
        return all(memories.near in memories.chains[m] for m in here)

    def _uses(self) -> Iterator[tuple[str, str]]:
        """Tensors that Einsums read and write, and where."""
        for einsum, feeds in zip(self.group.einsums, self.feeds, strict=True):
            for access, memory in zip((*einsum.inputs, einsum.output), feeds, strict=True):
                yield access.tensor, memory

    def _route(self, transfer: Transfer) -> Route:
        return self._between(transfer.src, transfer.dst)

    def _between(self, src: str, dst: str) -> Route:
        if (src, dst) not in self._routes:
            self._routes[src, dst] = route(self.site.arch, src, dst)
        return self._routes[src, dst]

    # The space

    def _fixed(self) -> dict[int, int] | None:
        """Tiles that a user wants, by class; None where these contradict each other or ask for what groups have not."""
        found: dict[int, int] = {}
        for i, einsum in enumerate(self.group.einsums):
            constraint = self._constraint(einsum)
            if constraint.order is not None or constraint.spread:
                return None
            for rank, tile in constraint.tiles.items():
                number = self.group.classes[i].get(rank, -1)
                if number < 0 or found.setdefault(number, tile) != tile:
                    return None
        return found

    def _constraint(self, einsum: Einsum) -> OpConstraint:
        return self.site.constraints.for_einsum(einsum.name, einsum.kind)

    def _tilings(self, form: Form, *, coarse: bool) -> Iterator[tuple[Tiling, ...]]:
        """Loops around the group over what is shared, one by one where a class cuts all that comes from outside.

        Of several at once, the first one that fits is wanted.
        """
        group = self.group
        alone = [c for c in group.shared if self._cuts_all(c)]
        wide = [c for c in group.shared if c not in alone]
        if not wide and form.stream < 0:
            wide, alone = alone[-2:], alone[:-2]
        assert self.fixed is not None
        if form.stream < 0 and group.windows and not self.fixed and self._last_alone_is_used():
            yield from self._patches()
        around = tuple((c, self.fixed.get(c, 1)) for c in alone)
        outer_sizes = [self._sizes(c, TILES[min(len(wide), len(TILES)) - 1]) for c in wide]
        steps = self._steps(form)[-1:] if coarse else self._steps(form)
        for sizes in product(*outer_sizes):
            outer = (*around, *zip(wide, sizes, strict=True))
            for step in steps:
                for inner in ((),) if coarse else self._inner(form, wide, sizes):
                    yield (Tiling(outer, step, inner),)

    def _last_alone_is_used(self) -> bool:
        """Whether nothing but the last Einsum's result is used outside the group: with halos, only that may be."""
        *others, _ = (einsum.output.tensor for einsum in self.group.einsums)
        return (self.placement.leaving | self.placement.here).isdisjoint(others)

    def _patches(self) -> Iterator[tuple[Tiling, ...]]:
        """Loops with a halo over the ranks that may have some: what to do with each, what makes less again first.

        Where columns are made again, rows are: whole rows of what is made anew for every tile are seldom worth room.
        """
        kinds: dict[str, list[int]] = {}
        for number, rank in self.group.windows.items():
            kinds.setdefault(rank, []).append(number)
        for tiles in product(*(self._sizes(numbers[0], PATCHES) for numbers in kinds.values())):
            cut = [(n, t) for n, t in zip(kinds.values(), tiles, strict=True) if t < self.group.size(n[0])]
            found = []
            for numbers in product(*(n for n, _ in cut)):
                halos = [self.group.halo(n) for n in numbers]
                if halos != ["retained", "clipped"] and self.site.halos.issuperset(halos):
                    outer = tuple((n, t) for n, (_, t) in zip(numbers, cut, strict=True))
                    found.append((halos.count("clipped"), Tiling(outer, 1, ())))
            yield tuple(tiling for _, tiling in sorted(found, key=lambda f: f[0]))

    def _steps(self, form: Form) -> Sequence[int]:
        if form.stream < 0:
            return (1,)
        iterative = any(
            e.iterative and self.group.classes[i][e.iterative] == form.stream for i, e in enumerate(self.group.einsums)
        )
        if iterative:
            return (1,)
        return self._sizes(form.stream, STEPS)

    def _inner(self, form: Form, wide: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[tuple[int, int], ...]]:
        yield ()
        if form.stream < 0 or not wide:
            return
        number, size = wide[-1], sizes[-1]
        for tile in self._sizes(number, STEPS):
            if tile < size:
                yield ((number, tile),)

    def _cuts_all(self, number: int) -> bool:
        """Whether every access to something from outside is cut by a class: its loop moves nothing twice."""
        for i, einsum in enumerate(self.group.einsums):
            rank = self.group.rank(i, number)
            if any(a.tensor in self.placement.outside and rank not in a.ranks for a in einsum.inputs):
                return False
        return True

    def _sizes(self, number: int, most: int) -> list[int]:
        """Sizes of tiles of a class, largest first: sides of units, and near their multiples by powers of two."""
        if (number, most) not in self._known_sizes:
            self._known_sizes[number, most] = self._sizes_of(number, most)
        return self._known_sizes[number, most]

    def _sizes_of(self, number: int, most: int) -> list[int]:
        assert self.fixed is not None
        size = self.group.size(number)
        if number in self.fixed:
            return [self.fixed[number]]
        divisors = [d for d in range(1, min(size, 4096) + 1) if size % d == 0]
        divisors += [size // d for d in divisors if size // d > 4096]
        if len(divisors) < 4 and size > 4:
            divisors += [1 << n for n in range(size.bit_length())]
        divisors = sorted(set(divisors))
        side = max((s for s in self.sides if s <= size), default=size)
        wanted = [side * 2.0**n for n in range(-(most // 2), most + 8)]
        near = {min(divisors, key=lambda d: (abs(d - w), d)) for w in wanted if w <= size * 1.01}
        least = side * LEAST
        found = sorted((d for d in near | {size} if d >= least), reverse=True)
        if len(found) <= most:
            return found
        return found[-most:] if most <= STEPS else found[:1] + found[-(most - 1) :]

    # One tiling

    def _settled(self, placed: Arrangement) -> Arrangement | None:
        """What is kept, and how deep buffers are: as much as fits, what saves most traffic first."""
        site, tiling = self.site, placed.tiling
        cut = tiling.outer, tiling.step, tiling.inner
        depths = DEPTHS if placed.form.stream >= 0 else FLAT_DEPTHS
        none: frozenset[tuple[Fed, int]] = frozenset()
        placed = placed.fed()

        def deep(buffers: tuple[int, int]) -> Arrangement:
            return placed.changed(Tiling(*cut, none, *buffers))

        found = deep(depths[0])
        if not self._fits(found):
            if not self._fits(deep(depths[-1])):
                return None
            found = next(x for buffers in depths[1:] if self._fits(x := deep(buffers)))
        gains: list[tuple[int, Fed, int, dict[str, int]]] = []
        for fed, (apart, *ways) in found.loads.items():
            moved, held = sum(map(found.moved, apart)), self._held(found, apart)
            for number, way in enumerate(ways, 1):
                gain = moved - sum(map(found.moved, way))
                if gain > 0:
                    taken = {m: n - held.get(m, 0) for m, n in self._held(found, way).items()}
                    gains.append((-gain, fed, number, taken))
        room = {m: site.budgets[m] - n for m, n in found.held.items()}
        kept: dict[Fed, int] = {}
        for _, fed, number, taken in sorted(gains, key=lambda g: g[:3]):
            if fed not in kept and all(n <= room[m] for m, n in taken.items()):
                room |= {m: room[m] - n for m, n in taken.items()}
                kept[fed] = number
        if not kept:
            return found
        return found.changed(Tiling(*cut, frozenset(kept.items()), found.tiling.depth, found.tiling.blocks))

    def _fits(self, found: Arrangement) -> bool:
        return all(n <= self.site.budgets[m] for m, n in found.held.items())

    @staticmethod
    def _held(found: Arrangement, transfers: Sequence[Transfer]) -> dict[str, int]:
        held: dict[str, int] = {}
        for t in transfers:
            held[t.memory] = held.get(t.memory, 0) + found.taken(t)
        return held

    def _bound(self, placed: Arrangement, width: int = WIDTH) -> tuple[Bound, list[float]] | None:
        """Units of all Einsums, and how often each runs; None where one cannot run in tiles of that size."""
        ways, times = [], []
        for place in placed.places:
            known = place.member, place.loops
            if known not in self._ways_of:
                self._ways_of[known] = self._ways(place), placed.runs(place)
            able, runs = self._ways_of[known]
            if not able:
                return None
            ways.append(able)
            times.append(runs)
        return bind(ways, times, by_energy=self.site.aim.energy_alone, width=width), times

    def _ways(self, place: Placed) -> tuple[Way, ...]:
        constraint = self.constraints[place.member]
        if not constraint.allows(tiles=place.extents):
            return ()
        return self.site.ways.of(self.group.einsums[place.member], place.extents, constraint)

    def _weighed(self, found: Arrangement, binding: tuple[Bound, list[float]] | None) -> GroupPlan | None:
        """Cycles: the busiest unit or port, in every pass by itself where nothing stands between two bodies."""
        if binding is None:
            return None
        bound, times = binding
        moving, joules, traffic = self._moving(found)
        cycles = self._cycles(found, bound, times, moving)
        return GroupPlan(found, bound, cycles, bound.joules + joules, traffic, found.held[self.site.memories.near])

    def _moving(self, found: Arrangement) -> tuple[float, float, int]:
        """Cycles of the busiest port, joules, and bytes of what passes the chip's edge."""
        ports, joules, traffic = self._ports(found)
        return max(ports.values(), default=0.0), joules, traffic

    def _ports(self, found: Arrangement) -> tuple[dict[str, float], float, int]:
        """Cycles of every port, and the rest."""
        ports: dict[str, float] = {}
        joules, traffic = 0.0, 0
        for transfer in found.transfers:
            nbytes, way = found.moved(transfer), self._route(transfer)
            traffic += nbytes if self.site.memories.home in (transfer.src, transfer.dst) else 0
            joules += nbytes * way.joules_per_byte
            for port, cycles in way.cycles_per_byte.items():
                ports[port] = ports.get(port, 0.0) + nbytes * cycles
        return ports, joules, traffic

    def _cycles(self, found: Arrangement, bound: Bound, times: Sequence[float], moving: float) -> float:
        """The busiest unit or port, and what does not overlap with it.

        Passes of one body run one after the other, and overlap with those of the next body if buffers stand between
        them. A pass ends when its last Op has seen its last tile; nothing begins before its first tiles are there, and
        the last result leaves when all is done.
        """
        bodies = found.trips(found.outer)
        stages: dict[int, dict[str, float]] = {}
        depth: dict[int, list[float]] = {}
        for place, way, n in zip(found.places, bound.ways, times, strict=True):
            busy = stages.setdefault(place.stage, {})
            busy[way.unit.name] = busy.get(way.unit.name, 0.0) + way.cycles * n
            depth.setdefault(place.stage, []).append(way.cycles)
        passes = sum(max(busy.values()) for busy in stages.values())
        filling = sum(sum(row) - max(row) for row in depth.values())
        busiest, waits = max(bound.busy.values()), _waits(found, bound)
        if found.tiling.blocks > 1:
            cycles = max(busiest, moving, waits) + (passes - busiest) / bodies + filling
        else:
            cycles = max(passes + bodies * filling, moving, waits)
        first, last = found.places[0].member, found.places[-1].member
        ends = [t for t in found.transfers if (last if t.store else first) in t.users]
        return cycles + sum(t.tile_bytes * max(self._route(t).cycles_per_byte.values(), default=0.0) for t in ends)


def _waits(found: Arrangement, bound: Bound) -> float:
    """Cycles that a body's Ops take at least if so many tiles stand between them.

    A tile is held from the start of the Op that makes it to the end of the last one that reads it, which waits for all
    on the longest way between the two.
    """
    group, at = found.group, {p.member: i for i, p in enumerate(found.places)}
    cycles = [bound.ways[at[m]].cycles for m in range(len(group.einsums))]
    worst = 0.0
    for i in range(len(group.einsums)):
        maker = found.places[at[i]]
        longest = {i: cycles[i]}
        for a, b, _ in group.edges:
            if a in longest and a < b and found.places[at[b]].stage == maker.stage:
                longest[b] = max(longest.get(b, 0.0), longest[a] + cycles[b])
        readers = [longest[b] for a, b, _ in group.edges if a == i and a < b and b in longest]
        worst = max([worst, *(r * found.runs(maker) / found.tiling.depth for r in readers)])
    return worst


def _different(ranked: Iterable[Arrangement]) -> Iterator[Arrangement]:
    """Of arrangements, best first, the first of those with equal loops; at most `ALIKE` with equal outer ones."""
    seen: set[tuple[object, ...]] = set()
    around: dict[object, int] = {}
    for x in ranked:
        tree = tuple([(p.stage, p.loops) for p in x.places])
        around[x.outer] = around.get(x.outer, 0) + (tree not in seen)
        if tree not in seen and around[x.outer] <= ALIKE:
            yield x
        seen.add(tree)


def sides_of(units: Sequence[ComputeUnit]) -> list[int]:
    """Sizes of tiles that fill units."""
    found: set[int] = set()
    for unit in units:
        if isinstance(unit, PeArray | SystolicArray):
            found |= {unit.rows, unit.cols}
        elif isinstance(unit, VectorUnit):
            found.add(unit.lanes)
    return sorted(found) or [64]
