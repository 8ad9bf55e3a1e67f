"""Random stream graphs, each made from a seed alone: rates, latencies, intervals, depths, joins, circles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.program import FIRST_COME, ROUND_ROBIN, UNBOUNDED, Pool, Program
from accelsim.lowering.streams import GraphBuilder, Rate, StreamGraph, every
from accelsim.lowering.streams.program import add_graph


def random_graph(seed: int, *, contended: bool = False, rounds: int = 3) -> StreamGraph:
    """A graph of 3 to 8 nodes whose rates balance; some are too shallow and deadlock.

    With `contended`, tiles come and go through one memory by double buffers, beside background traffic.
    """
    rng = np.random.default_rng(seed)

    def between(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    g = GraphBuilder(f"graph {seed}", iterations=between(1, rounds))
    n = between(3, 8)
    repeats = [int(rng.choice([1, 1, 2, 3, 4, 6])) for _ in range(n)]
    """Firings of each node in one iteration."""
    names = [g.node(f"n{i}", "stage", latency=between(1, 4), ii=int(rng.choice([1, 1, 1, 2, 3]))) for i in range(n)]

    def rate(firings: int, tokens: int, last: bool) -> Rate:
        if tokens == 1 and firings > 1 and rng.random() < 0.6:
            return every(firings, at="last" if last else "first")
        counts = np.bincount(rng.integers(0, firings, tokens), minlength=firings)
        return Rate.of([int(c) for c in counts])

    def stream(a: int, b: int, feedback: int = 0) -> None:
        """`feedback` iterations' tokens are there from the start."""
        tokens = int(rng.choice([1, 1, max(repeats[a], repeats[b]), 2 * repeats[a]]))
        put, take = rate(repeats[a], tokens, True), rate(repeats[b], tokens, False)
        if tokens == repeats[a] == repeats[b]:
            put = take = Rate()
        init = feedback * tokens
        least = max(put.largest, take.largest, init)
        depth = UNBOUNDED if rng.random() < 0.1 else least + int(rng.choice([0, 1, 2, tokens, 2 * tokens + 2]))
        g.stream(names[a], names[b], depth=depth, put=put, take=take, latency=between(0, 2),
                 credit_latency=between(1, 3), init=init, space_at_end=bool(rng.random() < 0.2))

    for b in range(1, n):
        stream(between(max(0, b - 3), b - 1), b)
    for _ in range(between(1, 4)):  # joins and reconvergence
        a, b = sorted((between(0, n - 1), between(0, n - 1)))
        if a != b:
            stream(a, b)
    if rng.random() < 0.3:  # and circles
        stream(n - 1, between(0, n - 2), feedback=between(1, 2))
    if contended:
        burst, policy = int(rng.choice([0, 8, 32])), (FIRST_COME, ROUND_ROBIN)[between(0, 1)]
        g.memory("dram", Fraction(between(3, 40), between(1, 3)), policy=policy, burst=burst)
        for i in {0, between(0, n - 1)}:
            tile = between(1, 3)
            load = g.node(f"load {i}", "memory", memory="dram", bytes=between(5, 90), latency=between(0, 9))
            g.stream(load, names[i], put=every(1, tokens=tile), depth=2 * tile)
        store = g.node("store", "memory", memory="dram", bytes=between(5, 60))
        g.stream(names[-1], store, depth=2)
        g.node("traffic", "traffic", memory="dram", bytes=between(4, 40), firings=between(1, 40))
    return g.build()


def with_background(graph: StreamGraph, seed: int) -> Program:
    """The Program of a graph beside actors that are none of its nodes: they share its memory and a pool of bytes."""
    rng = np.random.default_rng(seed)
    b = ProgramBuilder(graph.name, tick_hz=graph.cycle_hz)
    servers: dict[str, int] = {}
    add_graph(b, graph, servers)
    pool = b.pool(Pool("buffer", 64))
    for name, server in servers.items():
        for i in range(2):
            amount = int(rng.integers(1, 64))
            phase = Phase(work=int(rng.integers(1, 50)), take=(pool, amount), gives=((pool, amount),))
            b.actor(f"{name} background {i}", server=server, schedule=[Run(phase, int(rng.integers(1, 30)))])
    return b.build()
