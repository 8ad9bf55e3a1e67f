"""Random Programs for the tests of the engine, each made from a seed alone.

Token rates are balanced (every actor fires a whole number of cycles in which its FIFOs gain what they lose), so most
Programs run to their end; tight depths, pools and cycles make some of them deadlock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.program import FIRST_COME, NONE, ROUND_ROBIN, UNBOUNDED, IntArray, Pool, Program, Server

RATES = tuple(Fraction(*r) for r in ((1, 1), (2, 1), (7, 3), (2, 5), (3, 2), (10, 1), (1, 3)))


def open_row_step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Two banks with one open row each (state: the rows); arg = 2 * row + bank; a miss costs 6 ticks."""
    bank = arg % 2
    row = arg // 2
    ticks = (work + 3) // 4
    if state[bank] != row:
        state[bank] = row
        ticks += 6
    return ticks


def refreshing_step(state: IntArray, work: int, arg: int, now: int) -> int:
    """As open_row_step, with a refresh due every 40 ticks (state[2]: the next) that closes the rows and costs 5."""
    ticks = (work + 3) // 4
    if now >= state[2]:
        state[2] = now + 40 - (now - state[2]) % 40
        state[0] = -1
        state[1] = -1
        ticks += 5
    bank = arg % 2
    row = arg // 2
    if state[bank] != row:
        state[bank] = row
        ticks += 6
    return ticks


OPEN_ROW = Server("open row", Fraction(4), step=open_row_step, state=(-1, -1))
REFRESHING = Server("refreshing", Fraction(4), step=refreshing_step, state=(-1, -1, 25), state_times=(2,))


@dataclass(eq=False)
class _Leaf:
    """A phase in the making; `times` it fires in one cycle of its actor."""

    times: int
    work: int
    arg: int
    inputs: list[tuple[int, int, int]] = field(default_factory=list)
    outputs: list[tuple[int, int, int]] = field(default_factory=list)
    take: tuple[int, int] | None = None
    gives: list[tuple[int, int]] = field(default_factory=list)

    def phase(self, segment: int) -> Phase:
        return Phase(
            work=self.work,
            arg=self.arg,
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            take=self.take,
            gives=tuple(self.gives),
            actions=(("fire", 1), (f"work {self.work}", self.work)),
            segment=segment,
        )


@dataclass(eq=False)
class _Plan:
    """An actor in the making: its cycle and how often it goes round for one round of the Program."""

    rounds: int
    leaves: list[_Leaf]
    shape: int
    counts: tuple[int, int]

    def body(self, segment: int) -> tuple[Run | Repeat, ...]:
        runs = [Run(leaf.phase(segment)) for leaf in self.leaves]
        c, d = self.counts
        if self.shape == 0:
            return (runs[0],)
        if self.shape == 1:
            return (replace(runs[0], count=c), runs[1])
        if self.shape == 2:
            return (Repeat(c, (replace(runs[0], count=d), runs[1])), runs[2])
        return (runs[0], Repeat(c, (Repeat(d, (runs[1], runs[2])), runs[3])))

    @property
    def firings(self) -> int:
        return sum(leaf.times for leaf in self.leaves)


TIMES = (
    lambda c, d: (1,),
    lambda c, d: (c, 1),
    lambda c, d: (c * d, c, 1),
    lambda c, d: (1, c * d, c * d, c),
)
"""How often each leaf of a shape fires in a cycle; each shape has one that fires once."""


class _Maker:
    def __init__(self, seed: int, periodic: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.early = np.random.default_rng([seed, 1])  # a stream of its own, so that it changes nothing else
        self.periodic = periodic
        self.roomy = self.chance(0.8)
        self.builder = ProgramBuilder(f"random {seed}")
        self.plans: list[_Plan] = []
        self.edges: list[tuple[int, int]] = []

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def make(self) -> Program:
        self.servers()
        self.actors()
        n = len(self.plans)
        for b in range(1, n):
            self.edge(int(self.rng.integers(b)), b)
        for _ in range(self.between(0, n // 2 + 1)):
            a, b = self.between(0, n - 1), self.between(0, n - 1)
            self.edge(a, b)
        for _ in range(self.between(0, 2)):
            self.pool()
        self.schedules()
        return self.builder.build()

    def servers(self) -> None:
        for s in range(self.between(1, 3)):
            kind = self.between(0, 9)
            burst = self.between(1, 5) if self.chance(0.4) else 0
            policy = ROUND_ROBIN if self.chance(0.5) else FIRST_COME
            if kind <= 1:
                step = (OPEN_ROW, REFRESHING)[kind]
                self.builder.server(replace(step, name=f"{step.name} {s}", policy=policy, burst=burst))
            else:
                rate = RATES[self.between(0, len(RATES) - 1)]
                self.builder.server(Server(f"s{s}", rate, policy, burst))
        self.n_servers = s + 1

    def actors(self) -> None:
        for a in range(self.between(2, 8)):
            shape = self.between(0, 1 if self.periodic else 3)
            c, d = self.between(1, 3), self.between(1, 3)
            heavy = self.between(1, 12)
            leaves = [_Leaf(times, self.between(1, heavy), self.between(0, 5)) for times in TIMES[shape](c, d)]
            self.plans.append(_Plan((1, 1, 1, 2, 3)[self.between(0, 4)], leaves, shape, (c, d)))
            server = NONE if self.chance(0.3) else self.between(0, self.n_servers - 1)
            self.builder.actor(f"a{a}", server=server, label=("actor", a))

    def spread(self, leaves: list[_Leaf], total: int) -> list[int]:
        """Return counts per leaf that add up to `total` over one cycle."""
        counts = [0] * len(leaves)
        for i in self.rng.permutation(len(leaves)):
            if leaves[i].times > 1 or self.chance(0.5):
                counts[i] = self.between(0, total // leaves[i].times)
                total -= counts[i] * leaves[i].times
        single = next(i for i, leaf in enumerate(leaves) if leaf.times == 1)
        counts[single] += total
        return counts

    def edge(self, a: int, b: int) -> None:
        """Add a FIFO from a to b, with initial tokens where it closes a cycle."""
        src, dst = self.plans[a], self.plans[b]
        both = math.lcm(src.rounds, dst.rounds)
        unit = self.between(1, 3)
        puts = self.spread(src.leaves, unit * both // src.rounds)
        takes = self.spread(dst.leaves, unit * both // dst.rounds)
        extra = [self.between(0, 3) if self.chance(0.25) else 0 for _ in takes]  # tokens looked at, not taken
        room = [self.between(0, 2) if self.chance(0.2) else 0 for _ in puts]
        init = max(extra) if self.chance(0.98) else 0
        if a >= b:
            init += sum(t * leaf.times for t, leaf in zip(takes, dst.leaves, strict=True)) * self.between(1, 2)
            init += self.between(0, 3) if self.chance(0.95) else -min(init, 2)
        need = max([*map(sum, zip(takes, extra, strict=True)), *map(sum, zip(puts, room, strict=True))])
        slack = (0, 1, 2, 3, 8, 20 if self.periodic else 8)[self.between(0, 5)]
        if self.roomy:
            slack += (3 if a >= b else 1) * unit * (both // src.rounds + both // dst.rounds)
        depth = max(need + max(puts) + (max(extra) if self.chance(0.9) else 0), init) + slack
        at_start = self.chance(0.4)
        self.edges.append((a, b))
        fifo = self.builder.fifo(
            a,
            b,
            depth=UNBOUNDED if self.chance(0.12) and not self.periodic else depth,
            init=init,
            latency=(early := bool(self.early.random() < 0.3)) + self.between(0, 3),
            credit_latency=self.between(1 if at_start else 0, 3),
            space_at_start=at_start,
            data_at_start=early,
            name=f"f{a}-{b}.{self.between(0, 10**6)}",
        )
        for leaf, put, more in zip(src.leaves, puts, room, strict=True):
            if put + more:
                self.port(leaf.outputs, (fifo, put + more, put))
        for leaf, take, more in zip(dst.leaves, takes, extra, strict=True):
            if take + more:
                self.port(leaf.inputs, (fifo, take + more, take))

    def port(self, ports: list[tuple[int, int, int]], port: tuple[int, int, int]) -> None:
        ports.insert(self.between(0, len(ports)), port)

    def pool(self) -> None:
        """Add a pool from which one actor takes and to which it or the consumer of its tokens gives back."""
        a, b = self.edges[self.between(0, len(self.edges) - 1)]
        if self.chance(0.3):
            b = a
        src, dst = self.plans[a], self.plans[b]
        both, unit = math.lcm(src.rounds, dst.rounds), self.between(1, 40)
        taken = self.spread(src.leaves, unit * both // src.rounds)
        given = self.spread(dst.leaves, unit * both // dst.rounds)
        if any(n and leaf.take for n, leaf in zip(taken, src.leaves, strict=True)):
            return
        in_all = unit * both // dst.rounds
        used = in_all * self.between(1, 3) if self.chance(0.97) else 0
        capacity = used + max(taken) + in_all * (self.between(2, 6) if self.chance(0.85) else self.between(0, 1))
        pool = self.builder.pool(Pool(f"pool {a}-{b}", capacity, used))
        for leaf, n in zip(src.leaves, taken, strict=True):
            if n:
                leaf.take = (pool, n)
        for leaf, n in zip(dst.leaves, given, strict=True):
            if n:
                leaf.gives.append((pool, n))
        for plan in self.plans:  # users of scratch, which queue among the others
            for leaf in plan.leaves:
                if leaf.take is None and self.chance(0.1):
                    amount = self.between(1, min(in_all, capacity - used))
                    leaf.take = (pool, amount)
                    leaf.gives.append((pool, amount))

    def schedules(self) -> None:
        per_round = sum(plan.rounds * plan.firings for plan in self.plans)
        budget = self.between(800, 2500) if self.periodic else self.between(30, 500)
        if not self.periodic and self.chance(0.02):
            budget = 2500
        rounds = max(2, budget // per_round)
        two_segments = not self.periodic and self.chance(0.2)
        if two_segments:
            rounds = max(1, rounds // 2)
            self.barrier(rounds)
            return
        for a, plan in enumerate(self.plans):
            wrong = not self.periodic and self.chance(0.005)
            schedule: list[Run | Repeat] = [Repeat(plan.rounds * rounds + wrong, plan.body(0))]
            if self.chance(0.2):
                schedule.insert(0, Run(Phase(work=self.between(1, 60))))
            self.builder.schedule(a, schedule)

    def barrier(self, rounds: int) -> None:
        """Run everything twice, in two segments parted by a barrier actor."""
        n = len(self.plans)
        barrier = self.builder.actor("barrier")
        done = [self.builder.fifo(a, barrier, latency=self.between(0, 2)) for a in range(n)]
        go = [self.builder.fifo(barrier, a, latency=self.between(0, 2)) for a in range(n)]
        self.builder.schedule(
            barrier, [Run(Phase(inputs=tuple((f, 1, 1) for f in done), outputs=tuple((f, 1, 1) for f in go)))]
        )
        for a, plan in enumerate(self.plans):
            self.builder.schedule(
                a,
                [
                    Repeat(plan.rounds * rounds, plan.body(0)),
                    Run(Phase(outputs=((done[a], 1, 1),))),
                    Run(Phase(inputs=((go[a], 1, 1),), segment=1)),
                    Repeat(plan.rounds * rounds, plan.body(1)),
                ],
            )


def random_program(seed: int) -> Program:
    """Return a random Program: joins, forks, cycles, nested repeats, peeking, shared servers and pools."""
    return _Maker(seed, periodic=False).make()


def periodic_program(seed: int) -> Program:
    """Return a random Program that repeats one round many times, in which states recur."""
    return _Maker(seed, periodic=True).make()


programs = st.integers(0, 2**32 - 1).map(random_program)
"""The same as a hypothesis strategy."""
