"""On-chip SRAM: a scratchpad that software manages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ..arch.component import Banking, Direction, Memory, Operand, Price
from ..arch.energy import Figure, sram_access, sram_area
from ..arch.units import ENERGY_PER_BYTE, Bytes, EnergyPerByte, Quantity
from ..engine.program import Server
from ..ir.roles import RankRole
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
    """A scratchpad. With `bank_width`, accesses of compute units to one bank wait for each other, see `banks.py`."""

    kind: Literal["buffer"] = "buffer"
    bank_width: Annotated[
        Bytes | None,
        Field(description="Bytes of a line of a bank: words wanted at a time then wait where they lie in different "
                          "lines of one bank; they never do unless it is given."),
    ] = None  # fmt: skip
    ports_per_bank: Annotated[int, Field(ge=1, le=64, description="Lines that a bank serves per cycle.")] = 1
    layout: Annotated[
        Mapping[Operand, tuple[RankRole, ...]],
        Field(description="Dimensions that lie innermost, by operand and the roles of their ranks, the innermost one "
                          "last; otherwise they lie in the order of the tensor."),
    ] = Field(default_factory=dict)  # fmt: skip

    @model_validator(mode="after")
    def _lines(self) -> Buffer:
        if self.bank_width is None and (self.layout or self.ports_per_bank > 1):
            raise ValueError("`layout` and `ports_per_bank` are for memories with `bank_width`")
        if self.bank_width is not None and self.bank_width * self.banks > self.capacity:
            raise ValueError(f"{self.banks} banks of lines of {self.bank_width} bytes exceed the capacity")
        return self

    @property
    def sram_bytes(self) -> int:
        return self.capacity

    @property
    def banking(self) -> Banking | None:
        if self.bank_width is None:
            return None
        return Banking(self.banks, 8 * self.bank_width, self.ports_per_bank, self.layout)
