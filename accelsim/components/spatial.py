"""Spatial arrays: MACs in a grid of any number of dimensions, with register files and a network that multicasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isinf, prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from ..arch.component import OPERANDS, Operand, Price, Surroundings
from ..arch.energy import Arithmetic, Figure, mac_area, operation, register
from ..arch.layout import Layout
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Bandwidth, Energy, EnergyPerByte, Quantity
from ..errors import BadInput, DoesNotFit
from ..ir import Access, Density, Einsum
from ..ir.roles import RankRole, rank_roles
from .base import Cost, Extents, IntArray, SpatialOption, bytes_of, per_cycle, tile_shape
from .macs import mac_slices
from .nest import LayoutNest, slides
from .sparse import LARGEST_WINDOW, SparseUnit, share_of, slowest_share
from .spatial_layout import RegisterFile, check_layout
from .spreads import Shares, SpreadRules, best_spreads

VARIANT = "spatial"
OPTIONS = 8
"""Spreads that are offered for an Einsum."""


@dataclass(frozen=True)
class Flow:
    """Elements of an operand that pass, one entry per candidate.

    Attributes:
        memory: read from the memory; of the output, written to it, partial results included.
        back: partial results read back from it.
        network: words that the elements' side of the network delivers and takes.
        read, write: accesses to registers; None where there are none.
    """

    memory: IntArray
    back: IntArray
    network: IntArray
    read: IntArray | None
    write: IntArray | None


class SpatialArray(SparseUnit):
    """Elements in a grid that each do one multiply-accumulate per cycle, as a `Layout` deals a contraction out to them.

    The points of a tile run in steps: in each, the spread points, one per element; the others one step after the other,
    as the loops of the layout say. An operand with registers stays there inside the loops that hold it; one without
    passes between memory and elements in every step. The network sends a word that several elements want once
    (multicast), and adds up partial results of elements along the dimensions of `sums` on their way out.

    Cycles are the steps, or what the network or the memories need to move the bytes when that takes longer, and the
    waits for registers: a fill overlaps with the last sweep over what it replaces (the loops inside the hold, without
    the outer ones that only use the same words again), the rest of it stops the array. With `double_buffered` registers
    or `filling: ahead` it overlaps with all of the visit before, with `filling: stop` not at all. Results drain alike,
    the last ones of a tile too: the next tile needs their registers. The first fill of a tile always stops the array,
    or is latency where all registers are double buffered. The array waits for the operand that makes it wait longest.

    Operands wider than `mac_bits` are multiplied in slices, ceil(a/mac_bits)·ceil(b/mac_bits) steps each.

    With `sparsity: skipping`, zeros of the operand `skips` take no steps. Elements queue the words of that operand, and
    wait for each other after every `skip_window` words (of zeros at random, `sparse.slowest_share`); those in a step
    that get the same word are as fast as each other, so that as many wait as the spread deals out different words. N:M
    weights in a ratio of `sparse_ratios` leave N/M of the steps. Queues run on from tile to tile.
    """

    kind: Literal["spatial"] = "spatial"
    dimensions: Annotated[
        Mapping[str, Annotated[int, Field(ge=1, le=2**20)]],
        Field(description="Elements along each dimension, by name.", min_length=1, max_length=4),
    ]
    spread: Annotated[
        Mapping[str, tuple[RankRole, ...]],
        Field(description="What may lie along a dimension, by the roles of ranks; anything where none is given."),
    ] = Field(default_factory=dict)
    fill: Annotated[
        Mapping[str, tuple[RankRole, ...]],
        Field(
            description="What lies along a dimension first, as much of it as fits, whatever else may lie there. A rank "
            "that fills several dimensions goes on in the next one named."
        ),
    ] = Field(default_factory=dict)
    shares: Annotated[
        Shares,
        Field(
            description="How two ranks share what `fill` leaves of a dimension: `any` numbers that fit, or only "
            "`factors` of it."
        ),
    ] = "any"
    through: Annotated[
        Mapping[RankRole, RankRole],
        Field(
            description="Roles whose ranks, where they do not fill their elements, run on into the next index of a "
            "rank of another role."
        ),
    ] = Field(default_factory=dict)
    registers: Annotated[
        Mapping[Operand, RegisterFile], Field(description="Register files by operand (`input`, `weight`, `output`).")
    ] = Field(default_factory=dict)
    network: Annotated[
        Mapping[Operand, Bandwidth],
        Field(description="Bandwidth between memory and elements by operand, each way; unlimited unless given."),
    ] = Field(default_factory=dict)
    sums: Annotated[
        tuple[str, ...] | None, Field(description="Dimensions along which results are added up; all unless given.")
    ] = None
    skips: Annotated[Literal["input", "weight"], Field(description="Operand whose zeros `skipping` skips.")] = "weight"
    skip_window: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_WINDOW, description="Words that an element queues, of which it skips the zeros."),
    ] = None
    latency: Annotated[int, Field(ge=0, le=2**20, description="Cycles from a tile's last step to its results.")] = 0
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energy.")] = "int"
    mac_bits: Annotated[int, Field(ge=1, le=64, description="Operand width that a MAC multiplies at once.")] = 8
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of partial sums.")] = 32
    mac_energy: Annotated[Energy | None, Field(description="Of one multiply-accumulate.")] = None
    transfer_energy: Annotated[
        EnergyPerByte | None, Field(description="Of the network, per byte that a register file receives or sends.")
    ] = None

    hop_energy: Annotated[
        EnergyPerByte | None, Field(description="Of the network, per byte and hop from element to element; none unless "
                                    "given.")
    ] = None  # fmt: skip

    _network: Mapping[Operand, tuple[int, int]] = PrivateAttr(default_factory=dict)

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(
        {"mac": ENERGY, "transfer": ENERGY_PER_BYTE, "hop": ENERGY_PER_BYTE}
        | {f"{o}_{way}": ENERGY_PER_BYTE for o in OPERANDS for way in ("read", "write")}
    )

    @model_validator(mode="after")
    def _dimensions_known(self) -> SpatialArray:
        named = {
            "spread": list(self.spread),
            "fill": list(self.fill),
            "sums": list(self.sums or ()),
            **{f"registers.{o}.shared": list(r.shared) for o, r in self.registers.items()},
        }
        for key, dimensions in named.items():
            for name in dimensions:
                if name not in self.dimensions:
                    raise ValueError(f"{key}: no dimension `{name}` (has: {', '.join(self.dimensions)})")
        return self

    @model_validator(mode="after")
    def _able_to_skip(self) -> SpatialArray:
        if self.skip_window is not None and self.sparsity != "skipping":
            raise ValueError("skip_window is for `sparsity: skipping`")
        if self.sparsity == "skipping" and not self.sparse_ratios and self.skip_window is None:
            raise ValueError("`sparsity: skipping` needs skip_window, sparse_ratios, or both")
        if self.sparse_ratios and self.skips != "weight":
            raise ValueError("sparse_ratios are of weights, and `skips` says otherwise")
        return self

    def bound(self, surroundings: Surroundings) -> Self:
        copy = super().bound(surroundings)
        copy._network = {
            o: per_cycle(f"network of {o} of {copy.name}", bandwidth, copy.clock_hz)
            for o, bandwidth in copy.network.items()
            if not isinf(bandwidth)
        }
        return copy

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": float(prod(self.dimensions.values()))}

    def least_slices(self, einsum: Einsum, bits: Sequence[int]) -> int:
        return mac_slices(einsum, bits, self.mac_bits)

    # Layouts

    @property
    def rules(self) -> SpreadRules:
        return SpreadRules(self.dimensions, self.spread, self.fill, self.shares, self.through, self.sums)

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Spreads with the fewest steps for the whole Einsum, best first; none if it is not a contraction.

        Their layouts have no loops and hold nothing: a mapper adds those.
        """
        return tuple(_option(Layout(spreads)) for spreads in best_spreads(self.rules, einsum, OPTIONS))

    def option(self, einsum: Einsum, variant: str, layout: Layout | None) -> SpatialOption:
        """See the base class. A layout may be any that the array can carry out, not only those on offer."""
        who = self.name or self.kind
        roles = rank_roles(einsum)
        if variant != VARIANT or not roles:
            can = VARIANT if roles else "nothing of the kind: it is not a sum of products of two inputs"
            raise BadInput(f"{who} cannot run {einsum.name} as {variant!r}; it can as {can}")
        if layout is None:
            raise BadInput(f"{who}: {einsum.name} needs a layout (`spread`, `loops`, `hold`)")
        check_layout(who, einsum, layout, roles, self.rules, self.registers)
        return _option(layout)

    # Costs

    def register_bytes(
        self, einsum: Einsum, layout: Layout, extents: Extents, bits: Sequence[int]
    ) -> Mapping[Operand, IntArray]:
        """Bytes that the fullest register file of each operand that a layout holds must have."""
        nest = LayoutNest(einsum, layout, extents, tile_shape(einsum, extents))
        return {o: self.needed(nest, o, layout.holds[o], bits) for o in layout.holds}

    def needed(self, nest: LayoutNest, operand: Operand, depth: int, bits: Sequence[int]) -> IntArray:
        held = nest.held(_access(nest.einsum, operand), depth, self.private(operand))
        width = self.accumulator_bits if operand == "output" else bits[OPERANDS.index(operand)]
        return bytes_of(held, width) * (2 if self.registers[operand].double_buffered else 1)

    def private(self, operand: Operand) -> tuple[str, ...]:
        """Dimensions along which every element has registers of its own for an operand."""
        return tuple(d for d in self.dimensions if d not in self.registers[operand].shared)

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
        """Cost of tiles, see the class.

        Counted are ``mac``, bytes read from and written to the registers of each operand (``weight_read`` ...), and
        ``transfer``: bytes that pass the network at the side of the elements.

        Raises:
            BadInput: the array cannot do it.
            DoesNotFit: what the layout holds does not fit the registers.
            UnsupportedPrecision: the array does not compute with operands of these widths.
        """
        layout = option.layout
        if layout is None or not einsum.is_contraction:
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name} as `{option.variant}`")
        self.check_widths(einsum, bits)
        one = tile_shape(einsum, extents)
        nest = LayoutNest(einsum, layout, extents, one)
        self._check_room(nest, bits)
        slices = mac_slices(einsum, bits, self.mac_bits)
        steps = share_of(nest.steps * slices, self.step_share(einsum, layout))
        macs = share_of(_points(einsum, extents, one) * slices, self.mac_share)
        actions = {"mac": macs, "transfer": np.zeros_like(one)}
        reads: list[IntArray] = []
        for operand, width in zip(OPERANDS, (*bits[:2], self.accumulator_bits), strict=True):
            flow = self.flow(nest, operand, layout.holds.get(operand), resumed=resumed)
            passed = bytes_of(flow.network, width)
            actions["transfer"] = actions["transfer"] + passed
            if self.hop_energy is not None:
                actions["hop"] = actions.get("hop", 0) + share_of(passed, self.hops(einsum, layout, operand))
            if flow.read is not None and flow.write is not None:
                actions[f"{operand}_read"] = bytes_of(flow.read, width)
                actions[f"{operand}_write"] = bytes_of(flow.write, width)
            if operand != "output":
                reads.append(bytes_of(flow.memory, width))
        distinct, partial = nest.moved(einsum.output, 0, ()), bytes_of(flow.back, self.accumulator_bits)
        writes = bytes_of(flow.memory, self.accumulator_bits)
        if not unfinished:
            between = bytes_of(flow.memory - distinct, self.accumulator_bits)
            writes = between + bytes_of(distinct, bits[-1])
        waits, first, hidden = self._stops(nest, (*reads, writes), steps, bits)
        busy = steps + waits + (0 if hidden else first)
        moving = self.network_cycles(reads, writes, partial)
        return Cost(
            cycles=np.maximum(np.maximum(busy, moving), self.feed_cycles(reads, writes, partial)),
            latency=one * self.latency + (first if hidden else 0),
            reads=(reads[0], reads[1]),
            writes=writes,
            partial_reads=partial,
            actions=actions,
        )

    def _check_room(self, nest: LayoutNest, bits: Sequence[int]) -> None:
        """Raise DoesNotFit where registers are too small for what the layout holds in them."""
        for operand, depth in nest.layout.holds.items():
            capacity, needed = self.registers[operand].capacity, int(self.needed(nest, operand, depth, bits).max())
            if needed > capacity:
                what = f"{self.name or self.kind}: registers of {operand}: {nest.einsum.name} needs {needed:,} bytes"
                raise DoesNotFit(f"{what} in one and it has {capacity:,}, {needed - capacity:,} too few")

    def _stops(
        self, nest: LayoutNest, amounts: Sequence[IntArray], steps: IntArray, bits: Sequence[int]
    ) -> tuple[IntArray, IntArray, bool]:
        """Cycles that the elements wait for registers, cycles of the first fill, and whether that hides behind the
        tile before; `amounts` are the bytes that come (or leave) by operand."""
        waits, first, hidden = np.zeros_like(steps), np.zeros_like(steps), True
        for operand, amount in zip(OPERANDS, amounts, strict=True):
            if operand in nest.layout.holds:
                wait, fill = self._waits(nest, operand, amount, steps, bits)
                waits = np.maximum(waits, wait)
                if operand != "output":
                    first = np.maximum(first, fill)
                    hidden &= self.registers[operand].double_buffered
        return waits, first, hidden

    def hops(self, einsum: Einsum, layout: Layout, operand: Operand) -> Fraction:
        """Mean hops from element to element, per word that a holder of an operand receives (or sends).

        Words go along the dimensions in their order, from before the first element of each, and split where several
        elements want them (dimension-order routing: Dally and Towles, Principles and Practices of Interconnection
        Networks, 2004, chapter 8); sums go the same way back and are added where they meet. With c different words
        along a dimension, each for b neighbours, word j of them passes (j + 1)·b links, (c + 1)/2 per copy on the mean.
        On its way along a dimension it has not split along later ones yet:

            hops = sum over dimensions d of (c_d + 1)/2 / product of b_e over dimensions e after d.
        """
        ranks, total, copies = _access(einsum, operand).ranks, Fraction(0), 1
        passed = self.private(operand) if operand in layout.holds else tuple(self.dimensions)
        for dimension in reversed(passed):
            along = [(s.rank in ranks, s.factor) for s in layout.spreads if s.dimension == dimension]
            total += Fraction(prod(f for mine, f in along if mine) + 1, 2 * copies)
            copies *= prod(f for mine, f in along if not mine)
        return total

    # Zeros

    @property
    def window(self) -> int | None:
        return self.skip_window

    def may_skip(self, densities: Sequence[Density]) -> int | None:
        return OPERANDS.index(self.skips)

    @property
    def mac_share(self) -> Fraction:
        """Share of the multiply-accumulates that take energy."""
        return self.gated if self.skipped is None else self.skipped.kept

    def step_share(self, einsum: Einsum, layout: Layout) -> Fraction:
        """Share of the steps that is left when zeros are skipped."""
        skipped = self.skipped
        if skipped is None:
            return Fraction(1)
        if skipped.ratio is not None or self.skip_window is None:
            return skipped.kept
        apart = prod(layout.factor(r) for r in einsum.inputs[skipped.operand].ranks)
        return slowest_share(apart, self.skip_window, skipped.kept)

    def flow(self, nest: LayoutNest, operand: Operand, depth: int | None, *, resumed: bool = False) -> Flow:
        """Where the elements of an operand go that registers hold inside `depth` loops, or that none hold (None).

        A register of an input is written as its word arrives and read in every step. One of an output is read and
        written in every step, but that a sum which begins at zero is not read; it is read once more when it leaves and
        written when it comes back. Where several elements have a part of a sum each, one gets what comes back.
        """
        access, every = _access(nest.einsum, operand), len(nest.loops)
        if depth is None:
            read = None
            memory = nest.moved(access, every, (), reuse=False)
            network = nest.moved(access, every, tuple(self.dimensions), reuse=False)
        else:
            private, slide = self.private(operand), self.registers[operand].sliding
            memory, network = (nest.moved(access, depth, p, slide=slide) for p in ((), private))
            read = nest.moved(access, every, private, reuse=False)
        if operand != "output":
            return Flow(memory, np.zeros_like(memory), network, read, None if read is None else network)
        back = memory if resumed else memory - nest.moved(access, 0, ())
        used = None if read is None else read + back
        return Flow(memory, back, network + back, used, used)

    def _waits(
        self, nest: LayoutNest, operand: Operand, amount: IntArray, steps: IntArray, bits: Sequence[int]
    ) -> tuple[IntArray, IntArray]:
        """Cycles of the first fill (drain) of registers, after those for which later ones stop the array.

        All fills count as their mean, but for queues that feed a sliding window: where it starts anew, all of it comes.
        """
        registers, depth, access = self.registers[operand], nest.holds[operand], _access(nest.einsum, operand)
        filling = "ahead" if registers.double_buffered else registers.filling
        visits = nest.visits(access, depth)
        window = steps // visits if filling != "stop" else np.zeros_like(steps)
        if filling == "last_use":
            window = window // nest.sweeps(access, depth)
        sliding = registers.sliding and not registers.double_buffered and slides(access, nest.layout, depth)
        if filling != "ahead" or not sliding:
            fill = self.operand_cycles(operand, -(-amount // visits), len(bits) - 1)
            later = visits if operand == "output" else visits - 1
            return later * np.maximum(0, fill - window), fill
        starts = nest.visits(access, depth, slide=True)
        whole = bytes_of(nest.moved(access, depth, ()), bits[OPERANDS.index(operand)]) // visits
        each = np.maximum(0, amount - starts * whole) // np.maximum(1, visits - starts)
        fill, further = (self.operand_cycles(operand, n, len(bits) - 1) for n in (whole, each))
        waits = (starts - 1) * np.maximum(0, fill - window) + (visits - starts) * np.maximum(0, further - window)
        return waits, fill

    def operand_cycles(self, operand: Operand, amount: IntArray, inputs: int) -> IntArray:
        """Cycles in which bytes of one operand alone pass the network and its memory's port."""
        nothing = np.zeros_like(amount)
        reads = [amount if operand == o else nothing for o in OPERANDS[:inputs]]
        writes = amount if operand == "output" else nothing
        return np.maximum(self.network_cycles(reads, writes, nothing), self.feed_cycles(reads, writes, least=0))

    def network_cycles(self, reads: Sequence[IntArray], writes: IntArray, partial: IntArray) -> IntArray:
        """Cycles that the network needs for the bytes of a `Cost`."""
        cycles = np.zeros_like(writes)
        for operand, amount in zip(OPERANDS, (*reads, np.maximum(writes, partial)), strict=True):
            rate = self._network.get(operand)
            if rate is not None:
                cycles = np.maximum(cycles, -(-amount * rate[1] // rate[0]))
        return cycles

    def prices(self) -> Mapping[str, Price]:
        node = self.technology_nm
        passed = register(self.mac_bits, node)
        found = {
            "mac": Price("mac_energy", self.mac_energy, operation("mac", self.arithmetic, self.mac_bits, node)),
            "transfer": Price("transfer_energy", self.transfer_energy, passed),
        }
        if self.hop_energy is not None:
            found["hop"] = Price("hop_energy", self.hop_energy, None)
        for operand, file in self.registers.items():
            for way, stated in (("read", file.read_energy), ("write", file.write_energy)):
                found[f"{operand}_{way}"] = Price(f"registers.{operand}.{way}_energy", stated, passed)
        return found

    def default_area(self) -> Figure | None:
        """That of the MACs; registers, network and control are left out where the cited figure leaves them out."""
        mac, macs = mac_area(self.arithmetic, self.mac_bits, self.technology_nm), prod(self.dimensions.values())
        return None if mac is None else Figure(mac.value * macs, f"{macs} MACs: {mac.source}")


def _option(layout: Layout) -> SpatialOption:
    along: dict[str, str] = {}
    for s in layout.spreads:
        along[s.rank] = f"{along[s.rank]}, {s.dimension}" if s.rank in along else s.dimension
    return SpatialOption(VARIANT, along, layout)


def _access(einsum: Einsum, operand: Operand) -> Access:
    return {"input": einsum.inputs[0], "weight": einsum.inputs[1], "output": einsum.output}[operand]


def _points(einsum: Einsum, extents: Extents, one: IntArray) -> IntArray:
    result = one
    for rank in einsum.sizes:
        result = result * extents[rank]
    return result
