"""Plans of one Workload for several aims, mixed Einsum by Einsum as runs show.

What is expected of a plan knows nothing of its neighbours. It counts first loads and last stores in full, though many
pass while the Einsum before or after runs, so that plans may be taken that read again, or wait, only to begin early.
What overlaps depends on the plans all around, and is found by running them together: few Einsums are run in a moment.
So where Einsums are few, but more than one, and much of the time may be such waiting, other plans for every Einsum
are made: for loads that all overlap, for energy, and for some weight of it, which prefer to move less. From the best
of these networks on, the plan of one Einsum (or of equal ones) after the other is changed for another one's, and left
so where a run of the whole is better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ...arch.architecture import Architecture
from ...components.spatial import SpatialArray
from ...ir import Workload
from ..aims import ENERGY, LATENCY, OVERLAPPING, Aim, aim_about
from .floor import Place, rates_of
from .network import Network
from .search import Plan
from .trial import Tried, run, tried

Make: TypeAlias = Callable[[Aim], Network]
"""Plans all Einsums of a Workload for an aim."""
FEW, MOST = 16, 48
"""Einsums whose plans are mixed at most, on spatial arrays and on others; every run of a Repeat counts."""
WAITING = 0.03
"""Share of a run beyond what its plans take at least, from which on others are looked for. Of 74 small networks none
with less gained more than 0.3 %."""
RUNS = 512
"""Einsums that are run at most, all runs together, where single plans are changed."""


def few(workload: Workload, arch: Architecture) -> bool:
    """Whether Einsums that run are few enough for their plans to be mixed. One alone has no neighbours."""
    return 1 < sum(times for _, times in workload.einsums()) <= (FEW if has_layouts(arch) else MOST)


def has_layouts(arch: Architecture) -> bool:
    """Whether there are spatial arrays, for which layouts are searched: of all searches that takes longest."""
    return any(isinstance(unit, SpatialArray) for unit in arch.units.values())


def waits(best: Tried) -> bool:
    """Whether a run takes clearly longer than its plans take at least."""
    least, _ = best.network.least()
    return best.cycles > (1 + WAITING) * least


def best_of(runs: Sequence[Tried], objective: str) -> Tried:
    """The best run by an objective, of equal ones the first; its network is left with its plans."""
    best = min(runs, key=lambda t: t.value(objective))
    best.network.plans = dict(best.plans)
    return best


def mixtures(make: Make, first: Tried) -> list[Tried]:
    """Runs of plans for the least latency, the first one, of plans for other aims, and of mixtures of them.

    They are looked for by latency and by energy times delay whatever the objective is, so that the best of one
    objective is not found by the search for another one alone.
    """
    runs, again = {_identity(first.network.addresses, first.plans): first}, list[Tried]()

    def look(network: Network, plans: Mapping[Place, Plan]) -> Tried:
        key = _identity(network.addresses, plans)
        if key not in runs:
            network.plans = dict(plans)
            runs[key] = run(network)
        return runs[key]

    for aim in _aims(first, runs.values()):
        network = make(aim)
        look(network, network.plans)
    starts = list(runs.values())
    for objective in ("latency", "edp"):
        start = best = min(starts, key=lambda t: t.value(objective))
        left = RUNS
        for change in _changes(objective, best, [t.plans for t in starts if _alike(t, best)]):
            if all(best.plans[place] == plan for place, plan in change.items()):
                continue
            left -= len(best.plans)
            if left < 0:
                break
            best = min(best, look(best.network, {**best.plans, **change}), key=lambda t: t.value(objective))
        if best is not start or start is not first:
            best.network.plans = dict(best.plans)
            again.append(tried(best.network))
    return [*runs.values(), *again]


def _aims(first: Tried, runs: Collection[Tried]) -> Iterator[Aim]:
    """What else plans are made for; those for energy times delay about the best of the `runs` until then."""
    yield OVERLAPPING
    yield ENERGY
    about = aim_about(first.cycles, first.joules)
    yield about
    best = min(runs, key=lambda t: t.value("edp"))
    if not about.is_near(then := aim_about(best.cycles, best.joules)):
        yield then


def _alike(a: Tried, b: Tried) -> bool:
    """Whether the same tensors stay in the buffer."""
    return a.network.addresses == b.network.addresses


def _identity(addresses: Mapping[str, int], plans: Mapping[Place, Plan]) -> Hashable:
    return tuple(addresses.items()), tuple(map(_nameless, plans.values()))


def _changes(objective: str, best: Tried, plans: Sequence[Mapping[Place, Plan]]) -> list[dict[Place, Plan]]:
    """Other plans of Einsums, those first that may save most: by what is expected of the plan that there is, and what
    the other one takes at least. Without those that cannot save anything so. Equal changes of several Einsums, as of
    layers that repeat, come together, and last of all one by one."""
    aim = LATENCY if objective == "latency" else aim_about(best.cycles, best.joules)
    network = best.network
    rates, weights = rates_of(network.arch), network.weights()
    saved: dict[Hashable, float] = defaultdict(float)
    alike: dict[Hashable, dict[Place, Plan]] = defaultdict(dict)
    for place, own in best.plans.items():
        times, seen = network.flow.scopes[place[0]].count, [own]
        for plan in (others[place] for others in plans):
            alone, _ = rates.of_plan(plan, weights)
            less = times * (aim.of(own.cycles, own.energy) - aim.of(alone, plan.energy))
            if plan in seen or less <= 0:
                continue
            seen.append(plan)
            key = _nameless(own), _nameless(plan)
            saved[key] += less
            alike[key][place] = plan
    order = sorted(alike, key=lambda key: -saved[key])
    single = [{place: plan} for key in order if len(alike[key]) > 1 for place, plan in alike[key].items()]
    return [alike[key] for key in order] + single


def _nameless(plan: Plan) -> Hashable:
    """What tells plans apart, whatever the names of their tensors."""
    return plan.unit, plan.variant, plan.layout, plan.loops, *sorted(plan.working_set.items()), plan.cycles, plan.energy
