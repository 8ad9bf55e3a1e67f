"""Mutations of text files and of the trees that they hold."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

WILD_NUMBERS = (
    "0", "-1", "1", "2", "3", "7", "1000003", "2147483648", "9223372036854775807", "9223372036854775808",
    "1" + "0" * 30,
    "9" * 400, "9" * 5000, "-0.0", "0.5", "1e-320", "1e308", "1e999", "-1e999", ".inf", "-.inf", ".nan", "nan",
    "Infinity", "1/0", "1/3", "0x10", "0o17", "1_000", "12:30:45", "1e", "--1", "+5", "1.5.5", "٣", "²",
)  # fmt: skip
TAME_NUMBERS = ("0", "1", "2", "3", "5", "7", "8", "12", "64", "100", "0.5", "1.5", "1e3", "1000003", "1e9", "1e-3")
WILD_WORDS = (
    "", "null", "~", "true", "no", "[]", "{}", "[[]]", "{a: 1}", "''", '""', "*", "*a", "&a x",
    "!!python/object/apply:os.abort []",
    "!!python/name:os.system", "!!int x", "!!binary aGk=", "!local x", "<<: *a", "? x", "| x", "> x", "---", "...",
    "%TAG ! x", "@x", "`x`", "# x", ": :", "- - -", "../../etc/passwd", "/dev/zero", "/etc/passwd", ".", "/", "\\",
    "..",
    "é", "\u2028", "\x85", "\ufeff", "\x00", "\x1b[2J", "\t", "\U0001f600", "x" * 5000, "{" * 60, "[" * 3000,
    "(" * 3000,
    "a.b.c", "0 B", "1e400 GiB", "-3 GHz", "16 MiB/s", "1 B/cycle", "unlimited", "none", "$x", "%s", "{0}", "__class__",
    "dram", "sram", "mac", "input", "2026-01-01", "=", "==", "a == b", "1 if", "-", "x[", "]", "a[b,c]", "a[b", "a=b",
)  # fmt: skip
WILD_VALUES: tuple[Any, ...] = (
    None, True, False, "", 0, -1, 1, 2, 3, 5, 2**31, 2**63, 10**30, 10**400, -(2**63), 0.5, -0.5, 1e-320, 1e308,
    float("inf"),
    float("nan"), [], {}, [[]], [None], [1, 2, 3], {"a": 1}, {"": None}, "a", "*", "x" * 3000, "../../etc/passwd", ".",
    "/",
    "1 GHz", "0 GHz", "16 MiB", "1 PB", "1 B", "1 B/cycle", "0 B/s", "unlimited", "\x00", "é", "\ud800", [{}] * 50,
    ["a"] * 50,
)  # fmt: skip

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_][\w.-]*")


def mutated_text(text: str, rng: random.Random, other: str) -> str:
    """The text after one to three mutations; `other` is a text of the same kind to take pieces from."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(_TEXT)(text, rng, other)
    return text


def with_other_number(text: str, rng: random.Random) -> str:
    """The text with one of its numbers replaced by one that may well be right; often it is still a valid file."""
    return _replaced(text, _NUMBER, rng, TAME_NUMBERS)


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """The bytes cut short, or with some of them flipped, dropped, repeated or replaced."""
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content) + 1)]
    data = bytearray(content)
    for _ in range(rng.choice((1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.choice((1, 1, 3, 20))]
            case 2:
                data[at:at] = data[at : at + rng.choice((1, 5, 40))]
            case _:
                data[at : at + 1] = rng.randbytes(rng.choice((1, 2)))
    return bytes(data)


def _number(text: str, rng: random.Random, other: str) -> str:
    return _replaced(text, _NUMBER, rng, WILD_NUMBERS)


def _word(text: str, rng: random.Random, other: str) -> str:
    return _replaced(text, _WORD, rng, WILD_WORDS)


def _foreign_word(text: str, rng: random.Random, other: str) -> str:
    return _replaced(text, _WORD, rng, _WORD.findall(other) or WILD_WORDS)


def _typo(text: str, rng: random.Random, other: str) -> str:
    found = list(_WORD.finditer(text))
    if not found:
        return text
    at = rng.randrange(*rng.choice(found).span())
    return text[:at] + rng.choice(("", text[at] * 2, "_", ".")) + text[at + 1 :]


def _replaced(text: str, pattern: re.Pattern[str], rng: random.Random, by: Any) -> str:
    found = list(pattern.finditer(text))
    if not found:
        return text
    start, end = rng.choice(found).span()
    return f"{text[:start]}{rng.choice(by)}{text[end:]}"


def _lines(change: Callable[[list[str], int, random.Random, list[str]], None]) -> Callable[..., str]:
    def mutate(text: str, rng: random.Random, other: str) -> str:
        lines = text.splitlines(keepends=True)
        if lines:
            change(lines, rng.randrange(len(lines)), rng, other.splitlines(keepends=True) or [""])
        return "".join(lines)

    return mutate


def _drop(lines: list[str], at: int, rng: random.Random, other: list[str]) -> None:
    del lines[at : at + rng.choice((1, 1, 2, 5))]


def _repeat(lines: list[str], at: int, rng: random.Random, other: list[str]) -> None:
    lines[at:at] = lines[at : at + rng.choice((1, 1, 3))] * rng.choice((1, 1, 1, 40))


def _swap(lines: list[str], at: int, rng: random.Random, other: list[str]) -> None:
    to = rng.randrange(len(lines))
    lines[at], lines[to] = lines[to], lines[at]


def _indent(lines: list[str], at: int, rng: random.Random, other: list[str]) -> None:
    lines[at] = lines[at][rng.randrange(4) :] if rng.random() < 0.5 else rng.choice((" ", "  ", "\t", "- ")) + lines[at]


def _foreign_line(lines: list[str], at: int, rng: random.Random, other: list[str]) -> None:
    lines.insert(at, rng.choice(other))


def _insert(text: str, rng: random.Random, other: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(WILD_WORDS) + text[at:]


def _cut(text: str, rng: random.Random, other: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


_TEXT: tuple[Callable[[str, random.Random, str], str], ...] = (
    _number, _number, _number, _word, _word, _foreign_word, _typo, _lines(_drop), _lines(_repeat), _lines(_swap),
    _lines(_indent), _lines(_foreign_line), _insert, _cut,
)  # fmt: skip


# -- trees -----------------------------------------------------------------------------------------------------------


def mutated_tree(tree: Any, rng: random.Random) -> str:
    """The tree after one to four mutations, as JSON, which is YAML too."""
    tree = copy.deepcopy(tree)
    changes = [rng.choice(_TREE) for _ in range(rng.choice((1, 1, 2, 4)))]
    if rng.random() < 0.1:
        changes.append(_bury)  # last, so that nothing deep is copied into something deep
    for change in changes:
        places = _places(tree)
        if places:
            change(*rng.choice(places), rng, places)
    return json.dumps(tree)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree: the list or mapping that holds it, and its key there."""
    found: list[tuple[Any, Any]] = []
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], dict | list):
            found += _places(tree[key])
    return found


def single_changes(tree: Any) -> Iterator[str]:
    """The tree with one of its values gone or another one, for every value and a few others, as JSON."""
    for at in range(len(_places(tree))):
        for change in (_GONE, None, [], {}, "x", -1, 0, 1e308, ["x"], {"x": 1}):
            changed = copy.deepcopy(tree)
            holder, key = _places(changed)[at]
            if change is _GONE:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(change)
            yield json.dumps(changed)


_GONE = object()


def _set(holder: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    holder[key] = copy.deepcopy(rng.choice(WILD_VALUES))


def _scale(holder: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    value = holder[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = rng.choice((value + 1, value - 1, -value, value * 1000, value * 2, value // 2, str(value),
                                   [value]))  # fmt: skip
    elif isinstance(value, str):
        holder[key] = _number(value, rng, "") if _NUMBER.search(value) else _typo(value, rng, "")
    else:
        holder[key] = [value]


def _remove(holder: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    del holder[key]


def _rename(holder: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    if isinstance(holder, dict):
        keys = [k for h, k in places if isinstance(h, dict)]
        holder[rng.choice((*keys, "", "x.y", "a b", "*", "é"))] = holder.pop(key)
    else:
        holder.insert(key, copy.deepcopy(holder[key]))


def _transplant(holder: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    source, at = rng.choice(places)
    holder[key] = copy.deepcopy(source[at])


def _bury(holder: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    value = holder[key]
    for _ in range(rng.choice((1, 2, 50, 200))):
        value = [value] if rng.random() < 0.5 else {"seq": value}
    holder[key] = value


_TREE = (_set, _set, _set, _scale, _scale, _scale, _remove, _rename, _transplant, _transplant)
