"""Lower bounds of groups: what units must do and what must pass the chip's edge, whatever the tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from ...ir import Einsum
from ...lowering.ports import route
from ...mapping.constraints import Constraints
from .binding import Ways

PRICES = 8
"""Steps into which the price of a cycle is cut when it is shared out over units."""


class Bounds:
    """Bounds of every stretch of a run of Einsums, from sums over its beginnings.

    Any prices of the units that sum to one give a bound of the busiest unit's cycles, the sum over Einsums of the least
    price times cycles of a unit (weak duality of the linear program that shares Einsums out); several are tried. That
    cutting an Einsum makes no unit faster is taken for granted. `read` holds Einsums by name at the points that
    something reads: a group may leave the others out.
    """

    def __init__(
        self, items: Sequence[Einsum | None], ways: Ways, constraints: Constraints, read: Mapping[str, Einsum]
    ) -> None:
        self.able = [False] * len(items)
        names = [u.name for u in ways.units]
        prices = _prices(len(names))
        busy = np.zeros((len(items) + 1, len(prices)))
        joules = np.zeros(len(items) + 1)
        for i, einsum in enumerate(items):
            busy[i + 1], joules[i + 1] = busy[i], joules[i]
            if einsum is None:
                continue
            found = ways.of(einsum, dict(read[einsum.name].sizes), constraints.for_einsum(einsum.name, einsum.kind))
            if not found:
                continue
            self.able[i] = True
            columns = [names.index(w.unit.name) for w in found]
            busy[i + 1] += (prices[:, columns] * np.array([w.cycles for w in found])).min(axis=1)
            joules[i + 1] += min(w.joules for w in found)
        self._busy, self._joules = busy, joules

    def cycles(self, first: int, last: int) -> float:
        """Of items `first` to `last` (exclusive), on units."""
        return float((self._busy[last] - self._busy[first]).max(initial=0.0))

    def joules(self, first: int, last: int) -> float:
        """The same for energy: that of units with what they read and write."""
        return float(self._joules[last] - self._joules[first])


def _prices(units: int) -> NDArray[np.float64]:
    """Ways to share one price out over units, those with all of it on one included."""
    if units == 1:
        return np.ones((1, 1))
    steps = PRICES if units < 4 else 2
    rows = []
    for marks in combinations_with_replacement(range(units), steps):
        rows.append([marks.count(u) / steps for u in range(units)])
    return np.array(rows)


def edge(ways: Ways, loaded: int, stored: int) -> tuple[float, float]:
    """Cycles and joules to bring so many bytes onto the chip, and off it."""
    ports: dict[str, float] = {}
    joules, near, home = 0.0, ways.memories.near, ways.memories.home
    for nbytes, way in ((loaded, route(ways.arch, home, near)), (stored, route(ways.arch, near, home))):
        joules += nbytes * way.joules_per_byte
        for port, cycles in way.cycles_per_byte.items():
            ports[port] = ports.get(port, 0.0) + nbytes * cycles
    return max(ports.values(), default=0.0), joules
