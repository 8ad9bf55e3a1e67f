# mypy: disable-error-code="no-any-return"
"""Layouts (`zones_kernel`) that are merged into such as allow what any of them does, and those that go together.

Where distances are the least of those of several layouts of the same order, all addresses that one of these allows are
allowed, and others. A layout found forward and one found backward go together where some addresses keep to both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped
from . import zones_kernel
from .zones_kernel import Given, Layouts, Scratch, _at, _mark, _turned, _uneven

_jit = stamped(Path(__file__), Path(zones_kernel.__file__), nogil=True)

Ints = NDArray[np.int64]


@_jit
def _alike(p: Layouts, a: int, b: int) -> bool:
    """Whether two layouts have the same state and order."""
    if p.mark[a] != p.mark[b] or p.state[a] != p.state[b] or p.blocks[a] != p.blocks[b]:
        return False
    i = 0
    while i < p.blocks[a] and p.slot[a, i] == p.slot[b, i]:
        i += 1
    return i == p.blocks[a]


@_jit
def orders(p: Layouts, rows: Ints) -> int:
    """How many states and orders there are among layouts that are sorted by their mark."""
    count = 0
    for i in range(len(rows)):
        count += i == 0 or not _alike(p, rows[i - 1], rows[i])
    return count


@_jit
def merge(p: Layouts, rows: Ints, most: int) -> None:
    """Of layouts with the same state and order leave so many, at most, that allow what any of them does.

    Those go into one between which the distance that differs most differs little. `rows` are sorted by their mark.
    """
    begin = 0
    while begin < len(rows):
        end = begin + 1
        while end < len(rows) and _alike(p, rows[begin], rows[end]):
            end += 1
        many = end - begin
        if many > most:
            m, by, widest = p.blocks[rows[begin]], 0, -1
            for k in range(_at(m, m + 1)):
                low = high = p.apart[rows[begin], k]
                for i in range(begin + 1, end):
                    low, high = min(low, p.apart[rows[i], k]), max(high, p.apart[rows[i], k])
                if high - low > widest:
                    by, widest = k, high - low
            _sort(p, rows, begin, end, by)
            for part in range(most):
                first = begin + many * part // most
                for i in range(first + 1, begin + many * (part + 1) // most):
                    _join(p, rows[first], rows[i])
        begin = end


@_jit
def _sort(p: Layouts, rows: Ints, begin: int, end: int, by: int) -> None:
    """Sort some rows by one distance (Shell, 1959)."""
    step = 1
    while step < end - begin:
        step = 3 * step + 1
    while step > 0:
        for i in range(begin + step, end):
            row, j = rows[i], i
            while j >= begin + step and p.apart[rows[j - step], by] > p.apart[row, by]:
                rows[j] = rows[j - step]
                j -= step
            rows[j] = row
        step //= 3


@_jit
def _join(p: Layouts, to: int, row: int) -> None:
    """Let a layout allow what another of the same order does, which goes."""
    p.gone[row], p.tight[to] = 1, 0
    p.value[to], p.rank[to] = min(p.value[to], p.value[row]), min(p.rank[to], p.rank[row])
    m = p.blocks[to]
    for k in range(_at(m, m + 1) + 1):
        p.apart[to, k] = min(p.apart[to, k], p.apart[row, k])
        p.tight[to] += p.apart[to, k]


@_jit
def forget(g: Given, p: Layouts, rows: Ints, w: Scratch) -> None:
    """Take the block out of layouts that leaves first: from here on it may lie anywhere and takes no room."""
    for row in rows:
        n = p.blocks[row]
        if n == 0:
            continue
        out = 0
        for i in range(1, n):
            a, b = g.stays[p.slot[row, i]], g.stays[p.slot[row, out]]
            if a < b or (a == b and g.size[p.slot[row, i]] < g.size[p.slot[row, out]]):
                out = i
        m = 0
        for i in range(n):
            if i != out:
                w.slots[m] = p.slot[row, i]
                m += 1
        for j in range(1, n + 2):
            for i in range(j):
                if i != out + 1 and j != out + 1:
                    w.done[_at(i - (i > out), j - (j > out))] = p.apart[row, _at(i, j)]
        _turned(g, w, m)
        p.blocks[row], p.mark[row], p.tight[row] = m, _mark(w, m, p.state[row]), 0
        for i in range(m):
            p.slot[row, i] = w.slots[i]
        for k in range(_at(m, m + 1) + 1):
            p.apart[row, k] = w.done[k]
            p.tight[row] += w.done[k]
        p.uneven[row] = _uneven(g, w, m)


@_jit
def _go(f: Layouts, i: int, b: Layouts, k: int, capacity: int, size: Ints, w: Scratch, down: bool) -> bool:
    """Whether a layout of either side may lie in the same addresses, one of them upside down or not."""
    n, m, at, d = f.blocks[i], b.blocks[k], w.turned, w.done
    at[0], place = 0, 0
    for q in range(1, m + 1):
        slot = b.slot[k, m - q] if down else b.slot[k, q - 1]
        there = 0
        while there < n and f.slot[i, there] != slot:
            there += 1
        at[q] = -1
        if there < n:
            if there < place:
                return False
            at[q], place = there + 1, there
    at[m + 1] = n + 1
    for c in range(_at(n, n + 1) + 1):
        d[c] = f.apart[i, c]
    for y in range(1, m + 2):
        for x in range(y):
            if at[x] < 0 or at[y] < 0:
                continue
            if down:
                low = size[b.slot[k, m - y]] if y < m + 1 else 0
                high = size[b.slot[k, m - x]] if x > 0 else 0
                value = b.apart[k, _at(m + 1 - y, m + 1 - x)] - low + high
            else:
                value = b.apart[k, _at(x, y)]
            c = _at(at[x], at[y])
            d[c] = max(d[c], value)
    for y in range(2, n + 2):
        for x in range(1, y):
            d[_at(0, y)] = max(d[_at(0, y)], d[_at(0, x)] + d[_at(x, y)])
    return d[_at(0, n + 1)] <= capacity


@_jit
def match(f: Layouts, rows: int, b: Layouts, first: Ints, capacity: int, size: Ints, limit: float, w: Scratch) -> None:
    """Raise the rank of layouts to what those of the other side that go with them cost.

    Args:
        f: layouts, of which there are `rows`.
        b: layouts of the other side, by state, the least value first.
        first: by state, where its layouts begin there.
        capacity: of the memory.
        size: of the tensor in each slot.
        limit: no matter how far beyond.
        w: scratch.
    """
    for i in range(rows):
        state = f.state[i]
        found = np.inf
        for k in range(first[state], first[state + 1]):
            total = f.value[i] + b.value[k]
            if total > limit:
                found = total
                break
            if _go(f, i, b, k, capacity, size, w, False) or _go(f, i, b, k, capacity, size, w, True):
                found = total
                break
        f.rank[i] = max(f.rank[i], found)
