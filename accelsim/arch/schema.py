"""JSON Schema of a machine file, with the documentation of every key, for editors."""

from __future__ import annotations

from inspect import getdoc
from typing import Any

from .component import Component
from .registry import component_kinds
from .sections import EXTENDS_DOC, SECTION_DOCS, SECTIONS, Head

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a machine file, over all installed kinds.

    A file that `extends` another states only what it changes: in it no key is required, and null removes one.
    """
    head = Head.model_json_schema()
    definitions: dict[str, Any] = head.get("$defs", {})
    properties: dict[str, Any] = {"extends": {"type": "string", "description": EXTENDS_DOC}, **head["properties"]}
    whole: dict[str, Any] = {}
    for section, category in SECTIONS.items():
        kinds = {name: kind for name, kind in component_kinds().items() if kind.category == category}
        required = {}
        for name, kind in kinds.items():
            schema = _of_kind(name, kind)
            definitions |= schema.pop("$defs", {})
            required[name] = schema.pop("required")
            definitions[name] = schema
        refs = [{"$ref": f"#/$defs/{name}"} for name in kinds]
        properties[section] = {
            "type": "object",
            "description": SECTION_DOCS[section],
            "additionalProperties": {"anyOf": [*refs, {"type": "null"}]},
        }
        complete = [{"$ref": f"#/$defs/{name}", "required": required[name]} for name in kinds]
        whole[section] = {"additionalProperties": {"anyOf": complete}}
    needed = [key for key in head["required"] if key != "name"]
    return {
        "$schema": DIALECT,
        "title": "accelsim machine",
        "description": "A machine: memories, compute units and links, with units in the values.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "else": {"required": [*needed, "memories", "units"], "properties": whole},
        "$defs": definitions,
    }


def _of_kind(name: str, kind: type[Component]) -> dict[str, Any]:
    """The schema of one kind; a value may be null, which removes it from what a base has."""
    schema = kind.model_json_schema(ref_template="#/$defs/{model}")
    schema["properties"].pop("name", None)
    schema["properties"]["kind"] = {"const": name, "description": f"The kind of {kind.category}: {_first_line(kind)}"}
    schema["required"] = sorted({*schema.get("required", []), "kind"})
    return schema


def _first_line(kind: type[Component]) -> str:
    return (getdoc(kind) or "").partition("\n")[0]
