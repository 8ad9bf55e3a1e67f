"""Expressions over the columns of a study: constraints, objectives, derived columns, filters, conditions of axes.

    >>> edp = Expression.parse("latency * energy").bind(["latency_s", "energy_J"])
    >>> edp.value({"latency_s": 2.0, "energy_J": 3.0})
    6.0
    >>> Expression.parse("energy <= 3 mJ").bind(["energy_J"]).value({"energy_J": 2e-3})
    True

Nothing of Python is evaluated. Numbers with units are read in SI, and so are settings such as ``256 KiB``; units that
do not go together (``latency_s <= 3 mJ``) are an error. A value that a row lacks, or that does not exist (a division by
zero), makes the whole undefined for that row.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..text.names import close
from .dimensions import PLAIN, SUFFIXES, UNKNOWN, Dimension, agree, divide, multiply, of_column, quantity, told
from .expression_nodes import COMPARISONS, Among, Binary, Call, Name, Node, Number, Text, Unary, is_truth, names
from .expression_parser import ExpressionError, parse
from .span import Scalar

Row: TypeAlias = Mapping[str, Scalar]
_Compiled: TypeAlias = Callable[[Row], Scalar]
_UNDEFINED = (KeyError, ZeroDivisionError, OverflowError, ValueError)
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": math.pow,
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
_CALLED: dict[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "log": math.log, "log2": math.log2, "log10": math.log10, "sqrt": math.sqrt
}


@dataclass(frozen=True)
class Expression:
    """The text of an expression and what it means."""

    text: str
    tree: Node
    columns: Mapping[str, str]
    """From the names in the text to the columns they stand for; empty before `bind`."""

    @classmethod
    def parse(cls, text: str, *, condition: bool | None = None) -> Expression:
        """Read an expression.

        Args:
            text: such as ``latency_s * energy_J`` or ``energy <= 3 mJ``.
            condition: whether it must be true or false (True) or a number (False).

        Raises:
            ExpressionError: it is not well formed, or of the other sort.
        """
        tree = parse(text)
        if condition and not (is_truth(tree) or isinstance(tree, Name)):
            raise ExpressionError(text, 0, "is no condition", "such as energy <= 3 mJ")
        if condition is False and (is_truth(tree) or isinstance(tree, Text)):
            raise ExpressionError(text, tree.at, "is no number", "such as latency_s * energy_J")
        return cls(text, tree, {})

    def names(self) -> list[str]:
        """The names as they stand in the text, each once."""
        return list(dict.fromkeys(name.name for name in names(self.tree)))

    def plain_column(self) -> str | None:
        """The column, if the expression is one column or its negative."""
        tree = self.tree.operand if isinstance(self.tree, Unary) else self.tree
        return self.columns.get(tree.name, tree.name) if isinstance(tree, Name) else None

    def bind(self, known: Iterable[str], dimensions: Mapping[str, Dimension] | None = None) -> Expression:
        """The expression over certain columns.

        A name is a column's own, one without its unit (``energy``), or the end of just one (``sram.capacity``).

        Args:
            known: all columns.
            dimensions: units of columns that their names do not tell.

        Raises:
            ExpressionError: a name that is no column, or units that do not go together.
        """
        every = list(dict.fromkeys(known))
        columns = {node.name: _column(self.text, node, every) for node in names(self.tree)}
        bound = Expression(self.text, self.tree, columns)
        bound.dimension(dimensions or {})
        return bound

    def dimension(self, known: Mapping[str, Dimension]) -> Dimension:
        """The unit of the value. Raises ExpressionError where units do not go together."""
        return _Dimensions(self, known).of(self.tree)

    def compile(self) -> Callable[[Row], Scalar | None]:
        """A function from rows to the value, None where that is undefined.

        It raises ExpressionError for text where a number is needed.
        """
        inner = _compile(self, self.tree)

        def value(row: Row) -> Scalar | None:
            try:
                found = inner(row)
            except _UNDEFINED:
                return None
            return None if isinstance(found, float) and not math.isfinite(found) else found

        return value

    def value(self, row: Row) -> Scalar | None:
        """The value for one row; see `compile`."""
        return self.compile()(row)


def _column(text: str, node: Name, known: Sequence[str]) -> str:
    if node.name in known:
        return node.name
    found = [c for c in known if c in {f"{node.name}_{suffix}" for suffix in SUFFIXES}]
    found = found or [c for c in known if c.endswith(f".{node.name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ExpressionError(text, node.at, f"'{node.name}' may be any of {', '.join(found[:6])}", "write one in full")
    ends = {end: c for c in known for end in (c, c.rpartition(".")[2])}
    found = close(node.name, ends)
    hint = f"did you mean '{ends[found[0]]}'?" if found else f"there are {', '.join(known[:20]) or 'none'}"
    raise ExpressionError(text, node.at, f"no column '{node.name}'", f"{hint}; a text stands in quotes")


class _Dimensions:
    """Works out units, bottom up."""

    def __init__(self, expression: Expression, known: Mapping[str, Dimension]) -> None:
        self.expression, self.known = expression, known

    def of(self, node: Node) -> Dimension:
        match node:
            case Number():
                return node.dimension
            case Name():
                column = self.expression.columns[node.name]
                return self.known.get(column, of_column(column))
            case Unary():
                return self.of(node.operand)
            case Binary(operator="*"):
                return multiply(self.of(node.left), self.of(node.right))
            case Binary(operator="/"):
                return divide(self.of(node.left), self.of(node.right))
            case Binary(operator="**"):
                return self.power(node)
            case Binary():
                return self.same(node, [node.left, node.right], node.operator in COMPARISONS)
            case Call(function="sqrt"):
                inner = self.of(node.arguments[0])
                even = inner is not None and all(power % 2 == 0 for _, power in inner)
                return frozenset((b, p // 2) for b, p in inner) if inner is not None and even else UNKNOWN
            case Call():
                same = self.same(node, list(node.arguments))
                return PLAIN if node.function.startswith("log") else same
            case Among():
                return self.same(node, [node.operand, *node.options], truth=True)
        return UNKNOWN

    def same(self, node: Node, parts: list[Node], truth: bool = False) -> Dimension:
        found: Dimension = PLAIN
        for part in parts:
            here = self.of(part)
            if not agree(found, here):
                what = f"{told(found)} beside {told(here)}"
                raise ExpressionError(self.expression.text, node.at, what, "units must go together")
            found = found or here
        return PLAIN if truth else found

    def power(self, node: Binary) -> Dimension:
        base, exponent = self.of(node.left), node.right
        if base and isinstance(exponent, Number) and exponent.value.is_integer():
            return frozenset((b, p * int(exponent.value)) for b, p in base if exponent.value)
        return base if not base else UNKNOWN


def _compile(whole: Expression, node: Node) -> _Compiled:
    match node:
        case Number() | Text():
            value = node.value
            return lambda row: value
        case Name():
            column = whole.columns[node.name]
            return lambda row: row[column]
        case Unary(operator="not"):
            inside = _truth(whole, node.operand)
            return lambda row: not inside(row)
        case Unary():
            operand = _number(whole, node.operand)
            return lambda row: -operand(row)
        case Binary(operator="and" | "or"):
            first, second = _truth(whole, node.left), _truth(whole, node.right)
            if node.operator == "and":
                return lambda row: first(row) and second(row)
            return lambda row: first(row) or second(row)
        case Binary(operator="==" | "!="):
            equal = _equal(whole, node.left, node.right)
            return equal if node.operator == "==" else lambda row: not equal(row)
        case Binary():
            left, right, apply = _number(whole, node.left), _number(whole, node.right), _ARITHMETIC[node.operator]
            return lambda row: apply(left(row), right(row))
        case Call():
            arguments, called = [_number(whole, argument) for argument in node.arguments], _CALLED[node.function]
            return lambda row: called(*[argument(row) for argument in arguments])
        case Among():
            options = [_equal(whole, node.operand, option) for option in node.options]
            return lambda row: any(option(row) for option in options)


def _number(whole: Expression, node: Node) -> Callable[[Row], float]:
    inner = _compile(whole, node)

    def value(row: Row) -> float:
        found = inner(row)
        if isinstance(found, str):
            read = quantity(found)
            if read is None:
                raise ExpressionError(whole.text, node.at, f"'{found}' is text where a number should stand",
                                      "texts are compared with == and !=")  # fmt: skip
            return read[0]
        return found

    return value


def _truth(whole: Expression, node: Node) -> Callable[[Row], bool]:
    inner = _compile(whole, node)

    def value(row: Row) -> bool:
        found = inner(row)
        if not isinstance(found, bool):
            raise ExpressionError(whole.text, node.at, f"{found!r} where a condition should stand")
        return found

    return value


def _equal(whole: Expression, left: Node, right: Node) -> Callable[[Row], bool]:
    """Texts are equal as quantities (``1 MiB`` and ``1024 KiB``) or else as they stand; a text is no number."""
    one, other = _compile(whole, left), _compile(whole, right)

    def value(row: Row) -> bool:
        a, b = one(row), other(row)
        return a == b or ((isinstance(a, str) or isinstance(b, str)) and _plain(a) == _plain(b))

    return value


def _plain(value: Scalar) -> Scalar:
    read = quantity(value) if isinstance(value, str) else None
    return value if read is None else read[0]
