"""Tiers, links and rates of placements, as a machine's description has them."""

from __future__ import annotations

from fractions import Fraction

from ....arch.architecture import Architecture
from ....errors import BadInput
from ....lowering.ports import route
from ....mapping.tiers.problem import Link, Tier


def tier_of(arch: Architecture, memory: str) -> Tier:
    """A memory with its capacity. Raises BadInput where the machine has no such memory."""
    if memory not in arch.memories:
        raise BadInput(f"machine {arch.name} has no memory {memory!r}; it has {', '.join(arch.memories)}")
    return Tier(memory, arch.memories[memory].capacity)


def link_of(arch: Architecture, src: str, dst: str, *, channel: str = "") -> Link:
    """The way between two memories, at the rate of its slowest port; named after both.

    Args:
        arch: the machine.
        src, dst: memories that are parent and child, or joined by a link.
        channel: links of one channel take turns; empty for one of its own.

    Raises:
        MappingError: there is no such memory.
        BadInput: nothing on the way has a bandwidth.
    """
    way = route(arch, src, dst)
    if not way.ports:
        raise BadInput(f"machine {arch.name}: the way from {src} to {dst} has no bandwidth")
    bandwidth = min(port.server.rate for port in way.ports) * Fraction(arch.clock)
    return Link(f"{src} to {dst}", src, dst, float(bandwidth), way.joules_per_byte, channel)


def macs_per_second(arch: Architecture, unit: str = "") -> float:
    """Multiply-accumulates per second of a unit at its peak, or of all units together."""
    if unit and unit not in arch.units:
        raise BadInput(f"machine {arch.name} has no unit {unit!r}; it has {', '.join(arch.units)}")
    units = [arch.units[unit]] if unit else list(arch.units.values())
    return sum(u.peak_rates().get("mac", 0.0) * float(u.clock_hz) for u in units)
