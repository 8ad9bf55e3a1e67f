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
from itertools import product
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from ...arch.component import OPERANDS, Operand
from ...arch.layout import Layout
from ...components.base import SpatialOption, bytes_of
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
class _Held:
    """An operand held outside of some groups, one entry per candidate."""

    joules: Floats
    moved: Array
    """Bytes from the memory (to it, for results)."""
    back: Array
    """Bytes of partial results that come back."""
    fits: NDArray[np.bool_]


class LayoutLeaf(Leaf):
    """An Einsum on a spatial array: its layouts are searched for every tile that is asked for."""

    exact = False
    unit: SpatialArray
    objective: str = "latency"

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

    def settle(self, extents: Mapping[str, int]) -> Nest | Shortfall:
        sized = replace(self.einsum, sizes={r: extents[r] for r in self.einsum.sizes})
        best: tuple[float, float, Layout] | None = None
        short: Shortfall | None = None
        for option in self.unit.spatial_options(sized):
            assert option.layout is not None
            found = _Layouts(self, sized, option.layout).best(inf if best is None else best[0])
            if isinstance(found, Shortfall):
                short = found if short is None or found.needed < short.needed else short
            elif found is not None and (best is None or _better(found, best)):
                best = found
        if best is None:
            return short or Shortfall(1, self.unit.name)
        return Nest(layout=best[2])

    def value(self, cycles: Floats, joules: Floats) -> Floats:
        return {"latency": cycles, "energy": joules, "edp": cycles * joules}[self.objective]


class _Layouts:
    """The layouts of one spread for one tile."""

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
        lists = [self._pieces(ranks) for ranks in self.groups.values()]
        rows = [{r: t for piece in chosen for r, t in piece.items()} for chosen in product(*lists)]
        self.n = len(rows)
        self.tile = {r: np.array([row[r] for row in rows], np.int64) for g in self.groups.values() for r in g}
        self.held = [o for o in OPERANDS if o in self.unit.registers]
        ranks = tuple(frozenset(g for g in self.groups if g in self.accesses[o].ranks) for o in self.held)
        self.table = cut_table(orders_of((), tuple(self.groups)), ranks)

    def _pieces(self, ranks: Sequence[str]) -> list[dict[str, int]]:
        """Tiles inside the holds: a spread's worth of every rank, then ranks made whole in turn, short ones first."""
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

    def best(self, beat: float) -> tuple[float, float, Layout] | Shortfall | None:
        """(objective, joules, layout) of the best one; None if none can be better than `beat`."""
        nest = self._nest(())
        steps = nest.steps * -(-self.bits[0] // self.unit.mac_bits) * -(-self.bits[1] // self.unit.mac_bits)
        options = [
            {cut: self._option_held(o, cut) for cut in dict.fromkeys(c[i] for c in self.table.cuts)}
            for i, o in enumerate(self.held)
        ]
        columns = {o: self._stacked(options[i], i) for i, o in enumerate(self.held)}
        for o in OPERANDS:
            if o not in columns:
                columns[o] = self._streamed(o, nest)
        shape = (len(self.table.cuts), self.n)
        moved = [np.broadcast_to(columns[o].moved, shape) for o in OPERANDS]
        back = np.broadcast_to(columns["output"].back, shape)
        cycles = np.maximum(
            np.maximum(steps, self.unit.network_cycles(moved[:2], moved[2], back)),
            self.unit.feed_cycles(moved[:2], moved[2], back),
        ).astype(np.float64)
        joules = sum((columns[o].joules for o in OPERANDS), np.zeros(shape))
        value = self.leaf.value(cycles * self.leaf.ratio, joules)
        fits = np.logical_and.reduce([np.broadcast_to(columns[o].fits, shape) for o in OPERANDS])
        if not fits.any():
            return self._shortfall()
        value = np.where(fits, value, inf)
        return self._exact(value, joules, beat)

    def _exact(self, value: Floats, joules: Floats, beat: float) -> tuple[float, float, Layout] | None:
        flat = np.lexsort((joules.ravel(), value.ravel()))
        best: tuple[float, float, Layout] | None = None
        one = np.ones(1, np.int64)
        extents = {r: np.full(1, n, np.int64) for r, n in self.einsum.sizes.items()}
        for index in flat[:EXACT]:
            cut, row = divmod(int(index), self.n)
            if value[cut, row] == inf or value[cut, row] > min(beat * (1 + TIE), inf if best is None else best[0]):
                break
            for layout in self._written(cut, row):
                try:
                    work = self.leaf.run(_option(layout), extents, one)
                except DoesNotFit:
                    continue
                found = float(self.leaf.value(work.cycles, work.joules)[0]), float(work.joules[0]), layout
                if best is None or _better(found, best):
                    best = found
        return best

    def _written(self, cut: int, row: int) -> Iterator[Layout]:
        """The layouts of one candidate: pieces stepped through in the Einsum's order, or with loops that no hold
        depends on innermost."""
        cuts, order = self.table.cuts[cut], self.table.orders[cut]
        loops: list[tuple[str, int]] = []
        ends: dict[Cut, int] = {frozenset(): 0}
        for i, group in enumerate(order):
            loops += [(r, t) for r in self.groups[group] if (t := int(self.tile[r][row])) < self.einsum.sizes[r]]
            ends[frozenset(order[: i + 1])] = len(loops)
        holds: dict[Operand, int] = {o: ends[c] for o, c in zip(self.held, cuts, strict=True)}
        yield Layout(self.spreads, tuple(loops), holds)
        inside = [(r, self.factor[r]) for g in order for r in self.groups[g] if self.tile[r][row] > self.factor[r]]
        if len(inside) > 1:
            yield Layout(self.spreads, (*loops, *inside), holds)

    def _nest(self, cut: Sequence[str]) -> LayoutNest:
        loops = tuple((r, self.tile[r]) for g in cut for r in self.groups[g])
        extents = {r: np.full(self.n, n, np.int64) for r, n in self.einsum.sizes.items()}
        return LayoutNest(self.einsum, Layout(self.spreads, loops), extents, np.ones(self.n, np.int64))  # type: ignore[arg-type]

    def _option_held(self, operand: Operand, cut: Cut) -> _Held:
        access = self.accesses[operand]
        order = sorted(cut, key=lambda g: (g in access.ranks, list(self.groups).index(g)))
        nest = self._nest(order)
        depth = sum(len(self.groups[g]) for g in cut)
        private = self.unit.private(operand)
        needed = self.unit.needed(nest, operand, depth, self.bits)
        fits = needed <= self.unit.registers[operand].capacity
        return self._priced(
            operand, nest, nest.moved(access, depth, ()), nest.moved(access, depth, private), private, fits
        )

    def _streamed(self, operand: Operand, nest: LayoutNest) -> _Held:
        """An operand without registers: from and to the memory in every step."""
        access, every = self.accesses[operand], len(nest.loops)
        everywhere = tuple(self.unit.dimensions)
        memory = nest.moved(access, every, (), reuse=False)
        array = nest.moved(access, every, everywhere, reuse=False)
        return self._priced(operand, nest, memory, array, None, np.ones(self.n, np.bool_))

    def _priced(
        self,
        operand: Operand,
        nest: LayoutNest,
        memory: Array,
        array: Array,
        private: Sequence[str] | None,
        fits: NDArray[np.bool_],
    ) -> _Held:
        """Energy of an operand's way: memory, network and registers."""
        energy, at = self.leaf.energy, OPERANDS.index(operand)
        price = self.leaf.memories[at]
        used = nest.moved(self.accesses[operand], len(nest.loops), private or (), reuse=False)
        if operand != "output":
            width = self.bits[at]
            moved = bytes_of(memory, width)
            joules = moved * price["read"] + bytes_of(array, width) * energy["transfer"]
            if private is not None:
                joules = joules + bytes_of(array, width) * energy[f"{operand}_write"]
                joules = joules + bytes_of(used, width) * energy[f"{operand}_read"]
            return _Held(joules, moved, np.zeros_like(moved), fits)
        width = self.unit.accumulator_bits
        distinct = nest.moved(self.accesses[operand], 0, ())
        once = nest.moved(self.accesses[operand], 0, tuple(self.unit.dimensions) if private is None else private)
        back = bytes_of(memory - distinct, width)
        moved = back + bytes_of(distinct, self.bits[-1])
        joules = moved * price["write"] + back * price["read"]
        joules = joules + bytes_of(2 * array - once, width) * energy["transfer"]
        if private is not None:
            touched = bytes_of(used, width) + bytes_of(array, width) - bytes_of(once, width)
            joules = joules + touched * (energy["output_read"] + energy["output_write"])
        return _Held(joules, moved, back, fits)

    def _stacked(self, options: Mapping[Cut, _Held], number: int) -> _Held:
        which = np.array([list(options).index(cuts[number]) for cuts in self.table.cuts])
        fields = ("joules", "moved", "back", "fits")
        return _Held(*(np.stack([getattr(h, f) for h in options.values()])[which] for f in fields))

    def _shortfall(self) -> Shortfall:
        worst = Shortfall(1, self.unit.name)
        nest = self._nest(tuple(self.groups))
        for operand in self.held:
            needed = int(self.unit.needed(nest, operand, len(self.tile), self.bits).min())
            capacity = self.unit.registers[operand].capacity
            if needed > capacity:
                worst = Shortfall(needed, f"{self.unit.name}.registers.{operand}", capacity)
        return worst


def _better(a: tuple[float, float, Layout], b: tuple[float, float, Layout]) -> bool:
    """Whether (objective, joules) `a` beats `b`: clearly by the objective, or by energy where that is a tie."""
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
