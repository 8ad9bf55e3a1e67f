"""Host memory extended by cards on CXL: fine-tuning by placement policy and number of cards, beside DRAM alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from ..loader import Changes, Row, beside, shown, table
from .finetune import POLICIES, Case, figures, objects, seconds, stores

CONTEXTS = (4096, 8192, 16384, 32768)
BATCH = 8
CARDS = (1, 2, 4)


def case(context: int, cards: int, policy: str = "critical objects local", model: str = "llama-2-7b") -> Case:
    return Case(model, BATCH, context, cards, policy)


def relative(context: int, cards: int, policy: str, changes: Changes = ()) -> float:
    """Throughput over that with DRAM alone."""
    return seconds(case(context, 0), changes) / seconds(case(context, cards, policy), changes)


def on_cards_alone(changes: Changes = ()) -> float:
    """Time of the optimiser's bytes from one card over that from DRAM."""
    on = figures(changes)
    dram, card = stores(1, on)
    return dram.bandwidth / card.bandwidth


def rows() -> Iterator[Row]:
    """Throughput beside DRAM alone, by policy, cards and context; what each placement gives the optimiser."""
    published = {(r["quantity"], r["where"]): r for r in table(__package__ or "", "published.csv")}
    quantity, best = "throughput over that of DRAM alone", "critical objects local"
    for cards, name in ((1, "one card"), (2, "two cards")):
        found = mean(relative(c, cards, best) for c in CONTEXTS)
        yield beside(published[quantity, f"7B, {name}, {best}"], found)
    gain = max(relative(c, 1, best) / relative(c, 1, "interleaved") for c in CONTEXTS)
    yield beside(published["gain over interleaving", "7B, one card"], gain)
    yield beside(published["optimiser's time over that of DRAM alone", "7B, all on one card"], on_cards_alone())
    for policy in POLICIES:
        for cards in CARDS:
            for context in CONTEXTS:
                where = f"7B, {cards} card(s), {policy}, {context} tokens"
                yield shown(quantity, where, relative(context, cards, policy), "", _note(context))


def _note(context: int) -> str:
    held = sum(h.nbytes for h in objects(case(context, 1)))
    return f"{BATCH} sequences; {held / 1e9:.4g} GB in host memory"


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Throughput over that of DRAM alone by context, for every policy with one card and two."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for r in rows:
        if r.published is None and r.accelsim is not None and not r.where.startswith("7B, 4"):
            name, _, context = r.where.removesuffix(" tokens").rpartition(", ")
            lines.setdefault(name, []).append((int(context), r.accelsim))
    data = [{"type": "scatter", "name": n, "x": [c for c, _ in p], "y": [v for _, v in p]} for n, p in lines.items()]
    return {"data": data, "layout": {"xaxis": {"title": "tokens", "type": "log"}, "yaxis": {"title": "of DRAM alone"}}}


