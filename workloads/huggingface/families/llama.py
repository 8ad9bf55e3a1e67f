"""Llama and what follows its plan: RMSNorm, rotary embedding, grouped queries, a gated MLP."""

from __future__ import annotations

from dataclasses import replace

from ...transformer import Attention, Layer, Mlp, Norm, TokenEmbedding, Transformer, VocabularyHead
from ..registry import Keys, family


def grouped_attention(keys: Keys, hidden: int) -> Attention:
    """Attention from the keys that most families share, with rotary embedding and without biases."""
    heads = keys.integer("num_attention_heads")
    kv_heads = keys.integer("num_key_value_heads", heads)
    if "head_dim" not in keys:
        keys.divides("num_attention_heads", "hidden_size", heads, hidden)
    keys.divides("num_key_value_heads", "num_attention_heads", kv_heads, heads)
    head_size = keys.integer("head_dim", max(1, hidden // heads))
    return Attention(heads, kv_heads, head_size, rotary=keys.turned(head_size))


def windows(keys: Keys, layers: int) -> list[int | None]:
    """The sliding window of each layer, or None.

    Mistral and Phi-3 have it in all layers. Qwen says by ``use_sliding_window`` whether there is any, and by
    ``layer_types``, or ``max_window_layers``, the first layer with one, where.
    """
    window = keys.optional("sliding_window", 4096 if keys.family == "mistral" else None)
    if keys.family.startswith("qwen") and not keys.flag("use_sliding_window", False):
        window = None
    types = keys.words("layer_types", ("full_attention", "sliding_attention"), layers)
    if types is not None:
        return [window if kind == "sliding_attention" else None for kind in types]
    first = keys.integer("max_window_layers", 28, 0) if keys.family.startswith("qwen") else 0
    return [window if i >= first else None for i in range(layers)]


@family("llama", "mistral", "qwen2", "qwen3", "phi3")
def llama(keys: Keys, name: str) -> Transformer:
    hidden = keys.integer("hidden_size")
    attention, layers = grouped_attention(keys, hidden), keys.layers("num_hidden_layers")
    norm = Norm("rms", keys.number("rms_norm_eps", 1e-5 if keys.family == "phi3" else 1e-6))
    bias = keys.flag("attention_bias", False)
    attention = replace(attention, qkv_bias=bias or keys.family == "qwen2", out_bias=bias,
                        qk_norm=norm if keys.family == "qwen3" else None)
    mlp = Mlp(keys.integer("intermediate_size"), keys.activation("hidden_act", "silu"), True,
              keys.flag("mlp_bias", False))
    body = tuple(Layer(replace(attention, window=window), mlp, norm) for window in windows(keys, layers))
    embedding = TokenEmbedding(keys.integer("vocab_size"))
    return Transformer(name, hidden, body, embedding, VocabularyHead(keys.flag("tie_word_embeddings", False)), norm)
