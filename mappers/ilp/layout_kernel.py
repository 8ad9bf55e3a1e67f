# mypy: disable-error-code="no-any-return"
"""The beam search of `layout`, compiled: where what a step needs may lie, and what leaves for it.

A state is what lies in the memory, where, and what has been paid so far. A step places what it touches and is not
there, the largest first, each at an end of what stays: what lies in the way leaves, which is paid. Nothing leaves
before its room is needed. States are compared by what they have paid, by what keeping the rest will cost, if room has a
price: either of a byte at each step, or so that what a plan without addresses keeps costs nothing and what it drops
leaves for next to nothing, and by the ends of holes that there will be while neighbours leave at different steps.
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
Bytes = NDArray[np.uint8]

FAR = 1 << 60
"""Added to the number of a block in whose place a tensor goes."""
DONE = -1
"""The candidate of a branch that has nothing left to place."""
STAYED, FRESH, TAKEN, OVER = 1, 2, 3, 4
"""What a step's tensors did: they were there, came, gave their place to a result, or came over one that had come."""
NEVER = 1e300
ALIKE = 32
"""States that go on of those in which the same tensors are there."""
GIVEN = 0.95
"""Share of what room costs that is counted: what need not leave had better stay."""


class Tables(NamedTuple):
    """What is given.

    Attributes:
        capacity: of the memory, as an array of one.
        size: of each tensor.
        end, touch: tensors that each step touches, flat, with the ends of each step.
        out: of each touch, the gap that begins there, or -1.
        over: of each touch, the touch of its step whose place it takes, or -1.
        write: of each touch, 1 where the step writes the tensor.
        load, store: of each gap, what loading and storing cost if it is dropped; storing only the first time.
        last: of each gap, the step where it ends.
        until: of each gap, the step to which the plan without addresses keeps the tensor.
        price: what room for a byte costs in all steps before each.
        rent: of each gap, what its room costs beside.
        later: of each gap, by how much room for the tensor's later gaps costs more than the less of that and loading.
        clock: what neighbours cost of which one stays and the other does not, in all steps before each.
        horizon: steps beyond which all stay alike long, as an array of one.
    """

    capacity: Ints
    size: Ints
    end: Ints
    touch: Ints
    out: Ints
    over: Ints
    write: Ints
    load: Floats
    store: Floats
    last: Ints
    until: Ints
    price: Floats
    rent: Floats
    later: Floats
    clock: Floats
    horizon: Ints


class States(NamedTuple):
    """States, one per row: blocks by address, with the gap that each is in, and what is paid.

    Attributes:
        blocks: of each state, how many there are.
        tensor, address, gap: of each block.
        paid: cost of what has left.
        stored: by tensor, 1 where its content is off chip.
    """

    blocks: Ints
    tensor: Ints
    address: Ints
    gap: Ints
    paid: Floats
    stored: Bytes


class Branches(NamedTuple):
    """States within a step, one per row, as `States` without what is stored.

    Attributes:
        role: of each block: 0, STAYED, FRESH or OVER.
        worth: what has left and would have cost nothing later, negative.
        missing, waiting: touches that have no place yet, the largest last, and how many.
        left, leaving: tensors that left and were not stored before, and how many.
    """

    blocks: Ints
    tensor: Ints
    address: Ints
    gap: Ints
    role: Ints
    paid: Floats
    worth: Floats
    missing: Ints
    waiting: Ints
    left: Ints
    leaving: Ints


class Offers(NamedTuple):
    """Candidates: key, branch, and address or DONE or FAR and a block."""

    key: Floats
    branch: Ints
    place: Ints


class Pool(NamedTuple):
    """States behind a step before the best are chosen: blocks, keys, where they come from, what the step did.

    Attributes:
        layout, whole: hashes of what lies where, and of what is there.
        at, role: of each touch of the step, its address and what it did.
    """

    blocks: Ints
    tensor: Ints
    address: Ints
    gap: Ints
    paid: Floats
    key: Floats
    parent: Ints
    layout: Ints
    whole: Ints
    left: Ints
    leaving: Ints
    at: Ints
    role: Ints


class Record(NamedTuple):
    """By step and state: the state before, and address and role of each touch; of as many last steps as it is long."""

    parent: Ints
    at: Ints
    role: Ints


@_jit
def _length(t: Tables, gap: int, step: int) -> float:
    """How long a block stays, by the clock."""
    if gap < 0:
        return 0.0
    return t.clock[max(step, min(t.until[gap], step + t.horizon[0]))] - t.clock[step]


@_jit
def _ever(t: Tables, step: int) -> float:
    """How long the ends of the memory stay, by the clock."""
    return t.clock[min(step + t.horizon[0], len(t.clock) - 1)] - t.clock[step]


@_jit
def _price(t: Tables, gap: int, stored: int) -> float:
    return t.load[gap] + (0.0 if stored else t.store[gap])


@_jit
def _ahead(t: Tables, tensor: int, gap: int, stored: int, step: int) -> float:
    """What keeping a tensor will cost from behind a step on: room for it, or loading it after all, and storing it."""
    room = t.rent[gap] + t.size[tensor] * max(0.0, t.price[t.last[gap]] - t.price[step + 1])
    cost = min(t.load[gap], room)
    if not stored and t.store[gap] > 0.0:
        cost = min(t.store[gap] + cost, room + t.later[gap])
    return GIVEN * cost


@_jit
def _unlike(t: Tables, count: int, tensor: Ints, address: Ints, gap: Ints, step: int) -> float:
    """How unlike neighbours are in how long they stay: holes stay not at all, the ends of the memory for ever."""
    total, before, end = 0.0, _ever(t, step), 0
    for i in range(count):
        if address[i] > end:
            total += before
            before = 0.0
        length = _length(t, gap[i], step)
        total += abs(length - before)
        before = length
        end = address[i] + t.size[tensor[i]]
    if end < t.capacity[0]:
        total += before
        before = 0.0
    return total + abs(_ever(t, step) - before)


@_jit
def _begin(t: Tables, s: States, row: int, step: int, b: Branches) -> None:
    """The first branch of a step: a state, and what it misses."""
    first, last = t.end[step], t.end[step + 1]
    count = s.blocks[row]
    b.blocks[0], b.paid[0], b.worth[0], b.leaving[0], b.waiting[0] = count, s.paid[row], 0.0, 0, 0
    for i in range(count):
        b.tensor[0, i], b.address[0, i], b.gap[0, i] = s.tensor[row, i], s.address[row, i], s.gap[row, i]
        b.role[0, i] = 0
    for touch in range(last - 1, first - 1, -1):  # of equal size, what is read has a place before its result
        there = False
        for i in range(count):
            if s.tensor[row, i] == t.touch[touch]:
                b.role[0, i] = STAYED
                there = True
        if not there:
            _wait(t, b, 0, touch)


@_jit
def _wait(t: Tables, b: Branches, row: int, touch: int) -> None:
    """Put a touch among the missing, by size."""
    at = b.waiting[row]
    while at > 0 and t.size[t.touch[b.missing[row, at - 1]]] > t.size[t.touch[touch]]:
        b.missing[row, at] = b.missing[row, at - 1]
        at -= 1
    b.missing[row, at] = touch
    b.waiting[row] += 1


@_jit
def _offer(t: Tables, s: States, row: int, step: int, b: Branches, u: int, offers: Offers, count: int) -> int:
    """Add the places of the largest missing tensor of a branch; returns the number of offers."""
    touch = b.missing[u, b.waiting[u] - 1]
    base = b.paid[u] + b.worth[u]
    blocks = b.blocks[u]
    if t.over[touch] >= 0:
        old, gap = t.touch[t.over[touch]], t.out[t.over[touch]]
        for i in range(blocks):
            if b.tensor[u, i] == old:
                stored, lost = s.stored[row, old], 0.0
                if gap >= 0:
                    lost = _price(t, gap, stored) - _ahead(t, old, gap, stored, step)
                offers.key[count], offers.branch[count], offers.place[count] = base + lost, u, FAR + i
                count += 1
                if gap < 0:
                    return count
    size, length = t.size[t.touch[touch]], _length(t, t.out[touch], step)
    for side in range(2):
        low = 0
        for c in range(blocks + 1):
            if side == 0:
                place = 0 if c == 0 else b.address[u, c - 1] + t.size[b.tensor[u, c - 1]]
            else:
                place = (b.address[u, c] if c < blocks else t.capacity[0]) - size
            if place < 0 or place + size > t.capacity[0]:
                continue
            while low < blocks and b.address[u, low] + t.size[b.tensor[u, low]] <= place:
                low += 1
            cost = _cost(t, s, row, step, b, u, low, place, size, length)
            if cost < NEVER:
                offers.key[count], offers.branch[count], offers.place[count] = base + cost, u, place
                count += 1
    return count


@_jit
def _cost(
    t: Tables, s: States, row: int, step: int, b: Branches, u: int, low: int, place: int, size: int, length: float
) -> float:
    """What it costs to put a block somewhere: what leaves, and neighbours unlike it. `low` is the first in the way."""
    blocks, cost = b.blocks[u], 0.0
    left, end = _ever(t, step), 0
    if low > 0:
        left = _length(t, b.gap[u, low - 1], step)
        end = b.address[u, low - 1] + t.size[b.tensor[u, low - 1]]
    begin, before, unlike, i = end, left, 0.0, low
    while i < blocks and b.address[u, i] < place + size:
        if b.role[u, i] >= FRESH:
            return NEVER
        gap = b.gap[u, i]
        stored = s.stored[row, b.tensor[u, i]]
        cost += _price(t, gap, stored) - _ahead(t, b.tensor[u, i], gap, stored, step)
        if b.address[u, i] > end:
            unlike -= before
            before = 0.0
        unlike -= abs(_length(t, gap, step) - before)
        before = _length(t, gap, step)
        end = b.address[u, i] + t.size[b.tensor[u, i]]
        i += 1
    right, beyond = (_length(t, b.gap[u, i], step), b.address[u, i]) if i < blocks else (_ever(t, step), t.capacity[0])
    if beyond > end:
        unlike -= before
        before = 0.0
    unlike -= abs(right - before)
    unlike += left + length if place > begin else abs(left - length)
    unlike += right + length if place + size < beyond else abs(right - length)
    return cost + unlike


@_jit
def _copy(b: Branches, u: int, c: Branches, v: int) -> None:
    """All but the blocks."""
    c.blocks[v], c.waiting[v], c.leaving[v] = 0, b.waiting[u], b.leaving[u]
    c.paid[v], c.worth[v] = b.paid[u], b.worth[u]
    for i in range(b.waiting[u]):
        c.missing[v, i] = b.missing[u, i]
    for i in range(b.leaving[u]):
        c.left[v, i] = b.left[u, i]


@_jit
def _add(c: Branches, v: int, tensor: int, address: int, gap: int, role: int) -> None:
    i = c.blocks[v]
    c.tensor[v, i], c.address[v, i], c.gap[v, i], c.role[v, i] = tensor, address, gap, role
    c.blocks[v] += 1


@_jit
def _leave(t: Tables, c: Branches, v: int, tensor: int, gap: int, stored: int, step: int) -> None:
    """A tensor leaves during a gap."""
    c.paid[v] += _price(t, gap, stored)
    c.worth[v] -= _ahead(t, tensor, gap, stored, step)
    if t.store[gap] > 0 and stored == 0:
        c.left[v, c.leaving[v]] = tensor
        c.leaving[v] += 1


@_jit
def _taken(t: Tables, s: States, row: int, step: int, b: Branches, u: int, place: int, c: Branches, v: int) -> None:
    """Branch `v` of `c`: branch `u` of `b` with its largest missing tensor in a place."""
    _copy(b, u, c, v)
    touch = -1
    if place != DONE:
        touch = b.missing[u, b.waiting[u] - 1]
        c.waiting[v] -= 1
    size = t.size[t.touch[touch]] if touch >= 0 else 0
    put = touch < 0 or place >= FAR
    for i in range(b.blocks[u]):
        tensor, address, gap = b.tensor[u, i], b.address[u, i], b.gap[u, i]
        if place >= FAR and i == place - FAR:
            _add(c, v, t.touch[touch], address, t.out[touch], FRESH if b.role[u, i] == STAYED else OVER)
            after = t.out[t.over[touch]]
            if after >= 0:
                _leave(t, c, v, tensor, after, s.stored[row, tensor], step)
            continue
        if not put and address >= place + size:
            _add(c, v, t.touch[touch], place, t.out[touch], FRESH)
            put = True
        if touch < 0 or place >= FAR or address + t.size[tensor] <= place or address >= place + size:
            _add(c, v, tensor, address, gap, b.role[u, i])
            continue
        _leave(t, c, v, tensor, gap, s.stored[row, tensor], step)
        if b.role[u, i] == STAYED:
            for other in range(t.end[step], t.end[step + 1]):
                if t.touch[other] == tensor:
                    _wait(t, c, v, other)
    if not put:
        _add(c, v, t.touch[touch], place, t.out[touch], FRESH)


@_jit
def _placed(t: Tables, s: States, row: int, step: int, b: Branches, c: Branches, offers: Offers) -> tuple[int, bool]:
    """Place all that a step touches, the best few branches at a time; how many end, and whether in `b`."""
    width, branches, swapped = len(b.blocks), 1, False
    for _ in range(3 * (t.end[step + 1] - t.end[step]) + 1):
        count, waiting = 0, False
        for u in range(branches):
            if b.waiting[u] == 0:
                offers.key[count], offers.branch[count], offers.place[count] = b.paid[u] + b.worth[u], u, DONE
                count += 1
            else:
                waiting = True
                count = _offer(t, s, row, step, b, u, offers, count)
        if not waiting:
            return branches, not swapped
        found = 0
        while found < width:
            best = -1
            for k in range(count):
                if offers.key[k] < NEVER and (best < 0 or offers.key[k] < offers.key[best]):
                    best = k
            if best < 0:
                break
            u, place = offers.branch[best], offers.place[best]
            _taken(t, s, row, step, b, u, place, c, found)
            for k in range(count):
                if offers.branch[k] == u and offers.place[k] == place:
                    offers.key[k] = NEVER
            found += 1
        b, c, branches, swapped = c, b, found, not swapped
    return 0, True


@_jit
def _finish(t: Tables, s: States, row: int, step: int, b: Branches, u: int, pool: Pool, q: int, salt: Ints) -> None:
    """Row `q` of the pool: a branch once the step is over."""
    first, last = t.end[step], t.end[step + 1]
    pool.blocks[q], pool.paid[q], pool.parent[q], pool.leaving[q] = 0, b.paid[u], row, b.leaving[u]
    for i in range(b.leaving[u]):
        pool.left[q, i] = b.left[u, i]
    for i in range(last - first):
        pool.role[q, i] = TAKEN
    layout, whole, later = np.int64(0), np.int64(0), 0.0
    for i in range(b.blocks[u]):
        tensor, address, gap = b.tensor[u, i], b.address[u, i], b.gap[u, i]
        stored = s.stored[row, tensor]
        for k in range(b.leaving[u]):
            if b.left[u, k] == tensor:
                stored = 1
        if b.role[u, i]:
            for touch in range(first, last):
                if t.touch[touch] == tensor:
                    pool.at[q, touch - first], pool.role[q, touch - first] = address, b.role[u, i]
                    gap = t.out[touch]
                    stored = 0 if t.write[touch] else stored
        if gap >= 0:
            k = pool.blocks[q]
            pool.tensor[q, k], pool.address[q, k], pool.gap[q, k] = tensor, address, gap
            pool.blocks[q] += 1
            later += _ahead(t, tensor, gap, stored, step)
            layout += salt[tensor] * (address + 7919)
            whole += salt[tensor]
    for touch in range(first, last):
        if pool.role[q, touch - first] == TAKEN:
            for other in range(first, last):
                if t.over[other] == touch:
                    pool.at[q, touch - first] = pool.at[q, other - first]
                    if pool.role[q, other - first] == OVER:
                        pool.role[q, touch - first] = FRESH
    pool.layout[q], pool.whole[q] = layout, whole
    unlike = _unlike(t, pool.blocks[q], pool.tensor[q], pool.address[q], pool.gap[q], step)
    pool.key[q] = b.paid[u] + later + unlike


@_jit
def expand(
    t: Tables, s: States, rows: int, step: int, b: Branches, c: Branches, offers: Offers, pool: Pool, salt: Ints
) -> int:
    """Run a step from all states; returns how many states the pool then has."""
    count = 0
    for row in range(rows):
        _begin(t, s, row, step, b)
        branches, same = _placed(t, s, row, step, b, c, offers)
        for u in range(branches):
            _finish(t, s, row, step, b if same else c, u, pool, count, salt)
            count += 1
    return count


@_jit
def follow(
    t: Tables, s: States, n: States, step: int, pool: Pool, order: Ints, seen: Ints, alike: Ints, record: Record
) -> int:
    """States `n` behind a step: those of the pool in an order, no layout twice, few of the same tensors; how many."""
    for i in range(len(seen)):
        seen[i], alike[i] = 0, 0
    rows = 0
    for k in range(len(order)):
        q = order[k]
        mark = pool.layout[q] | 1
        at = (mark ^ (mark >> 31)) & (len(seen) - 1)
        while seen[at] != 0 and seen[at] != mark:
            at = (at + 1) & (len(seen) - 1)
        if seen[at] == mark:
            continue
        seen[at] = mark
        same = (pool.whole[q] ^ (pool.whole[q] >> 31)) & (len(alike) - 1)
        if alike[same] == ALIKE:
            continue
        alike[same] += 1
        _keep(t, s, n, rows, step, pool, q, record)
        rows += 1
        if rows == len(n.blocks):
            break
    return rows


@_jit
def _keep(t: Tables, s: States, n: States, row: int, step: int, pool: Pool, q: int, record: Record) -> None:
    parent = pool.parent[q]
    n.blocks[row], n.paid[row] = pool.blocks[q], pool.paid[q]
    for i in range(pool.blocks[q]):
        n.tensor[row, i], n.address[row, i], n.gap[row, i] = pool.tensor[q, i], pool.address[q, i], pool.gap[q, i]
    for i in range(s.stored.shape[1]):
        n.stored[row, i] = s.stored[parent, i]
    for i in range(pool.leaving[q]):
        n.stored[row, pool.left[q, i]] = 1
    at = step % record.parent.shape[0]
    record.parent[at, row] = parent
    for touch in range(t.end[step], t.end[step + 1]):
        j = touch - t.end[step]
        if t.write[touch]:
            n.stored[row, t.touch[touch]] = 0
        record.at[at, row, j], record.role[at, row, j] = pool.at[q, j], pool.role[q, j]
