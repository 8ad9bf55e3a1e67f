"""Derivatives of map expressions by one of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi, sqrt

from ..errors import BadInput
from .einsum import Apply, Const, Expr, Read

_ONE, _ZERO = Const(1.0), Const(0.0)


def derivative(expr: Expr, index: int, refused: Callable[[str], BadInput]) -> Expr:
    """The derivative by ``Read(index)``, as an expression over the same inputs.

    At a tie of ``max`` or ``min`` it is that of the first argument's side where that is smaller (larger): 0 at x = 0 of
    ``max(x, 0)``, as frameworks have it.

    Args:
        expr: the expression.
        index: which input.
        refused: makes the error of an operator without a derivative here, of what it says.
    """
    if isinstance(expr, Read):
        return _ONE if expr.index == index else _ZERO
    if isinstance(expr, Const) or index not in reads(expr):
        return _ZERO
    if expr.definition is not None:
        raise refused(f"applies {expr.op}, an operator of its own")
    inner = [derivative(a, index, refused) for a in expr.args]
    slopes = _slopes(expr)
    if slopes is None:
        raise refused(f"applies {expr.op}, which has no derivative here")
    total: Expr = _ZERO
    for slope, d in zip(slopes, inner, strict=True):
        total = _sum(total, _product(slope, d))
    return total


def _slopes(e: Apply) -> list[Expr] | None:
    """The derivative of an operator by each of its arguments."""
    a, b = e.args[0], e.args[-1]
    op = e.op
    if op in ("floor", "round", "less", "equal"):
        return [_ZERO for _ in e.args]
    table: dict[str, Callable[[], list[Expr]]] = {
        "add": lambda: [_ONE, _ONE],
        "sub": lambda: [_ONE, Const(-1.0)],
        "neg": lambda: [Const(-1.0)],
        "copy": lambda: [_ONE],
        "mul": lambda: [b, a],
        "div": lambda: [Apply("recip", (b,)), Apply("neg", (Apply("div", (e, b)),))],
        "max": lambda: [Apply("less", (b, a)), Apply("sub", (_ONE, Apply("less", (b, a))))],
        "min": lambda: [Apply("less", (a, b)), Apply("sub", (_ONE, Apply("less", (a, b))))],
        "exp": lambda: [e],
        "log": lambda: [Apply("recip", (a,))],
        "sqrt": lambda: [Apply("div", (Const(0.5), e))],
        "rsqrt": lambda: [Apply("mul", (Const(-0.5), Apply("mul", (e, Apply("mul", (e, e))))))],
        "recip": lambda: [Apply("neg", (Apply("mul", (e, e)),))],
        "tanh": lambda: [Apply("sub", (_ONE, Apply("mul", (e, e))))],
        "sigmoid": lambda: [Apply("mul", (e, Apply("sub", (_ONE, e))))],
        "erf": lambda: [Apply("mul", (Const(2 / sqrt(pi)), Apply("exp", (Apply("neg", (Apply("mul", (a, a)),)),))))],
        "sin": lambda: [Apply("cos", (a,))],
        "cos": lambda: [Apply("neg", (Apply("sin", (a,)),))],
    }
    return table[op]() if op in table else None


def reads(expr: Expr) -> set[int]:
    """Numbers of the inputs that an expression reads."""
    if isinstance(expr, Read):
        return {expr.index}
    return set().union(*(reads(a) for a in expr.args)) if isinstance(expr, Apply) else set()


def shifted(expr: Expr) -> Expr:
    """The expression with every input one further on."""
    if isinstance(expr, Read):
        return Read(expr.index + 1)
    return replace(expr, args=tuple(shifted(a) for a in expr.args)) if isinstance(expr, Apply) else expr


def is_one(expr: Expr) -> bool:
    return expr == _ONE


def is_zero(expr: Expr) -> bool:
    return expr == _ZERO


def _product(a: Expr, b: Expr) -> Expr:
    if is_zero(a) or is_zero(b):
        return _ZERO
    if is_one(a) or is_one(b):
        return b if is_one(a) else a
    return Apply("mul", (a, b))


def _sum(a: Expr, b: Expr) -> Expr:
    if is_zero(a) or is_zero(b):
        return b if is_zero(a) else a
    return Apply("add", (a, b))
