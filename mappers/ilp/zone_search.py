"""What is kept and where, decided together: the plan that costs least with addresses, or a bound that knows of them.

Backward in time, layouts (`zones`) say what each state (`states`) costs to the end at least; of more than there is room
for, those that cost most are merged. Forward, the best layouts go from window to window by what they have paid and what
their states cost to the end at least (`zone_march`); at some boundaries each meets the layouts found backward, and goes
on where it goes with one of them. Around windows in which a plan had to cost more than the bound more layouts go on the
next time. Where no better bound comes of that, layouts are merged forward, too, and those of either way meet. At last,
none beyond a limit is left out, which rises until there is a plan (Korf, Depth-first iterative-deepening, 1985). Where
all layouts have room, the first plan costs least; where not, the best go on, and what is known of the others is still a
bound.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrangement import Arrangement
from .states import States
from .zone_march import March, path
from .zone_plan import traced
from .zones import Late, Zones, bits

if TYPE_CHECKING:
    from .zones_kernel import Layouts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SHORT, LONG = 15, 50
"""Steps of a window: it ends where least is kept."""
EVERY = 4
"""Steps from one boundary at which layouts are kept for the other way to the next."""
FIRST, WIDER = 100, 4
"""Layouts that go on in a window, at first, and times that there are more where a plan cost more than the bound."""
MORE = 4
"""Times that more layouts go on, at most, where a plan is looked for."""
MARGIN = 1 / 32
"""By which a limit is beyond the bound, at first, in mean costs of loading a tensor."""
FARTHER = 4
"""Times that this is when all steps are looked at again."""
ROUNDS = 8
"""Limits that are tried with as many layouts."""
FEW, MANY = (400, 1_600), (6_400,)
"""Layouts that go on in a window, at most, as long as little time was spent, and later."""
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


class Search:
    """With so many layouts at a boundary.

    Attributes:
        paid, ahead: by boundary and state, what plans of less than `most` cost from the start and to the end, at least.
        bound: on what a plan costs.
        best: of the plans found that cost less than `most`.
        ends, widths: of windows, between boundaries where little is kept: their ends, and layouts that go on in each.
        behind, met: by boundary, layouts found forward and backward, one of which every plan of less than `most` has.
    """

    def __init__(self, states: States, most: float, ends: float, width: int) -> None:
        self.states = states
        self.most = min(most * (1 - CLOSE), states.along.price(range(len(states.along.lives.gaps))) + 1.0)
        self.zones, self.width = Zones(states, width, ends), width
        self.ahead = [values.copy() for values in states.ahead]
        self.paid = [values.copy() for values in states.paid]
        self.bound = states.least
        self.best: Arrangement | None = None
        loads = [g.nbytes * states.along.cost.load for g in states.along.lives.gaps]
        self.margin = MARGIN * float(np.mean(loads)) if loads else 0.0
        self.ends = self._cut()
        self.widths = [min(FIRST, width)] * len(self.ends)
        self.behind: dict[int, Layouts] = {}
        self.met: dict[int, Layouts] = {}

    @property
    def over(self) -> bool:
        return self.bound >= self.most

    def look(self, widths: Sequence[int]) -> None:
        """At all steps, back and ahead, with more and more layouts, until a plan is proven or time is over."""
        if not self.zones.fits:
            return
        with suppress(Late):
            if self.best is None:  # what costs more than a plan need not be looked at
                self._march(MORE * min(widths))
            for most in sorted({min(width, self.width) for width in widths}):
                while not self.over and self._look(most):
                    pass

    def _look(self, most: int) -> bool:
        """Back for a bound, and ahead for a plan; then more layouts where the plan cost more than the bound.

        Returns:
            Whether there are windows in which more layouts than before may go on next time.
        """
        bound = self.bound
        self._sweep(back=True)
        if self.over:
            return False
        dear = self._march(MORE * most)
        if not self.over and self.bound == bound:
            self._sweep(back=False)
        near = {j for k in dear for j in (k - 1, k, k + 1) if 0 <= j < len(self.ends)}
        wider = {k: min(most, WIDER * self.widths[k]) for k in near or range(len(self.ends))}
        more = any(width > self.widths[k] for k, width in wider.items())
        for k, width in wider.items():
            self.widths[k] = max(self.widths[k], width)
        return more

    def look_ahead(self) -> None:
        """Find the plan that costs least, the bound being raised to where there is none, if there is time."""
        if not self.zones.fits:
            return
        with suppress(Late):
            self._look_ahead()

    def beat(self, value: float) -> None:
        """There is a plan of such a cost: only others that cost less matter."""
        self.most = min(self.most, value * (1 - CLOSE))

    def _cut(self) -> list[int]:
        held = [bits(kept) for kept in self.zones.kept]
        found, end = list[int](), len(self.states.layers)
        while end > 0:
            found.append(end)
            end = 0 if end <= LONG else min(range(end - LONG, end - SHORT + 1), key=lambda b: self._held(held[b], b))
        return found[::-1]

    def _held(self, held: Ints, boundary: int) -> tuple[int, int]:
        """How many tensors are kept at a boundary, in states that matter, and how far it is from the end."""
        near = self.states.paid[boundary] + self.ahead[boundary] <= self.bound + self.margin
        return int(held[near].max(initial=0)), boundary

    def _sweep(self, *, back: bool) -> None:
        """Raise `ahead`, or `paid`, and the bound; keep layouts for the other way.

        What costs `most` or more is left out, and so no plan that costs less passes what is not found.
        """
        zones, count = self.zones, len(self.states.layers)
        own, other = (self.ahead, self.paid) if back else (self.paid, self.ahead)
        steps = range(count - 1, -1, -1) if back else range(count)
        facing, mine = (self.behind, self.met) if back else (self.met, self.behind)
        near, limit = count if back else 0, self.most
        mine.clear()
        zones.begin(own[near], np.full(1, self.bound), limit)
        for step in steps:
            far = step if back else step + 1
            zones.width = self.widths[bisect_right(self.ends, step)]
            own[far] = np.maximum(own[far], self._through(step, own[near], back=back))
            zones.advance(step, back, other[far], own[far], limit, relaxed=True)
            if far in facing:
                zones.meet(facing[far], far, limit)
            if zones.full:
                return
            if not zones.rows:
                self._close()
                return
            found = np.full(len(own[far]), inf)
            np.minimum.at(found, zones.here.state[: zones.rows], zones.here.value[: zones.rows])
            own[far] = np.maximum(own[far], found)
            if far % EVERY == 0 or far in self.ends:
                mine[far] = zones.copied()
            near = far
        self.bound = max(self.bound, float(zones.here.rank[: zones.rows].min()))

    def _through(self, step: int, values: Floats, *, back: bool) -> Floats:
        """What states on the far side of a step cost, by what those on the near side do."""
        from .states_kernel import relax

        layer = self.states.layers[step]
        source, target = (layer.target, layer.source) if back else (layer.source, layer.target)
        found = np.full(len(self.ahead[step if back else step + 1]), inf)
        relax(source, target, layer.cost, values, found)
        return found

    def _march(self, most: int) -> list[int]:
        """Find a plan, with so many layouts at most; windows behind which it had to cost more than the bound."""
        march = March(self.zones, self.ahead, self.ends, min(self.width, most), self.met)
        self._keep(march.plan(self.bound, self.most, self.margin))
        return march.dear

    def _close(self) -> None:
        """No plan costs less than what is known."""
        mine = self.best is not None and self.best.value * (1 - CLOSE) <= self.most
        self.bound = self.best.value if self.best is not None and mine else self.most

    def _keep(self, found: Arrangement | None) -> None:
        if found is not None and found.value <= self.most:
            self.best, self.most = found, found.value * (1 - CLOSE)
            if self.over:
                self.bound = found.value

    def _look_ahead(self) -> None:
        """Find plans, the bound being raised to where there is none."""
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
