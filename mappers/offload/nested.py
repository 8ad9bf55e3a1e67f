"""Experts whose bits are nested: a few bits of every weight come first, and more refine them; which comes when.

An expert computes for tokens of a level once its planes up to that level are there. Loads go one after the other, and
so does computing; a pass is as long as the last expert computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...engine import compiled
from ...engine.program import Server
from ...errors import BadInput
from ...lowering.sites import SiteProblem, Stage, Task, Way, program_of

TICK_HZ = 10**12


@dataclass(frozen=True)
class NestedExpert:
    """An expert.

    Attributes:
        name: unique.
        planes: seconds to load each plane, the coarsest first.
        levels: seconds that tokens of each level compute; as many as planes.
    """

    name: str
    planes: tuple[float, ...]
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.planes) != len(self.levels) or min((*self.planes, *self.levels), default=0.0) < 0:
            raise BadInput(f"expert {self.name}: a time of 0 or more for every plane and for the tokens of every level")

    @property
    def wanted(self) -> int:
        """Planes that some token needs."""
        return max((i + 1 for i, s in enumerate(self.levels) if s > 0), default=0)


Order: TypeAlias = Sequence[tuple[int, int]]
"""Expert and plane, in the order of loads."""


def expert_by_expert(experts: Sequence[NestedExpert]) -> Order:
    """Every expert whole, one after the other."""
    return [(e, p) for e, x in enumerate(experts) for p in range(x.wanted)]


def hottest_bits_first(experts: Sequence[NestedExpert]) -> Order:
    """Of the planes that can be loaded next, always the one that most computing waits for (D2MoE, arXiv:2504.15299)."""
    reached = [0] * len(experts)
    found: list[tuple[int, int]] = []
    while open_ := [e for e, x in enumerate(experts) if reached[e] < x.wanted]:
        e = max(open_, key=lambda e: (experts[e].levels[reached[e]], -e))
        found.append((e, reached[e]))
        reached[e] += 1
    return found


def run(experts: Sequence[NestedExpert], order: Order, *, nested: bool = True) -> float:
    """Seconds of a pass, simulated.

    Args:
        experts: all of them.
        order: of loads; planes of an expert from the coarsest on.
        nested: tokens of a level compute when its planes are there; else an expert computes when all of it is.

    Raises:
        BadInput: planes that are missing, or out of order.
    """
    for e, x in enumerate(experts):
        if [p for o, p in order if o == e] != list(range(x.wanted)):
            raise BadInput(f"expert {x.name}: planes 0 to {x.wanted - 1} are loaded in order, once each")
    tasks = []
    for e, p in order:
        x = experts[e]
        ready = x.levels[p] if nested else sum(x.levels) if p == x.wanted - 1 else 0.0
        stages = [Stage("load", "storage", _ticks(x.planes[p]), queue="loads")]
        if ready:
            stages.append(Stage("compute", "processor", _ticks(ready), after=(0,), queue="computing"))
        tasks.append(Task(f"{x.name}, plane {p}", (Way("processor", tuple(stages)),)))
    if not tasks:
        return 0.0
    servers = {n: Server(n) for n in ("storage", "processor")}
    trace = compiled.run(program_of(SiteProblem("experts", TICK_HZ, servers, tuple(tasks)), [0] * len(tasks)))
    return trace.finish / TICK_HZ


def _ticks(seconds: float) -> int:
    return max(1, round(seconds * TICK_HZ))
