# mypy: disable-error-code="no-any-return"
"""Which command goes next: FR-FCFS over the banks' next commands.

Every bank that has something to do stands in one of four rows of times, by its next command. Of a row, what counts is
the least time; which bank it is, the oldest request decides, and is looked for only when the command goes. Loops over
the banks of a pseudo-channel have no branches. Commands compare by turn, then by the request that they are for: a turn
is four times the time, less the rank among commands of the same time.
"""

from __future__ import annotations

import numpy as np

from ...jit import inlined
from .layout import (
    ACT_AT,
    ACT_OK,
    AGE_OF,
    BANK_BITS,
    BANKS_OF,
    CMD_ACT,
    CMD_EITHER,
    CMD_PRE,
    CMD_RD,
    CMD_WR,
    FIRST_RD,
    FIRST_WR,
    GROUP_OF,
    HEAD,
    HITS_ROW,
    INDEX,
    KIND_OF,
    NEVER,
    NEVER_YET,
    NEXT,
    OPEN_ROW,
    PRE_OK,
    PSEUDO_OF,
    QUEUED,
    RD_AT,
    RD_OK,
    RING,
    TURN_OF,
    WR_AT,
    WR_OK,
    IntArray,
    Work,
)


@inlined
def _turn(at: int, bus: int, above: int, else_: int) -> int:
    """The turn of a command at a time: its rank is `above` where its bus, or the window, alone held it up."""
    return 4 * at - (above if at == bus else else_)


@inlined
def _soonest(ready: IntArray, kind: int, begin: int, banks: int, but: int) -> int:
    """The least time of a row, over the banks of a pseudo-channel but one."""
    times, least = ready[kind], NEVER_YET
    for i in range(begin, begin + banks):
        least = min(least, NEVER_YET if i == but else times[i & INDEX])
    return least


@inlined
def _aged(request: int, b: int) -> int:
    """A request and its bank in one word, of which the oldest request's is the least."""
    return int(np.int64(request) << BANK_BITS | b)


@inlined
def look(w: Work, cap: int, per_pseudo: int, b: int) -> None:
    """Work out the next command of a bank by itself, and put it into the row of that command."""
    s = w.bank
    pc = s[b << 5 | PSEUDO_OF] & INDEX
    before, kind = s[b << 5 | NEXT], -1
    ready, age = NEVER_YET, 0
    if s[b << 5 | QUEUED] > 0:
        head, ring, mask = s[b << 5 | HEAD] & INDEX, s[b << 5 | RING] & INDEX, w.queue.shape[1] - 1
        group = s[b << 5 | GROUP_OF] & INDEX
        age = w.queue[ring, head]
        rd, wr = s[b << 5 | FIRST_RD], s[b << 5 | FIRST_WR]
        if s[b << 5 | OPEN_ROW] < 0:
            kind = CMD_ACT
            ready = max(s[b << 5 | ACT_OK], w.group[group | ACT_AT])
        elif (rd < 0 and wr < 0) or (cap > 0 and s[b << 5 | HITS_ROW] >= cap and rd != 0 and wr != 0):
            kind = CMD_PRE
            ready = s[b << 5 | PRE_OK]
        elif wr < 0:
            kind = CMD_RD
            ready = max(s[b << 5 | RD_OK], w.group[group | RD_AT])
            age = w.queue[ring, (head + rd) & mask]
        elif rd < 0:
            kind = CMD_WR
            ready = max(s[b << 5 | WR_OK], w.group[group | WR_AT])
            age = w.queue[ring, (head + wr) & mask]
        else:
            kind = CMD_EITHER
    if before == CMD_EITHER:
        w.either[pc << 3 | BANKS_OF] -= 1
    elif before >= 0:
        held = w.ready[before & 3, b]
        if held < NEVER_YET:
            if held <= w.soonest[pc << 2 | (before & 3)]:
                w.soonest[pc << 2 | (before & 3)] = _soonest(w.ready, before & 3, pc * per_pseudo, per_pseudo, b)
            w.ready[before & 3, b] = NEVER_YET
    s[b << 5 | NEXT] = kind
    w.age[b] = _aged(age, b)
    if kind == CMD_EITHER:
        w.either[pc << 3 | BANKS_OF] += 1
    elif kind >= 0:
        w.ready[kind & 3, b] = ready
        w.soonest[pc << 2 | (kind & 3)] = min(w.soonest[pc << 2 | (kind & 3)], ready)


@inlined
def forget(w: Work) -> None:
    """Let no bank have a next command, before all of them are looked at."""
    for kind in range(4):
        times = w.ready[kind & INDEX]
        for i in range(times.shape[0]):
            times[i] = NEVER_YET
    for i in range(w.soonest.shape[0]):
        w.soonest[i] = NEVER_YET
    for pc in range(w.either.shape[0] >> 3):
        w.either[(pc << 3 | BANKS_OF) & INDEX] = 0
    for b in range(w.bank.shape[0] >> 5):
        w.bank[(b << 5 | NEXT) & INDEX] = -1


@inlined
def _either(w: Work, b: int, rd_low: int, wr_low: int) -> tuple[int, int, int]:
    """Time, kind and age of the next column command of a bank with reads and writes that hit: the earlier one."""
    s, group = w.bank, w.group
    g, head, ring = s[b << 5 | GROUP_OF] & INDEX, s[b << 5 | HEAD] & INDEX, s[b << 5 | RING] & INDEX
    rd = max(max(s[b << 5 | RD_OK], rd_low), group[g | RD_AT])
    wr = max(max(s[b << 5 | WR_OK], wr_low), group[g | WR_AT])
    if wr < rd or (wr == rd and s[b << 5 | FIRST_WR] < s[b << 5 | FIRST_RD]):
        at, kind, place = wr, CMD_WR, s[b << 5 | FIRST_WR]
    else:
        at, kind, place = rd, CMD_RD, s[b << 5 | FIRST_RD]
    return at, kind, _aged(w.queue[ring, (head + place) & (w.queue.shape[1] - 1)], b)


@inlined
def _search_either(w: Work, pc: int, banks: int, bus: int) -> None:
    """Find the next column command of the banks with reads and writes that hit."""
    rd_bus, wr_bus = w.pseudo[pc << 3 | RD_AT], w.pseudo[pc << 3 | WR_AT]
    first, first_age, first_kind = 4 * NEVER_YET, NEVER, -1
    for b in range(pc * banks, (pc + 1) * banks):
        if w.bank[b << 5 | NEXT] == CMD_EITHER:
            at, kind, age = _either(w, b, max(rd_bus, bus), max(wr_bus, bus))
            turn = _turn(at, rd_bus if kind == CMD_RD else wr_bus, 3, 1)
            if turn < first or (turn == first and age < first_age):
                first, first_age, first_kind = turn, age, kind
    w.either[pc << 3 | TURN_OF] = first
    w.either[pc << 3 | AGE_OF] = first_age
    w.either[pc << 3 | KIND_OF] = first_kind


@inlined
def _oldest(ready: IntArray, age: IntArray, kind: int, begin: int, banks: int, at: int) -> int:
    """The age of the oldest request of those that may go at a time."""
    times, least = ready[kind], NEVER
    for i in range(banks):
        old = age[(begin + i) & INDEX]
        least = min(least, old if times[(begin + i) & INDEX] <= at else NEVER)
    return least


@inlined
def soonest_turn(w: Work, banks: int, row_low: int, column_low: int) -> tuple[int, int, bool]:
    """The least turn of all commands, by which FR-FCFS takes the earliest, then that of the highest rank.

    Args:
        banks: of a pseudo-channel.
        row_low, column_low: the first that the buses are free from now on.

    Returns:
        The turn; a row of times that has it, by pseudo-channel and command, none before it, or -1 where banks that may
        read or write have it; and whether more rows are to be looked through.
    """
    pseudo, soonest, turns = w.pseudo, w.soonest, w.turns
    first, row, more = 4 * NEVER_YET, -1, False
    for number in range(soonest.shape[0] >> 2):
        pc = number & INDEX
        window, rd, wr = pseudo[pc << 3 | ACT_AT], pseudo[pc << 3 | RD_AT], pseudo[pc << 3 | WR_AT]
        act = _turn(max(max(soonest[pc << 2 | CMD_ACT], window), row_low), window, 2, 0)
        pre = 4 * max(soonest[pc << 2 | CMD_PRE], row_low)
        read = _turn(max(max(soonest[pc << 2 | CMD_RD], rd), column_low), rd, 3, 1)
        written = _turn(max(max(soonest[pc << 2 | CMD_WR], wr), column_low), wr, 3, 1)
        turns[pc << 2 | CMD_ACT] = act
        turns[pc << 2 | CMD_PRE] = pre
        turns[pc << 2 | CMD_RD] = read
        turns[pc << 2 | CMD_WR] = written
        row, more = (pc << 2 | CMD_ACT, False) if act < first else (row, more | (act == first))
        first = min(first, act)
        row, more = (pc << 2 | CMD_PRE, False) if pre < first else (row, more | (pre == first))
        first = min(first, pre)
        row, more = (pc << 2 | CMD_RD, False) if read < first else (row, more | (read == first))
        first = min(first, read)
        row, more = (pc << 2 | CMD_WR, False) if written < first else (row, more | (written == first))
        first = min(first, written)
        if w.either[pc << 3 | BANKS_OF] > 0:
            _search_either(w, pc, banks, column_low)
            if w.either[pc << 3 | TURN_OF] < first:
                first, row, more = w.either[pc << 3 | TURN_OF], -1, True
    return first, row, more


@inlined
def best(w: Work, banks: int, turn: int, row: int, more: bool) -> tuple[int, int]:
    """Kind and bank of the command of a turn that is for the oldest request."""
    first, first_kind, at = NEVER, row & 3, (turn + 3) >> 2
    if row >= 0:
        first = _oldest(w.ready, w.age, row & 3, (row >> 2) * banks, banks, at)
    if more:
        for k in range(row + 1, w.turns.shape[0]):
            if w.turns[k & INDEX] == turn:
                age = _oldest(w.ready, w.age, k & 3, (k >> 2) * banks, banks, at)
                first_kind = k & 3 if age < first else first_kind
                first = min(first, age)
    for pc in range(w.pseudo.shape[0] >> 3):
        due = w.either[pc << 3 | BANKS_OF] > 0 and w.either[pc << 3 | TURN_OF] == turn
        if due and w.either[pc << 3 | AGE_OF] < first:
            first, first_kind = w.either[pc << 3 | AGE_OF], w.either[pc << 3 | KIND_OF]
    return first_kind, first & (1 << BANK_BITS) - 1
