"""What one firing of an Op costs, remembered per tile shape."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..components.base import ComputeUnit, SpatialOption
from ..engine.labels import Action
from ..errors import BadInput, MappingError
from ..ir import Einsum
from ..mapping.tree import Op
from .parts import Names


def option_of(unit: ComputeUnit, einsum: Einsum, op: Op, where: str) -> SpatialOption:
    """The unit's option that an Op names.

    Raises:
        MappingError: the unit cannot run the Einsum, or not so; the message lists what it can.
    """
    try:
        return unit.option(einsum, op.variant, op.layout)
    except BadInput as error:
        raise MappingError(f"position {where}: {error}") from None


Extents: TypeAlias = tuple[tuple[str, int], ...]
"""(rank, size) of a tile, sorted by rank."""


@dataclass(frozen=True)
class TileCost:
    """Cycles of service, and counted actions, of one tile."""

    cycles: int
    actions: Mapping[Hashable, int]


NOTHING = TileCost(0, {})


class OpCosts:
    """Costs of the tiles of one Op, the largest of which has the extents `largest`."""

    def __init__(
        self,
        unit: ComputeUnit,
        einsum: Einsum,
        option: SpatialOption,
        bits: Sequence[int],
        names: Names,
        largest: Mapping[str, int],
    ) -> None:
        self._unit = unit.over(einsum, [names.workload.tensors[a.tensor].density for a in einsum.inputs])
        self._einsum, self._option, self._bits, self._names = einsum, option, bits, names
        self._known: dict[tuple[Extents, bool, bool], TileCost] = {}
        self.latency = int(self._cost(tuple(sorted(largest.items())), False, False)[0])
        """Cycles of the unit from the end of service to the result being there, those of the largest tile."""

    def at(self, extents: Extents, *, resumed: bool, unfinished: bool) -> TileCost:
        """Cost of a tile of these extents that adds to partial results, or leaves some; none where it has no points."""
        if not all(extent for _, extent in extents):
            return NOTHING
        key = extents, resumed, unfinished
        if key not in self._known:
            self._known[key] = self._cost(*key)[1]
        return self._known[key]

    def _cost(self, extents: Extents, resumed: bool, unfinished: bool) -> tuple[int, TileCost]:
        arrays = {r: np.array([e], np.int64) for r, e in extents}
        cost = self._unit.cost(self._einsum, self._option, arrays, self._bits, resumed=resumed, unfinished=unfinished)
        name, feeds = self._einsum.name, self._unit.feeds(len(self._einsum.inputs))
        actions: dict[Hashable, int] = {}

        def count(component: str, action: str, tensor: str, n: int) -> None:
            key = Action(component, action, name, tensor)
            actions[key] = actions.get(key, 0) + n

        for action, n in cost.actions.items():
            count(self._unit.name, action, "", int(n.item()))
        for access, memory, n in zip(self._einsum.inputs, feeds[:-1], cost.reads, strict=True):
            count(memory, "read", self._names.storage(access.tensor), int(n.item()))
        out = self._names.storage(self._einsum.output.tensor)
        count(feeds[-1], "write", out, int(cost.writes.item()))
        count(feeds[-1], "read", out, int(cost.partial_reads.item()))
        return int(cost.latency.item()), TileCost(int(cost.cycles.item()), actions)
