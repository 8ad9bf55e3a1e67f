"""What the Ops inside a Loop with a `halo` make in each iteration: boxes found backwards from the last of them.

A Loop that retains makes every point once: of a box, an Op makes what no iteration before has made, and the rest is
still there. The last points of a dimension may be made before the last iterations, in which the Op has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from ..ir import Access, Affine, Einsum
from .tree import Halo

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""First and last point of a rank in each iteration; the last is before the first where there are none."""


@dataclass(frozen=True)
class Cut:
    """The rank of an Einsum that a Loop with a halo cuts, and its points in each iteration; none when it cuts none.

    Attributes:
        spans: the points that are made.
        boxes: those that must be there, of which a Loop that retains makes but a part.
    """

    rank: str = ""
    spans: Spans = ()
    boxes: Spans = ()

    @property
    def overlap(self) -> int:
        """Points that are there from the iteration before, at most."""
        return overlap(self.boxes)

    def window(self, tiles: int) -> int:
        """Points that are held at most while one iteration is read and those after it, `tiles` in all, are made."""
        return window(self.boxes, tiles)


def overlap(boxes: Spans) -> int:
    """Points that neighbouring boxes share, at most."""
    return max((max(0, high - low + 1) for (_, high), (low, _) in pairwise(boxes)), default=0)


def window(boxes: Spans, tiles: int) -> int:
    """Points from the start of a box to the end of the one `tiles` - 1 iterations later, at most."""
    return max(boxes[min(i + tiles, len(boxes)) - 1][1] - low + 1 for i, (low, _) in enumerate(boxes))


def fresh(boxes: Spans) -> Spans:
    """Of each box, the points beyond all before it."""
    found = []
    made = boxes[0][0] - 1
    for low, high in boxes:
        high = max(high, made)
        found.append((max(low, made + 1), high))
        made = high
    return tuple(found)


class Uncuttable(Exception):
    """Why an Einsum cannot make what the ones after it need."""


def halo_cuts(einsums: Sequence[Einsum], rank: str, tile: int, halo: Halo) -> list[Cut]:
    """Cut a chain (or DAG) of Einsums into tiles of a rank of the last one.

    Args:
        einsums: in the order in which they run; each but the last is read by later ones.
        rank: of the last Einsum.
        tile: points of it in each iteration.
        halo: how boxes end, and whether points that were made before are made again.

    Returns:
        For each Einsum what is cut.

    Raises:
        Uncuttable: the message says which Einsum and why.
    """
    last = einsums[-1]
    if rank not in last.output.ranks:
        raise Uncuttable(f"{last.name}, the last Einsum below, has no rank {rank!r} in its result")
    size = last.sizes[rank]
    found = [Cut()] * len(einsums)
    tiles = tuple((low, min(low + tile, size) - 1) for low in range(0, size, tile))
    found[-1] = Cut(rank, tiles, tiles)
    for i in range(len(einsums) - 2, -1, -1):
        found[i] = _needed(einsums[i], list(zip(einsums[i + 1 :], found[i + 1 :], strict=True)), halo)
    return found


def _needed(maker: Einsum, after: Sequence[tuple[Einsum, Cut]], halo: Halo) -> Cut:
    """The box of a result that holds all that later Einsums read of it."""
    needed: dict[int, list[Spans]] = {}
    reads = 0
    for reader, cut in after:
        for access in reader.inputs:
            if access.tensor != maker.output.tensor:
                continue
            reads += 1
            for dim, index in enumerate(access.indices):
                if cut.rank in index.ranks:
                    needed.setdefault(dim, []).append(touched(reader, index, cut))
    if not reads:
        raise Uncuttable(f"nothing after it reads what {maker.name} makes, by its own name")
    if len(needed) > 1:
        raise Uncuttable(f"{maker.output.tensor} would be cut along {len(needed)} dimensions at once")
    dim, spans = next(iter(needed.items()), (0, []))
    if len(spans) < reads:  # something reads all of it
        return Cut()
    made = maker.output.indices[dim]
    terms = [(r, c) for r, c in made.terms if maker.sizes[r] > 1] or list(made.terms[:1])
    if len(terms) != 1 or terms[0][1] != 1:
        raise Uncuttable(f"{maker.name} makes dimension {dim} of its result by the index {made}, which is no rank")
    (rank, _), size = terms[0], maker.sizes[terms[0][0]]
    boxes: list[tuple[int, int]] = []
    for several in zip(*spans, strict=True):
        some = [(low, high) for low, high in several if low <= high]
        if not some:
            boxes.append(boxes[-1])  # nothing is read: what is there stays
            continue
        low, high = min(s[0] for s in some) - made.offset, max(s[1] for s in some) - made.offset
        if halo != "whole":
            low = min(max(low, 0), size - 1)
            high = max(min(high, size - 1), low)
        boxes.append((low, high))
    if halo != "retained":
        return Cut(rank, tuple(boxes), tuple(boxes))
    if any(b < a for (a, _), (b, _) in pairwise(boxes)):
        raise Uncuttable(f"what is read of {maker.output.tensor} does not move forward along {rank!r} of {maker.name}")
    return Cut(rank, fresh(tuple(boxes)), tuple(boxes))


def touched(reader: Einsum, index: Affine, cut: Cut) -> Spans:
    """First and last position of a dimension that a read touches in each iteration; (0, -1) for none."""
    rest = Affine(tuple(t for t in index.terms if t[0] != cut.rank), index.offset).bounds(reader.sizes)
    step = sum(c for r, c in index.terms if r == cut.rank)
    return tuple(
        (rest[0] + min(step * low, step * high), rest[1] + max(step * low, step * high)) if low <= high else (0, -1)
        for low, high in cut.spans
    )


def touched_boxes(uses: Sequence[tuple[Einsum, Access, Cut]], size: Callable[[int], int]) -> tuple[int, Spans]:
    """The dimension that a Loop with a halo cuts of a tensor, and the positions that accesses touch in each iteration.

    Args:
        uses: Einsums with an access to the tensor each, and what the Loop cuts of them.
        size: of a dimension.

    Raises:
        Uncuttable: accesses are cut along several dimensions or not at all, or what they touch does not move forward.
    """
    dims = {d for _, access, cut in uses for d, i in enumerate(access.indices) if cut.rank in i.ranks}
    if len(dims) != 1 or len({access.tensor for _, access, _ in uses}) > 1:
        raise Uncuttable("it is not cut along one dimension")
    (dim,) = dims
    if any(cut.rank not in access.indices[dim].ranks for _, access, cut in uses):
        raise Uncuttable("it is read whole in every iteration")
    last = size(dim) - 1
    several = [touched(einsum, access.indices[dim], cut) for einsum, access, cut in uses]
    boxes: list[tuple[int, int]] = []
    for spans in zip(*several, strict=True):
        some = [(low, high) for low, high in spans if low <= high]
        low, high = (min(s[0] for s in some), max(s[1] for s in some)) if some else boxes[-1]
        low = min(max(low, 0), last)
        boxes.append((low, max(min(high, last), low)))
    if any(b < a for (a, _), (b, _) in pairwise(boxes)):
        raise Uncuttable("what is read of it does not move forward")
    return dim, tuple(boxes)
