"""Bit-serial arrays: dot products whose time follows the width of one operand, and their parallel counterparts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from ..arch.component import Price
from ..arch.energy import Arithmetic, Figure, operation
from ..arch.units import ENERGY, Energy, Quantity
from ..errors import BadInput, UnsupportedPrecision
from ..ir import Einsum, contraction
from .base import ComputeUnit, Cost, Extents, SpatialOption, bytes_of, tile_shape

_VARIANT = "os"


class BitSerialArray(ComputeUnit):
    """rows × cols elements that compute contractions as O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n], outputs stationary.

    A is the Einsum's first input and B, the weights, its second. Every element holds one output: rows span n, columns
    m. It multiplies `dot_width` pairs along k at once and takes as many cycles as the width of B asks for,

        cycles = g · ceil(m/cols) · ceil(n/rows) · ceil(k/dot_width) · ceil(bits of B / weight_bits_per_cycle),

    which is the rule of Stripes (Judd et al., MICRO 2016) for one bit per cycle, and of arrays that work off Booth or
    bit-pair terms for two (BitMoD, Chen et al., HPCA 2025, section IV). Without `weight_bits_per_cycle` the
    arithmetic is parallel: the last factor is 1 for every width. m, n and k stand for the products of the ranks of each
    sort (`ir.contraction`): a grouped query is a longer m. Or it takes the time that its memories need for the bytes
    that the array reads, when that is longer: A once per ceil(n/rows), B once per ceil(m/cols).

    Partial sums stay in the elements within a tile. Between tiles they pass through the memory at `accumulator_bits`.
    """

    kind: Literal["bit_serial"] = "bit_serial"
    rows: Annotated[int, Field(ge=1, le=2**20, description="Elements along the outputs that the second operand adds.")]
    cols: Annotated[int, Field(ge=1, le=2**20, description="Elements along the outputs that the first operand adds.")]
    dot_width: Annotated[int, Field(ge=1, le=2**20, description="Products that an element sums at once.")] = 1
    weight_bits_per_cycle: Annotated[
        int | None, Field(ge=1, le=64, description="Bits of the second operand per cycle; all of them unless given.")
    ] = None
    weight_bits: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...],
        Field(description="Widths of the second operand that it computes with; all up to 64 unless given."),
    ] = ()
    input_bits: Annotated[int, Field(ge=1, le=64, description="Widest first operand that it computes with.")] = 16
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of partial sums.")] = 32
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energy.")] = "float"
    element_energy: Annotated[Energy | None, Field(description="Of one element in one cycle, idle ones too.")] = None
    mac_energy: Annotated[
        Energy | None, Field(description="Of one multiply-accumulate beside the energy of the elements' cycles.")
    ] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"mac": ENERGY, "element": ENERGY})

    @field_validator("weight_bits")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a width stands twice")
        return value

    def steps(self, bits: int) -> int:
        """Cycles of one dot product with a second operand of so many bits."""
        return 1 if self.weight_bits_per_cycle is None else -(-bits // self.weight_bits_per_cycle)

    def peak_rates(self) -> Mapping[str, float]:
        """Multiply-accumulates per cycle with the narrowest second operand."""
        return {"mac": self.rows * self.cols * self.dot_width / self.steps(min(self.weight_bits, default=1))}

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """One option, ``os``; none if it is not a contraction."""
        c = contraction(einsum)
        if c is None:
            return ()
        along = {**dict.fromkeys(c.n, "rows"), **dict.fromkeys(c.m, "columns"), **dict.fromkeys(c.k, "dot product")}
        return (SpatialOption(_VARIANT, along),)

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
        """Cost of tiles, see the class; ``mac`` and ``element`` (elements times cycles of arithmetic) are counted.

        Raises:
            BadInput: the Einsum is not a contraction, or the option is not ``os``.
            UnsupportedPrecision: the array does not compute with operands of these widths.
        """
        c = contraction(einsum)
        if c is None or option.variant != _VARIANT:
            able = _VARIANT if c is not None else "none: it is not a sum of products of two inputs"
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name} as `{option.variant}` (can: {able})")
        a_bits, b_bits, out_bits = bits[0], bits[1], bits[-1]
        self._check(einsum, a_bits, b_bits)
        one = tile_shape(einsum, extents)
        g, m, n, k = (prod((extents[r] for r in ranks), start=one) for ranks in (c.g, c.m, c.n, c.k))
        row_folds, col_folds = -(-n // self.rows), -(-m // self.cols)
        service = g * row_folds * col_folds * -(-k // self.dot_width) * self.steps(b_bits)
        reads = (bytes_of(g * m * k * row_folds, a_bits), bytes_of(g * k * n * col_folds, b_bits))
        results = g * m * n
        writes = bytes_of(results, self.accumulator_bits if unfinished else out_bits)
        partial = bytes_of(results, self.accumulator_bits) * resumed
        return Cost(
            cycles=np.maximum(service, self.feed_cycles(reads, writes, partial)),
            latency=np.zeros_like(one),
            reads=reads,
            writes=writes,
            partial_reads=partial,
            actions={"mac": results * k, "element": service * (self.rows * self.cols)},
        )

    def _check(self, einsum: Einsum, a_bits: int, b_bits: int) -> None:
        where = f"{self.name or self.kind}: cannot compute {einsum.name}"
        if a_bits > self.input_bits:
            raise UnsupportedPrecision(f"{where} with a first operand of {a_bits} bits (at most {self.input_bits})")
        if self.weight_bits and b_bits not in self.weight_bits:
            can = ", ".join(map(str, sorted(self.weight_bits)))
            raise UnsupportedPrecision(f"{where} with a second operand of {b_bits} bits (can: {can})")

    def prices(self) -> Mapping[str, Price]:
        return {
            "mac": Price("mac_energy", self.mac_energy, Figure(0.0, "part of the energy of the elements' cycles")),
            "element": Price("element_energy", self.element_energy, self._element_energy()),
        }

    def _element_energy(self) -> Figure:
        """`dot_width` MACs of the first operand's width, each in proportion to the bits worked off in the cycle."""
        mac = operation("mac", self.arithmetic, self.input_bits, self.technology_nm)
        step = min(self.weight_bits_per_cycle or self.input_bits, self.input_bits)
        part = "" if step == self.input_bits else f", {step} of {self.input_bits} bits per cycle"
        return Figure(mac.value * self.dot_width * step / self.input_bits, f"{self.dot_width} x {mac.source}{part}")
