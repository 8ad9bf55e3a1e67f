"""The parts of a Mapping as lowering sees them: Ops with their Einsums, and Moves with what they feed or drain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from math import prod

from ..errors import MappingError
from ..ir import Access, Einsum, Workload
from ..ir.workload import Item, Repeat, View
from ..mapping.tree import (
    Iterate,
    Loop,
    Mapping,
    Move,
    Op,
    Pipe,
    Position,
    children,
    find,
    format_position,
    levels,
    walk,
)
from .order import within
from .schedule import Place


@dataclass(frozen=True)
class Leaf:
    """An Op of the tree with what is needed to run it.

    Attributes:
        rename: rank of an enclosing loop to the rank of this Einsum that it cuts, where the names differ.
        trips: iterations of the enclosing loops, by depth, that cut no rank of this Einsum.
    """

    at: Position
    op: Op
    einsum: Einsum
    levels: tuple[Loop | Iterate, ...]
    rename: MappingABC[str, str] = field(default_factory=dict)
    trips: MappingABC[int, int] = field(default_factory=dict)

    def cuts(self, depth: int, rank: str) -> bool:
        """Whether the loop at a depth cuts a rank of this Einsum."""
        level = self.levels[depth]
        return isinstance(level, Loop) and self.rename.get(level.rank, level.rank) == rank


class Names:
    """Lookups in a Workload, made once: Einsums by name, the stored tensor behind a view, bits."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.einsums: dict[str, Einsum] = {}
        self.repeats: dict[str, Repeat] = {}
        self._views: dict[str, str] = {}
        self._collect(workload.body)

    def _collect(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Einsum):
                self.einsums[item.name] = item
            elif isinstance(item, View):
                self._views[item.output] = item.input
            else:
                self.repeats[item.name] = item
                self._collect(item.body)

    def storage(self, tensor: str) -> str:
        """The tensor that holds the bytes of `tensor`; for gathered rows, the table."""
        while tensor in self._views:
            tensor = self._views[tensor]
        return tensor

    def accesses(self, einsum: Einsum, tensor: str) -> list[Access]:
        """The Einsum's accesses to the stored tensor `tensor`, inputs first."""
        return [a for a in (*einsum.inputs, einsum.output) if self.storage(a.tensor) == tensor]

    def reads(self, einsum: Einsum, tensor: str) -> bool:
        return any(self.storage(a.tensor) == tensor for a in einsum.inputs)

    def writes(self, einsum: Einsum, tensor: str) -> bool:
        return self.storage(einsum.output.tensor) == tensor

    def bits(self, tensor: str) -> int:
        return self.workload.tensors[tensor].bits

    def tile_bytes(self, accesses: list[Access], extents: MappingABC[str, int]) -> int:
        """Bytes of the hull of what accesses to one tensor touch over a box of rank extents, whole bytes."""
        best = 0
        for access in accesses:
            shape = self.workload.tensors[access.tensor].shape
            elements = prod(min(index.extent(extents), size) for index, size in zip(access.indices, shape, strict=True))
            best = max(best, -(-elements * self.bits(access.tensor) // 8))
        return best


def leaves_of(mapping: Mapping, names: Names) -> list[Leaf]:
    """The Ops of a Mapping in order.

    Raises:
        MappingError: an Op names no Einsum of the Workload, or a loop cuts nothing below it.
    """
    leaves: list[Leaf] = []
    for at, node in walk(mapping.root):
        if not isinstance(node, Op):
            continue
        einsum = names.einsums.get(node.einsum)
        if einsum is None:
            raise MappingError(f"position {format_position(at)}: the Workload has no Einsum {node.einsum!r}")
        leaves.append(Leaf(at, node, einsum, levels(mapping.root, at)))
    named = [_renamed(leaf, leaves, mapping, names) for leaf in leaves]
    return [_with_trips(leaf, named, mapping) for leaf in named]


def pipes_around(mapping: Mapping, at: Position) -> list[int]:
    """Lengths of the prefixes of a position at which Pipes stand."""
    found: list[int] = []
    node = mapping.root
    for i, step in enumerate(at):
        if isinstance(node, Pipe):
            found.append(i)
        node = dict(children(node))[step]
    return found


def _renamed(leaf: Leaf, leaves: list[Leaf], mapping: Mapping, names: Names) -> Leaf:
    """Follow the tensors that Pipe stages hand on, so that loops around the Pipe cut every stage alike."""
    rename: dict[str, str] = {}
    for i in pipes_around(mapping, leaf.at):
        for other in leaves:
            same = within(other.at, leaf.at[:i]) and other.at[i] != leaf.at[i] and other.at < leaf.at
            handed = names.storage(other.einsum.output.tensor)
            if not same or not names.reads(leaf.einsum, handed):
                continue
            source = _renamed(other, leaves, mapping, names).rename
            back = {mine: loop for loop, mine in source.items()}
            for access in leaf.einsum.inputs:
                if access.tensor != other.einsum.output.tensor:
                    continue
                for theirs, mine in zip(other.einsum.output.indices, access.indices, strict=True):
                    if len(theirs.terms) == len(mine.terms) == 1:
                        loop_name = back.get(theirs.terms[0][0], theirs.terms[0][0])
                        rename.setdefault(loop_name, mine.terms[0][0])
    return Leaf(leaf.at, leaf.op, leaf.einsum, leaf.levels, rename)


def _with_trips(leaf: Leaf, leaves: list[Leaf], mapping: Mapping) -> Leaf:
    trips: dict[int, int] = {}
    for depth, level in enumerate(leaf.levels):
        if isinstance(level, Iterate) or leaf.rename.get(level.rank, level.rank) in leaf.einsum.sizes:
            continue
        for other in leaves:
            if depth < len(other.levels) and other.levels[depth] is level:
                rank = other.rename.get(level.rank, level.rank)
                if rank in other.einsum.sizes:
                    extent = min(
                        [other.einsum.sizes[rank]]
                        + [
                            n.tile
                            for d, n in enumerate(other.levels[:depth])
                            if isinstance(n, Loop) and other.cuts(d, rank)
                        ]
                    )
                    trips[depth] = -(-extent // level.tile)
                    break
        else:
            where = format_position(leaf.at)
            raise MappingError(f"position {where}: loop over {level.rank!r} cuts no rank of any Einsum below it")
    return Leaf(leaf.at, leaf.op, leaf.einsum, leaf.levels, leaf.rename, trips)


@dataclass(frozen=True)
class Part:
    """A Move at work for one Einsum.

    Attributes:
        depth: loop depth at which its tiles are cut.
        leaf: the Op that uses (load) or makes (store) the tile; the first of them when there are several.
        users: every Op fed by a load; the maker of a store.
    """

    move: Move
    depth: int
    leaf: Leaf
    users: tuple[Leaf, ...]

    @property
    def cut(self) -> Position:
        """The position at which tiles are cut."""
        return self.move.issue if self.move.store else self.move.due

    def extents(self, place: Place) -> dict[str, int]:
        return dict(place.extents)


def parts_of(mapping: Mapping, leaves: list[Leaf], names: Names) -> list[Part]:
    """The Moves of a Mapping with the Ops they serve.

    Raises:
        MappingError: a Move serves no Op at or below the position where it is cut.
    """
    below: dict[Position, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        for i in range(len(leaf.at) + 1):
            below[leaf.at[:i]].append(leaf)
    parts: list[Part] = []
    for move in mapping.moves:
        cut = move.issue if move.store else move.due
        serves = names.writes if move.store else names.reads
        find(mapping.root, cut)
        users = tuple(x for x in below[cut] if serves(x.einsum, move.tensor))
        if not users:
            verb = "makes" if move.store else "uses"
            raise MappingError(f"move of {move.tensor} at {format_position(cut)}: no Op there {verb} it")
        parts.append(Part(move, len(levels(mapping.root, cut)), users[0], users))
    return parts
