"""Gemma (arXiv:2403.08295) and Gemma 2 (arXiv:2408.00118): scaled embeddings, GeGLU, heads of a width of their own.

The weight of a norm is held as what it multiplies with (1 + weight of the checkpoint).
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from ...transformer import Layer, Mlp, Norm, TokenEmbedding, Transformer, VocabularyHead
from ..registry import Keys, family
from .llama import grouped_attention


@family("gemma", "gemma2")
def gemma(keys: Keys, name: str) -> Transformer:
    second = keys.family == "gemma2"
    hidden, layers = keys.integer("hidden_size"), keys.layers("num_hidden_layers")
    attention, bias = grouped_attention(keys, hidden), keys.flag("attention_bias", False)
    norm = Norm("rms", keys.number("rms_norm_eps", 1e-6))
    attention = replace(attention, qkv_bias=bias, out_bias=bias)
    if second:
        attention = replace(attention, scale=1 / sqrt(keys.number("query_pre_attn_scalar", 256.0)),
                            softcap=keys.number("attn_logit_softcapping", 0.0))
    # Checkpoints of Gemma say "gelu" and mean its tanh approximation, which hidden_activation names.
    key = "hidden_activation" if "hidden_activation" in keys else "hidden_act"
    activation = keys.activation(key, "gelu_pytorch_tanh")
    mlp = Mlp(keys.integer("intermediate_size"), "gelu_tanh" if activation == "gelu" else activation, True)
    window = keys.optional("sliding_window", 4096) if second else None
    types = keys.words("layer_types", ("full_attention", "sliding_attention"), layers)
    body = []
    for i in range(layers):
        local = window is not None and (types[i] == "sliding_attention" if types is not None else i % 2 == 0)
        body.append(Layer(replace(attention, window=window if local else None), mlp, norm,
                          "sandwich" if second else "pre"))
    embedding = TokenEmbedding(keys.integer("vocab_size"), scale=sqrt(hidden))
    head = VocabularyHead(keys.flag("tie_word_embeddings", True),
                          softcap=keys.number("final_logit_softcapping", 0.0) if second else 0.0)
    return Transformer(name, hidden, tuple(body), embedding, head, norm)
