"""Span: the values of one setting between two ends, evenly or by their logarithm."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import count, takewhile
from typing import Any, TypeAlias

from ..errors import Problem, SpecError
from ..text.names import nearest_key
from . import dimensions
from .dimensions import PLAIN, Dimension

Scalar: TypeAlias = str | int | float | bool

KEYS = ("from", "to", "step", "points", "log")
MOST = 100_000
"""Values of one axis."""
_TEXT = re.compile(r"\s*([-+]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][-+]?\d{1,2})?)\s*(\S.*?)?\s*", re.ASCII)
_SIZE = frozenset({("byte", 1)})


class RangeError(SpecError):
    """A range that is none."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__([Problem("", what, hint)])


@dataclass(frozen=True)
class _Amount:
    number: Fraction
    unit: str
    factor: Fraction
    dimension: Dimension

    @classmethod
    def of(cls, value: Any, key: str) -> _Amount:
        match = _TEXT.fullmatch(str(value)) if isinstance(value, str | int | float) else None
        if match is None or isinstance(value, bool):
            raise RangeError(f"`{key}`: '{value}' is no number", "such as 16 or 64 KiB")
        unit = match[2] or ""
        found = dimensions.unit(unit) if unit else (Fraction(1), PLAIN)
        if found is None:
            raise RangeError(f"`{key}`: no unit '{unit}'", dimensions.nearest_unit(unit))
        return cls(Fraction(match[1]), unit, *found)

    def within(self, other: _Amount, key: str) -> Fraction:
        """The number in the unit of another amount."""
        if self.dimension != other.dimension:
            mine, theirs = (a.unit or "no unit" for a in (self, other))
            raise RangeError(f"`{key}` has {mine} and `from` {theirs}", "give both the same kind of unit")
        return self.number * self.factor / other.factor


@dataclass(frozen=True)
class Span:
    """All values from `low` to `high`, both included, in the unit of `low`.

    Between whole numbers and between sizes lie whole numbers alone (a size is a whole number of the unit of `low`);
    other values are kept to six digits.
    """

    low: Scalar
    high: Scalar
    log: bool = False

    def __post_init__(self) -> None:
        """Raise RangeError if there is nothing between the ends."""
        first, last = self._ends
        if first > last:
            raise RangeError(f"`from` {self.low} is more than `to` {self.high}")
        if self.log and first <= 0:
            raise RangeError(f"`log` needs ends above zero, not {self.low}")

    @cached_property
    def _low(self) -> _Amount:
        return _Amount.of(self.low, "from")

    @cached_property
    def _ends(self) -> tuple[Fraction, Fraction]:
        return self._low.number, _Amount.of(self.high, "to").within(self._low, "to")

    @property
    def dimension(self) -> Dimension:
        return self._low.dimension

    @cached_property
    def whole(self) -> bool:
        """Whether only whole numbers lie between the ends."""
        if not self._low.unit:
            return isinstance(self.low, int) and isinstance(self.high, int)
        return self.dimension == _SIZE and all(end.denominator == 1 for end in self._ends)

    def count(self) -> int | None:
        """Number of values, None where there is no end of them."""
        first, last = self._ends
        return int(last - first) + 1 if self.whole else None

    def at(self, share: float) -> Scalar:
        """The value at a share of the way, 0 <= share < 1; whole numbers come with equal chance (by their logarithm
        if `log`)."""  # fmt: skip
        first, last = self._ends
        end = last + 1 if self.whole else last
        place = float(first) * float(end / first) ** share if self.log else float(first) + share * float(end - first)
        if not self.whole:
            return self._text(Fraction(place))
        return self._text(min(max(Fraction(int(place // 1)), first), last))

    def share(self, value: Scalar) -> float | None:
        """A share of the way at which `at` gives the value, None if it lies outside."""
        first, last = self._ends
        try:
            place = _Amount.of(value, "value").within(self._low, "value")
        except RangeError:
            return None
        if not first <= place <= last:
            return None
        end, middle = (last + 1, place + Fraction(1, 2)) if self.whole else (last, place)
        if end == first:
            return 0.0
        if self.log:
            return min(max(math.log(middle / first) / math.log(end / first), 0.0), 1.0)
        return min(float((middle - first) / (end - first)), 1.0)

    def points(self, number: int) -> list[Scalar]:
        """So many values, the ends among them; fewer where whole numbers fall together."""
        first, last = self._ends
        found = []
        for i in range(number):
            share = Fraction(i, max(1, number - 1))
            if share in (0, 1):
                place = last if share else first
            elif self.log:
                place = Fraction(float(first) * float(last / first) ** float(share))
                near = round(place)
                place = Fraction(near) if abs(place - near) <= place / 10**12 else place
            else:
                place = first + share * (last - first)
            if self.whole and (place * self._low.factor).denominator != 1:
                place = Fraction(round(place))
            found.append(self._text(Fraction(round(place)) if self.whole and not self._low.unit else place))
        return list(dict.fromkeys(found))

    def every(self, step: Scalar) -> list[Scalar]:
        """The values at equal distances from `low` on."""
        first, last = self._ends
        by = _Amount.of(step, "step").within(self._low, "step")
        if by <= 0:
            raise RangeError(f"`step` {step} is not above zero")
        if (last - first) / by >= MOST:
            raise RangeError(f"`step` {step} gives more than {MOST} values")
        places = takewhile(lambda place: place <= last, (first + i * by for i in count()))
        return [self._text(place) for place in places]

    def _text(self, place: Fraction) -> Scalar:
        """A number in the unit of `low` as a machine file has it."""
        exact = place.limit_denominator(10**9) == place
        shown = f"{float(place):.12g}" if exact else f"{float(place):.6g}"
        if self._low.unit:
            if self.dimension == _SIZE and (Fraction(shown) * self._low.factor).denominator != 1:
                return f"{round(place * self._low.factor)} B"
            return f"{shown} {self._low.unit}"
        given_whole = not isinstance(self.low, float) and not isinstance(self.high, float)
        return int(place) if place.denominator == 1 and given_whole else float(shown)


def read_range(value: Mapping[str, Any]) -> list[Scalar] | Span:
    """A range as a sweep file has it: ``{from, to, step}``, ``{from, to, points}`` with or without ``log: true``.

    Without step and points it is the Span itself, to be sampled.

    Raises:
        RangeError: what is wrong with it.
    """
    for key in value:
        if key not in KEYS:
            raise RangeError(f"unknown key `{key}`", nearest_key(key, KEYS))
    for key in ("from", "to"):
        if key not in value:
            raise RangeError(f"a range needs `{key}`", "such as {from: 16, to: 64, step: 16}")
    log, points = value.get("log", False), value.get("points")
    if not isinstance(log, bool):
        raise RangeError("`log` is true or false")
    span = Span(value["from"], value["to"], log)
    if "step" in value:
        if log or points is not None:
            raise RangeError("`step` goes with neither `points` nor `log`", "give the number of `points` alone")
        return span.every(value["step"])
    if points is None:
        return span
    if not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= MOST:
        raise RangeError(f"`points` is a whole number from 2 to {MOST}, not {points}")
    return span.points(points)


_WORDS = re.compile(r"(?P<low>.+?)\.\.(?P<high>.+?)(?:\s+step\s+(?P<step>.+?))?(?:\s+points\s+(?P<points>\d+))?"
                    r"(?P<log>\s+log)?\s*")  # fmt: skip


def parse_range(text: str) -> list[Scalar] | Span | None:
    """A range in one line: ``64 KiB..4 MiB points 7 log``, ``16..64 step 16``, ``0.5..2``; None if it is no range."""
    if ".." not in text:
        return None
    match = _WORDS.fullmatch(text.strip())
    if match is None:
        raise RangeError(f"'{text}' is no range", "such as 16..64 step 16, or 64 KiB..4 MiB points 7 log")
    given: dict[str, Any] = {"from": plain(match["low"]), "to": plain(match["high"]), "log": match["log"] is not None}
    if match["step"] is not None:
        given["step"] = plain(match["step"])
    if match["points"] is not None:
        given["points"] = int(match["points"])
    return read_range(given)


def plain(text: str) -> Scalar:
    """An int, a float, true or false, or else the text as it is (``64 KiB``)."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
