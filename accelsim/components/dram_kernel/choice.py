# mypy: disable-error-code="no-any-return"
"""Which command goes next: FR-FCFS over lists of banks by their next command.

The banks of a pseudo-channel that have something to do are in one of three lists, by their next command. What goes next
of a list is kept until the list changes or the command bus is too late for it. Commands compare by turn, then by the
request that they are for: a turn is four times the time, less the rank among commands of the same time.
"""

from __future__ import annotations

from ...engine._jit import inlined
from .layout import (
    ACT_AT,
    ACT_OK,
    AGE,
    AT,
    BANK,
    CMD_ACT,
    CMD_EITHER,
    CMD_PRE,
    CMD_RD,
    CMD_WR,
    FIRST_RD,
    FIRST_WR,
    FOUND_AGE,
    FOUND_TURN,
    GROUP_OF,
    HEAD,
    HITS_ROW,
    INDEX,
    KIND,
    NEVER,
    NEVER_YET,
    NEXT,
    OF_CLOSE,
    OF_COLUMNS,
    OF_ROWS,
    OLDER,
    OPEN_ROW,
    PRE_OK,
    PSEUDO_OF,
    QUEUED,
    RD_AT,
    RD_OK,
    READY,
    UNKNOWN,
    WR_AT,
    WR_OK,
    YOUNGER,
    IntArray,
)


@inlined
def _list_of(kind: int, pc: int) -> int:
    if kind == CMD_PRE:
        return OF_CLOSE
    return OF_ROWS + 2 * pc if kind == CMD_ACT else OF_COLUMNS + 2 * pc


@inlined
def _turn(at: int, bus: int, above: int, else_: int) -> int:
    """The turn of a command at a time: its rank is `above` where its bus, or the window, alone held it up."""
    return 4 * at - (above if at == bus else else_)


@inlined
def _unlist(s: IntArray, b: int) -> None:
    older, younger = s[b << 5 | OLDER] & INDEX, s[b << 5 | YOUNGER] & INDEX
    s[older << 5 | YOUNGER] = younger
    s[younger << 5 | OLDER] = older


@inlined
def _enlist(s: IntArray, end: int, b: int, age: int) -> None:
    younger, older = end, s[end << 5 | OLDER] & INDEX
    while s[older << 5 | AGE] > age:
        younger = older
        older = s[older << 5 | OLDER] & INDEX
    s[b << 5 | OLDER] = older
    s[b << 5 | YOUNGER] = younger
    s[older << 5 | YOUNGER] = b
    s[younger << 5 | OLDER] = b


@inlined
def look(
    s: IntArray, group: IntArray, pseudo: IntArray, q: IntArray, chosen: IntArray, ends: int, cap: int, b: int
) -> None:  # fmt: skip
    """Work out the next command of a bank by itself, and put the bank into the list of that command."""
    before, kind = s[b << 5 | NEXT], -1
    ready, age = NEVER, NEVER
    if s[b << 5 | QUEUED] > 0:
        head = s[b << 5 | HEAD] & INDEX
        age = q[b, head]
        if s[b << 5 | OPEN_ROW] < 0:
            kind = CMD_ACT
            ready = s[b << 5 | ACT_OK]
        else:
            rd, wr = s[b << 5 | FIRST_RD], s[b << 5 | FIRST_WR]
            if (rd < 0 and wr < 0) or (cap > 0 and s[b << 5 | HITS_ROW] >= cap and rd != 0 and wr != 0):
                kind = CMD_PRE
                ready = s[b << 5 | PRE_OK]
            elif wr < 0:
                kind = CMD_RD
                ready = s[b << 5 | RD_OK]
                age = q[b, (head + rd) & (q.shape[1] - 1)]
            elif rd < 0:
                kind = CMD_WR
                ready = s[b << 5 | WR_OK]
                age = q[b, (head + wr) & (q.shape[1] - 1)]
            else:
                kind = CMD_EITHER
                age = min(q[b, (head + rd) & (q.shape[1] - 1)], q[b, (head + wr) & (q.shape[1] - 1)])
    s[b << 5 | NEXT] = kind
    s[b << 5 | READY] = ready
    pc = s[b << 5 | PSEUDO_OF] & INDEX
    if before >= 0:
        of = _list_of(before, pc)
        if chosen[of << 3 | BANK] == b:
            chosen[of << 3 | AT] = UNKNOWN
        _unlist(s, b)
    s[b << 5 | AGE] = age
    if kind >= 0:
        of = _list_of(kind, pc)
        _enlist(s, ends + of, b, age)
        if chosen[of << 3 | AT] != UNKNOWN:
            _offer(s, group, pseudo, q, chosen, of, kind, b)


@inlined
def _either(s: IntArray, group: IntArray, q: IntArray, b: int, rd_low: int, wr_low: int) -> tuple[int, int, int]:
    """Time, kind and request of the next column command of a bank with reads and writes that hit: the earlier one."""
    g = s[b << 5 | GROUP_OF] & INDEX
    rd = max(max(s[b << 5 | RD_OK], rd_low), group[g | RD_AT])
    wr = max(max(s[b << 5 | WR_OK], wr_low), group[g | WR_AT])
    if wr < rd or (wr == rd and s[b << 5 | FIRST_WR] < s[b << 5 | FIRST_RD]):
        return wr, CMD_WR, q[b, (s[b << 5 | HEAD] + s[b << 5 | FIRST_WR]) & (q.shape[1] - 1)]
    return rd, CMD_RD, q[b, (s[b << 5 | HEAD] + s[b << 5 | FIRST_RD]) & (q.shape[1] - 1)]


@inlined
def _columns(
    s: IntArray, group: IntArray, q: IntArray, b: int, rd_low: int, wr_low: int, rd_bus: int, wr_bus: int
) -> tuple[int, int, int]:
    """Turn, kind and request of the next column command of a bank.

    Args:
        rd_low, wr_low: the first that any read or write of its pseudo-channel can go.
        rd_bus, wr_bus: the first that it could for the data bus.
    """
    kind, age = s[b << 5 | NEXT], s[b << 5 | AGE]
    if kind == CMD_EITHER:
        at, kind, age = _either(s, group, q, b, rd_low, wr_low)
    elif kind == CMD_RD:
        at = max(max(s[b << 5 | READY], rd_low), group[s[b << 5 | GROUP_OF] & INDEX | RD_AT])
    else:
        at = max(max(s[b << 5 | READY], wr_low), group[s[b << 5 | GROUP_OF] & INDEX | WR_AT])
    return _turn(at, rd_bus if kind == CMD_RD else wr_bus, 3, 1), kind, age


@inlined
def _offer(
    s: IntArray, group: IntArray, pseudo: IntArray, q: IntArray, chosen: IntArray, of: int, kind: int, b: int
) -> None:  # fmt: skip
    """Choose the command of a bank that came to a list, if it goes before the one that is chosen."""
    pc = s[b << 5 | PSEUDO_OF] & INDEX
    ready, age = s[b << 5 | READY], s[b << 5 | AGE]
    if kind == CMD_ACT:
        window = pseudo[pc << 3 | ACT_AT]
        turn = _turn(max(ready, max(group[s[b << 5 | GROUP_OF] & INDEX | ACT_AT], window)), window, 2, 0)
    elif kind == CMD_PRE:
        turn = 4 * ready
    else:
        rd_bus, wr_bus = pseudo[pc << 3 | RD_AT], pseudo[pc << 3 | WR_AT]
        turn, kind, age = _columns(s, group, q, b, rd_bus, wr_bus, rd_bus, wr_bus)
    if turn < chosen[of << 3 | FOUND_TURN] or (
        turn == chosen[of << 3 | FOUND_TURN] and age < chosen[of << 3 | FOUND_AGE]
    ):
        _choose(chosen, of, turn, kind, b, age)


@inlined
def _choose(chosen: IntArray, of: int, turn: int, kind: int, b: int, age: int) -> None:
    chosen[of << 3 | AT] = (turn + 3) >> 2
    chosen[of << 3 | FOUND_TURN] = turn
    chosen[of << 3 | KIND] = kind
    chosen[of << 3 | BANK] = b
    chosen[of << 3 | FOUND_AGE] = age


@inlined
def _search_columns(
    s: IntArray, group: IntArray, pseudo: IntArray, q: IntArray, chosen: IntArray, of: int, end: int, pc: int,
    bus: int,
) -> None:  # fmt: skip
    rd_bus, wr_bus = pseudo[pc << 3 | RD_AT], pseudo[pc << 3 | WR_AT]
    rd_low, wr_low = max(rd_bus, bus), max(wr_bus, bus)
    low = min(_turn(rd_low, rd_bus, 3, 1), _turn(wr_low, wr_bus, 3, 1))
    first, first_age, first_kind, first_bank = 4 * NEVER_YET, NEVER, -1, -1
    b = s[end << 5 | YOUNGER] & INDEX
    while b != end:
        turn, kind, age = _columns(s, group, q, b, rd_low, wr_low, rd_bus, wr_bus)
        before = (turn < first) | ((turn == first) & (age < first_age))
        first = turn if before else first
        first_age = age if before else first_age
        first_kind = kind if before else first_kind
        first_bank = b if before else first_bank
        if turn == low and age == s[b << 5 | AGE]:
            break
        b = s[b << 5 | YOUNGER] & INDEX
    _choose(chosen, of, first, first_kind, first_bank, first_age)


@inlined
def _search_rows(
    s: IntArray, group: IntArray, pseudo: IntArray, chosen: IntArray, of: int, end: int, pc: int, bus: int
) -> None:  # fmt: skip
    window = pseudo[pc << 3 | ACT_AT]
    low = max(bus, window)
    first, bank = NEVER_YET, 0
    b = s[end << 5 | YOUNGER] & INDEX
    while b != end:
        at = max(max(s[b << 5 | READY], low), group[s[b << 5 | GROUP_OF] & INDEX | ACT_AT])
        if at < first:
            first, bank = at, b
            if at == low:
                break
        b = s[b << 5 | YOUNGER] & INDEX
    _choose(chosen, of, _turn(first, window, 2, 0), CMD_ACT, bank, s[bank << 5 | AGE])


@inlined
def _search_close(s: IntArray, chosen: IntArray, of: int, end: int, bus: int) -> None:
    first, bank = NEVER_YET, 0
    b = s[end << 5 | YOUNGER] & INDEX
    while b != end:
        at = max(s[b << 5 | READY], bus)
        if at < first:
            first, bank = at, b
            if at == bus:
                break
        b = s[b << 5 | YOUNGER] & INDEX
    _choose(chosen, of, 4 * first, CMD_PRE, bank, s[bank << 5 | AGE])


@inlined
def best(
    s: IntArray, group: IntArray, pseudo: IntArray, q: IntArray, chosen: IntArray, ends: int, row_low: int,
    column_low: int,
) -> int:  # fmt: skip
    """Find the next command by FR-FCFS: the earliest, then that of the highest rank, then for the oldest request.

    What was chosen of a list stays the first of it until something of the list changes or the command bus is too late
    for it: no other one of the list could go before it.

    Args:
        row_low, column_low: the first that the buses are free from now on.

    Returns:
        The list.
    """
    first, first_turn, first_age = OF_CLOSE, 4 * NEVER_YET + 1, NEVER
    for pc in range(pseudo.shape[0] >> 3):
        of = OF_COLUMNS + 2 * pc
        if chosen[of << 3 | AT] < column_low:
            _search_columns(s, group, pseudo, q, chosen, of, ends + of, pc, column_low)
        turn, age = chosen[of << 3 | FOUND_TURN], chosen[of << 3 | FOUND_AGE]
        if (turn < first_turn) | ((turn == first_turn) & (age < first_age)):
            first, first_turn, first_age = of, turn, age
    for pc in range(pseudo.shape[0] >> 3):
        of = OF_ROWS + 2 * pc
        if chosen[of << 3 | AT] < row_low:
            window = pseudo[pc << 3 | ACT_AT]
            if _turn(max(window, row_low), window, 2, 0) > first_turn:
                continue
            _search_rows(s, group, pseudo, chosen, of, ends + of, pc, row_low)
        turn, age = chosen[of << 3 | FOUND_TURN], chosen[of << 3 | FOUND_AGE]
        if (turn < first_turn) | ((turn == first_turn) & (age < first_age)):
            first, first_turn, first_age = of, turn, age
    if chosen[OF_CLOSE << 3 | AT] < row_low:
        if 4 * row_low > first_turn:
            return first
        _search_close(s, chosen, OF_CLOSE, ends + OF_CLOSE, row_low)
    turn, age = chosen[OF_CLOSE << 3 | FOUND_TURN], chosen[OF_CLOSE << 3 | FOUND_AGE]
    if (turn < first_turn) | ((turn == first_turn) & (age < first_age)):
        first = OF_CLOSE
    return first
