"""DRAM at a constant bandwidth and latency."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ..arch.component import Direction, Memory, Price
from ..arch.energy import Figure, standards, transfer
from ..arch.units import ENERGY_PER_BYTE, EnergyPerByte, Quantity
from ..engine.program import Server
from .base import port_server

DEFAULT_STANDARD = "DDR4"


class DramBase(Memory):
    """What DRAM of any timing model has: it is off chip, and its energy is per byte moved."""

    on_chip: Annotated[bool, Field(description="Whether it is part of the chip.")] = False
    standard: Annotated[str | None, Field(description="LPDDR4, DDR4, HBM2 ...: gives the default energy.")] = None
    read_energy: Annotated[EnergyPerByte | None, Field(description="To read a byte.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="To write a byte.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"read": ENERGY_PER_BYTE, "write": ENERGY_PER_BYTE})

    @field_validator("standard")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is not None and value not in standards("dram"):
            raise ValueError(f"no DRAM standard `{value}` (known: {', '.join(standards('dram'))})")
        return value

    def prices(self) -> Mapping[str, Price]:
        figure = transfer("dram", self.standard or DEFAULT_STANDARD)
        if self.standard is None:
            figure = Figure(figure.value, f"{figure.source}; no standard given, {DEFAULT_STANDARD} taken")
        return {
            "read": Price("read_energy", self.read_energy, figure),
            "write": Price("write_energy", self.write_energy, figure),
        }


class Dram(DramBase):
    """DRAM that always gives its bandwidth; figures measured on a machine include its efficiency, peaks do not."""

    kind: Literal["dram"] = "dram"

    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Server | None:
        return port_server(self, direction, tick_hz)
