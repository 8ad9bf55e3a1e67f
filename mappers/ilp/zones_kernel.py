# mypy: disable-error-code="no-any-return"
"""One step of `zones`, compiled: in which orders by address the blocks of a step may lie, and how far apart at least.

A layout is the order of blocks by address, and for each pair of them how far apart they lie at least, for the sake of
blocks that are or were beside them; the floor and the ceiling of the memory are its first and last. It stands for all
addresses that keep to this, a zone of difference constraints (Dill, 1989). A block that comes goes between two others;
the distances that follow are those of longest paths. A block that leaves is taken out, and the distances stay. So a
step has few layouts, none is left out, and sizes do not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped

_jit = stamped(Path(__file__), nogil=True)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Small = NDArray[np.int32]
SHIFT = 5
"""Bits of a place among the blocks, and of a slot."""


class Layouts(NamedTuple):
    """Layouts behind a step, one per row.

    Attributes:
        state: of each, what is kept (`states`).
        value: what has been paid.
        rank: what is smaller had better go on.
        blocks: how many there are.
        slot: of each block by address.
        apart: of each pair of floor, blocks and ceiling, bytes between their beginnings, packed by columns.
        tight: sum of all `apart`: what is more may not be wider anywhere.
        uneven: how much sooner or later neighbours leave than each other, in all.
        parent, places: the layout that it comes from, and which blocks came where, and whether upside down since.
        mark, next: hash of state and order, and the next layout with that place in the table, or -1.
        gone: 1 where another is as good.
    """

    state: Ints
    value: Floats
    rank: Floats
    blocks: Ints
    slot: Small
    apart: Small
    tight: Ints
    uneven: Ints
    parent: Ints
    places: Ints
    mark: Ints
    next: Ints
    gone: Ints


class Given(NamedTuple):
    """Of one step.

    Attributes:
        capacity: of the memory.
        size: of the tensor in each slot.
        touched: slots that the step touches, the largest first.
        near, far: by state, slots that are kept, a bit each: before the step and behind it, or the reverse.
        first, target, cost: of each near state its edges, as ends in the list of targets and costs.
        ahead: by far state, what is added to the value to compare layouts.
        floor: by far state, the least value there.
        stays: of the tensor in each slot, steps for which it may stay behind the step; of the memory's ends, last.
    """

    capacity: Ints
    size: Ints
    touched: Ints
    near: Ints
    far: Ints
    first: Ints
    target: Ints
    cost: Floats
    ahead: Floats
    floor: Floats
    stays: Ints


class Scratch(NamedTuple):
    """Layouts in the making, one for each block that came, the place tried next, and one that is done.

    `work` counts down with every layout that is done.
    """

    blocks: Ints
    slot: Small
    apart: Small
    place: Ints
    slots: Small
    done: Small
    turned: Small
    fresh: Ints
    at: Ints
    work: Ints


@_jit
def _at(i: int, j: int) -> int:
    """Where the pair i < j is."""
    return j * (j - 1) // 2 + i


@_jit
def _apart(d: Small, row: int, i: int, j: int) -> int:
    return 0 if i == j else d[row, _at(i, j)]


@_jit
def _inserted(g: Given, w: Scratch, level: int, k: int, slot: int) -> bool:
    """Level + 1: the layout of a level with a block above its k-th (0: the floor); whether that fits."""
    n, d = w.blocks[level], w.apart
    size = g.size[slot]
    under = 0 if k == 0 else g.size[w.slot[level, k - 1]]
    top = n + 1
    through = under + size
    if _apart(d, level, 0, k) + through + _apart(d, level, k + 1, top) > g.capacity[0]:
        return False
    for j in range(1, n + 3):
        for i in range(j):
            if j == k + 1:
                value = _apart(d, level, i, k) + under
            elif i == k + 1:
                value = size + _apart(d, level, k + 1, j - 1)
            else:
                a, b = (i if i <= k else i - 1), (j if j <= k else j - 1)
                value = d[level, _at(a, b)]
                if i <= k and j > k + 1:
                    value = max(value, _apart(d, level, i, k) + through + _apart(d, level, k + 1, b))
            d[level + 1, _at(i, j)] = value
    for i in range(n + 1):
        w.slot[level + 1, i] = w.slot[level, i] if i < k else slot if i == k else w.slot[level, i - 1]
    w.blocks[level + 1] = n + 1
    return True


@_jit
def _projected(g: Given, w: Scratch, level: int, kept: int) -> tuple[int, int]:
    """The blocks of a level that are kept, in `slots` and `done`: how many, and whether they are upside down."""
    n, d, m = w.blocks[level], w.apart, 0
    w.turned[0] = 0
    for i in range(n):
        if kept >> w.slot[level, i] & 1:
            w.slots[m] = w.slot[level, i]
            m += 1
            w.turned[m] = i + 1
    w.turned[m + 1] = n + 1
    top = n + 1
    for j in range(1, m + 2):
        for i in range(j):
            a, b = w.turned[i], w.turned[j]
            least = _apart(d, level, 0, b) + _apart(d, level, a, top) - g.capacity[0]
            w.done[_at(i, j)] = max(d[level, _at(a, b)], least)
    w.done[_at(0, m + 1)] = g.capacity[0]
    return m, _turned(g, w, m)


@_jit
def _turned(g: Given, w: Scratch, m: int) -> int:
    """Turn the layout that is done upside down where that is the way that it is kept; whether it was."""
    if m == 1:
        over = w.done[_at(0, 1)] > w.done[_at(1, 2)] - g.size[w.slots[0]]
    else:
        over = m > 1 and w.slots[0] > w.slots[m - 1]
    if over:
        # Upside down, beginnings are ends: between ends there is as much as between beginnings, but for their sizes.
        for j in range(1, m + 2):
            for i in range(j):
                a, b = m + 1 - j, m + 1 - i
                low = g.size[w.slots[a - 1]] if a > 0 else 0
                high = g.size[w.slots[b - 1]] if b < m + 1 else 0
                w.turned[_at(i, j)] = w.done[_at(a, b)] - low + high
        for k in range(_at(m, m + 1) + 1):
            w.done[k] = w.turned[k]
        for i in range(m // 2):
            w.slots[i], w.slots[m - 1 - i] = w.slots[m - 1 - i], w.slots[i]
    return int(over)


@_jit
def _wider(p: Layouts, row: int, w: Scratch, pairs: int) -> bool:
    """Whether a layout allows all addresses that the one that is done does."""
    k = 0
    while k < pairs and p.apart[row, k] <= w.done[k]:
        k += 1
    return k == pairs


@_jit
def _narrower(p: Layouts, row: int, w: Scratch, pairs: int) -> bool:
    """Whether the one that is done allows all addresses that a layout does."""
    k = 0
    while k < pairs and p.apart[row, k] >= w.done[k]:
        k += 1
    return k == pairs


@_jit
def _same(p: Layouts, row: int, w: Scratch, m: int) -> bool:
    """Whether a layout has the blocks of the one that is done, in the same order."""
    i = 0 if p.blocks[row] == m else m + 1
    while i < m and p.slot[row, i] == w.slots[i]:
        i += 1
    return i == m


@_jit
def _mark(w: Scratch, m: int, state: int) -> int:
    """Hash of a state and the order of the layout that is done."""
    mark = state + 1
    for i in range(m):
        mark = (mark * 1000003) ^ (w.slots[i] + 17)
        mark ^= (mark >> 23) & 0xFFFFFFFFFF
    return mark


@_jit
def _kept(p: Layouts, count: int, table: Ints, w: Scratch, m: int, state: int, value: float, rank: float) -> int:
    """Where in the table the layout that is done belongs, -1 where another is as good; those that are worse go."""
    mark = _mark(w, m, state)
    at = (mark ^ (mark >> 31)) & (len(table) - 1)
    pairs, tight = _at(m, m + 1) + 1, 0
    for k in range(pairs):
        tight += w.done[k]
    row = table[at]
    while row >= 0:
        if p.mark[row] == mark and p.gone[row] == 0 and p.state[row] == state and _same(p, row, w, m):
            less, more = p.value[row] <= value, p.value[row] >= value
            if less and p.tight[row] <= tight and _wider(p, row, w, pairs):
                p.rank[row] = min(p.rank[row], rank)
                return -1
            if more and p.tight[row] >= tight and _narrower(p, row, w, pairs):
                p.gone[row], rank = 1, min(p.rank[row], rank)
        row = p.next[row]
    p.mark[count], p.tight[count], p.rank[count] = mark, tight, rank
    return at


@_jit
def _uneven(g: Given, w: Scratch, m: int) -> int:
    """How much sooner or later neighbours of the layout that is done leave than each other, in all."""
    found, before = 0, g.stays[-1]
    for i in range(m):
        stays = g.stays[w.slots[i]]
        found += abs(stays - before)
        before = stays
    return found + abs(g.stays[-1] - before)


@_jit
def _ended(
    g: Given, s: Layouts, row: int, w: Scratch, level: int, places: int, p: Layouts, count: int, table: Ints,
    limit: float, least: Floats,
) -> int:  # fmt: skip
    """Add what a layout with all blocks comes to behind the step; how many there are then."""
    state = s.state[row]
    for e in range(g.first[state], g.first[state + 1]):
        to = g.target[e]
        value = max(s.value[row] + g.cost[e], g.floor[to])
        rank = max(s.rank[row], value + g.ahead[to])
        if rank > limit:
            least[0] = min(least[0], rank)
            continue
        m, over = _projected(g, w, level, g.far[to])
        at = _kept(p, count, table, w, m, to, value, rank)
        if at < 0:
            continue
        p.state[count], p.value[count], p.blocks[count] = to, value, m
        for i in range(m):
            p.slot[count, i] = w.slots[i]
        for k in range(_at(m, m + 1) + 1):
            p.apart[count, k] = w.done[k]
        p.uneven[count] = _uneven(g, w, m)
        p.parent[count], p.places[count], p.gone[count] = row, places * 2 + over, 0
        p.next[count] = table[at]
        table[at] = count
        count += 1
    return count


@_jit
def link(p: Layouts, count: int, table: Ints) -> None:
    """Put so many layouts of a pool, and no others, in the table of hashes."""
    for k in range(len(table)):
        table[k] = -1
    for row in range(count):
        at = (p.mark[row] ^ (p.mark[row] >> 31)) & (len(table) - 1)
        p.next[row] = table[at]
        table[at] = row


@_jit
def expand(
    g: Given, s: Layouts, row: int, rows: int, p: Layouts, count: int, table: Ints, w: Scratch, limit: float,
    least: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Run the step from layouts `row` to before `rows`, as long as there is room in the pool.

    Args:
        g: the step.
        s: layouts before it.
        p: the pool of those behind it, of which there are `count`.
        table: of hashes.
        limit: beyond which layouts are left out.
        least: the least rank of those that were.

    Returns:
        The first layout that was not expanded, or not in full, and how many there are in the pool.
    """
    while row < rows:
        edges = g.first[s.state[row] + 1] - g.first[s.state[row]]
        best, kept = _beyond(g, s, row, limit)
        if best > limit:
            least[0] = min(least[0], best)
            row += 1
            continue
        if w.work[0] <= 0:
            return row, count
        fresh = _begun(g, s, row, w, kept)
        level, w.place[0] = 0, 0
        while level >= 0:
            if level == fresh:
                if count + edges > len(p.state):
                    return row, count
                places = 0
                for i in range(fresh - 1, -1, -1):
                    places = places << (2 * SHIFT) | w.at[i] << SHIFT | w.fresh[i]
                w.work[0] -= 1
                count = _ended(g, s, row, w, level, places, p, count, table, limit, least)
                level -= 1
                continue
            k = w.place[level]
            if k > w.blocks[level]:
                level -= 1
                continue
            if k == 0 and level == fresh - 1 and not kept >> w.fresh[level] & 1:
                hole = _hole(g, w, level, g.size[w.fresh[level]])
                if hole >= 0:  # no other place leaves more room to the rest
                    k, w.place[level] = hole, w.blocks[level]
            w.place[level] += 1
            w.at[level] = k
            if _inserted(g, w, level, k, w.fresh[level]):
                level += 1
                if level < len(w.place):
                    w.place[level] = 0
        row += 1
    return row, count


@_jit
def _beyond(g: Given, s: Layouts, row: int, limit: float) -> tuple[float, int]:
    """The least rank behind the step of what comes from a layout, and slots that are kept there within the limit."""
    state, best, kept = s.state[row], np.inf, 0
    for e in range(g.first[state], g.first[state + 1]):
        to = g.target[e]
        rank = max(s.rank[row], max(s.value[row] + g.cost[e], g.floor[to]) + g.ahead[to])
        best = min(best, rank)
        if rank <= limit:
            kept |= g.far[to]
    return best, kept


@_jit
def _begun(g: Given, s: Layouts, row: int, w: Scratch, kept: int) -> int:
    """The first level: a layout; how many blocks it misses, in `fresh`, those that may be kept first."""
    fresh, blocks = 0, s.blocks[row]
    for turn in range(2):
        for k in range(len(g.touched)):
            slot = g.touched[k]
            if not g.near[s.state[row]] >> slot & 1 and (kept >> slot & 1) != turn:
                w.fresh[fresh] = slot
                fresh += 1
    w.blocks[0] = blocks
    for i in range(blocks):
        w.slot[0, i] = s.slot[row, i]
    for k in range(_at(blocks, blocks + 1) + 1):
        w.apart[0, k] = s.apart[row, k]
    return fresh


@_jit
def _hole(g: Given, w: Scratch, level: int, size: int) -> int:
    """A place where blocks lie so far apart already that one of some size fits in between; -1 where there is none."""
    for k in range(w.blocks[level] + 1):
        under = 0 if k == 0 else g.size[w.slot[level, k - 1]]
        if under + size <= w.apart[level, _at(k, k + 1)]:
            return k
    return -1
