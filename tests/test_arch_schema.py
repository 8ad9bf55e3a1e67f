"""The JSON Schema of a machine file, and the explanation of its keys."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.cli import accelsim
from support.machine_files import GOOD, changed

from accelsim.arch import component_kinds, explain, json_schema, loads_architecture, preset_names
from accelsim.arch.explain import key_docs
from accelsim.arch.sections import Head
from accelsim.errors import BadInput
from accelsim.text.document import parse_document


@lru_cache(maxsize=1)
def validator() -> Any:
    return jsonschema.Draft202012Validator(json_schema())


def valid(text: str) -> bool:
    return bool(validator().is_valid(parse_document(text, "m.yaml").data))


def test_json_schema_names_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, kind in component_kinds().items():
        assert set(schema["$defs"][name]["properties"]) == set(kind.model_fields) - {"name"}
    assert set(schema["properties"]) == {"extends", "memories", "units", "links", *Head.model_fields}
    assert {"$ref": "#/$defs/systolic"} in schema["properties"]["units"]["additionalProperties"]["anyOf"]
    assert {"$ref": "#/$defs/systolic"} not in schema["properties"]["links"]["additionalProperties"]["anyOf"]


def test_every_key_of_the_schema_is_documented() -> None:
    schema = json_schema()
    keys = [("", k, v) for k, v in schema["properties"].items()]
    keys += [(name, k, v) for name in component_kinds() for k, v in schema["$defs"][name]["properties"].items()]
    keys += [("operating_point", k, v) for k, v in schema["$defs"]["Running"]["properties"].items()]
    assert not [(where, key) for where, key, inner in keys if not inner.get("description")]


@pytest.mark.parametrize("preset", preset_names())
def test_presets_follow_the_schema(preset: str) -> None:
    text = resources.files("accelsim.arch_specs").joinpath(f"{preset}.yaml").read_text(encoding="utf-8")
    validator().validate(parse_document(text, preset).data)


def test_the_schema_takes_what_the_loader_takes() -> None:
    tables = GOOD + "tables: {sram: {read: 1 pJ/bit, area: {value: 2 mm2, source: die photo}}}\n"
    running = GOOD + "voltage: 0.8 V\noperating_point: {voltage: 0.6 V, clock: 500 MHz}\n"
    for text in (GOOD, tables, running, loads_architecture(tables).to_yaml(), loads_architecture(running).to_yaml()):
        loads_architecture(text)
        assert valid(text)
    assert valid("extends: edge_npu\nunits: {array: {rows: 8}, vector: null}\n")


@pytest.mark.parametrize(
    "text",
    [
        changed("clock:", "clok:"), changed("clock: 1 GHz\n", ""), changed("kind: buffer", "kind: bufer"),
        changed("    capacity: 512 KiB\n", ""), changed("rows: 16", "rows: 0"), changed("lanes:", "lane:"),
        changed("[os]", "[ox]"), changed("kind: buffer", "kind: vector"), changed("512 KiB", "524288"),
        GOOD + "operating_point: {volts: 1 V}\n",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    with pytest.raises(BadInput):
        loads_architecture(text)
    assert not valid(text)


def test_the_command_prints_and_writes_the_schema(tmp_path: Path) -> None:
    ran = accelsim("schema")
    assert (ran.code, json.loads(ran.output)) == (0, json_schema())
    file = tmp_path / "sub" / "machine.schema.json"
    assert accelsim("schema", "--out", file).code == 0
    assert json.loads(file.read_text()) == json_schema()


def test_every_key_of_the_schema_can_be_explained() -> None:
    """Those inside of mappings too, such as of a register file."""
    schema = json_schema()
    parts = [schema, *schema["$defs"].values()]
    names = {name for part in parts for name in part.get("properties", {})}
    assert {"clock", "shared", "voltage"} <= names
    assert all(explain(name) for name in names)
    (shared,) = explain("units.pe.registers.input.shared")
    assert (shared.path, shared.kind) == ("units.*.registers.*.shared", "spatial")


def test_every_key_can_be_explained() -> None:
    for doc in key_docs():
        assert doc.text, doc
        assert doc.value, doc
        assert doc in explain(doc.path)
        if doc.kind:
            assert doc in explain(f"{doc.kind}.{doc.path.rpartition('.')[2]}")
            assert doc in explain(doc.kind)


def test_a_key_is_found_by_path_kind_or_name() -> None:
    kinds = [d.kind for d in explain("memories.*.bandwidth")]
    assert kinds == [d.kind for d in explain("memories.sram.bandwidth")]
    assert {"buffer", "dram"} <= set(kinds)
    assert "link" not in kinds
    (rows,) = explain("systolic.rows")
    assert (rows.path, rows.default, rows.text) == ("units.*.rows", "required", "Processing elements per column.")
    assert {d.path for d in explain("clock")} >= {"clock", "operating_point.clock", "units.*.clock"}
    assert {d.path for d in explain("bandwidth")} == {"memories.*.bandwidth", "links.*.bandwidth"}
    (dataflows,) = explain("systolic.dataflows")
    assert (dataflows.value, dataflows.default) == ("list of: one of `os`, `ws`, `is`", "os, ws, is")
    (capacity,) = explain("buffer.capacity")
    assert capacity.value == "size in bytes, such as `16 MiB` or `64 GB`"


def test_the_command_explains_and_knows_the_nearest_name() -> None:
    ran = accelsim("explain", "memories.*.read_energy")
    assert ran.code == 0
    assert ran.output.count("memories.*.read_energy") == 1  # kinds that mean the same are told together
    kinds = "(banked_dram, buffer, dram, flash, open_row_dram, stream_buffer)"
    assert f"{kinds}: energy per byte, such as `3.9 pJ/bit`" in ran.output
    assert json.loads(accelsim("explain", "lanes", "--json").output)[0]["path"] == "units.*.lanes"
    for key, near in (("rwos", "`rows`"), ("memories.sram.capacty", "`memories.*.capacity`"), ("rate", "`rates`")):
        wrong = accelsim("explain", key)
        assert wrong.code == 2
        assert near in wrong.output
    assert "`accelsim schema` has all" in accelsim("explain", "0").output
