"""YAML text with its lines: nodes, values, typed fields and what is refused."""

from __future__ import annotations

import pytest

from accelsim.text.plain import NotPlain, read_plain
from accelsim.text.yaml import MAX_DEPTH, Parsed, _general


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c", "a: [b", "a: {b: c} d", "a:\n- b\n c: d", "a: b\n  c: d", "a:\nb: c", "a: 'b'", "a: &x b",
        "a: *b", "a: !t b", "a: |\n  b", "a: >-\n  b", "a: b\n---\nc: d", "%YAML 1.2\n---\na: b", "? a\n: b", "a: b c",
        "a: {b:c}", "a: {b: , c: d}", "a: [, b]", 'a: "b\\q"', "a:\tb", "a: b\r\nc: d", "a: @b", "a: 'b # c'", "a: x#y",
        "a:\n  b: c\n d: e", "a: [b\n", "", "  a: b", "a: {b}", "a: - b", "a", 'a: "b\nc"', "a: b:", "...",
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_goes_to_the_general_parser(text: str) -> None:
    with pytest.raises(NotPlain):
        read_plain(text, MAX_DEPTH)


@pytest.mark.parametrize(
    "text",
    [
        "a: b", "a:\n- b\n- c: d\n  e: f\n", "a:\n  - - b\n    - c\n  - d", "a: {b: [c, {d: e}], f: \"g\\u00e9\\n\"}",
        "a: -1.5e-3", 'a: "x # y" # z', "a: b#c", "a: [ ]\nb: { }", "a: [b, c,]", "# x\n\na: b   \n\n# y", "a.b: ./c+d",
        "a:\n\n  # in between\n  b: c\nd: e", 'a: "b:c"', '"a b": c', "a: {\"b\": c}", "a: ...", "a: .5",
        "- a\n- b: c\n-\n  d: e",
        "{a: b}", "{}", '{a: "# x", b: "\\"", c: "\\\\"} # "y"', 'a: b # "', 'a: "\\" # x" #',
    ],
)  # fmt: skip
def test_plain_yaml_is_read_as_the_general_parser_reads_it(text: str) -> None:
    try:
        own = read_plain(text, MAX_DEPTH)
    except NotPlain:
        assert text in ("a: b#c", )
    else:
        assert Parsed(own, ()) == _general(text, "x")
