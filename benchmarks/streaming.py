"""Streaming dataflow: exact attention pipelines with jumps, firings per second without, FIFO sizing, and SimPy.

All times are of the process (CPU), warm. python benchmarks/streaming.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from accelsim.engine import compiled, reference
from accelsim.experiments.sdpa_streaming.experiment import GRAPHS, graph, with_long
from accelsim.lowering.streams import StreamGraph, run_graph, to_program
from accelsim.mappers.pipeline import full_rate_depths, trade_off

T = TypeVar("T")
SIMPY_N = 256
"""Queries and keys at which SimPy runs beside the compiled kernel."""


def timed(call: Callable[[], T], times: int = 5) -> tuple[T, float]:
    """The result and the seconds of the fastest of several calls."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        result = call()
        best = min(best, time.process_time() - start)
    return result, best


def exact(n: int) -> None:
    graphs = [(f"{name}, FIFOs without bound", graph(name, n)) for name in GRAPHS]
    for name, g in [*graphs, ("naive, long FIFO of N + 2", with_long(n, n + 2))]:
        result, seconds = timed(lambda g=g: run_graph(g))  # type: ignore[misc]
        firings = int(result.trace.firings.sum())
        print(f"N {n:6,} {name:35} {result.cycles:15,} cycles {firings:.3g} firings {seconds * 1e3:8.2f} ms")


def rate_without_jump(n: int) -> None:
    for name in GRAPHS:
        program = to_program(graph(name, n, depths=2) if name in ("reordered", "running_max") else sized(name, n))
        trace, seconds = timed(lambda p=program: compiled.run(p, jump=False), 3)  # type: ignore[misc]
        print(f"N {n:6,} {name:35} without the jump {float(trace.firings.sum()) / seconds / 1e6:6.1f} M firings/s")


def sized(name: str, n: int) -> StreamGraph:
    return full_rate_depths(graph(name, n)).graph


def sizing(n: int) -> None:
    for name in GRAPHS:
        g = graph(name, n)
        found, seconds = timed(lambda g=g: full_rate_depths(g), 3)  # type: ignore[misc]
        print(f"N {n:6,} {name:35} least depths, {found.point.total:,} tokens in all: {seconds:6.3f} s, "
              f"{found.evaluations} simulations, {seconds * 1e3 / found.evaluations:.2f} ms each")
    curve, seconds = timed(lambda: trade_off(graph("naive", 64)), 1)
    print(f"N     64 naive, depth against cycles          {len(curve.points)} points, {seconds:.3f} s")


def against_simpy() -> None:
    """The same graphs to the end in both kernels, which agree to the tick."""
    for name in GRAPHS:
        program = to_program(sized(name, SIMPY_N))
        expected, slow = timed(lambda p=program: reference.run(p), 1)  # type: ignore[misc]
        found, jump = timed(lambda p=program: compiled.run(p))  # type: ignore[misc]
        assert expected.differences(found) == []
        _, without = timed(lambda p=program: compiled.run(p, jump=False))  # type: ignore[misc]
        per_s = float(expected.firings.sum()) / slow
        print(f"N {SIMPY_N:6,} {name:35} SimPy {slow:5.2f} s, {per_s / 1e3:.0f} k firings/s; compiled "
              f"{jump * 1e3:.2f} ms: {slow / jump:6,.0f} x; without the jump {slow / without:4,.0f} x")


def main() -> None:
    run_graph(graph("naive", 8))  # compiles
    for n in (4096, 65536):
        exact(n)
    rate_without_jump(1024)
    sizing(4096)
    against_simpy()


if __name__ == "__main__":
    main()
