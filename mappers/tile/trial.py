"""The Mapping of a whole Workload with and without loads that come further ahead: the faster one.

For the least energy, which they do not change, what is foreseen is believed; otherwise both are run.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import NamedTuple

from ...arch.architecture import Architecture
from ...ir import Workload
from ...lowering import lower
from ...mapping.tree import Mapping
from ..aims import measured
from .floor import Place
from .network import Network
from .search import Plan

WORTH = 0.001
"""Share of all cycles that loads must be foreseen to save, for it to be worth trying."""


class Tried(NamedTuple):
    """A network and its plans, its Mapping, the cycles of the machine's clock that it took, and the joules expected."""

    network: Network
    plans: dict[Place, Plan]
    mapping: Mapping
    cycles: float
    joules: float

    def value(self, objective: str) -> float:
        return measured(objective, self.cycles, self.joules, float(self.network.arch.clock))


def tried(network: Network) -> Tried:
    """The faster Mapping, run."""
    mapping, cycles = faster(network)
    return _ran(network, mapping, cycles)


def run(network: Network) -> Tried:
    """The Mapping with loads further ahead, run."""
    return _ran(network, network.mapping(further=True), None)


def _ran(network: Network, mapping: Mapping, cycles: float | None) -> Tried:
    if cycles is None:
        cycles = cycles_of(mapping, network.workload, network.arch)
    _, joules = network.expected(())
    return Tried(network, dict(network.plans), mapping, cycles, joules)


def faster(network: Network) -> tuple[Mapping, float | None]:
    """The Mapping that takes the fewest cycles, of equal ones that with fewer buffers, and the cycles where it was run.

    But for the least energy, Einsums that are in the way of loads are also planned with less room, where that promises
    more. The network is left with the plans of the Mapping.
    """
    cycles = partial(cycles_of, workload=network.workload, arch=network.arch)
    plain = network.mapping()
    expected, joules = network.expected(())
    further = network.mapping(further=True)
    worth, saved, plans = WORTH * expected, network.saved, dict(network.plans)
    best: tuple[Mapping, float | None] = plain, None
    if saved > worth and further.moves != plain.moves:
        if network.aim.energy_alone:
            return further, None
        first, second = cycles(plain), cycles(further)
        best = (further, second) if second < first else (plain, first)
    if not network.aim.energy_alone and network.make_way(worth):
        third = network.mapping(further=True)
        before = cycles(plain) if best[1] is None else best[1]
        after = cycles(third)
        if network.value(after) < measured(network.aim.objective, before, joules, float(network.arch.clock)):
            return third, after
        network.plans, best = plans, (best[0], before)
    return best


def cycles_of(mapping: Mapping, workload: Workload, arch: Architecture) -> float:
    """Cycles of the machine's clock that the Program of a Mapping takes."""
    from ...engine import compiled

    program = lower(arch, workload, mapping)
    return float(compiled.trace_of(program).finish * Fraction(arch.clock) / program.tick_hz)
