"""What the objectives of a point are at least, by its mapper's floor or the machine bound, before it is simulated.

A point whose floors are bettered by the results of another cannot be on the Pareto front, whatever its simulation would
give. Objectives are expressions, so floors are worked out with intervals: sizes of the machine and settings are exact,
latency, cycles and energy have a lower end, everything else may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from .analysis import Analysis, Objective
from .dimensions import quantity
from .evaluation import machine, model, simulate_point, size
from .expression import Expression
from .expression_nodes import Binary, Call, Name, Node, Number, Unary
from .outcome import Bettered
from .point import Point
from .span import Scalar
from .sweep import Sweep

Interval: TypeAlias = tuple[float, float]
Score: TypeAlias = tuple[float, ...]
Group: TypeAlias = tuple[tuple[str, Scalar], ...]
ANYTHING: Interval = (-math.inf, math.inf)


class Floors:
    """Works out floors of the objectives of a sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._bounds: dict[tuple[str, ...], tuple[list[tuple[str, Expression]], list[Objective]]] = {}
        self._parsed = Analysis.parse(sweep.derived, sweep.constraints, sweep.pareto)

    def of(self, point: Point) -> Score:
        """The least score in every objective, smaller being better; -inf where nothing is known.

        Raises:
            AccelsimError: the machine or the model cannot be built.
        """
        return self.above(point)(*_least(point))

    def above(self, point: Point) -> Callable[[float, float], Score]:
        """The least score in every objective of a point that takes so many cycles and joules of action, or more.

        Raises:
            AccelsimError: the machine cannot be built.
        """
        columns = _Columns(point)
        derived, objectives = self._bound(tuple(columns.above(0.0, 0.0)))

        def score(cycles: float, joules: float) -> Score:
            known = columns.above(cycles, joules)
            for name, expression in derived:
                known[name] = _interval(expression, known)
            return tuple(_score(objective, known) for objective in objectives)

        return score

    def _bound(self, columns: tuple[str, ...]) -> tuple[list[tuple[str, Expression]], list[Objective]]:
        """Derived columns and objectives, with the columns of the report that nothing is known of, which are anything.
        """
        if columns not in self._bounds:
            known = [*columns]
            derived = []
            for name, expression in self._parsed.derived:
                derived.append((name, _over(expression, known)))
                known.append(name)
            aims = [replace(aim, expression=_over(aim.expression, known)) for aim in self._parsed.objectives]
            self._bounds[columns] = derived, aims
        return self._bounds[columns]


class _Columns:
    """Intervals of the columns of a point. Raises AccelsimError if its machine cannot be built."""

    def __init__(self, point: Point) -> None:
        arch = machine(point.arch, point.arch_values)
        self._clock = float(arch.clock)
        self._leakage = sum(part.leakage_watts or 0.0 for part in arch.components())
        exact: dict[str, Scalar | None] = {**point.settings(), **size(arch), "area_mm2": arch.area_mm2}
        self._exact = {name: (n, n) for name, value in exact.items() if (n := _number(value)) is not None}

    def above(self, cycles: float, joules: float) -> dict[str, Interval]:
        """With so many cycles and joules of action, or more."""
        latency_s = cycles / self._clock
        least = {"cycles": cycles, "latency_s": latency_s, "energy_J": joules + self._leakage * latency_s}
        return {**{name: (n, math.inf) for name, n in least.items()}, **self._exact}


def bounded_columns(point: Point) -> dict[str, Interval]:
    """Intervals of the columns of a point. Raises AccelsimError where the machine or the model cannot be built."""
    return _Columns(point).above(*_least(point))


def _over(expression: Expression, known: Sequence[str]) -> Expression:
    from ..report import schema

    parts = [name for name in expression.names() if "." in name]
    return expression.bind([*known, *schema()["properties"], *parts])


def _score(objective: Objective, known: Mapping[str, Interval]) -> float:
    low, high = _interval(objective.expression, known)
    return -high if objective.larger else low


@lru_cache(maxsize=4)
def floors(sweep: Sweep) -> Floors:
    """Floors of a sweep, whose expressions are read once."""
    return Floors(sweep)


def floors_of(sweep: Sweep, points: Sequence[Point]) -> list[Score]:
    """Floors of several points. Raises AccelsimError where a machine or the model cannot be built."""
    return [floors(sweep).of(point) for point in points]


def bettered(floor: Score, scores: Iterable[Score]) -> bool:
    """Whether one of the scores is as small as the floor everywhere, and smaller somewhere."""
    return any(score != floor and all(s <= f for s, f in zip(score, floor, strict=True)) for score in scores)


def group_of(point: Point) -> Group:
    """Points of one model compete with one another."""
    return tuple((k, v) for k, v in point.settings().items() if k == "model" or k.startswith("model."))


@dataclass(frozen=True)
class Contender:
    """Simulates points, each until it is sure that one of its rivals, the results of others, betters it."""

    sweep: Sweep
    rivals: Mapping[Group, Sequence[Score]]

    def __call__(self, point: Point) -> Mapping[str, Scalar]:
        """Raises Bettered."""
        above, rivals = floors(self.sweep).above(point), self.rivals.get(group_of(point), ())

        def watch(cycles: float, joules: float) -> None:
            if bettered(above(cycles, joules), rivals):
                raise Bettered

        return simulate_point(point, watch)


def _least(point: Point) -> tuple[float, float]:
    """Cycles and joules of action."""
    from ..mapping.machine_bound import machine_bound
    from ..simulation import auto_mapper, load_floor

    arch, workload = machine(point.arch, point.arch_values), model(point.model, point.model_options)
    floor = load_floor(auto_mapper(arch) if point.mapper == "auto" else point.mapper)
    if floor is not None:
        return floor(workload, arch)
    bound = machine_bound(workload, arch)
    return bound.cycles, bound.energy_J


def _number(value: Scalar | None) -> float | None:
    if isinstance(value, str):
        read = quantity(value)
        return None if read is None else read[0]
    return None if value is None or isinstance(value, bool) else float(value)


def _interval(whole: Expression, known: Mapping[str, Interval]) -> Interval:
    found = _of(whole, whole.tree, known)
    return ANYTHING if any(math.isnan(end) for end in found) else found


def _of(whole: Expression, node: Node, known: Mapping[str, Interval]) -> Interval:
    match node:
        case Number():
            return node.value, node.value
        case Name():
            return known.get(whole.columns.get(node.name, node.name), ANYTHING)
        case Unary(operator="-"):
            low, high = _of(whole, node.operand, known)
            return -high, -low
        case Binary(operator="+" | "-" | "*" | "/"):
            return _arithmetic(node.operator, _of(whole, node.left, known), _of(whole, node.right, known))
        case Call(function="min" | "max"):
            parts = [_of(whole, argument, known) for argument in node.arguments]
            pick = min if node.function == "min" else max
            return pick(low for low, _ in parts), pick(high for _, high in parts)
        case Call(function="sqrt" | "log" | "log2" | "log10"):
            low, high = _of(whole, node.arguments[0], known)
            return _rising(node.function, low), _rising(node.function, high)
    return ANYTHING


def _rising(function: str, value: float) -> float:
    if value == math.inf:
        return math.inf
    if value < 0 or (value == 0 and function != "sqrt"):
        return -math.inf
    return float(getattr(math, function)(value))


def _arithmetic(operator: str, one: Interval, other: Interval) -> Interval:
    if operator == "+":
        return one[0] + other[0], one[1] + other[1]
    if operator == "-":
        return one[0] - other[1], one[1] - other[0]
    if operator == "/":
        if other[0] <= 0 <= other[1]:
            return ANYTHING
        other = 1 / other[1], 1 / other[0]
    ends = [0.0 if 0 in (a, b) else a * b for a in one for b in other]
    return min(ends), max(ends)
