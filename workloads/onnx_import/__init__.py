"""ONNX models as Workloads: shapes alone are read, large weights are never made.

Each operator is a handler in one of the modules of its group, registered in `graph.TABLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import BadInput
from ...ir import Workload
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
from .assembly import Graph, ImportedModel, ImportedNode, assemble, costed_share
from .loading import graph_inputs, load_model, output_shapes, read_nodes, wheel_models
from .unknown import declared
from .walk import initial_values

__all__ = [
    "ImportedModel",
    "ImportedNode",
    "costed_share",
    "import_model",
    "import_onnx",
    "import_report",
    "wheel_models",
]


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
    nodes = read_nodes(model, path)
    inputs = graph_inputs(model, path, bindings)
    outputs = [o.name for o in model.graph.output]
    graph = Graph(str(path), name or Path(path).stem, inputs, initial_values(model.graph, path), nodes, outputs,
                  declared(model, bindings), output_shapes(model))
    return assemble(graph, bits=bits, allow_unknown=allow_unknown)
