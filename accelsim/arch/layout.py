"""Layout: how a unit with many elements works through one tile of an Einsum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .component import Operand


@dataclass(frozen=True)
class Spread:
    """`factor` neighbouring points of `rank` side by side along `dimension` of a unit."""

    rank: str
    dimension: str
    factor: int


@dataclass(frozen=True)
class Layout:
    """Which points of a tile run at once, in which order the unit steps through the others, and what it holds.

    Attributes:
        spreads: points side by side; along one dimension their factors multiply.
        loops: (rank, tile) of loops over time inside the unit, outermost first. Each cuts what is left of its rank, the
            points that are spread included, as a `mapping.tree.Loop` does. What is then left of the ranks is stepped
            through innermost, a spread's worth at a time, in the order of the Einsum's ranks.
        holds: operand to the number of loops around the piece of it that the registers hold: 0 for the whole tile.
    """

    spreads: tuple[Spread, ...] = ()
    loops: tuple[tuple[str, int], ...] = ()
    holds: Mapping[Operand, int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.spreads, self.loops, tuple(sorted(self.holds.items()))))

    def factor(self, rank: str) -> int:
        """Points of a rank that run side by side."""
        result = 1
        for spread in self.spreads:
            if spread.rank == rank:
                result *= spread.factor
        return result
