"""What is chosen of a group of Einsums, and what follows from it: loops around every Op, and where tiles move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from ...ir import Access
from ...mapping.halo import fresh, window
from .groups import Form, Group
from .memories import Memories

Loops = tuple[tuple[int, int], ...]
"""(class of ranks, tile) from the outermost loop on."""
Fed = tuple[str, str]
"""A stored tensor, and a memory that feeds units with it."""


DEEPEST = 4
"""Tiles that stand between two Ops at most."""


@dataclass(frozen=True)
class Tiling:
    """How a group is cut.

    Attributes:
        outer: loops around the whole group.
        step: tile of the streamed class in every pass over it.
        inner: loops inside those, over tiles of the outer ones.
        kept: tensors from outside of which a visit to the group's body loads something once, whole, with the number of
            that way among `Arrangement.loads`; others come pass by pass.
        depth: tiles that stand between two Ops of a pass.
        blocks: results that stand between two passes, and buffers of what is kept: with two, bodies overlap.
    """

    outer: Loops
    step: int
    inner: Loops
    kept: frozenset[tuple[Fed, int]] = frozenset()
    depth: int = 4
    blocks: int = 2


@dataclass(frozen=True)
class Placed:
    """An Einsum of a group in its place.

    Attributes:
        member: its number.
        stage: which child of the group's Pipe it is, or is in.
        loops: all loops around it, outermost first.
        inside: how many of them are inside the group's body.
        extents: of its tiles, by rank.
    """

    member: int
    stage: int
    loops: Loops
    inside: int
    extents: Mapping[str, int]


class Transfer(NamedTuple):
    """A tensor that passes, tile by tile, from one memory to the next on its way into a group or out of it.

    Attributes:
        tensor: its stored name.
        store: whether it leaves.
        src, dst: memories.
        users: the Ops that it is for or from.
        stage: the child of the group's Pipe in which it is cut; -1 for the loops around the body.
        loops: loops around the place where it is cut.
        tile_bytes: of one tile.
        held: bytes of one buffer, and of two.
        run_bytes: where it slides along the innermost of its loops, of all tiles of that together; 0 where it does not.
    """

    tensor: str
    store: bool
    src: str
    dst: str
    users: tuple[int, ...]
    stage: int
    loops: Loops
    tile_bytes: int
    held: tuple[int, int]
    run_bytes: int = 0

    @property
    def memory(self) -> str:
        """Where its tiles wait."""
        return self.src if self.store else self.dst


class Handed(NamedTuple):
    """What one Op leaves for others, between two Ops of a pass or (`across`) between passes.

    `held` are bytes of one tile, of two, and so on, with what loops that retain keep of those before, in a memory.
    """

    tensor: str
    memory: str
    across: bool
    held: tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """A group among memories and tensors: what does not change with its tiling.

    Attributes:
        feeds: the memory of every input of each Einsum and, last, of its result.
        outside: tensors from outside, by the names under which the group reads them, and their stored names.
        leaving: tensors made in the group that must leave it for another memory.
        here: stored tensors that are in the memory next to the edge already, or shall stay there.
        known: transfers that were worked out before.
    """

    group: Group
    memories: Memories
    feeds: Sequence[tuple[str, ...]]
    outside: Mapping[str, str]
    leaving: frozenset[str]
    here: frozenset[str] = frozenset()
    known: dict[tuple[Fed, tuple[int, ...], int, Loops], list[Transfer]] = field(default_factory=dict)

    def way(self, stored: str, memory: str) -> tuple[str, ...]:
        """The memories from where a tensor is, or shall be, to one that feeds units with it."""
        chain, near = self.memories.chains[memory], self.memories.near
        return chain[chain.index(near) :] if stored in self.here and near in chain else chain

    @cached_property
    def reads(self) -> list[list[tuple[Access, frozenset[int], Fed]]]:
        """Of every Einsum what must be brought: accesses, the classes of ranks that cut them, and the tensors."""
        found = []
        for member, einsum in enumerate(self.group.einsums):
            *feeds, _ = self.feeds[member]
            fed = [(a, (self.outside.get(a.tensor, ""), m)) for a, m in zip(einsum.inputs, feeds, strict=True)]
            brought = [(a, f) for a, f in fed if f[0] and len(self.way(*f)) > 1]
            found.append([(a, self.group.carried(member, a), f) for a, f in brought])
        return found


@dataclass
class Arrangement:
    """A group as it is cut by a tiling of one of its forms."""

    placement: Placement
    form: Form
    tiling: Tiling
    places: list[Placed] = field(default_factory=list)
    loads: dict[Fed, list[tuple[Transfer, ...]]] = field(default_factory=dict)
    """How tensors may come from outside: pass by pass, or whole as far as each of the memories on their way."""
    stores: list[Transfer] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    """Those that the tiling stands for."""
    handed: list[Handed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.group = self.placement.group
        self.outer = self._real(self.tiling.outer, {})
        self._place()

    def fed(self) -> Arrangement:
        """The same with all that moves and is handed on, which places do not need."""
        self._load()
        self._store()
        self._hand()
        self.transfers = self._chosen()
        return self

    def changed(self, tiling: Tiling) -> Arrangement:
        """The same loops with other buffers, or with other tensors kept."""
        found = copy(self)
        found.__dict__.pop("held", None)
        found.tiling = tiling
        if tiling.kept != self.tiling.kept:
            found.transfers = found._chosen()
        return found

    def _chosen(self) -> list[Transfer]:
        found = list(self.stores)
        kept = dict(self.tiling.kept)
        for fed, ways in self.loads.items():
            found += ways[kept.get(fed, 0)]
        return found

    def _real(self, loops: Loops, done: Mapping[int, int]) -> Loops:
        """Loops without those of one iteration."""
        left = dict(done)
        found = []
        for number, tile in loops:
            if tile < left.get(number, self.group.size(number)):
                found.append((number, tile))
                left[number] = tile
        return tuple(found)

    def trips(self, loops: Loops) -> int:
        """How often the body of loops runs."""
        left: dict[int, int] = {}
        total = 1
        for number, tile in loops:
            extent = left.get(number, self.group.size(number))
            total *= -(-extent // tile)
            left[number] = tile
        return total

    def runs(self, place: Placed) -> float:
        """How many of its largest tile an Einsum runs: tiles of loops with a halo differ in size."""
        plain = tuple([x for x in place.loops if x[0] >= 0])
        total = float(self.trips(plain))
        if len(plain) == len(place.loops):
            return total
        for number, tile in place.loops:
            if number < 0:
                cut = self.group.boxes(number, tile)[place.member]
                widths = [high - low + 1 for low, high in cut.spans]
                total *= sum(widths) / max(widths) if cut.rank else self.trips(((number, tile),))
        return total

    def _place(self) -> None:
        left = dict(self.outer)
        inner = self._real(self.tiling.inner, left)
        stage = 0
        for phase in self.form.phases:
            if phase.looped:
                own = self._real(((self.form.stream, self.tiling.step), *inner), left)
                stages = [stage] * len(phase.members) if own else range(stage, stage + len(phase.members))
                for member, at in zip(phase.members, stages, strict=True):
                    self._put(member, at, own)
                stage = stages[-1] + 1
                continue
            (member,) = phase.members
            leaves = self.group.einsums[member].output.tensor in self.placement.leaving
            self._put(member, stage, inner if leaves or self.form.stream < 0 else ())
            stage += 1

    def _put(self, member: int, stage: int, own: Loops) -> None:
        loops = (*self.outer, *own)
        self.places.append(Placed(member, stage, loops, len(own), self.group.extents(member, loops)))

    # What moves

    def _load(self) -> None:
        reads: dict[Fed, dict[int, list[_Use]]] = {}
        loops_of: dict[int, Loops] = {}
        for place in self.places:
            loops_of[place.stage] = place.loops
            for access, carried, fed in self.placement.reads[place.member]:
                reads.setdefault(fed, {}).setdefault(place.stage, []).append((place.member, access, carried))
        outer = len(self.outer)
        for fed, stages in reads.items():
            apart = []
            for stage, mine in stages.items():
                loops = loops_of[stage]
                depth = outer + min([leading(carried, loops[outer:]) for _, _, carried in mine])
                apart.append(self._loaded(fed, mine, stage, loops[:depth]))
            uses = mine if len(stages) == 1 else [use for mine in stages.values() for use in mine]
            depth = min([leading(carried, self.outer) for _, _, carried in uses])
            whole = self._loaded(fed, uses, -1, self.outer[:depth])
            self.loads[fed] = [
                (*whole[:near], *[t for hops in apart for t in hops[near:]]) for near in range(len(whole) + 1)
            ]

    def _loaded(self, fed: Fed, uses: Sequence[_Use], stage: int, loops: Loops) -> list[Transfer]:
        """From memory to memory, all in tiles of one size."""
        members = tuple([member for member, _, _ in uses])
        key = fed, members, stage, loops
        found = self.placement.known.get(key)
        if found is None:
            found = self.placement.known[key] = self._loads_of(fed, uses, stage, loops)
        return found

    def _loads_of(self, fed: Fed, uses: Sequence[_Use], stage: int, loops: Loops) -> list[Transfer]:
        nbytes = max([self.group.tile_bytes(member, a, loops) for member, a, _ in uses])
        members, (stored, memory) = tuple(dict.fromkeys(member for member, _, _ in uses)), fed
        plain = [
            Transfer(stored, False, src, dst, members, stage, loops, nbytes, (nbytes, 2 * nbytes))
            for src, dst in pairwise(self.placement.way(stored, memory))
        ]
        found = self.group.slid([(member, a) for member, a, _ in uses], loops)
        if found is None:
            return plain
        dim, boxes = found

        def most(number: int) -> int:
            """Bytes of so many positions along that dimension."""
            return max(self.group.bytes_of(a, self.group.extents(m, loops), (dim, number)) for m, a, _ in uses)

        total = sum(most(high - low + 1) for low, high in fresh(boxes))
        if total >= len(boxes) * nbytes:
            return plain
        held = most(window(boxes, 1)), most(window(boxes, 2))
        return [t._replace(held=held, run_bytes=total) for t in plain]

    def _store(self) -> None:
        for place in self.places:
            made = self.group.einsums[place.member].output
            if made.tensor in self.placement.leaving:
                outer = len(self.outer)
                carried = self.group.carried(place.member, made)
                loops = place.loops[: outer + leading(carried, place.loops[outer:])]
                nbytes = self.group.tile_bytes(place.member, made, loops)
                way = reversed(self.placement.way(made.tensor, self.placement.feeds[place.member][-1]))
                held = nbytes, 2 * nbytes
                self.stores += [
                    Transfer(made.tensor, True, src, dst, (place.member,), place.stage, loops, nbytes, held)
                    for src, dst in pairwise(way)
                ]

    def _hand(self) -> None:
        at = {p.member: p for p in self.places}
        found: dict[tuple[str, bool], tuple[int, ...]] = {}
        for i, j, access in self.group.edges:
            if i >= j:
                continue
            maker, reader = at[i], at[j]
            across = maker.stage != reader.stage
            einsum, loops = self.group.einsums[i], self.outer if across else maker.loops
            if einsum.iterative and self.form.stream == self.group.classes[i][einsum.iterative]:
                extents = self.group.extents(i, loops)
                steps = min(extents[einsum.iterative], self.tiling.step) + (0 if across else 1)
                nbytes = self.group.bytes_of(einsum.output, {**extents, einsum.iterative: steps})
                held = tuple(n * nbytes for n in range(1, DEEPEST + 1))
            else:
                held = self.group.retained_bytes(i, loops, DEEPEST)
            found[access.tensor, across] = max(held, found.get((access.tensor, across), held))
        buffer = self.placement.memories.buffer
        self.handed = [Handed(tensor, buffer, across, held) for (tensor, across), held in found.items()]

    def buffers(self, transfer: Transfer) -> int:
        """Tiles of a transfer that the buffer holds at once."""
        return 2 if transfer.stage >= 0 else min(2, self.tiling.blocks)

    def taken(self, transfer: Transfer) -> int:
        """Bytes of its buffers."""
        return transfer.held[self.buffers(transfer) - 1]

    @cached_property
    def held(self) -> Mapping[str, int]:
        """Bytes of each memory that the group takes, by and large; the replay of a Mapping counts exactly."""
        memories = self.placement.memories
        found = dict.fromkeys(memories.on_chip, 0)
        for t in self.transfers:
            found[t.memory] += self.taken(t)
        for h in self.handed:
            found[h.memory] += h.held[(self.tiling.blocks if h.across else self.tiling.depth) - 1]
        return found

    def moved(self, transfer: Transfer) -> int:
        """Bytes that a transfer moves in all, ragged tiles taken for whole ones, but never less than they cover."""
        if transfer.run_bytes:
            return self.trips(transfer.loops[:-1]) * transfer.run_bytes
        return self.trips(transfer.loops) * transfer.tile_bytes


_Use: TypeAlias = tuple[int, Access, frozenset[int]]
"""An Einsum, an access of it, and the classes of ranks that cut that."""


def leading(carried: frozenset[int], loops: Loops) -> int:
    """How many of the loops, from the outermost on, cut an access: inside of them nothing moves twice."""
    for depth, (number, _) in enumerate(loops):
        if number not in carried:
            return depth
    return len(loops)
