"""On-chip SRAM: a scratchpad that software manages."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from ..arch.component import Direction, Memory
from ..arch.energy import DEFAULT_NODE_NM, sram_access
from ..arch.units import EnergyPerByte
from ..engine.program import Server
from .base import port_server


class Buffer(Memory):
    """A scratchpad. Its energies default to those of one SRAM array of the capacity of a bank."""

    kind: Literal["buffer"] = "buffer"
    banks: Annotated[int, Field(ge=1, description="Separate arrays; the default energy is that of one.")] = 1
    read_energy: Annotated[EnergyPerByte | None, Field(description="To read a byte.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="To write a byte.")] = None

    def action_energy(self) -> Mapping[str, float]:
        read, write = sram_access(self._array_bytes, self.technology_nm)
        return {
            "read": read.joules if self.read_energy is None else self.read_energy,
            "write": write.joules if self.write_energy is None else self.write_energy,
        }

    def defaults_used(self) -> Mapping[str, str]:
        figures = sram_access(self._array_bytes, self.technology_nm)
        node = "" if self.technology_nm else f"; no technology given, {DEFAULT_NODE_NM:g} nm taken"
        return {
            key: f"{figure.joules * 1e12:.4g} pJ/byte ({figure.source}{node})"
            for key, given, figure in zip(
                ("read_energy", "write_energy"), (self.read_energy, self.write_energy), figures, strict=True
            )
            if given is None
        }

    @property
    def _array_bytes(self) -> int:
        return max(1, self.capacity // self.banks)

    def server(self, direction: Direction, tick_hz: Fraction) -> Server | None:
        return port_server(self, direction, tick_hz)
