"""Machine files as text: where they are, and what they extend merged in, all problems collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import Problem, SpecError
from ..files import read_text
from ..text.document import Document, parse_document
from ..text.names import nearest_key
from ..text.nodes import Keys

SUFFIXES = (".yaml", ".yml")
MAX_BASES = 16
MACHINE = ("a machine is a mapping", "begin with `name:`, `clock:`, `memories:`")


@dataclass
class MachineText(Document):
    """A machine file, what it extends merged in.

    Paths under `tables` are relative to `tables_folder`, the folder of the file that has that key.
    """

    tables_folder: Path | None


def preset_names() -> tuple[str, ...]:
    """Names of the machines that come with accelsim, sorted."""
    folder = resources.files("accelsim.arch_specs")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def is_preset(ref: str | Path) -> bool:
    """Whether a reference is meant as a preset's name: no folder and no suffix."""
    return isinstance(ref, str) and "/" not in ref and "\\" not in ref and not ref.lower().endswith(SUFFIXES)


def read(ref: str | Path) -> MachineText:
    """Read a preset or a file and whatever it extends.

    Args:
        ref: a preset's name, or a path.

    Raises:
        SpecError: see `parse_document`; or a base is missing, or extends itself.
    """
    from .imports import foreign_reader

    text, file, home = _text(ref, None, "")
    if (reader := foreign_reader(text)) is not None:
        return reader(parse_document(text, file, MACHINE, foreign=True))
    return resolve(parse_document(text, file, MACHINE), home, (file,))


def resolve(document: Document, folder: Path | None, chain: tuple[str, ...]) -> MachineText:
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
    if "extends" not in document.data:
        return MachineText(document.data, document.positions, folder if "tables" in document.data else None)
    where = document.where(("extends",))
    if not isinstance(ref, str) or not ref or not (is_preset(ref) or ref.lower().endswith(SUFFIXES)):
        raise SpecError([Problem(where, "must be one preset's name or one path", "such as `tpu_like` or `base.yaml`")])
    if len(chain) > MAX_BASES:
        raise SpecError([Problem(where, f"more than {MAX_BASES} files extend one another", "fewer, and no circle")])
    text, file, home = _text(ref, folder, where)
    if file in chain:
        circle = " -> ".join([*chain, file])
        raise SpecError([Problem(where, f"extends itself: {circle}", "one file must have no base")])
    base = resolve(parse_document(text, file, MACHINE), home, (*chain, file))
    tables_folder = folder if "tables" in document.data else base.tables_folder
    merged = MachineText(dict(base.data), dict(base.positions), tables_folder)
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
                problems.append(child.problem(here, what, nearest_key(key, into)))
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
            hint = nearest_key(ref, known, f"there are {', '.join(known)}.")
            raise SpecError([Problem(where or str(ref), f"no preset `{ref}`", f"{hint} A path ends in .yaml")])
        name = f"{ref}.yaml"
        return resources.files("accelsim.arch_specs").joinpath(name).read_text(encoding="utf-8"), name, None
    path = Path(ref) if folder is None else folder / ref
    return read_text(path, where, SUFFIXES), str(path), path.parent
