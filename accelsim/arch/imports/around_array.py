"""Machines of other tools that are memories around one array of multipliers, written as machine files of our own.

- A memory that serves all dimensions of the array is there once: a `buffer`, the outermost one `dram`; its parent is
  the next memory outwards that holds an operand of its own.
- A memory that does not is there once per element, or once per row or column: a register file of the `spatial` array,
  shared along the dimensions that it serves. Of several around an operand the innermost is kept; one that has no
  memory on the chip above it becomes a buffer of all its copies together.
- A vector unit without energy stands in for operators that the array does not run.

What is left out is said in `notes`, for the machine's description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ...text.nodes import Keys

ROLES = ("input", "weight", "output")
WAYS = ("read", "write")
CLASSES = ("add", "mul", "max", "exp", "log", "tanh", "erf", "div", "sqrt")
UNBOUNDED_BITS = 2**53
"""Of a memory whose capacity is not said."""


@dataclass(frozen=True)
class ForeignMemory:
    """One memory of a file, in the order from the array outwards.

    Attributes:
        name: as the machine will have it.
        bits: capacity of one copy.
        roles: of the operands that it may hold.
        served: dimensions of the array that one copy serves.
        widths: bits per cycle of one copy by direction; a direction that is not there is unlimited.
        energies: by direction, as a machine file has them; one that is not there is the default of the cited tables.
        shared_port: whether reads and writes share one port.
        at: its place in the file.
        capacity_at: the place of its capacity.
        standard: of a DRAM, for the default energy.
        off_chip: whether it may be the machine's outermost memory.
    """

    name: str
    bits: int
    roles: tuple[str, ...]
    served: tuple[str, ...]
    widths: Mapping[str, int]
    energies: Mapping[str, str]
    shared_port: bool
    at: Keys
    capacity_at: Keys
    standard: str | None = None
    off_chip: bool = False

    @property
    def unbounded(self) -> bool:
        return self.bits >= UNBOUNDED_BITS


def outside(dimensions: Mapping[str, int]) -> ForeignMemory:
    """What stands in for the world outside of a chip that has no memory there: without limits and without energy."""
    free = dict.fromkeys(WAYS, "0 pJ/byte")
    return ForeignMemory("outside", UNBOUNDED_BITS, ROLES, tuple(dimensions), {}, free, True, (), ())


@dataclass
class AroundArray:
    """Makes the machine; `notes` and `origins` fill while it does.

    Attributes:
        dimensions: of the array, with their sizes.
        memories: from the array outwards; the last one is `dram` whatever it serves.
        notes: what was left out or stood in.
        origins: place in the machine to place in the file.
    """

    dimensions: Mapping[str, int]
    memories: Sequence[ForeignMemory]
    notes: list[str] = field(default_factory=list)
    origins: dict[Keys, Keys] = field(default_factory=dict)

    def machine(self, array: Mapping[str, Any]) -> dict[str, Any]:
        """Memories and units, as a machine file has them.

        Args:
            array: further keys of the array.
        """
        last = self.memories[-1]
        single = [m for m in self.memories if set(m.served) == set(self.dimensions) or m is last]
        holders = {role: [m.name for m in single if role in m.roles] for role in ROLES}
        kept = {m.name: self._buffer(m, m is last, holders) for m in reversed(single)}
        registers: dict[str, dict[str, Any]] = {}
        for memory in (m for m in self.memories if m not in single):
            copies = prod(size for name, size in self.dimensions.items() if name not in memory.served)
            for role in memory.roles:
                if holders[role][:1] == [last.name] and role != "output":
                    name = f"{memory.name}_all"
                    holders[role] = [name, last.name]
                    kept[name] = self._buffer(memory, False, {role: holders[role]}, copies)
                    self.notes.append(f"{memory.name}: its {copies} copies are the one buffer {name}")
                elif role in registers:
                    self.notes.append(f"{memory.name}: left out for {role}, a register file is inside it")
                else:
                    registers[role] = self._register(memory)
                    self.origins["units", "array", "registers", role] = memory.at
        nearest = {role: names[0] for role, names in holders.items() if names}
        memory_of_array = nearest.get("output", last.name)
        unit = {
            "kind": "spatial",
            "memory": memory_of_array,
            "operands": {role: name for role, name in nearest.items() if name != memory_of_array},
            "dimensions": dict(self.dimensions),
            "registers": registers,
            "transfer_energy": "0 pJ/byte",
            **array,
        }
        lanes = next(iter(self.dimensions.values()))
        self.notes.append(f"a vector unit of {lanes} lanes without energy stands in for operators that the array does "
                          "not run")  # fmt: skip
        free = dict.fromkeys(CLASSES, "0 pJ")
        vector = {"kind": "vector", "memory": memory_of_array, "lanes": lanes, "energies": free}
        return {"memories": kept, "units": {"array": {k: v for k, v in unit.items() if v != {}}, "vector": vector}}

    def _buffer(
        self, memory: ForeignMemory, outermost: bool, holders: Mapping[str, list[str]], copies: int = 1
    ) -> dict[str, Any]:
        capacity = memory.bits if memory.unbounded else memory.bits * copies
        made: dict[str, Any] = {"kind": "dram" if outermost else "buffer", "capacity": f"{max(1, capacity // 8)} B"}
        name = memory.name if copies == 1 else f"{memory.name}_all"
        self.origins["memories", name] = memory.at
        self.origins["memories", name, "capacity"] = memory.capacity_at
        if outermost and memory.standard is not None:
            made["standard"] = memory.standard
        if not outermost:
            above = {role: holders[role][holders[role].index(name) + 1] for role in memory.roles if role in holders}
            parents = list(dict.fromkeys(above.values()))
            made["parent"] = parents[0]
            if len(parents) > 1:
                self.notes.append(f"{memory.name}: filled from {parents[0]} alone, not from {', '.join(parents[1:])}")
        widths = dict.fromkeys(WAYS, "unlimited")
        widths |= {way: f"{bits * copies / 8:.12g} B/cycle" for way, bits in memory.widths.items()}
        if memory.shared_port and len(set(widths.values())) == 1:
            made["bandwidth"] = widths["read"]
        else:
            made |= {f"{way}_bandwidth": width for way, width in widths.items()}
        return made | {f"{way}_energy": energy for way, energy in memory.energies.items()}

    def _register(self, memory: ForeignMemory) -> dict[str, Any]:
        made: dict[str, Any] = {"capacity": f"{max(1, memory.bits // 8)} B"}
        if memory.served:
            made["shared"] = list(memory.served)
        return made | {f"{way}_energy": energy for way, energy in memory.energies.items()}
