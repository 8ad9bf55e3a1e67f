"""A layout carried out point by point, and everything counted that moves: what spatial arrays are judged by.

Nothing is shared with `accelsim.components`: every iteration of every loop is visited and elements are sets of
coordinates. Conventions: words of a box are those that the indices of an access name, whether they lie in the tensor
or in its padding; a piece that registers hold is brought anew, all of it, when it differs from the piece before, even
where the two overlap; it is what the elements want of it until it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

from accelsim.arch.layout import Layout
from accelsim.ir import Access, Einsum

Box: TypeAlias = dict[str, tuple[int, int]]
Point: TypeAlias = dict[str, int]
Word: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Element:
    """One point of a step: where in the iteration space, and on which element (offset of every rank)."""

    point: Point
    offsets: Point


@dataclass
class Counts:
    """What one operand moves, in elements."""

    memory: int = 0
    back: int = 0
    network: int = 0
    read: int = 0
    write: int = 0
    visits: int = 0
    held: int = 0


@dataclass
class Interpreter:
    """One tile of an Einsum under a layout.

    Attributes:
        bodies: for every iteration of the layout's loops, the box around after each of them, and its steps.
    """

    einsum: Einsum
    layout: Layout
    extents: Mapping[str, int]
    bodies: list[tuple[list[Box], list[list[Element]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.factor = {r: self.layout.factor(r) for r in self.einsum.sizes}
        looped = {r for r, _ in self.layout.loops}
        self.joined = {r: o for r, o in self.layout.joined.items() if not {r, o} & looped}
        whole = {r: (0, n) for r, n in self.extents.items()}
        for boxes in self._boxes([whole], 0):
            self.bodies.append((boxes, list(self._steps(boxes[-1]))))

    def _boxes(self, boxes: list[Box], depth: int) -> Iterator[list[Box]]:
        if depth == len(self.layout.loops):
            yield boxes
            return
        rank, tile = self.layout.loops[depth]
        low, high = boxes[-1][rank]
        for at in range(low, high, tile):
            yield from self._boxes([*boxes, {**boxes[-1], rank: (at, min(at + tile, high))}], depth + 1)

    def _steps(self, box: Box) -> Iterator[list[Element]]:
        """Every step with the points that run in it."""
        dealt: list[list[list[tuple[Point, Point]]]] = []
        for rank in self.einsum.sizes:
            low, high = box[rank]
            if rank in self.joined.values():
                continue
            if rank in self.joined:
                outer, size = self.joined[rank], self.extents[rank]
                flat = [{outer: i // size, rank: i % size} for i in range(size * self.extents[outer])]
                width = min(self.factor[rank], size)
            else:
                flat, width = [{rank: i} for i in range(low, high)], self.factor[rank]
            dealt.append(
                [[(p, {rank: o}) for o, p in enumerate(flat[i : i + width])] for i in range(0, len(flat), width)]
            )
        for chunks in product(*dealt):
            yield [
                Element(
                    {r: i for point, _ in one for r, i in point.items()},
                    {r: o for _, offset in one for r, o in offset.items()},
                )
                for one in product(*chunks)
            ]

    @property
    def steps(self) -> int:
        return sum(len(steps) for _, steps in self.bodies)

    @property
    def macs(self) -> int:
        return sum(len(step) for _, steps in self.bodies for step in steps)

    def word(self, access: Access, point: Point) -> Word:
        return tuple(i.offset + sum(c * point[r] for r, c in i.terms) for i in access.indices)

    def holder(self, element: Element, private: tuple[str, ...]) -> Word:
        """Which registers serve an element: where it is along the private dimensions."""
        mine = {s.rank for s in self.layout.spreads if s.dimension in private}
        return tuple(element.offsets.get(r, 0) for r in sorted(mine))

    def streamed(self, access: Access, private: tuple[str, ...], *, output: bool) -> Counts:
        """Counts of an operand that no registers hold; `private` are all dimensions."""
        counts = Counts()
        seen: set[Word] = set()
        for _, steps in self.bodies:
            for step in steps:
                words = {self.word(access, e.point) for e in step}
                counts.memory += len(words)
                counts.network += len({(self.holder(e, private), self.word(access, e.point)) for e in step})
                if output:
                    counts.back += len(words & seen)
                    seen |= words
        counts.network += counts.back
        return counts

    def held(
        self, access: Access, private: tuple[str, ...], depth: int, *, output: bool, sliding: bool = False
    ) -> Counts:
        """Counts of an operand that registers hold inside the outer `depth` loops.

        With `sliding`, an input's piece keeps what it shares with the one before, as long as the loop around it runs.
        """
        counts, fresh = Counts(), 0
        seen: set[Word] = set()
        before: set[tuple[Word, Word]] = set()
        place: Box = {}
        for box, pieces in self._visits(access, depth):
            wanted = {(self.holder(e, private), self.word(access, e.point)) for step in pieces for e in step}
            words = {word for _, word in wanted}
            counts.visits += 1
            on = self.layout.loops[depth - 1][0] if sliding and depth else ""
            same = all(place.get(r) == box[r] for r in access.ranks if r != on) and on in access.ranks
            kept = before if same and place[on] < box[on] else set()
            counts.memory += len(words - {word for _, word in kept})
            counts.network += len(wanted - kept)
            before, place = wanted, box
            fullest = max(sum(1 for h, _ in wanted if h == holder) for holder, _ in wanted)
            counts.held = max(counts.held, fullest)
            back = len(words & seen) if output else 0
            counts.back += back
            fresh += len(wanted) - back
            seen |= words
            for step in pieces:
                counts.read += len({(self.holder(e, private), self.word(access, e.point)) for e in step})
        if output:  # written in every step and when it comes back; read in every step but the first, and at the end
            counts.write = counts.read + counts.back
            counts.read = counts.read - fresh + counts.network
            counts.network += counts.back
        else:
            counts.write = counts.network
        return counts

    def _visits(self, access: Access, depth: int) -> Iterator[tuple[Box, list[list[Element]]]]:
        """Every visit to a piece of a tensor: its box, and the steps."""
        pieces: list[list[Element]] = []
        before: Box = {}
        for boxes, steps in self.bodies:
            piece = {r: boxes[depth][r] for r in access.ranks}
            if pieces and piece != before:
                yield before, pieces
                pieces = []
            before = piece
            pieces.extend(steps)
        yield before, pieces
