"""On-chip SRAM: a scratchpad that software manages."""

from __future__ import annotations

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


class Buffer(Memory):
    """A scratchpad. Its energies default to those of one SRAM array of the capacity of a bank, its area to CACTI's."""

    kind: Literal["buffer"] = "buffer"
    banks: Annotated[int, Field(ge=1, description="Separate arrays; the default energy is that of one.")] = 1
    read_energy: Annotated[EnergyPerByte | None, Field(description="To read a byte.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="To write a byte.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"read": ENERGY_PER_BYTE, "write": ENERGY_PER_BYTE})

    def prices(self) -> Mapping[str, Price]:
        read, write = sram_access(self._array_bytes, self.technology_nm)
        return {
            "read": Price("read_energy", self.read_energy, read),
            "write": Price("write_energy", self.write_energy, write),
        }

    def default_area(self) -> Figure | None:
        return sram_area(self.capacity, self.technology_nm)

    @property
    def _array_bytes(self) -> int:
        return max(1, self.capacity // self.banks)

    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Server | None:
        return port_server(self, direction, tick_hz)
