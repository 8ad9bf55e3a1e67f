"""Plans of all Einsums for the least latency, and for the least energy times delay of the whole.

Where Einsums are few and wait, mixtures of plans are run for either (`mixed`). Otherwise latency is
planned Einsum by Einsum; for energy times delay, first plans for the least latency are made, then for the least
weighted sum about the totals of what was found before (`..aims`), until a joule's worth in cycles stays. Every Einsum
then takes that of its plans with which the product of the totals is least. What is expected of plans leaves out that
loads overlap with what runs before. So plans for the least latency are run, too, where they come near, and those for
the least energy where a run shows that this matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..aims import AIMS, ENERGY, LATENCY, Aim, aim_about, least_product
from .mixed import FEW, Make, best_of, few, has_layouts, mixtures, waits
from .nest import TIE
from .network import Network
from .trial import Tried, tried

ROUNDS = 3
"""Weighted sums that are minimised at most, one about the totals of another."""
SURELY = 1 - TIE["edp"]
"""Products that differ by less than that factor count as equal: of plans as good as each other by its sum, a search
takes those of less energy."""
NEAR = 1.05
"""Plans for the least latency are run that are expected to come to no more than so many times the least product. Of 120
small networks at random they came to a smaller one in 3, all of that kind."""
OVERLAPS = 0.975
"""Plans for the least energy are run where a run takes less than so many times what was expected: of 120 small
networks at random they came to a smaller product in 18, all of that kind."""


def network_for(objective: str, make: Make) -> Network:
    """The tile mapper's plans for ``latency``, ``energy`` or ``edp``."""
    return make(AIMS[objective]) if objective in AIMS else best_product(make).network


def best_run(objective: str, make: Make) -> Tried:
    """The tile mapper's Mapping for ``latency``, ``energy`` or ``edp``, run."""
    if objective == "energy":
        return tried(make(ENERGY))
    return least_latency(make) if objective == "latency" else best_product(make)


def aim_for(objective: str, network: Network) -> Aim:
    """What parts are to minimise for an objective of the whole, about what a network comes to."""
    return AIMS[objective] if objective in AIMS else aim_about(*network.expected(()))


def least_latency(make: Make) -> Tried:
    """The fastest run of plans for the least latency, or of mixtures with others where that promises more."""
    first = tried(make(LATENCY))
    mixing = few(first.network.workload, first.network.arch) and waits(first)
    return best_of(mixtures(make, first), "latency") if mixing else first


def best_product(make: Make) -> Tried:
    """The plans of least energy times delay, by runs; of equal ones those that were expected to be best."""
    plain = make(LATENCY)
    if few(plain.workload, plain.arch) and waits(first := tried(plain)):
        return best_of(mixtures(make, first), "edp")
    known = _settled(make, plain)
    best = _best(known)
    runs = [tried(best)]
    expected, _ = best.expected(())
    overlaps = runs[0].cycles < OVERLAPS * expected
    if known[0] is not best and _expected(known[0]) <= NEAR * _expected(best):
        runs.append(tried(known[0]))
    if overlaps and (len(best.plans) <= FEW or not has_layouts(best.arch)):
        runs.append(tried(make(ENERGY)))
    return min(runs, key=lambda t: t.value("edp"))


def _settled(make: Make, plain: Network) -> list[Network]:
    """Plans for the least latency, and for sums about the totals of the best before."""
    known = [plain]
    for _ in range(ROUNDS):
        aim = aim_about(*_best(known).expected(()))
        if any(network.aim.is_near(aim) for network in known[1:]):
            break
        known.append(_mixed(make(aim), known))
    return known


def _mixed(network: Network, others: Sequence[Network]) -> Network:
    """A network in which every Einsum has that of its own plan and those of others with which the product of totals is
    least."""
    alike = [n for n in others if n.addresses == network.addresses]
    options = {place: [plan, *(n.plans[place] for n in alike)] for place, plan in network.plans.items()}
    times = [network.flow.scopes[path].count for path, _ in options]
    costs = [[(plan.cycles, plan.energy) for plan in plans] for plans in options.values()]
    own, value = dict(network.plans), _expected(network)
    chosen = zip(options.items(), least_product(costs, times), strict=True)
    network.plans = {place: plans[k] for (place, plans), k in chosen}
    if _expected(network) >= value * SURELY:
        network.plans = own
    return network


def _best(known: Sequence[Network]) -> Network:
    """The last one that is not surely worse than another one."""
    least = min(map(_expected, known))
    return next(network for network in reversed(known) if _expected(network) * SURELY <= least)


def _expected(network: Network) -> float:
    """Cycles times joules."""
    cycles, joules = network.expected(())
    return cycles * joules
