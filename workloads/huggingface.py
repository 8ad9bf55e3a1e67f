"""Transformers from a Hugging Face ``config.json``, without the transformers library or any weights.

Supported are decoder-only models of the GPT-2 and Llama families. The layers are one Repeat: weights and KV cache are
one per iteration. Sizes follow the reference code of transformers (modeling_gpt2.py, modeling_llama.py).

What is counted: projections and attention are contractions (their points are the MACs); norms, softmax, rotary
embeddings, scaling and activations are Einsums of element-wise operations. Attention computes all scores of a head,
masked or not, as a kernel without causal skipping does, and ignores sliding windows; the mask itself is not modelled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from ..errors import BadInput, Problem, SpecError
from ..ir import ACTIVATIONS, Workload
from .transformer import Bits, Transformer, build

Head = Literal["all", "last", "none"]

FAMILIES = ("gpt2", "llama", "mistral", "qwen2")
"""Values of ``model_type`` that can be imported."""

_ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "", "relu": "relu", "silu": "silu", "swish": "silu",
}


@dataclass(frozen=True)
class HFModel:
    """A model read from a config; makes Workloads for its two phases."""

    shape: Transformer
    source: str = ""

    @property
    def name(self) -> str:
        return self.shape.name

    def prefill(
        self, batch: int = 1, seq: int = 1024, *, head: Head = "all", bits: int = 16, weight_bits: int | None = None,
        state_bits: int | None = None,
    ) -> Workload:
        """All `seq` tokens of each of `batch` prompts at once; keys and values are written into the cache.

        Args:
            batch: prompts.
            seq: tokens per prompt.
            head: apply the vocabulary projection to all tokens, to the last of each prompt, or not at all.
            bits: per element of activations.
            weight_bits: of weights; default: `bits`.
            state_bits: of the KV cache; default: `bits`.

        Raises:
            BadInput: a number is not positive, or exceeds the learned positions of the model.
        """
        return build(self.shape, "prefill", batch, seq, seq, head, _bits(bits, weight_bits, state_bits))

    def decode(
        self, batch: int = 1, context: int = 1024, *, head: Head = "all", bits: int = 16,
        weight_bits: int | None = None, state_bits: int | None = None,
    ) -> Workload:
        """One new token for each of `batch` sequences.

        `context` counts the tokens that the new one attends to, itself included: the cache is read whole, with its
        last entry written by this step. Other arguments as in `prefill`.
        """
        return build(self.shape, "decode", batch, 1, context, head, _bits(bits, weight_bits, state_bits))


def _bits(bits: int, weight_bits: int | None, state_bits: int | None) -> Bits:
    return Bits(bits, bits if weight_bits is None else weight_bits, bits if state_bits is None else state_bits)


def load_config(config: str | PathLike[str] | Mapping[str, Any], *, name: str | None = None) -> HFModel:
    """Read a model from a ``config.json`` (or the folder that holds it), or from its content as a dict.

    Raises:
        BadInput: no such file, no JSON, or a ``model_type`` that is not supported.
        SpecError: every key that is missing or has a wrong value, with file, key and supported families.
    """
    if isinstance(config, Mapping):
        content: Mapping[str, Any] = config
        where = name or str(config.get("_name_or_path") or "config")
    else:
        path = Path(config)
        path = path / "config.json" if path.is_dir() else path
        where, content = str(path), _read(path)
        name = name or (path.parent.name if path.name == "config.json" and path.parent.name else path.stem)
    kind = content.get("model_type")
    if kind not in FAMILIES:
        near = get_close_matches(str(kind), FAMILIES, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        got = f"model_type '{kind}' is not supported" if "model_type" in content else "key 'model_type' is missing"
        raise BadInput(f"{where}: {got} (supported families: {', '.join(FAMILIES)}{hint})")
    keys = _Keys(content, where, str(kind))
    shape = _gpt2(keys, name or where) if kind == "gpt2" else _llama(keys, name or where)
    keys.check()
    return HFModel(shape, str(content.get("source", where)))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not JSON: the file is not text in UTF-8") from None
    if not isinstance(content, Mapping):
        raise BadInput(f"{path}: a config is a JSON object, not {type(content).__name__}")
    return content


class _Keys:
    """Typed access to the keys of a config that collects what is wrong with them."""

    def __init__(self, content: Mapping[str, Any], where: str, family: str) -> None:
        self.content, self.where, self.family = content, where, family
        self.problems: list[Problem] = []

    def problem(self, what: str, hint: str) -> None:
        self.problems.append(Problem(self.where, what, hint))

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.content.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            near = get_close_matches(key, self.content, n=1)
            found = f"; found '{near[0]}'" if near else ""
            self.problem(f"key '{key}' is missing{found}",
                         f"{self.family} needs it; supported families: {', '.join(FAMILIES)}")
            return 1
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.problem(f"key '{key}' is {value!r}", "a positive whole number")
            return 1
        return value

    def number(self, key: str, default: float) -> float:
        value = self.content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(f"key '{key}' is {value!r}", "a number")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            self.problem(f"key '{key}' is {value!r}", "true or false")
            return default
        return value

    def activation(self, key: str, default: str) -> str:
        value = self.content.get(key, default)
        function = _ACTIVATIONS.get(value, "") if isinstance(value, str) else ""
        if not function:
            self.problem(f"key '{key}' is {value!r}", f"one of {', '.join(k for k, v in _ACTIVATIONS.items() if v)}")
            return default
        assert function in ACTIVATIONS
        return function

    def divides(self, small: str, large: str, a: int, b: int) -> None:
        if not self.problems and b % a:
            self.problem(f"key '{large}' is {b}, no multiple of '{small}' = {a}", "heads must divide it")

    def check(self) -> None:
        if self.problems:
            raise SpecError(self.problems)


def _gpt2(keys: _Keys, name: str) -> Transformer:
    hidden, heads = keys.integer("n_embd"), keys.integer("n_head")
    keys.divides("n_head", "n_embd", heads, hidden)
    return Transformer(
        name=name, hidden=hidden, layers=keys.integer("n_layer"), heads=heads, kv_heads=heads,
        head_size=max(1, hidden // heads), intermediate=keys.integer("n_inner", 4 * hidden),
        vocabulary=keys.integer("vocab_size"), positions=keys.integer("n_positions"), norm="layer",
        eps=keys.number("layer_norm_epsilon", 1e-5), activation=keys.activation("activation_function", "gelu_new"),
        gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, tied=keys.flag("tie_word_embeddings", True),
    )


def _llama(keys: _Keys, name: str) -> Transformer:
    hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    kv_heads = keys.integer("num_key_value_heads", heads)
    if "head_dim" not in keys.content:
        keys.divides("num_attention_heads", "hidden_size", heads, hidden)
    keys.divides("num_key_value_heads", "num_attention_heads", kv_heads, heads)
    head_size = keys.integer("head_dim", max(1, hidden // heads))
    keys.divides("2", "head_dim", 2, head_size)
    bias = keys.flag("attention_bias", False)
    return Transformer(
        name=name, hidden=hidden, layers=keys.integer("num_hidden_layers"), heads=heads, kv_heads=kv_heads,
        head_size=head_size, intermediate=keys.integer("intermediate_size"), vocabulary=keys.integer("vocab_size"),
        positions=None, norm="rms", eps=keys.number("rms_norm_eps", 1e-6),
        activation=keys.activation("hidden_act", "silu"), gated=True, qkv_bias=bias or keys.family == "qwen2",
        out_bias=bias, mlp_bias=keys.flag("mlp_bias", False), tied=keys.flag("tie_word_embeddings", False),
    )
