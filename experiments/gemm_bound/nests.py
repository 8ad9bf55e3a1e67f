"""Every loop nest of one matrix product through one buffer: what the tile mapper is judged by.

A nest has one tile size per rank, in any order of the three loops. Each tensor is held inside any number of them, the
outermost ones first: its tile is cut by these and spans the other ranks whole, and it is moved when one of its own
loops takes a step, or one outside of that. A tensor that is moved more than once has two buffers, but for one tensor at
will; partial results, which come back, have as many again. Nothing here knows of the mapper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]

TENSORS = {"A": "mk", "B": "kn", "Z": "mn"}
_NEVER = 2**62


def balanced(size: int) -> list[int]:
    """For every number of tiles the smallest tile: no other size moves less or takes less room."""
    return sorted({-(-size // trips) for trips in range(1, size + 1)})


@dataclass(frozen=True)
class Nest:
    """The nest of least traffic; of several, the first that was met.

    Attributes:
        traffic_bytes: moved in both directions.
        room_bytes: what it takes of the buffer.
        order: of the loops, outermost first.
        tiles: by rank.
        depths: of each tensor, how many loops its tile is cut by.
        single: the tensor with one buffer for all its tiles.
    """

    traffic_bytes: int
    room_bytes: int
    order: str
    tiles: Mapping[str, int]
    depths: Mapping[str, int]
    single: str


def least_traffic(
    sizes: Mapping[str, int], buffers_bytes: Sequence[int], tiles: Mapping[str, Sequence[int]]
) -> list[Nest | None]:
    """The nest of least traffic at each size of the buffer, one byte per element; None where nothing fits.

    Args:
        sizes: of the ranks m, n and k.
        buffers_bytes: sizes of the buffer.
        tiles: sizes of tiles to try, by rank.
    """
    best: list[Nest | None] = [None] * len(buffers_bytes)
    seen = set()
    for order in permutations("mnk"):
        for depths in product(range(4), repeat=3):
            cuts = [frozenset(order[:d]) for d in depths]
            if tuple(cuts) in seen:
                continue
            seen.add(tuple(cuts))
            for tile_k, single in product(tiles["k"], TENSORS):
                room, traffic = _costs(sizes, tiles, tile_k, cuts, single)
                for i, capacity in enumerate(buffers_bytes):
                    moved = np.where(room <= capacity, traffic, _NEVER)
                    row, column = divmod(int(np.argmin(moved)), moved.shape[1])
                    known = best[i]
                    if moved[row, column] < (_NEVER if known is None else known.traffic_bytes):
                        chosen = {"m": tiles["m"][row], "n": tiles["n"][column], "k": tile_k}
                        best[i] = Nest(int(moved[row, column]), int(room[row, column]), "".join(order), chosen,
                                       dict(zip(TENSORS, depths, strict=True)), single)
    return best


def _costs(
    sizes: Mapping[str, int],
    tiles: Mapping[str, Sequence[int]],
    tile_k: int,
    cuts: Sequence[Collection[str]],
    single: str,
) -> tuple[Array, Array]:
    """(bytes of the buffer, bytes moved) over all tiles of m and n, for one of k."""
    m, n = np.meshgrid(np.array(tiles["m"], np.int64), np.array(tiles["n"], np.int64), indexing="ij")
    tile = {"m": m, "n": n, "k": np.full_like(m, tile_k)}
    trips = {r: -(-sizes[r] // t) for r, t in tile.items()}
    room, traffic = np.zeros_like(m), np.zeros_like(m)
    for (tensor, ranks), cut in zip(TENSORS.items(), cuts, strict=True):
        held, moved = np.ones_like(m), np.ones_like(m)
        for r in ranks:
            held, moved = held * (tile[r] if r in cut else sizes[r]), moved * sizes[r]
        visits = np.ones_like(m)
        for r in cut:
            visits = visits * (1 if r in ranks else trips[r])
        moves = visits * np.prod([trips[r] for r in ranks if r in cut], axis=0, dtype=np.int64)
        held = held * np.where((moves > 1) & (tensor != single), 2, 1)
        if tensor == "Z":
            held = held * np.where(visits > 1, 2, 1)
            traffic += moved * (2 * visits - 1)
        else:
            traffic += moved * visits
        room += held
    return room, traffic
