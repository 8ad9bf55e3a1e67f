"""The linear program of a fluid bound: what holds in every run of a Program at the instants that are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ..bounds import carrying
from ..program import NONE, IntArray, Program
from .curves import Curves, Need
from .instants import START, Instants, Order
from .lines import Line, lines_above, lines_below
from .windows import ended_before

Term = tuple[int, float]
"""A column and what it is multiplied by."""


@dataclass
class Rows:
    """Rows sum(terms) <= limit over columns between two numbers; those of a resource are priced by what they gain.

    Attributes:
        priced: by row its resource, and what its limit grows by when the resource grows by its own size; None for a
            server, whose row is as long as the time between its instants.
    """

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    priced: dict[int, tuple[tuple[str, int], float | Order]] = field(default_factory=dict)
    _row: list[int] = field(default_factory=list)
    _column: list[int] = field(default_factory=list)
    _factor: list[float] = field(default_factory=list)

    def column(self, low: float = 0.0, high: float = np.inf) -> int:
        self.low.append(low)
        self.high.append(high)
        return len(self.low) - 1

    def add(self, terms: Iterable[Term], limit: float) -> int:
        for column, factor in terms:
            self._row.append(len(self.limits))
            self._column.append(column)
            self._factor.append(factor)
        self.limits.append(limit)
        return len(self.limits) - 1

    @property
    def matrix(self) -> sparse.csr_matrix:
        shape = len(self.limits), len(self.low)
        return sparse.csr_matrix((self._factor, (self._row, self._column)), shape=shape)


class FluidRows:
    """The linear program of a Program at some instants.

    Columns are the times of the instants and of the end, or the length of a period, in units of `scale` ticks, the part
    of its work that each actor has done at each of them, and what is in use of pools.
    """

    def __init__(self, curves: Curves, instants: Instants, scale: float) -> None:
        self.curves, self.at, self.scale = curves, instants, scale
        self.program: Program = curves.program
        self._owner = self.program.actor_of_phase()
        self.rows = Rows()
        self.times = [self.rows.column() for _ in range(instants.number + 1)]
        self.total = [float(curves.per_period(work)) for work in curves.work]
        self.active = [a for a, total in enumerate(self.total) if total]
        self.done: dict[tuple[int, int], int] = {}
        for a in self.active:
            least, most = (curves.work[a][n[a]] / self.total[a] for n in (instants.least, instants.most))
            if curves.around:
                least[instants.least[a] == 0], most[instants.most[a] == len(curves.phases[a])] = -np.inf, np.inf
            self.done |= {(a, k): self.rows.column(least[k], most[k]) for k in range(instants.number)}
        self._lines: dict[tuple[int, bool, int, int, int], list[Line]] = {}
        self._never_back()
        self._servers()
        for need in curves.needs:
            self._fifo(need)
            self._latency(need)
        for pool in range(len(self.program.platform.pools)):
            self._pool(pool)

    def _carries(self, server: int) -> bool:
        return carrying(self.program, server, self._owner)

    def _work(self, a: int, k: int, factor: float) -> tuple[list[Term], float]:
        """What an actor has done at an instant, times a factor: terms and a constant."""
        if k == START:
            return [], 0.0
        if k == self.at.number:
            return [], factor * self.total[a]
        return [(self.done[a, k], factor * self.total[a])], 0.0

    def _never_back(self) -> None:
        """Instants follow one another, and nothing is undone meanwhile."""
        for a in self.active:
            for before, after, periods in self.at.order:
                if before != START and after != self.at.number:
                    self.rows.add([(self.done[a, before], 1.0), (self.done[a, after], -1.0)], periods)

    def _servers(self) -> None:
        """No resource does more between two instants than its rate allows."""
        of: dict[tuple[str, int], list[int]] = {}
        for a in self.active:
            s = int(self.program.actor_server[a])
            of.setdefault(("server", s) if s != NONE else ("actor", a), []).append(a)
        for (kind, i), actors in of.items():
            server = self.program.platform.servers[i] if kind == "server" else None
            tick = self.scale * float(server.rate if server is not None else 1)
            ahead = self._ahead(actors, tick) if server is not None and self._carries(i) else {}
            in_period = sum(self.total[a] for a in actors) / tick
            for before, after, periods in self.at.order:
                terms = self._between(before, after, periods)
                limit = -periods * in_period
                for k, sign in ((after, 1.0), (before, -1.0)):
                    if k in ahead:
                        terms.append((ahead[k], sign))
                        continue
                    for a in actors:
                        more, constant = self._work(a, k, sign / tick)
                        terms += more
                        limit -= constant
                self.rows.priced[self.rows.add(terms, limit)] = (kind, i), (before, after, periods)

    def _between(self, before: int, after: int, periods: int) -> list[Term]:
        """Less the time between two instants."""
        terms = [(self.times[after], -1.0)] + ([(self.times[before], 1.0)] if before != START else [])
        return terms + ([(self.times[-1], -float(periods))] if periods else [])

    def _ahead(self, actors: list[int], tick: float) -> dict[int, int]:
        """What a server that keeps the rest of a tick for its next piece has done, with that rest: at most a tick."""
        found = {}
        for k in range(self.at.number):
            found[k] = self.rows.column(-np.inf)
            terms = [term for a in actors for term in self._work(a, k, 1 / tick)[0]]
            self.rows.add([*terms, (found[k], -1.0)], 0.0)
            self.rows.add([*((c, -factor) for c, factor in terms), (found[k], 1.0)], 1 / self.scale)
        return found

    def _fifo(self, need: Need) -> None:
        """What an actor has asked for is there."""
        at = self.at
        late = (at.actor == need.other) & (not need.at_start)
        asked, given = need.asked[at.most[need.actor]], need.given[at.least[need.other] - late]
        for k in np.flatnonzero(asked > given).tolist():
            size = max(1.0, float(asked[k] - need.asked[at.least[need.actor, k]]))
            for slope, value in self._below(need.asked, need.actor, k):
                for other_slope, other_value in self._above(need.given, need.other, k, need.at_start):
                    terms = self._line(need.actor, k, slope / size) + self._line(need.other, k, -other_slope / size)
                    row = self.rows.add(terms, (other_value - value) / size)
                    if need.fifo != NONE:
                        depth = self.program.fifos[need.fifo].depth
                        self.rows.priced[row] = ("fifo", need.fifo), depth / size

    def _latency(self, need: Need) -> None:
        """Between two references: the last firing starts a latency after what it asks for, and takes its time."""
        if need.actor not in self.at.at or need.other not in self.at.at:
            return
        s = int(self.program.actor_server[need.actor])
        rate = float(self.program.platform.servers[s].rate) if s != NONE else 1.0
        rest = 1.0 if s != NONE and self._carries(s) else 0.0
        resource = ("server", s) if s != NONE else ("actor", need.actor)
        firings = self.at.at[need.actor]
        earlier = self.at.before(need.other, ended_before(need, firings))
        last: IntArray = self.program.phase_work[self.curves.phases[need.actor][firings - 1]]
        for k, ((before, periods), work) in enumerate(zip(earlier, last, strict=True), self.at.first[need.actor]):
            served = max(0.0, float(work) / rate - rest) / self.scale
            if before != START:
                terms = self._between(before, k, periods)
                self.rows.priced[self.rows.add(terms, -need.latency / self.scale - served)] = resource, served

    def _pool(self, i: int) -> None:
        """What is taken of a pool and not given back is no more than all of it."""
        pool = self.program.platform.pools[i]
        for k in range(self.at.number):
            terms = self._in_use(self.curves.taken[i], k, pool.capacity, 1.0)
            terms += self._in_use(self.curves.given[i], k, pool.capacity, -1.0)
            row = self.rows.add(terms, (pool.capacity - pool.used) / pool.capacity)
            self.rows.priced[row] = ("pool", i), 1.0

    def _in_use(self, curves: Mapping[int, IntArray], k: int, capacity: int, sign: float) -> list[Term]:
        """Columns, with their sign, of the part of a pool that actors have taken at least, or given back at most."""
        found = []
        for a, curve in curves.items():
            column = self.rows.column(-np.inf)
            found.append((column, sign))
            for slope, value in self._below(curve, a, k) if sign > 0 else self._above(curve, a, k, False):
                line = self._line(a, k, sign * slope / capacity)
                self.rows.add([*line, (column, -sign)], -sign * value / capacity)
        return found

    def _line(self, a: int, k: int, slope: float) -> list[Term]:
        return self._work(a, k, slope)[0] if slope else []

    def _below(self, curve: IntArray, a: int, k: int) -> list[Line]:
        """Lines below what an actor's firings have taken by their start, over how far it can be at an instant."""
        return self._hull(curve, a, k, above=False, shift=0)

    def _above(self, curve: IntArray, a: int, k: int, at_start: bool) -> list[Line]:
        """Lines above what its firings have given by their end, or their start, to what has started by an instant.

        What a reference gives at its end comes too late for that.
        """
        return self._hull(curve, a, k, above=True, shift=at_start - int(self.at.actor[k] == a))

    def _hull(self, curve: IntArray, a: int, k: int, *, above: bool, shift: int) -> list[Line]:
        low, high = int(self.at.least[a, k]), int(self.at.most[a, k])
        key = id(curve), above, shift, low, high
        if key not in self._lines:
            if self.curves.around and (low == 0 or high == len(self.curves.phases[a])):
                self._lines[key] = [self._mean(curve, a, above, shift)]
                return self._lines[key]
            x = self.curves.work[a][low : high + 1].astype(np.float64)
            reached = np.minimum(np.arange(low, high + 1) + shift, len(curve) - 1)
            y = curve[reached].astype(np.float64)
            self._lines[key] = (lines_above if above else lines_below)(x, y)
        return self._lines[key]

    def _mean(self, curve: IntArray, a: int, above: bool, shift: int) -> Line:
        """The line of a curve's mean slope that is nowhere above it, or below it: all that is known in any period."""
        period = len(self.curves.phases[a]) // (2 * self.curves.around + 1)
        if not period:
            return 0.0, float(curve[0])
        firings = np.arange(self.curves.around * period, (self.curves.around + 1) * period)
        slope = self.curves.per_period(curve) / self.total[a]
        value = curve[firings + shift] - slope * self.curves.work[a][firings]
        return slope, float(value.max() if above else value.min())
