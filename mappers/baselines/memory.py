"""A memory under a replacement policy: what is evicted to make room for what a step needs.

``belady`` evicts what is used last (Belady, IBM Systems Journal 5(2), 1966), ``lru`` what was used longest ago.
``greedy`` evicts, at every step, what costs least to store and load again, whatever comes after: the cheapest set of
tensors where the memory has no fragmentation (an integer program of its own), the cheapest range of an arena.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..ilp.solver import Program, solve

EVICTING = ("belady", "lru", "greedy")


@dataclass
class Block:
    """What is known of a tensor in the memory: its place, last use and next use, and bytes moved if it is evicted."""

    address: int
    nbytes: int
    used: int
    next_use: int
    price: int


@dataclass
class Memory:
    """Tensors in a memory, with addresses if it is an arena in which they take the first hole.

    Attributes:
        policy: one of `EVICTING`.
        evicted: told of every eviction.
    """

    policy: str
    capacity: int
    arena: bool
    evicted: Callable[[str], None]
    held: dict[str, Block] = field(default_factory=dict)

    def enter(self, name: str, nbytes: int, kept: Collection[str]) -> int | None:
        """Bring a tensor in: its address (0 where there are none), or None where only what is kept is left to evict."""
        address = self.room(nbytes, kept)
        if address is not None:
            self.held[name] = Block(address, nbytes, 0, 0, 0)
        return address

    def room(self, nbytes: int, kept: Collection[str]) -> int | None:
        """Make a hole: its address, or None where only what is kept is left to evict; then some may be gone."""
        if self.policy == "greedy":
            return self._cheapest(nbytes, kept)
        while (address := self._hole(nbytes)) is None:
            victims = [n for n, b in self.held.items() if n not in kept and b.nbytes]
            if not victims:
                return None
            self.evict(max(victims, key=self._worth))
        return address

    def evict(self, name: str) -> None:
        del self.held[name]
        self.evicted(name)

    def clear(self) -> None:
        """Evict everything."""
        for name in list(self.held):
            self.evict(name)

    def _worth(self, name: str) -> tuple[int, int, str]:
        """How much a tensor is the one to evict."""
        block = self.held[name]
        return (-block.used if self.policy == "lru" else block.next_use), block.nbytes, name

    def _hole(self, nbytes: int) -> int | None:
        """The first hole, of so many bytes."""
        if not self.arena:
            return 0 if nbytes <= self.capacity - sum(b.nbytes for b in self.held.values()) else None
        reach = 0
        for block in sorted(self.held.values(), key=lambda b: b.address):
            if block.address - reach >= nbytes:
                return reach
            reach = max(reach, block.address + block.nbytes)
        return reach if self.capacity - reach >= nbytes else None

    def _cheapest(self, nbytes: int, kept: Collection[str]) -> int | None:
        """Evict what costs least, and of that what is used last."""
        address = self._hole(nbytes)
        if address is None:
            found = self._cheapest_range(nbytes, kept) if self.arena else self._cheapest_set(nbytes, kept)
            if found is None:
                return None
            address, victims = found
            for name in victims:
                self.evict(name)
        return address

    def _cheapest_range(self, nbytes: int, kept: Collection[str]) -> tuple[int, list[str]] | None:
        blocks = self.held.values()
        starts = {0, *(b.address + b.nbytes for b in blocks), *(b.address - nbytes for b in blocks)}
        best: tuple[int, int, int, list[str]] | None = None
        for start in sorted(s for s in starts if 0 <= s <= self.capacity - nbytes):
            inside = [n for n, b in self.held.items() if b.address < start + nbytes and start < b.address + b.nbytes]
            if any(n in kept for n in inside):
                continue
            price = sum(self.held[n].price for n in inside)
            soonest = min((self.held[n].next_use for n in inside), default=0)
            if best is None or (price, -soonest) < best[:2]:
                best = price, -soonest, start, inside
        return None if best is None else (best[2], best[3])

    def _cheapest_set(self, nbytes: int, kept: Collection[str]) -> tuple[int, list[str]] | None:
        names = [n for n, b in self.held.items() if n not in kept and b.nbytes]
        lack = nbytes - self.capacity + sum(b.nbytes for b in self.held.values())
        if sum(self.held[n].nbytes for n in names) < lack:
            return None
        program = Program()
        for name in names:
            program.variable(float(self.held[name].price))
        program.row({i: -float(min(self.held[n].nbytes, lack)) for i, n in enumerate(names)}, -float(lack))
        chosen = solve(program).chosen or (1,) * len(names)
        return 0, [n for n, x in zip(names, chosen, strict=True) if x]
