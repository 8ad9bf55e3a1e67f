"""Steps of a server as Workloads, and the shares of tensor parallelism."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelsim.errors import BadInput
from accelsim.ir import Role, Workload
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.transformer import (
    Attention,
    Bits,
    Exchange,
    Group,
    Mlp,
    Transformer,
    build_step,
    exchanges,
    kv_bytes,
    tensor_parallel,
)

BITS = Bits(16, 16, 16)


def spec(name: str) -> Transformer:
    return load_config(name).spec


def role_bytes(workload: Workload, role: Role, times: int) -> int:
    """Bytes of the layers' tensors of a role, once per layer."""
    return times * sum(t.elements * t.bits // 8 for n, t in workload.tensors.items()
                       if t.role is role and n.startswith("layer.") and not n.endswith("_heads") and ".view" not in n)


@pytest.mark.parametrize("name", ["llama-3-8b", "opt-1.3b", "gemma-7b", "qwen3-8b", "phi-2"])
def test_a_step_of_decodes_does_what_decode_does(name: str) -> None:
    model = load_config(name)
    step = build_step(model.spec, (Group(4, 1, 300),), BITS)
    assert step.macs == model.decode(4, 300).macs


def test_a_step_of_a_prompt_does_what_causal_prefill_does() -> None:
    model = load_config("llama-3-8b")
    assert build_step(model.spec, (Group(2, 64, 64),), BITS).macs == model.prefill(2, 64, head="last", causal=True).macs


def test_groups_share_weights_and_nothing_else() -> None:
    model = spec("llama-2-7b")
    groups = (Group(3, 1, 100), Group(1, 32, 96))
    joint, first, second = (build_step(model, g, BITS) for g in (groups, groups[:1], groups[1:]))
    assert joint.macs == first.macs + second.macs
    weights = [role_bytes(w, Role.WEIGHT, 32) for w in (joint, first, second)]
    assert weights[0] == weights[1] == weights[2]
    cached = role_bytes(joint, Role.STATE, 32)
    assert cached == (3 * 100 + 96) * kv_bytes(model, 16)


@pytest.mark.parametrize("name", ["llama-3-8b", "opt-1.3b", "mixtral-8x7b"])
def test_the_parts_of_a_step_make_up_the_whole(name: str) -> None:
    groups = (Group(3, 1, 100), Group(1, 32, 96))
    whole, *parts = (build_step(spec(name), groups, BITS, part=p) for p in ("all", "dense", "attention", "head"))
    assert whole.macs == sum(part.macs for part in parts)
    assert all(part.macs > 0 for part in parts)


def test_steps_refuse_what_they_cannot_be() -> None:
    llama = spec("llama-2-7b")
    with pytest.raises(BadInput, match="at least one token"):
        build_step(llama, (), BITS)
    with pytest.raises(BadInput, match="32 new tokens in a context of 8"):
        build_step(llama, (Group(1, 32, 8),), BITS)
    with pytest.raises(BadInput, match="latent attention"):
        build_step(spec("deepseek-v2-lite"), (Group(1, 1, 8),), BITS)
    with pytest.raises(BadInput, match="decoders of text"):
        build_step(spec("bert-base"), (Group(1, 1, 8),), BITS)
    with pytest.raises(BadInput, match="3000 tokens exceed the 2048 learned positions"):
        build_step(spec("opt-1.3b"), (Group(1, 1, 3000),), BITS)


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_shares_make_up_the_model(degree: int) -> None:
    """Matrices are split and norms are whole: all shares have the MACs of the model."""
    model = replace(spec("llama-2-7b"), head=None)
    share = tensor_parallel(model, degree)
    groups = (Group(2, 16, 16),)
    assert degree * build_step(share, groups, BITS).macs == build_step(model, groups, BITS).macs
    assert degree * kv_bytes(share, 16) == kv_bytes(model, 16)


def test_few_heads_of_keys_are_copied() -> None:
    share = tensor_parallel(spec("llama-3-8b"), 16)
    attention, mlp = share.layers[0].attention, share.layers[0].mlp
    assert isinstance(attention, Attention) and isinstance(mlp, Mlp)
    assert (attention.heads, attention.kv_heads, mlp.intermediate) == (2, 1, 14336 // 16)


def test_a_degree_that_does_not_divide_heads_is_named_with_those_that_do() -> None:
    with pytest.raises(BadInput, match=r"parallelism of 3 does not divide .*32 heads.*1, 2, 4, 8, 16, 32 do"):
        tensor_parallel(spec("llama-2-7b"), 3)
    with pytest.raises(BadInput, match="at least 1"):
        tensor_parallel(spec("llama-2-7b"), 0)


def test_two_reductions_per_layer_one_where_attention_and_mlp_stand_side_by_side() -> None:
    llama, phi = spec("llama-2-7b"), spec("phi-2")
    assert exchanges(llama, 1) == ()
    gather = Exchange("all_gather", 32000, "sampled", 1)
    assert exchanges(llama, 8) == (Exchange("all_reduce", 4096, "token", 65), gather)
    assert exchanges(phi, 8)[0].times == 1 + 32
