"""Machines from YAML: every problem at once, each with file, line, path and what would be valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..errors import BadInput, Problem, SpecError
from ..text.document import parse_document
from ..text.names import nearest_key, short
from ..text.nodes import Keys, Position
from .architecture import Architecture
from .component import Component
from .document import MACHINE, MachineText, is_preset, preset_names, read, resolve
from .imports.scalesim_cfg import is_scalesim_cfg, read_scalesim_cfg
from .operating_point import OperatingPoint
from .registry import component_kind, component_kinds, kind_names
from .sections import SECTIONS, Head, Running
from .structure import structure_faults
from .tables import load_tables
from .units import FREQUENCY, quantity_of

__all__ = ["RawSpec", "load_architecture", "load_spec", "loads_architecture", "preset_names"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)
VALUE_SET = "value set"
"""In place of the file, in messages on values that were replaced."""
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class RawSpec:
    """A machine file with its bases merged in, not yet validated: what a sweep varies.

    Attributes:
        name: the file's name without suffix, or the preset's.
        document: keys and values as they stand, with the line of each.
    """

    name: str
    document: MachineText

    def with_values(self, values: Mapping[str, Any]) -> RawSpec:
        """Return a spec with some values replaced, such as ``{"memories.sram.capacity": "1 MiB"}``.

        A path names a key that the spec has, or that the component's kind allows.

        Raises:
            BadInput: no such path; the message has the nearest one.
        """
        document = replace(self.document, data=_copy(self.document.data), positions=dict(self.document.positions))
        for dotted, value in values.items():
            path = tuple(dotted.split("."))
            if not self._settable(path):
                raise BadInput(f"{self.name}: no value at `{dotted}` ({nearest_key(dotted, self.paths())})")
            into = document.data
            for key in path[:-1]:
                into = into.setdefault(key, {})
            into[path[-1]] = value
            for known in [p for p in document.positions if p[: len(path)] == path]:
                del document.positions[known]
            document.positions[path] = Position(VALUE_SET, 0)
        return RawSpec(self.name, document)

    def paths(self) -> list[str]:
        """Every path that `with_values` takes, sorted; keys inside a mapping only where the spec has them."""
        found = {*Head.model_fields, *(f"operating_point.{key}" for key in Running.model_fields)}
        for section in SECTIONS:
            components = self.document.data.get(section)
            for name, spec in (components if isinstance(components, dict) else {}).items():
                if isinstance(spec, dict):
                    keys = {*spec, *keys_of_kind(spec.get("kind"))}
                    found |= {f"{section}.{name}.{key}" for key in keys}
                    inner = {f"{k}.{i}": w for k, v in spec.items() if isinstance(v, dict) for i, w in v.items()}
                    inner |= {f"{k}.{i}": w for k, v in inner.items() if isinstance(v, dict) for i, w in v.items()}
                    found |= {f"{section}.{name}.{key}" for key in inner}
        return sorted(found)

    def _settable(self, path: Keys) -> bool:
        if len(path) == 1:
            return path[0] in Head.model_fields
        if path[0] == "operating_point":
            return len(path) == 2 and path[1] in Running.model_fields
        spec: Any = self.document.data.get(path[0]) if path[0] in SECTIONS and 3 <= len(path) <= 5 else None
        spec = spec.get(path[1]) if isinstance(spec, dict) else None
        if not isinstance(spec, dict):
            return False
        fields = keys_of_kind(spec.get("kind"))
        if len(path) == 3:
            return path[2] in spec or path[2] in fields
        inner = spec.get(path[2])
        if len(path) == 5:
            return isinstance(inner, dict) and isinstance(inner.get(path[3]), dict)
        return isinstance(inner, dict) or (inner is None and path[2] in fields and _is_mapping(fields[path[2]]))

    def build(self) -> Architecture:
        """Validate.

        Raises:
            SpecError: with every problem of the spec.
        """
        return _Builder(self).build()


def load_spec(ref: str | Path) -> RawSpec:
    """Read a machine without validating it.

    Args:
        ref: a preset's name (see `preset_names`), or the path of a YAML file or of a configuration of SCALE-Sim (.cfg).

    Raises:
        SpecError: no such preset or file, not YAML, duplicate keys, a wrong `extends`.
    """
    if is_scalesim_cfg(ref):
        return RawSpec(Path(ref).stem, read_scalesim_cfg(ref))
    name = str(ref) if is_preset(ref) else Path(ref).stem
    return RawSpec(name, read(ref))


def load_architecture(ref: str | Path) -> Architecture:
    """Load and validate a machine.

    Args:
        ref: a preset's name (see `preset_names`), or the path of a YAML file.

    Raises:
        SpecError: with every problem of the file, each with its line.
    """
    return load_spec(ref).build()


def loads_architecture(text: str, name: str = "machine", folder: Path | None = None) -> Architecture:
    """Load and validate a machine from YAML text.

    Args:
        text: one YAML document.
        name: what messages call the text, and the machine's name unless the text has one.
        folder: what a path in `extends` is relative to.

    Raises:
        SpecError: with every problem of the text, each with its line.
    """
    return RawSpec(name, resolve(parse_document(text, name, MACHINE), folder, (name,))).build()


class _Builder:
    """One validation of a spec."""

    def __init__(self, spec: RawSpec) -> None:
        self.spec = spec
        self.data = spec.document.data
        self.problems: list[tuple[Position, Problem]] = []

    def report(self, path: Keys, what: str, hint: str = "") -> None:
        position = self.spec.document.position(path)
        self.problems.append((position, Problem(position.at(path), what, hint)))

    def build(self) -> Architecture:
        head = self.head()
        sections = {section: self.section(section, head) for section in SECTIONS}
        self.structure(sections)
        kinds = {n: str(spec.get("kind")) for s in SECTIONS for n, spec in self.specs(s).items()}
        tables, wrong = load_tables(self.spec.document, kinds)
        self.problems += wrong
        if self.problems or head is None:
            self.problems.sort(key=lambda p: p[0])
            raise SpecError([problem for _, problem in self.problems])
        return Architecture(
            name=head.name,
            description=head.description,
            source=head.source,
            clock=head.running_clock,
            technology_nm=head.technology,
            operating_point=_operating_point(head),
            tables=tables,
            **{s: {n: c for n, c in found.items() if c is not None} for s, found in sections.items()},  # type: ignore[arg-type]
        )

    def head(self) -> Head | None:
        values = {k: v for k, v in self.data.items() if k not in SECTIONS and v is not None}
        values.setdefault("name", self.spec.name)
        head = self.validate(Head, values, (), None)
        if "operating_point" in values and "voltage" not in values:
            self.report(("operating_point",), "needs the nominal `voltage`", "at which energies and leakage hold")
        return head

    def specs(self, section: str) -> dict[str, dict[str, Any]]:
        """What the file says of the components of a section, where that is a mapping."""
        found = self.data.get(section)
        return {n: c for n, c in found.items() if isinstance(c, dict)} if isinstance(found, dict) else {}

    def section(self, section: str, head: Head | None) -> dict[str, Component | None]:
        """Components of a section by name, None where one is wrong."""
        specs = self.data.get(section)
        if specs is None:
            return {}
        if not isinstance(specs, dict):
            self.report((section,), "must be a mapping of names to components", "such as `sram: {kind: buffer, ...}`")
            return {}
        found = {}
        for name, spec in specs.items():
            path = (section, name)
            if not _NAME.fullmatch(name):
                self.report(path, f"`{short(name)}` cannot be a name", "letters, digits, _ and -, a letter first")
            found[name] = self.component(path, spec, head)
        return found

    def component(self, path: Keys, spec: Any, head: Head | None) -> Component | None:
        if not isinstance(spec, dict):
            self.report(path, "must be a mapping with a `kind`", "such as `{kind: buffer, capacity: 16 MiB, ...}`")
            return None
        name = spec.get("kind")
        if name is None:
            self.report(path, "missing key `kind`", _kinds_of(SECTIONS[path[0]]))
            return None
        if not isinstance(name, str) or name not in kind_names():
            hint = nearest_key(name, kind_names(), _kinds_of(SECTIONS[path[0]]))
            self.report((*path, "kind"), f"unknown kind `{short(name)}`", hint)
            return None
        kind = component_kind(name)
        if kind.category != SECTIONS[path[0]]:
            home = next(s for s, category in SECTIONS.items() if category == kind.category)
            self.report((*path, "kind"), f"kind `{name}` is a {kind.category}",
                        f"it belongs under `{home}`; here {_kinds_of(SECTIONS[path[0]])}")  # fmt: skip
            return None
        values = {k: v for k, v in spec.items() if v is not None}
        component = self.validate(kind, values, path, self.clock(values, head))
        return None if component is None else component.model_copy(update={"name": path[1]})

    def clock(self, values: Mapping[str, Any], head: Head | None) -> Fraction:
        """The clock that cycles in the units of a component refer to: its own, else the machine's.

        Where the latter is wrong, which is reported, any will do.
        """
        try:
            return Fraction(FREQUENCY.to_si(str(values["clock"])))
        except (KeyError, ValueError):
            return Fraction(1 if head is None else head.running_clock)

    def validate(self, model: type[M], values: dict[str, Any], path: Keys, clock: Fraction | None) -> M | None:
        fields = {k: info for k, info in model.model_fields.items() if not path or k != "name"}
        wrong = set()
        for key, value in values.items():
            if key not in fields:
                known = [*fields, *(() if path else ("extends", *SECTIONS))]
                self.report((*path, key), f"unknown key `{short(key, 60)}`", nearest_key(key, known))
            elif isinstance(value, bool) and bool not in (fields[key].annotation, *get_args(fields[key].annotation)):
                self.report((*path, key), f"must not be {str(value).lower()}", _example(fields[key]))
            else:
                continue
            wrong.add(key)
        good = {k: v for k, v in values.items() if k not in wrong}
        try:
            valid = model.model_validate(good, context={"clock": clock})
        except ValidationError as error:
            self.translate(error, fields, path, wrong)
            return None
        return None if wrong else valid

    def translate(self, error: ValidationError, fields: Mapping[str, FieldInfo], path: Keys, done: set[str]) -> None:
        """Report in our own words what pydantic found, except at the keys `done`."""
        for item in error.errors(include_url=False):
            here = (*path, *(str(part) for part in item["loc"]))
            key = str(item["loc"][0]) if item["loc"] else ""
            if key in done:
                continue
            context = item.get("ctx", {})
            hint = _example(fields[key]) if key in fields else ""
            match item["type"]:
                case "quantity":
                    self.report(here, context["what"], context["hint"])
                case "extra_forbidden":
                    known = _inner_keys(fields.get(key))
                    self.report(here, f"unknown key `{short(here[-1], 60)}`", nearest_key(here[-1], known))
                case "missing":
                    self.report(here[:-1], f"missing key `{here[-1]}`", hint)
                case "value_error":
                    self.report(here, str(context["error"]))
                case "literal_error":
                    given = short(item["input"])
                    self.report(here, f"`{given}` is not valid", f"one of {context['expected']}")
                case _:
                    given = short(item["input"])
                    self.report(here, f"`{given}`: {item['msg'][0].lower()}{item['msg'][1:]}", hint)

    def structure(self, sections: Mapping[str, Mapping[str, Component | None]]) -> None:
        """Check references by what the spec says, so that they are reported even where a component is wrong."""
        specs = {section: self.data.get(section) or {} for section in SECTIONS}
        if not all(isinstance(s, dict) for s in specs.values()):
            return
        said = {s: {n: c if isinstance(c, dict) else {} for n, c in specs[s].items()} for s in SECTIONS}
        parents = {n: c.get("parent") for n, c in said["memories"].items()}
        fed_by = {n: _memories_of(c) for n, c in said["units"].items()}
        joins = {n: c.get("between") for n, c in said["links"].items()}
        unclear = {n for n, p in parents.items() if not isinstance(p, str | None) or not specs["memories"][n]}
        faults = structure_faults(
            {n: None if n in unclear else p for n, p in parents.items()},
            fed_by,
            {n: b if isinstance(b, list) and all(isinstance(x, str) for x in b) else () for n, b in joins.items()},
        )
        for fault in faults:
            if not unclear or fault.path[0] != "memories" or len(fault.path) != 2:
                self.report(fault.path, fault.what, fault.hint)


def _memories_of(unit: Mapping[str, Any]) -> dict[str, str]:
    """Memories that a compute unit's spec names, by key."""
    operands = unit.get("operands")
    named = {f"operands.{o}": m for o, m in operands.items()} if isinstance(operands, dict) else {}
    return {key: m for key, m in {"memory": unit.get("memory"), **named}.items() if isinstance(m, str)}


def _operating_point(head: Head) -> OperatingPoint | None:
    if head.voltage is None:
        return None
    running = head.operating_point
    return OperatingPoint(head.voltage if running is None else running.voltage, head.voltage, head.clock)


def _inner_keys(info: FieldInfo | None) -> list[str]:
    """Keys of a key that is itself a mapping of keys."""
    models = [part for part in get_args(info.annotation) if hasattr(part, "model_fields")] if info is not None else []
    return [key for model in models for key in model.model_fields]


def _kinds_of(category: str) -> str:
    return "one of " + ", ".join(name for name, kind in component_kinds().items() if kind.category == category)


def keys_of_kind(kind: Any) -> Mapping[str, FieldInfo]:
    """The keys that a component of a kind may have; none if there is no such kind."""
    if not isinstance(kind, str) or kind not in kind_names():
        return {}
    return {k: info for k, info in component_kind(kind).model_fields.items() if k not in ("kind", "name")}


def _is_mapping(info: FieldInfo) -> bool:
    return getattr(info.annotation, "__origin__", None) is Mapping


def _example(info: FieldInfo) -> str:
    """What would be a valid value of a key."""
    quantity = quantity_of(info)
    return quantity.hint if quantity is not None else info.description or ""


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value
