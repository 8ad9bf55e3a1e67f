"""ZigZag's hardware files: memories by the operands that they hold, around one array of multipliers.

They become the machine file that says the same, so that values can be set, swept and validated as in any other:

- a memory that serves all dimensions of the array is there once: a `buffer`, the outermost one `dram`; its parent is
  the next memory outwards that holds an operand of its own;
- a memory that does not is there once per element, or once per row or column: a register file of the `spatial` array,
  shared along the dimensions that it serves. Of several around an operand the innermost is kept; one that has no
  memory on the chip above it becomes a buffer of all its copies together, as ZigZag fills it from outside;
- a cost is that of one access of the port's largest width; it becomes an energy per byte;
- ZigZag counts cycles: a clock of 1 GHz stands in. It knows no other operators than those of its array: a vector unit
  without energy stands in for them.

What is left out is named in the machine's description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from ...errors import SpecError
from ...text.document import Document
from ...text.names import short
from ...text.nodes import Keys, Position
from ..document import MachineText

_ARRAY = re.compile(r"^operational_array\s*:", re.MULTILINE)
OPERANDS = {"I1": "input", "I2": "weight", "O": "output"}
CLASSES = ("add", "mul", "max", "exp", "log", "tanh", "erf", "div", "sqrt")
LEFT_OUT = ("area", "latency", "mem_type", "force_double_buffering")
"""Keys of memories that have no place here, or are figures of another kind."""
NOT_MODELLED = ("is_imc", "imc_type", "adc_resolution", "bit_serial_precision", "cells_size", "cells_area",
                "systolic_dimensions", "dimension_mapping")  # fmt: skip
"""Keys of the array that are not followed."""


def is_zigzag_hardware(text: str) -> bool:
    """Whether the text of a YAML file is a machine of ZigZag."""
    return _ARRAY.search(text) is not None


def from_zigzag_hardware(document: Document) -> MachineText:
    """The machine file that says what a hardware file of ZigZag says.

    Raises:
        SpecError: everything that is wrong, each with file and line.
    """
    return _Reader(document).read()


@dataclass
class _Memory:
    """One memory of the file, in the order from the array outwards."""

    name: str
    bits: int
    operands: tuple[str, ...]
    served: tuple[str, ...]
    costs: tuple[float | None, float | None]
    widths: dict[str, int]
    """Bits per cycle of its widest port, by direction."""
    shared_port: bool
    """Whether one port reads and writes."""

    def per_byte(self, which: int) -> str | None:
        """Energy of reading (0) or writing (1) as a machine file has it."""
        cost, width = self.costs[which], self.widths.get(("read", "write")[which], 0)
        if cost == 0:
            return "0 pJ/byte"
        return None if cost is None or not width else f"{cost / width * 8:.12g} pJ/byte"


@dataclass
class _Reader:
    document: Document
    problems: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    positions: dict[Keys, Position] = field(default_factory=dict)

    def wrong(self, path: Keys, what: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, what, hint))

    def read(self) -> MachineText:
        data = self.document.data
        array = data.get("operational_array")
        sizes = self._dimensions(array)
        found = data.get("memories")
        if not isinstance(found, dict) or not found:
            self.wrong(("memories",), "must be a mapping of memories", "from the array outwards")
            found = {}
        memories = [self._memory(name, keys, sizes) for name, keys in found.items()]
        if self.problems:
            raise SpecError(self.problems)
        unknown = [k for k in data if k not in ("name", "memories", "operational_array")]
        unknown += [k for k in array if k in NOT_MODELLED and array[k]]
        machine = self._machine(data, array, sizes, [m for m in memories if m is not None])
        if unknown:
            self.notes.append(f"not followed: {', '.join(map(str, unknown))}")
        name = Path(self.document.file).name
        machine["description"] = f"As {name} of ZigZag has it; {'; '.join(self.notes)}."
        machine["source"] = f"{name}, a hardware file of ZigZag"
        self.positions[()] = Position(self.document.file, 1)
        return MachineText(machine, self.positions, None)

    def _dimensions(self, array: Any) -> dict[str, int]:
        if not isinstance(array, dict):
            self.wrong(("operational_array",), "must be a mapping", "with `dimensions` and `sizes`")
            return {}
        names, sizes = array.get("dimensions"), array.get("sizes")
        if not isinstance(names, list) or not isinstance(sizes, list) or len(names) != len(sizes) or not names:
            self.wrong(("operational_array",), "needs `dimensions` and `sizes`", "lists of one length")
            return {}
        for i, size in enumerate(sizes):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                self.wrong(("operational_array", "sizes", str(i)), f"`{short(str(size))}`", "a whole number from 1")
        return dict(zip(map(str, names), sizes, strict=True))

    def _memory(self, name: str, keys: Any, sizes: Mapping[str, int]) -> _Memory | None:
        here = ("memories", str(name))
        if not isinstance(keys, dict):
            self.wrong(here, "must be a mapping", "with `size`, `operands`, `ports`")
            return None
        bits, operands, served = keys.get("size"), keys.get("operands"), keys.get("served_dimensions", [])
        if not isinstance(bits, int) or isinstance(bits, bool) or bits < 1:
            self.wrong((*here, "size"), f"`{short(str(bits))}`", "a number of bits")
            return None
        if not isinstance(operands, list) or not operands or not set(map(str, operands)) <= set(OPERANDS):
            self.wrong((*here, "operands"), f"`{short(str(operands))}`", "some of I1, I2, O")
            return None
        if not isinstance(served, list) or not set(map(str, served)) <= set(sizes):
            self.wrong((*here, "served_dimensions"), f"`{short(str(served))}`", f"some of {', '.join(sizes)}")
            return None
        widths, shared = self._ports(here, keys.get("ports"))
        costs = tuple(self._cost(here, keys, key) for key in ("r_cost", "w_cost"))
        return _Memory(str(name), bits, tuple(map(str, operands)), tuple(map(str, served)), costs, widths, shared)  # type: ignore[arg-type]

    def _cost(self, here: Keys, keys: Mapping[str, Any], key: str) -> float | None:
        cost = keys.get(key)
        if cost is None:
            self.notes.append(f"{here[-1]}: no {key}, so the energy is the default one")
            return None
        if isinstance(cost, bool) or not isinstance(cost, int | float) or cost < 0:
            self.wrong((*here, key), f"`{short(str(cost))}`", "picojoules per access")
            return None
        return float(cost)

    def _ports(self, here: Keys, ports: Any) -> tuple[dict[str, int], bool]:
        widths: dict[str, int] = {}
        shared = False
        if not isinstance(ports, list) or not ports:
            self.wrong((*here, "ports"), "must be a list of ports", "each with `type` and `bandwidth_max`")
            return widths, shared
        for i, port in enumerate(ports):
            kind = port.get("type") if isinstance(port, dict) else None
            width = port.get("bandwidth_max") if isinstance(port, dict) else None
            if kind not in ("read", "write", "read_write") or not isinstance(width, int) or width < 1:
                hint = "`type` read, write or read_write, and `bandwidth_max` in bits"
                self.wrong((*here, "ports", str(i)), "is no port", hint)
                continue
            shared = shared or kind == "read_write"
            for direction in ("read", "write"):
                if direction in kind:
                    widths[direction] = max(widths.get(direction, 0), width)
        return widths, shared

    def _machine(
        self, data: Mapping[str, Any], array: Mapping[str, Any], sizes: Mapping[str, int], memories: list[_Memory]
    ) -> dict[str, Any]:
        outermost = memories[-1]
        if outermost.name.lower() != "dram" and sum(set(m.served) == set(sizes) for m in memories) < 2:
            self.notes.append(f"no memory outside {outermost.name}: an unlimited one without energy stands in")
            outermost = _Memory("outside", 2**53, tuple(OPERANDS), tuple(sizes), (0.0, 0.0), {}, True)
            memories = [*memories, outermost]
        single = [m for m in memories if set(m.served) == set(sizes) or m is outermost]
        kept: dict[str, Any] = {}
        holders: dict[str, list[str]] = {o: [m.name for m in single if o in m.operands] for o in OPERANDS}
        for memory in reversed(single):
            kept[memory.name] = self._buffer(memory, memory is outermost, holders, memory.bits)
        registers: dict[str, dict[str, Any]] = {}
        for memory in (m for m in memories if m not in single):
            copies = prod(size for name, size in sizes.items() if name not in memory.served)
            for operand in memory.operands:
                role = OPERANDS[operand]
                if holders[operand][:1] == [outermost.name] and operand != "O":
                    name = f"{memory.name}_all"
                    kept[name] = self._buffer(memory, False, {operand: [name, outermost.name]}, memory.bits * copies,
                                              copies)  # fmt: skip
                    holders[operand] = [name, outermost.name]
                    self.notes.append(f"{memory.name}: its {copies} copies are the one buffer {name}")
                elif role in registers:
                    self.notes.append(f"{memory.name}: left out, a register file of {operand} is inside it")
                else:
                    registers[role] = self._register(memory)
                    self._at(("units", "array", "registers", role), ("memories", memory.name))
        lanes = next(iter(sizes.values()))
        self.notes.append(f"cycles at a stand-in clock of 1 GHz; a vector unit of {lanes} lanes without energy stands "
                          "in for operators that the array does not run")  # fmt: skip
        inputs = {role: holders[o][0] for o, role in OPERANDS.items() if holders[o]}
        memory_of_array = inputs.get("output", outermost.name)
        unit: dict[str, Any] = {
            "kind": "spatial",
            "memory": memory_of_array,
            "operands": {role: name for role, name in inputs.items() if name != memory_of_array},
            "dimensions": dict(sizes),
            "registers": registers,
            "transfer_energy": "0 pJ/byte",
            **self._arithmetic(array, memories),
        }
        free = dict.fromkeys(CLASSES, "0 pJ")
        vector = {"kind": "vector", "memory": memory_of_array, "lanes": lanes, "energies": free}
        self._at(("units",), ("operational_array",))
        return {
            "name": str(data.get("name") or Path(self.document.file).stem),
            "clock": "1 GHz",
            "memories": kept,
            "units": {"array": {k: v for k, v in unit.items() if v != {}}, "vector": vector},
        }

    def _arithmetic(self, array: Mapping[str, Any], memories: list[_Memory]) -> dict[str, Any]:
        precision, energy = array.get("input_precision") or [8, 8], array.get("unit_energy")
        bits = max(int(b) for b in precision) if all(isinstance(b, int) for b in precision) else 8
        sums = [m.bits for m in memories if m.operands == ("O",) and m.bits <= 64]
        found: dict[str, Any] = {"mac_bits": bits, "accumulator_bits": min(sums, default=2 * bits)}
        if isinstance(energy, int | float) and not isinstance(energy, bool):
            found["mac_energy"] = f"{energy:.12g} pJ"
        else:
            self.notes.append("no unit_energy, so that of a MAC is the default one")
        return found

    def _buffer(
        self, memory: _Memory, outermost: bool, holders: Mapping[str, list[str]], bits: int, copies: int = 1
    ) -> dict[str, Any]:
        made: dict[str, Any] = {"kind": "dram" if outermost else "buffer", "capacity": f"{max(1, bits // 8)} B"}
        name = memory.name if copies == 1 else f"{memory.name}_all"
        self._at(("memories", name), ("memories", memory.name))
        self._at(("memories", name, "capacity"), ("memories", memory.name, "size"))
        if not outermost:
            above = {o: holders[o][holders[o].index(name) + 1] for o in memory.operands if o in holders}
            parents = list(dict.fromkeys(above.values()))
            made["parent"] = parents[0]
            if len(parents) > 1:
                self.notes.append(f"{memory.name}: filled from {parents[0]} alone, not from {', '.join(parents[1:])}")
        widths = {way: f"{bits * copies / 8:.12g} B/cycle" for way, bits in memory.widths.items()}
        if not widths:
            widths = dict.fromkeys(("read", "write"), "unlimited")
        if memory.shared_port and len(set(widths.values())) == 1:
            made["bandwidth"] = next(iter(widths.values()))
        else:
            made |= {f"{way}_bandwidth": width for way, width in widths.items()}
        for which, way in enumerate(("read", "write")):
            if (energy := memory.per_byte(which)) is not None:
                made[f"{way}_energy"] = energy
        return made

    def _register(self, memory: _Memory) -> dict[str, Any]:
        made: dict[str, Any] = {"capacity": f"{max(1, memory.bits // 8)} B"}
        if memory.served:
            made["shared"] = list(memory.served)
        for which, way in enumerate(("read", "write")):
            made[f"{way}_energy"] = memory.per_byte(which) or "0 pJ/byte"
        return made

    def _at(self, path: Keys, origin: Keys) -> None:
        self.positions[path] = self.document.position(origin)
