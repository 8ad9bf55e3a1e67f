"""Drawings of stream graphs: layers, free places for long edges, circles."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.lowering.streams import loads_graph, run_graph
from accelsim.report.stream_drawing import arranged, graph_figure

GRAPH = """
nodes: {s: {kind: source, firings: 40}, a: {ii: 2}, b: {}, c: {}, o: {kind: sink}}
streams: [s -> a, a -> b, b -> c, {from: c, to: a, init: 3, depth: 4}, {from: a, to: o, depth: 9}, c -> o]
"""


def test_a_chain_with_a_shortcut() -> None:
    drawing = arranged(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert [layer for layer, _ in drawing.nodes] == [0, 1, 2, 3]
    *_, shortcut = drawing.ways
    assert [layer for layer, _ in shortcut] == [0, 1, 2, 3]
    assert not set(shortcut[1:-1]) & set(drawing.nodes)  # beside what stands between


def test_alike_and_own_edges_bend() -> None:
    drawing = arranged(2, [(0, 1), (0, 1), (1, 0), (1, 1)])
    assert len(set(drawing.ways)) == 4
    assert [len(way) for way in drawing.ways] == [2, 3, 3, 4]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=20))
def test_any_graph(n: int, pairs: list[tuple[int, int]]) -> None:
    """Places are taken once, edges run from node to node, and without circles all of them to the right."""
    for edges in ([(a % n, b % n) for a, b in pairs], [(min(a, b), max(a, b)) for a, b in pairs if a != b < n > a]):
        drawing = arranged(n, edges)
        assert len(set(drawing.nodes)) == n
        for (a, b), way in zip(edges, drawing.ways, strict=True):
            assert (way[0], way[-1]) == (drawing.nodes[a], drawing.nodes[b])
            if all(x < y for x, y in edges):
                assert list(way) == sorted(way, key=lambda point: point[0])
                assert way[0][0] < way[-1][0]


def test_figure_shows_waits_and_business() -> None:
    trace = run_graph(loads_graph(GRAPH)).trace
    figure, height = graph_figure(trace)
    assert height > 120
    *streams, nodes = figure["data"]
    assert nodes["text"] == trace.program.actor_names
    busiest = trace.program.actor_names[max(range(5), key=lambda a: int(trace.busy[a]))]
    assert busiest == "a"
    assert nodes["marker"]["color"][trace.program.actor_names.index("a")] == 100 * trace.busy[1] / trace.finish
    colours = {line["line"]["color"] for line in streams[::2]}
    assert colours == {"$1", "$muted"}
    waiting = [f.name for f, n in zip(trace.program.fifos, trace.fifo_space_stall, strict=True) if n]
    told = [dot["hovertext"] for dot in streams[1::2] if dot["marker"]["color"] == "$1"]
    assert [t.partition("<br>")[0] for t in told] == waiting
