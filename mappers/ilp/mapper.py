"""The ILP mapper: which tensors lie in the on-chip memory when, and how every Einsum runs beside them.

See `choices` for the program and `machine` for what it decides on. The tile mapper's own Mapping is a candidate, too:
the better of the two, when run, is returned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from ...arch.architecture import Architecture
from ...errors import AccelsimError, ConstraintError, DoesNotFit
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import machine_bound
from ...mapping.replay import replay
from ...mapping.tree import Claim, Mapping
from ..aims import LATENCY, measured
from ..tile.network import Network
from ..tile.product import aim_for, best_run
from ..tile.trial import Tried, tried
from .choices import ChoiceProblem, Decision, decide
from .machine import Decider, OutOfTime, ResidentNetwork
from .reorder import reordered
from .solver import SolverOptions

OPTIONS = SolverOptions(nodes=2000, gap=1e-4)
"""Where nothing else is said: the same answer on every machine."""


def map_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
    options: SolverOptions = OPTIONS,
    budget_s: float | None = None,
    copies: bool = False,
) -> Mapping:
    """Map a Workload so that what lies in the on-chip memory when is the best there is for the nests looked at.

    Args:
        workload: what to run.
        arch: a machine whose units share one on-chip buffer.
        objective: ``latency``, ``energy`` or ``edp``.
        seed: of the solver, recorded in the Claim.
        constraints: what the user has fixed.
        options: of the solver, per run of Einsums without a Repeat.
        budget_s: seconds after which the search ends; None for none. The tile mapper's Mapping, which comes first, is
            not cut short.
        copies: tensors may be copied within the buffer between Einsums, so that what they leave is one hole; the
            Mapping has such copies where that costs less than to leave room, or to load again.

    Returns:
        The Mapping; its Claim is the latency of its Program, or the energy that the model expects, with the machine
        bound. Ctrl-C, the budget and limits of the solver end the search with the best Mapping so far, which is not
        ``complete``. Ctrl-C before there is one, or a second one, is raised.

    Raises:
        DoesNotFit: a memory is too small even for the smallest tiles; the message names the tensor, step and shortfall.
        MappingError: no unit can run an Einsum.
        ConstraintError: a constraint cannot be honoured.
        SolverMissing: there is no solver; the message names the extra to install.
    """
    return plan_workload(
        workload, arch, objective=objective, seed=seed, constraints=constraints, options=options, budget_s=budget_s,
        copies=copies,
    ).mapping  # fmt: skip


@dataclass(frozen=True)
class MachinePlan:
    """A Mapping with what its model says of it.

    Attributes:
        mapping: the plan, lowered to a tree and its tables.
        traffic_bytes: bytes that pass the chip's edge.
        far_bytes: bytes that come from the tier behind the near one.
        latency_cycles: of its Program.
        value, bound: of the model's objective, and what no plan of the model is below: in the order given, or in any
            of those tried. Not to be mixed with the machine bound of the Claim.
        proven: they are one, up to the gap that the options allow, and everything had an address at once.
        solver: who found it.
        residency: who chose it; ``tile`` where the tile mapper's own Mapping was better.
    """

    mapping: Mapping
    traffic_bytes: int
    far_bytes: int
    latency_cycles: float
    value: float
    bound: float
    proven: bool
    solver: str
    residency: str

    @property
    def gap(self) -> float:
        """(value - bound) / value of the model."""
        return (self.value - self.bound) / self.value if self.value else 0.0


def plan_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
    options: SolverOptions = OPTIONS,
    budget_s: float | None = None,
    copies: bool = False,
) -> MachinePlan:
    """As `map_workload`, with what the model says of the Mapping. Arguments and what is raised are the same."""
    started = time.perf_counter()
    fixed = constraints or Constraints()
    ends = started + budget_s if budget_s is not None else inf
    decider = partial(_decide_before, ends=ends, options=replace(options, seed=seed))
    simple = _simple(workload, arch, objective, fixed, decider)
    aim, buffer = aim_for(objective, simple.network), simple.network.buffer
    capacity = arch.memories[buffer].capacity if buffer else 0
    found = [_built(simple)]
    least: ResidentNetwork | None = None
    interrupted = False
    try:
        for ordered in reordered(workload, capacity):
            try:
                network = ResidentNetwork(ordered, arch, aim, fixed, decider, ends, copies=copies)
            except ConstraintError:
                continue  # the tile mapper has kept to it
            if least is None or network.model_value < least.model_value:
                least = network
            interrupted = any(d.interrupted for d in network.decisions.values())
            interrupted = interrupted or time.perf_counter() > ends
            if interrupted or time.perf_counter() - started > (options.seconds or inf):
                break
    except (KeyboardInterrupt, OutOfTime):
        interrupted = True
    try:
        if least is not None:
            found.append(_built(tried(least)))
    except KeyboardInterrupt:
        interrupted = True
    best = min(reversed(found), key=lambda b: b.value(objective, arch))
    finished = not interrupted and isinstance(best.network, ResidentNetwork) and best.network.proven
    return machine_plan(best, workload, arch, objective, "ilp", seed=seed, finished=finished, started=started)


def _decide_before(problem: ChoiceProblem, *, ends: float, options: SolverOptions) -> Decision:
    """`decide` with what is left of the time."""
    if ends == inf:
        return decide(problem, options)
    left = max(0.0, ends - time.perf_counter())
    return decide(problem, replace(options, seconds=min(left, options.seconds or inf)))


def _simple(
    workload: Workload, arch: Architecture, objective: str, constraints: Constraints, decider: Decider
) -> Tried:
    """The tile mapper's best run. What does not fit is said by the other one, which knows of what."""
    try:
        return best_run(objective, lambda aim: Network(workload, arch, aim, constraints))
    except DoesNotFit:
        ResidentNetwork(workload, arch, LATENCY, constraints, decider)
        raise


@dataclass(frozen=True)
class Built:
    """A Mapping, the network that made it, and the cycles that its Program takes."""

    mapping: Mapping
    network: Network
    cycles: float

    def value(self, objective: str, arch: Architecture) -> float:
        """Of the objective: latency as it runs, energy as the model expects it."""
        _, joules = self.network.expected(())
        return measured(objective, self.cycles, joules, float(arch.clock))


def _built(best: Tried) -> Built:
    return Built(best.mapping, best.network, best.cycles)


def machine_plan(
    built: Built,
    workload: Workload,
    arch: Architecture,
    objective: str,
    mapper: str,
    *,
    seed: int,
    finished: bool,
    started: float,
) -> MachinePlan:
    """The result with its Claim, its traffic recounted by the replay.

    Raises:
        AccelsimError: the replay counts other bytes.
    """
    network, value = built.network, built.value(objective, arch)
    least = _least(workload, arch, objective)
    complete = finished and all(plan.complete for plan in network.plans.values())
    gap = (value - least) / value if value else 0.0
    claim = Claim(objective, value, least, gap, seed, time.perf_counter() - started, complete, mapper=mapper)
    mapping = replace(built.mapping, claim=claim)
    counted = replay(mapping, workload, arch).traffic_bytes
    moved = sum(counted.get((network.near, direction), 0) for direction in ("read", "write"))
    if not isinstance(network, ResidentNetwork):
        return MachinePlan(mapping, moved, 0, built.cycles, value, least, complete, "", "tile")
    traffic, far = network.traffic_bytes()
    if traffic + far != moved:
        raise AccelsimError(f"the plan moves {traffic + far:,} bytes and its replay {moved:,}, please report it")
    return MachinePlan(
        mapping, traffic, far, built.cycles, network.model_value, network.model_bound, complete, network.solver, mapper
    )


def _least(workload: Workload, arch: Architecture, objective: str) -> float:
    """The machine bound."""
    bound = machine_bound(workload, arch)
    return measured(objective, bound.cycles, bound.energy_J, float(arch.clock))
