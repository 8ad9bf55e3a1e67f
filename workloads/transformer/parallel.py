"""Tensor parallelism: the share of one of several sockets, and what they say to each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ...errors import BadInput
from .spec import Attention, Experts, LatentAttention, Layer, Mlp, TokenEmbedding, Transformer, VocabularyHead


@dataclass(frozen=True)
class Exchange:
    """A collective of all sockets, `times` per pass.

    Attributes:
        kind: ``all_reduce`` leaves the sum of all sockets' tensors on each; ``all_gather`` joins their parts.
        elements: of the whole tensor, per token.
        per: every ``token`` of the pass, or those whose next token is ``sampled``.
        times: per pass.
    """

    kind: Literal["all_reduce", "all_gather"]
    elements: int
    per: Literal["token", "sampled"]
    times: int


def tensor_parallel(model: Transformer, degree: int) -> Transformer:
    """One socket's share of a model: heads, columns of MLPs and rows of the vocabulary split over `degree` sockets.

    As in Megatron-LM (arXiv:1909.08053): the first product of an MLP is split by columns, the second by rows, and
    attention by heads; norms and the width of the model are whole on each. Where there are fewer heads of keys than
    sockets, sockets that share one have copies of it. Rows of a vocabulary that does not divide are rounded up.

    Raises:
        BadInput: `degree` is not positive, or does not divide heads or columns of MLPs; the message has those that do.
    """
    if degree < 1:
        raise BadInput(f"{model.name}: tensor parallelism of {degree} sockets (at least 1)")
    if degree == 1:
        return model
    faults = sorted({fault for layer in model.layers for fault in _faults(layer, degree)})
    if faults:
        fits = [d for d in range(1, 257) if not any(list(_faults(layer, d)) for layer in set(model.layers))]
        raise BadInput(f"{model.name}: tensor parallelism of {degree} does not divide {', '.join(faults)} (of at most "
                       f"256, {', '.join(map(str, fits))} do)")
    embedding = model.embedding
    if isinstance(embedding, TokenEmbedding):
        embedding = replace(embedding, vocabulary=-(-embedding.vocabulary // degree))
    return replace(model, layers=tuple(_share(layer, degree) for layer in model.layers), embedding=embedding)


def exchanges(model: Transformer, degree: int) -> tuple[Exchange, ...]:
    """What a pass of the whole `model`, split over `degree` sockets, exchanges: an all-reduce behind the embedding,
    attention and MLP of every layer (one for both where they run side by side), and a gather of the logits."""
    if degree == 1:
        return ()
    times = 1 + sum(1 if layer.placement == "parallel" else 2 for layer in model.layers)
    found = [Exchange("all_reduce", model.hidden, "token", times)]
    if isinstance(model.head, VocabularyHead) and isinstance(model.embedding, TokenEmbedding):
        found.append(Exchange("all_gather", model.embedding.vocabulary, "sampled", 1))
    return tuple(found)


def kv_bytes(model: Transformer, bits: int) -> int:
    """Bytes of keys and values, or of latent vectors, of one token in all layers."""
    elements = 0
    for layer in model.layers:
        spec = layer.attention
        if isinstance(spec, LatentAttention):
            elements += spec.latent + spec.rotary
        else:
            elements += 2 * spec.kv_heads * spec.head_size
    return -(-elements * bits // 8)


def _faults(layer: Layer, degree: int) -> list[str]:
    found = []
    spec = layer.attention
    if spec.heads % degree:
        found.append(f"{spec.heads} heads")
    if isinstance(spec, Attention) and spec.kv_heads % degree and degree % spec.kv_heads:
        found.append(f"{spec.kv_heads} heads of keys")
    mlps = [layer.mlp] if isinstance(layer.mlp, Mlp) else [layer.mlp.expert, layer.mlp.shared]
    found += [f"{mlp.intermediate} columns of an MLP" for mlp in mlps if mlp is not None and mlp.intermediate % degree]
    return found


def _share(layer: Layer, degree: int) -> Layer:
    spec = layer.attention
    heads = spec.heads // degree
    attention = (replace(spec, heads=heads, kv_heads=max(1, spec.kv_heads // degree)) if isinstance(spec, Attention)
                 else replace(spec, heads=heads))
    if isinstance(layer.mlp, Mlp):
        return replace(layer, attention=attention, mlp=_columns(layer.mlp, degree))
    experts: Experts = layer.mlp
    shared = None if experts.shared is None else _columns(experts.shared, degree)
    return replace(layer, attention=attention,
                   mlp=replace(experts, expert=_columns(experts.expert, degree), shared=shared))


def _columns(mlp: Mlp, degree: int) -> Mlp:
    return replace(mlp, intermediate=mlp.intermediate // degree)
