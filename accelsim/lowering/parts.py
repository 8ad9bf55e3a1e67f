"""The parts of a Mapping as lowering sees them: Ops with their Einsums, and Moves with what they feed or drain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from math import prod

from ..arch.component import UnitBase
from ..errors import MappingError
from ..ir import Access, Affine, Einsum, Workload
from ..ir.workload import Item, Repeat
from ..mapping.scope import within
from ..mapping.tree import (
    WHOLE,
    Iterate,
    Loop,
    Mapping,
    Move,
    Op,
    Pipe,
    Position,
    Stay,
    find,
    format_position,
    levels,
    walk,
)
from .halos import Ranges, corners, halo_ranges, unseen
from .order import path
from .schedule import Nest, Place

FRESH = "positions that were not touched before"
"""Beside the ranks of a nest: what a load brings that slides in a Loop with a halo."""
SHAPES = 64
"""Shapes of an Op's tiles that are looked at together."""


@dataclass(frozen=True)
class Leaf:
    """An Op of the tree with what is needed to run it.

    Attributes:
        cuts: by depth the rank of this Einsum that the loop there cuts; empty for none, and for an Iterate.
        guides: by depth of a Loop that cuts none, another Op inside it and the rank of that one's Einsum that it cuts.
        points: by depth of a Loop with a halo that cuts a rank, its points in each iteration.
    """

    at: Position
    op: Op
    einsum: Einsum
    levels: tuple[Loop | Iterate, ...]
    cuts: tuple[str, ...] = ()
    guides: MappingABC[int, tuple[Leaf, str]] = field(default_factory=dict)
    points: MappingABC[int, tuple[range, ...]] = field(default_factory=dict)

    @property
    def largest(self) -> dict[str, int]:
        """Extents of the largest tile that the Op runs."""
        found = dict(self.einsum.sizes)
        for depth, (rank, level) in enumerate(zip(self.cuts, self.levels, strict=True)):
            if depth in self.points:
                found[rank] = max(len(points) for points in self.points[depth])
            elif rank and isinstance(level, Loop):
                found[rank] = min(found[rank], level.tile)
        return found

    @property
    def shapes(self) -> list[dict[str, int]]:
        """Extents of the tiles that the Op runs, those of the largest one first: of all combinations of full and ragged
        tiles, or of that one alone where there are more than `SHAPES`."""
        sizes = {rank: {size} for rank, size in self.einsum.sizes.items()}
        for depth, (rank, level) in enumerate(zip(self.cuts, self.levels, strict=True)):
            if depth in self.points:
                # Where only what is read is made, some tiles have no points: nothing runs for these.
                sizes[rank] = {len(points) for points in self.points[depth] if points}
            elif rank and isinstance(level, Loop):
                tile = level.tile
                sizes[rank] = {n for e in sizes[rank] for n in (min(e, tile), e % tile if e > tile else 0) if n}
        number = prod(len(n) for n in sizes.values())
        if number > SHAPES:
            return [self.largest]
        ordered = (sorted(n, reverse=True) for n in sizes.values())
        return [dict(zip(sizes, shape, strict=True)) for shape in product(*ordered)]

    def reads_from(self, tensor: str, memory: str, unit: UnitBase, names: Names) -> bool:
        """Whether its unit reads the stored tensor from a memory."""
        feeds = unit.feeds(len(self.einsum.inputs))
        return any(
            m == memory and names.storage(a.tensor) == tensor for a, m in zip(self.einsum.inputs, feeds, strict=False)
        )

    def foreign(self, rank: str) -> str:
        """Name of a rank of this Einsum in the nest of another Op."""
        return f"{rank}@{format_position(self.at)}"


class Names:
    """Lookups in a Workload, made once: Einsums by name, the stored tensor behind a view, bits."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.einsums: dict[str, Einsum] = {}
        self.repeats: dict[str, Repeat] = {}
        self._accesses: dict[tuple[str, str, bool], list[Access]] = {}
        self._collect(workload.body)

    def _collect(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Einsum):
                self.einsums[item.name] = item
            elif isinstance(item, Repeat):
                self.repeats[item.name] = item
                self._collect(item.body)

    def storage(self, tensor: str) -> str:
        """The tensor that holds the bytes of `tensor`; for gathered rows, the table."""
        return self.workload.origin(tensor)

    def accesses(self, einsum: Einsum, tensor: str, store: bool) -> list[Access]:
        """The accesses by which an Einsum reads (for a store: writes) the stored tensor `tensor`."""
        key = einsum.name, tensor, store
        found = self._accesses.get(key)
        if found is None:
            either = (einsum.output,) if store else einsum.inputs
            found = self._accesses[key] = [a for a in either if self.storage(a.tensor) == tensor]
        return found

    def reads(self, einsum: Einsum, tensor: str) -> bool:
        return any(self.storage(a.tensor) == tensor for a in einsum.inputs)

    def writes(self, einsum: Einsum, tensor: str) -> bool:
        return self.storage(einsum.output.tensor) == tensor

    def bits(self, tensor: str) -> int:
        return self.workload.tensors[tensor].bits

    def tile_bytes(self, uses: Sequence[Use], depth: int) -> int:
        """Bytes of a tile: of the points that all accesses touch, at most of the whole tensor.

        Accesses that the loops around shift alike share the box around them where that is smaller. Each is whole bytes.
        An Op to which a Loop that retains leaves nothing to do touches nothing.
        """
        uses = [use for use in uses if all(use.extents[rank] for rank in use.access.ranks)]
        if not uses:
            return 0
        if len(uses) == 1:
            return self._box(*uses)
        groups: dict[Hashable, list[Use]] = {}
        for use in uses:
            groups.setdefault((use.access.tensor, use.shifts(depth)), []).append(use)
        total = sum(min(self._box(*group), sum(self._box(use) for use in group)) for group in groups.values())
        return min(total, *(self.workload.tensors[use.access.tensor].nbytes for use in uses))

    def fresh_bytes(self, use: Use, loop: Loop | Iterate, rank: str) -> int:
        """Bytes of a tile that the one before it in a loop over `rank` did not hold."""
        assert isinstance(loop, Loop)
        tensor = self.workload.tensors[use.access.tensor]
        elements = 1
        for index, size in zip(use.access.indices, tensor.shape, strict=True):
            here = index.count(use.extents)
            number = min(size, here)
            if rank in index.ranks:
                before = index.count({**use.extents, rank: loop.tile})
                together = index.count({**use.extents, rank: loop.tile + use.extents[rank]})
                kept = min(size, before) - (together - here)
                number = max(0, number - max(0, kept))
            elements *= number
        return tensor.bytes_of(elements)

    def slid_bytes(self, uses: Sequence[Use], dim: int) -> int:
        """Bytes of a load that slides in a Loop with a halo, which cuts a dimension of the tensor."""
        return self._box(*uses, of=(dim, uses[0].fresh))

    def _box(self, *uses: Use, of: tuple[int, int] = (-1, 0)) -> int:
        """Bytes of the box around accesses; with `of`, of so many positions along a dimension."""
        tensor = self.workload.tensors[uses[0].access.tensor]
        elements = 1
        for dim, size in enumerate(tensor.shape):
            if dim == of[0]:
                elements *= of[1]
            elif len(uses) == 1 or len({use.along(dim) for use in uses}) == 1:
                elements *= min(size, uses[0].access.indices[dim].count(uses[0].extents))
            else:
                bounds = [use.access.indices[dim].bounds(use.extents) for use in uses]
                elements *= min(size, 1 + max(high for _, high in bounds) - min(low for low, _ in bounds))
        return tensor.bytes_of(elements)


@dataclass(frozen=True)
class Use:
    """An access of an Op over a tile of the given extents.

    `fresh` are the positions that a load brings which slides in a Loop with a halo.
    """

    leaf: Leaf
    access: Access
    extents: MappingABC[str, int]
    fresh: int = 0

    def along(self, dim: int) -> Hashable:
        """The same for uses that touch the same points along a dimension."""
        index = self.access.indices[dim]
        return index.offset, tuple(sorted((c, self.extents[r]) for r, c in index.terms))

    def shifts(self, depth: int) -> Hashable:
        """How far an iteration of each of the outer `depth` loops shifts each index, per element of the tile.

        Loops with a halo shift by what they say in each iteration.
        """
        return tuple(
            tuple(sum(c for r, c in index.terms if r == self.leaf.cuts[d]) for d in range(depth))
            for index in self.access.indices
        ), tuple(self.leaf.points.get(d) for d in range(depth))


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
    halos: dict[Position, dict[Position, Ranges]] = {}
    for at, node in walk(mapping.root):
        if isinstance(node, Loop) and node.halo:
            halos[at] = halo_ranges(node, at, {x.at: x.einsum for x in leaves if within(x.at, at)})
    known = {
        (leaf.at, depth): halos[at][leaf.at].rank
        for leaf in leaves
        for depth, at in enumerate(_loop_positions(mapping, leaf.at))
        if at in halos
    }
    makers: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        makers.setdefault(leaf.einsum.output.tensor, []).append(leaf)
    named = []
    for leaf in leaves:
        around = enumerate(_loop_positions(mapping, leaf.at))
        points = {d: halos[at][leaf.at].points for d, at in around if at in halos and halos[at][leaf.at].rank}
        named.append(replace(leaf, cuts=_cuts(leaf, makers, mapping, known), points=points))
    return [_with_guides(leaf, named, mapping) for leaf in named]


def pipes_around(mapping: Mapping, at: Position) -> list[int]:
    """Lengths of the prefixes of a position at which Pipes stand."""
    nodes, _ = path(mapping.root, at)
    return [i for i, node in enumerate(nodes[:-1]) if isinstance(node, Pipe)]


def _loop_positions(mapping: Mapping, at: Position) -> list[Position]:
    """Positions of the loops around a position, outermost first."""
    nodes, _ = path(mapping.root, at)
    return [at[:i] for i, node in enumerate(nodes[:-1]) if isinstance(node, Loop | Iterate)]


def _cuts(
    leaf: Leaf, makers: MappingABC[str, Sequence[Leaf]], mapping: Mapping, known: dict[tuple[Position, int], str]
) -> tuple[str, ...]:
    """The rank that each loop around an Op cuts; `makers` are the Ops by the tensor that they make."""
    loops = _loop_positions(mapping, leaf.at)
    pipes = pipes_around(mapping, leaf.at)

    def cut(depth: int) -> str:
        level = leaf.levels[depth]
        if isinstance(level, Iterate):
            return ""
        if (leaf.at, depth) not in known:
            inside = [i for i in pipes if i > len(loops[depth])]
            handed = next((r for i in inside for r in _handed(leaf, i, depth, makers, mapping, known)), "")
            known[leaf.at, depth] = handed or (level.rank if level.rank in leaf.einsum.sizes else "")
        return known[leaf.at, depth]

    return tuple(cut(depth) for depth in range(len(leaf.levels)))


def _handed(
    leaf: Leaf, pipe: int, depth: int, makers: MappingABC[str, Sequence[Leaf]], mapping: Mapping,
    known: dict[tuple[Position, int], str],
) -> Iterator[str]:  # fmt: skip
    """The ranks by which an Op reads the dimensions, cut by a loop around a Pipe, of what earlier stages hand to it."""
    for access in leaf.einsum.inputs:
        for other in makers.get(access.tensor, ()):
            if not within(other.at, leaf.at[:pipe]) or other.at == leaf.at:
                continue
            if not other.at[pipe] < leaf.at[pipe]:  # type: ignore[operator]  # both are stages
                continue
            theirs = _cuts(other, makers, mapping, known)[depth]
            for written, read in zip(other.einsum.output.indices, access.indices, strict=True):
                if theirs and moving(other.einsum, written) == [theirs] and len(moving(leaf.einsum, read)) == 1:
                    yield moving(leaf.einsum, read)[0]


def moving(einsum: Einsum, index: Affine) -> list[str]:
    """The ranks of an index, without those of one point beside others."""
    ranks = list(index.ranks)
    return ranks if len(ranks) == 1 else [rank for rank in ranks if einsum.sizes[rank] > 1]


def _with_guides(leaf: Leaf, leaves: list[Leaf], mapping: Mapping) -> Leaf:
    guides: dict[int, tuple[Leaf, str]] = {}
    loops = _loop_positions(mapping, leaf.at)
    for depth, level in enumerate(leaf.levels):
        if isinstance(level, Iterate) or leaf.cuts[depth]:
            continue
        for other in leaves:
            if within(other.at, loops[depth]) and other.cuts[depth]:
                guides[depth] = other, other.cuts[depth]
                break
        else:
            where = format_position(leaf.at)
            raise MappingError(f"position {where}: loop over {level.rank!r} cuts no rank of any Einsum below it")
    return replace(leaf, guides=guides) if guides else leaf


def nest_of(leaves: Sequence[Leaf], depth: int) -> Nest:
    """The outer `depth` loops around Ops, which are the same for all of them.

    The ranks of the first Op have their own names, those of the others their `foreign` names.
    """
    lead = leaves[0]
    sizes = dict(lead.einsum.sizes)
    cuts: list[list[str]] = [[rank] if rank else [] for rank in lead.cuts[:depth]]
    widths: dict[int, dict[str, tuple[int, ...]]] = {d: {} for d, x in enumerate(lead.levels[:depth]) if _halo(x)}
    for d in widths.keys() & lead.points.keys():
        widths[d][lead.cuts[d]] = tuple(map(len, lead.points[d]))
    for leaf in leaves[1:]:
        sizes |= {leaf.foreign(rank): size for rank, size in leaf.einsum.sizes.items()}
        for d in range(depth):
            if leaf.cuts[d]:
                cuts[d].append(leaf.foreign(leaf.cuts[d]))
        for d in widths.keys() & leaf.points.keys():
            widths[d][leaf.foreign(leaf.cuts[d])] = tuple(map(len, leaf.points[d]))
    for d, (guide, rank) in lead.guides.items():
        if d >= depth or cuts[d]:
            continue
        name = guide.foreign(rank)
        sizes[name] = guide.einsum.sizes[rank]
        for outer in [x for x in widths if x <= d and guide.cuts[x] == rank]:
            widths[outer][name] = tuple(map(len, guide.points[outer]))
        for outer in range(d + 1):
            if guide.cuts[outer] == rank and name not in cuts[outer]:
                cuts[outer].append(name)
    return Nest(lead.levels[:depth], sizes, tuple(tuple(names) for names in cuts), widths)


def _halo(level: Loop | Iterate) -> bool:
    return isinstance(level, Loop) and bool(level.halo)


@dataclass(frozen=True)
class Part:
    """A Move at work for one Einsum.

    Attributes:
        depth: loop depth at which its tiles are cut.
        leaf: the Op that uses (load) or makes (store) the tile; the first of them when there are several.
        users: every Op fed by a load; every Op whose results a store takes away.
        inner: loop depth down to which its pieces are cut, which is `depth` where tiles move whole.
        rest: the part of each tile that moves, where a Stay keeps the other one.
        unit: whose registers have its tiles, and no memory; empty where one does.
    """

    move: Move
    depth: int
    leaf: Leaf
    users: tuple[Leaf, ...]
    inner: int
    rest: Fraction = WHOLE
    unit: str = ""

    @property
    def cut(self) -> Position:
        """The position at which tiles are cut."""
        return self.move.issue if self.move.store else self.move.due

    @property
    def in_pieces(self) -> bool:
        return self.inner > self.depth

    def cutting(self, names: Names) -> list[int]:
        """Depths of the loops that cut its tile into pieces."""
        accesses = names.accesses(self.leaf.einsum, self.move.tensor, self.move.store)
        ranks = {rank for access in accesses for rank in access.ranks}
        return [d for d in range(self.depth, self.inner) if self.leaf.cuts[d] in ranks]

    def largest_piece(self, names: Names) -> int:
        """Bytes of its largest piece, halos included."""
        leaf = replace(self.leaf, cuts=self.leaf.cuts[: self.inner], levels=self.leaf.levels[: self.inner])
        accesses = names.accesses(leaf.einsum, self.move.tensor, self.move.store)
        return names.tile_bytes([Use(leaf, access, leaf.largest) for access in accesses], self.inner)

    def ahead(self, names: Names) -> int:
        """Pieces that may come before they are used: of two iterations of the loops up to the first one inside the cut
        that cuts none."""
        cutting, extents, number = self.cutting(names), dict(self.leaf.einsum.sizes), 2
        idle = False
        for depth, (rank, level) in enumerate(zip(self.leaf.cuts, self.leaf.levels[: self.inner], strict=False)):
            if not rank or not isinstance(level, Loop):
                continue
            trips = -(-extents[rank] // level.tile)
            extents[rank] = min(extents[rank], level.tile)
            idle = idle or (depth >= self.depth and depth not in cutting and trips > 1)
            number *= trips if idle and depth in cutting else 1
        return number

    def uses(self, place: Place, names: Names) -> list[Use]:
        """What all users touch over the tile at a place in their nest."""
        extents = dict(place.extents)
        found: list[Use] = []
        for i, leaf in enumerate(self.users):
            mine = {rank: extents[leaf.foreign(rank) if i else rank] for rank in leaf.einsum.sizes}
            accesses = names.accesses(leaf.einsum, self.move.tensor, self.move.store)
            found += [Use(leaf, access, mine, extents.get(FRESH, 0)) for access in accesses]
        return found

    def slides_along(self, names: Names) -> int:
        """The dimension of its tensor along which it slides in a Loop with a halo; -1 where it does not."""
        if not self.move.sliding or not _halo(self.leaf.levels[self.depth - 1]):
            return -1
        access = names.accesses(self.leaf.einsum, self.move.tensor, False)[0]
        return next(d for d, i in enumerate(access.indices) if self.leaf.cuts[self.depth - 1] in i.ranks)

    def nest(self, names: Names) -> Nest:
        """The loops around its cut; where it slides in a Loop with a halo, with the `FRESH` positions of each tile."""
        nest = nest_of(self.users, self.depth)
        dim, at = self.slides_along(names), self.depth - 1
        if dim < 0:
            return nest
        accesses = [(x, a) for x in self.users for a in names.accesses(x.einsum, self.move.tensor, False)]
        size = names.workload.tensors[accesses[0][1].tensor].shape[dim]
        boxes = []
        for i in range(len(self.leaf.points[at])):
            touched = [
                value
                for x, a in accesses
                for value in corners(a.indices[dim], x.einsum, Ranges(x.cuts[at], x.points[at]), i)
            ]
            ends = (min(touched), max(touched)) if touched else (0, -1)
            low, high = (min(max(value, 0), size - 1) for value in ends)
            boxes.append(range(low, high + 1) if touched else range(0))
        widths = {**nest.widths[at], FRESH: tuple(map(len, unseen(boxes)))}
        return replace(nest, sizes={**nest.sizes, FRESH: size}, widths={**nest.widths, at: widths})


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
    shared = [stay for stay in mapping.stays if stay.share is not WHOLE and stay.share != WHOLE]
    for move in mapping.moves:
        if move.is_copy:
            continue  # it serves no Op: see `copies`
        cut = move.issue if move.store else move.due
        serves = names.writes if move.store else names.reads
        find(mapping.root, cut)
        users = tuple(x for x in below[cut] if serves(x.einsum, move.tensor))
        if not users:
            verb = "makes" if move.store else "uses"
            raise MappingError(f"move of {move.tensor} at {format_position(cut)}: no Op there {verb} it")
        depth = len(levels(mapping.root, cut))
        inner = depth if move.pieces is None else len(levels(mapping.root, move.pieces))
        held = any(names.storage(name) == move.tensor for name in users[0].op.registers)
        unit = users[0].op.unit if held else ""
        parts.append(Part(move, depth, users[0], users, inner, _rest(shared, move, cut), unit))
    return parts


def _rest(shared: Sequence[Stay], move: Move, cut: Position) -> Fraction:
    """The part of its tiles that a Move carries: what the Stay at its cut, of those that share tiles, does not keep."""
    memory = move.src if move.store else move.dst
    for stay in shared:
        if (stay.tensor, stay.memory) != (move.tensor, memory):
            continue
        if stay.start <= cut[: len(stay.start)] and cut[: len(stay.end)] <= stay.end:
            return 1 - stay.share
    return WHOLE
