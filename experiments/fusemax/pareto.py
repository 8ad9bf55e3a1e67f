"""Latency, energy and number of processing elements, over array sizes and numbers of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...report.page import Figure
from ...study.pareto import front
from ..loader import Row
from .bindings import side_and_capacity
from .cascade import BATCH, tokens_of
from .ladder import machine_of, run
from .machines import BERT, side_values

SIDES = (16, 32, 64, 128, 256, 512)
ARRAYS = (1, 4, 16, 64)
LENGTH = "64K"
LATENCY, ENERGY = "latency of arrays", "energy of arrays"
NO_FIGURE = "the published curve is a drawing"


def pareto_rows() -> Iterator[Row]:
    """Attention of BERT on so many arrays that share DRAM and buffer evenly, each with its part of the batch."""
    arch = machine_of("binding")
    _, capacity = side_and_capacity(arch)
    for arrays in ARRAYS:
        for side in SIDES:
            share = {
                **side_values(side),
                "memories.buffer.capacity": f"{capacity // arrays} B",
                "memories.dram.bandwidth": f"{400 / arrays} GiB/s",
            }
            tokens, where = tokens_of(LENGTH), f"BERT, {LENGTH}, {arrays} arrays of {side} x {side}"
            if not _fits(side, capacity // arrays):
                continue
            report = run("binding", BERT, tokens, tuple(share.items()), BATCH // arrays)
            yield Row(LATENCY, where, None, report.latency_s, "s", None, "MICRO 2024", NO_FIGURE)
            yield Row(ENERGY, where, None, arrays * report.energy_J, "J", None, "MICRO 2024", NO_FIGURE)


def _fits(side: int, capacity: int) -> bool:
    """Whether the tiles between stages leave room for queries: eight tiles of scores, in half the buffer."""
    return 8 * side * side * 2 <= capacity // 2


def _elements(row: Row) -> tuple[int, int]:
    """Arrays, and processing elements of all of them."""
    words = row.where.split(", ")[-1].split()
    return int(words[0]), int(words[0]) * int(words[3]) ** 2


def pareto_figure(rows: Sequence[Row]) -> Figure:
    """Latency over processing elements, a curve per number of arrays, and those that no other beats in all three."""
    latencies = [r for r in rows if r.quantity == LATENCY and r.accelsim is not None]
    energies = {r.where: r.accelsim for r in rows if r.quantity == ENERGY}
    data: list[dict[str, Any]] = []
    for colour, arrays in enumerate(ARRAYS):
        shown = [r for r in latencies if _elements(r)[0] == arrays]
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": f"{arrays} arrays" if arrays > 1 else "one array",
            "x": [_elements(r)[1] for r in shown], "y": [r.accelsim for r in shown],
            "customdata": [energies[r.where] for r in shown], "marker": {"color": f"${colour}"},
            "hovertemplate": "%{x} elements<br>%{y:.3s} s<br>%{customdata:.4s} J",
        })  # fmt: skip
    scores = [(float(_elements(r)[1]), r.accelsim or 0.0, energies[r.where] or 0.0) for r in latencies]
    best = [scores[i] for i in front(scores)]
    data.append({
        "type": "scatter", "mode": "markers", "name": "Pareto: elements, latency, energy",
        "x": [s[0] for s in best], "y": [s[1] for s in best],
        "marker": {"symbol": "circle-open", "size": 14, "color": f"${len(ARRAYS)}"}, "hoverinfo": "skip",
    })  # fmt: skip
    axes = {"xaxis": {"title": "processing elements", "type": "log"}, "yaxis": {"title": "latency (s)", "type": "log"}}
    return {"data": data, "layout": axes}
