"""Schedules of actors from loop nests: runs stay runs, however many tiles there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..engine.builder import Repeat, Run
from ..mapping.tree import Iterate, Loop

Block = tuple[Run | Repeat, ...]


@dataclass(frozen=True)
class Place:
    """Where in its nest of D loops a firing stands.

    Attributes:
        extents: what the loops left of each rank, sorted by rank.
        first: the firing is the first one inside the current body at loop depth d for every d >= first.
        last: likewise the last one.
        resumed: bit d is set where the loop at depth d, over a reduced rank, is past its first tile: there is a partial
            result. The highest bit names the loop whose iteration before this one left it.
        unfinished: bit d is set where that loop is not at its last tile: the result stays partial. The highest bit
            names the loop whose next iteration resumes it.
        past, ahead: bit d is set where the loop at depth d, if that is watched, is past its first tile, or not at its
            last one.
    """

    extents: tuple[tuple[str, int], ...]
    first: int = 0
    last: int = 0
    resumed: int = 0
    unfinished: int = 0
    past: int = 0
    ahead: int = 0


@dataclass(frozen=True)
class Nest:
    """The loops around a firing, and what they cut.

    Attributes:
        levels: the loops, outermost first.
        sizes: sizes of ranks before any loop.
        cuts: by depth the ranks that a Loop cuts alike, so that the first tells how often it runs.
        widths: by depth of a Loop with a halo the extents of the ranks that it cuts, in each iteration.
    """

    levels: tuple[Loop | Iterate, ...]
    sizes: Mapping[str, int]
    cuts: tuple[tuple[str, ...], ...]
    widths: Mapping[int, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)


def nest_schedule(
    nest: Nest,
    block: Callable[[Place], Block],
    *,
    reducing: frozenset[int] = frozenset(),
    watched: int = 0,
) -> Block:
    """The schedule of an actor over the iterations of its nest.

    Args:
        nest: the loops around the firing.
        block: what it does at a place: one firing, several, or none. Called once per distinct place.
        reducing: loop depths whose loops leave a partial result between their iterations.
        watched: loop depths (bits) that matter to `Place.past` and `Place.ahead`.

    A loop of n iterations has at most four kinds of them (first, middle, last, ragged last), so the schedule's length
    does not depend on n; a Loop with a halo has as many as there are different boxes.
    """
    known: dict[tuple[int, Place], Block] = {}

    def body(j: int, place: Place) -> Block:
        key = (j, place)
        if key not in known:
            known[key] = block(place) if j == len(nest.levels) else loop(j, place)
        return known[key]

    def loop(j: int, place: Place) -> Block:
        level, ranks = nest.levels[j], nest.cuts[j]
        if j in nest.widths:
            return halo(j, place)
        if isinstance(level, Iterate):
            n, tile, ragged = level.count, 0, 0
        else:
            extent = dict(place.extents)[ranks[0]]
            tile = min(level.tile, extent)
            n, ragged = -(-extent // tile), extent % tile
        if n == 1:
            return body(j + 1, _cut(place, ranks, tile))
        bit = 1 << j if j in reducing else 0
        resumed, unfinished = place.resumed | bit, place.unfinished | bit
        past, ahead = place.past | watched & 1 << j, place.ahead | watched & 1 << j
        head = Place(place.extents, place.first, j + 1, place.resumed, unfinished, place.past, ahead)
        middle = Place(place.extents, j + 1, j + 1, resumed, unfinished, past, ahead)
        tail = Place(place.extents, j + 1, place.last, resumed, place.unfinished, past, place.ahead)
        return join(
            (1, body(j + 1, _cut(head, ranks, tile))),
            (n - 2, body(j + 1, _cut(middle, ranks, tile)) if n > 2 else ()),
            (1, body(j + 1, _cut(tail, ranks, ragged or tile))),
        )

    def halo(j: int, place: Place) -> Block:
        ranks = sorted(nest.widths[j])
        boxes = [dict(zip(ranks, wide, strict=True)) for wide in zip(*(nest.widths[j][r] for r in ranks), strict=True)]
        if len(boxes) == 1:
            return body(j + 1, _wide(place, boxes[0]))
        middle = replace(place, first=j + 1, last=j + 1)
        inner = [(1, body(j + 1, _wide(middle, box))) for box in boxes[1:-1]]
        head, tail = replace(place, last=j + 1), replace(place, first=j + 1)
        return join((1, body(j + 1, _wide(head, boxes[0]))), *inner, (1, body(j + 1, _wide(tail, boxes[-1]))))

    return body(0, Place(tuple(sorted(nest.sizes.items()))))


def _cut(place: Place, ranks: Sequence[str], tile: int) -> Place:
    if not ranks:
        return place
    extents = tuple([(r, min(e, tile) if r in ranks else e) for r, e in place.extents])
    return Place(extents, place.first, place.last, place.resumed, place.unfinished, place.past, place.ahead)


def _wide(place: Place, extents: Mapping[str, int]) -> Place:
    return replace(place, extents=tuple((r, extents.get(r, e)) for r, e in place.extents))


def join(*parts: tuple[int, Block]) -> Block:
    """The parts one after the other, equal neighbours merged into one repeat."""
    merged: list[tuple[int, Block]] = []
    for count, block in parts:
        if not count or not block:
            continue
        if merged and merged[-1][1] == block:
            merged[-1] = (merged[-1][0] + count, block)
        else:
            merged.append((count, block))
    out: list[Run | Repeat] = []
    for count, block in merged:
        if count == 1:
            out.extend(block)
        elif len(block) == 1 and isinstance(block[0], Run):
            out.append(Run(block[0].phase, block[0].count * count))
        else:
            out.append(Repeat(count, block))
    return tuple(out)


def total_actions(block: Block) -> dict[Hashable, int]:
    """Actions of a schedule, summed."""
    total: dict[Hashable, int] = defaultdict(int)

    def visit(items: tuple[Run | Repeat, ...], times: int) -> None:
        for item in items:
            if isinstance(item, Run):
                for action, count in item.phase.actions:
                    total[action] += count * item.count * times
            else:
                visit(item.body, times * item.count)

    visit(block, 1)
    return dict(total)
