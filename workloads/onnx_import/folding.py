"""Constant folding: what a node gives when its inputs are known before the run.

Values are computed by ONNX's own reference implementation, for small inputs only; nothing large is ever made.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...errors import BadInput
from .loading import (
    LARGEST_KEPT_INTEGERS,
    Node,
    Value,
    is_floating,
    keeps_values,
    node_proto,
    tensor_data,
    tensor_value,
)

GROWING = {"Expand": 1, "Tile": 1}
"""Operators whose output can be far larger than their inputs, with the position of the shape or the repeats."""

RENAMING = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""Left to their handlers when they rename a weight (of more than one float), so that it keeps its name and bytes."""


def keep_small(name: str, array: np.ndarray[Any, Any], elem_type: int | None = None) -> Value:
    """A constant Value of an array: with its elements if it is one number or small and whole."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(array.dtype) if elem_type is None else elem_type
    data = array if keeps_values(array.size, kind) else None
    return Value(name, tuple(array.shape), kind, constant=True, data=data)


def fold(node: Node, inputs: list[Value | None]) -> list[Value] | None:
    """The node's outputs when they are known before the run, else None.

    Raises:
        BadInput: the constants make no sense for the operator, by the reference implementation.
    """
    if node.domain:
        return None
    if node.op_type == "Constant":
        return [_constant(node)]
    if node.op_type == "ConstantOfShape":
        return [_constant_of_shape(node, inputs)]
    present = [v for v in inputs if v is not None]
    if node.op_type in ("Shape", "Size") and present:
        return [_shape(node, present[0])]
    if not present or any(v.data is None for v in present):
        return None
    if node.op_type in RENAMING and is_floating(present[0].elem_type) and prod(present[0].shape) > 1:
        return None
    if node.op_type == "DequantizeLinear" and prod(present[0].shape) > 1:
        return None  # the weight stays in the bits of its integers
    if node.op_type in GROWING:
        by = present[GROWING[node.op_type]].data
        assert by is not None
        if prod(int(n) for n in by.reshape(-1)) * prod(present[0].shape) > LARGEST_KEPT_INTEGERS:
            return None
    return _evaluate(node, present)


def _constant(node: Node) -> Value:
    from onnx import TensorProto

    name = node.outputs[0]
    if len(node.attributes) != 1:
        raise BadInput(f"{node}: a constant has one attribute, its value, not {len(node.attributes)}")
    ((attribute, value),) = node.attributes.items()
    if attribute == "value":
        return tensor_value(name, value, str(node))
    if attribute in ("value_int", "value_ints"):
        return keep_small(name, np.asarray(value, np.int64))
    if attribute in ("value_float", "value_floats"):
        return keep_small(name, np.asarray(value, np.float32), TensorProto.FLOAT)
    raise BadInput(f"{node}: a constant given by '{attribute}' is not supported (use value, value_int or value_float)")


def _constant_of_shape(node: Node, inputs: list[Value | None]) -> Value:
    from onnx import TensorProto

    shape_value = inputs[0] if inputs else None
    if shape_value is None or shape_value.data is None:
        raise BadInput(f"{node}: its shape '{node.inputs[0]}' depends on the data (it must be known before the run)")
    shape = tuple(int(n) for n in shape_value.data.reshape(-1))
    fill = node.attributes.get("value")
    kind = TensorProto.FLOAT if fill is None else int(fill.data_type)
    array = np.zeros((1,), np.float32) if fill is None else tensor_data("value", fill, str(node))
    if array.size != 1 or min(shape, default=0) < 0:
        raise BadInput(f"{node}: {array.size} values for a shape of {shape} (one value, and sizes from 0)")
    if keeps_values(prod(shape), kind):
        return Value(node.outputs[0], shape, kind, constant=True, data=np.full(shape, array.reshape(-1)[0]))
    return Value(node.outputs[0], shape, kind, constant=True)


def _shape(node: Node, of: Value) -> Value:
    if node.op_type == "Size":
        return keep_small(node.outputs[0], np.asarray(prod(of.shape), np.int64))
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return keep_small(node.outputs[0], np.asarray(of.shape[start:end], np.int64))


def _evaluate(node: Node, inputs: list[Value]) -> list[Value] | None:
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    proto = node_proto(node)
    names = list(dict.fromkeys(n for n in node.inputs if n))
    outputs = [n for n in node.outputs if n]
    opset = helper.make_opsetid("", node.opset)
    function = helper.make_function("accelsim", "folded", names, outputs, [proto], [opset])
    feeds = {v.name: v.data for v in inputs}
    try:
        results = ReferenceEvaluator(function).run(None, feeds, attributes={})
    except NotImplementedError:
        return None
    except Exception as error:
        raise BadInput(f"{node}: its constant inputs do not fit together: {error}") from error
    return [keep_small(name, np.asarray(array)) for name, array in zip(outputs, results, strict=True)]
