"""What the Ops inside a Loop with a `halo` make in each iteration: boxes found backwards from the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..ir import Affine, Einsum

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""First and last point of a rank in each iteration."""


@dataclass(frozen=True)
class Cut:
    """The rank of an Einsum that a Loop with a halo cuts, and its points in each iteration; none when it cuts none."""

    rank: str = ""
    spans: Spans = ()


class Uncuttable(Exception):
    """Why an Einsum cannot make what the ones after it need."""


def halo_cuts(einsums: Sequence[Einsum], rank: str, tile: int, *, clipped: bool) -> list[Cut]:
    """Cut a chain (or DAG) of Einsums into tiles of a rank of the last one.

    Args:
        einsums: in the order in which they run; each but the last is read by later ones.
        rank: of the last Einsum.
        tile: points of it in each iteration.
        clipped: whether boxes end at the borders of their tensors.

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
    found[-1] = Cut(rank, tuple((low, min(low + tile, size) - 1) for low in range(0, size, tile)))
    for i in range(len(einsums) - 2, -1, -1):
        found[i] = _needed(einsums[i], list(zip(einsums[i + 1 :], found[i + 1 :], strict=True)), clipped)
    return found


def _needed(maker: Einsum, after: Sequence[tuple[Einsum, Cut]], clipped: bool) -> Cut:
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
                    needed.setdefault(dim, []).append(_touched(reader, index, cut))
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
    boxes = []
    for several in zip(*spans, strict=True):
        low, high = min(s[0] for s in several) - made.offset, max(s[1] for s in several) - made.offset
        if clipped:
            low = min(max(low, 0), size - 1)
            high = max(min(high, size - 1), low)
        boxes.append((low, high))
    return Cut(rank, tuple(boxes))


def _touched(reader: Einsum, index: Affine, cut: Cut) -> Spans:
    """First and last position of a dimension that a read touches in each iteration."""
    rest = Affine(tuple(t for t in index.terms if t[0] != cut.rank), index.offset).bounds(reader.sizes)
    step = sum(c for r, c in index.terms if r == cut.rank)
    return tuple(
        (rest[0] + min(step * low, step * high), rest[1] + max(step * low, step * high)) for low, high in cut.spans
    )
