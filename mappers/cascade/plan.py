"""What is chosen of a group of Einsums, and what follows from it: loops around every Op, and where tiles move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...ir import Access
from .groups import Form, Group, ranks_of

Loops = tuple[tuple[int, int], ...]
"""(class of ranks, tile) from the outermost loop on."""


@dataclass(frozen=True)
class Tiling:
    """How a group is cut.

    Attributes:
        outer: loops around the whole group.
        step: tile of the streamed class in every pass over it.
        inner: loops inside those, over tiles of the outer ones.
        kept: tensors from outside that a visit to the group's body loads once, whole; others come pass by pass.
        depth: tiles that stand between two Ops of a pass.
        blocks: results that stand between two passes, and buffers of what is kept: with two, bodies overlap.
    """

    outer: Loops
    step: int
    inner: Loops
    kept: frozenset[str] = frozenset()
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
    """A tensor that enters or leaves a group tile by tile.

    Attributes:
        tensor: its stored name.
        store: whether it leaves.
        users: the Ops that it is for or from.
        stage: the child of the group's Pipe in which it is cut; -1 for the loops around the body.
        loops: loops around the place where it is cut.
        tile_bytes: of one tile.
        buffers: tiles held at once.
    """

    tensor: str
    store: bool
    users: tuple[int, ...]
    stage: int
    loops: Loops
    tile_bytes: int
    buffers: int


@dataclass(frozen=True)
class Handed:
    """What one Op leaves for others: `depth` tiles, each of so many bytes."""

    tensor: str
    depth: int
    tile_bytes: int


@dataclass
class Arrangement:
    """A group as it is cut by a tiling of one of its forms."""

    group: Group
    form: Form
    tiling: Tiling
    outside: Mapping[str, str]
    """Tensors from outside, by the names under which the group reads them, and their stored names."""
    leaving: frozenset[str]
    """Tensors made in the group that must leave it for another memory."""
    here: frozenset[str] = frozenset()
    """Stored tensors that are in the buffer already, and need no transfer."""
    places: list[Placed] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outer = self._real(self.tiling.outer, {})
        self._place()
        self._transfer()
        self._hand()

    def _real(self, loops: Loops, done: Mapping[int, int]) -> Loops:
        """Loops without those of one iteration."""
        left = dict(done)
        found = []
        for number, tile in loops:
            if tile < left.get(number, self.group.sizes[number]):
                found.append((number, tile))
                left[number] = tile
        return tuple(found)

    def trips(self, loops: Loops) -> int:
        """How often the body of loops runs."""
        left: dict[int, int] = {}
        total = 1
        for number, tile in loops:
            extent = left.get(number, self.group.sizes[number])
            total *= -(-extent // tile)
            left[number] = tile
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

    def extents(self, member: int, loops: Loops) -> dict[str, int]:
        cut: dict[int, int] = {}
        for number, tile in loops:
            cut[number] = min(tile, cut.get(number, self.group.sizes[number]))
        classes = self.group.classes[member]
        return {r: min(s, cut.get(classes[r], s)) for r, s in self.group.einsums[member].sizes.items()}

    def bytes_of(self, access: Access, extents: Mapping[str, int]) -> int:
        tensor = self.group.workload.tensors[access.tensor]
        elements = 1
        for index, size in zip(access.indices, tensor.shape, strict=True):
            elements *= min(size, index.count(extents))
        return tensor.bytes_of(elements)

    # What moves

    def _transfer(self) -> None:
        reads: dict[str, list[tuple[Placed, Access]]] = {}
        for place in self.places:
            einsum = self.group.einsums[place.member]
            for access in einsum.inputs:
                stored = self.outside.get(access.tensor)
                if stored is not None and stored not in self.here:
                    reads.setdefault(stored, []).append((place, access))
        for stored, uses in reads.items():
            if stored in self.tiling.kept:
                depth = min(self._leading(p, a, p.loops[: len(self.outer)]) for p, a in uses)
                self._load(stored, uses, -1, self.outer[:depth], self.tiling.blocks)
                continue
            for stage in sorted({p.stage for p, _ in uses}):
                mine = [(p, a) for p, a in uses if p.stage == stage]
                depth = min(self._leading(p, a, p.loops[len(self.outer) :]) for p, a in mine)
                loops = mine[0][0].loops[: len(self.outer) + depth]
                self._load(stored, mine, stage, loops, 2)
        for place in self.places:
            made = self.group.einsums[place.member].output
            if made.tensor in self.leaving:
                depth = self._leading(place, made, place.loops[len(self.outer) :])
                loops = place.loops[: len(self.outer) + depth]
                nbytes = self.bytes_of(made, self.extents(place.member, loops))
                self.transfers.append(Transfer(made.tensor, True, (place.member,), place.stage, loops, nbytes, 2))

    def _load(self, stored: str, uses: list[tuple[Placed, Access]], stage: int, loops: Loops, buffers: int) -> None:
        sizes = {(a, tuple(self.extents(p.member, loops)[r] for r in sorted(a.ranks))): (p, a) for p, a in uses}
        nbytes = max(self.bytes_of(a, self.extents(p.member, loops)) for p, a in sizes.values())
        members = tuple(dict.fromkeys(p.member for p, _ in uses))
        self.transfers.append(Transfer(stored, False, members, stage, loops, nbytes, buffers))

    def _leading(self, place: Placed, access: Access, loops: Loops) -> int:
        """How many of the loops, from the outermost on, cut an access: inside of them nothing moves twice."""
        classes = self.group.classes[place.member]
        carried = ranks_of(self.group.einsums[place.member], classes, access)
        depth = 0
        for number, _ in loops:
            if number not in carried:
                break
            depth += 1
        return depth

    def _hand(self) -> None:
        at = {p.member: p for p in self.places}
        found: dict[tuple[str, bool], tuple[int, int]] = {}
        for i, j, access in self.group.edges():
            if i >= j:
                continue
            maker, reader = at[i], at[j]
            together = maker.stage == reader.stage
            loops = maker.loops if together else self.outer
            extents = self.extents(i, loops)
            einsum = self.group.einsums[i]
            if einsum.iterative and self.form.stream == self.group.classes[i][einsum.iterative]:
                extents[einsum.iterative] = min(extents[einsum.iterative], self.tiling.step)
                extents[einsum.iterative] += 1 if together else 0
            depth = self.tiling.depth if together else self.tiling.blocks
            nbytes = self.bytes_of(einsum.output, extents)
            key = access.tensor, together
            found[key] = depth, max(nbytes, found.get(key, (0, 0))[1])
        self.handed = [Handed(tensor, depth, nbytes) for (tensor, _), (depth, nbytes) in found.items()]

    @property
    def held(self) -> int:
        """Bytes of the buffer that the group takes, by and large; the replay of a Mapping counts exactly."""
        tiles = sum(t.buffers * t.tile_bytes for t in self.transfers)
        return tiles + sum(h.depth * h.tile_bytes for h in self.handed)

    def moved(self, transfer: Transfer) -> int:
        """Bytes that a transfer moves in all, ragged tiles taken for whole ones, but never less than they cover."""
        return self.trips(transfer.loops) * transfer.tile_bytes
