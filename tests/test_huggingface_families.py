"""Families of transformers: values against plain numpy, counts in closed form, options, and generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import BadInput, SpecError
from accelsim.ir import Repeat, Role, Workload, evaluate
from accelsim.workloads import load_model, zoo
from accelsim.workloads.huggingface import family, family_names, load_config
from accelsim.workloads.transformer import balanced, mean_keys

Array = np.ndarray
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 19, "intermediate_size": 20,
}
QWEN3 = {**SMALL, "model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 6}
GEMMA2 = {**SMALL, "model_type": "gemma2", "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 5,
          "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "sliding_window": 3}
PHI = {**SMALL, "model_type": "phi", "head_dim": 8, "partial_rotary_factor": 0.5}
OPT = {**SMALL, "model_type": "opt", "ffn_dim": 20, "max_position_embeddings": 9, "word_embed_proj_dim": 10,
       "do_layer_norm_before": False}
MIXTRAL = {**SMALL, "model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
DEEPSEEK = {
    **SMALL, "model_type": "deepseek_v3", "q_lora_rank": 7, "kv_lora_rank": 6, "qk_nope_head_dim": 5,
    "qk_rope_head_dim": 4, "v_head_dim": 3, "moe_intermediate_size": 8, "n_routed_experts": 4, "n_shared_experts": 2,
    "num_experts_per_tok": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
}
BERT = {**SMALL, "model_type": "bert", "max_position_embeddings": 8}
VIT = {**SMALL, "model_type": "vit", "image_size": 8, "patch_size": 4, "num_channels": 2, "num_labels": 5}


def values_of(w: Workload, seed: int = 0) -> dict[str, Array]:
    """Random values of every input, weight and cache; tokens are tokens."""
    rng = np.random.default_rng(seed)
    counts = w.instances()
    values: dict[str, Array] = {
        n: 0.5 * rng.standard_normal((*(() if t.role is Role.INPUT else counts.get(n, ())), *t.shape))
        for n, t in w.tensors.items()
        if t.role in (Role.INPUT, Role.WEIGHT, Role.STATE) and w.storage(n) == n and not n.endswith(".rows")
    }
    if "tokens" in values:
        values["tokens"] = rng.integers(0, w.tensors["embedding"].shape[0], w.tensors["tokens"].shape)
    return values


# -- a transformer in numpy, one sequence, no mask -----------------------------------------------------------------


class Plain:
    """Layer `i` of the model, from its weights, on (tokens, hidden)."""

    def __init__(self, v: dict[str, Array], i: int, eps: float, prefix: str = "layer") -> None:
        self.v, self.i, self.eps, self.prefix = v, i, eps, prefix

    def w(self, name: str) -> Array:
        return np.asarray(self.v[f"{self.prefix}.{name}"][self.i])

    def lin(self, x: Array, name: str) -> Array:
        bias = f"{self.prefix}.{name}.bias" in self.v
        return np.asarray(x @ self.w(f"{name}.weight").T + (self.w(f"{name}.bias") if bias else 0))

    def rms(self, x: Array, name: str) -> Array:
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w(f"{name}.weight"))

    def ln(self, x: Array, name: str) -> Array:
        return layer_norm(x, self.w(f"{name}.weight"), self.w(f"{name}.bias"), self.eps)


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias)


def heads(x: Array, size: int) -> Array:
    """(tokens, heads * size) as (heads, tokens, size)."""
    return x.reshape(len(x), -1, size).transpose(1, 0, 2)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def turn(x: Array, v: dict[str, Array], turned: int) -> Array:
    """Rotary embedding of the first `turned` elements of (heads, tokens, size)."""
    cos, sin = v["rotary.cos"], v["rotary.sin"]
    a, b = x[..., : turned // 2], x[..., turned // 2: turned]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., turned:]], -1)


def attend(q: Array, k: Array, v: Array, scale: float, cap: float = 0.0) -> Array:
    group = len(q) // len(k)
    scores = q @ np.repeat(k, group, 0).transpose(0, 2, 1) * scale
    if cap:
        scores = cap * np.tanh(scores / cap)
    mixed = softmax(scores) @ np.repeat(v, group, 0)
    return np.asarray(mixed.transpose(1, 0, 2).reshape(q.shape[1], -1))


def gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))


def final_rms(x: Array, v: dict[str, Array]) -> Array:
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * v["final_norm.weight"])


def qwen3(v: dict[str, Array], tokens: Array) -> Array:
    x = v["embedding"][tokens]
    for i in range(2):
        p = Plain(v, i, 1e-6)
        y = p.rms(x, "attention_norm")
        q = turn(p.rms(heads(p.lin(y, "q"), 6), "q_norm"), v, 6)
        k = turn(p.rms(heads(p.lin(y, "k"), 6), "k_norm"), v, 6)
        x = x + p.lin(attend(q, k, heads(p.lin(y, "v"), 6), 6**-0.5), "out")
        y = p.rms(x, "mlp_norm")
        x = x + p.lin(silu(p.lin(y, "gate")) * p.lin(y, "up"), "down")
    return np.asarray(final_rms(x, v) @ v["head"].T)


def gemma2(v: dict[str, Array], tokens: Array) -> Array:
    x = v["embedding"][tokens] * 4
    for i in range(2):
        p = Plain(v, i, 1e-6)
        y = p.rms(x, "attention_norm")
        q, k = (turn(heads(p.lin(y, n), 8), v, 8) for n in "qk")
        y = p.lin(attend(q, k, heads(p.lin(y, "v"), 8), 5**-0.5, cap=2.0), "out")
        x = x + p.rms(y, "attention_post_norm")
        y = p.rms(x, "mlp_norm")
        x = x + p.rms(p.lin(gelu_tanh(p.lin(y, "gate")) * p.lin(y, "up"), "down"), "mlp_post_norm")
    return np.asarray(3 * np.tanh(final_rms(x, v) @ v["embedding"].T / 3))


def phi(v: dict[str, Array], tokens: Array) -> Array:
    x = v["embedding"][tokens]
    for i in range(2):
        p = Plain(v, i, 1e-5)
        y = p.ln(x, "norm")
        q, k = (turn(heads(p.lin(y, n), 8), v, 4) for n in "qk")
        x = x + p.lin(attend(q, k, heads(p.lin(y, "v"), 8), 8**-0.5), "out") + p.lin(gelu_tanh(p.lin(y, "up")), "down")
    x = layer_norm(x, v["final_norm.weight"], v["final_norm.bias"], 1e-5)
    return np.asarray(x @ v["head"].T + v["head.bias"])


def post_norm_layer(p: Plain, x: Array, size: int, act: Callable[[Array], Array]) -> Array:
    q, k, val = (heads(p.lin(x, n), size) for n in "qkv")
    x = p.ln(x + p.lin(attend(q, k, val, size**-0.5), "out"), "attention_norm")
    return p.ln(x + p.lin(act(p.lin(x, "up")), "down"), "mlp_norm")


def opt(v: dict[str, Array], tokens: Array) -> Array:
    """As OPT-350m: norms after, projections in and out of the embedding, positions from row 2 on."""
    x = v["embedding"][tokens] @ v["embed_in.weight"].T + v["positions"][2: 2 + len(tokens)]
    for i in range(2):
        x = post_norm_layer(Plain(v, i, 1e-5), x, 4, lambda y: np.maximum(y, 0))
    return np.asarray(x @ v["embed_out.weight"].T @ v["embedding"].T)


def gelu(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))


def bert(v: dict[str, Array], tokens: Array) -> Array:
    x = v["embedding"][tokens] + v["positions"][: len(tokens)] + v["token_types"][0]
    x = layer_norm(x, v["embed_norm.weight"], v["embed_norm.bias"], 1e-12)
    for i in range(2):
        x = post_norm_layer(Plain(v, i, 1e-12), x, 4, gelu)
    return np.asarray(np.tanh(x[0] @ v["pooler.weight"].T + v["pooler.bias"]))


def mixtral(v: dict[str, Array], tokens: Array) -> Array:
    """All experts are expert 0, so that it does not matter which ones are chosen, and weights add up to one."""
    x = v["embedding"][tokens]
    for i in range(2):
        p = Plain(v, i, 1e-5)
        y = p.rms(x, "attention_norm")
        q, k = (turn(heads(p.lin(y, n), 4), v, 4) for n in "qk")
        x = x + p.lin(attend(q, k, heads(p.lin(y, "v"), 4), 0.5), "out")
        y = p.rms(x, "mlp_norm")
        gate, up, down = (p.w(f"expert.{n}.weight")[0] for n in ("gate", "up", "down"))
        x = x + silu(y @ gate.T) * (y @ up.T) @ down.T
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * v["final_norm.weight"]
    return np.asarray(x @ v["head"].T)


@pytest.mark.parametrize("config, reference, output", [
    (QWEN3, qwen3, "logits"), (GEMMA2, gemma2, "logits"), (PHI, phi, "logits"), (OPT, opt, "logits"),
    (BERT, bert, "pooled"), (MIXTRAL, mixtral, "logits"),
])
@pytest.mark.parametrize("tokens", [5, 6])
def test_values_are_those_of_the_model(config: dict[str, Any], reference: Any, output: str, tokens: int) -> None:
    w = load_config(config, name="tiny").prefill(2, tokens)
    values = values_of(w)
    for name in values:
        if ".expert." in name:
            values[name][:] = values[name][:, :1]
    got = evaluate(w, values)[output]
    for sequence in range(2):
        np.testing.assert_allclose(got[sequence], reference(values, values["tokens"][sequence]), rtol=1e-8, atol=1e-9)


def test_values_of_vit() -> None:
    w = load_config(VIT, name="tiny").prefill(2)
    v = values_of(w)
    got = evaluate(w, v)["logits"]
    for n, image in enumerate(v["image"]):
        patches = [(v["patches.weight"] * image[:, i:i + 4, j:j + 4]).sum((1, 2, 3)) + v["patches.bias"]
                   for i in (0, 4) for j in (0, 4)]
        x = np.array([v["class_token"], *patches]) + v["positions"]
        for i in range(2):
            p = Plain(v, i, 1e-12)
            y = p.ln(x, "attention_norm")
            q, k, val = (heads(p.lin(y, t), 4) for t in "qkv")
            x = x + p.lin(attend(q, k, val, 0.5), "out")
            x = x + p.lin(gelu(p.lin(p.ln(x, "mlp_norm"), "up")), "down")
        x = layer_norm(x, v["final_norm.weight"], v["final_norm.bias"], 1e-12)
        np.testing.assert_allclose(got[n], x[0] @ v["logits.weight"].T + v["logits.bias"], rtol=1e-8, atol=1e-9)


def test_latent_attention_is_what_the_paper_says_expanded_and_absorbed() -> None:
    model = load_config({**DEEPSEEK, "num_hidden_layers": 1}, name="tiny")
    expanded, absorbed = model.prefill(2, 5, head="none", absorb=False), model.prefill(2, 5, head="none", absorb=True)
    v = values_of(expanded)
    got, other = evaluate(expanded, v), evaluate(absorbed, v)
    np.testing.assert_allclose(got["final_norm.scale"], other["final_norm.scale"], rtol=1e-9)
    np.testing.assert_allclose(got["dense.kv_cache"], other["dense.kv_cache"])
    p = Plain(v, 0, 1e-6, "dense")
    x = v["embedding"][v["tokens"][1]]
    y = p.rms(x, "attention_norm")
    q = heads(p.lin(p.rms(p.lin(y, "q_down"), "q_norm"), "q_up"), 9)
    latent = p.rms(p.lin(y, "kv_down"), "kv_norm")
    shared = turn(p.lin(y, "k_shared")[None], v, 4)
    up = heads(latent @ p.w("kv_up.weight").T, 8)
    k = np.concatenate([up[..., :5], np.repeat(shared, 4, 0)], -1)
    q = np.concatenate([q[..., :5], turn(q[..., 5:], v, 4)], -1)
    x = x + p.lin(attend(q, k, up[..., 5:], 1 / 3), "out")
    y = p.rms(x, "mlp_norm")
    x = x + p.lin(silu(p.lin(y, "gate")) * p.lin(y, "up"), "down")
    np.testing.assert_allclose(got["final_norm.scale"][1], final_rms(x, v), rtol=1e-8)


def test_latent_attention_in_decode_reads_the_cache_alone() -> None:
    model = load_config("deepseek-v3")
    cache = 61 * 8 * 4096 * (512 + 64)
    small, large = model.decode(8, 4096, state_bits=8), model.decode(8, 4096, state_bits=8, absorb=False)
    assert small.bytes_by_role()[Role.STATE] == large.bytes_by_role()[Role.STATE] == cache
    per_key = 61 * 8 * 128 * (512 + 64 + 512)
    assert small.macs - model.decode(8, 4095).macs == per_key
    assert large.macs - model.decode(8, 4095, absorb=False).macs == 61 * 8 * 128 * (192 + 128 + 512 * 256)


# -- experts -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 500), st.integers(1, 64))
@settings(deadline=None)
def test_rows_are_spread_evenly(rows: int, count: int) -> None:
    groups = balanced(rows, count)
    assert sum(experts * each for experts, each in groups) == rows
    assert sum(experts for experts, _ in groups) == min(rows, count)
    assert max(each for _, each in groups) - min(each for _, each in groups) <= 1


@pytest.mark.parametrize("batch, tokens", [(1, 1), (1, 3), (2, 4), (1, 7)])
def test_active_experts_are_computed_and_all_are_held(batch: int, tokens: int) -> None:
    model = load_config("mixtral-8x7b")
    w = model.prefill(batch, tokens, head="none")
    rows = batch * tokens * 2
    expert = [(e, t) for e, t in w.einsums() if e.kind == "Expert"]
    assert sum(e.points * t for e, t in expert) == 32 * rows * 3 * 4096 * 14336
    used = {e.output.tensor: 0 for e, _ in expert}
    for e, _ in expert:
        used[e.output.tensor] += e.sizes["x"]
    assert set(used.values()) == {min(8, rows)}
    assert w.tensors["layer.expert.up.weight"].shape == (8, 14336, 4096)


def test_first_layers_of_deepseek_are_dense_and_shared_experts_see_all_tokens() -> None:
    w = load_config("deepseek-v3").prefill(1, 128, head="none")
    assert [(i.name, i.count) for i in w.body if isinstance(i, Repeat)] == [("dense", 3), ("moe", 58)]
    by_name = {e.name: (e.points, t) for e, t in w.einsums()}
    assert by_name["moe.shared.up"] == (128 * 7168 * 2048, 58)
    assert by_name["moe.router"] == (128 * 7168 * 256, 58)
    assert by_name["moe.expert.down"] == (128 * 8 * 7168 * 2048, 58)


def test_qwen_mixtures_have_dense_layers_where_they_say_so() -> None:
    config = {**SMALL, "model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 5,
              "moe_intermediate_size": 6, "shared_expert_intermediate_size": 8, "mlp_only_layers": [2]}
    w = load_config(config).prefill(1, 4)
    assert [(i.name, i.count) for i in w.body if isinstance(i, Repeat)] == [("moe", 2), ("dense", 1), ("moe_2", 2)]
    assert "moe.shared_gate.weight" in w.tensors
    assert w.tensors["moe.q.bias"].role is Role.WEIGHT


# -- attention to a part of the keys ---------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 60), st.booleans(), st.one_of(st.none(), st.integers(1, 80)))
@settings(deadline=None)
def test_mean_of_the_keys_that_are_seen(tokens: int, past: int, causal: bool, window: int | None) -> None:
    context = tokens + past
    seen = [min(window or context, past + t + 1 if causal else context) for t in range(tokens)]
    assert mean_keys(tokens, context, causal, window) == sum(seen) // tokens


@pytest.mark.parametrize("name", ["gpt2", "llama-3-8b", "deepseek-v2-lite"])
def test_causal_halves_attention_alone(name: str) -> None:
    model = load_config(name)
    full, half = model.prefill(2, 512, head="none"), model.prefill(2, 512, head="none", causal=True)

    def attention(w: Workload) -> int:
        return sum(e.points * t for e, t in w.einsums() if e.kind in ("Attention.scores", "Attention.values"))

    assert attention(half) * 2 == attention(full)
    assert full.macs - half.macs == attention(half)
    assert full.bytes_by_role()[Role.STATE] == half.bytes_by_role()[Role.STATE]
    assert load_model(name, seq=512, batch=2, head="none", causal=True) == half


def test_reads_of_a_causal_kernel_span_the_whole_cache() -> None:
    w = load_config("gpt2").prefill(1, 64, causal=True)
    (scores,) = (e for e, _ in w.einsums() if e.kind == "Attention.scores")
    assert scores.sizes["m"] == 32
    assert scores.inputs[1].indices[1].bounds(scores.sizes) == (1, 63)


def test_sliding_window_bounds_keys_and_in_decode_the_cache() -> None:
    model = load_config(GEMMA2, name="tiny")
    full, local = model.decode(1, 10), model.decode(1, 10, sliding_window=True)
    assert [i.name for i in full.body if isinstance(i, Repeat)] == ["layer"]
    assert {n: t.shape[1] for n, t in local.tensors.items() if n.endswith("_cache")} == {
        "local.k_cache": 3, "local.v_cache": 3, "global.k_cache": 10, "global.v_cache": 10}
    assert full.macs - local.macs == 2 * 4 * 8 * (10 - 3)
    assert model.decode(1, 2).macs == model.decode(1, 2, sliding_window=True).macs
    prefill = model.prefill(1, 10, causal=True, sliding_window=True)
    keys = {e.name: e.sizes["m"] for e, _ in prefill.einsums() if e.kind == "Attention.scores"}
    assert keys == {"local.attention.scores": (1 + 2 + 8 * 3) // 10, "global.attention.scores": 5}


def test_all_layers_of_mistral_have_the_window() -> None:
    w = load_config("mistral-7b").decode(1, 10_000, sliding_window=True)
    assert w.tensors["layer.k_cache"].shape[1] == 4096
    assert load_config("qwen3-8b").decode(1, 10_000, sliding_window=True).tensors["layer.k_cache"].shape[1] == 10_000


# -- generation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_generation_is_a_prefill_and_decodes(step: int) -> None:
    model = load_config("gpt2")
    steps = model.generate(prompt=20, tokens=8, batch=2)
    assert steps.prefill == model.prefill(2, 20, head="last")
    assert steps.contexts == range(21, 28)
    first, *rest = steps.phases(step)
    assert (first.name, first.count, first.contexts) == ("prefill", 1, range(20, 21))
    assert [c for phase in rest for c in phase.contexts] == list(steps.contexts)
    assert all(phase.count == len(phase.contexts) for phase in rest)
    exact = sum(model.decode(2, c).macs for c in steps.contexts)
    assert sum(phase.workload.macs * phase.count for phase in rest) == exact  # all groups here are odd


def test_even_groups_round_up_and_one_token_needs_no_decode() -> None:
    model = load_config("gpt2")
    assert len(list(model.generate(20, 1).phases())) == 1
    _, pair = model.generate(20, 3).phases(2)
    assert pair.workload == model.decode(1, 22, head="last")


def test_generation_that_cannot_be() -> None:
    model = load_config("gpt2")
    with pytest.raises(BadInput, match="gpt2: a prompt of 1000 and 26 new tokens exceed the 1024 learned positions"):
        model.generate(1000, 26)
    assert model.generate(1000, 25).contexts.stop == 1025
    with pytest.raises(BadInput, match="0 tokens to generate"):
        model.generate(10, 0)
    with pytest.raises(BadInput, match="groups of 0 tokens"):
        list(model.generate(10, 2).phases(0))


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config, message", [
    ({**PHI, "partial_rotary_factor": 0.4}, r"rotary embedding turns 3 of the 8 elements"),
    ({**MIXTRAL, "num_experts_per_tok": 5}, r"'num_experts_per_tok' is 5 \(at most the 4 experts"),
    ({**DEEPSEEK, "scoring_func": "relu"}, r"'scoring_func' is 'relu' \(one of softmax, sigmoid"),
    ({**DEEPSEEK, "kv_lora_rank": None}, "'kv_lora_rank' is missing"),
    ({**GEMMA2, "layer_types": ["full_attention"]}, r"'layer_types' is .* \(a list of 2, each one of"),
    ({**VIT, "patch_size": 3}, "'image_size' is 8, no multiple of 'patch_size' = 3"),
    ({**OPT, "ffn_dim": 0}, r"'ffn_dim' is 0 \(a positive whole number"),
])
def test_a_wrong_config_of_a_family(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_config(config)


@pytest.mark.parametrize("ref, options, message", [
    ("bert-base", {"phase": "decode"}, "an encoder has no phase 'decode'"),
    ("bert-base", {"causal": True}, "causal and sliding_window are for decoders"),
    ("bert-base", {"seq": 513}, "513 tokens exceed the 512 learned positions"),
    ("vit-base-patch16-224", {"seq": 100}, r"100 tokens \(an image is 197 tokens; leave seq out"),
    ("gpt2", {"resolution": 224}, "a transformer from a config has no option 'resolution'"),
    ("gpt2", {"phase": "decode", "causal": True}, "causal is for prefill"),
    ("gpt2", {"head": "some"}, r"head 'some' \(one of all, last, none"),
])
def test_options_that_do_not_fit(ref: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_model(ref, **options)


def test_a_family_is_registered_once() -> None:
    assert {"deepseek_v2", "opt", "vit"} <= set(family_names())
    with pytest.raises(BadInput, match="model_type 'opt' has a reader already"):
        family("opt")(lambda keys, name: load_config("gpt2").spec)


def test_every_config_of_the_zoo_loads_by_name_for_its_phases() -> None:
    for name in zoo.config_names():
        w = load_model(name, seq=None if name.startswith("vit") else 8)
        assert w == load_config(zoo.load(name), name=name).prefill(seq=None if name.startswith("vit") else 8)
