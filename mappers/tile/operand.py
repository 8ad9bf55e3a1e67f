"""What an Einsum touches of a stored tensor: bytes of tiles, and of all tiles together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...ir import Access, Affine

Array = NDArray[np.int64]
Floats = NDArray[np.float64]
Extents = Mapping[str, Array]
"""Rank to extents, one per candidate."""
_Box: TypeAlias = tuple[tuple[Affine, ...], tuple[int, ...]]
"""Indices of an access, and the shape of the tensor."""


@dataclass(frozen=True)
class Operand:
    """One stored tensor that an Einsum touches, and the way between it and the unit.

    Attributes:
        accesses: index expressions and tensor shapes of all accesses to it.
        sizes: of the Einsum's ranks.
        chain: memories on the way, from the one where it is before (for a result: goes to after) the Einsum to the one
            that feeds the unit; that one alone when it stays there.
        width: bits per element as it is stored, on the mean.
    """

    tensor: str
    accesses: tuple[Access, ...]
    shapes: tuple[tuple[int, ...], ...]
    sizes: Mapping[str, int]
    width: Fraction
    is_output: bool
    chain: tuple[str, ...]

    @cached_property
    def ranks(self) -> frozenset[str]:
        return frozenset().union(*(a.ranks for a in self.accesses))

    @cached_property
    def _boxes(self) -> tuple[_Box, ...]:
        return tuple(dict.fromkeys(zip((a.indices for a in self.accesses), self.shapes, strict=True)))

    def nbytes(self, elements: Array | int) -> Array:
        """Bytes of so many elements as they are stored, rounded up."""
        width = self.width
        return np.asarray(-(-elements * width.numerator // (8 * width.denominator)))

    @cached_property
    def slides(self) -> frozenset[str]:
        """Ranks along which neighbouring tiles of a window overlap, so that a load need only bring what is new."""
        if len(self.accesses) != 1 or self.is_output:
            return frozenset()
        indices = [index for index in self.accesses[0].indices if index.terms]
        ranks = [r for index in indices for r in index.ranks]
        return frozenset(r for index in indices if len(index.terms) > 1 for r in index.ranks if ranks.count(r) == 1)

    def tile_bytes(self, extents: Extents) -> Array:
        """Bytes of what its accesses touch over tiles, at most of the whole tensor.

        Every access touches a box. Those that the cut ranks shift alike share one where that is smaller, others add up.
        """
        boxes = self._boxes
        if len(boxes) == 1:
            return self.nbytes(_elements([boxes[0]], extents))
        total: Array = np.zeros(1, np.int64)
        taken: NDArray[np.bool_] = np.zeros((len(boxes), 1), np.bool_)
        for i, box in enumerate(boxes):
            alike = np.stack(np.broadcast_arrays(*(self._alike(box, other, extents) for other in boxes)))
            members = alike & ~taken
            apart = sum((m * self.nbytes(_elements([b], extents)) for b, m in zip(boxes, members, strict=True)),
                        np.zeros(1, np.int64))  # fmt: skip
            shared = self.nbytes(_elements(boxes, extents, members))
            total = total + np.where(members[i], np.minimum(apart, shared), 0)
            taken = taken | (members & members[i])
        whole = max(int(self.nbytes(prod(shape))) for shape in self.shapes)
        return np.minimum(total, whole)

    def least_bytes(self, extents: Extents) -> Array:
        """At most the bytes of all tiles of any cut together, which leave out what a window with gaps steps over."""
        result: Array = np.zeros(1, np.int64)
        for indices, shape in self._boxes:
            elements: Array = np.ones(1, np.int64)
            seen: set[str] = set()
            for index, size in zip(indices, shape, strict=True):
                longest: Array = np.ones(1, np.int64)
                for r in index.ranks:
                    longest = longest if r in seen else np.maximum(longest, extents[r])
                seen.update(index.ranks)
                elements = elements * np.minimum(longest, size)
            result = np.maximum(result, self.nbytes(elements))
        return result

    def _alike(self, a: _Box, b: _Box, extents: Extents) -> NDArray[np.bool_]:
        """Whether ranks that are cut shift two boxes alike."""
        result: NDArray[np.bool_] = np.full(1, a[1] == b[1])
        for x, y in zip(a[0], b[0], strict=False):
            for r in {*x.ranks, *y.ranks}:
                if dict(x.terms).get(r, 0) != dict(y.terms).get(r, 0):
                    result = result & np.asarray(extents[r] >= self.sizes[r])
        return result

    def swept_bytes(self, extents: Extents, tile: Extents, cut: Collection[str], slides: str = "") -> Array:
        """Bytes of all different tiles together, halos counted as often as tiles overlap.

        Args:
            extents: of the whole.
            tile: of a tile, for every rank in `cut`.
            cut: ranks that are cut; the others are whole in every tile.
            slides: rank of the innermost loop, if tiles bring only what the one before did not hold.
        """
        mine = [r for r in tile if r in cut and r in self.ranks]
        if slides:
            return self._slid_bytes(extents, tile, mine, slides)
        if len(self._boxes) == 1 and self.width % 8 == 0:
            total: Array = np.full(1, self.width // 8, np.int64)
            indices, shape = self._boxes[0]
            shared = [r for index in indices for r in index.ranks]
            if len(shared) == len(set(shared)):
                for index, size in zip(indices, shape, strict=True):
                    total = total * _swept(index, size, extents, tile, [r for r in mine if r in index.ranks])
                return total
        result: Array = np.zeros(1, np.int64)
        for box, times in _tiles(extents, tile, mine):
            result = result + times * self.tile_bytes({**extents, **box})
        return result

    def _slid_bytes(self, extents: Extents, tile: Extents, cut: Sequence[str], rank: str) -> Array:
        """Bytes over all tiles: in each run along a rank the first tile whole, then what is new in the others."""
        indices, shape = self._boxes[0]
        full = np.minimum(tile[rank], extents[rank])
        number, rest = extents[rank] // full, extents[rank] % full
        result: Array = np.zeros(1, np.int64)
        for box, times in _tiles(extents, tile, [r for r in cut if r != rank]):
            first: Array = np.ones(1, np.int64)
            fresh, last = first, first
            for index, size in zip(indices, shape, strict=True):
                span = _hull(index, size, {**extents, **box, rank: full})
                if rank in index.ranks:
                    kept = np.maximum(0, span - full * abs(int(dict(index.terms)[rank])))
                    end = _hull(index, size, {**extents, **box, rank: np.maximum(rest, 1)})
                    first, fresh = first * span, fresh * (span - kept)
                    last = last * np.where(rest > 0, np.maximum(0, end - kept), 0)
                else:
                    first, fresh, last = first * span, fresh * span, last * span
            run = self.nbytes(first) + (number - 1) * self.nbytes(fresh) + self.nbytes(last)
            result = result + np.asarray(times * run, np.int64)
        return result


def _elements(boxes: Sequence[_Box], extents: Extents, members: NDArray[np.bool_] | None = None) -> Array:
    """Elements of the smallest box around boxes of one tensor; per candidate, of those that are `members`."""
    elements: Array = np.ones(1, np.int64)
    indices, shape = boxes[0]
    for dim, size in enumerate(shape):
        if members is None:
            elements = elements * _hull(indices[dim], size, extents)
            continue
        low, high = np.full(1, 2**62), np.full(1, -(2**62))
        for (others, _), member in zip(boxes, members, strict=True):
            steps = [c * (extents[r] - 1) for r, c in others[dim].terms]
            start = others[dim].offset + sum((np.minimum(s, 0) for s in steps), np.int64(0))
            end = others[dim].offset + sum((np.maximum(s, 0) for s in steps), np.int64(0))
            low = np.where(member, np.minimum(low, start), low)
            high = np.where(member, np.maximum(high, end), high)
        elements = elements * np.clip(1 + high - low, 0, size)
    return elements


def _hull(index: Affine, size: int, extents: Extents) -> Array:
    spread = sum((abs(c) * (extents[r] - 1) for r, c in index.terms), np.int64(0))
    return np.minimum(1 + spread, size)


def _swept(index: Affine, size: int, extents: Extents, tile: Extents, cut: Sequence[str]) -> Array:
    """Values of an index over all tiles, summed."""
    if not cut:
        return _hull(index, size, extents)
    total: Array = np.zeros(1, np.int64)
    for box, times in _tiles(extents, tile, cut):
        total = total + times * _hull(index, size, {**extents, **box})
    return total


def _tiles(extents: Extents, tile: Extents, ranks: Sequence[str]) -> list[tuple[dict[str, Array], Array]]:
    """All combinations of full and ragged last tiles of the ranks, with how often each occurs."""
    kinds: list[list[tuple[str, Array, Array]]] = []
    for r in ranks:
        full = np.minimum(tile[r], extents[r])
        rest = extents[r] % full
        kinds.append([(r, full, extents[r] // full)])
        if rest.any():
            kinds[-1].append((r, np.maximum(rest, 1), (rest > 0).astype(np.int64)))
    found = []
    for combination in product(*kinds):
        times: Array = np.ones(1, np.int64)
        for _, _, count in combination:
            times = times * count
        found.append(({r: extent for r, extent, _ in combination}, times))
    return found


def tiles(extents: Extents, tile: Extents) -> list[tuple[dict[str, Array], Array]]:
    """All combinations of full and ragged tiles of the cut ranks, with how often each occurs."""
    return _tiles(extents, tile, list(tile))
