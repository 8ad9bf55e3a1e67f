"""FIFO depths found by search: published trade-offs of depth and throughput, and attention pipelines, proven least.

Throughput is that of the steady state: cycles that one more iteration takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd

from ...lowering.streams import StreamGraph, load_graph, run_graph
from ...mappers.pipeline import Point, build_stages, full_rate_depths, least_depths_that_end, stream_graph, trade_off
from ...workloads.text.cascade_file import loads_cascade
from ...workloads.zoo import cascade_text
from ..loader import Row, data_path, table

SIZES = (64, 1024, 4096)
SEARCH = "time of the search and not a published figure; the machine that runs it decides"


def period(graph: StreamGraph, point: Point) -> float:
    """Cycles of one iteration in the steady state: between half of all rounds and all of them."""
    sized = graph.with_depths(dict(enumerate(point.depths)))
    half = graph.rounds // 2
    return (run_graph(sized).cycles - run_graph(sized.shortened(half)).cycles) / (graph.rounds - half)


def rows() -> Iterator[Row]:
    """The Pareto points of the example, the chain's least depths, and least depths of attention at full rate."""
    example = load_graph(data_path(__package__, "example.yaml"))
    found = {period(example, point): point.total for point in trade_off(example).points}
    for r in table(__package__, "figures.csv"):
        if r["at"]:
            yield Row(r["quantity"], f"{r['graph']}, {r['at']} cycles an iteration", float(r["value"]),
                      found.get(float(r["at"])), r["unit"], 0.0, r["source"])
        else:
            chain = load_graph(data_path(__package__, f"{r['graph']}.yaml"))
            total = least_depths_that_end(chain).point.total
            yield Row(r["quantity"], r["graph"], float(r["value"]), total, r["unit"], 0.0, r["source"])
    yield from _chain()
    for n in SIZES:
        yield from _attention(n)


def _chain() -> Iterator[Row]:
    """Stream by stream."""
    chain = load_graph(data_path(__package__, "cd_to_dat.yaml"))
    depths = least_depths_that_end(chain).depths
    for s in chain.streams:
        put, take = s.put.largest, s.take.largest
        yield Row("least depth that ends", f"cd_to_dat, {s.name}", put + take - gcd(put, take), depths[s.name],
                  "tokens", 0.0, "put + take - gcd: Bhattacharyya, Murthy and Lee, 1996")


def _attention(n: int) -> Iterator[Row]:
    """Three-pass attention: two FIFOs hold a row of scores and two tokens more, all others two tokens or one."""
    ranks = {"b": 1, "h": 1, "m": n, "p": n}
    graph = stream_graph(build_stages(loads_cascade(cascade_text("attention_3pass"), "attention_3pass", ranks=ranks)))
    sizing = full_rate_depths(graph)
    where = f"attention_3pass, N {n}"
    yield Row("least total depth at full rate", where, 2 * (n + 2) + 11, sizing.point.total, "tokens", 0.0,
              "rows of N + 2 before subtraction and division; 2 tokens in 4 streams that move one each cycle, 1 in 3",
              "proven least" if sizing.proven else "not proven")
    yield Row("time of one evaluation", where, None, sizing.ms_per_evaluation, "ms", None, "accelsim", SEARCH)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Total depth over cycles per iteration of the example."""
    points = sorted((float(row.where.split(", ")[1].split()[0]), row.accelsim) for row in rows
                    if row.where.startswith("example") and row.accelsim is not None)
    data = [{"type": "scatter", "name": "accelsim", "x": [x for x, _ in points], "y": [y for _, y in points],
             "line": {"shape": "hv"}}]
    return {"data": data, "layout": {"xaxis": {"title": "cycles an iteration"}, "yaxis": {"title": "tokens in all"}}}
