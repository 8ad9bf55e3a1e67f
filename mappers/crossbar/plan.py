"""The mapper: the pipeline or the sequence, whichever is better when it is run."""

from __future__ import annotations

import time
from dataclasses import replace

from ...arch.architecture import Architecture
from ...components import compute_units
from ...components.crossbar import CrossbarArray
from ...errors import BadInput, ConstraintError, DoesNotFit, MappingError
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import machine_bound, resident_tensors
from ...mapping.replay import replay
from ...mapping.tree import Claim, Mapping
from ..cascade.trial import TO_THE_END, run
from .copies import choices, with_copies
from .trees import Pipelines, Places, samples, sequence

SLOTS = (2, 1)
"""Results between stages that are tried, until they fit."""


def map_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
) -> Mapping:
    """A Mapping of the Workload onto a machine with one `crossbar` unit or more; see the package.

    Raises:
        BadInput: the machine has no such unit, or none that runs an Einsum.
        DoesNotFit: the weights take more arrays than there are, or an operator more than the memory beside them.
        ConstraintError: constraints are given, which it does not honour.
    """
    begin = time.perf_counter()
    if constraints is not None and constraints != Constraints():
        raise ConstraintError("the crossbar mapper honours no constraints")
    places = _places(arch)
    found = choices(workload, arch)
    tried: list[tuple[float, Mapping]] = []
    short: DoesNotFit | None = None
    options = [(True, slots) for slots in SLOTS] if samples(workload) > 1 else []
    for pipelined, slots in (*options, (False, 0)):
        picked = {c.einsum.name: c for c in with_copies(found, arch, workload, pipelined=pipelined)}
        mapping = (Pipelines(workload, picked, places, slots).mapping(arch.name) if pipelined
                   else sequence(workload, arch.name, picked, places))  # fmt: skip
        if mapping is None:
            continue
        try:
            replay(mapping, workload, arch)
        except DoesNotFit as error:
            short = error
            continue
        except MappingError:
            if not pipelined:
                raise
            continue  # a loop over samples does not reach every Einsum
        tried.append((run(arch, workload, mapping, most=TO_THE_END).value(objective, float(arch.clock)), mapping))
    if not tried:
        assert short is not None
        raise short
    value, mapping = min(tried, key=lambda t: t[0])
    bound = machine_bound(workload, arch, resident=resident_tensors(mapping, workload, arch))
    delay = bound.cycles / float(arch.clock)
    least = {"latency": bound.cycles, "energy": bound.energy_J, "edp": bound.energy_J * delay}
    gap = (value - least[objective]) / value if value else 0.0
    seconds = time.perf_counter() - begin
    claim = Claim(objective, value, least[objective], gap, seed, seconds, False, "crossbar")
    return replace(mapping, claim=claim)


def _places(arch: Architecture) -> Places:
    arrays = {n: u for n, u in compute_units(arch).items() if isinstance(u, CrossbarArray)}
    if not arrays:
        raise BadInput(f"{arch.name}: the crossbar mapper needs a unit of kind `crossbar`")
    chips = {u.memory for u in arch.units.values()}
    if len(chips) > 1:
        raise BadInput(f"{arch.name}: the crossbar mapper needs units that work on one memory, not on "
                       f"{', '.join(sorted(chips))}")  # fmt: skip
    chip = chips.pop()
    return Places(arch.tiers()[0].name, chip, arch.memories[chip].capacity,
                  {n: u.operands.get("weight", u.memory) for n, u in arrays.items()})  # fmt: skip
