"""The mapper ``phases``: every part of a Workload in the schedule of phases that is best on the engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ...arch.architecture import Architecture
from ...engine.compiled import run
from ...engine.labels import Action
from ...errors import ConstraintError, DoesNotFit
from ...ir import Workload
from ...lowering.phases import Plan, fabric_of, lower_plans, settled, task_graphs
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import machine_bound
from ...mapping.phases import Phases
from ...mapping.tree import Claim, Seq
from ...mapping.tree import Mapping as Mapped
from ..aims import Cost, best_options
from .search import STYLES, plan_style


def map_workload(
    workload: Workload, arch: Architecture, *, objective: str = "latency", seed: int = 0,
    constraints: Constraints | None = None,
) -> Mapped:  # fmt: skip
    """The best of sequential, dataflow and reconfigured execution of every part, on the machine's pool of cores.

    Energy is that of transfers, cores and leakage; of equal schedules of a part the first is taken.

    Raises:
        BadInput: the machine has no unit of kind `core_pool`, or several; an Einsum that it cannot run in phases.
        DoesNotFit: no schedule fits on the chip.
        ConstraintError: constraints; this mapper honours none.
    """
    if constraints is not None and constraints != Constraints():
        raise ConstraintError("the mapper `phases` honours no constraints")
    begin = time.perf_counter()
    fabric = fabric_of(arch)
    offered: list[list[tuple[Cost, Plan]]] = []
    for graph in task_graphs(workload, fabric.pool):
        found: list[tuple[Cost, Plan]] = []
        problem: DoesNotFit | None = None
        for style in STYLES:
            try:
                plan = plan_style(graph, fabric, style)
                cost = seconds_and_joules(workload, arch, plan)
            except DoesNotFit as error:
                problem = error
                continue
            found.append((cost, plan))
        if not found:
            assert problem is not None
            raise problem
        offered.append(found)
    picked = best_options(objective, [[cost for cost, _ in found] for found in offered], [1] * len(offered))
    chosen = [found[k] for found, k in zip(offered, picked, strict=True)]
    made = mapping_of(workload, arch, [plan for _, plan in chosen])
    seconds, joules = (sum(cost[i] for cost, _ in chosen) for i in range(2))
    value, bound = _value(objective, seconds, joules, float(arch.clock)), _bound(objective, workload, arch)
    gap = (value - bound) / value if value else 0.0
    claim = Claim(objective, value, bound, gap, seed, time.perf_counter() - begin, mapper="phases")
    return replace(made, claim=claim)


def _value(objective: str, seconds: float, joules: float, clock_hz: float = 1.0) -> float:
    return {"latency": seconds * clock_hz, "energy": joules, "edp": seconds * joules}[objective]


def seconds_and_joules(workload: Workload, arch: Architecture, plan: Plan) -> tuple[float, float]:
    """Time of a Plan, and energy of what it counts and of leakage meanwhile."""
    trace = run(lower_plans(plan.graph.name, (plan,), workload))
    seconds = float(trace.finish / trace.program.tick_hz)
    prices = {c.name: c.action_energy() for c in arch.components()}
    joules = sum((c.leakage_watts or 0.0) * seconds for c in arch.components())
    for action, n in zip(trace.program.actions, trace.action_counts().tolist(), strict=True):
        if isinstance(action, Action):
            joules += n * prices.get(action.component, {}).get(action.action, 0.0)
    return seconds, joules


def _bound(objective: str, workload: Workload, arch: Architecture) -> float:
    limit, clock_hz = machine_bound(workload, arch), float(arch.clock)
    return _value(objective, limit.cycles / clock_hz, limit.energy_J, clock_hz)


def mapping_of(workload: Workload, arch: Architecture, plans: Sequence[Plan], *, switch: str = "") -> Mapped:
    """The Mapping of Plans of all parts of a Workload; `switch` is who orders their phases."""
    phases = Phases(plans[0].fabric.pool.name, tuple(settled(p) for p in plans), switch)
    return Mapped(workload.name, arch.name, Seq(()), phases=phases)
