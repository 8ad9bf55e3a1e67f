"""YAML as plain values, with the line of every key and item, for errors that say where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import BadInput, Problem, SpecError

Keys: TypeAlias = tuple[str | int, ...]
"""Keys and positions that lead from the document to a value."""

MAX_CHARACTERS = 2**22
MAX_NODES = 200_000
MAX_DEPTH = 40
_PREFIX = "tag:yaml.org,2002:"


@dataclass
class Document:
    """Plain values (dict, list, str, int, float, bool, None) and the line on which each stands."""

    file: str
    data: Any = None
    lines: dict[Keys, int] = field(default_factory=dict)

    def where(self, path: Keys = ()) -> str:
        """``file:line`` of a value, or of the nearest value around it."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return f"{self.file}:{self.lines.get(known, 1)}"

    def problem(self, path: Keys, what: str, hint: str = "") -> Problem:
        shown = ".".join(str(p) for p in path)
        return Problem(f"{self.where(path)}: {shown}" if shown else self.where(path), what, hint)

    def error(self, path: Keys, what: str, hint: str = "") -> SpecError:
        return SpecError([self.problem(path, what, hint)])


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint: the nearest name, or all of them."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"one of {', '.join(names)}"


def read_text(path: str | Path) -> str:
    """Text of a file. Raises BadInput where it cannot be read, or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not text in UTF-8") from None


def parse_yaml(text: str, file: str) -> Document:
    """Read one YAML document.

    Raises:
        SpecError: not YAML, a duplicate key, a tag, a key that is no text, or a document that is far too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise SpecError([Problem(file, f"longer than {MAX_CHARACTERS} characters")])
    try:
        root = YAML(typ="safe", pure=True).compose(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError([Problem(f"{file}:{mark.line + 1 if mark else 1}", f"not valid YAML: {what}")]) from None
    except Exception as error:  # the parser raises many types on malformed text, none of them ours
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise SpecError([Problem(file, f"not valid YAML: {what}")]) from None
    document = Document(file)
    reader = _Reader(document)
    if root is not None:
        document.data = reader.value(root, ())
    if reader.problems:
        raise SpecError(reader.problems)
    return document


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.count = 0

    def wrong(self, node: Node, what: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{self.document.file}:{node.start_mark.line + 1}", what, hint))

    def value(self, node: Node, path: Keys) -> Any:
        self.count += 1
        if self.count > MAX_NODES or len(path) > MAX_DEPTH:
            raise self.document.error(path[:3], f"more than {MAX_NODES} values, or nested more than {MAX_DEPTH} deep",
                                      "aliases count as written out")
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        tag = str(node.tag).removeprefix(_PREFIX)
        if isinstance(node, MappingNode) and tag == "map":
            return self.mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return self.scalar(node, tag)

    def mapping(self, node: MappingNode, path: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.value == "<<":
                self.wrong(key_node, "cannot be a key", "keys are words; merge keys are not read")
                continue
            key = str(key_node.value)
            if key in found:
                self.wrong(key_node, f"duplicate key '{key}'",
                           f"first given in line {self.document.lines[(*path, key)]}; remove one")
                continue
            self.document.lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self.value(value_node, (*path, key))
        return found

    def scalar(self, node: Node, tag: str) -> Any:
        text = str(node.value)
        try:
            match tag:
                case "str" | "timestamp":
                    return text
                case "int":
                    return int(text.replace("_", ""), 0 if text.lstrip("+-")[:2].lower() in ("0x", "0o") else 10)
                case "float":
                    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "null":
                    return None
        except (ValueError, KeyError):
            pass
        self.wrong(node, f"'{text[:40]}' with tag {tag[:40]} is not read", "plain values only")
        return None
