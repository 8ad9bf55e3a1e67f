"""Einsums by themselves: what each takes at least, and its plan by the tile mapper once that is asked for."""

from __future__ import annotations

from functools import cached_property

from ...arch.architecture import Architecture
from ...arch.component import Direction
from ...errors import DoesNotFit
from ...ir import Einsum, Workload
from ...mapping.compulsory import Use, touched
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import einsum_bounds, off_chip_bandwidth
from ..aims import Aim, measured
from ..tile.flow import Scope
from ..tile.network import Network
from ..tile.plans import Path
from ..tile.search import Plan
from .network import plan_by_itself

UNKNOWN = 1e30
"""Cost of an Einsum by itself where its tensors fit no memory outside the chip."""


class Resettled(Exception):
    """An Einsum does not fit beside the tensors that were to stay in the buffer: others stay now."""


class _Outline(Network):
    """The tile mapper's network, in which an Einsum is planned when its plan is asked for."""

    def _plan_all(self, addresses: dict[str, int]) -> set[str]:
        self.staying = self._staying(addresses)
        return set()

    def plan_of(self, path: Path, item: int, einsum: Einsum) -> Plan | None:
        """None where it does not fit beside what stays."""
        if (path, item) not in self.plans:
            here = self.staying.get((path, item), [])
            plan = self._plan(einsum, self._budget(here, self.addresses), frozenset(here))
            if not isinstance(plan, Plan):
                return None
            self.plans[path, item] = plan
        return self.plans[path, item]


class Singles:
    """Every Einsum of a Workload by itself, one after the other.

    Plans are dear, and where groups are sure to be better most of them are never wanted. What tensors stay in the
    buffer is settled as if every Einsum fitted beside them; where one is found not to, all are planned (`Resettled`).
    """

    def __init__(self, workload: Workload, arch: Architecture, aim: Aim, constraints: Constraints) -> None:
        self._given = workload, arch, aim, constraints
        self.arch, self.aim = arch, aim
        self.network: Network | None = None
        self.why: DoesNotFit | None = None
        if constraints == Constraints():
            self.network = _Outline(workload, arch, aim, constraints, plan_by_itself)
        else:
            self._settle()

    def _settle(self) -> None:
        try:
            self.network = Network(*self._given, plan_by_itself)
        except DoesNotFit as error:
            self.network, self.why = None, error

    def planned(self) -> Network | None:
        """All of them, planned; None where one does not fit."""
        if isinstance(self.network, _Outline):
            self._settle()
        return self.network

    def settled(self, scope: Scope, item: int) -> bool:
        """Whether the cost of an item is known."""
        if not isinstance(self.network, _Outline) or not isinstance(scope.items[item], Einsum):
            return True
        return (scope.path, item) in self.network.plans

    def cost(self, scope: Scope, item: int) -> float:
        """The sum by the aim of an item.

        Raises:
            Resettled: it does not fit beside what was to stay; costs and what stays are others now.
            MappingError: no unit can run it.
        """
        einsum = scope.items[item]
        if not isinstance(einsum, Einsum):
            return 0.0
        if self.network is None:
            return UNKNOWN
        if isinstance(self.network, _Outline) and self.network.plan_of(scope.path, item, einsum) is None:
            self._settle()
            raise Resettled
        plan = self.network.plans[scope.path, item]
        return self.aim.of(plan.cycles, plan.energy)

    def least(self, scope: Scope, item: int) -> float:
        """The cost of an item, or what that is at least where it is not known."""
        return self.cost(scope, item) if self.settled(scope, item) else self.aim.of(*self._least(scope, item))

    @cached_property
    def floor(self) -> float:
        """What all of them take together at least, by the objective."""
        cycles = joules = 0.0
        for scope in self.scopes:
            for i in range(len(scope.items)):
                more = self._least(scope, i)
                cycles, joules = cycles + scope.count * more[0], joules + scope.count * more[1]
        return measured(self.aim.objective, cycles, joules, float(self.arch.clock))

    @property
    def scopes(self) -> list[Scope]:
        return [] if self.network is None else list(self.network.flow.scopes.values())

    def _least(self, scope: Scope, item: int) -> tuple[float, float]:
        """Cycles of the fastest unit, or of the off-chip memories for what does not stay, and joules of both."""
        einsum, network = scope.items[item], self.network
        if not isinstance(einsum, Einsum) or network is None:
            return 0.0, 0.0
        flow, tensors = network.flow, network.workload.tensors
        uses: dict[tuple[str, bool], list[Use]] = {}
        for access, written in [*((a, False) for a in einsum.inputs), (einsum.output, True)]:
            name = flow.storage(access.tensor)
            if name not in network.addresses and access.tensor not in network.workload.tables:
                uses.setdefault((name, written), []).append((tensors[access.tensor], einsum, access))
        moved = {False: 0, True: 0}
        for (name, written), where in uses.items():
            stored = flow.lives[name].tensor
            moved[written] += stored.bytes_of(touched(stored, where))
        outside, arch = self.arch.off_chip, self.arch
        amounts: dict[Direction | None, int] = {"read": moved[False], "write": moved[True], None: sum(moved.values())}
        cycles = [nbytes / off_chip_bandwidth(outside, arch, way) for way, nbytes in amounts.items()]
        prices = [memory.action_energy() for memory in outside]
        read, write = (min((p.get(action, 0.0) for p in prices), default=0.0) for action in ("read", "write"))
        bound = einsum_bounds(network.workload, arch)[einsum.name]
        joules = bound.joules + moved[False] * read + moved[True] * write
        return max(min(bound.cycles, default=0.0), *cycles), joules
