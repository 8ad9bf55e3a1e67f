"""Which Ops hand results to which in Pipes, and by which way where they work on different memories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ..arch.architecture import Architecture
from ..ir import Affine
from ..mapping.handing import way_between
from ..mapping.scope import within
from ..mapping.tree import WHOLE, Loop, Mapping, Move, Pipe, Position, find, levels
from .parts import Leaf, Names, Part, moving, pipes_around


@dataclass(frozen=True)
class Handing:
    """A result that one stage of a Pipe hands to a later one.

    Attributes:
        producer, consumer: the Ops.
        tensor: the stored name.
        stage: position of the stage in which it is made.
        loops: around the Pipe.
        slots: tiles for which there is room.
        in_pieces: whether the later stage takes it over piece by piece.
        way: the memories that it passes; one where both Ops work on the same, or where Moves take it along.
    """

    producer: Leaf
    consumer: Leaf
    tensor: str
    stage: Position
    loops: int
    slots: int
    in_pieces: bool
    way: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.tensor} from {self.producer.einsum.name} to {self.consumer.einsum.name}"


def handings(arch: Architecture, mapping: Mapping, leaves: Sequence[Leaf], names: Names) -> Iterator[Handing]:
    """Every result that stages of Pipes hand on, once for each memory from which a consumer reads it."""
    for consumer in leaves:
        for i in pipes_around(mapping, consumer.at):
            pipe, stage = find(mapping.root, consumer.at[:i]), consumer.at[i]
            assert isinstance(pipe, Pipe) and isinstance(stage, int)
            loops = len(levels(mapping.root, consumer.at[: i + 1]))
            for producer in leaves:
                handed = names.storage(producer.einsum.output.tensor)
                if not within(producer.at, consumer.at[:i]) or not names.reads(consumer.einsum, handed):
                    continue
                earlier = producer.at[i]
                if isinstance(earlier, int) and earlier < stage:
                    for way in _ways(arch, mapping.moves, producer, consumer, handed, names):
                        at = producer.at[: i + 1]
                        slots, in_pieces = pipe.depths[stage - 1], stage in pipe.pieces
                        yield Handing(producer, consumer, handed, at, loops, slots, in_pieces, way)


@dataclass(frozen=True)
class HandedPieces:
    """How loops inside both stages cut what one hands to the other.

    Attributes:
        number: of pieces of the largest result.
        made_at, read_at: loop depths at which a piece is made, and read.
        made_in, read_in: depths (bits) of the loops in between that make, or read, every piece again.
    """

    number: int
    made_at: int
    read_at: int
    made_in: int
    read_in: int


def pieces_handed(handing: Handing, names: Names) -> HandedPieces | None:
    """The pieces in which a result is handed on: as far as both stages' loops, outermost first, cut it alike.

    Returns:
        None where they do not, or the later stage has several accesses to it, or one to a View: it is then handed on
        whole.
    """
    maker, reader = handing.producer, handing.consumer
    made, read = maker.einsum.output, names.accesses(reader.einsum, handing.tensor, store=False)
    if len(read) != 1 or read[0].tensor != made.tensor:
        return None
    ranks = [_same_points(maker, written, reader, index, handing.loops)
             for written, index in zip(made.indices, read[0].indices, strict=True)]  # fmt: skip
    cuts = [_cutting(leaf, [pair[side] for pair in ranks], handing.loops) for side, leaf in enumerate((maker, reader))]
    alike = sum(1 for _ in takewhile(lambda pair: pair[0][1:] == pair[1][1:], zip(*cuts, strict=False)))
    if not alike:
        return None
    depths = [[depth for depth, *_ in cut[:alike]] for cut in cuts]
    others = [sum(1 << d for d in range(handing.loops, cut[-1]) if d not in cut) for cut in depths]
    return HandedPieces(_tiles(reader, depths[1]), depths[0][-1] + 1, depths[1][-1] + 1, others[0], others[1])


def _same_points(maker: Leaf, written: Affine, reader: Leaf, read: Affine, loops: int) -> tuple[str, str]:
    """The ranks by which two Ops go through a dimension, if tiles of one size are the same points for both; else none.

    They are where each index has one rank that moves it, by as much, and the outer `loops` leave the same of both.
    """
    found = []
    for leaf, index in ((maker, written), (reader, read)):
        ranks = moving(leaf.einsum, index)
        if len(ranks) != 1:
            return "", ""
        outside = [(d, leaf.points.get(d)) for d in range(loops) if leaf.cuts[d] == ranks[0]]
        found.append((ranks[0], (dict(index.terms)[ranks[0]], index.offset, leaf.einsum.sizes[ranks[0]], outside)))
    (made, there), (used, here) = found
    return (made, used) if there == here else ("", "")


def _cutting(leaf: Leaf, ranks: Sequence[str], loops: int) -> list[tuple[int, int, int]]:
    """(depth, dimension, tile) of the Loops inside a stage that cut a result along the ranks of its dimensions."""
    found: list[tuple[int, int, int]] = []
    for depth in range(loops, len(leaf.levels)):
        level, rank = leaf.levels[depth], leaf.cuts[depth]
        dims = [n for n, own in enumerate(ranks) if rank and own == rank]
        if not isinstance(level, Loop) or level.halo or len(dims) > 1:
            break
        found += [(depth, dim, level.tile) for dim in dims]
    return found


def _tiles(leaf: Leaf, depths: Sequence[int]) -> int:
    """Tiles that the Loops at some depths make of the largest result."""
    extents, number = dict(leaf.einsum.sizes), 1
    for depth, (rank, level) in enumerate(zip(leaf.cuts[: depths[-1] + 1], leaf.levels, strict=False)):
        if rank and isinstance(level, Loop):
            number *= -(-extents[rank] // level.tile) if depth in depths else 1
            extents[rank] = min(extents[rank], level.tile)
    return number


def spilled_between(mapping: Mapping, parts: Sequence[Part]) -> Iterator[tuple[int, int, int]]:
    """Stores and loads of the rest of tiles that do not stay whole, in stages of one Pipe, and the loops around that.

    Yields:
        Number of the store and of the load among the parts, and of loops.
    """
    rests = [(i, part) for i, part in enumerate(parts) if part.rest != WHOLE]
    for i, store in rests:
        for j, load in rests:
            there = store.move.tensor == load.move.tensor and store.move.dst == load.move.src
            if not store.move.store or load.move.store or not there:
                continue
            n = next((n for n, (a, b) in enumerate(zip(store.cut, load.cut, strict=False)) if a != b), len(load.cut))
            if n < len(load.cut) and isinstance(find(mapping.root, load.cut[:n]), Pipe) and store.cut < load.cut:
                yield i, j, len(levels(mapping.root, load.cut[: n + 1]))


def _ways(
    arch: Architecture, moves: Sequence[Move], producer: Leaf, consumer: Leaf, tensor: str, names: Names
) -> Iterator[tuple[str, ...]]:
    src = arch.units[producer.op.unit].feeds(0)[-1]
    feeds = arch.units[consumer.op.unit].feeds(len(consumer.einsum.inputs))
    read = zip(consumer.einsum.inputs, feeds, strict=False)
    moves = [m for m in moves if not m.is_copy]
    for dst in dict.fromkeys(m for a, m in read if names.storage(a.tensor) == tensor):
        loaded = any(m.tensor == tensor and not m.store and m.dst == dst and within(consumer.at, m.due) for m in moves)
        yield (src,) if loaded or dst == src else way_between(arch, src, dst)
