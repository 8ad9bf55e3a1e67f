# mypy: disable-error-code="no-any-return"
"""The beam search of `copying`, compiled: where what begins at a step lies, and what is copied to make room for it.

A block is a residence. Where no hole is large enough for one, some neighbours make room: each goes into a hole
elsewhere, or moves up to the next of them. What begins at the step itself is not there yet, so that it moves for
nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped

_jit = stamped(Path(__file__))

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHILDREN = 3
"""States that follow each state."""
TOGETHER = 4
"""Neighbours that go into holes elsewhere, at most; any number may move up."""


class Tables(NamedTuple):
    """What is given.

    Attributes:
        capacity: of the memory, as an array of one.
        size, first, last: of each block, and its steps.
        heir: of each block, the one that begins in its place at its last step, or -1.
        end, fresh: blocks that begin at each step and are no heirs, the largest first, flat, with the ends of each.
        unlike: bytes that it counts for a step by which neighbours differ in how long they stay, as an array of one.
        horizon: steps beyond which all stay alike long, as an array of one.
    """

    capacity: Ints
    size: Ints
    first: Ints
    last: Ints
    heir: Ints
    end: Ints
    fresh: Ints
    unlike: Floats
    horizon: Ints


class States(NamedTuple):
    """States, one per row.

    Attributes:
        blocks, block, address: how many there are, which by address, and where.
        paid: bytes copied so far.
        key: bytes copied, and how unlike neighbours are.
        parent: the row before the step.
        choice: of each block that began at the step, the neighbours that made room, from and to before, and the side.
        mark: hash of what lies where.
    """

    blocks: Ints
    block: Ints
    address: Ints
    paid: Ints
    key: Floats
    parent: Ints
    choice: Ints
    mark: Ints


class Scratch(NamedTuple):
    """Holes before each block and behind the last, where neighbours go, offers, and what was moved.

    Attributes:
        low, high: of each hole.
        to: of each neighbour, where it goes, or -1.
        key, left, right, side: of each offer, as `States.choice`.
        moved, place: blocks in the order in which they were moved, and where to.
        amount: of those, as an array of one.
    """

    low: Ints
    high: Ints
    to: Ints
    key: Floats
    left: Ints
    right: Ints
    side: Ints
    moved: Ints
    place: Ints
    amount: Ints


@_jit
def _holes(t: Tables, s: States, row: int, x: Scratch) -> None:
    end = 0
    for i in range(s.blocks[row]):
        x.low[i], x.high[i] = end, s.address[row, i]
        end = s.address[row, i] + t.size[s.block[row, i]]
    x.low[s.blocks[row]], x.high[s.blocks[row]] = end, t.capacity[0]


@_jit
def _length(t: Tables, s: States, row: int, i: int, step: int) -> int:
    """How long a block stays; what lies beyond the first and the last stays for ever."""
    if i < 0 or i >= s.blocks[row]:
        return t.horizon[0]
    return min(t.last[s.block[row, i]] - step, t.horizon[0])


@_jit
def _price(t: Tables, s: States, row: int, i: int, step: int) -> int:
    return 0 if t.first[s.block[row, i]] == step else t.size[s.block[row, i]]


@_jit
def _leave(t: Tables, s: States, row: int, i: int, j: int, lack: int, x: Scratch) -> bool:
    """Send neighbours into holes elsewhere, the largest first, until so many bytes are free; whether they are.

    Holes are as before afterwards.
    """
    for k in range(i, j):
        x.to[k] = -1
    used = 0
    while lack > 0:
        best, hole = -1, -1
        for k in range(i, j):
            size = t.size[s.block[row, k]]
            if x.to[k] != -1 or (best >= 0 and size <= t.size[s.block[row, best]]):
                continue
            fit = -1
            for c in range(s.blocks[row] + 1):
                room = x.high[c] - x.low[c]
                if (c < i or c > j) and room >= size and (fit < 0 or room < x.high[fit] - x.low[fit]):
                    fit = c
            if fit >= 0:
                best, hole = k, fit
            else:
                x.to[k] = -2
        if best < 0:
            break
        size = t.size[s.block[row, best]]
        x.to[best] = x.low[hole]
        x.low[hole] += size
        x.moved[x.amount[0] + used] = hole  # beyond what was moved, for a moment
        x.place[x.amount[0] + used] = size
        used += 1
        lack -= size
    for k in range(used):
        x.low[x.moved[x.amount[0] + k]] -= x.place[x.amount[0] + k]
    for k in range(i, j):
        x.to[k] = max(x.to[k], -1)
    return lack <= 0


@_jit
def _offer(x: Scratch, count: int, key: float, left: int, right: int) -> int:
    for side in range(2):
        x.key[count], x.left[count], x.right[count], x.side[count] = key, left, right, side
        count += 1
    return count


@_jit
def _offers(t: Tables, s: States, row: int, block: int, step: int, x: Scratch) -> int:
    """Where a block may lie: in a hole, or where neighbours make room; how many."""
    size, n, count = t.size[block], s.blocks[row], 0
    length = min(t.last[block] - step, t.horizon[0])
    _holes(t, s, row, x)
    for c in range(n + 1):
        room = x.high[c] - x.low[c]
        if room < size:
            continue
        before, behind = _length(t, s, row, c - 1, step), _length(t, s, row, c, step)
        count = _offer(x, count, 0.0, c, c)
        for side in range(2):
            wall, other = (before, behind) if side == 0 else (behind, before)
            worse = abs(wall - length) - wall + (length if room > size else abs(other - length) - other)
            x.key[count - 2 + side] = t.unlike[0] * worse
    if count:
        return count
    best = 1 << 60
    for i in range(n):
        free, cost, j = x.high[i] - x.low[i], 0, i
        if not free:
            continue
        while free < size and j < n and cost < best:
            cost += _price(t, s, row, j, step)
            j += 1
            free += x.high[j] - x.low[j]
        if free >= size and cost < best:
            best = cost
            count = _offer(x, count, float(cost), i, j)
    for i in range(n):
        free, cost = x.high[i] - x.low[i], 0
        for j in range(i + 1, min(i + TOGETHER, n) + 1):
            cost += _price(t, s, row, j - 1, step)
            free += x.high[j] - x.low[j]
            if free >= size or cost > best:
                break
            if _leave(t, s, row, i, j, size - free, x):
                best = cost
                count = _offer(x, count, float(cost), i, j)
                break
    return count


@_jit
def _move(t: Tables, s: States, row: int, i: int, place: int, step: int, x: Scratch) -> None:
    if s.address[row, i] != place:
        s.paid[row] += _price(t, s, row, i, step)
        x.moved[x.amount[0]], x.place[x.amount[0]] = s.block[row, i], place
        x.amount[0] += 1
        s.address[row, i] = place


@_jit
def _put(t: Tables, s: States, row: int, block: int, i: int, j: int, side: int, step: int, x: Scratch) -> None:
    """Put a block between neighbours that make room for it."""
    _holes(t, s, row, x)
    size, low, high, free = t.size[block], x.low[i], x.high[j], x.high[i] - x.low[i]
    for k in range(i, j):
        free += x.high[k + 1] - x.low[k + 1]
    _leave(t, s, row, i, j, size - free, x)
    for k in range(i, j):
        if x.to[k] >= 0:
            _move(t, s, row, k, x.to[k], step, x)
    for m in range(j - i):
        k = i + m if side == 0 else j - 1 - m
        if x.to[k] >= 0:
            continue
        if side == 0:
            _move(t, s, row, k, low, step, x)
            low += t.size[s.block[row, k]]
        else:
            high -= t.size[s.block[row, k]]
            _move(t, s, row, k, high, step, x)
    n = s.blocks[row]
    s.block[row, n], s.address[row, n] = block, low if side == 0 else high - size
    s.blocks[row] = n + 1
    for k in range(1, n + 1):  # by address again
        b, at, m = s.block[row, k], s.address[row, k], k
        while m > 0 and s.address[row, m - 1] > at:
            s.block[row, m], s.address[row, m] = s.block[row, m - 1], s.address[row, m - 1]
            m -= 1
        s.block[row, m], s.address[row, m] = b, at


@_jit
def _end(t: Tables, s: States, row: int, step: int, salt: Ints) -> None:
    """What ends at a step leaves, or its heir is there in its place."""
    n, mark, unlike, end = 0, np.int64(0), 0, 0
    for i in range(s.blocks[row]):
        block = s.block[row, i]
        if t.last[block] == step:
            block = t.heir[block]
            while block >= 0 and t.last[block] == step:
                block = t.heir[block]
        if block >= 0:
            s.block[row, n], s.address[row, n] = block, s.address[row, i]
            mark += salt[block] * (s.address[row, i] + 7919)
            n += 1
    s.blocks[row], s.mark[row] = n, mark
    for i in range(n + 1):
        before, behind = _length(t, s, row, i - 1, step), _length(t, s, row, i, step)
        at = s.address[row, i] if i < n else t.capacity[0]
        unlike += before + behind if at > end else abs(before - behind)
        if i < n:
            end = at + t.size[s.block[row, i]]
    s.key[row] = s.paid[row] + t.unlike[0] * unlike


@_jit
def _copy(a: States, i: int, b: States, j: int) -> None:
    b.blocks[j], b.paid[j], b.key[j], b.parent[j], b.mark[j] = a.blocks[i], a.paid[i], a.key[i], a.parent[i], a.mark[i]
    for k in range(a.blocks[i]):
        b.block[j, k], b.address[j, k] = a.block[i, k], a.address[i, k]
    for k in range(a.choice.shape[1]):
        for c in range(3):
            b.choice[j, k, c] = a.choice[i, k, c]


@_jit
def _choose(t: Tables, s: States, row: int, block: int, k: int, rank: int, step: int, x: Scratch) -> bool:
    """Put the `k`th block of a step where it costs least, or next to that by `rank`; whether there is such a place."""
    count = _offers(t, s, row, block, step, x)
    if rank >= count:
        return False
    best = 0
    for _ in range(rank + 1):
        best = 0
        for o in range(1, count):
            if x.key[o] < x.key[best]:
                best = o
        x.key[best] += float(1 << 61)
    i, j, side = x.left[best], x.right[best], x.side[best]
    s.choice[row, k, 0], s.choice[row, k, 1], s.choice[row, k, 2] = i, j, side
    _put(t, s, row, block, i, j, side, step, x)
    return True


@_jit
def expand(t: Tables, s: States, rows: int, step: int, pool: States, x: Scratch, salt: Ints) -> int:
    """Run a step from all states; returns how many states the pool then has."""
    count, first, last = 0, t.end[step], t.end[step + 1]
    for row in range(rows):
        for rank in range(CHILDREN if last > first else 1):
            _copy(s, row, pool, count)
            pool.parent[count], x.amount[0] = row, 0
            found = True
            for k in range(last - first):
                found = found and _choose(t, pool, count, t.fresh[first + k], k, 0 if k else rank, step, x)
            if found:
                _end(t, pool, count, step, salt)
                count += 1
    return count


@_jit
def follow(pool: States, order: Ints, s: States, seen: Ints) -> int:
    """The best of the pool in an order, no layout twice; how many. `seen` has room for more than the pool."""
    rows = 0
    seen[:] = 0
    for q in order:
        mark = pool.mark[q] | 1
        at = (mark ^ (mark >> 31)) & (len(seen) - 1)
        while seen[at] != 0 and seen[at] != mark:
            at = (at + 1) & (len(seen) - 1)
        if seen[at] == mark:
            continue
        seen[at] = mark
        _copy(pool, q, s, rows)
        rows += 1
        if rows == len(s.blocks):
            break
    return rows


@_jit
def again(t: Tables, s: States, step: int, choice: Ints, x: Scratch) -> None:
    """Put what begins at a step where it was chosen to lie, in the only state; what ends is still there."""
    first, x.amount[0] = t.end[step], 0
    for k in range(t.end[step + 1] - first):
        _put(t, s, 0, t.fresh[first + k], choice[k, 0], choice[k, 1], choice[k, 2], step, x)


@_jit
def ended(t: Tables, s: States, step: int, salt: Ints) -> None:
    """What ends at a step leaves the only state."""
    _end(t, s, 0, step, salt)
