"""The fusion mapper: Einsums in groups that run together tile by tile, what passes between them on the chip.

`map_workload` (``--mapper cascade``) takes a Workload as it is. `best_cascade` first searches over rewrites of a
cascade, and over the blocks into which ranks are cut, and returns the cascade that it found with its Mapping::

    found = best_cascade(load_model("attention_3pass"), arch)
    report = simulate(arch, found.workload, mapping=found.mapping)

How it works: `partition` cuts straight runs of Einsums into groups; `groups` finds which ranks of a group are one, and
its passes over a rank; `search` chooses tiles, what is kept and how deep buffers are (`plan`), and with `binding` which
unit runs what; `cores` gives Einsums to several cores; `trial` runs the most promising plans of a group. What is in no
group, and every leaf, is the tile mapper's (`network`). The Mapping of the whole is held against one Einsum after the
other, and the better one is kept.

Constraints: ``unit``, ``variant`` and ``tiles`` of operators are kept to inside groups, too; an operator with ``order``
or ``spread`` runs by itself. A tensor that must live outside the chip cuts the group that it would pass through, so
that unfused execution is a choice of constraints; ``tiles`` of ranks of queries and heads give FLAT's granularities.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...arch.architecture import Architecture
from ...engine.tables import TooLong
from ...errors import AccelsimError, DoesNotFit, MappingError
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.machine_bound import MachineBound, machine_bound
from ...mapping.tree import Claim, Halo, Mapping
from ..aims import AIMS, ENERGY, LATENCY, Aim, aim_about, measured
from ..tile.mixed import few
from ..tile.network import Network
from ..tile.product import best_run
from .cores import CoreFusion, core_memories
from .fusion import OVERLAPS, Chosen, Fusion
from .rewritten import candidates
from .trial import run

SURELY_WORSE = 1.3
"""One Einsum after the other is not run where it is expected to come to more than so many times the fused Mapping."""
PROVEN = 1 + 1e-9
"""A Mapping within this factor of the bound cannot be bettered: the rest is rounding."""


def map_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
    halos: frozenset[Halo] = OVERLAPS,
    several_cores: bool = True,
) -> Mapping:
    """Map a Workload, fusing what gains by it.

    Args:
        workload: what to run.
        arch: a machine of which most units read activations from one memory on the chip, and write them there; groups
            may also run over units that do so each in a memory of its own.
        objective: ``latency``, ``energy`` or ``edp``.
        seed: recorded in the Claim; the mapper makes no random choice.
        constraints: what the user has fixed.
        halos: what may be done where windows of neighbouring tiles overlap.
        several_cores: whether groups may run over units that work on different memories.

    Returns:
        The best of the fused Mapping, of that over several cores, and of one Einsum after the other; for energy and
        EDP, also of those that other objectives lead to. Its Claim is what a run of it gave (what is expected, where
        that took too long), the machine bound, and the gap between them.

    Raises:
        DoesNotFit: a memory is too small, even for the smallest tiles.
        MappingError: no unit can run an Einsum.
        ConstraintError: a constraint cannot be honoured.
    """
    started = time.perf_counter()
    least = _least(machine_bound(workload, arch), arch, objective)
    whole = _Whole(workload, arch, objective)
    why, complete = None, True
    for aim in whole.aims():
        fusions = _over_cores(Fusion(workload, arch, aim, constraints or Constraints(), halos), several_cores)
        own = aim.objective == objective
        for fusion in fusions:
            whole.take(fusion.fused(), foreseen=own)
        if own or objective == "edp":  # unfused, plans for the least latency take no less energy than those for energy
            whole.take(fusions[0].unfused(SURELY_WORSE * whole.value if own else math.inf), foreseen=own)
        why = why or fusions[0].singles.why
        if own:
            complete = all(fusion.complete for fusion in fusions)
        if whole.value <= least * PROVEN:
            break
    surely = fusions[0].singles.floor if objective == "latency" else least
    if few(workload, arch) and objective != "energy" and max(surely, least * PROVEN) < whole.value:
        whole.take(_tiled(workload, arch, objective, constraints or Constraints()), foreseen=True)
    if whole.best is None:
        raise why or whole.failed or MappingError(f"{workload.name}: nothing can be fused on {arch.name}")
    gap = (whole.value - least) / whole.value if whole.value else 0.0
    seconds = time.perf_counter() - started
    claim = Claim(objective, whole.value, least, gap, seed, seconds, complete=complete, mapper="cascade")
    return replace(whole.best, claim=claim)


def _tiled(workload: Workload, arch: Architecture, objective: str, constraints: Constraints) -> Chosen | None:
    """The tile mapper's Mapping, which mixes plans of few Einsums; None where an Einsum does not fit."""
    try:
        best = best_run(objective, lambda aim: Network(workload, arch, aim, constraints))
    except DoesNotFit:
        return None
    return Chosen(best.mapping, best.cycles, best.joules, best.value(objective))


def _over_cores(fusion: Fusion, several_cores: bool) -> list[Fusion]:
    """The search on one core, and the one over several where the machine has them and they are wanted."""
    plain = fusion.singles.network
    memories = core_memories(fusion.arch, plain.buffer if plain is not None else "")
    return [fusion, CoreFusion(fusion, memories)] if memories is not None and several_cores else [fusion]


class _Whole:
    """The best Mapping of a Workload among those that were run.

    Attributes:
        value: of the objective, in its run, or as expected where that took too long; inf where there is none.
        totals: its cycles and joules; as expected of the first Mapping where there is none.
        failed: why the first of those that do not work does not.
    """

    def __init__(self, workload: Workload, arch: Architecture, objective: str) -> None:
        self.workload, self.arch, self.objective = workload, arch, objective
        self.value = math.inf
        self.totals: tuple[float, float] | None = None
        self.best: Mapping | None = None
        self.failed: AccelsimError | None = None

    def aims(self) -> Iterator[Aim]:
        """What is searched for, one after the other.

        Energy: also the least latency, for groups grow as long as each step gains, and steps may be even in energy.
        Energy times delay: the sum about the totals of the best Mapping for the other two.
        """
        if self.objective != "edp":
            yield AIMS[self.objective]
        if self.objective != "latency":
            yield LATENCY
        if self.objective == "edp":
            yield ENERGY
        if self.objective == "edp" and self.totals is not None:
            yield aim_about(*self.totals)

    def take(self, chosen: Chosen | None, *, foreseen: bool) -> None:
        """Run a Mapping, unless its objective is `foreseen` and surely worse, and keep it if it is better."""
        if chosen is None:
            return
        totals = chosen.cycles, chosen.joules
        expected = self._of(*totals)
        self.totals = self.totals or totals
        if foreseen and expected > SURELY_WORSE * self.value:
            return
        try:
            ran = run(self.arch, self.workload, chosen.mapping)
            totals, value = (ran.cycles, ran.joules), self._of(ran.cycles, ran.joules)
        except TooLong:
            value = expected if foreseen else math.inf
        except (DoesNotFit, MappingError) as error:  # groups that fit by themselves, and not beside each other
            self.failed = self.failed or error
            return
        if value < self.value:
            self.value, self.totals, self.best = value, totals, chosen.mapping

    def _of(self, cycles: float, joules: float) -> float:
        return measured(self.objective, cycles, joules, float(self.arch.clock))


def _least(bound: MachineBound, arch: Architecture, objective: str) -> float:
    """Below what no Mapping comes: cycles, joules or joule seconds."""
    return measured(objective, bound.cycles, bound.energy_J, float(arch.clock))


@dataclass(frozen=True)
class Found:
    """What a search over forms of a cascade and their Mappings found.

    Attributes:
        workload: the cascade in its best form.
        steps: the rewrites that led to it, in words.
        mapping: of that form, with its Claim.
        tried: every form by its steps, with the value of its Mapping, or that below which none can come where this is
            no better than what was found; forms that fit nowhere are left out.
    """

    workload: Workload
    steps: tuple[str, ...]
    mapping: Mapping
    tried: tuple[tuple[tuple[str, ...], float], ...]


def best_cascade(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
) -> Found:
    """Search over the forms of a cascade, and map each: nothing is known of it but its operators and ranks.

    Forms are the cascade as it is and those of fewest passes (`ir.rewrites.fewest_passes`), with ranks whole or in
    blocks near the sides of the machine's units. Those come first whose machine bound is least; when the bound of the
    next one is no better than the best Mapping so far, the others cannot be either.

    Args:
        workload: a cascade.
        arch, objective, seed, constraints: as of `map_workload`; constraints must name what every form has.

    Raises:
        BadInput: the Workload is no cascade.
        DoesNotFit: no form fits.
    """
    forms = list(candidates(workload, arch))
    bounds = [_least(machine_bound(form.workload, arch), arch, objective) for form in forms]
    values: dict[int, float] = {}
    best: tuple[float, int, Mapping] | None = None
    short: DoesNotFit | None = None
    for number in sorted(range(len(forms)), key=lambda n: (bounds[n], n)):
        if best is not None and bounds[number] >= best[0]:
            values[number] = bounds[number]
            continue
        work = forms[number].workload
        try:
            mapping = map_workload(work, arch, objective=objective, seed=seed, constraints=constraints)
        except DoesNotFit as error:
            short = error
            continue
        assert mapping.claim is not None
        values[number] = mapping.claim.value
        if best is None or (mapping.claim.value, number) < best[:2]:
            best = mapping.claim.value, number, mapping
    if best is None:
        raise short or MappingError(f"{workload.name}: no form of it runs on {arch.name}")
    _, number, mapping = best
    tried = tuple((forms[n].steps, values[n]) for n in sorted(values))
    return Found(forms[number].workload, forms[number].steps, mapping, tried)
