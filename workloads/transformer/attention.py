"""Multi-head attention, with grouped queries, caches, and the keys that a causal or windowed kernel computes."""

from __future__ import annotations

from math import sqrt

from ...ir import Access, Affine, Apply, Const, Read, affine, product
from .site import Site
from .spec import Attention


def mean_keys(tokens: int, context: int, causal: bool, window: int | None) -> int:
    """Keys that a query attends to, averaged over the `tokens` last of `context` tokens and rounded down, at least 1.

    ``causal``: token t sees t + 1 keys, so that n tokens see n (n + 1) / 2, and the mean is half of n for even n. With
    `window`, at most that many.
    """
    limit = context if window is None else min(window, context)
    if not causal:
        return limit
    past = context - tokens
    short = max(0, min(tokens, limit - past))  # queries that see fewer keys than the limit, or just as many
    total = short * past + short * (short + 1) // 2 + (tokens - short) * limit
    return max(1, total // tokens)


def key_index(keys: int, context: int) -> Affine:
    """Index of the cache for rank m: `keys` of `context` rows, evenly spaced, the last one included.

    Where a query attends to a part of the keys, which part it is depends on the query; an affine index cannot say that.
    Operations are those of all queries. So are the rows that tiles of queries read one after the other, summed up; all
    queries at once read as many rows as one sees on average, though together they see every row.
    """
    step = (context - 1) // (keys - 1) if keys > 1 else 1
    return Affine((("m", step),), context - 1 - step * (keys - 1))


def attention(site: Site, x: str, spec: Attention, hidden: int) -> str:
    """Attention of x (batch, tokens, hidden), without the residual.

    In a decoder, states ``k_cache`` and ``v_cache`` (batch, context, kv_heads * head_size) take the new keys and values
    in their last rows; an encoder has activations of the same shape.
    """
    b = site.b
    width, kv_width = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    caches = []
    for t in "kv":
        shape = (site.batch, site.context, kv_width)
        caches.append(b.state(site.name(f"{t}_cache"), shape, site.bits.state) if site.decoder
                      else b.activation(site.name(f"{t}_all"), shape))
    at = (0, site.past, 0)
    q = site.linear(x, "q", width, spec.qkv_bias)
    if spec.qk_norm is None and not spec.rotary:
        site.linear(x, "k", kv_width, spec.qkv_bias, caches[0], at)
    else:
        k = site.linear(x, "k", kv_width, spec.qkv_bias)
        if spec.qk_norm is not None:
            q = head_norm(site, q, spec, "q_norm")
            k = head_norm(site, k, spec, "k_norm")
        if spec.rotary:
            q = site.rotate(q, "q_rotary", spec.heads, spec.head_size, spec.rotary)
            site.rotate(k, "k_rotary", spec.kv_heads, spec.head_size, spec.rotary, out=caches[0], at=at)
        else:
            b.elementwise("copy", k, kind="Cache", name=site.name("k_store"), out=caches[0], at=at)
    site.linear(x, "v", kv_width, spec.qkv_bias, caches[1], at)
    factor = 1 / sqrt(spec.head_size) if spec.scale is None else spec.scale
    q = b.elementwise(product(Read(0), Const(factor)), q, kind="Attention.scale", name=site.name("q_scale"))
    return site.linear(_heads(site, q, caches[0], caches[1], spec), "out", hidden, spec.out_bias)


def head_norm(site: Site, x: str, spec: Attention, name: str) -> str:
    """RMS normalisation of every head of x (batch, tokens, heads * head_size)."""
    b, shape = site.b, site.b.shape(x)
    assert spec.qk_norm is not None
    heads = b.view(x, (*shape[:2], shape[2] // spec.head_size, spec.head_size), out=site.name(f"{name}.heads"))
    return b.view(site.norm(heads, spec.qk_norm, name), shape)


def _heads(site: Site, q: str, k: str, v: str, spec: Attention) -> str:
    """softmax(Q K) V per head, with ranks b batch, h KV head, g its query heads, p query, m key, e and f width."""
    b, group, size = site.b, spec.heads // spec.kv_heads, spec.head_size
    split = {"h": spec.kv_heads, **({"g": group} if group > 1 else {})}
    q = b.view(q, (site.batch, site.tokens, *split.values(), size), out=site.name("q_heads"))
    cache = (site.batch, site.context, spec.kv_heads, size)
    keys = b.view(k, cache, out=site.name("k_heads"))
    values = b.view(v, cache, out=site.name("v_heads"))
    window = spec.window if site.options.sliding_window else None
    seen = mean_keys(site.tokens, site.context, site.options.causal and site.decoder, window)
    m = key_index(seen, site.context)
    outer = {"b": site.batch, **split, "p": site.tokens}
    space = {**outer, "m": seen}
    queries = Access(q, tuple(map(affine, ("b", "p", *split, "e"))))
    scores = b.compute("mul", [queries, Access(keys, (affine("b"), m, affine("h"), affine("e")))], list(space),
                       {**space, "e": size}, reduce="add", kind="Attention.scores", name=site.name("attention.scores"))
    share = softmax(site, soft_cap(site, scores, spec.softcap, "attention.cap"), outer, seen)
    mixed = b.compute(
        "mul", [Access(share, tuple(map(affine, space))), Access(values, (affine("b"), m, affine("h"), affine("f")))],
        ["b", "p", *split, "f"], {**space, "f": size}, reduce="add", kind="Attention.values",
        name=site.name("attention.values"))
    return b.view(mixed, (site.batch, site.tokens, spec.heads * size), out=site.name("attention_heads"))


def soft_cap(site: Site, x: str, cap: float, name: str) -> str:
    """``cap * tanh(x / cap)``, or x itself for a cap of 0 (Gemma 2, arXiv:2408.00118)."""
    if not cap:
        return x
    expr = product(Apply("tanh", (product(Read(0), Const(1 / cap)),)), Const(cap))
    return site.b.elementwise(expr, x, kind="SoftCap", name=site.name(name))


def softmax(site: Site, scores: str, outer: dict[str, int], keys: int) -> str:
    """Softmax over rank m of scores that carry the ranks `outer` and m, in that order: max, exp, sum, quotient."""
    b, space = site.b, {**outer, "m": keys}
    every, one = Access(scores, tuple(map(affine, space))), tuple(map(affine, outer))
    top = b.compute("copy", [every], list(outer), space, reduce="max", kind="Softmax.max",
                    name=site.name("attention.max"))
    shifted = Apply("exp", (Apply("sub", (Read(0), Read(1))),))
    e = b.compute(shifted, [every, Access(top, one)], list(space), space, kind="Softmax.exp",
                  name=site.name("attention.exp"))
    each = Access(e, tuple(map(affine, space)))
    total = b.compute("copy", [each], list(outer), space, reduce="add", kind="Softmax.sum",
                      name=site.name("attention.sum"))
    return b.compute("div", [each, Access(total, one)], list(space), space, kind="Softmax.div",
                     name=site.name("attention.div"))
