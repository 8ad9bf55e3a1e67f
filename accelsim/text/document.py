"""YAML text as plain values, with the position of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import Problem, SpecError
from .names import short
from .nodes import Items, Keys, Node, Position, Table
from .yaml import parse

Steps: TypeAlias = tuple[str | int, ...]
"""`Keys` with the numbers of list items as numbers."""


@dataclass
class Document:
    """The values of a text (dict, list, str, int, float, bool, None), and where each stands.

    A position is held for every path to a mapping's entry or a list's item, and for the text as a whole under ``()``.
    """

    data: Any
    positions: dict[Keys, Position]

    @property
    def file(self) -> str:
        return self.positions[()].file

    def position(self, path: Steps) -> Position:
        """Where a value stands, else the nearest value around it."""
        known = tuple(map(str, path))
        while known not in self.positions:
            known = known[:-1]
        return self.positions[known]

    def where(self, path: Steps = ()) -> str:
        """Position and path of a value, as messages show them."""
        return self.position(path).at(path)

    def problem(self, path: Steps, what: str, hint: str = "") -> Problem:
        return Problem(self.where(path), what, hint)

    def error(self, path: Steps, what: str, hint: str = "") -> SpecError:
        return SpecError([self.problem(path, what, hint)])


def parse_document(
    text: str, file: str, root: tuple[str, str] | None = None, *, foreign: bool = False
) -> Document:
    """Read YAML text.

    Args:
        text: one YAML document.
        file: what positions call it.
        root: what to say, and what would be valid, where it is not a mapping; None: it may be anything.
        foreign: the file of another tool; see `yaml.parse`.

    Raises:
        SpecError: everything that is wrong: no YAML, duplicate keys, tags, not a mapping, far too large.
    """
    parsed = parse(text, file, foreign=foreign)
    if root is not None and not isinstance(parsed.root, Table):
        raise SpecError([Problem(f"{file}:1", *root)])
    document = Document(None, {(): Position(file, 1)})
    problems = [*parsed.problems]

    def value(node: Node, path: Keys) -> Any:
        if isinstance(node, Table):
            for key, (line, _) in node.entries.items():
                document.positions[(*path, key)] = Position(file, line)
            return {key: value(inner, (*path, key)) for key, (_, inner) in node.entries.items()}
        if isinstance(node, Items):
            for i, item in enumerate(node.items):
                document.positions[(*path, str(i))] = Position(file, item.line)
            return [value(item, (*path, str(i))) for i, item in enumerate(node.items)]
        try:
            return node.value
        except ValueError:
            problems.append((node.line, document.problem(path, f"`{short(node.text)}` is no number that can be read")))
            return None

    document.data = value(parsed.root, ())
    if problems:
        raise SpecError([problem for _, problem in sorted(problems, key=lambda p: p[0])])
    return document
