"""Operators that map every element: activations, arithmetic with broadcasting, casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt

import numpy as np

from ...ir import Apply, Const, Expr, Read
from .graph import GraphImport, operator
from .loading import Node, Value, is_floating

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
    if node.attributes.get("approximate", "none") == "tanh":
        inner = mul(add(X, mul(mul(mul(X, X), X), 0.044715)), sqrt(2 / pi))
        return mul(mul(X, 0.5), add(apply("tanh", inner), 1.0))
    return mul(mul(X, 0.5), add(apply("erf", mul(X, 1 / sqrt(2))), 1.0))


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
    "Tanh": lambda _: apply("tanh", X),
    "Sigmoid": lambda _: apply("sigmoid", X),
    "Relu": lambda _: maximum(X, 0.0),
    "LeakyRelu": _leaky_relu,
    "Elu": lambda n: _elu(_attribute(n, "alpha", 1.0)),
    "Selu": lambda n: _elu(_attribute(n, "alpha", 1.6732631921768188), _attribute(n, "gamma", 1.0507010221481323)),
    "Softplus": lambda _: _softplus(X),
    "Softsign": lambda _: div(X, add(apply("abs", X), 1.0)),
    "HardSigmoid": lambda n: _hard_sigmoid(_attribute(n, "alpha", 0.2), _attribute(n, "beta", 0.5)),
    "HardSwish": lambda _: mul(X, _hard_sigmoid(1 / 6, 0.5)),
    "Gelu": _gelu,
    "Swish": lambda n: mul(X, apply("sigmoid", mul(X, _attribute(n, "alpha", 1.0)))),
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


@operator("Clip")
def clip(g: GraphImport, node: Node) -> None:
    low, high = g.number(node, 1, "min"), g.number(node, 2, "max")
    expr: Expr = X
    if low is not None:
        expr = maximum(expr, low)
    if high is not None:
        expr = minimum(expr, high)
    if expr is X:
        g.view(node, g.value(node, 0).shape)
    else:
        map_one(g, node, expr)


@operator("Cast", "CastLike")
def cast(g: GraphImport, node: Node) -> None:
    """Another name for the same bits where the type stays; a converting copy where its width or kind changes."""
    x = g.value(node, 0)
    to = int(node.attributes["to"]) if node.op_type == "Cast" else g.value(node, 1).elem_type
    same_width = g.element_bits(to, str(node)) == g.element_bits(x.elem_type, str(node))
    if same_width and is_floating(to) == is_floating(x.elem_type):
        g.view(node, x.shape)
        g.values[node.outputs[0]] = Value(node.outputs[0], x.shape, to, x.constant)
    else:
        map_one(g, node, X, elem_type=to)


# -- several tensors -----------------------------------------------------------------------------------------------


def combine(g: GraphImport, node: Node, values: Sequence[Value], expr: Callable[[list[Expr]], Expr]) -> None:
    """The output is `expr` of the broadcast values; a single known number stands in the expression itself."""
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
    g.built(node, g.builder.elementwise(expr(terms), *tensors, kind=node.op_type, name=node.name, out=node.outputs[0]))


def _inputs(g: GraphImport, node: Node) -> list[Value]:
    return [g.value(node, i) for i in range(len(node.inputs))]


BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
VARIADIC = {"Sum": "add", "Max": "max", "Min": "min", "Mean": "add"}


@operator(*BINARY)
def binary(g: GraphImport, node: Node) -> None:
    op = BINARY[node.op_type]
    combine(g, node, _inputs(g, node)[:2], lambda t: Apply(op, (t[0], t[1])))


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
