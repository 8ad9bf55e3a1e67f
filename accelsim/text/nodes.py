"""The nodes of a YAML text: words, mappings and lists, each with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Keys: TypeAlias = tuple[str, ...]
"""What leads from the text to a value: keys, and numbers of list items."""


class Position(NamedTuple):
    """Where a value stands; a line of 0 is a value that was set from outside."""

    file: str
    line: int

    def at(self, path: tuple[str | int, ...]) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {'.'.join(map(str, path))}" if path else where


Plain: TypeAlias = str | int | float | bool | None
Kind: TypeAlias = Literal["str", "int", "float", "bool", "null"]

MAX_DIGITS = 60
"""Of a whole number: those beyond have no meaning here, and are too large for a float."""

# What YAML 1.2 takes words without quotes for, as ruamel.yaml reads it.
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9_]+)")
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word as it stands, without its quotes."""

    line: int
    text: str
    quoted: bool = False

    @property
    def kind(self) -> Kind:
        if self.is_null:
            return "null"
        if self.quoted or self.text[0] not in "+-.0123456789":
            return "bool" if self.text in _BOOL and not self.quoted else "str"
        if _INT.fullmatch(self.text):
            return "int"
        return "float" if _FLOAT.fullmatch(self.text) else "str"

    @property
    def is_null(self) -> bool:
        return self.text in _NULL and not self.quoted

    @property
    def value(self) -> Plain:
        """What it stands for. Raises ValueError for a number that Python cannot read."""
        match self.kind:
            case "int":
                digits = self.text.replace("_", "")
                if len(digits) > MAX_DIGITS:
                    raise ValueError(f"more than {MAX_DIGITS} digits")
                return int(digits, 0 if digits.lstrip("+-")[:2] in ("0b", "0o", "0x") else 10)
            case "float":
                return float(self.text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
            case "bool":
                return _BOOL[self.text]
            case "null":
                return None
        return self.text


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in order: the line of each key, and its value."""

    line: int
    entries: Mapping[str, tuple[int, Node]]


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    items: tuple[Node, ...]


Node: TypeAlias = Scalar | Table | Items
