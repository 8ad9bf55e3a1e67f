# mypy: disable-error-code="no-any-return"
"""One DRAM channel under FR-FCFS, command by command, compiled. `dram_trace` explains it and calls it.

Time jumps from one event to the next: a request that enters, a command, a refresh. Everything runs as plain Python too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine._jit import inlined
from .nest_kernel import stamped

IntArray = NDArray[np.int64]

(
    CL, CWL, BURST, RCD_RD, RCD_WR, RP, RAS, RC, CCD_S, CCD_L, RRD_S, RRD_L, FAW, WR, WTR_S, WTR_L, RTP, RFC, REFI,
    TURN, ACT_BUS,
) = range(21)  # fmt: skip
"""Words of a timing table, in clock cycles. TURN is the gap on the data bus between a read and a write, ACT_BUS the
cycles for which an activation holds the command bus. REFI 0 means no refresh; FAW 0 no window of four activations."""
(
    PSEUDO, GROUPS, BANKS, PAGE, HIT_CAP, BANK_QUEUE, READ_QUEUE, WRITE_QUEUE, DRAIN_HIGH, DRAIN_LOW, WINDOW, SPLIT,
    APART, DELAY,
) = range(14)  # fmt: skip
"""Words of a policy table: pseudo-channels, bank groups of each, banks of each group; page policy; most hits in a row
while an older request to the bank waits (0: any number); entries of a bank's queue, and of the queues before them; the
marks at which writes begin and cease to drain; most requests on their way (0: any number); whether row and column
commands have a bus each; whether only one of reads and writes is chosen from at a time; the controller's own cycles."""
OPEN, CLOSED, ADAPTIVE = 0, 1, 2
FINISH, HITS, ACTS, PRES, REFS, LATENCY, READS, WRITES, LOGGED, ACTIVE_TIME = range(10)
"""Words of a result."""
CMD_ACT, CMD_PRE, CMD_RD, CMD_WR, CMD_PREA, CMD_REF, CMD_EITHER = range(7)
NEVER = 2**62

_jit = stamped(Path(__file__))


(
    OPEN_ROW, ACT_OK, RD_OK, WR_OK, PRE_OK, HITS_ROW, LAST_ROW, SHUT, QUEUED, FIRST_RD, FIRST_WR, RD_HEAD, RD_TAIL,
    WR_HEAD, WR_TAIL, READY, NEXT, GROUP_OF, PSEUDO_OF, GROUP_RD, GROUP_WR, GROUP_ACT, PSEUDO_RD, PSEUDO_WR, PSEUDO_ACT,
    FAW_0, FAW_1, FAW_2, FAW_3, FAW_AT,
) = range(30)  # fmt: skip
"""Rows of the state of a channel: by bank up to PSEUDO_OF, then by bank group, then by pseudo-channel. Times are the
first allowed. READY and NEXT are the next command of a bank by itself: when, and which."""
_NONE = (OPEN_ROW, LAST_ROW, FIRST_RD, FIRST_WR, RD_HEAD, RD_TAIL, WR_HEAD, WR_TAIL, NEXT)
"""Rows that begin as -1: none."""


class Work(NamedTuple):
    """What a channel works in.

    Attributes:
        state: [row of the state, bank].
        queue: [bank, entry] requests in the order in which they came.
        link: [request] the next one of the same kind and bank that waits for the bank's queue.
        returned: [read] when the answers came, in the order of the commands.
        drain: writes left to drain, reads and writes that wait for the banks' queues, reads and writes in these.
        bus: when the row bus and the column bus are free.
        found: time, kind and bank of the next command, its rank among those of that time, its request.
    """

    state: IntArray
    queue: IntArray
    link: IntArray
    returned: IntArray
    drain: IntArray
    bus: IntArray
    found: IntArray


class Log(NamedTuple):
    """Commands in the order in which they are chosen, while there is room."""

    time: IntArray
    kind: IntArray
    bank: IntArray
    row: IntArray


def fresh(requests: int, policy: IntArray) -> Work:
    """A channel with nothing open and nothing queued."""
    banks = int(policy[PSEUDO] * policy[GROUPS] * policy[BANKS])
    state = np.zeros((FAW_AT + 1, banks), np.int64)
    state[list(_NONE)] = -1
    state[READY] = NEVER
    state[FAW_0 : FAW_3 + 1] = -NEVER
    state[GROUP_OF] = np.arange(banks) // policy[BANKS]
    state[PSEUDO_OF] = state[GROUP_OF] // policy[GROUPS]
    queue = np.zeros((banks, int(policy[BANK_QUEUE])), np.int64)
    few = [np.zeros(n, np.int64) for n in (5, 2, 5)]
    return Work(state, queue, np.full(requests, -1, np.int64), np.zeros(requests, np.int64), *few)


@_jit
def _record(log: Log, out: IntArray, time: int, kind: int, bank: int, row: int) -> None:
    at = out[LOGGED]
    if at < log.time.shape[0]:
        log.time[at] = time
        log.kind[at] = kind
        log.bank[at] = bank
        log.row[at] = row
        out[LOGGED] = at + 1


@_jit
def _look(s: IntArray, q: IntArray, cap: int, b: int) -> None:
    """Work out the next command of a bank by itself."""
    if s[QUEUED, b] == 0:
        s[READY, b] = NEVER
        return
    rd, wr = s[FIRST_RD, b], s[FIRST_WR, b]
    if s[OPEN_ROW, b] < 0:
        s[NEXT, b] = CMD_ACT
        s[READY, b] = s[ACT_OK, b]
    elif (rd < 0 and wr < 0) or (cap > 0 and s[HITS_ROW, b] >= cap and rd != 0 and wr != 0):
        s[NEXT, b] = CMD_PRE
        s[READY, b] = s[PRE_OK, b]
    elif rd >= 0 and wr >= 0:
        s[NEXT, b] = CMD_EITHER
        s[READY, b] = min(s[RD_OK, b], s[WR_OK, b])
    elif rd >= 0:
        s[NEXT, b] = CMD_RD
        s[READY, b] = s[RD_OK, b]
    else:
        s[NEXT, b] = CMD_WR
        s[READY, b] = s[WR_OK, b]


@_jit
def _find_hits(s: IntArray, q: IntArray, row: IntArray, write: NDArray[np.uint8], b: int) -> None:
    """Look again for the first read and the first write in the bank's queue that hit its open row."""
    s[FIRST_RD, b] = -1
    s[FIRST_WR, b] = -1
    wanted = s[OPEN_ROW, b]
    if wanted < 0:
        return
    for i in range(s[QUEUED, b]):
        request = q[b, i]
        if row[request] == wanted:
            if write[request]:
                if s[FIRST_WR, b] < 0:
                    s[FIRST_WR, b] = i
            elif s[FIRST_RD, b] < 0:
                s[FIRST_RD, b] = i
            if s[FIRST_RD, b] >= 0 and s[FIRST_WR, b] >= 0:
                return


@_jit
def _refill(
    s: IntArray, q: IntArray, link: IntArray, row: IntArray, write: NDArray[np.uint8], b: int, drain: IntArray
) -> None:
    """Move waiting requests of the kind that is served into the bank's queue."""
    while s[QUEUED, b] < q.shape[1]:
        if drain[0] > 0:
            request = s[WR_HEAD, b]
            if request < 0:
                return
            s[WR_HEAD, b] = link[request]
            drain[0] -= 1
            drain[2] -= 1
            drain[4] += 1
        else:
            request = s[RD_HEAD, b]
            if request < 0:
                return
            s[RD_HEAD, b] = link[request]
            drain[1] -= 1
            drain[3] += 1
        n = s[QUEUED, b]
        q[b, n] = request
        s[QUEUED, b] = n + 1
        if row[request] == s[OPEN_ROW, b]:
            first = FIRST_WR if write[request] else FIRST_RD
            if s[first, b] < 0:
                s[first, b] = n


@_jit
def _recall(s: IntArray, q: IntArray, link: IntArray, write: NDArray[np.uint8], drain: IntArray) -> None:
    """Put what the banks' queues hold back at the head of the queues before them."""
    for b in range(s.shape[1]):
        for i in range(s[QUEUED, b] - 1, -1, -1):
            request = q[b, i]
            head, tail, kind = (WR_HEAD, WR_TAIL, 1) if write[request] else (RD_HEAD, RD_TAIL, 0)
            link[request] = s[head, b]
            if s[head, b] < 0:
                s[tail, b] = request
            s[head, b] = request
            drain[1 + kind] += 1
            drain[3 + kind] -= 1
        s[QUEUED, b] = 0
        s[FIRST_RD, b] = -1
        s[FIRST_WR, b] = -1


@_jit
def _drain(
    s: IntArray, q: IntArray, link: IntArray, row: IntArray, write: NDArray[np.uint8], p: IntArray, drain: IntArray,
    draining: bool, last: bool,
) -> bool:  # fmt: skip
    """Begin or end draining writes where that is due. Returns whether the banks' queues changed.

    Apart, draining ends when few enough writes are left anywhere, else when those that waited are in the banks.
    """
    changed = draining and drain[0] == 0
    if drain[0] == 0 and drain[2] > 0:
        idle = drain[1] + drain[3] == 0
        if drain[2] >= p[DRAIN_HIGH] or (idle and (last or drain[2] * 2 >= p[DRAIN_HIGH])):
            if p[APART]:
                _recall(s, q, link, write, drain)
                drain[0] = NEVER
            else:
                drain[0] = max(1, drain[2] - (0 if idle else p[DRAIN_LOW]))
            changed = True
    elif drain[0] > 0 and p[APART]:
        low = p[DRAIN_LOW] if drain[1] > 0 or not last else 0
        if drain[2] + drain[4] <= low:
            _recall(s, q, link, write, drain)
            drain[0] = 0
            changed = True
    if changed:
        for b in range(s.shape[1]):
            _refill(s, q, link, row, write, b, drain)
            _look(s, q, p[HIT_CAP], b)
    return changed


@_jit
def _close(s: IntArray, t: IntArray, b: int, at: int) -> None:
    s[LAST_ROW, b] = s[OPEN_ROW, b]
    s[OPEN_ROW, b] = -1
    s[FIRST_RD, b] = -1
    s[FIRST_WR, b] = -1
    s[ACT_OK, b] = max(s[ACT_OK, b], at + t[RP])


@_jit
def _activate(s: IntArray, t: IntArray, b: int, g: int, pc: int, at: int, row: int) -> None:
    if s[LAST_ROW, b] == row:
        s[SHUT, b] = max(0, s[SHUT, b] - 1)
    s[OPEN_ROW, b] = row
    s[HITS_ROW, b] = 0
    s[ACT_OK, b] = at + t[RC]
    s[RD_OK, b] = at + t[RCD_RD]
    s[WR_OK, b] = at + t[RCD_WR]
    s[PRE_OK, b] = at + t[RAS]
    s[GROUP_ACT, g] = max(s[GROUP_ACT, g], at + t[RRD_L])
    turn = s[FAW_AT, pc]
    s[FAW_0 + turn, pc] = at
    turn = (turn + 1) & 3
    s[FAW_AT, pc] = turn
    s[PSEUDO_ACT, pc] = max(at + t[RRD_S], s[FAW_0 + turn, pc] + t[FAW] if t[FAW] > 0 else 0)


@_jit
def _column(s: IntArray, t: IntArray, b: int, g: int, pc: int, at: int, write: int) -> None:
    short, long = max(t[CCD_S], t[BURST]), max(t[CCD_L], t[BURST])
    if write:
        end = at + t[CWL] + t[BURST]
        s[GROUP_WR, g] = at + long
        s[PSEUDO_WR, pc] = at + short
        s[GROUP_RD, g] = max(s[GROUP_RD, g], end + t[WTR_L])
        s[PSEUDO_RD, pc] = end + t[WTR_S]
        s[PRE_OK, b] = max(s[PRE_OK, b], end + t[WR])
    else:
        s[GROUP_RD, g] = max(s[GROUP_RD, g], at + long)
        s[PSEUDO_RD, pc] = max(s[PSEUDO_RD, pc], at + short)
        s[PSEUDO_WR, pc] = max(s[PSEUDO_WR, pc], at + t[CL] + t[BURST] + t[TURN] - t[CWL])
        s[PRE_OK, b] = max(s[PRE_OK, b], at + t[RTP])


@_jit
def _refresh(s: IntArray, q: IntArray, t: IntArray, p: IntArray, now: int, log: Log, out: IntArray) -> int:
    """Close every bank and refresh; return when."""
    banks = s.shape[1]
    close, any_open, ready = now, False, now
    for b in range(banks):
        close = max(close, s[PRE_OK, b])  # that of a bank which closes by itself may lie ahead
        if s[OPEN_ROW, b] >= 0:
            any_open = True
        else:
            ready = max(ready, s[ACT_OK, b])
    if any_open:
        for b in range(banks):
            if s[OPEN_ROW, b] >= 0:
                _close(s, t, b, close)
        out[PRES] += 1
        _record(log, out, close, CMD_PREA, -1, -1)
        ready = max(ready, close + t[RP])
    for b in range(banks):
        s[ACT_OK, b] = max(s[ACT_OK, b], ready + t[RFC])
        _look(s, q, p[HIT_CAP], b)
    out[REFS] += 1
    _record(log, out, ready, CMD_REF, -1, -1)
    return ready


@inlined
def _candidate(s: IntArray, b: int, g: int, pc: int, now: int, row_bus: int, column_bus: int) -> tuple[int, int, int]:
    """When the next command of a bank can go, the command, and its rank among those that can go at the same time.

    Highest is a column command that keeps the data bus busy, then an activation that the window of four or tRRD held
    up, then other column commands.
    """
    at, kind, rank = max(s[READY, b], now), s[NEXT, b], 0
    if kind == CMD_ACT:
        at = max(max(at, row_bus), max(s[GROUP_ACT, g], s[PSEUDO_ACT, pc]))
        if at == s[PSEUDO_ACT, pc]:
            rank = 2
    elif kind == CMD_PRE:
        at = max(at, row_bus)
    else:
        if kind == CMD_EITHER:
            rd = max(max(max(s[RD_OK, b], now), column_bus), max(s[GROUP_RD, g], s[PSEUDO_RD, pc]))
            wr = max(max(max(s[WR_OK, b], now), column_bus), max(s[GROUP_WR, g], s[PSEUDO_WR, pc]))
            kind, at = CMD_RD, rd
            if wr < rd or (wr == rd and s[FIRST_WR, b] < s[FIRST_RD, b]):
                kind, at = CMD_WR, wr
        if kind == CMD_RD:
            at = max(max(at, column_bus), max(s[GROUP_RD, g], s[PSEUDO_RD, pc]))
            rank = 3 if at == s[PSEUDO_RD, pc] else 1
        else:
            at = max(max(at, column_bus), max(s[GROUP_WR, g], s[PSEUDO_WR, pc]))
            rank = 3 if at == s[PSEUDO_WR, pc] else 1
    return at, kind, rank


@inlined
def _place(s: IntArray, b: int, kind: int) -> int:
    """Which entry of the bank's queue a command is for."""
    if kind == CMD_RD:
        return s[FIRST_RD, b]
    if kind == CMD_WR:
        return s[FIRST_WR, b]
    return 0


@_jit
def _best(s: IntArray, q: IntArray, p: IntArray, now: int, bus: IntArray, found: IntArray) -> None:
    """The next command by FR-FCFS: the earliest, then that of the highest rank, then for the oldest request."""
    best, best_rank, best_age, best_kind, best_bank = NEVER - 1, -1, NEVER, -1, -1
    per_group, groups = p[BANKS], p[GROUPS]
    row_bus, column_bus = bus[0], bus[1]
    b = 0
    for g in range(p[PSEUDO] * groups):
        pc = s[PSEUDO_OF, b]
        for _ in range(per_group):
            if s[READY, b] <= best:
                at, kind, rank = _candidate(s, b, g, pc, now, row_bus, column_bus)
                if at < best or (at == best and rank >= best_rank):
                    age = q[b, _place(s, b, kind)]
                    if at < best or rank > best_rank or age < best_age:
                        best, best_rank, best_age, best_kind, best_bank = at, rank, age, kind, b
            b += 1
    found[0] = best if best_bank >= 0 else NEVER
    found[1] = best_kind
    found[2] = best_bank
    found[3] = best_rank
    found[4] = best_age


@_jit
def _offer(s: IntArray, q: IntArray, p: IntArray, b: int, now: int, bus: IntArray, found: IntArray) -> None:
    """Take the next command of a bank if it goes before what was found."""
    g = s[GROUP_OF, b]
    at, kind, rank = _candidate(s, b, g, s[PSEUDO_OF, b], now, bus[0], bus[1])
    if at > found[0] or (at == found[0] and rank < found[3]):
        return
    age = q[b, _place(s, b, kind)]
    if at < found[0] or rank > found[3] or age < found[4]:
        found[0] = at
        found[1] = kind
        found[2] = b
        found[3] = rank
        found[4] = age


@_jit
def _enter(s: IntArray, link: IntArray, write: NDArray[np.uint8], drain: IntArray, request: int, b: int) -> None:
    """Put a request at the end of the queue before its bank's."""
    head, tail, kind = (WR_HEAD, WR_TAIL, 1) if write[request] else (RD_HEAD, RD_TAIL, 0)
    link[request] = -1
    if s[head, b] < 0:
        s[head, b] = request
    else:
        link[s[tail, b]] = request
    s[tail, b] = request
    drain[1 + kind] += 1


@_jit
def _serve_column(
    s: IntArray, q: IntArray, t: IntArray, p: IntArray, drain: IntArray, returned: IntArray, done: IntArray,
    out: IntArray, at: int, b: int, place: int, kind: int,
) -> None:  # fmt: skip
    """Issue the column command of an entry of a bank's queue, and take it out."""
    g = s[GROUP_OF, b]
    _column(s, t, b, g, s[PSEUDO_OF, b], at, 1 if kind == CMD_WR else 0)
    if s[HITS_ROW, b] > 0:
        out[HITS] += 1
    s[HITS_ROW, b] += 1
    request = q[b, place]
    if kind == CMD_WR:
        finish = at + t[CWL] + t[BURST]
        out[WRITES] += 1
        drain[4] -= 1
    else:
        finish = at + t[CL] + t[BURST] + p[DELAY]
        out[LATENCY] += finish + done[request]
        returned[out[READS]] = finish
        out[READS] += 1
        drain[3] -= 1
    done[request] = finish
    out[FINISH] = max(out[FINISH], finish)
    s[QUEUED, b] -= 1
    for i in range(place, s[QUEUED, b]):
        q[b, i] = q[b, i + 1]


@_jit
def serve(
    t: IntArray, p: IntArray, bank: IntArray, row: IntArray, write: NDArray[np.uint8], arrival: IntArray,
    done: IntArray, w: Work, out: IntArray, log: Log,
) -> None:  # fmt: skip
    """Serve all requests of one channel, in time from 0 on; `done` gets when the data of each was moved."""
    total = bank.shape[0]
    s, q, link, returned, drain, bus, found = w.state, w.queue, w.link, w.returned, w.drain, w.bus, w.found
    entered, entered_writes = 0, 0
    now, due = 0, t[REFI] if t[REFI] > 0 else NEVER
    known, draining = False, False
    while out[READS] + out[WRITES] < total:
        if not known:
            _best(s, q, p, now, bus, found)
            known = True
        enter = NEVER
        if entered < total:
            if write[entered]:
                room = drain[2] + (drain[4] if p[APART] else 0) < p[WRITE_QUEUE]
            else:
                room = drain[1] + (drain[3] if p[APART] else 0) < p[READ_QUEUE]
            if room:
                enter = max(now, arrival[entered])
                if p[WINDOW] > 0:
                    needed = entered - p[WINDOW] + 1 - entered_writes
                    if needed > out[READS]:
                        enter = NEVER
                    elif needed > 0:
                        enter = max(enter, returned[needed - 1])
        if min(enter, found[0]) >= due:
            if due == NEVER:
                out[FINISH] = -1
                return
            now = max(now, due)
            at = _refresh(s, q, t, p, now, log, out)
            bus[0] = max(bus[0], at + 1)
            bus[1] = max(bus[1], at + 1)
            due += t[REFI]
            known = False
            continue
        if enter <= found[0]:
            now = enter
            b = bank[entered]
            done[entered] = -max(arrival[entered], now if p[WINDOW] > 0 else 0)
            _enter(s, link, write, drain, entered, b)
            entered_writes += write[entered]
            entered += 1
            before = s[QUEUED, b]
            _refill(s, q, link, row, write, b, drain)
            if s[QUEUED, b] > before and (before == 0 or s[FIRST_RD, b] == before or s[FIRST_WR, b] == before):
                _look(s, q, p[HIT_CAP], b)
                if b == found[2]:
                    known = False
                else:
                    _offer(s, q, p, b, now, bus, found)
        else:
            at, kind, b = found[0], found[1], found[2]
            place = _place(s, b, kind)
            now = at
            known = False
            if kind == CMD_ACT:
                g, wanted = s[GROUP_OF, b], row[q[b, place]]
                _activate(s, t, b, g, s[PSEUDO_OF, b], at, wanted)
                bus[0] = at + t[ACT_BUS]
                out[ACTS] += 1
                _record(log, out, at, kind, b, wanted)
                _find_hits(s, q, row, write, b)
            elif kind == CMD_PRE:
                s[SHUT, b] = min(3, s[SHUT, b] + 1)
                _record(log, out, at, kind, b, s[OPEN_ROW, b])
                _close(s, t, b, at)
                bus[0] = at + 1
                out[PRES] += 1
            else:
                bus[1] = at + 1
                _record(log, out, at, kind, b, s[OPEN_ROW, b])
                _serve_column(s, q, t, p, drain, returned, done, out, at, b, place, kind)
                _find_hits(s, q, row, write, b)
                _refill(s, q, link, row, write, b, drain)
                shut = p[PAGE] == CLOSED or (p[PAGE] == ADAPTIVE and s[SHUT, b] >= 2)
                if shut and s[FIRST_RD, b] < 0 and s[FIRST_WR, b] < 0:
                    _record(log, out, s[PRE_OK, b], CMD_PRE, b, s[OPEN_ROW, b])
                    out[PRES] += 1
                    _close(s, t, b, s[PRE_OK, b])
            _look(s, q, p[HIT_CAP], b)
            if not p[SPLIT]:
                bus[0] = max(bus[0], bus[1])
                bus[1] = bus[0]
        if drain[0] > 0 or drain[2] > 0 or draining:
            if _drain(s, q, link, row, write, p, drain, draining, entered == total):
                known = False
            draining = drain[0] > 0


@_jit
def decode(
    address: IntArray, segments: IntArray, burst_bytes: int, shape: IntArray,
    channel: IntArray, bank: IntArray, row: IntArray, column: IntArray,
) -> None:  # fmt: skip
    """Channel, bank within the channel, row and column of byte addresses.

    Args:
        segments: [segment, 4], lowest first: field, size, weight, and the bits of a size that is a power of two or -1.
        shape: bank groups and banks of each; six words to work in.
    """
    for i in range(address.shape[0]):
        rest = address[i] // burst_bytes
        for f in range(2, 8):
            shape[f] = 0
        for k in range(segments.shape[0]):
            size, bits = segments[k, 1], segments[k, 3]
            if bits >= 0:
                part = rest & (size - 1)
                rest >>= bits
            else:
                part = rest % size
                rest //= size
            shape[2 + segments[k, 0]] += part * segments[k, 2]
        channel[i] = shape[2]
        bank[i] = (shape[3] * shape[0] + shape[4]) * shape[1] + shape[5]
        row[i] = shape[6]
        column[i] = shape[7]
