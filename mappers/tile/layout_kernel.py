# mypy: disable-error-code="no-any-return"
"""The search of `layouts` over one spread, compiled: all combinations of pieces of the groups of ranks, and for each
all combinations of holds that some order of the groups allows, out of the tables of `layout_tables`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...components import nest_kernel, spatial_kernel
from ...components.nest_kernel import Body, IntArray, Room
from ...components.spatial_kernel import (
    AHEAD,
    C_CYCLES,
    LAST_USE,
    OUTPUT,
    STOP,
    U_CAPACITY,
    U_DOUBLE,
    U_FILLING,
    U_RESULT,
    U_WIDTH,
    alone,
    bytes_of,
    macs_of,
    moving,
    share_of,
    tile_cost,
)
from ...jit import stamped
from . import layout_tables
from .layout_tables import (
    ARRIVED,
    COL_BACK,
    COL_FILL,
    COL_FITS,
    COL_FURTHER,
    COL_MOVED,
    COL_STARTS,
    COL_VISITS,
    COL_WHOLE,
    COL_WINDOW,
    HELD,
    MEMORY,
    MOVED,
    NETWORK,
    SLID,
    STEPS,
    USED,
    Grid,
    Tables,
)

Floats = NDArray[np.float64]

E_MAC, E_TRANSFER, E_READ, E_WRITE, E_LOAD, E_STORE, E_HOP, E_WORDS = 0, 1, 2, 5, 8, 11, 14, 15
"""Joules: of a multiply-accumulate, of a byte on the network; of a byte read and written in the registers, and in the
memory, of every operand."""
B_VALUE, B_JOULES, B_CYCLES = range(3)
R_FOUND, R_SPREAD, R_CHOICE, R_ORDER, R_INNER, R_STATE = range(6)
SAME = 1e-9
"""Sums of joules that differ by less than this share are equal but for rounding."""

_jit = stamped(Path(__file__), *(Path(str(m.__file__)) for m in (nest_kernel, spatial_kernel, layout_tables)))


class Choices(NamedTuple):
    """What is the same for every tile of an Einsum: sets of groups are bit masks.

    Attributes:
        held, sliding: by operand, whether registers hold it, and keep what the places of a window share.
        mine: by operand, the groups with ranks of it.
        first, around: of every operand the first one of the sets that it may be held inside; these sets.
        slide: by such a set, the group whose loops are the innermost if they may slide a window, or -1.
        begin, choice: by the set of groups that are cut, the first choice of holds; per choice, for each operand the
            number of its set.
        orders, order: of every choice the first of the orders that allow it; these, groups outermost first, then -1.
        inner: orders of the groups inside.
    """

    held: IntArray
    sliding: IntArray
    mine: IntArray
    first: IntArray
    around: IntArray
    slide: IntArray
    begin: IntArray
    choice: IntArray
    orders: IntArray
    order: IntArray
    inner: IntArray


class Weights(NamedTuple):
    """Of a cycle of the array's clock and of a joule (see `Aim`)."""

    cycle: float
    joule: float


class Best(NamedTuple):
    """What was found so far: its sum by the weights, joules and cycles; the words of `R_FOUND` and so on, then pieces
    by group."""

    value: Floats
    record: IntArray

    @staticmethod
    def of(groups: int) -> Best:
        return Best(np.full(3, np.inf), np.zeros(R_STATE + groups, np.int64))


@_jit
def scan(
    a: Weights, among: bool, limit: float, spread: int, b: Body, u: IntArray, ports: IntArray, energy: Floats,
    c: Choices, g: Grid, t: Tables, best: Floats, record: IntArray,
) -> int:  # fmt: skip
    """Look for something better than `best`: a smaller sum by the weights or, `among` those up to a limit, fewer joules
    and then fewer cycles, for the energy alone the other way about. Returns the number of layouts that were compared,
    or ruled out all at once."""
    groups = len(g.pieces)
    rows, seen = 1, 0
    for i in range(groups):
        rows *= g.pieces[i]
    points = 1
    for r in range(len(g.size)):
        points *= g.size[r]
    macs = macs_of(u, points)
    whole = t.single[OUTPUT, MEMORY]
    at = 0
    for i in range(groups):
        at += t.stride[OUTPUT, i] * g.pieces[i]
    whole *= t.amount[OUTPUT, MEMORY, at]
    for row in range(rows):
        rest, active = row, 0
        for i in range(groups):
            t.state[i] = rest % g.pieces[i]
            rest //= g.pieces[i]
            if t.trips[0, i, t.state[i]] > 1:
                active |= 1 << i
        seen += c.begin[active + 1] - c.begin[active]
        if among and t.least[row] > _most_joules(a, among, limit, best, 0):
            continue
        if not among:
            t.least[row] = 0.0
        kind = _joined(g, t)
        steps = t.static[kind, STEPS]
        if a.cycle * steps > (limit if among else best[B_VALUE]):
            continue
        joules = macs * energy[E_MAC]
        for o in range(3):
            joules += _columns(b, u, energy, c, g, t, active, kind, whole, o)
        t.least[row] = joules
        if joules > _most_joules(a, among, limit, best, steps):
            continue
        for n in range(c.begin[active], c.begin[active + 1]):
            x, y, z = c.choice[n, 0], c.choice[n, 1], c.choice[n, 2]
            if t.column[0, x, COL_FITS] + t.column[1, y, COL_FITS] + t.column[2, z, COL_FITS] < 3:
                continue
            joules = macs * energy[E_MAC] + t.joules[0, x] + t.joules[1, y] + t.joules[2, z]
            if joules > _most_joules(a, among, limit, best, steps):
                continue
            if not _better(a, among, limit, best, _least(u, ports, c, t, steps, n), joules):
                continue
            cycles, order, inner = _ordered(u, ports, b, c, g, t, steps, kind, n)
            if not _better(a, among, limit, best, cycles, joules):
                continue
            value = a.cycle * cycles + a.joule * joules
            best[B_VALUE], best[B_JOULES], best[B_CYCLES] = value, joules, cycles
            record[R_FOUND], record[R_SPREAD], record[R_CHOICE] = 1, spread, n
            record[R_ORDER], record[R_INNER] = order, inner
            for i in range(groups):
                record[R_STATE + i] = t.state[i]
    return seen


@_jit
def work(
    b: Body, w: Room, u: IntArray, ports: IntArray, tiles: IntArray, prices: Floats, words: IntArray, cycles: Floats,
    joules: Floats,
) -> None:  # fmt: skip
    """Cycles and joules of tiles: extents of the ranks and, last, how many of them add up to a result. All but the
    first resume one, all but the last leave it partial; `words` is room for a cost, `prices` joules of each."""
    for i in range(len(tiles)):
        extents, sums = tiles[i, :-1], tiles[i, -1]
        tile_cost(b, u, ports, extents, False, False, w, words)
        joules[i] = 0.0
        for k in range(len(words)):
            joules[i] += words[k] * prices[k]
        if sums > 1:
            tile_cost(b, u, ports, extents, True, True, w, words)
            part = 0.0
            for k in range(len(words)):
                part += words[k] * prices[k]
            joules[i] += (1 - 1 / sums) * (part - joules[i])
        cycles[i] = words[C_CYCLES]


@_jit
def _most_joules(a: Weights, among: bool, limit: float, best: Floats, steps: int) -> float:
    """More joules than that cannot be better, of what takes so many steps or more."""
    if among and a.cycle > 0:
        return best[B_JOULES] * (1 + SAME)
    return ((limit if among else best[B_VALUE]) - a.cycle * steps) / a.joule if a.joule > 0 else np.inf


@_jit
def _better(a: Weights, among: bool, limit: float, best: Floats, cycles: int, joules: float) -> bool:
    """Whether this is better than the best so far. Joules that differ by less than a rounding error are equal."""
    value = a.cycle * cycles + a.joule * joules
    if not among:
        return value < best[B_VALUE]
    fewer = joules < best[B_JOULES] * (1 - SAME)
    if a.cycle == 0:
        return value <= limit and (cycles < best[B_CYCLES] or (cycles == best[B_CYCLES] and fewer))
    return value <= limit and (fewer or (joules <= best[B_JOULES] * (1 + SAME) and cycles < best[B_CYCLES]))


@_jit
def _joined(g: Grid, t: Tables) -> int:
    """Which spreads run on: those of whose two ranks none is cut."""
    kind = 0
    for j in range(len(g.join)):
        cut_ranks = 0
        for k in range(2):
            r = g.join[j, k]
            if g.group[r] >= 0 and g.tile[r, t.state[g.group[r]]] < g.size[r]:
                cut_ranks += 1
        if cut_ranks == 0:
            kind |= 1 << j
    return kind


@_jit
def _columns(
    b: Body, u: IntArray, energy: Floats, c: Choices, g: Grid, t: Tables, active: int, kind: int, whole: int, o: int,
) -> float:  # fmt: skip
    """Bytes and joules of one operand in every set that it may be held inside. Returns the least joules."""
    groups, width = len(g.pieces), u[U_WIDTH + o]
    least = np.inf
    for q in range(c.first[o], c.first[o + 1]):
        around, k = c.around[q], q - c.first[o]
        t.column[o, k, COL_FITS] = 0
        if around & ~active:
            continue
        if c.held[o] == 0:
            memory, network, used = t.static[kind, MOVED + o], t.static[kind, ARRIVED + o], 0
            whole_tiles = memory
        else:
            at, needed = 0, t.single[o, HELD]
            memory, network, used = t.single[o, MEMORY], t.single[o, NETWORK], t.static[kind, USED + o]
            for i in range(groups):
                s = t.state[i] if around >> i & 1 else g.pieces[i]
                at += t.stride[o, i] * s
                memory *= t.copies[o, MEMORY, i, s]
                network *= t.copies[o, NETWORK, i, s]
                needed *= t.copies[o, HELD, i, s]
            what = MEMORY if c.slide[q] < 0 else SLID + 2 * c.slide[q]
            whole_tiles = memory * t.amount[o, MEMORY, at]
            memory *= t.amount[o, what, at]
            network *= t.amount[o, what + 1, at]
            needed *= t.amount[o, HELD, at]
            for j in range(len(g.join)):
                r, outer = g.join[j, 0], g.join[j, 1]
                if kind >> j & 1 and b.share[o, r] > 1 and b.relevant[o, r] == 1 and b.relevant[o, outer] == 1:
                    needed = needed // t.apart[j, 0] * t.apart[j, 1]
            if bytes_of(needed, width) * (2 if u[U_DOUBLE + o] else 1) > u[U_CAPACITY + o]:
                continue
        write = network
        moved, back = bytes_of(memory, width), 0
        joules = moved * energy[E_LOAD + o]
        if o == OUTPUT:
            again = memory - whole
            back = bytes_of(again, width)
            moved = back + bytes_of(whole, u[U_RESULT])
            joules = moved * energy[E_STORE + o] + back * energy[E_LOAD + o]
            network += again
            used += again
            write = used
        passed = bytes_of(network, width)
        joules += passed * energy[E_TRANSFER] + share_of(passed, b.hops[o]) * energy[E_HOP]
        if c.held[o] == 1:
            joules += bytes_of(used, width) * energy[E_READ + o] + bytes_of(write, width) * energy[E_WRITE + o]
        t.column[o, k, COL_MOVED], t.column[o, k, COL_BACK], t.column[o, k, COL_FITS] = moved, back, 1
        t.column[o, k, COL_FILL] = -1
        if c.held[o] == 1:
            visits, slid = 1, 0
            for i in range(groups):
                if around >> i & 1:
                    visits *= t.trips[0, i, t.state[i]]
                if c.slide[q] == i:
                    slid = t.slid[o, i, t.state[i]]
            t.column[o, k, COL_VISITS] = visits
            queues = slid > 0 and u[U_DOUBLE + o] == 0 and u[U_FILLING + o] == AHEAD
            t.column[o, k, COL_STARTS] = visits // slid if queues else visits
            t.column[o, k, COL_WHOLE] = bytes_of(whole_tiles, width) // visits if queues else -(-moved // visits)
        t.joules[o, k] = joules
        least = min(least, joules)
    return least


@_jit
def _time_fills(u: IntArray, ports: IntArray, t: Tables, o: int, k: int, steps: int) -> None:
    """Cycles of the fills of a column, as `spatial_kernel.waits_for` has them."""
    visits, starts = t.column[o, k, COL_VISITS], t.column[o, k, COL_STARTS]
    whole = t.column[o, k, COL_WHOLE]
    each = max(0, t.column[o, k, COL_MOVED] - starts * whole) // max(1, visits - starts)
    t.column[o, k, COL_FILL] = alone(u, ports, o, whole)
    t.column[o, k, COL_FURTHER] = alone(u, ports, o, each)
    stops = u[U_DOUBLE + o] == 0 and u[U_FILLING + o] == STOP
    t.column[o, k, COL_WINDOW] = 0 if stops else steps // visits


@_jit
def _wait(t: Tables, o: int, k: int, sweeps: int) -> int:
    """Cycles for which later fills of a column stop the array."""
    visits, starts = t.column[o, k, COL_VISITS], t.column[o, k, COL_STARTS]
    window = t.column[o, k, COL_WINDOW] // sweeps
    further = (visits - starts) * max(0, t.column[o, k, COL_FURTHER] - window)
    first = starts if o == OUTPUT else starts - 1
    return first * max(0, t.column[o, k, COL_FILL] - window) + further


@_jit
def _least(u: IntArray, ports: IntArray, c: Choices, t: Tables, steps: int, n: int) -> int:
    """Cycles if every operand's registers were swept over once while others wait for theirs."""
    waits = 0
    for o in range(3):
        if c.held[o] == 1:
            k = c.choice[n, o]
            if t.column[o, k, COL_FILL] < 0:
                _time_fills(u, ports, t, o, k, steps)
            waits = max(waits, _wait(t, o, k, 1))
    return max(steps + waits + _first_fill(u, c, t, n), _moving(u, ports, c, t, n))


@_jit
def _moving(u: IntArray, ports: IntArray, c: Choices, t: Tables, n: int) -> int:
    z = c.choice[n, OUTPUT]
    reads, weights = t.column[0, c.choice[n, 0], COL_MOVED], t.column[1, c.choice[n, 1], COL_MOVED]
    return moving(u, ports, reads, weights, t.column[OUTPUT, z, COL_MOVED], t.column[OUTPUT, z, COL_BACK])


@_jit
def _ordered(
    u: IntArray, ports: IntArray, b: Body, c: Choices, g: Grid, t: Tables, steps: int, kind: int, n: int,
) -> tuple[int, int, int]:  # fmt: skip
    """The fewest cycles of a choice, with the order of the groups outside and inside (-1: that of the Einsum).

    Loops inside would stop a spread from running on.
    """
    least = _least(u, ports, c, t, steps, n)
    best, order, inner = 2**62, -1, -1
    first = _first_fill(u, c, t, n)
    moved = _moving(u, ports, c, t, n)
    for y in range(-1, 0 if kind else len(c.inner)):
        for x in range(c.orders[n], c.orders[n + 1]):
            waits = 0
            for o in range(3):
                if c.held[o] == 0:
                    continue
                k, sweeps = c.choice[n, o], 1
                if u[U_DOUBLE + o] == 0 and u[U_FILLING + o] == LAST_USE:
                    sweeps = _sweeps(b, c, g, t, c.around[c.first[o] + k], o, x, y)
                waits = max(waits, _wait(t, o, k, sweeps))
            cycles = max(steps + waits + first, moved)
            if cycles < best:
                best, order, inner = cycles, x, y
                if best <= least:
                    return best, order, inner
    return best, order, inner


@_jit
def _first_fill(u: IntArray, c: Choices, t: Tables, n: int) -> int:
    first, hidden = 0, True
    for o in range(OUTPUT):
        if c.held[o] == 1:
            first = max(first, t.column[o, c.choice[n, o], COL_FILL])
            hidden = hidden and u[U_DOUBLE + o] == 1
    return 0 if hidden else first


@_jit
def _sweeps(b: Body, c: Choices, g: Grid, t: Tables, around: int, o: int, x: int, y: int) -> int:
    """How often the loops directly inside `around` go over the same piece of an operand."""
    groups = len(g.pieces)
    result, place = 1, 0
    while place < groups and c.order[x, place] >= 0:
        i = c.order[x, place]
        if not around >> i & 1:
            if c.mine[o] >> i & 1:
                return result
            result *= t.trips[0, i, t.state[i]]
        place += 1
    if y >= 0:
        for k in range(groups):
            i = c.inner[y, k]
            trips = t.trips[1, i, t.state[i]]
            if c.mine[o] >> i & 1:
                if trips > 1:
                    return result
            else:
                result *= trips
    for r in range(len(g.size)):
        i = g.group[r]
        if i >= 0 and y >= 0:
            continue
        tile = g.size[r] if i < 0 else g.tile[r, t.state[i]]
        trips = -(-tile // b.factor[r])
        if b.relevant[o, r] == 0:
            result *= trips
        elif trips > 1:
            return result
    return result
