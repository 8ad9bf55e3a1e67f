"""DRAM at a constant bandwidth and latency."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ..arch.component import Direction, Memory
from ..arch.energy import standards, transfer
from ..arch.units import EnergyPerByte
from ..engine.program import Server
from .base import port_server

DEFAULT_STANDARD = "DDR4"


class DramBase(Memory):
    """What DRAM of any timing model has: it is off chip, and its energy is per byte moved."""

    on_chip: Annotated[bool, Field(description="Whether it is part of the chip.")] = False
    standard: Annotated[str | None, Field(description="LPDDR4, DDR4, HBM2 ...: gives the default energy.")] = None
    read_energy: Annotated[EnergyPerByte | None, Field(description="To read a byte.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="To write a byte.")] = None

    @field_validator("standard")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is not None and value not in standards("dram"):
            raise ValueError(f"no DRAM standard `{value}` (known: {', '.join(standards('dram'))})")
        return value

    def action_energy(self) -> Mapping[str, float]:
        default = transfer("dram", self.standard or DEFAULT_STANDARD).joules
        return {
            "read": default if self.read_energy is None else self.read_energy,
            "write": default if self.write_energy is None else self.write_energy,
        }

    def defaults_used(self) -> Mapping[str, str]:
        figure = transfer("dram", self.standard or DEFAULT_STANDARD)
        assumed = "" if self.standard else f"; no standard given, {DEFAULT_STANDARD} taken"
        text = f"{figure.joules * 1e12:.4g} pJ/byte ({figure.source}{assumed})"
        given = {"read_energy": self.read_energy, "write_energy": self.write_energy}
        return {key: text for key, value in given.items() if value is None}


class Dram(DramBase):
    """DRAM that always gives its bandwidth; figures measured on a machine include its efficiency, peaks do not."""

    kind: Literal["dram"] = "dram"

    def server(self, direction: Direction, tick_hz: Fraction) -> Server | None:
        return port_server(self, direction, tick_hz)
