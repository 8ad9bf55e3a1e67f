"""AccelForge's architectures: nodes from the outermost memory to the arithmetic, each of which may fan out.

They become the machine file that says the same (`around_array` has the rules), so that values can be set, swept and
validated as in any other:

- a `!Memory` serves the fan-outs of the nodes after it, and holds what `tensors` keeps or may keep of inputs, weights
  and outputs; names of other sets of tensors stand for all of them, as all may hold any;
- `spatial` of a node is a dimension of the array for each fan-out; along one that reuses a tensor lie ranks that this
  tensor does not have;
- a `!Compute` is the arithmetic, unless `enabled` is for Einsums of two tensors: then it is the vector unit;
- energies are joules per action of `bits_per_action` bits, rates actions per second: those of `throughput`, or of a
  `total_latency` that divides the calls of all actions by numbers. The clock is the rate of the arithmetic.

Files are read as they stand: nothing in them is run, so that templates must have been filled in.

Source: the examples and the documentation of AccelForge 1.0.467 (github.com/Accelergy-Project/accelforge).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import Any

from ...errors import SpecError
from ...text.arithmetic import arithmetic
from ...text.document import Document
from ...text.names import short
from ...text.nodes import Keys, Position
from ...text.yaml import TAG
from ..document import MachineText
from .around_array import ROLES, UNBOUNDED_BITS, WAYS, AroundArray, ForeignMemory, outside
from .reader import ForeignReader

_ROOT = re.compile(r"^arch\s*:", re.MULTILINE)
_NODES = re.compile(r"!(Memory|Compute)\b")
_ONE_WORD = re.compile(r"^\w+\.bits_per_value(\s+if\b.*)?$")
_TWO_TENSORS = re.compile(r"^len\(All\)\s*==\s*2$")
_THREE_TENSORS = re.compile(r"^len\(All\)\s*==\s*3$")
_CALLS = re.compile(r"^sum\(a\.n_calls for a in actions\)\s*((?:/[^/]+)+)$")
_OFF_CHIP = re.compile(r"dram|ddr|hbm|main", re.IGNORECASE)
"""In the name or class of a memory outside the chip."""
_EACH_PORT = "max(a.n_calls / a.throughput for a in actions)"
WORD_BITS = 16
"""Of a value whose width only a workload says."""
ALONG: Mapping[str, tuple[str, ...]] = {
    "input": ("output_channel",),
    "output": ("input_channel", "filter_column", "filter_row"),
    "weight": ("batch", "column", "row"),
}
"""Roles of the ranks that an operand does not have, and along which it is reused."""
READ = ("name", "size", "actions", "tensors", "spatial", "total_latency", "enabled", "component_class",
        "extra_attributes_for_component_model")  # fmt: skip
UNPRICED = ("leak_power", "area")
"""Left out without a word: figures of another kind."""


def is_accelforge_architecture(text: str) -> bool:
    """Whether the text of a YAML file is an architecture of AccelForge."""
    return _ROOT.search(text) is not None and _NODES.search(text) is not None


def from_accelforge_architecture(document: Document) -> MachineText:
    """The machine file that says what an architecture of AccelForge says.

    Raises:
        SpecError: everything that is wrong, each with file and line.
    """
    return _Reader(document).read()


@dataclass
class _Node:
    """A memory or an arithmetic, and how many dimensions of the array lie outside of it."""

    tag: str
    name: str
    at: Keys
    keys: Mapping[str, Any]
    fanouts: int


@dataclass
class _Reader(ForeignReader):
    dimensions: dict[str, int] = field(default_factory=dict)
    spread: dict[str, list[str]] = field(default_factory=dict)
    clock: float = 1e9

    def read(self) -> MachineText:
        root = self.document.data.get("arch")
        nodes = root.get("nodes") if isinstance(root, dict) else None
        found = list(self._walk(nodes, ("arch", "nodes")))
        computes = [n for n in found if n.tag == "Compute"]
        vectors = [n for n in computes if _TWO_TENSORS.match(str(n.keys.get("enabled", "")).strip())]
        macs = [n for n in computes if n not in vectors]
        for node in macs:
            enabled = str(node.keys.get("enabled", "")).strip()
            if enabled and not _THREE_TENSORS.match(enabled):
                self.notes.append(f"{node.name}: not followed: enabled `{short(enabled)}`")
        if not self.problems and not any(n.tag == "Memory" for n in found):
            self.wrong(("arch", "nodes"), "holds no memory", "a node `!Memory`")
        if not self.problems and not macs:
            self.wrong(("arch", "nodes"), "holds no arithmetic for products", "a node `!Compute`")
        if self.problems:
            raise SpecError(self.problems)
        self._set_clock(macs[-1])
        memories = [self._memory(node) for node in found if node.tag == "Memory"]
        text = self._text(memories, macs[-1], vectors)
        if self.problems:
            raise SpecError(self.problems)
        return text

    def _walk(self, nodes: Any, path: Keys) -> Iterator[_Node]:
        """Memories and arithmetic of a list of nodes, and of the groups in it, outermost first."""
        if not isinstance(nodes, list):
            self.wrong(path, "must be a list of nodes", "!Memory, !Container, !Compute ...")
            return
        for i, keys in enumerate(nodes):
            here = (*path, str(i))
            tag = keys.get(TAG) if isinstance(keys, dict) else None
            if tag in ("Hierarchical", "Array"):
                self._fan_out(keys, here)
                yield from self._walk(keys.get("nodes"), (*here, "nodes"))
            elif tag in ("Memory", "Compute", "Container"):
                self._fan_out(keys, here)
                unknown = [k for k in keys if k not in (*READ, *UNPRICED, TAG)]
                if unknown:
                    self.notes.append(f"{keys.get('name')}: not followed: {', '.join(map(str, unknown))}")
                if tag != "Container":
                    yield _Node(tag, str(keys.get("name")), here, keys, len(self.dimensions))
            elif tag is not None:
                self.notes.append(f"{keys.get('name')}: left out, `!{short(tag)}` is no memory and no arithmetic")
            else:
                self.wrong(here, "has no tag", "one of !Memory, !Compute, !Container, !Hierarchical")

    def _fan_out(self, keys: Mapping[str, Any], here: Keys) -> None:
        fans = keys.get("spatial") or []
        for i, fan in enumerate(fans if isinstance(fans, list) else [fans]):
            at = (*here, "spatial", str(i))
            size = arithmetic(fan.get("fanout")) if isinstance(fan, dict) else None
            if size is None or size != int(size) or size < 1:
                self.wrong(at, "is no fan-out", "`name` and `fanout`, a whole number from 1")
                continue
            name = str(fan.get("name", f"{keys.get('name')}_{i}"))
            self.dimensions[name] = int(size)
            reused = str(fan.get("reuse", "")).strip()
            if reused in ALONG:
                self.spread[name] = list(ALONG[reused])
            elif reused:
                self.notes.append(f"{name}: not followed: reuse `{short(reused)}`")
            unknown = [k for k in fan if k not in ("name", "fanout", "reuse", TAG)]
            if unknown:
                self.notes.append(f"{name}: not followed: {', '.join(map(str, unknown))}")

    def _set_clock(self, mac: _Node) -> None:
        rate, _ = self._rate(mac, "compute")
        if 1e6 <= rate < inf:
            self.clock = rate
        else:
            self.notes.append("cycles at a stand-in clock of 1 GHz")

    @staticmethod
    def _action(node: _Node, name: str) -> tuple[Mapping[str, Any], Keys]:
        """What a node says of an action, and where."""
        actions = node.keys.get("actions")
        for i, action in enumerate(actions if isinstance(actions, list) else []):
            if isinstance(action, dict) and action.get("name") == name:
                return action, ("actions", str(i))
        return {}, ("actions",)

    def _rate(self, node: _Node, action: str) -> tuple[float, bool]:
        """Bits (or operations) per second of an action, and whether it shares them with the others."""
        said, at = self._action(node, action)
        per_action = (*at, "bits_per_action")
        bits = self._number(node, said.get("bits_per_action", 1), per_action) if node.tag == "Memory" else 1.0
        latency = str(node.keys.get("total_latency", "")).strip()
        if calls := _CALLS.match(latency):
            return prod(self._number(node, x, ("total_latency",)) for x in calls[1].split("/")[1:]) * bits, True
        if latency and latency != _EACH_PORT:
            note = f"{node.name}: not followed: total_latency `{short(latency)}`"
            self.notes += [note] if note not in self.notes else []
        return self._number(node, said.get("throughput", inf), (*at, "throughput")) * bits, latency != _EACH_PORT

    def _number(self, node: _Node, value: Any, keys: Keys) -> float:
        number = arithmetic(value)
        if number is None or number < 0:
            self.wrong((*node.at, *keys), f"`{short(str(value))}`", "a number from 0, or a sum of numbers")
            return 1.0
        return number

    def _energy(self, node: _Node, action: str) -> float | None:
        """Joules per bit, or per operation; None where the file says nothing."""
        said, at = self._action(node, action)
        if "energy" not in said:
            return None
        bits = self._number(node, said.get("bits_per_action", 1), (*at, "bits_per_action"))
        return self._number(node, said["energy"], (*at, "energy")) / max(bits, 1)

    def _memory(self, node: _Node) -> ForeignMemory:
        size = node.keys.get("size", inf)
        if isinstance(size, str) and _ONE_WORD.match(size.strip()):
            bits: float = WORD_BITS
            self.notes.append(f"{node.name}: one value, taken to be {WORD_BITS} bits")
        else:
            bits = self._number(node, size, ("size",))
        if bits < 8:
            self.wrong((*node.at, "size"), f"a memory of {bits:g} bits", "at least one byte")
            bits = 8
        widths, energies, shared = {}, {}, False
        for way in WAYS:
            rate, together = self._rate(node, way)
            shared = shared or together
            if rate < inf:
                widths[way] = max(1, round(rate / self.clock))
            energy = self._energy(node, way)
            if energy is not None:
                energies[way] = f"{energy * 8e12:.12g} pJ/byte"
        if not energies:
            self.notes.append(f"{node.name}: no energies, so they are those of the cited tables")
        served, roles = tuple(list(self.dimensions)[node.fanouts :]), self._roles(node)
        if node.fanouts and len(roles) > 1:
            self.notes.append(f"{node.name}: {' and '.join(roles)} have all of its room each")
        off_chip = bool(_OFF_CHIP.search(f"{node.name} {node.keys.get('component_class', '')}"))
        unbounded = bits == inf or bits >= UNBOUNDED_BITS
        return ForeignMemory(
            node.name, UNBOUNDED_BITS if unbounded else int(bits), roles, served, widths, energies, shared,
            node.at, (*node.at, "size"), None, unbounded or off_chip,
        )  # fmt: skip

    def _roles(self, node: _Node) -> tuple[str, ...]:
        tensors = node.keys.get("tensors")
        said = [str(tensors[k]) for k in ("keep", "may_keep") if k in tensors] if isinstance(tensors, dict) else []
        words = {word for text in said for word in re.findall(r"~?[\w.]+", re.sub(r"~\s+", "~", text))}
        if words and words <= set(ROLES):
            return tuple(role for role in ROLES if role in words)
        if unread := sorted(w for w in words if w.removeprefix("~") in ROLES):
            self.notes.append(f"{node.name}: not followed: tensors {', '.join(unread)}")
        return ROLES

    def _text(self, memories: list[ForeignMemory], mac: _Node, vectors: list[_Node]) -> MachineText:
        inwards = memories[::-1]
        if not memories[0].off_chip:
            self.notes.append(f"no memory outside {memories[0].name}: an unlimited one without energy stands in")
            inwards = [*inwards, outside(self.dimensions)]
        around = AroundArray(self.dimensions or {"lanes": 1}, inwards, self.notes)
        model = mac.keys.get("extra_attributes_for_component_model")
        widths = model if isinstance(model, dict) else {}
        array: dict[str, Any] = {
            "mac_bits": int(self._number(mac, widths.get("multiplier_width", 64), ())),
            "accumulator_bits": int(self._number(mac, widths.get("adder_width", WORD_BITS), ())),
        }
        if "adder_width" not in widths:
            self.notes.append(f"{mac.name}: multiplies operands of any width, sums are {WORD_BITS} bits")
        if (joules := self._energy(mac, "compute")) is not None:
            array["mac_energy"] = f"{joules * 1e12:.12g} pJ"
        if self.spread:
            array["spread"] = self.spread
        parts = around.machine(array)
        for node in vectors:
            rate, _ = self._rate(node, "compute")
            copies = prod(list(self.dimensions.values())[: node.fanouts])
            if rate < inf:
                parts["units"]["vector"]["lanes"] = max(1, round(rate * copies / self.clock))
            self.notes.append(f"{node.name}: the vector unit, for one operation per lane and cycle of any kind")
        file = Path(self.document.file)
        machine: dict[str, Any] = {"name": file.stem, "clock": f"{self.clock / 1e6:.12g} MHz"}
        machine["description"] = f"As {file.name} of AccelForge has it; {'; '.join(self.notes)}."
        machine["source"] = f"{file.name}, an architecture of AccelForge"
        around.origins["units",] = mac.at
        positions: dict[Keys, Position] = {(): Position(self.document.file, 1)}
        positions |= {path: self.document.position(origin) for path, origin in around.origins.items()}
        return MachineText(machine | parts, positions, None)
