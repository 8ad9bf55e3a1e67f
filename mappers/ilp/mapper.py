"""The ILP mapper: which tensors lie in the on-chip memory when, and how every Einsum runs beside them.

See `choices` for the program and `machine` for what it decides on. The tile mapper's own Mapping is a candidate, too:
the better of the two, when run, is returned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf

from ...arch.architecture import Architecture
from ...errors import AccelsimError, DoesNotFit
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import machine_bound
from ...mapping.replay import replay
from ...mapping.tree import Claim, Mapping
from ..tile.network import Network
from .machine import ResidentNetwork
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
) -> Mapping:
    """Map a Workload so that what lies in the on-chip memory when is the best there is for the nests looked at.

    Args:
        workload: what to run.
        arch: a machine whose units share one on-chip buffer.
        objective: ``latency``, ``energy`` or ``edp``.
        seed: of the solver, recorded in the Claim.
        constraints: what the user has fixed.
        options: of the solver, per run of Einsums without a Repeat.

    Returns:
        The Mapping; its Claim is the latency of its Program, or the energy that the model expects, with the machine
        bound. Ctrl-C and limits of the solver end the search with the best Mapping so far, not ``complete``.

    Raises:
        DoesNotFit: a memory is too small even for the smallest tiles; the message names the tensor, step and shortfall.
        MappingError: no unit can run an Einsum.
        ConstraintError: a constraint cannot be honoured.
        SolverMissing: there is no solver; the message names the extra to install.
    """
    return plan_workload(
        workload, arch, objective=objective, seed=seed, constraints=constraints, options=options
    ).mapping


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
        residency: whose: ``ilp``, or ``tile`` where the tile mapper's own Mapping ran faster.
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
) -> MachinePlan:
    """As `map_workload`, with what the model says of the Mapping. Arguments and what is raised are the same."""
    started = time.perf_counter()
    fixed = constraints or Constraints()
    options = replace(options, seed=seed)
    try:
        simple = Network(workload, arch, objective, fixed)
    except DoesNotFit:
        ResidentNetwork(workload, arch, objective, fixed, options, (1.0, 1.0))  # says where, and of what
        raise
    mapping = simple.mapping()
    found = [_Built(mapping, simple, _cycles(mapping, workload, arch))]
    least: ResidentNetwork | None = None
    interrupted = False
    rates, capacity = _rates(simple, objective), arch.memories[simple.buffer].capacity if simple.buffer else 0
    try:
        for ordered in reordered(workload, capacity):
            network = ResidentNetwork(ordered, arch, objective, fixed, options, rates)
            if least is None or network.model_value < least.model_value:
                least = network
            interrupted = any(d.interrupted for d in network.decisions.values())
            if interrupted or time.perf_counter() - started > (options.seconds or inf):
                break
    except KeyboardInterrupt:
        interrupted = True
    if least is not None:
        mapping = least.mapping()
        found.append(_Built(mapping, least, _cycles(mapping, workload, arch)))
    best = min(reversed(found), key=lambda b: _objective(b, objective, arch))
    return _plan(best, workload, arch, objective, options, interrupted, started)


@dataclass(frozen=True)
class _Built:
    """A Mapping, the network that made it, and the cycles that its Program takes."""

    mapping: Mapping
    network: Network
    cycles: float


def _rates(simple: Network, objective: str) -> tuple[float, float]:
    """What a cycle and a joule cost; a product of energy and delay is taken as linear about the simple mapping's."""
    if objective == "latency":
        return 1.0, 0.0
    if objective == "energy":
        return 0.0, 1.0
    cycles, joules = simple._expected(())
    return joules, cycles


def _cycles(mapping: Mapping, workload: Workload, arch: Architecture) -> float:
    """Cycles of the machine's clock that the Program of a Mapping takes."""
    from ...engine import compiled
    from ...lowering import lower

    program = lower(arch, workload, mapping)
    return float(compiled.run(program).finish * Fraction(arch.clock) / program.tick_hz)


def _objective(built: _Built, objective: str, arch: Architecture) -> float:
    if objective == "latency":
        return built.cycles
    _, joules = built.network._expected(())
    return joules if objective == "energy" else built.cycles / float(arch.clock) * joules


def _plan(
    built: _Built,
    workload: Workload,
    arch: Architecture,
    objective: str,
    options: SolverOptions,
    interrupted: bool,
    started: float,
) -> MachinePlan:
    """The result, its traffic recounted by the replay."""
    network, value = built.network, _objective(built, objective, arch)
    least = _least(workload, arch, objective)
    mine = network if isinstance(network, ResidentNetwork) else None
    complete = not interrupted and mine is not None and mine.proven
    complete = complete and all(plan.complete for plan in network.plans.values())
    gap = (value - least) / value if value else 0.0
    claim = Claim(objective, value, least, gap, options.seed, time.perf_counter() - started, complete, mapper="ilp")
    mapping = replace(built.mapping, claim=claim)
    counted = replay(mapping, workload, arch).traffic_bytes
    moved = sum(counted.get((network.near, direction), 0) for direction in ("read", "write"))
    if mine is None:
        return MachinePlan(mapping, moved, 0, built.cycles, value, least, complete, "", "tile")
    traffic, far = mine.traffic_bytes()
    if traffic + far != moved:
        raise AccelsimError(f"the plan moves {traffic + far:,} bytes and its replay {moved:,}, please report it")
    return MachinePlan(
        mapping, traffic, far, built.cycles, mine.model_value, mine.model_bound, complete, mine.solver, "ilp"
    )


def _least(workload: Workload, arch: Architecture, objective: str) -> float:
    """The machine bound."""
    bound = machine_bound(workload, arch)
    if objective == "latency":
        return float(bound.cycles)
    return bound.energy_J if objective == "energy" else float(bound.cycles) / float(arch.clock) * bound.energy_J
