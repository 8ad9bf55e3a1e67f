"""All that may be kept, step by step, and what it costs: exact for orders in which few tensors wait side by side.

Behind each step a state says of every tensor that is touched again whether it is kept, and if it is, whether dropping
it later would cost a store. The shortest path through the states of all steps is the least cost without addresses
(Bellman, Dynamic Programming, 1957). What each state costs from the start and to the end says which of them plans of at
most some cost can pass.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrangement import Along

if TYPE_CHECKING:
    from .states_kernel import Touches

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SLOTS = 31
"""Tensors of which a state can speak, at two bits each."""
MOST = 50_000
"""States behind one step, at most; with more of them a solver of integer programs takes less time."""
EDGES = 12_000_000
"""From states to those behind the next step, in all, at most: some 300 MB."""


@dataclass(frozen=True)
class Slots:
    """Two bits of the state for every tensor; tensors that are never there at the same step may share them.

    Attributes:
        of: slot by tensor.
        tensor, size: by step and slot, the tensor that it belongs to, or none, and its bytes.
    """

    of: dict[str, int]
    tensor: list[list[str | None]]
    size: Ints


@dataclass(frozen=True)
class Layer:
    """The states behind one step, and the edges that lead there from those behind the step before, or the start.

    Attributes:
        keys: of each state two bits by slot (`states_kernel`).
        source, target, cost: of each edge, the number of a state on either side, and what its step drops.
    """

    keys: Ints
    source: Ints
    target: Ints
    cost: Floats


@dataclass(frozen=True)
class States:
    """The states behind every step; before the first step and behind the last there is one."""

    along: Along
    slots: Slots
    layers: Sequence[Layer]

    @cached_property
    def paid(self) -> list[Floats]:
        """By boundary, from before the first step to behind the last: by state, the least cost from the start."""
        from .states_kernel import relax

        found = [np.zeros(1)]
        for layer in self.layers:
            found.append(np.full(len(layer.keys), inf))
            relax(layer.source, layer.target, layer.cost, found[-2], found[-1])
        return found

    @cached_property
    def ahead(self) -> list[Floats]:
        """Likewise, the least cost from there to the end; infinite where a later step has no room."""
        from .states_kernel import relax

        counts = [1, *(len(layer.keys) for layer in self.layers[:-1])]
        found = [np.zeros(1)]
        for layer, count in zip(self.layers[::-1], counts[::-1], strict=True):
            found.append(np.full(count, inf))
            relax(layer.target, layer.source, layer.cost, found[-2], found[-1])
        return found[::-1]

    @property
    def least(self) -> float:
        """What costs least without addresses."""
        return float(self.ahead[0][0])

    def within(self, limit: float) -> States:
        """Those that plans of at most such a cost can pass."""
        layers, number = [], np.zeros(1, np.int64)
        for layer, paid, ahead in zip(self.layers, self.paid, self.ahead[1:], strict=False):
            stay = paid[layer.source] + layer.cost + ahead[layer.target] <= limit
            there = np.zeros(len(layer.keys), bool)
            there[layer.target[stay]] = True
            source, number = number[layer.source[stay]], np.cumsum(there) - 1
            layers.append(Layer(layer.keys[there], source, number[layer.target[stay]], layer.cost[stay]))
        return States(self.along, self.slots, layers)

    def dropped(self) -> set[int]:
        """The gaps that a plan of least cost drops."""
        found, state = set[int](), 0
        for step, layer in enumerate(self.layers):
            edges = np.flatnonzero(layer.source == state)
            costs = layer.cost[edges] + self.ahead[step + 1][layer.target[edges]]
            state = int(layer.target[edges[np.argmin(costs)]])
            found |= self.begun(step, state)
        return found

    def begun(self, step: int, state: int) -> set[int]:
        """Gaps that begin at a step and are dropped, by a state behind it."""
        key = int(self.layers[step].keys[state])
        found = set()
        for name in self.along.lives.operators[step].touches:
            gap = self.along.begins.get((name, step))
            if gap is not None and not key >> (2 * self.slots.of[name]) & 3:
                found.add(gap)
        return found


def states_of(along: Along, *, most: int = MOST, ends: float = inf) -> States | None:
    """All states of an order.

    Args:
        along: its gaps; every operator fits the memory.
        most: states behind one step.
        ends: when it is to be over (as `perf_counter`).

    Returns:
        None where there are more, where they are not found in time, or where results may take the place of inputs.
    """
    from .states_kernel import Edges, expand

    slots = _slots(along)
    if slots is None or along.lives.in_place:
        return None
    layers: list[Layer] = []
    keys, edges = np.zeros(1, np.int64), 0
    found, table = np.zeros(most, np.int64), np.zeros(1 << (2 * most).bit_length(), np.int64)
    for step in range(len(along.lives.operators)):
        touches = _touches(along, slots, step)
        count = len(keys) << int(touches.goes.sum())
        if edges + count > EDGES or time.perf_counter() > ends:
            return None
        out = Edges(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count))
        room = along.capacity - along.base[step]
        there, count = expand(keys, slots.size[step], room, touches, found, table, out)
        if there < 0:
            return None
        keys, edges = found[:there].copy(), edges + count
        layers.append(Layer(keys, out.source[:count].copy(), out.target[:count].copy(), out.cost[:count].copy()))
    return States(along, slots, layers)


def _slots(along: Along) -> Slots | None:
    """Slots for all tensors from their first touch to their last; None where there are too few."""
    of: dict[str, int] = {}
    last: list[int] = []
    for name, touched in sorted(along.lives.touches.items(), key=lambda item: (item[1][0], item[0])):
        slot = next((k for k, step in enumerate(last) if step < touched[0]), len(last))
        if slot == SLOTS:
            return None
        last[slot : slot + 1] = [touched[-1]]
        of[name] = slot
    steps = len(along.lives.operators)
    tensor: list[list[str | None]] = [[None] * len(last) for _ in range(steps)]
    size = np.zeros((steps, len(last)), np.int64)
    for name, touched in along.lives.touches.items():
        size[touched[0] : touched[-1] + 1, of[name]] = along.nbytes(name)
        for step in range(touched[0], touched[-1] + 1):
            tensor[step][of[name]] = name
    return Slots(of, tensor, size)


def _touches(along: Along, slots: Slots, step: int) -> Touches:
    from .states_kernel import FRESH, INHERITED, STORED, Touches

    lives, op = along.lives, along.lives.operators[step]
    rows: list[tuple[int, bool, int, bool]] = []
    names = sorted(op.touches, key=lambda name: (name, step) not in along.begins)
    for name in names:
        gap = along.begins.get((name, step), -1)
        epoch = lives.gaps[gap].epoch if gap >= 0 else -1
        stored = gap >= 0 and lives.epochs[epoch].stored
        content = STORED if stored else FRESH if name in op.writes else INHERITED
        rows.append((slots.of[name], gap >= 0, content, gap >= 0 and gap != along.of_epoch[epoch][-1]))
    slot, goes, contents, more = np.array(rows, np.int64).reshape(-1, 4).T.copy()
    nbytes = np.array([along.nbytes(name) for name in names], np.float64)
    return Touches(slot, goes, contents, more, nbytes * along.cost.load, nbytes * along.cost.store)
