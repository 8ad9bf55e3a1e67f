"""YAML text as nodes that know their lines, and a reader that collects every problem of a file.

Mappings of large models have tens of thousands of lines, for which a general YAML parser in Python takes seconds. What
`yaml_form` writes, and most of what people write by hand, is a small part of YAML: blocks, `{...}` and `[...]` within a
line, plain words and double quotes. `parse` reads that part itself and hands everything else to ruamel.yaml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from math import inf, nan
from pathlib import Path
from tempfile import mkstemp
from typing import Any, TypeAlias

from ..errors import BadInput, Problem, SpecError

MAX_DEPTH = 200


@dataclass(frozen=True)
class Scalar:
    """A word as it stands, without its quotes."""

    line: int
    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Table:
    """Keys with their values, in order, duplicates included: (key, line of the key, value)."""

    line: int
    entries: tuple[tuple[str, int, Node], ...]


@dataclass(frozen=True)
class Items:
    """A list."""

    line: int
    items: tuple[Node, ...]


Node: TypeAlias = Scalar | Table | Items


def parse(text: str, name: str) -> Node:
    """The nodes of a YAML document.

    Args:
        text: the document.
        name: what messages call it.

    Raises:
        SpecError: it is not YAML, or has aliases, tags or keys that are not plain; the message has the line.
    """
    try:
        return _Plain(text).document()
    except _NotPlain:
        pass
    except RecursionError:
        raise SpecError([Problem(name, "nested too deep", f"at most {MAX_DEPTH} levels")]) from None
    return _general(text, name)


# -- the part of YAML that is read here ------------------------------------------------------------------------------


class _NotPlain(Exception):
    """The text has something that only the general parser reads."""


_STRANGE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_WORD = r"[A-Za-z0-9_./+](?:[A-Za-z0-9_./+-]*[A-Za-z0-9_./+-])?|-[0-9.][0-9.eE+-]*"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_KEY = re.compile(rf"({_WORD}|{_QUOTED}):(?: +(.*))?$")
_TOKEN = re.compile(rf" *(?:([{{}}\[\],])|({_WORD})(?=[ ,:}}\]]|$)|({_QUOTED}))(:(?= |$))?")
_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(["\\/nt])|(.))')
_SIMPLE = {"n": "\n", "t": "\t"}


class _Plain:
    """Recursive descent over the lines of a document: (indent, text, line number), bare lines and comments left out."""

    def __init__(self, text: str) -> None:
        if _STRANGE.search(text):
            raise _NotPlain
        self.lines: list[tuple[int, str, int]] = []
        for number, line in enumerate(text.split("\n"), 1):
            content = line.lstrip(" ")
            if content and content[0] != "#":
                if "#" in content:
                    content = _without_comment(content)
                self.lines.append((len(line) - len(line.lstrip(" ")), content.rstrip(" "), number))
        self.i = 0

    def document(self) -> Node:
        if not self.lines or self.lines[0][0]:
            raise _NotPlain
        node = self.block(0)
        if self.i != len(self.lines) or not isinstance(node, Table):
            raise _NotPlain
        return node

    def block(self, depth: int) -> Node:
        """The node that begins at the current line."""
        if depth > MAX_DEPTH:
            raise RecursionError
        indent, content, _ = self.lines[self.i]
        if content == "-" or content.startswith("- "):
            return self.sequence(indent, depth)
        if _KEY.match(content):
            return self.mapping(indent, depth)
        return self.inline()

    def sequence(self, indent: int, depth: int) -> Items:
        first = self.lines[self.i][2]
        found: list[Node] = []
        while self.i < len(self.lines):
            here, content, number = self.lines[self.i]
            if here < indent or (here == indent and not (content == "-" or content.startswith("- "))):
                break
            if here > indent:
                raise _NotPlain
            rest = content[1:].lstrip(" ")
            if rest:
                self.lines[self.i] = (indent + len(content) - len(rest), rest, number)
            else:
                self.i += 1
                self.below(indent)
            found.append(self.block(depth + 1))
        return Items(first, tuple(found))

    def mapping(self, indent: int, depth: int) -> Table:
        first = self.lines[self.i][2]
        found: list[tuple[str, int, Node]] = []
        while self.i < len(self.lines):
            here, content, number = self.lines[self.i]
            if here < indent:
                break
            match = _KEY.match(content)
            if here > indent or match is None:
                raise _NotPlain
            key, rest = match.group(1), match.group(2)
            if rest:
                self.lines[self.i] = (indent + 1, rest, number)
                value = self.inline()
                if self.i < len(self.lines) and self.lines[self.i][0] > indent:
                    raise _NotPlain
            else:
                self.i += 1
                after = self.lines[self.i] if self.i < len(self.lines) else (-1, "", 0)
                if not (after[0] == indent and (after[1] == "-" or after[1].startswith("- "))):
                    self.below(indent)
                value = self.block(depth + 1)
            found.append((_unquoted(key), number, value))
        return Table(first, tuple(found))

    def below(self, indent: int) -> None:
        if self.i >= len(self.lines) or self.lines[self.i][0] <= indent:
            raise _NotPlain

    def inline(self) -> Node:
        """A value that fills the rest of the current line."""
        _, content, number = self.lines[self.i]
        self.i += 1
        node, end = _flow(content, 0, number, 0)
        if end != len(content):
            raise _NotPlain
        return node


_COMMENT = re.compile(rf'(?:[^"#]|{_QUOTED}|(?<! )#)*')


def _without_comment(content: str) -> str:
    """The line up to a ``#`` that follows a blank, outside of quotes."""
    before = _COMMENT.match(content)
    end = before.end() if before else 0
    if end < len(content) and content[end] == '"':
        raise _NotPlain  # a quote that does not end in this line
    return content[:end]


def _flow(text: str, at: int, line: int, depth: int) -> tuple[Node, int]:
    """The node that begins at a column, and the column after it."""
    if depth > MAX_DEPTH:
        raise RecursionError
    token = _TOKEN.match(text, at)
    if token is None or token.group(4):
        raise _NotPlain
    mark, word, quoted, _ = token.groups()
    if word is not None:
        return Scalar(line, word), token.end()
    if quoted is not None:
        return Scalar(line, _unquoted(quoted), True), token.end()
    if mark == "{":
        return _flow_table(text, token.end(), line, depth)
    if mark == "[":
        return _flow_items(text, token.end(), line, depth)
    raise _NotPlain


def _flow_table(text: str, at: int, line: int, depth: int) -> tuple[Node, int]:
    entries: list[tuple[str, int, Node]] = []
    while True:
        token = _TOKEN.match(text, at)
        if token is None:
            raise _NotPlain
        if token.group(1) == "}" and not token.group(4):
            return Table(line, tuple(entries)), token.end()
        if not token.group(4) or token.group(1):
            raise _NotPlain
        value, at = _flow(text, token.end(), line, depth + 1)
        entries.append((_unquoted(token.group(2) or token.group(3)), line, value))
        at = _after_entry(text, at, "}")


def _flow_items(text: str, at: int, line: int, depth: int) -> tuple[Node, int]:
    items: list[Node] = []
    while True:
        token = _TOKEN.match(text, at)
        if token is not None and token.group(1) == "]" and not token.group(4):
            return Items(line, tuple(items)), token.end()
        value, at = _flow(text, at, line, depth + 1)
        items.append(value)
        at = _after_entry(text, at, "]")


def _after_entry(text: str, at: int, closing: str) -> int:
    """The column after a comma, or of the closing bracket."""
    token = _TOKEN.match(text, at)
    if token is None or token.group(4) or token.group(1) not in (",", closing):
        raise _NotPlain
    return token.end() if token.group(1) == "," else at


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    body = text[1:-1]
    return _ESCAPE.sub(_escaped, body) if "\\" in body else body


def _escaped(match: re.Match[str]) -> str:
    *codes, simple, other = match.groups()
    for code in codes:
        if code is not None:
            return chr(int(code, 16))
    if other is not None:
        raise _NotPlain
    return _SIMPLE.get(simple, simple)


def quoted(text: str) -> str:
    """A word as it may stand in YAML, in double quotes where it needs them."""
    if _BARE.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return '"' + "".join(_QUOTES.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
_QUOTES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _code(c: str) -> str:
    n = ord(c)
    return f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}"


# -- all of YAML -----------------------------------------------------------------------------------------------------


def _general(text: str, name: str) -> Node:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        root = YAML(typ="safe", pure=True).compose(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError([Problem(where, f"not valid YAML: {what}")]) from None
    except RecursionError:
        raise SpecError([Problem(name, "nested too deep", f"at most {MAX_DEPTH} levels")]) from None
    except Exception as error:  # the parser raises many types on malformed text, none of them ours
        what = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise SpecError([Problem(name, f"not valid YAML: {what}")]) from None
    if root is None:
        raise SpecError([Problem(name, "the file is empty")])
    seen: set[int] = set()
    problems: list[Problem] = []
    node = _converted(root, name, seen, problems, 0)
    if problems:
        raise SpecError(problems)
    return node


_TAGS = frozenset({"str", "int", "float", "bool", "null", "map", "seq", "timestamp"})


def _converted(node: Any, name: str, seen: set[int], problems: list[Problem], depth: int) -> Node:
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        raise SpecError([Problem(f"{name}:{line}", "nested too deep", f"at most {MAX_DEPTH} levels")])
    if str(node.tag).removeprefix("tag:yaml.org,2002:") not in _TAGS:
        problems.append(Problem(f"{name}:{line}", f"tag {str(node.tag)[:40]} is not read", "plain values only"))
    if id(node) in seen:
        raise SpecError([Problem(f"{name}:{line}", "aliases are not read", "write the value out")])
    seen.add(id(node))
    if isinstance(node, MappingNode):
        entries: list[tuple[str, int, Node]] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                problems.append(Problem(f"{name}:{key.start_mark.line + 1}", "a key must be a plain word"))
                continue
            at = key.start_mark.line + 1
            entries.append((str(key.value), at, _converted(value, name, seen, problems, depth + 1)))
        return Table(line, tuple(entries))
    if isinstance(node, SequenceNode):
        return Items(line, tuple(_converted(item, name, seen, problems, depth + 1) for item in node.value))
    return Scalar(line, str(node.value), node.style in ("'", '"', "|", ">"))


# -- reading values --------------------------------------------------------------------------------------------------


_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": inf, "-.inf": -inf, ".nan": nan}


class Reader:
    """Turns nodes into values; what is wrong is collected, and a value of the right type takes its place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []

    def problem(self, line: int, path: str, what: str, hint: str = "") -> None:
        where = f"{self.name}:{line}: {path}" if path else f"{self.name}:{line}"
        self.problems.append(Problem(where, what, hint))

    def finish(self) -> None:
        """Raise SpecError with all problems, by line, if there is one."""
        if self.problems:
            raise SpecError(sorted(self.problems, key=lambda p: int(p.where[len(self.name) + 1 :].split(":")[0])))

    def entries(self, node: Node, path: str, example: str) -> dict[str, tuple[int, Node]]:
        """The entries of a table by key, duplicates reported."""
        if not isinstance(node, Table):
            self.problem(node.line, path, "must be a mapping", f"such as {example}")
            return {}
        found: dict[str, tuple[int, Node]] = {}
        for key, line, value in node.entries:
            if key in found:
                self.problem(line, path, f"duplicate key {key[:60]!r}", f"first given in line {found[key][0]}")
            else:
                found[key] = (line, value)
        return found

    def table(
        self, node: Node, path: str, required: Sequence[str], optional: Sequence[str], example: str
    ) -> dict[str, Node]:
        """The values of a table by key; unknown, missing and duplicate keys are reported."""
        found = self.entries(node, path, example)
        known = (*required, *optional)
        for key, (line, _) in found.items():
            if key not in known:
                self.problem(line, path, f"unknown key {key[:60]!r}", nearest(key, known))
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
        if not isinstance(node, Scalar) or (not node.quoted and node.text in ("", "~", "null")):
            self.problem(node.line, path, "must be a name")
            return ""
        return node.text

    def integer(self, node: Node | None, path: str, *, least: int, default: int = 0) -> int:
        if node is None:
            return default
        if not isinstance(node, Scalar) or node.quoted or not _INTEGER.fullmatch(node.text) or int(node.text) < least:
            shown = f"`{node.text[:40]}` is not" if isinstance(node, Scalar) else "must be"
            self.problem(node.line, path, f"{shown} a whole number of at least {least}")
            return max(least, default)
        return int(node.text)

    def number(self, node: Node | None, path: str, default: float = 0.0) -> float:
        if node is None:
            return default
        if isinstance(node, Scalar) and not node.quoted:
            if _NUMBER.fullmatch(node.text):
                return float(node.text)
            if node.text in _SPECIAL:
                return _SPECIAL[node.text]
        self.problem(node.line, path, "must be a number")
        return default

    def boolean(self, node: Node | None, path: str, default: bool) -> bool:
        if node is None:
            return default
        if isinstance(node, Scalar) and not node.quoted and node.text.lower() in ("true", "false"):
            return node.text.lower() == "true"
        self.problem(node.line, path, "must be true or false")
        return default


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant: the nearest name, else the names there are."""
    names = sorted(known)
    close = get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return "there is none"
    return "there are " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


# -- files -----------------------------------------------------------------------------------------------------------


def read_text(path: str | Path) -> str:
    """The text of a file. Raises SpecError if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError([Problem(str(path), "not UTF-8 text")]) from None
    except (OSError, ValueError) as error:
        raise SpecError([Problem(str(path), f"cannot read: {getattr(error, 'strerror', None) or error}")]) from None


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all. Raises BadInput if it cannot be written."""
    file = Path(path)
    temporary: Path | None = None
    try:
        handle, made = mkstemp(dir=file.parent, prefix=f".{file.name}-")
        temporary = Path(made)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(file)
    except OSError as error:
        raise BadInput(f"{file}: cannot write ({error.strerror}); give another output path") from None
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()
