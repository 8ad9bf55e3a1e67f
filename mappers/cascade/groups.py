"""What the Einsums of a group have in common: ranks that are one, and the passes that the group needs over a rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...ir import Access, Affine, Einsum, Tensor, Workload
from ...mapping.halo import Cut, Spans, Uncuttable, halo_cuts, touched_boxes
from ...mapping.tree import Halo

HALO = -2
"""Number of the first rank that loops with a halo may cut; further ones have lower numbers."""


@dataclass(frozen=True)
class Phase:
    """Einsums of a group that run side by side: inside the loop over the streamed rank, or one Einsum outside of it."""

    looped: bool
    members: tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """A group around one of its ranks: every looped phase is a pass over that rank.

    Attributes:
        stream: the class of ranks that the loops inside run over; -1 for none.
        phases: in the order in which they run.
    """

    stream: int
    phases: tuple[Phase, ...]


class Group:
    """Einsums that run together, tile by tile; what passes between them stays on the chip.

    Ranks are gathered in classes: those by which two Einsums index one dimension of a tensor that passes between them,
    and, in a cascade, those of one name.
    """

    def __init__(self, workload: Workload, einsums: Sequence[Einsum], *, by_name: bool) -> None:
        self.workload = workload
        self.einsums = tuple(einsums)
        self.makers: dict[str, list[int]] = {}
        for i, einsum in enumerate(self.einsums):
            self.makers.setdefault(einsum.output.tensor, []).append(i)
        self.classes: list[dict[str, int]] = [{} for _ in self.einsums]
        self.sizes: list[int] = []
        self._extents: dict[tuple[int, tuple[tuple[int, int], ...]], Mapping[str, int]] = {}
        self._cuts: dict[tuple[int, int], list[Cut]] = {}
        self._bytes: dict[tuple[int, int, tuple[tuple[int, int], ...]], int] = {}
        self._dims: dict[int, tuple[Tensor, tuple[tuple[str, Affine, int], ...]]] = {}
        """Of accesses: per dimension the one rank that indexes it, if it is one, the index, and its size."""
        self._carried: dict[tuple[int, int], frozenset[int]] = {}
        self.edges = [
            (i, j, access)
            for j, einsum in enumerate(self.einsums)
            for access in einsum.inputs
            for i in self.makers.get(access.tensor, ())
        ]
        """Maker, reader, and the access by which it reads what the maker made."""
        self._gather(by_name)

    # Classes of ranks

    def _gather(self, by_name: bool) -> None:
        nodes = [(i, rank) for i, e in enumerate(self.einsums) for rank in e.sizes]
        parent = {node: node for node in nodes}

        def root(node: tuple[int, str]) -> tuple[int, str]:
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        def join(a: tuple[int, str], b: tuple[int, str]) -> None:
            if self.einsums[a[0]].sizes[a[1]] == self.einsums[b[0]].sizes[b[1]]:
                parent[max(root(a), root(b))] = min(root(a), root(b))

        first: dict[str, tuple[int, str]] = {}
        for node in nodes if by_name else ():
            join(node, first.setdefault(node[1], node))
        for i, j, access in self.edges:
            for made, read in zip(self.einsums[i].output.indices, access.indices, strict=True):
                mine, theirs = _moving(self.einsums[i], made), _moving(self.einsums[j], read)
                if [c for _, c in mine] == [c for _, c in theirs]:
                    for (a, _), (b, _) in zip(mine, theirs, strict=True):
                        join((i, a), (j, b))
        numbers: dict[tuple[int, str], int] = {}
        for i, rank in nodes:
            number = numbers.setdefault(root((i, rank)), len(numbers))
            self.classes[i][rank] = number
            if number == len(self.sizes):
                self.sizes.append(self.einsums[i].sizes[rank])

    # Ranks of the last Einsum, in boxes of which the others make what is needed

    @cached_property
    def windows(self) -> dict[int, str]:
        """Ranks of the last Einsum's result that loops with a halo may cut, under numbers of their own, below 0.

        A rank has one number for loops that make points again, and the one below it for loops that retain them.
        """
        last = self.einsums[-1]
        known = self.classes[-1]
        ranks = [r for index in last.output.indices for r, _ in _moving(last, index) if known[r] not in self.shared]
        found = {HALO - k: rank for k, rank in enumerate(r for rank in ranks[-2:] for r in (rank, rank))}
        halves = {number: self._boxes(number, rank, -(-last.sizes[rank] // 2)) for number, rank in found.items()}
        return {number: rank for number, rank in found.items() if halves[number]}

    @staticmethod
    def halo(number: int) -> Halo:
        """What a loop over a rank of that number does where windows overlap."""
        return "" if number >= 0 else "retained" if (HALO - number) % 2 else "clipped"

    def boxes(self, number: int, tile: int) -> list[Cut]:
        """What a loop with a halo over tiles of a rank cuts of every Einsum."""
        key = number, tile
        if key not in self._cuts:
            self._cuts[key] = self._boxes(number, self.windows[number], tile)
        return self._cuts[key]

    def _boxes(self, number: int, rank: str, tile: int) -> list[Cut]:
        try:
            return halo_cuts(self.einsums, rank, tile, self.halo(number))
        except Uncuttable:
            return []

    def slid(self, uses: Sequence[tuple[int, Access]], loops: tuple[tuple[int, int], ...]) -> tuple[int, Spans] | None:
        """The dimension of a tensor that the innermost loop, with a halo, cuts, and the positions that it touches.

        None where what members read in it does not move forward together.
        """
        if not loops or loops[-1][0] >= 0:
            return None
        cuts = self.boxes(*loops[-1])
        shape = self.workload.tensors[uses[0][1].tensor].shape
        try:
            return touched_boxes([(self.einsums[m], a, cuts[m]) for m, a in uses], lambda dim: shape[dim])
        except Uncuttable:
            return None

    def retained_bytes(self, member: int, loops: tuple[tuple[int, int], ...], most: int) -> tuple[int, ...]:
        """Bytes of one tile of a member's result inside loops, of two, and so on, with what those that retain keep."""
        if not loops or max([-number for number, _ in loops]) <= 0:
            one = self.tile_bytes(member, self.einsums[member].output, loops)
            return tuple([n * one for n in range(1, most + 1)])
        einsum, extents = self.einsums[member], self.extents(member, loops)
        cutting = [d for d, (n, _) in enumerate(loops) if self.rank(member, n) in einsum.output.ranks]
        kept = [d for d in cutting if self.halo(loops[d][0]) == "retained"]
        if kept and kept[-1] == cutting[-1]:
            inner = self.boxes(*loops[kept.pop()])[member]
            row = self.bytes_of(einsum.output, {**extents, inner.rank: 1})
            tiles = [row * inner.window(n) for n in range(1, most + 1)]
        else:
            one = self.tile_bytes(member, einsum.output, loops)
            tiles = [n * one for n in range(1, most + 1)]
        more = 0
        for d in kept:
            cut = self.boxes(*loops[d])[member]
            around = {**self.extents(member, loops[: d + 1]), cut.rank: cut.overlap}
            more += self.bytes_of(einsum.output, around)
        return tuple(n + more for n in tiles)

    def size(self, number: int) -> int:
        """Of the ranks of a class, or of a rank of the last Einsum."""
        return self.sizes[number] if number >= 0 else self.einsums[-1].sizes[self.windows[number]]

    def rank(self, member: int, number: int) -> str:
        """The rank of a class that an Einsum has; empty for none, or where it has several."""
        if number < 0:
            return self.boxes(number, -(-self.size(number) // 2))[member].rank
        found = self._ranks[member].get(number, ())
        return found[0] if len(found) == 1 else ""

    def carried(self, member: int, access: Access) -> frozenset[int]:
        """The classes of the ranks of an access that have more than one point."""
        key = member, id(access)
        if key not in self._carried:
            sizes, classes = self.einsums[member].sizes, self.classes[member]
            halos = (n for n in self.windows if self.rank(member, n) in access.ranks)
            self._carried[key] = frozenset((*(classes[rank] for rank in access.ranks if sizes[rank] > 1), *halos))
        return self._carried[key]

    def extents(self, member: int, loops: tuple[tuple[int, int], ...]) -> Mapping[str, int]:
        """The extents of an Einsum's ranks inside loops, given as (class, tile)."""
        key = member, loops
        if key not in self._extents:
            cut: dict[int, int] = {}
            wide: dict[str, int] = {}
            for number, tile in loops:
                if number >= 0:
                    cut[number] = min(tile, cut.get(number, tile))
                    continue
                box = self.boxes(number, tile)[member]
                if box.rank:
                    wide[box.rank] = max(high - low + 1 for low, high in box.spans)
            classes, sizes = self.classes[member], self.einsums[member].sizes
            whole = {r: min(size, cut.get(classes[r], size)) for r, size in sizes.items()}
            self._extents[key] = {**whole, **wide}
        return self._extents[key]

    def tile_bytes(self, member: int, access: Access, loops: tuple[tuple[int, int], ...]) -> int:
        """Bytes of the largest box of a tensor that an access of an Einsum touches inside loops."""
        key = member, id(access), loops
        if key not in self._bytes:
            self._bytes[key] = self.bytes_of(access, self.extents(member, loops))
        return self._bytes[key]

    def bytes_of(self, access: Access, extents: Mapping[str, int], along: tuple[int, int] = (-1, 0)) -> int:
        """Bytes of the points that an access touches over a tile; with `along`, of so many of a dimension."""
        key = id(access)
        if key not in self._dims:
            tensor = self.workload.tensors[access.tensor]
            plain = [i.terms[0][0] if len(i.terms) == 1 and i.terms[0][1] else "" for i in access.indices]
            self._dims[key] = tensor, tuple(zip(plain, access.indices, tensor.shape, strict=True))
        tensor, dims = self._dims[key]
        elements = 1
        for dim, (rank, index, size) in enumerate(dims):
            number = along[1] if dim == along[0] else extents[rank] if rank else index.count(extents)
            elements *= number if number < size or dim == along[0] else size
        return tensor.bytes_of(elements)

    @cached_property
    def _ranks(self) -> list[dict[int, tuple[str, ...]]]:
        found: list[dict[int, tuple[str, ...]]] = []
        for classes in self.classes:
            here: dict[int, tuple[str, ...]] = {}
            for rank, number in classes.items():
                here[number] = (*here.get(number, ()), rank)
            found.append(here)
        return found

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """Classes that loops around the group may cut, in order: every Einsum keeps them and reads its own tile."""
        return tuple(c for c, size in enumerate(self.sizes) if size > 1 and self._is_shared(c))

    def _is_shared(self, number: int) -> bool:
        for i, einsum in enumerate(self.einsums):
            rank = self.rank(i, number)
            if not rank or rank not in einsum.output.ranks or rank == einsum.iterative:
                return False
        return all(self._in_step(i, j, access, number) for i, j, access in self.edges)

    def _in_step(self, maker: int, reader: int, access: Access, number: int) -> bool:
        """Whether a reader wants, of a tile of a class, what the maker has made of that tile or, stepping, before."""
        a, b = self.rank(maker, number), self.rank(reader, number)
        steps = self.einsums[maker].iterative == a
        if not a or not b or a not in self.einsums[maker].output.ranks:
            return False
        for made, read in zip(self.einsums[maker].output.indices, access.indices, strict=True):
            mine, theirs = _times(made, a), _times(read, b)
            late = made.offset - read.offset
            if mine != theirs or (mine and (late < 0 or (late and not steps))):
                return False
        return True

    # Passes

    def forms(self) -> Iterator[Form]:
        """The group as a whole, and around each rank that some of its Einsums have; where some step, around theirs."""
        yield Form(-1, tuple(Phase(False, (i,)) for i in range(len(self.einsums))))
        stepped = {self.classes[i][e.iterative] for i, e in enumerate(self.einsums) if e.iterative}
        for number, size in enumerate(self.sizes):
            if size > 1 and number not in self.shared and (not stepped or number in stepped):
                form = self._form(number)
                if form is not None:
                    yield form

    def _form(self, number: int) -> Form | None:
        """Einsums with the rank go into the first pass in which all they read of it is there."""
        inside = [bool(self.rank(i, number)) for i in range(len(self.einsums))]
        if any(number in classes.values() and not inside[i] for i, classes in enumerate(self.classes)):
            return None
        level = [int(x) for x in inside]  # odd for looped ones
        for i, j, access in self.edges:
            if i >= j:
                continue
            after = level[i]
            if inside[i] and not (inside[j] and self._in_step(i, j, access, number)):
                after += 1
            if inside[j] != bool(after % 2):
                after += 1
            level[j] = max(level[j], after)
        phases: list[Phase] = []
        for n in range(max(level) + 1):
            here = tuple(i for i in range(len(self.einsums)) if level[i] == n)
            if n % 2 and here:
                phases.append(Phase(True, here))
            else:
                phases += [Phase(False, (i,)) for i in here]
        return Form(number, tuple(phases))


def _moving(einsum: Einsum, index: Affine) -> list[tuple[str, int]]:
    """The terms of an index whose ranks have more than one point."""
    return [(rank, c) for rank, c in index.terms if einsum.sizes[rank] > 1]


def _times(index: Affine, rank: str) -> int:
    return sum(c for r, c in index.terms if r == rank)
