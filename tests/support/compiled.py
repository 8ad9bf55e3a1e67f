"""A Program of tiles that contend, and names of stalls, for tests of the compiled kernel."""

from __future__ import annotations

from fractions import Fraction

from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.program import (
    ROUND_ROBIN,
    Pool,
    Program,
    Server,
)

DATA, SPACE, POOL, SERVER = range(4)


def tiles(count: int, *, rate: Fraction = Fraction(64, 3), policy: int = ROUND_ROBIN, burst: int = 256) -> Program:
    """Two operands and a result through one channel, double buffers, a pool, 4 steps a tile, and a slow start."""
    b = ProgramBuilder("tiles")
    channel = b.server(Server("channel", rate, policy, burst))
    array = b.server(Server("array", Fraction(16)))
    pool = b.pool(Pool("buffer", 8192))
    left, right = b.actor("left", server=channel), b.actor("right", server=channel)
    compute, store = b.actor("compute", server=array), b.actor("store", server=channel)
    x, y = b.fifo(left, compute, depth=2, latency=20), b.fifo(right, compute, depth=2, latency=33)
    z = b.fifo(compute, store, depth=2)
    warm = [Run(Phase(work=1000 + 77 * i)) for i in range(20)]
    b.schedule(left, [*warm, Run(Phase(work=512, outputs=((x, 1, 1),), take=(pool, 1024)), count)])
    b.schedule(right, [Run(Phase(work=768, outputs=((y, 1, 1),), take=(pool, 1024)), count)])
    step = Run(Phase(work=384, inputs=((x, 1, 0), (y, 1, 0))), 3)
    last = Run(Phase(work=384, inputs=((x, 1, 1), (y, 1, 1)), outputs=((z, 1, 1),), gives=((pool, 2048),)))
    b.schedule(compute, [Repeat(count, (step, last))])
    b.schedule(store, [Run(Phase(work=300, inputs=((z, 1, 1),)), count)])
    return b.build()
