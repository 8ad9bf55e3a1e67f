"""YAML text with its lines: nodes, values, typed fields and what is refused."""

from __future__ import annotations

import json
import math
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from accelsim.errors import BadInput, SpecError
from accelsim.files import read_text, writable_file, writable_files, write_text
from accelsim.text.document import parse_document
from accelsim.text.fields import Reader
from accelsim.text.names import near, nearest, nearest_key, short
from accelsim.text.nodes import Scalar
from accelsim.text.plain import NotPlain, quoted, read_plain
from accelsim.text.yaml import MAX_CHARACTERS, MAX_COPIES, MAX_DEPTH, Parsed, _general

SETTINGS = settings(deadline=None, derandomize=True, max_examples=300)


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c", "a: [b", "a: {b: c} d", "a:\n- b\n c: d", "a: b\n  c: d", "a:\nb: c", "a: 'b'", "a: &x b",
        "a: *b", "a: !t b", "a: |\n  b", "a: |-\n  b", "a: b\n---\nc: d", "%YAML 1.2\n---\na: b", "? a\n: b",
        "a: {b:c}", "a: {b: , c: d}", "a: [, b]", 'a: "b\\q"', "a:\tb", "a: b\r\nc: d", "a: @b", "a: 'b # c'", "a: x#y",
        "a:\n  b: c\n d: e", "a: [b\n", "", "  a: b", "a: {b}", "a: - b", "a", 'a: "b\nc"', "a: b:", "...",
        "a: {b c}", "a: [b: c: d]", "a: >-\n  b\n   c", "a: >-\n  b\n\n  c", "a: >-\nb: c", "a: >-\n  b \n  c",
        "a: >-\n   b\n  c", "- >-\n  b", "a: >-\n  b\n# c\n  d", "a: 4 GiB#x", "a: {b: 4 GiB#x}", "a: {b: 4 GiB:x}",
        "- a b\n  c", "a: b#c", "a: b \"c # d\" e", "a: b \"c\" # d",
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_goes_to_the_general_parser(text: str) -> None:
    with pytest.raises(NotPlain):
        read_plain(text, MAX_DEPTH)


@pytest.mark.parametrize(
    "text",
    [
        "a: b", "a:\n- b\n- c: d\n  e: f\n", "a:\n  - - b\n    - c\n  - d", "a: {b: [c, {d: e}], f: \"g\\u00e9\\n\"}",
        "a: -1.5e-3", 'a: "x # y" # z', "a: [ ]\nb: { }", "a: [b, c,]", "# x\n\na: b   \n\n# y", "a.b: ./c+d",
        "a:\n\n  # in between\n  b: c\nd: e", 'a: "b:c"', '"a b": c', "a: {\"b\": c}", "a: ...", "a: .5",
        "- a\n- b: c\n-\n  d: e",
        "a: b c", "a: b  c, d", "a: b, [c] {d} \"e\" f's & *g !h (i) @j 50 % k:l - m",
        "a: {b: 4 GiB, c d: 25.6 GB/s}", "a: [4 GiB, -5 C, x - y]", "a: b # \"", "- b c\n- d: e f",
        "a: (b)", "a: -5 C", "a: 2001-12-14 21:59:43", "a: [b c: d]", "a: [b: [c, d: 1], \"e\": {f: g}]", "a: {b: c -}",
        "a: 5 \u00b5m \u00d7", "a: ... b", "a: >-\n  b # c\n  # d: e\n\nf: g",
        "a:\n  b: >-\n    c\n    - d\n  # e\n  f: g",
        "a: >-\n  b\n\n# c\nd: e", "a: $b", "a: >- # b\n  c", "a: {$b: [$c d <= e]}", "a: >-\n  b\nc: d e",
        "{a: b}", "{}", '{a: "# x", b: "\\"", c: "\\\\"} # "y"', 'a: "\\" # x" #',
    ],
)  # fmt: skip
def test_plain_yaml_is_read_as_the_general_parser_reads_it(text: str) -> None:
    assert Parsed(read_plain(text, MAX_DEPTH), ()) == _general(text, "x")


@SETTINGS
@given(st.lists(st.sampled_from(
    ["a", "b:", "- ", "\n", "\n  ", "\n    ", " ", "c d", ": ", ", ", "{", "}", "[", "]", "#", " # ", '"', "'", ">-",
     "$", "-", "1", "%", "(", "=", "<", ":", "*", "&", "!", "|", "@", "e: ", "f: >-\n  ", "\\", "?", "..."],
), max_size=14))  # fmt: skip
def test_what_is_read_as_plain_is_what_the_general_parser_reads(parts: list[str]) -> None:
    text = "a: " + "".join(parts)
    try:
        own = read_plain(text, MAX_DEPTH)
    except NotPlain:
        return
    assert Parsed(own, ()) == _general(text, "x")


# -- words -----------------------------------------------------------------------------------------------------------

NUMBERS = ["0", "-7", "+3", "1_000", "0x1F", "0o17", "0b101", "017", "1.5", "-.5", "1e5", "1.e-3", ".inf",
           "-.INF", ".NaN"]  # fmt: skip
OTHERS = ["yes", "on", "True", "FALSE", "null", "~", "Null", "1:30", "2024-01-01", "1.2.3", ".5e3", "e5", "0x",
          "1e", "."]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


@SETTINGS
@given(st.one_of(st.sampled_from(NUMBERS + OTHERS), st.text("+-0123456789._eExXobinfNa", min_size=1, max_size=7)))
def test_words_mean_what_ruamel_reads(word: str) -> None:
    node = YAML(typ="safe", pure=True).compose(StringIO(word)) if word not in ("-", "---", "...") else None
    if node is None or str(node.tag).rpartition(":")[2] in ("seq", "map"):
        return  # no word
    assert Scalar(1, word).kind == str(node.tag).rpartition(":")[2].replace("timestamp", "str")
    try:
        value = Scalar(1, word).value
    except ValueError:
        assert "_" in word or word[:1] == "0" or word[1:2] == "0"  # ruamel takes `0x_` for a number, Python does not
        return
    if Scalar(1, word).kind != "str":
        assert same(value, YAML(typ="safe", pure=True).load(word))


@SETTINGS
@given(st.text(min_size=1))
def test_a_quoted_word_is_read_back(word: str) -> None:
    if word.isprintable():
        assert parse_document(f"{quoted(word)}: {quoted(word)}\n", "x").data == {word: word}


def test_a_number_that_nobody_can_read_is_told() -> None:
    with pytest.raises(SpecError, match=r"^x:2: a\.b: `0x_` is no number that can be read$"):
        parse_document("a:\n  b: 0x_\n", "x")


# -- values and positions --------------------------------------------------------------------------------------------

words = st.text("ab é\"'\\:#,{}[]-\n&*!%@1.~", min_size=1, max_size=4)
leaves = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | words
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3)
)


@SETTINGS
@given(values)
def test_json_is_read_as_what_it_says(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    document = parse_document(text, "x")
    assert document.data == value
    lines = text.split("\n")
    for path, position in document.positions.items():
        if path and path[-1].isascii() and path[-1].isalpha():
            assert f'"{path[-1]}":' in lines[position.line - 1]


def test_positions_are_those_of_keys_and_items() -> None:
    document = parse_document("# m\na:\n  b: [1, {c: 2}]\n\nd:\n- x y\n- e:\n    f: 1\n", "m.yaml")
    lines = {".".join(path): position.line for path, position in document.positions.items()}
    assert lines == {"": 1, "a": 2, "a.b": 3, "a.b.0": 3, "a.b.1": 3, "a.b.1.c": 3, "d": 5, "d.0": 6, "d.1": 7,
                     "d.1.e": 7, "d.1.e.f": 8}  # fmt: skip
    assert document.where(("d", 1, "e", "none", 4)) == "m.yaml:7: d.1.e.none.4"
    assert str(document.error(("a",), "is wrong", "be right")) == "m.yaml:2: a: is wrong (be right)"
    assert document.where() == "m.yaml:1"
    assert document.file == "m.yaml"


def test_what_aliases_stand_for_is_a_copy() -> None:
    data = parse_document("a: &a {b: [1]}\nc: *a\n", "x").data
    assert data == {"a": {"b": [1]}, "c": {"b": [1]}}
    data["a"]["b"].append(2)
    assert data["c"] == {"b": [1]}


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}\na: 3\n", "x:2: b.c: duplicate key (first given in line 2; remove one)\n"
         "x:3: a: duplicate key (first given in line 1; remove one)"),
        ("- a: !t 1\n", "x:1: 0.a: tag !t is not read (plain values only)"),
        ('a: !!int "3"\n', "x:1: a: tag tag:yaml.org,2002:int is not read (plain values only)"),
        ("a: !!set {b, c}\n", "x:1: a: tag tag:yaml.org,2002:set is not read (plain values only)"),
        ("%YAML 1.1\n---\na: yes\n", "x:3: a: tag tag:yaml.org,2002:bool is not read (plain values only)"),
        ("a: {<<: {b: 1}}\n", "x:1: a: `<<` cannot be a key (merge keys are not read; write the keys out)"),
        ("? [a]\n: b\n", "x:1: a list or a mapping cannot be a key (keys are names)"),
        ("a: &a {b: *a}\n", "x:1: a.b: an alias contains itself (write the value out)"),
        (BOMB, f"x: aliases stand for more than {MAX_COPIES} values (fewer aliases of aliases)"),
        ("a: b\n---\nc: d\n", "x:2: not valid YAML: "),
        ("a: 'b\n", "x:2: not valid YAML: "),
        ("a: \x00", "x: not valid YAML: "),
        ("'a'" + " " * MAX_CHARACTERS, f"x: longer than {MAX_CHARACTERS} characters"),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_document(text, "x")
    assert str(caught.value).startswith(message)
    assert str(caught.value).count("\n") == message.count("\n")


@pytest.mark.parametrize("form", ["{} x", "{} 'x'"])
def test_depth_has_a_limit_in_either_reader(form: str) -> None:
    def nested(levels: int) -> str:
        return form.format("a:" + "".join(f"\n{' ' * i}a:" for i in range(1, levels)))

    assert parse_document(nested(MAX_DEPTH), "x").data
    with pytest.raises(SpecError, match=f"nested too deep .at most {MAX_DEPTH} levels"):
        parse_document(nested(MAX_DEPTH + 1), "x")


def test_a_root_that_must_be_a_mapping() -> None:
    with pytest.raises(SpecError, match=r"^x:1: a shelf is a mapping \(begin so\)$"):
        parse_document("- a\n", "x", ("a shelf is a mapping", "begin so"))
    assert parse_document("", "x").data is None


# -- fields ----------------------------------------------------------------------------------------------------------


def test_fields_have_types() -> None:
    reader = Reader("a: 5\nb: 1e3\nc: .inf\nd: true\ne: '5'\nf: x\ng: [1, 2]\nh: 1.5\ni: 1" + "0" * 400 + "\n", "x")
    found = reader.table(reader.root, "", tuple("abcdefghi"), (), "...")
    assert reader.integer(found["a"], "a", least=5) == 5
    assert reader.number(found["a"], "a") == 5.0
    assert reader.number(found["b"], "b") == 1000.0
    assert reader.number(found["c"], "c") == math.inf
    assert reader.boolean(found["d"], "d", False) is True
    assert reader.text(found["a"], "a") == "5"
    assert [reader.integer(i, "g", least=1) for i in reader.items(found["g"], "g")] == [1, 2]
    assert reader.problems == []
    assert reader.integer(found["a"], "a", least=6) == 6
    for key in "ehdi":
        assert reader.integer(found[key], key, least=0, default=3) == 3
    for key in "defi":
        assert reader.number(found[key], key, 2.5) == 2.5
    assert reader.boolean(found["f"], "f", True)
    assert reader.items(found["f"], "f") == ()
    assert len(reader.problems) == 11
    with pytest.raises(SpecError) as caught:
        reader.finish()
    lines = [int(p.where.split(":")[1]) for p in caught.value.problems]
    assert lines == sorted(lines) and lines[0] == 1


# -- names -----------------------------------------------------------------------------------------------------------


def test_the_nearest_name() -> None:
    assert nearest("weigth", ["weight", "width"]) == "did you mean 'weight'?"
    assert nearest_key("weigth", {"weight": 1}) == "did you mean `weight`?"
    assert nearest("GPT", {"gpt", "bert"}) == "did you mean 'gpt'?"
    assert nearest("K", ["k", "K"]) == "did you mean 'K'?"
    assert nearest("zzz", {"b", "a"}) == "there are a, b"
    assert nearest("zzz", []) == "there is none"
    assert nearest("zzz", ["a"], "such as a") == "such as a"
    assert nearest("zzz", [f"n{i:02}" for i in range(21)]).endswith("n19, ...")
    assert nearest(17, ["18"]) == "there are 18"
    assert near("relu6", ["relu", "gelu", "x"]) == "nearest: relu, gelu; "
    assert near("zzz", ["relu"]) == ""
    assert near("relu6", ["relu"], " ({})") == " (nearest: relu)"


def test_long_values_are_shortened() -> None:
    assert short([1, 2]) == "[1, 2]"
    assert short("x" * 40) == "x" * 40
    assert short("x" * 41) == "x" * 37 + "..."


# -- files -----------------------------------------------------------------------------------------------------------


def test_files_are_read_as_text(tmp_path: Path) -> None:
    write_text(tmp_path / "a.yaml", "é\n")
    assert (tmp_path / "a.yaml").read_bytes() == "é\n".encode()
    assert read_text(tmp_path / "a.yaml") == "é\n"
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfx")
    assert read_text(tmp_path / "bom.txt") == "x"
    with pytest.raises(SpecError, match=r"^m:3: cannot read .*aa\.yaml: No such file .*did you mean `a\.yaml`"):
        read_text(tmp_path / "aa.yaml", "m:3")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(SpecError, match="latin: not UTF-8 text"):
        read_text(tmp_path / "latin")
    with pytest.raises(SpecError, match="cannot read"):
        read_text("a\x00b")
    with pytest.raises(BadInput, match="cannot write"):
        write_text(tmp_path / "none" / "a", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.yaml", "bom.txt", "latin"]


def test_what_is_no_plain_file_is_written_to_and_stays(tmp_path: Path) -> None:
    """A pipe stands for every device: a file put in the place of /dev/null would break the computer."""
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert writable_file(pipe) == pipe
        writable_files(pipe, pipe)
        write_text(pipe, "é\n")
        assert pipe.is_fifo() and os.read(reader, 100) == "é\n".encode()
    finally:
        os.close(reader)
    link.symlink_to(target.name)
    for text in ("a", "b"):
        write_text(link, text)
        assert link.is_symlink() and target.read_text("utf-8") == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe", "target"]
