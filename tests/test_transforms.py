"""Transforms of models: bytes and operations against what they should be, and what cannot be done."""

from __future__ import annotations

from fractions import Fraction

import pytest

from accelsim.errors import BadInput
from accelsim.ir import Role, Workload, validate
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.transformer import Bits, LatentAttention, Transformer, build, kv_bytes
from accelsim.workloads.transforms import (
    GroupBits,
    block_sparse,
    evicted,
    quantised,
    shared_across_layers,
    with_kv_heads,
    with_latent_cache,
)
from accelsim.workloads.zoo import load

MODELS = ("llama-3-8b", "opt-125m", "gemma-7b")
CONTEXT = 256


def model(name: str) -> Transformer:
    return load_config(load(name), name=name).spec


def decode(spec: Transformer, context: int = CONTEXT, batch: int = 2) -> Workload:
    return build(spec, "decode", batch, 1, context, "last", Bits(16, 16, 16))


def held(workload: Workload, role: Role) -> int:
    return workload.bytes_by_role()[role]


@pytest.mark.parametrize("name", MODELS)
def test_an_evicted_cache_is_a_shorter_one(name: str) -> None:
    """A decode whose cache keeps 64 tokens costs what one with a context of 64 does."""
    small, short = evicted(decode(model(name)), 64), decode(model(name), 64)
    assert small.macs == short.macs and small.operations() == short.operations()
    assert small.bytes_by_role() == short.bytes_by_role()
    assert "accuracy is outside" in small.notes[-1]
    with pytest.raises(BadInput, match="no state has more than 512"):
        evicted(decode(model(name)), 512)


def test_a_prefill_cannot_be_evicted() -> None:
    spec = model("opt-125m")
    with pytest.raises(BadInput, match=r"(writes more tokens|does not read all)"):
        evicted(build(spec, "prefill", 1, 100, 128, "last", Bits(16, 16, 16)), 64)


@pytest.mark.parametrize("name", MODELS[:2])
@pytest.mark.parametrize("group", [2, 4])
def test_layers_that_share_a_cache_have_no_projections_of_it(name: str, group: int) -> None:
    spec, base = model(name), decode(model(name))
    shared = shared_across_layers(base, group)
    assert held(shared, Role.STATE) * group == held(base, Role.STATE)
    layers = len(spec.layers)
    attention = spec.layers[0].attention
    assert not isinstance(attention, LatentAttention)
    without = layers - layers // group
    projections = 2 * spec.hidden * attention.kv_heads * attention.head_size
    assert base.macs - shared.macs == without * projections * 2  # of two sequences
    biases = 2 * attention.kv_heads * attention.head_size if attention.qkv_bias else 0
    assert held(base, Role.WEIGHT) - held(shared, Role.WEIGHT) == 2 * without * (projections + biases)
    validate(shared)


def test_groups_of_layers_must_divide() -> None:
    with pytest.raises(BadInput, match="12 layers do not divide into groups of 5"):
        shared_across_layers(decode(model("opt-125m")), 5)
    with pytest.raises(BadInput, match="2 layers or more"):
        shared_across_layers(decode(model("opt-125m")), 1)


def test_heads_that_share_keys_and_values() -> None:
    spec = model("opt-125m")
    base, grouped = decode(spec), decode(with_kv_heads(spec, 3))
    assert held(grouped, Role.STATE) * 4 == held(base, Role.STATE)
    assert kv_bytes(with_latent_cache(spec, 512, 64), 16) == 12 * 2 * (512 + 64)
    latent = decode(with_latent_cache(spec, 128, 32))
    assert held(latent, Role.STATE) == 2 * CONTEXT * 12 * 2 * (128 + 32)
    with pytest.raises(BadInput, match=r"cannot share 5 heads .* 1, 2, 3, 4, 6, 12"):
        with_kv_heads(spec, 5)


def test_groups_of_a_quantised_cache_carry_a_scale() -> None:
    """2 bits and 32 bits of scale and zero per 32 elements are 3 bits of 16."""
    base = decode(model("llama-3-8b"))
    small = quantised(base, {"state": GroupBits(2, 32, 32)})
    assert held(small, Role.STATE) * 16 == held(base, Role.STATE) * 3
    assert held(small, Role.WEIGHT) == held(base, Role.WEIGHT) and small.macs == base.macs
    assert "quantised" in small.notes[-1]


@pytest.mark.parametrize("share", [0.25, Fraction(1, 2), 1.0])
def test_blocks_that_are_left_out(share: float) -> None:
    """The MLP's products shrink by the share; storage by as much, but for an index per block."""
    spec = model("opt-125m")
    base = decode(spec)
    sparse = block_sparse(base, {"layer.up.weight": share, "layer.down.weight": share}, block=32)
    mlp = 12 * 2 * 768 * 3072
    assert base.macs - sparse.macs == round(2 * mlp * (1 - share))
    stored = mlp * float(share) * (2 + 2 / 32**2)
    assert held(base, Role.WEIGHT) - held(sparse, Role.WEIGHT) == pytest.approx(2 * mlp - stored, rel=1e-6)
    everywhere = block_sparse(base, {"weight": share}, block=32)
    assert everywhere.macs <= sparse.macs


def test_blocks_that_cannot_be() -> None:
    base = decode(model("opt-125m"))
    with pytest.raises(BadInput, match="no weight of a product"):
        block_sparse(base, {"layer.mlp_norm.weight": 0.5}, block=32)
    with pytest.raises(BadInput, match="above 0"):
        block_sparse(base, {"weight": 0.0}, block=32)


def test_transforms_go_together() -> None:
    base = decode(model("llama-3-8b"))
    small = evicted(shared_across_layers(quantised(base, {"state": 4}), 2), 64)
    assert held(small, Role.STATE) * 4 * 2 * 4 == held(base, Role.STATE)
    assert len(small.notes) == 3
