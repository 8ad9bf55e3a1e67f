"""Search for the least depths, exact: choices of depths that together lie below every choice that is fast enough.

Only streams for whose space somebody waited can make a graph faster when they are raised (Stuijk, Geilen and Basten,
DAC 2006), and of a deadlock only those that close its circle. So where a choice is too slow, whatever is fast enough
and no less deep has one of these streams deeper: the choices that raise one of them by one token stand for all of it.
Each stream is at least as deep as it has to be beside others without bound; that skips most of the way to a long one.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from ...engine.program import MAX_TICK
from .evaluate import Evaluator, Point


class Cover:
    """Choices of depths, none of them tried yet, such that all that end by a target are no less than one of them.

    Args:
        run: of the graph; in one whose nodes share a memory what is found need not be least.
        top: depths that reach every target that will be required; no choice with a larger total is looked at.
    """

    def __init__(self, run: Evaluator, top: tuple[int, ...]) -> None:
        self.run, self.top, self.target = run, top, MAX_TICK
        self.floor = tuple(run.least(i) for i in range(len(top)))
        self._seen = {self.floor}
        self._heap = [(sum(self.floor), self.floor)]

    def require(self, target: int) -> None:
        """From now on only choices that end by `target` cycles, no more than the target before, are wanted."""
        self.target = target
        self.floor = tuple(map(self._floor, range(len(self.top))))
        waiting, self._heap = self._heap, []
        for _, depths in waiting:
            self._add(depths, known=True)
        heapify(self._heap)

    def least(self, most_evaluations: int) -> Point | None:
        """The choice of the smallest total that ends by the target; None once that many simulations have been done."""
        while self._heap and self.run.count < most_evaluations:
            depths = self._heap[0][1]
            cycles = self.run.cycles(depths)
            if cycles is not None and cycles <= self.target:
                return Point(depths, cycles)
            heappop(self._heap)
            for i in self.run.blocking[depths]:
                self._add((*depths[:i], depths[i] + 1, *depths[i + 1 :]))
        return None

    def _floor(self, stream: int) -> int:
        """The least depth of one stream beside others as deep as all of `top` together, or deeper."""
        top, low = dict(enumerate(self.top)), self.floor[stream]
        if top[stream] <= low:
            return top[stream]
        below = top[stream] - 1
        ceiling = dict.fromkeys(top, sum(self.top))
        # without bounds the others recur soonest, but where a deadlock comes, a source would first run to its end
        stuck = self.target == MAX_TICK or self.run.cycles({**top, stream: below}) is None
        if not self.run.ends({**(ceiling if stuck else {}), stream: below}, self.target):
            return top[stream]
        return self.run.lowered(stream, {**ceiling, stream: below}, self.target, low)

    def _add(self, depths: tuple[int, ...], *, known: bool = False) -> None:
        lifted = tuple(map(max, depths, self.floor))
        if sum(lifted) <= sum(self.top) and (lifted not in self._seen or (known and lifted == depths)):
            self._seen.add(lifted)
            heappush(self._heap, (sum(lifted), lifted))
