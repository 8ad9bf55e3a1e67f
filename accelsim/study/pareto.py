"""Pareto fronts of result rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import BadInput
from .sweep import Scalar


def front(values: Sequence[Mapping[str, Scalar]], objectives: Sequence[str]) -> list[int]:
    """Positions of the rows that are not dominated, in order.

    A row dominates another if it is at least as good in every objective and better in one; of equal rows all stay.

    Args:
        values: one mapping per row; rows without one of the objectives are left out.
        objectives: column names, smaller being better; a leading minus sign makes larger better.

    Raises:
        BadInput: no objective is given, or no row has a number under one of them.
    """
    if not objectives:
        raise BadInput("a Pareto front needs an objective, such as latency_s")
    names = [name.removeprefix("-") for name in objectives]
    signs = [-1.0 if name.startswith("-") else 1.0 for name in objectives]
    for name in names:
        if not any(_is_number(row.get(name)) for row in values):
            known = sorted({key for row in values for key, value in row.items() if _is_number(value)})
            raise BadInput(f"no column of numbers '{name}' (there are {', '.join(known) or 'none'})")
    scored = [
        (tuple(sign * float(row[name]) for name, sign in zip(names, signs, strict=True)), i)
        for i, row in enumerate(values)
        if all(_is_number(row.get(name)) for name in names)
    ]
    kept: list[tuple[tuple[float, ...], int]] = []
    # In lexicographic order a row can only be dominated by one that stands before it.
    for score, i in sorted(scored):
        if not any(other != score and all(a <= b for a, b in zip(other, score, strict=True)) for other, _ in kept):
            kept.append((score, i))
    return sorted(i for _, i in kept)


def _is_number(value: Scalar | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
