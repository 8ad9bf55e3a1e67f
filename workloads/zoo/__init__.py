"""Models as data: Hugging Face configs, each with its source, loadable by name."""

from __future__ import annotations

import json
from difflib import get_close_matches
from importlib.resources import files
from typing import Any

from ...errors import BadInput


def names() -> list[str]:
    """Names of all models of the zoo, sorted."""
    return sorted(f.name.removesuffix(".json") for f in files(__name__).iterdir() if f.name.endswith(".json"))


def load(name: str) -> dict[str, Any]:
    """The config of a model, as `huggingface.load_config` takes it. Raises BadInput for a name that is not there."""
    if name not in names():
        near = get_close_matches(name, names(), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise BadInput(f"no model '{name}' in the zoo ({hint}there are {', '.join(names())})")
    config: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text(encoding="utf-8"))
    return config
