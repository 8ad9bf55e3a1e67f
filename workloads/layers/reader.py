"""Layer lists: from YAML to a Workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BadInput, Problem, SpecError
from ...files import read_text
from ...ir import MOST_BITS, Workload, WorkloadBuilder
from ...text.document import Document, Steps, parse_document
from ...text.names import nearest, short
from . import blocks, kinds, tokens  # noqa: F401  (they register the kinds of layers)
from .registry import KINDS, Layers, arguments, built, check, kind_of

TOP = ("name", "source", "description", "input", "bits", "blocks", "layers")


def layer_kinds() -> dict[str, str]:
    """Every kind of layer, with its arguments as text: ``{"conv": "out, kernel, stride=1, ..."}``."""
    return {name: ", ".join(a.name if a.required else f"[{a.name}]" for a in arguments(kind))
            for name, kind in sorted(KINDS.items())}


def load_layers(
    path: str | Path, *, batch: int = 1, resolution: int | tuple[int, int] | None = None, bits: int | None = None
) -> Workload:
    """The Workload of a layer list in a file; see `loads_layers`."""
    return loads_layers(read_text(path), str(path), batch=batch, resolution=resolution, bits=bits)


def loads_layers(
    text: str, file: str = "layers", *, batch: int = 1, resolution: int | tuple[int, int] | None = None,
    bits: int | None = None,
) -> Workload:
    """The Workload of a layer list.

    Input ``input`` (batch, ...), output as the last layer names it; weights are named after their layer.

    Args:
        text: YAML; see the package.
        file: what messages call it, and the name of the model unless the text has one.
        batch: number of inputs.
        resolution: height and width of the input, or its side; default: as the text says.
        bits: per element; default: as the text says, else 16.

    Raises:
        SpecError: everything that is wrong around the layers, or the first thing that is wrong with them, with file and
            line, and what would be valid.
        BadInput: an option that does not fit the model.
    """
    document = parse_document(text, file)
    top = document.data
    if not isinstance(top, dict):
        raise document.error((), "a layer list is a mapping", "with the keys input and layers")
    problems = [document.problem((key,), f"unknown key '{key}'", nearest(key, TOP)) for key in top if key not in TOP]
    problems += [document.problem((), f"key '{key}' is missing") for key in ("input", "layers") if key not in top]
    shape, layers = top.get("input", [1]), top.get("layers", [{}])
    if not isinstance(shape, list) or not all(isinstance(d, int) and d > 0 for d in shape) or not shape:
        problems.append(document.problem(("input",), f"is {shape}", "the shape of the input, such as [3, 224, 224]"))
    width = top.get("bits", 16) if bits is None else bits
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= MOST_BITS:
        problems.append(document.problem(("bits",), f"is {width!r}", f"bits per element, from 1 to {MOST_BITS}"))
    if not isinstance(layers, list) or not layers:
        problems.append(document.problem(("layers",), "must be a list of layers"))
    own = _blocks(document, problems)
    if problems:
        raise SpecError(problems)
    name = str(top.get("name") or Path(file).stem)
    shape = _resized(shape, name, resolution)
    if batch < 1:
        raise BadInput(f"{name}: batch is {batch} (at least 1)")
    b = WorkloadBuilder(name, bits=width)
    reader = _Reader(document, b, own)
    x = reader.list(Layers(("layers",), layers, {}), b.input("input", (batch, *shape)), "")
    b.output(x)
    return b.build()


def _resized(shape: list[int], name: str, resolution: int | tuple[int, int] | None) -> list[int]:
    """The shape of the input in another height and width."""
    if resolution is None:
        return list(shape)
    sides = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    if len(shape) != 3 or len(sides) != 2 or any(s < 1 for s in sides):
        raise BadInput(f"{name}: resolution {resolution} for an input of shape {shape} (height and width of an image, "
                       "at least 1)")
    return [shape[0], *sides]


MOST_LAYERS = 20_000
"""Layers and lists of them, with those that `times` and blocks write out."""


@dataclass(frozen=True)
class _Block:
    parameters: Mapping[str, Any]
    path: Steps
    layers: list[Any]


def _blocks(document: Document, problems: list[Problem]) -> dict[str, _Block]:
    """The blocks that are well formed; what is wrong with others goes to `problems`."""
    given = document.data.get("blocks") or {}
    if not isinstance(given, dict):
        problems.append(document.problem(("blocks",), "must be a mapping of names to blocks"))
        return {}
    found: dict[str, _Block] = {}
    for name, block in given.items():
        path: Steps = ("blocks", name)
        if name in KINDS:
            problems.append(document.problem(path, f"'{name}' is a kind of layer", "another name"))
        if isinstance(block, list):
            block, inner = {"layers": block}, path
        else:
            inner = (*path, "layers")
        if not isinstance(block, dict) or not isinstance(block.get("layers"), list):
            hint = "a list of them, or {parameters: ..., layers: [...]}"
            problems.append(document.problem(path, "must have layers", hint))
            continue
        known = ("parameters", "layers")
        problems += [
            document.problem((*path, key), f"unknown key '{key}'", nearest(key, known))
            for key in block if key not in known
        ]  # fmt: skip
        parameters = block.get("parameters") or {}
        if not isinstance(parameters, dict):
            what = "must be a mapping of names to values, null for none"
            problems.append(document.problem((*path, "parameters"), what))
            continue
        found[name] = _Block(parameters, inner, block["layers"])
    return found


@dataclass
class _Reader:
    document: Document
    b: WorkloadBuilder
    blocks: Mapping[str, _Block]
    used: dict[str, int] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    written: int = 0

    def list(self, layers: Layers, x: str, prefix: str) -> str:
        self.written += 1 + len(layers.items)
        if self.written > MOST_LAYERS:
            raise self.document.error(layers.path, f"more than {MOST_LAYERS} layers, written out",
                                      "a repeat of layers is not written out")
        for i, item in enumerate(layers.items):
            x = self.one((*layers.path, i), item, layers.parameters, x, prefix)
        return x

    def one(self, path: Steps, item: Any, parameters: Mapping[str, Any], x: str, prefix: str) -> str:
        if isinstance(item, str):
            kind, given = item, None
        elif isinstance(item, dict) and len(item) == 1:
            ((kind, given),) = item.items()
            path = (*path, kind)
        else:
            raise self.document.error(path, f"is {short(item)}", "a kind of layer, or {kind: arguments}")
        function = kind_of(self.document, path, kind, self.blocks)
        if function is None:
            return self.block(path, kind, given, parameters, x, prefix)
        known = {a.name: a for a in arguments(function)}
        if not isinstance(given, dict):
            if given is not None and not known:
                raise self.document.error(path, f"'{kind}' takes no argument, not {short(given)}")
            given = {} if given is None else {next(iter(known)): given}
            at = dict.fromkeys(given, path)
        else:
            at = {key: (*path, key) for key in given}
        place = _Place(self, path, self.unique(self.named(path, given, kind, parameters), prefix))
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key == "name":
                continue
            if key not in known:
                raise self.document.error(at[key], f"'{kind}' has no argument '{key}'", nearest(key, [*known, "name"]))
            values[key] = check(self.document, at[key], known[key], self.value(at[key], value, parameters), parameters)
        for argument in known.values():
            if argument.required and argument.name not in values:
                raise self.document.error(path, f"'{kind}' needs '{argument.name}'", f"takes {layer_kinds()[kind]}")
        return built(place, lambda: function(place, x, **values))

    def block(self, path: Steps, kind: str, given: Any, outer: Mapping[str, Any], x: str, prefix: str) -> str:
        block = self.blocks[kind]
        if kind in self.open:
            raise self.document.error(path, f"block '{kind}' holds itself", " in ".join([kind, *reversed(self.open)]))
        if not isinstance(given, dict):
            first = next(iter(block.parameters), None)
            if given is not None and first is None:
                raise self.document.error(path, f"block '{kind}' has no parameters")
            given = {} if given is None else {str(first): given}
        values = dict(block.parameters)
        for key, value in given.items():
            if key not in block.parameters and key != "name":
                raise self.document.error((*path, key), f"block '{kind}' has no parameter '{key}'",
                                          nearest(key, [*block.parameters, "name"]))
            values[key] = self.value((*path, key), value, outer)
        if "name" not in block.parameters:
            values.pop("name", None)
        missing = [key for key, value in values.items() if value is None]
        if missing:
            raise self.document.error(path, f"block '{kind}' needs '{missing[0]}'",
                                      f"parameters: {', '.join(block.parameters)}")
        name = self.unique(self.named(path, given, kind, outer), prefix)
        self.open.append(kind)
        x = self.list(Layers(block.path, block.layers, values), x, f"{name}.")
        self.open.pop()
        return x

    def named(self, path: Steps, given: Mapping[str, Any], kind: str, parameters: Mapping[str, Any]) -> str:
        name = self.value((*path, "name"), given.get("name", kind), parameters)
        if not isinstance(name, str) or not name:
            raise self.document.error((*path, "name"), f"is {name!r}", "a word")
        return name

    def value(self, path: Steps, value: Any, parameters: Mapping[str, Any]) -> Any:
        """A value with ``$parameter`` replaced."""
        if isinstance(value, list) and any(isinstance(v, str) and v.startswith("$") for v in value):
            return [self.value((*path, i), v, parameters) for i, v in enumerate(value)]
        if not isinstance(value, str) or not value.startswith("$"):
            return value
        if value[1:] not in parameters:
            raise self.document.error(path, f"no parameter '{value}'", nearest(value[1:], parameters))
        return parameters[value[1:]]

    def unique(self, name: str, prefix: str) -> str:
        full = prefix + name
        self.used[full] = self.used.get(full, 0) + 1
        return full if self.used[full] == 1 else f"{full}_{self.used[full]}"


@dataclass(frozen=True)
class _Place:
    reader: _Reader
    path: Steps
    name: str

    @property
    def b(self) -> WorkloadBuilder:
        return self.reader.b

    def run(self, layers: Layers, x: str) -> str:
        holds = self.name.split(".")[:-1]
        return self.reader.list(layers, x, "".join(f"{part}." for part in holds))

    def wrong(self, what: str, hint: str = "") -> SpecError:
        return self.reader.document.error(self.path, what, hint)
