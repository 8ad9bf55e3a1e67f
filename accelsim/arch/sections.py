"""The keys of a machine file beside those of its components."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from .units import Frequency, Node, Voltage

SECTIONS = {"memories": "memory", "units": "unit", "links": "link"}
"""Sections of components, and the category of those in each."""
SECTION_DOCS = {
    "memories": "Memories by name; all but the outermost name their `parent`.",
    "units": "Compute units by name; each works on one `memory`.",
    "links": "Connections between two memories by name, beside the one from each memory to its parent.",
}
EXTENDS_DOC = "A preset's name or a path: the machine that this file changes. Mappings merge, null removes a key."
_CELL = {
    "anyOf": [
        {"type": ["string", "number"], "description": "Value with its unit."},
        {
            "type": "object",
            "properties": {
                "value": {"type": ["string", "number"], "description": "Value with its unit."},
                "source": {"type": "string", "description": "Where the value comes from."},
            },
            "required": ["value"],
            "additionalProperties": False,
        },
    ]
}
_TABLES = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _CELL}},
    ]
}


class Running(BaseModel):
    """The keys under `operating_point`."""

    model_config = ConfigDict(extra="forbid")

    voltage: Annotated[Voltage, Field(description="Supply that the machine runs at; see `voltage` for the nominal.")]
    clock: Annotated[
        Frequency | None, Field(description="Reference clock there; the nominal one unless given.")
    ] = None  # fmt: skip


class Head(BaseModel):
    """The keys of a machine file beside its components."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, description="What reports call it; the file's name unless given.")]
    description: Annotated[str, Field(description="Free text.")] = ""
    source: Annotated[str | None, Field(description="Where the numbers come from as a whole.")] = None
    clock: Annotated[Frequency, Field(description="The reference clock; what `cycle` means in units.")]
    technology: Annotated[Node | None, Field(description="Node, for energies and areas that are not given.")] = None
    voltage: Annotated[
        Voltage | None, Field(description="Nominal supply, at which energies and leakage powers hold.")
    ] = None
    operating_point: Annotated[
        Running | None,
        Field(description="Where the machine runs, when not at the nominal point: energies of what is on the chip "
              "scale with the square of the voltage, leakage powers in proportion to it."),
    ] = None  # fmt: skip
    tables: Annotated[
        Any,
        Field(description="The user's own energies, areas and leakage powers: paths of CSV or YAML tables, relative to "
              "this file, or rows as `component: {action: value}`. They go before the cited defaults."),
        WithJsonSchema(_TABLES),
    ] = None  # fmt: skip

    @property
    def running_clock(self) -> float:
        """The clock at the operating point."""
        running = self.operating_point
        return self.clock if running is None or running.clock is None else running.clock
