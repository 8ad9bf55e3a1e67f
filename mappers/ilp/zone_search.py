"""What is kept and where, decided together: the plan that costs least with addresses, or a bound that knows of them.

Backward in time, windows of steps say what each state (`states`) costs to the end at least: inside a window what is
kept has addresses, at its ends it may lie anywhere. Windows end where little is kept, so that little is lost there.
Forward, layouts go from window to window by what they have paid and what their states cost to the end at least
(`zone_march`). Both are done with few layouts first, then with more; where plans had to cost more than the bound,
windows are put together. At last, none beyond a limit is left out, which rises until there is a plan (Korf, Depth-first
iterative-deepening, 1985). Where all layouts have room, the first plan costs least; where not, the best go on, and
what is known of the others is still a bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from .arrangement import Arrangement
from .states import States
from .zone_march import March, path
from .zone_plan import traced
from .zones import Late, Zones, bits

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SHORT, LONG = 15, 50
"""Steps of a window: it ends where least is kept."""
LONGEST = 150
"""Steps of windows that are put together."""
MARGIN = 1 / 32
"""By which a limit is beyond the bound, at first, in mean costs of loading a tensor."""
WIDER, FARTHER = 2, 4
"""Times that this is, when a window, and when all steps, are looked at again."""
ROUNDS = 8
"""Limits that are tried with as many layouts."""
NARROW, FEW, MANY = (100,), (500, 2_000), (6_000,)
"""Layouts that go on: of the first look at a window, and of each look at all steps, back and ahead."""
WIDTH = 20_000
"""Layouts that go on when all within a limit are followed."""
CLOSE = 1e-9


@dataclass(frozen=True)
class Found:
    """A plan, or None where none was found that costs less than what was known, and a bound for all plans."""

    arrangement: Arrangement | None
    bound: float


def with_addresses(states: States, *, enough: float = inf, ends: float = inf, width: int = WIDTH) -> Found:
    """The plan that costs least, with addresses.

    Args:
        states: of its order.
        enough: cost of a plan that is known.
        ends: when it is to be over (as `perf_counter`).
        width: layouts that go on, at most.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    if time.perf_counter() > ends:
        return Found(None, states.least)
    search = Search(states.within(enough), enough, ends, width)
    search.look(FEW)
    search.look(MANY)
    search.look_ahead()
    return Found(search.best, search.bound)


@dataclass
class Window:
    """Steps from `begin` to before `end`; whether looking at it with more layouts would bring nothing."""

    begin: int
    end: int
    settled: bool = False


class Search:
    """With so many layouts at a boundary.

    Attributes:
        ahead: by boundary and state, the least cost to the end as far as it is known.
        bound: on what a plan costs.
        best: of the plans found that cost less than `most`.
        windows: by step.
    """

    def __init__(self, states: States, most: float, ends: float, width: int) -> None:
        self.states = states
        self.most = min(most * (1 - CLOSE), states.along.price(range(len(states.along.lives.gaps))) + 1.0)
        self.zones, self.width = Zones(states, width, ends), width
        self.ahead = [values.copy() for values in states.ahead]
        self.bound = states.least
        self.best: Arrangement | None = None
        loads = [g.nbytes * states.along.cost.load for g in states.along.lives.gaps]
        self.margin = MARGIN * float(np.mean(loads)) if loads else 0.0
        self.windows = self._cut()

    @property
    def over(self) -> bool:
        return self.bound >= self.most

    def look(self, widths: Sequence[int]) -> None:
        """At all steps, back and ahead, with more and more layouts, until a plan is proven or time is over."""
        if not self.zones.fits:
            return
        with suppress(Late):
            for width in sorted({min(width, self.width) for width in widths}):
                if not self.over:
                    self._look_back(width)
                    self._march(width)

    def look_ahead(self) -> None:
        """Find the plan that costs least, the bound being raised to where there is none, if there is time."""
        if not self.zones.fits:
            return
        with suppress(Late):
            self._look_ahead()

    def beat(self, value: float) -> None:
        """There is a plan of such a cost: only others that cost less matter."""
        self.most = min(self.most, value * (1 - CLOSE))

    def _cut(self) -> list[Window]:
        held = [bits(kept) for kept in self.zones.kept]
        found, end = list[Window](), len(self.states.layers)
        while end > 0:
            begin = 0 if end <= LONG else min(range(end - LONG, end - SHORT + 1), key=lambda b: self._held(held[b], b))
            found.append(Window(begin, end))
            end = begin
        return found[::-1]

    def _held(self, held: Ints, boundary: int) -> tuple[int, int]:
        """How many tensors are kept at a boundary, in states that matter, and how far it is from the end."""
        near = self.states.paid[boundary] + self.ahead[boundary] <= self.bound + self.margin
        return int(held[near].max(initial=0)), boundary

    def _look_back(self, width: int) -> None:
        """Raise `ahead` and the bound, window by window from the end."""
        for window in reversed(self.windows):
            if self.over:
                break
            if not window.settled:
                self._look_at(window, width)
            for step in range(window.end - 1, window.begin - 1, -1):
                self.ahead[step] = np.maximum(self.ahead[step], self._back(step, self.ahead[step + 1]))
        self.bound = max(self.bound, min(self.most, float(self.ahead[0][0])))

    def _back(self, step: int, values: Floats) -> Floats:
        """What states before a step cost to the end, by what those behind it do."""
        from .states_kernel import relax

        layer = self.states.layers[step]
        found = np.full(len(self.ahead[step]), inf)
        relax(layer.target, layer.source, layer.cost, values, found)
        return found

    def _look_at(self, window: Window, width: int) -> None:
        """Raise `ahead` in a window: with few layouts, to see if it costs anything; with more, to see how much."""
        begin, end, zones = window.begin, window.end, self.zones
        for zones.width in sorted({min(width, few) for few in (*NARROW, *FEW, *MANY, WIDTH)}):
            found, least = self._window(begin, end, min(self.bound, self.most) * (1 + CLOSE))
            self._raise(begin, end, found)
            if least < inf or not zones.full:
                break
        self.bound = max(self.bound, min(least, zones.least))
        window.settled, margin = least <= self.bound * (1 + CLOSE), self.margin
        if zones.full or window.settled:
            return
        zones.width = width
        for _ in range(ROUNDS):
            if self.over:
                return
            limit = min(self.bound + margin, self.most)
            found, least = self._window(begin, end, limit * (1 + CLOSE))
            self._raise(begin, end, found)
            self.bound = max(self.bound, min(least, zones.least))
            window.settled = least <= zones.least
            if window.settled or zones.full:
                break
            margin *= WIDER

    def _raise(self, begin: int, end: int, found: Sequence[Floats]) -> None:
        for step, values in zip(range(end - 1, begin - 1, -1), found, strict=True):
            self.ahead[step] = np.maximum(self.ahead[step], values)

    def _window(self, begin: int, end: int, limit: float) -> tuple[list[Floats], float]:
        """Costs to the end from step `end` - 1 back to `begin`, and the least of plans through layouts found there."""
        states, zones = self.states, self.zones
        values = self.ahead[end]
        zones.begin(values, states.paid[end] + values, limit)
        exact: list[Floats] = []
        loose: list[Floats] = []
        for step in range(end - 1, begin - 1, -1):
            known = self.ahead[step]
            values = np.maximum(self._back(step, values), known)
            zones.advance(step, True, states.paid[step], known, limit)
            found = np.full(len(known), inf)
            np.minimum.at(found, zones.here.state[: zones.rows], zones.here.value[: zones.rows])
            exact.append(found)
            loose.append(values)
        steps = range(end - 1, begin - 1, -1)
        costs = [
            np.maximum(values, np.minimum(found, zones.least - states.paid[step]))
            for step, values, found in zip(steps, loose, exact, strict=True)
        ]
        return costs, float(zones.here.rank[: zones.rows].min(initial=inf))

    def _march(self, width: int) -> None:
        """Find a plan; put windows together where it had to cost more."""
        if self.over:
            return
        march = March(self.zones, self.ahead, [window.end for window in self.windows], width)
        try:
            found = march.plan(self.bound, self.most, self.margin)
        finally:
            self._joined(march.dear)
        self._keep(found)

    def _keep(self, found: Arrangement | None) -> None:
        if found is not None and found.value <= self.most:
            self.best, self.most = found, found.value * (1 - CLOSE)
            if self.over:
                self.bound = found.value

    def _joined(self, dear: Sequence[int]) -> None:
        """Put windows together with those before them."""
        for k in sorted(set(dear), reverse=True):
            if k and self.windows[k].end - self.windows[k - 1].begin <= LONGEST:
                self.windows[k - 1 : k + 1] = [Window(self.windows[k - 1].begin, self.windows[k].end)]

    def _look_ahead(self) -> None:
        """Find plans, the bound being raised to where there is none."""
        self._look_back(self.width)
        self.zones.width, step = self.width, 0.0
        for _ in range(ROUNDS):
            limit = min(self.bound + step, self.most)
            found = None if self.over else self._plan(limit * (1 + CLOSE))
            value = found.value if found is not None else inf
            self.bound = max(self.bound, min(value, self.zones.least, self.most))
            self._keep(found)
            if self.over or found is not None or limit == self.most:
                break
            step = max(FARTHER * step, self.margin)

    def _plan(self, limit: float) -> Arrangement | None:
        """The best plan within a limit and the width."""
        zones = self.zones
        zones.begin(np.zeros(1), self.ahead[0], limit)
        record: list[tuple[Ints, Ints, Ints]] = []
        for step in range(len(self.states.layers)):
            ahead = self.ahead[step + 1]
            zones.advance(step, False, ahead, np.zeros(len(ahead)), limit)
            if not zones.rows:
                return None
            here, rows = zones.here, zones.rows
            record.append((here.parent[:rows].copy(), here.places[:rows].copy(), here.state[:rows].copy()))
        return traced(zones, path(record, 0))
