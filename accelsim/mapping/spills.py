"""Stays that keep a part of each tile: which Moves carry the rest of it, and whether that is there when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor

from ..arch.architecture import Architecture
from .scope import Place, Scope, fork, within
from .tree import WHOLE, Move, Pipe, Position, Stay, format_position


def keeper(scope: Scope, tensor: str, memory: str, at: Position) -> Stay | None:
    """The Stay that keeps a part of a tensor in a memory all through a position."""
    for stay in scope.stays.get(tensor, ()):
        if stay.share != WHOLE and stay.memory == memory and scope.tree.covers(stay, at):
            return stay
    return None


def moved_part(scope: Scope, move: Move) -> Fraction:
    """The part of each tile that a Move carries: all of it, or what a Stay around it does not keep."""
    memory, cut = (move.src, move.issue) if move.store else (move.dst, move.due)
    stay = keeper(scope, move.tensor, memory, cut)
    return WHOLE if stay is None else 1 - stay.share


def kept_bytes(nbytes: int, part: Fraction) -> int:
    """Bytes that a part of a tile takes up."""
    return ceil(nbytes * part)


def moved_bytes(nbytes: int, part: Fraction) -> int:
    """Bytes of a part of a tile that moves, to the nearest whole one."""
    return nbytes if part == WHOLE else floor(nbytes * part + Fraction(1, 2))


def unkept(scope: Scope, stay: Stay) -> tuple[str, str] | None:
    """Why a Stay cannot keep its share of what is made inside it, and what would do; None where it can."""
    if not 0 < stay.share <= 1:
        return f"share {stay.share}", "above 0, and at most 1"
    if stay.share == WHOLE:
        return None
    near = [s for s in scope.mapping.stays if s.over == stay.tensor or s.tensor == stay.over]
    if any(s.memory == stay.memory and s.share != stay.share for s in near):
        return f"keeps {stay.share} of a tile where another one lies", "Stays in one place keep the same share"
    if not any(scope.tree.covers(stay, p.at) for p in scope.writers.get(stay.tensor, ())):
        return f"keeps {stay.share}, but nothing makes {stay.tensor} inside it", "what is loaded stays whole"
    return None


def spill_problems(scope: Scope, arch: Architecture) -> Iterator[str]:
    """A line for each Op that leaves the rest of a tile nowhere, or reads it without a load that brings it in time."""
    for stay in scope.mapping.stays:
        if stay.share == WHOLE:
            continue
        inside = [m for m in scope.mapping.moves if m.tensor == stay.tensor and moved_part(scope, m) != WHOLE]
        for maker in scope.writers.get(stay.tensor, ()):
            if scope.tree.covers(stay, maker.at):
                yield from _left(scope, arch, stay, maker, [m for m in inside if m.store])
        for reader in scope.readers.get(stay.tensor, ()):
            if scope.tree.covers(stay, reader.at):
                yield from _read(scope, arch, stay, reader, inside)


def _shown(stay: Stay) -> str:
    return f"{1 - stay.share} of {stay.tensor}, which does not stay in {stay.memory},"


def _left(scope: Scope, arch: Architecture, stay: Stay, maker: Place, stores: list[Move]) -> Iterator[str]:
    """Whether a store takes away what an Op makes beyond the part that is kept."""
    made_in = arch.units[maker.op.unit].feeds(len(maker.einsum.inputs))[-1]
    if made_in != stay.memory:
        yield f"{maker.label} makes {stay.tensor} in {made_in}, but a part of it is to stay in {stay.memory}"
    elif not any(within(maker.at, store.issue) and _rests(scope, store, store.dst) for store in stores):
        yield f"{_shown(stay)} is nowhere: no store at or above {maker.label} takes it to where all of it may stay"


def _read(scope: Scope, arch: Architecture, stay: Stay, reader: Place, inside: list[Move]) -> Iterator[str]:
    """Whether a load brings an Op what does not stay, after the stores of all who make it."""
    tensor, loops = stay.tensor, len(scope.tree.loops[stay.start])
    feeds = zip(reader.einsum.inputs, arch.units[reader.op.unit].feeds(len(reader.einsum.inputs)), strict=False)
    memories = {m for a, m in feeds if tensor in scope.names.known_as(a.tensor)}
    if memories != {stay.memory}:
        yield f"{reader.label} reads {tensor} in {', '.join(sorted(memories))}, but a part of it stays in {stay.memory}"
        return
    loads = [m for m in inside if not m.store and within(reader.at, m.due) and _rests(scope, m, m.src)]
    for maker in scope.writers[tensor]:
        pipe = scope.handed(maker, reader)
        if maker is reader or (pipe is not None and len(scope.tree.loops[pipe]) > loops):
            continue
        stores = [m for m in inside if m.store and within(maker.at, m.issue)]
        if not loads:
            yield f"{_shown(stay)} is not moved there for {reader.label}: a load must bring it, at or above the Op"
            return
        if not any(_after(scope, store, load) for load in loads for store in stores if store.dst == load.src):
            at = format_position(loads[0].issue)
            yield f"{_shown(stay)} is loaded for {reader.label} at {at}, before what {maker.label} makes is stored"


def _rests(scope: Scope, move: Move, memory: str) -> bool:
    """Whether there is room for all of the tensor where the rest lies."""
    cut = move.issue if move.store else move.due
    return any(
        s.memory == memory and s.share == WHOLE and scope.tree.covers(s, cut) for s in scope.stays.get(move.tensor, ())
    )


def _after(scope: Scope, store: Move, load: Move) -> bool:
    """Whether a tile is stored before it is loaded: earlier in a Seq, or by an earlier stage of a Pipe."""
    n = fork(store.issue, load.issue)
    if n < min(len(store.issue), len(load.issue)) and isinstance(scope.tree.nodes[load.issue[:n]], Pipe):
        first, then = store.issue[n], load.issue[n]
        return isinstance(first, int) and isinstance(then, int) and first < then
    return scope.tree.before(store.due, load.issue)
