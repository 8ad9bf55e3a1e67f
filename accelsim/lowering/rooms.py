"""Rooms of Pipes: a place in which results of several stages lie one after another, and when it is free again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from ..mapping.tree import Loop, Mapping, Pipe, Position, find
from .parts import Leaf, Names


@dataclass(frozen=True)
class Room:
    """Stored tensors that stay all through a Pipe, each in the place of the one before."""

    pipe: Position
    tensors: tuple[str, ...]


def rooms(mapping: Mapping) -> Iterator[Room]:
    """Every room of a Mapping."""
    through = {
        (s.start, s.memory, s.tensor): s
        for s in mapping.stays
        if s.start == s.end and isinstance(find(mapping.root, s.start), Pipe)
    }
    after = {(pipe, memory, s.over): s.tensor for (pipe, memory, _), s in through.items() if s.over}
    for pipe, memory, tensor in through:
        if (pipe, memory, tensor) in after and not through[pipe, memory, tensor].over:
            chain = [tensor]
            while (pipe, memory, chain[-1]) in after:
                chain.append(after[pipe, memory, chain[-1]])
            yield Room(pipe, tuple(chain))


def shared_loops(maker: Leaf, reader: Leaf, tensor: str, depth: int, names: Names) -> tuple[int, int]:
    """How many loops below a depth cut a tensor alike where it is made and where it is read, and into how many tiles.

    Up to there a reader comes to the tiles in the order in which they are made.
    """
    made = maker.einsum.output.indices
    read = names.accesses(reader.einsum, tensor, store=False)
    extents = dict(maker.einsum.sizes)
    for rank, level in zip(maker.cuts[:depth], maker.levels[:depth], strict=True):
        if rank and isinstance(level, Loop):
            extents[rank] = min(extents[rank], level.tile)

    def alike(d: int) -> bool:
        one, other = maker.levels[d], reader.levels[d]
        if not isinstance(one, Loop) or not isinstance(other, Loop) or one.halo or other.halo:
            return False
        dims = [{n for n, index in enumerate(made) if maker.cuts[d] in index.ranks}]
        dims += [{n for n, index in enumerate(a.indices) if reader.cuts[d] in index.ranks} for a in read]
        return one.tile == other.tile and len(dims[0]) == 1 and all(x == dims[0] for x in dims)

    both = range(depth, min(len(maker.levels), len(reader.levels)))
    number, tiles = 0, 1
    for d in takewhile(alike, both):
        level, rank = maker.levels[d], maker.cuts[d]
        assert isinstance(level, Loop)
        tiles *= -(-extents[rank] // level.tile)
        extents[rank] = min(extents[rank], level.tile)
        number += 1
    return number, tiles
