"""OPT (arXiv:2205.01068): learned positions after two unused rows, biases everywhere, ReLU."""

from __future__ import annotations

from ...transformer import Attention, Layer, Mlp, Norm, TokenEmbedding, Transformer, VocabularyHead
from ..registry import Keys, family

UNUSED_POSITIONS = 2
"""Rows before the first position, ``OPTLearnedPositionalEmbedding.offset``."""


@family("opt")
def opt(keys: Keys, name: str) -> Transformer:
    hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    keys.divides("num_attention_heads", "hidden_size", heads, hidden)
    bias, before = keys.flag("enable_bias", True), keys.flag("do_layer_norm_before", True)
    norm = Norm("layer", 1e-5)
    attention = Attention(heads, heads, max(1, hidden // heads), qkv_bias=bias, out_bias=bias)
    mlp = Mlp(keys.integer("ffn_dim"), keys.activation("activation_function", "relu"), False, bias)
    layer = Layer(attention, mlp, norm, "pre" if before else "post")
    width = keys.integer("word_embed_proj_dim", hidden)
    embedding = TokenEmbedding(
        keys.integer("vocab_size"), width if width != hidden else None,
        positions=keys.integer("max_position_embeddings"), first_position=UNUSED_POSITIONS,
    )
    final = norm if before and not keys.flag("_remove_final_layer_norm", False) else None
    head = VocabularyHead(keys.flag("tie_word_embeddings", True))
    return Transformer(name, hidden, (layer,) * keys.layers("num_hidden_layers"), embedding, head, final)
