"""Energy and area of units that are made of multiply-accumulators with registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Protocol

from ..arch.component import Price
from ..arch.energy import Arithmetic, Figure, mac_area, operation, register
from ..ir import Einsum


class Macs(Protocol):
    """A unit of MACs, each with registers for two operands of `mac_bits` and a sum of `accumulator_bits`."""

    @property
    def arithmetic(self) -> Arithmetic: ...
    @property
    def mac_bits(self) -> int: ...
    @property
    def accumulator_bits(self) -> int: ...
    @property
    def mac_energy(self) -> float | None: ...
    @property
    def register_energy(self) -> float | None: ...
    @property
    def technology_nm(self) -> float | None: ...


def register_bytes(bits: Sequence[int], mac_bits: int, accumulator_bits: int) -> float:
    """Bytes of operands and partial sum that pass the registers of an element for one product, of all its slices."""
    a_slices, b_slices = -(-bits[0] // mac_bits), -(-bits[1] // mac_bits)
    word_bits = -(-bits[0] // a_slices) + -(-bits[1] // b_slices) + accumulator_bits
    return a_slices * b_slices * word_bits / 8


def mac_slices(einsum: Einsum, bits: Sequence[int], mac_bits: int) -> int:
    """MACs of `mac_bits` that stand for one of a contraction: every slice of one operand meets every one of the other.

    Args:
        bits: of the inputs and, last, of the output.
    """
    if not einsum.is_contraction:
        return 1
    return prod(-(-width // mac_bits) for width in bits[: len(einsum.inputs)])


def least_mac_actions(unit: Macs, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
    """``register``: bytes that pass the registers for all products of a contraction, whatever the dataflow."""
    return {"register": prod(einsum.sizes.values()) * register_bytes(bits, unit.mac_bits, unit.accumulator_bits)}


def mac_prices(unit: Macs) -> dict[str, Price]:
    """Of ``mac`` and ``register``; what the spec leaves out comes from the cited tables."""
    computed = operation("mac", unit.arithmetic, unit.mac_bits, unit.technology_nm)
    kept = register(unit.mac_bits, unit.technology_nm)
    return {
        "mac": Price("mac_energy", unit.mac_energy, computed),
        "register": Price("register_energy", unit.register_energy, kept),
    }


def area_of_macs(unit: Macs, number: int) -> Figure | None:
    """Of so many MACs in mm²; registers and control are left out where the cited figure leaves them out."""
    mac = mac_area(unit.arithmetic, unit.mac_bits, unit.technology_nm)
    return None if mac is None else Figure(mac.value * number, f"{number} MACs: {mac.source}")
