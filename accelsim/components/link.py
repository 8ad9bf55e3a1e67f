"""A connection between two memories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ..arch.component import LinkBase
from ..arch.energy import standards, transfer
from ..arch.units import EnergyPerByte
from ..engine.program import Server
from .base import server_rate


class Link(LinkBase):
    """A bus or cable of constant bandwidth, shared by both directions. On-chip wires cost no energy unless given."""

    kind: Literal["link"] = "link"
    standard: Annotated[str | None, Field(description="PCIe or CXL: gives the default energy.")] = None
    energy: Annotated[EnergyPerByte | None, Field(description="To move a byte.")] = None

    @field_validator("standard")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is not None and value not in standards("link"):
            raise ValueError(f"no link standard `{value}` (known: {', '.join(standards('link'))})")
        return value

    def action_energy(self) -> Mapping[str, float]:
        if self.energy is not None:
            return {"transfer": self.energy}
        return {"transfer": transfer("link", self.standard).joules if self.standard else 0.0}

    def defaults_used(self) -> Mapping[str, str]:
        if self.energy is not None:
            return {}
        if self.standard is None:
            return {"energy": "0 pJ/byte (no energy and no standard given)"}
        figure = transfer("link", self.standard)
        return {"energy": f"{figure.joules * 1e12:.4g} pJ/byte ({figure.source})"}

    def server(self, tick_hz: Fraction) -> Server | None:
        if self.bandwidth is None or math.isinf(self.bandwidth):
            return None
        return Server(self.name, server_rate(self.name, self.bandwidth, tick_hz))
