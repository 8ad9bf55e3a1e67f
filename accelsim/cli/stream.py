"""``accelsim run GRAPH``: a stream graph of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import BadInput
from .working import working

if TYPE_CHECKING:
    from ..engine.trace import Trace
    from ..lowering.streams import StreamGraph, StreamResult
    from ..mappers.pipeline import Sizing, TradeOff

MOST_EVALUATIONS = 500
"""Simulations for the curve of total depth against cycles."""
MOST_LISTED = 200_000
"""Firings that the charts of FIFOs are drawn from; a longer run shows its first rounds."""


def run_stream(file: str, *, html: Path | None, perfetto: Path | None, size_fifos: bool, json_: bool) -> None:
    """Run the stream graph in a file, print what it took, and write the page and the time line that were asked for."""
    from ..files import is_file, replacing, writable_files, write_text
    from ..lowering.streams import load_graph, run_graph

    if not is_file(file):
        raise BadInput(f"MODEL is missing, and '{file}' is no file of a stream graph (run ARCH MODEL, or GRAPH)")
    writable_files(html, perfetto, inputs=(file,))
    graph = load_graph(file)
    sizing = curve = None
    if size_fifos:
        from ..mappers.pipeline import full_rate_depths, trade_off

        with working(f"depths of the FIFOs of {graph.name}"):
            sizing, curve = full_rate_depths(graph), trade_off(graph, most_evaluations=MOST_EVALUATIONS)
        graph = sizing.graph
    result = run_graph(graph)
    listed, note = _listed(graph, result)
    if html is not None:
        from ..report.streams import streams_html

        steps = [(p.total, p.cycles) for p in curve.points] if curve else []
        write_text(html, streams_html(result.trace, title=graph.name, listed=listed, note=note, trade_off=steps))
    if perfetto is not None:
        from ..report.perfetto import write_perfetto

        with replacing(perfetto) as temporary:
            write_perfetto(listed, temporary)
    told = described(result, listed, sizing, curve)
    if json_:
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(told)


def _listed(graph: StreamGraph, result: StreamResult) -> tuple[Trace, str]:
    """A Trace with its firings, of the first rounds where there are too many; and what to say of it."""
    from ..lowering.streams import run_graph

    total = int(result.trace.firings.sum())
    rounds = graph.rounds
    kept = max(1, min(rounds, MOST_LISTED * rounds // max(1, total)))
    trace = run_graph(graph.shortened(kept), jump=False, record=MOST_LISTED, advise=False).trace
    return trace, "" if kept == rounds else f"The first {kept:,} of {rounds:,} rounds, to cycle {trace.finish:,}."


def described(
    result: StreamResult, listed: Trace, sizing: Sizing | None = None, curve: TradeOff | None = None
) -> dict[str, Any]:
    """All that a run says as plain values; the contract of ``--json``."""
    from ..report.streams import fifo_levels, node_rows, stream_rows

    graph, trace = result.graph, result.trace
    told: dict[str, Any] = {
        "graph": graph.name,
        "cycles": result.cycles,
        "latency_s": result.cycles / float(graph.cycle_hz),
        "bounds": {"program": float(result.bound_cycles)},
        "bottleneck": result.bottleneck,
        "nodes": node_rows(trace),
        "streams": stream_rows(trace, fifo_levels(listed)),
    }
    if sizing is not None:
        told["sizing"] = {"depths": sizing.depths, "total": sizing.point.total, "proven": sizing.proven,
                          "evaluations": sizing.evaluations, "ms_per_evaluation": sizing.ms_per_evaluation}
    if curve is not None:
        names = [s.name for s in graph.streams]
        told["trade_off"] = {"complete": curve.complete, "points": [
            {"total": p.total, "cycles": p.cycles, "depths": dict(zip(names, p.depths, strict=True))}
            for p in curve.points
        ]}  # fmt: skip
    return told


def _print(told: dict[str, Any]) -> None:
    from .cells import console, table

    bound = told["bounds"]["program"]
    typer.echo(f"{told['graph']}: {told['cycles']:,} cycles ({told['latency_s']:.4g} s); the busiest node or memory, "
               f"{told['bottleneck']}, needs {bound:,.0f}")
    if "sizing" in told:
        s = told["sizing"]
        how = "proven least" if s["proven"] else "none can be less on its own"
        typer.echo(f"FIFO depths for full rate: {s['total']:,} tokens in all, {how}; {s['evaluations']} simulations, "
                   f"{s['ms_per_evaluation']:.2f} ms each")
        points = told["trade_off"]["points"]
        rest = "" if told["trade_off"]["complete"] else " (stopped early; there may be better ones)"
        typer.echo(f"tokens in all: cycles{rest}: " + ", ".join(f"{p['total']:,}: {p['cycles']:,}" for p in points))
    nodes = [{"node": n["node"], "firings": f"{n['firings']:,}", "busy": f"{100 * n['utilization']:.1f} %",
              "waits for data": f"{n['waits_data']:,}", "for space": f"{n['waits_space']:,}",
              "for its memory": f"{n['waits_server']:,}"} for n in told["nodes"]]
    console().print(table("nodes", tuple(nodes[0]), nodes, tuple(nodes[0])[1:]))
    streams = [{"stream": s["stream"], "depth": "unbounded" if s["depth"] is None else f"{s['depth']:,}",
                "peak": f"{s['peak']:,}", "waited for data": f"{s['waited_for_data']:,}",
                "waited for space": f"{s['waited_for_space']:,}"} for s in told["streams"]]
    if streams:
        console().print(table("streams", tuple(streams[0]), streams, tuple(streams[0])[1:]))
