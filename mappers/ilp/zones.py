"""Steps of a search for layouts, forward or backward in time: what lies above what, and how far apart at least.

Between two steps there is a layout for each way in which what is kept may lie (`zones_kernel`), with what has been
paid. It comes from one at the step before, or behind, along an edge of `states`. Those that no plan of some cost can
have are left out, and so are those that another allows for no more. Of more than there is room for the best go on, and
what is known of the others is the least that a plan through them costs; or they are merged into such as allow what any
of them does, so that what is known is a bound (Bergman et al., Discrete Optimization with Decision Diagrams, 2016).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .states import SLOTS, States

if TYPE_CHECKING:
    from .zones_kernel import Given, Layouts, Scratch

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

POOL = 6
"""Room for layouts behind a step, in those that go on, at least."""
LEAST_POOL = 10_000
TIMES = 6
"""That the pool may be full at a step; the layouts that then are not expanded are those that cost most."""
WORK = 20
"""Layouts looked at in a step, in those that go on."""
ANY = 1 << 60
"""As many as there are."""
AT_ONCE = 200
"""Layouts that are expanded between two looks at the clock."""
HORIZON = 40
"""Steps beyond which tensors are taken to stay alike long."""
BLOCKS = 16
"""In a layout, at most."""
FRESH = 6
"""Tensors that come at one step, at most."""


class Late(Exception):
    """The limit of time has passed."""


@dataclass(frozen=True)
class Side:
    """A step from its near side to its far side: slots kept in each state, a bit each, and the edges by near state."""

    near: Ints
    far: Ints
    first: Ints
    target: Ints
    cost: Floats


class Zones:
    """Layouts at one boundary between steps, in rows; the best go on from boundary to boundary.

    Attributes:
        kept: by boundary and state, the slots that are kept, a bit each.
        touched: by step, the slots that it touches, the largest tensor first.
        rows: how many layouts there are.
        least: the least that is known of plans through layouts that were left out.
        full: some were left out for want of room.
    """

    def __init__(self, states: States, width: int, ends: float = inf) -> None:
        from . import zones_kernel as kernel
        from . import zones_merging as merging

        self.kernel, self.merging, self.states, self.width, self.ends = kernel, merging, states, width, ends
        self.kept = [np.zeros(1, np.int64), *(_kept(layer.keys) for layer in states.layers)]
        along, of = states.along, states.slots.of
        self.touched: list[Ints] = []
        most = fresh = 1
        for step, op in enumerate(along.lives.operators):
            names = sorted(op.touches, key=lambda n: (-along.nbytes(n), n))
            self.touched.append(np.array([of[n] for n in names], np.int64))
            mask, fresh = sum(1 << of[n] for n in names), max(fresh, len(names))
            sides = np.concatenate([self.kept[step] | mask, self.kept[step + 1] | mask])
            most = max(most, int(bits(sides).max()))
        self.fits = most <= BLOCKS and fresh <= FRESH
        pairs = (most + 2) * (most + 1) // 2
        pool = max(LEAST_POOL, POOL * width)
        self.here, self._pool = self._layouts(width, most, pairs), self._layouts(pool, most, pairs)
        self._table = np.zeros(1 << (2 * pool).bit_length(), np.int64)
        self._scratch = self._made(fresh, most, pairs)
        self._sides: dict[tuple[int, bool], Side] = {}
        self.rows, self.least, self.full = 0, inf, False

    def _layouts(self, rows: int, most: int, pairs: int) -> Layouts:
        ints, small = np.zeros((9, rows), np.int64), np.zeros((rows, most + pairs), np.int32)
        value, rank = np.zeros((2, rows))
        slot, apart = small[:, :most].copy(), small[:, most:].copy()
        return self.kernel.Layouts(ints[0], value, rank, ints[1], slot, apart, *ints[2:])

    def _made(self, fresh: int, most: int, pairs: int) -> Scratch:
        blocks, place, order, at = np.zeros((4, fresh + 1), np.int64)
        slot, apart = np.zeros((fresh + 1, most), np.int32), np.zeros((fresh + 1, pairs), np.int32)
        slots, done, turned = np.zeros((3, pairs + most + 2), np.int32)
        return self.kernel.Scratch(blocks, slot, apart, place, slots, done, turned, order, at, np.zeros(1, np.int64))

    def _side(self, step: int, back: bool) -> Side:
        if (step, back) not in self._sides:
            layer = self.states.layers[step]
            near, far = self.kept[step], self.kept[step + 1]
            source, target = layer.source, layer.target
            if back:
                near, far, source, target = far, near, target, source
            order = np.argsort(source, kind="stable")
            first = np.searchsorted(source[order], np.arange(len(near) + 1)).astype(np.int64)
            self._sides[step, back] = Side(near, far, first, target[order], layer.cost[order])
        return self._sides[step, back]

    def _stays(self, step: int, back: bool) -> Ints:
        """Steps for which the tensor in each slot may stay on the far side of a step, and the memory's ends do."""
        touches = self.states.along.lives.touches
        names = self.states.slots.tensor[step]
        found = [0 if n is None else step - touches[n][0] if back else touches[n][-1] - step for n in names]
        return np.array([*(min(n, HORIZON) for n in found), HORIZON], np.int64)

    def begin(self, values: Floats, ranks: Floats, limit: float) -> None:
        """At a boundary: what is kept lies anywhere; states with what they cost, and what plans through them cost."""
        order = np.argsort(ranks, kind="stable").astype(np.int64)
        inside = order[: self.width][ranks[order[: self.width]] <= limit]
        self.rows, self.full = len(inside), len(order) > self.width and bool(ranks[order[self.width]] <= limit)
        self.least = float(ranks[order[self.rows]]) if self.rows < len(order) else inf
        here = self.here
        here.state[: self.rows], here.value[: self.rows], here.blocks[: self.rows] = inside, values[inside], 0
        here.apart[: self.rows, 0], here.rank[: self.rows] = self.states.along.capacity, ranks[inside]

    def copied(self) -> Layouts:
        """The layouts that there are, in arrays of their own."""
        return _rows(self.here, np.arange(self.rows))

    def meet(self, other: Layouts, boundary: int, limit: float) -> None:
        """Leave out layouts that go with none of the other side for so much, of which there are no others.

        What plans through a layout cost is raised to what the best of them brings it to.
        """
        other = _rows(other, np.lexsort((other.value, other.state)))
        first = np.searchsorted(other.state, np.arange(len(self.kept[boundary]) + 1)).astype(np.int64)
        capacity, size = self.states.along.capacity, self.states.slots.size[boundary - 1]
        self.merging.match(self.here, self.rows, other, first, capacity, size, limit, self._scratch)
        ranks = self.here.rank[: self.rows]
        there = np.flatnonzero(ranks <= limit)
        if len(there) < self.rows:
            self.least = min(self.least, float(ranks[ranks > limit].min()))
            self.rows = len(there)
            parts: Iterable[NDArray[Any]] = self.here
            for values in parts:
                values[: self.rows] = values[there]

    def resume(self, layouts: Layouts) -> None:
        """Where those were, of which nothing is left out."""
        self.rows, self.least, self.full = len(layouts.state), inf, False
        parts: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(layouts, self.here, strict=True)
        for values, room in parts:
            room[: self.rows] = values

    def advance(
        self, step: int, back: bool, ahead: Floats, floor: Floats, limit: float, *, relaxed: bool = False
    ) -> None:
        """To the other side of a step.

        Args:
            step: the step.
            back: in time.
            ahead: by state on the other side, what is added to what is paid to compare layouts.
            floor: likewise, what a layout costs at least.
            limit: beyond which layouts are left out.
            relaxed: of more than there is room for none is left out: those that cost most are merged.

        Raises:
            Late: the limit of time has passed.
        """
        side, capacity = self._side(step, back), np.array([self.states.along.capacity])
        given = self.kernel.Given(
            capacity, self.states.slots.size[step], self.touched[step], side.near, side.far, side.first, side.target,
            side.cost, ahead, floor, self._stays(step, back),
        )  # fmt: skip
        pool, least = self._pool, np.array([self.least])
        table = self._table[: 1 << min(WORK * self.width, 2 * len(pool.state)).bit_length()]
        self.kernel.link(pool, 0, table)
        row = count = times = 0
        stuck, narrow = -1, partial(self._merged, given) if relaxed else self._narrowed
        self._scratch.work[0] = ANY if relaxed else WORK * self.width
        while row < self.rows:
            if time.perf_counter() > self.ends:
                raise Late
            until = min(self.rows, row + AT_ONCE)
            row, count = self.kernel.expand(
                given, self.here, row, until, pool, count, table, self._scratch, limit, least
            )  # fmt: skip
            if row < until and self._scratch.work[0] > 0:
                times = times + 1 if row == stuck or not relaxed else 1
                stuck = row
                count = narrow(count, pool, least)
                self.kernel.link(pool, count, table)
            if row < until and (times == TIMES or self._scratch.work[0] <= 0):  # costs do not fall on the way
                least[0] = min(least[0], self.here.rank[row : self.rows].min())
                self.full = True
                break
        self.rows, self.least = narrow(count, self.here, least), float(least[0])

    def _narrowed(self, count: int, to: Layouts, least: Floats) -> int:
        """Put the best layouts of the pool elsewhere: half by what plans through them cost, half by their order.

        Neighbours that leave together leave one hole. What costs least so far may have no place for what comes.
        """
        there = self._sorted(np.flatnonzero(self._pool.gone[:count] == 0))
        if len(there) > self.width:
            self.full = True
            pool, half = self._pool, self.width // 2
            rest = there[half:]
            rest = rest[np.lexsort((pool.tight[rest], pool.rank[rest], pool.uneven[rest]))]
            left = rest[self.width - half :]
            least[0] = min(least[0], pool.rank[left].min())
            there = self._sorted(np.sort(np.concatenate([there[:half], rest[: self.width - half]])))
        return self._put(there, to)

    def _merged(self, given: Given, count: int, to: Layouts, least: Floats) -> int:
        """Put all layouts of the pool elsewhere, but let those that cost most allow more until there is room.

        Of a state and order they become a few; where that is not enough, blocks that leave first lie anywhere.
        """
        pool, half = self._pool, self.width // 2
        there = self._sorted(np.flatnonzero(pool.gone[:count] == 0))
        if len(there) > self.width:
            done, rest, room = [there[:half]], there[half:], self.width - half
            while True:
                rest = rest[np.argsort(pool.mark[rest], kind="stable")]
                self.merging.merge(pool, rest, max(1, room // self.merging.orders(pool, rest)))
                rest = rest[pool.gone[rest] == 0]
                rest = rest[np.argsort(pool.rank[rest], kind="stable")]
                if len(rest) <= room or not pool.blocks[rest].any():
                    break
                spare = max(0, room - len(np.unique(pool.state[rest]))) // 2
                done.append(rest[:spare])
                rest, room = rest[spare:], room - spare
                self.merging.forget(given, pool, rest, self._scratch)
            room = len(self.here.state) - sum(map(len, done))  # states may be more than the width
            if len(rest) > room:
                self.full, least[0] = True, min(least[0], pool.rank[rest[room:]].min())
            there = self._sorted(np.sort(np.concatenate([*done, rest[:room]])))
        return self._put(there, to)

    def _sorted(self, rows: Ints) -> Ints:
        """Layouts of the pool, the best first."""
        pool = self._pool
        return rows[np.lexsort((pool.tight[rows], pool.uneven[rows], pool.rank[rows]))]

    def _put(self, rows: Ints, to: Layouts) -> int:
        """Put layouts of the pool elsewhere; how many there are."""
        parts: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self._pool, to, strict=True)
        for values, room in parts:
            room[: len(rows)] = values[rows]
        return len(rows)


def _rows(layouts: Layouts, rows: Ints) -> Layouts:
    """Some of them."""
    parts: Iterable[NDArray[Any]] = layouts
    return type(layouts)(*(values[rows] for values in parts))


def _kept(keys: Ints) -> Ints:
    found = np.zeros(len(keys), np.int64)
    for slot in range(SLOTS):
        found |= ((keys >> (2 * slot) & 3) > 0).astype(np.int64) << slot
    return found


def bits(masks: Ints) -> Ints:
    """How many bits of each are 1."""
    return sum(((masks >> k) & 1 for k in range(SLOTS)), np.zeros(len(masks), np.int64))
