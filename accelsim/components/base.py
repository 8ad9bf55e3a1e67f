"""What components offer to mappers and lowering: which Einsums they can run, how, at what cost, and their servers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from ..arch.component import CONFLICT, Banking, Direction, Memory, Operand, Surroundings, UnitBase
from ..arch.layout import Layout
from ..arch.units import rate_fraction
from ..engine.program import Server
from ..errors import BadInput
from ..ir import Access, Density, Einsum
from ..ir.roles import RankRole
from .banks import Tile

IntArray = NDArray[np.int64]
Extents = Mapping[str, IntArray]
"""Rank name to tile extents, one per candidate (arrays broadcast together)."""

_DIRECTIONS: tuple[Direction, ...] = ("read", "write")
_FEED_RANGE = 2**30
_FEED_LIMIT = 2**24 - 1
"""Largest term of bytes per cycle, so that bytes of a tile up to 2**39 times it stay inside int64."""


@dataclass(frozen=True)
class SpatialOption:
    """One way to lay an Einsum over a unit.

    `variant` names it for a Mapping file (a systolic array's dataflow, ``simd`` on a vector unit); `spatial` says which
    ranks run along which dimension of the unit, the others run over time. `layout` says all the rest, for units whose
    elements work through loops of their own; a Mapping carries it, so that mappers may make layouts beyond those that
    the unit offers.
    """

    variant: str
    spatial: Mapping[str, str]
    layout: Layout | None = None


@dataclass(frozen=True)
class Cost:
    """Cost of running tiles, one entry per candidate.

    Attributes:
        cycles: service time of one tile in cycles of the unit's clock, its operands being in the unit's memory, with
            those memories' bandwidth to the unit taken into account by `bytes over bandwidth` (at least 1).
        latency: further cycles until the result is visible, while the next tile may already be served.
        reads: bytes read from the unit's memories, per position in `Einsum.inputs`.
        writes: bytes of results written to the unit's memory, partial ones included.
        partial_reads: bytes of partial results read back from it.
        actions: counts of the unit's own actions (``mac``, ``exp``, ``register_read`` ...).
    """

    cycles: IntArray
    latency: IntArray
    reads: tuple[IntArray, ...]
    writes: IntArray
    partial_reads: IntArray
    actions: Mapping[str, IntArray]


_Feed = Mapping[tuple[str, Direction], tuple[str, tuple[int, int]]]
"""(memory, direction) to the port that serves it, with its bytes per cycle of the unit as a fraction."""


@dataclass(frozen=True)
class Keeping:
    """Work of a unit that keeps a memory meanwhile: at the memory's server, so much of it per cycle of the unit, with
    an argument that says so."""

    memory: str
    work_per_cycle: Fraction
    arg: int


class ComputeUnit(UnitBase):
    """Base class of the kinds that compute."""

    _feed: _Feed = PrivateAttr(default_factory=dict)
    _banks: Mapping[str, Banking] = PrivateAttr(default_factory=dict)

    @abstractmethod
    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Every way this unit can run the Einsum, best guess first; empty when it cannot."""

    @abstractmethod
    def cost(
        self,
        einsum: Einsum,
        option: SpatialOption,
        extents: Extents,
        bits: Sequence[int],
        *,
        resumed: bool = False,
        unfinished: bool = False,
    ) -> Cost:
        """Cost of tiles of the given extents.

        Args:
            einsum: what is computed.
            option: one of `spatial_options(einsum)`.
            extents: tile size of every rank of the Einsum, one per candidate.
            bits: bits per element of each input and, last, of the output.
            resumed: the tiles add to partial results of tiles before.
            unfinished: their results stay partial.
        """

    def option(self, einsum: Einsum, variant: str, layout: Layout | None) -> SpatialOption:
        """The option that an Op of a Mapping names.

        Raises:
            BadInput: the unit cannot run the Einsum so; the message says how it can.
        """
        options = self.spatial_options(einsum)
        for option in options:
            if option.variant == variant:
                if layout is not None:
                    raise BadInput(f"{self.name or self.kind}: {variant} has no layout to choose")
                return option
        can = ", ".join(dict.fromkeys(o.variant for o in options)) or "nothing of the kind"
        raise BadInput(f"{self.name or self.kind} cannot run {einsum.name} as {variant!r}; it can as {can}")

    @property
    def parts(self) -> int:
        """Parts that Ops can hold throughout a run, see `held`."""
        return 0

    def held(self, einsum: Einsum, option: SpatialOption, bits: Sequence[int]) -> int | None:
        """Parts of the unit that an Einsum has to itself throughout a run for one instance of its last input, so that
        it waits for no other; None: Ops take turns. Together, Einsums hold no more than `parts`."""  # fmt: skip
        return None

    def over(self, einsum: Einsum, densities: Sequence[Density]) -> Self:
        """The unit at work on inputs of these densities: its `cost` counts what zeros save. Here they save nothing.

        Raises:
            UnsupportedSparsity: it does not compute with zeros that lie so.
        """
        return self

    def least_reads(self, einsum: Einsum) -> tuple[float, ...]:
        """Every element at least once: an element serves no more points than the ranks that its access leaves out have,
        times, of an index over several ranks, all but the largest."""  # fmt: skip
        return tuple(once(einsum, access) for access in einsum.inputs)

    def least_cycles(self, einsum: Einsum, variant: str = "") -> float:
        """Cycles of its clock that it takes for a whole Einsum by itself, in one variant (this one, or whichever is
        best), however it is tiled.

        At least; 0 where no more is known than `rates_on`, which holds for parts of an Einsum too.
        """
        return 0.0

    def least_feed_cycles(self, einsum: Einsum, bits: Sequence[int]) -> float:
        elements = (*self.least_reads(einsum), 0.0, float(prod(einsum.sizes[r] for r in einsum.output.ranks)))
        ports: dict[str, float] = {}
        for way, n, width in zip(self.feeding(len(einsum.inputs)), elements, (*bits, bits[-1]), strict=True):
            if way is not None:
                name, (over, under) = way
                ports[name] = ports.get(name, 0.0) + n * width / 8 * under / over
        return max(ports.values(), default=0.0)

    @property
    def keeping(self) -> Keeping | None:
        """The memory that it keeps from all other accesses while it works; None: it is a server of its own."""
        return None

    def server(self, tick_hz: Fraction) -> Server:
        """The unit as a server; one unit of work is one cycle of its clock."""
        return Server(self.name, server_rate(self.name, self.clock_hz, tick_hz))

    def bound(self, surroundings: Surroundings) -> Self:
        copy = super().bound(surroundings)
        copy._feed = {
            (name, direction): (port[0], per_cycle(f"memory `{name}`", port[1], copy.clock_hz))
            for name, memory in surroundings.memories.items()
            for direction in _DIRECTIONS
            if (port := memory.port(direction)) is not None
        }
        copy._banks = {n: m.banking for n, m in surroundings.memories.items() if m.banking is not None}
        return copy

    def action_energy(self) -> Mapping[str, float]:
        return {**super().action_energy(), CONFLICT: 0.0} if self._banks else super().action_energy()

    def in_banks(
        self, einsum: Einsum, extents: Mapping[str, int], bits: Sequence[int], roles: Mapping[str, RankRole]
    ) -> tuple[Tile | None, ...]:
        """The tiles of every input and, last, of the output, as they lie in memories with banks; None in others."""
        operands: list[Operand] = ["weight" if i == 1 else "input" for i in range(len(einsum.inputs))]
        tiles = []
        accesses = (*einsum.inputs, einsum.output)
        feeds = self.feeds(len(einsum.inputs))
        for operand, access, width, memory in zip((*operands, "output"), accesses, bits, feeds, strict=True):
            banking = self._banks.get(memory)
            inner = () if banking is None else banking.layout.get(operand, ())
            tiles.append(None if banking is None else Tile.of(access, extents, roles, inner, width, banking))
        return tuple(tiles)

    def over_tiles(
        self, one: IntArray, extents: Extents, waits: Callable[..., Sequence[int]], *columns: IntArray
    ) -> tuple[IntArray, ...]:
        """What a function says of tiles of these extents and further columns, asked once for every different one."""
        names = list(extents)
        rows = np.stack([np.broadcast_to(x, one.shape).ravel() for x in (*extents.values(), *columns)])
        tiles, which = np.unique(rows, axis=1, return_inverse=True)
        found = []
        for tile in tiles.T.tolist():
            found.append(waits(dict(zip(names, tile, strict=False)), *tile[len(names) :]))
        return tuple(np.array(x, np.int64)[which.ravel()].reshape(one.shape) for x in zip(*found, strict=True))

    def feeding(self, inputs: int) -> tuple[tuple[str, tuple[int, int]] | None, ...]:
        """The port that every input comes through, then partial results, then the one that results go through.

        With each its bytes per cycle of the unit, as a fraction; None where there is no limit.
        """
        feeds = self.feeds(inputs)
        ways: list[tuple[str, Direction]] = [*((m, "read") for m in feeds), (feeds[-1], "write")]
        return tuple(self._feed.get(way) for way in ways)

    def feed_cycles(
        self, reads: Sequence[IntArray], writes: IntArray, partial_reads: IntArray | int = 0, *, least: int = 1
    ) -> IntArray:
        """Cycles that the ports of the unit's memories need for the bytes of a `Cost`, at least `least`.

        Bytes through one port add up, through several they overlap. A unit that stands in no machine is fed without
        limit.
        """
        ports: dict[str, tuple[tuple[int, int], IntArray]] = {}
        for way, amount in zip(self.feeding(len(reads)), (*reads, partial_reads, writes), strict=True):
            if way is not None:
                name, rate = way
                ports[name] = rate, ports[name][1] + amount if name in ports else np.zeros_like(writes) + amount
        cycles = np.full_like(writes, least)
        for rate, amount in ports.values():
            cycles = np.maximum(cycles, -(-amount * rate[1] // rate[0]))
        return cycles


def once(einsum: Einsum, access: Access) -> float:
    """Points of an Einsum over the most points that one element of an access serves."""
    return float(prod(max((einsum.sizes[r] for r in index.ranks), default=1) for index in access.indices))


def per_cycle(what: str, bandwidth: float, clock: float) -> tuple[int, int]:
    """A bandwidth in bytes per cycle of a compute unit, as a fraction.

    Raises:
        BadInput: it is too large or too small for exact counting.
    """
    rate = Fraction(bandwidth) / Fraction(clock)
    if not 1 / _FEED_RANGE <= rate <= _FEED_RANGE:
        raise BadInput(f"{what} moves {float(rate):g} bytes per cycle of its compute unit: out of "
                       "range (check its bandwidth and the clock)")  # fmt: skip
    return rate_fraction(rate, max(_FEED_LIMIT, ceil(1 / rate), ceil(rate))).as_integer_ratio()


def tile_shape(einsum: Einsum, extents: Extents) -> IntArray:
    """Ones in the shape of the candidates.

    Raises:
        BadInput: a rank of the Einsum has no extent.
    """
    try:
        arrays = [np.asarray(extents[r]) for r in einsum.sizes]
    except KeyError as missing:
        raise BadInput(f"{einsum.name}: no tile extent for rank {missing} (needs {', '.join(einsum.sizes)})") from None
    shapes = {a.shape for a in arrays}
    return np.ones(shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes), np.int64)


def server_rate(name: str, per_second: float, tick_hz: Fraction) -> Fraction:
    """A rate in units of work per tick, as an engine's Server takes it.

    Raises:
        BadInput: it is too large or too small for that.
    """
    try:
        return rate_fraction(Fraction(per_second) / tick_hz)
    except ValueError as error:
        raise BadInput(f"`{name}`: {error} (check its rate and the machine's clock)") from None


def port_server(memory: Memory, direction: Direction, tick_hz: Fraction) -> Server | None:
    """The port of a memory without state as a server; one unit of work is one byte."""
    port = memory.port(direction)
    return None if port is None else Server(port[0], server_rate(port[0], port[1], tick_hz))


def bytes_of(elements: IntArray, bits: int) -> IntArray:
    """Bytes of so many elements, rounded up once; no intermediate value is larger than the result."""
    if bits % 8 == 0:
        return elements * (bits // 8)
    whole, rest = elements >> 3, elements & 7
    return whole * bits - (-rest * bits >> 3)
