"""Typed fields of a YAML text, taken out one by one; everything that is wrong is collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ..errors import Problem, SpecError
from .names import nearest, short
from .nodes import Items, Node, Plain, Scalar, Table
from .yaml import parse

LARGEST = 10**18
"""Of a whole number of which nothing else is said."""


class Reader:
    """Turns nodes into values; what is wrong is collected, and a value of the right type takes its place."""

    def __init__(self, text: str, file: str) -> None:
        """Raises SpecError where the text has no nodes at all; see `yaml.parse`."""
        self.file = file
        self.root, problems = parse(text, file)
        self.problems = [*problems]

    def problem(self, line: int, path: str, what: str, hint: str = "") -> None:
        where = f"{self.file}:{line}: {path}" if path else f"{self.file}:{line}"
        self.problems.append((line, Problem(where, what, hint)))

    def finish(self) -> None:
        """Raise SpecError with all problems, by line, if there is one."""
        if self.problems:
            raise SpecError([problem for _, problem in sorted(self.problems, key=lambda p: p[0])])

    def entries(self, node: Node, path: str, example: str) -> Mapping[str, tuple[int, Node]]:
        """The entries of a mapping: the line of each key, and its value."""
        if isinstance(node, Table):
            return node.entries
        self.problem(node.line, path, "must be a mapping", f"such as {example}")
        return {}

    def table(
        self, node: Node, path: str, required: Sequence[str], optional: Sequence[str], example: str
    ) -> dict[str, Node]:
        """The values of a table by key; unknown and missing keys are reported."""
        found = self.entries(node, path, example)
        known = (*required, *optional)
        for key, (line, _) in found.items():
            if key not in known:
                self.problem(line, path, f"unknown key {short(key, 60)!r}", nearest(key, known))
        if isinstance(node, Table):
            for key in required:
                if key not in found:
                    self.problem(node.line, path, f"missing key {key!r}", f"such as {example}")
        return {key: value for key, (_, value) in found.items() if key in known}

    def items(self, node: Node | None, path: str) -> tuple[Node, ...]:
        if node is None:
            return ()
        if not isinstance(node, Items):
            self.problem(node.line, path, "must be a list", "such as [...] or lines that begin with `- `")
            return ()
        return node.items

    def text(self, node: Node | None, path: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar) or node.is_null:
            self.problem(node.line, path, "must be a name")
            return ""
        return node.text

    def integer(
        self, node: Node | None, path: str, *, least: int, default: int = 0, most: int | None = None
    ) -> int:
        if node is None:
            return default
        value = _value(node)
        if type(value) is int and least <= value <= (LARGEST if most is None else most):
            return value
        shown = f"`{short(node.text)}` is not" if isinstance(node, Scalar) else "must be"
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        self.problem(node.line, path, f"{shown} a whole number {wanted}")
        return max(least, default)

    def number(self, node: Node | None, path: str, default: float = 0.0) -> float:
        if node is None:
            return default
        value = _value(node)
        if isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):
                return float(value)
        self.problem(node.line, path, "must be a number")
        return default

    def boolean(self, node: Node | None, path: str, default: bool) -> bool:
        if node is None:
            return default
        value = _value(node)
        if isinstance(value, bool):
            return value
        self.problem(node.line, path, "must be true or false")
        return default


def _value(node: Node) -> Plain:
    """The value of a word; None for a list, a mapping and what cannot be read."""
    if isinstance(node, Scalar):
        with suppress(ValueError):
            return node.value
    return None
