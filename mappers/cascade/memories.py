"""The memories of a group: where its tensors are, and the ways from there to its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit

Chain: TypeAlias = tuple[str, ...]
"""Memories from the one outside the chip inwards, each the parent of the next."""


@dataclass(frozen=True)
class Memories:
    """What groups work with.

    Attributes:
        chains: memory that feeds a unit of groups to the way to it.
        buffer: the one from which their units read what passes between them, and to which they write.
    """

    chains: Mapping[str, Chain]
    buffer: str

    @property
    def home(self) -> str:
        """The memory outside the chip."""
        return self.chains[self.buffer][0]

    @property
    def near(self) -> str:
        """The memory next to the chip's edge, in which tensors stay whole between groups."""
        return self.chains[self.buffer][1]

    @property
    def on_chip(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m for chain in self.chains.values() for m in chain[1:]))

    def runs(self, unit: ComputeUnit) -> bool:
        """Whether a unit may work in a group."""
        return buffer_of(unit) == self.buffer and set(unit.memories) <= self.chains.keys()


def memories_of(arch: Architecture) -> Memories | None:
    """Around the memory that most units read activations from and write them to; None where there is none.

    Of equals it is the first by name. Other operands may come from other memories on the chip behind the same one
    outside.
    """
    units: dict[str, list[ComputeUnit]] = {}
    for unit in arch.units.values():
        if isinstance(unit, ComputeUnit):
            units.setdefault(buffer_of(unit), []).append(unit)
    units.pop("", None)
    for buffer in sorted(units, key=lambda name: (-len(units[name]), name)):
        chains = {m: chain_of(arch, m) for unit in units[buffer] for m in unit.memories}
        home = chains[buffer][0]
        chains = {m: chain for m, chain in chains.items() if len(chain) > 1 and chain[0] == home}
        if buffer in chains and not arch.memories[home].on_chip:
            return Memories(chains, buffer)
    return None


def chain_of(arch: Architecture, memory: str) -> Chain:
    """The memories from the nearest one outside the chip to this one."""
    chain = [memory]
    while arch.memories[chain[-1]].on_chip and (parent := arch.memories[chain[-1]].parent) is not None:
        chain.append(parent)
    return tuple(reversed(chain))


def buffer_of(unit: ComputeUnit) -> str:
    """The memory of first inputs and of results; empty where they are not one."""
    first, last = unit.feeds(1)
    return first if first == last else ""
