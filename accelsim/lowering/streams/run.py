"""Running a stream graph, and what to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ...engine import compiled
from ...engine.bounds import binding
from ...engine.depths import freeing_depths
from ...engine.trace import Trace
from ...errors import Deadlock
from .graph import StreamGraph
from .program import to_program


@dataclass(frozen=True)
class StreamResult:
    """What running a graph gave; times in cycles of its clock."""

    graph: StreamGraph
    trace: Trace

    @property
    def cycles(self) -> int:
        """Until the end of the last firing."""
        return self.trace.finish

    @property
    def bound_cycles(self) -> Fraction:
        """The program bound: what the busiest node or memory has to do."""
        return sum((b.ticks for b in binding(self.trace.program)), Fraction(0))

    @property
    def bottleneck(self) -> str:
        """The node or memory that has most to do."""
        found = binding(self.trace.program)
        return found[0].name if found else ""

    @property
    def firings(self) -> dict[str, int]:
        return {n.name: int(f) for n, f in zip(self.graph.nodes, self.trace.firings, strict=True)}

    @property
    def utilization(self) -> dict[str, float]:
        """Share of the cycles in which each node is busy."""
        total = max(1, self.trace.finish)
        return {n.name: int(b) / total for n, b in zip(self.graph.nodes, self.trace.busy, strict=True)}


def run_graph(graph: StreamGraph, *, jump: bool = True, record: int = 0, advise: bool = True) -> StreamResult:
    """Run a graph to its end.

    Args:
        graph: what to run.
        jump: skip over recurring states; the result is the same.
        record: the most firings to list in the Trace.
        advise: when it deadlocks, search for the smallest depths that would free it.

    Raises:
        Deadlock: with the cycle of waits by the names of nodes, firing counts, full and empty FIFOs, and depths.
    """
    program = to_program(graph)
    try:
        return StreamResult(graph, compiled.run(program, jump=jump, record=record))
    except Deadlock as stuck:
        if not advise:
            raise
        raise freeing_depths(program, stuck).explained(stuck) from None
