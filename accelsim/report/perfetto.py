"""A Trace as a file for Perfetto (ui.perfetto.dev) and chrome://tracing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.labels import Action, ActorLabel
from ..engine.program import NONE, IntArray, Program
from ..engine.trace import Slices, Trace
from ..errors import BadInput

MOST_SLICES = 1_000_000
"""Firings that a file lists at most; viewers become slow beyond."""
WINDOWS = 1000
"""Stretches of equal length over which the use of servers is averaged."""
_COUNTERS = 1
"""Process of the counters; servers follow, then the actors without one."""


def write_perfetto(trace: Trace, path: str | Path, *, most: int = MOST_SLICES) -> Path:
    """Write the recorded slices as gzipped Chrome JSON trace events; returns the path.

    A server is a process, an actor on it a thread, a firing a slice named ``operator · tensor``. Times are microseconds
    with three decimals: exact when a tick is a whole number of nanoseconds, else rounded to the nearest one. Counters
    show the levels of the byte pools; for every memory the bytes of tiles in its buffers, each from the start of what
    brings it to the end of what uses it (tensors that stay are not among them); and the use of every server in percent,
    over a thousandth of the time shown. A firing counts as taking its bytes when it starts.

    If firings are left out, `cut_note` stands in the file, as ``otherData.cut`` and as an event where the list ends.
    The counters end there too; if the kernel has jumped over firings, so that there are holes, there are none.

    Args:
        trace: with slices; best of a run without jumps.
        path: of the file.
        most: firings to list; the others, the latest to start, are left out.

    Raises:
        BadInput: the Trace has no slices.
    """
    slices = _first(trace, most)
    until = _complete_until(trace, slices)
    note = cut_note(trace, most=most)
    head = {
        "displayTimeUnit": "ns",
        "otherData": {"program": trace.program.name, "finish_ticks": trace.finish,
                      "tick_hz": str(trace.program.tick_hz), "dropped_firings": slices.dropped,
                      **({"cut": note} if note else {})},
    }  # fmt: skip
    target = Path(path)
    with target.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=5, mtime=0, fileobj=file) as packed:
        packed.write(_json(head)[:-1] + b',"traceEvents":[')
        for i, event in enumerate(_events(trace, slices, until, note)):
            packed.write((b"," if i else b"") + _json(event))
        packed.write(b"]}")
    return target


def cut_note(trace: Trace, *, most: int = MOST_SLICES) -> str:
    """What `write_perfetto` leaves out, in words; empty if it is nothing. Raises BadInput without slices."""
    slices = _first(trace, most)
    if not slices.dropped:
        return ""
    listed = len(slices.actor)
    everything = listed + slices.dropped
    if trace.jumps:
        return (f"cut: {listed:,} of {everything:,} firings are listed; others were skipped where the network repeats "
                "itself")
    shown, end = (_ns(t, trace.program) / 1e6 for t in (_complete_until(trace, slices), trace.finish))
    return f"cut: the first {listed:,} of {everything:,} firings are listed, to {shown:.6g} ms of {end:.6g} ms"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _first(trace: Trace, most: int) -> Slices:
    slices = trace.slices
    if slices is None:
        raise BadInput("the trace holds no slices: run with record=N to list the first N firings")
    left = max(0, len(slices.actor) - most)
    return Slices(slices.actor[:most], slices.phase[:most], slices.start[:most], slices.end[:most],
                  dropped=slices.dropped + left)  # fmt: skip


def _complete_until(trace: Trace, slices: Slices) -> int:
    """The tick up to which every firing is known to be listed."""
    if not slices.dropped:
        return trace.finish
    return int(slices.start[-1]) if len(slices.start) and not trace.jumps else 0


def _events(trace: Trace, slices: Slices, until: int, note: str) -> Iterator[dict[str, Any]]:
    yield from _names(trace.program)
    yield from _firings(trace, slices)
    if until > 0:
        yield from _levels(trace.program, slices, until)
        yield from _tiles(trace.program, slices, until)
        yield from _use(trace.program, slices, until)
    if note:
        last = int(slices.start[-1]) if len(slices.start) else 0
        yield {"ph": "i", "s": "g", "pid": _COUNTERS, "tid": 0, "name": note, "ts": _ns(last, trace.program) / 1000}


def slice_name(program: Program, actor: int) -> str:
    """What a firing of the actor is called: its operator and tensor, else the actor's own name."""
    label = program.actor_labels[actor]
    if not isinstance(label, ActorLabel):
        return program.actor_names[actor]
    return f"{label.operator} · {label.tensor}" if label.tensor else label.operator


def _process(program: Program, actor: int) -> int:
    server = int(program.actor_server[actor])
    return _COUNTERS + 1 + (len(program.platform.servers) if server == NONE else server)


def _names(program: Program) -> Iterator[dict[str, Any]]:
    used = sorted({_process(program, a) for a in range(program.n_actors)})
    titles = ["counters", *(s.name for s in program.platform.servers), "no server"]
    for pid in [_COUNTERS, *used]:
        yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": titles[pid - _COUNTERS]}}
        yield {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": pid}}
    for a, name in enumerate(program.actor_names):
        yield {"ph": "M", "pid": _process(program, a), "tid": a + 1, "name": "thread_name", "args": {"name": name}}


def _firings(trace: Trace, slices: Slices) -> Iterator[dict[str, Any]]:
    program = trace.program
    columns = (slices.actor.tolist(), slices.phase.tolist(), slices.start.tolist(), slices.end.tolist())
    for actor, phase, start, end in zip(*columns, strict=True):
        first, last = _ns(start, program), _ns(end, program)
        label = program.actor_labels[actor]
        args: dict[str, Any] = {"start_tick": start, "end_tick": end, "work": int(program.phase_work[phase])}
        if isinstance(label, ActorLabel):
            args["role"] = label.role
        yield {"ph": "X", "pid": _process(program, actor), "tid": actor + 1, "name": slice_name(program, actor),
               "cat": args.get("role", "actor"), "ts": first / 1000, "dur": (last - first) / 1000,
               "args": args}  # fmt: skip


def _levels(program: Program, slices: Slices, until: int) -> Iterator[dict[str, Any]]:
    """Levels of the byte pools."""
    changes = [(0, pool.name, pool.used) for pool in program.platform.pools]
    names = [pool.name for pool in program.platform.pools]
    for phase, start, end in zip(slices.phase.tolist(), slices.start.tolist(), slices.end.tolist(), strict=True):
        pool = int(program.take_pool[phase])
        if pool != NONE:
            changes.append((start, names[pool], int(program.take_bytes[phase])))
        for i in range(int(program.give_ptr[phase]), int(program.give_ptr[phase + 1])):
            changes.append((end, names[int(program.give_pool[i])], -int(program.give_bytes[i])))
    yield from _counters(program, changes, until)


def _tiles(program: Program, slices: Slices, until: int) -> Iterator[dict[str, Any]]:
    """Bytes that the tiles passed from actor to actor hold in each memory."""
    memory, nbytes = _tile_bytes(program)
    filled: dict[int, list[int]] = {}
    emptied: dict[int, list[int]] = {}
    carried: dict[int, list[int]] = {}
    """Per FIFO and token: when its slot is taken, when it is free again, and the bytes in it."""
    for phase, start, end in zip(slices.phase.tolist(), slices.start.tolist(), slices.end.tolist(), strict=True):
        for i in range(int(program.in_ptr[phase]), int(program.in_ptr[phase + 1])):
            fifo, count = int(program.in_fifo[i]), int(program.in_take[i])
            if fifo in memory and count:
                freed = start if program.fifos[fifo].space_at_start else end
                emptied.setdefault(fifo, []).extend([freed] * count)
                if program.fifos[fifo].src != memory[fifo][1]:
                    carried.setdefault(fifo, []).extend([nbytes[phase] // count] * count)
        for i in range(int(program.out_ptr[phase]), int(program.out_ptr[phase + 1])):
            fifo, count = int(program.out_fifo[i]), int(program.out_put[i])
            if fifo in memory and count:
                filled.setdefault(fifo, []).extend([start] * count)
                if program.fifos[fifo].src == memory[fifo][1]:
                    carried.setdefault(fifo, []).extend([nbytes[phase] // count] * count)
    changes: list[tuple[int, str, int]] = []
    for fifo, starts in filled.items():
        name = f"{memory[fifo][0]}: tiles in buffers"
        # Tokens that are there from the start, such as credits, hold no tile; they are taken first.
        ends = emptied.get(fifo, [])[program.fifos[fifo].init :]
        amounts = carried.get(fifo, [])
        for k, start in enumerate(starts[: len(amounts)]):
            changes.append((start, name, amounts[k]))
            if k < len(ends):
                changes.append((ends[k], name, -amounts[k]))
    yield from _counters(program, changes, until)


def _tile_bytes(program: Program) -> tuple[dict[int, tuple[str, int]], list[int]]:
    """(FIFOs of tiles, with the memory that these are in and the actor that moves them; bytes each phase moves).

    A tile that is loaded lies in the memory written, one that is to be stored in the memory read.
    """
    nbytes = [0] * program.n_phases
    place: dict[int, str] = {}
    owner = program.actor_of_phase()
    for phase in range(program.n_phases):
        label = program.actor_labels[int(owner[phase])] if owner[phase] != NONE else None
        if not isinstance(label, ActorLabel) or not label.tensor:
            continue
        wanted = "write" if label.role == "load" else "read"
        for i in range(int(program.action_ptr[phase]), int(program.action_ptr[phase + 1])):
            action = program.actions[int(program.action_id[i])]
            if isinstance(action, Action) and action.action == wanted and action.peer and action.tensor == label.tensor:
                nbytes[phase] += int(program.action_count[i])
                place[int(owner[phase])] = action.component
    found: dict[int, tuple[str, int]] = {}
    for number, fifo in enumerate(program.fifos):
        for actor, user, role in ((fifo.src, fifo.dst, "load"), (fifo.dst, fifo.src, "store")):
            label, other = program.actor_labels[actor], program.actor_labels[user]
            moves = isinstance(label, ActorLabel) and label.role == role and actor in place
            if moves and isinstance(other, ActorLabel) and other.role == "compute":
                found[number] = (place[actor], actor)
    return found, nbytes


def _counters(program: Program, changes: list[tuple[int, str, int]], until: int) -> Iterator[dict[str, Any]]:
    """Counter events from (tick, counter, change in bytes)."""
    total: dict[tuple[int, str], int] = {}
    for tick, name, change in changes:
        if tick <= until:
            total[tick, name] = total.get((tick, name), 0) + change
    level: dict[str, int] = {}
    for (tick, name), change in sorted(total.items()):
        if change == 0 and name in level:
            continue
        level[name] = level.get(name, 0) + change
        yield {"ph": "C", "pid": _COUNTERS, "name": name, "ts": _ns(tick, program) / 1000,
               "args": {"bytes": level[name]}}  # fmt: skip


def _use(program: Program, slices: Slices, until: int) -> Iterator[dict[str, Any]]:
    """Share of each window in which a server serves, in percent; a firing served in pieces counts from end to end."""
    edges = np.unique(np.linspace(0, until, WINDOWS + 1).astype(np.int64))
    served = program.actor_server[slices.actor]
    for number, server in enumerate(program.platform.servers):
        mine = served == number
        if not mine.any():
            continue
        busy = np.diff(_covered(slices.start[mine], slices.end[mine], edges))
        percent = np.round(100 * busy / np.diff(edges), 2).tolist()
        last = None
        for tick, share in zip(edges.tolist(), [*percent, 0.0], strict=True):
            if share != last:
                yield {"ph": "C", "pid": _COUNTERS, "name": f"{server.name}: use", "ts": _ns(tick, program) / 1000,
                       "args": {"percent": share}}  # fmt: skip
            last = share


def _covered(start: IntArray, end: IntArray, edges: IntArray) -> IntArray:
    """[edge] ticks before each edge that lie in any of the intervals, which are in order of their starts."""
    reach = np.maximum.accumulate(end)
    first = np.maximum(start, np.concatenate([start[:1], reach[:-1]]))
    last = np.maximum(reach, first)
    before = np.concatenate([[0], np.cumsum(last - first)])
    n = np.searchsorted(last, edges, "right")
    part = np.zeros(len(edges), np.int64)
    inside = n < len(first)
    part[inside] = np.maximum(0, edges[inside] - first[n[inside]])
    result: IntArray = before[n] + part
    return result


def _ns(tick: int, program: Program) -> int:
    """Whole nanoseconds, to the nearest."""
    return round(Fraction(tick) * 1_000_000_000 / program.tick_hz)
