"""How long a task takes on so many multipliers: unrolling, pipelined loops, and the pieces that it hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

from ...errors import BadInput, DoesNotFit
from .task import Read, Task

_CUTS = 32
"""Numbers of pieces that unrolling tries for a rank."""
_WORTH = 1.1
"""Iterations that the outermost rank may cost by not being unrolled."""


@dataclass(frozen=True)
class Timing:
    """A task on its cores: `firings` of `cycles` each, the first `extra` of them one longer.

    Attributes:
        latency: cycles from the end of a firing until its result can be used.
        unroll: points of each rank that are worked on at a time.
    """

    firings: int
    cycles: int
    extra: int
    latency: int
    unroll: Mapping[str, int]

    @property
    def total(self) -> int:
        return self.firings * self.cycles + self.extra


def timing(task: Task, lanes: int, depth: int, outer: str, *, pieces: int = 1 << 14) -> Timing:
    """Time of a task.

    A pipelined loop of n iterations takes ii (n - 1) + depth cycles each time it is entered. Where all loops are one
    pipeline, it never drains: ii n cycles, and `depth` once, as latency.

    Args:
        lanes: multipliers.
        depth: cycles of one iteration of its innermost loop, from operand to result.
        outer: rank that is cut into firings; empty for one firing.
        pieces: the most firings.

    Raises:
        DoesNotFit: it is unrolled to more multipliers than there are.
        BadInput: the outermost rank is inside the pipelined loop.
    """
    loop, sizes = task.loop, task.sizes
    if outer and outer in loop.inner:
        raise BadInput(f"task {task.name}: {outer} is in the pipelined loop and cannot be the outermost rank")
    if loop.unroll:
        unroll = {r: min(f, sizes[r]) for r, f in loop.unroll}
        if prod(unroll.values()) > lanes:
            raise DoesNotFit(f"task {task.name}: unrolled to {prod(unroll.values())} multipliers, but has {lanes}")
    else:
        unroll = dict(_unroll(tuple(sizes.items()), lanes, outer))
    steps = {r: -(-n // unroll.get(r, 1)) for r, n in sizes.items()}
    firings = min(steps.get(outer, 1), pieces)
    weight = task.work / task.points
    if not loop.inner:
        total = ceil(prod(steps.values()) * weight * loop.ii) + loop.fetch * steps.get(outer, 1)
        firings = min(firings, total)
        return Timing(firings, total // firings, total % firings, depth, unroll)
    trips = prod(steps[r] for r in loop.inner)
    entries = prod(n for r, n in steps.items() if r not in loop.inner)
    total = entries * (ceil(loop.ii * weight) * (trips - 1) + depth) + loop.fetch * steps.get(outer, 1)
    return Timing(firings, total // firings, total % firings, 0, unroll)


@lru_cache(maxsize=1 << 14)
def _unroll(sizes: tuple[tuple[str, int], ...], lanes: int, outer: str) -> tuple[tuple[str, int], ...]:
    """Factors of ranks with few iterations. `outer` is unrolled only where that saves more than `_WORTH` of them,
    because what a task hands on at a time grows with it.
    """
    inner = tuple(x for x in sizes if x[0] != outer)
    within = _fewest(inner, lanes) if inner else (1, ())
    steps = within[0] * prod(n for r, n in sizes if r == outer)
    everything = _fewest(sizes, lanes)
    return within[1] if steps <= everything[0] * _WORTH else everything[1]


def _fewest(sizes: tuple[tuple[str, int], ...], lanes: int) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The fewest iterations and factors that give them: one rank in every way that cuts it evenly, then the others, the
    largest first, as far as multipliers are left."""
    best: tuple[int, tuple[tuple[str, int], ...]] = prod(n for _, n in sizes), ()
    ordered = sorted(sizes, key=lambda x: (-x[1], x[0]))
    for i, (first, n) in enumerate(ordered):
        for f in _factors(n, lanes):
            chosen, left, steps = [(first, f)], lanes // f, -(-n // f)
            for other, m in (*ordered[:i], *ordered[i + 1 :]):
                pieces = -(-m // min(m, left))
                g = -(-m // pieces)
                chosen.append((other, g))
                left //= g
                steps *= pieces
            if steps < best[0]:
                best = steps, tuple(c for c in chosen if c[1] > 1)
    return best


def _factors(size: int, lanes: int) -> list[int]:
    """Factors that cut a rank evenly, at most as many as there are lanes."""
    least = -(-size // lanes)
    return sorted({-(-size // k) for k in range(least, least + _CUTS) if -(-size // k) <= lanes}, reverse=True)


def walks(read: Read, rank: str) -> int | None:
    """The dimension of a tensor that a rank of its reader walks along; None where there is none."""
    return next((d for d, ranks in enumerate(read.dims) if ranks and ranks[0] == rank), None)


def hands_on(maker: Task, maker_outer: str, reader: Task, reader_outer: str, read: Read) -> bool:
    """Whether a tensor can pass between two tasks piece by piece.

    Both walk along the same dimension of it in their outermost loop: the maker completes it in that order, and the
    reader never needs what comes later.
    """
    if not maker_outer or maker_outer not in maker.output_dims:
        return False
    dim = maker.output_dims.index(maker_outer)
    if walks(read, reader_outer) != dim:
        return False
    if not read.shape:
        return True
    mine = tuple(maker.sizes.get(r, 1) for r in maker.output_dims)
    return read.shape[: dim + 1] == mine[: dim + 1]
