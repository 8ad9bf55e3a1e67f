# mypy: disable-error-code="no-any-return"
"""The bytes of `operand`, compiled, for operands that are simple enough: those of many tilings at once.

Simple is a tensor with one access, no rank of which is in two of its indices, at most two in each, and whole bytes per
element.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...components import nest_kernel
from ...components.nest_kernel import IntArray
from ...jit import stamped
from .operand import Operand

_jit = stamped(Path(__file__), Path(str(nest_kernel.__file__)))
FIRST, SECOND, STEP, OTHER, SIZE, WORDS = range(6)
"""Of an index: its ranks (-1: none), their steps without what divides both, and the size of the dimension."""


def packed(operand: Operand, ranks: Sequence[str]) -> IntArray | None:
    """The indices of an operand whose ranks are numbered so, as the words above; None where it is not simple."""
    if len(operand.accesses) != 1 or operand.width % 8:
        return None
    found: list[tuple[int, ...]] = []
    for index, size in zip(operand.accesses[0].indices, operand.shapes[0], strict=True):
        if len(index.terms) > 2 or any(step == 0 for _, step in index.terms):
            return None
        terms = [(ranks.index(r), abs(step)) for r, step in index.terms]
        common = gcd(*(step for _, step in terms))
        (first, step), (second, other) = (*terms, (-1, common), (-1, common))[:2]
        found.append((first, second, step // max(1, common), other // max(1, common), size))
    used = [r for words in found for r in words[:2] if r >= 0]
    return np.array(found, np.int64).reshape(-1, WORDS) if len(used) == len(set(used)) else None


@_jit
def _count(index: IntArray, first: int, second: int) -> int:
    """Values of an index whose ranks have these extents."""
    if index[FIRST] < 0 or index[SECOND] < 0:
        return first
    return first * second - max(0, first - index[OTHER]) * max(0, second - index[STEP])


@_jit
def _slid(index: IntArray, rank: int, full: int, number: int, rest: int, still: int) -> int:
    """Values of an index in one run along one of its ranks, those left out that the tile before held."""
    first = index[FIRST] == rank
    whole = _count(index, full if first else still, still if first else full)
    both = _count(index, 2 * full if first else still, still if first else 2 * full)
    held = min(whole, index[SIZE])
    total = held + (number - 1) * (held - max(0, held + whole - both))
    if rest > 0:
        end = _count(index, rest if first else still, still if first else rest)
        both = _count(index, full + rest if first else still, still if first else full + rest)
        total += max(0, min(end, index[SIZE]) - max(0, held + end - both))
    return total


@_jit
def _swept(index: IntArray, extents: IntArray, tile: IntArray, slides: int) -> int:
    """Values of an index over all tiles, summed; `tile` is the extent of ranks that are not cut."""
    a, b = index[FIRST], index[SECOND]
    full_a, full_b = tile[a] if a >= 0 else 1, tile[b] if b >= 0 else 1
    number_a, rest_a = (extents[a] // full_a, extents[a] % full_a) if a >= 0 else (1, 0)
    number_b, rest_b = (extents[b] // full_b, extents[b] % full_b) if b >= 0 else (1, 0)
    total = 0
    if slides >= 0 and slides == a:
        total += number_b * _slid(index, a, full_a, number_a, rest_a, full_b)
        return total + (_slid(index, a, full_a, number_a, rest_a, rest_b) if rest_b > 0 else 0)
    if slides >= 0 and slides == b:
        total += number_a * _slid(index, b, full_b, number_b, rest_b, full_a)
        return total + (_slid(index, b, full_b, number_b, rest_b, rest_a) if rest_a > 0 else 0)
    size = index[SIZE]
    total += number_a * number_b * min(size, _count(index, full_a, full_b))
    if rest_a > 0:
        total += number_b * min(size, _count(index, rest_a, full_b))
    if rest_b > 0:
        total += number_a * min(size, _count(index, full_a, rest_b))
        if rest_a > 0:
            total += min(size, _count(index, rest_a, rest_b))
    return total


@_jit
def bytes_of(
    indices: IntArray, width: int, extents: IntArray, tiles: IntArray, mine: NDArray[np.bool_], slides: int,
    tile: IntArray, size: IntArray, swept: IntArray,
) -> None:  # fmt: skip
    """Of every tiling the bytes of a tile, and of all tiles together: `Operand.tile_bytes` and `swept_bytes`.

    Args:
        width: bytes per element.
        tiles: by tiling and rank.
        mine: ranks that are cut.
        slides: the rank along which tiles bring only what the one before did not hold, or -1.
        tile: room for one.
    """
    for t in range(len(tiles)):
        for r in range(len(extents)):
            tile[r] = min(tiles[t, r], extents[r]) if mine[r] else extents[r]
        size[t], swept[t] = width, width
        for i in range(len(indices)):
            index = indices[i]
            first = tile[index[FIRST]] if index[FIRST] >= 0 else 1
            second = tile[index[SECOND]] if index[SECOND] >= 0 else 1
            size[t] *= min(index[SIZE], _count(index, first, second))
            swept[t] *= _swept(index, extents, tile, slides)
