"""On-chip SRAM: a scratchpad that software manages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..arch.component import Direction, Memory, Price
from ..arch.energy import Figure, sram_access, sram_area
from ..arch.units import ENERGY_PER_BYTE, EnergyPerByte, Quantity
from ..engine.program import Server
from .base import port_server


class SramBase(Memory):
    """What on-chip SRAM of any use has: its energies default to those of one array of the size of a bank, its area to
    CACTI's.
    """

    banks: Annotated[int, Field(ge=1, description="Separate arrays; the default energy is that of one.")] = 1
    read_energy: Annotated[EnergyPerByte | None, Field(description="To read a byte.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="To write a byte.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"read": ENERGY_PER_BYTE, "write": ENERGY_PER_BYTE})

    def prices(self) -> Mapping[str, Price]:
        read, write = sram_access(max(1, self.sram_bytes // self.banks), self.technology_nm)
        return {
            "read": Price("read_energy", self.read_energy, read),
            "write": Price("write_energy", self.write_energy, write),
        }

    def default_area(self) -> Figure | None:
        return sram_area(self.sram_bytes, self.technology_nm)

    @property
    @abstractmethod
    def sram_bytes(self) -> int:
        """Bytes of SRAM that are there."""

    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Server | None:
        return port_server(self, direction, tick_hz)


class Buffer(SramBase):
    """A scratchpad."""

    kind: Literal["buffer"] = "buffer"

    @property
    def sram_bytes(self) -> int:
        return self.capacity
