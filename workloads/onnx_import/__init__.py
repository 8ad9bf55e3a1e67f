"""ONNX models as Workloads: shapes alone are read, large weights are never made.

Each operator is a handler in one of the modules of its group, registered in `graph.TABLE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput
from ...ir import Einsum, Role, View, Workload
from . import (  # noqa: F401  (they register operators)
    attention,
    convolution,
    elementwise,
    integers,
    matrices,
    normalisation,
    quantised,
    recurrent,
    resize,
    shapes,
)
from .graph import Derivation, GraphImport, ImportBuilder
from .loading import Node, graph_inputs, load_model, read_nodes, wheel_models
from .unknown import declared
from .walk import Fate, import_nodes, initial_values

__all__ = [
    "ImportedModel",
    "ImportedNode",
    "costed_share",
    "import_model",
    "import_onnx",
    "import_report",
    "wheel_models",
]

@dataclass(frozen=True)
class ImportedNode:
    """What became of one node of the file.

    ``einsums``: it computes or copies; ``view``: it only renames bytes; ``folded``: its outputs are known before the
    run, or (an If) its condition is, and the nodes of its branch follow; ``unused``: no output of the graph needs it;
    ``unknown``: it has no support and costs nothing, as was allowed.
    """

    name: str
    op_type: str
    became: Fate


@dataclass(frozen=True)
class ImportedModel:
    """A Workload, the fate of every node of the file in its order, and the constants that the import made up.

    `constants` holds values of weights that are in the Workload and not in the file (reciprocals of padded averages);
    `derived` says how others follow from values of the file, which the import does not read (offsets of integers).
    """

    workload: Workload
    nodes: tuple[ImportedNode, ...]
    constants: Mapping[str, np.ndarray[Any, Any]]
    derived: Mapping[str, Derivation]


def import_onnx(
    path: str | Path, *, bindings: Mapping[str, int] | None = None, bits: int | None = None, name: str | None = None,
    allow_unknown: bool = False,
) -> Workload:
    """The Workload of an ONNX file, for inference.

    Tensors keep their ONNX names; graph inputs are inputs, initializers and other constants weights. Padding of
    convolutions is counted dense, as MAC arrays compute it. Single numbers known before the run stand in expressions.

    Args:
        path: a binary ONNX model of opset 7 or later. External weight files are not read, and may be missing.
        bindings: sizes of symbolic dimensions, such as ``{"batch": 1}``; an unnamed one is called ``INPUT:AXIS``. By
            the name of an input that is one whole number (a sample rate, a switch): its value, known from then on.
        bits: of every floating tensor; default: as the file says.
        name: of the Workload; default: the file's name without its ending.
        allow_unknown: let operators without support through. Such a node costs no time, no energy and no operation;
            what it reads is written out, and what it gives is read in. The Workload's `notes` name every one.

    Raises:
        BadInput: the file is missing, is no ONNX model or is cut short; a symbolic dimension has no size; an operator
            is not supported (or is let through, and the shape of its output is not known), or its node makes no sense.

    Example:
        >>> import_onnx(wheel_models()["resnet50"]).macs
        4089184256
    """
    return import_model(path, bindings=bindings, bits=bits, name=name, allow_unknown=allow_unknown).workload


def import_report(
    path: str | Path, *, bindings: Mapping[str, int] | None = None, bits: int | None = None, allow_unknown: bool = False
) -> tuple[ImportedNode, ...]:
    """What became of every node of the file, in its order. Raises BadInput as `import_onnx` does."""
    return import_model(path, bindings=bindings, bits=bits, allow_unknown=allow_unknown).nodes


def import_model(
    path: str | Path, *, bindings: Mapping[str, int] | None = None, bits: int | None = None, name: str | None = None,
    allow_unknown: bool = False,
) -> ImportedModel:
    """`import_onnx` and `import_report` in one, with the constants that the import made up."""
    if bits is not None and bits < 1:
        raise BadInput(f"{path}: bits={bits} (bits of a floating element, at least 1)")
    model = load_model(path)
    nodes = read_nodes(model)
    outputs = [o.name for o in model.graph.output]
    inputs = graph_inputs(model, path, bindings)
    initializers = initial_values(model.graph)
    reserved = frozenset((*initializers, *(v.name for v in inputs), *(o for node in nodes for o in node.outputs)))
    builder = ImportBuilder(name or Path(path).stem, reserved)
    graph = GraphImport(str(path), builder, bits, declared(model, bindings))
    graph.values.update(initializers)
    for value in inputs:
        graph.values[value.name] = value
        if not value.constant:
            builder.input(value.name, value.shape, graph.bits_of(value))
    fates = import_nodes(graph, nodes, outputs, allow_unknown=allow_unknown)
    _finish(graph, outputs)
    rows = _rows(graph, fates)
    builder.notes += _notes(rows)
    return ImportedModel(builder.build(), rows, dict(builder.constants), dict(graph.derived))


def _rows(graph: GraphImport, fates: list[tuple[Node, Fate]]) -> tuple[ImportedNode, ...]:
    """What became of the nodes, in the end: one that was put off is computed if something asked for it."""
    written = {item.output.tensor for item in graph.builder.added if isinstance(item, Einsum)}
    return tuple(
        ImportedNode(node.name, node.op_type, "einsums" if fate == "view" and node.outputs[0] in written else fate)
        for node, fate in fates
    )


def costed_share(nodes: Iterable[ImportedNode]) -> float:
    """The share of the nodes that some output needs which are not let through as unknown: 1.0 when nothing is."""
    needed = [node for node in nodes if node.became != "unused"]
    return sum(node.became != "unknown" for node in needed) / len(needed) if needed else 1.0


def _notes(nodes: tuple[ImportedNode, ...]) -> list[str]:
    """The sentence that names every node which costs nothing because it has no support."""
    unknown: dict[str, list[str]] = {}
    for node in nodes:
        if node.became == "unknown":
            unknown.setdefault(node.op_type, []).append(f"'{node.name}'")
    if not unknown:
        return []
    count, total = sum(map(len, unknown.values())), sum(node.became != "unused" for node in nodes)
    listed = "; ".join(f"{op} {', '.join(names)}" for op, names in unknown.items())
    return [f"{100 * costed_share(nodes):.1f} % of the operators are costed ({total - count} of {total}); without "
            f"support, and at no time, energy or operation: {listed}"]  # fmt: skip


def _finish(graph: GraphImport, outputs: list[str]) -> None:
    """Mark the outputs. One that is only a view of an input or a weight is copied, for it must be written somewhere."""
    builder = graph.builder
    given = {name for names in graph.unknown.values() for name in names}
    for name in dict.fromkeys(outputs):
        if name not in graph.values:
            raise BadInput(f"{graph.path}: output '{name}' of the graph is produced by no node")
        value = graph.values[name]
        if 0 in value.shape and name in given:
            continue
        stored = builder.tensor(builder.storage(graph.tensor(value)))
        if stored.name in given:
            continue
        if stored.role in (Role.INPUT, Role.WEIGHT):
            builder.output(builder.elementwise("copy", name, kind="Output", name=f"{name}.copy", bits=stored.bits))
        else:
            builder.output(name)
    if not any(isinstance(item, Einsum | View) for item in builder.added):
        raise BadInput(f"{graph.path}: the graph computes nothing")
