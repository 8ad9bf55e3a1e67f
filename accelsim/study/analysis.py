"""Analysis: what is worked out from the results of a study: derived columns, constraints, objectives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import Problem, SpecError
from .dimensions import Dimension
from .expression import Expression, Row
from .expression_nodes import Name, Unary
from .span import Scalar

_NAME = re.compile(r"[^\W\d]\w*(?:\.\w+)*")


@dataclass(frozen=True)
class Objective:
    """A column to be judged by."""

    column: str
    larger: bool
    """Whether larger is better."""
    expression: Expression
    """What gives the column, if it is no column of the results."""


@dataclass(frozen=True)
class Analysis:
    """Expressions over the columns of a study; `parse` reads their texts, `bind` finds their columns."""

    derived: tuple[tuple[str, Expression], ...]
    """Columns by name; each may use those before it."""
    constraints: tuple[Expression, ...]
    objectives: tuple[Objective, ...]

    @classmethod
    def parse(
        cls, derived: Iterable[tuple[str, str]], constraints: Iterable[str], objectives: Iterable[str]
    ) -> Analysis:
        """Raises SpecError with every expression that is not well formed."""
        problems: list[Problem] = []

        def read(kind: str, text: str, condition: bool) -> Expression | None:
            try:
                return Expression.parse(text, condition=condition)
            except SpecError as error:
                problems.extend(replace(p, where=f"{kind} {p.where}") for p in error.problems)
                return None

        columns: list[tuple[str, Expression]] = []
        for name, text in derived:
            if not _NAME.fullmatch(name):
                problems.append(Problem(f"derived '{name}'", "is no name of a column", "letters, digits, _ and dots"))
            if name in (other for other, _ in columns):
                problems.append(Problem(f"derived '{name}'", "is given twice"))
            if expression := read("derived", text, False):
                columns.append((name, expression))
        judged = [e for text in constraints if (e := read("constraint", text, True))]
        problems += [
            Problem(f"constraint '{e.text}', character 1", "is no condition", f"such as {e.text} <= 3 mJ")
            for e in judged
            if isinstance(e.tree, Name)
        ]
        aims = [_objective(e) for text in objectives if (e := read("objective", text, False))]
        if problems:
            raise SpecError(problems)
        return cls(tuple(columns), tuple(judged), tuple(aims))

    def bind(self, columns: Iterable[str]) -> Analysis:
        """The analysis over certain columns. Raises SpecError: names that are no columns, units that do not agree."""
        known, problems = list(columns), list[Problem]()

        def bound(kind: str, expression: Expression) -> Expression:
            try:
                return expression.bind(known, units)
            except SpecError as error:
                problems.extend(replace(p, where=f"{kind} {p.where}") for p in error.problems)
                return expression

        units: dict[str, Dimension] = {}
        derived = []
        for name, expression in self.derived:
            if name in known:
                problems.append(Problem(f"derived '{name}'", "is a column already", "give it another name"))
            found = bound("derived", expression)
            derived.append((name, found))
            if found.columns or not found.names():
                units[name] = found.dimension(units)
            known.append(name)
        constraints = tuple(bound("constraint", expression) for expression in self.constraints)
        objectives = []
        for objective in self.objectives:
            found = bound("objective", objective.expression)
            column = found.plain_column() or objective.column
            objectives.append(Objective(column, objective.larger, found))
        if problems:
            raise SpecError(problems)
        return Analysis(tuple(derived), constraints, tuple(objectives))

    def columns(self) -> list[str]:
        """The columns that any of the expressions reads, derived ones included."""
        every = (*(e for _, e in self.derived), *self.constraints, *(o.expression for o in self.objectives))
        return list(dict.fromkeys(column for expression in every for column in expression.columns.values()))

    def judge(self) -> _Judge:
        """The functions that work rows out; for use over many rows."""
        return _Judge(self)


def _objective(expression: Expression) -> Objective:
    """A leading minus sign before the whole turns the direction, and is no part of the column."""
    tree = expression.tree
    if isinstance(tree, Unary) and tree.operator == "-":
        inner = tree.operand
        text = inner.name if isinstance(inner, Name) else expression.text.strip().removeprefix("-").strip()
        return Objective(text, True, replace(expression, tree=inner))
    return Objective(tree.name if isinstance(tree, Name) else expression.text.strip(), False, expression)


class _Judge:
    def __init__(self, analysis: Analysis) -> None:
        given = [(o.column, o.expression) for o in analysis.objectives if o.expression.plain_column() is None]
        self._derived = [(name, expression.compile()) for name, expression in (*analysis.derived, *given)]
        self._constraints = [expression.compile() for expression in analysis.constraints]
        self.derives = bool(self._derived)

    def derived(self, row: Row) -> dict[str, Scalar]:
        """The derived columns that are defined for a row."""
        found: dict[str, Scalar] = {}
        whole = {**row} if self._derived else row
        for name, value in self._derived:
            if (worked_out := value(whole)) is not None:
                whole[name] = found[name] = worked_out  # type: ignore[index]
        return found

    def violated(self, row: Row) -> list[int]:
        """Positions of the constraints that a row, derived columns included, does not meet or does not define."""
        return [i for i, holds in enumerate(self._constraints) if holds(row) is not True]


def scores(row: Mapping[str, Scalar], objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The objectives of a row, smaller being better; None if it lacks one."""
    found = []
    for objective in objectives:
        value = row.get(objective.column)
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            return None
        found.append(-float(value) if objective.larger else float(value))
    return tuple(found)
