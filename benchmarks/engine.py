"""Firings per second of processor time of the compiled kernel, and its ratio to the SimPy reference on a smaller size.

python benchmarks/engine.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from accelsim.engine import compiled, reference
from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.program import ROUND_ROBIN, Pool, Program, Server
from accelsim.engine.trace import Trace


def pipeline(tokens: int, stages: int = 6, depth: int = 16) -> Program:
    """Stages with different rhythms, each with its own server or none: nothing is shared."""
    b = ProgramBuilder("pipeline")
    actors = [b.actor(f"stage {s}") for s in range(stages)]
    fifos = [b.fifo(x, y, depth=depth, latency=1) for x, y in pairwise(actors)]
    for s, a in enumerate(actors):
        inputs = ((fifos[s - 1], 1, 1),) if s else ()
        outputs = ((fifos[s], 1, 1),) if s + 1 < stages else ()
        steady = Run(Phase(work=2, inputs=inputs, outputs=outputs), 64 - s)
        slow = Run(Phase(work=5 + s, inputs=inputs, outputs=outputs), s)
        b.schedule(a, [Repeat(tokens // 64, (steady, slow))])
    return b.build()


def tiles(count: int) -> Program:
    """Two operands and a result through one channel in bursts, double buffers, a pool of bytes, 16 steps a tile."""
    b = ProgramBuilder("tiles")
    channel = b.server(Server("channel", Fraction(64, 3), ROUND_ROBIN, burst=256))
    array = b.server(Server("array", Fraction(16)))
    buffer = b.pool(Pool("buffer", 8192))
    left, right = b.actor("load A", server=channel), b.actor("load B", server=channel)
    compute, drain = b.actor("compute", server=array), b.actor("store", server=channel)
    a, w = b.fifo(left, compute, depth=2, latency=20), b.fifo(right, compute, depth=2, latency=20)
    z = b.fifo(compute, drain, depth=2)
    b.schedule(left, [Run(Phase(work=512, outputs=((a, 1, 1),), take=(buffer, 1024)), count)])
    b.schedule(right, [Run(Phase(work=768, outputs=((w, 1, 1),), take=(buffer, 1024)), count)])
    step = Run(Phase(work=24 * 16, inputs=((a, 1, 0), (w, 1, 0))), 15)
    last = Run(Phase(work=24 * 16, inputs=((a, 1, 1), (w, 1, 1)), outputs=((z, 1, 1),), gives=((buffer, 2048),)))
    b.schedule(compute, [Repeat(count, (step, last))])
    b.schedule(drain, [Run(Phase(work=300, inputs=((z, 1, 1),)), count)])
    return b.build()


def rate(kernel: Callable[[Program], Trace], program: Program) -> float:
    """Firings per second, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        trace = kernel(program)
        best = min(best, time.process_time() - start)
    return float(trace.firings.sum()) / best


def main() -> None:
    for make, large, small in ((pipeline, 1_000_000, 3_000), (tiles, 100_000, 500)):
        fast = rate(lambda p: compiled.run(p, jump=False), make(large))
        slow = rate(reference.run, make(small))
        name = f"{make.__name__:10}"
        print(f"{name} compiled {fast / 1e6:6.1f} M firings/s, SimPy {slow / 1e3:6.1f} k: {fast / slow:6.0f} x")
        start = time.process_time()
        trace = compiled.run(make(10_000 * large))
        taken_ms = (time.process_time() - start) * 1e3
        print(f"{name} with the jump {int(trace.firings.sum()):.3g} firings in {taken_ms:.1f} ms, {trace.jumps} jumps")


if __name__ == "__main__":
    main()
