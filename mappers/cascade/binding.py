"""Which unit runs which Einsum of a group, so that the busiest unit has least to do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import le
from typing import TypeAlias

import numpy as np

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit, SpatialOption
from ...ir import Einsum, Workload
from ...ir.signature import signature
from ...mapping.constraints import OpConstraint
from .memories import Memories

WIDTH = 64
"""Partial bindings that are kept; more that do not dominate each other are cut, and the binding may miss the best."""


@dataclass(frozen=True)
class Way:
    """One way to run a tile: cycles of the machine's clock, and joules with those of the unit's memories."""

    unit: ComputeUnit
    option: SpatialOption
    cycles: float
    joules: float


@dataclass(frozen=True)
class Bound:
    """A binding: a way for every Op, and the cycles that each unit is busy."""

    ways: tuple[Way, ...]
    busy: Mapping[str, float]
    joules: float


class Ways:
    """What a tile of an Einsum costs on the units of groups; remembered by extents, for Einsums alike but in names."""

    def __init__(self, workload: Workload, arch: Architecture, memories: Memories) -> None:
        self.workload, self.arch, self.memories = workload, arch, memories
        self.units = [u for u in arch.units.values() if isinstance(u, ComputeUnit) and memories.runs(u)]
        energies = {m: arch.memories[m].action_energy() for m in memories.chains}
        self.read = {m: energy.get("read", 0.0) for m, energy in energies.items()}
        self.write = {m: energy.get("write", 0.0) for m, energy in energies.items()}
        self.prices = {u.name: u.action_energy() for u in self.units}
        self._options: dict[str, list[tuple[ComputeUnit, SpatialOption]]] = {}
        self._kinds: dict[Hashable, int] = {}
        self._kind_of: dict[str, int] = {}
        self._known: dict[tuple[str | int, tuple[int, ...]], tuple[Way, ...]] = {}

    def feeds(self, einsum: Einsum) -> tuple[str, ...]:
        """The memory of every input and, last, of the result; empty where no unit runs the Einsum."""
        return next((u.feeds(len(einsum.inputs)) for u, _ in self._of(einsum)), ())

    def of(self, einsum: Einsum, extents: Mapping[str, int], constraint: OpConstraint) -> tuple[Way, ...]:
        """The ways to run a tile of these extents that a user allows, none dominated by another on its unit."""
        key = self._kind(einsum) if constraint.is_free else einsum.name, tuple(extents.values())
        if key not in self._known:
            best: dict[str, Way] = {}
            for unit, option in self._of(einsum):
                if constraint.allows(unit=unit.name, variant=option.variant):
                    way = self._way(einsum, unit, option, extents)
                    if unit.name not in best or (way.cycles, way.joules) < (
                        best[unit.name].cycles, best[unit.name].joules
                    ):  # fmt: skip
                        best[unit.name] = way
            self._known[key] = tuple(best.values())
        return self._known[key]

    def _kind(self, einsum: Einsum) -> int:
        """A number that Einsums share which are alike in all but names."""
        found = self._kind_of.get(einsum.name)
        if found is None:
            tensors = [self.workload.tensors[a.tensor] for a in (*einsum.inputs, einsum.output)]
            alike = signature(einsum), tuple((t.bits, t.density) for t in tensors)
            found = self._kind_of[einsum.name] = self._kinds.setdefault(alike, len(self._kinds))
        return found

    def _of(self, einsum: Einsum) -> list[tuple[ComputeUnit, SpatialOption]]:
        """Units, and their options, that are fed from the same memories as the one that is fastest.

        Of equals it is the one with most operands by way of the memory next to the edge, where tensors stay.
        """
        if einsum.name not in self._options:
            able = [(u, o) for u in self.units for o in u.spatial_options(einsum)]
            fed = {u.feeds(len(einsum.inputs)) for u, _ in able}
            if len(fed) > 1:
                chains, near = self.memories.chains, self.memories.near
                past = {feeds: sum(near not in chains[m] for m in feeds) for feeds in fed}

                def order(able: tuple[ComputeUnit, SpatialOption]) -> tuple[float, int]:
                    return self._way(einsum, *able, einsum.sizes).cycles, past[able[0].feeds(len(einsum.inputs))]

                fed = {min(able, key=order)[0].feeds(len(einsum.inputs))}
            self._options[einsum.name] = [(u, o) for u, o in able if u.feeds(len(einsum.inputs)) in fed]
        return self._options[einsum.name]

    def _way(self, einsum: Einsum, unit: ComputeUnit, option: SpatialOption, extents: Mapping[str, int]) -> Way:
        tensors = [self.workload.tensors[a.tensor] for a in (*einsum.inputs, einsum.output)]
        at_work = unit.over(einsum, [t.density for t in tensors[:-1]])
        arrays = {r: np.array([n], np.int64) for r, n in extents.items()}
        cost = at_work.cost(einsum, option, arrays, [t.bits for t in tensors])
        prices = self.prices[unit.name]
        joules = sum(int(n.item()) * prices.get(action, 0.0) for action, n in cost.actions.items())
        *feeds, last = unit.feeds(len(einsum.inputs))
        joules += sum(int(n.item()) * self.read[m] for n, m in zip(cost.reads, feeds, strict=True))
        joules += int(cost.partial_reads.item()) * self.read[last] + int(cost.writes.item()) * self.write[last]
        cycles = int(cost.cycles.item()) * float(self.arch.clock) / unit.clock_hz
        return Way(unit, option, max(cycles, 1.0), joules)


def bind(ways: Sequence[Sequence[Way]], times: Sequence[float], *, by_energy: bool, width: int = WIDTH) -> Bound:
    """The binding whose busiest unit has fewest cycles, then the one of least energy (or the reverse).

    Dynamic programming over the Ops: of partial bindings those are kept that no other one beats on every unit and in
    energy, at most `width` of them.

    Args:
        ways: of every Op, at least one.
        times: how often each runs.
        by_energy: least energy first.
        width: partial bindings that are kept.
    """
    units = sorted({way.unit.name for row in ways for way in row})
    number = {name: i for i, name in enumerate(units)}
    sure, spent = [0.0] * len(units), 0.0
    order: list[int] = []
    for i, row in enumerate(ways):
        if len(row) > 1:
            order.append(i)
            continue
        sure[number[row[0].unit.name]] += row[0].cycles * times[i]
        spent += row[0].joules * times[i]
    order.sort(key=lambda i: -min([w.cycles for w in ways[i]]) * times[i])
    states: list[_State] = [((0.0, 0.0, 0.0), spent, tuple(sure), ())]
    for i in order:
        grown: list[_State] = []
        here = [(number[w.unit.name], w.cycles * times[i], w.joules * times[i], w) for w in ways[i]]
        for _, joules, busy, chosen in states:
            for at, cycles, more, way in here:
                now = (*busy[:at], busy[at] + cycles, *busy[at + 1 :])
                spent = joules + more
                rank = (spent, max(now), sum(now)) if by_energy else (max(now), spent, sum(now))
                grown.append((rank, spent, now, (*chosen, way)))
        grown.sort(key=_rank)
        states = _undominated(grown, width)
    _, joules, busy, chosen = states[0]
    found = dict(zip(order, chosen, strict=True))
    all_ways = tuple([found.get(i) or row[0] for i, row in enumerate(ways)])
    return Bound(all_ways, dict(zip(units, busy, strict=True)), joules)


_State: TypeAlias = tuple[tuple[float, float, float], float, tuple[float, ...], tuple[Way, ...]]
"""A partial binding: what it is ranked by, joules, cycles by unit, and ways."""


def _rank(state: _State) -> tuple[float, float, float]:
    return state[0]


def _undominated(states: list[_State], width: int) -> list[_State]:
    """The first of some ranked states that none before is as good as on every unit and in energy."""
    kept: list[_State] = []
    for state in states:
        if len(kept) >= width:
            break
        _, joules, busy, _ = state
        for _, other, least, _ in kept:
            if other <= joules and all(map(le, least, busy)):
                break
        else:
            kept.append(state)
    return kept
