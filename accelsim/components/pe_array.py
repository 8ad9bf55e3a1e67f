"""Arrays of processing elements that run contractions and, on what lies in their registers, element-wise operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field, field_validator

from ..arch.component import Price
from ..arch.energy import Arithmetic, Figure, operation
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Bytes, Energy, EnergyPerByte, Quantity
from ..ir import COST_CLASSES, Contraction, Einsum, contraction
from .base import ComputeUnit, Cost, Extents, IntArray, SpatialOption, bytes_of
from .elementwise import Points, Rate, check_classes, cycles_of, operations, refuse, unable
from .folds import Dataflow, least_reads, used_elements
from .macs import area_of_macs, least_mac_actions, mac_prices, mac_slices

ELEMENTWISE = "elementwise"


class PeArray(ComputeUnit):
    """rows × cols elements that run contractions O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n] and element-wise operators.

    A is the Einsum's first input and B its second. Outputs (os), the second operand (ws) or the first (is) lie in the
    elements' registers while the rest streams past, and element-wise operators leave and find their operands there:
    nothing is shifted in or out between folds (the 2D array of Nayak et al., "FuseMax", MICRO 2024, section V).

    ========  =========================  ===============
    dataflow  folds                      cycles per fold
    ========  =========================  ===============
    os        ceil(M/rows)·ceil(N/cols)  K
    ws        ceil(K/rows)·ceil(N/cols)  M
    is        ceil(K/rows)·ceil(M/cols)  N
    ========  =========================  ===============

    Where both operands stream in (os), each fold has a fill of `rows` cycles besides: that of the first one is latency
    with `overlap`, those of all are service without. In ws and is, results gather in registers over the folds along K,
    as if there were always room: within a tile no partial sum is written or read. Operands wider than `mac_bits` are
    multiplied in slices as in a systolic array, as if K were so much longer.

    What an Op of a Mapping has in `register_bytes` is neither read from nor written to the memory; element-wise
    operators then count its bytes as ``register``, as MACs count those of their operands in any case. An array whose
    memory is slow takes no less time for it.

    Other Einsums take, summed over their cost classes, ceil(operations / (rows · cols · rate)) cycles, as on so many
    lanes of a vector unit; a reduction is one operation per point. Neither is ever faster than the bandwidth of the
    array's memory allows.
    """

    kind: Literal["pe_array"] = "pe_array"
    rows: Annotated[int, Field(ge=1, le=2**20, description="Processing elements per column.")]
    cols: Annotated[int, Field(ge=1, le=2**20, description="Processing elements per row.")]
    dataflows: Annotated[
        tuple[Dataflow, ...],
        Field(description="What may be stationary: outputs (os), second (ws) or first (is) operand."),
    ] = ("os", "ws", "is")
    overlap: Annotated[bool, Field(description="Fills hide behind the neighbouring folds.")] = False
    rates: Annotated[
        Mapping[str, Rate],
        Field(description="Operations per element and cycle by cost class, outside contractions; 0 unless given."),
    ] = Field(default_factory=dict)
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energies.")] = "float"
    mac_bits: Annotated[int, Field(ge=1, le=64, description="Operand width that a MAC multiplies at once.")] = 16
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of partial sums.")] = 32
    mac_energy: Annotated[Energy | None, Field(description="Of one multiply-accumulate.")] = None
    register_energy: Annotated[
        EnergyPerByte | None, Field(description="Of the elements' registers, per byte of the operands of a MAC.")
    ] = None
    register_bytes: Annotated[
        Bytes | None, Field(description="Registers of an element in which Ops may leave a tile for the next one.")
    ] = None
    energies: Annotated[
        Mapping[str, Energy], Field(description="Of one operation, by cost class, outside contractions.")
    ] = Field(default_factory=dict)  # fmt: skip

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(
        {**dict.fromkeys(COST_CLASSES, ENERGY), "register": ENERGY_PER_BYTE}
    )

    @field_validator("dataflows")
    @classmethod
    def _distinct(cls, value: tuple[Dataflow, ...]) -> tuple[Dataflow, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"name at least one dataflow, none twice ({', '.join(get_args(Dataflow))})")
        return value

    @field_validator("rates", "energies")
    @classmethod
    def _classes(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if "mac" in value:
            raise ValueError("`mac` is no class of element-wise operators (see mac_energy)")
        return check_classes(value)

    @property
    def elements(self) -> int:
        """Processing elements."""
        return self.rows * self.cols

    @property
    def register_capacity(self) -> int:
        return self.elements * (self.register_bytes or 0)

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": float(self.elements), **{c: float(self.elements * r) for c, r in self.rates.items() if r}}

    def rates_on(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
        if not einsum.is_contraction:
            return self.peak_rates()
        used = used_elements(einsum, self.least_slices(einsum, bits), self.dataflows, self.rows, self.cols)
        return {"mac": float(used)}

    def least_reads(self, einsum: Einsum) -> tuple[float, ...]:
        if not einsum.is_contraction:
            return super().least_reads(einsum)
        return least_reads(einsum, self.dataflows, self.rows, self.cols)

    def least_slices(self, einsum: Einsum, bits: Sequence[int]) -> int:
        return mac_slices(einsum, bits, self.mac_bits)

    def least_actions(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
        if not einsum.is_contraction:
            return {}
        return least_mac_actions(self, einsum, bits)

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Dataflows of a contraction, fewest cycles first; else ``elementwise``, with the last ranks on the array."""
        c = contraction(einsum)
        if c is not None:
            cycles = {}
            for dataflow in self.dataflows:
                sizes = [np.asarray(prod(einsum.sizes[r] for r in ranks)) for ranks in (c.g, c.m, c.n, c.k)]
                cycles[dataflow] = int(sum(self._timing(dataflow, *sizes)[:2]))
            return tuple(_option(d, c) for d in sorted(self.dataflows, key=lambda d: cycles[d]))
        if unable(einsum, self.rates):
            return ()
        ranks = [r for r, size in einsum.sizes.items() if size > 1][-2:]
        along = ("rows", "columns")[2 - len(ranks) :]
        return (SpatialOption(ELEMENTWISE, dict(zip(ranks, along, strict=True))),)

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
        """Cost of tiles, see the class; ``mac`` and ``register``, or operations by cost class, are counted.

        Raises:
            BadInput: the array cannot run the Einsum so.
        """
        points = Points(einsum, extents)
        c = contraction(einsum)
        if c is None:
            self._check(einsum, option, (ELEMENTWISE,))
            actions = operations(einsum, points)
            service, latency = cycles_of(actions, points.one, self.elements, self.rates), np.zeros_like(points.one)
            reads = tuple(bytes_of(points.of(a.ranks), b) for a, b in zip(einsum.inputs, bits[:-1], strict=True))
        else:
            self._check(einsum, option, self.dataflows)
            g, m, n, k = (points.of(frozenset(ranks)) for ranks in (c.g, c.m, c.n, c.k))
            a_slices, b_slices = -(-bits[0] // self.mac_bits), -(-bits[1] // self.mac_bits)
            k_slices = k * (a_slices * b_slices)
            service, latency, a_times, b_times = self._timing(option.variant, g, m, n, k_slices)
            macs = g * m * n * k_slices
            word_bits = -(-bits[0] // a_slices) + -(-bits[1] // b_slices) + self.accumulator_bits
            actions = {"mac": macs, "register": bytes_of(macs, word_bits)}
            # Every slice of one operand meets every slice of the other.
            reads = (
                bytes_of(g * m * k * a_times * b_slices, bits[0]),
                bytes_of(g * k * n * b_times * a_slices, bits[1]),
            )
        results = points.of(einsum.output.ranks)
        writes = bytes_of(results, self.accumulator_bits if unfinished else bits[-1])
        partial = bytes_of(results, self.accumulator_bits) * resumed
        fed = self.feed_cycles(reads, writes, partial)
        return Cost(np.maximum(service, fed), latency, reads, writes, partial, actions)

    def _check(self, einsum: Einsum, option: SpatialOption, able: Sequence[str]) -> None:
        missing = [] if einsum.is_contraction else unable(einsum, self.rates)
        if missing or option.variant not in able:
            why = f"it has no rate of {', '.join(missing)}" if missing else f"no `{option.variant}` ({', '.join(able)})"
            raise refuse(self.name or self.kind, einsum, why)

    def _timing(
        self, dataflow: str, g: IntArray, m: IntArray, n: IntArray, k: IntArray
    ) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Cycles, latency, and how often the first and the second operand are read."""
        along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
        row_folds, col_folds = -(-along_rows // self.rows), -(-along_cols // self.cols)
        fill = self.rows if dataflow == "os" else 0
        exposed = 0 if self.overlap else fill
        once = np.ones_like(g)
        a_times, b_times = {"os": (col_folds, row_folds), "ws": (col_folds, once), "is": (once, col_folds)}[dataflow]
        service = g * row_folds * col_folds * (stream + exposed)
        return service, np.full_like(service, fill - exposed), a_times, b_times

    def prices(self) -> Mapping[str, Price]:
        def price(cost_class: str) -> Price:
            cited = operation(cost_class, self.arithmetic, self.mac_bits, self.technology_nm)
            return Price(f"energies.{cost_class}", self.energies.get(cost_class), cited)

        return {
            **mac_prices(self),
            **{c: price(c) for c, rate in self.rates.items() if rate},
        }

    def default_area(self) -> Figure | None:
        """That of the MACs; registers and control are left out where the cited figure leaves them out."""
        return area_of_macs(self, self.elements)


def _option(dataflow: Dataflow, c: Contraction) -> SpatialOption:
    rows, cols = {"os": (c.m, c.n), "ws": (c.k, c.n), "is": (c.k, c.m)}[dataflow]
    return SpatialOption(dataflow, dict.fromkeys(rows, "rows") | dict.fromkeys(cols, "columns"))
