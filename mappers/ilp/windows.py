"""Better plans with addresses, one window of steps after the other: the rest stays as it is.

In a window the gap model says what to keep, with less memory where that has no addresses, and the packer says whether
it has any beside what reaches into the window and out of it. Only what is better and has addresses is taken, so that
the search may end at any time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from .arrangement import Along, Arrangement, Stretch, addresses, crowded, stretches, take
from .gap_model import Model, Row, merged
from .solver import SolverOptions

WIDTHS = (1, 2, 4)
"""Steps of a window, in lengths of a long gap; neighbours overlap by half."""
LEAST_WIDTH = 12
CYCLES = 8
"""Times that all windows are looked at, at most."""
TRIES = 6
"""Programs of a window, each without what the ones before found no addresses for."""
MARGINS = (1, 2, 4, 7, 11, 16)
"""Percent of the memory that a window gives up for addresses, after those."""
NODES, WORK = 20_000, 2_000_000
"""Of the exact search for addresses in a window: nodes, and nodes times buffers."""
SOLVER_NODES = 200
"""Of branch and bound in a window."""
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Settings:
    """Whether addresses are needed, the solver's options, when to stop (as `perf_counter`), and what is good enough."""

    packed: bool
    options: SolverOptions
    ends: float = inf
    enough: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return time.perf_counter() > self.ends

    @property
    def left(self) -> float | None:
        """Seconds until then; None where there is no limit."""
        return None if self.ends == inf else max(0.1, self.ends - time.perf_counter())


def improved(start: Arrangement, settings: Settings) -> tuple[Arrangement, bool]:
    """A plan that costs no more, with addresses if they are asked for, and whether Ctrl-C ended the search."""
    current = Arrangement(start.along, set(start.dropped), dict(start.address))
    try:
        _improve(current, settings)
    except KeyboardInterrupt:
        return current, True
    return current, False


def _improve(current: Arrangement, settings: Settings) -> None:
    steps = len(current.along.lives.operators)
    touched = [0] * (steps + 1)
    lengths = sorted(g.last - g.first for g in current.along.lives.gaps)
    long = max(LEAST_WIDTH, lengths[len(lengths) * 9 // 10] if lengths else 0)
    seen: dict[tuple[int, int], int] = {}
    clock = 0
    for _ in range(CYCLES):
        before = clock
        for width in (long * times for times in WIDTHS):
            for first in range(0, max(1, steps - width // 2), width // 2):
                end = min(steps, first + width)
                if max(touched[first : end + 1]) < seen.get((first, end), 0):
                    continue
                if settings.over or current.value <= settings.enough + TOLERANCE:
                    return
                clock += 1
                seen[first, end] = clock
                if decided(current, first, end, settings):
                    clock += 1
                    touched[first : end + 1] = [clock] * (end + 1 - first)
                    seen[first, end] = clock + 1
        if not any(t > before for t in touched):
            break


def decided(current: Arrangement, first: int, end: int, settings: Settings, *, last: bool = False) -> bool:
    """Whether the steps of a window have been decided better than before.

    With `last`, nothing behind them has addresses yet, and any decision with addresses is taken.
    """
    along = current.along
    free = _free(along, first, len(along.lives.operators) if last else end, end)
    now = inf if last else along.price(current.dropped & free, current.dropped - free)
    if now <= TOLERANCE:
        return False
    paid = frozenset(along.lives.gaps[i].epoch for i in current.dropped - free)
    cuts = _apart(current, first, end) if settings.packed and not last else []
    options = replace(settings.options, nodes=SOLVER_NODES, gap=0.0, seconds=settings.left)
    outside = current.dropped - free
    for percent in (*[0] * TRIES, *MARGINS):
        model = Model(along.lives, _rows(current, free, first, end, percent), list(cuts), paid, short=True)
        gone, solutions = model.dropped([along.cost], options)
        if solutions[0].interrupted:
            raise KeyboardInterrupt
        if solutions[0].chosen is None or along.price(gone, outside) >= now * (1 - 1e-6):
            return False
        wanted = outside | gone
        if not settings.packed:
            current.dropped = wanted
            return True
        found = stretches(current, wanted, first, end, last=last)
        places, final = addresses(found, along.capacity, nodes=_nodes(found))
        if places is not None:
            take(current, found, places)
            current.dropped = wanted
            return True
        if percent == 0:
            cut = _cut(along, free, wanted, found, first, end) if final else ()
            cuts.append(cut or tuple(sorted(free - wanted)))
    return False


def _nodes(found: Sequence[Stretch]) -> int:
    return min(NODES, WORK // max(1, len(found)))


def _free(along: Along, first: int, until: int, end: int) -> set[int]:
    """Gaps that begin in a window and end before `until`."""
    found = set()
    for step in range(first, end):
        for name in along.lives.operators[step].touches:
            gap = along.begins.get((name, step))
            if gap is not None and along.lives.gaps[gap].last < until:
                found.add(gap)
    return found


def _rows(current: Arrangement, free: set[int], first: int, end: int, percent: int) -> list[Row]:
    """What the steps of a window lack, beside what is kept over its ends."""
    along, rows = current.along, []
    size = along.lives.gaps
    for step in range(first, end):
        inside = along.rows[step] & free
        outside = sum(size[i].nbytes for i in along.rows[step] - free if i not in current.dropped)
        mine = sum(size[i].nbytes for i in inside)
        lack = along.base[step] + outside + mine - along.capacity
        lack = min(mine, lack + along.capacity * percent // 100)
        if lack > 0:
            rows.append((frozenset(inside), lack))
    return merged(rows)


def _apart(current: Arrangement, first: int, end: int) -> list[tuple[int, ...]]:
    """Tensors that come into the window at one address and leave it at another: not all of their gaps are kept."""
    along, found = current.along, []
    for name in along.alive(first, first + 1):
        gaps = along.of_tensor.get(name, [])
        into = [i for i in gaps if along.lives.gaps[i].first < first <= along.lives.gaps[i].last < end]
        out = [i for i in gaps if first <= along.lives.gaps[i].first < end <= along.lives.gaps[i].last]
        if not into or not out or current.dropped & {into[0], out[0]}:
            continue
        between = tuple(range(into[0] + 1, out[0]))
        ends = (name, along.lives.gaps[into[0]].first), (name, along.lives.gaps[out[0]].last)
        if between and current.address[ends[0]] != current.address[ends[1]]:
            found.append(between)
    return found


def _cut(
    along: Along, free: set[int], dropped: set[int], found: Sequence[Stretch], first: int, end: int
) -> tuple[int, ...]:
    """Gaps of a window that cannot all be kept; empty where nothing in it can be changed."""
    low, high = crowded(found, along.capacity, first, end, nodes=_nodes(found))
    gaps = along.lives.gaps
    return tuple(sorted(i for i in free - dropped if gaps[i].first < high and low <= gaps[i].last))
