"""The reference kernel: Programs run in SimPy, one process per actor, to be read beside the docstring of program.py.

It is the judge of the compiled kernel and shares nothing with it but Program, Trace and the `step` of stateful servers.
SimPy orders events of one time by a priority, here the stage of the tick, so that the order in which processes were
created decides nothing: stages only change counts, and where an order matters (pools, servers) it is sorted out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from typing import Any, TypeAlias, cast

import numpy as np
import simpy

from ..errors import Deadlock, ProgramError, TimeOverflow
from .deadlock import explain
from .program import MAX_TICK, NONE, ROUND_ROBIN, RUN, UNBOUNDED, Fifo, IntArray, Platform, Pool, Program, Server
from .trace import Slices, Trace

END, READY, POOL, SERVE = range(4)
"""The stages of a tick, as SimPy priorities."""
DATA, SPACE, IN_POOL, IN_SERVER = range(4)
"""Causes of stalls, as in program.CAUSES."""

ActorId: TypeAlias = tuple[int, int]
"""(fragment, actor): the order of all actors of a session."""
Process: TypeAlias = Generator[simpy.Event, Any, None]


class _Clock(simpy.Environment):
    """SimPy's environment with stages and whole ticks."""

    @property
    def now(self) -> int:
        return cast(int, self._now)

    def fire(self, event: simpy.Event, stage: int, delay: int = 0) -> simpy.Event:
        """Let the event happen `delay` ticks from now, in the given stage."""
        if self.now + delay > MAX_TICK:
            raise TimeOverflow(f"tick {self.now + delay} lies beyond the last, {MAX_TICK}")
        event._ok, event._value = True, None
        self.schedule(event, stage, delay)  # type: ignore[arg-type]
        return event

    def at(self, stage: int, delay: int = 0, do: Callable[[], None] | None = None) -> simpy.Event:
        """Return a new event of that time and stage, which calls `do`."""
        event = self.fire(simpy.Event(self), stage, delay)
        if do is not None and event.callbacks is not None:
            event.callbacks.append(lambda _: do())
        return event


class _Fifo:
    def __init__(self, clock: _Clock, spec: Fifo, actors: Sequence[_Actor]) -> None:
        self.clock, self.spec = clock, spec
        self.producer, self.consumer = actors[spec.src], actors[spec.dst]
        self.stall = [0, 0]  # ticks of the consumer without tokens, of the producer without slots
        self.tokens = spec.init
        self.slots: float = math.inf if spec.depth == UNBOUNDED else spec.depth - spec.init

    def arrive(self, tokens: int) -> None:
        self.tokens += tokens
        self.consumer.wake()

    def free(self, slots: int) -> None:
        self.slots += slots
        self.producer.wake()

    def later(self, do: Callable[[int], None], n: int, delay: int) -> None:
        if n and delay:
            self.clock.at(END, delay, lambda: do(n))
        elif n:
            do(n)


class _Pool:
    def __init__(self, clock: _Clock, number: int, spec: Pool) -> None:
        self.clock, self.number, self.spec = clock, number, spec
        self.level = self.peak = spec.used
        self.queue: list[tuple[int, ActorId, int, simpy.Event]] = []
        self.due = False

    def request(self, who: ActorId, amount: int) -> simpy.Event:
        granted = simpy.Event(self.clock)
        self.queue.append((self.clock.now, who, amount, granted))
        self.arbitrate()
        return granted

    def give(self, amount: int) -> None:
        self.level -= amount
        if self.level < 0:
            raise ProgramError(f"pool {self.spec.name}: {-self.level} bytes more given back than taken, "
                               f"at tick {self.clock.now}")  # fmt: skip
        self.arbitrate()

    def arbitrate(self) -> None:
        if not self.due:
            self.due = True
            self.clock.at(POOL, do=self.grant)

    def grant(self) -> None:
        self.due = False
        self.queue.sort(key=lambda request: request[:2])
        while self.queue and self.level + self.queue[0][2] <= self.spec.capacity:
            _, _, amount, granted = self.queue.pop(0)
            self.level += amount
            self.peak = max(self.peak, self.level)
            self.clock.fire(granted, POOL)


class _Server:
    def __init__(self, clock: _Clock, spec: Server) -> None:
        self.clock, self.spec = clock, spec
        self.step = getattr(spec.step, "py_func", spec.step)  # what numba wraps
        self.state = np.array(spec.state, np.int64)
        self.waiting: dict[ActorId, tuple[int, simpy.Event]] = {}
        self.last: ActorId = (-1, -1)
        self.busy = self.due = False
        self.credit = 0
        self.ended = -1

    def request(self, who: ActorId, since: int) -> simpy.Event:
        granted = simpy.Event(self.clock)
        self.waiting[who] = (since, granted)
        self.arbitrate()
        return granted

    def arbitrate(self) -> None:
        if not self.due:
            self.due = True
            self.clock.at(SERVE, do=self.grant)

    def grant(self) -> None:
        self.due = False
        if self.busy or not self.waiting:
            return
        if self.spec.policy == ROUND_ROBIN:
            who = min(self.waiting, key=lambda w: (w <= self.last, w))
        else:
            who = min(self.waiting, key=lambda w: (self.waiting[w][0], w))
        self.busy, self.last = True, who
        self.clock.fire(self.waiting.pop(who)[1], SERVE)

    def serve(self, work: int, arg: int) -> int:
        """Return how long a piece takes that starts now."""
        if self.step is not None:
            return max(1, int(self.step(self.state, work, arg, self.clock.now)))
        num, den = self.spec.rate.numerator, self.spec.rate.denominator
        owed = max(0, work * den - (self.credit if self.ended == self.clock.now else 0))
        ticks = max(1, -(-owed // num))
        self.credit = ticks * num - owed
        return ticks

    def release(self) -> None:
        self.busy, self.ended = False, self.clock.now
        self.arbitrate()


@dataclass(frozen=True)
class _Phase:
    number: int
    work: int
    arg: int
    inputs: list[tuple[_Fifo, int, int]]
    outputs: list[tuple[_Fifo, int, int]]
    take: tuple[_Pool, int] | None
    gives: list[tuple[_Pool, int]]

    def blocked_at(self) -> list[tuple[int, _Fifo]]:
        """Return the ports that keep a firing from being ready, in port order, with their causes."""
        return [(DATA, f) for f, need, _ in self.inputs if f.tokens < need] + [
            (SPACE, f) for f, need, _ in self.outputs if f.slots < need
        ]


class _Actor:
    """A process that fires through its schedule, and what the Trace will say of it."""

    def __init__(self, clock: _Clock, who: ActorId, server: _Server | None) -> None:
        self.clock, self.who, self.server = clock, who, server
        self.waiting: simpy.Event | None = None
        self.waiting_pool = NONE
        self.start, self.end, self.busy, self.work = -1, 0, 0, 0
        self.stall = [0, 0, 0, 0]
        self.phases: list[int] = []  # of the firings that ended
        self.times: list[tuple[int, int]] = []  # and when they started and ended

    def wake(self) -> None:
        """Let the actor look at its ports again in this tick, if it waits for them."""
        if self.waiting is not None:
            self.clock.fire(self.waiting, READY)
            self.waiting = None

    def run(self, phases: Iterator[_Phase]) -> Process:
        free = self.clock.now  # the end of the previous firing
        for phase in phases:
            yield from self.get_ready(phase, free)
            if phase.take is not None:
                pool, amount = phase.take
                asked = self.clock.now
                self.waiting_pool = pool.number
                yield pool.request(self.who, amount)
                self.waiting_pool = NONE
                self.stall[IN_POOL] += self.clock.now - asked
            started = yield from self.serve(phase)
            for fifo, _, put in phase.outputs:
                if not fifo.spec.data_at_start:
                    fifo.later(fifo.arrive, put, fifo.spec.latency)
            for fifo, _, take in phase.inputs:
                if not fifo.spec.space_at_start:
                    fifo.later(fifo.free, take, fifo.spec.credit_latency)
            for pool, amount in phase.gives:
                pool.give(amount)
            free = self.end = self.clock.now
            self.phases.append(phase.number)
            self.times.append((started, self.end))

    def get_ready(self, phase: _Phase, free: int) -> Process:
        yield self.clock.at(READY)
        last: list[tuple[int, _Fifo]] = []
        while blockers := phase.blocked_at():
            last = blockers
            self.waiting = simpy.Event(self.clock)
            yield self.waiting
        if last:  # all that blocked at the last look came in this tick, so the first of them is charged
            cause, fifo = last[0]
            self.stall[cause] += self.clock.now - free
            fifo.stall[cause] += self.clock.now - free

    def serve(self, phase: _Phase) -> Generator[simpy.Event, Any, int]:
        """Get the firing served, in pieces; return the tick at which the first one started."""
        asked = since = self.clock.now
        started, left = -1, phase.work
        while left:
            if self.server is None:
                yield self.clock.at(SERVE)
                piece = ticks = left
            else:
                yield self.server.request(self.who, asked)
                piece = min(left, self.server.spec.burst or left)
                ticks = self.server.serve(piece, phase.arg)
            self.stall[IN_SERVER] += self.clock.now - since
            if started < 0:
                started = self.clock.now
                self.take(phase)
            yield self.clock.at(END, ticks)
            if self.server is not None:
                self.server.release()
            left, since = left - piece, self.clock.now
            self.busy, self.work = self.busy + ticks, self.work + piece
        return started

    def take(self, phase: _Phase) -> None:
        """Take tokens, reserve slots and send off early results, at the start of a firing."""
        if self.start < 0:
            self.start = self.clock.now
        for fifo, _, take in phase.inputs:
            fifo.tokens -= take
            if fifo.spec.space_at_start:
                fifo.later(fifo.free, take, fifo.spec.credit_latency)
        for fifo, _, put in phase.outputs:
            fifo.slots -= put
            if fifo.spec.data_at_start:
                fifo.later(fifo.arrive, put, fifo.spec.latency)


def _schedule(program: Program, a: int) -> Iterator[int]:
    """Yield the phases of an actor's firings in order."""
    passes = [0] * len(program.code_op)
    i, stop = int(program.code_ptr[a]), int(program.code_ptr[a + 1])
    while i < stop:
        arg, count = int(program.code_arg[i]), int(program.code_count[i])
        if program.code_op[i] == RUN:
            yield from repeat(arg, count)
        else:
            passes[i] = (passes[i] + 1) % count
            if passes[i]:
                i = arg
                continue
        i += 1


def _column(values: Iterable[Any]) -> IntArray:
    return np.array(list(values), np.int64)


def _rows(ptr: IntArray, p: int, *columns: IntArray) -> list[tuple[int, ...]]:
    """Return the ragged rows of one phase."""
    return list(zip(*(c[ptr[p] : ptr[p + 1]].tolist() for c in columns), strict=True))


class _Fragment:
    """One submitted Program: its actors, FIFOs and phases, and in the end its Trace."""

    def __init__(
        self, clock: _Clock, program: Program, number: int, servers: Sequence[_Server], pools: Sequence[_Pool]
    ) -> None:
        p = self.program = program
        self.actors = [
            _Actor(clock, (number, a), None if s == NONE else servers[s]) for a, s in enumerate(p.actor_server.tolist())
        ]
        fifos = self.fifos = [_Fifo(clock, spec, self.actors) for spec in p.fifos]
        self.servers, self.pools = servers, pools
        self.phases = [
            _Phase(
                number=i,
                work=int(p.phase_work[i]),
                arg=int(p.phase_arg[i]),
                inputs=[(fifos[f], n, m) for f, n, m in _rows(p.in_ptr, i, p.in_fifo, p.in_need, p.in_take)],
                outputs=[(fifos[f], n, m) for f, n, m in _rows(p.out_ptr, i, p.out_fifo, p.out_need, p.out_put)],
                take=None if p.take_pool[i] == NONE else (pools[p.take_pool[i]], int(p.take_bytes[i])),
                gives=[(pools[k], n) for k, n in _rows(p.give_ptr, i, p.give_pool, p.give_bytes)],
            )
            for i in range(p.n_phases)
        ]

    def trace(self, record: int) -> Trace:
        p, actors = self.program, self.actors
        served = [[a for a in actors if a.server is s] for s in self.servers]
        return Trace(
            program=p,
            finish=max((a.end for a in actors), default=0),
            firings=_column(len(a.phases) for a in actors),
            phase_firings=np.bincount(_column(n for a in actors for n in a.phases), minlength=p.n_phases),
            start=_column(a.start for a in actors),
            end=_column(a.end for a in actors),
            busy=_column(a.busy for a in actors),
            stall=_column(a.stall for a in actors).reshape(-1, 4),
            fifo_data_stall=_column(f.stall[DATA] for f in self.fifos),
            fifo_space_stall=_column(f.stall[SPACE] for f in self.fifos),
            server_busy=_column(sum(a.busy for a in group) for group in served),
            server_work=_column(sum(a.work for a in group) for group in served),
            pool_peak=_column(k.peak for k in self.pools),
            slices=self.slices(record) if record else None,
        )

    def deadlock(self) -> Deadlock:
        return explain(
            self.program,
            fired=_column(len(a.phases) for a in self.actors),
            tokens=_column(f.tokens for f in self.fifos),
            slots=_column(min(f.slots, MAX_TICK) for f in self.fifos),
            pool_free=_column(k.spec.capacity - k.level for k in self.pools),
            waiting_pool=_column(a.waiting_pool for a in self.actors),
        )

    def slices(self, record: int) -> Slices:
        rows = sorted((s, a.who[1], n, e) for a in self.actors for n, (s, e) in zip(a.phases, a.times, strict=True))
        start, actor, phase, end = np.array(rows[:record], np.int64).reshape(-1, 4).T
        return Slices(actor, phase, start, end, dropped=max(0, len(rows) - record))


class ReferenceSession:
    """The resumable reference kernel: a session.Session.

    `seed` shuffles the order in which a Program's processes are created, which must not change any result.
    """

    def __init__(self, platform: Platform, tick_hz: Fraction, *, record: int = 0, seed: int | None = None) -> None:
        self.platform, self.tick_hz, self.record = platform, tick_hz, record
        self._random = None if seed is None else random.Random(seed)
        self._clock = _Clock(initial_time=-1)
        self._servers = [_Server(self._clock, spec) for spec in platform.servers]
        self._pools = [_Pool(self._clock, k, spec) for k, spec in enumerate(platform.pools)]
        self._fragments: list[_Fragment] = []
        self._running: set[int] = set()
        self._finished: list[int] = []
        self._traces: dict[int, Trace] = {}

    @property
    def now(self) -> int:
        return self._clock.now

    def submit(self, program: Program, at: int | None = None) -> int:
        if program.platform != self.platform or program.tick_hz != self.tick_hz:
            raise ProgramError(f"program {program.name}: its platform or tick is not the session's")
        number = len(self._fragments)
        self._fragments.append(_Fragment(self._clock, program, number, self._servers, self._pools))
        self._running.add(number)
        delay = max(at or 0, self.now + 1) - self.now
        order = list(range(program.n_actors))
        if self._random is not None:
            self._random.shuffle(order)
        actors = [self._clock.process(self._live(number, a, delay)) for a in order]
        self._clock.process(self._complete(number, delay, actors))
        return number

    def _live(self, number: int, a: int, delay: int) -> Process:
        yield self._clock.at(END, delay)
        fragment = self._fragments[number]
        yield from fragment.actors[a].run(fragment.phases[n] for n in _schedule(fragment.program, a))

    def _complete(self, number: int, delay: int, actors: list[simpy.Process]) -> Process:
        yield self._clock.at(END, delay)
        yield simpy.AllOf(self._clock, actors)
        self._running.remove(number)
        self._finished.append(number)

    def advance(self, until: int | None = None) -> list[tuple[int, int]]:
        limit = MAX_TICK if until is None else until
        while self._running and self._clock.peek() <= limit:
            self._clock.step()
            if self._finished:
                limit = self.now  # no further than the end of this tick
        if self._finished:
            finished, self._finished = sorted(self._finished), []
            self._traces |= {n: self._fragments[n].trace(self.record) for n in finished}
            return [(n, self.now) for n in finished]
        pooled = any(k.queue for k in self._pools)
        if self._running and self._clock.peek() == math.inf and not (pooled and until is not None):
            raise self._fragments[min(self._running)].deadlock()
        if until is not None and until > self.now:
            self._clock.at(END, until - self.now)
            while self.now < until:
                self._clock.step()
        return []

    def trace(self, fragment: int) -> Trace:
        if fragment not in self._traces:
            raise ProgramError(f"fragment {fragment} is unknown or still running")
        return self._traces[fragment]


def run(program: Program, *, record: int = 0, seed: int | None = None) -> Trace:
    """Run a Program to its end; `record` is the most firings listed in `Trace.slices`.

    Raises:
        Deadlock: nothing can move and work is left.
        TimeOverflow: a time would pass MAX_TICK.
        ProgramError: more is given back to a pool than was taken.
    """
    session = ReferenceSession(program.platform, program.tick_hz, record=record, seed=seed)
    fragment = session.submit(program)
    session.advance()
    return session.trace(fragment)
