"""Room that rings of loads lend to results: the byte pools of a Program from which both take their places."""

from __future__ import annotations

from ..engine.program import Pool
from ..mapping.tree import Move, Pipe, Position, find
from .actors import Actors
from .parts import Part, Use


def lend(actors: Actors) -> dict[Move, tuple[int, int]]:
    """Make the pools of a Program.

    Returns:
        The pool of each ring of a load or of a store, and the bytes of a place; none where no results lie in rings.
    """
    groups: dict[tuple[str, Position], list[Part]] = {}
    for i, part in enumerate(actors.parts):
        around = (part.cut[:n] for n in range(len(part.cut) + 1))
        pipe = next((at for at in around if isinstance(find(actors.mapping.root, at), Pipe)), None)
        if part.move.ring and pipe is not None and actors.chain[i]:
            memory = part.move.src if part.move.store else part.move.dst
            groups.setdefault((memory, pipe), []).append(part)
    found: dict[Move, tuple[int, int]] = {}
    for (memory, _), parts in groups.items():
        if not any(part.move.store for part in parts):
            continue
        places = [_place_bytes(part, actors) for part in parts]
        own = (n if part.move.store else part.move.buffers * n for part, n in zip(parts, places, strict=True))
        pool = actors.builder.pool(Pool(f"places in rings of {memory}", sum(own)))
        found |= {part.move: (pool, n) for part, n in zip(parts, places, strict=True)}
    return found


def _place_bytes(part: Part, actors: Actors) -> int:
    """Bytes of a piece of a load, or of the largest tile of a store."""
    if not part.move.store:
        return part.largest_piece(actors.names)
    tile = Use(part.leaf, part.leaf.einsum.output, part.leaf.largest)
    return actors.names.tile_bytes([tile], part.depth)
