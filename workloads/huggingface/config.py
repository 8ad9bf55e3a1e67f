"""Reading a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import BadInput
from ...files import read_text
from ...text.json_text import parse_json
from ...text.names import nearest
from .. import zoo
from .model import HFModel
from .registry import READERS, Keys, family_names


def load_config(config: str | PathLike[str] | Mapping[str, Any], *, name: str | None = None) -> HFModel:
    """Read a model from a ``config.json`` (or the folder that holds it), from its content, or from the zoo by name.

    Raises:
        BadInput: no such file, no JSON, or a ``model_type`` that is not supported.
        SpecError: every key that is missing or has a wrong value, with file, key and supported families.
    """
    if isinstance(config, str) and config in zoo.config_names():
        name, config = name or config, zoo.load(config)
    if isinstance(config, Mapping):
        content: Mapping[str, Any] = config
        where = name or str(config.get("_name_or_path") or "config")
    else:
        path = Path(config)
        if isinstance(config, str) and not path.exists() and path.name == config and not path.suffix:
            hint = nearest(config, zoo.config_names(), f"known: {', '.join(zoo.config_names())}")
            raise BadInput(f"no model `{config}` ({hint}; a file ends in .json)")
        path = path / "config.json" if path.is_dir() else path
        where, content = str(path), _read(path)
        name = name or (path.parent.name if path.name == "config.json" and path.parent.name else path.stem)
    kind, known = content.get("model_type"), family_names()
    if kind not in known:
        meant = nearest(kind, known, "")
        got = f"model_type '{kind}' is not supported" if "model_type" in content else "key 'model_type' is missing"
        raise BadInput(f"{where}: {got} (supported families: {', '.join(known)}{meant and f'; {meant}'})")
    keys = Keys(content, where, str(kind))
    spec = READERS[str(kind)](keys, name or where)
    keys.check()
    return HFModel(spec, str(content.get("source", where)))


def _read(path: Path) -> Mapping[str, Any]:
    content = parse_json(read_text(path, suffixes=(".json",)), str(path))
    if not isinstance(content, Mapping):
        raise BadInput(f"{path}: a config is a JSON object, not {type(content).__name__}")
    return content
