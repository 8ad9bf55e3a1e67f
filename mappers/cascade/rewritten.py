"""From a cascade as it is written down to one that a machine runs well: rewrites, blocks of ranks, and the mapper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...errors import AccelsimError
from ...ir import Einsum, Workload
from ...ir.passes import passes
from ...ir.rewrites import Rewritten, fewest_passes
from .search import sides_of

BLOCKS = 4
"""Sizes of blocks that are tried per rank."""
SMALLEST = 16
"""Of a block."""


@dataclass(frozen=True)
class Candidate:
    """A form of a cascade: the Workload, and what led to it."""

    workload: Workload
    steps: tuple[str, ...] = ()


def candidates(workload: Workload, arch: Architecture) -> Iterator[Candidate]:
    """The cascade as it is, and with fewest passes: its ranks of several passes whole, and cut into blocks."""
    yield Candidate(workload)
    several = [p.family.name for p in passes(workload) if p.count > 1]
    sizes = {rank: size for item in workload.body if isinstance(item, Einsum) for rank, size in item.sizes.items()}
    ways: list[dict[str, int]] = [{}]
    for rank in several:
        if rank in sizes:
            ways += [{rank: block} for block in _blocks(sizes[rank], arch)]
    for blocks in ways:
        found = _rewritten(workload, blocks)
        if found is not None and found.steps:
            yield Candidate(found.workload, tuple(map(str, found.steps)))


def _rewritten(workload: Workload, blocks: dict[str, int]) -> Rewritten | None:
    try:
        return fewest_passes(workload, blocks=blocks)
    except AccelsimError:
        return None


def _blocks(size: int, arch: Architecture) -> list[int]:
    """Divisors of a rank near the sides of the machine's units, larger ones first."""
    sides = sides_of([u for u in arch.units.values() if isinstance(u, ComputeUnit)])
    wanted = [max(sides) * 2.0**n for n in range(1, 1 - BLOCKS, -1)]
    divisors = [d for d in range(SMALLEST, min(size, 2**16)) if size % d == 0]
    return sorted({min(divisors, key=lambda d: (abs(d - w), d)) for w in wanted} if divisors else (), reverse=True)
