# mypy: disable-error-code="no-any-return"
"""Queues of a channel: what waits for the banks' queues, these, and when writes drain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...jit import inlined
from .choice import forget, look
from .layout import (
    APART,
    ASIDE_HEAD,
    ASIDE_QUEUED,
    ASIDE_RING,
    BANK_QUEUE,
    DRAIN_HIGH,
    DRAIN_LOW,
    FIRST_RD,
    FIRST_WR,
    HEAD,
    HIT_CAP,
    INDEX,
    NEXT,
    OPEN_ROW,
    PSEUDO,
    QUEUED,
    RD_HEAD,
    RD_TAIL,
    RING,
    WR_HEAD,
    WR_TAIL,
    IntArray,
    ShortArray,
    Work,
    compiled,
)

NOTHING, LOOK, BEGIN, END = range(4)
NEVER_LEFT = 2**62
"""Writes left to drain where marks say when draining ends."""


@inlined
def enter(w: Work, row: ShortArray, most: int, apart: int, request: int, is_write: int, b: int) -> bool:
    """Let a request into its queue. Returns whether the next command of its bank may be another one now."""
    s, q, drain = w.bank, w.queue, w.drain
    if apart:  # no branch on whether it is served now: with reads and writes mixed, that is a toss of a coin
        aside = is_write ^ (1 if drain[0] > 0 else 0)
        queue = (b << 5) + aside * (ASIDE_HEAD - HEAD) & INDEX
        drain[3 - 2 * aside + is_write] += 1
        n, ring = s[queue + QUEUED], s[queue + RING] & INDEX
        q[ring, (s[queue + HEAD] + n) & (q.shape[1] - 1)] = request
        s[queue + QUEUED] = n + 1
        first = b << 5 | (FIRST_WR if is_write else FIRST_RD)
        hit = (aside == 0) & (s[first] < 0) & (row[request] == s[b << 5 | OPEN_ROW])
        s[first] = n if hit else s[first]
        return hit | ((aside == 0) & (n == 0))
    head, tail = (WR_HEAD, WR_TAIL) if is_write else (RD_HEAD, RD_TAIL)
    w.link[request] = -1
    if s[b << 5 | head] < 0:
        s[b << 5 | head] = request
    else:
        w.link[s[b << 5 | tail]] = request
    s[b << 5 | tail] = request
    drain[1 + is_write] += 1
    return refill(w, row, most, b)


@inlined
def _append(s: IntArray, q: ShortArray, row: ShortArray, request: int, is_write: int, b: int) -> bool:
    """Put a request at the end of a bank's queue. Returns whether the bank's next command may be another one now."""
    n, ring, first = s[b << 5 | QUEUED], s[b << 5 | RING] & INDEX, FIRST_WR if is_write else FIRST_RD
    q[ring, (s[b << 5 | HEAD] + n) & (q.shape[1] - 1)] = request
    s[b << 5 | QUEUED] = n + 1
    hit = s[b << 5 | first] < 0 and row[request] == s[b << 5 | OPEN_ROW]
    if hit:
        s[b << 5 | first] = n
    return hit or n == 0


@inlined
def refill(w: Work, row: ShortArray, most: int, b: int) -> bool:
    """Move waiting requests of the kind that is served into the bank's queue, up to so many in it.

    Returns whether the next command of the bank may be another one now.
    """
    s, drain, changed = w.bank, w.drain, False
    while s[b << 5 | QUEUED] < most:
        is_write = 1 if drain[0] > 0 else 0
        head = WR_HEAD if is_write else RD_HEAD
        request = s[b << 5 | head]
        if request < 0:
            break
        s[b << 5 | head] = w.link[request]
        drain[0] -= is_write
        drain[1 + is_write] -= 1
        drain[3 + is_write] += 1
        changed |= _append(s, w.queue, row, request, is_write, b)
    return changed


@inlined
def find_hits(
    s: IntArray, q: ShortArray, row: ShortArray, write: NDArray[np.uint8], b: int, kind: int, begin: int
) -> None:
    """Find the first read, or write, in the bank's queue that hits its open row, from a place on."""
    wanted, first = s[b << 5 | OPEN_ROW], FIRST_WR if kind else FIRST_RD
    s[b << 5 | first] = -1
    head, ring = s[b << 5 | HEAD] & INDEX, s[b << 5 | RING] & INDEX
    for i in range(begin, s[b << 5 | QUEUED]):
        request = q[ring, (head + i) & (q.shape[1] - 1)] & INDEX
        if row[request] == wanted and write[request] == kind:
            s[b << 5 | first] = i
            break


@inlined
def take_out(s: IntArray, q: ShortArray, b: int, place: int) -> int:
    """Take an entry out of a bank's queue."""
    head, ring, mask = s[b << 5 | HEAD] & INDEX, s[b << 5 | RING] & INDEX, q.shape[1] - 1
    request = q[ring, (head + place) & mask]
    for i in range(place, 0, -1):
        q[ring, (head + i) & mask] = q[ring, (head + i - 1) & mask]
    s[b << 5 | HEAD] = (head + 1) & mask
    s[b << 5 | QUEUED] -= 1
    return request & INDEX


@inlined
def _change(s: IntArray, b: int) -> None:
    """Put the queue of what was served aside, and take the other one."""
    head, queued, ring = s[b << 5 | HEAD], s[b << 5 | QUEUED], s[b << 5 | RING]
    s[b << 5 | HEAD] = s[b << 5 | ASIDE_HEAD]
    s[b << 5 | QUEUED] = s[b << 5 | ASIDE_QUEUED]
    s[b << 5 | RING] = s[b << 5 | ASIDE_RING]
    s[b << 5 | ASIDE_HEAD] = head
    s[b << 5 | ASIDE_QUEUED] = queued
    s[b << 5 | ASIDE_RING] = ring
    s[b << 5 | FIRST_RD] = -1
    s[b << 5 | FIRST_WR] = -1


@inlined
def due_to_turn(p: IntArray, drain: IntArray, draining: bool, last: bool) -> int:
    """What is due of draining writes: nothing, a look at what the queues hold now, to begin or to end.

    Apart, draining ends when few enough writes are left anywhere, else when those that waited are in the banks.
    """
    if drain[0] == 0:
        if drain[2] > 0:
            idle = drain[1] + drain[3] == 0
            if drain[2] >= p[DRAIN_HIGH] or (idle and (last or drain[2] * 2 >= p[DRAIN_HIGH])):
                return BEGIN
        return LOOK if draining else NOTHING
    low = p[DRAIN_LOW] if drain[1] > 0 or not last else 0
    return END if p[APART] and drain[2] + drain[4] <= low else NOTHING


@compiled
def turn(w: Work, row: ShortArray, write: NDArray[np.uint8], p: IntArray, banks: int, what: int) -> None:
    """Begin or end draining writes, and fill the banks' queues with what is served now."""
    s, drain, apart = w.bank, w.drain, p[APART]
    if what != LOOK and apart:
        drain[0] = NEVER_LEFT if what == BEGIN else 0
        for kind in range(2):
            drain[1 + kind], drain[3 + kind] = drain[3 + kind], drain[1 + kind]
    elif what == BEGIN:
        drain[0] = max(1, drain[2] - (0 if drain[1] + drain[3] == 0 else p[DRAIN_LOW]))
    per_pseudo = w.ready.shape[1] // p[PSEUDO]
    if apart:
        forget(w)
    for number in range(banks):
        b = number & INDEX
        if apart:
            if s[b << 5 | QUEUED] == 0 and s[b << 5 | ASIDE_QUEUED] == 0:
                continue
            _change(s, b)
            if s[b << 5 | OPEN_ROW] >= 0:
                find_hits(s, w.queue, row, write, b, 1 if what == BEGIN else 0, 0)
        else:
            if s[b << 5 | NEXT] < 0 and s[b << 5 | RD_HEAD] < 0 and s[b << 5 | WR_HEAD] < 0:
                continue
            refill(w, row, p[BANK_QUEUE], b)
        look(w, p[HIT_CAP], per_pseudo, b)
