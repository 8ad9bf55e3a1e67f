"""Every plan of the tile mapper's space for a small Einsum, walked tile by tile: what its search is judged by.

It knows nothing of the mapper's arithmetic: tiles are visited one after the other, the points that they touch along a
dimension are a set, results that come back are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from accelsim.components.base import ComputeUnit, SpatialOption
from accelsim.ir import Access
from accelsim.mappers.tile.nest import Hop, Level, Nest
from accelsim.mappers.tile.search import Task
from accelsim.mappers.tile.stage import Stage

Loops = tuple[tuple[str, int], ...]
Box = dict[str, tuple[int, int]]
"""Rank to its first point and the one after its last."""
Points = frozenset[int]
"""Along a dimension of a tensor."""


@dataclass(frozen=True)
class Moved:
    """What comes to, and leaves, a memory over the whole run; bytes of the largest tile; whether results come back."""

    bytes_in: int
    bytes_out: int
    largest: int
    back: bool


def boxes(loops: Loops, box: Box) -> Iterator[tuple[Box, bool]]:
    """The tiles in order, each with whether only the innermost loop has moved on since the one before."""
    if not loops:
        yield box, False
        return
    (rank, tile), *rest = loops
    low, high = box[rank]
    for at in range(low, high, tile):
        for inner, moved in boxes(tuple(rest), {**box, rank: (at, min(at + tile, high))}):
            yield inner, moved if rest else at > low


class Walk:
    """One Einsum on a unit in one of its options."""

    def __init__(self, task: Task, unit: ComputeUnit, option: SpatialOption) -> None:
        self.task, self.einsum, self.unit, self.option = task, task.einsum, unit, option
        self.whole: Box = {r: (0, n) for r, n in task.einsum.sizes.items()}
        self.known: dict[object, Moved] = {}
        self.costs: dict[object, float] = {}
        self.ran: dict[Loops, float] = {}

    def moved(self, hop: Hop, loops: Loops, *, slides: bool = False) -> Moved:
        """Of a tensor whose tiles are cut inside these loops."""
        key = hop.key, loops, slides
        if key not in self.known:
            self.known[key] = self._moved(hop, loops, slides)
        return self.known[key]

    def _moved(self, hop: Hop, loops: Loops, slides: bool) -> Moved:
        operand = hop.operand
        (access,) = dict.fromkeys(operand.accesses)
        come = gone = largest = 0
        seen: set[object] = set()
        before: list[Points] = []
        back = False
        for box, innermost in boxes(loops, self.whole):
            points = self._points(access, operand.shapes[0], box)
            elements = _volume(points)
            largest = max(largest, elements)
            if operand.is_output:
                gone += int(operand.nbytes(elements))
                tile = tuple(points)
                if tile in seen:
                    come += int(operand.nbytes(elements))
                    back = True
                seen.add(tile)
            else:
                kept = [a & b for a, b in zip(points, before, strict=False)]
                come += int(operand.nbytes(elements - (_volume(kept) if slides and innermost else 0)))
            before = points
        return Moved(come, gone, int(operand.nbytes(largest)), back)

    @staticmethod
    def _points(access: Access, shape: Sequence[int], box: Box) -> list[Points]:
        found = []
        for index, size in zip(access.indices, shape, strict=True):
            points = {index.offset}
            for r, c in index.terms:
                points = {at + c * i for at in points for i in range(*box[r])}
            assert 0 <= min(points) <= max(points) < size, "padding is for other tests"
            found.append(frozenset(points))
        return found

    def joules(self, loops: Loops) -> float:
        """Energy of the unit over all tiles of these loops."""
        if loops not in self.ran:
            kept = self.einsum.output.ranks
            tiles = [box for box, _ in boxes(loops, self.whole)]
            sums: dict[object, list[int]] = {}
            for i, box in enumerate(tiles):
                sums.setdefault(tuple((r, box[r]) for r in sorted(kept)), []).append(i)
            total = 0.0
            for visits in sums.values():
                for i in visits:
                    extents = tuple((r, hi - lo) for r, (lo, hi) in tiles[i].items())
                    total += self._cost(extents, resumed=i != visits[0], unfinished=i != visits[-1])
            self.ran[loops] = total
        return self.ran[loops]

    def _cost(self, extents: tuple[tuple[str, int], ...], *, resumed: bool, unfinished: bool) -> float:
        key = extents, resumed, unfinished
        if key not in self.costs:
            sizes = {r: np.array([n]) for r, n in extents}
            cost = self.unit.cost(
                self.einsum, self.option, sizes, self.task.bits, resumed=resumed, unfinished=unfinished
            )  # fmt: skip
            feeds = [self.task.arch.memories[m].action_energy() for m in self.unit.feeds(len(self.einsum.inputs))]
            energy = sum(int(n[0]) * m["read"] for n, m in zip(cost.reads, feeds, strict=False))
            energy += int(cost.writes[0]) * feeds[-1]["write"] + int(cost.partial_reads[0]) * feeds[-1]["read"]
            energy += sum(int(n[0]) * self.unit.action_energy()[a] for a, n in cost.actions.items())
            self.costs[key] = energy
        return self.costs[key]


def _volume(points: Sequence[Points]) -> int:
    result = 1
    for along in points:
        result *= len(along)
    return result


@dataclass(frozen=True)
class Candidate:
    """A choice of one level: its loops, how each way is cut, joules of its transfers, and off-chip bytes."""

    level: Level
    joules: float
    traffic: int


class Enumeration:
    """All choices of all levels."""

    def __init__(self, walk: Walk, chain: Sequence[Stage]) -> None:
        self.walk, self.chain = walk, chain

    def tilings(self, number: int, extents: Mapping[str, int]) -> list[dict[str, int]]:
        """Tile sizes of a level inside a tile of the one around it."""
        sizes = self.chain[number].space.sizes
        lists = {r: sorted({min(n, extents[r]) for n in given}) for r, given in sizes.items()}
        return [dict(zip(lists, chosen, strict=True)) for chosen in product(*lists.values())]

    def orders(self, number: int, around: Loops, tile: Mapping[str, int]) -> list[Loops]:
        """The loops of a level in every order."""
        extents = dict(self.walk.einsum.sizes) | dict(around)
        orders = self.chain[number].space.orders
        return sorted({tuple((r, tile[r]) for r in order if tile[r] < extents[r]) for order in orders})

    def candidates(self, number: int, around: Loops, loops: Loops) -> Iterator[Candidate]:
        """Depth of every cut, sliding and single buffers, that fit."""
        stage = self.chain[number]
        options = [list(self._options(hop, around, loops)) for hop in stage.hops]
        for chosen in product(*options):
            yield from self._fitting(stage, loops, chosen, around)

    def _options(self, hop: Hop, around: Loops, loops: Loops) -> Iterator[tuple[int, bool, Moved]]:
        for depth in range(len(loops) + 1):
            yield depth, False, self.walk.moved(hop, (*around, *loops[:depth]))
            if depth and loops[depth - 1][0] in hop.operand.slides:
                yield depth, True, self.walk.moved(hop, (*around, *loops[:depth]), slides=True)
        for outside in range(1, len(around) + 1):
            if around[-outside][0] in hop.operand.ranks:
                return
            yield -outside, False, self.walk.moved(hop, around[:-outside])

    def _fitting(
        self, stage: Stage, loops: Loops, chosen: Sequence[tuple[int, bool, Moved]], around: Loops
    ) -> Iterator[Candidate]:
        """With two buffers each, one tensor with one, or (further in) all with one."""
        many = [bool(depth or around) for depth, _, _ in chosen]
        everything = range(len(chosen))
        singles = [set(), *({i} for i in everything), *([set(everything)] if stage is not self.chain[0] else [])]
        for single in singles:
            buffers = [1 if i in single or not many[i] else 2 for i in everything]
            held = dict.fromkeys(stage.budgets, 0)
            for hop, n, (_, _, moved) in zip(stage.hops, buffers, chosen, strict=True):
                held[hop.memory] += moved.largest * n * (2 if moved.back else 1)
            if any(held[m] > stage.budgets[m] for m in held):
                continue
            joules, traffic = 0.0, 0
            for hop, (_, _, moved) in zip(stage.hops, chosen, strict=True):
                joules += moved.bytes_in * hop.load.joules_per_byte + moved.bytes_out * hop.store.joules_per_byte
                traffic += (moved.bytes_in + moved.bytes_out) * hop.weighs
            keys = [hop.key for hop in stage.hops]
            level = Level(
                loops,
                {k: depth for k, (depth, _, _) in zip(keys, chosen, strict=True)},
                dict(zip(keys, buffers, strict=True)),
                dict.fromkeys(keys, 0),
                frozenset(k for k, (_, slid, _) in zip(keys, chosen, strict=True) if slid),
            )
            yield Candidate(level, joules, traffic)

    # Energy: levels add up

    def least_joules(self, number: int = 0, around: Loops = ()) -> float | None:
        """The least energy of a level and all further ones inside the tiles of some loops; None where nothing fits."""
        if number == len(self.chain):
            return self.walk.joules(around)
        extents = dict(self.walk.einsum.sizes) | dict(around)
        best: float | None = None
        for tile in self.tilings(number, extents):
            for loops in self.orders(number, around, tile):
                inside = self.least_joules(number + 1, (*around, *loops))
                here = min((c.joules for c in self.candidates(number, around, loops)), default=None)
                if inside is not None and here is not None and (best is None or here + inside < best):
                    best = here + inside
        return best

    # Latency: by the mapper's own estimate

    def nests(self, number: int = 0, around: Loops = ()) -> Iterator[tuple[Candidate, ...]]:
        """Every choice of every level."""
        if number == len(self.chain):
            yield ()
            return
        extents = dict(self.walk.einsum.sizes) | dict(around)
        for tile in self.tilings(number, extents):
            for loops in self.orders(number, around, tile):
                for candidate in self.candidates(number, around, loops):
                    for rest in self.nests(number + 1, (*around, *loops)):
                        yield (candidate, *rest)

    def least_cycles(self, equal: float) -> tuple[float, float]:
        """The least cycles that `Stage.work` gives any choice, and the least joules up to `equal` times as many."""
        whole = {r: np.full(1, n, np.int64) for r, n in self.walk.einsum.sizes.items()}
        found: list[tuple[float, float]] = []
        for nest in self.nests():
            work = self.chain[0].work(Nest(tuple(c.level for c in nest)), whole, np.ones(1, np.int64))
            found.append((float((work.cycles + work.edge).item()), float(work.joules.item())))
        least = min((cycles for cycles, _ in found), default=float("inf"))
        return least, min((joules for cycles, joules in found if cycles <= least * equal), default=0.0)
