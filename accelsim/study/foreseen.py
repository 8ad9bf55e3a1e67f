"""Names in the expressions of a sweep, checked before the first simulation: no slip shows after hours of work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import Problem, SpecError
from .analysis import Analysis
from .evaluation import SIZES, machine
from .expression import Expression
from .sweep import Sweep


def check_names(sweep: Sweep) -> None:
    """Check objectives, constraints and derived columns against what a simulation's report holds.

    Names of parts of the machine (``traffic_bytes.dram.read``) can only be checked by their first part.

    Raises:
        SpecError: a name that no report will hold, or a machine that is wrong before any axis changes it.
    """
    from ..report import schema

    properties = schema()["properties"]
    scalars = [name for name, of in properties.items() if not {"object", "array"} & {str(t) for t in _types(of)}]
    settings = {name: None for axis in sweep.axes for name in axis.names}
    settings |= {f"model.{name}": None for model in sweep.models for name, _ in model.options}
    known = [*settings, "arch", "model", "mapper", "objective", "seed", *scalars, *SIZES]
    heads = {name for name, of in properties.items() if "object" in _types(of)} | {"machine"}
    axes = [str(step[axis.names.index("arch")]) for axis in sweep.axes if "arch" in axis.names for step in axis.steps]
    for ref in (*sweep.archs, *axes):
        arch = machine(ref)
        heads |= {*arch.memories, *arch.units, *arch.links}
    problems: list[Problem] = []
    parsed = Analysis.parse(sweep.derived, sweep.constraints, sweep.pareto)
    for name, expression in parsed.derived:
        problems += _unknown("derived", expression, known, heads)
        known.append(name)
    for expression in parsed.constraints:
        problems += _unknown("constraint", expression, known, heads)
    for objective in parsed.objectives:
        problems += _unknown("objective", objective.expression, known, heads)
    if problems:
        raise SpecError(problems)


def _types(of: dict[str, object]) -> list[object]:
    found = of.get("type", [])
    return found if isinstance(found, list) else [found]


def _unknown(kind: str, expression: Expression, known: Iterable[str], heads: Iterable[str]) -> list[Problem]:
    open_names = [name for name in expression.names() if "." in name and name.partition(".")[0] in heads]
    try:
        expression.bind([*known, *open_names])
    except SpecError as error:
        return [replace(problem, where=f"{kind} {problem.where}") for problem in error.problems]
    return []
