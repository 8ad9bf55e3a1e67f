"""What one firing of an Op costs, found for all its tile shapes at once: a unit takes as long for few as for many."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..components.base import ComputeUnit, Cost, SpatialOption
from ..engine.labels import Action
from ..errors import BadInput, MappingError
from ..ir import Einsum
from ..ir.same import Same
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
    """Costs of the tiles of one Op, whose `shapes` are extents by rank, those of the largest tile first.

    What it has in `registers` is neither read from nor written to a memory.
    """

    def __init__(
        self,
        unit: ComputeUnit,
        einsum: Einsum,
        option: SpatialOption,
        bits: Sequence[int],
        names: Names,
        shapes: Sequence[Mapping[str, int]],
        registers: Sequence[str] = (),
    ) -> None:
        self._unit = unit.over(einsum, [names.workload.tensors[a.tensor].density for a in einsum.inputs])
        self._einsum, self._option, self._bits, self._names = einsum, option, bits, names
        self._registers = registers
        self._shapes = [tuple(sorted(shape.items())) for shape in shapes]
        self._known: dict[tuple[Extents, bool, bool], TileCost] = {}
        self.latency = self._find(self._shapes, False, False)
        """Cycles of the unit from the end of service to the result being there, those of the largest tile."""

    def at(self, extents: Extents, *, resumed: bool, unfinished: bool) -> TileCost:
        """Cost of a tile of these extents that adds to partial results, or leaves some; none where it has no points."""
        if not all(extent for _, extent in extents):
            return NOTHING
        key = extents, resumed, unfinished
        if key not in self._known:
            self._find(self._shapes if extents in self._shapes else [extents], resumed, unfinished)
        return self._known[key]

    def served(self, cycles: int) -> tuple[int, int]:
        """Work of so many cycles at the unit's server, or at that of the memory which it keeps, and its argument."""
        keeping = self._unit.keeping
        return (cycles, 0) if keeping is None else (ceil(cycles * keeping.work_per_cycle), keeping.arg)

    def _find(self, shapes: Sequence[Extents], resumed: bool, unfinished: bool) -> int:
        """Find the costs of tiles of some shapes; cycles from the end of service of the first to its result."""
        sizes = zip(*([e for _, e in shape] for shape in shapes), strict=True)
        extents = {r: np.array(e, np.int64) for (r, _), e in zip(shapes[0], sizes, strict=True)}
        cost = self._unit.cost(self._einsum, self._option, extents, self._bits, resumed=resumed, unfinished=unfinished)
        for i, shape in enumerate(shapes):
            self._known[shape, resumed, unfinished] = self._tile(cost, i)
        return int(_at(cost.latency, 0))

    def _tile(self, cost: Cost, i: int) -> TileCost:
        name, feeds = self._einsum.name, self._unit.feeds(len(self._einsum.inputs))
        actions: dict[Hashable, int] = {}

        def count(component: str, action: str, tensor: str, n: int) -> None:
            key = Action(component, action, name, tensor)
            actions[key] = actions.get(key, 0) + n

        for action, n in cost.actions.items():
            count(self._unit.name, action, "", _at(n, i))
        output = self._einsum.output.tensor
        inputs = zip(self._einsum.inputs, feeds[:-1], cost.reads, strict=True)
        accessed = [(access.tensor, memory, "read", n) for access, memory, n in inputs]
        accessed += [(output, feeds[-1], "write", cost.writes), (output, feeds[-1], "read", cost.partial_reads)]
        for tensor, memory, action, n in accessed:
            if tensor not in self._registers:
                count(memory, action, self._names.storage(tensor), _at(n, i))
            elif not self._einsum.is_contraction:  # whose MACs count their registers
                count(self._unit.name, "register", self._names.storage(tensor), _at(n, i))
        return TileCost(_at(cost.cycles, i), actions)


def op_costs(
    unit: ComputeUnit, einsum: Einsum, op: Op, option: SpatialOption, bits: Sequence[int], names: Names,
    shapes: Sequence[Mapping[str, int]],
) -> OpCosts:  # fmt: skip
    """Costs of the tiles of an Op, remembered: Mappings that a mapper compares have most of their Ops in common."""
    identity = Same(names.workload), Same(unit), op, tuple(tuple(shape.items()) for shape in shapes)
    return _op_costs(_Asked(identity, op, unit, einsum, option, bits, names, shapes))


@dataclass(frozen=True)
class _Asked:
    """A call of `op_costs`; `identity` stands for all of it."""

    identity: Hashable
    op: Op = field(compare=False)
    unit: ComputeUnit = field(compare=False)
    einsum: Einsum = field(compare=False)
    option: SpatialOption = field(compare=False)
    bits: Sequence[int] = field(compare=False)
    names: Names = field(compare=False)
    shapes: Sequence[Mapping[str, int]] = field(compare=False)


@lru_cache(maxsize=2**9)
def _op_costs(asked: _Asked) -> OpCosts:
    a = asked
    return OpCosts(a.unit, a.einsum, a.option, a.bits, a.names, a.shapes, a.op.registers)


def _at(values: NDArray[np.int64], i: int) -> int:
    return int(values[i] if values.size > 1 else values.item())  # a scalar's tiles have no ranks, and one number
