"""LLM in a flash: weights of sparse FFNs come from flash as tokens need them; I/O per token, speed-ups over naive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..loader import Changes, Row, beside, shown, table
from .loads import NAIVE, WINDOW, Token, figures, token
from .windows import neurons_of

OPT = "opt-6.7b"
MODEL = "OPT-6.7B"
WINDOW_TOKENS = 5


def speed_up(changes: Changes = (), model: str = OPT) -> float:
    """On the CPU, over loading the whole model for every token."""
    return token(model, NAIVE, changes).seconds / token(model, WINDOW, changes).seconds


def speed_up_beside_gpu(changes: Changes = ()) -> float:
    """With a GPU: loads are simulated, the rest is published."""
    on = figures(changes)
    computing = on["computing on the GPU"]
    naive = token(OPT, NAIVE, changes).io_s + computing
    ours = token(OPT, replace(WINDOW, fast=True), changes).io_s
    return naive / (ours + on["memory management beside the GPU"] + computing)


def rows() -> Iterator[Row]:
    """Bytes and milliseconds of a token, speed-ups, and what each technique gives; other models and chunks."""
    published = {(r["quantity"], r["where"]): r for r in table(__package__ or "", "published.csv")}

    def row(quantity: str, where: str, value: float) -> Row:
        return beside(published[quantity, f"{MODEL}, {where}"], value)

    naive, ours = token(OPT, NAIVE), token(OPT, WINDOW)
    best = "CPU, window of 5 and bundles"
    yield row("bytes from flash per token", best, ours.flash_bytes / 1e9)
    yield row("I/O per token", best, ours.io_s * 1e3)
    yield row("I/O per token", "CPU, naive", naive.io_s * 1e3)
    half = token(OPT, replace(NAIVE, resident=0.5))
    yield row("I/O per token", "CPU, naive, half of the model in DRAM", half.io_s * 1e3)
    yield row("time per token", best, ours.seconds * 1e3)
    yield row("time per token", "CPU, naive", naive.seconds * 1e3)
    yield row("speed-up over naive loading", "CPU", speed_up())
    yield row("speed-up over naive loading", "GPU", speed_up_beside_gpu())
    single = replace(WINDOW, bundled=False)
    yield row("I/O per token", "CPU, window of 5, single rows", token(OPT, single).io_s * 1e3)
    alone = replace(single, loaded="active share", held="active share")
    yield row("I/O per token", "CPU, predictor alone, single rows", token(OPT, alone).io_s * 1e3)
    yield shown("share of the model in DRAM", f"{MODEL}, {best}", ours.resident, "share", "52.1 % by the authors")
    yield from _windows()
    for name in ("opt-1.3b", "llama-2-7b", "opt-30b"):
        found: Token = token(name, WINDOW)
        note = f"speed-up {speed_up(model=name):.3g}; with shares of neurons as of {MODEL}, which it may not have"
        yield shown("I/O per token", f"{name}, {best}", found.io_s * 1e3, "ms", note)


def _windows() -> Iterator[Row]:
    """Longer windows hold more neurons and load fewer, with rates of neurons from the published window of five."""
    on = figures()
    neurons = neurons_of(on["active share"], on["window share"], WINDOW_TOKENS)
    for tokens in (1, 2, 3, 4, 5, 6, 8, 12):
        held, new = neurons.held(tokens), neurons.new(tokens)
        found = token(OPT, WINDOW, (("new share", new / on["new share"]), ("window share", held / on["window share"])))
        note = f"{held:.1%} of an FFN in DRAM, {new:.2%} come; neurons of independent tokens, by beta-distributed rates"
        if tokens == WINDOW_TOKENS:
            note += f"; measured {on['new share']:.2%}"
        where = f"{MODEL}, CPU, bundles, a window of {tokens} tokens"
        yield shown("I/O per token", where, found.io_s * 1e3, "ms", note)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Milliseconds of I/O per token by technique, beside the published ones."""
    found = [r for r in rows if r.quantity == "I/O per token" and r.published is not None]
    names = [r.where.partition(", CPU, ")[2] for r in found]
    data = [
        {"type": "bar", "name": "simulated", "x": names, "y": [r.accelsim for r in found]},
        {"type": "scatter", "mode": "markers", "name": "published", "x": names, "y": [r.published for r in found]},
    ]
    return {"data": data, "layout": {"yaxis": {"title": "ms per token", "type": "log"}}}
