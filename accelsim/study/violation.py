"""How good a point is for a search: its objectives, and by how much it misses each constraint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from .analysis import Analysis, scores
from .expression import Expression
from .expression_nodes import Binary, Node
from .outcome import Outcome
from .point import Point
from .span import Scalar
from .sweep import Sweep

Row: TypeAlias = Mapping[str, Scalar]
Scores: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Objectives, smaller being better, and excesses over the constraints, 0 where they are met."""
MISSED = 1.0
"""The excess of a constraint that is not met and has no size (an equality, a word), or is not defined."""


class Scored:
    """Scores of points under the objectives and constraints of a sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._known: dict[tuple[str, ...], tuple[Analysis, list[Callable[[Row], float]]]] = {}

    def of(self, point: Point, outcome: Outcome) -> Scores | None:
        """None if an objective is not defined. Raises SpecError for names that are no columns.
        """
        row = {**point.settings(), **outcome.values}
        columns = tuple(row)
        if columns not in self._known:
            analysis = self._sweep.analysis(columns)
            self._known[columns] = analysis, [excess(constraint) for constraint in analysis.constraints]
        analysis, excesses = self._known[columns]
        row |= analysis.judge().derived(row)
        found = scores(row, analysis.objectives)
        return None if found is None else (found, tuple(of(row) for of in excesses))


def excess(constraint: Expression) -> Callable[[Row], float]:
    """A function from rows to how far a bound constraint is missed, relative to its larger side; 0 where it is met."""
    holds, amount = constraint.compile(), _amount(constraint, constraint.tree)
    return lambda row: 0.0 if holds(row) is True else max(amount(row), 1e-12)


def _amount(whole: Expression, node: Node) -> Callable[[Row], float]:
    match node:
        case Binary(operator="and"):
            both = _amount(whole, node.left), _amount(whole, node.right)
            return lambda row: both[0](row) + both[1](row)
        case Binary(operator="or"):
            either = _amount(whole, node.left), _amount(whole, node.right)
            return lambda row: min(either[0](row), either[1](row))
        case Binary(operator="<=" | "<" | ">=" | ">"):
            sides = replace(whole, tree=node.left).compile(), replace(whole, tree=node.right).compile()
            sign = 1.0 if node.operator in ("<=", "<") else -1.0
            return lambda row: _relative(sides[0](row), sides[1](row), sign)
    holds = replace(whole, tree=node).compile()
    return lambda row: 0.0 if holds(row) is True else MISSED


def _relative(left: Scalar | None, right: Scalar | None, sign: float) -> float:
    from .dimensions import quantity

    sides = []
    for side in (left, right):
        read = quantity(side)[0] if isinstance(side, str) and quantity(side) else side  # type: ignore[index]
        if read is None or isinstance(read, str):
            return MISSED
        sides.append(float(read))
    size = max(abs(sides[0]), abs(sides[1]))
    return max(0.0, sign * (sides[0] - sides[1]) / size) if size else 0.0
