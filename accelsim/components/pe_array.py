"""Arrays of processing elements that run contractions and, on what lies in their registers, element-wise operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from ..arch.component import Price
from ..arch.energy import operation
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Energy, Quantity
from ..ir import COST_CLASSES, Einsum
from .base import Cost, Extents, IntArray, SpatialOption, bytes_of
from .elementwise import Points, Rate, check_classes, cycles_of, operations, refuse, unable
from .systolic import SystolicArray

ELEMENTWISE = "elementwise"


class PeArray(SystolicArray):
    """A systolic array whose elements also run operators that are no contraction, `rates[class]` of them per cycle.

    Contractions have the dataflows of `SystolicArray`, but what an element makes, or holds while the other operand
    streams past, lies in its own registers, where element-wise operators leave it and find it: nothing is shifted in or
    out between folds (the 2D array of Nayak et al., "FuseMax", MICRO 2024, section V). A fold takes its streamed length
    K (os), M (ws) or N (is); one of os, whose operands both come from outside, has a fill of `rows` cycles, which is
    latency with `overlap` and service without.

    Other Einsums take, summed over their cost classes, ceil(operations / (rows · cols · arrays · rate)) cycles, as on
    that many lanes of a vector unit; a reduction along the array is one operation per point.
    """

    kind: Literal["pe_array"] = "pe_array"  # type: ignore[assignment]
    rates: Annotated[
        Mapping[str, Rate],
        Field(description="Operations per element and cycle by cost class, outside contractions; 0 unless given."),
    ] = Field(default_factory=dict)
    energies: Annotated[
        Mapping[str, Energy], Field(description="Of one operation, by cost class, outside contractions.")
    ] = Field(default_factory=dict)  # fmt: skip

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(
        {**dict.fromkeys(COST_CLASSES, ENERGY), "register": ENERGY_PER_BYTE}
    )

    @field_validator("rates", "energies")
    @classmethod
    def _classes(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if "mac" in value:
            raise ValueError("`mac` is not a class of element-wise operators (see mac_energy)")
        return check_classes(value)

    @property
    def elements(self) -> int:
        """Processing elements."""
        return self.rows * self.cols * self.arrays

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": float(self.elements), **{c: float(self.elements * r) for c, r in self.rates.items() if r}}

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Dataflows for a contraction, else ``elementwise`` with the last ranks of the iteration space on the array."""
        if einsum.is_contraction:
            return super().spatial_options(einsum)
        if unable(einsum, self.rates):
            return ()
        ranks = [r for r, size in einsum.sizes.items() if size > 1][-2:]
        return (SpatialOption(ELEMENTWISE, dict(zip(ranks, ("rows", "columns")[-len(ranks) :], strict=True))),)

    def cost(
        self,
        einsum: Einsum,
        option: SpatialOption,
        extents: Extents,
        bits: Sequence[int],
        *,
        resumed: bool = False,
        unfinished: bool = False,
    ) -> Cost:
        """Cost of tiles, see the class; element-wise operations are counted by cost class.

        Raises:
            BadInput: the array cannot run the Einsum so.
        """
        if einsum.is_contraction:
            return super().cost(einsum, option, extents, bits, resumed=resumed, unfinished=unfinished)
        missing = unable(einsum, self.rates)
        if missing or option.variant != ELEMENTWISE:
            why = f"it has no rate of {', '.join(missing)}" if missing else f"no option `{option.variant}`"
            raise refuse(self.name or self.kind, einsum, why)
        points = Points(einsum, extents)
        actions = operations(einsum, points)
        cycles = cycles_of(actions, points.one, self.elements, self.rates)
        reads = tuple(bytes_of(points.of(a.ranks), b) for a, b in zip(einsum.inputs, bits[:-1], strict=True))
        results = points.of(einsum.output.ranks)
        writes = bytes_of(results, self.accumulator_bits if unfinished else bits[-1])
        partial = bytes_of(results, self.accumulator_bits) * resumed
        fed = self.feed_cycles(reads, writes, partial)
        return Cost(np.maximum(cycles, fed), np.zeros_like(points.one), reads, writes, partial, actions)

    def _cycles(self, dataflow: str, folds: IntArray, stream: IntArray) -> tuple[IntArray, IntArray]:
        """As of the systolic array, without shifting in and out."""
        fill = self.rows if dataflow == "os" else 0
        exposed = 0 if "fill" in self.hidden else fill
        return folds * (stream + exposed), np.full_like(folds, fill - exposed)

    def prices(self) -> Mapping[str, Price]:
        return {
            **super().prices(),
            **{
                c: Price(f"energies.{c}", self.energies.get(c),
                         operation(c, self.arithmetic, self.mac_bits, self.technology_nm))
                for c, rate in self.rates.items() if rate
            },
        }  # fmt: skip
