"""YAML text as nodes that know their lines; refused are tags, texts without end and aliases that blow up."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any, NamedTuple

from ..errors import Problem, SpecError
from .names import short
from .nodes import Items, Keys, Node, Position, Scalar, Table
from .plain import NotPlain, read_plain

MAX_CHARACTERS = 2**19
"""Of a text that only the general parser reads, which is slow."""
MAX_COPIES = 50_000
"""Values that aliases stand for."""
MAX_DEPTH = 100


TAG = "!"
"""Key under which the tag of a mapping stands in files of other tools."""


class Parsed(NamedTuple):
    """The nodes of a text, and what is wrong with it by line; something stands in place of what is wrong."""

    root: Node
    problems: tuple[tuple[int, Problem], ...]


def parse(text: str, file: str, *, foreign: bool = False) -> Parsed:
    """The nodes of a YAML document; nothing at all is a Scalar without text.

    Args:
        text: the document.
        file: what messages call it.
        foreign: the file of another tool, which is read as that tool does: of duplicate keys the last one counts, and
            the tag of a mapping (``!Container``) is its entry `TAG`.

    Raises:
        SpecError: it is not YAML, is too deep or too long, or its aliases stand for too much.
    """
    try:
        return Parsed(read_plain(text, MAX_DEPTH), ())
    except NotPlain:
        pass
    except RecursionError:
        raise _too_deep(file) from None
    return _general(text, file, foreign)


def _too_deep(where: str) -> SpecError:
    return SpecError([Problem(where, "nested too deep", f"at most {MAX_DEPTH} levels")])


def _general(text: str, file: str, foreign: bool = False) -> Parsed:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    if len(text) > MAX_CHARACTERS:
        raise SpecError([Problem(file, f"longer than {MAX_CHARACTERS} characters")])
    try:
        root = YAML(typ="safe", pure=True).compose(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError([Problem(Position(file, line).at(()), f"not valid YAML: {what}")]) from None
    except RecursionError:
        raise _too_deep(file) from None
    except Exception as error:  # the parser raises many types on malformed text, none of them ours
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError([Problem(file, f"not valid YAML: {short(what, 200)}")]) from None
    converter = _Converter(file, foreign)
    node = Scalar(1, "") if root is None else converter.node(root, ())
    return Parsed(node, tuple(converter.problems))


_HALF = re.compile("[\ud800-\udfff]")
_TEXTS = ("str", "timestamp", "merge", "value")
"""Tags of words that stand for themselves here."""


class _Converter:
    """From the parser's nodes to ours."""

    def __init__(self, file: str, foreign: bool) -> None:
        self.file, self.foreign = file, foreign
        self.problems: list[tuple[int, Problem]] = []
        self.seen: set[int] = set()
        self.open: set[int] = set()
        self.copies = 0

    def report(self, line: int, path: Keys, what: str, hint: str) -> None:
        self.problems.append((line, Problem(Position(self.file, line).at(path), what, hint)))

    def node(self, node: Any, path: Keys) -> Node:
        line = node.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            raise _too_deep(f"{self.file}:{line}")
        if id(node) in self.open:
            self.report(line, path, "an alias contains itself", "write the value out")
            return Scalar(line, "")
        if id(node) in self.seen:
            self.copies += 1
            if self.copies > MAX_COPIES:
                raise SpecError([Problem(self.file, f"aliases stand for more than {MAX_COPIES} values",
                                         "fewer aliases of aliases")])  # fmt: skip
        self.seen.add(id(node))
        self.open.add(id(node))
        try:
            return self.made(node, line, path)
        finally:
            self.open.discard(id(node))

    def made(self, node: Any, line: int, path: Keys) -> Node:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if isinstance(node, MappingNode) and tag == "map":
            return self.table(node, line, path)
        if self.foreign and isinstance(node, MappingNode) and tag.startswith("!"):
            inside = self.table(node, line, path)
            return Table(line, {TAG: (line, Scalar(line, tag.removeprefix("!"), quoted=True)), **inside.entries})
        if isinstance(node, SequenceNode) and tag == "seq":
            return Items(line, tuple(self.node(item, (*path, str(i))) for i, item in enumerate(node.value)))
        if not isinstance(node, MappingNode | SequenceNode):
            scalar = Scalar(line, str(node.value), node.style in ("'", '"', "|", ">"))
            if _HALF.search(scalar.text):
                self.report(line, path, "holds half a character", "a code from D800 to DFFF is none by itself")
                return Scalar(line, "")
            if tag == scalar.kind or (scalar.kind == "str" and tag in _TEXTS):
                return scalar
        self.report(line, path, f"tag {short(node.tag, 60)} is not read", "plain values only")
        return Scalar(line, "")

    def table(self, node: Any, line: int, path: Keys) -> Table:
        from ruamel.yaml.nodes import ScalarNode

        entries: dict[str, tuple[int, Node]] = {}
        for key_node, value in node.value:
            at = key_node.start_mark.line + 1
            key = str(key_node.value) if isinstance(key_node, ScalarNode) else "..."
            if not isinstance(key_node, ScalarNode):
                self.report(at, path, "a list or a mapping cannot be a key", "keys are names")
            elif _HALF.search(key):
                self.report(at, path, "a key holds half a character", "a code from D800 to DFFF is none by itself")
            elif str(key_node.tag).endswith(":merge"):
                self.report(at, path, f"`{key}` cannot be a key", "merge keys are not read; write the keys out")
            elif key in entries and not self.foreign:
                first = entries[key][0]
                self.report(at, (*path, key), "duplicate key", f"first given in line {first}; remove one")
            else:
                entries[key] = at, self.node(value, (*path, key))
        return Table(line, entries)
