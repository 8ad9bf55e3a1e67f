"""Depths of a graph's streams and the cycles that they give, each choice simulated once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ...engine import compiled
from ...engine.depths import least_that, with_depths
from ...engine.program import UNBOUNDED, Program
from ...errors import Deadlock
from ...lowering.streams import StreamGraph, to_program


@dataclass(frozen=True)
class Point:
    """Depths and what they give.

    Attributes:
        depths: of every stream, in order.
        cycles: until the graph ends with them.
    """

    depths: tuple[int, ...]
    cycles: int

    @property
    def total(self) -> int:
        """Tokens of all streams together."""
        return sum(self.depths)


class Evaluator:
    """Cycles of a graph with given depths, each choice simulated once."""

    def __init__(self, graph: StreamGraph) -> None:
        self.graph = graph
        self.program: Program = to_program(graph)
        self.count = 0
        self.seconds = 0.0
        self.blocking: dict[tuple[int, ...], tuple[int, ...]] = {}
        """Streams for whose space somebody waited, by depths; of a deadlock those that closed the circle."""
        self._known: dict[tuple[int, ...], int | None] = {}

    def cycles(self, depths: Mapping[int, int] | tuple[int, ...]) -> int | None:
        """Until the graph ends, None where it deadlocks; streams not given have no bound."""
        n = len(self.graph.streams)
        key = depths if isinstance(depths, tuple) else tuple(depths.get(i, UNBOUNDED) for i in range(n))
        if key not in self._known:
            start = time.perf_counter()
            try:
                trace = compiled.run(with_depths(self.program, dict(enumerate(key))))
                self._known[key] = trace.finish
                self.blocking[key] = tuple(i for i in range(n) if trace.fifo_space_stall[i])
            except Deadlock as stuck:
                self._known[key] = None
                self.blocking[key] = stuck.full
            self.seconds += time.perf_counter() - start
            self.count += 1
        return self._known[key]

    def least(self, stream: int) -> int:
        """The depth that the largest firing of a stream's ends needs."""
        s = self.graph.streams[stream]
        return max(1, s.put.largest, s.take.largest, s.init)

    def ends(self, depths: Mapping[int, int], within: int) -> bool:
        """Whether the graph ends within so many cycles."""
        cycles = self.cycles(depths)
        return cycles is not None and cycles <= within

    def lowered(self, stream: int, depths: Mapping[int, int], within: int, low: int = 0) -> int:
        """The least depth of one stream, no less than `low`, that keeps a time that the depths given reach."""
        floor = max(low, self.least(stream))

        def ends(depth: int) -> bool:
            return self.ends({**depths, stream: depth}, within)

        if depths[stream] <= floor or ends(floor):
            return min(floor, depths[stream])
        return least_that(ends, floor, depths[stream])
