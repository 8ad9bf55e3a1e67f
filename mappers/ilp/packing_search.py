"""The exact search for addresses: the arrays of the compiled kernel, and attempts in several orders.

Every attempt is complete on its own; they differ in the point they ask about and in what they try first, which decides
how soon a packing is found. They take turns under limits of nodes that double, and share the memory of failed states.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Protocol

import numpy as np

from .packing_kernel import COLUMNS, FREE, IMPOSSIBLE, PACKED, STOPPED, Ints, Problem, State, search

RULES = (3, 2, 0)
"""Which point an attempt asks about first: with the least free room, with the fewest candidates and then the lowest
floor, with the fewest candidates and then the least free room."""
RANKS = ("size", "length")
FIRST_LIMIT = 2000
"""Nodes of the first round of attempts: small, since most packings that are found at all are found at once."""
MEMORY = 1 << 21
"""States that failed and are remembered, at most."""


class Placeable(Protocol):
    """What needs an address; see `packing.Buffer`."""

    @property
    def size(self) -> int: ...
    @property
    def alignment(self) -> int: ...
    @property
    def address(self) -> int | None: ...


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        addresses: of the buffers in their order, or None.
        complete: the answer is final; False where the nodes ran out.
        nodes: of all attempts.
    """

    addresses: list[int] | None
    complete: bool
    nodes: int


def exact(
    buffers: Sequence[Placeable], capacity: int, ranges: Sequence[tuple[int, int]], sections: int, nodes: int
) -> Found:
    """Addresses below the capacity, or the proof that there are none.

    A state that failed is known by 128 bits of hash: a proof is wrong with a probability below 1e-20.

    Args:
        buffers: in any order.
        capacity: of the memory.
        ranges: of each buffer, its sections (`packing_sections.sections_of`).
        sections: how many there are.
        nodes: at most so many.
    """
    unit = gcd(*(b.size for b in buffers), *(b.address or 0 for b in buffers), *_alignments(buffers))
    order = sorted(range(len(buffers)), key=lambda i: (ranges[i], buffers[i].size, i))
    table = _Table([buffers[i] for i in order], [ranges[i] for i in order], sections, unit)
    seen = np.zeros(2 * min(MEMORY, 1 << max(nodes, 1).bit_length()), dtype=np.int64)
    counted = np.zeros(1, dtype=np.int64)
    limit = FIRST_LIMIT
    while counted[0] < nodes:
        for rule, rank in product(RULES, RANKS):
            problem, state = table.problem(capacity // unit, rank), table.state(seen)
            got = search(problem, state, min(limit, nodes - int(counted[0])), rule, counted)
            if got == PACKED:
                at = dict(zip(order, state.address.tolist(), strict=True))
                return Found([at[i] * unit for i in range(len(buffers))], True, int(counted[0]))
            if got == IMPOSSIBLE:
                return Found(None, True, int(counted[0]))
            assert got == STOPPED
            if counted[0] >= nodes:
                break
        limit *= 2
    return Found(None, False, int(counted[0]))


def _alignments(buffers: Iterable[Placeable]) -> list[int]:
    return [b.alignment for b in buffers if b.alignment > 1]


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), dtype=np.int64)


class _Table:
    """The buffers as arrays, sizes and addresses in a common unit."""

    def __init__(
        self, buffers: Sequence[Placeable], ranges: Sequence[tuple[int, int]], sections: int, unit: int
    ) -> None:
        self.first, self.last = _ints(r[0] for r in ranges), _ints(r[1] for r in ranges)
        self.size = _ints(b.size // unit for b in buffers)
        self.alignment = _ints(max(b.alignment // unit, 1) for b in buffers)
        self.fixed = _ints(FREE if b.address is None else b.address // unit for b in buffers)
        known = [self.first, self.last, self.size, self.alignment, self.fixed]
        same = [i > 0 and all(k[i] == k[i - 1] for k in known) for i in range(len(buffers))]
        self.twin = _ints(i - 1 if twin else -1 for i, twin in enumerate(same))
        self.begin = np.searchsorted(self.first, np.arange(sections + 1)).astype(np.int64)
        self.salt = np.random.default_rng(0).integers(0, 1 << 63, size=2 * len(buffers), dtype=np.uint64)
        self.load, self.crossing = np.zeros(sections, dtype=np.int64), np.zeros(sections, dtype=np.int64)
        for start, stop, size in zip(self.first, self.last, self.size, strict=True):
            self.load[start:stop] += size
            self.crossing[start + 1 : stop] += 1

    def problem(self, capacity: int, rank: str) -> Problem:
        length = self.last - self.first
        keys = (-length, -self.size) if rank == "size" else (-self.size, -length)  # the last is the first that counts
        place = np.empty(len(self.size), dtype=np.int64)
        place[np.lexsort(keys)] = np.arange(len(self.size))
        return Problem(
            _ints([capacity]),
            self.first,
            self.last,
            self.size,
            self.alignment,
            self.fixed,
            self.twin,
            place,
            self.begin,
            self.salt,
        )

    def state(self, seen: Ints) -> State:
        n, sections = len(self.size), len(self.load)
        lowest, order, placed = (np.zeros(n, dtype=np.int64) for _ in range(3))
        floor, low, valley = (np.zeros(sections, dtype=np.int64) for _ in range(3))
        return State(
            np.full(n, FREE, dtype=np.int64),
            lowest,
            floor,
            self.load.copy(),
            self.crossing.copy(),
            low,
            valley,
            order,
            placed,
            np.zeros((4 * n + 64, COLUMNS), dtype=np.int64),
            np.zeros((n + sections + 1) * (n + 64), dtype=np.int64),
            seen,
        )
