"""How an array of elements with registers runs a tile: which points side by side, what stays, the order of the rest.

The space: the spreads that the array offers; loops over groups of ranks (ranks that the same operands carry form a
group, and their loops stand together), in any order, each rank with a piece of it inside the innermost holds; for every
operand with registers, outside of which groups its piece is held, directly inside a loop that matters to it; the order
of the groups' steps inside. All of it is looked at, in compiled code (`layout_kernel`), but for what a bound rules out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import permutations, product
from math import gcd, prod
from typing import TYPE_CHECKING

import numpy as np

from ...arch.architecture import Architecture
from ...arch.component import OPERANDS, Operand
from ...arch.layout import Layout
from ...components.base import ComputeUnit, SpatialOption, bytes_of
from ...components.spatial import OPTIONS, SpatialArray
from ...components.spreads import best_spreads
from ...ir import Access, Einsum
from ...ir.roles import rank_roles
from ..aims import LATENCY, Aim
from .leaf import Leaf
from .nest import TIE, Lasts, Nest, Shortfall, Way, Work
from .operand import Array, Extents, Floats

if TYPE_CHECKING:  # numba takes a while to load
    from ...components.nest_kernel import Body, Room
    from .layout_kernel import Best, Choices
    from .layout_tables import Grid, Tables

PIECES = 8
"""Pieces of one group of ranks that are looked at."""
GROUPS = 5
"""Groups that are cut; there are no more than four in a product of matrices or a convolution."""


class LayoutLeaf(Leaf):
    """An Einsum on a spatial array: its layouts are searched for every tile that is asked for.

    Attributes:
        fixed: dimension to the ranks that must lie along it.
        guesses: whether `bound` says what slices make likely (see `_slices`), which is no bound: of 60 arrays at random
            5 had tiles that take less, by up to 13 %, for a search over larger tiles knows fewer pieces of them.
        looked_at: layouts so far, whether compared or ruled out by a bound; orders of the same holds count as one.
    """

    exact = False
    unit: SpatialArray
    aim: Aim = LATENCY

    def __init__(
        self, einsum: Einsum, unit: ComputeUnit, option: SpatialOption, bits: Sequence[int], arch: Architecture
    ) -> None:
        from ...components.spatial_kernel import TileCosts

        super().__init__(einsum, unit, option, bits, arch)
        self.fixed: Mapping[str, Sequence[str]] = {}
        self.guesses = False
        self.roles = rank_roles(einsum)
        self.looked_at = 0
        self.costs = TileCosts(self.unit, einsum, bits)
        self.prices, self.word_prices = self._prices()
        self._settled: dict[tuple[int, ...], Nest | Shortfall] = {}
        self._sliced: dict[tuple[str, int], tuple[float, float]] = {}
        self._words = np.empty(len(self.word_prices), np.int64)
        self._bare: dict[tuple[Layout, tuple[Operand, ...]], tuple[Body, Room]] = {}
        self._bodies: dict[Layout, tuple[Body, Room]] = {}

    @cached_property
    def late(self) -> float:
        return self.unit.latency * self.ratio

    @property
    def weights(self) -> tuple[float, float]:
        """Of a cycle of the array's own clock, and of a joule."""
        return self.aim.cycle * (self.ratio if self.aim.joule else 1.0), self.aim.joule

    def bound(self, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        """As few steps as any spread may take; every word moved once; registers read once per step by all that share
        them."""
        unit, einsum = self.unit, self.einsum
        slices = -(-self.bits[0] // unit.mac_bits) * -(-self.bits[1] // unit.mac_bits)
        macs: Array = np.ones(1, np.int64)
        for r in einsum.sizes:
            macs = macs * extents[r]
        kept = 1.0 if unit.skipped is None else float(unit.skipped.kept)
        words = [_words(_access(einsum, o), extents) for o in OPERANDS]
        cycles = self._drained(self._steps(extents) * slices * kept, words[-1], extents, sums)
        cycles = cycles + max(self._first_fill(o) for o in OPERANDS[:2])
        widths = (*self.bits[:2], min(self.bits[-1], unit.accumulator_bits))
        amounts = [bytes_of(n, width) for n, width in zip(words, widths, strict=True)]
        shape = np.broadcast_shapes(*(n.shape for n in amounts))
        *reads, writes = (np.broadcast_to(n, shape) for n in amounts)
        nothing = np.zeros_like(writes)
        moving = np.maximum(unit.network_cycles(reads, writes, nothing), unit.feed_cycles(reads, writes, nothing))
        joules = np.asarray(macs * slices * float(unit.mac_share) * self.energy["mac"], np.float64)
        for i, operand in enumerate(OPERANDS):
            width = unit.accumulator_bits if operand == "output" else self.bits[i]
            memory = self.memories[i]["write" if operand == "output" else "read"]
            joules = joules + amounts[i] * memory
            if operand in unit.registers:
                together = prod(unit.dimensions[d] for d in unit.registers[operand].shared)
                each = self.energy[f"{operand}_read"] + (self.energy["output_write"] if operand == "output" else 0.0)
                joules = joules + macs / together * (width / 8) * each
        cycles, joules = np.maximum(cycles, moving) * self.ratio, joules * (1 - 1e-9)
        if self.guesses:
            for per_point in self._slices(extents, sums):
                joules = np.maximum(joules, macs * per_point)
        return Work(cycles, joules, np.zeros(1))

    def _slices(self, extents: Extents, sums: Array) -> Iterator[Floats]:
        """Joules per point of tiles of which one rank alone is cut as it is here. Such a tile could do what the smaller
        ones in it do one after the other, and so would take no more, if its search knew every nest of loops."""
        for r, size in self.einsum.sizes.items():
            if len(extents[r]) == 1 and extents[r][0] == size:
                continue
            there = np.bincount(extents[r]) > 0
            table = np.zeros((2, len(there)))
            for n in np.flatnonzero(there).tolist():
                table[:, n] = self._slice(r, n)
            whole, part = table[:, extents[r]]
            yield whole if r not in self.einsum.reduced_ranks else whole + (1 - 1 / sums) * (part - whole)
        yield np.full(1, self._slice("", 0)[0])

    def _slice(self, rank: str, size: int) -> tuple[float, float]:
        """The least joules per point with one rank cut to a size and the others whole; the same of tiles that resume a
        result and leave it partial."""
        if (rank, size) not in self._sliced:
            tile = dict(self.einsum.sizes) | ({rank: size} if rank else {})
            nest, whole = self.settle(tile, 1, {}), {r: np.full(1, n, np.int64) for r, n in tile.items()}
            self._sliced[rank, size] = 0.0, 0.0
            if not isinstance(nest, Shortfall):
                least = self.work(nest, whole, np.array([1, 2**40], np.int64), {}).joules.tolist()
                each = (1 + TIE[self.aim.objective]) * prod(tile.values())
                self._sliced[rank, size] = least[0] / each, least[1] / each
        return self._sliced[rank, size]

    def _drained(self, steps: Floats, results: Array, extents: Extents, sums: Array) -> Floats:
        """At most the cycles of these steps and the drains between them, where registers hold one sum: a drain overlaps
        with the last step over what it takes away, and there is one such step in all that add up to a sum."""
        unit, registers = self.unit, self.unit.registers.get("output")
        width = unit.accumulator_bits
        if registers is None or registers.double_buffered or registers.filling == "ahead" or unit.skipped is not None:
            return steps
        if registers.capacity * 8 >= 2 * width:
            return steps
        reduced = self.einsum.reduced_ranks
        each, together = np.ones(1), 1
        for r in reduced:
            each = each * extents[r]
        for d, size in unit.dimensions.items():
            if any(unit.rules.adds(r, self.einsum, d) for r in reduced if self._may_lie(r, d)):
                together *= size
        amount = np.where(sums > 1, bytes_of(results, width), bytes_of(results, min(self.bits[-1], width)))
        drains = unit.operand_cycles("output", amount, 2)
        share = np.minimum(1.0, together / each) if registers.filling == "last_use" else 0.0
        return np.maximum(steps, steps * (1 - share) + drains)

    def _may_lie(self, rank: str, dimension: str) -> bool:
        rules = self.unit.rules
        able = None if rules.through else rules.able(dimension)
        return able is None or self.roles[rank] in able

    def _first_fill(self, operand: Operand) -> int:
        """At most the cycles for which the first fill of an input's registers stops the array, if they always hold it:
        those of one byte."""
        registers = self.unit.registers.get(operand)
        if registers is None or registers.double_buffered or len(registers.shared) % len(self.unit.dimensions):
            return 0
        return int(self.unit.operand_cycles(operand, np.ones(1, np.int64), 2)[0])

    def _steps(self, extents: Extents) -> Floats:
        """At most the steps of any spread: what fills a dimension leaves so much room for the points of others."""
        rules, sizes, roles = self.unit.rules, self.einsum.sizes, self.roles
        left: dict[str, Array] = {r: extents[r] for r in sizes}
        room: dict[str, Array] = {d: np.full(1, n, np.int64) for d, n in self.unit.dimensions.items()}
        for d, wanted in rules.fill.items():
            for r in (r for role in wanted for r in sizes if roles[r] == role and rules.adds(r, self.einsum, d)):
                factor = np.minimum(left[r], room[d])
                left[r], room[d] = -(-left[r] // factor), room[d] // factor
        if rules.through:  # steps of two ranks together need not be whole for one of them
            left = dict(extents)
            room = {d: np.full(1, n, np.int64) for d, n in self.unit.dimensions.items()}
        able = {
            d: [r for r in sizes if (can is None or roles[r] in can) and rules.adds(r, self.einsum, d)]
            for d in room
            for can in (None if rules.through else rules.spread.get(d),)
        }
        steps = np.ones(1)
        for n in left.values():
            steps = steps * n
        for d, ranks in able.items():
            points: Array = np.ones(1, np.int64)
            for r in ranks:
                points = points * left[r]
            elsewhere = {r for other, others in able.items() if other != d for r in others}
            if len(ranks) == 1 and ranks[0] not in elsewhere and not rules.through:
                steps = steps / points * -(-points // room[d])  # this rank alone: its steps are whole
            else:
                steps = steps / np.minimum(points, room[d])
        return np.maximum(steps * (1 - 1e-9), 1.0)

    def work(self, nest: Nest, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        """See `Leaf.run`."""
        assert nest.layout is not None
        if nest.layout not in self._bodies:
            from ...components.nest_kernel import room_for

            body = self.costs.body(nest.layout)
            self._bodies[nest.layout] = body, room_for(body)
        from .layout_kernel import work

        columns = [*(extents[r] for r in self.costs.ranks), sums]
        given = np.empty((max(map(len, columns)), len(columns)), np.int64)
        for i, column in enumerate(columns):
            given[:, i] = column
        cycles, joules = np.empty(len(given)), np.empty(len(given))
        unit, ports = self.costs.unit_words, self.costs.ports
        work(*self._bodies[nest.layout], unit, ports, given, self.word_prices, self._words, cycles, joules)
        return Work(cycles * self.ratio, joules, np.zeros(1))

    def settle(self, extents: Mapping[str, int], sums: int, lasts: Mapping[Way, int]) -> Nest | Shortfall:
        """The layout of the least sum by the aim; of those within TIE of it the one of the fewest joules, then cycles
        (for the energy: the fewest cycles, then joules). Partial results between tiles add the same to every layout, so
        `sums` change nothing."""
        key = tuple(extents[r] for r in self.costs.ranks)
        if key not in self._settled:
            self._settled[key] = self._search({r: extents[r] for r in self.einsum.sizes})
        return self._settled[key]

    def _search(self, extents: Mapping[str, int]) -> Nest | Shortfall:
        from .layout_kernel import B_VALUE, R_FOUND, R_SPREAD, Best

        sized = replace(self.einsum, sizes=extents)
        spreads = best_spreads(self.unit.rules, sized, OPTIONS, self.fixed)
        searches = [SpreadSearch(self, extents, Layout(spread)) for spread in spreads]
        best = Best.of(max((len(s.groups) for s in searches), default=0))
        for among in (False, True):
            limit = float(best.value[B_VALUE]) * (1 + TIE[self.aim.objective])
            for number, search in enumerate(searches):
                seen = search.scan(number, best, limit if among else None)
                self.looked_at += 0 if among else seen
        if not best.record[R_FOUND]:
            short = [self._shortfall(s) for s in searches]
            return min(short, key=lambda s: s.needed, default=Shortfall(1, self.unit.name))
        return Nest(layout=searches[best.record[R_SPREAD]].written(best.record))

    def _shortfall(self, search: SpreadSearch) -> Shortfall:
        """What is short when every rank is cut to what lies side by side."""
        from ...components.spatial_kernel import C_NEEDED

        loops = tuple(search.factor.items())
        body = self.costs.body(Layout(search.spread.spreads, loops, dict.fromkeys(search.held, len(loops))))
        words = self.costs.cost(body, search.extents)
        worst = Shortfall(1, self.unit.name)
        for operand in search.held:
            needed, capacity = int(words[C_NEEDED + OPERANDS.index(operand)]), self.unit.registers[operand].capacity
            if needed > max(capacity, worst.needed):
                worst = Shortfall(needed, f"{self.unit.name}.registers.{operand}", capacity)
        return worst

    def bare(self, spread: Layout, held: tuple[Operand, ...]) -> tuple[Body, Room]:
        """See `TileCosts.bare`."""
        if (spread, held) not in self._bare:
            self._bare[spread, held] = self.costs.bare(spread, held)
        return self._bare[spread, held]

    def _prices(self) -> tuple[Floats, Floats]:
        """Joules as the search takes them, and of every word of a cost."""
        from ...components import spatial_kernel as c
        from . import layout_kernel as k

        energy, words = np.zeros(k.E_WORDS), np.zeros(c.C_WORDS)
        energy[k.E_MAC] = words[c.C_MAC] = self.energy["mac"]
        energy[k.E_TRANSFER] = words[c.C_TRANSFER] = self.energy["transfer"]
        energy[k.E_HOP] = words[c.C_HOPS] = self.energy.get("hop", 0.0)
        for i, operand in enumerate(OPERANDS):
            energy[k.E_LOAD + i], energy[k.E_STORE + i] = self.memories[i]["read"], self.memories[i]["write"]
            if operand in self.unit.registers:
                ways = self.energy[f"{operand}_read"], self.energy[f"{operand}_write"]
                energy[k.E_READ + i], energy[k.E_WRITE + i] = ways
                words[c.C_REGISTERS + 2 * i : c.C_REGISTERS + 2 * i + 2] = ways
        words[c.C_READS : c.C_READS + 2] = energy[k.E_LOAD : k.E_LOAD + 2]
        words[c.C_WRITES], words[c.C_PARTIAL] = energy[k.E_STORE + 2], energy[k.E_LOAD + 2]
        return energy, words


class SpreadSearch:
    """The layouts of one spread for one tile.

    Attributes:
        groups: ranks that loops may cut, by what operands they matter to.
        pieces: of every group, tiles of its ranks; the last one is all of it.
        held: operands that have registers and can be held there, with these.
    """

    def __init__(self, leaf: LayoutLeaf, extents: Mapping[str, int], spread: Layout) -> None:
        self.leaf, self.extents, self.spread = leaf, extents, spread
        self.factor = {r: spread.factor(r) for r in extents}
        groups: dict[tuple[bool, ...], list[str]] = {}
        for r, matters in zip(extents, leaf.costs.relevant.T.tolist(), strict=True):
            if extents[r] > self.factor[r]:
                groups.setdefault(tuple(matters), []).append(r)
        kept = sorted(groups, key=lambda key: -prod(extents[r] / self.factor[r] for r in groups[key]))[:GROUPS]
        self.groups = [groups[key] for key in groups if key in kept]
        matters = tuple(key for key in groups if key in kept)
        self.pieces = [pieces_of(ranks, extents, self.factor) for ranks in self.groups]
        self.held = {o: r for o, r in leaf.unit.registers.items() if self._alike(r.shared)}
        self.choices = choices_of(
            matters,
            tuple(o in self.held for o in OPERANDS),
            tuple(o in self.held and self.held[o].sliding for o in OPERANDS),
        )
        self._packed: tuple[Body, Grid, Tables] | None = None

    def _alike(self, shared: Sequence[str]) -> bool:
        """Whether every rank lies along dimensions that all share registers, or none: others cannot be held."""
        along: dict[str, set[bool]] = {}
        for s in self.spread.spreads:
            along.setdefault(s.rank, set()).add(s.dimension in shared)
        return all(len(found) == 1 for found in along.values())

    def scan(self, number: int, best: Best, limit: float | None) -> int:
        """Look for what is better than the best so far, or among all up to a limit; the number of layouts seen."""
        from .layout_kernel import Weights, scan

        if self._packed is None:
            self._packed = self._pack(number)
        leaf, (body, grid, tables) = self.leaf, self._packed
        return scan(
            Weights(*leaf.weights), limit is not None, limit or 0.0, number, body, leaf.costs.unit_words,
            leaf.costs.ports, leaf.prices, self.choices, grid, tables, best.value, best.record,
        )  # fmt: skip

    def _pack(self, number: int) -> tuple[Body, Grid, Tables]:
        from .layout_tables import Grid, fill, tables_for

        costs = self.leaf.costs
        ranks = costs.ranks
        size = np.array([self.extents[r] for r in ranks], np.int64)
        group = np.full(len(ranks), -1, np.int64)
        tile = np.ones((len(ranks), max(map(len, self.pieces), default=0) + 1), np.int64)
        for i, pieces in enumerate(self.pieces):
            for r in self.groups[i]:
                place = costs.place[r]
                group[place] = i
                tile[place, : len(pieces) + 1] = [*(p[r] for p in pieces), self.extents[r]]
        join = [(costs.place[r], costs.place[o]) for r, o in self.spread.joined.items()]
        lengths = np.array([len(p) for p in self.pieces], np.int64)
        grid = Grid(size, group, tile, lengths, np.array(join, np.int64).reshape(-1, 2))
        body, room = self.leaf.bare(self.spread, tuple(self.held))
        sets = int(np.diff(self.choices.first).max())
        tables = tables_for(tuple(map(len, self.pieces)), len(join), sets, number)
        fill(body, costs.unit_words, grid, tables, self.choices.held, self.choices.sliding, room)
        return body, grid, tables

    def written(self, record: Array) -> Layout:
        """The layout that a search recorded."""
        from .layout_kernel import R_CHOICE, R_INNER, R_ORDER, R_STATE

        choices, state = self.choices, record[R_STATE:]
        order = [int(i) for i in choices.order[record[R_ORDER]] if i >= 0]
        tile = {r: self.pieces[i][state[i]][r] for i, ranks in enumerate(self.groups) for r in ranks}
        loops: list[tuple[str, int]] = []
        ends = {0: 0}
        around = 0
        for i in order:
            loops += [(r, tile[r]) for r in self.groups[i] if tile[r] < self.extents[r]]
            around |= 1 << i
            ends[around] = len(loops)
        holds: dict[Operand, int] = {}
        for o, operand in enumerate(OPERANDS):
            if choices.held[o]:
                holds[operand] = ends[int(choices.around[choices.first[o] + choices.choice[record[R_CHOICE], o]])]
        if record[R_INNER] >= 0:
            inside = [r for i in choices.inner[record[R_INNER]] for r in self.groups[i]]
            loops += [(r, self.factor[r]) for r in inside if tile[r] > self.factor[r]]
        return Layout(self.spread.spreads, tuple(loops), holds)


def pieces_of(ranks: Sequence[str], sizes: Mapping[str, int], factor: Mapping[str, int]) -> list[dict[str, int]]:
    """Tiles inside the holds: a spread's worth of every rank, then ranks made whole in turn, short ones first."""
    piece = {r: factor[r] for r in ranks}
    found = [dict(piece)]
    for r in sorted(ranks, key=lambda r: sizes[r] / factor[r]):
        steps = -(-sizes[r] // factor[r])
        for parts in sorted({2**i for i in range(1, steps.bit_length())} | {steps}):
            piece[r] = min(sizes[r], parts * factor[r])
            found.append(dict(piece))
    if len(found) > PIECES:
        keep = {round(i * (len(found) - 1) / (PIECES - 1)) for i in range(PIECES)}
        found = [p for i, p in enumerate(found) if i in keep]
    return found


@lru_cache(maxsize=2**10)
def choices_of(matters: tuple[tuple[bool, ...], ...], held: tuple[bool, ...], sliding: tuple[bool, ...]) -> Choices:
    """Holds and orders of groups.

    Args:
        matters: of every group, to which operands it matters.
        held: which operands are held.
        sliding: of which the registers keep what the places of a window share.
    """
    from .layout_kernel import Choices

    groups = range(len(matters))
    around: list[dict[tuple[int, int], int]] = [{(0, -1): 0} for _ in OPERANDS]
    begin, choice, first, orders = [0], [], [0], []
    for active in range(1 << len(matters)):
        found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for order in permutations(i for i in groups if active >> i & 1):
            sets: list[list[int]] = []
            for o in range(3):
                mine = [(0, -1)]
                for n, i in enumerate(order):
                    if held[o] and matters[i][o]:
                        mine.append((sum(1 << k for k in order[: n + 1]), i if sliding[o] else -1))
                sets.append([around[o].setdefault(key, len(around[o])) for key in mine])
            for chosen in product(*sets):
                found.setdefault(chosen, []).append(order)
        for numbers, allowed in found.items():
            choice.append(numbers)
            orders += [(*order, *[-1] * (len(matters) - len(order))) for order in allowed]
            first.append(len(orders))
        begin.append(len(choice))
    inner = list(permutations(groups)) if len(matters) > 1 else []
    sets_of = np.array([key for a in around for key in a], np.int64)
    return Choices(
        np.array(held, np.int64), np.array(sliding, np.int64),
        np.array([sum(1 << i for i in groups if matters[i][o]) for o in range(3)], np.int64),
        np.cumsum([0, *map(len, around)]), sets_of[:, 0].copy(), sets_of[:, 1].copy(), np.array(begin, np.int64),
        np.array(choice, np.int64), np.array(first, np.int64),
        np.array(orders, np.int64).reshape(len(orders), len(matters)),
        np.array(inner, np.int64).reshape(len(inner), len(matters)),
    )  # fmt: skip


def _access(einsum: Einsum, operand: Operand) -> Access:
    return {"input": einsum.inputs[0], "weight": einsum.inputs[1], "output": einsum.output}[operand]


def _words(access: Access, extents: Extents) -> Array:
    """At most the words of a tensor that a tile touches: all of them, unless one index has three ranks."""
    result: Array = np.ones(1, np.int64)
    for index in access.indices:
        counts = [extents[r] for r in index.ranks]
        if len(counts) == 2:
            a, b = (abs(step) // gcd(*(step for _, step in index.terms)) for _, step in index.terms)
            alike = np.maximum(counts[0] - b, 0) * np.maximum(counts[1] - a, 0)
            result = result * (counts[0] * counts[1] - alike)
        else:
            longest: Array = np.ones(1, np.int64)
            for n in counts:
                longest = np.maximum(longest, n)
            result = result * longest
    return result
