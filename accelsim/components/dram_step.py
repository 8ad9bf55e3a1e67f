# mypy: disable-error-code="no-any-return"
"""A banked DRAM as a stateful server of the engine: what a tile transfer costs, from addresses and the banks' state.

A transfer is a run of bursts. Each one is put on the bank, bank group, pseudo-channel and command bus that its address
names; the transfer is over when its last data has been moved. Banks keep their own times exactly; the data buses, bank
groups and activations (tRRD, tFAW, the row bus) are kept as work that is never idle while something waits, as a deep
queue keeps them. `dram_trace` has the same device command by command, and tests hold one against the other.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.units import rate_fraction
from ..engine.program import Server
from ..jit import stamped
from .dram_timing import FIELDS, AddressMapping, DramDevice

IntArray = NDArray[np.int64]
(
    BASE, END, UNITS, BURST_BYTES, CHANNELS, PSEUDO, GROUPS, BANKS, SEGMENTS, PERIOD, RCD, RP, RAS, RC, RTP, CCD_S,
    CCD_L, ACT_EVERY, ROW_BUS, REFRESH_EVERY, REFRESH_FOR, REFRESH_NEXT, QUEUE, PACE, HORIZON, STREAMS, CAPACITY, SWEEP,
    COLUMNS, TABLE,
) = range(30)  # fmt: skip
"""Words of the state. BASE and END are ticks: of what the other times count from, in UNITS to a tick, and of the end of
the last transfer. A row may be opened as long before its data moves as QUEUE bursts of every bus take at
the PACE of late; HORIZON is the age at which times are alike. SWEEP is the number of bursts that go once round all
bank groups, where addresses do so before they change the column, of which COLUMNS follow; else 0.
From TABLE on: the segments of the address mapping, four words each; then the data bus, activations and row bus of
every pseudo-channel, the bank groups; three times and the open row of the banks; the streams."""
ACT_AT, PRE_AT, COLUMN_AT, OPEN_ROW = range(4)
"""Tables of the banks, one after the other: when each may be opened, closed, and read or written, and its row or -1."""
INDEX = 2**31 - 1
"""Mask of an index: it tells the compiler that it is not negative."""
FAR = 2**62
ALL_BANKS = -1
"""Argument of work of units in the memory."""
STREAM_TABLE = 256
"""Streams that are followed at once; one more begins anew in the place of another."""
STREAM_GRAIN = 4096
"""Streams begin at multiples of so many bytes."""

_jit = stamped(Path(__file__))


@_jit
def _shift(state: IntArray, first: int, end: int, by: int, oldest: int) -> None:
    """Let the times of words lie by so much further back, but no further than the oldest."""
    times = state[first:end]
    for i in range(times.shape[0]):
        times[i] = max(times[i] - by, oldest)


@_jit
def _located(state: IntArray, rest: int) -> tuple[int, int, int, int, int, int, int]:
    """Where a burst lies, counted in bursts from address 0, and the bursts after it that differ in one field alone.

    Returns:
        Channel, pseudo-channel, bank group and bank within the next larger one, row; the first segment of the address
        with more than one value, and its value.
    """
    channel, pseudo, group, bank, row, lowest, digit = 0, 0, 0, 0, 0, -1, 0
    for k in range(state[SEGMENTS]):
        at = TABLE + 4 * k
        size, bits = state[at + 1], state[at + 3]
        if bits >= 0:
            part = rest & (size - 1)
            rest >>= bits
        else:
            part = rest % size
            rest //= size
        if lowest < 0 and size > 1:
            lowest, digit = at, part
        part *= state[at + 2]
        which = state[at]
        if which == 0:
            channel += part
        elif which == 1:
            pseudo += part
        elif which == 2:
            group += part
        elif which == 3:
            bank += part
        elif which == 4:
            row += part
    return channel, pseudo, group, bank, row, lowest, digit


@_jit
def _strides(state: IntArray, segment: int) -> tuple[int, int, int, int, int]:
    """How much further the channel, bus, bank group, bank and row are of a burst that is one further in a segment."""
    which, weight = state[segment], state[segment + 2]
    channel = weight if which == 0 else 0
    bus = channel * state[PSEUDO] + (weight if which == 1 else 0)
    group = bus * state[GROUPS] + (weight if which == 2 else 0)
    bank = group * state[BANKS] + (weight if which == 3 else 0)
    return channel, bus, group, bank, weight if which == 4 else 0


@_jit
def _open(
    state: IntArray, row: int, earliest: int, at_act: int, at_row: int, bank: int, banks: int
) -> None:  # fmt: skip
    """Open a row, not before a time. `at_act`, `at_row`, `bank`: words of the activations, the row bus and the bank."""
    pre, opened = (bank + PRE_AT * banks) & INDEX, (bank + OPEN_ROW * banks) & INDEX
    act = max(max(state[at_act], state[at_row]), earliest)
    state[at_act] = max(state[at_act], earliest) + state[ACT_EVERY]
    state[at_row] = max(state[at_row], earliest) + state[ROW_BUS]
    act = max(act, state[bank])
    if state[opened] >= 0:
        act = max(act, state[pre] + state[RP])
    state[opened] = row
    state[bank] = act + state[RC]
    state[pre] = act + state[RAS]
    state[(bank + COLUMN_AT * banks) & INDEX] = act + state[RCD]


@_jit
def _run(
    state: IntArray, first: int, most: int, start: int, ahead: int, at_bus: int, smooth: int, smooth_end: int
) -> tuple[int, int, int, int]:
    """Move bursts that differ in the lowest field of the address alone.

    Args:
        first: the first one, in bursts from address 0.
        most: bursts to move at most.
        at_bus: first word of the data buses.
        smooth, smooth_end: the last bursts that the data bus alone held up, and when the next ones of their buses could
            follow.

    Returns:
        How many were moved, the last time at which the next one of a bus could follow, `smooth` and `smooth_end`.
    """
    channel, pseudo, group, bank, row, lowest, digit = _located(state, first)
    count, by_channel, by_bus, by_group, by_bank, by_row = 1, 0, 0, 0, 0, 0
    if lowest >= 0:
        count = min(most, state[lowest + 1] - digit)
        by_channel, by_bus, by_group, by_bank, by_row = _strides(state, lowest)
    buses = state[CHANNELS] * state[PSEUDO]
    banks = buses * state[GROUPS] * state[BANKS]
    bus = channel * state[PSEUDO] + pseudo
    group += bus * state[GROUPS]
    bank += group * state[BANKS] + at_bus + (3 + state[GROUPS]) * buses
    group += at_bus + 3 * buses
    bus, channel = bus + at_bus, channel + at_bus + 2 * buses
    ccd_s, ccd_l, rtp = state[CCD_S], state[CCD_L], state[RTP]
    end = 0
    for _ in range(count):
        b, g, w = bank & INDEX, group & INDEX, bus & INDEX
        if state[(b + OPEN_ROW * banks) & INDEX] != row:
            _open(state, row, max(start, state[w] - ahead), (w + buses) & INDEX, channel & INDEX, b, banks)
        pre, column_at = (b + PRE_AT * banks) & INDEX, (b + COLUMN_AT * banks) & INDEX
        at = state[w]
        column = max(max(at, state[g]), max(state[column_at], start))
        state[w] = max(at, start) + ccd_s
        state[g] = max(state[g], start) + ccd_l
        state[pre] = max(state[pre], column + rtp)
        state[column_at] = column + ccd_l
        end = max(end, column + ccd_s)
        smooth_end = max(smooth_end, column + ccd_s) if column == at else 0
        smooth = smooth + 1 if column == at else 0
        channel, bus, group = channel + by_channel, bus + by_bus, group + by_group
        bank, row = bank + by_bank, row + by_row
    return count, end, smooth, smooth_end


@_jit
def _sweeps(state: IntArray, row: int, times: int, at_bus: int) -> int:
    """Go `times` further rounds through the columns of rows that are open, in which data buses alone hold up bursts, as
    they did in the last round. Every bus then moves on by as much, and what else there is to wait for by no more.

    Args:
        row: the open row's number of banks and rows, as bursts above the columns.
        times: rounds.
        at_bus: first word of the data buses.

    Returns:
        How much later everything is.
    """
    buses, groups, per_group = state[CHANNELS] * state[PSEUDO], state[GROUPS], state[BANKS]
    bank = 0
    for k in range(state[SEGMENTS]):
        at = TABLE + 4 * k
        if state[at] == 3:
            bank += row % state[at + 1] * state[at + 2]
        if state[at] == 3 or state[at] == 4:
            row //= state[at + 1]
    by = times * groups * state[CCD_S]
    _shift(state, at_bus, at_bus + buses, -by, -FAR)
    _shift(state, at_bus + 3 * buses, at_bus + (3 + groups) * buses, -times * state[CCD_L], -FAR)
    at_bank, banks, answered = at_bus + (3 + groups) * buses, buses * groups * per_group, state[RTP] - state[CCD_L]
    for i in range(buses * groups):
        at_pre = (at_bank + PRE_AT * banks + i * per_group + bank) & INDEX
        at_column = (at_bank + COLUMN_AT * banks + i * per_group + bank) & INDEX
        column = state[at_column] + by
        state[at_column] = column
        state[at_pre] = max(state[at_pre], column + answered)
    return by


@_jit
def _close(state: IntArray, at_banks: int, banks: int) -> None:
    """Close all rows."""
    rows = state[at_banks + OPEN_ROW * banks : at_banks + (OPEN_ROW + 1) * banks]
    for i in range(rows.shape[0]):
        rows[i] = -1


@_jit
def _place(state: IntArray, work: int, arg: int, at_streams: int) -> int:
    """The address of a transfer: its argument, or where the last one of its stream ended."""
    if state[STREAMS] == 0:
        return arg
    slot = at_streams + 2 * (arg // STREAM_GRAIN % state[STREAMS])
    address = state[slot + 1] if state[slot] == arg else arg
    state[slot] = arg
    state[slot + 1] = address + work
    return address


@_jit
def _age(state: IntArray, by: int, at_bus: int, at_banks: int, banks: int) -> None:
    """Let all times of buses, bank groups and banks lie by so much further back."""
    _shift(state, at_bus, at_banks + OPEN_ROW * banks, by, -state[HORIZON])


@_jit
def _refreshed(state: IntArray, by: int, at_banks: int, banks: int) -> int:
    """Let `by` pass; return when the last refresh that fell due in it is over, and close all rows if there was one."""
    if state[REFRESH_EVERY] == 0:
        return 0
    state[REFRESH_NEXT] -= by
    if state[REFRESH_NEXT] > 0:
        return 0
    missed = -state[REFRESH_NEXT] // state[REFRESH_EVERY]
    last = state[REFRESH_NEXT] + missed * state[REFRESH_EVERY]
    state[REFRESH_NEXT] = last + state[REFRESH_EVERY]
    _close(state, at_banks, banks)
    return max(0, last + state[REFRESH_FOR])


@_jit
def _interrupted(state: IntArray, end: int, at_bus: int, at_banks: int, banks: int) -> int:
    """When a transfer is over that would end at a time but for the refreshes that it meets, which close all rows."""
    if state[REFRESH_EVERY] == 0 or end <= state[REFRESH_NEXT]:
        return end
    stop = state[REFRESH_FOR] + state[RTP] + state[RCD]
    met = 1 + (end - state[REFRESH_NEXT] - 1) // (state[REFRESH_EVERY] - stop)
    _age(state, -met * stop, at_bus, at_banks, banks)
    _close(state, at_banks, banks)
    state[REFRESH_NEXT] += met * state[REFRESH_EVERY]
    return end + met * stop


@_jit
def _rounds(state: IntArray, at: int, i: int, count: int) -> tuple[int, int]:
    """Whole rounds over all bank groups that follow burst `i` of `count`, `at` bursts from 0, within the open rows; and
    where there is none, for how many bursts there will be none."""
    block, sweep = state[SWEEP] * state[COLUMNS], state[SWEEP]
    within = at % block
    if within < sweep:
        return 0, sweep - within
    bursts = min(count - i, block - within)
    if i < 2 * state[PERIOD]:
        bursts = min(bursts, state[PERIOD] - i % state[PERIOD])
    return bursts // sweep, bursts


@_jit
def _bursts(
    state: IntArray, begin: int, count: int, start: int, ahead: int, at_bus: int, at_banks: int, banks: int
) -> int:
    """Move bursts from an address on; return when the last data has been moved.

    Sweeps over all columns repeat in time: after two of them the others are jumped over.
    """
    period, sweep, capacity = state[PERIOD], state[SWEEP], state[CAPACITY] // state[BURST_BYTES]
    first = begin // state[BURST_BYTES]
    end, mark, i, smooth, smooth_end = 0, 0, 0, 0, 0
    while i < count:
        if i == period:
            mark = end
        elif i == 2 * period and count - i > 2 * period:
            times = (count - i) // period - 1  # whole sweeps that cost what the last one did
            by = -times * (end - mark)
            _age(state, by, at_bus, at_banks, banks)
            end -= by
            i += times * period
            smooth, smooth_end = 0, 0
        at = (first + i) % capacity
        most = count - i
        if i < 2 * period:
            most = min(most, (period if i < period else 2 * period) - i)
        if sweep > 0 and smooth >= sweep:
            times, none = _rounds(state, at, i, count)
            if times > 0:
                smooth_end += _sweeps(state, at // (sweep * state[COLUMNS]), times, at_bus)
                end = max(end, smooth_end)
                i += times * sweep
                continue
            most = min(most, none)
        elif sweep > 0:
            most = min(most, sweep - smooth)
        moved, last, smooth, smooth_end = _run(
            state, at, most, start - ahead, ahead, at_bus, smooth, smooth_end
        )  # fmt: skip
        end = max(end, last)
        i += moved
    return end


@_jit
def _transfer(state: IntArray, work: int, arg: int, now: int) -> int:
    buses = state[CHANNELS] * state[PSEUDO]
    at_bus = TABLE + 4 * state[SEGMENTS]
    at_banks = at_bus + (3 + state[GROUPS]) * buses
    banks = buses * state[GROUPS] * state[BANKS]
    address = _place(state, work, arg, at_banks + 4 * banks)
    by = (now - state[BASE]) * state[UNITS]
    _age(state, by, at_bus, at_banks, banks)
    queued = now == state[END]
    state[BASE] = now
    start = _refreshed(state, by, at_banks, banks)
    ahead = 0
    if queued:
        ahead = max(state[QUEUE] * state[CCD_S], state[PACE])
    else:
        _shift(state, at_bus, at_banks, 0, start)
    begin = address // state[BURST_BYTES] * state[BURST_BYTES]
    count = (address + work - begin + state[BURST_BYTES] - 1) // state[BURST_BYTES]
    end = _bursts(state, begin, count, start, ahead, at_bus, at_banks, banks)
    if queued:  # what still waits for its bank, or on a bus that is busier than the others, is left to the queue
        total = state[at_bus : at_bus + buses].sum()
        end = max(end - ahead, -(-total // buses))
    window = buses * state[QUEUE]
    state[PACE] += min(count, window) * (max(0, end) * window // count - state[PACE]) // window
    state[PACE] = max(0, min(state[PACE], state[HORIZON] // 2))
    end = _interrupted(state, end, at_bus, at_banks, banks)
    return max(1, -(-end // state[UNITS]))


@_jit
def _hold(state: IntArray, work: int, now: int) -> int:
    """Keep all banks for a command stream of their own, as long as `work` bytes take at most over the data buses."""
    buses = state[CHANNELS] * state[PSEUDO]
    at_bus = TABLE + 4 * state[SEGMENTS]
    at_banks = at_bus + (3 + state[GROUPS]) * buses
    banks = buses * state[GROUPS] * state[BANKS]
    by = (now - state[BASE]) * state[UNITS]
    _age(state, by, at_bus, at_banks, banks)
    begin = 0
    for bank in range(at_banks, at_banks + banks):
        if state[bank + OPEN_ROW * banks] >= 0:
            begin = max(begin, max(0, state[bank + PRE_AT * banks]) + state[RP])
    end = begin - (-work * state[CCD_S] // (state[BURST_BYTES] * buses))
    _close(state, at_banks, banks)
    for bank in range(at_banks, at_banks + banks):
        state[bank] = end + state[RP]
    state[BASE] = now
    if state[REFRESH_EVERY] > 0:
        state[REFRESH_NEXT] -= by
        if state[REFRESH_NEXT] <= end:
            state[REFRESH_NEXT] += ((end - state[REFRESH_NEXT]) // state[REFRESH_EVERY] + 1) * state[REFRESH_EVERY]
    return max(1, -(-end // state[UNITS]))


def step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Ticks to move `work` bytes from byte address `arg` on, in order; a `StepFunction` of the engine.

    Where the state follows streams, `arg` is the address at which one began, and the transfer goes on where the last
    one of that stream ended. A transfer that follows another at once has waited in the queue: its rows may be opened
    while data of the other still moves, and its own last rows while data of the next does. Reads and writes cost the
    same; turning the bus round is left out. A refresh stops everything and closes all rows.

    With the argument ALL_BANKS nothing is moved: commands to all banks, of units in the memory, keep them for as long
    as `work` bytes take at the peak rate. Rows that are open are closed before, and all are closed afterwards. Such
    work brings its own refresh.
    """
    if arg == ALL_BANKS:
        ticks = _hold(state, work, now)
        state[END] = now
        return int(ticks)
    ticks = _transfer(state, work, arg, now)
    state[END] = now + ticks
    return int(ticks)


def _segment(field: str, size: int, weight: int) -> tuple[int, int, int, int]:
    return list(FIELDS).index(field), size, weight, size.bit_length() - 1 if size & (size - 1) == 0 else -1


def _round(mapping: AddressMapping, device: DramDevice) -> tuple[int, int]:
    """Bursts that go once round all bank groups, and columns after that, where all columns come next; else zeros."""
    below: dict[str, int] = {}
    for field, size, _ in mapping.segments:
        if field == "co":
            whole = {"ch": device.channels, "pc": device.pseudo_channels, "bg": device.bank_groups}
            even = all(below.pop(f, 1) == n for f, n in whole.items()) and not below and size == device.columns
            return (prod(whole.values()), size) if even else (0, 0)
        below[field] = below.get(field, 1) * size
    return 0, 0


def server(
    name: str, device: DramDevice, mapping: str, tick_hz: Fraction, *, queue: int, streams: bool, refresh: bool = True
) -> Server:
    """The device as a server; work is bytes, the argument of a phase its byte address, or its tensor's with `streams`.

    Args:
        queue: bursts that a pseudo-channel looks ahead.
    """
    t = device.timing
    cycle = (Fraction(f"{device.clock_s:.12g}") * tick_hz).limit_denominator(10_000)
    c, units = 4 * cycle.numerator, 4 * cycle.denominator  # a quarter of tFAW is whole
    parsed = AddressMapping(mapping, device)
    short, long = max(t.tCCD_S, t.burst), max(t.tCCD_L, t.burst)
    stop = t.tRP + t.tRFC
    every = t.tREFI if refresh else 0
    period = 1
    columns = [i for i, (field, _, _) in enumerate(parsed.segments) if field == "co"]
    for _, size, _ in parsed.segments[: columns[-1] + 1 if columns else 0]:
        period *= size
    sweep, rounds = _round(parsed, device) if long <= device.bank_groups * short else (0, 0)
    words = {
        END: -1, SWEEP: sweep, COLUMNS: rounds, UNITS: units,
        BURST_BYTES: device.burst_bytes, CHANNELS: device.channels,
        PSEUDO: device.pseudo_channels, GROUPS: device.bank_groups, BANKS: device.banks_per_group,
        SEGMENTS: len(parsed.segments), PERIOD: period,
        RCD: t.tRCD_rd * c, RP: t.tRP * c, RAS: t.tRAS * c, RC: t.tRC * c, RTP: t.tRTP * c, CCD_S: short * c,
        CCD_L: long * c, ACT_EVERY: max(t.tRRD_S * c, t.tFAW * c // 4),
        ROW_BUS: (t.act_bus + 1) * c if device.split_bus else 2 * c, REFRESH_EVERY: every * c, REFRESH_FOR: stop * c,
        REFRESH_NEXT: every * c, QUEUE: queue, HORIZON: (queue * (short + t.tRC) + t.tRFC) * c,
        STREAMS: STREAM_TABLE if streams else 0, CAPACITY: device.capacity,
    }  # fmt: skip
    head = [words.get(i, 0) for i in range(TABLE)]
    segments = [word for segment in parsed.segments for word in _segment(*segment)]
    buses = device.channels * device.pseudo_channels
    shared = [0] * ((3 + device.bank_groups) * buses)
    banks = [0] * (OPEN_ROW * device.channels * device.banks) + [-1] * (device.channels * device.banks)
    table = [-1, 0] * STREAM_TABLE if streams else []
    rate = rate_fraction(Fraction(f"{device.peak_bandwidth:.12g}") / tick_hz, 2**20)
    state = (*head, *segments, *shared, *banks, *table)
    return Server(name, rate, step=step, state=state, state_times=(BASE, END))
