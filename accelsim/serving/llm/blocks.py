"""Paged KV cache: blocks of a fixed number of tokens, handed out and taken back one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

Freed: TypeAlias = "tuple[int, Freed] | None"
"""Blocks that have been given back, the last one first."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of one replica (PagedAttention, arXiv:2309.06180). A value: taking and giving return another one.

    Blocks from `fresh` on have never been used; every other one is either in `freed` or a sequence's. Copies share
    their lists, so that a step costs what it changes.
    """

    count: int
    tokens: int
    """Of a block."""
    fresh: int = 0
    freed: Freed = None
    in_use: int = 0

    @property
    def free(self) -> int:
        return self.count - self.in_use

    def needed(self, tokens: int) -> int:
        """Blocks that so many tokens of one sequence fill."""
        return -(-tokens // self.tokens)

    def take(self, count: int) -> tuple[Blocks, tuple[int, ...]]:
        """Hand out `count` blocks, of which at least so many are free: the ones given back last, then fresh ones."""
        freed, taken = self.freed, list[int]()
        while freed is not None and len(taken) < count:
            block, freed = freed
            taken.append(block)
        new = count - len(taken)
        taken.extend(range(self.fresh, self.fresh + new))
        return replace(self, fresh=self.fresh + new, freed=freed, in_use=self.in_use + count), tuple(taken)

    def give(self, blocks: Sequence[int]) -> Blocks:
        """Take blocks back."""
        freed = self.freed
        for block in reversed(blocks):
            freed = (block, freed)
        return replace(self, freed=freed, in_use=self.in_use - len(blocks))

    def unused(self) -> list[int]:
        """All free blocks."""
        found, freed = list(range(self.fresh, self.count)), self.freed
        while freed is not None:
            block, freed = freed
            found.append(block)
        return found
