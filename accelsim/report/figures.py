"""The charts of a Report's page, as plotly figures (see `page` for the colour names).

Marks that stand for an operator have its name as their `customdata`, by which the page links them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..engine.labels import ActorLabel
from ..engine.program import NONE
from ..engine.trace import Slices, Trace
from ..ir import Role
from .page import Figure, si
from .rows import WAITS, OperatorRow

if TYPE_CHECKING:
    from .occupancy import Occupancy
    from .report import Report

TOP_OPERATORS = 25
"""Operators with a bar of their own; the others share one."""
MAX_SLICES = 3000
"""Slices drawn in the timeline; the first ones."""
MAX_STEPS = 1500
"""Steps drawn of what a memory holds."""
_COLOURED = 9
"""Operators with a colour of their own in the timeline."""
_WAIT_NAMES = {
    "data": "waits for data",
    "space": "waits for room",
    "pool": "waits for memory",
    "server": "waits for its unit",
    "drain": "stores last results",
}
_WAIT_COLOURS = {"data": "$1", "space": "$4", "pool": "$5", "server": "$3", "drain": "$6"}


def roofline(report: Report) -> Figure:
    """Operations per second against operations per off-chip byte, under the machine's peaks and bandwidths."""
    placed = [row for row in report.operators if row.operations and max(row.cycles, row.limit_cycles) > 0]
    finite = [row.intensity for row in placed if row.intensity]
    per_s = report.cycles / report.latency_s if report.latency_s else 0.0
    peaks = {name: rate for name, rate in report.roofs.peaks.items() if rate > 0}
    ridges = [rate / band for rate in peaks.values() for band in report.roofs.bandwidths.values() if band > 0]
    known = [*finite, *ridges]
    low, high = min(known, default=1.0) / 4, max(known, default=1.0) * 4
    data: list[dict[str, Any]] = []
    top = sum(peaks.values())
    for k, (name, band) in enumerate(sorted(report.roofs.bandwidths.items())):
        ridge = min(max(top / band, low), high) if top else high
        middle = (low * ridge) ** 0.5
        data.append({"type": "scatter", "mode": "lines+text", "name": name, "hoverinfo": "name", "showlegend": False,
                     "x": [low, middle, ridge], "y": [low * band, middle * band, ridge * band],
                     "text": ["", f"{name} {si(band, 'B/s', 3)}", ""], "textposition": "bottom right",
                     "textfont": {"color": "$muted"},
                     "line": {"color": "$muted", "width": 1.5, "dash": ("solid", "dot", "dash")[k % 3]}})  # fmt: skip
    for k, (name, rate) in enumerate(sorted(peaks.items())):
        data.append({"type": "scatter", "mode": "lines+text", "name": name, "hoverinfo": "name", "showlegend": False,
                     "x": [low, high], "y": [rate, rate], "text": [f"{name} {si(rate, 'op/s', 3)}", ""],
                     "textposition": ("top right", "bottom right")[k % 2], "textfont": {"color": "$muted"},
                     "line": {"color": "$text", "width": 1.2}})  # fmt: skip
    for on_chip, name, symbol in ((False, "operators", "circle"), (True, "without off-chip bytes", "triangle-right")):
        rows = [row for row in placed if (not row.intensity) == on_chip]
        if rows:
            rates = [row.operations * per_s / max(row.cycles, row.limit_cycles) for row in rows]
            data.append({
                "type": "scatter", "mode": "markers", "name": name,
                "x": [row.intensity or high for row in rows], "y": rates,
                "text": [_hover(report, row, rate) for row, rate in zip(rows, rates, strict=True)],
                "hovertemplate": "%{text}<extra></extra>", "customdata": [row.name for row in rows],
                "marker": {"color": "$2" if on_chip else "$0", "symbol": symbol, "opacity": 0.85,
                           "size": [7 + 17 * (row.cycles / report.cycles) ** 0.5 for row in rows],
                           "line": {"color": "$surface", "width": 1}},
            })  # fmt: skip
    return {
        "data": data,
        "linked": True,
        "layout": {
            "xaxis": {"type": "log", "dtick": 1, "title": "operations per off-chip byte", "exponentformat": "power"},
            "yaxis": {"type": "log", "dtick": 1, "title": "operations per second", "exponentformat": "SI"},
        },
    }


def _hover(report: Report, row: OperatorRow, rate: float) -> str:
    share = 100 * row.cycles / report.cycles if report.cycles else 0.0
    moved = si(row.off_chip_read_bytes + row.off_chip_write_bytes, "B")
    name = _escaped(row.name)
    return f"{name}<br>{si(rate, 'op/s')}<br>{moved} off chip<br>{share:.1f} % of the latency<br>limit: {row.limit}"


def times(report: Report) -> Figure:
    """Bars of the operators' shares of the latency, split into computing and waits."""
    ranked = sorted(report.operators, key=lambda row: (-row.cycles, row.name))
    shown, rest = ranked[:TOP_OPERATORS], ranked[TOP_OPERATORS:]
    labels = [_short(row.name) for row in shown] + ([f"{len(rest)} others"] if rest else [])

    def values(part: str) -> list[float]:
        def of(row: OperatorRow) -> float:
            waits = {w: float(getattr(row, f"wait_{w}")) for w in WAITS}
            return max(0.0, row.cycles - sum(waits.values())) if part == "compute" else waits[part]

        return [of(row) for row in shown] + ([sum(of(row) for row in rest)] if rest else [])

    data = []
    for part in ("compute", *WAITS):
        amounts = values(part)
        if part == "compute" or any(amounts):
            data.append({
                "type": "bar", "orientation": "h", "y": labels, "x": amounts,
                "customdata": [row.name for row in shown] + ([""] if rest else []),
                "name": "computes" if part == "compute" else _WAIT_NAMES[part],
                "marker": {"color": "$0" if part == "compute" else _WAIT_COLOURS[part]},
                "hovertemplate": "%{y}<br>%{x:,.5s} cycles<extra>%{fullData.name}</extra>",
            })  # fmt: skip
    return {
        "data": data,
        "linked": True,
        "layout": {
            "barmode": "stack", "bargap": 0.25,
            "xaxis": {"title": "cycles", "exponentformat": "SI"},
            "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False},
            "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        },
    }  # fmt: skip


def times_height(report: Report) -> int:
    """Pixels that `times` needs."""
    return 130 + 24 * min(len(report.operators), TOP_OPERATORS + 1)


def energy(report: Report) -> Figure:
    """Joules by component, split by what for."""
    amounts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in report.energy:
        amounts[row.role or row.action][row.component] += row.energy_J
    names = [c.name for c in report.components if c.energy_J > 0]
    usual = ["compute", *(str(role) for role in Role)]
    order = [r for r in usual if r in amounts] + sorted(set(amounts) - set(usual))
    data = [
        {"type": "bar", "name": role, "x": names, "y": [amounts[role].get(n, 0.0) for n in names],
         "hovertemplate": "%{x}<br>%{y:.4s}J<extra>%{fullData.name}</extra>"}
        for role in order
    ]  # fmt: skip
    return {"data": data, "layout": _bars("stack", {"tickformat": "~s", "ticksuffix": "J"})}


def traffic(report: Report) -> Figure:
    """Bytes read and written by memory; a logarithmic axis, since tiers differ by orders of magnitude."""
    names = [t.memory for t in report.tiers]
    data = [
        {"type": "bar", "name": name, "x": names, "y": [value or None for value in values], "marker": {"color": colour},
         "text": [si(value, "B", 3) for value in values], "textposition": "outside", "cliponaxis": False,
         "hovertemplate": "%{x}<br>%{text}<extra>%{fullData.name}</extra>"}
        for name, values, colour in (
            ("read", [t.read_bytes for t in report.tiers], "$0"),
            ("written", [t.write_bytes for t in report.tiers], "$1"),
        )
    ]  # fmt: skip
    amounts = [n for t in report.tiers for n in (t.read_bytes, t.write_bytes) if n]
    axis: dict[str, Any] = {"title": "bytes", "type": "log", "dtick": 1, "exponentformat": "SI"}
    if amounts:
        from math import ceil, floor, log10

        axis["range"] = [floor(log10(min(amounts))) - 0.3, ceil(log10(max(amounts)) + 0.3)]
    return {"data": data, "layout": _bars("group", axis)}


def occupancy(held: Occupancy, operators: Sequence[str]) -> Figure:
    """Bytes in a memory along the steps of a Mapping, stacked by what for; `operators` says what runs in each step.

    Of more than `MAX_STEPS` steps, the fullest one of each group of neighbours is drawn.
    """
    totals = held.totals
    width = -(-len(totals) // MAX_STEPS)
    steps = [
        max(range(at, min(at + width, len(totals))), key=lambda i: totals[i]) for at in range(0, len(totals), width)
    ]
    ends = [*range(0, len(totals), width), len(totals)]
    data: list[dict[str, Any]] = []
    for kind, amounts in held.bytes_by_kind.items():
        drawn = [amounts[i] for i in steps]
        texts = [
            f"step {i}: {_escaped(_short(operators[i], 60))}<br>{kind}: {si(amounts[i], 'B')}<br>"
            f"in all {si(totals[i], 'B')}"
            for i in steps
        ]
        data.append({
            "type": "scatter", "mode": "lines", "stackgroup": "held", "name": kind, "x": ends,
            "y": [*drawn, drawn[-1]], "text": [*texts, texts[-1]], "hovertemplate": "%{text}<extra></extra>",
            "line": {"shape": "hv", "width": 1},
        })  # fmt: skip
    if 4 * held.peak.nbytes > held.capacity_bytes:
        data.append({
            "type": "scatter", "mode": "lines", "name": "capacity", "x": [0, len(totals)],
            "y": [held.capacity_bytes] * 2, "hoverinfo": "name",
            "line": {"color": "$text", "width": 1.2, "dash": "dot"},
        })  # fmt: skip
    axis = {"title": "bytes", "rangemode": "tozero", "exponentformat": "SI"}
    return {"data": data, "layout": {"xaxis": {"title": "step", "showgrid": False}, "yaxis": axis}}


def _bars(mode: str, axis: dict[str, Any]) -> dict[str, Any]:
    return {"barmode": mode, "bargap": 0.35, "xaxis": {"type": "category", "showgrid": False}, "yaxis": axis}


def timeline(trace: Trace, slices: Slices) -> Figure:
    """The first recorded firings as bars over time in seconds, one line per server and role."""
    program = trace.program
    count = min(len(slices.actor), MAX_SLICES)
    tracks, groups, ticks = [], [], []
    for i in range(count):
        actor = int(slices.actor[i])
        label = program.actor_labels[actor]
        server = int(program.actor_server[actor])
        place = program.actor_names[actor] if server == NONE else program.platform.servers[server].name
        role = label.role if isinstance(label, ActorLabel) else ""
        tracks.append(f"{place} {role}" if role in ("load", "store") else place)
        groups.append(label.operator if isinstance(label, ActorLabel) else program.actor_names[actor])
        ticks.append((int(slices.start[i]), int(slices.end[i])))
    served: dict[str, int] = defaultdict(int)
    for group, (start, end) in zip(groups, ticks, strict=True):
        served[group] += end - start
    largest = sorted(served, key=lambda g: (-served[g], g))[:_COLOURED]
    second = 1 / float(program.tick_hz)
    by_group: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        by_group[group if group in largest else "others"].append(i)
    data = []
    for k, name in enumerate([*[g for g in largest if g in by_group], *(["others"] if "others" in by_group else [])]):
        rows = by_group[name]
        data.append({
            "type": "bar", "orientation": "h", "name": _short(name), "y": [tracks[i] for i in rows],
            "base": [ticks[i][0] * second for i in rows], "x": [(ticks[i][1] - ticks[i][0]) * second for i in rows],
            "marker": {"color": "$9" if name == "others" else f"${k}", "line": {"width": 0}},
            "text": [_slice_text(trace, slices, i) for i in rows], "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>", "width": 0.7, "customdata": [groups[i] for i in rows],
        })  # fmt: skip
    return {
        "data": data,
        "linked": True,
        "layout": {
            "barmode": "overlay",
            "xaxis": {"tickformat": "~s", "ticksuffix": "s"},
            "yaxis": {"type": "category", "categoryorder": "category descending", "showgrid": False},
        },
    }


def timeline_height(figure: Figure) -> int:
    """Pixels that a timeline needs."""
    return 150 + 30 * len({y for trace in figure["data"] for y in trace["y"]})


def _slice_text(trace: Trace, slices: Slices, i: int) -> str:
    program = trace.program
    actor = int(slices.actor[i])
    start, end = int(slices.start[i]), int(slices.end[i])
    name = _escaped(program.actor_names[actor])
    return f"{name}<br>ticks {start:,} to {end:,}<br>{si((end - start) / float(program.tick_hz), 's')}"


def _short(name: str, length: int = 34) -> str:
    """A name short enough for an axis; the ends of long names differ more than their beginnings."""
    return name if len(name) <= length else f"{name[: length // 3]}…{name[-(length - length // 3 - 1) :]}"


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;")
