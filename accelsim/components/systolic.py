"""Systolic arrays: output-, weight- and input-stationary, with SCALE-Sim's closed forms of their cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ..arch.component import Price
from ..arch.energy import Arithmetic, Figure, mac_area, operation, register
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Bytes, Energy, EnergyPerByte, Quantity
from ..errors import BadInput
from ..ir import Contraction, Einsum, contraction
from ..ir.sparsity import group_rank
from .base import Cost, Extents, IntArray, SpatialOption, bytes_of, tile_shape
from .sparse import SparseUnit, share_of, shortened

Dataflow = Literal["os", "ws", "is"]


class SystolicArray(SparseUnit):
    """One or more equal arrays of rows × cols MACs that compute contractions as O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n].

    A is the Einsum's first input and B its second. A convolution runs as im2col: m is the product of all its ranks that
    B does not carry, k of all that are reduced. Each g (a head, a group, a channel of a depthwise convolution) is a
    product of its own.

    Cycles, with M, N, K of the tile, are folds times cycles per fold (Samajdar et al., "A systematic methodology for
    characterizing scalability of DNN accelerators using SCALE-Sim", ISPASS 2020, equations 3-6):

    ========  =======================  ==================
    dataflow  folds                    cycles per fold
    ========  =======================  ==================
    os        ceil(M/rows)·ceil(N/cols)  K + rows + cols - 2
    ws        ceil(K/rows)·ceil(N/cols)  M + 2·rows + cols - 2
    is        ceil(K/rows)·ceil(M/cols)  N + 2·rows + cols - 2
    ========  =======================  ==================

    or the bytes that the folds move over the bandwidth of the unit's memory, when that takes longer. With `overlap`,
    the next fold's fill hides behind the current one (stationary operands and results have shadow registers): a fold
    then takes max(streamed length, rows), and the rest of the first one is latency.

    With several `arrays`, the folds are dealt out to them and the one with most decides. If there are fewer folds than
    arrays, the streamed rank of ws and is is cut into as many equal parts as arrays are free for a fold, each part
    with its own copy of the stationary operand.

    Operands wider than `mac_bits` are multiplied in slices, ceil(a/mac_bits)·ceil(b/mac_bits) products each
    (Sharma et al., "Bit Fusion", ISCA 2018), as if K were so much longer. Narrower ones are no faster.

    With `sparsity: skipping`, weights with an N:M of `sparse_ratios` are read and multiplied as if K were so much
    shorter, N/M of it, and the other operand is read in full: a multiplexer in front of each element chooses (Mishra et
    al., "Accelerating Sparse Deep Neural Networks", 2021, section 3). Groups of M lie along `ir.group_rank`; one that
    a tile cuts counts as if it began with the tile. Zeros that lie at random are not skipped.

    With `timing: scalesim` the array is that of SCALE-Sim 3.0.0 in its bandwidth mode CALC, read from its source: the
    table above whatever the memories' bandwidth, one word per operand of any width, and every fold of ws and is writes
    all its partial results and reads none back. Of os it counts, beside the results, rows + cols writes per fold
    (systolic_compute_os.py, `create_ofmap_demand_mat`), and so does this.
    """

    kind: Literal["systolic"] = "systolic"
    rows: Annotated[int, Field(ge=1, le=2**20, description="Processing elements per column.")]
    cols: Annotated[int, Field(ge=1, le=2**20, description="Processing elements per row.")]
    arrays: Annotated[int, Field(ge=1, le=2**20, description="Equal arrays that share the work.")] = 1
    dataflows: Annotated[
        tuple[Dataflow, ...],
        Field(description="What may be stationary: outputs (os), second (ws) or first (is) operand."),
    ] = ("os", "ws", "is")
    timing: Annotated[
        Literal["physical", "scalesim"],
        Field(description="`scalesim`: cycles and counts of SCALE-Sim 3.0.0 in mode CALC, where nothing waits."),
    ] = "physical"
    overlap: Annotated[bool, Field(description="Fill and drain hide behind the neighbouring folds.")] = False
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energy.")] = "int"
    mac_bits: Annotated[int, Field(ge=1, le=64, description="Operand width that a MAC multiplies at once.")] = 8
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of partial sums.")] = 32
    accumulators: Annotated[
        Bytes | None, Field(description="Memory for partial sums beside each array; those that fit stay there.")
    ] = None
    mac_energy: Annotated[Energy | None, Field(description="Of one multiply-accumulate.")] = None
    register_energy: Annotated[
        EnergyPerByte | None, Field(description="Of the registers between processing elements, per byte passed on.")
    ] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"mac": ENERGY, "register": ENERGY_PER_BYTE})

    @field_validator("dataflows")
    @classmethod
    def _distinct(cls, value: tuple[Dataflow, ...]) -> tuple[Dataflow, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name at least one dataflow, none twice (os, ws, is)")
        return value

    @model_validator(mode="after")
    def _one_plain_array(self) -> Self:
        if self.timing == "scalesim" and (self.overlap or self.arrays > 1 or self.accumulators is not None):
            raise ValueError("timing `scalesim` knows one array without `overlap` and `accumulators`")
        if self.timing == "scalesim" and self.sparsity != "none":
            raise ValueError("timing `scalesim` knows no sparsity")
        if self.sparsity == "skipping" and not self.sparse_ratios:
            raise ValueError("`sparsity: skipping` needs sparse_ratios, such as [2:4]")
        return self

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": float(self.rows * self.cols * self.arrays)}

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """The array's dataflows, fewest cycles for the whole Einsum first; none if it is not a contraction."""
        c = contraction(einsum)
        if c is None:
            return ()
        g, m, n, k = (np.asarray(prod(einsum.sizes[r] for r in ranks)) for ranks in (c.g, c.m, c.n, c.k))
        cycles = {d: int(sum(self._timing(d, g, m, n, k)[:2])) for d in self.dataflows}
        return tuple(_option(d, c) for d in sorted(self.dataflows, key=lambda d: cycles[d]))

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
        """Cost of tiles, see the class; ``mac`` and ``register`` (bytes passed between elements) are counted.

        Raises:
            BadInput: the Einsum is not a contraction, or the array does not have the dataflow.
        """
        c = contraction(einsum)
        dataflow = option.variant
        if c is None or dataflow not in self.dataflows:
            able = ", ".join(self.dataflows) if c is not None else "none: it is not a sum of products of two inputs"
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name} as `{dataflow}` (can: {able})")
        one = tile_shape(einsum, extents)
        g, m, n, k = (_product(one, extents, ranks) for ranks in (c.g, c.m, c.n, c.k))
        a_bits, b_bits, out_bits = bits[0], bits[1], bits[-1]
        if self.timing == "scalesim":
            return self._scalesim_cost(dataflow, (g, m, n, k), (a_bits, b_bits, out_bits))
        a_slices, b_slices = -(-a_bits // self.mac_bits), -(-b_bits // self.mac_bits)
        run, a_k, b_k = self._left(einsum, extents, k)
        macs = share_of(g * m * n * run * (a_slices * b_slices), self.gated)
        service, latency, copies, row_folds, col_folds, part = self._timing(
            dataflow, g, m, n, run * (a_slices * b_slices)
        )
        if dataflow == "os":
            a_words, b_words, out_folds = g * m * a_k * col_folds, g * b_k * n * row_folds, one
        else:
            a_words = g * m * a_k * (col_folds if dataflow == "ws" else copies)
            b_words = g * b_k * n * (copies if dataflow == "ws" else col_folds)
            held = part * np.minimum(n if dataflow == "ws" else m, self.cols) * self.accumulator_bits
            out_folds = np.where(held <= 8 * (self.accumulators or 0), 1, row_folds)
        reads = (bytes_of(a_words * b_slices, a_bits), bytes_of(b_words * a_slices, b_bits))
        results = g * m * n
        partial = bytes_of(results * (out_folds - 1), self.accumulator_bits)
        # Partial results between tiles pass through the memory too, unless the accumulators hold the tile's.
        kept = results * self.accumulator_bits <= 8 * (self.accumulators or 0)
        between = np.where(kept, 0, bytes_of(results, self.accumulator_bits))
        writes = partial + (between if unfinished else bytes_of(results, out_bits))
        partial = partial + between * resumed
        fed = self.feed_cycles(reads, writes, partial)
        word_bits = -(-a_bits // a_slices) + -(-b_bits // b_slices) + self.accumulator_bits
        return Cost(
            cycles=np.maximum(service, fed),
            latency=latency,
            reads=reads,
            writes=writes,
            partial_reads=partial,
            actions={"mac": macs, "register": bytes_of(macs, word_bits)},
        )

    def _left(self, einsum: Einsum, extents: Extents, k: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """K that is run, and of which either operand is read, when zeros of N:M weights are skipped."""
        skipped = self.skipped
        rank = None if skipped is None else group_rank(einsum, skipped.operand)
        if skipped is None or skipped.ratio is None or rank is None:
            return k, k, k
        left = k // extents[rank] * shortened(np.asarray(extents[rank]), skipped.ratio)
        return (left, left, k) if skipped.operand == 0 else (left, k, left)

    def _scalesim_cost(
        self, dataflow: str, gmnk: tuple[IntArray, IntArray, IntArray, IntArray], bits: tuple[int, int, int]
    ) -> Cost:
        """What SCALE-Sim counts: words that enter and leave the array, tile after tile, partial results among them."""
        g, m, n, k = gmnk
        cycles, latency, _, row_folds, col_folds, _ = self._timing(dataflow, g, m, n, k)
        a_words, b_words, results = g * m * k, g * k * n, g * m * n
        if dataflow == "os":
            a_words, b_words = a_words * col_folds, b_words * row_folds
            results = results + g * row_folds * col_folds * (self.rows + self.cols)
        else:
            a_words = a_words * (col_folds if dataflow == "ws" else 1)
            b_words = b_words * (col_folds if dataflow == "is" else 1)
            results = results * row_folds
        macs = g * m * n * k
        return Cost(
            cycles=cycles,
            latency=latency,
            reads=(bytes_of(a_words, bits[0]), bytes_of(b_words, bits[1])),
            writes=bytes_of(results, bits[2]),
            partial_reads=np.zeros_like(cycles),
            actions={"mac": macs, "register": bytes_of(macs, bits[0] + bits[1] + self.accumulator_bits)},
        )

    def _timing(
        self, dataflow: str, g: IntArray, m: IntArray, n: IntArray, k: IntArray
    ) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray, IntArray]:
        """Cycles, latency, copies of the stationary operand, folds along rows and columns, streamed length."""
        along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
        row_folds = -(-along_rows // self.rows)
        col_folds = -(-along_cols // self.cols)
        folds = g * row_folds * col_folds
        copies = np.ones_like(folds)
        if self.arrays > 1 and dataflow != "os":
            stream = -(-stream // np.clip(self.arrays // folds, 1, stream))
            copies = -(-(m if dataflow == "ws" else n) // stream)
        rounds = -(-folds // self.arrays)  # with more than one part, all parts of all folds run at once
        fill = (1 if dataflow == "os" else 2) * self.rows + self.cols - 2
        if not self.overlap:
            return rounds * (stream + fill), np.zeros_like(folds), copies, row_folds, col_folds, stream
        interval = np.maximum(stream, self.rows)
        return rounds * interval, stream + fill - interval, copies, row_folds, col_folds, stream

    def prices(self) -> Mapping[str, Price]:
        return {
            "mac": Price("mac_energy", self.mac_energy,
                         operation("mac", self.arithmetic, self.mac_bits, self.technology_nm)),
            "register": Price("register_energy", self.register_energy, register(self.mac_bits, self.technology_nm)),
        }  # fmt: skip

    def default_area(self) -> Figure | None:
        """That of the MACs; registers, accumulators and control are left out where the cited figure leaves them out."""
        mac = mac_area(self.arithmetic, self.mac_bits, self.technology_nm)
        macs = self.rows * self.cols * self.arrays
        return None if mac is None else Figure(mac.value * macs, f"{macs} MACs: {mac.source}")


def _option(dataflow: Dataflow, c: Contraction) -> SpatialOption:
    rows, cols = {"os": (c.m, c.n), "ws": (c.k, c.n), "is": (c.k, c.m)}[dataflow]
    return SpatialOption(dataflow, dict.fromkeys(rows, "rows") | dict.fromkeys(cols, "columns"))


def _product(one: IntArray, extents: Extents, ranks: Sequence[str]) -> IntArray:
    result = one
    for r in ranks:
        result = result * extents[r]
    return result
