"""The Mapping of a whole Workload with and without loads that come further ahead: the faster one.

For the least energy, which they do not change, what is foreseen is believed; otherwise both are run.
"""

from __future__ import annotations

from ...lowering import lower
from ...mapping.tree import Mapping
from .network import Network

WORTH = 0.001
"""Share of all cycles that loads must be foreseen to save, for it to be worth trying."""


def faster(network: Network) -> tuple[Mapping, float | None]:
    """The Mapping that takes fewer cycles, of equal ones that with fewer buffers, and the cycles where it was run."""
    plain = network.mapping()
    expected, _ = network.expected(())
    further = network.mapping(further=True)
    if network.saved <= WORTH * expected or further.moves == plain.moves:
        return plain, None
    if network.objective == "energy":
        return further, None
    first, second = _cycles(network, plain), _cycles(network, further)
    return (further, second) if second < first else (plain, first)


def _cycles(network: Network, mapping: Mapping) -> float:
    """Of the machine's clock, as the engine counts them."""
    from ...engine import compiled

    trace = compiled.run(lower(network.arch, network.workload, mapping))
    return float(trace.finish * network.arch.clock / trace.program.tick_hz)
