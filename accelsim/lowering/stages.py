"""Which Ops hand results to which in Pipes, and by which way where they work on different memories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..arch.architecture import Architecture
from ..mapping.handing import way_between
from ..mapping.tree import WHOLE, Mapping, Move, Pipe, Position, find, levels
from .order import within
from .parts import Leaf, Names, Part, pipes_around


@dataclass(frozen=True)
class Handing:
    """A result that one stage of a Pipe hands to a later one.

    Attributes:
        producer, consumer: the Ops.
        tensor: the stored name.
        stage: position of the stage in which it is made.
        loops: around the Pipe.
        slots: tiles for which there is room.
        way: the memories that it passes; one where both Ops work on the same, or where Moves take it along.
    """

    producer: Leaf
    consumer: Leaf
    tensor: str
    stage: Position
    loops: int
    slots: int
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
                        yield Handing(producer, consumer, handed, at, loops, pipe.depths[stage - 1], way)


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
    for dst in dict.fromkeys(m for a, m in read if names.storage(a.tensor) == tensor):
        loaded = any(m.tensor == tensor and not m.store and m.dst == dst and within(consumer.at, m.due) for m in moves)
        yield (src,) if loaded or dst == src else way_between(arch, src, dst)
