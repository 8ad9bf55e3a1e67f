"""To integers and back: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import Apply, Const, Expr, Read
from .elementwise import X, add, apply, maximum, minimum, mul, sub
from .graph import GraphImport, Quantised, operator
from .loading import Node, Value, element_bits, is_floating, numpy_type


class Terms:
    """Tensors of one Einsum over elements, and the expressions that stand for them."""

    def __init__(self, g: GraphImport, *tensors: str) -> None:
        self.g = g
        self.tensors = list(tensors)

    def of(self, value: Value, shape: Sequence[int] | None = None) -> Expr:
        """The value under another shape; a known number stands in the expression itself."""
        if value.scalar is not None:
            return Const(value.scalar)
        name = self.g.tensor(value)
        if shape is not None and tuple(shape) != value.shape:
            name = self.g.builder.view(name, shape)
        return self.read(name)

    def read(self, name: str) -> Expr:
        if name not in self.tensors:
            self.tensors.append(name)
        return Read(self.tensors.index(name))


def per_axis(value: Value, rank: int, axis: int) -> tuple[int, ...] | None:
    """The shape in which a vector along `axis` broadcasts; None for one number, or for whole tensors."""
    if len(value.shape) != 1 or value.shape == (1,) or rank == 1:
        return None
    return tuple(value.shape[0] if d == axis % rank else 1 for d in range(rank))


def limits(elem_type: int) -> tuple[float, float]:
    """Smallest and largest whole number of a type, from its width and whether its name says it is unsigned."""
    bits = element_bits(elem_type, "limits")
    unsigned = np.issubdtype(numpy_type(elem_type), np.unsignedinteger) or _name(elem_type).startswith("UINT")
    return (0.0, 2.0**bits - 1) if unsigned else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)


def _name(elem_type: int) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(elem_type))


def saturated(expr: Expr, elem_type: int) -> Expr:
    """The expression within the limits of a type."""
    low, high = limits(elem_type)
    return minimum(maximum(expr, low), high)


# -- to integers and back ------------------------------------------------------------------------------------------


def _blocks(g: GraphImport, node: Node, x: Value, scale: Value) -> int:
    """The axis of the scales; scales of blocks are refused where they are not known before the run."""
    axis = int(node.attributes.get("axis", 1))
    if len(scale.shape) > 1 or (len(scale.shape) == 1 and scale.shape[0] > 1 and len(x.shape) > 0
                                and scale.shape[0] != x.shape[axis % len(x.shape)]):  # fmt: skip
        raise g.unsupported(node, f"scales {scale.shape} of blocks of '{x.name}' {x.shape} (one scale, or one per "
                                  f"position along axis {axis})")  # fmt: skip
    return axis


@operator("QuantizeLinear")
def quantize(g: GraphImport, node: Node) -> None:
    """``saturate(round(x / scale) + zero)``: the reciprocal once per scale. To floats of 8 bits, the quotient alone."""
    from onnx import TensorProto

    x, scale, zero = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    axis = _blocks(g, node, x, scale)
    to = zero.elem_type if zero is not None else int(node.attributes.get("output_dtype", 0)) or TensorProto.UINT8
    terms = Terms(g, g.tensor(x))
    shape = per_axis(scale, len(x.shape), axis)
    inverse = Const(1.0 / scale.scalar) if scale.scalar else apply("recip", terms.of(scale, shape))
    expr: Expr = mul(X, inverse)
    if not is_floating(to):
        expr = apply("round", expr)
        if zero is not None and not Quantised(x, scale, zero).centred:
            expr = add(expr, terms.of(zero, shape))
        expr = saturated(expr, to)
    out = g.result(node, x.shape, elem_type=to)
    g.builder.elementwise(expr, *terms.tensors, kind=node.op_type, name=node.name, out=out.name, bits=g.bits_of(out))


@operator("DequantizeLinear")
def dequantize(g: GraphImport, node: Node) -> None:
    """``(x - zero) * scale``, computed where something needs it: products take the integers themselves.

    Of a weight, the result is a weight that is held in the bits of the integers.
    """
    x, scale, zero = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    to = int(node.attributes.get("output_dtype", 0)) or scale.elem_type
    name = node.outputs[0]
    if x.constant:
        out = Value(name, x.shape, to, constant=True, bits=g.bits_of(x))
    else:
        axis = _blocks(g, node, x, scale)
        out = Value(name, x.shape, to)
        g.deferred[name] = lambda: _dequantized(g, node, out, Quantised(x, scale, zero, axis))
    g.values[name] = out
    if len(scale.shape) < 2 and not is_floating(x.elem_type):
        g.quantised[name] = Quantised(x, scale, zero, int(node.attributes.get("axis", 1)))


def _dequantized(g: GraphImport, node: Node, out: Value, given: Quantised) -> None:
    assert given.scale is not None
    terms = Terms(g, g.tensor(given.value))
    shape = per_axis(given.scale, len(out.shape), given.axis)
    expr: Expr = X
    if given.zero is not None and not given.centred:
        expr = sub(expr, terms.of(given.zero, shape))
    expr = mul(expr, terms.of(given.scale, shape))
    g.builder.elementwise(expr, *terms.tensors, kind=node.op_type, name=node.name, out=out.name, bits=g.bits_of(out))


@operator("DynamicQuantizeLinear")
def dynamic_quantize(g: GraphImport, node: Node) -> None:
    """Scale and zero point from the least and the greatest element, to unsigned integers of 8 bits."""
    from onnx import TensorProto

    x, b, kind, hint = g.value(node, 0), g.builder, node.op_type, node.name
    name, bits = g.tensor(x), g.bits_of(x)
    top = b.reduce(name, "max", None, kind=f"{kind}.max", name=f"{hint}.max", bits=bits)
    low = b.reduce(name, "min", None, kind=f"{kind}.min", name=f"{hint}.min", bits=bits)
    scale, zero = g.result(node, (), position=1), g.result(node, (), elem_type=TensorProto.UINT8, position=2)
    span = sub(maximum(Read(0), 0.0), minimum(Read(1), 0.0))
    # A tensor of zeros has the scale 1 / 255 rather than 0.
    safe = Apply("select", (span, span, Const(1.0)))
    b.elementwise(mul(safe, 1 / 255), top, low, kind=f"{kind}.scale", name=f"{hint}.scale", out=scale.name, bits=bits)
    at = saturated(apply("round", apply("neg", Apply("div", (minimum(Read(0), 0.0), Read(1))))), TensorProto.UINT8)
    b.elementwise(at, low, scale.name, kind=f"{kind}.zero", name=f"{hint}.zero", out=zero.name, bits=8)
    out = g.result(node, x.shape, elem_type=TensorProto.UINT8)
    expr = add(apply("round", mul(X, apply("recip", Read(1)))), Read(2))
    b.elementwise(saturated(expr, TensorProto.UINT8), name, scale.name, zero.name, kind=kind, name=hint, out=out.name,
                  bits=8)  # fmt: skip
