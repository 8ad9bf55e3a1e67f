"""Rows of a table in host memory, read by a device in requests of its own, or gathered by the host and sent.

A device that reads by itself asks for a few sectors at a time and has so many requests on the way: it gets
min(B s / (s + h), n s / (l + (s + h) / B)) bytes per second in requests of s bytes with headers of h, n of them at
once, over a link of B bytes per second with a latency of l. The host copies rows to a buffer, and the buffer is sent
whole while the next one fills. Pages that move on a fault are rows of the size of a page, with the time of a fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil

from ...components.base import server_rate
from ...engine import compiled
from ...engine.program import Server
from ...errors import BadInput
from ...lowering.sites import SiteProblem, Stage, Task, Way, program_of
from .reads import DRIVE, Drive

TICK_HZ = 10**12
HOST, LINK = "host", "link"


@dataclass(frozen=True)
class Reads:
    """What a simulation of reads comes to: seconds, and bytes on the link, headers included."""

    seconds: float
    link_bytes: int


@dataclass(frozen=True)
class Reader:
    """A device that reads by itself.

    Attributes:
        bandwidth: bytes per second of the link, headers included.
        header: bytes on the link for every request that is answered.
        sector: bytes that a request has at least, and in multiples of which it comes.
        largest: bytes of a request at most.
        outstanding: requests on the way at once.
        latency_s: from a request to its answer's beginning.

    Raises:
        BadInput: sizes, rates or numbers that cannot be.
    """

    bandwidth: float
    header: int
    sector: int
    largest: int
    outstanding: int
    latency_s: float

    def __post_init__(self) -> None:
        if not (self.bandwidth > 0 and self.latency_s > 0 and self.header >= 0 and self.outstanding >= 1):
            raise BadInput(f"a reader has a bandwidth, a latency, requests on the way, and headers from 0: {self}")
        if self.sector < 1 or self.largest < self.sector or self.largest % self.sector:
            raise BadInput(f"requests come in sectors, the largest a multiple of them: {self.largest} bytes in sectors "
                           f"of {self.sector}")  # fmt: skip

    def requests(self, row: int) -> tuple[int, int]:
        """Requests for a row that begins with a sector, and bytes of each: as even as sectors allow."""
        sectors, most = ceil(row / self.sector), self.largest // self.sector
        number = ceil(sectors / most)
        return number, ceil(sectors / number) * self.sector

    @cached_property
    def _drive(self) -> Drive:
        """What the link is to its requests: threads that wait for the latency and for their bytes."""
        sizes = (self.header + self.sector, self.header + self.largest + self.sector)
        measured = [(s, self.outstanding * s / (self.latency_s + s / self.bandwidth)) for s in sizes]
        return Drive(self.bandwidth, self.outstanding, tuple(measured))

    def read(self, rows: int, row: int) -> Reads:
        """Simulate reading `rows` rows of `row` bytes, wherever they lie. Raises BadInput for none, or empty ones."""
        _check(rows, row)
        each, size = self.requests(row)
        number, chunk = rows * each, size + self.header
        stages = self._drive.stages("requests", number, chunk, TICK_HZ, (), 0)
        return Reads(_run(stages, self._drive.servers(TICK_HZ)) / TICK_HZ, number * chunk)


@dataclass(frozen=True)
class Gatherer:
    """A host that gathers rows into buffers and sends these.

    Attributes:
        row_s: seconds for every row, besides its bytes.
        copying: bytes per second at which rows are copied to a buffer.
        buffer: bytes that are sent at once.
        call_s: seconds until a buffer that is full begins to be sent.
        bandwidth: bytes per second of what is sent in large pieces.
    """

    row_s: float
    copying: float
    buffer: int
    call_s: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not (self.copying > 0 and self.bandwidth > 0 and self.buffer > 0) or min(self.row_s, self.call_s) < 0:
            raise BadInput(f"a host that gathers has rates and a buffer above 0, and times from 0: {self}")

    def read(self, rows: int, row: int) -> Reads:
        """Simulate it, buffer after buffer. Raises BadInput as `Reader.read`."""
        _check(rows, row)
        buffers = ceil(rows * row / self.buffer)
        gathering = max(buffers, round(rows * (self.row_s + row / self.copying) * TICK_HZ))
        calls = max(buffers, round(buffers * self.call_s * TICK_HZ))
        stages = [
            Stage("gather", HOST, gathering, buffers),
            Stage("call", "engine", calls, buffers, follows=(0,)),
            Stage("send", LINK, rows * row, buffers, follows=(1,)),
        ]
        servers = {HOST: Server(HOST), "engine": Server("engine"), LINK: _link(self.bandwidth)}
        return Reads(_run(stages, servers) / TICK_HZ, rows * row)


def copied(nbytes: int, bandwidth: float, call_s: float) -> Reads:
    """All of a table at once. Raises BadInput for an empty one."""
    _check(1, nbytes)
    stages = [Stage("call", "engine", max(1, round(call_s * TICK_HZ))), Stage("send", LINK, nbytes, after=(0,))]
    return Reads(_run(stages, {"engine": Server("engine"), LINK: _link(bandwidth)}) / TICK_HZ, nbytes)


def _link(bandwidth: float) -> Server:
    return Server(LINK, server_rate(LINK, bandwidth, Fraction(TICK_HZ)))


def _check(rows: int, row: int) -> None:
    if min(rows, row) < 1:
        raise BadInput(f"{rows} rows of {row} bytes: one row of one byte is the least that can be read")


def _run(stages: list[Stage], servers: dict[str, Server]) -> int:
    task = Task("read", (Way(DRIVE, tuple(stages)),))
    return compiled.run(program_of(SiteProblem("reads", TICK_HZ, servers, (task,)), [0])).finish
