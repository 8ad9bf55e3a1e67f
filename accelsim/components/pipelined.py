"""Pipelined loop nests on multipliers: which ranks are unrolled how far, and how long the nest then takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, prod

import numpy as np

from ..errors import BadInput, DoesNotFit
from .base import IntArray

_CUTS = 32
"""Numbers of pieces that unrolling tries for a rank."""
_WORTH = 1.1
"""Iterations that the outermost rank may cost by not being unrolled."""
MOST_PIECES = 1 << 14
"""The most firings into which a nest is cut unless more are asked for."""


@dataclass(frozen=True)
class Loop:
    """How the loops of a nest are built; what is empty follows from the number of multipliers.

    Attributes:
        unroll: points of a rank that multipliers work on at a time, by rank.
        ii: cycles from one iteration of the pipelined loop to the next.
        inner: ranks of the pipelined loop, which fills anew each time the loops around it come to it. Empty: all ranks
            are one pipeline that never drains.
        outer: the rank along which results are handed on; the outermost loop.
        fetch: cycles at the start of every iteration of the outermost loop in which operands are fetched and nothing is
            computed.
    """

    unroll: tuple[tuple[str, int], ...] = ()
    ii: int = 1
    inner: tuple[str, ...] = ()
    outer: str = ""
    fetch: int = 0


@dataclass(frozen=True)
class Timing:
    """A nest on its multipliers: `firings` of `cycles` each, the first `extra` of them one longer.

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


def nest_timing(
    name: str, sizes: Mapping[str, int], work: Fraction, loop: Loop, *, lanes: int, depth: int, outer: str,
    pieces: int = 0,
) -> Timing:  # fmt: skip
    """Time of a nest.

    A pipelined loop of n iterations takes ii (n - 1) + depth cycles each time it is entered. Where all loops are one
    pipeline, it never drains: ii n cycles, and `depth` once, as latency.

    Args:
        name: for messages.
        sizes: of its ranks.
        work: cycles of one multiplier for all points.
        loop: how it is built.
        lanes: multipliers.
        depth: cycles of one iteration of its innermost loop, from operand to result.
        outer: rank that is cut into firings; empty for one firing.
        pieces: firings; the outermost rank is unrolled no further than leaves so many. 0: as many as come out, at most
            MOST_PIECES.

    Raises:
        DoesNotFit: it is unrolled to more multipliers than there are.
        BadInput: the outermost rank is inside the pipelined loop, or cannot be cut into so many pieces.
    """
    if outer and outer in loop.inner:
        raise BadInput(f"task {name}: {outer} is in the pipelined loop and cannot be the outermost rank")
    if loop.unroll:
        unroll = {r: min(f, sizes[r]) for r, f in loop.unroll}
        if prod(unroll.values()) > lanes:
            raise DoesNotFit(f"task {name}: unrolled to {prod(unroll.values())} multipliers, but has {lanes}")
    else:
        unroll = dict(_unroll(tuple(sizes.items()), lanes, outer, pieces))
    steps = {r: -(-n // unroll.get(r, 1)) for r, n in sizes.items()}
    if pieces > steps.get(outer, 1):
        raise BadInput(f"task {name}: {pieces} pieces along {outer or 'no rank'} (at most {steps.get(outer, 1)})")
    firings = pieces or min(steps.get(outer, 1), MOST_PIECES)
    weight = work / prod(sizes.values())
    if not loop.inner:
        total = ceil(prod(steps.values()) * weight * loop.ii) + loop.fetch * steps.get(outer, 1)
        if pieces > total:
            raise BadInput(f"task {name}: {pieces} pieces of {total} cycles in all")
        firings = min(firings, total)
        return Timing(firings, total // firings, total % firings, depth, unroll)
    trips = prod(steps[r] for r in loop.inner)
    entries = prod(n for r, n in steps.items() if r not in loop.inner)
    total = entries * (ceil(loop.ii * weight) * (trips - 1) + depth) + loop.fetch * steps.get(outer, 1)
    return Timing(firings, total // firings, total % firings, 0, unroll)


@lru_cache(maxsize=1 << 14)
def _unroll(sizes: tuple[tuple[str, int], ...], lanes: int, outer: str, pieces: int) -> tuple[tuple[str, int], ...]:
    """Factors of ranks with few iterations. `outer` is unrolled only where that saves more than `_WORTH` of them and
    leaves so many `pieces`, because what a nest hands on at a time grows with it.
    """
    inner = tuple(x for x in sizes if x[0] != outer)
    steps, factors = _fewest(inner, lanes)
    everything = _fewest(sizes, lanes)
    alone = steps * prod(n for r, n in sizes if r == outer)
    if alone <= everything[0] * _WORTH or any(r == outer and -(-n // dict(everything[1]).get(r, 1)) < pieces
                                              for r, n in sizes):  # fmt: skip
        return factors
    return everything[1]


def _fewest(sizes: tuple[tuple[str, int], ...], lanes: int) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The fewest iterations of a nest, and the factors above 1 that give them."""
    if not sizes:
        return 1, ()
    named = sorted(sizes)
    steps, first, cut = (int(x[0]) for x in _search(np.array([[n for _, n in named]], np.int64), lanes))
    if cut == 0:
        return steps, ()
    ordered = sorted(named, key=lambda x: (-x[1], x[0]))
    rank, n = ordered[first]
    factor = -(-n // cut)
    chosen, left = [(rank, factor)], lanes // factor
    for other, m in (*ordered[:first], *ordered[first + 1 :]):
        pieces = -(-m // min(m, left))
        chosen.append((other, -(-m // pieces)))
        left //= chosen[-1][1]
    return steps, tuple(c for c in chosen if c[1] > 1)


def fewest_iterations(sizes: IntArray, lanes: int) -> IntArray:
    """The fewest iterations of nests on so many multipliers, one nest a row, its ranks in columns by name.

    One rank is unrolled in every way that cuts it evenly, then the others, the largest first, as far as multipliers are
    left.
    """
    return _search(sizes, lanes)[0]


def _search(sizes: IntArray, lanes: int) -> tuple[IntArray, IntArray, IntArray]:
    """For every nest the iterations, which rank (the largest is 0) is unrolled first, and into how many pieces; 0
    pieces where nothing is unrolled. Of equals the first."""
    ordered = -np.sort(-sizes, axis=1)
    ranks = ordered.shape[1]
    found, pieces = [], []
    for i in range(ranks):
        n = ordered[:, i : i + 1]
        cuts = -(-n // lanes) + np.arange(_CUTS)
        factor = -(-n // cuts)
        steps, left = -(-n // factor), lanes // factor
        for j in range(ranks):
            if j != i:
                m = ordered[:, j : j + 1]
                parts = -(-m // np.minimum(m, left))
                left = left // -(-m // parts)
                steps = steps * parts
        found.append(steps)
        pieces.append(cuts)
    steps, cuts = np.concatenate(found, axis=1), np.concatenate(pieces, axis=1)
    best = np.argmin(steps, axis=1)
    rows = np.arange(len(best))
    least, whole = steps[rows, best], np.prod(ordered, axis=1)
    return least, best // _CUTS, np.where(least < whole, cuts[rows, best], 0)
