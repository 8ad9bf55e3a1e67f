"""Machines with a matrix unit beside one that computes in the memory: each product where it takes least.

The host's Mapping is the tile mapper's, for the machine without its `pim` units. Where the memory takes less for a
product (`plan.choices`), its nest gives way to one command stream there, and the matrix stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...arch.architecture import Architecture
from ...components.pim import PimArray
from ...errors import DoesNotFit
from ...ir import Workload
from ...mapping.replay import replay
from ...mapping.tree import Iterate, Loop, Move, Node, Op, Par, Pipe, Position, Seq, child, walk
from ...mapping.tree import Mapping as Mapped
from ..tile import map_workload as tile
from ..whole import source_of
from .plan import Choice, choices


def without_pim(arch: Architecture) -> Architecture:
    """The machine without its units in the memory."""
    return replace(arch, units={n: u for n, u in arch.units.items() if not isinstance(u, PimArray)})


def in_memory(workload: Workload, arch: Architecture, objective: str = "latency") -> tuple[Choice, ...]:
    """The products that run in the memory, in order, each in its best variant there."""
    return tuple(c for c in choices(workload, arch, objective) if isinstance(arch.units[c.unit], PimArray))


def map_hybrid(workload: Workload, arch: Architecture, *, objective: str = "latency", seed: int = 0) -> Mapped:
    """The tile mapper's Mapping with products in the memory where that takes less; without a Claim.

    Raises:
        DoesNotFit: the workload fits on no machine with these memories.
    """
    base = tile(workload, without_pim(arch), objective=objective, seed=seed)
    picked = {c.einsum.name: c for c in in_memory(workload, arch, objective)}
    mixed = replaced(base, workload, picked)
    try:
        replay(mixed, workload, arch)
    except DoesNotFit:
        return base
    return mixed


def replaced(base: Mapped, workload: Workload, picked: Mapping[str, Choice]) -> Mapped:
    """A Mapping with these Einsums as single Ops, whose vectors and results move whole where they moved in tiles."""
    einsums = {e.name: e for e, _ in workload.einsums()}
    root, moves, stays = base.root, list(base.moves), list(base.stays)
    for at, name in _nests(base.root, picked):
        choice = picked[name]
        matrix = source_of(workload, einsums[name].inputs[-1].tensor)
        root = _with(root, at, Op(name, choice.unit, choice.variant))
        kept: list[Move] = []
        for move in moves:
            place = move.issue if move.store else move.due
            if place[: len(at)] != at:
                kept.append(move)
            elif move.store:
                kept.append(Move(move.tensor, move.src, move.dst, at, at, buffers=1, store=True))
            elif move.tensor != matrix:
                kept.append(Move(move.tensor, move.src, move.dst, at, at, buffers=1))
        moves = list(dict.fromkeys(kept))
        stays = [s for s in stays if not (s.start[: len(at)] == at and len(s.start) > len(at))]
    return replace(base, root=root, moves=tuple(moves), stays=tuple(stays), claim=None)


def _nests(root: Node, picked: Mapping[str, Choice]) -> list[tuple[Position, str]]:
    """The outermost node that holds each of these Ops alone."""
    holds: dict[Position, list[str]] = {}
    for at, node in walk(root):
        if isinstance(node, Op):
            for n in range(len(at) + 1):
                holds.setdefault(at[:n], []).append(node.einsum)
    found: dict[str, Position] = {}
    for at, names in holds.items():
        if len(names) == 1 and names[0] in picked and len(at) < len(found.get(names[0], (*at, ""))):
            found[names[0]] = at
    return [(at, name) for name, at in found.items()]


def _with(node: Node, at: Position, new: Node) -> Node:
    """A tree with another node at a position."""
    if not at:
        return new
    below = child(node, at[0])
    assert below is not None
    inner = _with(below, at[1:], new)
    if isinstance(node, Loop | Iterate):
        return replace(node, body=inner)
    assert isinstance(node, Seq | Pipe | Par)
    return replace(node, children=tuple(inner if i == at[0] else n for i, n in enumerate(node.children)))
