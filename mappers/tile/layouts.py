"""How an array of elements with registers runs a tile: which points side by side, what stays, the order of the rest.

The space: the spreads that the array offers; loops over groups of ranks (ranks that the same operands carry form a
group, and their loops stand together), in any order, each rank with a piece of it inside the innermost holds; for every
operand with registers, outside of which groups its piece is held. Candidates are compared in bulk by their energy and
by the cycles of steps and transfers, a bound that leaves out waits; those that may be the best are then costed exactly,
in the order of that bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...arch.architecture import Architecture
from ...arch.component import OPERANDS, Operand
from ...arch.layout import Layout
from ...components.base import ComputeUnit, SpatialOption, bytes_of
from ...components.nest import LayoutNest
from ...components.spatial import SpatialArray
from ...errors import DoesNotFit
from ...ir import Access, Einsum
from .leaf import Leaf
from .operand import Array, Extents, Floats
from .stage import TIE, Cut, Nest, Shortfall, Work, cut_table, orders_of

PIECES = 8
"""Pieces of one group of ranks that are looked at."""
EXACT = 12
"""Layouts of one spread that are costed exactly."""


@dataclass(frozen=True)
class _Entry:
    """An operand held outside of some groups, one entry per choice of its piece.

    Attributes:
        wait: cycles for which its fills (drains) stop the array, after the first one.
        first: cycles of the first fill.
        network: cycles that its words take there.
        ports: the same of the memories' ports.
    """

    joules: Floats
    wait: Floats
    first: Floats
    network: Floats
    ports: Mapping[str, Floats]
    fits: NDArray[np.bool_]


class LayoutLeaf(Leaf):
    """An Einsum on a spatial array: its layouts are searched for every tile that is asked for."""

    exact = False
    unit: SpatialArray
    objective: str = "latency"

    def __init__(
        self, einsum: Einsum, unit: ComputeUnit, option: SpatialOption, bits: Sequence[int], arch: Architecture
    ) -> None:
        super().__init__(einsum, unit, option, bits, arch)
        self.settled: dict[tuple[int, ...], Nest | Shortfall] = {}

    def bound(self, extents: Extents, sums: Array) -> Work:
        """Every element busy in every cycle; every operand moved once; registers read once per step by all that share
        them."""
        unit, einsum = self.unit, self.einsum
        slices = -(-self.bits[0] // unit.mac_bits) * -(-self.bits[1] // unit.mac_bits)
        macs: Array = np.ones(1, np.int64)
        for r in einsum.sizes:
            macs = macs * extents[r]
        cycles = macs * slices / prod(unit.dimensions.values())
        joules = np.asarray(macs * slices * self.energy["mac"], np.float64)
        for i, operand in enumerate(OPERANDS):
            width = unit.accumulator_bits if operand == "output" else self.bits[i]
            memory = self.memories[i]["write" if operand == "output" else "read"]
            joules = joules + _hull(_access(einsum, operand), extents) * (self.bits[i] / 8) * memory
            if operand in unit.registers:
                together = prod(unit.dimensions[d] for d in unit.registers[operand].shared)
                each = self.energy[f"{operand}_read"] + (self.energy["output_write"] if operand == "output" else 0.0)
                joules = joules + macs / together * (width / 8) * each
        return Work(cycles * self.ratio, joules * (1 - 1e-9), np.zeros(1))

    def work(self, nest: Nest, extents: Extents, sums: Array) -> Work:
        assert nest.layout is not None
        return self.run(_option(nest.layout), extents, sums)

    def settle(self, extents: Mapping[str, int], sums: int) -> Nest | Shortfall:
        """See `Inner`. Partial results between tiles add the same to every layout, so `sums` change nothing."""
        key = tuple(extents[r] for r in self.einsum.sizes)
        if key not in self.settled:
            self.settled[key] = self._settle(extents)
        return self.settled[key]

    def _settle(self, extents: Mapping[str, int]) -> Nest | Shortfall:
        sized = replace(self.einsum, sizes={r: extents[r] for r in self.einsum.sizes})
        best: _Choice | None = None
        short: Shortfall | None = None
        for option in self.unit.spatial_options(sized):
            assert option.layout is not None
            layouts = _Layouts(self, sized, option.layout)
            if best is not None and self.objective == "latency" and layouts.steps * self.ratio > best[0] * (1 + TIE):
                continue
            found = layouts.best()
            if isinstance(found, Shortfall):
                short = found if short is None or found.needed < short.needed else short
            elif found is not None and (best is None or _better(found, best)):
                best = found
        if best is None:
            return short or Shortfall(1, self.unit.name)
        return Nest(layout=best[2])

    def values(self, cycles: Floats, joules: Floats) -> tuple[Floats, Floats]:
        """The objective, and what decides between equal ones."""
        if self.objective == "latency":
            return cycles, joules
        return (joules, cycles) if self.objective == "energy" else (cycles * joules, joules)


_Choice: TypeAlias = tuple[float, float, Layout]
"""Objective, what decides between equal ones, and the layout."""


class _Layouts:
    """The layouts of one spread for one tile.

    Every operand is looked at by itself, once for all pieces that it may be held in; a candidate combines three such
    entries. A group outside of which an operand is not held is one whose piece is whole.
    """

    def __init__(self, leaf: LayoutLeaf, einsum: Einsum, spread: Layout) -> None:
        self.leaf, self.einsum, self.spreads = leaf, einsum, spread.spreads
        self.unit, self.bits = leaf.unit, leaf.bits
        self.factor = {r: spread.factor(r) for r in einsum.sizes}
        self.accesses = {o: _access(einsum, o) for o in OPERANDS}
        groups: dict[tuple[bool, ...], list[str]] = {}
        for r, size in einsum.sizes.items():
            if size > self.factor[r]:
                groups.setdefault(tuple(r in a.ranks for a in self.accesses.values()), []).append(r)
        self.groups = {ranks[0]: ranks for ranks in groups.values()}
        pieces = [self._pieces(ranks) for ranks in self.groups.values()]
        self.shape = tuple(len(p) for p in pieces)
        self.n = prod(self.shape)
        self.at = np.indices(self.shape).reshape(len(self.shape), self.n)
        """Piece of every group, one column per candidate."""
        self.tile = {
            r: np.array([piece[r] for piece in choices], np.int64)[self.at[g]]
            for g, (ranks, choices) in enumerate(zip(self.groups.values(), pieces, strict=True))
            for r in ranks
        }
        self.held = [o for o in OPERANDS if o in self.unit.registers]
        ranks = tuple(frozenset(g for g in self.groups if g in self.accesses[o].ranks) for o in self.held)
        self.table = cut_table(orders_of((), tuple(self.groups)), ranks, (frozenset(),) * len(ranks))
        slices = -(-self.bits[0] // self.unit.mac_bits) * -(-self.bits[1] // self.unit.mac_bits)
        self.steps = int(self._nest((), 1).steps[0]) * slices

    def _pieces(self, ranks: Sequence[str]) -> list[dict[str, int]]:
        """Tiles inside the holds: a spread's worth of every rank, then ranks made whole in turn, short ones first, up
        to all of them."""
        piece = {r: self.factor[r] for r in ranks}
        found = [dict(piece)]
        for r in sorted(ranks, key=lambda r: self.einsum.sizes[r] / self.factor[r]):
            size, steps = self.einsum.sizes[r], -(-self.einsum.sizes[r] // self.factor[r])
            for parts in sorted({2**i for i in range(1, steps.bit_length())} | {steps}):
                piece[r] = min(size, parts * self.factor[r])
                found.append(dict(piece))
        if len(found) > PIECES:
            keep = {round(i * (len(found) - 1) / (PIECES - 1)) for i in range(PIECES)}
            found = [p for i, p in enumerate(found) if i in keep]
        return found

    def best(self) -> tuple[float, float, Layout] | Shortfall | None:
        """(objective, tie breaker, layout) of the best one."""
        entries = [self._entry(o) for o in OPERANDS]
        if not all(e.fits.any() for e in entries):
            return self._shortfall()
        which = [self._which(i) for i in range(len(OPERANDS))]
        fits = np.logical_and.reduce([e.fits[w] for e, w in zip(entries, which, strict=True)])
        if not fits.any():
            return self._shortfall()
        joules = sum((e.joules[w] for e, w in zip(entries, which, strict=True)), np.zeros(1))
        value, tie = self.leaf.values(self._cycles(entries, which) * self.leaf.ratio, joules)
        return self._exact(np.where(fits, value, inf), np.broadcast_to(tie, fits.shape))

    def _which(self, operand: int) -> Array:
        """Entry of an operand in every candidate: (cuts, pieces)."""
        if OPERANDS[operand] not in self.held:
            return np.zeros((1, 1), np.int64)
        number = self.held.index(OPERANDS[operand])
        strides = [prod(self.shape[g + 1 :]) for g in range(len(self.shape))]
        names, known = list(self.groups), {}
        for cuts in self.table.cuts:
            if cuts[number] not in known:
                row = np.zeros(self.n, np.int64)
                for g, (name, stride) in enumerate(zip(names, strides, strict=True)):
                    row += stride * (self.at[g] if name in cuts[number].ranks else self.shape[g] - 1)
                known[cuts[number]] = row
        return np.stack([known[cuts[number]] for cuts in self.table.cuts])

    def _cycles(self, entries: Sequence[_Entry], which: Sequence[Array]) -> Floats:
        """Cycles of all candidates; a fill overlaps with as much of the visit before as any order of the loops lets."""
        wait = first = moving = np.zeros(1)
        ports: dict[str, Floats] = {}
        for operand, entry, w in zip(OPERANDS, entries, which, strict=True):
            wait, moving = np.maximum(wait, entry.wait[w]), np.maximum(moving, entry.network[w])
            first = first if operand == "output" else np.maximum(first, entry.first[w])
            for port, cycles in entry.ports.items():
                ports[port] = ports.get(port, np.zeros(1)) + cycles[w]
        hidden = all(self.unit.registers[o].double_buffered for o in self.held if o != "output")
        result = self.steps + wait + (0 if hidden else first)
        for cycles in (moving, *ports.values()):
            result = np.maximum(result, cycles)
        return result

    def _exact(self, value: Floats, tie: Floats) -> _Choice | None:
        """The best of the candidates, those that are as good as the best by these estimates before the others."""
        values, ties = value.ravel(), tie.ravel()
        least = values.min() * (1 + TIE)
        near = np.flatnonzero(values <= least)
        near = near[np.argsort(ties[near], kind="stable")[:EXACT]]
        best: _Choice | None = None
        for index in near:
            best = self._costed(int(index), best)
            if best is not None and best[0] <= least:
                return best
        for index in np.argsort(values, kind="stable")[:EXACT]:
            if values[index] > (inf if best is None else best[0]):
                break
            best = self._costed(int(index), best)
        return best

    def _costed(self, index: int, best: _Choice | None) -> _Choice | None:
        """The better one of `best` and a candidate, which is costed exactly."""
        extents = {r: np.full(1, n, np.int64) for r, n in self.einsum.sizes.items()}
        for layout in self._written(*divmod(index, self.n)):
            try:
                work = self.leaf.run(_option(layout), extents, np.ones(1, np.int64))
            except DoesNotFit:
                continue
            value, tie = self.leaf.values(work.cycles, work.joules)
            found = float(value[0]), float(tie[0]), layout
            if best is None or _better(found, best):
                best = found
        return best

    def _written(self, cut: int, row: int) -> Iterator[Layout]:
        """The layouts of one candidate: pieces stepped through in the Einsum's order, or with loops that no hold
        depends on innermost."""
        cuts, order = self.table.cuts[cut], self.table.orders[cut]
        loops: list[tuple[str, int]] = []
        ends: dict[Cut, int] = {Cut(frozenset()): 0}
        for i, group in enumerate(order):
            loops += [(r, t) for r in self.groups[group] if (t := int(self.tile[r][row])) < self.einsum.sizes[r]]
            ends[Cut(frozenset(order[: i + 1]))] = len(loops)
        holds: dict[Operand, int] = {o: ends[c] for o, c in zip(self.held, cuts, strict=True)}
        if any(s.through for s in self.spreads):  # loops that nothing is held inside would keep them from running on
            yield Layout(self.spreads, tuple(loops[: max(holds.values(), default=0)]), holds)
        yield Layout(self.spreads, tuple(loops), holds)
        inside = [(r, self.factor[r]) for g in order for r in self.groups[g] if self.tile[r][row] > self.factor[r]]
        if len(inside) > 1:
            yield Layout(self.spreads, (*loops, *inside), holds)

    def _nest(self, groups: Sequence[str], n: int) -> LayoutNest:
        loops = tuple((r, self.tile[r]) for g in groups for r in self.groups[g])
        extents = {r: np.full(n, size, np.int64) for r, size in self.einsum.sizes.items()}
        return LayoutNest(self.einsum, Layout(self.spreads, loops), extents, np.ones(n, np.int64))

    def _entry(self, operand: Operand) -> _Entry:
        """An operand in all pieces; loops that do not matter to it stand outside of those that do."""
        access, at, unit = self.accesses[operand], OPERANDS.index(operand), self.unit
        held = operand in self.held
        private = unit.private(operand) if held else tuple(unit.dimensions)
        nest = self._nest(sorted(self.groups, key=lambda g: g in access.ranks) if held else (), self.n if held else 1)
        depth = sum(len(ranks) for ranks in self.groups.values()) if held else len(nest.loops)
        memory = nest.moved(access, depth, (), reuse=held)
        array = nest.moved(access, depth, private, reuse=held)
        used = nest.moved(access, len(nest.loops), private, reuse=False) if held else None
        price, energy = self.leaf.memories[at], self.leaf.energy
        moved, back, width = bytes_of(memory, self.bits[at]), np.zeros_like(memory), self.bits[at]
        if operand == "output":
            width = unit.accumulator_bits
            distinct, once = nest.moved(access, 0, ()), nest.moved(access, 0, private)
            back = bytes_of(memory - distinct, width)
            moved = back + bytes_of(distinct, self.bits[-1])
            joules = moved * price["write"] + back * price["read"]
            joules = joules + bytes_of(2 * array - once, width) * energy["transfer"]
            if used is not None:
                touched = bytes_of(used, width) + bytes_of(array, width) - bytes_of(once, width)
                joules = joules + touched * (energy["output_read"] + energy["output_write"])
        else:
            joules = moved * price["read"] + bytes_of(array, width) * energy["transfer"]
            if used is not None:
                joules = joules + bytes_of(array, width) * energy[f"{operand}_write"]
                joules = joules + bytes_of(used, width) * energy[f"{operand}_read"]
        wait = first = np.zeros(len(moved))
        fits = np.ones(len(moved), np.bool_)
        if held:
            fits = unit.needed(nest, operand, depth, self.bits) <= unit.registers[operand].capacity
            wait, first = self._waits(nest, operand, depth, moved)
        return _Entry(joules, wait, first, self._network(operand, moved), self._ports(at, moved, back), fits)

    def _waits(self, nest: LayoutNest, operand: Operand, depth: int, moved: Array) -> tuple[Floats, Floats]:
        access = self.accesses[operand]
        visits = nest.visits(access, depth)
        fill = self.unit.operand_cycles(operand, -(-moved // visits), 2)
        window = self.steps // visits
        if not self.unit.registers[operand].double_buffered:
            single = np.ones(len(moved), np.bool_)
            for r in access.ranks & self.tile.keys():
                single &= self.tile[r] <= self.factor[r]
            window = window // np.where(single, nest.sweeps(access, depth), 1)
        return ((visits - 1) * np.maximum(0, fill - window)).astype(np.float64), fill.astype(np.float64)

    def _network(self, operand: Operand, moved: Array) -> Floats:
        amounts = [moved if o == operand else np.zeros_like(moved) for o in OPERANDS]
        return self.unit.network_cycles(amounts[:2], amounts[2], amounts[2]).astype(np.float64)

    def _ports(self, operand: int, moved: Array, back: Array) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        *reads, partial, writes = self.unit.feeding(2)
        ways = ((writes, moved), (partial, back)) if operand == 2 else ((reads[operand], moved),)
        for way, amount in ways:
            if way is not None:
                port, (bytes_, cycles) = way
                found[port] = found.get(port, np.zeros(1)) + amount * (cycles / bytes_)
        return found

    def _shortfall(self) -> Shortfall:
        worst = Shortfall(1, self.unit.name)
        nest = self._nest(tuple(self.groups), self.n)
        for operand in self.held:
            needed = int(self.unit.needed(nest, operand, len(self.tile), self.bits).min())
            capacity = self.unit.registers[operand].capacity
            if needed > capacity:
                worst = Shortfall(needed, f"{self.unit.name}.registers.{operand}", capacity)
        return worst


def _better(a: _Choice, b: _Choice) -> bool:
    """Whether `a` beats `b`: clearly by the objective, or by what decides where that is a tie."""
    if abs(a[0] - b[0]) > TIE * min(a[0], b[0]):
        return a[0] < b[0]
    return (a[1], a[0]) < (b[1], b[0])


def _option(layout: Layout) -> SpatialOption:
    from ...components.spatial import VARIANT

    return SpatialOption(VARIANT, {s.rank: s.dimension for s in layout.spreads}, layout)


def _access(einsum: Einsum, operand: Operand) -> Access:
    return {"input": einsum.inputs[0], "weight": einsum.inputs[1], "output": einsum.output}[operand]


def _hull(access: Access, extents: Extents) -> Array:
    """Elements of the box that an access touches, at least those inside any tensor."""
    result: Array = np.ones(1, np.int64)
    for index in access.indices:
        longest: Array = np.ones(1, np.int64)
        for r, _ in index.terms:
            longest = np.maximum(longest, extents[r])
        result = result * longest
    return result
