"""The tile mapper: loop nests, one Einsum after the other.

Every Einsum gets the best tiling of its own (`search`); activations that fit stay in the buffer between Einsums
(`residency`); the others, and all weights, live in the off-chip tiers (`tiers`). Weights are loaded while the Einsum
before runs, where there is room; they and other operands that are ready come from further back where that is foreseen
to save time (`ahead`) and does so in a run (`trial`), past Einsums that then get a tiling with less room.
"""

from __future__ import annotations

import time

from ...arch.architecture import Architecture
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import machine_bound
from ...mapping.tree import Claim, Mapping
from ..aims import AIMS, Aim, measured
from .floor import Watch, floor
from .mixed import few
from .network import Network
from .product import best_product, least_latency
from .trial import faster


def map_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
    watch: Watch | None = None,
) -> Mapping:
    """Map a Workload with loop nests.

    Args:
        workload: what to run.
        arch: a machine whose units share one on-chip buffer.
        objective: ``latency``, ``energy`` or ``edp``.
        seed: recorded in the Claim; the mapper makes no random choice.
        constraints: what the user has fixed.
        watch: told of cycles of the machine's clock and joules of action that the run will take at least, first of the
            mapper's floor, then as these rise with every Einsum that is planned (for ``edp`` once all are). What it
            raises ends the search.

    Returns:
        The Mapping with its Claim: the value the mapper expects, the machine bound and the gap between them.

    Raises:
        DoesNotFit: a memory is too small, even for the smallest tiles.
        MappingError: no unit can run an Einsum.
        ConstraintError: a constraint cannot be honoured.
    """
    started = time.perf_counter()
    if watch is not None:
        watch(*floor(workload, arch))
    network, mapping, value = _mapped(workload, arch, objective, constraints or Constraints(), watch)
    bound = machine_bound(workload, arch)
    least = measured(objective, bound.cycles, bound.energy_J, float(arch.clock))
    return Mapping(
        mapping.workload,
        mapping.architecture,
        mapping.root,
        mapping.stays,
        mapping.moves,
        Claim(
            objective,
            value,
            least,
            (value - least) / value if value else 0.0,
            seed,
            time.perf_counter() - started,
            complete=all(plan.complete for plan in network.plans.values()),
            mapper="tile",
        ),
    )


def _mapped(
    workload: Workload, arch: Architecture, objective: str, constraints: Constraints, watch: Watch | None
) -> tuple[Network, Mapping, float]:
    """The Mapping without its Claim, the plans that it is made of, and what is expected of it."""
    if objective == "energy" or (objective == "latency" and not few(workload, arch)):
        network = Network(workload, arch, AIMS[objective], constraints, watch=watch)
        mapping, cycles = faster(network)
        return network, mapping, network.value(cycles)

    def make(aim: Aim) -> Network:
        return Network(workload, arch, aim, constraints)

    best = least_latency(make) if objective == "latency" else best_product(make)
    if watch is not None:  # of several networks one may take less than another one: told of the best alone
        best.network.tell(watch)
    return best.network, best.mapping, best.value(objective)
