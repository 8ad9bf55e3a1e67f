"""What each memory holds along the steps of a Mapping, by what for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..arch.architecture import Architecture
from ..ir import Role, Workload
from ..mapping.capacity import Content, Peak, contents, peaks
from ..mapping.counting import Tally
from ..mapping.scope import Scope
from ..mapping.tree import Op, Position, walk

BUFFERS = "buffers"
"""What Moves and Pipes pass tiles through; everything else is a Stay and goes by the role of its tensor."""


@dataclass(frozen=True)
class Occupancy:
    """One memory.

    Attributes:
        memory: its name.
        capacity_bytes: what it can hold.
        peak: the most that it holds, children of Pipes and Pars that run at once taken together.
        bytes_by_kind: bytes at each step, by role of the tensors that stay and ``buffers``; only kinds that occur.
    """

    memory: str
    capacity_bytes: int
    peak: Peak
    bytes_by_kind: Mapping[str, tuple[int, ...]]

    @property
    def totals(self) -> tuple[int, ...]:
        """Bytes at each step."""
        return tuple(map(sum, zip(*self.bytes_by_kind.values(), strict=True)))


def occupancies(scope: Scope, arch: Architecture, tallies: Sequence[Tally]) -> tuple[Occupancy, ...]:
    """Of every memory that holds anything, outermost first.

    Args:
        scope: of a Mapping that is well formed.
        arch: the machine.
        tallies: of the Mapping's Moves, in their order.
    """
    found = contents(scope, arch, tallies)
    highest = peaks(scope, found)
    count = len(scope.tree.steps)
    return tuple(
        Occupancy(m.name, int(m.capacity), highest[m.name], _by_kind(scope.workload, found[m.name], count))
        for m in arch.tiers()
        if any(item.nbytes for item in found[m.name])
    )


def step_operators(scope: Scope) -> list[str]:
    """What runs in each step: its operators, comma-separated."""

    def named(at: Position) -> str:
        below = (node.einsum for _, node in walk(scope.tree.nodes[at], at) if isinstance(node, Op))
        return ", ".join(dict.fromkeys(below))

    return [named(at) for at in scope.tree.steps]


def _by_kind(workload: Workload, items: Sequence[Content], count: int) -> dict[str, tuple[int, ...]]:
    changes: dict[str, list[int]] = {}
    for item in items:
        tensor = workload.tensors.get(item.what)  # a Stay is called by its tensor, buffers are not
        change = changes.setdefault(str(tensor.role) if tensor is not None else BUFFERS, [0] * (count + 1))
        change[item.first] += item.nbytes
        change[item.last + 1] -= item.nbytes
    order = [kind for kind in (*map(str, Role), BUFFERS) if kind in changes]
    return {kind: _summed(changes[kind][:-1]) for kind in order if any(changes[kind])}


def _summed(changes: Sequence[int]) -> tuple[int, ...]:
    level, levels = 0, []
    for change in changes:
        level += change
        levels.append(level)
    return tuple(levels)
