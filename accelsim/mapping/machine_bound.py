"""The machine bound: cycles and joules below which no Mapping of a Workload onto a machine can come."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import NamedTuple

from ..arch.architecture import Architecture
from ..arch.component import Direction, Memory, UnitBase
from ..ir import Density, Einsum, Role, Workload, count_operations
from ..ir.same import Same
from ..ir.signature import signature
from .compulsory import CompulsoryTraffic, compulsory_traffic
from .tree import Mapping
from .unread import without_unread

_ROUNDING = 1 - 1e-12
"""Keeps the sums of floating-point terms on the safe side."""


@dataclass(frozen=True)
class MachineBound:
    """Lower bounds that hold for every Mapping.

    Attributes:
        cycles: of the machine's clock; the larger of the next two.
        compute_cycles: for the operations, spread over the units as well as can be.
        traffic_cycles: for the compulsory traffic at the bandwidth of the memories outside the chip.
        energy_J: operations at their cheapest unit, the operands that every unit would read, compulsory bytes at the
            cheapest memory outside the chip.
        traffic: the compulsory traffic.
        limit: ``compute`` or ``off-chip traffic``: which of the two decides.
    """

    cycles: float
    compute_cycles: float
    traffic_cycles: float
    energy_J: float  # noqa: N815
    traffic: CompulsoryTraffic
    limit: str


def machine_bound(workload: Workload, arch: Architecture, *, resident: Collection[str] = ()) -> MachineBound:
    """Bound the cycles and the energy of every Mapping of `workload` onto `arch` from below.

    The compute bound spreads the points of each Einsum over the units whose peak rates have all its cost classes, as
    far as its ranks fill them and memories feed them, less what a unit may save on zeros, more where operands are wider
    than its MACs; a unit serves one Einsum at a time, but is not assumed to serve one class at a time.
    The traffic bound is the largest, over the sets of memories outside the chip, of the compulsory bytes that exceed
    the capacity of the other memories, over the set's bandwidth.
    Points whose results nothing reads are left out of both (`without_unread`): a Mapping need not make them.
    More bandwidth, capacity or speed never raises a bound.

    Args:
        workload: what is computed.
        arch: the machine.
        resident: stored tensors that the Mappings considered hold on the chip before and after the run.
    """
    return _bound(Same(workload), Same(arch), frozenset(resident))


@lru_cache(maxsize=16)
def _bound(of: Same[Workload], on: Same[Architecture], resident: frozenset[str]) -> MachineBound:
    workload, arch = without_unread(of.value), on.value
    traffic = compulsory_traffic(workload, resident=resident)
    compute = _compute_cycles(workload, arch) * _ROUNDING
    moving = _traffic_cycles(traffic, arch) * _ROUNDING
    energy = (_compute_energy(workload, arch) + _traffic_energy(traffic, arch)) * _ROUNDING
    limit = "compute" if compute >= moving else "off-chip traffic"
    return MachineBound(max(compute, moving), compute, moving, energy, traffic, limit)


def resident_tensors(mapping: Mapping, workload: Workload, arch: Architecture) -> tuple[str, ...]:
    """Tensors that a Mapping takes to be on the chip when the run begins (weights in a crossbar), sorted.

    They stay in an on-chip memory from the start of the root on, and no Move brings them there. A result is made during
    the run: it is among them where no Move takes it away again, so that it is there at the end.
    """
    loaded = {(move.tensor, move.dst) for move in mapping.moves if not move.store and not move.is_copy}
    results = {name for name, tensor in workload.tensors.items() if tensor.role is Role.OUTPUT}
    loaded |= {(move.tensor, move.src) for move in mapping.moves if move.store and move.tensor in results}
    return tuple(sorted({
        stay.tensor for stay in mapping.stays
        if not any(stay.start) and stay.memory in arch.memories and arch.memories[stay.memory].on_chip
        and (stay.tensor, stay.memory) not in loaded
    }))  # fmt: skip


def _compute_cycles(workload: Workload, arch: Architecture) -> float:
    """Cycles that the units need, by linear programming: minimise the longest unit over all ways to share the work.

    Any prices w of the units that sum to one give a lower bound, the sum over Einsums of the least w·cycles of a unit
    (weak duality); so the solver decides how good the bound is, not whether it holds.
    """
    rows: dict[tuple[float, ...], float] = {}
    """Cycles on each unit over those on the fastest (rounded down; inf where it cannot) to the latter, summed."""
    bounds = einsum_bounds(workload, arch)
    for one in _runs(Same(workload)):
        cycles, times = bounds[one.einsum.name].cycles, one.times
        least = min(cycles, default=math.inf)
        if 0 < least < math.inf:
            key = tuple(math.floor(c / least * 2**30) / 2**30 if c < math.inf else c for c in cycles)
            rows[key] = rows.get(key, 0.0) + least * times
    return _priced(rows, _prices(rows, len(arch.units)))


def _priced(rows: dict[tuple[float, ...], float], prices: Sequence[float]) -> float:
    """The bound that prices of the units give."""
    return sum(
        total * min(w * c for w, c in zip(prices, ratios, strict=True) if c < math.inf)
        for ratios, total in rows.items()
    )


def _cycles_on(
    unit: UnitBase, einsum: Einsum, bits: Sequence[int], densities: Sequence[Density], arch: Architecture
) -> float:
    counts, rates = count_operations(einsum).counts, unit.rates_on(einsum, bits)
    if not all(rates.get(c, 0) > 0 for c in counts):
        return math.inf
    left = {"mac": unit.least_shares(einsum, densities)[0] * unit.least_slices(einsum, bits)}
    working = max((n * left.get(c, 1.0) / rates[c] for c, n in counts.items()), default=0.0)
    seen = all(density.is_full for density in densities) and all(arch.memories[n].on_chip for n in unit.memories)
    fed = unit.least_feed_cycles(einsum, bits) if seen else 0.0
    return max(working, fed) * float(arch.clock) / unit.clock_hz


def unit_bound(
    unit: UnitBase, einsum: Einsum, bits: Sequence[int], densities: Sequence[Density], arch: Architecture
) -> tuple[float, float]:
    """Cycles of the machine's clock and joules below which one unit does not run an Einsum; inf where it cannot.

    Args:
        bits: of every input and, last, of the output.
        densities: of every input.
    """
    return _unit_bound(_Question(Same(unit), signature(einsum), tuple(bits), tuple(densities), einsum, arch))


@dataclass(frozen=True)
class _Question:
    """A call of `unit_bound`; what is compared stands for all of it."""

    unit: Same[UnitBase]
    einsum: Hashable
    bits: tuple[int, ...]
    densities: tuple[Density, ...]
    whole: Einsum = field(compare=False)
    arch: Architecture = field(compare=False)


@lru_cache(maxsize=2**10)
def _unit_bound(of: _Question) -> tuple[float, float]:
    unit, einsum, bits, densities, arch = of.unit.value, of.whole, of.bits, of.densities, of.arch
    prices = _prices_of(Same(unit), Same(arch))
    energy = prices.energy(einsum, count_operations(einsum).counts, densities, bits)
    if energy is None:
        return math.inf, math.inf
    cycles = _cycles_on(unit, einsum, bits, densities, arch)
    return cycles * _ROUNDING, (energy.computed + sum(energy.moved)) * _ROUNDING


def _prices(rows: dict[tuple[float, ...], float], units: int) -> list[float]:
    if units < 2 or not rows:
        return [1.0] * units
    if units == 2:  # concave, and linear but where an Einsum costs the same on both
        shares = {0.0, 1.0} | {b / (a + b) for a, b in rows if max(a, b) < math.inf}
        best = max(sorted(shares), key=lambda share: _priced(rows, (share, 1.0 - share)))
        return [best, 1.0 - best]
    from scipy.optimize import linprog

    largest = max(rows.values())
    a_ub, b_ub = [], []
    for i, ratios in enumerate(rows):
        for u, c in enumerate(ratios):
            if c < math.inf:
                line = [0.0] * (units + len(rows))
                line[u], line[units + i] = -c, 1.0
                a_ub.append(line)
                b_ub.append(0.0)
    result = linprog(
        [0.0] * units + [-total / largest for total in rows.values()],
        A_ub=a_ub,
        b_ub=b_ub,
        A_eq=[[1.0] * units + [0.0] * len(rows)],
        b_eq=[1.0],
        method="highs",
    )
    found = [max(0.0, float(w)) for w in result.x[:units]] if result.x is not None else [1.0] * units
    return [w / sum(found) for w in found]


def _outside(arch: Architecture) -> list[Memory]:
    return [m for m in arch.memories.values() if not m.on_chip]


def off_chip_bandwidth(memories: Collection[Memory], arch: Architecture, direction: Direction | None) -> float:
    """Bytes per cycle in one direction, or in both together. Units that compute inside a memory read it unseen."""
    if any(m.name in unit.memories for unit in arch.units.values() for m in memories):
        return math.inf
    total = 0.0
    for memory in memories:
        read, write = memory.port("read"), memory.port("write")
        if direction is None:
            shared = read is not None and read == write
            total += math.inf if read is None or write is None else read[1] if shared else read[1] + write[1]
        else:
            port = read if direction == "read" else write
            total += math.inf if port is None else port[1]
    return total / float(arch.clock)


def _traffic_cycles(traffic: CompulsoryTraffic, arch: Architecture) -> float:
    """The longest, over the sets of memories outside the chip, for the bytes that the others have no room for.

    That is the largest x = (a + sum(c)) / sum(b) over sets of capacities c and bandwidths b, where all memories
    together are short of a bytes. If a > 0, a set of one has it (a quotient of sums is no more than the largest of the
    quotients, here of a + c and b). Otherwise the memories with c > x b have it (Dinkelbach 1967), which begin the
    order of c / b, the time to fill a memory. The order is the same where both directions count, for 2 a and 2 c.
    """
    outside = _outside(arch)
    read, write = traffic.read_bytes, traffic.write_bytes
    ways: tuple[tuple[Direction | None, tuple[int, ...]], ...] = (
        ("read", (read,)), ("write", (write,)), (None, (read, write)),
    )  # fmt: skip
    longest = 0.0
    for way, amounts in ways:
        fill = {m.name: m.capacity / off_chip_bandwidth([m], arch, way) for m in outside}
        order = sorted(fill, key=fill.__getitem__, reverse=True)
        for names in (*([name] for name in order), *(order[:size] for size in range(2, len(order) + 1))):
            chosen = [m for m in outside if m.name in names]
            room = sum(m.capacity for m in outside if m.name not in names)
            excess = sum(max(0, amount - room) for amount in amounts)
            longest = max(longest, excess / off_chip_bandwidth(chosen, arch, way))
    return longest


def _compute_energy(workload: Workload, arch: Architecture) -> float:
    """Operations at the cheapest unit; operands from the cheapest memory, as often as any unit has to read them."""
    bounds = einsum_bounds(workload, arch)
    return sum(one.times * bounds[one.einsum.name].joules for one in _runs(Same(workload)))


class EinsumBound(NamedTuple):
    """What one run of an Einsum takes at least.

    Attributes:
        kind: a number that Einsums share which are alike in all but names.
        cycles: of the machine's clock, unit by unit; inf where one cannot run it.
        joules: of the cheapest unit, and for the operands that every unit would read.
    """

    kind: int
    cycles: list[float]
    joules: float


def einsum_bounds(workload: Workload, arch: Architecture) -> Table[str, EinsumBound]:
    """Bounds of all Einsums of a Workload, by name."""
    return _einsum_bounds(Same(workload), Same(arch))


@lru_cache(maxsize=4)
def _einsum_bounds(of: Same[Workload], on: Same[Architecture]) -> Table[str, EinsumBound]:
    arch, known = on.value, dict[int, EinsumBound]()
    units = [_prices_of(Same(unit), on) for unit in arch.units.values()]
    for one in _runs(of):
        if one.kind not in known:
            counts = count_operations(one.einsum).counts
            given = (unit.energy(one.einsum, counts, one.densities, one.bits) for unit in units)
            able = [found for found in given if found is not None]
            moved = sum(min(unit.moved[i] for unit in able) for i in range(len(able[0].moved))) if able else 0.0
            cycles = [_cycles_on(u, one.einsum, one.bits, one.densities, arch) for u in arch.units.values()]
            known[one.kind] = EinsumBound(one.kind, cycles, min((u.computed for u in able), default=0.0) + moved)
    return {one.einsum.name: known[one.kind] for one in _runs(of)}


class _Run(NamedTuple):
    """An Einsum of a Workload, and how often it runs; those of one `kind` are alike in all but names."""

    einsum: Einsum
    times: int
    kind: int
    bits: list[int]
    densities: list[Density]


@lru_cache(maxsize=16)
def _runs(of: Same[Workload]) -> tuple[_Run, ...]:
    kinds: dict[Hashable, int] = {}
    found = []
    for einsum, times in of.value.einsums():
        bits, densities = _bits(einsum, of.value), _densities(einsum, of.value)
        kind = kinds.setdefault((signature(einsum), tuple(bits), tuple(densities)), len(kinds))
        found.append(_Run(einsum, times, kind, bits, densities))
    return tuple(found)


@dataclass(frozen=True)
class _UnitEnergy:
    """Joules of an Einsum on one unit, at least: of its actions, and of the accesses of every input and the output."""

    computed: float
    moved: tuple[float, ...]


@dataclass(frozen=True)
class _UnitPrices:
    """What a unit can do at all, and joules of its actions and of those of the memories on the chip."""

    unit: UnitBase
    rates: Table[str, float]
    actions: Table[str, float]
    memories: Table[str, Table[str, float]]
    """By memory; what a unit that computes inside a memory outside the chip takes from it is not seen."""

    @classmethod
    def of(cls, unit: UnitBase, arch: Architecture) -> _UnitPrices:
        memories = {m.name: m.action_energy() if m.on_chip else {} for m in arch.memories.values()}
        return cls(unit, unit.peak_rates(), unit.action_energy(), memories)

    def energy(
        self, einsum: Einsum, counts: Table[str, int], densities: Sequence[Density], bits: Sequence[int]
    ) -> _UnitEnergy | None:
        """None for a unit that cannot run the Einsum."""
        unit = self.unit
        if not all(self.rates.get(c, 0) > 0 for c in counts):
            return None
        left = {"mac": unit.least_shares(einsum, densities)[1] * unit.least_slices(einsum, bits)}
        computed = sum(n * left.get(c, 1.0) * self.actions.get(c, 0.0) for c, n in counts.items())
        accesses = (*einsum.inputs, einsum.output)
        if not all(density.is_full for density in densities):
            return _UnitEnergy(computed, tuple(0.0 for _ in accesses))
        own = unit.least_actions(einsum, bits)
        computed += sum(n * self.actions.get(action, 0.0) for action, n in own.items())
        results = prod(einsum.sizes[r] for r in einsum.output.ranks)
        elements = (*unit.least_reads(einsum), float(results))
        memories = [self.memories[name] for name in unit.feeds(len(einsum.inputs))]
        actions = ("read",) * len(einsum.inputs) + ("write",)
        return _UnitEnergy(computed, tuple(
            0.0 if unit.register_capacity else n * width / 8 * memory.get(action, 0.0)  # they may be in registers
            for n, width, memory, action in zip(elements, bits, memories, actions, strict=True)
        ))  # fmt: skip


@lru_cache(maxsize=64)
def _prices_of(unit: Same[UnitBase], arch: Same[Architecture]) -> _UnitPrices:
    return _UnitPrices.of(unit.value, arch.value)


def _bits(einsum: Einsum, workload: Workload) -> list[int]:
    return [workload.tensors[access.tensor].bits for access in (*einsum.inputs, einsum.output)]


def _densities(einsum: Einsum, workload: Workload) -> list[Density]:
    return [workload.tensors[access.tensor].density for access in einsum.inputs]


def _traffic_energy(traffic: CompulsoryTraffic, arch: Architecture) -> float:
    """Bytes fill the cheapest memory first; what a unit computes inside a memory may cost nothing there.

    If no unit computes outside the chip, every byte also goes into an on-chip memory, or comes out of one.
    """
    fed = {name for unit in arch.units.values() for name in unit.memories}
    total = 0.0
    for action, amount in (("read", traffic.read_bytes), ("write", traffic.write_bytes)):
        prices = [(0.0 if m.name in fed else m.action_energy().get(action, 0.0), m.capacity) for m in _outside(arch)]
        for price, capacity in sorted(prices):
            taken = min(amount, capacity)
            total += taken * price
            amount -= taken
    inner = [m for m in arch.memories.values() if m.on_chip]
    if inner and fed <= {m.name for m in inner}:
        for action, amount in (("write", traffic.read_bytes), ("read", traffic.write_bytes)):
            total += amount * min(m.action_energy().get(action, 0.0) for m in inner)
    return total
