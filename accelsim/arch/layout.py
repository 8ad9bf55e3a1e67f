"""Layout: how a unit with many elements works through one tile of an Einsum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .component import Operand


@dataclass(frozen=True)
class Spread:
    """`factor` neighbouring points of `rank` side by side along `dimension` of a unit.

    Where they run out, points of the next index of rank `through` follow; a step never takes more points than `rank`
    has. That holds as long as the layout has loops over neither of the two.
    """

    rank: str
    dimension: str
    factor: int
    through: str | None = None


@dataclass(frozen=True)
class Layout:
    """Which points of a tile run at once, in which order the unit steps through the others, and what it holds.

    Attributes:
        spreads: points side by side; along one dimension their factors multiply, as do those of a rank that lies along
            several.
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

    @property
    def joined(self) -> Mapping[str, str]:
        """Ranks whose spread runs on into the next index of another one, with that other one."""
        return {s.rank: s.through for s in self.spreads if s.through is not None}

    def factor(self, rank: str) -> int:
        """Points of a rank that run side by side."""
        result = 1
        for spread in self.spreads:
            if spread.rank == rank:
                result *= spread.factor
        return result
