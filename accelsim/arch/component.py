"""What every component of a machine has, and what the rest of accelsim may ask of memories and links.

Concrete kinds live in `accelsim.components` (or in any installed package) and register through the entry-point group
``accelsim.components``. Compute units add cost functions of Einsums; their base class is `components.base.ComputeUnit`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from .energy import Figure
from .units import AREA, ENERGY_PER_BYTE, POWER, Area, Bandwidth, Bytes, Frequency, Power, Quantity, Time

Direction = Literal["read", "write"]
Operand = Literal["input", "weight", "output"]
OPERANDS: tuple[Operand, ...] = ("input", "weight", "output")
Category = Literal["memory", "unit", "link"]


@dataclass(frozen=True)
class Surroundings:
    """What a component sees of the machine that it stands in; the Architecture binds it.

    Attributes:
        clock: the machine's clock in hertz.
        technology_nm: its node, for energies that the spec leaves to the cited tables.
        memories: the memories of a compute unit, by name.
        figures: what the user's tables give for this component, by action, ``area`` and ``leakage``.
        dynamic_scale: energy of an action at the operating point over that at the nominal one.
        leakage_scale: the same of leakage power.
    """

    clock: float | None = None
    technology_nm: float | None = None
    memories: Mapping[str, Memory] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    dynamic_scale: float = 1.0
    leakage_scale: float = 1.0


@dataclass(frozen=True)
class Price:
    """Energy of an action at the nominal voltage, in joules per operation or per byte.

    Attributes:
        key: of the machine file, under which it can be stated.
        stated: what the machine file says.
        default: the cited figure that stands in otherwise; None when there is none to cite.
    """

    key: str
    stated: float | None
    default: Figure | None


CONFLICT = "bank_conflict"
"""Action of a unit: a cycle in which it waits for a bank. It takes no energy."""


@dataclass(frozen=True)
class Banking:
    """Banks of a memory, over which its lines are dealt round.

    Attributes:
        line_bits: bits of a line, one row of a bank.
        ports: lines that a bank serves per cycle.
        layout: operand to the roles of its innermost dimensions, the innermost one last; otherwise they are in order.
    """

    banks: int
    line_bits: int
    ports: int = 1
    layout: Mapping[Operand, tuple[str, ...]] = field(default_factory=dict)


class Component(BaseModel):
    """One part of a machine, as validated from YAML. Immutable.

    Fields hold SI values: bytes, bytes per second, hertz, seconds, joules, watts; areas are in square millimetres.

    An energy, area or leakage power is what the machine file states for the component, else what a table of the user's
    says (`Surroundings.figures`), else a cited default; where there is none, it is not given, and reports say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    category: ClassVar[Category]
    _surroundings: Surroundings = PrivateAttr(default_factory=Surroundings)

    kind: str
    name: Annotated[str, Field(description="Set by the loader to the key under which the component stands.")] = ""
    source: Annotated[str | None, Field(description="Where the numbers of this component come from.")] = None
    area: Annotated[Area | None, Field(description="Silicon area of the whole component.")] = None
    leakage: Annotated[
        Power | None, Field(description="Leakage power of the whole component, at the nominal voltage.")
    ] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({})
    """Actions that it counts, and whether their energy is per operation or per byte."""

    def bound(self, surroundings: Surroundings) -> Self:
        """Return this component as it stands in a machine. One that stands alone has no clock, node or memory."""
        copy = self.model_copy()
        copy._surroundings = surroundings
        return copy

    @property
    def technology_nm(self) -> float | None:
        return self._surroundings.technology_nm

    def prices(self) -> Mapping[str, Price]:
        """What each action costs at the nominal voltage, as stated and by default."""
        return {}

    def default_area(self) -> Figure | None:
        """Square millimetres by a cited figure; None when there is none."""
        return None

    def default_leakage(self) -> Figure | None:
        """Watts at the nominal voltage by a cited figure; None when there is none."""
        return None

    def action_energy(self) -> Mapping[str, float]:
        """Joules per counted action (per byte for reads and writes, per operation for arithmetic) where it runs.

        An action for which nothing is stated and nothing can be cited is left out.
        """
        scale = self._surroundings.dynamic_scale
        energies = {}
        for action, price in self.prices().items():
            if price.stated is not None:
                energies[action] = price.stated * scale
            elif (figure := self._surroundings.figures.get(action, price.default)) is not None:
                energies[action] = figure.value * scale
        return energies

    @property
    def area_mm2(self) -> float | None:
        """Its silicon area; None when it is not given."""
        if self.area is not None:
            return self.area
        figure = self._surroundings.figures.get("area") or self.default_area()
        return None if figure is None else figure.value

    @property
    def leakage_watts(self) -> float | None:
        """Its leakage power where it runs; None when it is not given."""
        scale = self._surroundings.leakage_scale
        if self.leakage is not None:
            return self.leakage * scale
        figure = self._surroundings.figures.get("leakage") or self.default_leakage()
        return None if figure is None else figure.value * scale

    def defaults_used(self) -> Mapping[str, str]:
        """Values the spec left out, by key, with the figure that stands in and its source; shown in every report."""
        table, used = self._surroundings.figures, {}
        for action, price in self.prices().items():
            figure = table.get(action, price.default)
            if price.stated is None and figure is not None:
                unit = "pJ/byte" if self.actions.get(action) is ENERGY_PER_BYTE else "pJ"
                used[price.key] = f"{figure.value * 1e12:.4g} {unit} ({figure.source})"
        for key, given, default, quantity in (
            ("area", self.area, self.default_area(), AREA),
            ("leakage", self.leakage, self.default_leakage(), POWER),
        ):
            figure = table.get(key) or default
            if given is None and figure is not None:
                used[key] = f"{figure.value:.4g} {quantity.display[-1]} ({figure.source})"
        return used

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

    @property
    def banking(self) -> Banking | None:
        """Its banks, where words wanted at a time may have to wait for each other; None: it serves any."""
        return None

    @abstractmethod
    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Any:
        """The engine's Server of the port for `direction`, in bytes of work; None when it takes no time.

        The argument of a phase is the byte address of the transfer or, with `streams`, that of the tensor it is of.
        Reads and writes that share a port get equal Servers of one name.
        """


class LinkBase(Component):
    """A connection that transfers between two memories pass through."""

    category = "link"

    between: Annotated[tuple[str, str], Field(description="The two memories that it joins.")]
    bandwidth: Annotated[
        Bandwidth | None, Field(description="Bytes per second, shared by both directions unless it is `duplex`.")
    ] = None
    duplex: Annotated[bool, Field(description="Whether each direction has the bandwidth to itself.")] = False
    latency: Annotated[Time, Field(description="Of the first byte, beside the time that the bytes take.")] = 0.0

    def port(self, dst: str) -> str:
        """The name of its server for transfers to a memory."""
        return f"{self.name}.{dst}" if self.duplex else self.name

    @abstractmethod
    def server(self, dst: str, tick_hz: Fraction) -> Any:
        """The engine's Server for transfers to a memory, in bytes of work; None when it takes no time."""


class UnitBase(Component):
    """A compute unit: reads its operands from, and writes its results to, the memory `memory`.

    An operand that stands in `operands` has the memory named there instead: the first input of an Einsum is its
    ``input``, the second its ``weight``, further ones are inputs again.
    """

    category = "unit"
    mapper: ClassVar[str] = ""
    """The mapper that machines with such a unit need; none in particular where it is empty."""

    memory: Annotated[str, Field(description="The memory that feeds it.")]
    operands: Annotated[
        Mapping[Operand, str],
        Field(description="Memories of operands (`input`, `weight`, `output`) that have one of their own."),
    ] = Field(default_factory=dict)
    clock: Annotated[Frequency | None, Field(description="Its own clock, when not the machine's.")] = None

    def feeds(self, inputs: int) -> tuple[str, ...]:
        """The memory of each of so many inputs of an Einsum and, last, of its output."""
        roles: list[Operand] = ["weight" if i == 1 else "input" for i in range(inputs)]
        return tuple(self.operands.get(role, self.memory) for role in (*roles, "output"))

    @property
    def register_capacity(self) -> int:
        """Bytes of registers in which Ops may leave tiles for each other (`Op.registers` of a Mapping)."""
        return 0

    @property
    def memories(self) -> tuple[str, ...]:
        """Every memory that it works on, `memory` first."""
        return tuple(dict.fromkeys((self.memory, *(self.operands[o] for o in sorted(self.operands)))))

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

    @abstractmethod
    def peak_rates(self) -> Mapping[str, float]:
        """Operations per cycle of its clock by cost class (``mac``, ``add``, ``exp`` ...), the most it can ever do."""

    def least_shares(self, einsum: Any, densities: Any) -> tuple[float, float]:
        """At least these shares of an Einsum's MACs take cycles, and energy, with inputs of these densities."""
        return 1.0, 1.0

    def least_slices(self, einsum: Any, bits: Any) -> int:
        """MACs of its own width that it counts at least for one of an Einsum with operands of these bits."""
        return 1

    def rates_on(self, einsum: Any, bits: Any) -> Mapping[str, float]:
        """`peak_rates`, as far as this Einsum with operands of these bits, in whatever tiles, can use the unit."""
        return self.peak_rates()

    def least_reads(self, einsum: Any) -> tuple[float, ...]:
        """Elements of every input that are read from the unit's memories, at least, for any part its share of them.

        That holds where no zeros are left out.
        """
        return tuple(0.0 for _ in einsum.inputs)

    def least_feed_cycles(self, einsum: Any, bits: Any) -> float:
        """Cycles in which its memories bring what `least_reads` says, and take the results, at least."""
        return 0.0

    def least_actions(self, einsum: Any, bits: Any) -> Mapping[str, float]:
        """Actions of the unit's own beside the operations, at least, where no zeros are left out."""
        return {}

    @abstractmethod
    def server(self, tick_hz: Fraction) -> Any:
        """The engine's Server of this unit, in cycles of its clock."""
