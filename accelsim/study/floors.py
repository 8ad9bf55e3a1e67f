"""What the objectives of a point are at least, by its mapper's floor or the machine bound, before it is simulated.

A point whose floors are bettered by the results of another cannot be on the Pareto front, whatever its simulation would
give. Objectives are expressions, so floors are worked out with intervals: sizes of the machine and settings are exact,
latency, cycles and energy have a lower end, everything else may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from .analysis import Analysis, Objective
from .dimensions import quantity
from .evaluation import machine, model, size
from .expression import Expression
from .expression_nodes import Binary, Call, Name, Node, Number, Unary
from .point import Point
from .span import Scalar
from .sweep import Sweep

if TYPE_CHECKING:
    from ..arch.architecture import Architecture
    from ..ir import Workload

Interval: TypeAlias = tuple[float, float]
ANYTHING: Interval = (-math.inf, math.inf)


class Floors:
    """Works out floors of the objectives of a sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._parsed = Analysis.parse(sweep.derived, sweep.constraints, sweep.pareto)

    def of(self, point: Point) -> tuple[float, ...]:
        """The least score in every objective, smaller being better; -inf where nothing is known.

        Raises:
            AccelsimError: the machine or the model cannot be built.
        """
        known = bounded_columns(point)
        for name, expression in self._parsed.derived:
            known[name] = _interval(self._bound(expression, known), known)
        return tuple(self._score(objective, known) for objective in self._parsed.objectives)

    def _score(self, objective: Objective, known: Mapping[str, Interval]) -> float:
        low, high = _interval(self._bound(objective.expression, known), known)
        return -high if objective.larger else low

    def _bound(self, expression: Expression, known: Mapping[str, Interval]) -> Expression:
        """With the columns of the report that nothing is known of, which are anything."""
        from ..report import schema

        parts = [name for name in expression.names() if "." in name]
        return expression.bind([*known, *schema()["properties"], *parts])


def bounded_columns(point: Point) -> dict[str, Interval]:
    """Intervals of the columns of a point. Raises AccelsimError where the machine or the model cannot be built."""
    arch, workload = machine(point.arch, point.arch_values), model(point.model, point.model_options)
    cycles, joules = _least(workload, arch, point.mapper)
    latency_s = cycles / float(arch.clock)
    leakage = sum(part.leakage_watts or 0.0 for part in arch.components())
    found: dict[str, Interval] = {
        "cycles": (cycles, math.inf),
        "latency_s": (latency_s, math.inf),
        "energy_J": (joules + leakage * latency_s, math.inf),
    }
    exact: dict[str, Scalar | None] = {**point.settings(), **size(arch), "area_mm2": arch.area_mm2}
    for name, value in exact.items():
        if (number := _number(value)) is not None:
            found[name] = (number, number)
    return found


def _least(workload: Workload, arch: Architecture, mapper: str) -> tuple[float, float]:
    """Cycles and joules of action."""
    from ..mapping.machine_bound import machine_bound
    from ..simulation import auto_mapper, load_floor

    floor = load_floor(auto_mapper(arch) if mapper == "auto" else mapper)
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
