"""Crossbar: arrays of memory cells that multiply a vector by the matrix they hold, rows in, columns
out.

A matrix of K by N lies in arrays of `rows` by `cols` cells, K along the rows. A weight takes so many columns side by
side as its bits, in slices of `cell_bits`, ask for (twice with ``differential`` encoding), and `guard_columns` more; it
does not cross arrays. Matrices much smaller than an array share it along its diagonal. An operand of b bits comes in
ceil(b / `dac_bits`) passes. A pass drives the rows, at most `active_rows` at a time, and converts every column in use:

    cycles of a vector = passes · ceil(rows in use / active_rows) · max(array_time, sweeps / adc_rate),

with sweeps = ceil(columns in use / adcs), as in ISAAC (Shafiee et al., ISCA 2016, section 4). Slices and passes are
shifted and added up behind the converters, and so are the sums of arrays that hold parts of K.

An analog column sums rows · (2^cell_bits - 1) · (2^dac_bits - 1) at most: log2(rows) + cell_bits + dac_bits bits tell
every value from its neighbours, one less where cells or converters have a single bit, and one less again with
``flipped`` encoding, which stores a column's complement where its sum could be large (ISCA 2016, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2, prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..arch.component import Price, Surroundings
from ..arch.energy import Figure
from ..arch.units import ENERGY, Area, Energy, Frequency, Quantity, Time
from ..errors import BadInput, UnsupportedPrecision
from ..ir import Einsum, contraction
from .base import ComputeUnit, Cost, Extents, IntArray, SpatialOption, bytes_of, tile_shape

Encoding = Literal["offset", "differential", "flipped"]
RESIDENT, SHARED = "resident", "shared"
_EXACT = 1e-9
"""Slack of times in cycles, which come from products of floating-point numbers."""
_DAC_BIT = Figure(44e-15, "44 fF per bit at 1 V (Sun et al., ICCAD 2023; recalled)")
_CELL = Figure(1e-15, "1 fF at 1 V, assumed")
_NONE = Figure(0.0, "part of the other energies")


@dataclass(frozen=True)
class Placed:
    """How matrices lie in arrays. Arrays have one entry per candidate.

    Attributes:
        arrays: that all matrices take.
        row_blocks, column_blocks: arrays of one matrix along K and along N.
        sharing: matrices in one array.
        rows, columns: in use, of the fullest array.
    """

    arrays: IntArray
    row_blocks: IntArray
    column_blocks: IntArray
    sharing: IntArray
    rows: IntArray
    columns: IntArray


class CrossbarArray(ComputeUnit):
    """`tiles` of `arrays_per_tile` arrays; see the module. It runs contractions, the second operand in the cells.

    Variants ``resident1``, ``resident2`` ... hold so many copies of the matrix in arrays of their own throughout the
    run: such Ops never wait for each other, and together take no more arrays than there are. Variants ``shared1``,
    ``shared2`` ... use all arrays in turn with others; what does not fit at a time is written again, in `write_time` a
    row. Copies work on different vectors.
    """

    mapper: ClassVar[str] = "crossbar"
    kind: Literal["crossbar"] = "crossbar"
    tiles: Annotated[int, Field(ge=1, le=2**20, description="Tiles, each with what is around its arrays.")] = 1
    arrays_per_tile: Annotated[int, Field(ge=1, le=2**20, description="Arrays of a tile.")]
    rows: Annotated[int, Field(ge=1, le=2**16, description="Rows of an array, along which products are summed.")]
    cols: Annotated[int, Field(ge=1, le=2**16, description="Columns of an array.")]
    cell_bits: Annotated[int, Field(ge=1, le=16, description="Bits of a weight in one cell.")] = 1
    dac_bits: Annotated[int, Field(ge=1, le=16, description="Bits of an operand in one pass.")] = 1
    adc_bits: Annotated[int, Field(ge=1, le=16, description="Bits of a converted column.")]
    adcs: Annotated[
        int | None, Field(ge=1, le=2**16, description="Converters of an array; one per column unless given.")
    ] = None
    adc_rate: Annotated[
        Frequency | None, Field(description="Conversions a second of one; no limit unless given.")
    ] = None
    array_time: Annotated[Time, Field(description="From driving the rows to columns that can be converted.")]
    active_rows: Annotated[
        int | None, Field(ge=1, le=2**16, description="Rows that are driven at once; all unless given.")
    ] = None
    guard_columns: Annotated[
        int, Field(ge=0, le=2**10, description="Columns beside every weight's own, for carries or signs.")
    ] = 0
    encoding: Annotated[Encoding, Field(description="Of signed weights: offset, differential or flipped.")] = "offset"
    lossless: Annotated[bool, Field(description="Fewer `adc_bits` than tell every sum apart are refused.")] = False
    gated: Annotated[bool, Field(description="Rows and columns without a weight take no energy.")] = True
    pipeline: Annotated[int, Field(ge=0, le=10_000, description="Array times from the last pass to the result.")] = 0
    write_time: Annotated[Time, Field(description="To write a row of cells; all arrays write at once.")] = 0.0
    input_bits: Annotated[int, Field(ge=1, le=64, description="Widest operand that comes in.")] = 32
    min_input_bits: Annotated[int, Field(ge=1, le=64, description="Narrower operands take as many passes.")] = 1
    min_weight_bits: Annotated[int, Field(ge=1, le=64, description="Narrower weights take as many cells.")] = 1
    input_activity: Annotated[float, Field(ge=0, le=1, description="Mean drive of a row, over the full one.")] = 1.0
    weight_activity: Annotated[float, Field(ge=0, le=1, description="Mean cell, over the largest value.")] = 1.0
    dac_energy: Annotated[Energy | None, Field(description="To drive a row in a pass, fully.")] = None
    cell_energy: Annotated[Energy | None, Field(description="Of a cell in a pass, operands at their largest.")] = None
    column_energy: Annotated[Energy | None, Field(description="To hold a column for its converter.")] = None
    adc_energy: Annotated[Energy | None, Field(description="Of a conversion.")] = None
    shift_add_energy: Annotated[Energy | None, Field(description="To add a converted column to a sum.")] = None
    array_energy: Annotated[Energy | None, Field(description="Of an array in a pass: registers, control.")] = None
    result_energy: Annotated[Energy | None, Field(description="Of a result of an array: its data path.")] = None
    write_energy: Annotated[Energy | None, Field(description="To write a cell again, where arrays are shared.")] = None
    array_area: Annotated[Area | None, Field(description="Of the cells of an array.")] = None
    dac_area: Annotated[Area | None, Field(description="Of the driver of a row.")] = None
    column_area: Annotated[Area | None, Field(description="Of what holds a column.")] = None
    adc_area: Annotated[Area | None, Field(description="Of a converter.")] = None
    periphery_area: Annotated[Area | None, Field(description="Of what else an array has: registers, adders.")] = None
    tile_area: Annotated[Area | None, Field(description="Of what else a tile has: bus, router, registers.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(
        dict.fromkeys(("mac", "dac", "cell", "column", "adc", "shift_add", "array", "result", "write"), ENERGY)
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lossless and self.adc_bits < self.lossless_adc_bits:
            raise ValueError(f"`adc_bits` of {self.adc_bits} cannot tell the sums of a column apart: "
                             f"{self.lossless_adc_bits} bits are needed for `lossless`")  # fmt: skip
        if self.adc_bits > self.lossless_adc_bits + 1:
            raise ValueError(f"`adc_bits` of {self.adc_bits}: a column has sums of no more than "
                             f"{self.lossless_adc_bits} bits")  # fmt: skip
        if self.active_rows is not None and self.active_rows > self.rows:
            raise ValueError(f"`active_rows` of {self.active_rows} exceed the {self.rows} rows")
        if self.adcs is not None and self.adcs > self.cols:
            raise ValueError(f"{self.adcs} `adcs` for {self.cols} columns: at most one each")
        return self

    def bound(self, surroundings: Surroundings) -> Self:
        cells = surroundings.memories.get(self.operands.get("weight", self.memory))
        if cells is not None and "weight" in self.operands and cells.capacity > self.weight_bytes:
            raise BadInput(f"unit `{self.name}`: its arrays have cells for {self.weight_bytes:,} bytes, memory "
                           f"`{cells.name}` for {cells.capacity:,}")  # fmt: skip
        return super().bound(surroundings)

    # Sizes

    @property
    def arrays(self) -> int:
        return self.tiles * self.arrays_per_tile

    @property
    def weight_bytes(self) -> int:
        """Bytes that all cells hold, whatever stands for a sign or a carry."""
        return self.arrays * self.rows * self.cols * self.cell_bits // 8

    @property
    def lossless_adc_bits(self) -> int:
        """Bits that tell all sums of a column apart; see the module."""
        one = min(self.cell_bits, self.dac_bits) == 1
        bits = ceil(log2(self.active_rows or self.rows)) + self.cell_bits + self.dac_bits - one
        return max(1, bits - (self.encoding == "flipped"))

    def columns_of(self, bits: int) -> int:
        """Columns of a weight of so many bits."""
        slices = -(-max(bits, self.min_weight_bits) // self.cell_bits)
        return slices * (2 if self.encoding == "differential" else 1) + self.guard_columns

    def passes(self, bits: int) -> int:
        """Passes of an operand of so many bits."""
        return -(-max(bits, self.min_input_bits) // self.dac_bits)

    def placed(self, k: IntArray, n: IntArray, matrices: IntArray, bits: int) -> Placed:
        """So many matrices of K by N weights of so many bits each.

        Raises:
            UnsupportedPrecision: a weight takes more columns than an array has.
        """
        width = self.columns_of(bits)
        across = self.cols // width
        if not across:
            raise UnsupportedPrecision(f"{self.name or self.kind}: a weight of {bits} bits takes {width} columns, an "
                                       f"array has {self.cols}")  # fmt: skip
        down, beside = -(-k // self.rows), -(-n // across)
        sharing = np.maximum(1, np.minimum(self.rows // k, across // n))
        arrays = np.where((down == 1) & (beside == 1), -(-matrices // sharing), matrices * down * beside)
        together = np.minimum(sharing, matrices)
        rows, columns = np.minimum(k * together, self.rows), np.minimum(n * together, across) * width
        return Placed(arrays, down, beside, sharing, rows, columns)

    def vector_cycles(self, rows: IntArray, columns: IntArray, bits: int) -> IntArray:
        """Cycles of one vector of operands of so many bits; see the module."""
        groups = -(-rows // min(self.active_rows or self.rows, self.rows))
        return np.asarray(self.passes(bits) * groups * self._pass_cycles(-(-columns // (self.adcs or self.cols))))

    def _pass_cycles(self, sweeps: IntArray) -> IntArray:
        cycles = np.full_like(sweeps, max(1, ceil(self.array_time * self.clock_hz - _EXACT)))
        if self.adc_rate is not None:
            converting = np.ceil(sweeps * (self.clock_hz / self.adc_rate) - _EXACT).astype(np.int64)
            cycles = np.maximum(cycles, converting)
        return cycles

    # What mappers and lowering ask

    def rate_at(self, input_bits: int, weight_bits: int) -> float:
        """Multiply-accumulates per cycle of full arrays, the most there can be, with operands of these widths."""
        sweeps = np.arange(1, -(-self.cols // (self.adcs or self.cols)) + 1, dtype=np.int64)
        columns = np.minimum(self.cols, sweeps * (self.adcs or self.cols))
        best = float((columns / self._pass_cycles(sweeps)).max())
        rows = self.active_rows or self.rows
        return self.arrays * rows * best / self.columns_of(weight_bits) / self.passes(input_bits)

    def peak_rates(self) -> Mapping[str, float]:
        """Multiply-accumulates per cycle with the narrowest weights and operands."""
        return {"mac": self.rate_at(1, 1)}

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Copies in powers of two, of arrays that are shared; none if it is not a contraction."""
        if contraction(einsum) is None:
            return ()
        return tuple(SpatialOption(f"{SHARED}{2**i}", {}) for i in range(self.arrays.bit_length()))

    def option(self, einsum: Einsum, variant: str, layout: object) -> SpatialOption:
        """Any number of copies, of resident or of shared arrays."""
        word = variant.rstrip("0123456789")
        number = variant[len(word) :]
        able = word in (RESIDENT, SHARED) and number and 0 < int(number) <= self.arrays
        if contraction(einsum) is None or not able or layout is not None:
            raise BadInput(f"{self.name or self.kind} cannot run {einsum.name} as {variant!r}; it runs contractions as "
                           f"{RESIDENT}1 or {SHARED}1, with more copies up to {self.arrays}")  # fmt: skip
        return SpatialOption(variant, {})

    def held(self, einsum: Einsum, option: SpatialOption, bits: Sequence[int]) -> int | None:
        """Arrays that a resident matrix holds with all its copies."""
        c = contraction(einsum)
        if c is None or not option.variant.startswith(RESIDENT):
            return None
        g, n, k = (np.array([prod(einsum.sizes[r] for r in ranks)]) for ranks in (c.g, c.n, c.k))
        return int(self.placed(k, n, g * _copies(option), bits[1]).arrays[0])

    @property
    def parts(self) -> int:
        return self.arrays

    def least_reads(self, einsum: Einsum) -> tuple[float, ...]:
        """Weights are not read: they are multiplied where they are."""
        return tuple(n if i != 1 else 0.0 for i, n in enumerate(super().least_reads(einsum)))

    def least_feed_cycles(self, einsum: Einsum, bits: Sequence[int]) -> float:
        """Also the passes and slices that operands of these widths take at least."""
        macs = float(prod(einsum.sizes.values()))
        fed = super().least_feed_cycles(einsum, (bits[0], 0, bits[-1]))
        return max(fed, macs / self.rate_at(bits[0], bits[1])) if contraction(einsum) is not None else fed

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
        """Cost of tiles. Operands are read once per vector and broadcast to the arrays, results written once.

        Raises:
            BadInput: the Einsum is no contraction.
            UnsupportedPrecision: operands are wider than `input_bits`, or a weight than an array.
        """
        c = contraction(einsum)
        if c is None:
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name}: it is no contraction of two inputs")
        a_bits, b_bits, out_bits = bits[0], bits[1], bits[-1]
        if a_bits > self.input_bits:
            raise UnsupportedPrecision(f"{self.name or self.kind}: cannot compute {einsum.name} with operands of "
                                       f"{a_bits} bits (at most {self.input_bits})")  # fmt: skip
        one = tile_shape(einsum, extents)
        g, m, n, k = (prod((np.asarray(extents[r]) for r in ranks), start=one) for ranks in (c.g, c.m, c.n, c.k))
        copies = np.minimum(_copies(option), m)
        lay = self.placed(k, n, g * copies, b_bits)
        steps = -(-m // copies)
        rounds = -(-lay.arrays // self.arrays)
        writing = max(1, ceil(self.write_time * self.clock_hz - _EXACT)) if self.write_time else 0
        rewritten = np.where(rounds > 1, rounds, 0)
        cycles = steps * rounds * self.vector_cycles(lay.rows, lay.columns, a_bits) + rewritten * self.rows * writing
        reads = (bytes_of(g * m * k, a_bits), np.zeros_like(one))
        results = g * m * n
        writes = bytes_of(results, 32 if unfinished else out_bits)
        partial = bytes_of(results, 32) * resumed
        latency = np.full_like(one, self.pipeline * max(1, ceil(self.array_time * self.clock_hz - _EXACT)))
        actions = self._actions(g, m, n, k, lay, steps, (a_bits, b_bits))
        actions["write"] = np.where(rounds > 1, lay.arrays * self.rows * self.cols, 0)
        cycles = np.maximum(cycles, self.feed_cycles(reads, writes, partial))
        return Cost(cycles, latency, reads, writes, partial, actions)

    def _actions(
        self, g: IntArray, m: IntArray, n: IntArray, k: IntArray, lay: Placed, steps: IntArray, bits: tuple[int, int]
    ) -> dict[str, IntArray]:
        passes, width = self.passes(bits[0]), self.columns_of(bits[1])
        active = self.active_rows or self.rows
        whole = (lay.row_blocks == 1) & (lay.column_blocks == 1)
        of_blocks = k // self.rows * -(-self.rows // active) + -(-(k % self.rows) // active)
        groups = np.where(whole, -(-lay.rows // active), of_blocks)  # of all arrays along K
        fired = np.where(whole, steps * lay.arrays, m * g * lay.row_blocks * lay.column_blocks) * passes
        pulses = np.where(whole, steps * lay.arrays, m * g * lay.column_blocks) * passes * groups
        if self.gated:
            driven = m * g * k * lay.column_blocks * passes
            converted = m * g * n * width * passes * groups
            cells = m * g * k * n * width * passes
        else:
            driven, converted, cells = fired * self.rows, pulses * self.cols, fired * self.rows * self.cols
        return {
            "mac": g * m * n * k,
            "dac": driven,
            "cell": cells,
            "column": converted,
            "adc": converted,
            "shift_add": converted,
            "array": pulses,
            "result": m * g * n * lay.row_blocks,
        }

    # Energy and area

    def prices(self) -> Mapping[str, Price]:
        drive, both = self.input_activity, self.input_activity * self.weight_activity
        driver = Figure(_DAC_BIT.value * self.dac_bits, _DAC_BIT.source)
        return {
            "mac": Price("mac_energy", 0.0, None),
            "dac": _scaled("dac_energy", self.dac_energy, driver, drive),
            "cell": _scaled("cell_energy", self.cell_energy, _CELL, both),
            "column": Price("column_energy", self.column_energy, _NONE),
            "adc": Price("adc_energy", self.adc_energy, adc_energy(self.adc_bits)),
            "shift_add": Price("shift_add_energy", self.shift_add_energy, _NONE),
            "array": Price("array_energy", self.array_energy, _NONE),
            "result": Price("result_energy", self.result_energy, _NONE),
            "write": Price("write_energy", self.write_energy, _NONE),
        }

    def areas(self) -> Mapping[str, float]:
        """Square millimetres of all parts of a kind, of those that are stated."""
        per = {
            "array": (self.array_area, self.arrays),
            "dac": (self.dac_area, self.arrays * self.rows),
            "column": (self.column_area, self.arrays * self.cols),
            "adc": (self.adc_area, self.arrays * (self.adcs or self.cols)),
            "periphery": (self.periphery_area, self.arrays),
            "tile": (self.tile_area, self.tiles),
        }
        return {part: area * count for part, (area, count) in per.items() if area is not None}

    def default_area(self) -> Figure | None:
        parts = self.areas()
        return Figure(sum(parts.values()), f"sum of {', '.join(parts)} as stated") if parts else None


def adc_energy(bits: int) -> Figure:
    """Joules of a conversion: (100 fF · bits + 1 aF · 4^bits) · V², here at 1 V.

    Source: Murmann, "Mixed-Signal Computing for Deep Neural Network Inference", TVLSI 2021 (recalled).
    """
    return Figure(100e-15 * bits + 1e-18 * 4.0**bits, f"{bits} b at 1 V (Murmann, TVLSI 2021; recalled)")


def _scaled(key: str, stated: float | None, default: Figure, activity: float) -> Price:
    """A price that is stated, or cited, for full activity."""
    what = default.source if activity == 1 else f"{default.source}, activity {activity:g}"
    return Price(key, None if stated is None else stated * activity, Figure(default.value * activity, what))


def _copies(option: SpatialOption) -> int:
    return int(option.variant.lstrip("abcdefghijklmnopqrstuvwxyz"))
