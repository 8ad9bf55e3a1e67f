# ruff: noqa: E501 - expected messages stand whole
"""Tables of the user's own: precedence, provenance, and what is said of mistakes in them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from support.machine_files import GOOD, changed, problems

from accelsim.arch import Architecture, load_architecture, load_spec, loads_architecture

CSV = """\
component,action,value,source
# figures of our own test chip
sram,read,3 pJ/bit,lab notebook
array,mac,0.25 pJ,
dram,write,7 pJ/byte,
sram,area,1.5 mm2,die photo
array,leakage,2 mW,
"""


def with_table(folder: Path, table: str, machine: str = GOOD, name: str = "my_table.csv") -> Architecture:
    (folder / name).write_text(table)
    return loads_architecture(f"{machine}tables: {name}\n", "m.yaml", folder)


def wrong(folder: Path, table: str, name: str = "t.csv") -> list[str]:
    (folder / name).write_text(table)
    return [p.replace(f"{folder}/", "") for p in problems(f"{GOOD}tables: {name}\n", folder)]


def test_a_table_goes_before_the_defaults(tmp_path: Path) -> None:
    arch, bare = with_table(tmp_path, CSV), loads_architecture(GOOD)
    assert arch.memories["sram"].action_energy()["read"] == pytest.approx(24e-12)
    assert arch.memories["sram"].action_energy()["write"] == bare.memories["sram"].action_energy()["write"]
    assert arch.memories["dram"].action_energy() == {
        "read": bare.memories["dram"].action_energy()["read"], "write": pytest.approx(7e-12),
    }  # fmt: skip
    assert arch.units["array"].action_energy()["mac"] == pytest.approx(0.25e-12)
    assert arch.memories["sram"].area_mm2 == 1.5
    assert arch.units["array"].leakage_watts == pytest.approx(2e-3)
    assert arch.without_leakage() == ("dram", "sram", "vector", "bus")


def test_what_a_component_states_goes_before_a_table(tmp_path: Path) -> None:
    stated = changed("capacity: 512 KiB", "capacity: 512 KiB\n    read_energy: 1 pJ/bit\n    area: 9 mm2")
    arch = with_table(tmp_path, CSV, stated)
    assert arch.memories["sram"].action_energy()["read"] == pytest.approx(8e-12)
    assert arch.memories["sram"].area_mm2 == 9
    assert "sram.read_energy" not in arch.defaults_used()


def test_every_figure_says_which_line_it_is_from(tmp_path: Path) -> None:
    used = with_table(tmp_path, CSV).defaults_used()
    assert used["sram.read_energy"] == "24 pJ/byte (my_table.csv:3: lab notebook)"
    assert used["array.mac_energy"] == "0.25 pJ (my_table.csv:4)"
    assert used["sram.area"] == "1.5 mm2 (my_table.csv:6: die photo)"
    assert used["array.leakage"] == "0.002 W (my_table.csv:7)"
    assert "CACTI" in used["sram.write_energy"]


def test_a_name_goes_before_its_kind(tmp_path: Path) -> None:
    for rows in (("buffer,read,1 pJ/byte", "sram,read,2 pJ/byte"), ("sram,read,2 pJ/byte", "buffer,read,1 pJ/byte")):
        arch = with_table(tmp_path, "component,action,value\n" + "\n".join(rows) + "\nbuffer,write,4 pJ/byte\n")
        assert arch.memories["sram"].action_energy() == {"read": pytest.approx(2e-12), "write": pytest.approx(4e-12)}


def test_yaml_inline_and_csv_mean_the_same(tmp_path: Path) -> None:
    yaml = "sram: {read: 3 pJ/bit, area: {value: 1.5 mm2, source: die photo}}\narray: {mac: 0.25 pJ}\n"
    (tmp_path / "t.yaml").write_text(yaml)
    by_file = loads_architecture(GOOD + "tables: t.yaml\n", "m.yaml", tmp_path)
    inline = loads_architecture(GOOD + "tables:\n" + "".join(f"  {line}\n" for line in yaml.splitlines()), "m.yaml")
    by_csv = with_table(tmp_path, "component,action,value\nsram,read,3 pJ/bit\nsram,area,1.5 mm2\narray,mac,0.25 pJ\n")
    assert by_file.spec_hash == inline.spec_hash == by_csv.spec_hash != loads_architecture(GOOD).spec_hash
    for arch in (by_file, inline, by_csv):
        assert arch.memories["sram"].action_energy() == by_csv.memories["sram"].action_energy()
        assert arch.units["array"].action_energy() == by_csv.units["array"].action_energy()
    assert by_file.defaults_used()["sram.area"] == "1.5 mm2 (t.yaml:1: die photo)"
    assert inline.defaults_used()["array.mac_energy"] == "0.25 pJ (m.yaml:22)"


def test_several_tables_and_the_folder_of_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "machines"
    folder.mkdir()
    (folder / "a.csv").write_text("component,action,value\nsram,read,1 pJ/byte\n")
    (folder / "b.yml").write_text("sram: {write: 2 pJ/byte}\n")
    (folder / "m.yaml").write_text(GOOD + "tables: [a.csv, b.yml]\n")
    arch = load_architecture(folder / "m.yaml")
    assert arch.memories["sram"].action_energy() == {"read": pytest.approx(1e-12), "write": pytest.approx(2e-12)}
    (tmp_path / "variant.yaml").write_text("extends: machines/m.yaml\nmemories: {sram: {capacity: 1 MiB}}\n")
    assert (
        load_architecture(tmp_path / "variant.yaml").memories["sram"].action_energy()
        == arch.memories["sram"].action_energy()
    )
    (tmp_path / "own.csv").write_text("component,action,value\nsram,read,5 pJ/byte\n")
    (tmp_path / "variant.yaml").write_text("extends: machines/m.yaml\ntables: own.csv\n")
    assert load_architecture(tmp_path / "variant.yaml").memories["sram"].action_energy()["read"] == pytest.approx(5e-12)
    without = load_spec(folder / "m.yaml").with_values({"tables": None}).build()
    assert without == loads_architecture(GOOD)


def test_a_machine_with_tables_is_a_value(tmp_path: Path) -> None:
    arch = with_table(tmp_path, CSV)
    again = loads_architecture(arch.to_yaml(), "again")
    assert again == arch
    assert again.spec_hash == arch.spec_hash
    assert again.defaults_used() == arch.defaults_used() == pickle.loads(pickle.dumps(arch)).defaults_used()
    assert arch != loads_architecture(GOOD)


@pytest.mark.parametrize(
    "table, expected",
    [
        (
            "component,action,value\nsarm,read,1 pJ/byte\n",
            "t.csv:2: no component or kind `sarm` (did you mean `sram`?)",
        ),
        ("component,action,value\nsram,raed,1 pJ/byte\n", "t.csv:2: sram has no action `raed` (did you mean `read`?)"),
        (
            "component,action,value\narray,exp,1 pJ\n",
            "t.csv:2: array has no action `exp` (there are area, leakage, mac, register)",
        ),
        (
            "component,action,value\nsram,read,1 pJ\n",
            "t.csv:2: `pJ` is not a unit of energy per byte (such as `3.9 pJ/bit` or `10 pJ/byte` or `249.6 pJ/64 bit`)",
        ),
        ("component,action,value\nsram,area,1\n", "t.csv:2: `1` has no unit (such as `1.4 mm2` or `850 um2`)"),
        ("component,action,value\nsram,leakage,-1 W\n", "t.csv:2: `-1 W` is negative (such as `12 mW` or `1.5 W`)"),
        (
            "component,action,value\n\nsram,read,1 pJ/byte\nsram,read,2 pJ/byte\n",
            "t.csv:4: sram.read stands twice (first given in t.csv:3; remove one)",
        ),
        ("component,action,valeu\n", "t.csv:1: unknown column `valeu` (did you mean `value`?)"),
        (
            "component,action,value\nsram,read\n",
            "t.csv:2: 2 fields under 3 columns (columns: component, action, value)",
        ),
        ("", "t.csv: the table is empty (its first line is component,action,value,source)"),
    ],
)
def test_mistakes_in_a_table_are_told_by_line(tmp_path: Path, table: str, expected: str) -> None:
    assert expected in wrong(tmp_path, table)


@pytest.mark.parametrize(
    "table, expected",
    [
        (
            "sram: {read: 1 pJ/byte}\nsarm: {read: 1 pJ/byte}\n",
            ["t.yaml:2: sarm.read: no component or kind `sarm` (did you mean `sram`?)"],
        ),
        ("sram: 3 pJ\n", ["t.yaml:1: sram: must be a mapping of actions to values (such as `read: 2 pJ/bit`)"]),
        ("sram:\n  read: {vlaue: 1 pJ}\n", ["t.yaml:2: sram.read: unknown key `vlaue` (`value` and `source`)"]),
        ("[1]\n", ["t.yaml:1: a table is a mapping (such as `sram: {read: 3.9 pJ/bit}`)"]),
        (
            "sram: {read: 1 pJ/byte, read: 2 pJ/byte}\n",
            ["t.yaml:1: sram.read: duplicate key (first given in line 1; remove one)"],
        ),
    ],
)
def test_mistakes_in_a_yaml_table_are_told_by_line(tmp_path: Path, table: str, expected: list[str]) -> None:
    assert wrong(tmp_path, table, "t.yaml") == expected


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("component,action,value\nsarm,read,1 pJ/byte\nsram,raed,1 pJ/byte\n")
    found = problems(GOOD.replace("rows: 16", "rows: 0") + "tables: t.csv\n", tmp_path)
    assert len(found) == 3


def test_a_missing_table_is_told_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("component,action,value\n")
    (only,) = problems(GOOD + "tables: mien.csv\n", tmp_path)
    assert (
        only
        == f"m.yaml:20: tables: cannot read {tmp_path / 'mien.csv'}: No such file or directory (did you mean `mine.csv`?)"
    )
    (only,) = problems(GOOD + "tables: [3]\n", tmp_path)
    assert only.startswith("m.yaml:20: tables: `3` is not a table (a path that ends in .csv or .yaml")


def test_rows_for_a_kind_that_the_machine_lacks_are_no_mistake(tmp_path: Path) -> None:
    arch = with_table(tmp_path, "component,action,value\nopen_row_dram,read,1 pJ/byte\n")
    assert arch.memories["dram"].action_energy() == loads_architecture(GOOD).memories["dram"].action_energy()
