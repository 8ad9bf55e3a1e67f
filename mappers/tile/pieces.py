"""Which tiles move in pieces, so that what uses them begins with the first one, and results leave as they are done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...ir import Access, Einsum
from .nest import Level, Way
from .operand import Operand

MOST = 4096
"""Pieces of a tile at most."""


def pieces_of(
    einsum: Einsum, accesses: Mapping[tuple[str, bool], Sequence[Access]], levels: Sequence[Level]
) -> dict[Way, int]:
    """Ways whose tiles move in pieces, and the number of loops of all levels that stand around their pieces.

    Pieces are cut as the loops inside of a tile's cut do, as far as the tiles of the next memory are cut and there are
    `MOST` pieces at most. Partial results move whole, and so do tiles that slide or serve several accesses.

    Args:
        accesses: by tensor, and whether it is the result.
        levels: outermost first.
    """
    loops = [loop for level in levels for loop in level.loops]
    cuts: dict[Way, int] = {}
    around = 0
    for level in levels:
        cuts |= {way: around + depth for way, depth in level.depth.items()}
        around += len(level.loops)
    found: dict[Way, int] = {}
    nearer: dict[tuple[str, bool], int] = {}
    for level in reversed(levels):
        for way in level.depth:
            tensor, _, stored = way
            mine = accesses[tensor, stored]
            limit = nearer.get((tensor, stored), len(loops))
            nearer[tensor, stored] = cuts[way]
            partial = stored and any(r in einsum.reduced_ranks for r, _ in loops[: cuts[way]])
            if way not in level.slides and not partial and len(mine) == 1:
                inner = _inner(einsum, mine[0], loops, cuts[way], limit)
                if inner > cuts[way]:
                    found[way] = inner
    return found


def cutting_ranks(operand: Operand, ranks: Collection[str]) -> frozenset[str]:
    """Those of the tiled ranks whose loops can cut a tile into pieces."""
    if len(operand.accesses) != 1:
        return frozenset()
    tiled = [[r for r in index.ranks if r in ranks] for index in operand.accesses[0].indices]
    return frozenset(r for mine in tiled for r in mine if len(mine) == 1 and sum(r in other for other in tiled) == 1)


def _inner(einsum: Einsum, access: Access, loops: Sequence[tuple[str, int]], cut: int, limit: int) -> int:
    """The number of loops around the pieces of a tile; that around the tile where there is but one."""
    extents = dict(einsum.sizes)
    pieces, inner = 1, cut
    cutting: set[str] = set()
    for depth, (rank, tile) in enumerate(loops[:limit]):
        trips = -(-extents[rank] // tile)
        extents[rank] = min(tile, extents[rank])
        if depth < cut or rank not in access.ranks or trips == 1:
            continue
        cutting.add(rank)
        pieces *= trips
        mine = [i for i in access.indices if rank in i.ranks]
        if pieces > MOST or len(mine) > 1 or any(cutting.intersection(i.ranks) != {rank} for i in mine):
            break
        inner = depth + 1
    return inner
