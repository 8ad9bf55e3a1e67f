"""The mapper of machines with a unit in their memory: alone, or beside one for products on the chip."""

from __future__ import annotations

import time
from dataclasses import replace

from ...arch.architecture import Architecture
from ...components import compute_units
from ...components.pim import PimArray
from ...errors import BadInput, ConstraintError, DoesNotFit
from ...ir import Role, Workload
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import machine_bound
from ...mapping.tree import Claim
from ...mapping.tree import Mapping as Mapped
from ..cascade.trial import TO_THE_END, run
from .hybrid import map_hybrid
from .plan import STORED, has_array, map_in_memory


def map_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
) -> Mapped:
    """A Mapping of the Workload onto a machine with one `pim` unit or more; see the package.

    Raises:
        BadInput: the machine has no such unit.
        DoesNotFit: weights and caches are more than the banks hold.
        ConstraintError: constraints are given, which it does not honour.
    """
    begin = time.perf_counter()
    if constraints is not None and constraints != Constraints():
        raise ConstraintError("the pim mapper honours no constraints")
    arrays = [u for u in compute_units(arch).values() if isinstance(u, PimArray)]
    if not arrays:
        raise BadInput(f"{arch.name}: the pim mapper needs a unit of kind `pim`")
    _check_capacity(workload, arch, arrays[0])
    if has_array(arch):
        mapping = map_hybrid(workload, arch, objective=objective, seed=seed)
    else:
        mapping = map_in_memory(workload, arch, arrays[0], objective)
    value, bound = _worth(mapping, workload, arch, objective)
    seconds = time.perf_counter() - begin
    claim = Claim(objective, value, bound, (value - bound) / value if value else 0.0, seed, seconds, False, "pim")
    return replace(mapping, claim=claim)


def _worth(mapping: Mapped, workload: Workload, arch: Architecture, objective: str) -> tuple[float, float]:
    """What a run of the Mapping gives, and the machine bound, in the units of a Claim."""
    clock, bound = float(arch.clock), machine_bound(workload, arch)
    least = {"latency": bound.cycles, "energy": bound.energy_J, "edp": bound.energy_J * bound.cycles / clock}
    return run(arch, workload, mapping, most=TO_THE_END).value(objective, clock), least[objective]


def _check_capacity(workload: Workload, arch: Architecture, unit: PimArray) -> None:
    held = workload.bytes_by_role()
    capacity = arch.memories[unit.memory].capacity
    rest = sum(n for role, n in held.items() if role in STORED and role is not Role.STATE)
    asked = [(f"weights, caches and inputs of {workload.name}", rest + held[Role.STATE], capacity, "")]
    if unit.cache_space is not None:
        asked = [
            (f"caches of {workload.name}", held[Role.STATE], unit.cache_space, " reserved for caches"),
            (
                f"weights and inputs of {workload.name}",
                rest,
                capacity - unit.cache_space,
                " beside what caches reserve",
            ),
        ]
    for what, needed, room, why in asked:
        if needed > room:
            raise DoesNotFit(f"{arch.name}: {what} take {needed:,} bytes, memory `{unit.memory}` holds {room:,}{why}")
