# mypy: disable-error-code="no-any-return,return-value"
"""The exact search of `packing_search`, compiled.

A state is the set of buffers that have no address yet and, for each section of time, a floor: the lowest address that
one of them may take there. Floors only rise. A branch asks what covers one point: a section and its floor, where the
floor is flat and its surroundings are higher. Either one of the buffers that fit between these walls starts there, or
none does and the floor rises to the next address at which one could. Every packing whose buffers all rest on another
buffer, on a given address or on 0 is reached along exactly one path, and pushing buffers down turns any packing into
such a one.

A state fails where a section's floor and what must still go into it exceed the capacity. Where no buffer without an
address crosses from one section to the next, the sides are searched on their own. States that failed are remembered.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped

_jit = stamped(Path(__file__))

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

PACKED, IMPOSSIBLE, STOPPED = range(3)
FREE = -1
"""Address of a buffer that has none yet."""
FAR = 1 << 62
RISE = -1
"""The candidate that leaves a point free."""


class Problem(NamedTuple):
    """What is given; buffers in order of their first section.

    Attributes:
        capacity: of the memory, as an array of one.
        first, last: sections that each buffer lives in, up to but not at `last`.
        size, alignment: of each buffer.
        fixed: given address of each buffer, or -1.
        twin: for each buffer, one before it that is the same but for its name, or -1.
        rank: for each buffer, its place among the candidates of a branch.
        begin: for each section, and one more, the first buffer that starts there or later.
        salt: random numbers, one for each buffer, and as many again, to tell states apart.
    """

    capacity: Ints
    first: Ints
    last: Ints
    size: Ints
    alignment: Ints
    fixed: Ints
    twin: Ints
    rank: Ints
    begin: Ints
    salt: Hashes


class State(NamedTuple):
    """What changes.

    Attributes:
        address: of each buffer, or FREE.
        lowest: of each buffer without address, the lowest that it may take.
        floor, left: of each section, its floor and the sizes of its buffers without address.
        crossing: of each section, how many buffers without address live in it and in the one before it.
        low, valley: of each section, scratch.
        order: scratch for sorting buffers.
        placed: the buffers that have addresses, in the order in which they got them.
        frames: the open branches, by column, see F_*.
        arena: candidates and former floors of the open branches.
        seen: hashes of states that failed, two words each.
    """

    address: Ints
    lowest: Ints
    floor: Ints
    left: Ints
    crossing: Ints
    low: Ints
    valley: Ints
    order: Ints
    placed: Ints
    frames: Ints
    arena: Ints
    seen: Ints


F_START, F_STOP, F_SECTION, F_RISE, F_CANDIDATES, F_NEXT, F_FLOORS, F_TOP, F_PLACED, F_AT, F_KEY, F_CHECK = range(12)
"""Of an open branch: its sections; the one it asks about; the floor there without a buffer; where its candidates lie
and the next of them, its former floors, what the arena holds, the number of buffers placed before; how far its parts
are searched; hashes of its state."""
COLUMNS = 12


@_jit
def _raise_floors(p: Problem, s: State, start: int, stop: int) -> bool:
    """Raise floors to the lowest address that a buffer may take there, until none rises. False where one cannot."""
    capacity = p.capacity[0]
    changed = True
    while changed:
        changed = False
        for i in range(start, stop):
            s.low[i] = FAR
        for b in range(p.begin[start], p.begin[stop]):
            if s.address[b] != FREE:
                continue
            lowest = 0
            for i in range(p.first[b], p.last[b]):
                lowest = max(lowest, s.floor[i])
            if p.fixed[b] >= 0:
                if lowest > p.fixed[b]:
                    return False
                lowest = p.fixed[b]
            else:
                a = p.alignment[b]
                if a > 1:
                    lowest = (lowest + a - 1) // a * a
            s.lowest[b] = lowest
            if lowest + p.size[b] > capacity:
                return False
            for i in range(p.first[b], p.last[b]):
                s.low[i] = min(s.low[i], lowest)
        for i in range(start, stop):
            if s.left[i] == 0:
                continue
            if s.low[i] > s.floor[i]:
                s.floor[i] = s.low[i]
                changed = True
            if s.floor[i] + s.left[i] > capacity:
                return False
    return True


@_jit
def _fits(p: Problem, s: State, start: int, stop: int) -> bool:
    """Whether in every section the buffers above any address fit between that address and the capacity."""
    capacity = p.capacity[0]
    n = 0
    for b in range(p.begin[start], p.begin[stop]):
        if s.address[b] == FREE:
            at = n
            while at > 0 and s.lowest[s.order[at - 1]] < s.lowest[b]:
                s.order[at] = s.order[at - 1]
                at -= 1
            s.order[at] = b
            n += 1
    for i in range(start, stop):
        s.low[i] = 0
    for k in range(n):
        b = s.order[k]
        room = capacity - s.lowest[b]
        for i in range(p.first[b], p.last[b]):
            s.low[i] += p.size[b]
            if s.low[i] > room:
                return False
    return True


@_jit
def _hash(p: Problem, s: State, start: int, stop: int, which: int) -> int:
    value = np.uint64(which + 1)
    half = len(p.size)
    for b in range(p.begin[start], p.begin[stop]):
        if s.address[b] == FREE:
            value ^= p.salt[b + which * half]
    for i in range(start, stop):
        x = np.uint64(s.floor[i]) + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)
        x ^= value
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        value = x ^ (x >> np.uint64(31))
    return np.int64(value)


@_jit
def _choose(p: Problem, s: State, start: int, stop: int, rule: int) -> int:
    """The section to ask about: in a valley of the floors, with the fewest candidates or, by rule 3, the least room."""
    for i in range(start, stop):
        s.valley[i] = 0
    for b in range(p.begin[start], p.begin[stop]):
        if s.address[b] == FREE:
            if p.twin[b] >= 0 and s.address[p.twin[b]] == FREE:
                continue
            for i in range(p.first[b], p.last[b]):
                if s.floor[i] == s.lowest[b]:
                    s.valley[i] += 1
    best, best_score, best_tie = -1, FAR, FAR
    i = start
    while i < stop:
        j = i + 1
        while j < stop and s.floor[j] == s.floor[i]:
            j += 1
        if (i == start or s.floor[i - 1] > s.floor[i]) and (j == stop or s.floor[j] > s.floor[i]):
            for k in range(i, j):
                slack = p.capacity[0] - s.floor[k] - s.left[k]
                score = s.valley[k] + (1 if slack > 0 else 0)
                tie = slack
                if rule == 2:
                    tie = s.floor[k]
                elif rule == 3:
                    score, tie = slack, score
                if score < best_score or (score == best_score and tie < best_tie):
                    best, best_score, best_tie = k, score, tie
        i = j
    return best


@_jit
def _rise(p: Problem, s: State, start: int, stop: int, section: int) -> int:
    """The next address at which a buffer could start in a section, if none starts at its floor."""
    floor = s.floor[section]
    found = FAR
    low, high = section, section + 1
    for b in range(p.begin[start], p.begin[stop]):
        if s.address[b] == FREE and p.first[b] <= section < p.last[b]:
            if s.lowest[b] > floor:
                found = min(found, s.lowest[b])
            else:
                low, high = min(low, p.first[b]), max(high, p.last[b])
    for b in range(p.begin[start], p.begin[stop]):
        if s.address[b] != FREE or p.first[b] >= high or p.last[b] <= low:
            continue
        if not p.first[b] <= section < p.last[b]:
            found = min(found, s.lowest[b] + p.size[b])
    return found


@_jit
def _place(p: Problem, s: State, b: int, address: int, count: int) -> None:
    s.address[b] = address
    s.placed[count] = b
    for i in range(p.first[b], p.last[b]):
        s.floor[i] = address + p.size[b]
        s.left[i] -= p.size[b]
        if i > p.first[b]:
            s.crossing[i] -= 1


@_jit
def _take_back(p: Problem, s: State, b: int) -> None:
    s.address[b] = FREE
    for i in range(p.first[b], p.last[b]):
        s.left[i] += p.size[b]
        if i > p.first[b]:
            s.crossing[i] += 1


@_jit
def _open(p: Problem, s: State, depth: int, start: int, stop: int, count: int, rule: int) -> bool:
    """Open a branch for a part of the sections. False where its state failed before."""
    frames = s.frames
    top = frames[depth - 1, F_TOP] if depth > 0 else 0
    key, check = _hash(p, s, start, stop, 0), _hash(p, s, start, stop, 1)
    slot = (key & (len(s.seen) // 2 - 1)) * 2
    if s.seen[slot] == key and s.seen[slot + 1] == check:
        return False
    f = frames[depth]
    f[F_START], f[F_STOP], f[F_PLACED] = start, stop, count
    f[F_KEY], f[F_CHECK] = key, check
    f[F_FLOORS] = top
    for i in range(start, stop):
        s.arena[top] = s.floor[i]
        top += 1
    section = _choose(p, s, start, stop, rule)
    f[F_SECTION] = section
    f[F_CANDIDATES] = f[F_NEXT] = top
    for b in range(p.begin[start], p.begin[section + 1]):
        if s.address[b] == FREE and p.last[b] > section and s.lowest[b] == s.floor[section]:
            if p.twin[b] >= 0 and s.address[p.twin[b]] == FREE:
                continue
            at = top
            while at > f[F_CANDIDATES] and p.rank[s.arena[at - 1]] > p.rank[b]:
                s.arena[at] = s.arena[at - 1]
                at -= 1
            s.arena[at] = b
            top += 1
    f[F_RISE] = _rise(p, s, start, stop, section)
    if f[F_RISE] + s.left[section] <= p.capacity[0]:
        s.arena[top] = RISE
        top += 1
    f[F_TOP] = top
    return True


@_jit
def _end_of_part(s: State, at: int, stop: int) -> int:
    """Up to where the part that starts at a section reaches: no buffer without address crosses its end."""
    end = at + 1
    while end < stop and s.crossing[end] > 0:
        end += 1
    return end


@_jit
def _try_next(p: Problem, s: State, f: Ints, count: int) -> int:
    """Undo the candidate of a branch and take the next that does not fail at once.

    Returns the number of buffers placed, or -1 where none is left.
    """
    start, stop, section = f[F_START], f[F_STOP], f[F_SECTION]
    while True:
        while count > f[F_PLACED]:
            count -= 1
            _take_back(p, s, s.placed[count])
        for i in range(start, stop):
            s.floor[i] = s.arena[f[F_FLOORS] + i - start]
        if f[F_NEXT] == f[F_TOP]:
            return -1
        b = s.arena[f[F_NEXT]]
        f[F_NEXT] += 1
        if b == RISE:
            s.floor[section] = f[F_RISE]
        else:
            _place(p, s, b, s.floor[section], count)
            count += 1
        if _raise_floors(p, s, start, stop) and _fits(p, s, start, stop):
            f[F_AT] = start
            return count


@_jit
def search(p: Problem, s: State, limit: int, rule: int, counted: Ints) -> int:
    """Search from a state without addresses. PACKED, IMPOSSIBLE or STOPPED; adds the nodes to `counted`.

    The lowest branch has no candidates: it holds the parts of the whole.
    """
    sections = len(s.floor)
    if not _raise_floors(p, s, 0, sections) or not _fits(p, s, 0, sections):
        return IMPOSSIBLE
    f = s.frames[0]
    f[F_START], f[F_STOP], f[F_AT], f[F_PLACED], f[F_TOP] = 0, sections, 0, 0, 0
    depth, count, nodes = 0, 0, 0
    while True:
        f = s.frames[depth]
        at, stop = f[F_AT], f[F_STOP]
        while at < stop and s.left[at] == 0:
            at += 1
        if at == stop:
            if depth == 0:
                counted[0] += nodes
                return PACKED
            depth -= 1
            continue
        f[F_AT] = _end_of_part(s, at, stop)
        if nodes == limit or depth + 2 > len(s.frames) or f[F_TOP] + len(p.size) + sections + 1 > len(s.arena):
            counted[0] += nodes
            return STOPPED
        nodes += 1
        if _open(p, s, depth + 1, at, f[F_AT], count, rule):
            depth += 1
        while True:
            if depth == 0:
                counted[0] += nodes
                return IMPOSSIBLE
            f = s.frames[depth]
            tried = _try_next(p, s, f, count)
            if tried >= 0:
                count = tried
                break
            count = f[F_PLACED]
            slot = (f[F_KEY] & (len(s.seen) // 2 - 1)) * 2
            s.seen[slot], s.seen[slot + 1] = f[F_KEY], f[F_CHECK]
            depth -= 1
