"""From a stream graph to a Program: actor i is node i, FIFO j is stream j."""

from __future__ import annotations

from ...arch.units import rate_fraction
from ...engine.builder import Phase, ProgramBuilder
from ...engine.labels import ActorLabel
from ...engine.program import NONE, Program, Server
from .graph import Node, StreamGraph
from .rates import schedule


def to_program(graph: StreamGraph) -> Program:
    """The Program of a graph; one tick is one cycle.

    A node is busy for `ii` cycles per firing and its tokens count their latency from its start. A node on a memory is
    busy while the memory moves its bytes, queues for it with the others, and its tokens count from the end. Further
    actors go beside these with `add_graph`.
    """
    builder = ProgramBuilder(graph.name, tick_hz=graph.cycle_hz)
    add_graph(builder, graph)
    return builder.build()


def add_graph(builder: ProgramBuilder, graph: StreamGraph, servers: dict[str, int] | None = None) -> list[int]:
    """Add a graph's actors and FIFOs to a Program in the making; returns the actor of every node.

    Args:
        builder: one tick of it is one cycle of the graph.
        graph: what to add.
        servers: by name of memory, those that exist already; the graph's other memories are added to it.
    """
    known = {} if servers is None else servers
    for memory in graph.memories:
        if memory.name not in known:
            rate = rate_fraction(memory.rate)
            known[memory.name] = builder.server(Server(memory.name, rate, memory.policy, memory.burst))
    actors = [
        builder.actor(n.name, server=known[n.memory] if n.memory else NONE, label=_label(n)) for n in graph.nodes
    ]
    index = {n.name: i for i, n in enumerate(graph.nodes)}
    fifos = []
    for s in graph.streams:
        source = graph.nodes[index[s.src]]
        fifos.append(
            builder.fifo(
                actors[index[s.src]], actors[index[s.dst]], depth=s.depth, init=s.init,
                latency=source.latency + s.latency, credit_latency=s.credit_latency,
                space_at_start=not s.space_at_end, data_at_start=not source.memory, name=s.name,
            )
        )
    for i, n in enumerate(graph.nodes):
        ports = [p.__class__(fifos[p.fifo], p.is_output, p.rate) for p in graph.ports(i)]
        phase = Phase(work=n.bytes if n.memory else n.ii)
        builder.schedule(actors[i], schedule(ports, graph.firings[i], phase))
    return actors


def _label(node: Node) -> ActorLabel:
    role = "compute"
    if node.memory:
        role = "store" if node.kind == "sink" else "load"
    return ActorLabel(node.name, node.memory or node.unit or node.kind, role)
