"""Lowering: the only maker of Programs from Mappings.

Every Op becomes an actor on its unit that fires once per tile; every Move becomes one actor per port it passes, that
fires once per tile moved. A buffer is a FIFO as deep as it has slots: its token is a tile, which the using Op needs at
every firing and takes at its last one inside the body where the tile is cut. Seqs become gate tokens. A transfer over
ports without bandwidth limit takes no time and becomes no actor; its bytes are counted on the Op it serves.
"""

from __future__ import annotations

from collections import deque

from ..arch.architecture import Architecture
from ..engine.program import Program
from ..engine.refine import exact_ticks
from ..ir import Workload
from ..mapping.tree import Mapping
from .actors import Actors
from .barriers import Barriers
from .copies import Copies
from .firing import Firings
from .joins import Joins

_KEPT = 2
_recent: deque[tuple[Architecture, Workload, Mapping, Program]] = deque(maxlen=_KEPT)
"""What was lowered last: a mapper runs the Mappings that it compares, and the one that it chooses is lowered again."""


def lower(arch: Architecture, workload: Workload, mapping: Mapping) -> Program:
    """Make the Program that carries out a Mapping.

    Args:
        arch: the machine.
        workload: what is computed.
        mapping: a Mapping of `workload` onto `arch`.

    Returns:
        A Program whose tick is a cycle of the machine's clock, or the part of one in which transfers last whole ticks.

    Raises:
        MappingError: the Mapping names things that are not there, or asks a unit for what it cannot do.
        DoesNotFit: Ops hold more parts of a unit than it has.
    """
    if mapping.phases is not None:
        from .phases import lower_phases

        return lower_phases(arch, workload, mapping.phases)
    for machine, work, known, program in _recent:
        if machine is arch and work is workload and _same(known, mapping):
            return program
    made = _lowered(arch, workload, mapping)
    _recent.append((arch, workload, mapping, made))
    return made


def _same(a: Mapping, b: Mapping) -> bool:
    """Whether two Mappings are one, but for the Claim."""
    return a.root is b.root and a.stays is b.stays and a.moves is b.moves


def _lowered(arch: Architecture, workload: Workload, mapping: Mapping) -> Program:
    actors = Actors(arch, workload, mapping)
    firings = Firings(actors)
    actors.make()
    Joins(actors, firings).make()
    barriers = Barriers(actors)
    barriers.make()
    Copies(actors, firings, barriers).make()
    for actor in actors.all:
        actors.builder.schedule(actor.index, firings.schedule(actor))
    return exact_ticks(actors.builder.build())
