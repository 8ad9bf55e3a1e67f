"""Phi-1 to Phi-2: attention and MLP side by side after one LayerNorm, rotary embedding of a part of each head."""

from __future__ import annotations

from dataclasses import replace

from ...transformer import Layer, Mlp, Norm, TokenEmbedding, Transformer, VocabularyHead
from ..registry import Keys, family
from .llama import grouped_attention


@family("phi")
def phi(keys: Keys, name: str) -> Transformer:
    hidden = keys.integer("hidden_size")
    attention = grouped_attention(keys, hidden)
    norm = Norm("layer", keys.number("layer_norm_eps", 1e-5))
    qk_norm = norm if keys.flag("qk_layernorm", False) else None
    attention = replace(attention, rotary=keys.turned(attention.head_size, 0.5), qkv_bias=True, out_bias=True,
                        qk_norm=qk_norm)
    mlp = Mlp(keys.integer("intermediate_size", 4 * hidden), keys.activation("hidden_act", "gelu_new"), False, True)
    layer = Layer(attention, mlp, norm, "parallel")
    head = VocabularyHead(keys.flag("tie_word_embeddings", False), bias=True)
    embedding = TokenEmbedding(keys.integer("vocab_size"))
    return Transformer(name, hidden, (layer,) * keys.layers("num_hidden_layers"), embedding, head, norm)
