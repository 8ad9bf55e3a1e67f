"""Machine files as text: YAML read with the line of every key, and `extends` resolved, all problems collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import Problem, SpecError
from .structure import nearest

MAX_TEXT = 2**20
"""Characters of one file."""
MAX_NODES = 50_000
"""Keys and values of one file, aliases written out."""
MAX_DEPTH = 32
SUFFIXES = (".yaml", ".yml")

Keys = tuple[str, ...]


class Position(NamedTuple):
    """Where a key stands; a line of 0 is a value that was set from outside."""

    file: str
    line: int

    def at(self, path: Keys) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {'.'.join(path)}" if path else where


@dataclass
class Document:
    """The keys and values of a file, and where each stands.

    A position is held for every path to a mapping's entry or a list's item, and for the file as a whole under ``()``.
    Paths under `tables` are relative to `tables_folder`, the folder of the file that has that key.
    """

    data: dict[str, Any]
    positions: dict[Keys, Position]
    tables_folder: Path | None = None


@dataclass
class _Reader:
    """Turns the nodes of one file into plain values."""

    file: str
    positions: dict[Keys, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    open_nodes: set[int] = field(default_factory=set)

    def report(self, node: Node, path: Keys, what: str, hint: str = "") -> None:
        self.problems.append(Problem(Position(self.file, node.start_mark.line + 1).at(path), what, hint))

    def value(self, node: Node, path: Keys) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise SpecError([Problem(self.file, f"more than {MAX_NODES} keys and values, aliases written out",
                                     "use `extends` instead of nested aliases")])  # fmt: skip
        if id(node) in self.open_nodes:
            self.report(node, path, "an alias contains itself", "write the value out")
            return None
        if len(path) > MAX_DEPTH:
            self.report(node, path[:3], f"nested more than {MAX_DEPTH} deep")
            return None
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, path)
            if isinstance(node, SequenceNode) and _core(node) == "seq":
                items = []
                for i, item in enumerate(node.value):
                    self.positions[(*path, str(i))] = Position(self.file, item.start_mark.line + 1)
                    items.append(self.value(item, (*path, str(i))))
                return items
            return self.scalar(node, path)
        finally:
            self.open_nodes.discard(id(node))

    def mapping(self, node: MappingNode, path: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if _core(node) != "map":
            self.report(node, path, f"tag {node.tag} is not read", "plain mappings only")
            return found
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or _core(key_node) != "str":
                shown = str(getattr(key_node, "value", ""))[:40] if isinstance(key_node, ScalarNode) else "..."
                hint = "merge keys are not read; use `extends`" if shown == "<<" else "keys are names"
                self.report(key_node, path, f"`{shown}` cannot be a key", hint)
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in found:
                first = self.positions[here].line
                self.report(key_node, here, "duplicate key", f"first given in line {first}; remove one")
                continue
            self.positions[here] = Position(self.file, key_node.start_mark.line + 1)
            found[key] = self.value(value_node, here)
        return found

    def scalar(self, node: Node, path: Keys) -> Any:
        text = str(node.value)
        try:
            match _core(node):
                case "str" | "timestamp":
                    return text
                case "int":
                    return int(text.replace("_", ""), 0 if text.lstrip("+-")[:2].lower() in ("0x", "0o") else 10)
                case "float":
                    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "null":
                    return None
        except (ValueError, KeyError):
            pass
        else:
            self.report(node, path, f"tag {str(node.tag)[:60]} is not read", "plain values only")
            return None
        self.report(node, path, f"`{text[:40]}` is not of type {_core(node)}")
        return None


def _core(node: Node) -> str:
    tag = str(node.tag)
    return tag.removeprefix("tag:yaml.org,2002:") if tag.startswith("tag:yaml.org,2002:") else ""


_ROOT = ("a machine is a mapping", "begin with `name:`, `clock:`, `memories:`")


def parse(text: str, file: str, root_hint: tuple[str, str] = _ROOT) -> Document:
    """Read YAML text.

    Args:
        text: one YAML document, a mapping.
        file: what positions call it.
        root_hint: what to say, and what would be valid, where it is not a mapping.

    Raises:
        SpecError: not YAML, not a mapping, a duplicate key, a tag, a self-reference, or far too large.
    """
    if len(text) > MAX_TEXT:
        raise SpecError([Problem(file, f"longer than {MAX_TEXT} characters")])
    try:
        root = YAML(typ="safe", pure=True).compose(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError([Problem(Position(file, line).at(()), f"not valid YAML: {what}")]) from None
    except RecursionError:
        raise SpecError([Problem(file, "nested too deep", f"at most {MAX_DEPTH} levels")]) from None
    except Exception as error:  # the parser raises many types on malformed text, none of them ours
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise SpecError([Problem(file, f"not valid YAML: {what}")]) from None
    reader = _Reader(file)
    if not isinstance(root, MappingNode):
        raise SpecError([Problem(f"{file}:1", *root_hint)])
    data = reader.mapping(root, ())
    if reader.problems:
        raise SpecError(reader.problems)
    return Document(data, {(): Position(file, 1), **reader.positions})


def preset_names() -> tuple[str, ...]:
    """Names of the machines that come with accelsim, sorted."""
    folder = resources.files("accelsim.arch_specs")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def is_preset(ref: str | Path) -> bool:
    """Whether a reference is meant as a preset's name: no folder and no suffix."""
    return isinstance(ref, str) and "/" not in ref and "\\" not in ref and not ref.lower().endswith(SUFFIXES)


def read(ref: str | Path, folder: Path | None = None) -> Document:
    """Read a preset or a file and whatever it extends.

    Args:
        ref: a preset's name, or a path.
        folder: what a relative path is relative to; the working directory if None.

    Raises:
        SpecError: see `parse`; or a base is missing, or extends itself.
    """
    text, file, home = _text(ref, folder, "")
    return resolve(parse(text, file), home, (file,))


def resolve(document: Document, folder: Path | None, chain: tuple[str, ...]) -> Document:
    """Merge a document over the base that it extends, if any.

    Mappings merge key by key, anything else replaces what the base has, null removes it.

    Args:
        document: as parsed; its `extends` is consumed.
        folder: of the document, for relative paths.
        chain: files that led here, to find circles.

    Raises:
        SpecError: the base is missing, extends itself, or lacks a key that is to be removed.
    """
    ref = document.data.get("extends")
    if "tables" in document.data:
        document.tables_folder = folder
    if "extends" not in document.data:
        return document
    where = document.positions[("extends",)].at(("extends",))
    if not isinstance(ref, str) or not ref:
        raise SpecError([Problem(where, "must be one preset's name or one path", "such as `tpu_like` or `base.yaml`")])
    text, file, home = _text(ref, folder, where)
    if file in chain:
        circle = " -> ".join([*chain, file])
        raise SpecError([Problem(where, f"extends itself: {circle}", "one file must have no base")])
    base = resolve(parse(text, file), home, (*chain, file))
    folder_of_tables = document.tables_folder if "tables" in document.data else base.tables_folder
    merged = Document(dict(base.data), dict(base.positions), folder_of_tables)
    merged.data.pop("name", None)
    merged.positions.pop(("name",), None)
    merged.positions[()] = document.positions[()]
    problems: list[Problem] = []
    over = {k: v for k, v in document.data.items() if k != "extends"}
    _merge(merged.data, over, (), merged, document, problems)
    if problems:
        raise SpecError(problems)
    return merged


def _merge(
    into: dict[str, Any],
    over: Mapping[str, Any],
    path: Keys,
    merged: Document,
    child: Document,
    problems: list[Problem],
) -> None:
    for key, value in over.items():
        here = (*path, key)
        old = into.get(key)
        if value is None:
            if key not in into:
                what = "null removes a key, but the base has none such"
                problems.append(Problem(child.positions[here].at(here), what, nearest(key, into)))
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(old, dict):
            into[key] = dict(old)
            _merge(into[key], value, here, merged, child, problems)
        else:
            into[key] = _without_nulls(value)
            merged.positions.update({p: at for p, at in child.positions.items() if p[: len(here)] == here})


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


def _text(ref: str | Path, folder: Path | None, where: str) -> tuple[str, str, Path | None]:
    """Text of a preset or file, what to call it, and the folder that its own `extends` is relative to."""
    if is_preset(ref):
        known = preset_names()
        if ref not in known:
            raise SpecError([Problem(where or str(ref), f"no preset `{ref}`",
                                     f"{nearest(str(ref), known)} A path ends in .yaml")])  # fmt: skip
        name = f"{ref}.yaml"
        return resources.files("accelsim.arch_specs").joinpath(name).read_text(encoding="utf-8"), name, None
    path = Path(ref) if folder is None else folder / ref
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError([Problem(str(path), "not UTF-8 text")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = nearest(path.name, _siblings(path))
        raise SpecError([Problem(where or str(path), f"cannot read {path}: {reason}", hint)]) from None
    return text, str(path), path.parent


def _siblings(path: Path) -> list[str]:
    try:
        return sorted(p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES)[:20]
    except (OSError, ValueError):
        return []
