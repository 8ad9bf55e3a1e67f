"""What Pipes hand from a unit that writes to one memory to units that read from another: which way it goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..arch.architecture import Architecture
from .counting import Use, tiles_of
from .scope import Place, Scope, within
from .tree import Pipe, Position


@dataclass(frozen=True)
class Passage:
    """Results that pass between memories on their way from one stage of a Pipe to later ones.

    Attributes:
        pipe: its position.
        tensor: the stored name.
        maker: the Op whose results they are.
        way: memories, from the one that the maker writes to, to the one that readers read from.
        depth: tiles for which there is room in each of these but the last one.
        tiles: how many pass.
        nbytes: of all of them.
        largest: bytes of the largest one.
    """

    pipe: Position
    tensor: str
    maker: Place
    way: tuple[str, ...]
    depth: int
    tiles: int
    nbytes: int
    largest: int


def way_between(arch: Architecture, src: str, dst: str) -> tuple[str, ...]:
    """The memories from one to another, each joined to the next by a link or as its parent or child.

    The shortest way; of equals the one whose memories come first in the machine's file.
    """
    neighbours: dict[str, list[str]] = {name: [] for name in arch.memories}
    for name, memory in arch.memories.items():
        if memory.parent is not None:
            neighbours[name].append(memory.parent)
            neighbours[memory.parent].append(name)
    for link in arch.links.values():
        a, b = link.between
        neighbours[a].append(b)
        neighbours[b].append(a)
    order = {name: i for i, name in enumerate(arch.memories)}
    before: dict[str, str] = {src: ""}
    front = [src]
    while dst not in before:
        reached = []
        for name in front:
            for other in sorted(neighbours[name], key=lambda n: order.get(n, len(order))):
                if other not in before:
                    before[other] = name
                    reached.append(other)
        front = reached
    way = [dst]
    while before[way[-1]]:
        way.append(before[way[-1]])
    return tuple(reversed(way))


def crossings(scope: Scope, arch: Architecture) -> Iterator[tuple[Position, Place, Place, str, str]]:
    """(Pipe, maker, reader, memory written to, memory read from) where these differ and no Move joins them."""
    for tensor, readers in scope.readers.items():
        loads = [m for m in scope.mapping.moves if m.tensor == tensor and not m.store and not m.is_copy]
        for maker in scope.writers.get(tensor, ()):
            src = arch.units[maker.op.unit].feeds(0)[-1]
            for reader in readers:
                at = scope.handed(maker, reader)
                if at is None:
                    continue
                feeds = arch.units[reader.op.unit].feeds(len(reader.einsum.inputs))
                read = zip(reader.einsum.inputs, feeds, strict=False)
                for dst in dict.fromkeys(m for a, m in read if tensor in scope.names.known_as(a.tensor)):
                    if dst != src and not any(m.dst == dst and within(reader.at, m.due) for m in loads):
                        yield at, maker, reader, src, dst


def passages(scope: Scope, arch: Architecture) -> list[Passage]:
    """Everything that Pipes hand from memory to memory; once for all that read it from one memory."""
    depths: dict[tuple[Position, Position, str, str], int] = {}
    makers: dict[Position, Place] = {}
    for at, maker, reader, src, dst in crossings(scope, arch):
        pipe, stage = scope.tree.nodes[at], reader.at[len(at)]
        assert isinstance(pipe, Pipe) and isinstance(stage, int)
        key = at, maker.at, src, dst
        depths[key] = max(depths.get(key, 0), pipe.depths[stage - 1])
        makers[maker.at] = maker
    found = []
    for (at, made, src, dst), depth in depths.items():
        maker = makers[made]
        levels = maker.levels[: len(scope.tree.loops[at])]
        sizes = list(tiles_of(scope, Use(maker, levels, (maker.einsum.output,))))
        found.append(
            Passage(
                at,
                scope.names.stored(maker.einsum.output.tensor),
                maker,
                way_between(arch, src, dst),
                depth,
                sum(count for _, count in sizes),
                sum(nbytes * count for nbytes, count in sizes),
                max(nbytes for nbytes, _ in sizes),
            )
        )
    return found
