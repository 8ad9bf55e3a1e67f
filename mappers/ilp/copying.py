"""Addresses for any plan that fits, with copies: where no hole is large enough, tensors move within the memory.

A beam over steps looks for few bytes copied. What lies side by side had better leave at the same time; where a tensor
has no room, neighbours make some, those with the fewest bytes: they move up, or go into holes elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from .arrangement import Along, Arrangement
from .plan import Copy, Residence, build_plan

if TYPE_CHECKING:
    from .copying_kernel import Scratch, States, Tables

WIDTH, WIDE = 32, 512
"""States of a first beam, and of another where there is time."""
SURE = 0.7
"""Share of the time left that the second may take, by the time that the first took."""
UNLIKE = 3.0
"""Bytes, of a mean tensor, that neighbours count which differ in how long they stay, by the horizon."""
LONG = 0.95
"""Share of the residences that end within the horizon."""


def copied(along: Along, dropped: Collection[int], *, ends: float = inf, width: int = WIDTH) -> Arrangement:
    """The plan that drops these gaps, with addresses and copies.

    Args:
        along: the order's gaps.
        dropped: what is kept beside them fits the memory at each step.
        ends: when it is to be over (as `perf_counter`): a second beam is no wider than there is time for.
        width: of the first beam.
    """
    residences = build_plan(along.lives, dropped, along.capacity).residences
    started = time.perf_counter()
    found = _Copying(along, set(dropped), residences, width).run()
    assert found is not None  # without a limit it comes to the end
    now = time.perf_counter()
    wide = WIDE if ends == inf else min(WIDE, int(SURE * width * (ends - now) / max(now - started, 1e-3)))
    if wide < 2 * width or not found.copies:
        return found
    second = _Copying(along, set(dropped), residences, wide).run(ends)
    return found if second is None else min(found, second, key=_bytes)


def _bytes(found: Arrangement) -> int:
    return sum(found.along.nbytes(c.tensor) for c in found.copies)


class _Copying:
    def __init__(self, along: Along, dropped: set[int], residences: tuple[Residence, ...], width: int) -> None:
        from . import copying_kernel as kernel

        self.kernel, self.along, self.dropped, self.residences = kernel, along, dropped, residences
        self.width, self.steps = width, len(along.lives.operators)
        self.tables = self._tables()
        self.fresh = int(np.diff(self.tables.end).max(initial=0))
        changes = np.zeros(self.steps + 2, np.int64)
        np.add.at(changes, self.tables.first, 1)
        np.add.at(changes, self.tables.last + 1, -1)
        self.most = int(np.cumsum(changes).max(initial=0)) + 1
        self.salt = np.random.default_rng(0).integers(0, 1 << 62, max(1, len(residences)))

    def _tables(self) -> Tables:
        along, steps = self.along, self.steps
        nbytes = [along.nbytes(r.tensor) for r in self.residences]
        begins = {(r.tensor, r.first): k for k, r in enumerate(self.residences)}
        heir = [-1] * len(nbytes)
        heirs = set()
        for k, r in enumerate(self.residences):
            new, _ = along.lives.in_place.get((r.last, r.tensor), ("", None))
            if new:
                heir[k] = begins[new, r.last]
                heirs.add(heir[k])
        fresh: list[list[int]] = [[] for _ in range(steps)]
        for k in sorted(range(len(nbytes)), key=lambda k: (-nbytes[k], k)):
            if k not in heirs:
                fresh[self.residences[k].first].append(k)
        lengths = [r.last - r.first for r in self.residences]
        horizon = max(1, int(np.quantile(lengths, LONG)) if lengths else 1)
        unlike = UNLIKE * float(np.mean(nbytes)) / horizon if nbytes else 0.0
        return self.kernel.Tables(
            _ints([along.capacity]), _ints(nbytes), _ints([r.first for r in self.residences]),
            _ints([r.last for r in self.residences]), _ints(heir), _ints(np.cumsum([0, *map(len, fresh)])),
            _ints([k for each in fresh for k in each]), np.array([unlike]), _ints([horizon]),
        )  # fmt: skip

    def _states(self, rows: int) -> States:
        blocks, choice = np.zeros((2, rows, self.most), np.int64), np.zeros((rows, self.fresh, 3), np.int64)
        count, paid, parent, mark = np.zeros((4, rows), np.int64)
        return self.kernel.States(count, blocks[0], blocks[1], paid, np.zeros(rows), parent, choice, mark)

    def _scratch(self) -> Scratch:
        low, high, to = np.zeros((3, self.most + 1), np.int64)
        key, left, right, side = np.zeros((4, 4 * self.most + 8), np.int64)
        moved, place = np.zeros((2, (self.fresh + 2) * (2 * self.most + 2)), np.int64)
        return self.kernel.Scratch(
            low, high, to, key.astype(np.float64), left, right, side, moved, place, np.zeros(1, np.int64)
        )

    def run(self, ends: float = inf) -> Arrangement | None:
        """A plan, or None where it is later than `ends` before there is one."""
        kernel = self.kernel
        states, pool, scratch = self._states(self.width), self._states(self.width * kernel.CHILDREN), self._scratch()
        seen = np.zeros(1 << (4 * len(pool.blocks)).bit_length(), np.int64)
        rows = 1
        record = []
        for step in range(self.steps):
            if time.perf_counter() > ends:
                return None
            count = kernel.expand(self.tables, states, rows, step, pool, scratch, self.salt)
            rows = kernel.follow(pool, np.argsort(pool.key[:count], kind="stable"), states, seen)
            record.append((states.parent[:rows].copy(), states.choice[:rows].copy()))
        path, row = [], 0
        for parent, choice in reversed(record):
            path.append(choice[row])
            row = int(parent[row])
        return self._replayed(path[::-1])

    def _replayed(self, path: list[np.ndarray]) -> Arrangement:
        """What the choices of each step come to."""
        lives, first = self.along.lives, self.tables.first
        states, scratch = self._states(1), self._scratch()
        address: dict[tuple[str, int], int] = {}
        copies: list[Copy] = []
        for step, choice in enumerate(path):
            self.kernel.again(self.tables, states, step, choice, scratch)
            for k in range(int(scratch.amount[0])):
                block = int(scratch.moved[k])
                if first[block] < step:
                    copies.append(Copy(self.residences[block].tensor, step, int(scratch.place[k])))
            where = {
                self.residences[int(states.block[0, k])].tensor: int(states.address[0, k])
                for k in range(int(states.blocks[0]))
            }
            for old in lives.operators[step].touches:
                new, _ = lives.in_place.get((step, old), ("", None))
                if new:
                    where.setdefault(new, where[old])
            address.update({(name, step): where[name] for name in lives.operators[step].touches})
            self.kernel.ended(self.tables, states, step, self.salt)
        return Arrangement(self.along, self.dropped, address, tuple(copies))


def _ints(values: np.ndarray | list[int]) -> np.ndarray:
    return np.array(values, np.int64)
