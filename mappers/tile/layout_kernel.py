# mypy: disable-error-code="no-any-return"
"""The search of `layouts` over one spread, compiled.

What moves of an operand that is held outside of a set of groups is a product of amounts per group, but for indices in
which ranks of several groups meet. `fill` tabulates these factors by piece; `scan` walks over all combinations of
pieces, and for each over all combinations of holds that some order of the groups allows.
"""

from __future__ import annotations

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
    joint_steps,
    moved_always,
    stamped,
    steps_of,
)
from ...components.spatial_kernel import (
    OUTPUT,
    U_CAPACITY,
    U_DOUBLE,
    U_RESULT,
    U_SLICES,
    U_WIDTH,
    alone,
    bytes_of,
    moving,
)

Floats = NDArray[np.float64]

LATENCY, ENERGY, EDP = range(3)
OBJECTIVES = {"latency": LATENCY, "energy": ENERGY, "edp": EDP}
MEMORY, NETWORK, HELD = range(3)
STEPS, MOVED, ARRIVED, USED, S_WORDS = 0, 1, 4, 7, 10
"""Words that do not depend on pieces: steps; by operand, words that move and arrive where it streams, and uses."""
E_MAC, E_TRANSFER, E_READ, E_WRITE, E_LOAD, E_STORE, E_WORDS = 0, 1, 2, 5, 8, 11, 14
"""Joules: of a multiply-accumulate, of a byte on the network; of a byte read and written in the registers, and in the
memory, of every operand."""
B_VALUE, B_JOULES, B_CYCLES = range(3)
R_FOUND, R_SPREAD, R_CHOICE, R_ORDER, R_INNER, R_STATE = range(6)
SAME = 1e-9
"""Sums of joules that differ by less than this share are equal but for rounding."""

_jit = stamped(Path(__file__), *(Path(str(m.__file__)) for m in (nest_kernel, spatial_kernel)))


class Choices(NamedTuple):
    """What is the same for every tile of an Einsum: sets of groups are bit masks.

    Attributes:
        held: by operand, whether registers hold it.
        mine: by operand, the groups with ranks of it.
        first, around: of every operand the first one of the sets that it may be held inside; these sets.
        begin, choice: by the set of groups that are cut, the first choice of holds; per choice, for each operand the
            number of its set.
        orders, order: of every choice the first of the orders that allow it; these, groups outermost first, then -1.
        inner: orders of the groups inside.
    """

    held: IntArray
    mine: IntArray
    first: IntArray
    around: IntArray
    begin: IntArray
    choice: IntArray
    orders: IntArray
    order: IntArray
    inner: IntArray


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
        column: by operand and set: bytes moved, bytes back, whether it fits, cycles of a fill (-1: not known yet),
            visits, window.
        joules: by operand and set.
        state: the piece of every group that is looked at.
    """

    stride: IntArray
    amount: IntArray
    single: IntArray
    copies: IntArray
    trips: IntArray
    static: IntArray
    apart: IntArray
    column: IntArray
    joules: Floats
    state: IntArray


class Best(NamedTuple):
    """What was found so far: its objective, joules and cycles; the words of `R_FOUND` and so on, then pieces by
    group."""

    value: Floats
    record: IntArray

    @staticmethod
    def of(groups: int) -> Best:
        return Best(np.full(3, np.inf), np.zeros(R_STATE + groups, np.int64))


COL_MOVED, COL_BACK, COL_FITS, COL_FILL, COL_VISITS, COL_WINDOW, COL_WORDS = range(7)


def tables_for(body: Body, grid: Grid, choices: Choices) -> Tables:
    """Room for the tables of a spread."""
    groups, pieces, sets = len(grid.pieces), grid.tile.shape[1], int(np.diff(choices.first).max())
    meeting = [1, 1, 1]
    for o, first, end in body.indices.tolist():
        met = {grid.group[r] for r in body.term[first:end, 0] if grid.group[r] >= 0 and end - first > 1}
        meeting[o] *= int(np.prod([grid.pieces[i] + 1 for i in met]))

    def new(*shape: int) -> IntArray:
        return np.empty(shape, np.int64)

    return Tables(
        new(3, groups), new(3, 3, max(meeting)), new(3, 3), new(3, 3, groups, pieces), new(2, groups, pieces),
        new(2 ** len(grid.join), S_WORDS), new(len(grid.join), 2), new(3, sets, COL_WORDS), np.empty((3, sets)),
        new(groups),
    )  # fmt: skip


@_jit
def fill(b: Body, u: IntArray, g: Grid, t: Tables, held: IntArray, w: Room) -> None:
    """The tables of a spread; `held` says which operands have registers."""
    ranks, groups = len(g.size), len(g.pieces)
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
        _amounts(b, g, t, o, groups, w)


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
        t.static[kind, STEPS] = steps_of(b, w) * u[U_SLICES]
        for o in range(3):
            if held[o] == 0:
                t.static[kind, MOVED + o] = moved_always(b, w, o, -1)
                t.static[kind, ARRIVED + o] = moved_always(b, w, o, o)
            else:
                t.static[kind, USED + o] = moved_always(b, w, o, o)


@_jit
def _amounts(b: Body, g: Grid, t: Tables, o: int, groups: int, w: Room) -> None:
    """Elements along the indices of an operand with several ranks, by pieces of the groups that these are in."""
    size = 1
    for i in range(groups):
        t.stride[o, i] = 0
    for x in range(len(b.indices)):
        if b.indices[x, 0] == o and b.indices[x, 2] - b.indices[x, 1] > 1:
            for k in range(b.indices[x, 1], b.indices[x, 2]):
                i = g.group[b.term[k, 0]]
                if i >= 0 and t.stride[o, i] == 0:
                    t.stride[o, i] = size
                    size *= g.pieces[i] + 1
    for at in range(size):
        for what in range(3):
            t.amount[o, what, at] = 1
        for x in range(len(b.indices)):
            first, n = b.indices[x, 1], b.indices[x, 2] - b.indices[x, 1]
            if b.indices[x, 0] != o or n == 1:
                continue
            memory, network = 0, 0
            for kind in range(1 << n):
                number = 1
                for k in range(n):
                    r = b.term[first + k, 0]
                    tile = _tile_at(g, t, o, r, at)
                    if kind >> k & 1:
                        w.chosen[k] = g.size[r] % tile
                        number *= 1 if w.chosen[k] > 0 else 0
                    else:
                        w.chosen[k] = tile
                        number *= g.size[r] // tile
                if number > 0:
                    memory += number * among_holders(b, x, w.chosen, -1, w.sort)
                    network += number * among_holders(b, x, w.chosen, o, w.sort)
            for k in range(n):
                r = b.term[first + k, 0]
                share = b.share[o, r]
                w.sort[k, 0] = b.term[first + k, 1] * share
                w.sort[k, 1] = -(-_tile_at(g, t, o, r, at) // share)
            t.amount[o, MEMORY, at] *= memory
            t.amount[o, NETWORK, at] *= network
            t.amount[o, HELD, at] *= distinct(w.sort, n)


@_jit
def _tile_at(g: Grid, t: Tables, o: int, r: int, at: int) -> int:
    i = g.group[r]
    if i < 0:
        return g.size[r]
    return g.tile[r, at // t.stride[o, i] % (g.pieces[i] + 1)]


@_jit
def scan(
    objective: int, among: bool, limit: float, spread: int, b: Body, u: IntArray, ports: IntArray, energy: Floats,
    c: Choices, g: Grid, t: Tables, best: Floats, record: IntArray,
) -> int:  # fmt: skip
    """Look for something better than `best`: a smaller objective or, `among` those up to a limit, fewer joules and
    then fewer cycles, for the energy the other way about. Returns the number of layouts."""
    groups = len(g.pieces)
    rows, seen = 1, 0
    for i in range(groups):
        rows *= g.pieces[i]
    points = u[U_SLICES]
    for r in range(len(g.size)):
        points *= g.size[r]
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
        kind = _joined(g, t)
        steps = t.static[kind, STEPS]
        if objective == LATENCY and steps > (limit if among else best[B_VALUE]):
            continue
        joules = points * energy[E_MAC]
        for o in range(3):
            joules += _columns(b, u, energy, c, g, t, active, kind, whole, o)
        if joules > _most_joules(objective, among, limit, best):
            continue
        for n in range(c.begin[active], c.begin[active + 1]):
            seen += 1
            x, y, z = c.choice[n, 0], c.choice[n, 1], c.choice[n, 2]
            if t.column[0, x, COL_FITS] + t.column[1, y, COL_FITS] + t.column[2, z, COL_FITS] < 3:
                continue
            joules = points * energy[E_MAC] + t.joules[0, x] + t.joules[1, y] + t.joules[2, z]
            if joules > _most_joules(objective, among, limit, best):
                continue
            if not _better(objective, among, limit, best, _least(u, ports, c, t, steps, n), joules):
                continue
            cycles, order, inner = _ordered(u, ports, b, c, g, t, steps, kind, n)
            if not _better(objective, among, limit, best, cycles, joules):
                continue
            value = _value(objective, cycles, joules)
            best[B_VALUE], best[B_JOULES], best[B_CYCLES] = value, joules, cycles
            record[R_FOUND], record[R_SPREAD], record[R_CHOICE] = 1, spread, n
            record[R_ORDER], record[R_INNER] = order, inner
            for i in range(groups):
                record[R_STATE + i] = t.state[i]
    return seen


@_jit
def _most_joules(objective: int, among: bool, limit: float, best: Floats) -> float:
    """More joules than that cannot be better."""
    if objective == ENERGY:
        return limit if among else best[B_VALUE]
    return best[B_JOULES] * (1 + SAME) if among else np.inf


@_jit
def _value(objective: int, cycles: int, joules: float) -> float:
    if objective == ENERGY:
        return joules
    return cycles * joules if objective == EDP else float(cycles)


@_jit
def _better(objective: int, among: bool, limit: float, best: Floats, cycles: int, joules: float) -> bool:
    """Whether this is better than the best so far. Joules that differ by less than a rounding error are equal."""
    value = _value(objective, cycles, joules)
    if not among:
        return value < best[B_VALUE]
    fewer = joules < best[B_JOULES] * (1 - SAME)
    if objective == ENERGY:
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
        else:
            at, needed = 0, t.single[o, HELD]
            memory, network, used = t.single[o, MEMORY], t.single[o, NETWORK], t.static[kind, USED + o]
            for i in range(groups):
                s = t.state[i] if around >> i & 1 else g.pieces[i]
                at += t.stride[o, i] * s
                memory *= t.copies[o, MEMORY, i, s]
                network *= t.copies[o, NETWORK, i, s]
                needed *= t.copies[o, HELD, i, s]
            memory *= t.amount[o, MEMORY, at]
            network *= t.amount[o, NETWORK, at]
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
        joules += bytes_of(network, width) * energy[E_TRANSFER]
        if c.held[o] == 1:
            joules += bytes_of(used, width) * energy[E_READ + o] + bytes_of(write, width) * energy[E_WRITE + o]
        t.column[o, k, COL_MOVED], t.column[o, k, COL_BACK], t.column[o, k, COL_FITS] = moved, back, 1
        t.column[o, k, COL_FILL] = -1
        if c.held[o] == 1:
            visits = 1
            for i in range(groups):
                if around >> i & 1:
                    visits *= t.trips[0, i, t.state[i]]
            t.column[o, k, COL_VISITS] = visits
        t.joules[o, k] = joules
        least = min(least, joules)
    return least


@_jit
def _least(u: IntArray, ports: IntArray, c: Choices, t: Tables, steps: int, n: int) -> int:
    """Cycles if every operand's registers were swept over once while others wait for theirs."""
    waits, first, hidden = 0, 0, True
    for o in range(3):
        if c.held[o] == 0:
            continue
        k = c.choice[n, o]
        visits = t.column[o, k, COL_VISITS]
        if t.column[o, k, COL_FILL] < 0:
            t.column[o, k, COL_FILL] = alone(u, ports, o, -(-t.column[o, k, COL_MOVED] // visits))
            t.column[o, k, COL_WINDOW] = steps // visits
        filling = t.column[o, k, COL_FILL]
        waits = max(waits, (visits - 1) * max(0, filling - t.column[o, k, COL_WINDOW]))
        if o != OUTPUT:
            first = max(first, filling)
            hidden = hidden and u[U_DOUBLE + o] == 1
    return max(steps + waits + (0 if hidden else first), _moving(u, ports, c, t, n))


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
                k = c.choice[n, o]
                if c.held[o] == 0:
                    continue
                window = t.column[o, k, COL_WINDOW]
                if u[U_DOUBLE + o] == 0:
                    window //= _sweeps(b, c, g, t, c.around[c.first[o] + k], o, x, y)
                wait = (t.column[o, k, COL_VISITS] - 1) * max(0, t.column[o, k, COL_FILL] - window)
                waits = max(waits, wait)
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
