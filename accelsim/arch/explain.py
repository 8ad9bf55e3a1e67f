"""What a key of a machine file means: the documentation of its schema, found by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from inspect import getdoc
from typing import Annotated, Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from ..errors import BadInput
from ..text.names import close, short
from .component import Component
from .registry import component_kinds
from .sections import EXTENDS_DOC, SECTION_DOCS, SECTIONS, Head, Running
from .units import quantity_of


@dataclass(frozen=True)
class KeyDoc:
    """The documentation of one key.

    Attributes:
        path: where it stands, such as ``units.*.rows``; ``*`` is the name of a component.
        kind: of the component; empty for a key of the machine.
        text: what it means.
        value: what may be given, such as ``bandwidth, such as `1.8 TB/s```.
        default: the value when it is left out, as text; ``required``, or empty when it has none.
    """

    path: str
    kind: str
    text: str
    value: str
    default: str


def key_docs() -> tuple[KeyDoc, ...]:
    """The documentation of every key of a machine file, over all installed kinds."""
    return _docs(tuple(component_kinds().items()))


@lru_cache(maxsize=1)
def _docs(kinds: tuple[tuple[str, type[Component]], ...]) -> tuple[KeyDoc, ...]:
    return tuple(_all(kinds))


def explain(key: str) -> tuple[KeyDoc, ...]:
    """The documentation of a key: where it occurs, and what it means there.

    Args:
        key: a path (``memories.*.bandwidth``, with any name for ``*``), a kind and a key (``systolic.rows``), a kind
            (``systolic``), or a bare key (``rows``).

    Raises:
        BadInput: nothing is called so; the message has the nearest names.
    """
    docs = key_docs()
    found = tuple(d for d in docs if key in _names(d))
    if not found:
        found = tuple(d for d in docs if d.kind and key in (d.kind, f"{d.path.partition('.')[0]}.*"))
    if not found:
        found = tuple(d for d in docs if _stands_for(d.path, key))
    if not found:
        raise BadInput(f"no key `{short(key, 60)}` in a machine file ({_nearest(key, docs)})")
    return found


def _stands_for(path: str, key: str) -> bool:
    """Whether a path with ``*`` for names is that of a key."""
    parts, given = path.split("."), key.split(".")
    return len(parts) == len(given) and all(part in ("*", name) for part, name in zip(parts, given, strict=True))


def _names(doc: KeyDoc) -> tuple[str, ...]:
    """Everything that a key may be called."""
    last = doc.path.rpartition(".")[2]
    return (doc.path, last, f"{doc.kind}.{last}") if doc.kind else (doc.path, last)


def _nearest(key: str, docs: tuple[KeyDoc, ...]) -> str:
    known = {name for d in docs for name in (*_names(d), d.kind) if name}
    last = key.rpartition(".")[2]
    found = close(key, known, 3, 0.5) or close(last, {d.path.rpartition(".")[2] for d in docs}, 3, 0.5)
    if found:
        return "did you mean " + " or ".join(f"`{name}`" for name in found) + "?"
    return "has: " + ", ".join(f"`{name}`" for name in ("clock", *SECTIONS)) + " ...; `accelsim schema` has all"


def _all(kinds: tuple[tuple[str, type[Component]], ...]) -> Iterator[KeyDoc]:
    yield KeyDoc("extends", "", EXTENDS_DOC, "text", "")
    for name, info in Head.model_fields.items():
        yield _doc(name, "", info)
    for name, info in Running.model_fields.items():
        yield _doc(f"operating_point.{name}", "", info)
    for section, category in SECTIONS.items():
        yield KeyDoc(section, "", SECTION_DOCS[section], "mapping of names to components", "")
        for kind, model in kinds:
            if model.category != category:
                continue
            first = (getdoc(model) or "").partition("\n\n")[0].replace("\n", " ")
            yield KeyDoc(f"{section}.*.kind", kind, first, f"`{kind}`", "required")
            for name, info in model.model_fields.items():
                if name not in ("kind", "name"):
                    yield from _docs_of_key(f"{section}.*.{name}", kind, info)


def _docs_of_key(path: str, kind: str, info: FieldInfo) -> Iterator[KeyDoc]:
    """The documentation of a key, and of the keys of what it maps names to."""
    yield _doc(path, kind, info)
    for part in get_args(info.annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            for name, inner in part.model_fields.items():
                yield from _docs_of_key(f"{path}.*.{name}", kind, inner)


def _doc(path: str, kind: str, info: FieldInfo) -> KeyDoc:
    if info.is_required():
        default = "required"
    else:
        value = info.get_default(call_default_factory=True)
        default = "" if value is None or value in ("", {}) else _text(value, info)
    return KeyDoc(path, kind, info.description or "", _value(info), default)


def _text(value: Any, info: FieldInfo) -> str:
    quantity = quantity_of(info)
    if quantity is not None and isinstance(value, (int, float)):
        return quantity.format(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(info: FieldInfo) -> str:
    """What may be given for a key, in words."""
    quantity = quantity_of(info)
    if quantity is not None:
        text = f"{quantity.name}, {quantity.hint}"
        return f"mapping to {text}" if "Mapping" in str(info.annotation) else text
    annotated: Any = Annotated[(info.annotation, info, *info.metadata)]
    schema = TypeAdapter(annotated).json_schema()
    return _words(schema, schema.get("$defs", {}))


def _words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "$ref" in schema:
        return _words(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_words(s, definitions) for s in schema["anyOf"] if s.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(f"`{v}`" for v in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        items: dict[str, Any] = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of: {_words(items, definitions)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to: {_words(schema['additionalProperties'], definitions)}"
    if kind == "object":
        return "mapping with " + ", ".join(f"`{key}`" for key in schema.get("properties", {}))
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    kinds = kind if isinstance(kind, list) else [kind]
    return " or ".join(names.get(str(k), "any value") for k in kinds)
