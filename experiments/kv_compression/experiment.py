"""Smaller KV caches (quantised, evicted, shared by heads or layers): bytes, decode and throughput on one GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ir import Role
from ...workloads.transformer import kv_bytes
from ...workloads.transforms import with_kv_heads, with_latent_cache
from ..loader import Row, beside, shown, table
from .schemes import SCHEMES, bytes_of, decode, seconds, sequences, transformer, with_layers

MODEL = "llama-2-7b"
WHOLE = "16 bits"
BATCH, CONTEXT = 16, 4096
ACCURACY = "accuracy is outside of the model's scope"


def saved_by_deepseek() -> float:
    """Share of the cache of DeepSeek 67B that DeepSeek-V2 saves, per token."""
    small = with_layers(with_latent_cache(transformer(MODEL), 512, 64), 60)
    large = with_layers(with_kv_heads(transformer(MODEL), 8), 95)
    return 1 - kv_bytes(small, 6) / kv_bytes(large, 16)


def share(scheme: str) -> float:
    """Of the bytes of the whole cache."""
    found, whole = (bytes_of(decode(MODEL, s, BATCH, CONTEXT), Role.STATE) for s in (scheme, WHOLE))
    return found / whole


def throughput(scheme: str, context: int = CONTEXT) -> float:
    """Tokens per second with as many sequences as fit."""
    fit = sequences(MODEL, scheme, context)
    return fit / seconds(MODEL, scheme, fit, context)


def rows() -> Iterator[Row]:
    """Bytes beside published ones; of every scheme the time of a step, sequences that fit, and throughput."""
    published = {(r["quantity"], r["where"]): r for r in table(__package__ or "", "published.csv")}
    large = transformer("llama-2-70b")
    own = kv_bytes(large, 16) / kv_bytes(with_kv_heads(large, 64), 16)
    yield beside(published["cache over that of all heads", "Llama-2-70B, 8 heads of keys and values of 64"], own)
    where = "DeepSeek-V2, latent and 6 bits, over DeepSeek 67B"
    yield beside(published["cache saved", where], saved_by_deepseek())
    for scheme in SCHEMES:
        row = published.get(("cache over the whole", scheme))
        if row is not None:
            yield beside(row, share(scheme))
        elif scheme != WHOLE:
            yield shown("cache over the whole", scheme, share(scheme), "", f"{MODEL}; {ACCURACY}")
    for scheme in SCHEMES:
        step = seconds(MODEL, scheme, BATCH, CONTEXT)
        gain = seconds(MODEL, WHOLE, BATCH, CONTEXT) / step
        yield shown("decode step", f"{MODEL}, {BATCH} x {CONTEXT}, {scheme}", step * 1e3, "ms",
                     f"{gain:.3g} times as fast")  # fmt: skip
    for context in (CONTEXT, 32768):
        for scheme in SCHEMES:
            fit = sequences(MODEL, scheme, context)
            gain = throughput(scheme, context) / throughput(WHOLE, context)
            yield shown("throughput", f"{MODEL}, {context} tokens, {scheme}", throughput(scheme, context), "token/s",
                         f"{fit} sequences fit; {gain:.3g} of the whole cache's")  # fmt: skip
    row = published["throughput over the whole cache's", "2 bits, groups of 32"]
    yield beside(row, throughput("2 bits, groups of 32") / throughput(WHOLE))


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Throughput of every scheme, by context."""
    found: dict[str, dict[str, float]] = {}
    for r in rows:
        if r.quantity == "throughput" and r.accelsim is not None:
            _, context, scheme = r.where.split(", ", 2)
            found.setdefault(context, {})[scheme] = r.accelsim
    data = [{"type": "bar", "name": c, "x": list(v), "y": list(v.values())} for c, v in found.items()]
    return {"data": data, "layout": {"yaxis": {"title": "token/s", "type": "log"}}}
