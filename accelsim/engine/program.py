"""Program: what the hardware will do, as a network of actors over arrays.

An **actor** fires through a schedule: a run-length-encoded table of phases whose runs nest. A **phase** says what one
firing needs and does: work for the actor's server, an argument for a stateful server, tokens in, tokens out, bytes
taken from one shared pool and given back to pools, and countable actions (for energy and traffic; opaque here).

A **FIFO** joins one producer to one consumer. A **server** serves one firing at a time (an array, a memory channel, a
link). A **pool** is a shared count of bytes. Times are int64 ticks of one reference clock.

One firing, in order:

1. *Ready* at the first tick, not before the end of the actor's previous firing, at which for every input port ``need``
   tokens are visible and for every output port ``need`` slots are free.
2. If the phase takes from a pool, it queues there; the pool grants strictly in order of (request time, actor id), the
   head of the queue blocking those behind it.
3. It queues at its server, which grants one firing at a time: first come in order of (request time, actor id), or
   round robin over actor ids (the next waiting id after the one served last, at first the lowest), and with a
   ``burst`` in pieces of at most so much work, the server being arbitrated again after each piece. A firing keeps its
   request time over its pieces, so only round robin interleaves them. An actor without a server serves itself, at one
   unit of work per tick.
4. At the grant of the first piece the firing *starts*: each input port's ``take`` tokens leave their FIFO, ``put``
   slots are reserved in each output FIFO. FIFOs with ``space_at_start`` return the freed slots ``credit_latency``
   ticks after the start (at least 1), the others ``credit_latency`` (at least 0) ticks after the end. Tokens of FIFOs
   with ``data_at_start`` become visible ``latency`` ticks after the start (at least 1): what a pipelined unit does,
   whose next firing starts before, or after, the results of this one are there.
5. Service of a piece of w units at rate num/den units per tick lasts ``max(1, ceil((w*den - credit) / num))`` ticks.
   ``credit`` is the unused part of the server's last tick (in units/den, so at most num), kept only when the next
   piece starts in the very tick in which the last one ended, so that a busy channel loses nothing to rounding. A
   stateful server asks its ``step(state, work, arg, now)`` instead, piece by piece (less than 1 counts as 1).
6. At the *end*, all other put tokens become visible after the FIFO's ``latency`` (at least 0), pool bytes are given
   back, and the server is free.

Within a tick: completions and visibility, then readiness, then pool grants, then server grants, never in order of
event creation. All initial tokens are visible, and all slots free, at tick 0.

A wait is charged to its last blocker: the time from the end of the previous firing (tick 0 for the first) to readiness
goes to the port whose tokens (cause ``data``) or slots (cause ``space``) were there last, the first such port in the
order inputs, then outputs, of the phase; from readiness to the pool's grant to ``pool``; from there until service, and
between pieces, to ``server``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[np.int64]
StepFunction: TypeAlias = Callable[[IntArray, int, int, int], int]
"""``step(state, work, arg, now) -> ticks``: pure integer code over its own state array, compilable by numba."""

MAX_TICK = 2**62
"""Times beyond this raise TimeOverflow; the margin keeps sums of two times inside int64."""
UNBOUNDED = -1
"""Depth of a FIFO that never fills."""
NONE = -1
RUN, REPEAT = 0, 1
"""Schedule instructions: RUN fires phase `arg` `count` times; REPEAT closes a body that began at instruction `arg` and
runs it `count` times in all."""
FIRST_COME, ROUND_ROBIN = 0, 1
CAUSES = ("data", "space", "pool", "server")


@dataclass(frozen=True)
class Server:
    """A resource that serves one firing at a time, at `rate` units of work per tick.

    With `step` the service time comes from that function; `rate` is then the peak it can never exceed, for the bounds.
    A step depends on time through differences alone: shifting `now` and all the words named in `state_times` by the
    same amount shifts nothing else. A refresh, say, keeps the time of the next one in such a word.
    """

    name: str
    rate: Fraction = Fraction(1)
    policy: int = FIRST_COME
    burst: int = 0
    step: StepFunction | None = None
    state: tuple[int, ...] = ()
    state_times: tuple[int, ...] = ()
    """Indices of the words of `state` that hold absolute times."""
    state_horizon: int | None = None
    """Times more than so many ticks before `now` are all alike to `step`; None when no age is old enough."""


@dataclass(frozen=True)
class Pool:
    """A shared count of bytes, `used` of them taken at tick 0."""

    name: str
    capacity: int
    used: int = 0


@dataclass(frozen=True)
class Platform:
    """What Programs share when several run at once: servers and pools."""

    servers: tuple[Server, ...] = ()
    pools: tuple[Pool, ...] = ()


@dataclass(frozen=True)
class Fifo:
    """A queue of tokens between two actors; tokens in flight count against its depth."""

    name: str
    src: int
    dst: int
    depth: int
    init: int = 0
    latency: int = 0
    credit_latency: int = 0
    space_at_start: bool = False
    data_at_start: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """Actors, their schedules and phases as arrays. Made by `ProgramBuilder`, which checks it.

    Index spaces: a actors, i instructions, p phases, and the ragged rows of a phase (``x_ptr[p]:x_ptr[p+1]``).
    """

    name: str
    tick_hz: Fraction
    platform: Platform
    fifos: tuple[Fifo, ...]
    actor_names: tuple[str, ...]
    actor_labels: tuple[Hashable, ...]
    """One opaque label per actor, for the report."""
    actor_server: IntArray
    """[a] index into platform.servers, or NONE."""
    code_ptr: IntArray
    """[a+1] instructions of each actor."""
    code_op: IntArray
    code_arg: IntArray
    """[i] phase of a RUN, first instruction of a REPEAT's body."""
    code_count: IntArray
    phase_work: IntArray
    phase_arg: IntArray
    phase_segment: IntArray
    """[p] the stretch between two barriers in which the phase runs, for the program bound."""
    phase_chain: IntArray
    """[p] the chain of parts in its segment to which the phase belongs, or NONE. Parts of one chain never overlap."""
    phase_part: IntArray
    """[p] its part of that chain."""
    in_ptr: IntArray
    in_fifo: IntArray
    in_need: IntArray
    in_take: IntArray
    out_ptr: IntArray
    out_fifo: IntArray
    out_need: IntArray
    out_put: IntArray
    take_pool: IntArray
    """[p] pool from which the phase takes, or NONE."""
    take_bytes: IntArray
    give_ptr: IntArray
    give_pool: IntArray
    give_bytes: IntArray
    action_ptr: IntArray
    action_id: IntArray
    action_count: IntArray
    actions: tuple[Hashable, ...] = field(default=())
    """Opaque names of the countable actions; `action_id` indexes them."""

    @property
    def n_actors(self) -> int:
        return len(self.actor_names)

    @property
    def n_phases(self) -> int:
        return len(self.phase_work)

    def phase_firings(self) -> IntArray:
        """[p] how often each phase fires when the Program runs to its end."""
        firings = np.zeros(self.n_phases, np.int64)
        for a in range(self.n_actors):
            factor = 1
            lo, hi = int(self.code_ptr[a]), int(self.code_ptr[a + 1])
            enclosing: list[int] = []
            for i in range(hi - 1, lo - 1, -1):
                while enclosing and i < int(self.code_arg[enclosing[-1]]):
                    factor //= int(self.code_count[enclosing.pop()])
                if self.code_op[i] == REPEAT:
                    enclosing.append(i)
                    factor *= int(self.code_count[i])
                else:
                    firings[self.code_arg[i]] += factor * int(self.code_count[i])
        return firings

    def actor_of_phase(self) -> IntArray:
        """[p] the actor that fires each phase."""
        owner = np.full(self.n_phases, NONE, np.int64)
        for a in range(self.n_actors):
            for i in range(int(self.code_ptr[a]), int(self.code_ptr[a + 1])):
                if self.code_op[i] == RUN:
                    owner[self.code_arg[i]] = a
        return owner
