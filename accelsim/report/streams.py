"""What FIFOs hold over time, from a Trace that lists its firings, and the page of a stream graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..engine.bounds import binding
from ..engine.program import CAUSES, UNBOUNDED, IntArray, Program
from ..engine.trace import Trace
from ..errors import BadInput
from .page import Column, Figure, Page, number, si
from .stream_drawing import MOST_NODES, graph_figure

MAX_STEPS = 800
"""Steps drawn of one FIFO; of more, the most and the least in each interval."""


@dataclass(frozen=True, eq=False)
class Level:
    """What one FIFO holds.

    Attributes:
        fifo: its name.
        depth: UNBOUNDED if it has none.
        ticks: when it changes, ascending.
        held: [tick] slots taken from then on: reserved, filled, or not yet given back.
        peak: the most of them.
    """

    fifo: str
    depth: int
    ticks: IntArray
    held: IntArray
    peak: int


def fifo_levels(trace: Trace) -> tuple[Level, ...]:
    """The slots of every FIFO that are taken over time, as far as firings are listed.

    A slot is taken from the start of the firing that will fill it until its credit is back with the producer.

    Raises:
        BadInput: the Trace lists no firings.
    """
    if trace.slices is None:
        raise BadInput("the trace holds no slices: run with record=N to list the first N firings")
    p, slices = trace.program, trace.slices
    order = np.argsort(slices.phase, kind="stable")
    first = np.searchsorted(slices.phase[order], np.arange(p.n_phases + 1))
    changes: list[list[tuple[IntArray, int]]] = [[] for _ in p.fifos]
    for phase in range(p.n_phases):
        mine = order[first[phase] : first[phase + 1]]
        for row in range(int(p.out_ptr[phase]), int(p.out_ptr[phase + 1])):
            changes[int(p.out_fifo[row])].append((slices.start[mine], int(p.out_put[row])))
        for row in range(int(p.in_ptr[phase]), int(p.in_ptr[phase + 1])):
            fifo = p.fifos[int(p.in_fifo[row])]
            since = slices.start[mine] if fifo.space_at_start else slices.end[mine]
            changes[int(p.in_fifo[row])].append((since + fifo.credit_latency, -int(p.in_take[row])))
    end = int(slices.start.max(initial=0)) if slices.dropped else trace.finish
    return tuple(_level(p, i, changes[i], end) for i in range(len(p.fifos)))


def _level(p: Program, i: int, changes: Sequence[tuple[IntArray, int]], end: int) -> Level:
    fifo = p.fifos[i]
    times = np.concatenate([np.zeros(1, np.int64), *(t for t, _ in changes)])
    steps = np.concatenate([np.array([fifo.init]), *(np.full(len(t), n) for t, n in changes)])
    ticks, where = np.unique(times, return_inverse=True)
    held = np.cumsum(np.bincount(where, weights=steps, minlength=len(ticks))).astype(np.int64)
    kept = ticks <= end
    return Level(fifo.name, fifo.depth, ticks[kept], held[kept], int(held[kept].max(initial=0)))


def drawn(level: Level) -> tuple[list[int], list[int]]:
    """Ticks and slots to draw: all steps, or of many the least and the most in each of MAX_STEPS / 2 intervals."""
    n = len(level.ticks)
    if n <= MAX_STEPS:
        return level.ticks.tolist(), level.held.tolist()
    edges = np.linspace(0, n, MAX_STEPS // 2 + 1).astype(np.int64)[:-1]
    low, high = np.minimum.reduceat(level.held, edges), np.maximum.reduceat(level.held, edges)
    ticks = np.repeat(level.ticks[edges], 2)
    return ticks.tolist(), np.stack([low, high], axis=1).ravel().tolist()


def occupancy_figure(level: Level) -> Figure:
    """The slots of one FIFO over the cycles, and its depth as a line."""
    ticks, held = drawn(level)
    data: list[dict[str, object]] = [
        {"type": "scatter", "mode": "lines", "name": "taken", "x": ticks, "y": held,
         "line": {"shape": "hv", "color": "$0", "width": 1.5}, "fill": "tozeroy"},
    ]  # fmt: skip
    if level.depth != UNBOUNDED:
        data.append({"type": "scatter", "mode": "lines", "name": "depth", "x": [ticks[0], ticks[-1]],
                     "y": [level.depth] * 2, "line": {"color": "$muted", "dash": "dash", "width": 1}})
    return {"data": data, "layout": {"showlegend": False, "xaxis": {"title": "cycle"}, "yaxis": {"rangemode": "tozero"},
                                     "margin": {"l": 50, "r": 10, "t": 10, "b": 40}}}


def stream_rows(trace: Trace, levels: Sequence[Level] = ()) -> list[dict[str, object]]:
    """One record per FIFO: its ends, depth, peak where it is known, and the cycles that its ends waited for it."""
    p, peaks = trace.program, {level.fifo: level.peak for level in levels}
    return [
        {
            "stream": f.name, "from": p.actor_names[f.src], "to": p.actor_names[f.dst],
            "depth": None if f.depth == UNBOUNDED else f.depth, "peak": peaks.get(f.name),
            "waited_for_data": int(trace.fifo_data_stall[i]), "waited_for_space": int(trace.fifo_space_stall[i]),
        }
        for i, f in enumerate(p.fifos)
    ]  # fmt: skip


def node_rows(trace: Trace) -> list[dict[str, object]]:
    """One record per node: firings, busy cycles, share of all cycles, and waits by cause."""
    p, total = trace.program, max(1, trace.finish)
    return [
        {
            "node": name, "firings": int(trace.firings[a]), "busy_cycles": int(trace.busy[a]),
            "utilization": int(trace.busy[a]) / total, "start": int(trace.start[a]), "end": int(trace.end[a]),
            **{f"waits_{cause}": int(trace.stall[a, c]) for c, cause in enumerate(CAUSES)},
        }
        for a, name in enumerate(p.actor_names)
    ]  # fmt: skip


def trade_off_figure(points: Sequence[tuple[int, int]]) -> Figure:
    """Cycles over the total depth of all FIFOs, one step per (tokens, cycles)."""
    data = [{"type": "scatter", "mode": "lines+markers", "x": [n for n, _ in points], "y": [c for _, c in points],
             "line": {"shape": "hv", "color": "$0"}}]
    return {"data": data, "layout": {"showlegend": False, "xaxis": {"title": "tokens in all FIFOs"},
                                     "yaxis": {"title": "cycles", "rangemode": "tozero"}}}


def streams_html(
    trace: Trace, *, title: str, listed: Trace | None = None, note: str = "", trade_off: Sequence[tuple[int, int]] = ()
) -> str:
    """The text of a self-contained page: where the time goes, and what each FIFO holds over time.

    Args:
        trace: of the whole run.
        title: of the page.
        listed: a Trace that lists its firings, of the run or of its beginning; default: `trace`.
        note: what a reader of the charts should know, such as that they show the beginning.
        trade_off: total depth of all FIFOs and cycles with it, of the best choices of depths.
    """
    shown = listed or trace
    levels = fifo_levels(shown)
    bound = sum((b.ticks for b in binding(trace.program)), Fraction(0))
    bottleneck = next((b.name for b in binding(trace.program)), "")
    page = Page(title, f"{len(trace.program.actor_names)} nodes, {len(trace.program.fifos)} streams")
    page.section("Summary")
    page.tiles([
        ("cycles", number(trace.finish), si(trace.finish / float(trace.program.tick_hz), "s")),
        ("program bound", f"{100 * float(bound) / max(1, trace.finish):.1f} %", f"{number(float(bound))} cycles"),
        ("busiest node", bottleneck, "has most to do"),
        ("firings", number(int(trace.firings.sum())), "of all nodes"),
    ])  # fmt: skip
    if len(trace.program.actor_names) <= MOST_NODES:
        figure, height = graph_figure(trace)
        page.section("Graph")
        page.figure(figure, title="Nodes, the fuller the busier; streams, orange where somebody waited for space",
                    height=height)
    page.section("FIFOs over time", "Slots taken, in tokens: reserved, filled, or given back and on their way. Dashed: "
                 "the depth.")
    if note:
        page.text(note)
    page.figures([(level.fifo, occupancy_figure(level)) for level in levels])
    if trade_off:
        page.section("Depth against time")
        page.figure(trade_off_figure(trade_off), title="Cycles with the best FIFOs of so many tokens in all")
    page.section("Streams")
    rows = stream_rows(trace, levels)
    page.table(
        [Column("stream"), Column("depth"), Column("peak"), Column("waited for data"), Column("waited for space")],
        [(str(r["stream"]), "unbounded" if r["depth"] is None else int(str(r["depth"])), int(str(r["peak"])),
          int(str(r["waited_for_data"])), int(str(r["waited_for_space"]))) for r in rows],
    )  # fmt: skip
    page.section("Nodes")
    page.table(
        [Column("node"), Column("firings"), Column("busy"), Column("utilisation", share=True),
         *(Column(f"waits for {cause}") for cause in CAUSES)],
        [(name, int(trace.firings[a]), int(trace.busy[a]), int(trace.busy[a]) / max(1, trace.finish),
          *(int(trace.stall[a, c]) for c in range(len(CAUSES)))) for a, name in enumerate(trace.program.actor_names)],
    )  # fmt: skip
    return page.render()
