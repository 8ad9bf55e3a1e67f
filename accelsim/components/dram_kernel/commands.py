"""What each command does to the times of its bank, bank group and pseudo-channel."""

from __future__ import annotations

from ...jit import inlined
from .choice import forget, look
from .layout import (
    ACT_AT,
    ACT_OK,
    BURST,
    CCD_L,
    CCD_S,
    CL,
    CMD_ACT,
    CMD_PREA,
    CMD_RD,
    CMD_REF,
    CMD_WR,
    CWL,
    FAW,
    FAW_0,
    FAW_TURN,
    FIRST_RD,
    FIRST_WR,
    GROUP_OF,
    HIT_CAP,
    HITS_ROW,
    INDEX,
    LAST_ROW,
    LOGGED,
    NEVER_YET,
    OPEN_ROW,
    PRE_OK,
    PRES,
    PSEUDO,
    PSEUDO_OF,
    RAS,
    RC,
    RCD_RD,
    RCD_WR,
    RD_AT,
    RD_OK,
    REFS,
    RFC,
    RP,
    RRD_L,
    RRD_S,
    RTP,
    SHUT,
    TURN,
    WR,
    WR_AT,
    WR_OK,
    WTR_L,
    WTR_S,
    IntArray,
    Log,
    Work,
    compiled,
)


@inlined
def record(log: Log, out: IntArray, time: int, kind: int, bank: int, row: int) -> None:
    """Write a command down while there is room."""
    at = out[LOGGED]
    if at < log.time.shape[0]:
        log.time[at] = time
        log.kind[at] = kind
        log.bank[at] = bank
        log.row[at] = row
        out[LOGGED] = at + 1


@inlined
def close(s: IntArray, t: IntArray, b: int, at: int) -> None:
    """Precharge a bank."""
    s[b << 5 | LAST_ROW] = s[b << 5 | OPEN_ROW]
    s[b << 5 | OPEN_ROW] = -1
    s[b << 5 | FIRST_RD] = -1
    s[b << 5 | FIRST_WR] = -1
    s[b << 5 | ACT_OK] = max(s[b << 5 | ACT_OK], at + t[RP])


@inlined
def _hold(w: Work, per_group: int, per_pseudo: int, b: int, kind: int, until: int) -> None:
    """Let no command of a kind go before a time in the bank group of a bank, which has none now."""
    s, pc = w.bank, w.bank[b << 5 | PSEUDO_OF] & INDEX
    if w.soonest[pc << 2 | kind] == NEVER_YET:
        return
    times, begin, first = w.ready[kind], pc * per_pseudo, (s[b << 5 | GROUP_OF] >> 2) * per_group
    least = NEVER_YET
    for i in range(begin, begin + per_pseudo):
        at = times[i & INDEX]
        at = max(at, until) if first <= i < first + per_group else at
        at = NEVER_YET if i == b else at
        times[i & INDEX] = at
        least = min(least, at)
    w.soonest[pc << 2 | kind] = least


@inlined
def activate(w: Work, t: IntArray, per_group: int, per_pseudo: int, b: int, at: int, row: int) -> None:
    """Open a row."""
    s, group, pseudo = w.bank, w.group, w.pseudo
    if s[b << 5 | LAST_ROW] == row:
        s[b << 5 | SHUT] = max(0, s[b << 5 | SHUT] - 1)
    s[b << 5 | OPEN_ROW] = row
    s[b << 5 | HITS_ROW] = 0
    s[b << 5 | ACT_OK] = at + t[RC]
    s[b << 5 | RD_OK] = at + t[RCD_RD]
    s[b << 5 | WR_OK] = at + t[RCD_WR]
    s[b << 5 | PRE_OK] = at + t[RAS]
    g, pc = s[b << 5 | GROUP_OF] & INDEX, s[b << 5 | PSEUDO_OF] & INDEX
    group[g | ACT_AT] = max(group[g | ACT_AT], at + t[RRD_L])
    _hold(w, per_group, per_pseudo, b, CMD_ACT, group[g | ACT_AT])
    turn = pseudo[pc << 3 | FAW_TURN] & 3
    pseudo[pc << 3 | (FAW_0 + turn)] = at
    turn = (turn + 1) & 3
    pseudo[pc << 3 | FAW_TURN] = turn
    pseudo[pc << 3 | ACT_AT] = max(at + t[RRD_S], pseudo[pc << 3 | (FAW_0 + turn)] + t[FAW] if t[FAW] > 0 else 0)


@inlined
def column(w: Work, t: IntArray, per_group: int, per_pseudo: int, b: int, at: int, write: int) -> None:
    """Read or write a burst of the open row."""
    s, group, pseudo = w.bank, w.group, w.pseudo
    g, pc = s[b << 5 | GROUP_OF] & INDEX, s[b << 5 | PSEUDO_OF] & INDEX
    short, long = max(t[CCD_S], t[BURST]), max(t[CCD_L], t[BURST])
    if write:
        end = at + t[CWL] + t[BURST]
        group[g | WR_AT] = at + long
        pseudo[pc << 3 | WR_AT] = at + short
        group[g | RD_AT] = max(group[g | RD_AT], end + t[WTR_L])
        pseudo[pc << 3 | RD_AT] = end + t[WTR_S]
        s[b << 5 | PRE_OK] = max(s[b << 5 | PRE_OK], end + t[WR])
        _hold(w, per_group, per_pseudo, b, CMD_WR, group[g | WR_AT])
    else:
        group[g | RD_AT] = max(group[g | RD_AT], at + long)
        pseudo[pc << 3 | RD_AT] = max(pseudo[pc << 3 | RD_AT], at + short)
        pseudo[pc << 3 | WR_AT] = max(pseudo[pc << 3 | WR_AT], at + t[CL] + t[BURST] + t[TURN] - t[CWL])
        s[b << 5 | PRE_OK] = max(s[b << 5 | PRE_OK], at + t[RTP])
    _hold(w, per_group, per_pseudo, b, CMD_RD, group[g | RD_AT])


@compiled
def refresh(w: Work, t: IntArray, p: IntArray, banks: int, now: int, log: Log, out: IntArray) -> int:
    """Close every bank and refresh; return when."""
    s = w.bank
    at, any_open, ready = now, False, now
    for b in range(banks):
        at = max(at, s[b << 5 | PRE_OK])  # that of a bank which closes by itself may lie ahead
        if s[b << 5 | OPEN_ROW] >= 0:
            any_open = True
        else:
            ready = max(ready, s[b << 5 | ACT_OK])
    if any_open:
        for b in range(banks):
            if s[b << 5 | OPEN_ROW] >= 0:
                close(s, t, b, at)
        out[PRES] += 1
        record(log, out, at, CMD_PREA, -1, -1)
        ready = max(ready, at + t[RP])
    forget(w)
    for b in range(banks):
        s[b << 5 | ACT_OK] = max(s[b << 5 | ACT_OK], ready + t[RFC])
        look(w, p[HIT_CAP], w.ready.shape[1] // p[PSEUDO], b)
    out[REFS] += 1
    record(log, out, ready, CMD_REF, -1, -1)
    return ready
