# ruff: noqa: N815 (joules are J)
"""Requests of a trace through a DRAM: a request-level model in which every command keeps every time of the device.

Each channel has a read and a write queue, and behind them a queue per bank. Reads go to the banks as they come; writes
wait until their queue fills to a mark, then drain. FR-FCFS: of all banks the command that can go first does, column
commands before row commands, then the older request; a bank takes the first request that hits its open row.

What it leaves out: ranks, refresh of single banks, power-down, and answers to reads from the write queue.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import AddressBeyondCapacity, BadInput
from .dram_timing import DEFAULT_MAPPING, AddressMapping, DramDevice

if TYPE_CHECKING:
    from .dram_check import Command

IntArray = NDArray[np.int64]
ShortArray = NDArray[np.int32]
PagePolicy = Literal["open", "closed", "adaptive"]
PAGE_POLICIES: tuple[PagePolicy, ...] = ("open", "closed", "adaptive")


@dataclass(frozen=True)
class Controller:
    """How requests are scheduled.

    Attributes:
        page: ``open`` leaves a row open until another one is wanted; ``closed`` closes it once nothing in the bank's
            queue hits it; ``adaptive`` does one or the other by a two-bit counter per bank of conflicts less mistakes.
        read_queue, write_queue: requests that wait for a bank's queue, of each pseudo-channel.
        bank_queue: requests of a bank that can be chosen from, reads and writes together once these drain. 0: all that
            wait; then only one of reads and writes is chosen from at a time, and the queues hold those as well, but
            for one per bank, whose row has been opened for it.
        drain_high, drain_low: writes waiting at which draining begins, and that it leaves, of each pseudo-channel.
        hit_cap: hits in a row after which an older request to the bank closes the row; 0: any number.
        outstanding: most requests on their way through all channels, shared out evenly; 0: any number.
        delay: cycles that an answer spends in the controller.
        refresh: whether to refresh.
    """

    page: PagePolicy = "open"
    read_queue: int = 32
    write_queue: int = 32
    bank_queue: int = 0
    drain_high: int = 26
    drain_low: int = 6
    hit_cap: int = 0
    outstanding: int = 0
    delay: int = 0
    refresh: bool = True

    def __post_init__(self) -> None:
        if self.page not in PAGE_POLICIES:
            raise BadInput(f"page policy `{self.page}` ({', '.join(PAGE_POLICIES)})")
        if (
            self.read_queue < 1
            or self.write_queue < 1
            or min(self.bank_queue, self.hit_cap, self.outstanding, self.delay) < 0
        ):
            raise BadInput("controller: queues hold at least one request, and nothing is negative")
        if not 0 <= self.drain_low < self.drain_high <= self.write_queue:
            raise BadInput(f"controller: 0 <= drain_low < drain_high <= write_queue, not {self.drain_low}, "
                           f"{self.drain_high}, {self.write_queue}")  # fmt: skip


SIDE_BY_SIDE = 50_000
"""Requests from which on channels are served by several threads."""


@dataclass(frozen=True, eq=False)
class TraceResult:
    """What a trace took.

    Attributes:
        cycles: from 0 to the last data, of the slowest channel.
        latency_cycles: mean of reads, from their time in the trace (or, with `outstanding`, from when they may go).
        done: cycle at which the data of each request has been moved, in the order of the trace.
        energy_J: by ``activate``, ``read``, ``write``, ``refresh``, ``standby``.
        commands: of every channel, in order of time; empty unless asked for.
    """

    device: DramDevice
    cycles: int
    reads: int
    writes: int
    row_hits: int
    activates: int
    precharges: int
    refreshes: int
    latency_cycles: float
    done: IntArray
    energy_J: Mapping[str, float]
    commands: tuple[tuple[Command, ...], ...] = ()

    @property
    def seconds(self) -> float:
        return self.cycles * self.device.clock_s

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return (self.reads + self.writes) * self.device.burst_bytes / self.seconds if self.cycles else 0.0

    @property
    def hit_rate(self) -> float:
        """Share of requests that found their row open."""
        return self.row_hits / max(1, self.reads + self.writes)


@dataclass(frozen=True, eq=False)
class Located:
    """Requests by where they go: channel, bank within it, row and column."""

    channel: ShortArray
    bank: ShortArray
    row: ShortArray
    column: ShortArray


def locate(device: DramDevice, mapping: str, addresses: IntArray) -> Located:
    """Where byte addresses lie.

    Raises:
        AddressBeyondCapacity: the first one outside of the device's capacity.
    """
    from .dram_kernel import decode

    if len(addresses) and (addresses.min() < 0 or addresses.max() >= device.capacity):
        i = int(np.flatnonzero((addresses < 0) | (addresses >= device.capacity))[0])
        where = f"{device.capacity:#x} bytes of {device.name}, {device.channels} channels"
        raise AddressBeyondCapacity(f"request {i}: address {int(addresses[i]):#x} is outside of the {where}")
    words = AddressMapping(mapping, device).words()
    shape = np.array([device.bank_groups, device.banks_per_group], np.int64)
    found = Located(*(np.empty(len(addresses), np.int32) for _ in range(4)))
    burst_bits = device.burst_bytes.bit_length() - 1
    decode(addresses, words, burst_bits, shape, found.channel, found.bank, found.row, found.column)
    return found


def run_trace(
    device: DramDevice,
    addresses: IntArray,
    writes: NDArray[np.bool_] | None = None,
    times: IntArray | None = None,
    *,
    mapping: str = DEFAULT_MAPPING,
    controller: Controller | None = None,
    commands: int = 0,
) -> TraceResult:
    """Serve requests of one burst each.

    Args:
        addresses: [request] bytes.
        writes: [request] whether it writes; None: all read.
        times: [request] cycle at which it comes, never falling; None: all at 0.
        commands: keep up to so many commands of each channel.

    Raises:
        BadInput: arrays that do not fit together.
        AddressBeyondCapacity: an address outside of the device.
    """
    from . import dram_kernel as kernel

    controller = controller or Controller()
    n = len(addresses)
    wanted = np.zeros(n, np.uint8) if writes is None else np.ascontiguousarray(writes, np.bool_).view(np.uint8)
    arrival = np.empty(0, np.int64) if times is None else np.asarray(times, np.int64)
    if len(wanted) != n or len(arrival) != (0 if times is None else n):
        raise BadInput(f"trace: {n} addresses, {len(wanted)} kinds, {n if times is None else len(arrival)} times")
    if times is not None and n and (arrival[0] < 0 or np.any(arrival[1:] < arrival[:-1])):
        raise BadInput("trace: times must not be negative nor fall")
    t, p = device.timing.words(), _policy(device, controller)
    if not controller.refresh:
        t[kernel.REFI] = 0
    banks, rows, kinds, came, ends, order = _dealt(device, mapping, addresses, wanted, arrival)
    done = np.empty(n, np.int64)

    def channel(part: slice) -> tuple[IntArray, kernel.Log]:
        out, count = np.zeros(10, np.int64), part.stop - part.start
        log = kernel.Log(*(np.empty(commands if count else 0, np.int64) for _ in range(4)))
        if count:
            work = kernel.fresh(count, p)
            kernel.serve(t, p, banks[part], rows[part], kinds[part], came[part], done[part], work, out, log)
        if out[kernel.FINISH] < 0:
            raise RuntimeError("the DRAM model stopped with requests left")
        return out, kernel.Log(*(x[: int(out[kernel.LOGGED])] for x in log))

    parts = [slice(begin, end) for begin, end in pairwise((0, *ends))]
    threads = min(len(parts), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if threads > 1 and n >= SIDE_BY_SIDE:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(channel, parts))
    else:
        found = [channel(part) for part in parts]
    totals = np.sum([out for out, _ in found], axis=0)
    cycles = max(int(out[kernel.FINISH]) for out, _ in found)
    if order is not None:
        served, done = done, np.empty(n, np.int64)
        kernel.gather(order, served, done)
    read, written = int(totals[kernel.READS]), int(totals[kernel.WRITES])
    acts, refs = int(totals[kernel.ACTS]), int(totals[kernel.REFS])
    return TraceResult(
        device, cycles, read, written, int(totals[kernel.HITS]), acts, int(totals[kernel.PRES]), refs,
        float(totals[kernel.LATENCY]) / max(1, read), done, _energy(device, cycles, read, written, acts, refs),
        tuple(_commands(log) for _, log in found) if commands else (),
    )  # fmt: skip


def _dealt(
    device: DramDevice, mapping: str, addresses: IntArray, kinds: NDArray[np.uint8], arrival: IntArray
) -> tuple[ShortArray, ShortArray, NDArray[np.uint8], IntArray, list[int], ShortArray | None]:
    """Banks, rows, kinds and times of the requests, channel by channel; where each channel's end; and which request of
    the trace each is, None where there is one channel."""
    from .dram_kernel import deal

    n = len(kinds)
    at = locate(device, mapping, np.ascontiguousarray(addresses, np.int64))
    if device.channels == 1:
        return at.bank, at.row, kinds, arrival, [n], None
    ends, order = np.zeros(device.channels, np.int64), np.empty(n, np.int32)
    banks, rows, dealt = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8)
    came = np.empty(len(arrival), np.int64)
    deal(at.channel, at.bank, at.row, kinds, arrival, ends, order, banks, rows, dealt, came)
    return banks, rows, dealt, came, ends.tolist(), order


def _policy(device: DramDevice, c: Controller) -> IntArray:
    """The policy table of `dram_kernel`."""
    apart, each = not c.bank_queue, device.pseudo_channels
    reads = c.read_queue * each + (device.banks if apart else 0)
    writes = c.write_queue * each
    return np.array(
        [device.pseudo_channels, device.bank_groups, device.banks_per_group, PAGE_POLICIES.index(c.page), c.hit_cap,
         c.bank_queue or max(reads, writes), reads, writes, c.drain_high * each, c.drain_low * each,
         -(-c.outstanding // device.channels), device.split_bus, apart, c.delay],
        np.int64,
    )  # fmt: skip


def _energy(device: DramDevice, cycles: int, reads: int, writes: int, acts: int, refs: int) -> Mapping[str, float]:
    per = device.energies()
    return {
        "activate": acts * per["activate"],
        "read": reads * per["read"],
        "write": writes * per["write"],
        "refresh": refs * per["refresh"],
        "standby": per["standby_W"] * cycles * device.clock_s * device.channels,
    }


def _commands(log: tuple[IntArray, ...]) -> tuple[Command, ...]:
    from .dram_check import KINDS, Command

    found = [Command(t, KINDS[k], b, r) for t, k, b, r in zip(*(x.tolist() for x in log), strict=True)]
    return tuple(sorted(found, key=lambda c: c.time))
