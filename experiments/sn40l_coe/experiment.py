"""Samba-CoE: a composition of 150 experts on an SN40L node, on DGX A100 and on DGX H100: switching, capacity, latency.

Passes are simulated, experts are switched by an LRU Driver. Sets of overall ratios stand apart: from specifications
alone, with three constants calibrated on published ratios of expert runs alone, and with tokens as long as measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..loader import Row, table
from .implied import implied
from .node import (
    A100,
    H100,
    ONE_BY_ONE,
    SN40L,
    Node,
    calibrated,
    expert_bytes,
    experts_held,
    fused,
    knee,
    mean_latency,
    node,
)

if TYPE_CHECKING:
    from ...report.page import Figure

DGX = {"a100": A100, "h100": H100}
EXPERTS = (10, 40, 50, 75, 150, 850)
SKEWS = {"uniform": 0.0, "Zipf, exponent 1": 1.0}
SHOWN_TOKENS = 20
TOLERANCE = 0.05
SOURCE = "Prabhakar et al., MICRO 2024 (arXiv:2405.07518)"
FREE = "from specifications alone: what launches and hosts cost is not in it"
FITTED = "three constants calibrated on the ratios of expert runs alone"
MEASURED = f"{FITTED}, and a pass on the SN40L as much longer as measured ones of Mistral-7B are"
APART = f"{FITTED}; the router reads prompts one by one and writes a token for each"
MEASURED_TOKEN_S = 1.45e-3
"""Of Mistral-7B on eight sockets, batch 1, 1024 tokens in and 1024 out (the paper)."""


@cache
def predicted() -> Mapping[str, Node]:
    """Nodes from specifications alone."""
    return {name: node(name) for name in (SN40L, A100, H100)}


@cache
def fitted() -> Mapping[str, Node]:
    """Nodes with the constants that the expert-only ratios give."""
    ratios = {(DGX[d], int(r["tokens"])): float(r[d]) for r in _table("expert") for d in DGX}
    return calibrated(predicted(), ratios)


@cache
def measured() -> Mapping[str, Node]:
    """Nodes with those constants, and with what a measured token of another model takes beyond a simulated one."""
    ratios = {(DGX[d], int(r["tokens"])): float(r[d]) for r in _table("expert") for d in DGX}
    beyond = MEASURED_TOKEN_S - fused(predicted()[SN40L].arch, "decode", "mistral-7b", 1536)
    return calibrated(predicted(), ratios, beyond)


def _table(quantity: str) -> list[Mapping[str, str]]:
    return [r for r in table(__package__ or "", "reference.csv") if r["quantity"] == quantity]


def rows() -> Iterator[Row]:
    """Capacity and switching, ratios in both sets, constants, latency against the number of experts."""
    yield from _capacity(predicted())
    yield from _switching(predicted())
    yield from _ratios("from specifications", predicted(), FREE, None)
    yield from _ratios("calibrated", fitted(), FITTED, "fitted")
    yield from _ratios("calibrated, tokens as measured", measured(), MEASURED, "measured")
    one_by_one = {name: replace(n, router=ONE_BY_ONE) for name, n in fitted().items()}
    yield from _ratios("calibrated, prompts routed one by one", one_by_one, APART, None)
    yield from _implied(fitted())
    yield from _constants(fitted())
    yield from _latencies(fitted())


def _capacity(nodes: Mapping[str, Node]) -> Iterator[Row]:
    note = f"{expert_bytes():,} bytes of weights each"
    yield Row("experts until switching", "DGX A100", 50, knee(nodes[A100]), "experts", 0.1, SOURCE,
              f"least recently used experts make room, the router stays; {note}")  # fmt: skip
    held = experts_held(nodes[SN40L].lower_bytes)
    yield Row("experts of a node", "SN40L", 850, held, "experts", 0.05, SOURCE, f"'about 850'; in DDR; {note}")
    in_hbm = experts_held(nodes[A100].upper_bytes)
    yield Row("nodes for 850 experts", "DGX A100", 19, -(-850 // in_hbm), "nodes", 0.0, SOURCE,
              f"in HBM, {in_hbm} on each; {note}")  # fmt: skip


def _switching(nodes: Mapping[str, Node]) -> Iterator[Row]:
    ours = nodes[SN40L].switch_s()
    yield Row("switching", "SN40L", None, ours * 1e3, "ms", None, "simulated", "an expert from DDR to HBM")
    for r in _table("switching"):
        for d, name in DGX.items():
            yield Row("switching over SN40L", name, float(r[d]), nodes[name].switch_s() / ours, "x", 0.05, r["source"])


def _ratios(label: str, nodes: Mapping[str, Node], note: str, judged_as: str | None) -> Iterator[Row]:
    """Expert runs and requests on the DGX over the SN40L.

    Expert runs are what is calibrated on: they judge nothing, nor do sets that have no reasons in the table
    (`judged_as`) for what they miss.
    """
    ours = nodes[SN40L]
    for kind in ("expert", "overall"):
        for r in _table(kind):
            batch, tokens = int(r["batch"]), int(r["tokens"])
            for d, name in DGX.items():
                pair = [n.request_s(batch, tokens) if kind == "overall" else n.run_s(tokens)
                        for n in (nodes[name], ours)]  # fmt: skip
                reason = r[f"{judged_as}_{d}"] if judged_as and kind == "overall" else ""
                if kind == "expert" and note != FREE:
                    reason = "calibrated on"
                judged = TOLERANCE if judged_as and kind == "overall" and r[d] and not reason else None
                words = "; ".join(filter(None, (note, reason)))
                yield Row(f"{kind} over SN40L, {label}", f"{name}, batch {batch}, {tokens} tokens",
                          float(r[d]) if r[d] else None, pair[0] / pair[1], "x", judged, r["source"],
                          words)  # fmt: skip


def _implied(nodes: Mapping[str, Node]) -> Iterator[Row]:
    """What the published ratios of short runs say of each other, beside what is simulated and calibrated."""
    short = {int(r["batch"]): r for r in _table("overall") if int(r["tokens"]) == SHOWN_TOKENS}
    expert = next(r for r in _table("expert") if int(r["tokens"]) == SHOWN_TOKENS)
    ours = nodes[SN40L]
    most = max(short)
    for d, name in DGX.items():
        found = implied(float(short[1][d]), float(short[most][d]), most, float(expert[d]), nodes[name].switch_s(),
                        ours.switch_s())  # fmt: skip
        note = f"from overall ratios of batches of 1 and {most}, if routing takes the same for both"
        for what, there, here in ((f"expert run of {SHOWN_TOKENS} tokens", found.run_s, ours.run_s(SHOWN_TOKENS)),
                                  ("routing", found.route_s, ours.route_s(1))):  # fmt: skip
            yield Row(f"{what} on the SN40L, implied", f"ratios over {name}", there * 1e3, here * 1e3, "ms", None,
                      f"solved for: {SOURCE}", note)  # fmt: skip


def _constants(nodes: Mapping[str, Node]) -> Iterator[Row]:
    for name, n in nodes.items():
        what, value = ("run", n.constants.run_s) if name == SN40L else ("pass", n.constants.pass_s)
        yield Row(f"constant of a {what}", name, None, value * 1e3, "ms", None, "calibrated", FITTED)
        yield Row("expert run of 20 tokens", name, None, n.run_s(20) * 1e3, "ms", None, "simulated", FITTED)


def _latencies(nodes: Mapping[str, Node]) -> Iterator[Row]:
    for name, n in nodes.items():
        for popularity, skew in SKEWS.items():
            for experts in EXPERTS:
                if experts <= experts_held(n.lower_bytes) + experts_held(n.upper_bytes):
                    yield Row(f"latency, {popularity}", f"{name}, {experts} experts", None,
                              mean_latency(n, experts, skew, SHOWN_TOKENS) * 1e3, "ms", None, "simulated",
                              f"one prompt, {SHOWN_TOKENS} tokens; {FITTED}")  # fmt: skip


def figure(rows: Sequence[Row]) -> Figure:
    """Latency of a request against the number of experts, by node and popularity."""
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for r in rows:
        if r.quantity.startswith("latency, ") and r.accelsim is not None:
            name, _, rest = r.where.partition(", ")
            popularity = r.quantity.removeprefix("latency, ")
            lines.setdefault((name, popularity), []).append((int(rest.split()[0]), r.accelsim))
    colours = {SN40L: "$0", A100: "$1", H100: "$2"}
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": f"{name}, {popularity}",
            "x": [x for x, _ in points], "y": [y for _, y in points],
            "line": {"color": colours[name], "dash": "solid" if popularity == "uniform" else "dot"},
        }
        for (name, popularity), points in lines.items()
    ]  # fmt: skip
    across, up = {"title": "experts", "type": "log"}, {"title": "latency of a request (ms)", "type": "log"}
    return {"data": data, "layout": {"xaxis": across, "yaxis": up}}
