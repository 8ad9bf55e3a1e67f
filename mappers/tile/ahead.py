"""How far ahead of an Einsum its operands are loaded, as far as memories have room.

Weights depend on nothing that runs before: their first tiles come while the Einsum before runs, in the buffers that
there are anyway. Where Einsums wait for the off-chip memory, others before them leave it idle and their rooms empty in
part: then operands that are ready come from further back, through more buffers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil

from ...arch.architecture import Architecture
from ...ir import Einsum, Role, Workload
from ...lowering.ports import route
from ...mapping.machine_bound import einsum_bounds
from .floor import rates_of
from .flow import Flow
from .nest import Way
from .search import Plan
from .tiers import Tiers

REACH = 16
"""Einsums that operands are loaded ahead of their own one at most."""


@dataclass(frozen=True)
class Load:
    """An operand that comes from outside the chip.

    Attributes:
        ready: number of the first Einsum during which it may come.
        weight: whether it is a weight.
        tile_bytes, buffers: as the plan has them.
        tiles: that come in all.
        cycles_per_byte: over the way's slowest port.
    """

    way: Way
    ready: int
    weight: bool
    tile_bytes: int
    buffers: int
    tiles: int
    cycles_per_byte: float

    @property
    def least(self) -> int:
        """Bytes of the buffers that the plan has."""
        return self.buffers * self.tile_bytes


@dataclass(frozen=True)
class Stretch:
    """An Einsum among those that run one after the other.

    Attributes:
        loads: of its operands, those first that are asked for first.
        room: bytes that it leaves free of each memory next to the chip's edge.
        cycles: that it takes, as the mapper expects.
        moving: of the off-chip memory.
        computing: of its unit at least.
    """

    loads: tuple[Load, ...]
    room: Mapping[str, int]
    cycles: float
    moving: float
    computing: float


@dataclass(frozen=True)
class Early:
    """A load that begins with an Einsum before its own.

    Attributes:
        since: number of that one.
        buffers: of the load.
    """

    since: int
    buffers: int


Choice = dict[tuple[int, Way], Early]
"""By number of an Einsum and a load of it."""


@dataclass(frozen=True)
class Obstacle:
    """An Einsum whose own tiles leave too little room for loads that would come from before it.

    Attributes:
        memory: of which it takes too much.
        short: bytes that it would have to leave besides.
        saved: cycles of the off-chip memory that could come further ahead then.
    """

    memory: str
    short: int
    saved: float


def ready_behind(
    flow: Flow, path: tuple[str, ...], items: Sequence[int], tiers: Tiers, staying: Collection[str]
) -> dict[str, int]:
    """Tensors off the chip that may be loaded ahead, to the number of the first child during which they may.

    Weights may from the start on, and activations once the last child that makes them has ended.

    Args:
        path: of the scope in which they are loaded.
        items: of the scope, by child.
        staying: activations that stay on the chip.
    """
    behind = {item: k + 1 for k, item in enumerate(items)}
    found: dict[str, int] = {}
    for name, life in flow.lives.items():
        here = life.scope == path and not life.carried
        if life.tensor.role is Role.WEIGHT and name not in tiers.streamed:
            found[name] = 0
        elif here and life.tensor.role is Role.ACTIVATION and life.makers and name not in staying:
            found[name] = max(behind[item] for item in life.makers)
    return found


def stretch_of(
    arch: Architecture,
    workload: Workload,
    einsum: Einsum,
    plan: Plan,
    room: Mapping[str, int],
    ready: Mapping[str, int],
    weights: Set[str],
) -> Stretch:
    """What a plan says of an Einsum.

    Args:
        room: as `Stretch.room`.
        ready: operands that may come before it begins, to the number of the first Einsum during which they may.
        weights: those of them that are weights.
    """
    level = plan.levels[0]
    loads = []
    for way in sorted(level.depth, key=lambda way: level.buffers[way]):
        name, memory, stored = way
        if not stored and name in ready and (name in weights or way not in level.slides):
            slowest = max(route(arch, str(arch.memories[memory].parent), memory).cycles_per_byte.values(), default=0.0)
            tiles = int(plan.moved.get((name, False), (0.0, 0.0))[0] / level.tile_bytes[way])
            loads.append(
                Load(way, ready[name], name in weights, level.tile_bytes[way], level.buffers[way], tiles, slowest)
            )
    read, written = (sum(amounts) for amounts in zip(*plan.moved.values(), (0.0, 0.0), strict=True))
    least = einsum_bounds(workload, arch)[einsum.name].cycles[list(arch.units).index(plan.unit)]
    return Stretch(tuple(loads), room, plan.cycles, rates_of(arch).cycles(read, written), max(plan.computing, least))


class Ahead:
    """Loads of the Einsums of a scope; None stands for what nothing is loaded ahead in, or for, here."""

    def __init__(self, stretches: Sequence[Stretch | None]) -> None:
        self._stretches = stretches
        self._room = [dict(s.room) if s else {} for s in stretches]
        self._idle = [max(0.0, s.cycles - s.moving) if s else 0.0 for s in stretches]
        self.saved = 0.0
        """Cycles of the off-chip memory for what comes further ahead."""
        self.obstacles: dict[int, Obstacle] = {}
        """By the number of the Einsum that is in the way, the dearest one each."""
        self.choice: Choice = {}
        """At first, of weights alone, into the buffers that there are while the Einsum before runs."""
        for k, load in self._all():
            if load.weight:
                self._begin(k, load)

    def further(self) -> Choice:
        """All operands, and for Einsums that wait for the off-chip memory more buffers, from further back."""
        for k, load in self._all():
            if not load.weight and self._begin(k, load):
                self.saved += load.least * load.cycles_per_byte
        for k, load in self._all():
            stretch = self._stretches[k]
            assert stretch is not None
            waiting, per_tile = stretch.moving - stretch.computing, load.cycles_per_byte * load.tile_bytes
            if (k, load.way) not in self.choice or not per_tile:  # over ways without limit nothing is waited for
                continue
            wanted = min(ceil(waiting / per_tile), load.tiles)
            if wanted > load.buffers:
                self._deepen(k, load, wanted)
        return self.choice

    def _begin(self, k: int, load: Load) -> bool:
        """Begin with the Einsum before, if that leaves room."""
        able = load.ready < k and self._room[k - 1].get(load.way[1], -1) >= load.least
        if able:
            self._take(k, load, Early(k - 1, load.buffers))
        return able

    def _all(self) -> Iterator[tuple[int, Load]]:
        for k, stretch in enumerate(self._stretches):
            for load in stretch.loads if stretch else ():
                yield k, load

    def _deepen(self, k: int, load: Load, wanted: int) -> None:
        """As many tiles as memories have room for, and the off-chip memory time, from the nearest Einsum on."""
        memory, best = load.way[1], self.choice[k, load.way]
        self._take(k, load, best, give=True)
        room, idle = self._room[k][memory] + load.least, 0.0
        for j in range(k - 1, max(load.ready, k - REACH) - 1, -1):
            room = min(room, self._room[j].get(memory, -1))
            if room < load.least:
                break
            idle += self._idle[j]
            there = min(wanted, room // load.tile_bytes, int(idle / load.cycles_per_byte) // load.tile_bytes)
            if there > best.buffers:
                best = Early(j, there)
            if there == wanted or there == room // load.tile_bytes:
                break
        if best.buffers < wanted:
            self._find_obstacle(k, load, wanted, best.buffers)
        self._take(k, load, best)
        self._use(k, best, load)
        self.saved += (best.buffers - load.buffers) * load.tile_bytes * load.cycles_per_byte

    def _find_obstacle(self, k: int, load: Load, wanted: int, found: int) -> None:
        """The Einsum with the least room on the way back, if more tiles could come without it."""
        memory, tile, most, obstacle = load.way[1], load.tile_bytes, found, -1
        others, idle = self._room[k][memory] + load.least, 0.0
        narrow, least, short = -1, others, 0
        for j in range(k - 1, max(load.ready, k - REACH) - 1, -1):
            room, idle = self._room[j].get(memory, -1), idle + self._idle[j]
            if room < 0:
                break
            # What the narrow one has loaded ahead itself goes with its tiles.
            without = room + (self._claimed(narrow, memory, j) if narrow >= 0 else 0)
            if narrow < 0 or without < least:
                others, narrow, least = min(others, least), j, room
            else:
                others = min(others, without)
            there = min(wanted, others // tile, int(idle / load.cycles_per_byte) // tile)
            if there > most:
                most, obstacle, short = there, narrow, there * tile - least
        saved = (most - found) * tile * load.cycles_per_byte
        if short > 0 and saved > self.obstacles.get(obstacle, Obstacle(memory, 0, 0.0)).saved:
            self.obstacles[obstacle] = Obstacle(memory, short, saved)

    def _claimed(self, k: int, memory: str, at: int) -> int:
        """Bytes of a memory that loads of one Einsum take while an earlier one runs."""
        stretch = self._stretches[k]
        claimed = 0
        for load in stretch.loads if stretch else ():
            early = self.choice.get((k, load.way))
            if early and early.since <= at and load.way[1] == memory:
                claimed += early.buffers * load.tile_bytes
        return claimed

    def _take(self, k: int, load: Load, early: Early, *, give: bool = False) -> None:
        """Take (or give back) the room of a load, from where it begins on."""
        memory, sign = load.way[1], 1 if give else -1
        for j in range(early.since, k):
            self._room[j][memory] += sign * early.buffers * load.tile_bytes
        self._room[k][memory] += sign * (early.buffers - load.buffers) * load.tile_bytes
        if not give:
            self.choice[k, load.way] = early

    def _use(self, k: int, early: Early, load: Load) -> None:
        """Use up idle time of the off-chip memory, the latest first."""
        left = early.buffers * load.tile_bytes * load.cycles_per_byte
        for j in range(k - 1, early.since - 1, -1):
            used = min(left, self._idle[j])
            self._idle[j], left = self._idle[j] - used, left - used
