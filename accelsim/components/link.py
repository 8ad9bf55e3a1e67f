"""A connection between two memories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..arch.component import LinkBase, Price
from ..arch.energy import Figure, standards, transfer, wire
from ..arch.units import ENERGY_PER_BYTE, Distance, EnergyPerByte, Quantity
from ..engine.program import Server
from .base import server_rate


class Link(LinkBase):
    """A bus or cable of constant bandwidth, shared by both directions or, where it is `duplex`, of each of them.

    Its energy defaults to that of its `standard`, or of on-chip wires of its `length`; without either it is zero, which
    reports list among the defaults.
    """

    kind: Literal["link"] = "link"
    standard: Annotated[str | None, Field(description="PCIe or CXL: gives the default energy.")] = None
    length: Annotated[Distance | None, Field(description="Of on-chip wires: gives the default energy.")] = None
    energy: Annotated[EnergyPerByte | None, Field(description="To move a byte.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"transfer": ENERGY_PER_BYTE})

    @field_validator("standard")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is not None and value not in standards("link"):
            raise ValueError(f"no link standard `{value}` (known: {', '.join(standards('link'))})")
        return value

    @model_validator(mode="after")
    def _one_default(self) -> Self:
        if self.standard is not None and self.length is not None:
            raise ValueError("`standard` and `length` both give a default energy: give one of them")
        return self

    def prices(self) -> Mapping[str, Price]:
        if self.standard is not None:
            figure = transfer("link", self.standard)
        elif self.length is not None:
            figure = wire(self.length, self.technology_nm)
        else:
            figure = Figure(0.0, "no energy, no standard and no length given")
        return {"transfer": Price("energy", self.energy, figure)}

    def server(self, dst: str, tick_hz: Fraction) -> Server | None:
        if self.bandwidth is None or math.isinf(self.bandwidth):
            return None
        return Server(self.port(dst), server_rate(self.name, self.bandwidth, tick_hz))
