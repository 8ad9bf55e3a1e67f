"""The usual activation functions as map expressions over ``Read(0)``."""

from __future__ import annotations

from math import pi, sqrt

from .einsum import Apply, Const, Expr, Read

_X = Read(0)


def product(*args: Expr) -> Expr:
    """The product of expressions, from left to right."""
    tree = args[0]
    for arg in args[1:]:
        tree = Apply("mul", (tree, arg))
    return tree


def _gelu(inner: Expr) -> Expr:
    return product(_X, Apply("add", (inner, Const(1.0))), Const(0.5))


_CUBIC = Apply("add", (Const(1.0), product(_X, _X, Const(0.044715))))

ACTIVATIONS: dict[str, Expr] = {
    "relu": Apply("max", (_X, Const(0.0))),
    "sigmoid": Apply("sigmoid", (_X,)),
    "tanh": Apply("tanh", (_X,)),
    "silu": product(_X, Apply("sigmoid", (_X,))),
    "gelu": _gelu(Apply("erf", (product(_X, Const(1 / sqrt(2))),))),
    "gelu_tanh": _gelu(Apply("tanh", (product(_X, _CUBIC, Const(sqrt(2 / pi))),))),
}
"""GELU by erf and by tanh: Hendrycks and Gimpel, arXiv:1606.08415. SiLU: x * sigmoid(x)."""
