"""Element-wise work, operation class by operation class: rates, and cycles and bytes of a tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema

from ..arch.units import rate_fraction
from ..errors import BadInput
from ..ir import COST_CLASSES, Einsum
from ..ir.operators import operation_terms
from .base import Extents, IntArray, tile_shape

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
