"""A pool of cores that phases share out anew: DSP blocks of an FPGA, pattern compute units of a dataflow chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..arch.units import Bandwidth, Bytes, Time
from ..ir import COST_CLASSES, Einsum
from ..ir.operators import operation_terms
from .base import Cost, Extents, IntArray, SpatialOption, bytes_of
from .elementwise import ByClass, Points, operations, refuse, unable
from .pipelined import Loop, Timing, fewest_iterations, nest_timing


class CorePool(ByClass):
    """`cores` of `multipliers` each, every multiplier doing `rates[class]` operations of a cost class per cycle.

    A tile is a pipelined nest of loops (`pipelined`), unrolled over multipliers for the fewest iterations; an iteration
    takes the multiplier cycles of a point, the sum over cost classes of operations / rate. As one unit, all its cores
    work on one tile, or wait for the bandwidth of its memory where that takes longer. `lowering.phases` gives cores to
    several tasks at once, and further keys are for it: what a pipelined loop, a stream between two tasks and the change
    from one phase to the next cost.
    """

    kind: Literal["core_pool"] = "core_pool"
    cores: Annotated[int, Field(ge=1, le=2**20, description="Units that a phase hands out.")]
    multipliers: Annotated[int, Field(ge=1, le=2**20, description="Of each core.")]
    read_latency: Annotated[int, Field(ge=0, le=2**16, description="Cycles from an address to its word on chip.")] = 1
    operation_latency: Annotated[int, Field(ge=0, le=2**16, description="Cycles of a multiply-add.")] = 1
    ports: Annotated[
        int | None, Field(ge=1, description="Streams to off-chip memory that run at once; no limit unless given.")
    ] = None
    port_bandwidth: Annotated[Bandwidth | None, Field(description="Of one such stream; no limit unless given.")] = None
    grid: Annotated[tuple[int, int] | None, Field(description="Rows and columns in which the cores lie.")] = None
    hop_latency: Annotated[int, Field(ge=0, le=2**16, description="Cycles from a core to its neighbour.")] = 0
    switches: Annotated[
        Mapping[str, Time], Field(description="Time from one phase to the next, by who orders it.")
    ] = Field(default_factory=dict)  # fmt: skip
    network_bandwidth: Annotated[
        Bandwidth | None, Field(description="To the pools of other sockets, each way; for all-reduces.")
    ] = None
    network_latency: Annotated[Time, Field(description="Of one message to another socket.")] = 0.0
    block: Annotated[
        Bytes, Field(ge=1, description="Bytes of a block of on-chip memory: what a phase hands out of it.")
    ] = 1

    @property
    def lanes(self) -> int:
        """Multipliers of all cores."""
        return self.cores * self.multipliers

    @property
    def depth(self) -> int:
        """Cycles of one iteration of an innermost loop, from operand to result."""
        return max(1, self.read_latency + self.operation_latency)

    def lane_count(self) -> int:
        return self.lanes

    def timing(
        self, name: str, sizes: Mapping[str, int], work: Fraction, loop: Loop, *, cores: int, outer: str = "",
        pieces: int = 0,
    ) -> Timing:  # fmt: skip
        """Time of a nest on some of the cores, see `pipelined.nest_timing`; its operands are on the chip."""
        lanes = cores * self.multipliers
        return nest_timing(name, sizes, work, loop, lanes=lanes, depth=self.depth, outer=outer, pieces=pieces)

    def work(self, einsum: Einsum, extents: Extents) -> tuple[IntArray, int]:
        """Cycles of one multiplier for all points of tiles, as whole numbers over one denominator; at least 1.

        Raises:
            BadInput: a class of the Einsum has rate 0.
        """
        rates = {c: self.rate(c) for c in COST_CLASSES}
        if missing := unable(einsum, rates):
            raise refuse(self.name or self.kind, einsum, f"its rate of {', '.join(missing)} is 0")
        points = Points(einsum, extents)
        counted = operations(einsum, points)
        common = lcm(*(rates[c].numerator for c in counted))
        total = np.zeros_like(points.one, dtype=object)  # products with denominators may leave int64
        for c, n in counted.items():
            total = total + n.astype(object) * (rates[c].denominator * (common // rates[c].numerator))
        return np.maximum(total, common), common

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """One option, ``split``: the points of a tile over all multipliers; none if a class has rate 0."""
        if not all(self.rate(c) for c, _ in operation_terms(einsum)):
            return ()
        ranks = [r for index in einsum.output.indices for r in index.ranks] or list(einsum.sizes)
        return (SpatialOption("split", {ranks[-1]: "multipliers"} if ranks else {}),)

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
        """Cost of tiles, see the class. An input is read once per point of its ranks; results accumulate in a tile.

        Raises:
            BadInput: a class of the Einsum has rate 0, or the option is not ``split``.
        """
        if option.variant != "split":
            raise refuse(self.name or self.kind, einsum, f"no option `{option.variant}` (has: split)")
        work, common = self.work(einsum, extents)
        points = Points(einsum, extents)
        one = points.one
        actions = operations(einsum, points)
        nests = np.stack([np.broadcast_to(extents[r], one.shape).ravel() for r in sorted(einsum.sizes)], axis=1)
        steps = fewest_iterations(nests, self.lanes).reshape(one.shape).astype(object)
        whole = points.of(frozenset(einsum.sizes)).astype(object) * common
        cycles = (-(-steps * work // whole)).astype(np.int64)
        reads = tuple(bytes_of(points.of(a.ranks), b) for a, b in zip(einsum.inputs, bits[:-1], strict=True))
        writes = bytes_of(points.of(einsum.output.ranks), bits[-1])
        partial = writes * resumed
        fed = self.feed_cycles(reads, writes, partial)
        latency = np.full_like(one, self.depth)
        return Cost(np.maximum(cycles, fed), latency, reads, writes, partial, actions)
