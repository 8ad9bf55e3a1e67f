"""An independent judge of Traces: from the recorded starts and ends alone it works out what the rules allow.

It simulates nothing and shares no code with the kernels. In a Trace that lists every firing, tokens and slots come and
go at known ticks, so readiness follows; pools grant in order of readiness, so their grants follow; and a server's
choices and service times can be verified one after the other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from .program import CAUSES, NONE, ROUND_ROBIN, RUN, UNBOUNDED, Program, Server
from .trace import Trace


@dataclass
class _Firing:
    """One recorded firing, and what the checker found out about it."""

    actor: int
    index: int
    phase: int
    start: int
    end: int
    free: int = 0
    """End of the actor's previous firing."""
    ready: int = 0
    blocker: tuple[int, int] | None = None
    """(cause, FIFO) that is charged for the wait until `ready`."""
    granted: int = 0
    """Tick at which it had all but its server."""


class _Record:
    """The firings of a Trace, per actor in order, and the problems found."""

    def __init__(self, program: Program, trace: Trace) -> None:
        self.program, self.trace = program, trace
        self.problems: list[str] = []
        self.firings: list[list[_Firing]] = [[] for _ in range(program.n_actors)]
        if trace.slices is not None:
            columns = (trace.slices.start, trace.slices.end, trace.slices.actor, trace.slices.phase)
            self._sort(np.stack(columns, axis=1).tolist())

    def _sort(self, rows: list[list[int]]) -> None:
        for start, end, a, phase in sorted(rows):
            mine = self.firings[a]
            mine.append(_Firing(a, len(mine), phase, start, end, mine[-1].end if mine else 0))

    def complain(self, text: str) -> None:
        self.problems.append(text)

    def all(self) -> Iterator[_Firing]:
        return (f for mine in self.firings for f in mine)

    def name(self, firing: _Firing) -> str:
        return f"{self.program.actor_names[firing.actor]} firing {firing.index} (ticks {firing.start}-{firing.end})"

    def expect(self, what: str, claimed: object, found: object) -> None:
        if not np.array_equal(np.asarray(claimed), np.asarray(found)):
            self.complain(f"{what}: the Trace says {claimed}, its slices give {found}")


def check(program: Program, trace: Trace) -> list[str]:
    """Return every rule of program.py that a Trace with all its slices breaks; empty for a sound one.

    The Trace must be of a run from tick 0 with `record` no less than the number of firings. Where a round-robin server
    serves in bursts, pieces are not recorded: of their times only the sums are checked.
    """
    if trace.slices is None or trace.slices.dropped:
        return ["not every firing is recorded: run with a larger `record`"]
    record = _Record(program, trace)
    _check_order(record)
    if record.problems:
        return record.problems  # the rest needs every firing in its place
    _find_ready(record)
    _check_pools(record)
    for s in range(len(program.platform.servers)):
        _check_server(record, s)
    _check_totals(record)
    return record.problems


def _expand(program: Program, low: int, high: int) -> Iterator[int]:
    """Yield the phases that the instructions low .. high - 1 fire."""
    starts = [low]
    for i in range(low, high):  # the top-level item that ends at instruction i swallows those inside it
        if program.code_op[i] != RUN:
            while starts[-1] > program.code_arg[i]:
                starts.pop()
        starts.append(i + 1)
    for first, after in pairwise(starts):
        last, count = after - 1, int(program.code_count[after - 1])
        for _ in range(count):
            if program.code_op[last] == RUN:
                yield int(program.code_arg[last])
            else:
                yield from _expand(program, first, last)


def _check_order(record: _Record) -> None:
    """Actors fire through their schedules, one firing after the other."""
    p = record.program
    for a, mine in enumerate(record.firings):
        expected = list(_expand(p, int(p.code_ptr[a]), int(p.code_ptr[a + 1])))
        if [f.phase for f in mine] != expected:
            record.complain(f"{p.actor_names[a]}: fires {len(mine)} times, {len(expected)} expected, or out of order")
        for f in mine:
            if f.start < f.free:
                record.complain(f"{record.name(f)} starts before its previous firing ended, at {f.free}")
            if f.end <= f.start:
                record.complain(f"{record.name(f)} takes less than a tick")


class _Flow:
    """A count that only grows: `init` from the beginning, more at known ticks."""

    def __init__(self, init: int, gains: list[tuple[int, int]]) -> None:
        gains.sort()
        self.init = init
        self.times = [t for t, _ in gains]
        self.totals = list(accumulate((n for _, n in gains), initial=init))

    def reaches(self, total: int) -> int | None:
        """Return the first tick at which the count is `total`, 0 if it is so from the beginning, None if never."""
        if total <= self.init:
            return 0
        i = bisect_left(self.totals, total)
        return self.times[i - 1] if i < len(self.totals) else None

    def at(self, tick: int) -> int:
        return self.totals[bisect_right(self.times, tick)]


def _find_ready(record: _Record) -> None:
    """Work out when each firing was ready and what blocked it; no token before it is visible, no slot before it is."""
    p = record.program
    tokens, slots = _flows(record)
    for mine in record.firings:
        taken = [0] * len(p.fifos)
        put = [0] * len(p.fifos)
        for f in mine:
            f.ready = f.free
            ins = range(int(p.in_ptr[f.phase]), int(p.in_ptr[f.phase + 1]))
            outs = range(int(p.out_ptr[f.phase]), int(p.out_ptr[f.phase + 1]))
            ports = [(0, int(p.in_fifo[r]), int(p.in_need[r]), int(p.in_take[r])) for r in ins]
            ports += [(1, int(p.out_fifo[r]), int(p.out_need[r]), int(p.out_put[r])) for r in outs]
            for cause, fifo, need, moved in ports:
                used, flow = (put, slots) if cause else (taken, tokens)
                if cause and p.fifos[fifo].depth == UNBOUNDED:
                    continue
                since = flow[fifo].reaches(used[fifo] + need)
                used[fifo] += moved
                if since is None or since > f.start:
                    what = ("needs tokens that are not visible", "needs slots that are not free")[cause]
                    record.complain(f"{record.name(f)} {what} in {p.fifos[fifo].name} before {since}")
                elif since > f.ready:
                    f.ready, f.blocker = since, (cause, fifo)
            f.granted = f.ready


def _flows(record: _Record) -> tuple[list[_Flow], list[_Flow]]:
    """Return per FIFO the tokens that ever became visible, and the slots that ever were free."""
    p = record.program
    arrivals: list[list[tuple[int, int]]] = [[] for _ in p.fifos]
    returns: list[list[tuple[int, int]]] = [[] for _ in p.fifos]
    for f in record.all():
        for r in range(int(p.out_ptr[f.phase]), int(p.out_ptr[f.phase + 1])):
            fifo = int(p.out_fifo[r])
            since = f.start if p.fifos[fifo].data_at_start else f.end
            arrivals[fifo].append((since + p.fifos[fifo].latency, int(p.out_put[r])))
        for r in range(int(p.in_ptr[f.phase]), int(p.in_ptr[f.phase + 1])):
            fifo = int(p.in_fifo[r])
            since = f.start if p.fifos[fifo].space_at_start else f.end
            returns[fifo].append((since + p.fifos[fifo].credit_latency, int(p.in_take[r])))
    tokens = [_Flow(q.init, gains) for q, gains in zip(p.fifos, arrivals, strict=True)]
    slots = [_Flow(q.depth - q.init, gains) for q, gains in zip(p.fifos, returns, strict=True)]
    return tokens, slots


def _check_pools(record: _Record) -> None:
    """Work out each pool's grants, in order of (readiness, actor), from the ticks at which bytes came back."""
    p = record.program
    peaks = []
    for k, pool in enumerate(p.platform.pools):
        back = _Flow(0, [
            (f.end, int(p.give_bytes[r]))
            for f in record.all()
            for r in range(int(p.give_ptr[f.phase]), int(p.give_ptr[f.phase + 1]))
            if p.give_pool[r] == k
        ])  # fmt: skip
        takers = [f for f in record.all() if p.take_pool[f.phase] == k]
        taken, last, peak = pool.used, 0, pool.used
        grants: list[tuple[int, int]] = []
        for f in sorted(takers, key=lambda f: (f.ready, f.actor)):
            amount = int(p.take_bytes[f.phase])
            taken += amount
            room = back.reaches(taken - pool.capacity)
            if room is None or max(room, last) > f.start:
                record.complain(f"{record.name(f)} takes {amount} bytes of pool {pool.name} too early or out of turn")
                room = f.start
            f.granted = last = max(f.ready, last, room)
            peak = max(peak, taken - back.at(last))
            grants.append((last, amount))
        before = _Flow(pool.used, grants)
        for t in back.times:
            if back.at(t) > before.at(t - 1):
                record.complain(f"pool {pool.name}: more given back than taken at tick {t}")
        peaks.append(peak)
    record.expect("pool_peak", record.trace.pool_peak.tolist(), peaks)


def _check_server(record: _Record, s: int) -> None:
    """One server: never two at once, never idle while one waits, in the order of its policy, for the right time."""
    p, server = record.program, record.program.platform.servers[s]
    firings = [f for f in record.all() if p.actor_server[f.actor] == s]
    if server.policy == ROUND_ROBIN and server.burst:
        _check_pieces(record, s, firings)
        return
    clock = _ServiceTimes(server)
    waiting = sorted(firings, key=lambda f: (f.granted, f.actor))
    idle_since, last = 0, NONE
    for f in sorted(firings, key=lambda f: (f.start, f.actor)):
        due = max(idle_since, waiting[0].granted)
        there = [w for w in waiting if w.granted <= f.start] or waiting
        by_turn = min(there, key=lambda w: (w.actor <= last, w.actor))
        if f.start < idle_since:
            record.complain(f"server {server.name} serves two: {record.name(f)} starts before {idle_since}")
        elif f.start != due:
            record.complain(f"server {server.name} could serve at {due}, but {record.name(f)} is the next it serves")
        elif f is not (by_turn if server.policy == ROUND_ROBIN else there[0]):
            record.complain(f"server {server.name} serves {record.name(f)} out of turn")
        ticks = clock.firing(int(p.phase_work[f.phase]), int(p.phase_arg[f.phase]), f.start)
        if f.end - f.start != ticks:
            record.complain(f"server {server.name}: {record.name(f)} should take {ticks} ticks")
        waiting.remove(f)
        idle_since, last = max(idle_since, f.end), f.actor


class _ServiceTimes:
    """How long a server takes, firing by firing."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.step = getattr(server.step, "py_func", server.step)
        self.state = np.array(server.state, np.int64)
        self.spare, self.ended = 0, -1  # what the last tick could still have served, in units / rate.denominator

    def firing(self, work: int, arg: int, now: int) -> int:
        begin, burst = now, self.server.burst or work
        for done in range(0, work, burst):
            now += self.piece(min(burst, work - done), arg, now)
        return now - begin

    def piece(self, work: int, arg: int, now: int) -> int:
        if self.step is not None:
            return max(1, int(self.step(self.state, work, arg, now)))
        spare = self.spare if now == self.ended else 0
        per_tick = self.server.rate.numerator
        missing = work * self.server.rate.denominator - spare
        ticks, self.spare = 0, 0
        if missing > 0:
            ticks = (missing + per_tick - 1) // per_tick
            self.spare = ticks * per_tick - missing
        if ticks == 0:
            ticks, self.spare = 1, per_tick
        self.ended = now + ticks
        return ticks


def _check_pieces(record: _Record, s: int, firings: list[_Firing]) -> None:
    """A round-robin server with bursts: starts after grants, and the sums fit."""
    p, server, trace = record.program, record.program.platform.servers[s], record.trace
    covered, until = 0, 0
    for f in sorted(firings, key=lambda f: f.start):
        if f.start < f.granted:
            record.complain(f"server {server.name} serves {record.name(f)} before {f.granted}")
        pieces = -(-int(p.phase_work[f.phase]) // server.burst)
        if f.end - f.start < pieces:
            record.complain(f"server {server.name}: {record.name(f)} has {pieces} pieces, of a tick at least each")
        covered += max(0, f.end - max(f.start, until))
        until = max(until, f.end)
    if trace.server_busy[s] > covered:
        record.complain(f"server {server.name} is busy for {trace.server_busy[s]} ticks, its firings span {covered}")
    if server.step is None and trace.server_busy[s] < trace.server_work[s] / server.rate:
        record.complain(f"server {server.name} does {trace.server_work[s]} units of work faster than its rate")


def _check_totals(record: _Record) -> None:
    """Every sum of the Trace follows from its slices."""
    p, t = record.program, record.trace
    last = [mine[-1].end if mine else 0 for mine in record.firings]
    record.expect("finish", t.finish, max(last, default=0))
    record.expect("start", t.start.tolist(), [mine[0].start if mine else -1 for mine in record.firings])
    record.expect("end", t.end.tolist(), last)
    record.expect("firings", t.firings.tolist(), [len(mine) for mine in record.firings])
    record.expect("phase_firings", t.phase_firings.tolist(), p.phase_firings().tolist())
    by_fifo = [[0] * len(p.fifos), [0] * len(p.fifos)]
    for a, mine in enumerate(record.firings):
        name, s = p.actor_names[a], int(p.actor_server[a])
        stall = [0] * len(CAUSES)
        for f in mine:
            if f.blocker is not None:
                cause, fifo = f.blocker
                stall[cause] += f.ready - f.free
                by_fifo[cause][fifo] += f.ready - f.free
            stall[2] += f.granted - f.ready
            stall[3] += f.start - f.granted
            if s == NONE and (f.start != f.granted or f.end - f.start != p.phase_work[f.phase]):
                record.complain(f"{record.name(f)} serves itself: {p.phase_work[f.phase]} ticks from {f.granted}")
        in_pieces = s != NONE and p.platform.servers[s].burst and p.platform.servers[s].policy == ROUND_ROBIN
        spent = sum(f.end - f.start for f in mine)
        if in_pieces:
            stall[3] += spent - int(t.busy[a])  # the waits between pieces
        else:
            record.expect(f"{name} busy", t.busy[a], spent)
        record.expect(f"{name} stall", t.stall[a].tolist(), stall)
        if t.busy[a] + t.stall[a].sum() != t.end[a]:
            record.complain(f"{name}: busy {t.busy[a]} and stalls {t.stall[a].tolist()} do not add up to {t.end[a]}")
        if t.busy[a] < len(mine) or t.busy[a] > spent:
            record.complain(f"{name}: busy {t.busy[a]} ticks in {len(mine)} firings of {spent} ticks in all")
    record.expect("fifo_data_stall", t.fifo_data_stall.tolist(), by_fifo[0])
    record.expect("fifo_space_stall", t.fifo_space_stall.tolist(), by_fifo[1])
    for s, server in enumerate(p.platform.servers):
        served = [a for a in range(p.n_actors) if p.actor_server[a] == s]
        work = sum(int(p.phase_work[f.phase]) for a in served for f in record.firings[a])
        record.expect(f"server {server.name} work", t.server_work[s], work)
        record.expect(f"server {server.name} busy", t.server_busy[s], sum(int(t.busy[a]) for a in served))
