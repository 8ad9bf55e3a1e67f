"""Density: which share of a tensor's elements is not zero, where those lie, and in how many bits they are stored.

Formats, with b bits per element, a share d of them kept, and bits per element of the tensor. The families are those of
Sparseloop (Wu et al., MICRO 2022, section III); the sums follow from what each one stores.

==========  =================================  ==============================================================
format      bits per element                   what is stored
==========  =================================  ==============================================================
dense       b                                  every element, zeros too
bitmask     d·b + 1                            kept elements, and a bit per element that tells them
run_length  (b + r)·d / (1 - (1 - d)^(2^r))    kept elements, each with the number of zeros before it in r bits; after
                                               2^r - 1 zeros an element is stored whatever it is (Eyeriss: r = 5, Chen
                                               et al., JSSC 2017, section V). For zeros at random, an entry covers
                                               (1 - (1 - d)^(2^r)) / d elements on the mean
coordinate  d·(b + r)                          kept elements, each with its position in r bits
csr         d·(b + ceil(log2 r)) + 32 / r      kept elements, each with its column in a row of r elements, and a pointer
                                               of 32 bits per row (Saad, Iterative Methods for Sparse Linear Systems,
                                               section 3.4)
nm_index    N/M·(b + ceil(log2 M))             of every M elements N, each with its place among them (Mishra et al.,
                                               Accelerating Sparse Deep Neural Networks, 2021, section 3)
==========  =================================  ==============================================================

Of zeros that lie at random these are expectations, and so are the bytes that follow: they are rounded up to whole bytes
once per tile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, log2, prod
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from ..errors import BadInput
from ..text.names import near

FINEST = 2**20
"""Largest denominator of bits per element, so that bytes of a tile are counted in 64 bits."""
_FORM = re.compile(
    r"(?P<share>[^/:]+)(?::(?P<group>[0-9]{1,4}))?"
    r"(?:/(?P<format>[^/:]+)(?::(?P<parameter>[0-9]{1,9}))?)?"
)


class Format(NamedTuple):
    """A row of the table.

    Attributes:
        bits: per element, from the density and the bits of an element.
        usual: the parameter r where none is given, from the shape of the tensor; None: the format has none.
        largest: parameter.
    """

    bits: Callable[[Density, int], Fraction]
    usual: Callable[[tuple[int, ...]], int] | None = None
    largest: int = 0


def _run_length(d: Density, bits: int) -> Fraction:
    entries = float(d.share) / (1 - (1 - float(d.share)) ** (2**d.parameter))
    return (bits + d.parameter) * Fraction(entries)


def _position_bits(shape: tuple[int, ...]) -> int:
    return max(1, (prod(shape) - 1).bit_length())


def _row(shape: tuple[int, ...]) -> int:
    """Elements in a row of the tensor as a matrix, whose rows are its first dimension."""
    return prod(shape[1:]) if len(shape) > 1 else prod(shape)


FORMATS: Mapping[str, Format] = MappingProxyType({
    "dense": Format(lambda d, b: Fraction(b)),
    "bitmask": Format(lambda d, b: d.share * b + 1),
    "run_length": Format(_run_length, lambda shape: 5, 16),
    "coordinate": Format(lambda d, b: d.share * (b + d.parameter), _position_bits, 64),
    "csr": Format(lambda d, b: d.share * (b + ceil(log2(d.parameter))) + Fraction(32, d.parameter),
                  _row, 2**30),
    "nm_index": Format(lambda d, b: d.share * (b + ceil(log2(d.group)))),
})  # fmt: skip


@dataclass(frozen=True)
class Density:
    """The elements of a tensor that are not zero, and the format that stores it.

    Attributes:
        share: of the elements that are kept; the others are zero.
        group: M of N:M, where exactly `share`·M of every M neighbours are kept; 0: zeros lie at random, each element
            being one or not whatever the others are.
        format: a key of `FORMATS`.
        parameter: of the format; 0: what is usual for the tensor.

    Raises:
        BadInput: a share that is not above 0 and up to 1; N:M with N above M; a format that is not there or that is
            not for zeros that lie so; a parameter that the format does not have.

    Example:
        >>> Density.parse("2:4/nm_index").bits(16)  # 8 bits of the kept half, and 2 bits of place for each of those
        Fraction(9, 1)
    """

    share: Fraction = Fraction(1)
    group: int = 0
    format: str = "dense"
    parameter: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadInput(f"density {float(self.share):g}: a share of elements above 0 and up to 1, or N:M")
        if self.group < 0 or (self.group and self.share * self.group % 1):
            raise BadInput(f"density {self.share} of every {self.group}: N of N:M is a whole number")
        if self.format not in FORMATS:
            raise BadInput(f"no format '{self.format}' ({near(self.format, FORMATS)}formats: {', '.join(FORMATS)})")
        if self.format == "nm_index" and not self.group:
            raise BadInput("format nm_index is for N:M, such as 2:4/nm_index")
        if self.format == "run_length" and self.group:
            raise BadInput("format run_length is for zeros at random, such as 0.5/run_length (N:M: nm_index, bitmask)")
        found = FORMATS[self.format]
        if self.parameter and found.usual is None:
            raise BadInput(f"format {self.format} has no parameter (got {self.parameter})")
        if not 0 <= self.parameter <= found.largest:
            raise BadInput(f"format {self.format}:{self.parameter}: its parameter is 1 up to {found.largest}")

    @classmethod
    def parse(cls, text: str | float | Fraction) -> Density:
        """From ``0.6``, ``2:4``, or one of these with a format: ``2:4/nm_index``, ``0.6/run_length:5``.

        Raises:
            BadInput: it is none of these.
        """
        match = _FORM.fullmatch(str(text).strip())
        try:
            share = Fraction(match["share"]) if match and len(match["share"]) <= 30 else None
        except (ValueError, ZeroDivisionError):
            share = None
        if match is None or share is None or share.numerator > 2**40:
            raise BadInput(f"density '{str(text)[:60]}': write a share such as 0.6, or N:M such as 2:4, and behind a / "
                           f"a format if it is stored in one ({', '.join(FORMATS)}): 2:4/nm_index, 0.6/run_length:5")
        group = 0
        if match["group"] is not None:
            group, kept = int(match["group"]), share
            if kept.denominator > 1 or not 1 <= kept <= group:
                raise BadInput(f"density {match['share']}:{match['group']}: N:M keeps N, from 1 to M, of every M "
                               "neighbours")
            share = kept / group
        return cls(rounded_up(share), group, match["format"] or "dense", int(match["parameter"] or 0))

    @property
    def kept(self) -> int:
        """N of N:M."""
        return int(self.share * self.group)

    @property
    def is_full(self) -> bool:
        return self.share == 1

    def bits(self, bits: int, shape: tuple[int, ...] = ()) -> Fraction:
        """Bits per element of a tensor of that shape whose elements have `bits` each: see the module."""
        return FORMATS[self.format].bits(self.of(shape), bits)

    def of(self, shape: tuple[int, ...]) -> Density:
        """The same with the parameter that is usual for a tensor of that shape, where the format has one."""
        usual = FORMATS[self.format].usual
        return self if self.parameter or usual is None else replace(self, parameter=usual(shape))

    def __str__(self) -> str:
        """What `parse` reads."""
        number = f"{self.kept}:{self.group}" if self.group else str(float(self.share))
        parameter = f":{self.parameter}" if self.parameter else ""
        return number if self.format == "dense" else f"{number}/{self.format}{parameter}"


FULL = Density()
DensityLike: TypeAlias = Density | float | str


def rounded_up(value: Fraction) -> Fraction:
    """The value, or the next multiple of 1/2**20 if its denominator is beyond that."""
    return value if value.denominator <= FINEST else Fraction(ceil(value * FINEST), FINEST)
