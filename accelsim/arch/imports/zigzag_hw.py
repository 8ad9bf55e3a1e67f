"""ZigZag's hardware files: memories by the operands that they hold, around one array of multipliers.

They become the machine file that says the same (`around_array` has the rules), so that values can be set, swept and
validated as in any other. A cost is that of one access of the port's largest width; it becomes an energy per byte.
ZigZag counts cycles: a clock of 1 GHz stands in. What is left out is named in the machine's description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import SpecError
from ...text.document import Document
from ...text.names import short
from ...text.nodes import Keys, Position
from ..document import MachineText
from .around_array import WAYS, AroundArray, ForeignMemory, outside
from .reader import ForeignReader

_ARRAY = re.compile(r"^operational_array\s*:", re.MULTILINE)
OPERANDS = {"I1": "input", "I2": "weight", "O": "output"}
FILE_KEYS = ("name", "memories", "operational_array")
ARRAY_KEYS = ("dimensions", "sizes", "input_precision", "unit_energy")
MEMORY_KEYS = ("size", "operands", "ports", "served_dimensions", "r_cost", "w_cost")
"""Keys that are read; any other one that says something is told as not followed."""
ONE_CYCLE = 1
"""The latency of a memory that is no more than its transfers take anyhow."""


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
class _Reader(ForeignReader):
    positions: dict[Keys, Position] = field(default_factory=dict)

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
        unknown = [k for k in data if k not in FILE_KEYS]
        unknown += [k for k, value in array.items() if k not in ARRAY_KEYS and value]
        others = [(k, v) for keys in found.values() for k, v in keys.items() if k not in MEMORY_KEYS and v]
        others = [k for k, v in others if k != "latency" or v != ONE_CYCLE]
        unknown += [f"{k} of memories" for k in dict.fromkeys(others)]
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

    def _memory(self, name: str, keys: Any, sizes: Mapping[str, int]) -> ForeignMemory | None:
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
        energies = {}
        for way in WAYS:
            cost, width = self._cost(here, keys, f"{way[0]}_cost"), widths.get(way, 0)
            if cost == 0 or (cost is not None and width):
                energies[way] = f"{cost / width * 8 if cost else 0:.12g} pJ/byte"
        roles = tuple(OPERANDS[str(o)] for o in operands)
        places = tuple(map(str, served))
        return ForeignMemory(str(name), bits, roles, places, widths, energies, shared, here, (*here, "size"),
                             off_chip=str(name).lower() == "dram")  # fmt: skip

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
        self, data: Mapping[str, Any], array: Mapping[str, Any], sizes: Mapping[str, int], memories: list[ForeignMemory]
    ) -> dict[str, Any]:
        last = memories[-1]
        if not last.off_chip and sum(set(m.served) == set(sizes) for m in memories) < 2:
            self.notes.append(f"no memory outside {last.name}: an unlimited one without energy stands in")
            memories = [*memories, outside(sizes)]
        around = AroundArray(sizes, memories, self.notes)
        parts = around.machine(self._arithmetic(array, memories))
        around.origins["units",] = ("operational_array",)
        self.positions |= {path: self.document.position(origin) for path, origin in around.origins.items()}
        self.notes.append("cycles at a stand-in clock of 1 GHz")
        return {"name": str(data.get("name") or Path(self.document.file).stem), "clock": "1 GHz", **parts}

    def _arithmetic(self, array: Mapping[str, Any], memories: list[ForeignMemory]) -> dict[str, Any]:
        precision, energy = array.get("input_precision", [8, 8]), array.get("unit_energy")
        given = precision if isinstance(precision, list) else [precision]
        if not given or not all(isinstance(b, int) and not isinstance(b, bool) and 1 <= b <= 64 for b in given):
            self.wrong(("operational_array", "input_precision"), f"`{short(str(precision))}`", "bits, such as [8, 8]")
            raise SpecError(self.problems)
        bits = max(given)
        sums = [m.bits for m in memories if m.roles == ("output",) and m.bits <= 64]
        found: dict[str, Any] = {"mac_bits": bits, "accumulator_bits": min(sums, default=2 * bits)}
        if isinstance(energy, int | float) and not isinstance(energy, bool):
            found["mac_energy"] = f"{energy:.12g} pJ"
        else:
            self.notes.append("no unit_energy, so that of a MAC is the default one")
        return found
