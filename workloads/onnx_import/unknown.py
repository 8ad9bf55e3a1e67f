"""Operators without support that the caller lets through: they cost nothing, and are listed.

Such a node runs elsewhere, as far as the Workload is concerned: what it reads is written out as an output of the
Workload, and what it gives is read in as an input. Its own time, energy and operations are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import BadInput
from ...ir import Role
from .graph import GraphImport
from .loading import Node, Value, node_proto, type_name

Known = tuple[int, tuple[int, ...]]
"""Element type and shape."""


def stand_in(g: GraphImport, node: Node, reason: BadInput) -> None:
    """Declare the outputs of a node, and hand its inputs over.

    Raises:
        BadInput: the shape or the type of an output that is used is not known before the run.
    """
    inputs = [g.values[name] for name in (*node.inputs, *node.captures) if name in g.values]
    constant = bool(inputs) and all(value.constant for value in inputs)
    wanted = [name for name in node.outputs if name and g.is_used(name)]
    known = {**g.declared, **_inferred(g, node)}
    for name in wanted:
        if name not in known:
            what = f"the shape of its output '{name}' is not known before the run"
            raise BadInput(f"{reason}; nor can it be left out: {what}") from reason
    for name in wanted:
        elem_type, shape = known[name]
        value = Value(name, shape, elem_type, constant)
        if 0 in shape:
            g.values[name] = value
            continue
        try:
            bits = g.bits_of(value)
        except BadInput as error:
            what = f"its output '{name}' is of type {type_name(elem_type)}"
            raise BadInput(f"{reason}; nor can it be left out: {what}") from error
        g.values[name] = value
        g.builder.declare(name, shape, Role.WEIGHT if constant else Role.INPUT, bits)
    for value in inputs:
        if not value.constant and 0 not in value.shape:
            g.builder.output(g.tensor(value))
    g.unknown[node.name] = tuple(wanted)


def declared(model: Any, bindings: Mapping[str, int] | None) -> dict[str, Known]:
    """The values whose whole shape the file gives, with symbolic dimensions as they are bound."""
    found = {}
    for proto in (*model.graph.value_info, *model.graph.output):
        known = _known(proto.type, bindings or {})
        if known is not None:
            found[proto.name] = known
    return found


def _known(proto: Any, bindings: Mapping[str, int]) -> Known | None:
    kind = proto.tensor_type
    if proto.WhichOneof("value") != "tensor_type" or not kind.HasField("shape") or not kind.elem_type:
        return None
    shape = []
    for dim in kind.shape.dim:
        size = dim.dim_value if dim.WhichOneof("value") == "dim_value" else bindings.get(dim.dim_param)
        if size is None or size < 0:
            return None
        shape.append(size)
    return kind.elem_type, tuple(shape)


def _inferred(g: GraphImport, node: Node) -> dict[str, Known]:
    """Types and shapes of the outputs by ONNX's shape inference of this one node, as far as it gets."""
    import onnx
    from onnx import helper, numpy_helper

    proto = node_proto(node)
    present = {name: g.values[name] for name in node.inputs if name}
    try:
        types = {n: helper.make_tensor_type_proto(v.elem_type, v.shape) for n, v in present.items()}
        data = {n: numpy_helper.from_array(v.data, n) for n, v in present.items() if v.data is not None}
        schema = onnx.defs.get_schema(node.op_type, node.opset, node.domain)
        found = onnx.shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=[helper.make_opsetid(node.domain, node.opset)]
        )
    except (onnx.defs.SchemaError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError,
            ValueError):  # fmt: skip
        return {}
    known = {name: _known(type_proto, {}) for name, type_proto in found.items()}
    return {name: what for name, what in known.items() if what is not None}
