"""Schedules of actors from loop nests: runs stay runs, however many tiles there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..engine.builder import Phase, Repeat, Run
from ..mapping.tree import Iterate, Loop

Block = tuple[Run | Repeat, ...]


@dataclass(frozen=True)
class Place:
    """Where in its nest of D loops a firing stands.

    Attributes:
        extents: what the loops left of each rank, sorted by rank.
        first: the firing is the first one inside the current body at loop depth d for every d >= first.
        last: likewise the last one.
        resumed: a loop over a reduced rank is past its first tile: a partial result exists.
        unfinished: a loop over a reduced rank is not at its last tile: the result stays partial.
    """

    extents: tuple[tuple[str, int], ...]
    first: int = 0
    last: int = 0
    resumed: bool = False
    unfinished: bool = False


def nest_schedule(
    levels: tuple[Loop | Iterate, ...],
    sizes: Mapping[str, int],
    phase: Callable[[Place], Phase | None],
    *,
    reducing: frozenset[int] = frozenset(),
    rename: Mapping[str, str] | None = None,
    trips: Mapping[int, int] | None = None,
) -> Block:
    """The schedule of an actor that fires once per iteration of its nest.

    Args:
        levels: the loops around the firing, outermost first.
        sizes: rank sizes before any loop.
        phase: the phase of a firing at a place, None where the actor does not fire. Called once per distinct place.
        reducing: loop depths whose loops leave a partial result between their iterations.
        rename: rank of a loop to the rank of `sizes` it cuts, where the names differ.
        trips: iterations of the loops, by depth, that cut no rank of `sizes`.

    A loop of n iterations has at most four kinds of them (first, middle, last, ragged last), so the schedule's length
    does not depend on n.
    """
    known: dict[tuple[int, Place], Block] = {}
    names = rename or {}

    def body(j: int, place: Place) -> Block:
        key = (j, place)
        if key not in known:
            known[key] = leaf(place) if j == len(levels) else loop(j, place)
        return known[key]

    def leaf(place: Place) -> Block:
        fired = phase(place)
        return (Run(fired),) if fired is not None else ()

    def loop(j: int, place: Place) -> Block:
        level = levels[j]
        if isinstance(level, Iterate):
            rank, n, tile, ragged = "", level.count, 0, 0
        else:
            rank = names.get(level.rank, level.rank)
            extent = dict(place.extents).get(rank, 0)
            if extent:
                tile = min(level.tile, extent)
                n, ragged = -(-extent // tile), extent % tile
            else:
                rank, n, tile, ragged = "", (trips or {}).get(j, 1), 0, 0
        if n == 1:
            return body(j + 1, _cut(place, rank, tile))
        partial = j in reducing
        head = Place(place.extents, place.first, j + 1, place.resumed, place.unfinished or partial)
        middle = Place(place.extents, j + 1, j + 1, place.resumed or partial, place.unfinished or partial)
        tail = Place(place.extents, j + 1, place.last, place.resumed or partial, place.unfinished)
        return _join(
            (1, body(j + 1, _cut(head, rank, tile))),
            (n - 2, body(j + 1, _cut(middle, rank, tile)) if n > 2 else ()),
            (1, body(j + 1, _cut(tail, rank, ragged or tile))),
        )

    return body(0, Place(tuple(sorted(sizes.items()))))


def _cut(place: Place, rank: str, tile: int) -> Place:
    if not rank:
        return place
    extents = tuple((r, tile if r == rank else e) for r, e in place.extents)
    return Place(extents, place.first, place.last, place.resumed, place.unfinished)


def _join(*parts: tuple[int, Block]) -> Block:
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
