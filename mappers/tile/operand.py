"""What an Einsum touches of a stored tensor: bytes of tiles, and of all tiles together."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import gcd, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...ir import Access, Affine
from ...ir.einsum import distinct_sums

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
    def identity(self) -> Hashable:
        """What stands for it among the operands of Einsums of the same sizes."""
        return self.tensor, self.accesses, self.shapes, self.width, self.is_output, self.chain

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

        Accesses that the cut ranks shift alike share the box around them where that is smaller, others add up.
        """
        boxes = self._boxes
        if len(boxes) == 1:
            return self.nbytes(_elements(boxes[0], extents))
        total: Array = np.zeros(1, np.int64)
        taken: NDArray[np.bool_] = np.zeros((len(boxes), 1), np.bool_)
        for i, box in enumerate(boxes):
            alike = np.stack(np.broadcast_arrays(*(self._alike(box, other, extents) for other in boxes)))
            members = alike & ~taken
            apart = sum((m * self.nbytes(_elements(b, extents)) for b, m in zip(boxes, members, strict=True)),
                        np.zeros(1, np.int64))  # fmt: skip
            shared = self.nbytes(_around(boxes, extents, members, self._like(box)))
            total = total + np.where(members[i], np.minimum(apart, shared), 0)
            taken = taken | (members & members[i])
        whole = max(int(self.nbytes(prod(shape))) for shape in self.shapes)
        return np.minimum(total, whole)

    def least_bytes(self, extents: Extents) -> Array:
        """At most the bytes of all tiles of any cut together."""
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

    def _like(self, box: _Box) -> list[list[bool]]:
        """[box][dimension] whether another box that is shifted alike holds the same points along a dimension."""

        def points(index: Affine) -> object:
            return index.offset, sorted((c, self.sizes[r]) for r, c in index.terms)

        return [[points(x) == points(y) for x, y in zip(box[0], other, strict=False)] for other, _ in self._boxes]

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
                whole = _count(index, {**extents, **box, rank: full})
                held = np.minimum(whole, size)
                if rank not in index.ranks:
                    first, fresh, last = first * held, fresh * held, last * held
                    continue
                both = _count(index, {**extents, **box, rank: 2 * full})
                first, fresh = first * held, fresh * (held - np.maximum(0, held + whole - both))
                end = _count(index, {**extents, **box, rank: np.maximum(rest, 1)})
                both = _count(index, {**extents, **box, rank: full + np.maximum(rest, 1)})
                kept = np.maximum(0, held + end - both)
                last = last * np.where(rest > 0, np.maximum(0, np.minimum(end, size) - kept), 0)
            run = self.nbytes(first) + (number - 1) * self.nbytes(fresh) + self.nbytes(last)
            result = result + np.asarray(times * run, np.int64)
        return result


def _elements(box: _Box, extents: Extents) -> Array:
    """Elements that one access touches."""
    elements: Array = np.ones(1, np.int64)
    for index, size in zip(*box, strict=True):
        elements = elements * np.minimum(_count(index, extents), size)
    return elements


def _around(
    boxes: Sequence[_Box], extents: Extents, members: NDArray[np.bool_], like: Sequence[Sequence[bool]]
) -> Array:
    """Elements of the smallest box around those boxes of one tensor that are, per candidate, `members`.

    Along dimensions in which all of these are `like` [box][dimension] each other, of the points alone.
    """
    elements: Array = np.ones(1, np.int64)
    for dim, size in enumerate(boxes[0][1]):
        low, high = np.full(1, 2**62), np.full(1, -(2**62))
        points: Array = np.full(1, size, np.int64)
        equal: NDArray[np.bool_] = np.ones(1, np.bool_)
        for (indices, _), member, alike in zip(boxes, members, like, strict=True):
            steps = [c * (extents[r] - 1) for r, c in indices[dim].terms]
            start = indices[dim].offset + sum((np.minimum(s, 0) for s in steps), np.int64(0))
            end = indices[dim].offset + sum((np.maximum(s, 0) for s in steps), np.int64(0))
            low = np.where(member, np.minimum(low, start), low)
            high = np.where(member, np.maximum(high, end), high)
            points = np.where(member, _count(indices[dim], extents), points)
            equal = equal & (~member | alike[dim])
        elements = elements * np.clip(np.where(equal, points, 1 + high - low), 0, size)
    return elements


def _count(index: Affine, extents: Extents) -> Array:
    """Different values of an index, one per candidate; see `distinct_sums`, which this is over arrays."""
    terms = [(step, 1 + sum((extents[r] - 1 for r in ranks), np.int64(0))) for step, ranks in index.steps]
    if len(terms) < 2:
        return np.asarray(terms[0][1] if terms else np.ones(1, np.int64))
    if len(terms) == 2:
        (a, m), (b, n) = terms
        g = gcd(a, b)
        return np.asarray(m * n - np.maximum(0, m - b // g) * np.maximum(0, n - a // g))
    arrays = np.broadcast_arrays(*(n for _, n in terms))
    below, reach = np.ones_like(arrays[0]), np.zeros_like(arrays[0])
    step, number = np.full_like(arrays[0], terms[0][0]), arrays[0]
    listed: NDArray[np.bool_] = np.zeros(arrays[0].shape, np.bool_)
    for (further, _), times in zip(terms[1:], arrays[1:], strict=True):
        goes_on = (times == 1) | ((further % step == 0) & (further // step <= number))
        end = reach + step * (number - 1)
        listed = listed | ~(goes_on | (further > end))
        below, reach = np.where(goes_on, below, below * number), np.where(goes_on, reach, end)
        number = np.where(goes_on, number + further // step * (times - 1), times)
        step = np.where(goes_on, step, further)
    result = np.asarray(below * number)
    if listed.any():
        rows, which = np.unique(np.stack(arrays, axis=-1)[listed], axis=0, return_inverse=True)
        steps = [step for step, _ in terms]
        found = [distinct_sums(tuple(zip(steps, map(int, row), strict=True))) for row in rows]
        result[listed] = np.array(found, np.int64)[which.ravel()]
    return result


def _swept(index: Affine, size: int, extents: Extents, tile: Extents, cut: Sequence[str]) -> Array:
    """Values of an index over all tiles, summed."""
    if not cut:
        return np.minimum(_count(index, extents), size)
    total: Array = np.zeros(1, np.int64)
    for box, times in _tiles(extents, tile, cut):
        total = total + times * np.minimum(_count(index, {**extents, **box}), size)
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
