"""One channel from its first request to its last, event by event: a request that enters, a command, a refresh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...jit import inlined
from .choice import best, look, soonest_turn
from .commands import activate, close, column, record, refresh
from .layout import (
    ACT_BUS,
    ACTS,
    ADAPTIVE,
    APART,
    BANK_QUEUE,
    BANKS,
    BURST,
    CL,
    CLOSED,
    CMD_ACT,
    CMD_PRE,
    CMD_RD,
    CWL,
    DELAY,
    FINISH,
    FIRST_RD,
    FIRST_WR,
    GROUPS,
    HEAD,
    HIT_CAP,
    HITS,
    HITS_ROW,
    INDEX,
    LATENCY,
    NEVER,
    NEVER_YET,
    OPEN_ROW,
    PAGE,
    PRE_OK,
    PRES,
    PSEUDO,
    READ_QUEUE,
    READS,
    REFI,
    RING,
    SHUT,
    SPLIT,
    WINDOW,
    WRITES,
    IntArray,
    Log,
    ShortArray,
    Work,
    compiled,
)
from .queues import NOTHING, due_to_turn, enter, find_hits, refill, take_out, turn


@inlined
def _entry_time(
    request: int, is_write: int, arrival: int, now: int, entered_writes: int, p: IntArray, drain: IntArray,
    returned: IntArray, reads: int,
) -> int:  # fmt: skip
    """When a request can enter: once it has come, there is room in its queue and, of so many on their way, one less."""
    if drain[1 + is_write] + (drain[3 + is_write] if p[APART] else 0) >= p[READ_QUEUE + is_write]:
        return NEVER
    at = max(now, arrival)
    if p[WINDOW] > 0:
        needed = request - p[WINDOW] + 1 - entered_writes
        if needed > reads:
            return NEVER
        if needed > 0:
            at = max(at, returned[needed - 1])
    return at


@inlined
def _moved(
    t: IntArray, p: IntArray, drain: IntArray, returned: IntArray, done: IntArray, out: IntArray, at: int, request: int,
    wrote: int,
) -> None:  # fmt: skip
    """Count a column command and note when its data has been moved."""
    if wrote:
        finish = at + t[CWL] + t[BURST]
        out[WRITES] += 1
        drain[4] -= 1
    else:
        finish = at + t[CL] + t[BURST] + p[DELAY]
        out[LATENCY] += finish + done[request]
        if p[WINDOW] > 0:
            returned[out[READS]] = finish
        out[READS] += 1
        drain[3] -= 1
    done[request] = finish
    out[FINISH] = max(out[FINISH], finish)


@inlined
def _open(
    w: Work, t: IntArray, p: IntArray, row: ShortArray, write: NDArray[np.uint8], per_pseudo: int, b: int, at: int,
    log: Log, out: IntArray,
) -> None:  # fmt: skip
    """Activate the row of the first request of a bank's queue."""
    s, q = w.bank, w.queue
    request = q[s[b << 5 | RING] & INDEX, s[b << 5 | HEAD] & INDEX] & INDEX
    activate(w, t, p[BANKS], per_pseudo, b, at, row[request])
    out[ACTS] += 1
    record(log, out, at, CMD_ACT, b, row[request])
    s[b << 5 | (FIRST_WR if write[request] else FIRST_RD)] = 0
    if not p[APART]:
        find_hits(s, q, row, write, b, 0, 0)
        find_hits(s, q, row, write, b, 1, 0)


@inlined
def _shut(s: IntArray, t: IntArray, b: int, at: int, log: Log, out: IntArray) -> None:
    """Precharge a bank."""
    record(log, out, at, CMD_PRE, b, s[b << 5 | OPEN_ROW])
    close(s, t, b, at)
    out[PRES] += 1


@inlined
def _move(
    w: Work, t: IntArray, p: IntArray, row: ShortArray, write: NDArray[np.uint8], done: IntArray, per_pseudo: int,
    b: int, kind: int, at: int, log: Log, out: IntArray,
) -> None:  # fmt: skip
    """Read or write for a request of a bank's queue, and close the row behind it if that is the policy."""
    s, q = w.bank, w.queue
    record(log, out, at, kind, b, s[b << 5 | OPEN_ROW])
    wrote = kind - CMD_RD
    column(w, t, p[BANKS], per_pseudo, b, at, wrote)
    if s[b << 5 | HITS_ROW] > 0:
        out[HITS] += 1
    s[b << 5 | HITS_ROW] += 1
    own, other = (FIRST_WR, FIRST_RD) if wrote else (FIRST_RD, FIRST_WR)
    place = s[b << 5 | own]
    request = take_out(s, q, b, place)
    _moved(t, p, w.drain, w.returned, done, out, at, request, wrote)
    find_hits(s, q, row, write, b, wrote, place)
    if s[b << 5 | other] > place:
        s[b << 5 | other] -= 1
    if not p[APART]:
        refill(w, row, p[BANK_QUEUE], b)
    shut = p[PAGE] == CLOSED or (p[PAGE] == ADAPTIVE and s[b << 5 | SHUT] >= 2)
    if shut and s[b << 5 | FIRST_RD] < 0 and s[b << 5 | FIRST_WR] < 0:
        _shut(s, t, b, s[b << 5 | PRE_OK], log, out)


@compiled
def serve(
    t: IntArray, p: IntArray, bank: ShortArray, row: ShortArray, write: NDArray[np.uint8], arrival: IntArray,
    done: IntArray, w: Work, out: IntArray, log: Log,
) -> None:  # fmt: skip
    """Serve all requests of one channel, in time from 0 on; `done` gets when the data of each was moved.

    Without times, an empty `arrival`, all come at 0.

    Where no refresh is due and yet nothing can go, which no channel comes to, FINISH is -1.
    """
    total, timed = bank.shape[0], arrival.shape[0] > 0
    s, drain = w.bank, w.drain
    banks, per_pseudo = p[PSEUDO] * p[GROUPS] * p[BANKS], w.ready.shape[1] // p[PSEUDO]
    row_bus, column_bus = 0, 0
    entered, entered_writes = 0, 0
    now, due = 0, t[REFI] if t[REFI] > 0 else NEVER_YET
    first, of, more, known, draining = 0, 0, False, False, False
    while out[READS] + out[WRITES] < total:
        comes = NEVER
        if entered < total:
            comes = _entry_time(
                entered, write[entered], arrival[entered] if timed else 0, now, entered_writes, p, drain, w.returned,
                out[READS],
            )  # fmt: skip
        at = comes
        if comes > now:  # else no command can go sooner
            if not known:
                first, of, more = soonest_turn(w, per_pseudo, max(now, row_bus), max(now, column_bus))
                known = True
            at = (first + 3) >> 2
        if min(comes, at) >= due:
            if due == NEVER_YET:
                out[FINISH] = -1
                return
            now = max(now, due)
            at = refresh(w, t, p, banks, now, log, out)
            row_bus = max(row_bus, at + 1)
            column_bus = max(column_bus, at + 1)
            due += t[REFI]
            known = False
            continue
        if comes <= at:
            now, b = comes, bank[entered] & INDEX
            done[entered] = -max(arrival[entered] if timed else 0, now if p[WINDOW] > 0 else 0)
            changed = enter(w, row, p[BANK_QUEUE], p[APART], entered, write[entered], b)
            entered_writes += write[entered]
            entered += 1
        else:
            kind, found = best(w, per_pseudo, first, of, more)
            now, b, changed = at, found & INDEX, True
            if kind == CMD_ACT:
                _open(w, t, p, row, write, per_pseudo, b, at, log, out)
                row_bus = at + t[ACT_BUS]
            elif kind == CMD_PRE:
                s[b << 5 | SHUT] = min(3, s[b << 5 | SHUT] + 1)
                _shut(s, t, b, at, log, out)
                row_bus = at + 1
            else:
                _move(w, t, p, row, write, done, per_pseudo, b, kind, at, log, out)
                column_bus = at + 1
            if not p[SPLIT]:
                row_bus = column_bus = max(row_bus, column_bus)
        if changed:
            look(w, p[HIT_CAP], per_pseudo, b)
            known = False
        if drain[0] > 0 or drain[2] > 0 or draining:
            what = due_to_turn(p, drain, draining, entered == total)
            if what != NOTHING:
                turn(w, row, write, p, banks, what)
                known = False
            draining = drain[0] > 0
