"""The page of a serving run: latencies, the cache over time, every checked step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...report.page import Column, Figure, Page
from .result import Floats, ServingResult

POINTS = 600
"""Of a curve."""


def serving_html(result: ServingResult) -> str:
    """Return the text of a self-contained page."""
    told, s = result.to_json(), result.scenario
    where = f"{s.model} on {s.parallel.sockets} x {s.machine}"
    page = Page(where, f"{told['requests']:,} requests, {s.policy.kind} batching")
    page.tiles([
        ("throughput", f"{told['throughput_tokens_per_s']:,.4g}", "generated tokens per second"),
        ("first token", f"{told['ttft_s']['p50'] * 1e3:,.4g} ms", f"p99 {told['ttft_s']['p99'] * 1e3:,.4g} ms"),
        ("per token", f"{told['tpot_s']['p50'] * 1e3:,.4g} ms", f"p99 {told['tpot_s']['p99'] * 1e3:,.4g} ms"),
        ("objectives", f"{result.attainment:.1%}", "of the requests attain them"),
        ("KV cache", f"{told['kv']['occupancy_peak']:.1%}", f"at most; {told['kv']['occupancy_mean']:.1%} on average"),
        ("energy", f"{told['energy_per_token_J']:,.3g} J", "per generated token"),
    ])  # fmt: skip
    page.section("Latencies")
    page.figures([
        ("Time to first token", _distribution(result.requests.ttft_s, "s")),
        ("Time per output token", _distribution(result.requests.tpot_s[result.requests.output_tokens > 1], "s")),
    ])
    page.section("Over time")
    in_use = result.steps.blocks_in_use / result.blocks
    page.figures([
        ("Blocks in use", _over_time(result, in_use, "share of a replica's blocks")),
        ("Decodes of a step", _over_time(result, result.steps.decodes, "sequences")),
        ("Waiting", _over_time(result, result.steps.waiting, "requests")),
    ])
    page.section("Interpolation", "Steps drawn at random, simulated at their own sizes beside their interpolated cost.")
    page.table(
        [Column("step"), Column("interpolated", unit="s"), Column("simulated", unit="s"), Column("error")],
        [[c.shape, c.interpolated_s, c.simulated_s, f"{c.error:+.2%}"] for c in result.checks],
    )
    if result.problems:
        page.section("Left out", "Rows of the trace that are wrong.")
        page.table([Column("row")], [[str(p)] for p in result.problems])
    return page.render()


def _distribution(values: Floats, unit: str) -> Figure:
    """Share of the requests below each value."""
    ordered = np.sort(values)[_some(len(values))]
    shares = np.linspace(0, 1, len(ordered)) if len(ordered) else ordered
    line = {"type": "scatter", "mode": "lines", "x": ordered.tolist(), "y": shares.tolist(), "line": {"color": "$0"}}
    return {"data": [line], "layout": {"xaxis": {"title": unit}, "yaxis": {"title": "share of requests"}}}


def _over_time(result: ServingResult, values: Any, unit: str) -> Figure:
    lines = []
    for r in range(result.scenario.parallel.batches):
        mine = np.flatnonzero(result.steps.replica == r)
        mine = mine[_some(len(mine))]
        lines.append({
            "type": "scatter", "mode": "lines", "name": f"replica {r}", "x": result.steps.end_s[mine].tolist(),
            "y": np.asarray(values)[mine].tolist(), "line": {"color": f"${r % 8}", "shape": "hv"},
        })  # fmt: skip
    return {"data": lines, "layout": {"xaxis": {"title": "s"}, "yaxis": {"title": unit}}}


def _some(count: int) -> Any:
    """Indices of at most so many points of a curve, first and last among them."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, POINTS)).round().astype(np.int64))
