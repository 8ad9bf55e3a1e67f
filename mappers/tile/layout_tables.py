# mypy: disable-error-code="no-any-return"
"""What moves of each operand under one spread, by pieces of the groups of ranks, compiled; `layout_kernel` combines it.

What moves of an operand that is held outside of a set of groups is a product of amounts per group, but for indices in
which ranks of several groups meet. `fill` tabulates these factors by piece.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...components import nest_kernel, spatial_kernel
from ...components.nest_kernel import (
    Body,
    IntArray,
    Room,
    among_holders,
    cut,
    distinct,
    has,
    joint_steps,
    moved_always,
)
from ...components.spatial_kernel import busy_steps
from ...jit import stamped

Floats = NDArray[np.float64]

MEMORY, NETWORK, HELD, SLID = range(4)
"""What is counted: words that move from the memory, that arrive, and that are held; from the last on, those that move
and arrive where the innermost loop of a group slides a window, by group."""
STEPS, MOVED, ARRIVED, USED, S_WORDS = 0, 1, 4, 7, 10
"""Words that do not depend on pieces: steps; by operand, words that move and arrive where it streams, and uses."""

_jit = stamped(Path(__file__), *(Path(str(m.__file__)) for m in (nest_kernel, spatial_kernel)))


class Grid(NamedTuple):
    """A tile and its pieces.

    Attributes:
        size: of every rank.
        group: of every rank, or -1.
        tile: by rank and number of its group's piece; the last one is all of it.
        pieces: of every group, that last one left out.
        join: ranks whose spread runs on into the next index of another, and that other.
    """

    size: IntArray
    group: IntArray
    tile: IntArray
    pieces: IntArray
    join: IntArray


class Tables(NamedTuple):
    """Factors by piece of a group; in the last place those of the whole.

    Attributes:
        stride: by operand and group, into `amount`: indices with several ranks, by operand and what is counted.
        single: of the other indices and of ranks without a group, by operand and what is counted.
        copies: by operand, what is counted, group and piece.
        trips: of the loops over a group, and of the steps inside.
        static: the words of `STEPS` and so on, by which spreads run on.
        apart: of what spreads run on through, steps if they did not, and steps.
        slid: by operand, group and piece, trips of the innermost loop where it slides a window, else 0.
        column: by operand and set: bytes moved, bytes back, whether it fits, cycles of a fill (-1: not known yet),
            visits, cycles that a fill may overlap with; visits at which a window starts anew, bytes and cycles of the
            other fills.
        joules: by operand and set.
        state: the piece of every group that is looked at.
        least: by combination of pieces, at most the joules of any holds, as far as known.
    """

    stride: IntArray
    amount: IntArray
    single: IntArray
    copies: IntArray
    trips: IntArray
    static: IntArray
    apart: IntArray
    slid: IntArray
    column: IntArray
    joules: Floats
    state: IntArray
    least: Floats


(
    COL_MOVED, COL_BACK, COL_FITS, COL_FILL, COL_VISITS, COL_WINDOW, COL_STARTS, COL_WHOLE, COL_FURTHER, COL_WORDS,
) = range(10)  # fmt: skip


@lru_cache(maxsize=2**8)
def tables_for(pieces: tuple[int, ...], joins: int, sets: int, number: int) -> Tables:
    """Room for the tables of spreads, which are filled anew for every one; those of another `number` stay.

    Args:
        pieces: of every group.
        joins: spreads that run on.
        sets: of groups that an operand may be held inside.
    """
    groups, most, meeting = len(pieces), max(pieces, default=0) + 1, prod(n + 1 for n in pieces)

    def new(*shape: int) -> IntArray:
        return np.empty(shape, np.int64)

    return Tables(
        new(3, groups), new(3, SLID + 2 * groups, meeting), new(3, 3), new(3, 3, groups, most),
        new(2, groups, most), new(2**joins, S_WORDS), new(joins, 2), new(3, groups, most), new(3, sets, COL_WORDS),
        np.empty((3, sets)), new(groups), np.empty(prod(pieces)),
    )  # fmt: skip


@_jit
def fill(b: Body, u: IntArray, g: Grid, t: Tables, held: IntArray, sliding: IntArray, w: Room) -> None:
    """The tables of a spread; `held` says which operands have registers, `sliding` whether those keep what the places
    of a window share."""
    ranks = len(g.size)
    _static(b, u, g, t, held, w)
    t.copies[:] = 1
    t.single[:] = 1
    t.trips[:] = 1
    for r in range(ranks):
        i = g.group[r]
        for s in range(g.pieces[i] + 1 if i >= 0 else 1):
            tile = g.tile[r, s] if i >= 0 else g.size[r]
            times, rest = g.size[r] // tile, g.size[r] % tile
            number = times + (1 if rest > 0 else 0)
            if i >= 0:
                t.trips[0, i, s] *= number
                t.trips[1, i, s] *= -(-tile // b.factor[r])
            for o in range(3):
                if b.relevant[o, r] == 0:
                    share = b.share[o, r]
                    taking = times * min(share, tile) + min(share, rest)
                    if i >= 0:
                        t.copies[o, MEMORY, i, s] *= number
                        t.copies[o, NETWORK, i, s] *= taking
                    else:
                        t.single[o, NETWORK] *= taking
    for x in range(len(b.indices)):
        if b.indices[x, 2] - b.indices[x, 1] == 1:
            o, r = b.indices[x, 0], b.term[b.indices[x, 1], 0]
            i = g.group[r]
            t.single[o, MEMORY] *= g.size[r]
            t.single[o, NETWORK] *= g.size[r]
            if i >= 0:
                for s in range(g.pieces[i] + 1):
                    t.copies[o, HELD, i, s] *= -(-g.tile[r, s] // b.share[o, r])
            else:
                t.single[o, HELD] *= -(-g.size[r] // b.share[o, r])
    for o in range(3):
        for i in range(len(g.pieces)):
            for s in range(g.pieces[i] + 1):
                slid = _slid(b, g, o, i, s) if sliding[o] == 1 else -1
                t.slid[o, i, s] = -(-g.size[slid] // g.tile[slid, s]) if slid >= 0 else 0
        _amounts(b, g, t, o, sliding[o] == 1, w)


@_jit
def _static(b: Body, u: IntArray, g: Grid, t: Tables, held: IntArray, w: Room) -> None:
    cut(b, g.size, w)
    for j in range(len(g.join)):
        r, outer = g.join[j, 0], g.join[j, 1]
        b.outer[r] = outer
        t.apart[j, 0] = g.size[outer] * -(-g.size[r] // b.factor[r])
        t.apart[j, 1] = joint_steps(b, w, r)
    for kind in range(1 << len(g.join)):
        for j in range(len(g.join)):
            b.outer[g.join[j, 0]] = g.join[j, 1] if kind >> j & 1 else -1
        t.static[kind, STEPS] = busy_steps(b, u, w)
        for o in range(3):
            if held[o] == 0:
                t.static[kind, MOVED + o] = moved_always(b, w, o, -1)
                t.static[kind, ARRIVED + o] = moved_always(b, w, o, o)
            else:
                t.static[kind, USED + o] = moved_always(b, w, o, o)


@_jit
def _amounts(b: Body, g: Grid, t: Tables, o: int, slides: bool, w: Room) -> None:
    """Elements along the indices of an operand with several ranks, by pieces of the groups that these are in."""
    size = 1
    for i in range(len(g.pieces)):
        t.stride[o, i] = 0
    for x in range(len(b.indices)):
        if b.indices[x, 0] == o and b.indices[x, 2] - b.indices[x, 1] > 1:
            for k in range(b.indices[x, 1], b.indices[x, 2]):
                i = g.group[b.term[k, 0]]
                if i >= 0 and t.stride[o, i] == 0:
                    t.stride[o, i] = size
                    size *= g.pieces[i] + 1
    for at in range(size):
        _count_at(b, g, t, o, at, -1, MEMORY, w)
        t.amount[o, HELD, at] = 1
        for x in range(len(b.indices)):
            first, n = b.indices[x, 1], b.indices[x, 2] - b.indices[x, 1]
            if b.indices[x, 0] == o and n > 1:
                for k in range(n):
                    r = b.term[first + k, 0]
                    share = b.share[o, r]
                    w.sort[k, 0] = b.term[first + k, 1] * share
                    w.sort[k, 1] = -(-_tile_at(g, t, o, r, at) // share)
                t.amount[o, HELD, at] *= distinct(w.sort, n)
        if slides:
            for i in range(len(g.pieces)):
                slid = _slid(b, g, o, i, at // t.stride[o, i] % (g.pieces[i] + 1)) if t.stride[o, i] > 0 else -1
                _count_at(b, g, t, o, at, slid, SLID + 2 * i, w)


@_jit
def _count_at(b: Body, g: Grid, t: Tables, o: int, at: int, slid: int, what: int, w: Room) -> None:
    """Elements that move and arrive; pieces of rank `slid` count as one."""
    t.amount[o, what, at], t.amount[o, what + 1, at] = 1, 1
    for x in range(len(b.indices)):
        first, n = b.indices[x, 1], b.indices[x, 2] - b.indices[x, 1]
        if b.indices[x, 0] != o or n == 1:
            continue
        memory, network = 0, 0
        for kind in range(1 << n):
            number = 1
            for k in range(n):
                r = b.term[first + k, 0]
                tile = g.size[r] if r == slid else _tile_at(g, t, o, r, at)
                if kind >> k & 1:
                    w.chosen[k] = g.size[r] % tile
                    number *= 1 if w.chosen[k] > 0 else 0
                else:
                    w.chosen[k] = tile
                    number *= g.size[r] // tile
            if number > 0:
                memory += number * among_holders(b, x, w.chosen, -1, w.sort)
                network += number * among_holders(b, x, w.chosen, o, w.sort)
        t.amount[o, what, at] *= memory
        t.amount[o, what + 1, at] *= network


@_jit
def _slid(b: Body, g: Grid, o: int, i: int, s: int) -> int:
    """The rank whose loop is the innermost one of a group in a piece, if it slides a window of an operand; else -1."""
    slid = -1
    for r in range(len(g.size)):
        if g.group[r] == i and g.tile[r, s] < g.size[r]:
            slid = r
    for x in range(len(b.indices)):
        first, end = b.indices[x, 1], b.indices[x, 2]
        if b.indices[x, 0] == o and end - first > 1 and has(b, x, slid):
            for k in range(first, end):
                r = b.term[k, 0]
                if b.factor[r] > 1 or (r != slid and b.term[k, 1] > 1):
                    return -1
            return slid
    return -1


@_jit
def _tile_at(g: Grid, t: Tables, o: int, r: int, at: int) -> int:
    i = g.group[r]
    if i < 0:
        return g.size[r]
    return g.tile[r, at // t.stride[o, i] % (g.pieces[i] + 1)]
