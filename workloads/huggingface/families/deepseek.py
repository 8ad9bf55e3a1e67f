"""DeepSeek-V2 (arXiv:2405.04434) and V3 (arXiv:2412.19437): latent attention, many small experts and shared ones.

The first layers have a dense MLP. The scale of the scores is one over the root of the width of a head; the extra factor
of YaRN, a constant, is left out. The prediction of further tokens (MTP) of V3 is left out, as transformers does.
"""

from __future__ import annotations

from math import sqrt

from ...transformer import (
    Experts,
    LatentAttention,
    Layer,
    Mlp,
    Norm,
    TokenEmbedding,
    Transformer,
    VocabularyHead,
)
from ..registry import Keys, family


@family("deepseek_v2", "deepseek_v3")
def deepseek(keys: Keys, name: str) -> Transformer:
    third = keys.family == "deepseek_v3"
    hidden, layers = keys.integer("hidden_size"), keys.layers("num_hidden_layers")
    norm = Norm("rms", keys.number("rms_norm_eps", 1e-6))
    plain, rotary = keys.integer("qk_nope_head_dim"), keys.integer("qk_rope_head_dim")
    keys.divides("2", "qk_rope_head_dim", 2, rotary)
    attention = LatentAttention(
        heads=keys.integer("num_attention_heads"), query_rank=keys.optional("q_lora_rank"),
        latent=keys.integer("kv_lora_rank"), plain=plain, rotary=rotary, value=keys.integer("v_head_dim"),
        bias=keys.flag("attention_bias", False), norm=Norm("rms", 1e-6), scale=1 / sqrt(plain + rotary),
    )
    activation = keys.activation("hidden_act", "silu")
    dense = Mlp(keys.integer("intermediate_size"), activation, True)
    first = keys.integer("first_k_dense_replace", 0, 0)
    every = keys.integer("moe_layer_freq", 1)
    sparse = [i >= first and i % every == 0 for i in range(layers)]
    moe = _experts(keys, activation, third) if any(sparse) else None
    body = tuple(
        Layer(attention, moe if moe is not None and s else dense, norm, label="moe" if s else "dense") for s in sparse
    )
    embedding = TokenEmbedding(keys.integer("vocab_size"))
    head = VocabularyHead(keys.flag("tie_word_embeddings", False))
    return Transformer(name, hidden, body, embedding, head, norm)


def _experts(keys: Keys, activation: str, third: bool) -> Experts:
    width, count, active = (
        keys.integer(k) for k in ("moe_intermediate_size", "n_routed_experts", "num_experts_per_tok"))
    if active > count and not keys.problems:
        keys.problem(f"key 'num_experts_per_tok' is {active}", f"at most the {count} experts there are")
    shared = keys.integer("n_shared_experts", 0, 0)
    return Experts(
        count, active, Mlp(width, activation, True), Mlp(shared * width, activation, True) if shared else None,
        scoring="sigmoid" if keys.choice("scoring_func", "sigmoid" if third else "softmax", ("softmax", "sigmoid"))
        == "sigmoid" else "softmax",
        normalised=keys.flag("norm_topk_prob", third), scaling=keys.number("routed_scaling_factor", 1.0),
        router_bias=third,
    )
