"""Timeloop's architectures of version 0.4: nodes from the outermost memory to the arithmetic, containers that fan out.

They become the machine file that says the same (`around_array` has the rules), so that values can be set, swept and
validated as in any other:

- a component of a class of memory (DRAM, SRAM, register files, smart buffers, `storage`) is a memory that serves the
  fan-outs written after it; it holds the dataspaces that its constraints keep and do not bypass;
- `spatial: {meshX, meshY}` of a container, or of a component, is a dimension of the array; factors that constraints
  fix to 1 keep their dimensions off it;
- a component of a class that multiplies is the arithmetic; any other is named in the machine's description, as are
  constraints on loops, which belong to a mapping;
- Timeloop leaves energies to Accelergy: the cited tables give them, at the file's technology.

Bandwidths are words of `datawidth` bits per cycle and instance. Numbers may be sums (`1024 * 8`).

Source: Timeloop's documentation of its v4 input formats (timeloop.csail.mit.edu/v4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from ...errors import SpecError
from ...text.arithmetic import arithmetic
from ...text.document import Document
from ...text.names import short
from ...text.nodes import Keys, Position
from ...text.yaml import TAG
from ..document import MachineText
from ..energy import standards
from .around_array import ROLES, UNBOUNDED_BITS, WAYS, AroundArray, ForeignMemory, outside
from .reader import ForeignReader

_ROOT = re.compile(r"^architecture\s*:", re.MULTILINE)
DATASPACES = {"inputs": "input", "weights": "weight", "outputs": "output"}
DIMENSIONS = {"N": "batch", "M": "output_channel", "C": "input_channel", "P": "column", "Q": "row",
              "R": "filter_column", "S": "filter_row", "G": "group"}  # fmt: skip
"""Dimensions of Timeloop's convolutions, and the roles of ranks that they are."""
GROUPS = ("Hierarchical", "Parallel", "Pipelined")
COMPONENTS = ("Component", "Element")
ARITHMETIC, STORAGE = ("mac", "compute"), ("dram", "sram", "regfile", "register", "buffer", "storage", "_rf", "memory")
MESHES = ("meshX", "meshY", "meshZ")
DEPTHS, WIDTHS = ("depth", "memory_depth", "data_storage_depth"), ("width", "memory_width", "data_storage_width")
USED = (*DEPTHS, *WIDTHS, "entries", "datawidth", "word_bits", "word-bits", "read_bandwidth", "write_bandwidth",
        "shared_bandwidth", "type", "technology", "global_cycle_seconds", "multiplier_width", "adder_width",
        "instances")  # fmt: skip
"""Attributes that are read."""


def is_timeloop_architecture(text: str) -> bool:
    """Whether the text of a YAML file is an architecture of Timeloop."""
    return _ROOT.search(text) is not None


def from_timeloop_architecture(document: Document) -> MachineText:
    """The machine file that says what an architecture of Timeloop says.

    Raises:
        SpecError: everything that is wrong, each with file and line.
    """
    return _Reader(document).read()


@dataclass
class _Node:
    """A component with everything that containers around it say."""

    name: str
    kind: str
    at: Keys
    keys: Mapping[str, Any]
    attributes: Mapping[str, Any]
    fanouts: int
    """Dimensions of the array outside of it."""


@dataclass
class _Reader(ForeignReader):
    dimensions: dict[str, int] = field(default_factory=dict)
    spread: dict[str, list[str]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    loops: bool = False
    """Whether a constraint on loops was met."""

    def read(self) -> MachineText:
        root = self.document.data.get("architecture")
        nodes = root.get("nodes") if isinstance(root, dict) else None
        if not isinstance(nodes, list):
            version = root.get("version") if isinstance(root, dict) else None
            told = f" (version {version})" if version is not None else ""
            self.wrong(("architecture",), f"has no list `nodes`{told}", "architectures of version 0.4 are read")
            raise SpecError(self.problems)
        found = list(self._walk(nodes, ("architecture", "nodes")))
        memories = [m for node in found if (m := self._memory(node)) is not None]
        macs = [node for node in found if _is(node.kind, ARITHMETIC) and not _is(node.kind, STORAGE)]
        for node in found:
            if node not in macs and not _is(node.kind, STORAGE):
                self.notes.append(f"{node.name}: left out, `{short(node.kind)}` is no memory and no arithmetic")
        if not memories and not self.problems:
            self.wrong(("architecture", "nodes"), "holds no memory", "a component of class DRAM, SRAM, regfile ...")
        if not macs and not self.problems:
            self.wrong(("architecture", "nodes"), "holds no arithmetic", "a component of class intmac, fpmac, mac ...")
        if self.problems:
            raise SpecError(self.problems)
        return self._text(memories, macs)

    def _walk(self, nodes: Any, path: Keys) -> Iterator[_Node]:
        """The components of a list of nodes, and of the groups in it, outermost first."""
        if not isinstance(nodes, list):
            self.wrong(path, "must be a list of nodes", "!Container, !Component, !Parallel ...")
            return
        for i, keys in enumerate(nodes):
            here = (*path, str(i))
            tag = keys.get(TAG) if isinstance(keys, dict) else None
            if tag in GROUPS:
                yield from self._walk(keys.get("nodes"), (*here, "nodes"))
            elif tag == "Container":
                self._fan_out(keys, here)
                self.attributes |= _table(keys.get("attributes"))
                self._constraints(keys, here)
            elif tag in COMPONENTS:
                self._fan_out(keys, here)
                self._constraints(keys, here)
                kind = str(keys.get("class") or keys.get("subclass") or "")
                attributes = self.attributes | _table(keys.get("attributes"))
                yield _Node(str(keys.get("name")), kind.lower(), here, keys, attributes, len(self.dimensions))
            elif tag != "Nothing":
                self.wrong(here, f"`!{short(tag)}` is not read" if tag else "has no tag",
                           f"one of {', '.join('!' + t for t in ('Container', *COMPONENTS, *GROUPS))}")  # fmt: skip

    def _fan_out(self, keys: Mapping[str, Any], here: Keys) -> None:
        meshes = _table(keys.get("spatial"))
        many = {key: meshes[key] for key in MESHES if meshes.get(key) not in (None, 1)}
        for key, value in many.items():
            size = arithmetic(value)
            if size is None or size != int(size) or size < 1:
                self.wrong((*here, "spatial", key), f"`{short(str(value))}`", "a whole number from 1")
                continue
            name = str(keys.get("name")) + ("" if len(many) == 1 else f"_{key[-1].lower()}")
            self.dimensions[name] = int(size)
            if (able := _able(keys)) is not None:
                self.spread[name] = able
        if unknown := [k for k in meshes if k not in MESHES]:
            self.notes.append(f"{keys.get('name')}: not followed: spatial {', '.join(unknown)}")

    def _constraints(self, keys: Mapping[str, Any], here: Keys) -> None:
        constraints = _table(keys.get("constraints"))
        if constraints.get("temporal"):
            self.loops = True
        if unknown := [k for k in _table(keys.get("attributes")) if k not in USED]:
            self.notes.append(f"{keys.get('name')}: not followed: {', '.join(unknown)}")

    def _memory(self, node: _Node) -> ForeignMemory | None:
        if not _is(node.kind, STORAGE):
            return None
        attributes, here = node.attributes, (*node.at, "attributes")
        word = self._number(node, ("datawidth", "word_bits", "word-bits"), 8.0)
        width, depth = self._number(node, WIDTHS, word), self._number(node, DEPTHS, inf)
        entries = self._number(node, ("entries",), inf)
        bits = min(depth * width, entries * word)
        if bits < 8:
            self.wrong(here, f"a memory of {bits:g} bits", "`depth` and `width` of at least one byte together")
            return None
        widths, shared = {}, False
        for way in WAYS:
            rate = self._number(node, (f"{way}_bandwidth", "shared_bandwidth"), inf)
            shared = shared or "shared_bandwidth" in attributes
            if rate < inf:
                widths[way] = max(1, round(rate * word))
        roles = self._roles(node)
        served = tuple(list(self.dimensions)[node.fanouts :])
        standard = str(attributes.get("type", "")).upper()
        known = "dram" in node.kind and standard in standards("dram")
        capacity = UNBOUNDED_BITS if bits == inf else int(bits)
        off_chip = "dram" in node.kind or bits == inf
        return ForeignMemory(node.name, capacity, roles, served, widths, {}, shared, node.at, here,
                             standard if known else None, off_chip)  # fmt: skip

    def _number(self, node: _Node, names: tuple[str, ...], default: float) -> float:
        for name in names:
            if (value := node.attributes.get(name)) is not None:
                number = arithmetic(value)
                if number is None or number <= 0:
                    self.wrong((*node.at, "attributes", name), f"`{short(str(value))}`", "a number above 0, or a sum")
                    return default if default < inf else 1.0
                return number
        return default

    def _roles(self, node: _Node) -> tuple[str, ...]:
        constraints = _table(node.keys.get("constraints"))
        said = _table(constraints.get("dataspace"))
        roles = set(ROLES)
        for key, value in said.items():
            names = value if isinstance(value, list) else [value]
            unknown = [str(n) for n in names if str(n).lower() not in DATASPACES]
            if unknown:
                where = (*node.at, "constraints", "dataspace", key)
                self.wrong(where, f"`{short(unknown[0])}`", "Inputs, Weights or Outputs")
                continue
            named = {DATASPACES[str(n).lower()] for n in names}
            if key == "bypass":
                roles -= named
            elif key in ("keep", "keep_only"):
                roles &= named
        return tuple(role for role in ROLES if role in roles)

    def _text(self, memories: list[ForeignMemory], macs: list[_Node]) -> MachineText:
        inwards = memories[::-1]
        if not memories[0].off_chip:
            self.notes.append(f"no memory outside {memories[0].name}: an unlimited one without energy stands in")
            inwards = [*inwards, outside(self.dimensions)]
        around = AroundArray(self.dimensions or {"lanes": 1}, inwards, self.notes)
        mac = macs[-1]
        array: dict[str, Any] = {"mac_bits": int(self._number(mac, ("multiplier_width", "datawidth", "width"), 8))}
        array["accumulator_bits"] = int(self._number(mac, ("adder_width",), 2 * array["mac_bits"]))
        if self.spread:
            array["spread"] = self.spread
        parts = around.machine(array)
        period = self._number(mac, ("global_cycle_seconds",), 0)
        if not period:
            self.notes.append("cycles at a stand-in clock of 1 GHz")
        if self.loops:
            self.notes.append("constraints on loops are left to a mapping")
        file = Path(self.document.file)
        machine: dict[str, Any] = {"name": file.stem, "clock": f"{1e-6 / period:.12g} MHz" if period else "1 GHz"}
        if (technology := mac.attributes.get("technology")) is not None:
            machine["technology"] = str(technology)
        self.notes.append("energies are those of the cited tables, not Accelergy's")
        machine["description"] = f"As {file.name} of Timeloop has it; {'; '.join(self.notes)}."
        machine["source"] = f"{file.name}, an architecture of Timeloop"
        around.origins["units",] = mac.at
        if "technology" in machine:
            around.origins["technology",] = ("architecture",)
        positions: dict[Keys, Position] = {(): Position(self.document.file, 1)}
        positions |= {path: self.document.position(origin) for path, origin in around.origins.items()}
        if self.problems:  # numbers of the arithmetic
            raise SpecError(self.problems)
        return MachineText(machine | parts, positions, None)


def _table(value: Any) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k != TAG} if isinstance(value, dict) else {}


def _is(kind: str, words: tuple[str, ...]) -> bool:
    return any(word in kind for word in words)


def _able(keys: Mapping[str, Any]) -> list[str] | None:
    """Roles of ranks that the constraints of a fan-out allow along it; None if they say nothing."""
    factors = _table(_table(keys.get("constraints")).get("spatial")).get("factors")
    if not isinstance(factors, list):
        return None
    fixed = {str(f).split("=")[0].strip() for f in factors if str(f).replace(" ", "").endswith("=1")}
    return [role for name, role in DIMENSIONS.items() if name not in fixed]
