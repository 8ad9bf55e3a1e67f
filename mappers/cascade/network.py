"""From groups of Einsums to the Mapping of a whole Workload; what is in no group is the tile mapper's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...arch.architecture import Architecture
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.tree import Move, Node, Position
from ..aims import Aim
from ..tile.flow import Flow
from ..tile.nest import Shortfall
from ..tile.network import Network
from ..tile.plans import Path
from ..tile.search import Plan, Task, best_plan
from .build import GroupTree
from .search import GroupPlan

NODES = 16
"""Tilings of one level whose insides are settled at most, of an Einsum that is in no group."""


def plan_by_itself(task: Task) -> Plan | Shortfall:
    """The tile mapper's plan of an Einsum, searched for longer where memories have memories farther in."""
    return best_plan(task, NODES)


@dataclass(frozen=True)
class Fused:
    """Items `first` to `last` (exclusive) of a scope that run as one group.

    Attributes:
        inside: tensors that never leave it.
        plan: how it runs.
    """

    path: Path
    first: int
    last: int
    inside: frozenset[str]
    plan: GroupPlan


class FusedNetwork(Network):
    """The tile mapper's network, in which some runs of items are groups."""

    def __init__(
        self,
        workload: Workload,
        arch: Architecture,
        aim: Aim,
        constraints: Constraints,
        groups: Sequence[Fused],
        refused: Collection[str] = (),
    ) -> None:
        """`refused` are tensors that must not stay in the buffer."""
        self.groups, self.refused = groups, frozenset(refused)
        self._members = {(g.path, i): g for g in groups for i in range(g.first, g.last)}
        super().__init__(workload, arch, aim, constraints, plan_by_itself)

    def _flow(self, workload: Workload) -> Flow:
        """Without tensors that never leave a group; what a group uses lives as long as it runs."""
        flow = super()._flow(workload)
        for group in self.groups:
            for name in group.inside:
                del flow.lives[name]
            for life in flow.lives.values():
                uses = [*life.makers, *life.users]
                if life.scope == group.path and any(group.first <= i < group.last for i in uses):
                    life.users += [group.first, group.last - 1]
        return flow

    def _elsewhere(self) -> set[str]:
        """Also those that a group was planned to load or store."""
        found = super()._elsewhere() | self.refused
        for group in self.groups:
            arrangement = group.plan.arrangement
            found |= {t.tensor for t in arrangement.transfers} - arrangement.placement.here
        return found

    def crowded(self, group: Fused) -> set[str]:
        """Tensors that must not stay, for a group to run as planned: those for which there is no room beside it.

        What it was planned to find in the buffer, and does not, is among them: it must be planned to load that.
        """
        here = group.plan.arrangement.placement.here
        missing = here - self.addresses.keys()
        if missing:
            return set(missing)
        staying = self.staying.get((group.path, group.first), [])
        if not staying:
            return set()
        ends = {name: self.addresses[name] + self.flow.lives[name].tensor.nbytes for name in staying}
        if max(ends.values(), default=0) + group.plan.held <= self._capacity():
            return set()
        others = [name for name in staying if name not in here] or staying
        return {max(others, key=lambda name: (ends[name], name))}

    def _in_group(self, path: Path, item: int) -> bool:
        return (path, item) in self._members

    def _group(self, path: Path, item: int, at: Position) -> Node | None:
        group = self._members[path, item]
        if item != group.first:
            return None
        tree = GroupTree(group.plan, at)
        moves = tree.moves()
        far = dict.fromkeys(m.tensor for m in moves if m.tensor in self.tiers.streamed)
        self.moves += [*(Move(name, self.tiers.far, self.tiers.near, at, at, 1) for name in far), *moves]
        return tree.node()

    def expected(self, path: Path) -> tuple[float, float]:
        cycles, joules = super().expected(path)
        mine = [g.plan for g in self.groups if g.path == path]
        return cycles + sum(p.cycles for p in mine), joules + sum(p.joules for p in mine)
