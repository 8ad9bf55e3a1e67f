"""Loops with a halo as lowering sees them: which points of which rank each Op makes in each of their iterations.

In a Loop that retains, these are the points that no iteration before has made; there may be none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import MappingError
from ..ir import Affine, Einsum
from ..mapping.tree import Halo, Loop, Position, format_position


@dataclass(frozen=True)
class Ranges:
    """A rank of an Einsum and the points of it that each iteration takes; no rank where all are taken each time."""

    rank: str = ""
    points: tuple[range, ...] = ()


def halo_ranges(loop: Loop, at: Position, ops: Mapping[Position, Einsum]) -> dict[Position, Ranges]:
    """What a Loop with a halo at a position cuts of the Ops below it, given in order.

    Raises:
        MappingError: an Op cannot make the box that is needed of it.
    """
    order = list(ops)
    last = ops[order[-1]]
    if loop.rank not in last.output.ranks:
        raise MappingError(f"position {format_position(at)}: {last.name} makes nothing with a rank {loop.rank!r}")
    size = last.sizes[loop.rank]
    found = {order[-1]: Ranges(loop.rank, tuple(range(i, min(i + loop.tile, size)) for i in range(0, size, loop.tile)))}
    for here in reversed(order[:-1]):
        users = [(ops[x], found[x]) for x in order[order.index(here) + 1 :]]
        found[here] = _ranges(ops[here], users, loop.halo, format_position(here))
    return found


def unseen(boxes: Sequence[range]) -> tuple[range, ...]:
    """Of each box what lies beyond all before it, as boxes move forward."""
    end = 0
    found = []
    for box in boxes:
        stop = max(end, box.stop)
        found.append(range(min(max(end, box.start), stop), stop))
        end = stop
    return tuple(found)


def _ranges(einsum: Einsum, users: Sequence[tuple[Einsum, Ranges]], halo: Halo, where: str) -> Ranges:
    """The hull of what all users touch, along the one dimension of the result that the Loop cuts."""
    uses = [(a, user, taken) for user, taken in users for a in user.inputs if a.tensor == einsum.output.tensor]
    dims = {d for a, _, taken in uses for d, index in enumerate(a.indices) if taken.rank in index.ranks}
    if not dims or any(not any(taken.rank in index.ranks for index in a.indices) for a, _, taken in uses):
        return Ranges()
    made = einsum.output.indices[min(dims)]
    ranks = [r for r in made.ranks if einsum.sizes[r] > 1] or list(made.ranks[:1])
    if len(dims) > 1 or len(ranks) != 1 or dict(made.terms)[ranks[0]] != 1:
        raise MappingError(f"position {where}: {einsum.name} cannot make its result in boxes along index {made}")
    points: list[range] = []
    for i in range(len(uses[0][2].points)):
        touched = [x for access, user, taken in uses for x in corners(access.indices[min(dims)], user, taken, i)]
        if not touched:
            points.append(range(0))
            continue
        low, high = min(touched) - made.offset, max(touched) - made.offset
        if halo != "whole":
            high = max(0, min(high, einsum.sizes[ranks[0]] - 1))
            low = max(0, min(low, einsum.sizes[ranks[0]] - 1))
        points.append(range(low, high + 1))
    return Ranges(ranks[0], unseen(points) if halo == "retained" else tuple(points))


def corners(index: Affine, user: Einsum, taken: Ranges, i: int) -> list[int]:
    """Values of an index at the corners of what a user takes in an iteration; none where it takes nothing."""
    found = [index.offset]
    for rank, c in index.terms:
        span = taken.points[i] if rank == taken.rank else range(user.sizes[rank])
        found = [value + c * end for value in found for end in (span[0], span[-1])] if span else []
    return found
