"""Precision: the bits of a Workload's tensors by role and by name, without touching what it computes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from ..errors import BadInput
from .by_name import ROLES, by_name, carried_pairs
from .workload import MOST_BITS, Tensor, Workload

_WIDTH = re.compile(r"([0-9]{1,9})(?::([0-9]{1,9})/([0-9]{1,9}))?")


@dataclass(frozen=True)
class GroupBits:
    """`bits` per element, and `metadata` bits that every `group` of elements has in common, such as a scale.

    Bytes follow both; units compute with `bits`. A group that a tile cuts counts by its share.

    Raises:
        BadInput: a number is below 1, or there are more than 64 bits, or 64 of metadata, per element.

    Example:
        >>> GroupBits(4, 8, 128).metadata_bits  # 4 bits and a scale of 8 bits per 128 elements: 4.0625 bits
        Fraction(1, 16)
    """

    bits: int
    metadata: int
    group: int

    def __post_init__(self) -> None:
        too_much = self.bits > MOST_BITS or self.metadata > MOST_BITS * self.group or self.group > 2**20
        if min(self.bits, self.metadata, self.group) < 1 or too_much:
            raise BadInput(f"{self}: bits, metadata and group are whole numbers from 1, groups of up to 2**20 elements "
                           f"with up to {MOST_BITS} bits, and as many of metadata, for each")

    @property
    def metadata_bits(self) -> Fraction:
        """Bits of metadata per element."""
        return Fraction(self.metadata, self.group)

    def __str__(self) -> str:
        return f"{self.bits}:{self.metadata}/{self.group}"


Width: TypeAlias = int | GroupBits


def with_precision(workload: Workload, bits: Mapping[str, Width]) -> Workload:
    """The same Workload with other bits per element.

    Args:
        workload: any.
        bits: keys are roles, names or patterns, as `by_name` takes them; what fits none keeps its bits. Values are
            bits, or `GroupBits` where groups of elements share metadata.

    Bytes follow the bits; how fast a unit computes with narrower operands is for the unit to say.

    Raises:
        BadInput: bits below 1 or above 64, a name that fits no tensor (with the nearest), or two tensors that a Repeat
            hands from one to the other and that would differ.

    Example:
        >>> narrow = with_precision(workload, {"weight": 4, "activation": 8, "*.bias": 32})  # doctest: +SKIP
        >>> grouped = with_precision(workload, {"weight": GroupBits(4, 8, 128)})  # doctest: +SKIP
    """
    for key, width in bits.items():
        if isinstance(width, GroupBits):
            continue
        if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= MOST_BITS:
            raise BadInput(f"{workload.name}: precision of '{key}' is {width!r} (a whole number of bits from 1 to "
                           f"{MOST_BITS})")
    given = by_name(workload, bits, "precision")
    tensors = {name: _of_width(tensor, given.get(name)) for name, tensor in workload.tensors.items()}
    changed = replace(workload, tensors=tensors)
    for produced, held in carried_pairs(workload.body):
        one, other = tensors[produced], tensors[held]
        if _width(one) != _width(other) and _width(workload.tensors[produced]) == _width(workload.tensors[held]):
            raise BadInput(
                f"{workload.name}: '{produced}' ({one.role}) would have {_width(one)} bits and '{held}' ({other.role}) "
                f"{_width(other)}, and an iteration hands one on as the other (give both the same: "
                f"{held}={_width(one)})"
            )
    return changed


def _of_width(tensor: Tensor, width: Width | None) -> Tensor:
    if width is None:
        return tensor
    if isinstance(width, GroupBits):
        return replace(tensor, bits=width.bits, metadata_bits=width.metadata_bits)
    return replace(tensor, bits=width, metadata_bits=Fraction(0))


def _width(tensor: Tensor) -> Width:
    share = tensor.metadata_bits
    return GroupBits(tensor.bits, share.numerator, share.denominator) if share else tensor.bits


def parse_precision(text: str) -> dict[str, Width]:
    """Bits by role or name from ``weight=4,activation=8``; ``+`` separates as well as a comma.

    ``weight=4:8/128`` is 4 bits per element, and 8 bits of metadata per group of 128. Raises BadInput.
    """
    found: dict[str, Width] = {}
    for part in text.replace("+", ",").split(","):
        name, equals, width = (piece.strip() for piece in part.rpartition("="))
        numbers = _WIDTH.fullmatch(width)
        if not equals or not name or not numbers or int(numbers[1]) < 1:
            raise BadInput(f"precision '{part.strip()}': write NAME=BITS, such as weight=4,activation=8,*.bias=32, or "
                           f"weight=4:8/128 for 8 bits of metadata per group of 128 (names: {', '.join(ROLES)}, "
                           "tensors, or patterns of these)")  # fmt: skip
        if name in found:
            raise BadInput(f"precision '{text}': '{name}' is given twice")
        bits = int(numbers[1])
        found[name] = GroupBits(bits, int(numbers[2]), int(numbers[3])) if numbers[2] else bits
    return found
