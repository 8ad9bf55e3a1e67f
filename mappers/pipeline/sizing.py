"""How deep FIFOs must be: least depths for full rate, and with which a graph ends at all.

In a graph whose nodes share no memory, no depth that grows makes anything later; so whether a graph ends by a given
time is monotone in every depth, and a least depth is found by doubling and halving. Depths are raised where somebody
waits for space until the graph is as fast as it can be, then lowered one by one as far as they go: no single stream
can be less deep. From there `Cover` finds the least total, and proves it, if it needs few simulations. With shared
memories monotony is the rule, not a law, and no depths for a rate are called proven.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...engine.program import MAX_TICK
from ...errors import DoesNotFit
from ...lowering.streams import StreamGraph
from .cover import Cover
from .evaluate import Evaluator, Point

MOST_FOR_PROOF = 200
"""Simulations to find the least total, beyond those that found depths none of which can be smaller."""


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
    return _least(run, tuple(depths[i] for i in range(n)), target, exact=not graph.memories)


def _least(run: Evaluator, depths: tuple[int, ...], target: int, *, exact: bool) -> Sizing:
    """The least total that ends by the target where monotony is exact and it is found soon, else the depths given."""
    least = None
    if exact:
        cover = Cover(run, depths)
        cover.require(target)
        least = cover.least(run.count + MOST_FOR_PROOF)
    point = least or Point(depths, run.cycles(depths) or target)
    graph = run.graph.with_depths(dict(enumerate(point.depths)))
    return Sizing(graph, point, least is not None, run.count, run.seconds)


def least_depths_that_end(graph: StreamGraph) -> Sizing:
    """Least depths with which a graph ends at all, however slowly.

    Raises:
        DoesNotFit: it deadlocks with any depths.
    """
    run = Evaluator(graph)
    if run.cycles({}) is None:
        raise DoesNotFit(f"{graph.name}: it deadlocks with FIFOs without bound")
    # tokens wait for tokens alone, whatever the order in which memories serve: monotone in every graph
    return _least(run, _depths_that_end(run), MAX_TICK, exact=True)


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
