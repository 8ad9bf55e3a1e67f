"""What a systolic array waits for the banks of the memories that feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from ..ir import Contraction
from .banks import IntArray, Loop, Tile, box, in_groups


@dataclass(frozen=True)
class Shape:
    """How a tile O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n] runs; ``g``, ``m``, ``n`` and ``k`` stand for their ranks.

    Attributes:
        sides: elements of the array along each of the two that lie there.
        sizes: points of each.
        dealt: which of them the arrays share, and `part` how many points each gets; empty for none.
        passes: how often every result of ws and is leaves an array.
        repeats: how often every point of K is run: slices of wide operands, and the share that is not skipped.
        multicast, adders: as of the array.
    """

    sides: Mapping[str, int]
    sizes: Mapping[str, int]
    dealt: str
    part: int
    passes: int
    repeats: Fraction
    multicast: bool
    adders: bool

    def folds(self, along: str) -> int:
        """Of one array."""
        size = self.part if along == self.dealt else self.sizes[along]
        return -(-size // self.sides[along])


_ACCESSES: Mapping[str, Sequence[tuple[int, str, str, str]]] = {
    "os": ((0, "m", "k", "n"), (1, "n", "k", "m"), (2, "n", "m", "shifted")),
    "ws": ((0, "k", "m", "n"), (1, "n", "k", "shifted"), (2, "n", "m", "passes")),
    "is": ((0, "m", "k", "shifted"), (1, "k", "n", "m"), (2, "m", "n", "passes")),
}
"""By dataflow, of A, B and O: along what the words of a cycle lie, along what successive cycles step, and for which
folds, or passes, all of them come again; what is shifted through the elements before or after a fold comes once."""
_CARRIED = ("gmk", "gkn", "gmn")


def stream_and_shift_waits(
    dataflow: str, tiles: Sequence[Tile | None], parts: Contraction, shape: Shape
) -> tuple[int, int]:
    """Cycles by which banks lengthen the streams of all folds, and all shifting in or out, of the largest share.

    In each cycle a stream wants a word for every row (or column) of the array that it enters, and what is shifted a
    word for every column. Words leave the memory abreast; delays in front of the array set them askew. Each operand has
    a queue of its own: of those that stream at the same time, the one that waits most in all decides.
    """
    ranks = {"g": parts.g, "m": parts.m, "n": parts.n, "k": parts.k}
    streamed, shifted = 0, 0
    for operand, wide, along, again in _ACCESSES[dataflow]:
        tile = tiles[operand]
        if tile is None:
            continue
        sets = in_groups(
            box(tile.loops(ranks[wide])), shape.sides[wide], shape.part if shape.dealt == wide else None
        )  # fmt: skip
        over: list[Loop | IntArray] = []
        for letter in ("g", along):
            if letter == shape.dealt:  # every array is as far along its part
                points = box(tile.loops(ranks[letter]))
                sets = (sets[:, :, None] + points[:: shape.part]).reshape(len(sets), -1)
                over.append(points[: shape.part])
            else:
                over.extend(tile.loops(ranks[letter]))
        apart = bool(shape.dealt) and shape.dealt not in _CARRIED[operand]
        once = not apart or (shape.adders if operand == 2 else shape.multicast)
        requests = 1 if once else -(-shape.sizes[shape.dealt] // shape.part)
        cycles = tile.waits(sets, over, requests)
        if operand < 2:
            cycles = ceil(cycles * shape.repeats)
        if again == "shifted":
            shifted += cycles
        else:
            streamed = max(streamed, cycles * (shape.passes if again == "passes" else shape.folds(again)))
    return streamed, shifted
