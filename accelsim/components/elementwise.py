"""Element-wise work, operation class by operation class: rates, and cycles and bytes of a tile."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from ..arch.component import Price
from ..arch.energy import Arithmetic, operation
from ..arch.units import ENERGY, Energy, Quantity, rate_fraction
from ..errors import BadInput
from ..ir import COST_CLASSES, Einsum
from ..ir.operators import operation_terms
from ..ir.same import Same
from .base import ComputeUnit, Extents, IntArray, tile_shape

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


def check_classes(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a table by cost class as it is; raise ValueError for a class that does not exist."""
    for name in value:
        if name not in COST_CLASSES:
            raise ValueError(f"no operation class `{name}` (known: {', '.join(COST_CLASSES)})")
    return value


class ByClass(ComputeUnit):
    """A unit of equal lanes that run any operation, each cost class at a rate and an energy of its own."""

    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energies.")] = "float"
    operation_bits: Annotated[int, Field(ge=1, le=128, description="Width, for the default energies.")] = 16
    rates: Annotated[
        Mapping[str, Rate], Field(description="Operations per lane and cycle by cost class; 1 unless given.")
    ] = Field(default_factory=dict)
    energies: Annotated[
        Mapping[str, Energy], Field(description="Of one operation, by cost class.")
    ] = Field(default_factory=dict)  # fmt: skip

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(dict.fromkeys(COST_CLASSES, ENERGY))

    @field_validator("rates", "energies")
    @classmethod
    def _classes(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return check_classes(value)

    @abstractmethod
    def lane_count(self) -> int:
        """Operations at a time."""

    def rate(self, cost_class: str) -> Fraction:
        """Operations per lane and cycle."""
        return self.rates.get(cost_class, Fraction(1))

    def peak_rates(self) -> Mapping[str, float]:
        return _peak_rates(Same(self))

    def prices(self) -> Mapping[str, Price]:
        return {
            c: Price(f"energies.{c}", self.energies.get(c),
                     operation(c, self.arithmetic, self.operation_bits, self.technology_nm))
            for c in COST_CLASSES if self.rate(c)
        }  # fmt: skip

    def defaults_used(self) -> Mapping[str, str]:
        rates = {f"rates.{c}": "1 per lane and cycle" for c in COST_CLASSES if c not in self.rates}
        return {**rates, **super().defaults_used()}


@lru_cache(maxsize=64)
def _peak_rates(of: Same[ByClass]) -> Mapping[str, float]:
    unit = of.value
    return {c: float(unit.lane_count() * unit.rate(c)) for c in COST_CLASSES if unit.rate(c)}


class Points:
    """Numbers of points of ranks of an Einsum, one per candidate."""

    def __init__(self, einsum: Einsum, extents: Extents) -> None:
        self.one = tile_shape(einsum, extents)
        self._einsum, self._extents = einsum, extents
        self._known: dict[frozenset[str], IntArray] = {}

    def of(self, ranks: frozenset[str]) -> IntArray:
        if ranks not in self._known:
            result = self.one
            for r in self._einsum.sizes:
                if r in ranks:
                    result = result * self._extents[r]
            self._known[ranks] = result
        return self._known[ranks]


def operations(einsum: Einsum, points: Points) -> dict[str, IntArray]:
    """Operations of tiles by cost class."""
    found: dict[str, IntArray] = {}
    for cost_class, ranks in operation_terms(einsum):
        n = points.of(frozenset(ranks))
        found[cost_class] = found[cost_class] + n if cost_class in found else n
    return found


def cycles_of(actions: Mapping[str, IntArray], one: IntArray, lanes: int, rates: Mapping[str, Fraction]) -> IntArray:
    """The sum over cost classes of ceil(operations / (lanes · rate))."""
    cycles = np.zeros_like(one)
    for cost_class, n in actions.items():
        rate = rates[cost_class]
        cycles = cycles - (-n * rate.denominator // (lanes * rate.numerator))
    return cycles


def unable(einsum: Einsum, rates: Mapping[str, Fraction]) -> Sequence[str]:
    """Cost classes of an Einsum that have no rate, or rate 0, sorted."""
    return sorted({c for c, _ in operation_terms(einsum) if not rates.get(c)})


def refuse(unit: str, einsum: Einsum, why: str) -> BadInput:
    """The error of a unit that cannot run an Einsum."""
    return BadInput(f"{unit}: cannot run {einsum.name}: {why}")
