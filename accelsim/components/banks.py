"""Banks of a scratchpad: cycles of accesses that want several words at a time, some of them from one bank.

Lines of `bank_width` bytes are dealt round over the banks: line i lies in bank i mod banks. A bank serves
`ports_per_bank` different lines per cycle, and any number of words of one line. An access of several words takes as
many cycles as the bank of which it wants most lines (as the layout study of SCALE-Sim v3, Raj et al., ISPASS 2025).

The tile of an operand lies there by itself, dense, its first word at the start of a line of bank 0, its dimensions in
the order of the tensor unless the memory's `layout` says which are innermost. Operands lie so that they do not disturb
each other. Words of the padding of a convolution count like others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arch.component import Banking
from ..ir import Access

IntArray: TypeAlias = NDArray[np.int64]
Loop: TypeAlias = tuple[int, int]
"""Stride in words, and number."""
Loops: TypeAlias = Sequence[Loop | IntArray]
"""Loops, or the offsets of the points of one that has no stride."""


def box(loops: Sequence[Loop]) -> IntArray:
    """Offsets of a box of words, the last dimension fastest."""
    offsets = np.zeros(1, np.int64)
    for stride, number in loops:
        offsets = (offsets[:, None] + stride * np.arange(number, dtype=np.int64)).ravel()
    return offsets


def access_cycles(starts: IntArray, bits: int, banking: Banking) -> IntArray:
    """Cycles of accesses [n] to words of so many bits; `starts` [n, words] are their first bits."""
    first, last = starts // banking.line_bits, (starts + bits - 1) // banking.line_bits
    across = np.arange(int((last - first).max()) + 1)
    lines = np.sort(np.minimum(first[..., None] + across, last[..., None]).reshape(len(starts), -1), axis=1)
    fresh = np.ones(lines.shape, np.bool_)
    fresh[:, 1:] = lines[:, 1:] != lines[:, :-1]
    place = np.arange(len(lines))[:, None] * banking.banks + lines % banking.banks
    wanted = np.bincount(place[fresh], minlength=len(lines) * banking.banks).reshape(len(lines), -1)
    return np.asarray(-(-wanted.max(axis=1) // banking.ports), np.int64)


def total_cycles(sets: IntArray, over: Loops, bits: int, banking: Banking) -> int:
    """Cycles of all accesses to the words of a set, shifted by every point of loops.

    Shifting an access by whole lines moves all that it wants from each bank to another one. So only the place of its
    first word in a line matters, and how its words lie to each other.

    Args:
        sets: [sets, words] offsets in words; one that stands there twice is wanted once.
        over: loops around the access.
        bits: of a word.
        banking: of the memory.
    """
    grain = gcd(bits, banking.line_bits)
    places, word = banking.line_bits // grain, bits // grain
    starts = sets * bits
    relative, pattern = np.unique(starts - starts[:, :1], axis=0, return_inverse=True)
    counts = np.zeros((len(relative), places), np.int64)
    np.add.at(counts, (pattern.ravel(), starts[:, 0] // grain % places), 1)
    for loop in over:
        if isinstance(loop, tuple):
            begins = _places(word * loop[0], loop[1], places)
        else:
            begins = np.bincount(loop * word % places, minlength=places)
        shifted = [begins[s] * np.roll(counts, s, axis=1) for s in np.flatnonzero(begins)]
        counts = np.asarray(sum(shifted), np.int64)
    which, place = np.nonzero(counts)
    cycles = access_cycles(relative[which] + place[:, None] * grain, bits, banking)
    return int((cycles * counts[which, place]).sum())


@lru_cache(maxsize=2**12)
def _places(step: int, number: int, places: int) -> IntArray:
    """How often the points of a loop begin at each place of a line."""
    period = places // gcd(step, places)
    found = np.zeros(places, np.int64)
    at = np.arange(period) * step % places
    found[at] = number // period
    found[at[: number % period]] += 1
    return found


def in_groups(offsets: IntArray, size: int, part: int | None = None) -> IntArray:
    """Sets [groups, words] of `size` neighbouring words that are accessed together, by all parts at the same time.

    The offsets are cut into parts of that length, and every part into groups; where a group ends early, its first word
    of the first part stands in for what it lacks.
    """
    part = len(offsets) if part is None else part
    group = np.arange(-(-part // size))[:, None, None] * size
    inside = group + np.arange(size)
    at = inside + np.arange(-(-len(offsets) // part))[:, None] * part
    at = np.where((inside < part) & (at < len(offsets)), at, group)
    return np.asarray(offsets[at].reshape(len(at), -1))


@dataclass(frozen=True)
class Tile:
    """A tile of an operand as it lies in a memory with banks.

    Attributes:
        strides: words from one point of a rank to the next.
        extents: points of every rank that it has.
        bits: of a word.
    """

    strides: Mapping[str, int]
    extents: Mapping[str, int]
    bits: int
    banking: Banking

    @classmethod
    def of(
        cls, access: Access, extents: Mapping[str, int], roles: Mapping[str, str], inner: Sequence[str], bits: int,
        banking: Banking,
    ) -> Tile:  # fmt: skip
        """The tile of an access over points of ranks; `inner` are the roles of its innermost dimensions."""
        place = {role: i + 1 for i, role in enumerate(inner)}
        order = sorted(access.indices, key=lambda index: max((place.get(roles.get(r, ""), 0) for r in index.ranks),
                                                             default=0))  # fmt: skip
        strides: dict[str, int] = {}
        stride = 1
        for index in reversed(order):
            for rank, step in index.terms:
                strides[rank] = strides.get(rank, 0) + step * stride
            stride *= 1 + sum(abs(step) * (extents[rank] - 1) for rank, step in index.terms)
        return cls(strides, {r: extents[r] for r in strides}, bits, banking)

    def loops(self, ranks: Sequence[str]) -> list[Loop]:
        """Loops over those of the ranks that it has, in this order."""
        return [(self.strides[r], self.extents[r]) for r in ranks if r in self.strides]

    def waits(self, sets: IntArray, over: Loops, requests: int = 1) -> int:
        """Cycles beyond one per access; of several `requests` for the same words, one is served after the other."""
        accesses = len(sets) * prod(n[1] if isinstance(n, tuple) else len(n) for n in over)
        return requests * total_cycles(sets, over, self.bits, self.banking) - accesses
