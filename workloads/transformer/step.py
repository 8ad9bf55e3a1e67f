"""One step of a server: new tokens of many sequences at different contexts, as one Workload."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Literal, NamedTuple, TypeAlias

from ...errors import BadInput
from ...ir import Access, Affine, Const, Read, Workload, WorkloadBuilder, affine, product
from .attention import head_norm, key_index, mean_keys, soft_cap, softmax
from .build import layer_of, stack_of
from .ends import embed
from .site import Site
from .spec import Attention, Bits, Layer, Options, TokenEmbedding, Transformer, VocabularyHead, stacks

Part: TypeAlias = Literal["all", "dense", "attention", "head"]


class Group(NamedTuple):
    """`sequences` sequences alike: each has `tokens` new tokens and then `context` in all, the new ones included."""

    sequences: int
    tokens: int
    context: int


def build_step(
    model: Transformer, groups: tuple[Group, ...], bits: Bits, *, part: Part = "all", sampled: int | None = None
) -> Workload:
    """The Workload of one step in which all tokens of all groups pass the weights together.

    Tokens stand one after the other in a batch of 1: input ``tokens`` (1, all tokens). Every group attends to its own
    states ``layer.k_cache`` and ``layer.v_cache`` (sequences, context, kv_heads * head_size), numbered from the second
    group on, causally: a query sees the keys that queries see on average (`mean_keys`); sliding windows are
    ignored. Logits are computed for
    `sampled` tokens (default: one per sequence; 0: no head).

    Three parts together do what ``all`` does: ``dense`` (no scores, softmax, values and head; new keys and values are
    stored), ``attention`` (scores, softmax and values alone, a layer taking the result of the one before as its
    queries) and ``head`` (logits of `sampled` tokens alone).

    Raises:
        BadInput: there are no tokens, a group has fewer keys than tokens, the model is no decoder of text, or its
            attention is latent.
    """
    _check(model, groups)
    b = WorkloadBuilder(f"{model.name}.step" if part == "all" else f"{model.name}.step.{part}", bits=bits.activation)
    tokens = sum(g.sequences * g.tokens for g in groups)
    site = Site(b, bits, Options(causal=True), 1, tokens, tokens, True, prefix="")
    if part == "attention":
        attention = model.layers[0].attention
        assert isinstance(attention, Attention)  # checked above
        x = b.input("queries", (1, tokens, attention.heads * attention.head_size))
        b.output(_stacks(site, x, model, groups, part))
        return b.build()
    count = sum(g.sequences for g in groups) if sampled is None else sampled
    head = bool(count) and isinstance(model.head, VocabularyHead)
    if part == "head":
        x = b.input("hidden", (1, max(1, count), model.hidden))
        b.output(_logits(replace(site, tokens=max(1, count)), x, model, count) if head else b.elementwise("copy", x))
        return b.build()
    x = embed(site, replace(model, embedding=_short(model.embedding, tokens)))
    for size in sorted({layer.attention.rotary for layer in model.layers} - {0}):
        site.tables[size] = (b.weight(f"rotary{size}.cos", (tokens, size // 2), bits.activation),
                             b.weight(f"rotary{size}.sin", (tokens, size // 2), bits.activation))
    x = _stacks(site, x, model, groups, part)
    if model.final_norm is not None:
        x = site.norm(x, model.final_norm, "final_norm")
    b.output(_logits(site, x, model, count) if head and part == "all" else x)
    return b.build()


def _check(model: Transformer, groups: tuple[Group, ...]) -> None:
    if not groups or any(min(g) < 1 for g in groups):
        raise BadInput(f"{model.name}: a step needs at least one token, and sizes of at least 1: {groups}")
    short = [g for g in groups if g.context < g.tokens]
    if short:
        raise BadInput(f"{model.name}: {short[0].tokens} new tokens in a context of {short[0].context}")
    if not model.decoder or not isinstance(model.embedding, TokenEmbedding):
        raise BadInput(f"{model.name}: steps are for decoders of text")
    if any(not isinstance(layer.attention, Attention) for layer in model.layers):
        raise BadInput(f"{model.name}: steps of latent attention are not modelled (grouped queries are)")
    longest = max(g.context for g in groups)
    if model.positions is not None and longest > model.positions:
        raise BadInput(f"{model.name}: {longest} tokens exceed the {model.positions} learned positions of the model")


def _short(embedding: object, tokens: int) -> TokenEmbedding:
    """The embedding with rows for as many positions as tokens of the step: the rows that are read."""
    assert isinstance(embedding, TokenEmbedding)  # checked above
    return embedding if embedding.positions is None else replace(embedding, positions=max(tokens, embedding.positions))


def _stacks(site: Site, x: str, model: Transformer, groups: tuple[Group, ...], part: Part) -> str:
    used: dict[str, int] = {}

    def run(y: str, prefix: str, layer: Layer) -> str:
        return _layer(site.at(prefix), y, layer, model.hidden, groups, part)

    for stack in stacks([_without_window(layer) for layer in model.layers]):
        x = stack_of(site, x, stack, used, run)
    return x


def _without_window(layer: Layer) -> Layer:
    assert isinstance(layer.attention, Attention)  # checked above
    return replace(layer, attention=replace(layer.attention, window=None))


def _layer(site: Site, x: str, layer: Layer, hidden: int, groups: tuple[Group, ...], part: Part) -> str:
    spec = layer.attention
    assert isinstance(spec, Attention)  # checked above
    if part == "attention":
        return _attend(site, x, spec, groups)
    return layer_of(site, x, layer, lambda y: _attention(site, y, spec, hidden, groups, part))


def _attention(
    site: Site, x: str, spec: Attention, hidden: int, groups: tuple[Group, ...], part: Part
) -> str:
    b, kv_width = site.b, spec.kv_heads * spec.head_size
    q = site.linear(x, "q", spec.heads * spec.head_size, spec.qkv_bias)
    k = site.linear(x, "k", kv_width, spec.qkv_bias)
    v = site.linear(x, "v", kv_width, spec.qkv_bias)
    if spec.qk_norm is not None:
        q, k = head_norm(site, q, spec, "q_norm"), head_norm(site, k, spec, "k_norm")
    if spec.rotary:
        q = site.rotate(q, "q_rotary", spec.heads, spec.head_size, spec.rotary)
        k = site.rotate(k, "k_rotary", spec.kv_heads, spec.head_size, spec.rotary)
    factor = 1 / sqrt(spec.head_size) if spec.scale is None else spec.scale
    q = b.elementwise(product(Read(0), Const(factor)), q, kind="Attention.scale", name=site.name("q_scale"))
    if part == "dense":
        for letter, new in (("k", k), ("v", v)):
            store = b.state(site.name(f"{letter}_new"), (1, site.tokens, kv_width), site.bits.state)
            b.elementwise("copy", new, kind="Cache", name=site.name(f"{letter}_store"), out=store, at=(0, 0, 0))
        return site.linear(q, "out", hidden, spec.out_bias)
    return site.linear(_attend(site, q, spec, groups, (k, v)), "out", hidden, spec.out_bias)


def _attend(
    site: Site, q: str, spec: Attention, groups: tuple[Group, ...], new: tuple[str, str] | None = None
) -> str:
    """softmax(Q K) V of every group on its rows of q (1, tokens, heads * head_size); `new` keys and values are stored
    first."""
    b, width = site.b, spec.kv_heads * spec.head_size
    out = b.activation(site.name("attention_heads"), (1, site.tokens, spec.heads * spec.head_size))
    first = 0
    for i, group in enumerate(groups):
        label = str(i) if i else ""
        caches = [b.state(site.name(f"{letter}_cache{label}"), (group.sequences, group.context, width), site.bits.state)
                  for letter in "kv"]
        for cache, fresh in zip(caches, new or (), strict=False):
            row = Affine((("b", group.tokens), ("p", 1)), first)
            past = Affine((("p", 1),), group.context - group.tokens)
            b.compute(Read(0), [Access(fresh, (affine(0), row, affine("c")))], ["b", past, "c"],
                      {"b": group.sequences, "p": group.tokens, "c": width}, kind="Cache",
                      name=site.name("cache_store"), out=cache, at=(0, 0, 0))
        _group(site, q, caches, spec, group, first, out, label)
        first += group.sequences * group.tokens
    return out


def _group(
    site: Site, q: str, caches: list[str], spec: Attention, group: Group, first: int, out: str, label: str
) -> None:
    """One group: ranks b sequence, h KV head, g its query heads, p query, m key, e and f width."""
    b, share, size = site.b, spec.heads // spec.kv_heads, spec.head_size
    split = {"h": spec.kv_heads, **({"g": share} if share > 1 else {})}
    view = (group.sequences, group.context, spec.kv_heads, size)
    keys, values = (b.view(cache, view) for cache in caches)
    seen = mean_keys(group.tokens, group.context, True, None)
    m = key_index(seen, group.context)
    outer = {"b": group.sequences, **split, "p": group.tokens}
    space = {**outer, "m": seen}
    row = Affine((("b", group.tokens), ("p", 1)), first)
    heads = (("h", share * size), ("g", size)) if share > 1 else (("h", size),)

    def column(rank: str) -> Affine:
        return Affine((*heads, (rank, 1)))

    scores = b.compute(
        "mul", [Access(q, (affine(0), row, column("e"))), Access(keys, (affine("b"), m, affine("h"), affine("e")))],
        list(space), {**space, "e": size}, reduce="add", kind="Attention.scores",
        name=site.name(f"attention{label}.scores"))
    part = softmax(site, soft_cap(site, scores, spec.softcap, "attention.cap"), outer, seen)
    b.compute(
        "mul", [Access(part, tuple(map(affine, space))), Access(values, (affine("b"), m, affine("h"), affine("f")))],
        [affine(0), row, column("f")], {**space, "f": size}, reduce="add", kind="Attention.values",
        name=site.name(f"attention{label}.values"), out=out, at=(0, 0, 0))


def _logits(site: Site, x: str, model: Transformer, count: int) -> str:
    """Logits of the first `count` tokens: which tokens they are costs nothing."""
    b, spec, head = site.b, model.embedding, model.head
    assert isinstance(spec, TokenEmbedding) and isinstance(head, VocabularyHead)
    width = spec.width or model.hidden
    if width != model.hidden:
        x = site.linear(x, "embed_out", width)
    shared = head.tied and "embedding" in b
    weight = "embedding" if shared else site.weight("head", spec.vocabulary, width)
    sizes = {"s": min(count, site.tokens), "n": spec.vocabulary, "k": width}
    inputs = [Access(x, (affine(0), affine("s"), affine("k"))), Access(weight, (affine("n"), affine("k")))]
    y = b.compute("mul", inputs, [0, "s", "n"], sizes, reduce="add", kind="Head", name="logits")
    return soft_cap(site, y, head.softcap, "logits")
