"""The state of one import: values known so far, the Workload under construction, and the table of operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ...errors import BadInput
from ...ir import Item, Role
from ...ir.build import WorkloadBuilder
from ...text.names import near
from .loading import Node, Value, element_bits, is_floating

MOST_POSITIONS = 2**18
"""Positions of one dimension that are listed: of what is resized, or padded by what stands at its edge."""

Derivation: TypeAlias = Callable[[Mapping[str, np.ndarray[Any, Any]]], np.ndarray[Any, Any]]
"""The value of a made-up weight, from the values of constants of the file by name."""


@dataclass(frozen=True)
class Quantised:
    """Integers q that stand for ``(q - zero) * scale``; per channel along `axis`, if those are vectors."""

    value: Value
    scale: Value | None
    zero: Value | None
    axis: int = 1

    @property
    def centred(self) -> bool:
        """True if the zero point is known to be 0."""
        return self.zero is None or (self.zero.data is not None and not self.zero.data.any())


class Unsupported(BadInput):
    """A node asks for what the importer cannot do; the caller may let it through (``allow_unknown``)."""


class ImportBuilder(WorkloadBuilder):
    """A WorkloadBuilder that never invents a name that the file uses, and that remembers what was added."""

    def __init__(self, name: str, reserved: frozenset[str], *, bits: int = 32) -> None:
        super().__init__(name, bits=bits)
        self.reserved = reserved
        self.added: list[Item] = []

    def unique(self, hint: str) -> str:
        name, i = super().unique(hint), 1
        while name in self.reserved:
            i += 1
            name = super().unique(f"{hint}_{i}")
        return name

    def add(self, item: Item) -> None:
        super().add(item)
        self.added.append(item)


class GraphImport:
    """What an import has found out and emitted so far; handlers of operators read and extend it.

    Attributes:
        path: of the file, for messages.
        builder: the Workload under construction. A constant is declared in it when something first uses it.
        bits: of every floating tensor, instead of what the file says.
        used: names that a node or an output of the graph reads.
        declared: element types and whole shapes that the file gives for values, by name.
        values: every ONNX value met, by name.
        unknown: of each node that is let through without support, the outputs that are used.
        quantised: of each dequantised value, the integers behind it.
        deferred: what emits a value that no Einsum has needed yet, by name.
        derived: how weights that the import made up follow from weights of the file.
    """

    def __init__(
        self, path: str, builder: ImportBuilder, bits: int | None,
        declared: Mapping[str, tuple[int, tuple[int, ...]]] | None = None,
    ) -> None:
        self.path = path
        self.builder = builder
        self.bits = bits
        self.used: frozenset[str] = frozenset()
        self.declared = declared or {}
        self.values: dict[str, Value] = {}
        self.unknown: dict[str, tuple[str, ...]] = {}
        self.quantised: dict[str, Quantised] = {}
        self.deferred: dict[str, Callable[[], None]] = {}
        self.derived: dict[str, Derivation] = {}

    def element_bits(self, elem_type: int, where: str) -> int:
        """Bits of one element of a tensor, with the user's override for floating types."""
        bits = element_bits(elem_type, where)
        return self.bits if self.bits is not None and is_floating(elem_type) else bits

    def maybe(self, node: Node, position: int) -> Value | None:
        """Input number `position`, or None when the node leaves it out."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        name = node.inputs[position]
        if name not in self.values:
            raise BadInput(
                f"{self.path}: {node}: input '{name}' is produced by no earlier node, input or initializer"
                f"{near(name, self.values, ' ({})')}"
            )
        return self.values[name]

    def value(self, node: Node, position: int) -> Value:
        found = self.maybe(node, position)
        if found is None:
            raise BadInput(f"{self.path}: {node}: input {position} is missing")
        return found

    def integers(self, node: Node, position: int, attribute: str) -> list[int] | None:
        """Integers that old opsets give as an attribute and new ones as a constant input; None when not given."""
        if attribute in node.attributes:
            given = node.attributes[attribute]
            return [int(n) for n in given] if isinstance(given, Sequence) else [int(given)]
        value = self.maybe(node, position)
        if value is None:
            return None
        if value.data is None:
            raise self.unsupported(
                node, f"{attribute} '{value.name}' must be known before the run, and is computed from the data "
                "(make it a constant or an initializer)"
            )  # fmt: skip
        if is_floating(value.elem_type):
            raise self.wrong(node, f"{attribute} '{value.name}' must be whole numbers")
        return [int(n) for n in value.data.reshape(-1)]

    def number(self, node: Node, position: int, attribute: str) -> float | None:
        """One number, an attribute in old opsets and a constant input in new ones; None when not given."""
        if attribute in node.attributes:
            return float(node.attributes[attribute])
        value = self.maybe(node, position)
        if value is None:
            return None
        if value.scalar is None:
            raise BadInput(f"{self.path}: {node}: {attribute} '{value.name}' must be one number known before the run")
        return value.scalar

    def wrong(self, node: Node, problem: str) -> BadInput:
        """The error for a node that makes no sense."""
        return BadInput(f"{self.path}: {node}: {problem}")

    def unsupported(self, node: Node, problem: str) -> Unsupported:
        """The error for a node that makes sense and asks for what is not supported; raised before anything is built."""
        return Unsupported(f"{self.path}: {node}: {problem}")

    def tensor(self, value: Value) -> str:
        """The name of a value's tensor in the Workload, after declaring it there if this is its first use."""
        if value.name in self.builder:
            return value.name
        if value.name in self.deferred:
            self.deferred.pop(value.name)()
            return value.name
        if value.view_of:
            self.builder.view(self.tensor(self.values[value.view_of]), value.shape, out=value.name)
        else:
            role = Role.WEIGHT if value.constant else Role.ACTIVATION
            self.builder.declare(value.name, value.shape, role, self.bits_of(value))
        return value.name

    def bits_of(self, value: Value) -> int:
        return value.bits or self.element_bits(value.elem_type, f"{self.path}: tensor '{value.name}'")

    def result(
        self, node: Node, shape: Sequence[int], *, elem_type: int | None = None, position: int = 0,
        constant: bool = False,
    ) -> Value:
        """Register output number `position`; its element type is by default that of the first input."""
        kind = self.value(node, 0).elem_type if elem_type is None else elem_type
        value = Value(node.outputs[position], tuple(shape), kind, constant)
        self.values[value.name] = value
        return value

    def view(self, node: Node, shape: Sequence[int], *, source: Value | None = None) -> None:
        """The output is the bytes of `source` (the first input) under another shape; of a constant, a constant."""
        source = self.value(node, 0) if source is None else source
        output = self.result(node, shape, constant=source.constant)
        if source.constant:
            data = None if source.data is None else source.data.reshape(output.shape)
            self.values[output.name] = replace(output, data=data, view_of=source.name)
        else:
            self.builder.view(self.tensor(source), output.shape, out=output.name)

    def built(self, node: Node, name: str) -> None:
        """The builder has made the first output under its own name; its element type is that of the first input."""
        self.result(node, self.builder.shape(name))

    def is_used(self, name: str) -> bool:
        """Whether a node or an output of the graph reads a value."""
        return name in self.used

    def uses_more_than_first(self, node: Node) -> bool:
        """Whether anything reads an output of the node beside its first."""
        return any(name in self.used for name in node.outputs[1:] if name)


Handler: TypeAlias = Callable[[GraphImport, Node], None]


@dataclass(frozen=True)
class OperatorTable:
    """Handlers by (domain, op_type)."""

    handlers: dict[tuple[str, str], Handler]

    def register(self, *op_types: str, domain: str = "") -> Callable[[Handler], Handler]:
        """Decorator that makes a function the handler of operators. Raises ValueError when one is taken."""

        def keep(handler: Handler) -> Handler:
            for op_type in op_types:
                if (domain, op_type) in self.handlers:
                    raise ValueError(f"two handlers for {domain or 'ai.onnx'}::{op_type}")
                self.handlers[domain, op_type] = handler
            return handler

        return keep

    def handler(self, path: str, node: Node) -> Handler:
        """The handler of a node: its own, or the one for ``*``, which takes all others of its domain.

        Raises Unsupported, with the nearest supported operators, when there is none.
        """
        found = self.handlers.get((node.domain, node.op_type)) or self.handlers.get((node.domain, "*"))
        if found is not None:
            return found
        if not node.domain and node.op_type in CONTROL_FLOW:
            raise Unsupported(
                f"{path}: {node}: control flow ({', '.join(CONTROL_FLOW)}) is not supported: what runs would depend on "
                f"the data (export the model with the branch taken or the loop unrolled)"
            )
        if not node.domain and node.op_type in DATA_DEPENDENT:
            raise Unsupported(f"{path}: {node}: is not supported: {DATA_DEPENDENT[node.op_type]}")
        supported = [op for domain, op in self.handlers if domain == node.domain] or [op for _, op in self.handlers]
        raise Unsupported(
            f"{path}: {node}: operator {node.op_type} of domain '{node.domain or 'ai.onnx'}' is not supported"
            f"{near(node.op_type, supported, ' ({})')}"
        )


CONTROL_FLOW = ("If", "Loop", "Scan")
_ORDER = "what it compares and moves depends on the data"
_COUNT = "how many elements it gives depends on the data"
DATA_DEPENDENT = {
    "TopK": _ORDER, "NonMaxSuppression": _COUNT, "NonZero": _COUNT, "Unique": _COUNT, "Compress": _COUNT,
    "MaxUnpool": "where it writes depends on the data", "StringNormalizer": "strings are no numbers of fixed width",
}  # fmt: skip
"""Operators that no Einsum stands for, with the reason."""

TABLE = OperatorTable({})
operator = TABLE.register
