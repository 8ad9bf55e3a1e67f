"""Resources to stages: so many lanes for each that the slowest stage is as fast as the budget allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from ...errors import BadInput, DoesNotFit
from ...ir.operators import COST_CLASSES
from .stages import Stage


@dataclass(frozen=True)
class Lanes:
    """Units of one kind, each of which does operations of some classes.

    Attributes:
        name: of the kind, such as ``dsp``.
        count: how many there are.
        classes: cost classes that they run (`ir.COST_CLASSES`).
        rates: operations of a unit per cycle by class; 1 for those not named.
        group: units that only go to a stage together, such as those of one core.
    """

    name: str
    count: int
    classes: tuple[str, ...]
    rates: Mapping[str, Fraction] = field(default_factory=dict)
    group: int = 1

    def grouped(self, units: int) -> int:
        """So many units, in whole groups."""
        return -(-units // self.group) * self.group


@dataclass(frozen=True)
class Budget:
    """What one kernel can use at once.

    Attributes:
        lanes: kinds of units; operations of a class that none of them runs cost nothing.
        stages: most stages of a kernel; None: as many as one likes.
        on_chip_bytes: for FIFOs, held tokens and operands; None: without bound.
        off_chip_bytes_per_cycle: bandwidth of the memory that kernels read from and write to; None: without bound.
        launch_cycles: from the end of one kernel to the start of the next.

    Raises:
        BadInput: a class in two kinds, an unknown class, or a negative number.
    """

    lanes: tuple[Lanes, ...] = ()
    stages: int | None = None
    on_chip_bytes: int | None = None
    off_chip_bytes_per_cycle: Fraction | None = None
    launch_cycles: int = 0

    def __post_init__(self) -> None:
        classes = [c for lanes in self.lanes for c in lanes.classes]
        for c in classes:
            if c not in COST_CLASSES:
                raise BadInput(f"lanes of class '{c}' (there are {', '.join(COST_CLASSES)})")
            if classes.count(c) > 1:
                raise BadInput(f"class '{c}' is run by two kinds of lanes; name it in one of them")
        least = [(lanes.name, min(lanes.count, lanes.group), 1) for lanes in self.lanes]
        least += [("stages", 1 if self.stages is None else self.stages, 1), ("launch_cycles", self.launch_cycles, 0)]
        for name, value, low in least:
            if value < low:
                raise BadInput(f"budget: {name} is {value} (at least {low})")


@dataclass(frozen=True)
class Allotment:
    """Lanes of every stage, and what they give.

    Attributes:
        lanes: points of a firing that each stage works on in a cycle.
        slowest: the stage that needs most cycles.
        cycles: that it needs for all of its firings.
        used: units in use, by kind.
    """

    lanes: Mapping[str, int] = field(hash=False)
    slowest: str
    cycles: int
    used: Mapping[str, int] = field(hash=False)


def units_per_lane(stage: Stage, budget: Budget) -> dict[str, int]:
    """Units of each kind that one lane of a stage is made of: those that do all operations of one point per cycle."""
    found = {}
    for kind in budget.lanes:
        need = sum(
            -(-stage.operations.get(c, 0) // stage.inner) / kind.rates.get(c, Fraction(1)) for c in kind.classes
        )
        if need:
            found[kind.name] = ceil(need)
    return found


def cycles_with(stage: Stage, lanes: int) -> int:
    """Cycles of all firings of a stage with so many lanes."""
    return stage.firings * -(-stage.inner // lanes)


def allot(stages: Sequence[Stage], budget: Budget) -> Allotment:
    """The fewest cycles of the slowest stage, with the fewest lanes that give them.

    Whether a number of cycles can be reached is monotone, and the lanes that each stage needs for it follow, so halving
    finds the optimum.

    Raises:
        DoesNotFit: more stages than the budget allows, or fewer units than one lane for every stage takes.
    """
    if budget.stages is not None and len(stages) > budget.stages:
        names = ", ".join(s.name for s in stages[:8]) + (" ..." if len(stages) > 8 else "")
        raise DoesNotFit(f"{len(stages)} stages in a kernel, and there are units for {budget.stages} ({names}); "
                         "allow more kernels")
    cost = {s.name: units_per_lane(s, budget) for s in stages}
    count = {kind.name: kind.count for kind in budget.lanes}

    def lanes_for(cycles: int) -> dict[str, int]:
        return {s.name: -(-s.inner // (cycles // s.firings)) for s in stages}

    def used(lanes: Mapping[str, int]) -> dict[str, int]:
        return {
            kind.name: sum(kind.grouped(cost[name].get(kind.name, 0) * n) for name, n in lanes.items())
            for kind in budget.lanes
        }

    slow = max(cycles_with(s, 1) for s in stages)
    for kind, need in used(lanes_for(slow)).items():
        if need > count[kind]:
            users = ", ".join(s.name for s in stages if kind in cost[s.name])
            raise DoesNotFit(f"{need} units of '{kind}' for one lane in each of the stages {users}, and there are "
                             f"{count[kind]}")
    low, high = max(s.firings for s in stages) - 1, slow
    while high - low > 1:
        middle = (low + high) // 2
        enough = all(n <= count[kind] for kind, n in used(lanes_for(middle)).items())
        low, high = (low, middle) if enough else (middle, high)
    lanes = lanes_for(high)
    slowest = max(stages, key=lambda s: cycles_with(s, lanes[s.name]))
    return Allotment(lanes, slowest.name, cycles_with(slowest, lanes[slowest.name]), used(lanes))
