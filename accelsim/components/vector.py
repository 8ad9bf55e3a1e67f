"""Vector units: SIMD lanes that run any Einsum, operation class by operation class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..arch.units import Bytes
from ..ir import COST_CLASSES, Einsum
from ..ir.operators import operation_terms
from .base import Cost, Extents, IntArray, SpatialOption, bytes_of
from .elementwise import ByClass, Points, cycles_of, operations, refuse, unable


class VectorUnit(ByClass):
    """`lanes` that each do `rates[class]` operations of a cost class per cycle (1 where none is given, 0 for never).

    Cycles are the sum over the operations of the Einsum (`ir.operators.operation_terms`) of
    ceil(operations / (lanes · rate)), or the bytes over the bandwidth of the unit's memory when that takes longer.
    Within a tile results accumulate in registers: partial sums are neither written nor read. Between tiles they are,
    at `accumulator_bits`.

    How often an input is read from the unit's memory depends on `registers`. Without that key, once per point of the
    ranks that the input carries: a value that further points share stays in a register, as if there were always room.
    That is right for elementwise Einsums and reductions, and the least that a contraction can need: the traffic of a
    matrix product is a lower bound. With `registers`, so many accumulators of `accumulator_bits` (at least one per
    lane) hold a block of the output, which spans its last rank first, and an input is read once per point of its
    ranks for each block along the output's ranks that it does not carry. A block of one row of n outputs thus reads
    the second matrix of a product again for every row.
    """

    kind: Literal["vector"] = "vector"
    lanes: Annotated[int, Field(ge=1, le=2**30, description="Operations at a time.")]
    registers: Annotated[
        Bytes | None, Field(description="Accumulators of all lanes together: how far an operand read once is reused.")
    ] = None
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of an accumulator.")] = 32

    def lane_count(self) -> int:
        return self.lanes

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """One option, ``simd``, with the last rank of the output along the lanes; none if a class has rate 0."""
        if not all(self.rate(c) for c, _ in operation_terms(einsum)):
            return ()
        ranks = [r for index in einsum.output.indices for r in index.ranks] or list(einsum.sizes)
        return (SpatialOption("simd", {ranks[-1]: "lanes"} if ranks else {}),)

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
        """Cost of tiles, see the class; operations are counted by cost class.

        Raises:
            BadInput: a class of the Einsum has rate 0, or the option is not ``simd``.
        """
        rates = {c: self.rate(c) for c in COST_CLASSES}
        missing = unable(einsum, rates)
        if missing or option.variant != "simd":
            why = f"its rate of {', '.join(missing)} is 0" if missing else f"no option `{option.variant}` (has: simd)"
            raise refuse(self.name or self.kind, einsum, why)
        points = Points(einsum, extents)
        one, count = points.one, points.of
        actions = operations(einsum, points)
        cycles = cycles_of(actions, one, self.lanes, rates)
        blocks = self._blocks(einsum, extents)
        reads = tuple(
            bytes_of(_product([count(a.ranks), *(n for r, n in blocks.items() if r not in a.ranks)]), b)
            for a, b in zip(einsum.inputs, bits[:-1], strict=True)
        )
        results = count(einsum.output.ranks)
        writes = bytes_of(results, self.accumulator_bits if unfinished else bits[-1])
        partial = bytes_of(results, self.accumulator_bits) * resumed
        fed = self.feed_cycles(reads, writes, partial)
        return Cost(np.maximum(cycles, fed), np.zeros_like(one), reads, writes, partial, actions)

    def _blocks(self, einsum: Einsum, extents: Extents) -> dict[str, IntArray]:
        """Blocks of the output along each of its ranks, as `registers` has room for; none without that key."""
        if self.registers is None:
            return {}
        room = np.asarray(max(self.lanes, self.registers * 8 // self.accumulator_bits))
        found: dict[str, IntArray] = {}
        for index in reversed(einsum.output.indices):
            for r in reversed(list(index.ranks)):
                extent = np.asarray(extents[r])
                span = np.minimum(extent, room)
                found[r] = -(-extent // span)
                room = np.maximum(room // span, 1)
        return found



def _product(factors: Sequence[IntArray]) -> IntArray:
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result
