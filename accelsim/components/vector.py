"""Vector units: SIMD lanes that run any Einsum, operation class by operation class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from ..arch.energy import DEFAULT_NODE_NM, Arithmetic, Figure, operation
from ..arch.units import Energy, rate_fraction
from ..errors import BadInput
from ..ir import COST_CLASSES, Einsum
from ..ir.operators import operation_terms
from .base import ComputeUnit, Cost, Extents, IntArray, SpatialOption, bytes_of, tile_shape

_RATE_LIMIT = 2**20
_HINT = "a number of operations per lane and cycle, such as 1, 0.5 or `1/6`"


def _rate(value: Any) -> Fraction:
    try:
        if isinstance(value, str) and len(value) > 30:
            raise ValueError
        rate = Fraction(value) if not isinstance(value, bool) else Fraction(-1)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise ValueError(f"`{str(value)[:40]}` is not a rate ({_HINT})") from None
    if not 0 <= rate <= _RATE_LIMIT or rate.denominator > 2**64:
        raise ValueError(f"rate {value} is out of range ({_HINT})")
    return rate_fraction(rate, _RATE_LIMIT) if rate else rate


Rate = Annotated[
    Fraction,
    BeforeValidator(_rate),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+/\d+$"}]}),
]


class VectorUnit(ComputeUnit):
    """`lanes` that each do `rates[class]` operations of a cost class per cycle (1 where none is given, 0 for never).

    Cycles are the sum over the operations of the Einsum (`ir.operators.operation_terms`) of
    ceil(operations / (lanes · rate)), or the bytes over the bandwidth of the unit's memory when that takes longer.
    Results accumulate in registers: partial sums are neither written nor read. An input is read once per point of the
    ranks that it carries; a value shared by further points stays in a register.
    """

    kind: Literal["vector"] = "vector"
    lanes: Annotated[int, Field(ge=1, le=2**30, description="Operations at a time.")]
    rates: Annotated[
        Mapping[str, Rate], Field(description="Operations per lane and cycle by cost class; 1 unless given.")
    ] = Field(default_factory=dict)
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energies.")] = "float"
    operation_bits: Annotated[int, Field(ge=1, le=128, description="Width, for the default energies.")] = 16
    energies: Annotated[
        Mapping[str, Energy], Field(description="Of one operation, by cost class.")
    ] = Field(default_factory=dict)  # fmt: skip

    @field_validator("rates", "energies")
    @classmethod
    def _classes(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in value:
            if name not in COST_CLASSES:
                raise ValueError(f"no operation class `{name}` (known: {', '.join(COST_CLASSES)})")
        return value

    def rate(self, cost_class: str) -> Fraction:
        """Operations per lane and cycle."""
        return self.rates.get(cost_class, Fraction(1))

    def peak_rates(self) -> Mapping[str, float]:
        return {c: float(self.lanes * self.rate(c)) for c in COST_CLASSES if self.rate(c)}

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """One option, ``simd``, with the last rank of the output along the lanes; none if a class has rate 0."""
        if not all(self.rate(c) for c, _ in operation_terms(einsum)):
            return ()
        ranks = [r for index in einsum.output.indices for r in index.ranks] or list(einsum.sizes)
        return (SpatialOption("simd", {ranks[-1]: "lanes"} if ranks else {}),)

    def cost(self, einsum: Einsum, option: SpatialOption, extents: Extents, bits: Sequence[int]) -> Cost:
        """Cost of tiles, see the class; operations are counted by cost class.

        Raises:
            BadInput: a class of the Einsum has rate 0, or the option is not ``simd``.
        """
        terms = operation_terms(einsum)
        unable = sorted({c for c, _ in terms if not self.rate(c)})
        if unable or option.variant != "simd":
            why = f"its rate of {', '.join(unable)} is 0" if unable else f"no option `{option.variant}` (has: simd)"
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name}: {why}")
        one = tile_shape(einsum, extents)
        points: dict[frozenset[str], IntArray] = {}

        def count(ranks: frozenset[str]) -> IntArray:
            if ranks not in points:
                result = one
                for r in einsum.sizes:
                    if r in ranks:
                        result = result * extents[r]
                points[ranks] = result
            return points[ranks]

        actions: dict[str, IntArray] = {}
        for cost_class, ranks in terms:
            n = count(frozenset(ranks))
            actions[cost_class] = actions[cost_class] + n if cost_class in actions else n
        cycles = np.zeros_like(one)
        for cost_class, n in actions.items():
            rate = self.rate(cost_class)
            cycles = cycles - (-n * rate.denominator // (self.lanes * rate.numerator))
        reads = tuple(bytes_of(count(a.ranks), b) for a, b in zip(einsum.inputs, bits[:-1], strict=True))
        writes = bytes_of(count(einsum.output.ranks), bits[-1])
        fed = self.feed_cycles(sum(reads, np.zeros_like(one)), writes)
        zero = np.zeros_like(one)
        return Cost(np.maximum(cycles, fed), zero, reads, writes, zero, actions)

    def _default(self, cost_class: str) -> Figure:
        return operation(cost_class, self.arithmetic, self.operation_bits, self.technology_nm)

    def action_energy(self) -> Mapping[str, float]:
        return {
            c: self.energies[c] if c in self.energies else self._default(c).joules for c in COST_CLASSES if self.rate(c)
        }

    def defaults_used(self) -> Mapping[str, str]:
        used = {f"rates.{c}": "1 per lane and cycle" for c in COST_CLASSES if c not in self.rates}
        node = "" if self.technology_nm else f"; no technology given, {DEFAULT_NODE_NM:g} nm taken"
        for c in COST_CLASSES:
            if self.rate(c) and c not in self.energies:
                figure = self._default(c)
                used[f"energies.{c}"] = f"{figure.joules * 1e12:.4g} pJ ({figure.source}{node})"
        return used
