"""Which Einsums of a Workload run as groups, and how: the mapper at work on one Workload and one machine."""

from __future__ import annotations

import math
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...arch.architecture import Architecture
from ...errors import BadInput
from ...ir import Einsum, Role, Workload
from ...ir.families import cascade_einsums
from ...mapping.constraints import Constraints
from ...mapping.tree import Halo, Mapping
from ...mapping.unread import without_unread
from ..aims import Aim
from ..tile.flow import Flow, Scope
from ..tile.trial import faster
from .binding import Ways
from .bounds import Bounds, edge
from .groups import Group
from .memories import memories_of
from .network import Fused, FusedNetwork
from .partition import LONG, best_cuts
from .search import GroupPlan, GroupSearch, Site
from .singles import Resettled, Singles
from .trial import proved

MOST = 24
"""Einsums of a group."""
COSTED = 40
"""Groups of a straight run of Einsums that are planned in full."""
NEAR = 0.98
"""Plans that are expected to come to more than this share of the best run so far are not run."""
OVERLAPS: frozenset[Halo] = frozenset({"clipped", "retained"})
"""What may be done where windows of neighbouring tiles overlap: make it again, or retain it."""


@dataclass(frozen=True)
class Stretch:
    """Items of a scope that may be a group.

    Attributes:
        einsums: in order.
        inside: tensors that would never leave it.
        leaving: those that it makes for others.
        outside: those that it reads from elsewhere, by the names under which it does, and their stored names.
    """

    scope: Scope
    first: int
    last: int
    einsums: tuple[Einsum, ...]
    inside: frozenset[str]
    leaving: frozenset[str]
    outside: MappingABC[str, str]


@dataclass(frozen=True)
class Chosen:
    """A Mapping, what it is expected to come to in cycles and joules, and by the objective of the search."""

    mapping: Mapping
    cycles: float
    joules: float
    value: float


class Fusion:
    """Groups of a Workload on a machine."""

    def __init__(
        self,
        workload: Workload,
        arch: Architecture,
        aim: Aim,
        constraints: Constraints,
        halos: frozenset[Halo] = OVERLAPS,
    ) -> None:
        self.workload, self.arch, self.aim, self.constraints = workload, arch, aim, constraints
        self.halos = halos
        self.flow = Flow(workload)
        self.singles = Singles(workload, arch, aim, constraints)
        self.memories = memories_of(arch)
        try:
            cascade_einsums(workload)
            self.by_name = True
        except BadInput:
            self.by_name = False
        self.complete = True
        self._stays_count = True
        self._read = {e.name: e for e, _ in without_unread(workload).einsums()}
        self._known_groups: dict[tuple[str, ...], Group] = {}
        self._searches: dict[tuple[str, ...], GroupSearch] = {}
        """By names of Einsums, as far as the tensors that stay in the buffer are those of what is not fused."""

    @cached_property
    def ways(self) -> Ways:
        assert self.memories is not None
        return Ways(self.workload, self.arch, self.memories)

    def unfused(self, limit: float) -> Chosen | None:
        """One Einsum after the other; None where that does not fit, or comes to more than a limit."""
        if self.singles.floor > limit:
            return None
        plain = self.singles.planned()
        if plain is None:
            return None
        mapping, cycles = faster(plain)
        expected, joules = plain.expected(())
        return Chosen(mapping, expected if cycles is None else cycles, joules, plain.value(cycles))

    def fused(self) -> Chosen | None:
        """With the groups that are expected to be best; None where there are none.

        Cuts count on tensors to stay in the buffer as they do where nothing is fused. Where groups then leave some of
        them no room, cuts that count on none are looked for, too.
        """
        try:
            groups = self._all_groups()
        except Resettled:
            self._searches.clear()
            groups = self._all_groups()
        chosen, crowded = self._fitted(groups)
        if crowded:
            self._stays_count = False
            self._searches.clear()
            other, _ = self._fitted(self._all_groups())
            self._stays_count = True
            self._searches.clear()
            found = [c for c in (chosen, other) if c is not None]
            chosen = min(found, key=lambda c: c.value, default=None)
        return chosen

    def _fitted(self, groups: list[Fused]) -> tuple[Chosen | None, bool]:
        """Groups with what else stays in the buffer beside them, and whether they left some of it no room."""
        refused: set[str] = set()
        while groups:
            network = FusedNetwork(self.workload, self.arch, self.aim, self.constraints, groups, refused)
            crowded = [network.crowded(group) for group in groups]
            if not any(crowded):
                return Chosen(network.mapping(), *network.expected(()), network.value()), bool(refused)
            refused |= set().union(*crowded)
            groups = [
                again
                for group, short in zip(groups, crowded, strict=True)
                if (again := self._again(group, network, refused) if short else group) is not None
            ]
        return None, bool(refused)

    def _again(self, group: Fused, network: FusedNetwork, refused: set[str]) -> Fused | None:
        """A group planned anew among the tensors that a network keeps in the buffer."""
        stretch = self.stretch(self.flow.scopes[group.path], group.first, group.last)
        kept = {n: a for n, a in network.addresses.items() if n not in refused}
        plan = None if stretch is None else self.best_run(self.plans(stretch, kept))
        return None if plan is None else replace(group, plan=plan)

    # Cuts

    def _all_groups(self) -> list[Fused]:
        return [g for scope in self.flow.scopes.values() for g in self._groups(scope)] if self.memories else []

    def _groups(self, scope: Scope) -> list[Fused]:
        items = [item if isinstance(item, Einsum) else None for item in scope.items]
        singles = self.singles
        if len(items) > LONG:
            for i in range(len(items)):
                singles.cost(scope, i)
        single = [singles.least(scope, i) for i in range(len(items))]
        surely = all(singles.settled(scope, i) for i in range(len(items)))
        bounds = Bounds(items, self.ways, self.constraints, self._read)
        stretches: dict[tuple[int, int], Stretch] = {}
        least: dict[tuple[int, int], float] = {}
        for i in range(len(items)):
            for j in range(i + 2, min(len(items), i + MOST) + 1):
                if not bounds.able[j - 1] or not bounds.able[i]:
                    break
                stretch = self.stretch(scope, i, j)
                if stretch is None:
                    continue
                bound = self._bound(stretch, bounds)
                if not surely or bound < sum(single[i:j]):
                    stretches[i, j], least[i, j] = stretch, bound

        searched: dict[tuple[int, int], list[GroupPlan]] = {}

        def foreseen(i: int, j: int) -> tuple[float, Fused] | None:
            limit = sum(single[i:j]) if surely else math.inf  # what takes longer is better done one by one
            plans = self.plans(stretches[i, j], limit=limit, coarse=True)
            if not plans:
                plans = searched[i, j] = self.plans(stretches[i, j], limit=limit)
            return self._fused(stretches[i, j], plans[0]) if plans else None

        def costed(i: int, j: int) -> tuple[float, Fused] | None:
            plan = self.best_run(searched.get((i, j)) or self.plans(stretches[i, j]))
            return None if plan is None else self._fused(stretches[i, j], plan)

        unknown = {i for i in range(len(items)) if not singles.settled(scope, i)}
        cuts = best_cuts(
            single, least, (foreseen, costed), max(COSTED, len(items)), unknown, lambda i: singles.cost(scope, i)
        )
        self.complete &= cuts.complete
        return list(cuts.groups.values())

    def _fused(self, stretch: Stretch, plan: GroupPlan) -> tuple[float, Fused]:
        group = Fused(stretch.scope.path, stretch.first, stretch.last, stretch.inside, plan)
        return plan.value(self.aim), group

    def stretch(self, scope: Scope, first: int, last: int) -> Stretch | None:
        """Items as what may be a group; None where they cannot be, or pass nothing on."""
        einsums = tuple(item for item in scope.items[first:last] if isinstance(item, Einsum))
        made = {e.output.tensor for e in einsums}
        inside = frozenset(name for name in made if self._stays_inside(scope, name, first, last))
        if not inside or len(einsums) < last - first or not _connected(einsums):
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
        return Stretch(scope, first, last, einsums, inside, frozenset(made - inside), outside)

    def _bound(self, stretch: Stretch, bounds: Bounds) -> float:
        """Below which no plan of a group can come."""
        here = self._staying(stretch, self._kept)
        loaded = sum(
            min(self._touched(stretch, name), self.workload.tensors[stored].nbytes)
            for stored in set(stretch.outside.values()) - here.keys()
            for name in [next(n for n, s in stretch.outside.items() if s == stored)]
        )
        stored = sum(self._touched(stretch, name) for name in stretch.leaving - here.keys())
        at_edge, energy = edge(self.ways, loaded, stored)
        cycles = max(at_edge, bounds.cycles(stretch.first, stretch.last))
        joules = energy + bounds.joules(stretch.first, stretch.last)
        return self.aim.of(cycles, joules)

    def _touched(self, stretch: Stretch, name: str) -> int:
        """Bytes of the largest box of a tensor that an Einsum of the group must read or write."""
        tensor = self.workload.tensors[name]
        most = 0
        for einsum in (self._read[e.name] for e in stretch.einsums):
            for access in (*einsum.inputs, einsum.output):
                if access.tensor == name:
                    elements = 1
                    for index, size in zip(access.indices, tensor.shape, strict=True):
                        elements *= min(size, index.count(einsum.sizes))
                    most = max(most, tensor.bytes_of(elements))
        return most

    @property
    def _kept(self) -> MappingABC[str, int]:
        """Addresses of tensors that stay in the buffer where nothing is fused; none where cuts count on none."""
        return {} if self.singles.network is None or not self._stays_count else self.singles.network.addresses

    def _staying(self, stretch: Stretch, kept: MappingABC[str, int]) -> dict[str, int]:
        """Tensors that stay in the buffer while a group runs, with the addresses where they end."""
        found = {}
        for name, address in kept.items():
            life = self.flow.lives[name]
            if life.scope != stretch.scope.path or name in stretch.inside:
                continue
            uses = [*life.makers, *life.users]
            if min(uses) < stretch.last and max(uses) >= stretch.first:
                found[name] = address + life.tensor.nbytes
        return found

    def plans(
        self,
        stretch: Stretch,
        kept: MappingABC[str, int] | None = None,
        *,
        limit: float = math.inf,
        coarse: bool = False,
    ) -> list[GroupPlan]:
        """Plans of a group, best first as far as can be foreseen.

        Args:
            stretch: the group.
            kept: addresses of tensors that stay next to the edge, if they are not those of what is not fused.
            limit, coarse: as of `GroupSearch.plans`.
        """
        if kept is not None:
            return self._search(stretch, kept).plans(limit, coarse=coarse)
        key = tuple(e.name for e in stretch.einsums)
        if key not in self._searches:
            self._searches[key] = self._search(stretch, None)
        return self._searches[key].plans(limit, coarse=coarse)

    def _search(self, stretch: Stretch, kept: MappingABC[str, int] | None) -> GroupSearch:
        site, leaving = self.site(stretch, kept)
        return GroupSearch(self.group(stretch), stretch.outside, leaving, site)

    def group(self, stretch: Stretch) -> Group:
        """What its Einsums have in common, worked out once."""
        key = tuple(e.name for e in stretch.einsums)
        if key not in self._known_groups:
            self._known_groups[key] = Group(self.workload, stretch.einsums, by_name=self.by_name)
        return self._known_groups[key]

    def site(self, stretch: Stretch, kept: MappingABC[str, int] | None) -> tuple[Site, frozenset[str]]:
        """Where a group runs, and the tensors that leave it."""
        assert self.memories is not None
        near = self.memories.near
        staying = self._staying(stretch, self._kept if kept is None else kept)
        budgets = {m: self.arch.memories[m].capacity for m in self.memories.on_chip}
        budgets[near] -= max(staying.values(), default=0)
        here = frozenset(staying) & ({*stretch.outside.values()} | stretch.leaving)
        leaving = stretch.leaving - here if near == self.memories.buffer else stretch.leaving
        site = Site(self.arch, self.ways, self.memories, budgets, here, self.aim, self.constraints, self.halos)
        return site, leaving

    def best_run(self, plans: Sequence[GroupPlan]) -> GroupPlan | None:
        """The best of some plans of a group by what a run of it gives; None where none can be run."""
        assert self.memories is not None
        best: GroupPlan | None = None
        for plan in plans:
            if best is not None and plan.value(self.aim) > NEAR * best.value(self.aim):
                break
            found = proved(plan, self.arch, self.memories)
            if found is not None and (best is None or found.value(self.aim) < best.value(self.aim)):
                best = found
        return best

    def _stays_inside(self, scope: Scope, name: str, first: int, last: int) -> bool:
        life = self.flow.lives[name]
        if life.scope != scope.path or life.carried or life.tensor.role is not Role.ACTIVATION or not life.users:
            return False
        wanted = self.constraints.memory_of(name)
        if wanted is not None and self.memories is not None and wanted != self.memories.buffer:
            return False
        return all(first <= i < last for i in (*life.makers, *life.users))


def _connected(einsums: Sequence[Einsum]) -> bool:
    """Whether every Einsum reads what another one makes, or makes what another one reads."""
    made = {e.output.tensor for e in einsums}
    read = {a.tensor for e in einsums for a in e.inputs}
    return all(e.output.tensor in read or any(a.tensor in made for a in e.inputs) for e in einsums)
