"""A DRAM channel whose time depends on which rows are open."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..arch.component import Direction
from ..arch.units import Bytes, Time, rate_fraction
from ..engine.program import IntArray, Server
from ..errors import BadInput
from .dram import DramBase

(
    RATE_NUM, RATE_DEN, CREDIT, BURST, ROW, BANKS, ACTIVATE, PRECHARGE,
    REFRESH_EVERY, REFRESH_FOR, REFRESH_NEXT, STREAMS, OPEN,
) = range(13)  # fmt: skip
"""Words of the state: bytes per tick as a fraction; the unused part of the last tick in units of 1/den byte; bytes of
a burst and of a row; banks; ticks; the time of the next refresh; the number of streams; then the open row of each bank,
-1 if none; then for each stream the address at which it began, -1 if none, and the one at which it goes on."""
STREAM_TABLE = 256
"""Streams that are followed at once; one more begins anew in the place of another."""
STREAM_GRAIN = 4096
"""Streams begin at multiples of so many bytes."""
_TERM_LIMIT = 2**20


def step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Ticks to move `work` bytes from byte address `arg` on, in order; a `StepFunction` of the engine.

    Where the state follows streams, `arg` is the address at which one began, and the transfer goes on where the last
    one of that stream ended: a tensor lies in memory tile by tile, in the order in which they move.

    Rows lie one after the other over the banks. Data moves in whole bursts at the pins' rate. A row that is not open
    costs an activation, after a precharge if its bank has another one open; within a transfer, the next row's bank
    prepares while the data of the row before it moves, unless it is the same bank. A refresh comes every REFRESH_EVERY
    ticks, stops the channel for REFRESH_FOR ticks and closes all rows: one that falls into a transfer costs its time
    and an activation, and leaves only the last row open.
    """
    num, den, burst, row_bytes, banks = state[RATE_NUM], state[RATE_DEN], state[BURST], state[ROW], state[BANKS]
    every, pause = state[REFRESH_EVERY], state[REFRESH_FOR]
    address = arg
    streams = state[STREAMS]
    if streams > 0:
        slot = OPEN + banks + 2 * (arg // STREAM_GRAIN % streams)
        if state[slot] == arg:
            address = state[slot + 1]
        state[slot] = arg
        state[slot + 1] = address + work
    idle = 0
    until_refresh = state[REFRESH_NEXT] - now
    if every > 0 and until_refresh <= 0:
        until_refresh = until_refresh % every or every
        state[REFRESH_NEXT] = now + until_refresh
        idle = max(0, pause - (every - until_refresh))
        until_refresh -= idle
        for bank in range(banks):
            state[OPEN + bank] = -1
    begin = address - address % burst
    end = address + work + (-(address + work)) % burst
    first, last = begin // row_bytes, (end - 1) // row_bytes
    ticks = 0
    hidden = 0
    looked = min(last - first + 1, banks)
    for i in range(looked):
        chunk = first + i
        bank, row = chunk % banks, chunk // banks
        wait = 0
        if state[OPEN + bank] != row:
            wait = state[ACTIVATE] + (state[PRECHARGE] if state[OPEN + bank] >= 0 else 0)
            state[OPEN + bank] = row
        ticks += max(0, wait - hidden)
        moved = min(end, (chunk + 1) * row_bytes) - max(begin, chunk * row_bytes)
        hidden = moved * den // num if banks > 1 else 0
    further = last - first + 1 - looked
    if further > 0:  # every bank now has another row of this transfer open
        ticks += further * max(0, state[ACTIVATE] + state[PRECHARGE] - hidden)
        for i in range(min(further, banks)):
            state[OPEN + (last - i) % banks] = (last - i) // banks
    owed = (end - begin) * den - state[CREDIT]
    data = max(0, -(-owed // num))
    state[CREDIT] = data * num - owed
    ticks += data
    if ticks < 1:
        ticks = 1
        state[CREDIT] += num
    if every > 0 and ticks > until_refresh:
        met = 1 + (ticks - until_refresh - 1) // (every - pause - state[ACTIVATE])
        ticks += met * (pause + state[ACTIVATE])
        state[REFRESH_NEXT] += met * every
        for bank in range(banks):
            state[OPEN + bank] = -1
        state[OPEN + last % banks] = last // banks
    return int(idle + ticks)


class OpenRowDram(DramBase):
    """A DRAM channel with banks and open rows (see `step`); several `channels` move every burst in lockstep."""

    kind: Literal["open_row_dram"] = "open_row_dram"
    channels: Annotated[int, Field(ge=1, le=4096, description="Channels in lockstep; `bandwidth` is of all.")] = 1
    banks: Annotated[int, Field(ge=1, le=4096, description="Banks of a channel.")] = 8
    row: Annotated[Bytes, Field(description="Bytes of a row of one channel.")]
    burst: Annotated[Bytes, Field(description="Bytes that one channel moves at least.")]
    activate: Annotated[Time, Field(description="tRCD: from opening a row to its data.")]
    precharge: Annotated[Time, Field(description="tRP: to close a row.")]
    refresh_interval: Annotated[Time | None, Field(description="tREFI; no refresh without it.")] = None
    refresh_time: Annotated[Time | None, Field(description="tRFC: how long a refresh stops the channel.")] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bandwidth is None or math.isinf(self.bandwidth):
            raise ValueError("needs a finite `bandwidth`, shared by reads and writes")
        if self.row % self.burst:
            raise ValueError(f"a row of {self.row} bytes is not a whole number of bursts of {self.burst}")
        if (self.refresh_interval is None) != (self.refresh_time is None):
            raise ValueError("give both refresh_interval and refresh_time, or neither")
        if self.refresh_interval and self.refresh_interval <= 2 * ((self.refresh_time or 0) + self.activate):
            raise ValueError("refresh_interval must be more than twice refresh_time and activate together")
        return self

    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Server:
        """The channel as a stateful server; work is bytes, the argument of a phase the byte address it starts at.

        With `streams`, the argument is the address of the tensor, a multiple of STREAM_GRAIN; see `step`. Times are
        rounded up to whole ticks.
        """
        assert self.bandwidth is not None
        rate = rate_fraction(Fraction(self.bandwidth) / tick_hz, _TERM_LIMIT)

        def ticks(seconds: float | None) -> int:
            return 0 if not seconds else math.ceil(Fraction(f"{seconds:.12g}") * tick_hz)

        every, pause = ticks(self.refresh_interval), ticks(self.refresh_time)
        if every and every <= pause + ticks(self.activate):
            raise BadInput(f"{self.name}: a tick of {1 / float(tick_hz):g} s is too long for its refresh "
                           "(raise the machine's clock)")  # fmt: skip
        words = (
            rate.numerator,
            rate.denominator,
            0,
            self.burst * self.channels,
            self.row * self.channels,
            self.banks,
            ticks(self.activate),
            ticks(self.precharge),
            every,
            pause,
            every,
            STREAM_TABLE if streams else 0,
        )
        table = (-1, 0) * STREAM_TABLE if streams else ()
        state = words + (-1,) * self.banks + table
        return Server(self.name, rate, step=step, state=state, state_times=(REFRESH_NEXT,))
