"""Models as data, each with its source, by name: Hugging Face configs (JSON), layer lists and cascades (YAML)."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from ...errors import BadInput
from ...text.names import nearest


def config_names() -> list[str]:
    """Names of the models that are Hugging Face configs, sorted."""
    return _names(".json")


def layer_names() -> list[str]:
    """Names of the models that are layer lists, sorted."""
    return _names(".yaml")


def cascade_names() -> list[str]:
    """Names of the cascades of Einsums, sorted."""
    return _names(".yaml", "cascades")


def names() -> list[str]:
    """Names of all models of the zoo, sorted."""
    return sorted([*config_names(), *layer_names(), *cascade_names()])


def _names(suffix: str, folder: str = "") -> list[str]:
    inside = files(__name__) / folder if folder else files(__name__)
    return sorted(f.name.removesuffix(suffix) for f in inside.iterdir() if f.name.endswith(suffix))


def load(name: str) -> dict[str, Any]:
    """The config of a model, as `huggingface.load_config` takes it. Raises BadInput for a name that is not there."""
    config: dict[str, Any] = json.loads(_text(name, config_names(), ".json"))
    return config


def layers_text(name: str) -> str:
    """The layer list of a model, as `layers.loads_layers` takes it. Raises BadInput for a name that is not there."""
    return _text(name, layer_names(), ".yaml")


def cascade_text(name: str) -> str:
    """A cascade, as `text.loads_cascade` takes it. Raises BadInput for a name that is not there."""
    return _text(name, cascade_names(), ".yaml", "cascades/")


def _text(name: str, known: list[str], suffix: str, folder: str = "") -> str:
    if name not in known:
        raise BadInput(f"no model '{name}' in the zoo ({nearest(name, known)})")
    return (files(__name__) / f"{folder}{name}{suffix}").read_text(encoding="utf-8")
