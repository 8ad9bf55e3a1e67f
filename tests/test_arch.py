# ruff: noqa: E501 - expected messages stand whole
"""Machines: quantities, the loader and its messages, the Architecture, presets."""

from __future__ import annotations

import json
import math
import pickle
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch import (
    Architecture,
    component_kinds,
    json_schema,
    load_architecture,
    load_spec,
    loads_architecture,
    preset_names,
)
from accelsim.arch.energy import logic_scale, operation, sram_access, sram_scale, transfer
from accelsim.arch.registry import temporary_kinds
from accelsim.arch.units import (
    BANDWIDTH,
    BYTES,
    ENERGY,
    ENERGY_PER_BYTE,
    FREQUENCY,
    TIME,
    Quantity,
    QuantityError,
    rate_fraction,
)
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.link import Link
from accelsim.components.vector import VectorUnit
from accelsim.errors import AccelsimError, BadInput, SpecError

GOOD = """\
name: small
clock: 1 GHz
technology: 16 nm
memories:
  dram: {kind: dram, capacity: 4 GiB, bandwidth: 16 GB/s, latency: 80 ns}
  sram:
    kind: buffer
    parent: dram
    capacity: 512 KiB
    bandwidth: 64 B/cycle
units:
  array: {kind: systolic, memory: sram, rows: 16, cols: 8, dataflows: [os]}
  vector:
    kind: vector
    memory: sram
    lanes: 16
    rates: {exp: 1/6, div: 0.125}
links:
  bus: {kind: link, between: [dram, sram], bandwidth: 8 GB/s}
"""


def problems(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        loads_architecture(text, "m.yaml", folder)
    return [str(p) for p in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    "quantity, text, value",
    [
        (BYTES, "16 MiB", 16 * 2**20),
        (BYTES, "16MB", 16_000_000),
        (BYTES, "1.5 TiB", 3 * 2**39),
        (BYTES, "64 GB", 64 * 10**9),
        (BYTES, "256 kbit", 32_000),
        (BYTES, "1 kB", 1000),
        (BANDWIDTH, "1.8 TB/s", 1_800_000_000_000),
        (BANDWIDTH, "400 GiB/s", 400 * 2**30),
        (BANDWIDTH, "656 Gb/s", 82 * 10**9),
        (BANDWIDTH, "656 Gbit/s", 82 * 10**9),
        (BANDWIDTH, "1e3 B / s", 1000),
        (FREQUENCY, "940 MHz", 940_000_000),
        (FREQUENCY, "1.05 GHz", 1_050_000_000),
        (TIME, "80 ns", Fraction(80, 10**9)),
        (TIME, "2 µs", Fraction(2, 10**6)),
        (TIME, "0", 0),
        (ENERGY, "0.2 pJ", Fraction(2, 10**13)),
        (ENERGY_PER_BYTE, "3.9 pJ/bit", Fraction(312, 10**13)),
        (ENERGY_PER_BYTE, "10 pJ/byte", Fraction(1, 10**11)),
        (ENERGY_PER_BYTE, "249.6 pJ/64 bit", Fraction(312, 10**13)),
        (ENERGY_PER_BYTE, "2 nJ / kB", Fraction(2, 10**12)),
    ],
)
def test_quantities_are_exact(quantity: Quantity, text: str, value: Fraction | int) -> None:
    assert quantity.parse(text) == value
    assert quantity.to_si(text) == float(value)


def test_unlimited_is_a_bandwidth_and_nothing_else() -> None:
    assert BANDWIDTH.parse("unlimited") == math.inf
    with pytest.raises(QuantityError, match="not a size in bytes"):
        BYTES.parse("unlimited")


def test_cycles_need_a_clock() -> None:
    assert BANDWIDTH.parse("256 B/cycle", Fraction(940_000_000)) == 256 * 940_000_000
    assert BANDWIDTH.parse("256 bit/cycle", Fraction(10**9)) == 32 * 10**9
    assert TIME.parse("3 cycles", Fraction(10**9)) == Fraction(3, 10**9)
    with pytest.raises(QuantityError, match="needs a clock"):
        TIME.parse("3 cycles")


@pytest.mark.parametrize(
    "quantity, text, what",
    [
        (BYTES, "16", "has no unit (such as `16 MiB`"),
        (BYTES, "16 KB", "kB is 1000 bytes, KiB 1024"),
        (BYTES, "16 gib", "did you mean `GiB`?"),
        (BYTES, "-1 B", "is negative"),
        (BYTES, "0 B", "must be more than zero"),
        (BYTES, "1.3 B", "not a whole number of B"),
        (BYTES, "lots", "is not a size in bytes"),
        (BYTES, "1e400 B", "is out of range"),
        (BYTES, "1e30 EB", "is too large"),
        (BYTES, "٣ B", "is not a size in bytes"),
        (BANDWIDTH, "10 GB", "did you mean `GB/s`?"),
        (BANDWIDTH, "10 Gbps", "bits per second are written `Gb/s`, bytes `GB/s`"),
        (BANDWIDTH, "0 GB/s", "must be more than zero"),
        (FREQUENCY, "940 Mhz", "did you mean `MHz`?"),
        (TIME, "80 GHz", "is not a unit of time"),
        (ENERGY_PER_BYTE, "3 pJ", "is not a unit of energy per byte"),
        (ENERGY_PER_BYTE, "3 pJ/0 bit", "is not a unit of energy per byte"),
    ],
)
def test_wrong_quantities_say_what_is_right(quantity: Quantity, text: str, what: str) -> None:
    with pytest.raises(QuantityError) as caught:
        quantity.parse(text)
    assert what in str(caught.value)


@given(st.floats(1e-3, 1e20), st.integers(1, 2**60))
@settings(deadline=None, derandomize=True)
def test_what_is_written_reads_back_as_the_same(value: float, size: int) -> None:
    for quantity in (BANDWIDTH, FREQUENCY, TIME, ENERGY, ENERGY_PER_BYTE):
        small = value if quantity in (BANDWIDTH, FREQUENCY) else value * 1e-22
        assert quantity.to_si(quantity.format(small)) == small
    assert BYTES.to_si(BYTES.format(size)) == size


@given(st.fractions(Fraction(1, 10**6), 10**6).filter(lambda f: f > 0), st.integers(2**21, 2**31))
@settings(deadline=None, derandomize=True)
def test_rates_are_rounded_down_and_closely(value: Fraction, limit: int) -> None:
    rate = rate_fraction(value, limit)
    assert rate.numerator <= limit
    assert rate.denominator <= limit
    assert value * (1 - Fraction(2, 1) / min(limit, int(limit * value), int(limit / value))) <= rate <= value
    if value.numerator <= limit and value.denominator <= limit:
        assert rate == value


def test_a_good_machine() -> None:
    arch = loads_architecture(GOOD, "m.yaml")
    assert (arch.name, arch.clock, arch.technology_nm) == ("small", 1e9, 16.0)
    assert [m.name for m in arch.tiers()] == ["dram", "sram"]
    assert [m.name for m in arch.off_chip] == ["dram"]
    assert [u.name for u in arch.units_on("sram")] == ["array", "vector"]
    assert [c.name for c in arch.path("dram", "sram")] == ["dram", "bus", "sram"]
    assert [c.name for c in arch.path("sram", "dram")] == ["sram", "bus", "dram"]
    assert [c.name for c in arch.path("sram", "sram")] == ["sram"]
    assert arch.memories["sram"].port("read") == ("sram", 64e9) == arch.memories["sram"].port("write")
    vector = arch.units["vector"]
    assert isinstance(vector, VectorUnit)
    assert vector.rates == {"exp": Fraction(1, 6), "div": Fraction(1, 8)}
    with pytest.raises(BadInput, match=r"no memory `srm` \(did you mean `sram`\?\)"):
        arch.path("dram", "srm")


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
         ["m.yaml:7: memories.sram.kind: kind `vector` is a unit (it belongs under `units`; here one of buffer, dram, "
          "open_row_dram)"]),
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
                                                             "are not read; use `extends`)"]),
        (changed("  array:", "  a.b:"), ["m.yaml:12: units.a.b: `a.b` cannot be a name (letters, digits, _ and -, a "
                                         "letter first)"]),
        ("clock: 1 GHz\n", ["m.yaml:1: memories: a machine needs at least one memory (such as a `dram` and a `buffer`)",
                            "m.yaml:1: units: a machine needs at least one compute unit (such as a `systolic` array)"]),
        ("[1]", ["m.yaml:1: a machine is a mapping (begin with `name:`, `clock:`, `memories:`)"]),
        ("", ["m.yaml:1: a machine is a mapping (begin with `name:`, `clock:`, `memories:`)"]),
        ("[" * 5000, ["m.yaml: nested too deep (at most 32 levels)"]),
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
    assert only == "m.yaml: more than 50000 keys and values, aliases written out (use `extends` instead of nested aliases)"


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


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(k, shuffled(v, rng)) for k, v in value.items()]
        rng.shuffle(items)
        return dict(items)
    return value


@given(st.randoms(use_true_random=False), st.sampled_from(preset_names()))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_the_order_of_keys_never_matters(rng: random.Random, preset: str) -> None:
    arch = load_architecture(preset)
    other = loads_architecture(json.dumps(shuffled(arch.to_dict(), rng)))
    assert other == arch
    assert hash(other) == hash(arch)
    assert other.spec_hash == arch.spec_hash
    assert [m.name for m in other.tiers()] == [m.name for m in arch.tiers()]
    assert [c.name for c in other.components()] == [c.name for c in arch.components()]


def test_the_hash_covers_results_and_nothing_else() -> None:
    base = loads_architecture(GOOD)
    assert loads_architecture("# note\n" + changed("4 GiB", "4096 MiB")).spec_hash == base.spec_hash
    noted = loads_architecture(changed("kind: buffer", "kind: buffer\n    source: a book"))
    assert noted.spec_hash == base.spec_hash
    assert noted != base
    for old, new in (("4 GiB", "4 GB"), ("80 ns", "81 ns"), ("16 nm", "7 nm"), ("exp: 1/6", "exp: 1/7")):
        assert loads_architecture(changed(old, new)).spec_hash != base.spec_hash


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


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_round_trip_and_pickle(name: str) -> None:
    arch = load_architecture(name)
    assert arch.name == name
    assert arch.source
    again = loads_architecture(arch.to_yaml(), "again")
    assert again == arch
    assert again.spec_hash == arch.spec_hash
    copy = pickle.loads(pickle.dumps(arch))
    assert copy == arch
    assert copy.defaults_used() == arch.defaults_used()
    for component in arch.components():
        assert all(e >= 0 for e in component.action_energy().values())
    with pytest.raises(AttributeError):
        arch.clock = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        del arch.units["array"]  # type: ignore[attr-defined]


def test_presets_have_the_published_peaks() -> None:
    def flops(name: str, unit: str) -> float:
        arch = load_architecture(name)
        return 2 * arch.units[unit].peak_rates()["mac"] * arch.units[unit].clock_hz

    assert flops("sn40l", "pcu") == pytest.approx(638e12, rel=1e-8)
    assert 2 * flops("tpu_like", "mxu") == pytest.approx(123e12, rel=2e-3)  # 123 TFLOP/s per chip of two cores
    assert flops("edge_npu", "array") == 512e9  # Gemmini's default, 256 MACs at 1 GHz
    sn40l = load_architecture("sn40l")
    assert [m.name for m in sn40l.tiers()] == ["ddr", "hbm", "sram"]
    assert [m.capacity for m in sn40l.tiers()] == [1536 * 2**30, 64 * 2**30, 520 * 2**20]
    assert [m.bandwidth for m in sn40l.off_chip] == [200e9, 1.8e12]
    assert "mac" not in sn40l.units["simd"].peak_rates()
    tpu = load_architecture("tpu_like")
    assert 2 * (tpu.memories["hbm"].bandwidth or 0) == 900e9
    assert tpu.memories["vmem"].port("read") == ("vmem.read", 4096 * 940e6)


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


def test_trees_and_links() -> None:
    memories = {
        "c": Buffer(capacity=1, bandwidth=1, parent="a"),
        "b": Buffer(capacity=1, bandwidth=1, parent="a"),
        "a": Dram(capacity=1, bandwidth=1),
        "d": Buffer(capacity=1, bandwidth=1, parent="b"),
    }
    units = {"u": VectorUnit(memory="d", lanes=1)}
    arch = Architecture("tree", 1e9, memories, units)
    assert [m.name for m in arch.tiers()] == ["a", "b", "c", "d"]
    assert [c.name for c in arch.path("c", "d")] == ["c", "a", "b", "d"]
    short = Architecture("tree", 1e9, memories, units, {"x": Link(between=("d", "c"), bandwidth=1)})
    assert [c.name for c in short.path("c", "d")] == ["c", "x", "d"]
    with pytest.raises(SpecError, match="joins the same memories as link `x`"):
        Architecture("tree", 1e9, memories, units, {n: Link(between=("d", "c"), bandwidth=1) for n in "xy"})
    with pytest.raises(SpecError, match=r"tree: units.u.memory: no memory `d`"):
        Architecture("tree", 1e9, {"a": memories["a"]}, units)


def test_python_values_are_in_si_and_checked_too() -> None:
    memory = Buffer(capacity=1024, read_bandwidth=1e9, write_bandwidth="unlimited", name="s")
    assert memory.port("read") == ("s.read", 1e9)
    assert memory.port("write") is None
    for wrong in ({"capacity": -1}, {"capacity": 1.5}, {"capacity": True}, {"bandwidth": math.nan}, {"latency": math.inf}):
        with pytest.raises(ValueError, match=r"is not a|negative|not a whole"):
            Buffer(**{"capacity": 1, "bandwidth": 1, **wrong})


def test_own_clock_of_a_unit_is_what_its_cycles_mean() -> None:
    arch = loads_architecture(changed("lanes: 16", "lanes: 16\n    clock: 2 GHz"))
    assert arch.units["vector"].clock_hz == 2e9
    assert arch.units["array"].clock_hz == 1e9
    assert arch.units["vector"].server(Fraction(10**9)).rate == 2


def test_kinds_come_through_entry_points() -> None:
    kinds = component_kinds()
    assert {"buffer", "dram", "open_row_dram", "systolic", "vector", "link"} <= set(kinds)
    for name, kind in kinds.items():
        assert kind.model_fields["kind"].default == name

    class Scratch(Buffer):
        kind: str = "scratch"  # type: ignore[assignment]

    text = changed("kind: buffer", "kind: scratch")
    with pytest.raises(SpecError, match="unknown kind `scratch`"):
        loads_architecture(text)
    with temporary_kinds({"scratch": Scratch}):
        assert loads_architecture(text).memories["sram"].kind == "scratch"


def test_a_plugin_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from accelsim.arch import registry

    broken = EntryPoint("broken", "no_such_module:Thing", registry.GROUP)
    wrong = EntryPoint("wrong", "json:loads", registry.GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: {"broken": broken, "wrong": wrong})
    with pytest.raises(BadInput, match="kind `broken`: cannot import no_such_module:Thing: ModuleNotFoundError"):
        registry.component_kind("broken")
    with pytest.raises(BadInput, match="kind `wrong`: json:loads is not a subclass"):
        registry.component_kind("wrong")


def test_json_schema_names_every_key() -> None:
    schema = json_schema()
    for name, kind in component_kinds().items():
        assert set(schema["$defs"][name]["properties"]) == set(kind.model_fields) - {"name"}
    assert {r["$ref"] for r in schema["properties"]["units"]["additionalProperties"]["anyOf"]} >= {
        "#/$defs/systolic",
        "#/$defs/vector",
    }
    json.dumps(schema)


def test_default_energies_meet_the_cited_figures() -> None:
    assert sram_access(65536, 45)[0].value == pytest.approx(25.9e-12 / 8)
    assert sram_access(65536, 16)[0].value == pytest.approx(4.84e-12 / 8)
    assert sram_access(16384, 45)[1].value == pytest.approx(10.7e-12 / 8)
    assert operation("mac", "int", 8, 7).value == pytest.approx(0.0974e-12)
    assert operation("mac", "int", 16, 45).value == pytest.approx(3.890e-12)
    assert operation("mac", "float", 16, 45).value == pytest.approx(1.5e-12)
    assert operation("exp", "float", 16, None).value == pytest.approx(94.6475e-12)
    assert transfer("dram", "HBM2").value == pytest.approx(31.2e-12)
    # CACTI 7 at 7 nm, 1 MB in 8 banks with a 512 b port: 72 pJ. The rule for nodes below 16 nm, unseen by it, is close.
    assert sram_access(2**20, 7)[0].value == pytest.approx(72e-12 / 64, rel=0.1)


def test_default_energies_grow_with_size_and_node() -> None:
    for node in (7, 16, 22, 45, 65, 130):
        sizes = [sram_access(2**i, node)[0].value for i in range(4, 30)]
        assert sizes == sorted(sizes)
    for scale in (logic_scale, sram_scale):
        values = [scale(node, 45) for node in (3, 5, 7, 10, 12, 16, 22, 28, 32, 40, 45, 65, 90)]
        assert values == sorted(values)
        assert scale(45, 45) == 1
        assert scale(16, 7) * scale(7, 16) == pytest.approx(1)


def test_every_default_is_listed_with_its_source() -> None:
    used = loads_architecture(GOOD).defaults_used()
    assert "CACTI 7" in used["sram.read_energy"]
    assert "no standard given, DDR4 taken" in used["dram.read_energy"]
    assert "Shao" in used["array.mac_energy"]
    assert used["vector.rates.add"].startswith("1 per lane")
    assert "bus.energy" in used
    bare = loads_architecture(changed("technology: 16 nm\n", ""))
    assert "no technology given, 45 nm taken" in bare.defaults_used()["sram.read_energy"]
    given = changed("512 KiB", "512 KiB\n    read_energy: 1 pJ/bit\n    write_energy: 2 pJ/bit")
    arch = loads_architecture(given)
    assert arch.memories["sram"].action_energy() == {"read": 8e-12, "write": 16e-12}
    assert not any(k.startswith("sram.") and "energy" in k for k in arch.defaults_used())
