"""Keys and values that heads share: grouped queries, and latent caches."""

from __future__ import annotations

from dataclasses import replace

from ...errors import BadInput
from ..transformer import Attention, LatentAttention, Norm, Transformer


def with_kv_heads(model: Transformer, kv_heads: int) -> Transformer:
    """The model with so many heads of keys and values in every layer (Ainslie et al., GQA, arXiv:2305.13245).

    Projections, cache and the bytes that attention reads shrink; its operations stay.

    Raises:
        BadInput: heads of queries are no multiple, or a layer's attention is latent.
    """
    layers = []
    for layer in model.layers:
        spec = layer.attention
        if not isinstance(spec, Attention):
            raise BadInput(f"{model.name}: heads of latent attention share one cache already")
        if kv_heads < 1 or spec.heads % kv_heads:
            fits = [n for n in range(1, spec.heads + 1) if spec.heads % n == 0]
            raise BadInput(f"{model.name}: {spec.heads} heads cannot share {kv_heads} heads of keys and values (they "
                           f"can share {', '.join(map(str, fits))})")  # fmt: skip
        layers.append(replace(layer, attention=replace(spec, kv_heads=kv_heads)))
    return replace(model, layers=tuple(layers))


def with_latent_cache(model: Transformer, latent: int, rotary: int, *, query_rank: int | None = None) -> Transformer:
    """The model with latent attention of as many heads (DeepSeek-V2, arXiv:2405.04434).

    Args:
        model: any decoder with heads.
        latent: width of the latent vector of keys and values of a token.
        rotary: elements of the keys with rotary embedding, shared by all heads, beside it.
        query_rank: width of latent queries; None where queries are projected at once.

    Raises:
        BadInput: widths that are not positive, or latent attention already.
    """
    if latent < 1 or rotary < 1:
        raise BadInput(f"{model.name}: a latent cache has widths from 1, not {latent} and {rotary}")
    layers = []
    for layer in model.layers:
        spec = layer.attention
        if not isinstance(spec, Attention):
            raise BadInput(f"{model.name}: attention is latent already")
        eps = layer.norm.eps
        layers.append(replace(layer, attention=LatentAttention(
            spec.heads, query_rank, latent, spec.head_size, rotary, spec.head_size, spec.out_bias,
            Norm("rms", eps), spec.scale or (spec.head_size + rotary) ** -0.5,
        )))  # fmt: skip
    return replace(model, layers=tuple(layers))
