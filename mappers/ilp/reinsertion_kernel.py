# mypy: disable-error-code="no-any-return"
"""The local search of `reinsertion`, compiled.

A use is one tensor at one step; uses of a tensor are neighbours in all arrays, in the order of their steps. The gap
behind a use has its number. A run is a row of uses whose gaps are kept: it lies at one address, and overlaps others
that are alive with it where their addresses do.
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

WEIGHT = 3.0
"""What a byte of overlap costs at first, and by how much more each time that it could not be avoided."""
MOST = 300
"""Moves until nothing overlaps, at most; then all is taken back."""
NEAR = 40
"""Steps between gaps that are kept again together."""
TOGETHER = 3
"""Such gaps, at most."""
TRIES = 20
"""Gaps that are looked at for one that is near."""
NEVER = 1e300


class Tables(NamedTuple):
    """What is given.

    Attributes:
        capacity: of the memory, as an array of one.
        size: of each tensor.
        begin: first use of each tensor, with the number of uses behind the last.
        step, tensor: of each use.
        link: of each use, 1 where a gap begins there.
        load, store: what its gap costs if it is dropped; storing only with the first of its content.
        epoch: content of that gap.
        end, near: tensors that may be in the memory with each, flat, with the ends of each.
        back: of each of those pairs, where it stands the other way round.
    """

    capacity: Ints
    size: Ints
    begin: Ints
    step: Ints
    tensor: Ints
    link: Ints
    load: Floats
    store: Floats
    epoch: Ints
    end: Ints
    near: Ints
    back: Ints


class State(NamedTuple):
    """What changes.

    Attributes:
        address, kept: of each use, where it lies and 1 where its gap is kept.
        drops: of each content, how many of its gaps are dropped.
        cost: of all dropped gaps, as an array of one.
        weight: of each pair of tensors, what a byte of overlap costs.
        raised: pairs whose weight was raised, and last how many.
        random: state of the random numbers, as an array of one.
        heavy, at, bytes, pair, use: of what is alive with a run: weight, address, size, pair and first use.
        order, row: their order by address, and the addresses in that order.
        queue, queued: uses whose runs may overlap others, and of each use 1 where it is among them.
        gone: uses whose gaps are dropped.
        amount: how many are in the queue, and how many in `gone`.
    """

    address: Ints
    kept: Ints
    drops: Ints
    cost: Floats
    weight: Floats
    raised: Ints
    random: NDArray[np.uint64]
    heavy: Floats
    at: Ints
    bytes: Ints
    pair: Ints
    use: Ints
    order: Ints
    row: Ints
    queue: Ints
    queued: Ints
    gone: Ints
    amount: Ints


class Saved(NamedTuple):
    """A plan without overlaps, with the names of `State`."""

    address: Ints
    kept: Ints
    drops: Ints
    cost: Floats


@_jit
def _below(s: State, n: int) -> int:
    """A random number from 0 to before n (xorshift64: Marsaglia, Journal of Statistical Software 8, 2003)."""
    x = s.random[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    s.random[0] = x
    return int((x >> np.uint64(11)) % np.uint64(n))


@_jit
def _push(s: State, use: int) -> None:
    if not s.queued[use]:
        s.queued[use] = 1
        s.queue[s.amount[0]] = use
        s.amount[0] += 1


@_jit
def _pull(s: State) -> int:
    """A random use of the queue."""
    k = _below(s, s.amount[0])
    use = s.queue[k]
    s.amount[0] -= 1
    s.queue[k] = s.queue[s.amount[0]]
    s.queued[use] = 0
    return use


@_jit
def _run(t: Tables, s: State, use: int) -> tuple[int, int]:
    """First and last use of a run."""
    first, last = use, use
    while first > t.begin[t.tensor[use]] and s.kept[first - 1]:
        first -= 1
    while s.kept[last]:
        last += 1
    return first, last


@_jit
def _gather(t: Tables, s: State, first: int, last: int) -> int:
    """Runs that are alive with some uses of a tensor; how many."""
    start, stop, n = t.step[first], t.step[last], 0
    for k in range(t.end[t.tensor[first]], t.end[t.tensor[first] + 1]):
        other = t.near[k]
        if t.step[t.begin[other + 1] - 1] < start:
            continue
        u = t.begin[other]
        while u < t.begin[other + 1] and t.step[u] <= stop:
            v = u
            while s.kept[v]:
                v += 1
            if t.step[v] >= start:
                s.heavy[n], s.at[n], s.bytes[n], s.pair[n], s.use[n] = s.weight[k], s.address[u], t.size[other], k, u
                n += 1
            u = v + 1
    return n


@_jit
def _overlap(s: State, n: int, place: int, size: int, enough: float) -> float:
    """Weighted bytes of overlap with the `n` runs gathered, or what is more than `enough`."""
    total = 0.0
    for k in range(n):
        both = min(place + size, s.at[k] + s.bytes[k]) - max(place, s.at[k])
        if both > 0:
            total += s.heavy[k] * both
            if total > enough:
                break
    return total


@_jit
def _sorted(s: State, n: int) -> int:
    """Put the `n` runs gathered in the order of their addresses (Shell's sort); the size of the largest."""
    largest, apart = 0, 1
    for k in range(n):
        s.row[k], s.order[k] = s.at[k], k
        largest = max(largest, s.bytes[k])
    while apart < n:
        apart = 3 * apart + 1
    while apart > 0:
        for k in range(apart, n):
            place, run, i = s.row[k], s.order[k], k
            while i >= apart and s.row[i - apart] > place:
                s.row[i], s.order[i] = s.row[i - apart], s.order[i - apart]
                i -= apart
            s.row[i], s.order[i] = place, run
        apart //= 3
    return largest


@_jit
def _near(s: State, n: int, place: int, size: int, k: int, largest: int, enough: float) -> float:
    """As `_overlap`, of sorted runs: the `k`th and those before it, as far as they reach, and those behind it."""
    total = 0.0
    while k >= 0 and s.row[k] > place - largest:
        k -= 1
    for i in range(k + 1, n):
        if s.row[i] >= place + size:
            break
        other = s.order[i]
        both = min(place + size, s.row[i] + s.bytes[other]) - max(place, s.row[i])
        if both > 0:
            total += s.heavy[other] * both
            if total > enough:
                break
    return total


@_jit
def _place(t: Tables, s: State, n: int, size: int, but: int, most: float) -> tuple[float, int]:
    """Least overlap with the runs gathered, and where: at an end of one of them or of the memory, not at `but`.

    NEVER and -1 where it is more than `most` everywhere.
    """
    largest = _sorted(s, n)
    best, found, ties = most, -1, 0
    for c in range(2 * n + 2):
        k = c % n if c < 2 * n else n - 1
        if c < n:
            place = s.row[k] + s.bytes[s.order[k]]
        elif c < 2 * n:
            place = s.row[k] - size
        else:
            place = 0 if c == 2 * n else t.capacity[0] - size
        if place < 0 or place + size > t.capacity[0] or place == but:
            continue
        total = _near(s, n, place, size, k, largest, best)
        if total < best or (total == best and found < 0):
            best, found, ties = total, place, 1
        elif total == best and place != found:
            ties += 1
            if _below(s, ties) == 0:
                found = place
    return (best if found >= 0 else NEVER), found


@_jit
def _part(t: Tables, s: State, first: int, last: int) -> tuple[float, int]:
    """Least overlap of a part of a run, and where: where it lies, if it is no worse there."""
    size, here = t.size[t.tensor[first]], s.address[first]
    n = _gather(t, s, first, last)
    now = _overlap(s, n, here, size, NEVER)
    if now > 0:
        best, place = _place(t, s, n, size, here, now)
        if best < now:
            return best, place
    return now, here


@_jit
def _price(t: Tables, s: State, use: int) -> float:
    return t.load[use] + (t.store[use] if s.drops[t.epoch[use]] == 0 else 0.0)


@_jit
def _drop(t: Tables, s: State, use: int) -> None:
    s.cost[0] += _price(t, s, use)
    s.drops[t.epoch[use]] += 1
    s.kept[use] = 0


@_jit
def _put(t: Tables, s: State, first: int, last: int, place: int) -> None:
    """Move a run; it and all that it overlaps there go into the queue."""
    size, some = t.size[t.tensor[first]], False
    for u in range(first, last + 1):
        s.address[u] = place
    for k in range(_gather(t, s, first, last)):
        if s.at[k] < place + size and place < s.at[k] + s.bytes[k]:
            _push(s, s.use[k])
            some = True
    if some:
        _push(s, first)


@_jit
def _raise(t: Tables, s: State, first: int, last: int) -> None:
    """What overlaps a run weighs more from now on, and goes into the queue."""
    size, place = t.size[t.tensor[first]], s.address[first]
    for k in range(_gather(t, s, first, last)):
        if s.at[k] < place + size and place < s.at[k] + s.bytes[k]:
            for pair in (s.pair[k], t.back[s.pair[k]]):
                if s.weight[pair] == WEIGHT:
                    s.raised[s.raised[-1]] = pair
                    s.raised[-1] += 1
                s.weight[pair] += WEIGHT
            _push(s, s.use[k])


@_jit
def _move(t: Tables, s: State, use: int) -> bool:
    """Less overlap for a run, if it has any: elsewhere, or without one of its gaps. False where it has none."""
    first, last = _run(t, s, use)
    size, here = t.size[t.tensor[use]], s.address[first]
    n = _gather(t, s, first, last)
    now = _overlap(s, n, here, size, NEVER)
    if now <= 0:
        return False
    best, place = _place(t, s, n, size, here, now)
    least, gap, left, right = NEVER, -1, 0, 0
    for g in range(first, last):
        price = _price(t, s, g)
        if price >= min(now, best, least):
            continue
        before, low = _part(t, s, first, g)
        if price + before >= least:
            continue
        after, high = _part(t, s, g + 1, last)
        if price + before + after < least:
            least, gap, left, right = price + before + after, g, low, high
    if least < min(now, best):
        _drop(t, s, gap)
        _put(t, s, first, gap, left)
        _put(t, s, gap + 1, last, right)
        return True
    if best >= now:
        _raise(t, s, first, last)
    if best <= now:
        _put(t, s, first, last, place)
    else:
        _push(s, first)
    return True


@_jit
def _keep(t: Tables, s: State, use: int, force: bool) -> None:
    """Keep a dropped gap, where there is room for what it joins or, with `force`, where that overlaps least."""
    first, _ = _run(t, s, use)
    _, last = _run(t, s, use + 1)
    most = NEVER if force else 0.0
    _, place = _place(t, s, _gather(t, s, first, last), t.size[t.tensor[use]], -1, most)
    if place < 0:
        return
    s.kept[use] = 1
    s.drops[t.epoch[use]] -= 1
    s.cost[0] -= _price(t, s, use)
    _put(t, s, first, last, place)


@_jit
def _disturb(t: Tables, s: State) -> int:
    """Keep some dropped gaps that are near each other, whatever they overlap; the step of the first."""
    use = s.gone[_below(s, s.amount[1])]
    _keep(t, s, use, True)
    for _ in range(_below(s, TOGETHER)):
        for _ in range(TRIES):
            other = s.gone[_below(s, s.amount[1])]
            if not s.kept[other] and abs(t.step[other] - t.step[use]) < NEAR:
                _keep(t, s, other, True)
                break
    return t.step[use]


@_jit
def _settle(t: Tables, s: State, most: float) -> bool:
    """Move what overlaps until nothing does; whether it came to that before the plan cost more than `most`.

    The queue and the weights are as before.
    """
    moves = 0
    while s.amount[0] and moves < MOST and s.cost[0] <= most:
        moves += int(_move(t, s, _pull(s)))
    settled = s.amount[0] == 0
    while s.amount[0]:
        _pull(s)
    for k in range(s.raised[-1]):
        s.weight[s.raised[k]] = WEIGHT
    s.raised[-1] = 0
    return settled


@_jit
def _list_gone(t: Tables, s: State) -> None:
    s.amount[1] = 0
    for use in range(len(t.step)):
        if t.link[use] and not s.kept[use]:
            s.gone[s.amount[1]] = use
            s.amount[1] += 1


@_jit
def _save(s: State, to: Saved) -> None:
    for u in range(len(s.address)):
        to.address[u], to.kept[u] = s.address[u], s.kept[u]
    for e in range(len(s.drops)):
        to.drops[e] = s.drops[e]
    to.cost[0] = s.cost[0]


@_jit
def _restore(s: State, saved: Saved) -> None:
    for u in range(len(s.address)):
        s.address[u], s.kept[u] = saved.address[u], saved.kept[u]
    for e in range(len(s.drops)):
        s.drops[e] = saved.drops[e]
    s.cost[0] = saved.cost[0]


@_jit
def search(t: Tables, s: State, best: Saved, rounds: int) -> None:
    """Keep dropped gaps again, so many times; what then costs more than before is taken back.

    A plan that costs more by the dearest load while it settles seldom becomes better, so that no more time goes there.
    """
    dearest = 0.0
    for use in range(len(t.load)):
        dearest = max(dearest, t.load[use])
    for _ in range(rounds):
        _list_gone(t, s)
        if s.amount[1] == 0:
            return
        step = _disturb(t, s)
        settled = _settle(t, s, best.cost[0] + dearest)
        if settled:
            _list_gone(t, s)
            for k in range(s.amount[1]):
                if abs(t.step[s.gone[k]] - step) < 2 * NEAR:
                    _keep(t, s, s.gone[k], False)
        if settled and s.cost[0] <= best.cost[0]:
            _save(s, best)
        else:
            _restore(s, best)
