"""Processing in memory: multiply-accumulate units at the banks of a DRAM, driven by all-bank commands.

Every unit stands at `banks_per_unit` banks of a channel. One command makes all units of a channel read a burst of the
matrix from an open row and multiply it with what their vector buffer holds; the units of all channels work at once. A
matrix of K by N is dealt out over the units along N and, in `split` parts, along K; the inputs go to the channels'
vector buffers through the pins, results and partial sums come back through them.

Times, in cycles of the DRAM's clock, of C bursts out of R rows per bank (`stream_cycles`): with one bank per unit

    C interval + R (tRTP + tRP + activate - interval),

as a row is read in (columns - 1) intervals, closed and opened. With several banks per unit, which take turns, the unit
and each of its banks are kept busy as far as they go, whichever takes longer. Refresh stretches all by
1 / (1 - (tRTP + tRP + tRFC + activate) / tREFI).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr

from ..arch.component import Price, Surroundings
from ..arch.energy import DramLevel, Figure, dram_level, operation
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Bandwidth, Bytes, Energy, EnergyPerByte, Frequency, Quantity, Time
from ..errors import BadInput
from ..ir import Einsum
from ..ir.operators import operation_terms
from .banked_dram import BankedDram
from .base import ComputeUnit, Cost, Extents, IntArray, Keeping, SpatialOption, bytes_of, tile_shape
from .dram_step import ALL_BANKS
from .dram_timing import DramDevice

_MACS = frozenset({"mac"})


@dataclass(frozen=True)
class Layout:
    """Where matrices of K by N lie, for one vector each. Arrays have one entry per candidate.

    Attributes:
        bursts: column commands of a unit.
        rows: rows that a unit's banks open for them.
        results: numbers that leave the units, partial sums included.
        inputs: numbers that go into the vector buffers of all channels; what units of one channel share goes there
            once.
        copies: of a number, over the channels.
    """

    bursts: IntArray
    rows: IntArray
    results: IntArray
    inputs: IntArray
    copies: IntArray


class PimArray(ComputeUnit):
    """MAC units in a `banked_dram`; see the module. It runs products of a matrix in the banks with vectors.

    Variants ``split1``, ``split2``, ``split4`` ... put so many parts of K on different units. With `row_filling`,
    matrices narrower than a row share rows (the concatenation of heads); without it, each begins rows of its own.

    Unless `pin_energy` says otherwise, a byte through the pins takes its part of a whole burst of the DRAM, the way
    from the cells included: an upper bound for vectors and results, which pass buffers instead.
    """

    mapper: ClassVar[str] = "pim"
    kind: Literal["pim"] = "pim"
    banks_per_unit: Annotated[
        int, Field(ge=1, le=4096, description="Banks of a unit: 1, 2, those of a bank group, or all of a channel.")
    ] = 1
    lanes: Annotated[
        int | None, Field(ge=1, le=4096, description="Products at a time; a burst's elements unless given.")
    ] = None
    interval: Annotated[int, Field(ge=1, le=4096, description="DRAM cycles from one command to the next.")]
    activate: Annotated[
        int | None,
        Field(ge=1, le=10_000, description="DRAM cycles from opening a row to a command; tRCD unless given."),
    ] = None
    vector_buffer: Annotated[Bytes, Field(description="Of a channel, for the vector that its units share.")]
    result_bits: Annotated[int, Field(ge=1, le=128, description="Of a result or partial sum that leaves a unit.")] = 16
    overlap: Annotated[
        bool, Field(description="Vectors and results move while other commands run (several buffers).")
    ] = False
    row_filling: Annotated[bool, Field(description="Matrices narrower than a row share rows.")] = True
    pins: Annotated[
        int | None,
        Field(ge=1, le=4096, description="Channels whose pins move vectors and results at a time, a vector that all "
                                         "want to all at once; every channel's unless given."),
    ] = None  # fmt: skip
    result_interval: Annotated[
        int | None,
        Field(ge=1, le=4096, description="DRAM cycles from one read of results, a burst from every channel, to the "
                                         "next where the answer is awaited. What the pins take unless given."),
    ] = None  # fmt: skip
    hop: Annotated[
        Time, Field(description="Of vectors on their way to the channels, and again of results, per product.")
    ] = 0.0
    hop_bandwidth: Annotated[Bandwidth | None, Field(description="Of that way; no bounds unless given.")] = None
    shared_banks: Annotated[
        bool,
        Field(description="Commands keep the banks from other accesses, and these them; without it, units have row "
                          "buffers of their own, and both go on at once."),
    ] = True  # fmt: skip
    cache_space: Annotated[
        Bytes | None,
        Field(description="Of its memory, reserved for caches; the rest is for weights. No bounds unless given."),
    ] = None
    refresh: Annotated[bool, Field(description="Whether refresh stops the units.")] = True
    mac_bits: Annotated[int, Field(ge=1, le=64, description="Width of an operand.")] = 16
    clock: Annotated[Frequency | None, Field(description="Follows from the memory: leave it out.")] = None
    mac_energy: Annotated[Energy | None, Field(description="Of one multiply-accumulate.")] = None
    cell_energy: Annotated[EnergyPerByte | None, Field(description="To bring a byte from an open row to its unit.")] = (
        None
    )
    pin_energy: Annotated[EnergyPerByte | None, Field(description="To bring a byte in or out through the pins.")] = None
    activate_energy: Annotated[Energy | None, Field(description="To open and close a row of one bank.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(
        {"mac": ENERGY, "cell_read": ENERGY_PER_BYTE, "row_activate": ENERGY, "pin": ENERGY_PER_BYTE}
    )
    _device: DramDevice | None = PrivateAttr(default=None)

    def bound(self, surroundings: Surroundings) -> Self:
        memory = surroundings.memories.get(self.memory)
        if not isinstance(memory, BankedDram):
            raise BadInput(f"unit `{self.name}`: its memory `{self.memory}` is no `banked_dram`, and so has no banks")
        if memory.device.banks % self.banks_per_unit:
            raise BadInput(f"unit `{self.name}`: {self.banks_per_unit} banks per unit do not divide the "
                           f"{memory.device.banks} banks of a channel")  # fmt: skip
        placed = self.model_copy()
        placed._device = memory.device
        return super(PimArray, placed).bound(surroundings)

    @property
    def device(self) -> DramDevice:
        """The DRAM that it is in. Raises BadInput where it stands alone."""
        if self._device is None:
            raise BadInput(f"unit `{self.name or self.kind}` stands in no machine, and so in no DRAM")
        return self._device

    @property
    def clock_hz(self) -> float:
        return 1 / self.device.clock_s

    @property
    def units(self) -> int:
        """Units of all channels."""
        return self.device.channels * self.units_per_channel

    @property
    def units_per_channel(self) -> int:
        return self.device.banks // self.banks_per_unit

    @property
    def width(self) -> int:
        """Products of a unit per command."""
        return self.lanes or self.device.burst_bytes * 8 // self.mac_bits

    @property
    def opening(self) -> int:
        """DRAM cycles from opening a row to its first command."""
        return self.activate if self.activate is not None else self.device.timing.tRCD_rd

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": self.units * self.width / self.interval}

    @property
    def internal_bandwidth(self) -> float:
        """Bytes per second that all units read from open rows, the most there can be."""
        return self.units * self.width * self.mac_bits / 8 / self.interval * self.clock_hz

    @property
    def keeping(self) -> Keeping | None:
        if not self.shared_banks:
            return None
        d = self.device
        at_a_time = d.burst_bytes * d.channels * d.pseudo_channels
        return Keeping(self.memory, Fraction(at_a_time, max(d.timing.tCCD_S, d.timing.burst)), ALL_BANKS)

    def stream_cycles(self, bursts: IntArray, rows: IntArray) -> IntArray:
        """DRAM cycles for so many bursts out of so many rows per unit, without refresh. See the module."""
        t = self.device.timing
        gap = t.tRTP + t.tRP + self.opening - self.interval
        banks = np.maximum(1, np.minimum(rows, self.banks_per_unit))
        of_bank = -(-bursts // banks) * self.interval + -(-rows // banks) * gap
        return np.asarray(np.maximum(bursts * self.interval + np.minimum(rows, 1) * gap, of_bank))

    def fill_cycles(self, bursts: IntArray, rows: IntArray) -> IntArray:
        """DRAM cycles to write so many bursts into so many rows of every bank at once, without refresh."""
        t = self.device.timing
        long = max(t.tCCD_L, t.burst)
        return np.asarray(bursts * long + rows * (t.tRCD_wr + t.CWL + t.burst + t.tWR + t.tRP - long))

    def refreshed(self, cycles: IntArray) -> IntArray:
        """Cycles with refresh, rounded up."""
        t = self.device.timing
        if not self.refresh or not t.tREFI:
            return cycles
        lost = t.tRTP + t.tRP + t.tRFC + self.opening
        return np.asarray(-(-cycles * t.tREFI // (t.tREFI - lost)))

    @property
    def pins_at_once(self) -> int:
        """Channels whose pins move something at a time."""
        return min(self.pins or self.device.channels, self.device.channels)

    def pin_cycles(self, nbytes: IntArray) -> IntArray:
        """DRAM cycles to move so many bytes through the pins of the channels that move at a time, dealt out evenly."""
        d = self.device
        at_a_time = d.burst_bytes * self.pins_at_once * d.pseudo_channels
        return np.asarray(-(-nbytes // at_a_time) * max(d.timing.tCCD_S, d.timing.burst))

    def result_cycles(self, nbytes: IntArray) -> IntArray:
        """DRAM cycles to read so many bytes of results and partial sums: those of the pins, or of awaited reads."""
        d = self.device
        reads = -(-nbytes // (d.burst_bytes * d.channels * d.pseudo_channels))
        return np.maximum(self.pin_cycles(nbytes), reads * (self.result_interval or 0))

    def layout(self, k: IntArray, n: IntArray, matrices: IntArray, split: int, bits: int) -> Layout:
        """So many matrices of K by N elements of so many bits each, with K in `split` parts.

        Units take columns of all matrices, one matrix after the other, so that a channel holds few of them; the parts
        of a column lie in one channel as long as it has units enough.
        """
        across = max(1, self.units // split)
        part = -(-k // split)
        columns = -(-matrices * n // across)
        per_row = self.device.row_bytes * 8 // bits
        most = max(1, min(per_row, self.vector_buffer * 8 // bits))
        passes = -(-part // most)
        width = max(1, self.width * self.mac_bits // max(bits, self.mac_bits))
        bursts = columns * -(-part // width)
        rows = -(-bursts * width // per_row) if self.row_filling else columns * -(-part // per_row)
        channels = np.minimum(self.device.channels, -(-matrices * n * split // self.units_per_channel))
        apart = max(1, split // self.units_per_channel)  # channels over which the parts of one column lie
        copies = np.maximum(1, channels // np.minimum(channels, matrices * apart))
        return Layout(bursts, np.maximum(rows, 1), matrices * n * split * passes, matrices * k * copies, copies)

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Splits of K in powers of two, none first; nothing for what is no product of two inputs."""
        if _roles(einsum) is None:
            return ()
        splits = [2**i for i in range(self.units.bit_length())]
        return tuple(SpatialOption(f"split{s}", {}) for s in splits if s <= self.units)

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
        """Cost of tiles: a stream of commands, with vectors in and results out before and after it.

        Products of one matrix each per point of the ranks that all three share; they lie side by side in the rows.

        Raises:
            BadInput: the Einsum is no product of a matrix and vectors.
        """
        roles = _roles(einsum)
        if roles is None or not option.variant.startswith("split"):
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name} as {option.variant!r}")
        matrix, batch, vectors, columns, contracted = roles
        one = tile_shape(einsum, extents)

        def points(ranks: Sequence[str]) -> IntArray:
            total = one
            for r in ranks:
                total = total * np.asarray(extents[r])
            return total

        split = int(option.variant.removeprefix("split"))
        b, m, n, k = (points(r) for r in (batch, vectors, columns, contracted))
        lay = self.layout(k, n, b, split, bits[matrix])
        inside = bytes_of(lay.inputs * m, bits[1 - matrix])
        outside = bytes_of(lay.results * m, self.result_bits)
        commands = self.stream_cycles(lay.bursts, lay.rows) * m
        sent = bytes_of(lay.inputs // lay.copies * np.minimum(lay.copies, self.pins_at_once) * m, bits[1 - matrix])
        pins = self.pin_cycles(sent) + self.result_cycles(outside)
        cycles = np.maximum(commands, pins) if self.overlap else commands + pins
        macs = b * m * n * k
        busy = np.minimum(self.units, b * n * split)
        actions = {
            "mac": macs,
            "cell_read": bytes_of(macs, bits[matrix]),
            "row_activate": lay.rows * busy * m,
            "pin": inside + outside,
        }
        none = np.zeros_like(one)
        reads = tuple(none if i == matrix else inside for i in range(2))
        way = none + ceil(2 * self.hop * self.clock_hz)
        if self.hop_bandwidth is not None:
            unique = bytes_of(lay.inputs // lay.copies * m, bits[1 - matrix])
            way = way + np.ceil((unique + outside) / self.hop_bandwidth * self.clock_hz).astype(np.int64)
        return Cost(np.maximum(1, self.refreshed(cycles)), way, reads, outside, none, actions)

    def prices(self) -> Mapping[str, Price]:
        device = self._device
        found = {
            "mac": Price("mac_energy", self.mac_energy, operation("mac", "float", self.mac_bits, self.technology_nm)),
            "cell_read": Price("cell_energy", self.cell_energy, self._cell()),
        }
        if device is not None:
            per = device.energies()
            activation = Figure(per["activate"], f"an activation of {device.name}")
            pins = Figure(per["read"] / device.burst_bytes, f"a burst of {device.name}")
            found["row_activate"] = Price("activate_energy", self.activate_energy, activation)
            found["pin"] = Price("pin_energy", self.pin_energy, pins)
        return found

    def _cell(self) -> Figure:
        level: DramLevel = "buffer_die"
        if self.banks_per_unit <= 4:
            level = "bank" if self.banks_per_unit <= 2 else "bank_group"
        there, opened = dram_level(level), dram_level("row")
        return Figure((there.value - opened.value) * 8, f"{there.source}; the activation apart")


def _roles(
    einsum: Einsum,
) -> tuple[int, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None:
    """Of a product of two inputs: which one is the matrix in the banks, then the ranks of the batch that all three
    share, of the vectors, of the matrix' columns, and the contracted ones. The second input is the matrix."""
    if len(einsum.inputs) != 2 or not _is_product(einsum):
        return None
    first, second, out = (frozenset(a.ranks) for a in (*einsum.inputs, einsum.output))
    ranks = tuple(einsum.sizes)
    if not first | second | out <= set(ranks):
        return None
    batch = tuple(r for r in ranks if r in first & second & out)
    columns = tuple(r for r in ranks if r in (second & out) - first)
    vectors = tuple(r for r in ranks if r in (first & out) - second)
    contracted = tuple(r for r in ranks if r in (first & second) - out)
    if not contracted or set(batch) | set(columns) | set(vectors) | set(contracted) != set(ranks):
        return None
    return 1, batch, vectors, columns, contracted


def _is_product(einsum: Einsum) -> bool:
    return {c for c, _ in operation_terms(einsum)} == _MACS
