"""Quantities with units as they stand in a machine file: `16 MiB`, `1.8 TB/s`, `940 MHz`, `80 ns`, `3.9 pJ/bit`.

Values are read exactly (as fractions) and handed out in SI: bytes, bytes per second, hertz, seconds, joules. Decimal
and binary prefixes differ (GB, GiB), and so do bits (`b`, `bit`) and bytes (`B`, `byte`). In a machine file a bare
number is refused; in Python it is taken to be in SI already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from ..text.names import nearest_key, short

_NUMBER = re.compile(
    r"\s*([-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE]([-+]?\d{1,30}))?)(?!\d)\s*(\S.*?)?\s*", re.ASCII
)
_PER_BITS = re.compile(r"(\w+)\s*/\s*(?:(\d{1,9})\s*)?(\w+)")
_LARGEST_POWER = 40
_LARGEST = Fraction(10) ** _LARGEST_POWER

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_SMALL = {"": 0, "m": 3, "u": 6, "µ": 6, "n": 9, "p": 12, "f": 15}

_BYTES: dict[str, Fraction] = {
    prefix + symbol: Fraction(factor * bits, 8)
    for prefix, factor in (_DECIMAL | _BINARY).items()
    for symbol, bits in (("B", 8), ("byte", 8), ("bytes", 8), ("b", 1), ("bit", 1), ("bits", 1))
}
_JOULES = {prefix + "J": Fraction(1, 10**power) for prefix, power in _SMALL.items()}
_SECONDS = {prefix + "s": Fraction(1, 10**power) for prefix, power in _SMALL.items()}
_HERTZ = {prefix + "Hz": Fraction(factor) for prefix, factor in _DECIMAL.items()}

_MISTAKEN = {
    "KB": "kB is 1000 bytes, KiB 1024",
    "KB/s": "kB/s is 1000 bytes per second, KiB/s 1024",
    "K": "kB is 1000 bytes, KiB 1024",
    "Kb": "kb is 1000 bits, Kib 1024",
}


class QuantityError(ValueError):
    """A text that is no quantity of the wanted kind; `hint` says what would be."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what} ({hint})")
        self.what, self.hint = what, hint


def split(text: str) -> tuple[Fraction, str] | None:
    """The number of a quantity and its unit as they are written, the unit empty if there is none; None if the text does
    not begin with a number."""
    match = _NUMBER.fullmatch(text)
    if match is None or abs(int(match[2] or 0)) > _LARGEST_POWER:
        return None
    return Fraction(match[1]), match[3] or ""


@dataclass(frozen=True, eq=False)
class Quantity:
    """A kind of quantity: its units with their factors to SI, and examples for messages and editors."""

    name: str
    units: Mapping[str, Fraction]
    examples: tuple[str, ...]
    positive: bool = True
    integer: bool = False
    unlimited: bool = False
    per_cycle: Mapping[str, Fraction] | None = None
    """Units in cycles, which the clock resolves: factor / clock for a time, factor * clock for a rate."""
    least: Fraction = Fraction(0)
    most: Fraction = _LARGEST
    """What no machine is below or beyond, in SI."""
    display: tuple[str, ...] = ()
    """Units to write values in, largest first; the last is SI."""

    @property
    def one(self) -> str:
        """The name as messages say it."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    @property
    def hint(self) -> str:
        return "such as " + " or ".join(f"`{e}`" for e in self.examples)

    def parse(self, text: str, clock: Fraction | None = None) -> Fraction | float:
        """Return the exact SI value of `text`, or infinity for `unlimited`.

        Args:
            text: number and unit.
            clock: hertz of the clock that units in cycles refer to.

        Raises:
            QuantityError: not a number, unit missing or unknown, negative, zero where that makes no sense.
        """
        if self.unlimited and text.strip() == "unlimited":
            return math.inf
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise QuantityError(f"`{short(text)}` is not {self.one}", self.hint)
        if abs(int(match[2] or 0)) > _LARGEST_POWER:
            raise QuantityError(f"`{short(text)}` is out of range", self.hint)
        number, unit = Fraction(match[1]), match[3]
        if unit is None:
            if number == 0 and not self.positive:
                return number
            raise QuantityError(f"`{short(text)}` has no unit", self.hint)
        return self.check(number * self._factor(unit, clock), text)

    def check(self, value: Fraction, text: object) -> Fraction:
        """Return `value` if it lies in the range of the quantity."""
        if value < 0:
            raise QuantityError(f"`{short(text)}` is negative", self.hint)
        if value == 0 and self.positive:
            raise QuantityError(f"`{short(text)}`: {self.one} must be more than zero", self.hint)
        if value > self.most:
            raise QuantityError(f"`{short(text)}` is too large", self.hint)
        if value < self.least:
            raise QuantityError(f"`{short(text)}` is too small", self.hint)
        if self.integer and value.denominator != 1:
            raise QuantityError(f"`{short(text)}` is not a whole number of {self.display[-1]}", self.hint)
        return value

    def _factor(self, unit: str, clock: Fraction | None) -> Fraction:
        compact = re.sub(r"\s*/\s*", "/", unit)
        if compact in self.units:
            return self.units[compact]
        if self.per_cycle is not None and compact in self.per_cycle:
            if clock is None:
                raise QuantityError(f"`{unit}` needs a clock", "give the machine or the component a `clock`")
            factor = self.per_cycle[compact]
            return factor / clock if self is TIME else factor * clock
        if self is ENERGY_PER_BYTE and (match := _PER_BITS.fullmatch(compact)):
            energy, count, amount = match.groups()
            if energy in _JOULES and amount in _BYTES and int(count or 1):
                return _JOULES[energy] / (_BYTES[amount] * int(count or 1))
        raise QuantityError(f"`{short(unit)}` is not a unit of {self.name}", self._nearest_unit(compact))

    def _nearest_unit(self, unit: str) -> str:
        known = [*self.units, *(self.per_cycle or ())]
        if unit in _MISTAKEN and any(u in known for u in ("kB", "kB/s")):
            return _MISTAKEN[unit]
        bits_per_second = unit.replace("bps", "b/s")
        if bits_per_second in known:
            return f"bits per second are written `{bits_per_second}`, bytes `{bits_per_second.replace('b/s', 'B/s')}`"
        same = [u for u in known if u.lower() == unit.lower()]
        hint = nearest_key(unit, same[:1] or known, "")
        return f"{hint} {self.hint}" if hint else self.hint

    def format(self, value: float) -> str:
        """Return the shortest text that `parse` reads back as exactly `value`."""
        if math.isinf(value):
            return "unlimited"
        exact = Fraction(value)
        si = self.display[-1]
        found = [f"{value!r} {si}" if not float(value).is_integer() else f"{int(value)} {si}"]
        for unit in self.display[:-1]:
            factor = self._factor(unit, None)
            number = f"{float(exact / factor):.12g}"
            read_back = Fraction(number) * factor
            if 1 <= read_back / factor < 10**6 and (read_back == exact if self.integer else float(read_back) == value):
                found.append(f"{number} {unit}")
        return min(found, key=len)

    def to_si(self, text: str, clock: Fraction | None = None) -> float:
        """Return the SI value of `text` as an int or the nearest float."""
        value = self.parse(text, clock)
        return int(value) if self.integer else float(value)


def _rates(units: Mapping[str, Fraction], per: str) -> dict[str, Fraction]:
    return {f"{u}/{per}": f for u, f in units.items()}


BYTES = Quantity("size in bytes", _BYTES, ("16 MiB", "64 GB"), integer=True, most=Fraction(2**60),
                 display=("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB", "B"))  # fmt: skip
BANDWIDTH = Quantity("bandwidth", _rates(_BYTES, "s"), ("1.8 TB/s", "256 B/cycle"), unlimited=True,
                     per_cycle=_rates(_BYTES, "cycle"),
                     display=("TiB/s", "GiB/s", "MiB/s", "TB/s", "GB/s", "MB/s", "B/s"))  # fmt: skip
FREQUENCY = Quantity("frequency", _HERTZ, ("940 MHz", "1.05 GHz"), most=Fraction(10**13),
                     display=("GHz", "MHz", "kHz", "Hz"))  # fmt: skip
TIME = Quantity("time", _SECONDS, ("80 ns", "12 cycles"), positive=False, most=Fraction(10**5),
                per_cycle={"cycle": Fraction(1), "cycles": Fraction(1)},
                display=("ms", "us", "ns", "ps", "s"))  # fmt: skip
ENERGY = Quantity("energy", _JOULES, ("0.2 pJ", "1.5 nJ"), positive=False, display=("nJ", "pJ", "fJ", "J"))
ENERGY_PER_BYTE = Quantity("energy per byte", {"J/B": Fraction(1)}, ("3.9 pJ/bit", "10 pJ/byte", "249.6 pJ/64 bit"),
                           positive=False, display=("nJ/byte", "pJ/bit", "pJ/byte", "fJ/byte", "J/byte"))  # fmt: skip
LENGTH = Quantity("technology node", {"nm": Fraction(1)}, ("7 nm", "45 nm"), least=Fraction(1, 10), display=("nm",))
DISTANCE = Quantity("length", {"mm": Fraction(1), "um": Fraction(1, 1000), "µm": Fraction(1, 1000), "cm": Fraction(10)},
                    ("5 mm", "300 um"), positive=False, display=("cm", "um", "mm"))  # fmt: skip
AREA = Quantity("area", {"mm2": Fraction(1), "mm²": Fraction(1), "um2": Fraction(1, 10**6), "µm²": Fraction(1, 10**6)},
                ("1.4 mm2", "850 um2"), positive=False, display=("um2", "mm2"))  # fmt: skip
POWER = Quantity("power", {prefix + "W": Fraction(1, 10**power) for prefix, power in _SMALL.items()},
                 ("12 mW", "1.5 W"), positive=False, display=("mW", "uW", "nW", "W"))  # fmt: skip
VOLTAGE = Quantity("voltage", {"V": Fraction(1), "mV": Fraction(1, 1000)}, ("0.8 V", "750 mV"), display=("mV", "V"))


def _validator(quantity: Quantity) -> BeforeValidator:
    def validate(value: Any, info: ValidationInfo) -> Any:
        context = info.context if isinstance(info.context, dict) else None
        try:
            if isinstance(value, str):
                return quantity.to_si(value, context.get("clock") if context else None)
            if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
                raise QuantityError(f"`{short(value)}` is not {quantity.one}", quantity.hint)
            if value != value or (math.isinf(value) and not (quantity.unlimited and value > 0)):
                raise QuantityError(f"`{value}` is not {quantity.one}", quantity.hint)
            if context is not None and value != 0:
                raise QuantityError(f"`{short(value)}` has no unit", quantity.hint)
            if math.isinf(value):
                return value
            exact = quantity.check(Fraction(value), value)
            return int(exact) if quantity.integer else float(exact)
        except OverflowError:
            details = {"what": f"`{short(value)}` is out of range", "hint": quantity.hint}
            raise PydanticCustomError("quantity", "{what} ({hint})", details) from None
        except QuantityError as error:
            details = {"what": error.what, "hint": error.hint}
            raise PydanticCustomError("quantity", "{what} ({hint})", details) from None

    return BeforeValidator(validate)


def _schema(quantity: Quantity) -> WithJsonSchema:
    texts: dict[str, Any] = {"type": "string", "description": quantity.name, "examples": list(quantity.examples)}
    return WithJsonSchema(texts if quantity.positive else texts | {"type": ["string", "number"]})


Bytes = Annotated[int, BYTES, _validator(BYTES), _schema(BYTES)]
"""A size, in bytes."""
Bandwidth = Annotated[float, BANDWIDTH, _validator(BANDWIDTH), _schema(BANDWIDTH)]
"""Bytes per second; infinite for `unlimited`. `B/cycle` refers to the clock of the component, else of the machine."""
Frequency = Annotated[float, FREQUENCY, _validator(FREQUENCY), _schema(FREQUENCY)]
"""Hertz."""
Time = Annotated[float, TIME, _validator(TIME), _schema(TIME)]
"""Seconds; may be given in cycles."""
Energy = Annotated[float, ENERGY, _validator(ENERGY), _schema(ENERGY)]
"""Joules."""
EnergyPerByte = Annotated[float, ENERGY_PER_BYTE, _validator(ENERGY_PER_BYTE), _schema(ENERGY_PER_BYTE)]
"""Joules per byte; may be given per bit or per any number of bits."""
Node = Annotated[float, LENGTH, _validator(LENGTH), _schema(LENGTH)]
"""Technology node in nanometres."""
Distance = Annotated[float, DISTANCE, _validator(DISTANCE), _schema(DISTANCE)]
"""Length of a wire in millimetres."""
Area = Annotated[float, AREA, _validator(AREA), _schema(AREA)]
"""Square millimetres."""
Power = Annotated[float, POWER, _validator(POWER), _schema(POWER)]
"""Watts."""
Voltage = Annotated[float, VOLTAGE, _validator(VOLTAGE), _schema(VOLTAGE)]
"""Volts."""


def quantity_of(info: FieldInfo) -> Quantity | None:
    """Return the Quantity that a field (or each value of a mapping field) holds, or None."""
    for part in (*info.metadata, *_parts(info.annotation)):
        if isinstance(part, Quantity):
            return part
    return None


def _parts(annotation: object) -> Iterator[object]:
    for arg in get_args(annotation):
        yield arg
        yield from _parts(arg)


def rate_fraction(value: float | Fraction, limit: int = 2**31 - 1) -> Fraction:
    """Return `value` exactly if its terms stay within `limit`, else the nearest such fraction that is not above it.

    Rounding down keeps a simulated rate from ever beating the bound made from the true one.

    Raises:
        ValueError: the value is not positive, or too large or small for terms within `limit`.
    """
    exact = Fraction(value)
    if exact.numerator <= limit and exact.denominator <= limit:
        if exact <= 0:
            raise ValueError(f"a rate must be more than zero, not {value}")
        return exact
    denominator = min(limit, int(limit / exact)) if exact > 0 else 0
    numerator = int(exact * denominator)
    if denominator < 1 or numerator < 1:
        raise ValueError(f"rate {float(exact):g} is out of range")
    return Fraction(numerator, denominator)
