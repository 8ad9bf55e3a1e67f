"""Tasks at their sites as a Program: every stage an actor, every resource a server, every wait a FIFO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...engine.builder import Phase, ProgramBuilder, Repeat, Run
from ...engine.program import Pool, Program
from ...errors import DoesNotFit
from .problem import SiteProblem, Stage, Way

AHEAD = 2
"""Pieces that a stage may be ahead of the one that follows it: a double buffer."""


@dataclass
class _Part:
    """A stage of a task and what its actor is joined to: FIFOs per piece, and FIFOs of the whole of it."""

    stage: Stage
    actor: int
    piece_in: list[int] = field(default_factory=list)
    piece_out: list[int] = field(default_factory=list)
    whole_in: list[int] = field(default_factory=list)
    whole_out: list[int] = field(default_factory=list)
    gives: list[tuple[int, int]] = field(default_factory=list)


def program_of(problem: SiteProblem, chosen: Sequence[int]) -> Program:
    """The Program of a choice of ways, one per task. Its actions count the work done by every resource, by name.

    Raises:
        DoesNotFit: a stage needs more room than its pool has.
    """
    builder = ProgramBuilder(problem.name, tick_hz=problem.tick_hz)
    servers = {n: builder.server(s) for n, s in problem.servers.items()}
    pools = {n: builder.pool(Pool(n, size)) for n, size in problem.pools.items()}
    parts: dict[str, list[_Part]] = {}
    queues: dict[str, list[_Part]] = {}
    waited: set[str] = set()
    for task, way_ in zip(problem.tasks, chosen, strict=True):
        way = task.ways[way_]
        own = parts[task.name] = [
            _Part(s, builder.actor(f"{task.name} {way.site} {s.name}", server=servers[s.resource], label=s.resource))
            for s in way.stages
        ]
        _inside(builder, problem, own)
        before = [parts[b][i] for b in task.after for i in _way(problem, chosen, b).last]
        waited |= set(task.after)
        for part, waits in zip(own, way.waiting, strict=True):
            if waits:
                for earlier in before:
                    _whole(builder, problem, earlier, part)
            for earlier in queues.get(part.stage.queue, [])[-1:]:
                _whole(builder, problem, earlier, part, latency=False)
        queues |= {q: [p for p in own if p.stage.queue == q] for q in {p.stage.queue for p in own} - {""}}
        _rooms(problem, pools, way, own, task.name)
    if problem.repeats > 1:
        _again(builder, problem, chosen, parts, waited)
    for own in parts.values():
        for part in own:
            builder.schedule(part.actor, [Repeat(problem.repeats, tuple(_runs(part, pools)))])
    return builder.build()


def _way(problem: SiteProblem, chosen: Sequence[int], name: str) -> Way:
    return next(t.ways[c] for t, c in zip(problem.tasks, chosen, strict=True) if t.name == name)


def _inside(builder: ProgramBuilder, problem: SiteProblem, own: list[_Part]) -> None:
    for part in own:
        for i in part.stage.after:
            _whole(builder, problem, own[i], part)
        for i in part.stage.follows:
            fifo = builder.fifo(own[i].actor, part.actor, depth=AHEAD, latency=_ticks(problem, own[i].stage))
            own[i].piece_out.append(fifo)
            part.piece_in.append(fifo)


def _rooms(problem: SiteProblem, pools: dict[str, int], way: Way, own: list[_Part], name: str) -> None:
    for part in own:
        if part.stage.room is None:
            continue
        pool, nbytes = part.stage.room
        if nbytes > problem.pools[pool]:
            raise DoesNotFit(f"{problem.name}: {name} at {way.site} needs {nbytes:,} bytes of {pool}, which has room "
                             f"for {problem.pools[pool]:,}")  # fmt: skip
        own[way.last[-1]].gives.append((pools[pool], nbytes))


def _again(
    builder: ProgramBuilder, problem: SiteProblem, chosen: Sequence[int], parts: dict[str, list[_Part]],
    waited: set[str],
) -> None:  # fmt: skip
    """Join the tasks that nothing waits for to those of their chain that wait for nothing, a repeat later."""
    chains = problem.chains
    ends: dict[str, list[_Part]] = {}
    for task, c in zip(problem.tasks, chosen, strict=True):
        if task.name not in waited:
            ends.setdefault(chains[task.name], []).extend(parts[task.name][i] for i in task.ways[c].last)
    for task, c in zip(problem.tasks, chosen, strict=True):
        for part, waits in zip(parts[task.name], task.ways[c].waiting, strict=True):
            if waits and not task.after:
                for end in ends[chains[task.name]]:
                    _whole(builder, problem, end, part, init=1)


def _whole(
    builder: ProgramBuilder, problem: SiteProblem, earlier: _Part, later: _Part, *, init: int = 0, latency: bool = True
) -> None:
    if earlier is later:
        return
    fifo = builder.fifo(earlier.actor, later.actor, depth=2, init=init,
                        latency=_ticks(problem, earlier.stage) if latency else 0)  # fmt: skip
    earlier.whole_out.append(fifo)
    later.whole_in.append(fifo)


def _ticks(problem: SiteProblem, stage: Stage) -> int:
    return round(stage.latency_s * problem.tick_hz)


def _runs(part: _Part, pools: dict[str, int]) -> list[Run]:
    """The first piece, which waits, the last one, which others wait for, and those between; the larger ones first."""
    stage = part.stage
    small, larger = divmod(stage.work, stage.pieces)
    if stage.pieces == 1:
        return [Run(_phase(part, pools, stage.work, first=True, last=True))]
    above = max(0, larger - 1)
    runs = [Run(_phase(part, pools, small + (larger > 0), first=True))]
    runs += [Run(_phase(part, pools, small + 1), above)] if above else []
    runs += [Run(_phase(part, pools, small), rest)] if (rest := stage.pieces - 2 - above) else []
    return [*runs, Run(_phase(part, pools, small, last=True))]


def _phase(part: _Part, pools: dict[str, int], work: int, *, first: bool = False, last: bool = False) -> Phase:
    room = part.stage.room
    return Phase(
        work,
        part.stage.arg,
        inputs=tuple((f, 1, 1) for f in (*part.piece_in, *(part.whole_in if first else ()))),
        outputs=tuple((f, 1, 1) for f in (*part.piece_out, *(part.whole_out if last else ()))),
        take=(pools[room[0]], room[1]) if first and room is not None else None,
        gives=tuple(part.gives) if last else (),
        actions=((part.stage.resource, work),),
    )
