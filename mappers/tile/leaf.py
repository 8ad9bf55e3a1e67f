"""What a unit does with the innermost tiles: units without loops of their own, whose cost is known at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np

from ...arch.architecture import Architecture
from ...arch.component import Component
from ...components.base import ComputeUnit, Cost, SpatialOption
from ...ir import Einsum
from ...ir.same import Same
from .nest import Lasts, Nest, Shortfall, Way, Work
from .operand import Array, Extents


@lru_cache(maxsize=256)
def _energies(of: Same[Component]) -> Mapping[str, float]:
    return of.value.action_energy()


class Leaf:
    """An Einsum on a unit in one spatial option.

    Args:
        bits: of every input and, last, of the output.
    """

    exact = True

    def __init__(
        self, einsum: Einsum, unit: ComputeUnit, option: SpatialOption, bits: Sequence[int], arch: Architecture
    ) -> None:
        self.einsum, self.unit, self.option, self.bits = einsum, unit, option, tuple(bits)
        self.ratio = float(arch.clock) / float(unit.clock_hz)
        self.energy = _energies(Same(unit))
        self.memories = [_energies(Same(arch.memories[m])) for m in unit.feeds(len(einsum.inputs))]

    @cached_property
    def late(self) -> float:
        whole = {r: np.full(1, n, np.int64) for r, n in self.einsum.sizes.items()}
        return float(self.unit.cost(self.einsum, self.option, whole, self.bits).latency.max()) * self.ratio

    def bound(self, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        return self.run(self.option, extents, sums)

    def settle(self, extents: Mapping[str, int], sums: int, lasts: Mapping[Way, int]) -> Nest | Shortfall:
        return Nest()

    def work(self, nest: Nest, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        return self.run(self.option, extents, sums)

    def run(self, option: SpatialOption, extents: Extents, sums: Array) -> Work:
        """The work of tiles of which `sums` each add up to a result: all but the first resume one, all but the last
        leave it partial."""
        cost = self.unit.cost(self.einsum, option, extents, self.bits)
        joules, cycles = self._joules(cost), cost.cycles.astype(np.float64)
        if (sums > 1).any():
            part = self.unit.cost(self.einsum, option, extents, self.bits, resumed=True, unfinished=True)
            joules = np.where(sums > 1, joules + (1 - 1 / sums) * (self._joules(part) - joules), joules)
            cycles = np.where(sums > 1, part.cycles, cycles)
        return Work(cycles * self.ratio, joules, np.zeros(1))

    def _joules(self, cost: Cost) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        total = cost.writes * self.memories[-1]["write"] + cost.partial_reads * self.memories[-1]["read"]
        for amount, memory in zip(cost.reads, self.memories, strict=False):
            total = total + amount * memory["read"]
        for action, count in cost.actions.items():
            total = total + count * self.energy[action]
        return np.asarray(total, np.float64)
