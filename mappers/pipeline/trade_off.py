"""Throughput against total depth: the Pareto curve of FIFO depths."""

from __future__ import annotations

from dataclasses import dataclass

from ...engine.program import MAX_TICK
from ...lowering.streams import StreamGraph
from .cover import Cover
from .evaluate import Evaluator, Point
from .sizing import full_rate_depths


@dataclass(frozen=True)
class TradeOff:
    """Points none of which is beaten by another, smallest total first.

    `complete` where the search saw to its end; in a graph whose nodes share no memory, no other point exists then.
    """

    points: tuple[Point, ...]
    complete: bool


def trade_off(graph: StreamGraph, *, most_evaluations: int = 2000) -> TradeOff:
    """Total depth against cycles, from the least depths that end at all to full rate.

    The least total that ends, then the least that ends a cycle sooner than that, and so on (`Cover`), until full rate
    is reached or `most_evaluations` simulations are done.

    Raises:
        DoesNotFit: the graph deadlocks with any depths.
    """
    best = full_rate_depths(graph).point
    run = Evaluator(graph)
    cover = Cover(run, best.depths)
    found: list[Point] = []
    target = MAX_TICK
    while not found or found[-1].cycles > best.cycles:
        cover.require(target)
        point = cover.least(most_evaluations)
        if point is None:
            break
        found.append(point)
        target = point.cycles - 1
    complete = run.count < most_evaluations or bool(found and found[-1].cycles <= best.cycles)
    return TradeOff(_front([*found, best]), complete)


def _front(points: list[Point]) -> tuple[Point, ...]:
    """The points that no other beats in total depth and cycles, smallest first."""
    kept: list[Point] = []
    for p in sorted(points, key=lambda p: (p.total, p.cycles)):
        if not kept or p.cycles < kept[-1].cycles:
            kept.append(p)
    return tuple(kept)
