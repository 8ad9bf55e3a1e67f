"""What every component of a machine has, and what the rest of accelsim may ask of memories and links.

Concrete kinds live in `accelsim.components` (or in any installed package) and register through the entry-point group
``accelsim.components``. Compute units add cost functions of Einsums; their base class is `components.base.ComputeUnit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from .units import Bandwidth, Bytes, Frequency, Time

Direction = Literal["read", "write"]
Category = Literal["memory", "unit", "link"]


@dataclass(frozen=True)
class Surroundings:
    """What a component sees of the machine that it stands in; the Architecture binds it.

    Attributes:
        clock: the machine's clock in hertz.
        technology_nm: its node, for energies that the spec leaves to the cited tables.
        memory: the memory of a compute unit.
    """

    clock: float | None = None
    technology_nm: float | None = None
    memory: Memory | None = None


class Component(BaseModel):
    """One part of a machine, as validated from YAML. Immutable.

    Fields hold SI values: bytes, bytes per second, hertz, seconds, joules.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    category: ClassVar[Category]
    _surroundings: Surroundings = PrivateAttr(default_factory=Surroundings)

    kind: str
    name: Annotated[str, Field(description="Set by the loader to the key under which the component stands.")] = ""
    source: Annotated[str | None, Field(description="Where the numbers of this component come from.")] = None

    def bound(self, surroundings: Surroundings) -> Self:
        """Return this component as it stands in a machine. One that stands alone has no clock, node or memory."""
        copy = self.model_copy()
        copy._surroundings = surroundings
        return copy

    @property
    def technology_nm(self) -> float | None:
        return self._surroundings.technology_nm

    def action_energy(self) -> Mapping[str, float]:
        """Joules per counted action (per byte for reads and writes, per operation for arithmetic)."""
        raise NotImplementedError

    def defaults_used(self) -> Mapping[str, str]:
        """Values the spec left out, and the cited default that stands in for each; shown in every report."""
        return {}

    def __eq__(self, other: object) -> bool:
        """Components are equal when their specs are, wherever they stand."""
        return type(self) is type(other) and isinstance(other, Component) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.kind, self.name))


class Memory(Component):
    """A tier of memory. `parent` names the next tier, farther from the compute units; the farthest has none."""

    category = "memory"

    capacity: Annotated[Bytes, Field(description="Bytes it holds.")]
    parent: Annotated[str | None, Field(description="The next memory, farther from the compute units.")] = None
    on_chip: Annotated[bool, Field(description="Whether it is part of the chip.")] = True
    bandwidth: Annotated[
        Bandwidth | None, Field(description="Shared by reads and writes; `unlimited` takes no time.")
    ] = None
    read_bandwidth: Annotated[Bandwidth | None, Field(description="Of a read port apart from the write port.")] = None
    write_bandwidth: Annotated[Bandwidth | None, Field(description="Of a write port apart from the read port.")] = None
    latency: Annotated[Time, Field(description="From a request to its first byte.")] = 0.0

    @model_validator(mode="after")
    def _ports(self) -> Self:
        apart = self.read_bandwidth is not None, self.write_bandwidth is not None
        if self.bandwidth is not None and any(apart):
            raise ValueError("`bandwidth` is shared by reads and writes: give it alone, or read_bandwidth and "
                             "write_bandwidth")  # fmt: skip
        if self.bandwidth is None and not all(apart):
            raise ValueError("no bandwidth (give `bandwidth`, or both read_bandwidth and write_bandwidth, or "
                             "`bandwidth: unlimited`)")  # fmt: skip
        return self

    def port(self, direction: Direction) -> tuple[str, float] | None:
        """Name and bytes per second of the port that serves `direction`; None when it takes no time.

        Reads and writes share one port when `bandwidth` is given.
        """
        own = self.read_bandwidth if direction == "read" else self.write_bandwidth
        name, rate = (f"{self.name}.{direction}", own) if own is not None else (self.name, self.bandwidth)
        return None if rate is None or math.isinf(rate) else (name, rate)

    def server(self, direction: Direction, tick_hz: Fraction) -> Any:
        """The engine's Server of the port for `direction`, in bytes of work; None when it takes no time.

        Reads and writes that share a port get equal Servers of one name.
        """
        raise NotImplementedError


class LinkBase(Component):
    """A connection that transfers between two memories pass through."""

    category = "link"

    between: Annotated[tuple[str, str], Field(description="The two memories that it joins.")]
    bandwidth: Annotated[Bandwidth | None, Field(description="Bytes per second, shared by both directions.")] = None
    latency: Time = 0.0

    def server(self, tick_hz: Fraction) -> Any:
        """The engine's Server of this link, in bytes of work; None when it takes no time."""
        raise NotImplementedError


class UnitBase(Component):
    """A compute unit: reads its operands from, and writes its results to, the memory `memory`."""

    category = "unit"

    memory: Annotated[str, Field(description="The memory that feeds it.")]
    clock: Annotated[Frequency | None, Field(description="Its own clock, when not the machine's.")] = None

    @property
    def clock_hz(self) -> float:
        """Its clock: its own, else the machine's.

        Raises:
            ValueError: the unit stands alone and has none.
        """
        clock = self.clock or self._surroundings.clock
        if clock is None:
            raise ValueError(f"unit {self.name or self.kind} has no clock and stands in no machine")
        return clock

    def peak_rates(self) -> Mapping[str, float]:
        """Operations per cycle of its clock by cost class (``mac``, ``add``, ``exp`` ...), the most it can ever do."""
        raise NotImplementedError

    def server(self, tick_hz: Fraction) -> Any:
        """The engine's Server of this unit, in cycles of its clock."""
        raise NotImplementedError


def field_docs(kind: type[Component]) -> dict[str, Any]:
    """The documentation of each key of a kind."""
    return {name: info.description for name, info in kind.model_fields.items()}
