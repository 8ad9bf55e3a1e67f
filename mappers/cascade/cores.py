"""Groups over several cores: memories of their own, units of different kinds, and a chip's edge that they share.

A core is a memory from which units read what they work on, and to which they write. An Einsum of a group is given to a
core, results pass from core to core in the group's Pipes (`mapping.handing`), and tiles follow each other through them.
Given out are: every Einsum where it runs fastest; so that the busiest unit has least to do; the same with fewer
crossings; so that least energy is taken, that of crossings included; and all of them to one core.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...ir import Einsum
from ...lowering.ports import route
from ...mapping.constraints import OpConstraint
from ...mapping.handing import way_between
from .binding import Way, Ways, bind
from .fusion import Fusion, Stretch
from .groups import Group
from .memories import Memories, buffer_of, chain_of
from .plan import DEEPEST, Arrangement, Fed, Handed, Transfer, leading
from .search import HOPELESS, GroupPlan, GroupSearch

SLACK = 1.05
"""Cycles of the busiest unit that may be given for fewer crossings, as a multiple of the least there can be."""


@dataclass(frozen=True)
class CoreMemories(Memories):
    """The memories of several cores behind one memory outside the chip.

    Attributes:
        cores: those that units work on.
        ways: from one of these to another one.
    """

    cores: tuple[str, ...] = ()
    ways: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def runs(self, unit: ComputeUnit) -> bool:
        return buffer_of(unit) in self.cores and set(unit.memories) <= self.chains.keys()


def core_memories(arch: Architecture, near: str) -> CoreMemories | None:
    """All cores of a machine; None where it has but one.

    `near` is the memory in which tensors stay between groups, on the way to all of them; empty where there is none.
    """
    units = [u for u in arch.units.values() if isinstance(u, ComputeUnit) and buffer_of(u)]
    chains = {m: chain_of(arch, m) for unit in units for m in unit.memories}
    chains = {m: chain for m, chain in chains.items() if len(chain) > 1 and (not near or chain[1] == near)}
    cores = dict.fromkeys(buffer_of(u) for u in units if set(u.memories) <= chains.keys())
    homes = {chains[m][0] for m in cores}
    if len(cores) < 2 or len(homes) > 1 or any(arch.memories[m].on_chip for m in homes):
        return None
    ways = {(a, b): way_between(arch, a, b) for a in cores for b in cores if a != b}
    if any(not arch.memories[m].on_chip for way in ways.values() for m in way):
        return None
    return CoreMemories(chains, next(iter(cores)), tuple(cores), ways)


class CoreWays(Ways):
    """What tiles cost on the cores to which Einsums are given; of Einsums that are given to none, on all of them."""

    def __init__(self, cores: Mapping[str, Ways], memories: CoreMemories, given: Mapping[str, str]) -> None:
        first = next(iter(cores.values()))
        super().__init__(first.workload, first.arch, memories)
        self.cores, self.given = cores, given

    def feeds(self, einsum: Einsum) -> tuple[str, ...]:
        return self.cores[self.given[einsum.name]].feeds(einsum)

    def of(self, einsum: Einsum, extents: Mapping[str, int], constraint: OpConstraint) -> tuple[Way, ...]:
        if einsum.name in self.given:
            return self.cores[self.given[einsum.name]].of(einsum, extents, constraint)
        return tuple(way for ways in self.cores.values() for way in ways.of(einsum, extents, constraint))


@dataclass
class CoreArrangement(Arrangement):
    """What several cores read of a tensor comes once to the memory that they share; results lie where they are read."""

    def _load(self) -> None:
        super()._load()
        feds: dict[tuple[str, str], list[Fed]] = {}
        for fed, ways in self.loads.items():
            if len(ways) > 2:  # by way of a memory on the chip
                feds.setdefault((fed[0], ways[-1][0].dst), []).append(fed)
        for same in feds.values():
            if len(same) < 2:
                continue
            reads = [(p.member, self.placement.reads[p.member]) for p in self.places]
            uses = [(member, a, c) for member, here in reads for a, c, fed in here if fed in same]
            depth = min(leading(carried, self.outer) for _, _, carried in uses)
            first = self._loaded(same[0], uses, -1, self.outer[:depth])[0]
            for fed in same:
                self.loads[fed] = [(first, *way[1:]) for way in self.loads[fed][1:]]

    def _chosen(self) -> list[Transfer]:
        return list(dict.fromkeys(super()._chosen()))

    def _hand(self) -> None:
        super()._hand()
        memories = self.placement.memories
        assert isinstance(memories, CoreMemories)
        feeds, made = self.placement.feeds, {h.tensor: h for h in self.handed}
        self.crossing: dict[tuple[int, str], tuple[str, ...]] = {}
        """Maker and memory to the way that its results take there."""
        found: dict[tuple[str, str, bool], Handed] = {}
        for i, j, access in self.group.edges:
            if i >= j:
                continue
            memory, src = feeds[j][self.group.einsums[j].inputs.index(access)], feeds[i][-1]
            whole = made[access.tensor]
            found[access.tensor, memory, whole.across] = whole._replace(memory=memory)
            if memory != src:
                self.crossing[i, memory] = memories.ways[src, memory]
        at = {p.member: p for p in self.places}
        for (i, _), way in self.crossing.items():
            einsum = self.group.einsums[i]
            across = made[einsum.output.tensor].across
            one = self.group.tile_bytes(i, einsum.output, self.outer if across else at[i].loops)
            passing = tuple(n * one for n in range(1, DEEPEST + 1))
            for memory in way[:-1]:
                here = Handed(einsum.output.tensor, memory, across, passing)
                found.setdefault((einsum.output.tensor, memory, across), here)
        self.handed = list(found.values())


class CoreSearch(GroupSearch):
    """Plans of a group whose Einsums are given to cores."""

    arrangement = CoreArrangement

    def _handed_in_the_buffer(self) -> bool:
        return True

    def _moving(self, found: Arrangement) -> tuple[float, float, int]:
        """With what passes from core to core."""
        assert isinstance(found, CoreArrangement)
        ports, joules, traffic = self._ports(found)
        at = {p.member: p for p in found.places}
        for (i, _), way in found.crossing.items():
            loops = at[i].loops
            nbytes = found.runs(at[i]) * self.group.tile_bytes(i, self.group.einsums[i].output, loops)
            for src, dst in pairwise(way):
                hop = self._between(src, dst)
                joules += nbytes * hop.joules_per_byte
                for port, cycles in hop.cycles_per_byte.items():
                    ports[port] = ports.get(port, 0.0) + nbytes * cycles
        return max(ports.values(), default=0.0), joules, traffic


class CoreFusion(Fusion):
    """Groups of a Workload over the cores of a machine."""

    def __init__(self, one: Fusion, memories: CoreMemories) -> None:
        self.__dict__.update({k: v for k, v in one.__dict__.items() if k != "ways"})
        self.memories = memories
        self.cores = {
            core: Ways(self.workload, self.arch, Memories(memories.chains, core)) for core in memories.cores
        }
        self.ways = CoreWays(self.cores, memories, {})

    def plans(
        self,
        stretch: Stretch,
        kept: Mapping[str, int] | None = None,
        *,
        limit: float = math.inf,
        coarse: bool = False,
    ) -> list[GroupPlan]:
        """Of all ways to give the Einsums to cores, best first as far as can be foreseen."""
        assert isinstance(self.memories, CoreMemories)
        site, leaving = self.site(stretch, kept)
        group = self.group(stretch)
        found: list[GroupPlan] = []
        best = math.inf
        for least, given in sorted(self._given(stretch.einsums, group), key=lambda x: x[0]):
            if least > HOPELESS * best:
                break
            here = replace(site, ways=CoreWays(self.cores, self.memories, given))
            plans = CoreSearch(group, stretch.outside, leaving, here).plans(limit, coarse=coarse)
            best = min([best, *(p.value(self.aim) for p in plans)])
            found += plans
        return sorted(found, key=lambda p: (p.value(self.aim), p.joules))

    def _given(self, einsums: Sequence[Einsum], group: Group) -> Iterator[tuple[float, dict[str, str]]]:
        """Ways to give Einsums to cores, each once, with what the sum by the aim comes to at least, tiles apart."""
        assert isinstance(self.memories, CoreMemories)
        able: list[dict[str, tuple[Way, ...]]] = []
        for e in einsums:
            constraint = self.constraints.for_einsum(e.name, e.kind)
            row = {core: ways.of(e, dict(e.sizes), constraint) for core, ways in self.cores.items()}
            able.append({core: found for core, found in row.items() if found})
        if not all(able):
            return
        crossing = _Crossing(group, self.arch, self.memories)
        fastest = [min(row, key=lambda core: min(w.cycles for w in row[core])) for row in able]
        units = [[way for found in row.values() for way in found] for row in able]
        balanced = [buffer_of(w.unit) for w in bind(units, [1] * len(units), by_energy=False).ways]
        wanted = [fastest, balanced, _joined(able, balanced, crossing), _thrifty(able, crossing)]
        wanted += [[core] * len(able) for core in self.cores if all(core in row for row in able)]
        for cores in dict.fromkeys(map(tuple, wanted)):
            joules = sum(min(w.joules for w in row[core]) for row, core in zip(able, cores, strict=True))
            cycles = _busiest(able, cores)
            yield self.aim.of(cycles, joules), dict(zip((e.name for e in einsums), cores, strict=True))


Able = Sequence[Mapping[str, tuple[Way, ...]]]
"""Of every Einsum, the cores that run it, and how."""


class _Crossing:
    """What it takes to pass the results of a group's Einsums whole from core to core."""

    def __init__(self, group: Group, arch: Architecture, memories: CoreMemories) -> None:
        self.group = group
        self.prices = {
            ends: sum(route(arch, src, dst).joules_per_byte for src, dst in pairwise(way))
            for ends, way in memories.ways.items()
        }
        self.sizes = [group.workload.tensors[e.output.tensor].nbytes for e in group.einsums]
        self.edges = list(dict.fromkeys((i, j) for i, j, _ in group.edges if i < j))

    def nbytes(self, cores: Sequence[str]) -> int:
        return sum(self.sizes[i] for i, memory in {(i, cores[j]) for i, j in self.edges} if memory != cores[i])

    def joules(self, maker: int, src: str, dst: str) -> float:
        return self.sizes[maker] * self.prices.get((src, dst), 0.0)


def _joined(able: Able, cores: Sequence[str], crossing: _Crossing) -> list[str]:
    """Einsum by Einsum given elsewhere while fewer bytes cross, and the busiest unit has little more to do."""
    found = list(cores)
    most = SLACK * _busiest(able, found)
    better = True
    while better:
        better = False
        for i, row in enumerate(able):
            for core in row:
                other = [*found[:i], core, *found[i + 1 :]]
                if crossing.nbytes(other) < crossing.nbytes(found) and _busiest(able, other) <= most:
                    found, better = other, True
    return found


def _busiest(able: Able, cores: Sequence[str]) -> float:
    """Cycles of the busiest core, each Einsum on its fastest unit there."""
    busy: dict[str, float] = {}
    for row, core in zip(able, cores, strict=True):
        ways = row[core]
        # Units of one core may share its Einsums out at best evenly.
        share = len({w.unit.name for other in able for w in other.get(core, ())})
        busy[core] = busy.get(core, 0.0) + min(w.cycles for w in ways) / share
    return max(busy.values())


def _thrifty(able: Able, crossing: _Crossing) -> list[str]:
    """Of least energy where each Einsum reads what the one before it makes: dynamic programming along the group."""
    best = {core: (min(w.joules for w in ways), [core]) for core, ways in able[0].items()}
    for i, row in enumerate(able[1:], 1):
        best = {
            core: min(
                (joules + crossing.joules(i - 1, before, core) + min(w.joules for w in ways), [*cores, core])
                for before, (joules, cores) in best.items()
            )
            for core, ways in row.items()
        }
    return min(best.values())[1]
