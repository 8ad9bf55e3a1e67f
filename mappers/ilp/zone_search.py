"""What is kept and where, decided together: the plan that costs least with addresses, or a bound that knows of them.

First, backward in time, windows of steps say what each state (`states`) costs to the end at least: inside a window what
is kept has addresses, at its ends it may lie anywhere. Windows end where little is kept, so that little is lost there.
Then layouts are followed forward by what they have paid and what their states cost to the end at least, none beyond a
limit that rises until there is a plan (Korf, Depth-first iterative-deepening, 1985). Where all layouts have room, the
first plan costs least; where not, the best go on, and what is known of the others is still a bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from .arrangement import Arrangement
from .states import States
from .zones import Late, Zones, bits

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SHORT, LONG = 15, 50
"""Steps of a window: it ends where least is kept."""
MARGIN = 1 / 32
"""By which a limit is beyond the bound, at first, in mean costs of loading a tensor."""
WIDER, FARTHER = 2, 4
"""Times that this is, when a window, and when all steps, are looked at again."""
ROUNDS = 8
"""Limits that are tried with as many layouts."""
WIDTH = 20_000
"""Layouts that go on."""
NARROW = (100, 2_000)
"""As many at first: where one of few costs no more than the bound, so does one of all."""
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
    if search.zones.fits and not search.over:
        try:
            search.look_back()
            search.look_ahead()
        except Late:
            pass
    return Found(search.best, search.bound)


class Search:
    """With so many layouts at a boundary.

    Attributes:
        ahead: by boundary and state, the least cost to the end as far as it is known.
        bound: on what a plan costs.
        best: of the plans found that cost less than `most`.
    """

    def __init__(self, states: States, most: float, ends: float, width: int) -> None:
        self.states, self.most = states, most * (1 - CLOSE)
        self.zones, self.width = Zones(states, width, ends), width
        self.ahead = [values.copy() for values in states.ahead]
        self.bound = states.least
        self.best: Arrangement | None = None
        loads = [g.nbytes * states.along.cost.load for g in states.along.lives.gaps]
        self.margin = MARGIN * float(np.mean(loads)) if loads else 0.0

    @property
    def over(self) -> bool:
        return self.bound >= self.most

    def look_back(self) -> None:
        """Raise `ahead` and the bound, window by window from the end."""
        held = [bits(kept) for kept in self.zones.kept]
        end = len(self.states.layers)
        while end > 0 and not self.over:
            begin = 0 if end <= LONG else min(range(end - LONG, end - SHORT + 1), key=lambda b: self._held(held[b], b))
            margin = self.margin
            for k in range(ROUNDS):
                limit = min(self.bound + margin, self.most) if k else self.bound
                self.zones.width = self.width if k else min(NARROW[0], self.width)
                found, least = self._window(begin, end, limit * (1 + CLOSE))
                self.bound = max(self.bound, min(least, self.zones.least))
                if least <= self.zones.least or (k and self.zones.full) or self.over:
                    break
                margin *= WIDER if k else 1
            for step, values in zip(range(end - 1, begin - 1, -1), found, strict=True):
                self.ahead[step] = np.maximum(self.ahead[step], values)
            end = begin

    def _held(self, held: Ints, boundary: int) -> tuple[int, int]:
        """How many tensors are kept at a boundary, in states that matter, and how far it is from the end."""
        near = self.states.paid[boundary] + self.ahead[boundary] <= self.bound + self.margin
        return int(held[near].max(initial=0)), boundary

    def _window(self, begin: int, end: int, limit: float) -> tuple[list[Floats], float]:
        """Costs to the end from step `end` - 1 back to `begin`, and the least of plans through layouts found there."""
        from .states_kernel import relax

        states, zones = self.states, self.zones
        values = self.ahead[end]
        zones.begin(values, states.paid[end] + values, limit)
        exact: list[Floats] = []
        loose: list[Floats] = []
        for step in range(end - 1, begin - 1, -1):
            layer, known = states.layers[step], self.ahead[step]
            back = np.full(len(known), inf)
            relax(layer.target, layer.source, layer.cost, values, back)
            values = np.maximum(back, known)
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

    def look_ahead(self) -> None:
        """Find plans, the bound being raised to where there is none."""
        for width in sorted({min(width, self.width) for width in (*NARROW, self.width)}):
            self.zones.width, step = width, 0.0
            for _ in range(ROUNDS if width > NARROW[0] else 1):
                limit = min(self.bound + step, self.most)
                found = None if self.over else self._plan(limit * (1 + CLOSE))
                value = found.value if found is not None else inf
                self.bound = max(self.bound, min(value, self.zones.least, self.most))
                if found is not None:
                    self.best, self.most = found, min(self.most, found.value * (1 - CLOSE))
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
        row, path = 0, []
        for parent, places, state in reversed(record):
            path.append((int(places[row]), int(state[row])))
            row = int(parent[row])
        return traced(zones, path[::-1])


def traced(zones: Zones, path: Sequence[tuple[int, int]]) -> Arrangement:
    """The plan of a path: by step, where in the layout blocks came, and the state behind it."""
    shift = zones.kernel.SHIFT
    mask = (1 << shift) - 1
    states = zones.states
    dropped: set[int] = set()
    blocks = _Blocks()
    where: dict[tuple[str, int], int] = {}
    number: dict[str, int] = {}
    near = 0
    for step, (places, state) in enumerate(path):
        names = states.slots.tensor[step]
        turned, places = places & 1, places >> 1
        touched = {slot: names[slot] or "" for slot in zones.touched[step].tolist()}
        for _ in range(sum(not near >> slot & 1 for slot in touched)):
            name = touched[places & mask]
            number[name] = blocks.add(states.along.nbytes(name), places >> shift & mask)
            places >>= 2 * shift
        where.update({(name, step): number[name] for name in touched.values()})
        dropped |= states.begun(step, state)
        near = int(zones.kept[step + 1][state])
        blocks.leave({number[n] for slot, n in enumerate(names) if n is not None and near >> slot & 1}, bool(turned))
    lowest = blocks.lowest()
    return Arrangement(states.along, dropped, {key: lowest[block] for key, block in where.items()})


class _Blocks:
    """Blocks that come between others and leave; `order` is by address, of those that are there."""

    def __init__(self) -> None:
        self.size: list[int] = []
        self.under: list[list[int]] = []
        """By block, those right below it at some time."""
        self.order: list[int] = []
        self.turned = False

    def add(self, size: int, place: int) -> int:
        """One more, above the `place`-th from below, or from above where the layout is upside down; its number."""
        place = len(self.order) - place if self.turned else place
        block = len(self.size)
        self.size.append(size)
        self.under.append(self.order[place - 1 : place] if place else [])
        for above in self.order[place : place + 1]:
            self.under[above].append(block)
        self.order.insert(place, block)
        return block

    def leave(self, stay: set[int], turned: bool) -> None:
        """All but some leave, and the layout may be turned upside down."""
        self.order = [block for block in self.order if block in stay]
        self.turned ^= turned

    def lowest(self) -> list[int]:
        """The lowest address of each block above all that it must be above."""
        found: dict[int, int] = {}
        for block in range(len(self.size)):
            waiting = [block]
            while waiting:
                missing = [b for b in self.under[waiting[-1]] if b not in found]
                if missing:
                    waiting += missing
                    continue
                last = waiting.pop()
                found[last] = max((found[b] + self.size[b] for b in self.under[last]), default=0)
        return [found[block] for block in range(len(self.size))]
