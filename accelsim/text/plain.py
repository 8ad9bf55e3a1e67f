"""The part of YAML that is read without the general parser, and words as they stand in it.

Mappings of large models have tens of thousands of lines, for which a general YAML parser in Python takes seconds. What
accelsim writes, and most of what people write by hand, is a small part of YAML: blocks, `{...}` and `[...]` within a
line, words, sentences that end with their line or stand folded (`>-`) below it, and double quotes.
"""

from __future__ import annotations

import re

from .nodes import Items, Node, Scalar, Table


class NotPlain(Exception):
    """The text has something that only the general parser reads."""


_STRANGE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_WORD = r"[$A-Za-z0-9_./+][$A-Za-z0-9_./+-]*|-[0-9.][0-9.eE+-]*"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_KEY = re.compile(rf"({_WORD}|{_QUOTED}):(?: +(.*))?$")
_WORDS = rf"(?:{_WORD})(?: +[$A-Za-z0-9_./+*()%^<=>-]+)*"
_TOKEN = re.compile(rf" *(?:([{{}}\[\],])|({_WORDS})(?=[ ,:}}\]]|$)|({_QUOTED}))(:(?= |$))?")
_SENTENCE = re.compile(r"(?:[$A-Za-z0-9_./+(]|-[0-9.])(?:[ !\"$-9;-~\xa1-\u024f]|:(?! |$))*")
"""What may stand alone behind a key or a dash: no comment begins in it, and nothing else."""
_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(["\\/nt])|(.))')
_SIMPLE = {"n": "\n", "t": "\t"}


def read_plain(text: str, max_depth: int) -> Node:
    """The nodes of a mapping or a list.

    Raises:
        NotPlain: the text has something that is not read here, which may be right or wrong.
        RecursionError: it is nested deeper than `max_depth`.
    """
    return _Plain(text, max_depth).document()


class _Plain:
    """Recursive descent over the lines of a document: (indent, text, line number), bare lines and comments left out."""

    def __init__(self, text: str, max_depth: int) -> None:
        self.max_depth = max_depth
        if _STRANGE.search(text):
            raise NotPlain
        self.text = text.split("\n")
        self.lines: list[tuple[int, str, int]] = []
        self.unclear: set[int] = set()
        """Numbers of lines in which a quote may hide a comment, or a comment a quote."""
        for number, line in enumerate(self.text, 1):
            content = line.lstrip(" ")
            if content and content[0] != "#":
                if "#" in content:
                    if '"' in content:
                        self.unclear.add(number)
                    content = _without_comment(content)
                self.lines.append((len(line) - len(line.lstrip(" ")), content.rstrip(" "), number))
        self.i = 0

    def document(self) -> Node:
        if not self.lines or self.lines[0][0]:
            raise NotPlain
        node = self.block(0)
        if self.i != len(self.lines) or isinstance(node, Scalar):
            raise NotPlain
        return node

    def block(self, depth: int) -> Node:
        """The node that begins at the current line."""
        if depth > self.max_depth:
            raise RecursionError
        indent, content, _ = self.lines[self.i]
        if content == "-" or content.startswith("- "):
            return self.sequence(indent, depth)
        if _KEY.match(content):
            return self.mapping(indent, depth)
        return self.inline(depth)

    def sequence(self, indent: int, depth: int) -> Items:
        first = self.lines[self.i][2]
        found: list[Node] = []
        while self.i < len(self.lines):
            here, content, number = self.lines[self.i]
            if here < indent or (here == indent and not (content == "-" or content.startswith("- "))):
                break
            if here > indent:
                raise NotPlain
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
        found: dict[str, tuple[int, Node]] = {}
        while self.i < len(self.lines):
            here, content, number = self.lines[self.i]
            if here < indent:
                break
            match = _KEY.match(content)
            if here > indent or match is None:
                raise NotPlain
            key, rest = match.group(1), match.group(2)
            if rest == ">-" and depth < self.max_depth:
                value: Node = self.folded(indent, number)
            elif rest:
                self.lines[self.i] = (indent + 1, rest, number)
                value = self.inline(depth + 1)
                if self.i < len(self.lines) and self.lines[self.i][0] > indent:
                    raise NotPlain
            else:
                self.i += 1
                after = self.lines[self.i] if self.i < len(self.lines) else (-1, "", 0)
                if not (after[0] == indent and (after[1] == "-" or after[1].startswith("- "))):
                    self.below(indent)
                value = self.block(depth + 1)
            _add(found, key, number, value)
        return Table(first, found)

    def below(self, indent: int) -> None:
        if self.i >= len(self.lines) or self.lines[self.i][0] <= indent:
            raise NotPlain

    def folded(self, indent: int, number: int) -> Scalar:
        """The lines below a line that are farther in than its key, as one; of blank ones there are none in between."""
        last = number
        while last < len(self.text) and self.text[last][: indent + 1].isspace():
            last += 1
        found = self.text[number:last]
        after = next((line for line in self.text[last:] if line.strip(" ")), "")
        within = len(found[0]) - len(found[0].lstrip(" ")) if found else 0
        if not found or after[: indent + 1].isspace():
            raise NotPlain
        if any(line[:within].strip(" ") or not (rest := line[within:]) or rest != rest.strip(" ") for line in found):
            raise NotPlain
        while self.i < len(self.lines) and self.lines[self.i][2] <= last:
            self.i += 1
        return Scalar(number, " ".join(line[within:] for line in found), True)

    def inline(self, depth: int) -> Node:
        """A value that fills the rest of the current line."""
        _, content, number = self.lines[self.i]
        self.i += 1
        if depth > self.max_depth:
            raise RecursionError
        if _SENTENCE.fullmatch(content) and not ('"' in content and number in self.unclear):
            return Scalar(number, content)
        node, end = _flow(content, 0, number, self.max_depth - depth)
        if end != len(content):
            raise NotPlain
        return node


_COMMENT = re.compile(rf'(?:[^"#]|{_QUOTED}|(?<! )#)*')


def _without_comment(content: str) -> str:
    """The line up to a ``#`` that follows a blank, outside of quotes."""
    before = _COMMENT.match(content)
    end = before.end() if before else 0
    if end < len(content) and content[end] == '"':
        raise NotPlain  # a quote that does not end in this line
    return content[:end]


def _flow(text: str, at: int, line: int, levels: int) -> tuple[Node, int]:
    """The node that begins at a column, of at most so many levels below its own, and the column after it."""
    if levels < 0:
        raise RecursionError
    token = _TOKEN.match(text, at)
    if token is None or token.group(4):
        raise NotPlain
    mark, word, quoted, _ = token.groups()
    if word is not None:
        return Scalar(line, word), token.end()
    if quoted is not None:
        return Scalar(line, _unquoted(quoted), True), token.end()
    if mark == "{":
        return _flow_table(text, token.end(), line, levels)
    if mark == "[":
        return _flow_items(text, token.end(), line, levels)
    raise NotPlain


def _flow_table(text: str, at: int, line: int, levels: int) -> tuple[Node, int]:
    entries: dict[str, tuple[int, Node]] = {}
    while True:
        token = _TOKEN.match(text, at)
        if token is None:
            raise NotPlain
        if token.group(1) == "}" and not token.group(4):
            return Table(line, entries), token.end()
        if not token.group(4) or token.group(1):
            raise NotPlain
        value, at = _flow(text, token.end(), line, levels - 1)
        _add(entries, token.group(2) or token.group(3), line, value)
        at = _after_entry(text, at, "}")


def _flow_items(text: str, at: int, line: int, levels: int) -> tuple[Node, int]:
    items: list[Node] = []
    while True:
        token = _TOKEN.match(text, at)
        if token is not None and token.group(1) == "]" and not token.group(4):
            return Items(line, tuple(items)), token.end()
        if token is not None and token.group(4) and not token.group(1):
            inside, at = _flow(text, token.end(), line, levels - 2)
            entries: dict[str, tuple[int, Node]] = {}
            _add(entries, token.group(2) or token.group(3), line, inside)
            items.append(Table(line, entries))
            at = _after_entry(text, at, "]")
            continue
        value, at = _flow(text, at, line, levels - 1)
        items.append(value)
        at = _after_entry(text, at, "]")


def _after_entry(text: str, at: int, closing: str) -> int:
    """The column after a comma, or of the closing bracket."""
    token = _TOKEN.match(text, at)
    if token is None or token.group(4) or token.group(1) not in (",", closing):
        raise NotPlain
    return token.end() if token.group(1) == "," else at


def _add(entries: dict[str, tuple[int, Node]], key: str, line: int, value: Node) -> None:
    name = _unquoted(key)
    if name in entries:
        raise NotPlain  # the general parser says where
    entries[name] = line, value


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    body = text[1:-1]
    return _ESCAPE.sub(_escaped, body) if "\\" in body else body


def _escaped(match: re.Match[str]) -> str:
    *codes, simple, other = match.groups()
    for code in codes:
        if code is not None:
            number = int(code, 16)
            if 0xD800 <= number < 0xE000 or number > 0x10FFFF:
                raise NotPlain  # half a character, or none
            return chr(number)
    if other is not None:
        raise NotPlain
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
