# ruff: noqa: E501 - expected messages stand whole
"""The loader of machines: its messages, `extends`, and values that are varied."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machine_files import GOOD, changed, problems

from accelsim.arch import load_architecture, load_spec, loads_architecture
from accelsim.errors import AccelsimError, BadInput, SpecError


@pytest.mark.parametrize(
    "text, expected",
    [
        (changed("clock:", "clok:"), ["m.yaml:1: missing key `clock` (such as `940 MHz` or `1.05 GHz`)",
                                      "m.yaml:2: clok: unknown key `clok` (did you mean `clock`?)"]),
        (changed("    capacity: 512 KiB\n", ""), ["m.yaml:6: memories.sram: missing key `capacity` (such as `16 MiB` or "
                                                  "`64 GB`)"]),
        (changed("capacity: 512", "capacty: 512"),
         ["m.yaml:6: memories.sram: missing key `capacity` (such as `16 MiB` or `64 GB`)",
          "m.yaml:9: memories.sram.capacty: unknown key `capacty` (did you mean `capacity`?)"]),
        (changed("512 KiB", "-512 KiB"), ["m.yaml:9: memories.sram.capacity: `-512 KiB` is negative (such as `16 MiB` or "
                                          "`64 GB`)"]),
        (changed("512 KiB", "524288"), ["m.yaml:9: memories.sram.capacity: `524288` has no unit (such as `16 MiB` or "
                                        "`64 GB`)"]),
        (changed("512 KiB", "[1]"), ["m.yaml:9: memories.sram.capacity: `[1]` is not a size in bytes (such as `16 MiB` or "
                                     "`64 GB`)"]),
        (changed("kind: buffer", "kind: bufer"), ["m.yaml:7: memories.sram.kind: unknown kind `bufer` (did you mean "
                                                  "`buffer`?)"]),
        (changed("kind: buffer", "kind: vector"),
         ["m.yaml:7: memories.sram.kind: kind `vector` is a unit (it belongs under `units`; here one of banked_dram, buffer, "
          "dram, flash, open_row_dram, stream_buffer)"]),
        (changed("parent: dram", "parent: drma"), ["m.yaml:8: memories.sram.parent: no memory `drma` (did you mean "
                                                   "`dram`?)"]),
        (changed("parent: dram", "parent: sram"),
         ["m.yaml:8: memories.sram.parent: parents go in a circle: sram -> sram (one memory, the outermost, has no "
          "parent)"]),
        (changed("    parent: dram\n", ""), ["m.yaml:6: memories.sram: a second memory without a parent, beside `dram` "
                                             "(give all but the outermost memory a `parent`)"]),
        (changed("rows: 16", "rows: 0"), ["m.yaml:12: units.array.rows: `0`: input should be greater than or equal to 1 "
                                          "(Processing elements per column.)"]),
        (changed("rows: 16", "rows: true"), ["m.yaml:12: units.array.rows: must not be true (Processing elements per "
                                             "column.)"]),
        (changed("[os]", "[ox]"), ["m.yaml:12: units.array.dataflows.0: `ox` is not valid (one of 'os', 'ws' or 'is')"]),
        (changed("systolic, memory: sram", "systolic, memory: sarm"), ["m.yaml:12: units.array.memory: no memory `sarm` "
                                                                       "(did you mean `sram`?)"]),
        (changed("  array:", "  bus:"), ["m.yaml:19: links.bus: `bus` stands under units too (every component has a name "
                                         "of its own)"]),
        (changed("[dram, sram]", "[dram, sarm]"), ["m.yaml:19: links.bus.between: no memory `sarm` (did you mean "
                                                   "`sram`?)"]),
        (changed("[dram, sram]", "[dram, dram]"), ["m.yaml:19: links.bus.between: joins `dram` to itself (name two "
                                                   "memories)"]),
        (changed("div: 0.125", "div: 1/0"),
         ["m.yaml:17: units.vector.rates.div: `1/0` is not a rate (a number of operations per lane and cycle, such as 1, "
          "0.5 or `1/6`)"]),
        (changed("div: 0.125", "dvi: 1"),
         ["m.yaml:17: units.vector.rates: no operation class `dvi` (known: mac, mul, add, max, exp, div, sqrt, log, "
          "tanh, erf, copy)"]),
        (changed("bandwidth: 16 GB/s, ", ""),
         ["m.yaml:5: memories.dram: no bandwidth (give `bandwidth`, or both read_bandwidth and write_bandwidth, or "
          "`bandwidth: unlimited`)"]),
        (changed("name: small", "clock: 2 GHz"), ["m.yaml:2: clock: duplicate key (first given in line 1; remove one)"]),
        (changed("    kind: buffer", "    kind: buffer\n    kind: dram"), ["m.yaml:8: memories.sram.kind: duplicate key "
                                                                           "(first given in line 7; remove one)"]),
        (changed("1 GHz", "!!python/name:os.system x"), ["m.yaml:2: clock: tag tag:yaml.org,2002:python/name:os.system is "
                                                         "not read (plain values only)"]),
        (changed("name: small", "name: &a [*a]"), ["m.yaml:1: name.0: an alias contains itself (write the value out)"]),
        (changed("  sram:\n", "  sram:\n    <<: {a: 1}\n"), ["m.yaml:7: memories.sram: `<<` cannot be a key (merge keys "
                                                             "are not read; write the keys out)"]),
        (changed("  array:", "  a.b:"), ["m.yaml:12: units.a.b: `a.b` cannot be a name (letters, digits, _ and -, a "
                                         "letter first)"]),
        ("clock: 1 GHz\n", ["m.yaml:1: memories: a machine needs at least one memory (such as a `dram` and a `buffer`)",
                            "m.yaml:1: units: a machine needs at least one compute unit (such as a `systolic` array)"]),
        ("[1]", ["m.yaml:1: a machine is a mapping (begin with `name:`, `clock:`, `memories:`)"]),
        ("", ["m.yaml:1: a machine is a mapping (begin with `name:`, `clock:`, `memories:`)"]),
        ("[" * 5000, ["m.yaml: nested too deep (at most 100 levels)"]),
        ("extends: [a]\n", ["m.yaml:1: extends: must be one preset's name or one path (such as `tpu_like` or "
                            "`base.yaml`)"]),
        ("extends: tpu_lik\n", ["m.yaml:1: extends: no preset `tpu_lik` (did you mean `tpu_like`? A path ends in .yaml)"]),
    ],
)  # fmt: skip
def test_every_mistake_is_reported_where_it_stands(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_broken_yaml_has_its_line() -> None:
    (only,) = problems("clock: 1 GHz\nmemories: {a: [}\n")
    assert only.startswith("m.yaml:2: not valid YAML: ")


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("kind: buffer", "kind: bufer").replace("rows: 16", "rows: 0").replace("8 GB/s", "8 GB")
    assert [p.split(": ")[0] for p in problems(text)] == ["m.yaml:7", "m.yaml:12", "m.yaml:19"]


def test_aliases_are_read_but_not_blown_up() -> None:
    text = changed("capacity: 4 GiB", "capacity: &c 4 GiB").replace("512 KiB", "*c")
    assert loads_architecture(text).memories["sram"].capacity == 4 * 2**30
    bomb = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20))
    (only,) = problems(bomb)
    assert only == "m.yaml: aliases stand for more than 50000 values (fewer aliases of aliases)"


def test_extends_merges_and_null_removes(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD)
    (tmp_path / "sub").mkdir()
    variant = tmp_path / "sub" / "variant.yaml"
    variant.write_text("extends: ../base.yaml\nmemories: {sram: {capacity: 1 MiB}}\nlinks: {bus: null}\n"
                       "units: {vector: {rates: {exp: null, add: 2}}}\n")  # fmt: skip
    arch = load_architecture(variant)
    assert arch.name == "variant"
    assert arch.memories["sram"].capacity == 2**20
    assert arch.memories["sram"].parent == "dram"
    assert not arch.links
    assert arch.units["vector"].rates == {"div": Fraction(1, 8), "add": 2}  # type: ignore[attr-defined]
    assert arch == loads_architecture(arch.to_yaml())
    assert load_architecture(str(variant)) == arch


def test_extends_points_to_the_file_with_the_mistake(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(changed("rows: 16", "rows: -1"))
    texts = problems("extends: base.yaml\nclock: 1 Ghz\nlinks: {bsu: null}\n", tmp_path)
    assert texts == ["m.yaml:3: links.bsu: null removes a key, but the base has none such (did you mean `bus`?)"]
    texts = problems("extends: base.yaml\nclock: 1 Ghz\n", tmp_path)
    assert texts == [
        f"{base}:12: units.array.rows: `-1`: input should be greater than or equal to 1 (Processing elements per column.)",
        "m.yaml:2: clock: `Ghz` is not a unit of frequency (did you mean `GHz`? such as `940 MHz` or `1.05 GHz`)",
    ]
    texts = problems("extends: base.yaml\nmemories: {dram: null}\nunits: {array: {rows: 3}}\n", tmp_path)
    assert texts[0] == f"{base}:8: memories.sram.parent: no memory `dram` (did you mean `sram`?)"


def test_extends_in_a_circle_and_missing_files(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text("extends: b.yaml\n")
    b.write_text("extends: a.yaml\n")
    with pytest.raises(SpecError) as caught:
        load_architecture(a)
    assert str(caught.value) == (f"{b}:1: extends: extends itself: {a} -> {b} -> {a} (one file must have no base)")
    b.write_text("extends: aa.yaml\n")
    with pytest.raises(SpecError) as caught:
        load_architecture(b)
    assert str(caught.value) == (
        f"{b}:1: extends: cannot read {tmp_path / 'aa.yaml'}: No such file or directory (did you mean `a.yaml`?)"
    )
    with pytest.raises(SpecError, match=r"no preset `edge_npuu` .did you mean `edge_npu`"):
        load_architecture("edge_npuu")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(SpecError, match="not UTF-8"):
        load_architecture(tmp_path / "latin.yaml")


@given(st.integers(0, 10**9))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_mutated_specs_raise_nothing_but_our_errors(seed: int) -> None:
    rng = random.Random(seed)
    text = list(GOOD)
    words = ["null", "true", "-1", "1e9", ".inf", "[", "{", "}", "*a", "&a ", "!!int ", "\t", "<<", "~", "dram", "0",
             "extends: edge_npu\n", "memories:", "\n", "  ", ": ", "\x00", "é", "1 GiB", "x" * 100, "? ", "- ", "%", "'"]  # fmt: skip
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        length = rng.choice([0, 1, 3, 8])
        text[at : at + length] = list(rng.choice(words))
    try:
        arch = loads_architecture("".join(text))
    except AccelsimError:
        return
    assert loads_architecture(arch.to_yaml()) == arch


@given(st.integers(0, 10**9))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_specs_with_wrong_values_raise_nothing_but_our_errors(seed: int) -> None:
    rng = random.Random(seed)
    spec = loads_architecture(GOOD).to_dict()
    values: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "x", "1 B", "1 s", "unlimited", [], ["dram"], {}, {"a": 1}, "sram",
                         "1/3", "4 GHz", "9" * 40, "dram"]  # fmt: skip
    for _ in range(rng.randint(1, 3)):
        into = spec
        while True:
            key = rng.choice(list(into))
            if isinstance(into[key], dict) and into[key] and rng.random() < 0.8:
                into = into[key]
            else:
                break
        into[rng.choice([key, key, "zzz"])] = rng.choice(values)
    try:
        arch = loads_architecture(json.dumps(spec))
    except AccelsimError:
        return
    assert loads_architecture(arch.to_yaml()) == arch


def test_values_can_be_varied() -> None:
    spec = load_spec("edge_npu")
    arch = spec.with_values({"memories.sram.capacity": "1 MiB", "units.array.overlap": True, "name": "big",
                             "units.vector.rates.mac": 2}).build()  # fmt: skip
    assert arch.memories["sram"].capacity == 2**20
    assert arch.name == "big"
    assert arch.units["vector"].peak_rates()["mac"] == 32
    assert spec.build() == load_architecture("edge_npu")
    with pytest.raises(BadInput, match=r"no value at `memories.sram.capacty` \(did you mean `memories.sram.capacity`\?\)"):
        spec.with_values({"memories.sram.capacty": "1 MiB"})
    for path in ("memories", "memories.sram", "memories.sram.name", "memories.x.capacity", "units.array.rows.x", "", "zz"):
        with pytest.raises(BadInput, match="no value at"):
            spec.with_values({path: "1"})
    with pytest.raises(SpecError) as caught:
        spec.with_values({"memories.sram.capacity": "1"}).build()
    assert str(caught.value) == "value set: memories.sram.capacity: `1` has no unit (such as `16 MiB` or `64 GB`)"
    for path in spec.paths():
        assert spec.with_values({path: None}).document.data is not spec.document.data
