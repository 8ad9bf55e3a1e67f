"""A loop nest of one Einsum as the searches see it: levels of loops with the cuts of tensors, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ...arch.layout import Layout
from ...lowering.ports import Route
from .operand import Array, Extents, Floats, Operand

TIE = {"latency": 0.001, "energy": 1e-7, "edp": 0.001}
"""By objective, plans whose sums by the aim differ by less than this share count as equal, and the one of less energy
is taken, for the objective ``energy`` the faster one. Cycles are estimated, energy is counted."""

Way: TypeAlias = tuple[str, str, bool]
"""A tensor, the memory that it comes to on its way to the unit or leaves on the way back; whether it is a result."""
Crossing: TypeAlias = tuple[str, bool]
"""A tensor, and whether it is a result."""
Lasts: TypeAlias = Mapping[Way, Array]
"""Of tensors whose tile is that of the level around: for how many of its tiles in a row it is one and the same, which
comes but once for all of them. One number per candidate; 1 for those left out."""


@dataclass(frozen=True)
class Hop:
    """The way of one operand between two neighbouring memories; `memory` is the one nearer to the unit.

    Attributes:
        weighs: whether its bytes count as off-chip traffic.
    """

    operand: Operand
    memory: str
    load: Route
    store: Route
    weighs: bool

    @property
    def key(self) -> Way:
        return self.operand.tensor, self.memory, self.operand.is_output


@dataclass(frozen=True)
class Work:
    """Time and energy of tiles: cycles of the machine's clock, joules, and cycles until the first one can begin and
    after the last one has ended."""

    cycles: Floats
    joules: Floats
    edge: Floats


@dataclass(frozen=True)
class Level:
    """The loops of one level, (rank, tile), outermost first, and where among them tensors are cut.

    Attributes:
        depth: way to the number of these loops around its tiles; negative if its tile is brought outside of so many of
            the loops of the levels around, which do not change it.
        slides: those whose tiles bring only what the one before, in the innermost of these loops, did not hold.
        buffers: the same to the number of buffers for them.
        tile_bytes: the same to the bytes of one.
    """

    loops: tuple[tuple[str, int], ...]
    depth: Mapping[Way, int]
    buffers: Mapping[Way, int]
    tile_bytes: Mapping[Way, int]
    slides: frozenset[Way] = frozenset()


@dataclass(frozen=True)
class Nest:
    """Everything inside a level: further levels, and how the unit runs the innermost tiles."""

    levels: tuple[Level, ...] = ()
    layout: Layout | None = None
    complete: bool = True


@dataclass(frozen=True)
class Shortfall:
    """No candidate fits `memory`: the smallest one needs `needed` bytes of it."""

    needed: int
    memory: str = ""
    capacity: int = 0


class Inner(Protocol):
    """What runs inside the tiles of a level."""

    exact: bool
    """Whether `bound` is the cost itself, and there is nothing to settle."""

    @property
    def late(self) -> float:
        """Cycles from the end of the largest tile to its results."""

    def bound(self, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        """At most the work of tiles; `sums` of them add up to a result."""

    def settle(self, extents: Mapping[str, int], sums: int, lasts: Mapping[Way, int]) -> Nest | Shortfall:
        """The best way to run a tile; `sums` of them add up to a result."""

    def work(self, nest: Nest, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        """The work of tiles that run so."""


@dataclass(frozen=True)
class Found:
    """The best choice of a level.

    Attributes:
        value: the sum by the aim.
        tie: what decides among equal ones: joules, for the objective ``energy`` cycles.
        traffic: bytes off chip.
        work: cycles without the edge, joules and edge.
        held: bytes that it takes of each memory of the level.
        moved: bytes into the level from outside the chip, and out of it, of every tensor, results apart from operands.
        computing: cycles of the unit, at least, where that is known.
    """

    value: float
    tie: float
    traffic: int
    nest: Nest
    work: Work
    held: Mapping[str, int]
    moved: Mapping[Crossing, tuple[float, float]]
    computing: float
