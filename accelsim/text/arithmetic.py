"""Sums of numbers as files of other tools write them: `1024 * 1024 * 8 // 64`, `8 * 614e9`, `inf`. Nothing is run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from math import inf, isfinite

MAX_CHARS = 200
LIMIT = 1e18
"""Largest value on the way, so that no power runs away."""
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


def arithmetic(value: object) -> float | None:
    """The value of a number, or of a text of numbers, parentheses and + - * / // **; None if it is neither.

    `inf` is infinite. Values on the way beyond 1e18 in size, and divisions by zero, make it None.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or len(value) > MAX_CHARS:
        return None
    if value.strip().lower() in ("inf", ".inf", "infinity"):
        return inf
    try:
        return _value(ast.parse(value.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> float:
    """Raises ValueError where the text is no sum of numbers, or a value is out of range."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _within(number)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and (abs(b) > 64 or (a < 0 and b != int(b))):
                raise ValueError("a power out of range")
            return _within(_OPERATORS[type(op)](a, b))
    raise ValueError("no sum of numbers")


def _within(number: float) -> float:
    if not isfinite(number) or abs(number) > LIMIT:
        raise ValueError("out of range")
    return number
