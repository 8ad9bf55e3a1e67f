# mypy: disable-error-code="no-any-return"
"""One DRAM channel under FR-FCFS, command by command, compiled. `dram_trace` explains it and calls it.

Time jumps from one event to the next: a request that enters, a command, a refresh. Everything runs as plain Python too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
CMD_ACT, CMD_PRE, CMD_RD, CMD_WR, CMD_PREA, CMD_REF = range(6)
NEVER = 2**62

_jit = stamped(Path(__file__))


class Banks(NamedTuple):
    """State of a channel: by bank, by bank group, by pseudo-channel, of its queues. Times are the first allowed."""

    open_row: IntArray
    act_ok: IntArray
    rd_ok: IntArray
    wr_ok: IntArray
    pre_ok: IntArray
    hits: IntArray
    last_row: IntArray
    shut: IntArray
    queued: IntArray
    first_rd: IntArray
    first_wr: IntArray
    rd_head: IntArray
    rd_tail: IntArray
    wr_head: IntArray
    wr_tail: IntArray
    group_rd: IntArray
    group_wr: IntArray
    group_act: IntArray
    pseudo_rd: IntArray
    pseudo_wr: IntArray
    pseudo_act: IntArray
    faw: IntArray
    entry: IntArray
    link: IntArray
    returned: IntArray


_NONE = {"open_row", "last_row", "first_rd", "first_wr", "rd_head", "rd_tail", "wr_head", "wr_tail"}
"""Words by bank that begin as -1: none."""


class Log(NamedTuple):
    """Commands in the order in which they are chosen, while there is room."""

    time: IntArray
    kind: IntArray
    bank: IntArray
    row: IntArray


def fresh(requests: int, policy: IntArray) -> Banks:
    """The state of a channel with nothing open and nothing queued."""
    pseudo, groups, per_group = (int(x) for x in policy[:3])
    banks, depth = pseudo * groups * per_group, int(policy[BANK_QUEUE])

    def words(n: int, value: int = 0) -> IntArray:
        return np.full(n, value, np.int64)

    by_bank = [words(banks, -1 if name in _NONE else 0) for name in Banks._fields[:15]]
    by_group = [words(pseudo * groups) for _ in range(3)]
    by_pseudo = [words(pseudo) for _ in range(3)]
    rest = [words(pseudo * 5, -NEVER), words(banks * depth), words(requests, -1), words(requests)]
    return Banks(*by_bank, *by_group, *by_pseudo, *rest)


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
def _find_hits(s: Banks, row: IntArray, write: NDArray[np.uint8], depth: int, b: int) -> None:
    """Look again for the first read and the first write in the bank's queue that hit its open row."""
    s.first_rd[b] = -1
    s.first_wr[b] = -1
    wanted = s.open_row[b]
    if wanted < 0:
        return
    for i in range(s.queued[b]):
        request = s.entry[b * depth + i]
        if row[request] == wanted:
            if write[request]:
                if s.first_wr[b] < 0:
                    s.first_wr[b] = i
            elif s.first_rd[b] < 0:
                s.first_rd[b] = i
            if s.first_rd[b] >= 0 and s.first_wr[b] >= 0:
                return


@_jit
def _enqueue(s: Banks, row: IntArray, write: NDArray[np.uint8], depth: int, b: int, request: int) -> None:
    n = s.queued[b]
    s.entry[b * depth + n] = request
    s.queued[b] = n + 1
    if row[request] == s.open_row[b]:
        if write[request]:
            if s.first_wr[b] < 0:
                s.first_wr[b] = n
        elif s.first_rd[b] < 0:
            s.first_rd[b] = n


@_jit
def _refill(s: Banks, row: IntArray, write: NDArray[np.uint8], depth: int, b: int, drain: IntArray) -> None:
    """Move waiting requests of the class that is served into the bank's queue. `drain`: writes left to drain, reads
    waiting, writes waiting, reads in banks, writes in banks."""
    while s.queued[b] < depth:
        if drain[0] > 0:
            request = s.wr_head[b]
            if request < 0:
                return
            s.wr_head[b] = s.link[request]
            drain[0] -= 1
            drain[2] -= 1
            drain[4] += 1
        else:
            request = s.rd_head[b]
            if request < 0:
                return
            s.rd_head[b] = s.link[request]
            drain[1] -= 1
            drain[3] += 1
        _enqueue(s, row, write, depth, b, request)


@_jit
def _recall(s: Banks, write: NDArray[np.uint8], depth: int, drain: IntArray) -> None:
    """Put what the banks' queues hold back at the head of the queues before them."""
    for b in range(s.open_row.shape[0]):
        for i in range(s.queued[b] - 1, -1, -1):
            request = s.entry[b * depth + i]
            if write[request]:
                s.link[request] = s.wr_head[b]
                if s.wr_head[b] < 0:
                    s.wr_tail[b] = request
                s.wr_head[b] = request
                drain[2] += 1
                drain[4] -= 1
            else:
                s.link[request] = s.rd_head[b]
                if s.rd_head[b] < 0:
                    s.rd_tail[b] = request
                s.rd_head[b] = request
                drain[1] += 1
                drain[3] -= 1
        s.queued[b] = 0
        s.first_rd[b] = -1
        s.first_wr[b] = -1


@_jit
def _drain(
    s: Banks, row: IntArray, write: NDArray[np.uint8], p: IntArray, drain: IntArray, draining: bool, last: bool
) -> bool:
    """Begin or end draining writes where that is due. Returns whether the banks' queues changed.

    Apart, draining ends when few enough writes are left anywhere, else when those that waited are in the banks.
    """
    changed = draining and drain[0] == 0
    if drain[0] == 0 and drain[2] > 0:
        idle = drain[1] + drain[3] == 0
        if drain[2] >= p[DRAIN_HIGH] or (idle and (last or drain[2] * 2 >= p[DRAIN_HIGH])):
            if p[APART]:
                _recall(s, write, p[BANK_QUEUE], drain)
                drain[0] = NEVER
            else:
                drain[0] = max(1, drain[2] - (0 if idle else p[DRAIN_LOW]))
            changed = True
    elif drain[0] > 0 and p[APART]:
        low = p[DRAIN_LOW] if drain[1] > 0 or not last else 0
        if drain[2] + drain[4] <= low:
            _recall(s, write, p[BANK_QUEUE], drain)
            drain[0] = 0
            changed = True
    if changed:
        for b in range(s.open_row.shape[0]):
            _refill(s, row, write, p[BANK_QUEUE], b, drain)
    return changed


@_jit
def _close(s: Banks, t: IntArray, b: int, at: int) -> None:
    s.last_row[b] = s.open_row[b]
    s.open_row[b] = -1
    s.first_rd[b] = -1
    s.first_wr[b] = -1
    s.act_ok[b] = max(s.act_ok[b], at + t[RP])


@_jit
def _activate(s: Banks, t: IntArray, b: int, g: int, pc: int, at: int, row: int, groups: int) -> None:
    if s.last_row[b] == row:
        s.shut[b] = max(0, s.shut[b] - 1)
    s.open_row[b] = row
    s.hits[b] = 0
    s.act_ok[b] = at + t[RC]
    s.rd_ok[b] = at + t[RCD_RD]
    s.wr_ok[b] = at + t[RCD_WR]
    s.pre_ok[b] = at + t[RAS]
    s.group_act[g] = max(s.group_act[g], at + t[RRD_L])
    turn = s.faw[pc * 5 + 4] & 3 if s.faw[pc * 5 + 4] >= 0 else 0
    s.faw[pc * 5 + turn] = at
    turn = (turn + 1) & 3
    s.faw[pc * 5 + 4] = turn
    s.pseudo_act[pc] = max(at + t[RRD_S], s.faw[pc * 5 + turn] + t[FAW] if t[FAW] > 0 else 0)


@_jit
def _column(s: Banks, t: IntArray, b: int, g: int, pc: int, at: int, write: int) -> None:
    short, long = max(t[CCD_S], t[BURST]), max(t[CCD_L], t[BURST])
    if write:
        end = at + t[CWL] + t[BURST]
        s.group_wr[g] = at + long
        s.pseudo_wr[pc] = at + short
        s.group_rd[g] = max(s.group_rd[g], end + t[WTR_L])
        s.pseudo_rd[pc] = end + t[WTR_S]
        s.pre_ok[b] = max(s.pre_ok[b], end + t[WR])
    else:
        s.group_rd[g] = max(s.group_rd[g], at + long)
        s.pseudo_rd[pc] = max(s.pseudo_rd[pc], at + short)
        s.pseudo_wr[pc] = max(s.pseudo_wr[pc], at + t[CL] + t[BURST] + t[TURN] - t[CWL])
        s.pre_ok[b] = max(s.pre_ok[b], at + t[RTP])


@_jit
def _refresh(s: Banks, t: IntArray, now: int, log: Log, out: IntArray) -> int:
    """Close every bank and refresh; return when."""
    banks = s.open_row.shape[0]
    close, any_open, ready = now, False, now
    for b in range(banks):
        close = max(close, s.pre_ok[b])  # that of a bank which closes by itself may lie ahead
        if s.open_row[b] >= 0:
            any_open = True
        else:
            ready = max(ready, s.act_ok[b])
    if any_open:
        for b in range(banks):
            if s.open_row[b] >= 0:
                _close(s, t, b, close)
        out[PRES] += 1
        _record(log, out, close, CMD_PREA, -1, -1)
        ready = max(ready, close + t[RP])
    for b in range(banks):
        s.act_ok[b] = max(s.act_ok[b], ready + t[RFC])
    out[REFS] += 1
    _record(log, out, ready, CMD_REF, -1, -1)
    return ready


@_jit
def _best(s: Banks, p: IntArray, depth: int, now: int, bus: IntArray, found: IntArray) -> None:
    """The next command by FR-FCFS: the earliest. Of several, first a column command that keeps the data bus busy, then
    an activation that the window of four or tRRD held up, then other column commands; then the oldest request.
    `found`: its time, kind, bank, and place in the bank's queue. `bus`: when the row and the column bus are free."""
    best, rank_best, age_best = NEVER, -1, NEVER
    groups, per_group, cap = p[GROUPS], p[BANKS], p[HIT_CAP]
    g = -1
    for b in range(s.open_row.shape[0]):
        if b % per_group == 0:
            g += 1
        if s.queued[b] == 0:
            continue
        pc = g // groups
        place, rank = 0, 0
        if s.open_row[b] < 0:
            kind = CMD_ACT
            at = max(max(s.act_ok[b], s.group_act[g]), max(s.pseudo_act[pc], bus[0]))
        else:
            rd, wr = s.first_rd[b], s.first_wr[b]
            capped = cap > 0 and s.hits[b] >= cap and rd != 0 and wr != 0
            if (rd < 0 and wr < 0) or capped:
                kind = CMD_PRE
                at = max(s.pre_ok[b], bus[0])
            else:
                at = NEVER
                kind = CMD_RD
                if rd >= 0:
                    at = max(max(s.rd_ok[b], s.group_rd[g]), max(s.pseudo_rd[pc], bus[1]))
                    at = max(at, now)
                    place = rd
                if wr >= 0:
                    other = max(max(s.wr_ok[b], s.group_wr[g]), max(s.pseudo_wr[pc], bus[1]))
                    other = max(other, now)
                    if other < at or (other == at and wr < rd):
                        at, kind, place = other, CMD_WR, wr
        at = max(at, now)
        if at > best:
            continue
        if kind == CMD_RD:
            rank = 3 if at == s.pseudo_rd[pc] else 1
        elif kind == CMD_WR:
            rank = 3 if at == s.pseudo_wr[pc] else 1
        elif kind == CMD_ACT and at == s.pseudo_act[pc]:
            rank = 2
        age = s.entry[b * depth + place]
        if at < best or rank > rank_best or (rank == rank_best and age < age_best):
            best, rank_best, age_best = at, rank, age
            found[1], found[2], found[3] = kind, b, place
    found[0] = best


@_jit
def serve(
    t: IntArray, p: IntArray, bank: IntArray, row: IntArray, write: NDArray[np.uint8], arrival: IntArray,
    done: IntArray, s: Banks, out: IntArray, log: Log, found: IntArray, drain: IntArray, bus: IntArray,
) -> None:  # fmt: skip
    """Serve all requests of one channel, in time from 0 on; `done` gets when the data of each was moved."""
    total = bank.shape[0]
    depth, per_pseudo, per_group = p[BANK_QUEUE], p[GROUPS] * p[BANKS], p[BANKS]
    entered, entered_writes, returned, served = 0, 0, 0, 0
    now, due = 0, t[REFI]
    known, draining = False, False
    while served < total:
        if not known:
            _best(s, p, depth, now, bus, found)
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
                    if needed > returned:
                        enter = NEVER
                    elif needed > 0:
                        enter = max(enter, s.returned[needed - 1])
        if t[REFI] > 0 and min(enter, found[0]) >= due:
            at = _refresh(s, t, max(now, due), log, out)
            now = max(now, due)
            bus[0] = max(bus[0], at + 1)
            bus[1] = max(bus[1], at + 1)
            due += t[REFI]
            known = False
            continue
        if enter <= found[0]:
            now = enter
            b = bank[entered]
            s.link[entered] = -1
            done[entered] = -max(arrival[entered], now if p[WINDOW] > 0 else 0)
            if write[entered]:
                if s.wr_head[b] < 0:
                    s.wr_head[b] = entered
                else:
                    s.link[s.wr_tail[b]] = entered
                s.wr_tail[b] = entered
                drain[2] += 1
                entered_writes += 1
            else:
                if s.rd_head[b] < 0:
                    s.rd_head[b] = entered
                else:
                    s.link[s.rd_tail[b]] = entered
                s.rd_tail[b] = entered
                drain[1] += 1
            entered += 1
            before = s.queued[b]
            _refill(s, row, write, depth, b, drain)
            known = s.queued[b] == before
            if not known and before > 0 and s.first_rd[b] != before and s.first_wr[b] != before:
                known = True  # an entry behind others that hits nothing changes no choice
        elif found[0] == NEVER:
            out[FINISH] = -1
            return
        else:
            at, kind, b, place = found[0], found[1], found[2], found[3]
            now = at
            known = False
            g, pc = b // per_group, b // per_pseudo
            request = s.entry[b * depth + place]
            if kind == CMD_ACT:
                _activate(s, t, b, g, pc, at, row[request], p[GROUPS])
                _find_hits(s, row, write, depth, b)
                bus[0] = at + t[ACT_BUS]
                out[ACTS] += 1
                _record(log, out, at, kind, b, row[request])
            elif kind == CMD_PRE:
                s.shut[b] = min(3, s.shut[b] + 1)
                _record(log, out, at, kind, b, s.open_row[b])
                _close(s, t, b, at)
                bus[0] = at + 1
                out[PRES] += 1
            else:
                bus[1] = at + 1
                _record(log, out, at, kind, b, s.open_row[b])
                _column(s, t, b, g, pc, at, 1 if kind == CMD_WR else 0)
                if s.hits[b] > 0:
                    out[HITS] += 1
                s.hits[b] += 1
                served += 1
                if kind == CMD_WR:
                    finish = at + t[CWL] + t[BURST]
                    out[WRITES] += 1
                    drain[4] -= 1
                else:
                    finish = at + t[CL] + t[BURST] + p[DELAY]
                    out[READS] += 1
                    out[LATENCY] += finish + done[request]
                    s.returned[returned] = finish
                    returned += 1
                    drain[3] -= 1
                done[request] = finish
                out[FINISH] = max(out[FINISH], finish)
                s.queued[b] -= 1
                for i in range(place, s.queued[b]):
                    s.entry[b * depth + i] = s.entry[b * depth + i + 1]
                _find_hits(s, row, write, depth, b)
                _refill(s, row, write, depth, b, drain)
                if (
                    p[PAGE] != OPEN
                    and s.first_rd[b] < 0
                    and s.first_wr[b] < 0
                    and (p[PAGE] == CLOSED or s.shut[b] >= 2)
                ):
                    _record(log, out, s.pre_ok[b], CMD_PRE, b, s.open_row[b])
                    out[PRES] += 1
                    _close(s, t, b, s.pre_ok[b])
            if not p[SPLIT]:
                bus[0] = max(bus[0], bus[1])
                bus[1] = bus[0]
        if _drain(s, row, write, p, drain, draining, entered == total):
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
