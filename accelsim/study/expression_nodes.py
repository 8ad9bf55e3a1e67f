"""The tree of an expression. Every node knows where in the text it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .dimensions import Dimension


@dataclass(frozen=True)
class Number:
    """A literal in SI."""

    at: int
    value: float
    dimension: Dimension


@dataclass(frozen=True)
class Text:
    """A literal in quotes."""

    at: int
    value: str


@dataclass(frozen=True)
class Name:
    """A column or setting."""

    at: int
    name: str


@dataclass(frozen=True)
class Unary:
    """``-x`` or ``not x``."""

    at: int
    operator: str
    operand: Node


@dataclass(frozen=True)
class Binary:
    """``+ - * / **``, a comparison, ``and`` or ``or``."""

    at: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Call:
    """A function of `FUNCTIONS`."""

    at: int
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Among:
    """``x in (a, b)``."""

    at: int
    operand: Node
    options: tuple[Node, ...]


Node: TypeAlias = Number | Text | Name | Unary | Binary | Call | Among

COMPARISONS = ("<=", ">=", "==", "!=", "<", ">")
FUNCTIONS = {
    "min": (2, 32), "max": (2, 32), "abs": (1, 1), "log": (1, 1), "log2": (1, 1), "log10": (1, 1), "sqrt": (1, 1)
}  # fmt: skip
"""Functions, each with the least and the most arguments."""


def is_truth(node: Node) -> bool:
    """Whether the value is true or false, as far as the text alone tells."""
    match node:
        case Unary(operator="not") | Among():
            return True
        case Binary(operator=operator):
            return operator in COMPARISONS or operator in ("and", "or")
    return False


def names(node: Node) -> list[Name]:
    """The names in a tree, in the order of the text."""
    match node:
        case Name():
            return [node]
        case Unary(operand=operand):
            return names(operand)
        case Binary(left=left, right=right):
            return [*names(left), *names(right)]
        case Call(arguments=arguments):
            return [name for argument in arguments for name in names(argument)]
        case Among(operand=operand, options=options):
            return [name for part in (operand, *options) for name in names(part)]
    return []
