"""Units in expressions: what a literal such as ``3 mJ`` is worth in SI, and which unit the name of a column tells.

A dimension is a set of (base unit, power) pairs over s, J, byte, mm2 and cycle. `PLAIN` is a number without a unit,
which is taken to be in SI and goes with everything; `UNKNOWN` is a column whose name tells no unit, which does too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from ..text.names import nearest

Dimension: TypeAlias = frozenset[tuple[str, int]] | None

PLAIN: Dimension = frozenset()
UNKNOWN: Dimension = None

_SUFFIXES: dict[str, dict[str, int]] = {
    "s": {"s": 1},
    "J": {"J": 1},
    "W": {"J": 1, "s": -1},
    "Hz": {"s": -1},
    "bytes": {"byte": 1},
    "mm2": {"mm2": 1},
}
"""Endings of column names that tell a unit."""
SUFFIXES = tuple(_SUFFIXES)
_QUANTITY = re.compile(r"\s*([-+]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][-+]?\d{1,2})?)\s*([^\s\d].*?)\s*", re.ASCII)


def of_column(name: str) -> Dimension:
    """The dimension that the last part of a dotted name with a known ending tells: ``energy_by_component_J.dram``."""
    for part in reversed(name.split(".")):
        over, per, under = part.rpartition("_per_")
        if per and under in _SUFFIXES:
            return divide(_of_ending(over) or PLAIN, _of_ending(under))
        if (found := _of_ending(part)) is not None:
            return found
    return UNKNOWN


def _of_ending(part: str) -> Dimension:
    powers = _SUFFIXES.get(part.rpartition("_")[2])
    return frozenset(powers.items()) if powers else UNKNOWN


def multiply(one: Dimension, other: Dimension, sign: int = 1) -> Dimension:
    """The dimension of a product, or with ``sign=-1`` of a quotient."""
    if one is None or other is None:
        return UNKNOWN
    powers = dict(one)
    for base, power in other:
        powers[base] = powers.get(base, 0) + sign * power
    return frozenset((base, power) for base, power in powers.items() if power)


def divide(one: Dimension, other: Dimension) -> Dimension:
    return multiply(one, other, -1)


def agree(one: Dimension, other: Dimension) -> bool:
    """Whether values may be added or compared."""
    return not one or not other or one == other


def told(dimension: Dimension) -> str:
    """The dimension in words, such as ``J/s``."""
    if not dimension:
        return "a number"
    over = [base if power == 1 else f"{base}^{power}" for base, power in sorted(dimension) if power > 0]
    under = [base if power == -1 else f"{base}^{-power}" for base, power in sorted(dimension) if power < 0]
    return "·".join(over or ["1"]) + "".join(f"/{base}" for base in under)


@lru_cache(maxsize=1)
def units() -> Mapping[str, tuple[Fraction, Dimension]]:
    """Every simple unit with its factor to SI and its dimension."""
    from ..arch import units as known

    kinds = (
        (known.BYTES.units, {"byte": 1}), (known.ENERGY.units, {"J": 1}), (known.TIME.units, {"s": 1}),
        (known.FREQUENCY.units, {"s": -1}), (known.POWER.units, {"J": 1, "s": -1}), (known.AREA.units, {"mm2": 1}),
        (known.TIME.per_cycle or {}, {"cycle": 1}),
    )  # fmt: skip
    found = {unit: (Fraction(factor), frozenset(of.items())) for table, of in kinds for unit, factor in table.items()}
    return {**found, "%": (Fraction(1, 100), PLAIN)}


def unit(text: str) -> tuple[Fraction, Dimension] | None:
    """Factor and dimension of a unit, one quotient included (``GB/s``, ``pJ/bit``, ``B/cycle``); None if it is none."""
    over, slash, under = (part.strip() for part in text.partition("/"))
    top, bottom = units().get(over), units().get(under)
    if top is None or not slash:
        return None if slash else top
    return None if bottom is None else (top[0] / bottom[0], divide(top[1], bottom[1]))


def nearest_unit(text: str) -> str:
    """A hint for a text that is no unit."""
    same = [u for u in units() if u.lower() == text.lower()]
    return nearest(text, same[:1] or units(), "such as mJ, us, MiB, GB/s, GHz")


@lru_cache(maxsize=4096)
def quantity(text: str) -> tuple[float, Dimension] | None:
    """A text such as ``256 KiB`` as SI value and dimension; None if it is none."""
    match = _QUANTITY.fullmatch(text)
    found = unit(match[2]) if match else None
    return (float(Fraction(match[1]) * found[0]), found[1]) if match and found else None
