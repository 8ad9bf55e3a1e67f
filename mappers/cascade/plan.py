"""What is chosen of a group of Einsums, and what follows from it: loops around every Op, and where tiles move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

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


@dataclass(frozen=True)
class Transfer:
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


@dataclass(frozen=True)
class Handed:
    """What one Op leaves for others, between two Ops of a pass or (`across`) between passes.

    `held` are bytes of one tile, of two, and so on, with what loops that retain keep of those before.
    """

    tensor: str
    across: bool
    held: tuple[int, ...]


@dataclass
class Arrangement:
    """A group as it is cut by a tiling of one of its forms."""

    group: Group
    form: Form
    tiling: Tiling
    memories: Memories
    feeds: Sequence[tuple[str, ...]]
    """The memory of every input of each Einsum and, last, of its result."""
    outside: Mapping[str, str]
    """Tensors from outside, by the names under which the group reads them, and their stored names."""
    leaving: frozenset[str]
    """Tensors made in the group that must leave it for another memory."""
    here: frozenset[str] = frozenset()
    """Stored tensors that are in the memory next to the edge already, or shall stay there."""
    places: list[Placed] = field(default_factory=list)
    loads: dict[Fed, list[tuple[Transfer, ...]]] = field(default_factory=dict)
    """How tensors may come from outside: pass by pass, or whole as far as each of the memories on their way."""
    stores: list[Transfer] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    """Those that the tiling stands for."""
    handed: list[Handed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outer = self._real(self.tiling.outer, {})
        self._place()
        self._load()
        self._store()
        self._hand()
        self.transfers = self._chosen()

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
        plain = tuple(x for x in place.loops if x[0] >= 0)
        total = float(self.trips(plain))
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
            leaves = self.group.einsums[member].output.tensor in self.leaving
            self._put(member, stage, inner if leaves or self.form.stream < 0 else ())
            stage += 1

    def _put(self, member: int, stage: int, own: Loops) -> None:
        loops = (*self.outer, *own)
        self.places.append(Placed(member, stage, loops, len(own), self.extents(member, loops)))

    def extents(self, member: int, loops: Loops) -> Mapping[str, int]:
        """The largest tile of an Einsum inside loops."""
        return self.group.extents(member, loops)

    # What moves

    def _way(self, stored: str, memory: str) -> tuple[str, ...]:
        """The memories from where a tensor is, or shall be, to one that feeds units with it."""
        chain, near = self.memories.chains[memory], self.memories.near
        return chain[chain.index(near) :] if stored in self.here and near in chain else chain

    def _load(self) -> None:
        reads: dict[Fed, dict[int, list[tuple[Placed, Access]]]] = {}
        for place in self.places:
            inputs = self.group.einsums[place.member].inputs
            for access, memory in zip(inputs, self.feeds[place.member], strict=False):
                stored = self.outside.get(access.tensor)
                if stored is not None and len(self._way(stored, memory)) > 1:
                    reads.setdefault((stored, memory), {}).setdefault(place.stage, []).append((place, access))
        outer = len(self.outer)
        for (stored, memory), stages in reads.items():
            way = self._way(stored, memory)
            apart = []
            for stage, mine in stages.items():
                depth = min(self._leading(p, a, p.loops[outer:]) for p, a in mine)
                apart.append(self._loaded(stored, way, mine, stage, mine[0][0].loops[: outer + depth]))
            uses = [use for mine in stages.values() for use in mine]
            depth = min(self._leading(p, a, self.outer) for p, a in uses)
            whole = self._loaded(stored, way, uses, -1, self.outer[:depth])
            self.loads[stored, memory] = [
                (*whole[:near], *(t for hops in apart for t in hops[near:])) for near in range(len(way))
            ]

    def _loaded(
        self, stored: str, way: tuple[str, ...], uses: list[tuple[Placed, Access]], stage: int, loops: Loops
    ) -> list[Transfer]:
        """From memory to memory, all in tiles of one size."""
        nbytes = max(self.group.tile_bytes(p.member, a, loops) for p, a in uses)
        members = tuple(dict.fromkeys(p.member for p, _ in uses))
        plain = [
            Transfer(stored, False, src, dst, members, stage, loops, nbytes, (nbytes, 2 * nbytes))
            for src, dst in pairwise(way)
        ]
        found = self.group.slid([(p.member, a) for p, a in uses], loops)
        if found is None:
            return plain
        dim, boxes = found

        def most(number: int) -> int:
            """Bytes of so many positions along that dimension."""
            return max(self.group.bytes_of(a, self.extents(p.member, loops), (dim, number)) for p, a in uses)

        total = sum(most(high - low + 1) for low, high in fresh(boxes))
        if total >= len(boxes) * nbytes:
            return plain
        held = most(window(boxes, 1)), most(window(boxes, 2))
        return [replace(t, held=held, run_bytes=total) for t in plain]

    def _store(self) -> None:
        for place in self.places:
            made = self.group.einsums[place.member].output
            if made.tensor in self.leaving:
                outer = len(self.outer)
                loops = place.loops[: outer + self._leading(place, made, place.loops[outer:])]
                nbytes = self.group.tile_bytes(place.member, made, loops)
                way, held = reversed(self._way(made.tensor, self.feeds[place.member][-1])), (nbytes, 2 * nbytes)
                self.stores += [
                    Transfer(made.tensor, True, src, dst, (place.member,), place.stage, loops, nbytes, held)
                    for src, dst in pairwise(way)
                ]

    def _leading(self, place: Placed, access: Access, loops: Loops) -> int:
        """How many of the loops, from the outermost on, cut an access: inside of them nothing moves twice."""
        carried = self.group.carried(place.member, access)
        depth = 0
        for number, _ in loops:
            if number not in carried:
                break
            depth += 1
        return depth

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
                extents = self.extents(i, loops)
                steps = min(extents[einsum.iterative], self.tiling.step) + (0 if across else 1)
                nbytes = self.group.bytes_of(einsum.output, {**extents, einsum.iterative: steps})
                held = tuple(n * nbytes for n in range(1, DEEPEST + 1))
            else:
                held = self.group.retained_bytes(i, loops, DEEPEST)
            found[access.tensor, across] = max(held, found.get((access.tensor, across), held))
        self.handed = [Handed(tensor, across, held) for (tensor, across), held in found.items()]

    def buffers(self, transfer: Transfer) -> int:
        """Tiles of a transfer that the buffer holds at once."""
        return 2 if transfer.stage >= 0 else min(2, self.tiling.blocks)

    def taken(self, transfer: Transfer) -> int:
        """Bytes of its buffers."""
        return transfer.held[self.buffers(transfer) - 1]

    @cached_property
    def held(self) -> Mapping[str, int]:
        """Bytes of each memory that the group takes, by and large; the replay of a Mapping counts exactly."""
        found = dict.fromkeys(self.memories.on_chip, 0)
        for t in self.transfers:
            found[t.memory] += self.taken(t)
        for h in self.handed:
            found[self.memories.buffer] += h.held[(self.tiling.blocks if h.across else self.tiling.depth) - 1]
        return found

    def moved(self, transfer: Transfer) -> int:
        """Bytes that a transfer moves in all, ragged tiles taken for whole ones, but never less than they cover."""
        if transfer.run_bytes:
            return self.trips(transfer.loops[:-1]) * transfer.run_bytes
        return self.trips(transfer.loops) * transfer.tile_bytes
