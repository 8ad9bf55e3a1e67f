"""Products of integers: convolutions and products of matrices of quantised operands, and what follows them.

A product of q_a that stand for (q_a - z_a) s_a and of q_b likewise is ``s_a s_b (sum q_a q_b - z_a sum q_b)`` where z_b
is 0: a contraction of the integers as they are stored, then one Einsum per element that subtracts the second sum (known
ahead for a weight, so that it joins the bias) and scales (Jacob et al., arXiv:1712.05877, section 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...ir import Const, Expr, Role
from .convolution import spatial, window_pads
from .elementwise import X, add, apply, mul, sub
from .graph import Derivation, GraphImport, Quantised, operator
from .loading import Node, Value
from .quantised import Terms, per_axis, saturated

Array: TypeAlias = np.ndarray[Any, Any]

ACCUMULATOR_BITS = 32
"""Of sums of products of integers: the type that ConvInteger and MatMulInteger give."""


Contract: TypeAlias = Callable[[str, str, float, str | None], str]
"""From the tensors of both operands, what stands outside the first, and the name of the result: the product."""


class Product:
    """A product of two Quantised, its second operand the weight if either is.

    Args:
        g: the import.
        node: whose product it is.
        a: first operand.
        b: second operand.
        summed: axes of b that the product sums over.
        channel: shape of those sums, one per channel of the result, as they broadcast with it.
        padded: whether elements of `a` beyond its edges are read.
        contract: makes the contraction.
    """

    def __init__(
        self, g: GraphImport, node: Node, a: Quantised, b: Quantised, *, summed: tuple[int, ...],
        channel: Sequence[int], padded: bool, contract: Contract,
    ) -> None:
        self.g, self.node, self.a, self.b = g, node, a, b
        self.summed, self.channel, self.padded, self.contract = summed, tuple(channel), padded, contract

    def build(self, out: str | None) -> tuple[str, Terms, Expr]:
        """Emit the contraction; the accumulators, the tensors of an Einsum over them, and the product they stand for.

        `out` names the accumulators, if they are the product as they are.
        """
        g, a, b = self.g, self.a, self.b
        right = self._centred(b)
        known = a.zero.scalar if a.zero is not None else 0.0
        # Beyond the edges stands the zero point; one that only the run knows cannot be read there.
        one = known is not None or (not self.padded and a.zero is not None and _single(a.zero))
        ahead = not a.centred and b.value.constant and one
        left = g.tensor(a.value) if ahead else self._centred(a)
        outside = known if ahead and known is not None else 0.0
        plain = not ahead
        accumulators = self.contract(left, right, outside, out if plain else None)
        terms = Terms(g, accumulators)
        if plain:
            return accumulators, terms, X
        offset = terms.read(self._sums(known))
        if known is None and a.zero is not None:
            offset = mul(offset, terms.of(a.zero, ()))
        return accumulators, terms, sub(X, offset)

    def _sums(self, zero: float | None) -> str:
        """A weight made up: the sums of b, less its zero point, times that of a if it is known."""
        g, b = self.g, self.b
        factor = 1.0 if zero is None else zero
        source = b.value.name
        centre = None if b.centred or b.zero is None else b.zero.name
        axis = b.axis

        def derive(weights: Mapping[str, Array]) -> Array:
            values = weights[source].astype(np.float64)
            if centre is not None:
                values = values - _along(weights[centre], values.ndim, axis)
            sums: Array = factor * values.sum(axis=self.summed)
            return sums.reshape(self.channel)

        return made_up(g, f"{self.node.name}.offset", self.channel, ACCUMULATOR_BITS, derive)

    def _centred(self, operand: Quantised) -> str:
        """The tensor of an operand less its zero point: of a weight made ahead, of data an Einsum."""
        g, value, zero = self.g, operand.value, operand.zero
        if operand.centred or zero is None:
            return g.tensor(value)
        if value.constant and zero.constant:
            source, centre, along = value.name, zero.name, operand.axis

            def derive(weights: Mapping[str, Array]) -> Array:
                values = weights[source].astype(np.float64)
                centred: Array = values - _along(weights[centre], values.ndim, along)
                return centred

            return made_up(g, f"{source}.centred", value.shape, g.bits_of(value), derive)
        terms = Terms(g, g.tensor(value))
        shape = per_axis(zero, len(value.shape), operand.axis)
        expr = sub(X, terms.of(zero, shape))
        name = f"{self.node.name}.centred"
        return g.builder.elementwise(expr, *terms.tensors, kind=f"{self.node.op_type}.centre", name=name,
                                     bits=g.bits_of(value))  # fmt: skip


def _along(vector: Array, rank: int, axis: int) -> Array:
    values: Array = np.asarray(vector, np.float64)
    if values.ndim != 1 or values.size == 1:
        return values
    return values.reshape([-1 if d == axis % rank else 1 for d in range(rank)])


def made_up(g: GraphImport, name: str, shape: Sequence[int], bits: int, derive: Derivation) -> str:
    """Declare a weight whose values follow from weights of the file."""
    made = g.builder.declare(g.builder.unique(name), shape, Role.WEIGHT, bits)
    g.derived[made] = derive
    return made


def conv_product(g: GraphImport, node: Node, x: Quantised, w: Quantised) -> Product:
    """The convolution of a Conv, ConvInteger or QLinearConv over integers."""
    rank, kernel = len(x.value.shape), list(w.value.shape[2:])
    strides, dilations = spatial(g, node, x.value, "strides"), spatial(g, node, x.value, "dilations")
    pads = window_pads(g, node, x.value.shape[2:], kernel, strides, dilations)
    groups = int(node.attributes.get("group", 1))

    def contract(left: str, right: str, outside: float, out: str | None) -> str:
        return g.builder.conv(
            left, right, None, strides, pads, dilations, groups, outside=outside, kind=node.op_type, name=node.name,
            out=out, bits=ACCUMULATOR_BITS,
        )  # fmt: skip

    channel = (w.value.shape[0], *(1,) * (rank - 2))
    return Product(g, node, x, Quantised(w.value, w.scale, w.zero, 0), summed=tuple(range(1, rank)), channel=channel,
                   padded=any(pads), contract=contract)  # fmt: skip


def matmul_product(
    g: GraphImport, node: Node, a: Quantised, b: Quantised, *, transpose_a: bool = False, transpose_b: bool = False
) -> Product:
    """The product of matrices of a MatMul, Gemm, MatMulInteger or QLinearMatMul over integers."""
    shape = b.value.shape
    summed = len(shape) - 1 if transpose_b or len(shape) == 1 else len(shape) - 2
    channel = [1 if d == summed else n for d, n in enumerate(shape)] if len(shape) > 1 else [1]
    if transpose_b:
        channel = [*shape[:-2], 1, shape[-2]]

    def contract(left: str, right: str, outside: float, out: str | None) -> str:
        return g.builder.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b, kind=node.op_type,
                                name=node.name, out=out, bits=ACCUMULATOR_BITS)  # fmt: skip

    rows = Quantised(a.value, a.scale, a.zero, -1 if transpose_a else -2)
    columns = Quantised(b.value, b.scale, b.zero, -2 if transpose_b else -1)
    return Product(g, node, rows, columns, summed=(summed,), channel=channel, padded=False, contract=contract)


def _finish(g: GraphImport, node: Node, expr: Expr, terms: Terms, accumulators: str, elem_type: int, step: str) -> None:
    """The Einsum over the accumulators that gives the output, unless they are the output."""
    name = node.outputs[0]
    out = g.result(node, g.builder.shape(accumulators), elem_type=elem_type)
    if accumulators != name:
        g.builder.elementwise(expr, *terms.tensors, kind=f"{node.op_type}.{step}", name=f"{node.name}.{step}", out=name,
                              bits=g.bits_of(out))  # fmt: skip


@operator("ConvInteger", "MatMulInteger")
def integer_product(g: GraphImport, node: Node) -> None:
    from onnx import TensorProto

    a, b = (Quantised(g.value(node, i), None, g.maybe(node, 2 + i)) for i in range(2))
    product = conv_product(g, node, a, b) if node.op_type == "ConvInteger" else matmul_product(g, node, a, b)
    accumulators, terms, expr = product.build(node.outputs[0])
    _finish(g, node, expr, terms, accumulators, TensorProto.INT32, "offset")


@operator("QLinearConv", "QLinearMatMul")
def quantised_product(g: GraphImport, node: Node) -> None:
    """``saturate(round(product * s_a s_b / s_y) + zero)``, the bias (of the scale s_a s_b) added to the product."""
    a, b = (Quantised(g.value(node, 3 * i), g.value(node, 3 * i + 1), g.maybe(node, 3 * i + 2)) for i in range(2))
    to_scale, zero = g.value(node, 6), g.maybe(node, 7)
    if to_scale.scalar == 0.0:
        raise g.wrong(node, f"the scale '{to_scale.name}' is 0")
    conv = node.op_type == "QLinearConv"
    product = conv_product(g, node, a, b) if conv else matmul_product(g, node, a, b)
    accumulators, terms, expr = product.build(None)
    rank = len(g.builder.shape(accumulators))
    bias = g.maybe(node, 8) if conv else None
    if bias is not None:
        expr = add(expr, terms.of(bias, product.channel))
    expr = apply("round", mul(expr, factor(terms, rank, product.a, product.b, to_scale, channel=1 if conv else -1)))
    if zero is not None and not Quantised(a.value, None, zero).centred:
        expr = add(expr, terms.of(zero, () if zero.shape == (1,) else None))
    elem_type = zero.elem_type if zero is not None else a.value.elem_type
    _finish(g, node, saturated(expr, elem_type), terms, accumulators, elem_type, "requantise")


def factor(
    terms: Terms, rank: int, a: Quantised, b: Quantised, over: Value | None = None, *, channel: int = 1
) -> Expr:
    """``s_a s_b / s_y``, multiplied out before it meets the elements: vectors along rows and along `channel`."""
    assert a.scale is not None and b.scale is not None
    tree: Expr = Const(1.0)
    for scale, axis in ((a.scale, -2), (b.scale, channel)):
        part = terms.of(scale, per_axis(scale, rank, axis) if not _single(scale) else ())
        tree = _times(tree, part)
    if over is not None:
        part = terms.of(over, ())
        tree = _times(tree, Const(1.0 / part.value) if isinstance(part, Const) else apply("recip", part))
    return tree


def _times(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(a.value * b.value)
    if isinstance(a, Const) and a.value == 1.0:
        return b
    return mul(a, b)


# -- products between DequantizeLinear and QuantizeLinear ----------------------------------------------------------


def dequantised_operands(g: GraphImport, node: Node) -> tuple[Quantised, Quantised] | None:
    """The integers behind both operands of a product, if both are dequantised and their scales go by channel."""
    a, b = (g.quantised.get(name) for name in node.inputs[:2])
    if a is None or b is None or a.scale is None or b.scale is None:
        return None
    rank = len(b.value.shape)
    if node.op_type == "Conv":
        channel = 0
    else:
        channel = rank - 2 if node.attributes.get("transB", 0) else rank - 1
    by_channel = b.axis % rank == channel and b.value.constant
    return (a, b) if _single(a.scale) and (_single(b.scale) or by_channel) else None


def _single(value: Value) -> bool:
    """One number, perhaps in a vector of one."""
    return value.shape == () or value.shape == (1,)


def scaled_product(g: GraphImport, node: Node, product: Product, bias: Value | None, elem_type: int) -> None:
    """``product * s_a s_b + bias`` in floating point: what a product of dequantised operands gives."""
    accumulators, terms, expr = product.build(None)
    rank = len(g.builder.shape(accumulators))
    conv = node.op_type == "Conv"
    expr = mul(expr, factor(terms, rank, product.a, product.b, channel=1 if conv else -1))
    if bias is not None:
        expr = add(expr, terms.of(bias, product.channel if conv else None))
    _finish(g, node, expr, terms, accumulators, elem_type, "scale")
