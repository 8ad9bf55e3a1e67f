"""Operators that map every element: activations, arithmetic with broadcasting, casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ...ir import ACTIVATIONS, Apply, Const, Expr, Read
from .folding import keep_small
from .graph import GraphImport, operator
from .loading import Node, Value, is_floating, numpy_type

X = Read(0)


def add(a: Expr, b: Expr | float) -> Expr:
    return Apply("add", (a, _expr(b)))


def sub(a: Expr, b: Expr | float) -> Expr:
    return Apply("sub", (a, _expr(b)))


def mul(a: Expr, b: Expr | float) -> Expr:
    return Apply("mul", (a, _expr(b)))


def div(a: Expr, b: Expr | float) -> Expr:
    return Apply("div", (a, _expr(b)))


def maximum(a: Expr, b: Expr | float) -> Expr:
    return Apply("max", (a, _expr(b)))


def minimum(a: Expr, b: Expr | float) -> Expr:
    return Apply("min", (a, _expr(b)))


def apply(op: str, a: Expr) -> Expr:
    return Apply(op, (a,))


def _expr(x: Expr | float) -> Expr:
    return x if isinstance(x, Apply | Read | Const) else Const(float(x))


# -- one tensor --------------------------------------------------------------------------------------------------------


def _softplus(x: Expr) -> Expr:
    return apply("log", add(apply("exp", x), 1.0))


def _elu(alpha: float, scale: float = 1.0) -> Expr:
    negative = mul(sub(apply("exp", minimum(X, 0.0)), 1.0), alpha)
    positive = add(maximum(X, 0.0), negative)
    return positive if scale == 1.0 else mul(positive, scale)


def _leaky_relu(node: Node) -> Expr:
    alpha = float(node.attributes.get("alpha", 0.01))
    if alpha <= 1.0:
        return maximum(X, mul(X, alpha))
    return minimum(X, mul(X, alpha))


def _hard_sigmoid(alpha: float, beta: float) -> Expr:
    return maximum(minimum(add(mul(X, alpha), beta), 1.0), 0.0)


def _gelu(node: Node) -> Expr:
    return ACTIVATIONS["gelu_tanh" if node.attributes.get("approximate", "none") == "tanh" else "gelu"]


def _swish(node: Node) -> Expr:
    alpha = _attribute(node, "alpha", 1.0)
    return ACTIVATIONS["silu"] if alpha == 1.0 else mul(X, apply("sigmoid", mul(X, alpha)))


def _attribute(node: Node, name: str, default: float) -> float:
    return float(node.attributes.get(name, default))


UNARY: dict[str, Callable[[Node], Expr]] = {
    "Exp": lambda _: apply("exp", X),
    "Log": lambda _: apply("log", X),
    "Sqrt": lambda _: apply("sqrt", X),
    "Reciprocal": lambda _: apply("recip", X),
    "Neg": lambda _: apply("neg", X),
    "Abs": lambda _: apply("abs", X),
    "Erf": lambda _: apply("erf", X),
    "Floor": lambda _: apply("floor", X),
    "Round": lambda _: apply("round", X),
    "Sign": lambda _: sub(Apply("less", (Const(0.0), X)), Apply("less", (X, Const(0.0)))),
    "Ceil": lambda _: apply("neg", apply("floor", apply("neg", X))),
    "Sin": lambda _: apply("sin", X),
    "Cos": lambda _: apply("cos", X),
    "Tanh": lambda _: ACTIVATIONS["tanh"],
    "Sigmoid": lambda _: ACTIVATIONS["sigmoid"],
    "Relu": lambda _: ACTIVATIONS["relu"],
    "LeakyRelu": _leaky_relu,
    "Elu": lambda n: _elu(_attribute(n, "alpha", 1.0)),
    "Celu": lambda n: add(
        maximum(X, 0.0),
        mul(sub(apply("exp", div(minimum(X, 0.0), _attribute(n, "alpha", 1.0))), 1.0), _attribute(n, "alpha", 1.0)),
    ),
    "Selu": lambda n: _elu(_attribute(n, "alpha", 1.6732631921768188), _attribute(n, "gamma", 1.0507010221481323)),
    "ThresholdedRelu": lambda n: Apply(
        "select", (Apply("less", (Const(_attribute(n, "alpha", 1.0)), X)), X, Const(0.0))
    ),
    "Softplus": lambda _: _softplus(X),
    "Softsign": lambda _: div(X, add(apply("abs", X), 1.0)),
    "HardSigmoid": lambda n: _hard_sigmoid(_attribute(n, "alpha", 0.2), _attribute(n, "beta", 0.5)),
    "HardSwish": lambda _: mul(X, _hard_sigmoid(1 / 6, 0.5)),
    "Gelu": _gelu,
    "Swish": _swish,
    "Mish": lambda _: mul(X, apply("tanh", _softplus(X))),
}
"""Expressions over `X`, from the definitions in the ONNX operator reference."""


@operator(*UNARY)
def unary(g: GraphImport, node: Node) -> None:
    map_one(g, node, UNARY[node.op_type](node))


def map_one(g: GraphImport, node: Node, expr: Expr, *, elem_type: int | None = None) -> None:
    """The output is `expr` of every element of the first input."""
    x = g.value(node, 0)
    out = g.result(node, x.shape, elem_type=elem_type)
    g.builder.elementwise(expr, g.tensor(x), kind=node.op_type, name=node.name, out=out.name, bits=g.bits_of(out))


@operator("Cast", "CastLike")
def cast(g: GraphImport, node: Node) -> None:
    """Another name for the same bits where the type stays; a converting copy where its width or kind changes."""
    x = g.value(node, 0)
    if x.data is not None:  # CastLike a value that depends on the data: its type alone counts
        to_type = numpy_type(g.value(node, 1).elem_type)
        g.values[node.outputs[0]] = keep_small(node.outputs[0], x.data.astype(to_type))
        return
    to = int(node.attributes["to"]) if node.op_type == "Cast" else g.value(node, 1).elem_type
    same_width = g.element_bits(to, str(node)) == g.element_bits(x.elem_type, str(node))
    if same_width and is_floating(to) == is_floating(x.elem_type):
        g.view(node, x.shape)
        g.values[node.outputs[0]] = replace(g.values[node.outputs[0]], elem_type=to)
    else:
        map_one(g, node, X, elem_type=to)


# -- several tensors -----------------------------------------------------------------------------------------------


def combine(
    g: GraphImport, node: Node, values: Sequence[Value], expr: Callable[[list[Expr]], Expr],
    elem_type: int | None = None,
) -> None:
    """The output is `expr` of the broadcast values; a single known number stands in the expression itself.

    Its element type is that of the first value, unless `elem_type` is given.
    """
    try:
        shape = np.broadcast_shapes(*(v.shape for v in values))
    except ValueError:
        shapes = ", ".join(f"'{v.name}' {v.shape}" for v in values)
        raise g.wrong(node, f"shapes cannot be broadcast together: {shapes}") from None
    numbers = [v.constant and v.scalar is not None for v in values]
    large = [v.shape for v, number in zip(values, numbers, strict=True) if not number]
    immediate = bool(large) and np.broadcast_shapes(*large) == shape
    tensors: list[str] = []
    terms: list[Expr] = []
    for value, number in zip(values, numbers, strict=True):
        if immediate and number and value.scalar is not None:
            terms.append(Const(value.scalar))
        else:
            terms.append(Read(len(tensors)))
            tensors.append(g.tensor(value))
    out = g.result(node, shape, elem_type=values[0].elem_type if elem_type is None else elem_type)
    g.builder.elementwise(
        expr(terms), *tensors, kind=node.op_type, name=node.name, out=out.name, bits=g.bits_of(out)
    )  # fmt: skip


def _inputs(g: GraphImport, node: Node) -> list[Value]:
    return [g.value(node, i) for i in range(len(node.inputs))]


BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
VARIADIC = {"Sum": "add", "Max": "max", "Min": "min", "Mean": "add"}


@operator(*BINARY)
def binary(g: GraphImport, node: Node) -> None:
    """A division by a known number is a product with its reciprocal, as every compiler makes it."""
    op = BINARY[node.op_type]

    def expr(terms: list[Expr]) -> Expr:
        a, b = terms
        if op == "div" and isinstance(b, Const) and b.value and isinstance(a, Read):
            return mul(a, 1 / b.value)
        return Apply(op, (a, b))

    combine(g, node, _inputs(g, node)[:2], expr)


@operator(*VARIADIC)
def variadic(g: GraphImport, node: Node) -> None:
    op = VARIADIC[node.op_type]

    def expr(terms: list[Expr]) -> Expr:
        tree = terms[0]
        for term in terms[1:]:
            tree = Apply(op, (tree, term))
        return div(tree, float(len(terms))) if node.op_type == "Mean" else tree

    if len(node.inputs) == 1:
        g.view(node, g.value(node, 0).shape)
    else:
        combine(g, node, _inputs(g, node), expr)


@operator("Pow")
def power(g: GraphImport, node: Node) -> None:
    """Small whole powers are products and square roots are roots, as every compiler makes them."""

    def expr(terms: list[Expr]) -> Expr:
        base, exponent = terms
        if isinstance(exponent, Const) and isinstance(base, Read):
            match exponent.value:
                case 2.0:
                    return mul(base, base)
                case 3.0:
                    return mul(mul(base, base), base)
                case 0.5:
                    return apply("sqrt", base)
                case -0.5:
                    return apply("rsqrt", base)
                case -1.0:
                    return apply("recip", base)
        return Apply("pow", (base, exponent))

    combine(g, node, _inputs(g, node), expr)


@operator("PRelu")
def prelu(g: GraphImport, node: Node) -> None:
    combine(g, node, _inputs(g, node), lambda t: add(maximum(t[0], 0.0), mul(minimum(t[0], 0.0), t[1])))


@operator("Clip")
def clip(g: GraphImport, node: Node) -> None:
    """``min(max(x, low), high)``; the bounds are attributes before opset 11, then optional inputs."""
    values, steps = [g.value(node, 0)], []
    fixed: list[tuple[str, float]] = []
    for position, (bound, op) in enumerate((("min", "max"), ("max", "min")), start=1):
        value = g.maybe(node, position)
        if bound in node.attributes:
            fixed.append((op, float(node.attributes[bound])))
        elif value is not None:
            steps.append(op)
            values.append(value)

    def expr(terms: list[Expr]) -> Expr:
        tree = terms[0]
        for op, term in [*zip(steps, terms[1:], strict=True), *((op, Const(v)) for op, v in fixed)]:
            tree = Apply(op, (tree, term))
        return tree

    if steps or fixed:
        combine(g, node, values, expr)
    else:
        g.view(node, values[0].shape)


# -- comparisons and choices ---------------------------------------------------------------------------------------


def _not(a: Expr) -> Expr:
    return Apply("sub", (Const(1.0), a))


def _less(a: Expr, b: Expr) -> Expr:
    return Apply("less", (a, b))


COMPARISONS: dict[str, Callable[[list[Expr]], Expr]] = {
    "Less": lambda t: _less(t[0], t[1]),
    "Greater": lambda t: _less(t[1], t[0]),
    "LessOrEqual": lambda t: _not(_less(t[1], t[0])),
    "GreaterOrEqual": lambda t: _not(_less(t[0], t[1])),
    "Equal": lambda t: Apply("equal", (t[0], t[1])),
    "And": lambda t: minimum(t[0], t[1]),
    "Or": lambda t: maximum(t[0], t[1]),
    "Xor": lambda t: _not(Apply("equal", (t[0], t[1]))),
    "Not": lambda t: _not(t[0]),
    "IsNaN": lambda t: _not(Apply("equal", (t[0], t[0]))),
}
"""Truth is 1 and 0; a number equals itself unless it is NaN."""


@operator(*COMPARISONS)
def comparison(g: GraphImport, node: Node) -> None:
    from onnx import TensorProto

    combine(g, node, _inputs(g, node), COMPARISONS[node.op_type], elem_type=TensorProto.BOOL)


@operator("Where")
def where(g: GraphImport, node: Node) -> None:
    kind = g.value(node, 1).elem_type
    combine(g, node, _inputs(g, node), lambda t: Apply("select", (t[0], t[1], t[2])), elem_type=kind)
