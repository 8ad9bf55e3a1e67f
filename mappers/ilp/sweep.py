"""Addresses step by step, with what is in the way dropped: a plan to begin with, close to the one without addresses."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from .arrangement import Arrangement

FITS = ("first", "best", "ends")
"""Which hole a tensor takes: the lowest, the smallest, or the lowest for what stays long and else the highest."""


def sweep(start: Arrangement, first: int, end: int) -> Arrangement:
    """The cheapest of a few sweeps over steps `first` to before `end`, behind which nothing has addresses yet.

    It begins with what is dropped there; more is dropped where holes are too small.
    """
    found = [_Sweep(start, first, fit).run(first, end) for fit in FITS]
    return min(found, key=lambda a: a.value)


class _Sweep:
    def __init__(self, start: Arrangement, first: int, fit: str) -> None:
        self.along, self.dropped, self.address, self.fit = start.along, set(start.dropped), dict(start.address), fit
        along = self.along
        self.at: dict[str, int] = {}
        """Tensors in the memory, and where."""
        for gap in (along.lives.gaps[i] for i in along.over(first) if i not in self.dropped):
            self.at[gap.tensor] = self.address[gap.tensor, gap.first]
        lengths = sorted(self._until(g.tensor, g.first) - g.first for g in along.lives.gaps)
        self.long = lengths[len(lengths) // 2] if lengths else 0

    def run(self, first: int, end: int) -> Arrangement:
        for step in range(first, end):
            self._step(step, self.along.lives.operators[step].touches)
        return Arrangement(self.along, self.dropped, self.address)

    def _step(self, step: int, touches: Collection[str]) -> None:
        over = {
            new: old
            for old in touches
            for new, _ in [self.along.lives.in_place.get((step, old), ("", None))]
            if new and not self._kept_after(old, step)
        }
        waiting = sorted((n for n in touches if n not in self.at and n not in over), key=self.along.nbytes)
        fresh: set[str] = set()
        while waiting:
            name = waiting.pop()
            place = self._hole(name, step)
            if place is None:
                place = self._cleared(name, step, touches, fresh, waiting)
            if place is None:
                self._all_anew(step, touches, over)
                break
            self.at[name] = place
            fresh.add(name)
        self.at.update({new: self.at[old] for new, old in over.items()})
        for name in touches:
            self.address[name, step] = self.at[name]
            if not self._kept_after(name, step):
                del self.at[name]

    def _kept_after(self, name: str, step: int) -> bool:
        gap = self.along.begins.get((name, step))
        return gap is not None and gap not in self.dropped

    def _until(self, name: str, step: int) -> int:
        """The step to which a tensor stays."""
        while (gap := self.along.begins.get((name, step))) is not None and gap not in self.dropped:
            step = self.along.lives.gaps[gap].last
        return step

    def _blocks(self) -> list[tuple[int, int, str]]:
        size = self.along.nbytes
        return sorted((a, a + size(n), n) for n, a in self.at.items() if size(n))

    def _hole(self, name: str, step: int) -> int | None:
        size, end, holes = self.along.nbytes(name), 0, []
        for start, stop, _ in [*self._blocks(), (self.along.capacity, self.along.capacity, "")]:
            if start - end >= size:
                holes.append((end, start))
            end = max(end, stop)
        if not holes:
            return None
        if self.fit == "best":
            return min(holes, key=lambda h: (h[1] - h[0], h[0]))[0]
        if self.fit == "ends" and self._until(name, step) - step < self.long:
            return holes[-1][1] - size
        return holes[0][0]

    def _cleared(
        self, name: str, step: int, touches: Collection[str], fresh: Collection[str], waiting: list[str]
    ) -> int | None:
        """Where there is room once what costs least is gone. What this step touches comes back elsewhere."""
        size, capacity, blocks = self.along.nbytes(name), self.along.capacity, self._blocks()
        starts = {0, *(stop for _, stop, _ in blocks), *(start - size for start, _, _ in blocks)}
        best: tuple[float, int, list[str]] | None = None
        for place in sorted(a for a in starts if 0 <= a <= capacity - size):
            inside = [n for start, stop, n in blocks if start < place + size and place < stop]
            if any(n in fresh for n in inside):
                continue
            price = self.along.price([self._gap(n, step, touches) for n in inside], self.dropped)
            if best is None or price < best[0]:
                best = price, place, inside
        if best is None:
            return None
        for n in best[2]:
            self._drop(n, step, touches)
            if n in touches:
                waiting.append(n)
        waiting.sort(key=self.along.nbytes)
        return best[1]

    def _gap(self, name: str, step: int, touches: Collection[str]) -> int:
        """The gap that has kept a tensor to this step."""
        if name in touches:
            return self.along.ends[name, step]
        gaps = self.along.of_tensor[name]
        return next(i for i in gaps if self.along.lives.gaps[i].first < step < self.along.lives.gaps[i].last)

    def _drop(self, name: str, step: int, touches: Collection[str]) -> None:
        self.dropped.add(self._gap(name, step, touches))
        del self.at[name]

    def _all_anew(self, step: int, touches: Collection[str], over: dict[str, str]) -> None:
        """Nothing is kept to this step; what it touches lies one after the other."""
        for name in list(self.at):
            if (name, step) in self.along.ends or name not in touches:
                self.dropped.add(self._gap(name, step, touches))
        names = [n for n in touches if n not in over]
        ends = [0]
        for name in names:
            ends.append(ends[-1] + self.along.nbytes(name))
        self.at = {name: start for name, (start, _) in zip(names, pairwise(ends), strict=True)}
