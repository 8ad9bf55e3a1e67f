"""Elasticity: what one per cent more of a parameter of the machine is worth.

The elasticity of a result y to a parameter x is d ln y / d ln x, here between one step down and one step up from the
machine as it is: -1 says that twice the bandwidth halves the latency, 0 that it does nothing. It is told of the
simulation and, beside it, of the machine bound: where the bound would fall and the simulation does not, the mapping or
the schedule is in the way, not the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import AccelsimError, BadInput
from .evaluation import simulate_point, spec_of
from .floors import bounded_columns
from .outcome import Evaluate, Outcome, Status, evaluated
from .point import Point
from .span import Scalar

STEP = 0.25
"""How far a parameter is moved: whole numbers and units of storage take no small steps."""
LEFT_OUT = ("source", "technology", "voltage", "standard")
"""Keys of a machine that are no parameters of its performance."""
_COLUMNS = ("latency_s", "energy_J")


@dataclass(frozen=True)
class Elasticity:
    """What a parameter is worth.

    Attributes:
        path: of the parameter in the machine.
        value: what it is.
        lower, higher: what it was set to.
        simulated: elasticity by result (``latency_s``, ``energy_J``); None where one of the steps cannot be run.
        bound: the same of the machine bound.
        message: why a step could not be run.
    """

    path: str
    value: Scalar
    lower: Scalar
    higher: Scalar
    simulated: dict[str, float | None]
    bound: dict[str, float | None]
    message: str = ""


def numeric_paths(arch: str) -> list[str]:
    """Paths of the machine's numbers and quantities that its file states. Raises SpecError for a wrong file."""
    from ..arch.loader import keys_of_kind
    from ..arch.units import quantity_of, split

    data = spec_of(arch).document.data
    found = []
    for section, parts in data.items():
        if isinstance(parts, dict):
            for name, keys in parts.items():
                keys = keys if isinstance(keys, dict) else {}
                fields = keys_of_kind(keys.get("kind"))
                for key, value in keys.items():
                    numeric = isinstance(value, int | float) and not isinstance(value, bool)
                    quantity = isinstance(value, str) and key in fields and quantity_of(fields[key]) and split(value)
                    if key not in LEFT_OUT and (numeric or quantity):
                        found.append(f"{section}.{name}.{key}")
        elif section == "clock":
            found.append(section)
    return found


def movable(base: Point, paths: Sequence[str], *, step: float = STEP) -> tuple[list[str], list[str]]:
    """Parameters that can be moved by a share, and those that cannot, such as a latency of 0.

    Raises:
        BadInput: a path that is none, or a step that is no share.
    """
    _check(step)
    found: tuple[list[str], list[str]] = [], []
    for path in paths:
        try:
            _moves(base, path, step)
            found[0].append(path)
        except _Unmovable:
            found[1].append(path)
    return found


def elasticities(
    base: Point,
    paths: Sequence[str],
    *,
    step: float = STEP,
    run: Callable[[Evaluate, Sequence[Point]], Sequence[Outcome]] | None = None,
    evaluate: Evaluate | None = None,
) -> list[Elasticity]:
    """Elasticities of latency and energy to parameters of a machine, in the order of the paths.

    Args:
        base: machine, model and mapper.
        paths: parameters, such as ``memories.dram.bandwidth``.
        step: the share by which each is moved up and down; whole numbers move by one at least.
        run: how points are evaluated; one after the other here if None.
        evaluate: simulates a point; the default calls `accelsim.simulate`.

    Raises:
        BadInput: a path that is none, or whose value is no number; a machine that does not run as it is.
    """
    _check(step)
    call = evaluate or simulate_point
    moves = [_moves(base, path, step) for path in paths]
    points = [base, *(moved(base, p, value) for p, (_, *ends) in zip(paths, moves, strict=True) for value in ends)]
    run = run or (lambda function, some: [evaluated(function, point) for point in some])
    outcomes = run(call, points)
    if outcomes[0].status is not Status.DONE:
        raise BadInput(f"the machine does not run as it is: {outcomes[0].message}")
    found = []
    for i, (path, (value, lower, higher)) in enumerate(zip(paths, moves, strict=True)):
        ends, at = outcomes[1 + 2 * i : 3 + 2 * i], points[1 + 2 * i : 3 + 2 * i]
        ratio = math.log(_amount(higher) / _amount(lower))
        message = next((end.message for end in ends if end.status is not Status.DONE), "")
        simulated = [end.values if end.status is Status.DONE else {} for end in ends]
        bounds = [_bounds(point) for point in at]
        found.append(
            Elasticity(path, value, lower, higher, _slopes(simulated, ratio), _slopes(bounds, ratio), message)
        )
    return found


def moved(base: Point, path: str, value: Scalar) -> Point:
    """The point with another value of a parameter."""
    return replace(base, arch_values=(*((p, v) for p, v in base.arch_values if p != path), (path, value)))


class _Unmovable(BadInput):
    """A value that has no step of a share up and down."""


def _check(step: float) -> None:
    if not 0 < step < 1:
        raise BadInput(f"step: {step} (a share above 0 and below 1)")


def _moves(base: Point, path: str, step: float) -> tuple[Scalar, Scalar, Scalar]:
    """The value of a parameter, and a step down and up from it."""
    value: Any = dict(base.arch_values).get(path)
    if value is None:
        spec = spec_of(base.arch)
        value = spec.document.data
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            spec.with_values({path: 1})  # says what is wrong with the path
            raise BadInput(f"{base.arch}: `{path}` is not stated in the machine (give it a value with --set)")
    ends = _ends(value, step)
    if ends is None or not 0 < _amount(ends[0]) < _amount(ends[1]) < math.inf:
        raise _Unmovable(f"{base.arch}: `{path}` is {value!r}, which cannot be moved by a share of {step:g} (a number "
                         "above 0 can)")  # fmt: skip
    return value, *ends


_SMALLER = {"KiB": "B", "MiB": "KiB", "GiB": "MiB", "TiB": "GiB"}


def _ends(value: Any, step: float) -> tuple[Scalar, Scalar] | None:
    """A step down and up in the same unit; None for what is no number."""
    from ..arch.units import BYTES, split

    if isinstance(value, int) and not isinstance(value, bool):
        return _whole_ends(value, step)
    if isinstance(value, float):
        return value * (1 - step), value * (1 + step)
    found = split(value) if isinstance(value, str) else None
    if found is None:
        return None
    number, unit = found
    if unit not in BYTES.units:
        low, high = (f"{float(number) * (1 + by):.12g} {unit}" for by in (-step, step))
        return low, high
    # A capacity is a whole number of bytes, and often one of the next smaller unit.
    smaller = _SMALLER.get(unit, "B")
    count = number * BYTES.units[unit] / BYTES.units[smaller]
    if count.denominator != 1:
        smaller, count = "B", number * BYTES.units[unit]
    low_count, high_count = _whole_ends(round(count), step)
    return f"{low_count} {smaller}", f"{high_count} {smaller}"


def _whole_ends(value: int, step: float) -> tuple[int, int]:
    """A step of one at least, down to one at least."""
    by = max(1, round(value * step))
    return (max(1, value - by), value + by) if value > 0 else (value, value)


def _amount(value: Scalar) -> float:
    """The number of a value; both ends of a step have the same unit."""
    from ..arch.units import split

    found = split(value) if isinstance(value, str) else (value, "")
    return float(found[0]) if found else math.nan


def _bounds(point: Point) -> dict[str, Scalar]:
    try:
        return {name: low for name, (low, _) in bounded_columns(point).items()}
    except AccelsimError:
        return {}


def _slopes(ends: Sequence[Any], ratio: float) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for column in _COLUMNS:
        low, high = (end.get(column) for end in ends)
        found[column] = math.log(high / low) / ratio if low and high else None
    return found
