"""Loops with a halo as lowering sees them: which points of which rank each Op makes in each of their iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import MappingError
from ..ir import Einsum
from ..mapping.tree import Loop, Position, format_position


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
        found[here] = _ranges(ops[here], users, loop.halo == "clipped", format_position(here))
    return found


def _ranges(einsum: Einsum, users: Sequence[tuple[Einsum, Ranges]], clipped: bool, where: str) -> Ranges:
    """The hull of what all users touch, along the one dimension of the result that the Loop cuts."""
    uses = [(a, user, taken) for user, taken in users for a in user.inputs if a.tensor == einsum.output.tensor]
    dims = {d for a, _, taken in uses for d, index in enumerate(a.indices) if taken.rank in index.ranks}
    if not dims or any(not any(taken.rank in index.ranks for index in a.indices) for a, _, taken in uses):
        return Ranges()
    made = einsum.output.indices[min(dims)]
    ranks = [r for r in made.ranks if einsum.sizes[r] > 1] or list(made.ranks[:1])
    if len(dims) > 1 or len(ranks) != 1 or dict(made.terms)[ranks[0]] != 1:
        raise MappingError(f"position {where}: {einsum.name} cannot make its result in boxes along index {made}")
    points = []
    for i in range(len(uses[0][2].points)):
        touched: list[int] = []
        for access, user, taken in uses:
            corners = [access.indices[min(dims)].offset]
            for rank, c in access.indices[min(dims)].terms:
                span = taken.points[i] if rank == taken.rank else range(user.sizes[rank])
                corners = [value + c * end for value in corners for end in (span[0], span[-1])]
            touched += corners
        low, high = min(touched) - made.offset, max(touched) - made.offset
        if clipped:
            high = max(0, min(high, einsum.sizes[ranks[0]] - 1))
            low = max(0, min(low, einsum.sizes[ranks[0]] - 1))
        points.append(range(low, high + 1))
    return Ranges(ranks[0], tuple(points))
