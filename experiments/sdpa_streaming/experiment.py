"""Attention on streaming dataflow: cycles, deadlocks and least FIFO depths of four graphs, exact to the cycle.

Each graph is a cascade of Einsums, made into a pipeline by the mapper; N queries and N keys, a score per cycle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...errors import Deadlock
from ...ir.rewrites import fewest_passes
from ...lowering.streams import StreamGraph, run_graph
from ...mappers.pipeline import Timing, build_stages, stream_graph
from ...mappers.pipeline.sizing import full_rate_depths
from ...workloads.text.cascade_file import load_cascade
from ..loader import Row, data_path, table

GRAPHS = ("naive", "row_max", "reordered", "running_max")
SIZES = (16, 64, 1024, 4096)
LONG = "SN -> A"
"""The FIFO of the naive graph that holds a row of weights until their sum is there."""
BLOCKING = ("SN", "A", "SD")
"""Exponential, division, row sum: the first waits for space, the second for the sum, the sum for the exponential."""
TIMINGS = ((3, 1, 1), (1, 2, 1), (4, 1, 3), (5, 2, 2), (2, 3, 1))
"""Latency of every node, credit latency, initiation interval."""
RULES = "worked out by hand from the rules of the graphs"


def graph(
    name: str, n: int, *, timing: Timing | None = None, depths: Mapping[str, int] | int = -1, derived: bool = False
) -> StreamGraph:
    """The pipeline of one head; `derived` takes the cascade of fewest passes that rewriting finds for it."""
    cascade = load_cascade(data_path(__package__, f"{name}.yaml"), ranks={"b": 1, "h": 1, "m": n, "p": n})
    if derived:
        cascade = fewest_passes(cascade).workload
    return stream_graph(build_stages(cascade), timing=timing, depths=depths, name=name)


def short_depth(timing: Timing) -> int:
    """Depth at which a FIFO between two nodes holds up neither: tokens under way, and slots on their way back."""
    return -(-(timing.latency + timing.credit_latency) // (timing.ii or 1))


def with_long(n: int, depth: int, timing: Timing | None = None) -> StreamGraph:
    """The naive graph with its long FIFO of that depth, and all others just deep enough."""
    timing = timing or Timing()
    free = graph("naive", n, timing=timing)
    short = short_depth(timing)
    return graph("naive", n, timing=timing, depths={s.name: depth if s.name == LONG else short for s in free.streams})


def rows() -> Iterator[Row]:
    """The closed forms at several sizes; other latencies and intervals; the running form as rewriting derives it."""
    for r in table(__package__, "figures.csv"):
        for n in SIZES:
            wanted = int(r["n_squared"]) * n * n + int(r["n"]) * n + int(r["constant"])
            yield from _figure(r, n, wanted)
    for n in SIZES:
        yield Row("cycles", f"row_max rewritten to the fewest passes, N {n}", n * n + 4,
                  run_graph(graph("row_max", n, derived=True)).cycles, "cycles", 0.0, f"{RULES}: the running form")
    for latency, credit, ii in TIMINGS:
        yield from _other_timing(latency, credit, ii, 64)


def _figure(r: Mapping[str, str], n: int, wanted: int) -> Iterator[Row]:
    name, beyond, quantity = r["graph"], r["long_fifo_beyond_n"], r["quantity"]
    if quantity == "cycles":
        where = f"{name}, N {n}, " + (f"long FIFO of N + {beyond}" if beyond else "FIFOs without bound")
        found = run_graph(with_long(n, n + int(beyond)) if beyond else graph(name, n)).cycles
        yield Row(quantity, where, wanted, found, "cycles", 0.0, r["source"])
    elif quantity.startswith("least depth"):
        sizing = full_rate_depths(graph(name, n))
        note = f"{sizing.point.total} tokens in all FIFOs, " + ("proven least" if sizing.proven else "not proven least")
        yield Row(quantity, f"{name}, N {n}", wanted, max(sizing.point.depths), "tokens", 0.0, r["source"], note)
    else:
        cycle, freeing = deadlock(n, n + int(beyond))
        yield Row("deadlock with a cycle of exponential, division and row sum", f"{name}, N {n}, long FIFO of N - 1", 1,
                  float(set(cycle) == set(BLOCKING)), "yes = 1", 0.0, r["source"], " -> ".join(cycle))
        yield Row(quantity, f"{name}, N {n}", wanted, freeing, "tokens", 0.0, r["source"])


def deadlock(n: int, depth: int) -> tuple[tuple[str, ...], float | None]:
    """The blocking cycle with a long FIFO of that depth, and the smallest depth of it that ends the deadlock."""
    short = with_long(n, depth)
    try:
        run_graph(short)
    except Deadlock as stuck:
        return stuck.cycle, stuck.freeing.get(short.stream(LONG))
    return (), None


def _other_timing(latency: int, credit: int, ii: int, n: int) -> Iterator[Row]:
    """The naive graph: its last score leaves the sink after the fill of one row, all firings and five latencies."""
    timing = Timing(latency=latency, credit_latency=credit, ii=ii)
    where = f"naive, N {n}, latency {latency}, credit latency {credit}, interval {ii}"
    cycles = (n * n + n - 2) * ii + 5 * latency + 1
    yield Row("cycles", where, max(cycles, cycles - latency - 1 + ii),
              run_graph(graph("naive", n, timing=timing)).cycles, "cycles", 0.0, RULES)
    depths = full_rate_depths(graph("naive", n, timing=timing)).depths
    yield Row("least depth of the longest FIFO", where, n - 1 + -(-(2 * latency + credit) // ii), depths[LONG],
              "tokens", 0.0, f"{RULES}: N - 1 and what both latencies and the credit add")
    yield Row("least depth of a short FIFO", where, short_depth(timing), depths["QK -> SN"], "tokens", 0.0,
              f"{RULES}: latency and credit latency over the interval")


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Least depth of the longest FIFO over N, for every graph."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        name, *rest = row.where.split(", ")
        if row.quantity.startswith("least depth of the longest") and len(rest) == 1 and row.accelsim is not None:
            found.setdefault(name, []).append((int(rest[0].removeprefix("N ")), row.accelsim))
    data = [{"type": "scatter", "name": name, "x": [n for n, _ in points], "y": [d for _, d in points]}
            for name, points in found.items()]
    return {"data": data, "layout": {"xaxis": {"title": "queries and keys N", "type": "log"},
                                     "yaxis": {"title": "depth of the longest FIFO, tokens", "type": "log"}}}
