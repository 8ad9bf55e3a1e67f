"""FuseMax's binding with what each machine has room for: resident blocks, buffers, and pieces where these are few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import product
from math import ceil, floor

from ...arch.architecture import Architecture
from ...components.buffer import Buffer
from ...components.pe_array import PeArray
from ...errors import DoesNotFit
from ...ir import Workload
from ...mapping.replay import replay
from ...mapping.tree import Mapping as MappingValue
from .cascade import WORD_BITS, Model
from .mappings import Pieces, fused, fused_in_pieces, fused_in_strips, largest_divisor

STREAMED = (4, 2, 1)
"""Buffers of keys, and of values."""
PRODUCED = (3, 2, 1)
"""Tiles of products that wait to be added."""
PARTS = (8, 16)
"""Pieces of a tile, where whole ones leave too little room."""
AHEAD = (Fraction(1, 2), Fraction(3, 16))
"""The part of a tile of keys, and of values, that comes ahead of its use beside a whole tile of each."""
FINER = ((1, 2), (4, 4), (8, 4), (8, 2))
"""Pieces of queries, and of results, in one of keys: smaller ones leave more of the DRAM to keys and values."""
STRIPS = (8, 4, 2, 16)
"""Strips of a tile of keys, and of values, where each strip meets all resident blocks before the next one comes."""
OF_STRIP = 4
"""Pieces of a strip."""
FINER_STILL = ((4, 2), (4, 4), (8, 8))
"""Pieces of queries, and of results, in one of these."""
BESIDE = (3, 2)
"""Pieces of keys, and of values, for which there is room beside a strip."""


def side_and_capacity(arch: Architecture) -> tuple[int, int]:
    """Rows of the 2D array, and bytes of the buffer."""
    array, buffer = arch.units["array2d"], arch.memories["buffer"]
    assert isinstance(array, PeArray) and isinstance(buffer, Buffer)
    return array.rows, buffer.capacity


def bindings(
    model: Model, work: Workload, side: int, blocks_of_queries: int, published: int, arch: Architecture
) -> Iterator[MappingValue]:
    """FuseMax's binding, whose scores and exponentials take no more than the words of an element's registers."""
    tiles = 2 + -(-side // (2 * model.head_size + 10))  # that cover the fill of the array
    words = _words_of_registers(arch)
    depth = min(tiles, words - 1)
    for resident in _fewest(blocks_of_queries, published):
        if published % resident == 0:
            make = partial(fused, work.name, side, resident, depth=depth)
            for results, blocks, streamed, products in product((2, resident), (2, 1), STREAMED, PRODUCED):
                yield make(blocks=blocks, streamed=streamed, products=products, results=results)
        if words >= 2 * resident:
            yield from _in_strips(model, work, side, resident, min(3, words // resident), arch)
        for parts in PARTS:
            yield from _in_pieces(model, work, side, resident, parts, depth, arch)


def _fewest(blocks: int, most: int) -> list[int]:
    """Numbers of resident blocks, the largest first: of those that read keys as often as each other the smallest."""
    return [n for n in range(most, 0, -1) if n == 1 or ceil(blocks / n) < ceil(blocks / (n - 1))]


def _in_pieces(
    model: Model, work: Workload, side: int, resident: int, parts: int, depth: int, arch: Architecture
) -> Iterator[MappingValue]:
    """The same in pieces; what room keys and values leave is for the queries that come next.

    Results lie in what of that is free, and in one place of their own.
    """
    size = model.head_size
    channels = largest_divisor(size, max(1, size // parts))
    number = size // channels
    make = partial(fused_in_pieces, work.name, side, resident, depth=depth)
    for ahead, finer in product(AHEAD, FINER):
        coming, leaving = (channels // largest_divisor(channels, n) for n in finer)
        queries, results = (resident * size // n for n in (coming, leaving))
        least = Pieces(channels, coming, leaving, queries, number + floor(ahead * number), results=results)
        yield from _with_next_queries(make, least, work, side, arch)


def _in_strips(
    model: Model, work: Workload, side: int, resident: int, depth: int, arch: Architecture
) -> Iterator[MappingValue]:
    """The same where each strip of keys and values meets all resident blocks; the room is for the next queries."""
    size = model.head_size
    for strips, beside, finer in product(STRIPS, BESIDE, FINER_STILL):
        strip = largest_divisor(size, max(1, size // strips))
        channels = strip // largest_divisor(strip, OF_STRIP)
        coming, leaving = (channels // largest_divisor(channels, n) for n in finer)
        queries, results = (resident * size // n for n in (coming, leaving))
        least = Pieces(channels, coming, leaving, queries, strip // channels + beside, results=results)
        make = partial(fused_in_strips, work.name, side, resident, strip, depth=depth)
        yield from _with_next_queries(make, least, work, side, arch)


def _with_next_queries(
    make: Callable[[Pieces], MappingValue], least: Pieces, work: Workload, side: int, arch: Architecture
) -> Iterator[MappingValue]:
    """A Mapping whose ring of queries has all the room that the least one leaves; none where that does not fit."""
    try:
        taken = replay(make(least), work, arch).peaks["buffer"].nbytes
    except DoesNotFit:
        return
    next_queries = (side_and_capacity(arch)[1] - taken) // (side * least.coming * WORD_BITS // 8)
    yield make(replace(least, queries=least.queries + min(next_queries, least.queries)))


def _words_of_registers(arch: Architecture) -> int:
    """Words of an element of the 2D array, each of one tile of scores or exponentials."""
    return 8 * arch.units["array2d"].register_capacity // (side_and_capacity(arch)[0] ** 2 * WORD_BITS)
