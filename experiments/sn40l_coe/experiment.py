"""Samba-CoE: a composition of 150 experts on an SN40L node, on DGX A100 and on DGX H100: switching, capacity, latency.

Passes are simulated, experts are switched by an LRU Driver. Sets of overall ratios stand apart: from specifications
alone, calibrated on expert runs, and that with one thing of the set-up otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..loader import Row, table
from .calibration import on_latencies, on_ratios, on_ratios_alone
from .node import A100, H100, SN40L, Node, expert_bytes, experts_held, knee, node
from .request import PUBLISHED, VARIANTS, Setup, mean_latency, request_s

if TYPE_CHECKING:
    from ...report.page import Figure

DGX = {"a100": A100, "h100": H100}
EXPERTS = (10, 40, 50, 75, 150, 850)
SKEWS = {"uniform": 0.0, "Zipf, exponent 1": 1.0}
SHOWN_TOKENS = 20
TOLERANCE = 0.05
SOURCE = "Prabhakar et al., MICRO 2024 (arXiv:2405.07518)"
FREE = "from specifications alone: what launches and hosts cost is not in it"
FITTED = "calibrated on NVIDIA's latency of an expert run on each DGX, and on the ratios of expert runs"
ALONE = "three constants calibrated on the ratios of expert runs, which hold no time: expert runs are too short"
IN_COMMON = "calibrated on ratios alone, runs alike"
VARIED = f"{FITTED}; shows how much this matters, judges nothing"


@cache
def predicted() -> Mapping[str, Node]:
    """Nodes from specifications alone."""
    return {name: node(name) for name in (SN40L, A100, H100)}


def _ratios_published() -> dict[tuple[str, int], float]:
    return {(DGX[d], int(r["tokens"])): float(r[d]) for r in _table("expert") for d in DGX}


@cache
def fitted() -> Mapping[str, Node]:
    """Nodes calibrated on expert runs: the DGX on a latency of each, then the SN40L on the ratios."""
    one = next(r for r in _table("latency ms") if r["batch"] == "1")
    seconds = {name: float(one[d]) * 1e-3 for d, name in DGX.items()}
    return on_ratios(on_latencies(predicted(), seconds, int(one["tokens"])), _ratios_published())


@cache
def fitted_alone(everywhere: bool = False) -> Mapping[str, Node]:
    """Nodes calibrated on the ratios of expert runs, without any time."""
    return on_ratios_alone(predicted(), _ratios_published(), everywhere=everywhere)


def _table(quantity: str) -> list[Mapping[str, str]]:
    return [r for r in table(__package__ or "", "reference.csv") if r["quantity"] == quantity]


def rows() -> Iterator[Row]:
    """Capacity and switching, ratios in all sets, constants, latency against the number of experts."""
    yield from _capacity(predicted())
    yield from _switching(predicted())
    yield from _expert_runs(fitted())
    yield from _expert_ratios("from specifications", predicted(), FREE)
    yield from _expert_ratios("calibrated", fitted(), "calibrated on")
    yield from _expert_ratios("calibrated on ratios alone", fitted_alone(), "calibrated on")
    yield from _expert_ratios(IN_COMMON, fitted_alone(everywhere=True), "calibrated on")
    yield from _overall("calibrated", fitted(), FITTED, TOLERANCE)
    yield from _overall("from specifications", predicted(), FREE)
    yield from _overall("calibrated on ratios alone", fitted_alone(), ALONE)
    yield from _overall(IN_COMMON, fitted_alone(everywhere=True), f"{ALONE}; all nodes have one time per run")
    for name, setup in VARIANTS.items():
        yield from _overall(f"calibrated, {name}", fitted(), VARIED, setup=setup)
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


def _expert_runs(nodes: Mapping[str, Node]) -> Iterator[Row]:
    """Latencies of the model that experts are made of: one is calibrated on, batches beyond it are shown."""
    for r in _table("latency ms"):
        batch, tokens = int(r["batch"]), int(r["tokens"])
        note = "calibrated on" if batch == 1 else "not calibrated on; only the router runs in batches"
        for d, name in DGX.items():
            yield Row("expert run", f"{name}, batch {batch}, {tokens} tokens", float(r[d]),
                      nodes[name].run_s(tokens, batch) * 1e3, "ms", None, r["source"], note)  # fmt: skip


def _expert_ratios(label: str, nodes: Mapping[str, Node], note: str) -> Iterator[Row]:
    for r in _table("expert"):
        tokens = int(r["tokens"])
        for d, name in DGX.items():
            yield Row(f"expert over SN40L, {label}", f"{name}, batch 1, {tokens} tokens", float(r[d]),
                      nodes[name].run_s(tokens) / nodes[SN40L].run_s(tokens), "x", None, r["source"], note)  # fmt: skip


def _overall(
    label: str, nodes: Mapping[str, Node], note: str, tolerance: float | None = None, setup: Setup = PUBLISHED
) -> Iterator[Row]:
    """Requests on the DGX over the SN40L."""
    for r in _table("overall"):
        batch, tokens = int(r["batch"]), int(r["tokens"])
        ours = request_s(nodes[SN40L], batch, tokens, setup)
        for d, name in DGX.items():
            yield Row(f"overall over SN40L, {label}", f"{name}, batch {batch}, {tokens} tokens", float(r[d]),
                      request_s(nodes[name], batch, tokens, setup) / ours, "x", tolerance, r["source"],
                      note)  # fmt: skip


def _constants(nodes: Mapping[str, Node]) -> Iterator[Row]:
    for name, n in nodes.items():
        for what, value in (("run", n.constants.run_s), ("pass", n.constants.pass_s)):
            yield Row(f"constant of a {what}", name, None, value * 1e3, "ms", None, "calibrated", FITTED)
        for tokens in (20, 200):
            yield Row(f"expert run of {tokens} tokens", name, None, n.run_s(tokens) * 1e3, "ms", None, "simulated",
                      FITTED)  # fmt: skip


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
