"""GPT-2: learned positions, LayerNorm before each part, a plain MLP."""

from __future__ import annotations

from ...transformer import Attention, Layer, Mlp, Norm, TokenEmbedding, Transformer, VocabularyHead
from ..registry import Keys, family


@family("gpt2")
def gpt2(keys: Keys, name: str) -> Transformer:
    hidden, heads = keys.integer("n_embd"), keys.integer("n_head")
    layers = keys.layers("n_layer")
    keys.divides("n_head", "n_embd", heads, hidden)
    norm = Norm("layer", keys.number("layer_norm_epsilon", 1e-5))
    attention = Attention(heads, heads, max(1, hidden // heads), qkv_bias=True, out_bias=True)
    mlp = Mlp(keys.integer("n_inner", 4 * hidden), keys.activation("activation_function", "gelu_new"), False, True)
    embedding = TokenEmbedding(keys.integer("vocab_size"), positions=keys.integer("n_positions"))
    head = VocabularyHead(keys.flag("tie_word_embeddings", True))
    return Transformer(name, hidden, (Layer(attention, mlp, norm),) * layers, embedding, head, norm)
