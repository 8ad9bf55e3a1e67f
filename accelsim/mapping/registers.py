"""What Ops find and leave in the registers of their unit instead of in its memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .scope import Place, Scope, within
from .tree import Position, Stay, format_position


def holds(scope: Scope, place: Place, tensor: str) -> bool:
    """Whether an Op has a stored tensor in registers."""
    return any(scope.names.stored(name) == tensor for name in place.op.registers)


def holder(scope: Scope, places: Iterable[Place], tensor: str) -> str:
    """The unit in whose registers all of some Ops have a stored tensor; empty where they have it in a memory."""
    units = _units(scope, places, tensor)
    return units.pop() if len(units) == 1 else ""


def users_of_stay(scope: Scope, stay: Stay) -> list[Place]:
    """The Ops inside a Stay that make or read its tensor there, with no Move in between."""
    cuts = [m.issue if m.store else m.due for m in scope.mapping.moves if m.tensor == stay.tensor]
    known = (*scope.writers.get(stay.tensor, ()), *scope.readers.get(stay.tensor, ()))
    return [p for p in known if scope.tree.covers(stay, p.at) and not any(within(p.at, cut) for cut in cuts)]


def split_places(scope: Scope) -> Iterator[tuple[Position, str]]:
    """(position, what is wrong) of Ops that do not agree on whether a tensor is in registers, or on which.

    Those must agree that a Pipe joins, that one Move serves, or that find and leave the tensor in one Stay.
    """
    for tensor, places in _together(scope):
        if len(_units(scope, places, tensor)) > 1:
            held = next(p for p in places if holds(scope, p, tensor))
            other = next(p for p in places if p.op.unit != held.op.unit or not holds(scope, p, tensor))
            yield held.at, f"has {tensor} in registers of {held.op.unit}, where {_label(other)} does not have it"


def _together(scope: Scope) -> Iterator[tuple[str, Sequence[Place]]]:
    """(stored tensor, Ops that have it in one place)."""
    held = {scope.names.stored(name) for place in scope.places for name in place.op.registers}
    for tensor in sorted(held):
        for maker in scope.writers.get(tensor, ()):
            handed = [r for r in scope.readers.get(tensor, ()) if scope.handed(maker, r) is not None]
            yield tensor, [maker, *handed]
        for stay in scope.stays.get(tensor, ()):
            yield tensor, users_of_stay(scope, stay)
        for move in scope.mapping.moves:
            if move.tensor == tensor:
                yield tensor, scope.served(tensor, move.issue if move.store else move.due, store=move.store)


def _units(scope: Scope, places: Iterable[Place], tensor: str) -> set[str]:
    """The units in whose registers Ops have a tensor; an empty name stands for any memory."""
    return {place.op.unit if holds(scope, place, tensor) else "" for place in places}


def _label(place: Place) -> str:
    return f"{place.einsum.name} at {format_position(place.at)}"
