"""A stream graph as a drawing: nodes in layers from left to right, streams as arrows between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..engine.program import UNBOUNDED
from ..engine.trace import Trace
from .page import Figure, number

MOST_NODES = 120
"""Of a graph with more, names would lie on top of each other."""
_SWEEPS = 4
_ROW_PX = 70
_BEND = 0.35
Edge = tuple[int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """Where things lie: layers count from the left, rows from the middle of a layer.

    Attributes:
        nodes: (layer, row) of each node.
        ways: of each edge the points that it passes, ends included.
    """

    nodes: tuple[Point, ...]
    ways: tuple[tuple[Point, ...], ...]


def arranged(n: int, edges: Sequence[Edge]) -> Drawing:
    """Nodes 0 .. n - 1 in layers after all that they read, and edges through free places of the layers between.

    An edge that closes a circle runs back. Rows follow the mean row of the neighbours, to and fro.
    """
    layers = _layers(n, edges)
    chains: list[list[int]] = []
    beside: Mapping[int, list[int]] = defaultdict(list)
    """Neighbours of nodes and of the places between that edges pass, one layer apart."""
    for a, b in edges:
        step = 1 if layers[b] >= layers[a] else -1
        between = range(layers[a] + step, layers[b], step)
        chain = [a, *range(len(layers), len(layers) + len(between)), b]
        layers += list(between)
        chains.append(chain)
        for one, other in pairwise(chain):
            beside[one].append(other)
            beside[other].append(one)
    rows = _rows(layers, beside)
    points = [(float(layer), row) for layer, row in zip(layers, rows, strict=True)]
    alike = [edges[:i].count(edge) for i, edge in enumerate(edges)]
    ways = (_way([points[i] for i in chain], before) for chain, before in zip(chains, alike, strict=True))
    return Drawing(tuple(points[:n]), tuple(ways))


def _way(points: Sequence[Point], before: int) -> tuple[Point, ...]:
    """Points that an edge passes; it bends beside `before` others of the same ends, back to a neighbour, and to its own
    node."""
    (x, y), (end, last) = points[0], points[-1]
    if end == x and y == last:
        rise = _BEND * (before + 1)
        return (points[0], (x - 0.12, y - rise), (x + 0.12, y - rise), points[-1])
    bend = _BEND * (before + (end < x and len(points) == 2))
    if len(points) > 2 or not bend:
        return tuple((a, b + bend * (0 < i < len(points) - 1)) for i, (a, b) in enumerate(points))
    return (points[0], ((x + end) / 2, (y + last) / 2 + bend), points[-1])


def _layers(n: int, edges: Sequence[Edge]) -> list[int]:
    """The longest way to each node; where only circles are left, the first node in one begins."""
    into: list[set[int]] = [set() for _ in range(n)]
    for a, b in edges:
        if a != b:
            into[b].add(a)
    layers, done = [0] * n, set[int]()
    left = list(range(n))
    while left:
        ready = [i for i in left if into[i] <= done] or left[:1]
        for i in ready:
            layers[i] = max((layers[a] + 1 for a in into[i] & done), default=0)
        done |= set(ready)
        left = [i for i in left if i not in done]
    return layers


def _rows(layers: Sequence[int], beside: Mapping[int, Sequence[int]]) -> list[float]:
    members: list[list[int]] = [[] for _ in range(max(layers, default=0) + 1)]
    for i, layer in enumerate(layers):
        members[layer].append(i)
    rows = [0.0] * len(layers)

    def place(layer: int) -> None:
        for k, i in enumerate(members[layer]):
            rows[i] = k - (len(members[layer]) - 1) / 2

    for layer in range(len(members)):
        place(layer)
    for sweep in range(_SWEEPS):
        towards = -1 if sweep % 2 == 0 else 1  # by the neighbours on the left, then by those on the right
        for layer in range(len(members))[::-towards]:
            weights = {}
            for i in members[layer]:
                near = [rows[j] for j in beside.get(i, ()) if layers[j] == layer + towards]
                weights[i] = sum(near) / len(near) if near else rows[i]
            members[layer].sort(key=lambda i, w=weights: (w[i], i))  # type: ignore[misc]
            place(layer)
    return rows


def graph_figure(trace: Trace) -> tuple[Figure, int]:
    """Nodes by how busy they are, streams with depth and waits, those in which somebody waited for space in another
    colour; and how many pixels high that should be."""
    p, total = trace.program, max(1, trace.finish)
    drawing = arranged(p.n_actors, [(f.src, f.dst) for f in p.fifos])
    busy = [100 * int(n) / total for n in trace.busy]
    data: list[dict[str, object]] = []
    arrows: list[dict[str, object]] = []
    for i, (fifo, way) in enumerate(zip(p.fifos, drawing.ways, strict=True)):
        waited = int(trace.fifo_space_stall[i])
        colour = "$1" if waited else "$muted"
        depth = "unbounded" if fifo.depth == UNBOUNDED else number(fifo.depth)
        told = (f"{fifo.name}<br>depth {depth}<br>waited for data: {number(int(trace.fifo_data_stall[i]))}"
                f"<br>waited for space: {number(waited)}")
        x, y = zip(*way, strict=True)
        data.append({"type": "scatter", "mode": "lines", "x": x[:-1], "y": y[:-1], "hoverinfo": "skip",
                     "line": {"color": colour, "width": 1.2}})
        data.append({"type": "scatter", "mode": "markers", "x": [(x[0] + x[1]) / 2], "y": [(y[0] + y[1]) / 2],
                     "marker": {"size": 7, "color": colour}, "hoverinfo": "text", "hovertext": told})
        arrows.append({"x": x[-1], "y": y[-1], "ax": x[-2], "ay": y[-2], "axref": "x", "ayref": "y", "text": "",
                       "showarrow": True, "arrowhead": 2, "arrowwidth": 1.2, "arrowcolor": colour, "standoff": 11,
                       "startstandoff": 10 if len(way) == 2 else 0})
    x, y = zip(*drawing.nodes, strict=True)
    data.append({
        "type": "scatter", "mode": "markers+text", "x": x, "y": y, "text": p.actor_names, "hoverinfo": "text",
        "hovertext": [f"{name}<br>busy {share:.1f} %" for name, share in zip(p.actor_names, busy, strict=True)],
        "textposition": "bottom center", "cliponaxis": False,
        "marker": {"size": 20, "color": busy, "cmin": 0, "cmax": 100, "colorscale": [[0, "$grid"], [1, "$0"]],
                   "line": {"color": "$muted", "width": 1}},
    })  # fmt: skip
    hidden = {"visible": False}
    margin = {"l": 40, "r": 40, "t": 20, "b": 30}
    far = max(abs(row) for way in (drawing.nodes, *drawing.ways) for _, row in way) + 0.5
    return {"data": data, "layout": {"showlegend": False, "annotations": arrows, "margin": margin, "xaxis": hidden,
            "yaxis": {**hidden, "range": [far, -far]}}}, int(120 + _ROW_PX * 2 * far)  # fmt: skip

