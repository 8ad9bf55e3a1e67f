"""Plans with addresses by beams that race: some run side by side for a while, and all go on from the best of them.

The states of a beam soon come from one that it had some 20 steps ago, so that a wider beam is more of the same, while
tensors stay for longer than that: how well they lie shows later. Here beams of `layout` start from one state, choose
with a little chance, and are compared a good while after the stretch that is decided. What that brings multiplies from
stretch to stretch, where the best of whole plans would be little better than each of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arrangement import Along, Arrangement
from .layout import Beam, Step, tables_of, traced

if TYPE_CHECKING:
    from .layout_kernel import States, Tables

BEAMS, WIDTH = 8, 256
"""Beams, and states of each."""
WORK = 500_000
"""States of a beam times steps; beams over more steps are narrower."""
STRETCH, AHEAD = 50, 50
"""Steps that are decided at a time, and steps after them at which beams are compared."""
NOISE = 0.3
"""What the keys of all beams but the first are off by, in tensors, at most."""
EFFORT = BEAMS * (STRETCH + AHEAD) / STRETCH / min(BEAMS, os.cpu_count() or 1)
"""Times that one beam of the same width would take."""


def raced(
    along: Along,
    prices: NDArray[np.float64],
    *,
    width: int = WIDTH,
    beams: int = BEAMS,
    seed: int = 0,
    ends: float = inf,
) -> Arrangement | None:
    """A plan by what a byte is worth at each step.

    Without a limit of time the same for any number of processors.

    Args:
        along: the order's gaps.
        prices: by step, of a byte.
        width: of each beam.
        beams: that race; each has a thread of its own where there are processors.
        seed: of what is left to chance.
        ends: when it is to be over (as `perf_counter`): fewer beams go on where all of them would take longer.

    Returns:
        None where all beams end with no state.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    steps = len(along.lives.operators)
    if not steps:
        return Arrangement(along, set())
    tables = tables_of(along, (), prices)
    width = max(8, min(width, WORK // steps))
    racers = [_Racer(along, tables, width, (seed, number)) for number in range(beams)]
    path: list[Step] = []
    count, stop = beams, Event()
    with ThreadPoolExecutor(min(beams, os.cpu_count() or 1)) as pool:
        try:
            for first in range(0, steps, STRETCH):
                end = min(steps, first + STRETCH)
                until = min(steps, end + AHEAD)
                started = time.perf_counter()
                runs = [(racer, pool.submit(racer.run, first, end, until, stop)) for racer in racers[:count]]
                there = [racer for racer, run in runs if run.result()]
                best = min(there, key=lambda racer: racer.beam.least, default=None)
                if best is None:
                    return None
                path += best.path
                count = min(beams, _affordable(count, started, steps - end, ends))
                for racer in racers:
                    racer.follow(best)
        finally:
            stop.set()
    return traced(along, path)


def _affordable(beams: int, started: float, steps: int, ends: float) -> int:
    """How many beams can run so many steps more in time, where some ran a stretch since `started`; at least 1."""
    now = time.perf_counter()
    needed = (now - started) * steps / STRETCH
    if not needed or ends == inf:
        return beams
    return max(1, int(beams * (ends - now) / needed))


class _Racer:
    """A beam, what its best state did in the stretch that is decided, and the state behind that, at `row`."""

    def __init__(self, along: Along, tables: Tables, width: int, seed: Sequence[int]) -> None:
        self.beam = Beam(along, tables, width, STRETCH + AHEAD)
        self.behind = self.beam.copied()
        self.row = 0
        self.path: list[Step] = []
        gaps = along.lives.gaps
        tensor = float(np.mean([g.nbytes for g in gaps])) * along.cost.load if gaps else 0.0
        self.noise = NOISE * tensor if seed[-1] else 0.0
        self.random = np.random.default_rng(seed)

    def run(self, first: int, end: int, until: int, stop: Event) -> bool:
        """Decide the steps from `first` to before `end`, by where the beam is at `until`; whether it came there."""
        for step in range(first, until):
            chance = self.noise and step < until - 1  # the best state is the first of the last step
            if stop.is_set() or not self.beam.run(step, step + 1, noise=self._off if chance else None):
                return False
            if step == end - 1:
                _copy(self.beam.states, self.behind, slice(self.beam.left))
        self.row = self.beam.ancestor(end, until, 0)
        self.path = self.beam.path(first, end, self.row)
        return True

    def follow(self, best: _Racer) -> None:
        """Go on from where the best one is."""
        _copy(best.behind, self.beam.states, slice(1), slice(best.row, best.row + 1))
        self.beam.left = 1

    def _off(self, count: int) -> NDArray[np.float64]:
        return self.noise * self.random.random(count)


def _copy(a: States, b: States, to: slice, rows: slice | None = None) -> None:
    """Put states of `a`, by row, in the place of some of `b`."""
    parts: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(a, b, strict=True)
    for source, target in parts:
        target[to] = source[to if rows is None else rows]
