# mypy: disable-error-code="no-any-return"
"""`SpatialArray.cost`, compiled: one tile at a time, without numpy's price per call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..arch.component import OPERANDS, Operand
from ..arch.layout import Layout
from ..ir import Access, Einsum
from ..jit import stamped
from .nest import slides
from .nest_kernel import (
    Body,
    IntArray,
    Room,
    cut,
    held,
    moved_always,
    over_visits,
    room_for,
    steps_of,
    sweeps,
)
from .spatial import SpatialArray
from .spatial_layout import FILLINGS

INPUT, WEIGHT, OUTPUT = range(3)
(
    U_WIDTH, U_RESULT, U_SLICES, U_LATENCY, U_CAPACITY, U_DOUBLE, U_RATE, U_PORT, U_PARTIAL, U_FILLING, U_MACS, U_WORDS
) = (0, 3, 4, 5, 6, 9, 12, 18, 21, 22, 25, 27)  # fmt: skip
LAST_USE, AHEAD, STOP = range(3)
"""Words that describe a unit: bits of input, weight and partial sum; of results; steps per product; cycles to a tile's
results; by operand: bytes of registers (-1: none), whether they are double buffered, bytes per cycle of the network as
a fraction (0: any number), the port of its memory (-1: none); the port that partial results are read through; by
operand, what a fill overlaps with; the share of multiply-accumulates that takes energy, as a fraction."""
(
    C_CYCLES, C_LATENCY, C_READS, C_WRITES, C_PARTIAL, C_MAC, C_TRANSFER, C_REGISTERS, C_NEEDED, C_HOPS, C_WORDS
) = (0, 1, 2, 4, 5, 6, 7, 8, 14, 17, 18)  # fmt: skip
"""Words of a cost: those of a `Cost`, bytes read and written of the registers of each operand, bytes that they need,
bytes times hops."""


_jit = stamped(Path(__file__), Path(__file__).with_name("nest_kernel.py"))


@_jit
def bytes_of(elements: int, bits: int) -> int:
    if bits % 8 == 0:
        return elements * (bits // 8)
    return (elements >> 3) * bits - (-(elements & 7) * bits >> 3)


@_jit
def share_of(amount: int, share: IntArray) -> int:
    """A share of a whole number, rounded up."""
    return amount // share[1] * share[0] - (-(amount % share[1]) * share[0] // share[1])


@_jit
def busy_steps(b: Body, u: IntArray, w: Room) -> int:
    """Cycles of the steps of a tile that was cut."""
    return share_of(steps_of(b, w) * u[U_SLICES], b.pace)


@_jit
def macs_of(u: IntArray, points: int) -> int:
    """Multiply-accumulates that take energy, of so many points."""
    return share_of(points * u[U_SLICES], u[U_MACS : U_MACS + 2])


@_jit
def port_cycles(ports: IntArray, port: int, amount: int) -> int:
    return -(-amount * ports[port, 1] // ports[port, 0]) if port >= 0 else 0


@_jit
def network_cycles(u: IntArray, o: int, amount: int) -> int:
    num, den = u[U_RATE + 2 * o], u[U_RATE + 2 * o + 1]
    return -(-amount * den // num) if num > 0 else 0


@_jit
def alone(u: IntArray, ports: IntArray, o: int, amount: int) -> int:
    """Cycles in which bytes of one operand alone pass the network and its memory's port."""
    return max(network_cycles(u, o, amount), port_cycles(ports, u[U_PORT + o], amount))


@_jit
def moving(u: IntArray, ports: IntArray, reads: int, weights: int, writes: int, partial: int) -> int:
    """Cycles in which a tile's bytes pass the network and the ports of the memories."""
    cycles = max(network_cycles(u, INPUT, reads), network_cycles(u, WEIGHT, weights))
    cycles = max(cycles, network_cycles(u, OUTPUT, max(writes, partial)), 1)
    for port in range(len(ports)):
        amount = reads if u[U_PORT] == port else 0
        amount += weights if u[U_PORT + 1] == port else 0
        amount += writes if u[U_PORT + 2] == port else 0
        amount += partial if u[U_PARTIAL] == port else 0
        cycles = max(cycles, port_cycles(ports, port, amount))
    return cycles


@_jit
def waits_for(b: Body, u: IntArray, ports: IntArray, o: int, steps: int, amount: int, w: Room) -> tuple[int, int]:
    """Cycles for which later fills of an operand's registers stop the array, and those of the first."""
    depth, double = b.depth[o], u[U_DOUBLE + o] == 1
    filling = AHEAD if double else u[U_FILLING + o]
    visits = over_visits(b, w, o, depth, -1, True, -1)
    window = steps // visits if filling != STOP else 0
    if filling == LAST_USE:
        window //= sweeps(b, w, o, depth)
    if filling != AHEAD or double or b.slide[o] < 0:
        fill = alone(u, ports, o, -(-amount // visits))
        return (visits if o == OUTPUT else visits - 1) * max(0, fill - window), fill
    starts = over_visits(b, w, o, depth, -1, True, b.slide[o])
    whole = bytes_of(over_visits(b, w, o, depth, -1, False, -1), u[U_WIDTH + o]) // visits
    each = max(0, amount - starts * whole) // max(1, visits - starts)
    fill, further = alone(u, ports, o, whole), alone(u, ports, o, each)
    return (starts - 1) * max(0, fill - window) + (visits - starts) * max(0, further - window), fill


@_jit
def tile_cost(
    b: Body, u: IntArray, ports: IntArray, extents: IntArray, resumed: bool, unfinished: bool, w: Room, out: IntArray
) -> None:
    """The cost of a tile of these extents, as the words of `C_CYCLES` and so on."""
    cut(b, extents, w)
    steps = busy_steps(b, u, w)
    points = 1
    for r in range(len(extents)):
        points *= extents[r]
    out[:] = 0
    out[C_MAC], out[C_LATENCY] = macs_of(u, points), u[U_LATENCY]
    once = over_visits(b, w, OUTPUT, 0, -1, False, -1)
    for o in range(3):
        depth, width = b.depth[o], u[U_WIDTH + o]
        if depth < 0:
            memory, network, read = moved_always(b, w, o, -1), moved_always(b, w, o, o), 0
        else:
            memory = over_visits(b, w, o, depth, -1, False, b.slide[o])
            network = over_visits(b, w, o, depth, o, False, b.slide[o])
            read = moved_always(b, w, o, o)
            out[C_NEEDED + o] = bytes_of(held(b, w, o, depth), width) * (2 if u[U_DOUBLE + o] else 1)
        write = network
        if o == OUTPUT:
            back = memory if resumed else memory - once
            network += back
            read += back
            write = read
            out[C_PARTIAL] = bytes_of(back, width)
            if unfinished:
                out[C_WRITES] = bytes_of(memory, width)
            else:
                out[C_WRITES] = bytes_of(memory - once, width) + bytes_of(once, u[U_RESULT])
        else:
            out[C_READS + o] = bytes_of(memory, width)
        out[C_TRANSFER] += bytes_of(network, width)
        out[C_HOPS] += share_of(bytes_of(network, width), b.hops[o])
        if depth >= 0:
            out[C_REGISTERS + 2 * o], out[C_REGISTERS + 2 * o + 1] = bytes_of(read, width), bytes_of(write, width)
    waits, first, hidden = 0, 0, True
    for o in range(3):
        depth = b.depth[o]
        if depth < 0:
            continue
        wait, fill = waits_for(b, u, ports, o, steps, out[C_WRITES] if o == OUTPUT else out[C_READS + o], w)
        waits = max(waits, wait)
        if o != OUTPUT:
            first = max(first, fill)
            hidden = hidden and u[U_DOUBLE + o] == 1
    busy = steps + waits + (0 if hidden else first)
    out[C_LATENCY] += first if hidden else 0
    out[C_CYCLES] = max(busy, moving(u, ports, out[C_READS], out[C_READS + 1], out[C_WRITES], out[C_PARTIAL]))


class TileCosts:
    """The costs of tiles of one Einsum on an array, one at a time.

    Attributes:
        unit_words, ports: the array as the kernel takes it; ports as bytes per cycle, a fraction.
        ranks: of the Einsum, in the order of extents.
    """

    def __init__(self, unit: SpatialArray, einsum: Einsum, bits: Sequence[int]) -> None:
        self.unit, self.einsum, self.ranks = unit, einsum, tuple(einsum.sizes)
        self.place = {r: i for i, r in enumerate(self.ranks)}
        accesses: tuple[Access, ...] = (einsum.inputs[0], einsum.inputs[1], einsum.output)
        self.access: Mapping[Operand, Access] = dict(zip(OPERANDS, accesses, strict=True))
        self.relevant = np.array([[r in a.ranks for r in self.ranks] for a in accesses], np.int64)
        index: list[tuple[int, int, int]] = []
        term: list[tuple[int, int]] = []
        for o, access in enumerate(accesses):
            for affine in access.indices:
                if affine.terms:
                    index.append((o, len(term), len(term) + len(affine.terms)))
                    term += [(self.place[r], abs(step)) for r, step in affine.terms]
        self.index = np.array(index, np.int64).reshape(-1, 3)
        self.term = np.array(term, np.int64).reshape(-1, 2)
        self.unit_words, self.ports = _unit_words(unit, bits)

    def spread(self, layout: Layout) -> tuple[IntArray, IntArray, IntArray]:
        """Of a layout: points of each rank side by side, holders by operand and rank (as if all that have registers
        were held), and the ranks that its spreads run on through."""
        factor = np.array([layout.factor(r) for r in self.ranks], np.int64)
        share = np.ones((3, len(self.ranks)), np.int64)
        for o, operand in enumerate(OPERANDS):
            shared = self.unit.registers[operand].shared if operand in self.unit.registers else ()
            for s in layout.spreads:
                if s.dimension not in shared:
                    share[o, self.place[s.rank]] *= s.factor
        outer = np.full(len(self.ranks), -1, np.int64)
        for rank, through in layout.joined.items():
            outer[self.place[rank]] = self.place[through]
        return factor, share, outer

    def bare(self, layout: Layout, held: Collection[Operand]) -> tuple[Body, Room]:
        """The spreads of a layout alone, for some operands to be held, and room for it."""
        factor, share, outer = self.spread(layout)
        for o, operand in enumerate(OPERANDS):
            if operand not in held:
                share[o] = factor
        loops = np.stack([np.arange(len(factor)), factor], axis=1)
        whole, still = np.zeros(3, np.int64), np.full(3, -1, np.int64)
        rates = self._rates(Layout(layout.spreads, (), dict.fromkeys(held, 0)))
        body = Body(self.relevant, self.index, self.term, factor, share, outer, loops, whole, still, *rates)
        return body, room_for(body)

    def body(self, layout: Layout) -> Body:
        factor, share, outer = self.spread(layout)
        for o, operand in enumerate(OPERANDS):
            if operand not in layout.holds:
                share[o] = factor
        looped = {r for r, _ in layout.loops}
        for rank, through in layout.joined.items():
            if {rank, through} & looped:
                outer[self.place[rank]] = -1
        loops = [*((self.place[r], t) for r, t in layout.loops), *enumerate(factor)]
        depth = np.array([layout.holds.get(o, -1) for o in OPERANDS], np.int64)
        slide = np.array([self._sliding(layout, o) for o in OPERANDS], np.int64)
        cuts = np.array(loops, np.int64)
        rates = self._rates(layout)
        return Body(self.relevant, self.index, self.term, factor, share, outer, cuts, depth, slide, *rates)

    def _rates(self, layout: Layout) -> tuple[IntArray, IntArray]:
        """Share of the steps that takes time, and hops of the operands."""
        pace = self.unit.step_share(self.einsum, layout).as_integer_ratio()
        hops = [self.unit.hops(self.einsum, layout, o).as_integer_ratio() for o in OPERANDS]
        return np.array(pace, np.int64), np.array(hops, np.int64)

    def _sliding(self, layout: Layout, operand: Operand) -> int:
        depth = layout.holds.get(operand, 0)
        if not depth or not self.unit.registers[operand].sliding or not slides(self.access[operand], layout, depth):
            return -1
        return self.place[layout.loops[depth - 1][0]]

    def cost(
        self, body: Body, extents: Mapping[str, int], *, resumed: bool = False, unfinished: bool = False,
        room: Room | None = None,
    ) -> IntArray:  # fmt: skip
        """The words of a cost, see above. Whether registers hold what they must is for the caller to see."""
        out = np.empty(C_WORDS, np.int64)
        sizes = np.array([extents[r] for r in self.ranks], np.int64)
        tile_cost(body, self.unit_words, self.ports, sizes, resumed, unfinished, room or room_for(body), out)
        return out


def _unit_words(unit: SpatialArray, bits: Sequence[int]) -> tuple[IntArray, IntArray]:
    words = np.zeros(U_WORDS, np.int64)
    words[U_WIDTH : U_WIDTH + 3] = *bits[:2], unit.accumulator_bits
    words[U_RESULT], words[U_LATENCY] = bits[-1], unit.latency
    words[U_MACS : U_MACS + 2] = unit.mac_share.as_integer_ratio()
    words[U_SLICES] = -(-bits[0] // unit.mac_bits) * -(-bits[1] // unit.mac_bits)
    ports: dict[str, tuple[int, int]] = {}
    for word, way in zip((U_PORT, U_PORT + 1, U_PARTIAL, U_PORT + 2), unit.feeding(2), strict=True):
        if way is None:
            words[word] = -1
        else:
            ports.setdefault(*way)
            words[word] = list(ports).index(way[0])
    for o, operand in enumerate(OPERANDS):
        registers, rate = unit.registers.get(operand), unit._network.get(operand, (0, 0))
        words[U_CAPACITY + o] = -1 if registers is None else registers.capacity
        words[U_DOUBLE + o] = registers is not None and registers.double_buffered
        words[U_RATE + 2 * o : U_RATE + 2 * o + 2] = rate
        words[U_FILLING + o] = FILLINGS.index("last_use" if registers is None else registers.filling)
    return words, np.array(list(ports.values()), np.int64).reshape(-1, 2)
