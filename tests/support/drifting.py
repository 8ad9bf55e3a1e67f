"""Random Programs that almost recur: long runs in which one thing drifts, and then comes to bear.

Each is a few pipelines beside each other, of different pace, that share servers or a pool. FIFOs, deep or unbounded,
fill slowly; pools leak until they bind; actors change phase at different times; servers carry fractions, count their
pieces, grow old; tokens fly for long; sleepers hold a server or bytes through thousands of ticks. A kernel that jumps
over a recurring state must neither miss what drifts nor jump past its end.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.program import FIRST_COME, NONE, ROUND_ROBIN, UNBOUNDED, IntArray, Pool, Program, Server

from .programs import RATES, REFRESHING


def every_fiftieth_step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Each fiftieth piece takes 9 ticks more."""
    state[0] = (state[0] + 1) % 50
    return work + (9 if state[0] == 0 else 0)


def wearing_step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Past 150 pieces each takes 2 ticks more, past 400 pieces 3 more again."""
    state[0] += 1
    return work + (2 if state[0] > 150 else 0) + (3 if state[0] > 400 else 0)


def sleeping_step(state: IntArray, work: int, arg: int, now: int) -> int:
    """A server that slept more than 7 ticks takes 4 to wake up; state[0] is the end of its last piece."""
    ticks = work + (4 if now - state[0] > 7 else 0)
    state[0] = now + ticks
    return ticks


STEPS = (
    REFRESHING,
    Server("every fiftieth", Fraction(1), step=every_fiftieth_step, state=(0,)),
    Server("wearing", Fraction(1), step=wearing_step, state=(0,)),
    Server("sleeping", Fraction(1), step=sleeping_step, state=(-100,), state_times=(0,), state_horizon=8),
)


class _Maker:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 1])
        self.builder = ProgramBuilder(f"drifting {seed}")
        self.servers: list[int] = []
        self.pools: list[tuple[int, int]] = []
        """(pool, capacity)"""

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def make(self) -> Program:
        for s in range(self.between(1, 3)):
            policy = ROUND_ROBIN if self.chance(0.5) else FIRST_COME
            burst = self.between(1, 4) if self.chance(0.3) else 0
            if self.chance(0.35):
                server = replace(STEPS[self.between(0, len(STEPS) - 1)], policy=policy, burst=burst)
            else:
                server = Server("rated", RATES[self.between(0, len(RATES) - 1)], policy, burst)
            self.servers.append(self.builder.server(replace(server, name=f"{server.name} {s}")))
        for _ in range(self.between(1, 3)):
            self.pipeline()
        if self.chance(0.5):
            self.sleeper()
        return self.builder.build()

    def pipeline(self) -> None:
        """Two or three actors in a row, each firing as often as the others, and often a leaking pool."""
        count = self.between(100, 1200)
        actors = []
        for i in range(self.between(2, 3)):
            server = self.servers[self.between(0, len(self.servers) - 1)] if self.chance(0.6) else NONE
            actors.append(self.builder.actor(f"stage {i} of {count}", server=server))
        joints: list[int] = []
        primed = False  # the second actor may fire more often than the first, and could give what nobody took
        for a, b in pairwise(actors):
            depth = UNBOUNDED if self.chance(0.3) else self.between(1, 6) if self.chance(0.5) else self.between(20, 150)
            init = self.between(0, depth) if depth > 6 and self.chance(0.3) else 0
            primed = primed or (init > 0 and not joints)
            at_start = self.chance(0.3)
            joints.append(
                self.builder.fifo(
                    a,
                    b,
                    depth=depth,
                    init=init,
                    latency=self.between(40, 400) if self.chance(0.15) else self.between(0, 9),
                    credit_latency=self.between(1, 5) if at_start else self.between(0, 2),
                    space_at_start=at_start,
                )
            )
        taken, pool = 0, NONE
        if self.chance(0.4):
            taken = self.between(1, 3)
            capacity = taken * self.between(2, 200)
            pool = self.builder.pool(Pool("bytes", capacity))
            self.pools.append((pool, capacity))
        slow = self.between(1, 9)
        alarms = self.alarms(actors[0], count) if self.chance(0.3) else None
        for i, a in enumerate(actors):
            ins = ((joints[i - 1], 1, 1),) if i else ()
            outs = ((joints[i], 1, 1),) if i < len(joints) else ()
            phase = Phase(
                inputs=ins,
                outputs=outs,
                take=(pool, taken) if taken and i == 0 else None,
                gives=((pool, taken),) if taken and i == 1 and not primed else (),
            )
            schedule = self.runs(phase, count, slow)
            if alarms is not None and i == 0:
                schedule.insert(self.between(0, len(schedule)), alarms)
            self.builder.schedule(a, schedule)

    def alarms(self, stage: int, count: int) -> Run:
        """Make a clock that ticks seldom, and return a firing of the stage that waits for its one token."""
        clock = self.builder.actor(f"clock of {count}")
        alarm = self.builder.fifo(clock, stage, latency=self.between(0, 50))
        self.builder.schedule(clock, [Run(Phase(work=self.between(100, 4000), outputs=((alarm, 1, 1),)))])
        return Run(Phase(work=1, inputs=((alarm, 1, 1),)))

    def sleeper(self) -> None:
        """An actor of few, very long firings, which may hold or await a good part of a pool meanwhile."""
        server = self.servers[self.between(0, len(self.servers) - 1)] if self.chance(0.4) else NONE
        phase = Phase(work=self.between(200, 3000))
        if self.pools and self.chance(0.7):
            pool, capacity = self.pools[self.between(0, len(self.pools) - 1)]
            amount = self.between(1, capacity)
            phase = replace(phase, take=(pool, amount), gives=((pool, amount),))
        late = Run(Phase(work=self.between(1, 500)))
        self.builder.actor("sleeper", server=server, schedule=[late, Run(phase, self.between(1, 4))])

    def runs(self, phase: Phase, count: int, slow: int) -> list[Run | Repeat]:
        """Fire `count` times in long stretches of different work, some of them nested repeats."""
        schedule: list[Run | Repeat] = []
        while count:
            n = min(count, self.between(60, 900))
            one, two = (replace(phase, work=self.between(1, slow), arg=self.between(0, 5)) for _ in range(2))
            inner, outer = self.between(1, 4), self.between(2, 5)
            if self.chance(0.5) and n >= (inner + 1) * outer:
                rounds = n // ((inner + 1) * outer)
                schedule.append(Repeat(rounds, (Repeat(outer, (Run(one, inner), Run(two))),)))
                n = rounds * outer * (inner + 1)
            else:
                schedule.append(Run(one, n))
            count -= n
        return schedule


def drifting_program(seed: int) -> Program:
    """Return a random Program in which something drifts under a recurring state."""
    return _Maker(seed).make()
