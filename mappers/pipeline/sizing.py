"""How deep FIFOs must be: least depths for full rate, and throughput against total depth.

In a graph whose nodes share no memory, no depth that grows makes anything later; so whether a graph ends by a given
time is monotone in every depth, and a least depth is found by doubling and halving. Depths are raised where somebody
waits for space until the graph is as fast as it can be, then lowered one by one as far as they go: no single stream
can be less deep. A depth that is too small even beside streams that are each as deep as all of these together is too
small in every choice with a smaller total: where that holds of every stream, no choice has less in total, and that is
proven. With shared memories monotony is the rule, not a law, and nothing is called proven.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ...engine import compiled
from ...engine.depths import least_that, with_depths
from ...engine.program import MAX_TICK, UNBOUNDED, Program
from ...errors import Deadlock, DoesNotFit
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


@dataclass(frozen=True)
class Sizing:
    """What a search found.

    Attributes:
        graph: with the depths found.
        point: these depths, and the cycles with them.
        proven: whether no depths with a smaller total are as fast.
        evaluations: simulations that it took.
        seconds: that they took.
    """

    graph: StreamGraph
    point: Point
    proven: bool
    evaluations: int
    seconds: float

    @property
    def depths(self) -> dict[str, int]:
        """By name of the stream."""
        return {s.name: s.depth for s in self.graph.streams}

    @property
    def ms_per_evaluation(self) -> float:
        return self.seconds * 1e3 / max(1, self.evaluations)


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


def full_rate_depths(graph: StreamGraph, *, within_cycles: int | None = None) -> Sizing:
    """Least depths with which a graph is as fast as with FIFOs that have no bound.

    Args:
        graph: its own depths are left aside.
        within_cycles: another time to reach.

    Raises:
        DoesNotFit: it is not reached with any depths.
    """
    run = Evaluator(graph)
    fastest = run.cycles({})
    target = fastest if within_cycles is None else within_cycles
    if fastest is None or target is None or fastest > target:
        raise DoesNotFit(f"{graph.name}: with FIFOs without bound it takes {fastest} cycles, and {target} are wanted")
    n = len(graph.streams)
    depths = {i: run.least(i) for i in range(n)}
    while not run.ends(depths, target):
        blocking = run.blocking[tuple(depths[i] for i in range(n))] or tuple(range(n))
        depths |= {i: 2 * depths[i] for i in blocking}
    for i in range(n):
        depths[i] = run.lowered(i, depths, target)
    proven = not graph.memories
    if proven:
        alone = _alone(run, depths, target)
        proven = run.ends(alone, target)
        depths = alone if proven else depths
    point = Point(tuple(depths[i] for i in range(n)), run.cycles(depths) or target)
    return Sizing(graph.with_depths(depths), point, proven, run.count, run.seconds)


def _alone(run: Evaluator, depths: Mapping[int, int], target: int) -> dict[int, int]:
    """The least depth of each stream beside others as deep as all of `depths` together, or deeper."""
    ceiling = dict.fromkeys(depths, sum(depths.values()))
    found = dict(depths)
    for i, depth in depths.items():
        if depth <= run.least(i):
            continue
        # without bounds the others recur soonest, but where a deadlock comes, a source would first run to its end
        others = ceiling if run.cycles({**depths, i: depth - 1}) is None else {}
        if run.ends({**others, i: depth - 1}, target):
            found[i] = run.lowered(i, {**ceiling, i: depth - 1}, target)
    return found


@dataclass(frozen=True)
class TradeOff:
    """Points none of which is beaten by another, smallest total first; `complete` if the search saw to its end."""

    points: tuple[Point, ...]
    complete: bool


def trade_off(graph: StreamGraph, *, most_evaluations: int = 2000) -> TradeOff:
    """Total depth against cycles, from the least depths that end at all to full rate.

    From depths that end, the streams for whose space somebody waited are candidates (Stuijk, Geilen and Basten, DAC
    2006: to raise any other changes nothing). Each is raised to the next depth at which the graph gets faster; where
    none does on its own, all of them by one. All choices are followed, the smallest total first, until
    `most_evaluations` simulations are done or full rate is reached.
    """
    run = Evaluator(graph)
    best = full_rate_depths(graph)
    n = len(graph.streams)
    start = _depths_that_end(run)
    first = run.cycles(start)
    found = {start: first} if first is not None else {}
    queue = [start]
    while queue and run.count < most_evaluations:
        queue.sort(key=lambda d: (sum(d), d))
        here = queue.pop(0)
        cycles = found[here]
        if cycles <= best.point.cycles or sum(here) >= best.point.total:
            continue
        blocking = run.blocking[here]
        raised = False
        for i in blocking:
            following = _next_faster(run, here, i, cycles, best.point.depths[i])
            if following is not None and following not in found:
                found[following] = run.cycles(following) or cycles
                queue.append(following)
            raised = raised or following is not None
        if not raised:
            together = tuple(d + (i in blocking) for i, d in enumerate(here))
            result = run.cycles(together)
            if blocking and together not in found and result is not None and sum(together) <= best.point.total + n:
                found[together] = result
                queue.append(together)
    found[best.point.depths] = best.point.cycles
    return TradeOff(_front([Point(d, c) for d, c in found.items()]), complete=not queue)


def least_depths_that_end(graph: StreamGraph) -> Sizing:
    """Depths with which a graph ends at all, however slowly, and none of which can be smaller.

    Raises:
        DoesNotFit: it deadlocks with any depths.
    """
    run = Evaluator(graph)
    if run.cycles({}) is None:
        raise DoesNotFit(f"{graph.name}: it deadlocks with FIFOs without bound")
    depths = _depths_that_end(run)
    point = Point(depths, run.cycles(depths) or 0)
    least = all(d == run.least(i) for i, d in enumerate(depths))
    return Sizing(graph.with_depths(dict(enumerate(depths))), point, least, run.count, run.seconds)


def _depths_that_end(run: Evaluator) -> tuple[int, ...]:
    """Depths that end, none of which can be smaller: raised along the circles of deadlocks, then lowered."""
    n = len(run.graph.streams)
    depths = {i: run.least(i) for i in range(n)}
    while run.cycles(depths) is None:
        for i in run.blocking[tuple(depths[i] for i in range(n))]:
            depths[i] = 2 * depths[i]
    for i in range(n):
        depths[i] = run.lowered(i, depths, MAX_TICK)
    return tuple(depths[i] for i in range(n))


def _next_faster(run: Evaluator, here: tuple[int, ...], i: int, cycles: int, most: int) -> tuple[int, ...] | None:
    """The depths with stream i at the least depth that makes the graph faster than `cycles`; None where none does."""

    def raised(depth: int) -> tuple[int, ...]:
        return (*here[:i], depth, *here[i + 1 :])

    def faster(depth: int) -> bool:
        result = run.cycles(raised(depth))
        return result is not None and result < cycles

    top = max(most, here[i] + 1)
    if not faster(top):
        return None
    return raised(least_that(faster, here[i], top))


def _front(points: list[Point]) -> tuple[Point, ...]:
    """The points that no other beats in total depth and cycles, smallest first."""
    kept: list[Point] = []
    for p in sorted(points, key=lambda p: (p.total, p.cycles)):
        if not kept or p.cycles < kept[-1].cycles:
            kept.append(p)
    return tuple(kept)
