"""Importers that turn models into Workloads, and a zoo of models as data."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput

if TYPE_CHECKING:
    from ..ir import Workload
    from .huggingface import HFModel

DEFAULT_SEQ = 1024
"""Tokens per sequence where neither `seq` nor `context` is given, or the positions the model has, if fewer."""


def load_model(
    ref: str,
    *,
    phase: str = "prefill",
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    bits: int | None = None,
    bindings: Mapping[str, int] | None = None,
) -> Workload:
    """The Workload of a model named by `ref`.

    Args:
        ref: a path to an ``.onnx`` file; ``onnx:NAME`` for a model that comes with the onnx package; a path to a
            Hugging Face config (``.json``, or the folder of a ``config.json``); or a name of the zoo.
        phase: ``prefill`` or ``decode``; for transformers from a config.
        batch: sequences; for transformers from a config.
        seq: tokens per sequence in prefill.
        context: tokens that a decoded token attends to, itself included.
        bits: per element of every tensor; default: what the file says, 16 for a config.
        bindings: sizes of the symbolic dimensions of an ONNX file.

    Raises:
        BadInput: no such model, with the nearest names, or what the importer finds wrong.
    """
    if ref.startswith("onnx:") or ref.endswith(".onnx"):
        return _onnx(ref, bindings, bits)
    from . import zoo
    from .huggingface import load_config

    if ref.endswith(".json") or Path(ref, "config.json").is_file():
        model = load_config(ref)
    elif ref in zoo.names():
        model = load_config(zoo.load(ref), name=ref)
    else:
        raise BadInput(_unknown(ref))
    return _transformer(model, phase, batch, seq, context, bits)


def _transformer(
    model: HFModel, phase: str, batch: int, seq: int | None, context: int | None, bits: int | None
) -> Workload:
    default = min(DEFAULT_SEQ, model.spec.positions or DEFAULT_SEQ)
    width = 16 if bits is None else bits
    if phase == "prefill":
        return model.prefill(batch, default if seq is None else seq, bits=width)
    if phase == "decode":
        length = seq if context is None else context
        return model.decode(batch, default if length is None else length, bits=width)
    raise BadInput(f"{model.name}: phase '{phase}' (one of prefill, decode)")


def _onnx(ref: str, bindings: Mapping[str, int] | None, bits: int | None) -> Workload:
    from .onnx_import import import_onnx, wheel_models

    if not ref.startswith("onnx:"):
        return import_onnx(ref, bindings=bindings, bits=bits)
    models, name = wheel_models(), ref.removeprefix("onnx:")
    if name not in models:
        near = get_close_matches(name, models, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise BadInput(f"no model '{name}' in the onnx package ({hint}there are {', '.join(sorted(models))})")
    return import_onnx(models[name], bindings=bindings, bits=bits, name=name)


def _unknown(ref: str) -> str:
    from . import zoo

    if Path(ref).suffix or "/" in ref:
        what = "exists and is no model" if Path(ref).exists() else "does not exist"
        return f"model file '{ref}' {what} (a .onnx file, or a Hugging Face config as .json)"
    near = get_close_matches(ref, zoo.names(), n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}; " if near else ""
    return (f"no model '{ref}' ({hint}zoo: {', '.join(zoo.names())}; or a path to a .onnx file or a Hugging Face "
            "config, or onnx:NAME)")
