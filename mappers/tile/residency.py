"""Which activations stay in the on-chip buffer from the Einsum that makes them to the last one that uses them."""

from __future__ import annotations

from ...ir import Einsum, Role
from .flow import Flow, Life

RESERVE = 4
"""Staying tensors leave at least 1/RESERVE of the buffer to the tiles of every Einsum."""


def stays_on_chip(flow: Flow, capacity: int, refused: frozenset[str]) -> dict[str, int]:
    """Tensors that stay, with their addresses in the buffer.

    Those that save most traffic per byte and Einsum of their life go first, of equals the one that is used first,
    whatever their names; each gets the lowest gap that is free throughout its life (first fit).

    Args:
        flow: lives of tensors.
        capacity: bytes of the buffer.
        refused: tensors that must not stay.
    """
    found: dict[str, int] = {}
    taken: dict[tuple[tuple[str, ...], int], list[tuple[int, int]]] = {}
    limit = staying_limit(capacity)

    def worth(item: tuple[str, Life]) -> float:
        uses = [*item[1].makers, *item[1].users]
        return -(1 + len(item[1].users)) / (max(uses) - min(uses) + 1)

    for name, life in sorted(flow.lives.items(), key=worth):
        if name in refused or not may_stay(flow, life):
            continue
        uses = [*life.makers, *life.users]
        places = [(life.scope, i) for i in range(min(uses), max(uses) + 1)]
        busy = sorted({gap for p in places for gap in taken.get(p, [])})
        address = 0
        for start, end in busy:
            if start - address >= life.tensor.nbytes:
                break
            address = max(address, end)
        if address + life.tensor.nbytes > limit:
            continue
        found[name] = address
        for p in places:
            taken.setdefault(p, []).append((address, address + life.tensor.nbytes))
    return found


def staying_limit(capacity: int) -> int:
    """Bytes that staying tensors may take of a buffer together."""
    return capacity - capacity // RESERVE


def may_stay(flow: Flow, life: Life) -> bool:
    """Whether a tensor is an activation that is made and used in one straight run of Einsums."""
    if life.carried or life.tensor.role is not Role.ACTIVATION or not life.makers or not life.users:
        return False
    items = flow.scopes[life.scope].items
    uses = range(min(life.makers + life.users), max(life.makers + life.users) + 1)
    return all(isinstance(items[i], Einsum) for i in uses)
