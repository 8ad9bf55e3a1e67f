"""What a phase comes to: times of its stages, streams between them, loads and stores, and bytes on the chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, isqrt, lcm
from typing import TypeAlias

from ...components.pipelined import Timing
from ...errors import DoesNotFit
from ...mapping.phases import Phase, Stage
from .handover import hands_on, walks
from .plan import Fabric, stage_timing
from .task import Read, Task, TaskGraph


@dataclass(frozen=True)
class Stream:
    """A result that passes between two stages of a phase.

    Attributes:
        tokens: pieces in which it passes, a multiple of both stages' firings; 1 when it passes as a whole.
        ahead: pieces that the reader needs beyond its own.
        latency: cycles on the way, beside those of the maker.
    """

    maker: str
    reader: str
    tensor: str
    tokens: int
    ahead: int
    latency: int
    nbytes: int
    depth: int
    """Pieces that have room on the way: two of the larger kind, those ahead, those that the latency takes, and those
    that wait until what the reader needs beside them is there."""

    @property
    def whole(self) -> bool:
        return self.tokens == 1


@dataclass(frozen=True)
class Transfer:
    """A tensor that comes from or goes to off-chip memory, `total` bytes in so many pieces.

    `slots` of them have room on the chip: one in use, one on its way, and those that the latency of the memory takes.
    """

    task: str
    tensor: str
    pieces: int
    total: int
    slots: int
    again: bool = False
    """Every piece is the whole tensor."""
    stored: str = ""
    """Name of the tensor in memory, of which this may be a part."""

    @property
    def piece(self) -> int:
        """Bytes of the largest piece; others have one less."""
        return -(-self.total // self.pieces)


@dataclass(frozen=True)
class Layout:
    """A phase, worked out.

    Attributes:
        timings: of each stage, by task.
        loads, stores: through off-chip memory; one piece is loaded before the first firing, or one for each firing.
        nbytes: on the chip while the phase runs, in whole blocks, what it only keeps for others included.
    """

    stages: tuple[Stage, ...]
    timings: Mapping[str, Timing]
    streams: tuple[Stream, ...]
    loads: tuple[Transfer, ...]
    stores: tuple[Transfer, ...]
    rates: tuple[Fraction, ...]
    """Bytes per cycle of each load, then of each store."""
    nbytes: int
    used: Mapping[str, int]
    """The same by what it is for."""


def whole_rate(fabric: Fabric) -> Fraction:
    """Bytes per cycle to and from off-chip memory: of all ports, or of the one channel."""
    return fabric.channel_rate if fabric.port_rate is None else fabric.port_rate * (fabric.pool.ports or 1)


def rates_of(fabric: Fabric, transfers: Sequence[Transfer]) -> tuple[Fraction, ...]:
    """Bytes per cycle of off-chip streams that run at once.

    Ports are shared out by bytes, one at least to each; with more streams than ports, streams take turns at them.
    Without ports all pass through one channel, whose rate this is.
    """
    ports = fabric.pool.ports
    if fabric.port_rate is None or ports is None:
        return (fabric.channel_rate,) * len(transfers)
    shares = [1] * len(transfers)
    for _ in range(ports - len(transfers) if transfers else 0):
        most = max(range(len(transfers)), key=lambda i: (transfers[i].total / shares[i], -i))
        shares[most] += 1
    return tuple(fabric.port_rate * n for n in shares)


def lay_out(graph: TaskGraph, fabric: Fabric, phase: Phase, held: frozenset[str], name: str = "phase") -> Layout:
    """Work out a phase.

    Args:
        held: tensors of earlier phases that are on the chip.
        name: of the phase, for messages.

    Raises:
        DoesNotFit: its data do not fit on the chip, or a task is unrolled to more multipliers than it has.
    """
    found = work_out(graph, fabric, phase, held)
    if found.nbytes > fabric.capacity:
        most = ", ".join(f"{what} {n}" for what, n in sorted(found.used.items(), key=lambda x: -x[1])[:4])
        raise DoesNotFit(f"{name} of {graph.name}: {found.nbytes} bytes in {fabric.on_chip}, which has "
                         f"{fabric.capacity} ({most})")  # fmt: skip
    return found


_Key: TypeAlias = tuple[str, int, str, int]
"""Of a stage: its task, cores, outermost rank and pieces."""


class _Known:
    """What was worked out of the stages of a graph on a fabric, each once, whatever else is in the phase."""

    def __init__(self, graph: TaskGraph, fabric: Fabric) -> None:
        self._graph, self._fabric = graph, fabric
        self._in_flight = float(whole_rate(fabric)) * fabric.cycles(fabric.latency_s)
        self._timings: dict[_Key, Timing] = {}
        self._taken: dict[tuple[_Key, tuple[str, ...]], tuple[tuple[Read, Transfer, int], ...]] = {}
        self._streams: dict[tuple[_Key, _Key, str, int], dict[int, Stream]] = {}
        self._stored: dict[_Key, Transfer] = {}

    @staticmethod
    def of(graph: TaskGraph, fabric: Fabric) -> _Known:
        """Kept with the graph."""
        found = graph.memo.get(fabric)
        if found is None:
            found = graph.memo[fabric] = _Known(graph, fabric)
        assert isinstance(found, _Known)  # nothing else is kept under a fabric
        return found

    def timing(self, key: _Key, stage: Stage) -> Timing:
        found = self._timings.get(key)
        if found is None:
            found = self._timings[key] = stage_timing(self._graph.by_name[stage.task], stage, self._fabric)
        return found

    def taken(self, key: _Key, stage: Stage) -> tuple[tuple[Read, Transfer, int], ...]:
        """What a stage reads, each with the load that it takes if it is not on the chip, and bytes for that."""
        found = self._taken.get((key, stage.resident))
        if found is None:
            task, time = self._graph.by_name[stage.task], self._timings[key]
            loads = [(read, _load(task, stage, time, read, self._in_flight))
                     for read in _distinct(task.reads, stage.outer)]  # fmt: skip
            found = tuple((read, load, _buffered(load, read, task, self._fabric.block)) for read, load in loads)
            self._taken[key, stage.resident] = found
        return found

    def stream(self, made: _Key, key: _Key, read: Read, latency: int) -> dict[int, Stream]:
        """By depth, what passes from one stage to another so far away; the first is as deep as they ask for."""
        found = self._streams.get((made, key, read.tensor, latency))
        if found is None:
            stream = _stream(self._graph.by_name[made[0]], made[2], self._timings[made],
                             self._graph.by_name[key[0]], key[2], self._timings[key], read, latency)  # fmt: skip
            found = self._streams[made, key, read.tensor, latency] = {stream.depth: stream}
        return found

    def store(self, key: _Key) -> Transfer:
        """What a stage writes to memory: at once where its outermost rank is reduced."""
        found = self._stored.get(key)
        if found is None:
            task, time = self._graph.by_name[key[0]], self._timings[key]
            pieces = 1 if _reduced(task, key[2]) else time.firings
            slots = min(pieces, 2 + ceil(time.latency / max(1, time.cycles)))
            found = Transfer(task.name, task.output, pieces, task.output_bytes, slots, stored=task.output)
            self._stored[key] = found
        return found


def _reduced(task: Task, outer: str) -> bool:
    return bool(outer) and outer not in task.output_dims


def work_out(graph: TaskGraph, fabric: Fabric, phase: Phase, held: frozenset[str]) -> Layout:
    """`lay_out` of a phase that may be larger than the memory."""
    known = _Known.of(graph, fabric)
    keys = {s.task: (s.task, s.cores, s.outer, s.pieces) for s in phase.stages}
    tasks = {name: graph.by_name[name] for name in keys}
    timings = {s.task: known.timing(keys[s.task], s) for s in phase.stages}
    places = _places(phase, fabric)
    passed: list[dict[int, Stream]] = []
    loads: list[Transfer] = []
    used: dict[str, int] = {}
    for name in sorted(held):
        used[name] = graph.makers[name].output_bytes
    for stage in phase.stages:
        key = keys[stage.task]
        for read, load, nbytes in known.taken(key, stage):
            maker = graph.makers.get(read.tensor)
            if maker is not None and maker.name in tasks:
                hops = abs(places[maker.name] - places[stage.task])
                passed.append(known.stream(keys[maker.name], key, read, ceil(hops * fabric.pool.hop_latency)))
            elif read.tensor not in held:
                loads.append(load)
                used[f"{read.tensor} for {stage.task}"] = nbytes
    streams = _roomy(passed, timings)
    inside: dict[str, list[Stream]] = {}
    for s in streams:
        inside.setdefault(s.tensor, []).append(s)
    stores = []
    for task in tasks.values():
        outer, given = keys[task.name][2], inside.get(task.output, ())
        leaves = task.persistent or (task.output not in phase.keep and _leaves(graph, task, tasks))
        if task.output in phase.keep or any(s.whole for s in given) or not outer or _reduced(task, outer):
            used[task.output] = task.output_bytes
        for s in given:
            if not s.whole and task.output not in used:
                used[f"{s.tensor} to {s.reader}"] = min(s.nbytes, -(-s.nbytes * s.depth // s.tokens))
        if leaves and task.output_bytes:
            store = known.store(keys[task.name])
            stores.append(store)
            if task.output not in used:
                used[f"{task.output} to memory"] = store.slots * store.piece
    total = sum(fabric.blocks(n) for n in used.values())
    rates = rates_of(fabric, (*loads, *stores))
    return Layout(phase.stages, timings, tuple(streams), tuple(loads), tuple(stores), rates, total, used)


def _leaves(graph: TaskGraph, task: Task, here: Mapping[str, Task]) -> bool:
    """Whether its result is needed beyond this phase."""
    readers = graph.readers[task.output]
    return not readers or any(r not in here for r in readers)


def _stream(
    maker: Task, made_outer: str, made_time: Timing, task: Task, outer: str, time: Timing, read: Read, latency: int
) -> Stream:
    wait = made_time.latency + latency
    if not hands_on(maker, made_outer, outer, read):
        return Stream(maker.name, task.name, read.tensor, 1, 0, wait, read.nbytes, 1)
    tokens = lcm(made_time.firings, time.firings)
    rows = maker.sizes[made_outer]
    ahead = min(tokens, -(-read.ahead * tokens // rows))
    put, take = tokens // made_time.firings, tokens // time.firings
    depth = 2 * max(put, take) + ahead + put * ceil(wait / max(1, made_time.cycles))
    return Stream(maker.name, task.name, read.tensor, tokens, ahead, wait, read.nbytes, depth)


def _roomy(passed: Sequence[dict[int, Stream]], timings: Mapping[str, Timing]) -> list[Stream]:
    """Streams that hold what their maker is ahead of its reader, so that paths that meet again never block.

    A stage lags behind what is upstream by the pieces that it waits for, as fractions of the whole, and by all of it
    where something passes as a whole. Stages come in the order of `timings`. Streams are given by their depth; those
    that are made deeper are added.
    """
    slowest = max(t.total for t in timings.values())
    streams = [next(iter(depths.values())) for depths in passed]
    grains = [1.0 if s.whole else _grain(s, timings[s.maker], timings[s.reader], slowest) for s in streams]
    lags: dict[str, float] = {}
    into: dict[str, list[tuple[str, float]]] = {name: [] for name in timings}
    for s, grain in zip(streams, grains, strict=True):
        into[s.reader].append((s.maker, grain))
    for name in timings:
        lags[name] = max((lags[maker] + grain for maker, grain in into[name]), default=0.0)
    found = []
    for s, grain, depths in zip(streams, grains, passed, strict=True):
        if not s.whole:
            waiting = max(0.0, lags[s.reader] - lags[s.maker] - grain)
            if waiting or s.depth > s.tokens:
                depth = min(s.tokens, s.depth + ceil(waiting * s.tokens))
                if depth not in depths:
                    depths[depth] = replace(s, depth=depth)
                s = depths[depth]
        found.append(s)
    return found


def _grain(s: Stream, made: Timing, time: Timing, slowest: int) -> float:
    """The part of a tensor that must be made before its reader can begin."""
    return 1 / made.firings + 1 / time.firings + s.ahead / s.tokens + s.latency / max(1, slowest)


def _load(task: Task, stage: Stage, time: Timing, read: Read, in_flight: float) -> Transfer:
    """Streamed where the outermost loop walks along it, else whole once, or again for every firing."""
    if time.firings == 1 or read.name in stage.resident:
        return Transfer(task.name, read.tensor, 1, read.nbytes, 1, stored=read.name)
    again = walks(read, stage.outer) is None
    total = read.nbytes * (time.firings if again else 1)
    slots = 2 + ceil(in_flight * time.firings / max(1, total))
    return Transfer(task.name, read.tensor, time.firings, total, slots, again, read.name)


def _buffered(load: Transfer, read: Read, task: Task, block: int) -> int:
    """Bytes on the chip: all of a tensor that is loaded once, the slots of one that streams past.

    One that is loaded again for every firing streams past too, in pieces of the same size. Of one whose elements are
    used once each, two blocks wait at most.
    """
    if load.pieces == 1:
        return read.nbytes
    piece = -(-read.nbytes // load.pieces)
    index = {r for ranks in read.dims for r in ranks}
    once = all(n == 1 or r in index for r, n in task.sizes.items())
    return min(load.slots * piece, 2 * block) if once else load.slots * piece


def _distinct(reads: Sequence[Read], outer: str) -> list[Read]:
    """The reads of a task, each tensor once: of several ways to read it, one that `outer` does not walk along."""
    found: dict[str, Read] = {}
    for read in reads:
        if read.tensor not in found or walks(read, outer) is None:
            found[read.tensor] = read
    return list(found.values())


def _places(phase: Phase, fabric: Fabric) -> Mapping[str, float]:
    """Where stages lie along the mesh, in hops: strips of cores, column by column, in the order of the stages."""
    rows = fabric.pool.grid[0] if fabric.pool.grid else max(1, isqrt(fabric.pool.cores))
    places, start = {}, 0
    for stage in phase.stages:
        places[stage.task] = (start + stage.cores / 2) / rows
        start += stage.cores
    return places
