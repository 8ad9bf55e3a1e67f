"""Copies within a memory: from which Stay to which, and whether anything lies in their way."""

from __future__ import annotations

from collections.abc import Iterator

from .counting import stay_bytes
from .scope import Scope
from .tree import WHOLE, Iterate, Move, Position, Seq, Stay, format_position


def copied_from(scope: Scope, move: Move) -> Stay | None:
    """The Stay that a copy takes its tensor from: it ends when the position begins."""
    tree = scope.tree
    for stay in scope.stays.get(move.tensor, ()):
        ends = tree.loops[stay.end] == tree.loops[move.due] and tree.last[stay.end] + 1 == tree.first[move.due]
        if stay.memory == move.src and ends:
            return stay
    return None


def copied_to(scope: Scope, move: Move) -> Stay | None:
    """The Stay that a copy takes its tensor to: it begins with the position."""
    stays = (s for s in scope.stays.get(move.tensor, ()) if s.memory == move.dst)
    return next((s for s in stays if s.start == move.due), None)


def uncopied(scope: Scope, move: Move) -> tuple[str, str] | None:
    """Why a tensor cannot be copied as a Move says, and what would do; None where it can."""
    special = move.store or move.sliding or move.ring or move.after or move.pieces is not None
    if special or move.buffers != 1 or move.issue != move.due:
        return "is more than a copy", "one buffer, issued where it is due, and nothing else"
    above = [scope.tree.nodes[move.due[:n]] for n in range(len(move.due))]
    later = bool(above) and isinstance(above[-1], Seq) and move.due[-1] != 0
    if not later or not all(isinstance(node, Seq | Iterate) for node in above):
        hint = "a later child of a Seq, with Seqs and Iterates alone around"
        return f"is copied at {format_position(move.due)}", hint
    ends = copied_from(scope, move), copied_to(scope, move)
    for stay, does in zip(ends, ("ends before", "begins at"), strict=True):
        if stay is None or stay.address is None:
            what = f"no stay of it in {move.src} that has an address {does} {format_position(move.due)}"
            return what, "a copy goes from the one stay to the other"
        if stay.share != WHOLE or stay.over or stay.iterations is not None or scope.instances(stay) != 1:
            return "is not in one piece where it stays", "a Stay of one instance, whole and in no other's place"
    return None


def overwritten(scope: Scope) -> Iterator[str]:
    """A line for each copy that goes where another tensor lies that stays, or that is copied later."""
    groups: dict[tuple[str, Position], list[Move]] = {}
    for move in scope.mapping.moves:
        if move.is_copy:
            groups.setdefault((move.src, move.due), []).append(move)
    for (memory, due), moves in groups.items():
        begin = scope.tree.first[due]
        live: dict[Stay, tuple[int, int]] = {}
        for stay in scope.mapping.stays:
            stays = scope.tree.first[stay.start] < begin <= scope.tree.last[stay.end]
            if stay.memory == memory and stay.address is not None and stays:
                live[stay] = stay.address, stay.address + stay_bytes(scope, stay)
        ends = [(copied_from(scope, move), copied_to(scope, move)) for move in moves]
        for old, _ in ends:
            if old is not None and old.address is not None:
                live[old] = old.address, old.address + stay_bytes(scope, old)
        for move, (old, new) in zip(moves, ends, strict=True):
            if old is None or new is None or new.address is None:
                continue  # told by `uncopied`
            del live[old]
            low, high = new.address, new.address + stay_bytes(scope, new)
            for other, (start, end) in live.items():
                if low < end and start < high:
                    yield (
                        f"the copy of {move.tensor} to {low:,}-{high:,} of {memory} at {format_position(due)} goes "
                        f"onto {other.tensor}, which lies at {start:,}-{end:,}"
                    )
            live[new] = low, high
