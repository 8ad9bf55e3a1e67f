# mypy: disable-error-code="no-any-return"
"""Queues of a channel: what waits for the banks' queues, these, and when writes drain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...engine._jit import inlined
from .choice import look
from .layout import (
    APART,
    BANK_QUEUE,
    DRAIN_HIGH,
    DRAIN_LOW,
    FIRST_RD,
    FIRST_WR,
    HEAD,
    HIT_CAP,
    INDEX,
    NEVER,
    NEXT,
    OPEN_ROW,
    QUEUED,
    RD_HEAD,
    RD_TAIL,
    REQUEST,
    WR_HEAD,
    WR_TAIL,
    IntArray,
    Work,
    compiled,
)

NOTHING, LOOK, BEGIN, END = range(4)


@inlined
def enter(s: IntArray, link: IntArray, is_write: int, drain: IntArray, request: int, b: int) -> None:
    """Put a request at the end of the queue before its bank's."""
    head, tail, kind = (WR_HEAD, WR_TAIL, 1) if is_write else (RD_HEAD, RD_TAIL, 0)
    link[request] = -1
    if s[b << 5 | head] < 0:
        s[b << 5 | head] = request
    else:
        link[s[b << 5 | tail]] = request
    s[b << 5 | tail] = request
    drain[1 + kind] += 1


@inlined
def refill(s: IntArray, q: IntArray, link: IntArray, row: IntArray, most: int, b: int, drain: IntArray) -> None:
    """Move waiting requests of the kind that is served into the bank's queue, up to so many in it."""
    while s[b << 5 | QUEUED] < most:
        if drain[0] > 0:
            request, first = s[b << 5 | WR_HEAD], FIRST_WR
            if request < 0:
                break
            s[b << 5 | WR_HEAD] = link[request]
            drain[0] -= 1
            drain[2] -= 1
            drain[4] += 1
        else:
            request, first = s[b << 5 | RD_HEAD], FIRST_RD
            if request < 0:
                break
            s[b << 5 | RD_HEAD] = link[request]
            drain[1] -= 1
            drain[3] += 1
        n = s[b << 5 | QUEUED]
        q[b, (s[b << 5 | HEAD] + n) & (q.shape[1] - 1)] = request
        s[b << 5 | QUEUED] = n + 1
        if s[b << 5 | first] < 0 and row[request] == s[b << 5 | OPEN_ROW]:
            s[b << 5 | first] = n


@inlined
def find_hits(s: IntArray, q: IntArray, row: IntArray, write: NDArray[np.uint8], b: int, kind: int, begin: int) -> None:
    """Find the first read, or write, in the bank's queue that hits its open row, from a place on."""
    wanted, first = s[b << 5 | OPEN_ROW], FIRST_WR if kind else FIRST_RD
    s[b << 5 | first] = -1
    head = s[b << 5 | HEAD] & INDEX
    for i in range(begin, s[b << 5 | QUEUED]):
        request = q[b, (head + i) & (q.shape[1] - 1)] & REQUEST
        if row[request] == wanted and write[request] == kind:
            s[b << 5 | first] = i
            break


@inlined
def take_out(s: IntArray, q: IntArray, b: int, place: int) -> int:
    """Take an entry out of a bank's queue."""
    head, mask = s[b << 5 | HEAD] & INDEX, q.shape[1] - 1
    request = q[b, (head + place) & mask]
    for i in range(place, 0, -1):
        q[b, (head + i) & mask] = q[b, (head + i - 1) & mask]
    s[b << 5 | HEAD] = (head + 1) & mask
    s[b << 5 | QUEUED] -= 1
    return request


@inlined
def _recall(s: IntArray, banks: int, q: IntArray, link: IntArray, write: NDArray[np.uint8], drain: IntArray) -> None:
    """Put what the banks' queues hold back at the head of the queues before them."""
    for b in range(banks):
        for i in range(s[b << 5 | QUEUED] - 1, -1, -1):
            request = q[b, (s[b << 5 | HEAD] + i) & (q.shape[1] - 1)]
            head, tail, kind = (WR_HEAD, WR_TAIL, 1) if write[request] else (RD_HEAD, RD_TAIL, 0)
            link[request] = s[b << 5 | head]
            if s[b << 5 | head] < 0:
                s[b << 5 | tail] = request
            s[b << 5 | head] = request
            drain[1 + kind] += 1
            drain[3 + kind] -= 1
        s[b << 5 | QUEUED] = 0
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
def turn(w: Work, row: IntArray, write: NDArray[np.uint8], p: IntArray, banks: int, what: int) -> None:
    """Begin or end draining writes, and fill the banks' queues with what is served now."""
    s, q, drain = w.bank, w.queue, w.drain
    if what != LOOK and p[APART]:
        _recall(s, banks, q, w.link, write, drain)
        drain[0] = NEVER if what == BEGIN else 0
    elif what == BEGIN:
        drain[0] = max(1, drain[2] - (0 if drain[1] + drain[3] == 0 else p[DRAIN_LOW]))
    for b in range(banks):
        if s[b << 5 | NEXT] < 0 and s[b << 5 | RD_HEAD] < 0 and s[b << 5 | WR_HEAD] < 0:
            continue
        refill(s, q, w.link, row, p[BANK_QUEUE], b, drain)
        look(s, w.group, w.pseudo, q, w.chosen, banks, p[HIT_CAP], b)
