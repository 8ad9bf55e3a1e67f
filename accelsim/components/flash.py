"""NAND flash of an SSD or a computational storage drive: channels, dies, pages.

Pages lie one after the other over the channels, then over the dies of each. Reading a page keeps its die busy for
`page_read` and then, until the page has left over the channel; whole pages move, whatever is wanted of them. What the
drive gives inside is thus the lesser of its channels and its dies; what passes its connection is a `link`'s business.

Of a long read, per page and channel: max(page / channel bandwidth, (page_read + page / channel bandwidth) / dies).
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..arch.component import Direction, Memory, Price
from ..arch.units import ENERGY_PER_BYTE, Bandwidth, Bytes, EnergyPerByte, Quantity, Time, rate_fraction
from ..engine.program import Server
from ..errors import BadInput
from ..jit import stamped
from .base import port_server

IntArray = NDArray[np.int64]
BASE, END, PAGE, CHANNELS, DIES, READ, MOVE, STREAM, CURSOR, FOLLOWS, TABLE = range(11)
"""Words of the state. BASE and END are ticks: of what the other times count from, in parts of a tick (PARTS of them),
and of the end of the last transfer. READ and MOVE are times of a page, from die to register and over the channel.
STREAM is the address at which what is read now began, CURSOR where it goes on, where FOLLOWS is 1. From TABLE on: when
each channel is free, then each die."""
PARTS = 256

_jit = stamped(Path(__file__))


@_jit
def _pages(state: IntArray, first: int, last: int, ahead: int) -> int:
    """Read pages; return the end of the last. Of many, whole rounds over all dies that cost what the last one did."""
    channels, dies = state[CHANNELS], state[DIES]
    round_ = channels * dies
    end, mark, p = 0, 0, first
    while p <= last:
        done = p - first
        if done == 2 * round_:
            mark = end
        elif done == 3 * round_ and last - p >= round_:
            times = (last - p) // round_
            by = times * (end - mark)
            for i in range(TABLE, TABLE + channels + round_):
                state[i] += by
            end += by
            p += times * round_
            if p > last:
                break
        channel = p % channels
        bus, die = TABLE + channel, TABLE + channels + channel * dies + p // channels % dies
        ready = max(state[die], -ahead) + state[READ]
        end_of_page = max(ready, state[bus]) + state[MOVE]
        state[bus] = end_of_page
        state[die] = end_of_page
        end = max(end, end_of_page)
        p += 1
    return end


@_jit
def step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Ticks to read `work` bytes from byte address `arg` on, in order; a `StepFunction` of the engine.

    Where the state follows streams, a transfer with the `arg` of the one before goes on where that one ended, and
    finds the page that it ended in still there. A transfer that follows another at once has waited in the queue: its
    pages were read from their dies while data of the other moved, and its last pages are left to the queue.
    """
    channels, dies = state[CHANNELS], state[DIES]
    by = (now - state[BASE]) * PARTS
    oldest = -2 * (state[READ] + state[MOVE])
    for i in range(TABLE, TABLE + channels + channels * dies):
        state[i] = max(state[i] - by, oldest)
    queued = now == state[END]
    state[BASE] = now
    address = arg
    if state[FOLLOWS] == 1:
        if state[STREAM] == arg:
            address = state[CURSOR]
        state[STREAM] = arg
        state[CURSOR] = address + work
    first, last = address // state[PAGE], (address + work - 1) // state[PAGE]
    if queued and address != arg and address % state[PAGE]:
        first += 1
    end = _pages(state, first, last, state[READ] if queued else 0)
    if queued:
        total = 0
        for i in range(TABLE, TABLE + channels):
            total += max(0, state[i])
        end = min(end, total // channels)
    ticks = max(1, -(-end // PARTS))
    state[END] = now + ticks
    return ticks


class Flash(Memory):
    """Flash that is read by pages; see the module. Writes go at the rate at which all dies program pages, beside reads.

    Capacity is that of all dies; both bandwidths follow. `cache_space` is what of it is reserved for KV caches.
    """

    kind: Literal["flash"] = "flash"
    on_chip: Annotated[bool, Field(description="Whether it is part of the chip.")] = False
    channels: Annotated[int, Field(ge=1, le=1024, description="Channels, which move pages at a time.")]
    dies: Annotated[int, Field(ge=1, le=1024, description="Dies of a channel, which read pages at a time.")]
    page: Annotated[Bytes, Field(description="What a die reads at once.")]
    page_read: Annotated[Time, Field(description="From the cells of a page to the register of its die (tR).")]
    page_program: Annotated[Time, Field(description="From the register of a die to the cells of a page (tPROG).")]
    channel_bandwidth: Annotated[Bandwidth, Field(description="Of a channel.")]
    cache_space: Annotated[
        Bytes | None, Field(description="Reserved for caches; the rest is for weights. No bounds unless given.")
    ] = None
    bandwidth: Annotated[Bandwidth | None, Field(description="Follows from channels and dies: leave it out.")] = None
    read_energy: Annotated[EnergyPerByte | None, Field(description="To read a byte.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="To write a byte.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"read": ENERGY_PER_BYTE, "write": ENERGY_PER_BYTE})

    @model_validator(mode="after")
    def _ports(self) -> Self:
        if (self.bandwidth, self.read_bandwidth, self.write_bandwidth) != (None, None, None):
            raise ValueError("bandwidths of flash follow from channels, dies and pages: leave them out")
        if self.capacity % (self.page * self.channels * self.dies):
            raise ValueError(f"pages of {self.page} bytes on {self.channels} channels of {self.dies} dies do not "
                             f"divide the capacity of {self.capacity} bytes")  # fmt: skip
        if not all(0 < x < math.inf for x in (self.page_read, self.page_program, self.channel_bandwidth)):
            raise ValueError("page_read, page_program and channel_bandwidth must be more than 0 and not unlimited")
        if self.page_program < self.page_read:
            raise ValueError(f"page_program of {self.page_program * 1e6:g} us is less than page_read of "
                             f"{self.page_read * 1e6:g} us, which no flash has")  # fmt: skip
        if self.cache_space is not None and self.cache_space > self.capacity:
            raise ValueError(f"cache_space of {self.cache_space} bytes is more than the capacity of {self.capacity}")
        return self

    @property
    def page_move_s(self) -> float:
        """Seconds that a page takes over its channel."""
        return self.page / self.channel_bandwidth

    def sustained(self, direction: Direction) -> float:
        """Bytes per second of long transfers of whole pages, by the formula of the module."""
        cell = self.page_read if direction == "read" else self.page_program
        each = max(self.page_move_s, (cell + self.page_move_s) / self.dies)
        return self.channels * self.page / each

    def moved_bytes(self, nbytes: int, chunk: int, share: float = 0.0) -> int:
        """Bytes of the pages that hold `nbytes` that lie in pieces of `chunk` bytes.

        Args:
            share: of the chunks, those that are wanted, any as likely as others: then those of one page come together,
                and 1 - (1 - share)^(page / chunk) of the pages have one. Otherwise every chunk has pages of its own.

        Raises:
            BadInput: `chunk` is less than 1, or the share is no part of the whole.
        """
        if chunk < 1:
            raise BadInput(f"memory `{self.name}`: chunks of {chunk} bytes (at least 1)")
        if not 0 <= share <= 1:
            raise BadInput(f"memory `{self.name}`: a share of {share:g} of the chunks (from 0 to 1)")
        if share and chunk < self.page:
            pages = nbytes / self.page / share * (1 - (1 - share) ** (self.page // chunk))
            return math.ceil(pages) * self.page
        whole, rest = divmod(nbytes, chunk)
        return (whole * -(-chunk // self.page) + -(-rest // self.page)) * self.page

    def port(self, direction: Direction) -> tuple[str, float] | None:
        """Reads and writes have a port each, at the rates of long transfers."""
        return f"{self.name}.{direction}", self.sustained(direction)

    def prices(self) -> Mapping[str, Price]:
        return {
            "read": Price("read_energy", self.read_energy, None),
            "write": Price("write_energy", self.write_energy, None),
        }

    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Server | None:
        """For reads a stateful server, see `step`; for writes one of constant rate."""
        if direction == "write":
            return port_server(self, direction, tick_hz)
        read, move = (math.ceil(Fraction(s) * tick_hz * PARTS) for s in (self.page_read, self.page_move_s))
        words = {END: -1, PAGE: self.page, CHANNELS: self.channels, DIES: self.dies, READ: read, MOVE: move,
                 STREAM: -1, FOLLOWS: int(streams)}  # fmt: skip
        head = [words.get(i, 0) for i in range(TABLE)]
        busy = [-2 * (read + move)] * (self.channels * (1 + self.dies))
        rate = rate_fraction(Fraction(self.channels * self.channel_bandwidth) / tick_hz, 2**20)
        return Server(f"{self.name}.read", rate, step=step, state=(*head, *busy), state_times=(BASE, END))
