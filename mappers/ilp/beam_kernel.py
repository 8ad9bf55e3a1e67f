"""The beam search of `beam`, compiled: what running one operator next costs in a state, and the state behind it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped

_jit = stamped(Path(__file__))

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

IMPOSSIBLE = -1
NEVER = 1 << 60


class Tables(NamedTuple):
    """What is given. Lists of lists are flat, with the ends of each in an array of its own.

    Attributes:
        capacity: of the memory, as an array of one.
        size: of each tensor.
        clean: of each tensor, 1 where what an operator writes goes off chip anyway.
        touch_end, touch: tensors that each operator touches.
        write_end, write: tensors that each operator writes.
        new, old: of each operator, the tensor that may take the place of another, and that one; or -1.
        later_end, later: operators that wait for each operator.
        user_end, user: operators that touch each tensor, in the order `place`.
        place: of each operator in an order that says which use comes first.
    """

    capacity: Ints
    size: Ints
    clean: Bytes
    touch_end: Ints
    touch: Ints
    write_end: Ints
    write: Ints
    new: Ints
    old: Ints
    later_end: Ints
    later: Ints
    user_end: Ints
    user: Ints
    place: Ints


class States(NamedTuple):
    """States of a beam, one per row.

    Attributes:
        waits: by operator, how many that it needs have not run; -1 where it has run.
        there: by tensor, 1 where it is in the memory.
        stored: by tensor, 1 where its content is off chip.
        left: by tensor, how many of its users have not run.
        used, live, cost: bytes in the memory; bytes that are still needed, wherever they are; bytes spilled.
    """

    waits: Ints
    there: Bytes
    stored: Bytes
    left: Ints
    used: Ints
    live: Ints
    cost: Ints


@_jit
def _next_use(t: Tables, s: States, row: int, tensor: int) -> int:
    for k in range(t.user_end[tensor], t.user_end[tensor + 1]):
        if s.waits[row, t.user[k]] >= 0:
            return int(t.place[t.user[k]])
    return NEVER


@_jit
def _victim(t: Tables, s: States, row: int, mark: Bytes) -> int:
    """The tensor whose next use is farthest, of those not marked; the larger of two; -1 where there is none."""
    found = -1
    farthest = -1
    for i in range(t.size.size):
        if s.there[row, i] == 0 or mark[i] or t.size[i] == 0:
            continue
        use = _next_use(t, s, row, i)
        if use > farthest or (use == farthest and t.size[i] > t.size[found]):
            farthest, found = use, i
    return found


@_jit
def run(t: Tables, s: States, row: int, op: int, mark: Bytes, out: Ints, commit: bool) -> bool:
    """Run an operator: `out` becomes cost and live bytes behind it. Changes the state if `commit`.

    What is evicted is charged at once with its way back. `mark` is all zeros, before and after. False where the memory
    is too small.
    """
    fresh = 0
    first = 0
    for k in range(t.touch_end[op], t.touch_end[op + 1]):
        i = t.touch[k]
        mark[i] = 1
        if s.there[row, i] == 0:
            fresh += t.size[i]
        if s.left[row, i] == t.user_end[i + 1] - t.user_end[i]:
            first += t.size[i]
    if t.new[op] >= 0 and s.left[row, t.old[op]] == 1 and s.there[row, t.new[op]] == 0:
        saved = t.size[t.old[op]]
    else:
        saved = 0
    cost = s.cost[row]
    used = s.used[row]
    fits = True
    evicted = 0
    while used - evicted + fresh - saved > t.capacity[0]:
        i = _victim(t, s, row, mark)
        if i < 0:
            fits = False
            break
        mark[i] = 2
        evicted += t.size[i]
        cost += t.size[i] if s.stored[row, i] else 2 * t.size[i]
    dead = 0
    for k in range(t.touch_end[op], t.touch_end[op + 1]):
        i = t.touch[k]
        mark[i] = 0
        if s.left[row, i] == 1:
            dead += t.size[i]
    out[0] = cost
    out[1] = s.live[row] + first - dead
    for i in range(t.size.size):
        if mark[i] == 2:
            mark[i] = 0
            if commit:
                s.there[row, i] = 0
                s.stored[row, i] = 1
    if commit and fits:
        s.cost[row], s.live[row] = out[0], out[1]
        s.used[row] = used - evicted + fresh - dead
        for k in range(t.touch_end[op], t.touch_end[op + 1]):
            i = t.touch[k]
            s.left[row, i] -= 1
            s.there[row, i] = 1 if s.left[row, i] > 0 else 0
        for k in range(t.write_end[op], t.write_end[op + 1]):
            s.stored[row, t.write[k]] = t.clean[t.write[k]]
        s.waits[row, op] = -1
        for k in range(t.later_end[op], t.later_end[op + 1]):
            s.waits[row, t.later[k]] -= 1
    return fits


@_jit
def candidates(t: Tables, s: States, rows: int, mark: Bytes, out: Ints, found: Ints) -> int:
    """Every operator that can run next in every state: (row, operator, cost, live) in `found`; their number."""
    n = 0
    for row in range(rows):
        for op in range(t.place.size):
            if s.waits[row, op] == 0 and n < found.shape[0] and run(t, s, row, op, mark, out, False):
                found[n, 0], found[n, 1], found[n, 2], found[n, 3] = row, op, out[0], out[1]
                n += 1
    return n


@_jit
def follow(t: Tables, s: States, to: States, chosen: Ints, count: int, mark: Bytes, out: Ints) -> None:
    """Make the states behind the chosen (row, operator) in `to`."""
    for row in range(count):
        at = chosen[row, 0]
        for op in range(t.place.size):
            to.waits[row, op] = s.waits[at, op]
        for i in range(t.size.size):
            to.there[row, i] = s.there[at, i]
            to.stored[row, i] = s.stored[at, i]
            to.left[row, i] = s.left[at, i]
        to.used[row], to.live[row], to.cost[row] = s.used[at], s.live[at], s.cost[at]
        run(t, to, row, chosen[row, 1], mark, out, True)
