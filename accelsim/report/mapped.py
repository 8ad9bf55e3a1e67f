"""What a Report's Mapping says of operators and memories, recounted from the value itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..mapping.counting import tally
from ..mapping.nest import operator_nests
from ..mapping.scope import Scope
from ..mapping.validate import structure_problems
from .occupancy import Occupancy, occupancies, step_operators
from .residency import Box, boxes

if TYPE_CHECKING:
    from .report import Report


@dataclass(frozen=True)
class Mapped:
    """Loop nests by operator, what runs in each step, what the memories hold in it, and which tensors stay where."""

    nests: Mapping[str, str]
    steps: tuple[str, ...]
    occupancies: tuple[Occupancy, ...]
    boxes: Mapping[str, tuple[Box, ...]]


def mapped(report: Report) -> Mapped | None:
    """None for a Report without a Mapping, or with one that is not of its Workload and machine."""
    if report.mapping is None:
        return None
    scope = Scope(report.mapping, report.workload)
    if structure_problems(scope, report.arch):
        return None
    tallies = [tally(scope, move) for move in report.mapping.moves]
    return Mapped(
        operator_nests(scope, tallies),
        tuple(step_operators(scope)),
        occupancies(scope, report.arch, tallies),
        boxes(scope, report.arch),
    )
