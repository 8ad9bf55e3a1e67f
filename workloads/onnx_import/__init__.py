"""ONNX models as Workloads: shapes alone are read, large weights are never made.

Each operator is a handler in one of the modules of its group, registered in `graph.TABLE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from ...errors import BadInput
from ...ir import Einsum, Role, View, Workload
from . import convolution, elementwise, matrices, normalisation, shapes  # noqa: F401  (they register operators)
from .folding import fold
from .graph import TABLE, GraphImport, ImportBuilder
from .loading import (
    Node,
    Value,
    graph_inputs,
    is_floating,
    load_model,
    read_nodes,
    tensor_value,
    wheel_models,
)

__all__ = ["ImportedModel", "ImportedNode", "import_model", "import_onnx", "import_report", "wheel_models"]

Fate: TypeAlias = Literal["einsums", "view", "folded", "unused"]


@dataclass(frozen=True)
class ImportedNode:
    """What became of one node of the file.

    ``einsums``: it computes or copies; ``view``: it only renames bytes; ``folded``: its outputs are known before the
    run; ``unused``: no output of the graph needs it.
    """

    name: str
    op_type: str
    became: Fate


@dataclass(frozen=True)
class ImportedModel:
    """A Workload, the fate of every node of the file in its order, and the constants that the import made up.

    `constants` holds values of weights that are in the Workload and not in the file (reciprocals of padded averages).
    """

    workload: Workload
    nodes: tuple[ImportedNode, ...]
    constants: Mapping[str, np.ndarray[Any, Any]]


def import_onnx(
    path: str | Path, *, bindings: Mapping[str, int] | None = None, bits: int | None = None, name: str | None = None
) -> Workload:
    """The Workload of an ONNX file, for inference.

    Tensors keep their ONNX names; graph inputs are inputs, initializers and other constants weights. Padding of
    convolutions is counted dense, as MAC arrays compute it. Single numbers known before the run stand in expressions.

    Args:
        path: a binary ONNX model of opset 7 or later. External weight files are not read, and may be missing.
        bindings: sizes of symbolic dimensions, such as ``{"batch": 1}``; an unnamed one is called ``INPUT:AXIS``.
        bits: of every floating tensor; default: as the file says.
        name: of the Workload; default: the file's name without its ending.

    Raises:
        BadInput: the file is missing, is no ONNX model or is cut short; a symbolic dimension has no size; an operator
            is not supported, or its node makes no sense.

    Example:
        >>> import_onnx(wheel_models()["resnet50"]).macs
        4089184256
    """
    return import_model(path, bindings=bindings, bits=bits, name=name).workload


def import_report(
    path: str | Path, *, bindings: Mapping[str, int] | None = None, bits: int | None = None
) -> tuple[ImportedNode, ...]:
    """What became of every node of the file, in its order. Raises BadInput as `import_onnx` does."""
    return import_model(path, bindings=bindings, bits=bits).nodes


def import_model(
    path: str | Path, *, bindings: Mapping[str, int] | None = None, bits: int | None = None, name: str | None = None
) -> ImportedModel:
    """`import_onnx` and `import_report` in one, with the constants that the import made up."""
    if bits is not None and bits < 1:
        raise BadInput(f"{path}: bits={bits} (bits of a floating element, at least 1)")
    model = load_model(path)
    nodes = read_nodes(model)
    outputs = [o.name for o in model.graph.output]
    needed = _needed(nodes, outputs)
    used = frozenset(outputs).union(*(node.inputs for i, node in enumerate(nodes) if i in needed))
    inputs = graph_inputs(model, path, bindings)
    initializers = _initializers(model)
    reserved = frozenset((*initializers, *(v.name for v in inputs), *(o for node in nodes for o in node.outputs)))
    graph = GraphImport(str(path), ImportBuilder(name or Path(path).stem, reserved), bits, used)
    graph.values.update(initializers)
    for value in inputs:
        graph.values[value.name] = value
        graph.builder.input(value.name, value.shape, graph.bits_of(value))
    rows = [
        ImportedNode(node.name, node.op_type, _import_node(graph, node) if i in needed else "unused")
        for i, node in enumerate(nodes)
    ]
    _finish(graph, outputs)
    return ImportedModel(graph.builder.build(), tuple(rows), dict(graph.builder.constants))


def _initializers(model: Any) -> dict[str, Value]:
    values = {proto.name: tensor_value(proto.name, proto) for proto in model.graph.initializer}
    for proto in model.graph.sparse_initializer:
        name = proto.values.name
        values[name] = Value(name, tuple(proto.dims), proto.values.data_type, constant=True)
    return values


def _needed(nodes: list[Node], outputs: Iterable[str]) -> set[int]:
    """Positions of the nodes that some output of the graph depends on."""
    wanted = set(outputs)
    needed: set[int] = set()
    for position in reversed(range(len(nodes))):
        if wanted & {name for name in nodes[position].outputs if name}:
            needed.add(position)
            wanted.update(nodes[position].inputs)
    return needed


def _import_node(graph: GraphImport, node: Node) -> Fate:
    """Extend the import by one node."""
    for name in node.outputs:
        if name in graph.values:
            raise BadInput(f"{graph.path}: {node}: output '{name}' has a producer already")
    inputs = [graph.maybe(node, i) for i in range(len(node.inputs))]
    folded = fold(node, inputs)
    if folded is not None:
        graph.values.update((value.name, value) for value in folded)
        return "folded"
    handler = TABLE.handler(graph.path, node)
    present = [value for value in inputs if value is not None]
    builder = graph.builder
    builder.bits = next((graph.bits_of(v) for v in present if is_floating(v.elem_type)), builder.bits)
    if present and all(value.constant for value in present):
        return _import_constant(graph, node)
    before = len(builder.added)
    handler(graph, node)
    return "einsums" if any(isinstance(item, Einsum) for item in builder.added[before:]) else "view"


def _import_constant(graph: GraphImport, node: Node) -> Fate:
    """A node of constants alone: a view stays one; anything else is computed ahead, its output is a new weight."""
    real = graph.builder
    trial = ImportBuilder(real.name, real.reserved, bits=real.bits)
    trial.tensors.update(real.tensors)
    graph.builder = trial
    try:
        TABLE.handler(graph.path, node)(graph, node)
    finally:
        graph.builder = real
    made = [graph.values[name] for name in node.outputs if name in graph.values]
    if any(value.view_of for value in made):
        return "view"
    graph.values.update((v.name, replace(v, constant=True)) for v in made)
    return "folded"


def _finish(graph: GraphImport, outputs: list[str]) -> None:
    """Mark the outputs. One that is only a view of an input or a weight is copied, for it must be written somewhere."""
    builder = graph.builder
    for name in dict.fromkeys(outputs):
        if name not in graph.values:
            raise BadInput(f"{graph.path}: output '{name}' of the graph is produced by no node")
        value = graph.values[name]
        stored = builder.tensor(builder.storage(graph.tensor(value)))
        if stored.role in (Role.INPUT, Role.WEIGHT):
            builder.output(builder.elementwise("copy", name, kind="Output", name=f"{name}.copy", bits=stored.bits))
        else:
            builder.output(name)
    if not any(isinstance(item, Einsum | View) for item in builder.added):
        raise BadInput(f"{graph.path}: the graph computes nothing")
