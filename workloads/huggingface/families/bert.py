"""BERT (arXiv:1810.04805): an encoder with norms after each part, and a pooler on the first token.

The heads of pre-training (masked tokens, next sentence) are left out.
"""

from __future__ import annotations

from ...transformer import Attention, Layer, Mlp, Norm, Pooler, TokenEmbedding, Transformer
from ..registry import Keys, family


@family("bert")
def bert(keys: Keys, name: str) -> Transformer:
    hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    layers = keys.layers("num_hidden_layers")
    keys.divides("num_attention_heads", "hidden_size", heads, hidden)
    norm = Norm("layer", keys.number("layer_norm_eps", 1e-12))
    attention = Attention(heads, heads, max(1, hidden // heads), qkv_bias=True, out_bias=True)
    mlp = Mlp(keys.integer("intermediate_size"), keys.activation("hidden_act", "gelu"), False, True)
    embedding = TokenEmbedding(
        keys.integer("vocab_size"), positions=keys.integer("max_position_embeddings"),
        types=keys.integer("type_vocab_size", 2), norm=norm,
    )
    body = (Layer(attention, mlp, norm, "post"),) * layers
    return Transformer(name, hidden, body, embedding, Pooler(), None, decoder=False)
