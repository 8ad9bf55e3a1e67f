"""A pool of cores that phases share out anew: DSP blocks of an FPGA, pattern compute units of a dataflow chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..arch.units import Bandwidth, Bytes, Time
from ..ir import COST_CLASSES, Einsum
from ..ir.operators import operation_terms
from .base import Cost, Extents, SpatialOption, bytes_of
from .elementwise import ByClass, Points, cycles_of, operations, refuse, unable


class CorePool(ByClass):
    """`cores` of `multipliers` each, every multiplier doing `rates[class]` operations of a cost class per cycle.

    As one unit, all its cores work on one tile: cycles are the sum over cost classes of ceil(operations / (cores ·
    multipliers · rate)), or the bytes over the bandwidth of its memory where that takes longer. `mappers.phases` gives
    cores to several tasks at once, and further keys are for it: what a pipelined loop, a stream between two tasks and
    the change from one phase to the next cost.
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

    def lane_count(self) -> int:
        return self.lanes

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
        rates = {c: self.rate(c) for c in COST_CLASSES}
        missing = unable(einsum, rates)
        if missing or option.variant != "split":
            why = f"its rate of {', '.join(missing)} is 0" if missing else f"no option `{option.variant}` (has: split)"
            raise refuse(self.name or self.kind, einsum, why)
        points = Points(einsum, extents)
        one = points.one
        actions = operations(einsum, points)
        cycles = cycles_of(actions, one, self.lanes, rates)
        reads = tuple(bytes_of(points.of(a.ranks), b) for a, b in zip(einsum.inputs, bits[:-1], strict=True))
        writes = bytes_of(points.of(einsum.output.ranks), bits[-1])
        partial = writes * resumed
        fed = self.feed_cycles(reads, writes, partial)
        latency = np.full_like(one, self.read_latency + self.operation_latency)
        return Cost(np.maximum(cycles, fed), latency, reads, writes, partial, actions)
