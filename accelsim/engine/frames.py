"""A Trace as pandas tables. Labels of actors are opaque here: a dataclass gives one column per field."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .program import CAUSES, NONE, Program

if TYPE_CHECKING:
    import pandas

    from .trace import Trace


def to_dataframe(trace: Trace, kind: str) -> pandas.DataFrame:
    """One row per actor, server, FIFO, pool or recorded slice; times in ticks.

    Raises:
        BadInput: no such table, or slices of a Trace that recorded none.
    """
    makers = {"actors": _actors, "servers": _servers, "fifos": _fifos, "pools": _pools, "slices": _slices}
    if kind not in makers:
        raise BadInput(f"a Trace has no table '{kind}' (has: {', '.join(makers)})")
    import pandas

    return pandas.DataFrame(makers[kind](trace))


def _actors(trace: Trace) -> dict[str, Any]:
    program = trace.program
    stalls = {f"stall_{cause}": trace.stall[:, i] for i, cause in enumerate(CAUSES)}
    return {
        "actor": list(program.actor_names),
        **_labels(program.actor_labels),
        "server": [_server_name(program, a) for a in range(program.n_actors)],
        "firings": trace.firings,
        "start": trace.start,
        "end": trace.end,
        "busy": trace.busy,
        **stalls,
    }


def _labels(labels: Sequence[Hashable]) -> dict[str, list[Any]]:
    kinds = {type(label) for label in labels if label is not None}
    if len(kinds) == 1 and is_dataclass(kind := kinds.pop()):
        return {f.name: [getattr(label, f.name, None) for label in labels] for f in fields(kind)}
    return {"label": list(labels)}


def _server_name(program: Program, actor: int) -> str:
    server = int(program.actor_server[actor])
    return "" if server == NONE else program.platform.servers[server].name


def _servers(trace: Trace) -> dict[str, Any]:
    servers = trace.program.platform.servers
    share = trace.server_busy / trace.finish if trace.finish else trace.server_busy * 0.0
    return {
        "server": [s.name for s in servers],
        "rate": [float(s.rate) for s in servers],
        "busy": trace.server_busy,
        "work": trace.server_work,
        "utilization": share,
    }


def _fifos(trace: Trace) -> dict[str, Any]:
    program = trace.program
    return {
        "fifo": [f.name for f in program.fifos],
        "producer": [program.actor_names[f.src] for f in program.fifos],
        "consumer": [program.actor_names[f.dst] for f in program.fifos],
        "depth": [f.depth for f in program.fifos],
        "stall_data": trace.fifo_data_stall,
        "stall_space": trace.fifo_space_stall,
    }


def _pools(trace: Trace) -> dict[str, Any]:
    pools = trace.program.platform.pools
    return {"pool": [p.name for p in pools], "capacity": [p.capacity for p in pools], "peak": trace.pool_peak}


def _slices(trace: Trace) -> dict[str, Any]:
    slices = trace.slices
    if slices is None:
        raise BadInput("the trace holds no slices: run with record=N to list the first N firings")
    program = trace.program
    actors = slices.actor.tolist()
    return {
        "actor": [program.actor_names[a] for a in actors],
        **_labels([program.actor_labels[a] for a in actors]),
        "server": [_server_name(program, a) for a in actors],
        "phase": slices.phase,
        "start": slices.start,
        "end": slices.end,
    }
