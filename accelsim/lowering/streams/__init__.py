"""Stream graphs: spatial pipelines of nodes and FIFOs, lowered to the actors of one Program.

A **node** (`Node`) fires again and again: it takes tokens from its input streams, and its results are visible `latency`
cycles after the firing started; the next firing may start `ii` cycles (the initiation interval) after this one. A
**stream** (`Stream`) is a FIFO between two nodes with a `depth`, a forward latency of its own and a credit latency; how
many tokens a port moves in which firing is its `Rate`, a pattern that repeats (cyclo-static dataflow: Bilsen et al.,
IEEE Transactions on Signal Processing 44, 1996). Tokens in flight and slots whose credit is under way count against the
depth. Nodes on a `memory` share its bandwidth: a firing moves `bytes` through it, its tokens are there `latency` after
its end, and a stream of depth two tiles is a double buffer.

::

    from accelsim.lowering.streams import GraphBuilder, every, run_graph

    n = 64
    g = GraphBuilder("softmax without its maximum")
    scores = g.node("scores", "source", firings=n * n)
    exp = g.node("exp")
    total = g.node("total", "reduce", length=n)        # one token out for n in
    divide = g.node("divide")
    out = g.node("out", "sink")
    g.stream(scores, exp, depth=2)
    g.stream(exp, total, depth=2)
    g.stream(exp, divide, depth=n + 2)
    g.stream(total, divide, depth=2, take=every(n))    # held for n firings
    g.stream(divide, out, depth=2)
    run_graph(g.build()).cycles

`to_program` gives the Program itself: actor i is node i, FIFO j is stream j, so that other actors (background traffic,
further kernels) and everything of the engine work beside it. `load_graph` reads a graph from YAML (`document`).
`run_graph` runs it, and raises `Deadlock` with the blocking cycle and the smallest depths that would free it.
"""

from .document import dumps_graph, load_graph, loads_graph
from .graph import GraphBuilder, Memory, Node, Stream, StreamGraph, UnitPool
from .program import to_program
from .rates import Rate, every
from .run import StreamResult, run_graph

__all__ = [
    "GraphBuilder", "Memory", "Node", "Rate", "Stream", "StreamGraph", "StreamResult", "UnitPool",
    "dumps_graph", "every", "load_graph", "loads_graph", "run_graph", "to_program",
]  # fmt: skip
