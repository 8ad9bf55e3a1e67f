"""Caches in two tiers: values on the host with shadows of keys near, and quantised drafts near with the whole behind.

No figure of a paper stands here: rows are held against laws of bytes, which their source says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..loader import SHOWN, Row, table
from .caches import FEW_BITS, LOW_RANK, MODEL, drafted, link_bytes, machine, made, model, most, nested, shadowed, whole

CONTEXTS = (32768, 131072)
LONG = CONTEXTS[-1]
SHADOWS = {"rank 160": LOW_RANK, "4.5 bits": FEW_BITS}
REUSED = (0.0, 0.6)
DRAFTS = (2, 4, 8)
ACCEPTANCES = (0.5, 0.8, 0.95)


def near_share(name: str, context: int = LONG) -> float:
    """Bytes of a layer next to the GPU over those of its whole cache."""
    part = model(context).parts[0]
    return SHADOWS[name].near_bytes(part, context) / (context * part.cache_bytes)


def throughput(step: Callable[[int], float]) -> tuple[int, float]:
    """Sequences that fit, and tokens per second of all of them; 0 where one does not fit."""
    fit = most(step)
    return fit, fit / step(fit) if fit else 0.0


def streamed(sequences: int, context: int) -> float:
    return whole(sequences, context, near=False)


def over_streaming(tokens: int, acceptance: float, context: int = LONG) -> float:
    """Of a draft, over streaming the whole cache for every token."""
    fit, rounds = throughput(lambda n: drafted(n, context, tokens))
    return made(tokens, acceptance) * rounds / (fit / streamed(fit, context))


def rows() -> Iterator[Row]:
    """Bytes against laws, then throughput with full memory of every scheme."""
    link = machine().decode.inward[0]["cache"]
    _, with_rank = throughput(lambda n: shadowed(LOW_RANK, n, LONG))
    values = [
        near_share("rank 160"),
        near_share("4.5 bits"),
        link_bytes(LOW_RANK, 4, LONG) / 4,
        with_rank / (link / link_bytes(LOW_RANK, 1, LONG)),
        over_streaming(4, 0.8),
        over_streaming(4, 0.5),
    ]
    for r, value in zip(table(__package__ or "", "laws.csv"), values, strict=True):
        tolerance = float(r["tolerance"]) if r["tolerance"] else None
        yield Row(r["quantity"], r["where"], float(r["value"]), value, r["unit"], tolerance, r["source"], r["note"])
    for context in CONTEXTS:
        yield from _throughputs(context)


def _throughputs(context: int) -> Iterator[Row]:
    def shown(name: str, step: Callable[[int], float], tokens: float = 1.0) -> Row:
        fit, rate = throughput(step)
        note = f"{fit} sequences fit; {tokens * rate / base:.3g} of the whole cache near"
        where = f"{MODEL}, {context} tokens, {name}"
        return Row("throughput", where, None, tokens * rate, "token/s", None, SHOWN, note)

    base = throughput(lambda n: whole(n, context, near=True))[1]
    yield shown("whole, near", lambda n: whole(n, context, near=True))
    yield shown("whole, streamed", lambda n: streamed(n, context))
    for name, shadow in SHADOWS.items():
        for reused in REUSED:
            held = replace(shadow, reused=reused)
            yield shown(f"values on the host, keys of {name}, {reused:.0%} reused",
                        lambda n, held=held: shadowed(held, n, context))  # type: ignore[misc]  # fmt: skip
    for tokens in DRAFTS:
        for acceptance in ACCEPTANCES:
            yield shown(f"whole, streamed; draft of 4 bits near, {tokens} tokens, acceptance {acceptance:g}",
                        lambda n, tokens=tokens: drafted(n, context, tokens),  # type: ignore[misc]
                        made(tokens, acceptance))  # fmt: skip
            yield shown(f"8 bits near, of which 4 are a draft, {tokens} tokens, acceptance {acceptance:g}",
                        lambda n, tokens=tokens: nested(n, context, tokens),  # type: ignore[misc]
                        made(tokens, acceptance))  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Throughput by scheme, for each context."""
    data = []
    for context in CONTEXTS:
        mark = f"{MODEL}, {context} tokens, "
        found = [(r.where.removeprefix(mark), r.accelsim) for r in rows if r.where.startswith(mark)]
        names, rates = [x for x, _ in found], [y for _, y in found]
        data.append({"type": "bar", "name": f"{context} tokens", "x": names, "y": rates})
    return {"data": data, "layout": {"yaxis": {"title": "token/s", "type": "log"}}}
