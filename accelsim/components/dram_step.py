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
from .dram_timing import FIELDS, AddressMapping, DramDevice
from .nest_kernel import stamped

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
every pseudo-channel, the bank groups; the open row and three times of every bank; the streams."""
ALL_BANKS = -1
"""Argument of work of units in the memory."""
STREAM_TABLE = 256
"""Streams that are followed at once; one more begins anew in the place of another."""
STREAM_GRAIN = 4096
"""Streams begin at multiples of so many bytes."""

_jit = stamped(Path(__file__))


@_jit
def _shift(state: IntArray, first: int, count: int, by: int, oldest: int) -> None:
    for i in range(first, first + count):
        state[i] = max(state[i] - by, oldest)


@_jit
def _burst(state: IntArray, address: int, start: int, ahead: int, at_bus: int) -> int:
    """Move one burst; return twice the time when the next one of its bus could follow, plus 1 where the data bus alone
    held it up. `at_bus`: first word of the data buses."""
    rest = address // state[BURST_BYTES]
    channel, pseudo, group, bank, row = 0, 0, 0, 0, 0
    for k in range(state[SEGMENTS]):
        at = TABLE + 4 * k
        size, weight = state[at + 1], state[at + 2]
        bits = state[at + 3]
        if bits >= 0:
            part = rest & (size - 1)
            rest >>= bits
        else:
            part = rest % size
            rest //= size
        which = state[at]
        if which == 0:
            channel += part * weight
        elif which == 1:
            pseudo += part * weight
        elif which == 2:
            group += part * weight
        elif which == 3:
            bank += part * weight
        elif which == 4:
            row += part * weight
    buses = state[CHANNELS] * state[PSEUDO]
    bus = channel * state[PSEUDO] + pseudo
    group += bus * state[GROUPS]
    bank += group * state[BANKS]
    at_act, at_row, at_group = at_bus + buses + bus, at_bus + 2 * buses + channel, at_bus + 3 * buses + group
    at_bank = at_bus + (3 + state[GROUPS]) * buses + 4 * bank
    bus += at_bus
    if state[at_bank] != row:
        earliest = max(start, state[bus] - ahead)
        act = max(max(state[at_act], state[at_row]), earliest)
        state[at_act] = max(state[at_act], earliest) + state[ACT_EVERY]
        state[at_row] = max(state[at_row], earliest) + state[ROW_BUS]
        act = max(act, state[at_bank + 1])
        if state[at_bank] >= 0:
            act = max(act, state[at_bank + 2] + state[RP])
        state[at_bank] = row
        state[at_bank + 1] = act + state[RC]
        state[at_bank + 2] = act + state[RAS]
        state[at_bank + 3] = act + state[RCD]
    column = max(max(state[bus], state[at_group]), max(state[at_bank + 3], start))
    by_bus = 1 if column == state[bus] else 0
    state[bus] = max(state[bus], start) + state[CCD_S]
    state[at_group] = max(state[at_group], start) + state[CCD_L]
    state[at_bank + 2] = max(state[at_bank + 2], column + state[RTP])
    state[at_bank + 3] = column + state[CCD_L]
    return 2 * (column + state[CCD_S]) + by_bus


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
    buses, groups = state[CHANNELS] * state[PSEUDO], state[GROUPS]
    bank = 0
    for k in range(state[SEGMENTS]):
        at = TABLE + 4 * k
        if state[at] == 3:
            bank += row % state[at + 1] * state[at + 2]
        if state[at] == 3 or state[at] == 4:
            row //= state[at + 1]
    by = times * groups * state[CCD_S]
    for i in range(buses):
        state[at_bus + i] += by
    for i in range(buses * groups):
        state[at_bus + 3 * buses + i] += times * state[CCD_L]
        at_bank = at_bus + (3 + groups) * buses + 4 * (i * state[BANKS] + bank)
        state[at_bank + 3] += by
        state[at_bank + 2] = max(state[at_bank + 2], state[at_bank + 3] - state[CCD_L] + state[RTP])
    return by


@_jit
def _close(state: IntArray, first: int, banks: int) -> None:
    for i in range(banks):
        state[first + 4 * i] = -1


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
    _shift(state, at_bus, at_banks - at_bus, by, -state[HORIZON])
    for i in range(banks):
        _shift(state, at_banks + 4 * i + 1, 3, by, -state[HORIZON])


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
def _rounds(state: IntArray, at: int, i: int, count: int) -> int:
    """Whole rounds over all bank groups that follow burst `i` of `count`, `at` bursts from 0, within the open rows."""
    block = state[SWEEP] * state[COLUMNS]
    times = min(count - i, block - at % block)
    if i < 2 * state[PERIOD]:
        times = min(times, state[PERIOD] - i % state[PERIOD])
    return times // state[SWEEP] if at % block >= state[SWEEP] else 0


@_jit
def _bursts(
    state: IntArray, begin: int, count: int, start: int, ahead: int, at_bus: int, at_banks: int, banks: int
) -> int:
    """Move bursts from an address on; return when the last data has been moved.

    Sweeps over all columns repeat in time: after two of them the others are jumped over.
    """
    size, period, sweep = state[BURST_BYTES], state[PERIOD], state[SWEEP]
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
        address = (begin + i * size) % state[CAPACITY]
        if sweep > 0 and smooth >= sweep:
            times = _rounds(state, address // size, i, count)
            if times > 0:
                smooth_end += _sweeps(state, address // size // (sweep * state[COLUMNS]), times, at_bus)
                end = max(end, smooth_end)
                i += times * sweep
                continue
        moved = _burst(state, address, start - ahead, ahead, at_bus)
        if moved & 1:
            smooth += 1
            smooth_end = max(smooth_end, moved >> 1)
        else:
            smooth, smooth_end = 0, 0
        end = max(end, moved >> 1)
        i += 1
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
        _shift(state, at_bus, at_banks - at_bus, 0, start)
    begin = address // state[BURST_BYTES] * state[BURST_BYTES]
    count = (address + work - begin + state[BURST_BYTES] - 1) // state[BURST_BYTES]
    end = _bursts(state, begin, count, start, ahead, at_bus, at_banks, banks)
    if queued:  # what still waits for its bank, or on a bus that is busier than the others, is left to the queue
        total = 0
        for k in range(at_bus, at_bus + buses):
            total += state[k]
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
    for i in range(banks):
        at = at_banks + 4 * i
        if state[at] >= 0:
            begin = max(begin, max(0, state[at + 2]) + state[RP])
    end = begin - (-work * state[CCD_S] // (state[BURST_BYTES] * buses))
    _close(state, at_banks, banks)
    for i in range(banks):
        state[at_banks + 4 * i + 1] = end + state[RP]
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
    banks = [-1, 0, 0, 0] * (device.channels * device.banks)
    table = [-1, 0] * STREAM_TABLE if streams else []
    rate = rate_fraction(Fraction(f"{device.peak_bandwidth:.12g}") / tick_hz, 2**20)
    state = (*head, *segments, *shared, *banks, *table)
    return Server(name, rate, step=step, state=state, state_times=(BASE, END))
