"""Transformers from Hugging Face configs: exact counts, meaning, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.errors import BadInput, SpecError
from accelsim.ir import Repeat, Role, Workload, contraction_of, evaluate
from accelsim.workloads import load_model, zoo
from accelsim.workloads.huggingface import HFModel, load_config

GPT2 = {"model_type": "gpt2", "n_embd": 12, "n_head": 3, "n_layer": 2, "n_positions": 8, "vocab_size": 17}
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 19, "rms_norm_eps": 1e-5,
}
QWEN2_7B = {  # https://huggingface.co/Qwen/Qwen2-7B/blob/main/config.json
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
}

# Parameters of the published checkpoints, without buffers.
PARAMETERS = {
    "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-xl": 1_557_611_200, "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320, "opt-1.3b": 1_315_758_080, "yi-6b": 6_061_035_520,
    "llama-2-70b": 68_976_648_192, "llama-3-8b": 8_030_261_248, "mistral-7b": 7_241_732_096, "opt-125m": 125_239_296,
    "opt-6.7b": 6_658_473_984, "opt-30b": 29_974_540_288, "qwen3-8b": 8_190_735_360, "gemma-7b": 8_537_680_896,
    "gemma-2-9b": 9_241_705_984, "phi-2": 2_779_683_840, "phi-3-mini-4k": 3_821_079_552,
    "mixtral-8x7b": 46_702_792_704, "deepseek-v2-lite": 15_706_484_224, "deepseek-v3": 671_026_419_200,
    "bert-base": 109_482_240, "vit-base-patch16-224": 86_567_656,
}


def zoo_model(name: str) -> HFModel:
    return load_config(zoo.load(name), name=name)


def weights(workload: Workload, bits: int = 16) -> int:
    """Weight elements without the tables of sines and cosines, which are computed."""
    tables = sum(t.elements for t in workload.tensors.values() if t.name.startswith("rotary"))
    return workload.bytes_by_role()[Role.WEIGHT] * 8 // bits - tables


# -- counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, seq, head, macs",  # counted by torch's FLOP counter on the transformers models, on the meta device
    [
        ("gpt2", 1024, "all", 145_824_153_600),
        ("gpt2-medium", 1024, "none", 360_777_252_864),
        ("gpt2-medium", 1024, "all", 413_475_536_896),
        ("llama-2-7b", 1024, "all", 7_040_525_139_968),
        ("llama-2-7b", 4096, "all", 31_460_635_443_200),
        ("mistral-7b", 1024, "all", 7_555_921_215_488),
        ("bert-base", 512, "all", 48_318_971_904),
        ("bert-base", 512, "none", 48_318_382_080),
        ("vit-base-patch16-224", 197, "all", 17_563_828_224),
        ("vit-base-patch16-224", None, "none", 17_563_060_224),
    ],
)
def test_prefill_macs(name: str, seq: int | None, head: Any, macs: int) -> None:
    assert zoo_model(name).prefill(1, seq, head=head).macs == macs


def test_one_dense_layer_of_deepseek_v3() -> None:
    config = {**zoo.load("deepseek-v3"), "num_hidden_layers": 1}
    assert load_config(config).prefill(1, 128).macs == 193_969_782_784  # counted as above


def test_decode_macs_are_weights_and_attention() -> None:
    model = zoo_model("llama-2-7b")
    for context in (1, 1000, 1_000_000):
        assert model.decode(1, context).macs == 6_607_077_376 + 32 * 2 * 4096 * context
    assert model.decode(8, 1000).macs == 8 * model.decode(1, 1000).macs


def test_head_on_the_last_token_alone() -> None:
    model = zoo_model("gpt2")
    assert model.prefill(4, 128, head="last").macs - model.prefill(4, 128, head="none").macs == 4 * 50257 * 768


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_weights_are_the_parameters_of_the_model(name: str) -> None:
    model = zoo_model(name)
    assert weights(model.prefill(1, 197 if name.startswith("vit") else 16)) == PARAMETERS[name]
    if model.spec.decoder:
        assert weights(model.decode(2, 16)) == PARAMETERS[name]


def test_qwen2_has_biases_on_queries_keys_and_values_alone() -> None:
    assert weights(load_config(QWEN2_7B).prefill(1, 8)) == 7_615_616_512


def test_zoo_is_complete_and_names_its_sources() -> None:
    assert zoo.config_names() == sorted(PARAMETERS)
    assert all(zoo.load(n)["source"].startswith("https://huggingface.co/") for n in zoo.config_names())
    with pytest.raises(BadInput, match="did you mean 'llama-3-8b'"):
        zoo.load("llama3-8b")


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_kv_cache_is_state_and_operand_b(phase: str) -> None:
    model = zoo_model("llama-3-8b")
    w = model.prefill(2, 64, state_bits=8) if phase == "prefill" else model.decode(2, 64, state_bits=8)
    assert w.bytes_by_role()[Role.STATE] == 32 * 2 * 2 * 64 * 8 * 128  # layers, K and V, batch, tokens, heads, width
    for einsum, times in w.einsums():
        found = contraction_of(einsum, w)
        if found and einsum.kind.startswith("Attention"):
            assert times == 32
            assert w.tensors[einsum.inputs[found.b].tensor].role is Role.STATE
            assert found.g == ("b", "h")
            assert found.m == ("g", "p")
        elif found:
            assert w.tensors[einsum.inputs[found.b].tensor].role is Role.WEIGHT


def test_bits_by_role() -> None:
    w = zoo_model("mistral-7b").prefill(1, 16, bits=16, weight_bits=4, state_bits=8)
    assert {t.bits for t in w.tensors.values() if t.name.endswith("weight")} == {4}
    assert {t.bits for t in w.tensors.values() if t.role is Role.ACTIVATION} == {16}


def test_a_deep_model_is_as_small_to_hold_as_a_shallow_one() -> None:
    small, large = zoo_model("llama-2-7b").decode(1, 100), zoo_model("llama-2-70b").decode(1, 1_000_000)
    assert len(small.tensors) == len(large.tensors)
    (layer,) = (i for i in large.body if isinstance(i, Repeat))
    assert layer.count == 80


# -- meaning -------------------------------------------------------------------------------------------------------


def values_of(w: Workload) -> dict[str, np.ndarray]:
    """Random values of every input and weight, true angles for the rotary tables, caches for a decode."""
    rng = np.random.default_rng(0)
    counts = w.instances()
    values: dict[str, np.ndarray] = {}
    for name, t in w.tensors.items():
        if t.role in (Role.WEIGHT, Role.STATE) and not name.endswith((".rows", "_heads")):
            leading = counts.get(name, ())
            values[name] = 0.5 * rng.standard_normal((*leading, *t.shape))
    values["tokens"] = rng.integers(0, w.tensors["embedding"].shape[0], w.tensors["tokens"].shape)
    return values


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, kv_heads: int) -> np.ndarray:
    """(tokens, width) and caches (context, kv width), without a mask, one head after the other."""
    size = q.shape[-1] // heads
    out = []
    for h in range(heads):
        kv = h // (heads // kv_heads)
        one, keys, vals = (t[:, i * size: (i + 1) * size] for t, i in ((q, h), (k, kv), (v, kv)))
        out.append(softmax(one @ keys.T / np.sqrt(size)) @ vals)
    return np.concatenate(out, -1)


def rope(x: np.ndarray, heads: int, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """As modeling_llama.py: x * cos + rotate_half(x) * sin."""
    out = []
    for part in np.split(x, heads, axis=-1):
        a, b = np.split(part, 2, axis=-1)
        rotated = np.concatenate([-b, a], -1)
        out.append(part * np.tile(cos, 2) + rotated * np.tile(sin, 2))
    return np.concatenate(out, -1)


def gpt2_reference(v: dict[str, np.ndarray], tokens: np.ndarray, past: int) -> np.ndarray:
    def norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w + b)

    x = v["embedding"][tokens] + v["positions"][past: past + len(tokens)]
    for i in range(2):
        def lin(y: np.ndarray, name: str, i: int = i) -> np.ndarray:
            return np.asarray(y @ v[f"layer.{name}.weight"][i].T + v[f"layer.{name}.bias"][i])

        y = norm(x, v["layer.attention_norm.weight"][i], v["layer.attention_norm.bias"][i])
        k, val = v["layer.k_cache"][0][i].copy(), v["layer.v_cache"][0][i].copy()
        k[past:], val[past:] = lin(y, "k"), lin(y, "v")
        x = x + lin(attend(lin(y, "q"), k, val, 3, 3), "out")
        y = lin(norm(x, v["layer.mlp_norm.weight"][i], v["layer.mlp_norm.bias"][i]), "up")
        x = x + lin(0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))), "down")
    return np.asarray(norm(x, v["final_norm.weight"], v["final_norm.bias"]) @ v["embedding"].T)


def llama_reference(v: dict[str, np.ndarray], tokens: np.ndarray, past: int) -> np.ndarray:
    def norm(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w)

    x, cos, sin = v["embedding"][tokens], v["rotary.cos"], v["rotary.sin"]
    for i in range(2):
        def lin(y: np.ndarray, name: str, i: int = i) -> np.ndarray:
            return np.asarray(y @ v[f"layer.{name}.weight"][i].T)

        y = norm(x, v["layer.attention_norm.weight"][i])
        k, val = v["layer.k_cache"][0][i].copy(), v["layer.v_cache"][0][i].copy()
        k[past:], val[past:] = rope(lin(y, "k"), 2, cos, sin), lin(y, "v")
        x = x + lin(attend(rope(lin(y, "q"), 4, cos, sin), k, val, 4, 2), "out")
        y = norm(x, v["layer.mlp_norm.weight"][i])
        gate = lin(y, "gate")
        x = x + lin(gate / (1 + np.exp(-gate)) * lin(y, "up"), "down")
    return np.asarray(norm(x, v["final_norm.weight"]) @ v["head"].T)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("config, reference", [(GPT2, gpt2_reference), (LLAMA, llama_reference)])
def test_values_are_those_of_the_model(phase: str, config: dict[str, Any], reference: Any) -> None:
    model = load_config(config, name="tiny")
    w = model.prefill(2, 5) if phase == "prefill" else model.decode(2, 5)
    values = values_of(w)
    got = evaluate(w, values)["logits"]
    for sequence in range(2):
        own = {n: v[:, sequence][None] if n.endswith("cache") else v for n, v in values.items()}
        want = reference(own, values["tokens"][sequence], 0 if phase == "prefill" else 4)
        np.testing.assert_allclose(got[sequence], want, rtol=1e-9, atol=1e-9)


def test_decode_writes_its_own_row_of_the_cache_alone() -> None:
    w = load_config(LLAMA).decode(1, 5)
    values = values_of(w)
    after = evaluate(w, values)
    for cache in ("layer.k_cache", "layer.v_cache"):
        np.testing.assert_array_equal(after[cache][..., :4, :], values[cache][..., :4, :])
        assert (after[cache][..., 4, :] != values[cache][..., 4, :]).all()


def test_last_head_is_the_last_row_of_all() -> None:
    model = load_config(GPT2)
    values = values_of(model.prefill(2, 5))
    every = evaluate(model.prefill(2, 5), values)["logits"]
    np.testing.assert_allclose(evaluate(model.prefill(2, 5, head="last"), values)["logits"], every[:, -1])


# -- what is refused -------------------------------------------------------------------------------------------------


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ({**GPT2, "model_type": "gpt3"},
         r"my\.json: model_type 'gpt3' is not supported \(supported families: bert, .*, vit; did you mean 'gpt2'\?\)"),
        ({"n_embd": 3}, "my.json: key 'model_type' is missing .supported families: bert, deepseek_v2, "),
        ({k: v for k, v in GPT2.items() if k != "n_layer"}, "my.json: key 'n_layer' is missing.*supported families"),
        ({**GPT2, "n_head": "3"}, "my.json: key 'n_head' is '3' .a positive whole number"),
        ({**GPT2, "n_embd": 13}, "key 'n_embd' is 13, no multiple of 'n_head' = 3"),
        ({**GPT2, "activation_function": "quick_gelu"}, "key 'activation_function' is 'quick_gelu' .one of gelu,"),
        ({**LLAMA, "num_key_value_heads": 3}, "'num_attention_heads' is 4, no multiple of 'num_key_value_heads' = 3"),
        ({**LLAMA, "mlp_bias": 1}, "key 'mlp_bias' is 1 .true or false"),
        ("{\n \"a\": }", r"my\.json:2: is not JSON"),
        ('{"model_type": "gpt2", "a": [{"b": 1, "b": 1}]}', r"my\.json: key 'b' is given twice; remove one$"),
        ("[1]", "a config is a JSON object, not list"),
    ],
)
def test_a_wrong_config_is_one_clear_error(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_config(write(tmp_path / "my.json", content))


def test_all_missing_keys_are_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        load_config({"model_type": "llama", "hidden_sizes": 3})
    assert [str(p).split("'")[1] for p in caught.value.problems] == [
        "hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size"]
    assert "found 'hidden_sizes'" in str(caught.value)


def test_too_many_tokens_for_learned_positions() -> None:
    with pytest.raises(BadInput, match="gpt2: 1025 tokens exceed the 1024 learned positions"):
        zoo_model("gpt2").prefill(1, 1025)
    with pytest.raises(BadInput, match="batch is 0"):
        zoo_model("gpt2").prefill(0, 1)


# -- one entry for all models ----------------------------------------------------------------------------------------


def test_load_model_by_name_file_and_folder(tmp_path: Path) -> None:
    config = zoo.load("gpt2")
    write(tmp_path / "config.json", config)
    by_name = load_model("gpt2", seq=100)
    for ref in (str(tmp_path), str(tmp_path / "config.json"), write(tmp_path / "other.json", config)):
        other = load_model(ref, seq=100)
        assert other.body == by_name.body
        assert other.tensors == by_name.tensors
    assert load_model("gpt2", phase="decode", context=7, batch=2, bits=8) == zoo_model("gpt2").decode(2, 7, bits=8)
    assert load_model("gpt2").macs == load_model("gpt2", seq=1024).macs


@pytest.mark.parametrize(
    "ref, message",
    [
        ("llama2-7b", "no model 'llama2-7b' .nearest: llama-2-7b"),
        ("nowhere/config.json", "cannot read nowhere/config.json: No such file"),
        ("models/bert.pt", "model file 'models/bert.pt' does not exist"),
        ("onnx:lenet", "no model 'lenet' in the onnx package"),
    ],
)
def test_an_unknown_model_is_bad_input(ref: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        load_model(ref)
    assert caught.value.exit_code == 2


def test_unknown_phase() -> None:
    with pytest.raises(BadInput, match=r"phase 'train' \(one of prefill, decode; the option training=cross_entropy"):
        load_model("gpt2", phase="train")


@pytest.mark.parametrize("options, words", [
    ({"context": 50}, "context 50 is what a decoded token attends to"),
    ({"seq": 10, "context": 50}, "context 50 is what a decoded token attends to"),
    ({"phase": "decode", "seq": 10, "context": 50}, "seq 10 beside context 50"),
])  # fmt: skip
def test_tokens_that_a_phase_has_no_use_for_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        load_model("gpt2", **options)
