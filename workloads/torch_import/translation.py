"""From ATen operators to the nodes that the ONNX importer builds: one cost for one operator, whatever the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ...errors import BadInput
from ...text.names import near
from ..onnx_import.loading import Node, Value, keeps_values
from .recording import Argument, Call, Meta, Recording, Ref
from .types import element_type

OPSET = 22
"""The operator set whose meaning the nodes have; later operators are built by their handlers all the same."""

DOMAIN = "torch"
"""Of nodes that ONNX has no operator for."""


class Refused(Exception):
    """An operator asks for what the importer cannot do; the text says what."""


class Translation:
    """The nodes so far, and the constants they read.

    Attributes:
        recording: what is translated.
        constants: values known before the run, by name.
        nodes: in order.
        called: the call that made each tensor.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.constants: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.called = {name: call for call in recording.calls for name in call.outputs if name}
        self.metas = dict(recording.metas)
        self._names = {*recording.metas, *(call.name for call in recording.calls)}

    def unique(self, hint: str) -> str:
        name, i = hint, 1
        while name in self._names:
            i += 1
            name = f"{hint}_{i}"
        self._names.add(name)
        return name

    def elem_type(self, name: str) -> int:
        return element_type(self.metas[name].dtype, f"{self.recording.name}: tensor '{name}'")

    def constant(self, hint: str, array: np.ndarray[Any, Any], dtype: str) -> str:
        """The name of a constant of these elements."""
        name = self.unique(hint)
        self.metas[name] = Meta(dtype, tuple(array.shape))
        self.constants[name] = Value(name, tuple(array.shape), self.elem_type(name), constant=True, data=array)
        return name


class Operation:
    """One call with its arguments by name, and what emits its nodes."""

    def __init__(self, translation: Translation, call: Call) -> None:
        self.t, self.call = translation, call
        self.steps = 0

    @property
    def overload(self) -> str:
        return self.call.target.rpartition(".")[2]

    @property
    def out(self) -> str:
        return self.call.outputs[0]

    @property
    def result(self) -> Meta:
        """Of the first output."""
        return self.t.metas[self.out]

    def get(self, position: int, name: str, default: Argument = None) -> Any:
        """An argument by its place or name."""
        if position < len(self.call.args):
            return self.call.args[position]
        return self.call.kwargs.get(name, default)

    def option(self, name: str, default: Argument = None) -> Any:
        """An argument that is given by name alone."""
        return self.call.kwargs.get(name, default)

    def tensor(self, position: int, name: str = "self") -> str:
        """The name of a tensor argument. Raises Refused if there is none."""
        found = self.maybe(position, name)
        if found is None:
            raise Refused(f"argument '{name}' is missing")
        return found

    def maybe(self, position: int, name: str) -> str | None:
        """The name of a tensor argument, or None."""
        value = self.get(position, name)
        return value.name if isinstance(value, Ref) else None

    def tensors(self, position: int, name: str) -> list[str]:
        """The names of a list of tensors."""
        return [value.name for value in self.get(position, name, ()) if isinstance(value, Ref)]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.t.metas[name].shape

    def axis(self, value: Any, rank: int) -> int:
        return int(value) % max(rank, 1)

    def axes(self, value: Any, rank: int) -> list[int]:
        """Axes from a number, a list, or nothing: all of them."""
        if value is None or value == ():
            return list(range(rank))
        return [self.axis(v, rank) for v in (value if isinstance(value, tuple) else (value,))]

    def emit(
        self, op_type: str, inputs: Sequence[str | None], attributes: Mapping[str, Any] | None = None, *,
        outputs: Sequence[str] | None = None, like: Meta | None = None, domain: str = "",
    ) -> str:
        """Append a node; returns its first output: by default that of the call, or a new tensor `like` a given one."""
        if outputs is None:
            outputs = (self.out,)
            if like is not None:
                self.steps += 1
                outputs = (self.t.unique(f"{self.call.name}/{self.steps}"),)
                self.t.metas[outputs[0]] = like
        name = self.call.name if outputs[0] in self.call.outputs else outputs[0]
        names = tuple(i or "" for i in inputs)
        self.t.nodes.append(Node(name, op_type, names, tuple(outputs), dict(attributes or {}), OPSET, domain))
        return outputs[0]

    def step(self, op_type: str, inputs: Sequence[str | None], shape: Sequence[int], dtype: str = "",
             attributes: Mapping[str, Any] | None = None, *, domain: str = "") -> str:
        """Append a node whose result is used by the next; its type is that of the call's result unless given."""
        meta = Meta(dtype or self.result.dtype, tuple(shape))
        return self.emit(op_type, inputs, attributes, like=meta, domain=domain)

    def integers(self, values: Sequence[int]) -> str:
        """A constant of whole numbers."""
        return self.t.constant(f"{self.call.name}/integers", np.array(values, np.int64), "int64")

    def number(self, value: float | bool, dtype: str = "") -> str:
        """A constant of one number, of the type of the result unless given."""
        kind = dtype or self.result.dtype
        held = np.array(value, bool if kind == "bool" else np.int64 if "int" in kind else np.float64)
        return self.t.constant(f"{self.call.name}/number", held, kind)

    @property
    def few(self) -> bool:
        """Whether a constant of the result's shape keeps its elements."""
        return keeps_values(prod(self.result.shape), self.t.elem_type(self.out))

    def known(self, array: np.ndarray[Any, Any] | None) -> None:
        """The result does not depend on the inputs; these are its elements, if it has few."""
        kind = self.t.elem_type(self.out)
        self.t.constants[self.out] = Value(self.out, self.result.shape, kind, constant=True, data=array)

    def renamed(self, name: str, shape: Sequence[int] | None = None) -> str:
        """The elements of a tensor under another shape: that of the result, or a given one for a further step."""
        if shape is None:
            return self.emit("Reshape", [name, self.integers(self.result.shape)], {"allowzero": 1})
        if tuple(shape) == self.shape(name):
            return name
        return self.step("Reshape", [name, self.integers(shape)], shape, self.t.metas[name].dtype, {"allowzero": 1})

    def cast(self, name: str, dtype: str) -> str:
        """A tensor in another type: itself where it is of that type."""
        meta = self.t.metas[name]
        if meta.dtype == dtype:
            return name
        to = element_type(dtype, f"{self.t.recording.name}: node '{self.call.name}'")
        return self.step("Cast", [name], meta.shape, dtype, {"to": to})


Handler: TypeAlias = Callable[[Operation], Any]

HANDLERS: dict[str, Handler] = {}
"""What translates an operator, by its name without the overload: ``aten.conv2d``."""


def aten(*names: str) -> Callable[[Handler], Handler]:
    """Register a function as what translates operators ``aten.NAME``."""

    def keep(handler: Handler) -> Handler:
        for name in names:
            if f"aten.{name}" in HANDLERS:
                raise ValueError(f"two handlers for aten.{name}")
            HANDLERS[f"aten.{name}"] = handler
        return handler

    return keep


def operator_of(target: str) -> str:
    """The name of an operator without its overload."""
    return target.rpartition(".")[0] if target.count(".") > 1 else target


def translate(recording: Recording) -> Translation:
    """The nodes of a Recording. An operator without support becomes one that the import refuses, if it is needed."""
    translation = Translation(recording)
    for call in recording.calls:
        before = len(translation.nodes)
        operation = Operation(translation, call)
        handler = HANDLERS.get(operator_of(call.target))
        try:
            if handler is None:
                raise Refused(_missing(call.target))
            if any(call.outputs):
                handler(operation)
        except Refused as reason:
            del translation.nodes[before:]
            inputs = tuple(dict.fromkeys(ref.name for ref in _refs((*call.args, *call.kwargs.values()))))
            node = Node(call.name, call.target, inputs, call.outputs, {"reason": str(reason)}, OPSET, DOMAIN)
            translation.nodes.append(node)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{recording.name}: node '{call.name}' ({call.target}): its arguments make no sense: "
                           f"{error!r}") from error
    return translation


def _missing(target: str) -> str:
    return "this operator is not supported" + near(operator_of(target), HANDLERS, " ({})")


def _refs(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    return [ref for item in value for ref in _refs(item)] if isinstance(value, tuple) else []
