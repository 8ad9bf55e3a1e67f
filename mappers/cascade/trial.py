"""A group by itself: its plan replayed, lowered and run, so that what is claimed of it has been seen."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace

from ...arch.architecture import Architecture
from ...engine import compiled
from ...engine.labels import Action
from ...engine.trace import Trace
from ...errors import AccelsimError
from ...ir import Role, Tensor, View, Workload
from ...ir.workload import Item
from ...lowering import lower
from ...mapping.replay import replay
from ...mapping.scope import Scope
from ...mapping.tree import Mapping, Stay
from ..aims import measured
from .build import GroupTree
from .memories import Memories
from .plan import Arrangement
from .search import GroupPlan

MOST_STEPS = 2**24
"""Steps of the engine after which a run is given up: a Mapping is no good that takes minutes to simulate."""
TO_THE_END = 2**62
"""Never given up."""
MOST_OF_GROUP = 2**21
"""The same for a group by itself."""


@dataclass(frozen=True)
class Ran:
    """What a run took: cycles of the machine's clock, joules without leakage, and most bytes of each memory."""

    cycles: float
    joules: float
    peaks: MappingABC[str, int]

    def value(self, objective: str, clock: float) -> float:
        """The objective: cycles, joules, or joule seconds."""
        return measured(objective, self.cycles, self.joules, clock)


def run(arch: Architecture, workload: Workload, mapping: Mapping, most: int = MOST_STEPS) -> Ran:
    """A Mapping carried out.

    Raises:
        TooLong: it takes more than `most` steps to run, as its state does not recur soon.
        AccelsimError: it does not fit, or cannot work.
    """
    replayed = replay(mapping, workload, arch)
    program = lower(arch, workload, mapping)
    trace = compiled.trace_of(program, most=most)
    cycles = trace.finish / float(program.tick_hz) * float(arch.clock)
    return Ran(cycles, _joules(arch, trace), {name: peak.nbytes for name, peak in replayed.peaks.items()})


def _joules(arch: Architecture, trace: Trace) -> float:
    prices = {c.name: c.action_energy() for c in arch.components()}
    counted = zip(trace.program.actions, trace.action_counts().tolist(), strict=True)
    return float(sum(n * prices[a.component].get(a.action, 0.0) for a, n in counted if isinstance(a, Action) and n))


def proved(plan: GroupPlan, arch: Architecture, memories: Memories) -> GroupPlan | None:
    """The plan with the cycles and joules of its run; None where it does not fit, or would not do what it says."""
    workload = alone(plan.arrangement)
    tree = GroupTree(plan, ())
    staying = plan.arrangement.placement.here
    stays = tuple(
        Stay(name, memories.near if name in staying else memories.home, (), ())
        for name, tensor in workload.tensors.items()
        if workload.storage(name) == name and (name in staying or tensor.role in (Role.INPUT, Role.OUTPUT))
    )
    mapping = Mapping(workload.name, arch.name, tree.node(), stays, tuple(tree.moves()))
    try:
        if not _as_meant(plan.arrangement, mapping, workload):
            return None
        ran = run(arch, workload, mapping, MOST_OF_GROUP)
    except AccelsimError:
        return None
    whole = sum(workload.tensors[name].nbytes for name in staying if name in workload.tensors)
    return replace(plan, cycles=ran.cycles, joules=ran.joules, held=ran.peaks[memories.near] - whole)


def alone(found: Arrangement) -> Workload:
    """The Workload that a group computes, once: what it reads stands ready, and what leaves it is asked for."""
    group, placement = found.group, found.placement
    tensors: dict[str, Tensor] = {}
    views: list[Item] = []
    for einsum in group.einsums:
        for access in (*einsum.inputs, einsum.output):
            tensor = group.workload.tensors[access.tensor]
            stored = placement.outside.get(access.tensor)
            if stored is None:
                leaves = access.tensor in placement.leaving and access.tensor not in placement.here
                tensors[access.tensor] = replace(tensor, role=Role.OUTPUT if leaves else Role.ACTIVATION)
                continue
            tensors[stored] = replace(group.workload.tensors[stored], role=Role.INPUT)
            if stored != access.tensor and access.tensor not in tensors:
                tensors[access.tensor] = replace(tensor, role=Role.INPUT)
                views.append(View(access.tensor, stored))
    return Workload(group.workload.name, tensors, (*views, *group.einsums))


def _as_meant(found: Arrangement, mapping: Mapping, workload: Workload) -> bool:
    """Whether every loop cuts, of every Einsum in it, the rank that it is meant to cut."""
    places = {p.einsum.name: p for p in Scope(mapping, workload).places}
    for placed in found.places:
        meant = [found.group.rank(placed.member, number) for number, _ in placed.loops]
        if [level.rank for level in places[found.group.einsums[placed.member].name].levels] != meant:
            return False
    return True
