"""A Trace as a file for Perfetto (ui.perfetto.dev) and chrome://tracing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..engine.labels import ActorLabel
from ..engine.program import NONE, Program
from ..engine.trace import Slices, Trace
from ..errors import BadInput

_POOLS = 1
"""Process of the counters; servers follow, then the actors without one."""


def write_perfetto(trace: Trace, path: str | Path) -> Path:
    """Write the recorded slices as gzipped Chrome JSON trace events; returns the path.

    A server is a process, an actor on it a thread, a firing a slice named ``operator · tensor``. Times are microseconds
    with three decimals: exact when a tick is a whole number of nanoseconds, else rounded to the nearest one. Levels of
    the byte pools are counters, if every firing was recorded; a firing counts as taking its bytes when it starts.

    Raises:
        BadInput: the Trace has no slices.
    """
    if trace.slices is None:
        raise BadInput("the trace holds no slices: run with record=N to list the first N firings")
    events = [*_names(trace.program), *_firings(trace, trace.slices), *_levels(trace, trace.slices)]
    content = {
        "displayTimeUnit": "ns",
        "otherData": {"program": trace.program.name, "finish_ticks": trace.finish,
                      "tick_hz": str(trace.program.tick_hz), "dropped_firings": trace.slices.dropped},
        "traceEvents": events,
    }  # fmt: skip
    target = Path(path)
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    with target.open("wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed:
        packed.write(text.encode())
    return target


def slice_name(program: Program, actor: int) -> str:
    """What a firing of the actor is called: its operator and tensor, else the actor's own name."""
    label = program.actor_labels[actor]
    if not isinstance(label, ActorLabel):
        return program.actor_names[actor]
    return f"{label.operator} · {label.tensor}" if label.tensor else label.operator


def _process(program: Program, actor: int) -> int:
    server = int(program.actor_server[actor])
    return _POOLS + 1 + (len(program.platform.servers) if server == NONE else server)


def _names(program: Program) -> Iterator[dict[str, Any]]:
    used = sorted({_process(program, a) for a in range(program.n_actors)})
    titles = ["byte pools", *(s.name for s in program.platform.servers), "no server"]
    for pid in [*([_POOLS] if program.platform.pools else []), *used]:
        yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": titles[pid - _POOLS]}}
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


def _levels(trace: Trace, slices: Slices) -> Iterator[dict[str, Any]]:
    program = trace.program
    if slices.dropped or not program.platform.pools:
        return
    changes: dict[tuple[int, int], int] = {(0, k): p.used for k, p in enumerate(program.platform.pools)}
    for phase, start, end in zip(slices.phase.tolist(), slices.start.tolist(), slices.end.tolist(), strict=True):
        pool = int(program.take_pool[phase])
        if pool != NONE:
            changes[start, pool] = changes.get((start, pool), 0) + int(program.take_bytes[phase])
        for i in range(int(program.give_ptr[phase]), int(program.give_ptr[phase + 1])):
            key = (end, int(program.give_pool[i]))
            changes[key] = changes.get(key, 0) - int(program.give_bytes[i])
    level = [0] * len(program.platform.pools)
    for (tick, pool), change in sorted(changes.items()):
        level[pool] += change
        yield {"ph": "C", "pid": _POOLS, "name": program.platform.pools[pool].name, "ts": _ns(tick, program) / 1000,
               "args": {"bytes": level[pool]}}  # fmt: skip


def _ns(tick: int, program: Program) -> int:
    """Whole nanoseconds, to the nearest."""
    return round(Fraction(tick) * 1_000_000_000 / program.tick_hz)
