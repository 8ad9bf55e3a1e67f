# mypy: disable-error-code="no-any-return"
"""The local search of `repack`, compiled: a dropped gap is kept, and what is in its way goes elsewhere or is dropped.

A use is one tensor at one step; uses of a tensor are neighbours in all arrays, in the order of their steps. The gap
behind a use has its number. A run is a row of uses whose gaps are kept: it lies at one address. Every use has an
address between moves. Within a move, -1 stands for none yet, and all changes are logged, so that they can be undone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...components.nest_kernel import stamped

_jit = stamped(Path(__file__))

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NONE = -1
ADDRESS, KEPT = 0, 1
"""Kinds of entries of the log."""
FAR = 1e300
MOST = 40
"""Runs that a move may put elsewhere with others in their way; then it is undone."""
CHANGES = 10
"""Changes of a use when a run is put somewhere, at most."""
NOISE = 0.5
"""Places whose costs differ by less than this share are as good as each other."""


class Tables(NamedTuple):
    """What is given.

    Attributes:
        capacity: of the memory, as an array of one.
        step, size: of each use.
        link: of each use, 1 where its tensor has a next one.
        load, store: of the gap behind each use, what loading and storing cost if it is dropped; storing once.
        epoch: of the gap behind each use, its content.
        used_end, used: uses by step, flat, with the ends of each step.
        over_end, over: gaps that have begun before a step and end behind it, likewise.
    """

    capacity: Ints
    step: Ints
    size: Ints
    link: Ints
    load: Floats
    store: Floats
    epoch: Ints
    used_end: Ints
    used: Ints
    over_end: Ints
    over: Ints


class State(NamedTuple):
    """What changes.

    Attributes:
        address, kept: of each use, and of the gap behind it.
        drops: gaps of each content that are dropped.
        cost: of all dropped gaps, as an array of one.
        random: state of the generator, as an array of one.
        moved: of each use, the move that put it where it may not be put away again.
        log, logged: changes of a move (kind, number, value before), and how many.
        found, clear: scratch, runs by address, and what clearing each of them costs.
        waiting, victims: scratch, runs without address, and runs in the way.
    """

    address: Ints
    kept: Ints
    drops: Ints
    cost: Floats
    random: NDArray[np.uint64]
    moved: Ints
    log: Ints
    logged: Ints
    found: Ints
    clear: Floats
    waiting: Ints
    victims: Ints


@_jit
def _draw(s: State) -> float:
    """From 0 to below 1 (xorshift64*, Marsaglia 2003, Vigna 2016)."""
    x = s.random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    s.random[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@_jit
def _head(t: Tables, s: State, use: int) -> int:
    while use > 0 and t.link[use - 1] and s.kept[use - 1]:
        use -= 1
    return use


@_jit
def _tail(t: Tables, s: State, use: int) -> int:
    while t.link[use] and s.kept[use]:
        use += 1
    return use


@_jit
def _price(t: Tables, s: State, gap: int) -> float:
    """What dropping a gap adds to the cost."""
    return t.load[gap] + (t.store[gap] if s.drops[t.epoch[gap]] == 0 else 0.0)


@_jit
def _set_kept(t: Tables, s: State, gap: int, kept: int) -> None:
    epoch = t.epoch[gap]
    if kept:
        s.drops[epoch] -= 1
        s.cost[0] -= _price(t, s, gap)
    else:
        s.cost[0] += _price(t, s, gap)
        s.drops[epoch] += 1
    s.kept[gap] = kept


@_jit
def _full(s: State) -> bool:
    """Whether the log may not hold all changes of one run and what is in its way."""
    return bool(s.logged[0] + CHANGES * len(s.address) > len(s.log))


@_jit
def _note(s: State, kind: int, number: int, value: int) -> None:
    n = s.logged[0]
    s.log[n, 0], s.log[n, 1], s.log[n, 2] = kind, number, value
    s.logged[0] = n + 1


@_jit
def _keep(t: Tables, s: State, gap: int, kept: int) -> None:
    _note(s, KEPT, gap, s.kept[gap])
    _set_kept(t, s, gap, kept)


@_jit
def _put(s: State, first: int, last: int, address: int) -> None:
    """Uses `first` to `last`, both included."""
    for use in range(first, last + 1):
        _note(s, ADDRESS, use, s.address[use])
        s.address[use] = address


@_jit
def _undo(t: Tables, s: State) -> None:
    while s.logged[0] > 0:
        s.logged[0] -= 1
        kind, number, value = s.log[s.logged[0], 0], s.log[s.logged[0], 1], s.log[s.logged[0], 2]
        if kind == ADDRESS:
            s.address[number] = value
        else:
            _set_kept(t, s, number, value)


@_jit
def _among(s: State, count: int, use: int) -> int:
    """Put a run among those found, by address; returns their number."""
    at, address = count, s.address[use]
    while at > 0 and s.address[s.found[at - 1]] > address:
        s.found[at] = s.found[at - 1]
        at -= 1
    s.found[at] = use
    return count + 1


@_jit
def _runs(t: Tables, s: State, first: int, last: int) -> int:
    """One use of every run that lies in the memory at some of the steps, by address; returns their number."""
    count = 0
    for k in range(t.over_end[first], t.over_end[first + 1]):
        gap = t.over[k]
        if s.kept[gap] and s.address[gap] >= 0 and t.size[gap] > 0:
            count = _among(s, count, gap)
    for step in range(first, last + 1):
        for k in range(t.used_end[step], t.used_end[step + 1]):
            use = t.used[k]
            head = step == first or use == 0 or not t.link[use - 1] or not s.kept[use - 1]
            if head and s.address[use] >= 0 and t.size[use] > 0:
                count = _among(s, count, use)
    return count


@_jit
def _hole(t: Tables, s: State, count: int, size: int) -> int:
    """An address in the smallest hole between the runs found that is large enough, at one of its ends, or -1."""
    reach, best, left = 0, NONE, t.capacity[0] + 1
    for k in range(count + 1):
        low = s.address[s.found[k]] if k < count else t.capacity[0]
        room = low - reach - size
        if 0 <= room < left:
            left = room
            best = reach if _draw(s) < 0.5 else low - size
        if k < count:
            reach = max(reach, low + t.size[s.found[k]])
    return best


@_jit
def _is_free(t: Tables, s: State, count: int, address: int, size: int) -> bool:
    for k in range(count):
        low = s.address[s.found[k]]
        if low < address + size and address < low + t.size[s.found[k]]:
            return False
    return address + size <= t.capacity[0]


@_jit
def _placed(t: Tables, s: State, first: int, last: int) -> bool:
    """Put uses that have no address into a hole over all of their steps, if there is one."""
    count = _runs(t, s, t.step[first], t.step[last])
    address = _hole(t, s, count, t.size[first])
    if address < 0:
        return False
    _put(s, first, last, address)
    return True


@_jit
def _clearing(t: Tables, s: State, use: int, first: int, last: int, move: int) -> float:
    """What it may cost to clear steps of a run: gaps into them and out of them."""
    if s.moved[use] == move:
        return FAR
    before = use
    while t.step[before] >= first and before > 0 and t.link[before - 1] and s.kept[before - 1]:
        before -= 1
    after = before
    while t.step[after] <= last and t.link[after] and s.kept[after]:
        after += 1
    enters, leaves = t.step[before] < first, t.step[after] > last
    if enters and leaves and after == before + 1:
        return _price(t, s, before)
    price = 0.1 * t.load[before] if t.link[before] else 0.0
    if enters:
        price += _price(t, s, before)
    if leaves:
        price += _price(t, s, after - 1)
    return price


@_jit
def _clear(t: Tables, s: State, use: int, first: int, last: int, waiting: int) -> int:
    """Put a run away from steps: elsewhere if there is room, else parts of it, else they wait; returns how many do."""
    head, tail, address = _head(t, s, use), _tail(t, s, use), s.address[use]
    _put(s, head, tail, NONE)
    if _placed(t, s, head, tail):
        return waiting
    low = head
    while t.step[low] < first:
        low += 1
        if low > tail:
            break
    high = tail
    while t.step[high] > last:
        high -= 1
        if high < head:
            break
    if low > head:
        _put(s, head, low - 1, address)
    if high < tail:
        _put(s, high + 1, tail, address)
    if low > high:  # used before and behind these steps alone
        _keep(t, s, high, 0)
        return waiting
    enters, leaves = low > head, high < tail
    if enters and leaves:
        behind = _price(t, s, high) < _price(t, s, low - 1)
        for turn in range(2):
            if behind == (turn == 0):  # with what is before
                _put(s, head, low - 1, NONE)
                if _placed(t, s, head, high):
                    _keep(t, s, high, 0)
                    return waiting
                _put(s, head, low - 1, address)
            else:
                _put(s, high + 1, tail, NONE)
                if _placed(t, s, low, tail):
                    _keep(t, s, low - 1, 0)
                    return waiting
                _put(s, high + 1, tail, address)
    if enters:
        _keep(t, s, low - 1, 0)
    if leaves:
        _keep(t, s, high, 0)
    if not _placed(t, s, low, high):
        s.waiting[waiting] = low
        waiting += 1
    return waiting


@_jit
def _insert(t: Tables, s: State, use: int, waiting: int, move: int) -> int:
    """Put a run that has no address where what is in the way costs least; returns runs that wait, -1 for no place."""
    head, tail = _head(t, s, use), _tail(t, s, use)
    first, last, size = t.step[head], t.step[tail], t.size[head]
    count = _runs(t, s, first, last)
    place = _hole(t, s, count, size)
    if place < 0:
        for k in range(count):
            s.clear[k] = _clearing(t, s, s.found[k], first, last, move)
        least = FAR
        for c in range(2 * count + 2):
            k = c // 2
            if c % 2 == 0:
                low = s.address[s.found[k]] + t.size[s.found[k]] if k < count else 0
            else:
                low = (s.address[s.found[k]] if k < count else t.capacity[0]) - size
            if low < 0 or low + size > t.capacity[0]:
                continue
            cost = 0.0
            for i in range(count):
                at = s.address[s.found[i]]
                if at >= low + size:
                    break
                if at + t.size[s.found[i]] > low:
                    cost += s.clear[i]
            if cost >= FAR:
                continue
            cost *= 1.0 + NOISE * _draw(s)
            if cost < least:
                least, place = cost, low
        if place < 0:
            return NONE
    victims = 0
    for i in range(count):
        at = s.address[s.found[i]]
        if at < place + size and at + t.size[s.found[i]] > place:
            s.victims[victims] = s.found[i]
            victims += 1
    _put(s, head, tail, place)
    for other in range(head, tail + 1):
        s.moved[other] = move
    for i in range(victims):
        waiting = _clear(t, s, s.victims[i], first, last, waiting)
    return waiting


@_jit
def _kept_again(t: Tables, s: State, gap: int) -> bool:
    """Keep a dropped gap if there is room for the runs that it joins, wherever it is."""
    head, tail = _head(t, s, gap), _tail(t, s, gap + 1)
    left, right, n = s.address[gap], s.address[gap + 1], s.logged[0]
    _put(s, head, tail, NONE)
    count, size = _runs(t, s, t.step[head], t.step[tail]), t.size[gap]
    place = NONE
    if _is_free(t, s, count, left, size):
        place = left
    elif _is_free(t, s, count, right, size):
        place = right
    else:
        place = _hole(t, s, count, size)
    if place < 0:
        for use in range(head, tail + 1):
            s.address[use] = left if use <= gap else right
        s.logged[0] = n
        return False
    _put(s, head, tail, place)
    _keep(t, s, gap, 1)
    return True


@_jit
def _filled(t: Tables, s: State, first: int, last: int) -> None:
    """Keep what can be kept of gaps that begin or end at some steps, from a step that is drawn."""
    steps = last - first + 1
    start = int(_draw(s) * steps)
    for i in range(steps):
        step = first + (start + i) % steps
        if _full(s):
            break
        for k in range(t.used_end[step], t.used_end[step + 1]):
            use = t.used[k]
            if t.link[use] and not s.kept[use]:
                _kept_again(t, s, use)
            if use > 0 and t.link[use - 1] and not s.kept[use - 1]:
                _kept_again(t, s, use - 1)


@_jit
def _moved(t: Tables, s: State, gap: int, move: int) -> bool:
    """Keep a gap, whatever that drops; False where something has no place."""
    head, tail = _head(t, s, gap), _tail(t, s, gap + 1)
    _put(s, head, tail, NONE)
    _keep(t, s, gap, 1)
    s.waiting[0] = gap
    waiting, first, last = 1, t.step[head], t.step[tail]
    for _ in range(MOST):
        if waiting == 0:
            _filled(t, s, first, last)
            return True
        if _full(s):
            break
        use = s.waiting[waiting - 1]
        waiting = _insert(t, s, use, waiting - 1, move)
        if waiting < 0:
            return False
        first, last = min(first, t.step[_head(t, s, use)]), max(last, t.step[_tail(t, s, use)])
    return False


@_jit
def search(t: Tables, s: State, best: Ints, least: float, moves: int, heat: float, since: int) -> float:
    """Some moves by simulated annealing at one temperature, from where the state is.

    Args:
        t, s: the tables and the state.
        best: addresses (row 0) and kept gaps (row 1) of the best state so far.
        least: what that costs.
        moves: how many to try.
        heat: temperature, in units of cost.
        since: number of moves before.

    Returns:
        The cost of the best state.
    """
    uses = len(t.step)
    for move in range(since + 1, since + moves + 1):
        gap = int(_draw(s) * uses)
        tries = 0
        while (not t.link[gap] or s.kept[gap]) and tries < uses:
            gap = gap + 1 if gap + 1 < uses else 0
            tries += 1
        if tries == uses:
            break
        before = s.cost[0]
        s.logged[0] = 0
        done = _moved(t, s, gap, move)
        if not done or s.cost[0] > before - heat * np.log(max(_draw(s), 1e-12)):
            _undo(t, s)
            s.cost[0] = before
        elif s.cost[0] < least - 1e-6:
            least = s.cost[0]
            for use in range(uses):
                best[0, use], best[1, use] = s.address[use], s.kept[use]
    return least
