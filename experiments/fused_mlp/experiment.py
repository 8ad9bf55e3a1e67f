"""Fully fused MLP (SIGGRAPH 2021): operational intensity and throughput of small layers, one by one and in one kernel.

Layers of 16 to 128 neurons over a million inputs on an A100. One by one they are bound by memory; fused, activations
stay on the chip, and the network climbs the roofline until it is bound by products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import Workload, fusion_levels, parse_cascade
from ...report import Report
from ...report.page import Figure
from ..loader import ANOTHER_ROUTE, Row, table

MACHINE = "a100_80gb"
INPUTS, LAYERS = 2**20, 4
WIDTHS = tuple(int(r["width"]) for r in table(__package__, "networks.csv"))
WAYS = {"layer by layer": "tile", "fused": "cascade"}
"""How the network runs, and the mapper that runs it so."""
LEVELS = {"layer by layer": "unfused", "fused": "full"}

ABOVE = 0.2
"""Fill, drain and tiles that do not divide by 108 SMs keep a run above its roofline by that much at most."""
ONCE = 1e-3
COUNTED = f"{ANOTHER_ROUTE}operands and results once"
ROOFLINE = f"{ANOTHER_ROUTE}the longer of operations at peak and bytes at bandwidth"
COUNT = "counted by hand: operations over bytes"
HALF_BITS = 16
ATTAINED = "attained"


@cache
def network(width: int, inputs: int = INPUTS) -> Workload:
    """Layers of equal width with ReLU between them: X0 is what comes in, X4 what goes out."""
    lines, sizes = [], {"t": inputs, "n0": width}
    for i in range(1, LAYERS + 1):
        made = f"H{i}" if i < LAYERS else f"X{i}"
        lines.append(f"{made}[t,n{i}] = X{i - 1}[t,n{i - 1}] * W{i}[n{i - 1},n{i}]")
        if i < LAYERS:
            lines.append(f"X{i}[t,n{i}] = max(H{i}[t,n{i}], 0)")
        sizes[f"n{i}"] = width
    return parse_cascade("; ".join(lines), sizes, bits=HALF_BITS, name=f"mlp_{width}")


def machine(values: Mapping[str, object] | None = None) -> Architecture:
    """The GPU, with other values for some keys."""
    return load_spec(MACHINE).with_values(values or {}).build()


@cache
def run(width: int, way: str, values: tuple[tuple[str, object], ...] = ()) -> Report:
    """The network at work, layer by layer or fused."""
    return simulate(machine(dict(values)), network(width), mapper=WAYS[way])


def intensity(width: int, way: str) -> float:
    """Operations per byte, counted by hand: products as two, and a maximum per activation."""
    operations = 2 * LAYERS * INPUTS * width**2 + (LAYERS - 1) * INPUTS * width
    activations = 2 * LAYERS + 2 * (LAYERS - 1) if way == "layer by layer" else 2
    return operations / (HALF_BITS // 8 * (activations * INPUTS * width + LAYERS * width**2))


def roofline_s(report: Report, width: int, way: str) -> float:
    """Time at the peaks of the machine that a report is of."""
    level = next(f for f in fusion_levels(network(width)) if f.name == LEVELS[way])
    products = report.macs / report.roofs.macs["tensor"]
    return max(products, level.nbytes / report.roofs.bandwidths["hbm"])


def rows() -> Iterator[Row]:
    """Intensity, time beside the roofline, and what fusing gains, by width."""
    for width in WIDTHS:
        levels = {f.name: f for f in fusion_levels(network(width))}
        for way, level in LEVELS.items():
            where, report = f"{way}, {width} wide", run(width, way)
            yield Row("operational intensity", where, intensity(width, way), levels[level].intensity, "operation/byte",
                      1e-12, COUNT)  # fmt: skip
            roofline = roofline_s(report, width, way)
            moved = float(sum(report.traffic_bytes["hbm"].values()))
            yield Row(
                "traffic of memory",
                where,
                float(levels[level].nbytes),
                moved,
                "byte",
                ONCE,
                COUNTED,
            )
            over = report.latency_s / roofline - 1
            outside = max(0.0, over - ABOVE, -over)
            yield Row(f"latency outside 0 to {ABOVE:.0%} above the roofline", where, 0.0, outside, "", 0.0, ROOFLINE,
                      f"{over:.2%} above")  # fmt: skip
            yield Row(
                ATTAINED,
                where,
                None,
                2 * report.macs / report.latency_s,
                "operation/s",
                None,
                ROOFLINE,
                "a point of the figure",
            )
        gained = run(width, "layer by layer").latency_s / run(width, "fused").latency_s
        expected = roofline_s(run(width, "layer by layer"), width, "layer by layer") / roofline_s(
            run(width, "fused"), width, "fused"
        )
        yield Row("speed-up by fusing", f"{width} wide", expected, gained, "", ABOVE, ROOFLINE)


def figure(rows: Sequence[Row]) -> Figure:
    """The roofline of the machine, and every network on it before and after fusing."""
    roofs = run(WIDTHS[0], "fused").roofs
    peak, bandwidth = 2 * roofs.macs["tensor"], roofs.bandwidths["hbm"]
    ridge = peak / bandwidth
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "roofline", "x": [1, ridge, 10 * ridge],
         "y": [bandwidth, peak, peak], "line": {"color": "$2"}},
    ]  # fmt: skip
    for colour, way in enumerate(LEVELS):
        shown = [r for r in rows if r.quantity == ATTAINED and r.where.startswith(way)]
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": way, "marker": {"color": f"${colour}"},
            "x": [intensity(width, way) for width in WIDTHS], "y": [r.accelsim for r in shown],
            "text": [r.where for r in shown],
        })  # fmt: skip
    axes = {
        "xaxis": {"title": "operations per byte", "type": "log"},
        "yaxis": {"title": "operations per second", "type": "log"},
    }
    return {"data": data, "layout": axes}
