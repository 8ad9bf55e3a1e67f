"""Variants of operators and chains of them: in strips or patches, with some tensors in the memory and some off chip.

A chain is a run of operators whose results in between nothing else needs. It runs box by box of its last result: what a
box needs of every tensor before it follows backwards through the indices, so that neighbouring boxes compute what they
share (the halo) again. A tensor outside of the chain lies whole in the memory, or off chip; then its boxes are loaded,
or stored, as the chain goes. Weights off chip come again for every box, by tiles. So any memory that holds the smallest
boxes is large enough, and which variants run is chosen together with what stays in the memory (`tiers.place`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, product
from math import prod

from ...arch.architecture import Architecture
from ...errors import BadInput
from ...ir import Access, Einsum, Repeat, Role, Workload
from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem
from .graph import Graph
from .problem import GraphProblem
from .tiers.machine import link_of, macs_per_second, tier_of

NEAR, FAR, LOAD, STORE = "near", "far", "load", "store"
WEIGHT_TILE = 4096
"""Bytes in which weights come that pass by: little beside activations."""
CUTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 28, 32, 56, 64, 112, 128, 256)
"""Numbers of boxes along a dimension that are tried."""
LONGEST = 16
"""Operators in a chain at most."""
POINTS = 3
"""Variants of an operator, or a chain, per set of tensors in the memory: from few bytes of it to little traffic."""

Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cut:
    """What running a chain box by box comes to.

    Attributes:
        grid: boxes along the two dimensions that are cut.
        macs: multiply-accumulates, those done again included.
        workspace: most bytes of boxes at once, of tensors in between and of those off chip.
        loaded, stored: bytes of tensors off chip.
    """

    grid: tuple[int, int]
    macs: int
    workspace: int
    loaded: int
    stored: int


@dataclass(frozen=True)
class Strips:
    """A chain cut along one dimension of its result: by part, the elements of each tensor and the work of Einsums."""

    elements: Mapping[str, Sequence[int]]
    macs: Sequence[Sequence[int]]


class Chain:
    """A run of operators of a graph.

    Attributes:
        reads: tensors from outside, activations and weights.
        result: what it makes.
    """

    def __init__(self, workload: Workload, graph: Graph, first: int, last: int) -> None:
        self.workload = workload
        self.operators = graph.problem.operators[first : last + 1]
        self.einsums = [e for op in self.operators for e in graph.einsums[op.name]]
        made = {n for op in self.operators for n in op.writes}
        self.reads = tuple(dict.fromkeys(n for op in self.operators for n in op.reads if n not in made))
        self.result = self.operators[-1].writes[0]
        self.inside = tuple(n for n in made if n != self.result)
        self._spans: dict[str, tuple[int, int]] = {}
        for i, op in enumerate(self.operators):
            for name in op.touches:
                self._spans[name] = self._spans.get(name, (i, i))[0], i
        self._known: dict[tuple[int, int], Strips] = {}
        self._macs = [e.points if e.is_contraction else 0 for e in self.einsums]

    def is_weight(self, name: str) -> bool:
        return self.workload.tensors[name].role is Role.WEIGHT

    def cut(self, grid: tuple[int, int], off_chip: frozenset[str]) -> Cut:
        """Boxes of two dimensions of the result (the last ones of an image), with some tensors off chip.

        What a box needs along one dimension does not depend on the other, so that sums over boxes are products of sums.

        Args:
            grid: boxes along them, in their order.
            off_chip: names of tensors that are read, or of the result.
        """
        ways = [self._strips(place, count) for place, count in enumerate(grid)]
        boxes = prod(len(way.macs) for way in ways)
        macs = sum(prod(sum(m[i] for m in way.macs) for way in ways) // n ** (len(ways) - 1)
                   for i, n in enumerate(self._macs) if n)  # fmt: skip
        loaded = stored = 0
        held = {}
        for name in (*self.inside, *off_chip):
            whole = self.workload.tensors[name].nbytes
            if self.is_weight(name):
                held[name] = min(WEIGHT_TILE, whole)
                loaded += whole * boxes
                continue
            elements = self.workload.tensors[name].elements
            held[name] = _scaled(whole, elements, [max(way.elements[name]) for way in ways])
            moved = _scaled(whole, elements, [sum(way.elements[name]) for way in ways])
            loaded += moved if name in off_chip and name != self.result else 0
            stored += moved if name in off_chip and name == self.result else 0
        return Cut(grid, macs, self._most(held), loaded, stored)

    def _strips(self, place: int, count: int) -> Strips:
        """The result in so many parts along the first or second of the dimensions that are cut."""
        shape = self.workload.tensors[self.result].shape
        dims = sorted(sorted(range(len(shape)), key=lambda d: (shape[d] == 1, d < 2, -shape[d], d))[:2])
        if (place, count) not in self._known:
            whole = [(0, n) for n in shape]
            parts = _part(shape[dims[place]], count) if place < len(dims) else [(0, 1)]
            elements: dict[str, list[int]] = {}
            macs = []
            for part in parts:
                box = [part if place < len(dims) and d == dims[place] else w for d, w in enumerate(whole)]
                needs, done = self._needs(tuple(box))
                macs.append(done)
                for name in (*self.inside, *self.reads, self.result):
                    box_of = needs.get(name)
                    elements.setdefault(name, []).append(prod(b - a for a, b in box_of) if box_of else 0)
            self._known[place, count] = Strips(elements, macs)
        return self._known[place, count]

    def _most(self, held: Mapping[str, int]) -> int:
        """Most bytes of boxes at once: each lasts from the first operator of the chain that has it to the last."""
        levels = [0] * (len(self.operators) + 1)
        for name, nbytes in held.items():
            first, last = self._spans[name]
            levels[first] += nbytes
            levels[last + 1] -= nbytes
        return max(accumulate(levels))

    def _needs(self, box: Box) -> tuple[dict[str, Box], list[int]]:
        """Boxes of all tensors that a box of the result needs, and multiply-accumulates by Einsum."""
        needs: dict[str, Box] = {self.result: box}
        macs = [0] * len(self.einsums)
        for number, einsum in reversed(list(enumerate(self.einsums))):
            whole = self.workload.tensors[einsum.output.tensor].shape
            target = needs.get(self.workload.storage(einsum.output.tensor))
            if target is None:
                continue
            ranks = _ranks(einsum, target if len(target) == len(whole) else tuple((0, n) for n in whole))
            if any(low >= high for low, high in ranks.values()):
                continue
            if einsum.is_contraction:
                macs[number] = prod(high - low for low, high in ranks.values())
            for access in einsum.inputs:
                name = self.workload.storage(access.tensor)
                needs[name] = _joined(needs.get(name), self._reach(access, ranks))
        return needs, macs

    def _reach(self, access: Access, ranks: Mapping[str, tuple[int, int]]) -> Box:
        """The box of a stored tensor that an access touches; all of it through a view that regroups elements."""
        stored = self.workload.tensors[self.workload.storage(access.tensor)].shape
        if self.workload.tensors[access.tensor].shape != stored:
            return tuple((0, n) for n in stored)
        found = []
        for index, size in zip(access.indices, stored, strict=True):
            ends = [sorted((c * ranks[r][0], c * (ranks[r][1] - 1))) for r, c in index.terms]
            low, high = index.offset + sum(a for a, _ in ends), index.offset + sum(b for _, b in ends) + 1
            found.append((min(max(0, low), size - 1), max(min(size, high), 1)))
        return tuple((low, max(low + 1, high)) for low, high in found)


def _ranks(einsum: Einsum, box: Box) -> dict[str, tuple[int, int]]:
    """Ranges of the ranks that make a box of the result."""
    found = {r: (0, n) for r, n in einsum.sizes.items()}
    for index, (low, high) in zip(einsum.output.indices, box, strict=True):
        if len(index.terms) == 1 and index.terms[0][1] == 1:
            rank = index.ranks[0]
            found[rank] = max(0, low - index.offset), min(einsum.sizes[rank], high - index.offset)
    return found


def _scaled(nbytes: int, elements: int, parts: Sequence[int]) -> int:
    """Bytes of what is so many of all elements along each dimension, rounded up."""
    whole: int = elements ** len(parts)
    return -(-nbytes * prod(parts) // whole)


def _joined(a: Box | None, b: Box) -> Box:
    if a is None or len(a) != len(b):
        return b
    return tuple((min(x[0], y[0]), max(x[1], y[1])) for x, y in zip(a, b, strict=True))


def _part(size: int, count: int) -> list[tuple[int, int]]:
    """So many ranges, the first ones longer by one where it does not divide."""
    count = min(count, size)
    ends = [(size * i + count - 1) // count for i in range(count + 1)]
    return list(pairwise(ends))


# -- problems with variants ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chip:
    """A memory beside computing, with one way to and from what is off chip.

    Attributes:
        capacity: bytes.
        bandwidth: bytes per second, of loads and stores together.
        macs_per_second: of what computes.
        joules_per_byte: off chip.
    """

    capacity: int
    bandwidth: float
    macs_per_second: float
    joules_per_byte: float

    @classmethod
    def of(cls, arch: Architecture, memory: str, *, capacity: int | None = None) -> Chip:
        """A machine's memory, its way off chip, and its units at their peaks.

        Args:
            arch: the machine.
            memory: its on-chip memory.
            capacity: bytes, in place of the memory's own.

        Raises:
            BadInput: there is no such memory, or it has no parent.
        """
        near = tier_of(arch, memory)
        parent = arch.memories[memory].parent
        if parent is None:
            raise BadInput(f"machine {arch.name}: memory {memory} has no parent to load from")
        link = link_of(arch, parent, memory)
        own = near.capacity if capacity is None else capacity
        assert own is not None
        return cls(own, link.bandwidth, macs_per_second(arch), link.joules_per_byte)


def with_variants(workload: Workload, graph: Graph, chip: Chip, *, longest: int = LONGEST) -> TierProblem:
    """The steps of a graph with all variants of operators and chains that a memory allows.

    Args:
        workload: a network without Repeats.
        graph: its graph, with or without parameters.
        chip: the memory, and what time is counted by.
        longest: operators in a chain at most; 1 for none.

    Raises:
        BadInput: the network has Repeats, or an operator has several results.
    """
    if any(isinstance(item, Repeat) for item in workload.body) or any(
        len(op.writes) != 1 for op in graph.problem.operators
    ):
        raise BadInput(f"model {workload.name}: variants are of operators with one result, in networks without Repeats")
    problem = graph.problem
    count = len(problem.operators)
    choices: list[list[Choice]] = [[] for _ in range(count)]
    for first, last in _chains(problem, longest, chip.capacity):
        chain = Chain(workload, graph, first, last)
        for choice in _choices(problem, chain, chip, crowded=first < last):
            name = f"chain {first}-{last}: {choice.name}" if first < last else choice.name
            choices[last].append(replace(choice, name=name, group=name if first < last else ""))
            for i in range(first, last):
                choices[i].append(Choice(name, 0.0, group=name))
    items = {
        n: Item(n, t.nbytes, FAR if t.source else "", FAR if t.result else "") for n, t in problem.tensors.items()
    }
    links = [
        Link(name, *ends, chip.bandwidth, chip.joules_per_byte, "off chip")
        for name, ends in ((LOAD, (FAR, NEAR)), (STORE, (NEAR, FAR)))
    ]
    steps = tuple(
        Step(op.name, tuple(found) or (_impossible(chip),))
        for op, found in zip(problem.operators, choices, strict=True)
    )
    touched = {n for s in steps for c in s.choices for n in c.touches}
    return TierProblem(
        problem.name, (Tier(NEAR, chip.capacity), Tier(FAR)), tuple(links),
        {n: i for n, i in items.items() if n in touched}, steps,
    )  # fmt: skip


def _impossible(chip: Chip) -> Choice:
    """What an operator needs that no variant brings below the memory's size: the message is the solver's."""
    return Choice("no variant", 0.0, workspace={NEAR: chip.capacity + 1})


def _chains(problem: GraphProblem, longest: int, capacity: int) -> Iterator[tuple[int, int]]:
    """Single operators, and runs whose results in between are needed nowhere else and would crowd the memory."""
    readers: dict[str, int] = {}
    for i, op in enumerate(problem.operators):
        readers.update(dict.fromkeys(op.reads, i))
    for first in range(len(problem.operators)):
        yield first, first
        reach, large = first, 0
        for last in range(first, min(first + longest, len(problem.operators))):
            if last > first and reach <= last and large * 2 > capacity:
                yield first, last
            made = problem.operators[last].writes[0]
            if problem.tensors[made].result or made not in readers:
                break
            large = max(large, problem.tensors[made].nbytes)
            reach = max(reach, readers[made])


def _choices(problem: GraphProblem, chain: Chain, chip: Chip, *, crowded: bool) -> Iterator[Choice]:
    """Variants by which tensors are off chip; of each the cuts with little memory and with little traffic."""
    names = [*chain.reads, chain.result]
    size = {n: problem.tensors[n].nbytes for n in names}
    streamed = [n for n in names if chain.is_weight(n)]
    free = [n for n in names if n not in streamed]
    weights = [frozenset(streamed), frozenset[str]()] if streamed else [frozenset[str]()]
    for passing in weights:
        for mask in product((False, True), repeat=len(free)):
            off_chip = passing | {n for n, off in zip(free, mask, strict=True) if off}
            held = sum(size[n] for n in names if n not in off_chip)
            if held > chip.capacity:
                continue
            found = _fitting(chain, off_chip, chip.capacity - held)
            for cut in _front(found, 1 if crowded else POINTS):
                yield _choice(chain, cut, off_chip, chip)


def _fitting(chain: Chain, off_chip: frozenset[str], room: int) -> list[Cut]:
    """Cuts that fit, from whole on: rows alone, and patches; finer ones than needed only add to what is done again."""
    shape = chain.workload.tensors[chain.result].shape
    sides = sorted(shape, reverse=True)
    limit = sides[0] if sides else 1
    found: list[Cut] = []
    for square in (False, True):
        fitted = 0
        for n in (c for c in CUTS if c <= limit and (not square or c <= 16)):
            cut = chain.cut((n, n if square else 1), off_chip)
            if cut.workspace <= room:
                found.append(cut)
                fitted += 1
            if fitted == 2 or (n == 1 and fitted):
                break
    return found


def _front(cuts: Sequence[Cut], count: int) -> list[Cut]:
    """At most so many cuts, none of which another one beats in memory, traffic and work at once."""
    kept: list[Cut] = []
    for cut in sorted(cuts, key=lambda c: (c.loaded + c.stored, c.macs, c.workspace)):
        if all(cut.workspace < k.workspace for k in kept):
            kept.append(cut)
    return kept[:count]


def _choice(chain: Chain, cut: Cut, off_chip: frozenset[str], chip: Chip) -> Choice:
    where = {n: FAR if n in off_chip else NEAR for n in (*chain.reads, chain.result)}
    text = "whole" if cut.grid == (1, 1) else f"{cut.grid[0]}x{cut.grid[1]} boxes"
    return Choice(
        text + "".join(f", {n} off chip" for n in where if n in off_chip),
        cut.macs / chip.macs_per_second,
        reads={n: where[n] for n in chain.reads},
        writes={chain.result: where[chain.result]},
        streams={k: n for k, n in ((LOAD, cut.loaded), (STORE, cut.stored)) if n},
        workspace={NEAR: cut.workspace} if cut.workspace else {},
    )
