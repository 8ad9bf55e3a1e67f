"""Llama's plan with a mixture of experts: Mixtral (arXiv:2401.04088), Qwen2-MoE and Qwen3-MoE."""

from __future__ import annotations

from dataclasses import replace

from ...transformer import Experts, Layer, Mlp, Norm, TokenEmbedding, Transformer, VocabularyHead
from ..registry import Keys, family
from .llama import grouped_attention, windows


@family("mixtral", "qwen2_moe", "qwen3_moe")
def mixtral(keys: Keys, name: str) -> Transformer:
    qwen, third = keys.family != "mixtral", keys.family == "qwen3_moe"
    hidden = keys.integer("hidden_size")
    attention, layers = grouped_attention(keys, hidden), keys.layers("num_hidden_layers")
    norm = Norm("rms", keys.number("rms_norm_eps", 1e-6 if qwen else 1e-5))
    bias = keys.flag("attention_bias", False)
    attention = replace(attention, qkv_bias=bias or keys.family == "qwen2_moe", out_bias=bias and third,
                        qk_norm=norm if third else None)
    activation = keys.activation("hidden_act", "silu")
    count = keys.integer("num_experts" if qwen else "num_local_experts")
    active = keys.integer("num_experts_per_tok")
    if active > count and not keys.problems:
        keys.problem(f"key 'num_experts_per_tok' is {active}", f"at most the {count} experts there are")
    expert = Mlp(keys.integer("moe_intermediate_size" if qwen else "intermediate_size"), activation, True)
    shared = None
    if keys.family == "qwen2_moe":
        shared = Mlp(keys.integer("shared_expert_intermediate_size"), activation, True)
    moe = Experts(count, active, expert, shared, shared_gate=shared is not None,
                  normalised=not qwen or keys.flag("norm_topk_prob", False))
    dense = Mlp(keys.integer("intermediate_size"), activation, True)
    without = set(keys.integers("mlp_only_layers")) if qwen else set()
    every = keys.integer("decoder_sparse_step", 1) if qwen else 1
    body = []
    for i, window in enumerate(windows(keys, layers)):
        sparse = i not in without and (i + 1) % every == 0
        body.append(Layer(replace(attention, window=window), moe if sparse else dense, norm,
                          label="layer" if not without and every == 1 else "moe" if sparse else "dense"))
    embedding = TokenEmbedding(keys.integer("vocab_size"))
    head = VocabularyHead(keys.flag("tie_word_embeddings", False))
    return Transformer(name, hidden, tuple(body), embedding, head, norm)
