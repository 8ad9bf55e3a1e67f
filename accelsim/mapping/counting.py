"""How many tiles a Move moves and how many bytes, from the loops around it, in closed form.

The size of a tile is that of the points its Einsum touches: along each dimension of the tensor the different values of
the index over the tile's ranks, at most the dimension. Several accesses to one tensor that the loops shift alike share
the box around them where that is smaller; others add up. A tile never has more bytes than its tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from ..ir import Access, Einsum
from .halo import Cut, Spans, fresh, touched_boxes, window
from .scope import Level, Place, Scope
from .spills import kept_bytes, moved_bytes, moved_part
from .tree import BODY, Iterate, Loop, Move, Position, Stay

Spread = dict[int, int]
"""Extent of a rank to the number of tiles that have it."""


@dataclass(frozen=True)
class Tally:
    """What a Move moves over the whole run.

    Attributes:
        tiles: how often the position at which it is cut is entered.
        nbytes: bytes of all these tiles.
        largest: bytes of the largest tile.
        held: bytes of all its buffers together.
        reloads: of a store, tiles that come back because they were partial results.
        reload_bytes: bytes of these.
    """

    tiles: int
    nbytes: int
    largest: int
    held: int
    reloads: int = 0
    reload_bytes: int = 0


@dataclass(frozen=True)
class Use:
    """An Op with its accesses to the tensor of a Move, and the levels around the position where that is cut."""

    place: Place
    levels: tuple[Level, ...]
    accesses: tuple[Access, ...]


def tally(scope: Scope, move: Move) -> Tally:
    """Count the tiles and bytes of a Move that serves at least one Op, of its part of them inside a Stay with a share.

    A store inside loops over ranks that its Einsum reduces stores a partial result in every visit but the last to a
    tile, and reloads it in every visit but the first.
    """
    if move.is_copy:
        return _copied(scope, move)
    cut = move.issue if move.store else move.due
    depth = len(scope.tree.loops[cut])
    uses = [
        Use(place, place.levels[:depth], tuple(scope.accesses(place, move.tensor, store=move.store)))
        for place in scope.served(move.tensor, cut, store=move.store)
    ]
    tiles = nbytes = largest = 0
    if move.sliding and isinstance(node := uses[0].levels[-1].node, Loop) and node.halo:
        return _sliding_boxes(scope, uses, move.buffers)
    if move.sliding:
        return _sliding(scope, uses[0], move.buffers)
    part = moved_part(scope, move)
    for extents, count in _tiles(scope, uses):
        size = moved_bytes(tile_bytes(scope, uses, extents), part)
        tiles += count
        nbytes += count * size
        largest = max(largest, size)
    if move.ring and move.store:
        return Tally(tiles, nbytes, largest, largest)
    if move.ring and move.pieces is not None:
        return Tally(tiles, nbytes, largest, move.buffers * _piece(scope, uses[0], move.pieces))
    if not move.store:
        return Tally(tiles, nbytes, largest, move.buffers * largest)
    visits = max(_visits(use) for use in uses)
    once = visits - 1
    held = move.buffers * (2 if once else 1) * largest  # partial results come back through as many again
    return Tally(tiles, nbytes, largest, held, tiles // visits * once, nbytes // visits * once)


def _copied(scope: Scope, move: Move) -> Tally:
    """A copy moves all of its tensor, once in each iteration of the Repeats around."""
    around = (scope.tree.nodes[at] for at in scope.tree.loops[move.due])
    tiles = prod(node.count for node in around if isinstance(node, Iterate))
    nbytes = scope.workload.tensors[move.tensor].nbytes
    return Tally(tiles, tiles * nbytes, nbytes, 0)


def _piece(scope: Scope, use: Use, pieces: Position) -> int:
    """Bytes of the largest piece of a tile, as the loops around the position `pieces` cut it."""
    return tile_bytes(scope, [use], [use.place.extents(len(scope.tree.loops[pieces]))])


def stay_bytes(scope: Scope, stay: Stay) -> int:
    """Bytes that a Stay takes up: of the tensor, or inside Loops of its largest tile, times the instances it holds.

    With a `share`, that part of them.
    """
    return kept_bytes(_whole_bytes(scope, stay), stay.share)


def _whole_bytes(scope: Scope, stay: Stay) -> int:
    loops = scope.tree.loops[stay.start]
    around = [node for at in loops if isinstance(node := scope.tree.nodes[at], Loop)]
    if not around:
        return scope.whole_bytes(stay)
    body = (*loops[-1], BODY)
    made = scope.served(stay.tensor, body, store=True)
    uses = [
        Use(place, place.levels[: len(loops)], tuple(scope.accesses(place, stay.tensor, store=bool(made))))
        for place in made or scope.served(stay.tensor, body, store=False)
    ]
    if not uses:
        return scope.whole_bytes(stay)
    steps = [(p.einsum.iterative, n) for p in made if (n := steps_kept(scope, p)) is not None]
    return scope.instances(stay) * max(
        tile_bytes(scope, uses, [_of_steps(e, steps) for e in extents]) for extents, _ in _tiles(scope, uses)
    )


def _of_steps(extents: dict[str, int], steps: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Extents of a tile of which so many steps of a recurrence are kept."""
    return {**extents, **{rank: min(extents[rank], n) for rank, n in steps if rank in extents}}


def stepped_dimension(einsum: Einsum) -> int | None:
    """The dimension of its result along which a recurrence steps; None for other Einsums."""
    found = (d for d, index in enumerate(einsum.output.indices) if einsum.iterative in index.ranks)
    return next(found, None) if einsum.iterative else None


def steps_kept(scope: Scope, place: Place) -> int | None:
    """Steps of a recurrence's result that are kept for those who read it; None: all of them.

    Readers in the loop over its steps need the current ones and those that they read late; readers after it only the
    last one.
    """
    einsum, rank = place.einsum, place.einsum.iterative
    dim = stepped_dimension(einsum)
    depth = max((d for d, level in enumerate(place.levels) if level.rank == rank), default=-1)
    if dim is None or depth < 0:
        return None
    made, late = einsum.output.indices[dim], 0
    for reader in scope.readers.get(scope.names.stored(einsum.output.tensor), ()):
        for access in reader.einsum.inputs:
            if scope.names.stored(access.tensor) != scope.names.stored(einsum.output.tensor) or reader is place:
                continue
            index = access.indices[dim]
            inside = len(reader.levels) > depth and reader.levels[depth].at == place.levels[depth].at
            if inside and index.ranks and reader.levels[depth].rank in index.ranks:
                late = max(late, made.offset - index.offset)
            elif index.bounds(reader.einsum.sizes)[0] < made.bounds(einsum.sizes)[1]:
                return None
    return place.extents(depth + 1)[rank] + late


def points(scope: Scope) -> dict[str, int]:
    """Points of its iteration space that each Einsum runs, those included that Loops with a halo make again."""
    found: dict[str, int] = {}
    for place in scope.places:
        for (extents,), count in _tiles(scope, [Use(place, place.levels, ())]):
            found[place.einsum.name] = found.get(place.einsum.name, 0) + count * prod(extents.values())
    return found


def _tiles(scope: Scope, uses: Sequence[Use]) -> Iterator[tuple[list[dict[str, int]], int]]:
    """The extents of the ranks of each use, and how many tiles have them."""
    if len(uses) == 1 and all(level.rank or isinstance(level.node, Iterate) for level in uses[0].levels):
        yield from _tiles_of_one(uses[0])
    else:
        yield from _tiles_of_many(scope, uses)


def tiles_of(scope: Scope, use: Use) -> Iterator[tuple[int, int]]:
    """Bytes of the tiles that an Op touches, and how many have so many."""
    for extents, count in _tiles(scope, [use]):
        yield tile_bytes(scope, [use], extents), count


def _cut_spread(spread: Spread, tile: int) -> Spread:
    found: Spread = {}
    for extent, count in spread.items():
        whole, rest = divmod(extent, min(tile, extent))
        found[min(tile, extent)] = found.get(min(tile, extent), 0) + whole * count
        if rest:
            found[rest] = found.get(rest, 0) + count
    return found


def _spreads(use: Use) -> tuple[dict[str, Spread], int]:
    """The tiles of every rank that is cut, each on its own, and the number of iterations of Repeats."""
    spreads: dict[str, Spread] = {}
    times = 1
    for level in use.levels:
        if isinstance(level.node, Iterate):
            times *= level.node.count
        elif level.spans:
            spreads[level.rank] = Counter(level.widths)
        elif level.rank:
            before = spreads.get(level.rank, {use.place.einsum.sizes[level.rank]: 1})
            spreads[level.rank] = _cut_spread(before, level.node.tile)
    return spreads, times


def _tiles_of_one(use: Use) -> Iterator[tuple[list[dict[str, int]], int]]:
    """Where every loop cuts a rank of the one Op, ranks are cut independently; without accesses all of them matter."""
    spreads, times = _spreads(use)
    carried = {rank for access in use.accesses for rank in access.ranks} if use.accesses else set(spreads)
    shaping = [rank for rank in spreads if rank in carried]
    times *= prod(sum(spread.values()) for rank, spread in spreads.items() if rank not in carried)
    for choice in product(*(spreads[rank].items() for rank in shaping)):
        extents = {**use.place.einsum.sizes, **{r: e for r, (e, _) in zip(shaping, choice, strict=True)}}
        yield [extents], times * prod(count for _, count in choice)


def _tiles_of_many(scope: Scope, uses: Sequence[Use]) -> Iterator[tuple[list[dict[str, int]], int]]:
    """Walk down the loops with all extents side by side: loops may cut some Ops and not others."""
    places = [use.place for use in uses]
    cutters: list[list[tuple[Place, str]]] = []
    for depth, level in enumerate(uses[0].levels):
        found = [(p, p.levels[depth].rank) for p in places if p.levels[depth].rank]
        if not found and not isinstance(level.node, Iterate):
            other = next(p for p in scope.below[level.at] if p.levels[depth].rank)
            found = [(other, other.levels[depth].rank)]
        cutters.append(found)
    columns = {key: i for i, key in enumerate(dict.fromkeys((p.at, rank) for row in cutters for p, rank in row))}
    sizes = {(p.at, rank): p.einsum.sizes[rank] for row in cutters for p, rank in row}
    states = Counter({tuple(sizes[key] for key in columns): 1})
    for depth, (level, row) in enumerate(zip(uses[0].levels, cutters, strict=True)):
        after: Counter[tuple[int, ...]] = Counter()
        for state, count in states.items():
            for extents, number in _cut_of_many(level.node, depth, row, columns, state):
                after[extents] += count * number
        states = after
    for state, count in states.items():
        yield [
            {r: state[columns[p.at, r]] if (p.at, r) in columns else e for r, e in p.einsum.sizes.items()}
            for p in places
        ], count


def _cut_of_many(
    node: Loop | Iterate,
    depth: int,
    row: Sequence[tuple[Place, str]],
    columns: Mapping[tuple[Position, str], int],
    state: tuple[int, ...],
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Extents after a loop over the ranks of `row`, and in how many of its iterations."""
    if isinstance(node, Iterate):
        yield state, node.count
        return
    cut = [columns[p.at, rank] for p, rank in row]
    if node.halo:
        for widths, number in Counter(zip(*(p.levels[depth].widths for p, _ in row), strict=True)).items():
            wide = dict(zip(cut, widths, strict=True))
            yield tuple(wide.get(i, e) for i, e in enumerate(state)), number
        return
    for tile, number in _cut_spread({state[cut[0]]: 1}, node.tile).items():
        yield tuple(min(e, tile) if i in cut else e for i, e in enumerate(state)), number


def _sliding(scope: Scope, use: Use, buffers: int) -> Tally:
    """Tiles along the innermost loop share what both hold; only the first one of each run through it moves in whole."""
    *outer, inner = use.levels
    assert isinstance(inner.node, Loop)
    access, rank = use.accesses[0], inner.rank
    tiles = nbytes = largest = 0
    for (extents,), count in _tiles(scope, [Use(use.place, tuple(outer), use.accesses)]):
        step = min(inner.node.tile, extents[rank])
        whole, rest = divmod(extents[rank], step)
        first = access_bytes(scope, access, {**extents, rank: step})
        tiles += count * (whole + bool(rest))
        nbytes += count * (first + (whole - 1) * _beyond(scope, access, extents, rank, step, step))
        nbytes += count * _beyond(scope, access, extents, rank, step, rest) if rest else 0
        largest = max(largest, first)
    return Tally(tiles, nbytes, largest, buffers * largest)


def slid(scope: Scope, uses: Sequence[tuple[Place, Access, Level]]) -> tuple[int, Spans]:
    """The dimension along which a load slides in a Loop with a halo, and the positions touched in each iteration.

    Args:
        scope: where the tensor is.
        uses: Ops with an access each, and the Loop as their level.

    Raises:
        Uncuttable: as of `halo.touched_boxes`.
    """
    shape = scope.workload.tensors[uses[0][1].tensor].shape
    return touched_boxes([(p.einsum, a, Cut(x.rank, x.spans)) for p, a, x in uses], lambda dim: shape[dim])


def _sliding_boxes(scope: Scope, uses: Sequence[Use], buffers: int) -> Tally:
    """The same in a Loop with a halo, for all accesses at once: what lies beyond all that was touched before moves."""
    single = [(use, access) for use in uses for access in use.accesses]
    dim, boxes = slid(scope, [(use.place, access, use.levels[-1]) for use, access in single])
    moved = [high - low + 1 for low, high in fresh(boxes)]
    held = window(boxes, buffers)
    tiles = nbytes = largest = most = 0
    for extents, count in _tiles(scope, [Use(u.place, u.levels[:-1], u.accesses) for u in uses]):
        each = [(a, sizes) for u, sizes in zip(uses, extents, strict=True) for a in u.accesses]
        slice_elements = _around(scope, each, without=dim)
        sizes = [scope.names.bytes_of(single[0][1], n * slice_elements) for n in moved]
        tiles += count * len(sizes)
        nbytes += count * sum(sizes)
        largest = max(largest, *sizes)
        most = max(most, scope.names.bytes_of(single[0][1], held * slice_elements))
    return Tally(tiles, nbytes, largest, most)


def _beyond(scope: Scope, access: Access, extents: Mapping[str, int], rank: str, step: int, size: int) -> int:
    """Bytes of a tile of `size` points of a rank that the tile of `step` points before it does not hold."""
    shape = scope.workload.tensors[access.tensor].shape
    elements = 1
    for index, limit in zip(access.indices, shape, strict=True):
        alone = index.count({**extents, rank: size})
        fresh = min(limit, alone)
        if rank in index.ranks:
            before = index.count({**extents, rank: step})
            both = index.count({**extents, rank: step + size})
            fresh = max(0, fresh - max(0, min(limit, before) + alone - both))
        elements *= fresh
    return scope.names.bytes_of(access, elements)


def _visits(use: Use) -> int:
    """How often the loops over reduced ranks come to one and the same tile of the result."""
    reduced = use.place.einsum.reduced_ranks
    spreads, _ = _spreads(use)
    return prod(sum(spread.values()) for rank, spread in spreads.items() if rank in reduced)


def tile_bytes(scope: Scope, uses: Sequence[Use], extents: Sequence[Mapping[str, int]]) -> int:
    """Bytes of what several uses touch of one tensor over tiles of the given extents, one mapping per use."""
    boxes: dict[object, list[tuple[Access, Mapping[str, int]]]] = {}
    for use, sizes in zip(uses, extents, strict=True):
        for access in use.accesses:
            if not all(sizes[rank] for rank in access.ranks):
                continue  # a Loop that retains leaves the Op nothing to do
            boxes.setdefault(_motion(access, use.levels), []).append((access, sizes))
    total = 0
    for members in boxes.values():
        one_by_one = sum(access_bytes(scope, access, sizes) for access, sizes in members)
        total += min(one_by_one, _common_box(scope, members)) if len(members) > 1 else one_by_one
    if len(boxes) == 1 and len(next(iter(boxes.values()))) == 1:
        return total
    whole = max(scope.workload.tensors[a.tensor].nbytes for use in uses for a in use.accesses)
    return min(total, whole)


def access_bytes(scope: Scope, access: Access, extents: Mapping[str, int]) -> int:
    """Bytes of the points of one access over a tile."""
    if not all(extents[rank] for rank in access.ranks):
        return 0
    shape = scope.workload.tensors[access.tensor].shape
    counts = (min(index.count(extents), size) for index, size in zip(access.indices, shape, strict=True))
    return scope.names.bytes_of(access, prod(counts))


def _motion(access: Access, levels: tuple[Level, ...]) -> object:
    """How the box of an access shifts from one iteration of each loop to the next; equal for boxes that keep step."""
    shifts = []
    for index in access.indices:
        coefficients = dict.fromkeys(range(len(levels)), 0)
        for rank, coefficient in index.terms:
            for depth, level in enumerate(levels):
                if level.rank == rank:
                    coefficients[depth] += coefficient
        shifts.append(tuple(coefficients.values()))
    return access.tensor, tuple(shifts), tuple(level.spans for level in levels)


def _common_box(scope: Scope, members: Sequence[tuple[Access, Mapping[str, int]]]) -> int:
    """Bytes of the smallest box around boxes that keep step; along dimensions that all index alike, of their points."""
    return scope.names.bytes_of(members[0][0], _around(scope, members))


def _around(scope: Scope, members: Sequence[tuple[Access, Mapping[str, int]]], without: int = -1) -> int:
    """Elements of that box, of one slice across the dimension `without`."""
    first = members[0][0]
    counts = []
    for dim, size in enumerate(scope.workload.tensors[first.tensor].shape):
        indices = [(access.indices[dim], sizes) for access, sizes in members]
        if dim == without:
            continue
        if len({(i.offset, tuple(sorted((c, sizes[r]) for r, c in i.terms))) for i, sizes in indices}) == 1:
            counts.append(min(size, indices[0][0].count(indices[0][1])))
            continue
        bounds = [index.bounds(sizes) for index, sizes in indices]
        counts.append(min(size, 1 + max(high for _, high in bounds) - min(low for low, _ in bounds)))
    return prod(counts)
