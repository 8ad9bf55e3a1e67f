"""Which Einsums of a Workload run as groups, and how: the mapper at work on one Workload and one machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...errors import BadInput, DoesNotFit
from ...ir import Einsum, Role, Workload
from ...ir.families import cascade_einsums
from ...mapping.constraints import Constraints
from ...mapping.tree import Mapping
from ..tile.flow import Flow, Scope
from ..tile.network import Network
from .binding import Ways
from .groups import Group
from .network import Fused, FusedNetwork
from .partition import best_cuts
from .search import GroupPlan, GroupSearch, Site
from .trial import proved, views_of

MOST = 24
"""Einsums of a group."""
GAIN = 0.999
"""A group must come to less than this share of its Einsums one by one."""
UNKNOWN = 1e30
"""Cost of an Einsum by itself where its tensors fit no memory outside the chip."""


class Fusion:
    """Groups of a Workload on a machine."""

    def __init__(self, workload: Workload, arch: Architecture, objective: str, constraints: Constraints) -> None:
        self.workload, self.arch, self.objective, self.constraints = workload, arch, objective, constraints
        self.flow = Flow(workload)
        self.views = views_of(workload)
        self.why: DoesNotFit | None = None
        try:
            self.plain: Network | None = Network(workload, arch, objective, constraints)
        except DoesNotFit as error:
            self.plain, self.why = None, error
        self.memories = _memories(arch)
        try:
            cascade_einsums(workload)
            self.by_name = True
        except BadInput:
            self.by_name = False
        self._found: dict[tuple[tuple[str, ...], int, int], Fused | None] = {}

    @cached_property
    def ways(self) -> Ways:
        assert self.memories is not None
        return Ways(self.workload, self.arch, self.memories[0])

    def unfused(self) -> Mapping | None:
        """One Einsum after the other; None where that does not fit."""
        return None if self.plain is None else self.plain.mapping()

    def fused(self) -> Mapping | None:
        """With the groups that are expected to be best; None where there are none."""
        groups = [g for scope in self.flow.scopes.values() for g in self._groups(scope)] if self.memories else []
        if not groups:
            return None
        return FusedNetwork(self.workload, self.arch, self.objective, self.constraints, groups).mapping()

    # Cuts

    def _groups(self, scope: Scope) -> list[Fused]:
        single = [self._single(scope, i) for i in range(len(scope.items))]

        def fused(i: int, j: int) -> tuple[float, Fused] | None:
            found = self._group(scope, i, j)
            if found is None:
                return None
            value = found.plan.value(self.objective)
            return (value, found) if value < GAIN * sum(single[i:j]) else None

        cuts = best_cuts(single, fused, MOST)
        return [segment.what for segment in cuts if segment.what is not None]

    def _single(self, scope: Scope, item: int) -> float:
        if not isinstance(scope.items[item], Einsum):
            return 0.0
        if self.plain is None:
            return UNKNOWN
        plan = self.plain.plans[scope.path, item]
        return {"latency": plan.cycles, "energy": plan.energy, "edp": plan.cycles * plan.energy}[self.objective]

    def _group(self, scope: Scope, first: int, last: int) -> Fused | None:
        key = scope.path, first, last
        if key not in self._found:
            self._found[key] = self._made(scope, first, last)
        return self._found[key]

    def _made(self, scope: Scope, first: int, last: int) -> Fused | None:
        einsums = [item for item in scope.items[first:last] if isinstance(item, Einsum)]
        if len(einsums) < last - first or not self._connected(einsums):
            return None
        made = {e.output.tensor for e in einsums}
        inside = frozenset(name for name in made if self._stays_inside(scope, name, first, last))
        if not inside:
            return None
        outside: dict[str, str] = {}
        for einsum in einsums:
            for access in einsum.inputs:
                stored = self.flow.storage(access.tensor)
                if access.tensor in made:
                    if min(self.flow.lives[stored].makers) < first:
                        return None
                    continue
                if stored in made or access.tensor in self.workload.tables:
                    return None
                outside[access.tensor] = stored
        group = Group(self.workload, einsums, by_name=self.by_name)
        plan = self._plan(scope, first, last, group, outside, made - inside)
        return None if plan is None else Fused(scope.path, first, last, inside, plan)

    def _plan(
        self, scope: Scope, first: int, last: int, group: Group, outside: dict[str, str], leaving: set[str]
    ) -> GroupPlan | None:
        assert self.memories is not None
        buffer, home = self.memories
        addresses = self.plain.addresses if self.plain is not None else {}
        lives = {n: self.flow.lives[n] for n in addresses}
        staying = {
            n: a + lives[n].tensor.nbytes
            for n, a in addresses.items()
            if lives[n].scope == scope.path
            and min(lives[n].makers) < last
            and max(lives[n].users) >= first
            and not (min(lives[n].makers) >= first and max(lives[n].users) < last)
        }
        budget = self.arch.memories[buffer].capacity - max(staying.values(), default=0)
        here = frozenset(staying) & ({*outside.values()} | leaving)
        site = Site(self.arch, self.ways, buffer, home, budget, here, self.objective, self.constraints)
        plans = GroupSearch(group, outside, frozenset(leaving) - here, site).plans()
        tried = [p for p in (proved(plan, self.arch, buffer, home) for plan in plans) if p is not None]
        return min(tried, key=lambda p: p.value(self.objective), default=None)

    def _stays_inside(self, scope: Scope, name: str, first: int, last: int) -> bool:
        life = self.flow.lives[name]
        if life.scope != scope.path or life.carried or life.tensor.role is not Role.ACTIVATION or not life.users:
            return False
        wanted = self.constraints.memory_of(name)
        if wanted is not None and self.memories is not None and wanted != self.memories[0]:
            return False
        return all(first <= i < last for i in (*life.makers, *life.users))

    @staticmethod
    def _connected(einsums: Sequence[Einsum]) -> bool:
        """Whether every Einsum reads what another one makes, or makes what another one reads."""
        made = {e.output.tensor for e in einsums}
        read = {a.tensor for e in einsums for a in e.inputs}
        return all(e.output.tensor in read or any(a.tensor in made for a in e.inputs) for e in einsums)


def _memories(arch: Architecture) -> tuple[str, str] | None:
    """The memory that most units work on alone, next to the chip's edge, and the one behind it."""
    units: dict[str, int] = {}
    for unit in arch.units.values():
        if isinstance(unit, ComputeUnit) and len(set(unit.memories)) == 1:
            name = unit.memories[0]
            parent = arch.memories[name].parent
            if arch.memories[name].on_chip and parent is not None and not arch.memories[parent].on_chip:
                units[name] = units.get(name, 0) + 1
    best = max(sorted(units), key=lambda n: units[n], default=None)
    return None if best is None else (best, str(arch.memories[best].parent))
