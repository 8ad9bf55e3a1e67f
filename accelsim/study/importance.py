"""Importance: which settings the results of a study depend on, and which only together with another.

Shares of the variance of an objective, as the functional analysis of variance has them (Hutter, Hoos and
Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014; Sobol's indices of the first
and second order): how far the mean moves with one setting alone, and how much further with two of them together. Over
a whole grid they are exact; over a sample they are estimates from groups of neighbouring values. Objectives above zero
are taken by their logarithm, so that a factor counts the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from ..errors import BadInput
from .dimensions import quantity
from .span import Scalar

if TYPE_CHECKING:
    from .study import Study

GROUPS = 8
"""Groups of neighbouring values, where a setting has more different ones."""


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of one objective over the points of a study.

    Attributes:
        objective: the column.
        model: whose points they are.
        points: how many.
        alone: share by setting, largest first.
        together: share of pairs of settings beyond what they do alone, largest first.
        rest: what these leave: settings in threes and more, and what is not settings at all.
        complete: whether the points are a whole grid, so that the shares are exact.
    """

    objective: str
    model: str
    points: int
    alone: dict[str, float]
    together: dict[tuple[str, str], float]
    rest: float
    complete: bool


def importance(study: Study, objective: str) -> list[Importance]:
    """Importance of the settings that vary, for every model of a study by itself.

    Raises:
        BadInput: no finished point has the objective as a number.
    """
    names = [name for name in study.sweep.leading() if name != "model" and not name.startswith("model.")]
    groups: dict[str, list[tuple[tuple[Scalar, ...], float]]] = {}
    for position, row in enumerate(study.rows):
        value = study.results(position).get(objective)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        chosen = tuple(row.settings.get(name, "not set") for name in names)
        groups.setdefault(study.model_of(row), []).append((chosen, float(value)))
    if not groups:
        raise BadInput(f"no finished point has numbers in '{objective}'")
    return [_of(model, objective, names, rows) for model, rows in groups.items()]


def _of(
    model: str, objective: str, names: Sequence[str], rows: Sequence[tuple[tuple[Scalar, ...], float]]
) -> Importance:
    import numpy as np

    values = np.array([value for _, value in rows])
    if (values > 0).all():
        values = np.log(values)
    levels = [_levels([settings[i] for settings, _ in rows]) for i in range(len(names))]
    counts = [1 + max(level, default=0) for level in levels]
    complete = len(rows) == math.prod(len({s[i] for s, _ in rows}) for i in range(len(names))) and all(
        count == len({s[i] for s, _ in rows}) for i, count in enumerate(counts)
    )
    total = float(values.var())
    if total <= 1e-24 * (1 + float(abs(values).max()) ** 2):
        return Importance(objective, model, len(rows), dict.fromkeys(names, 0.0), {}, 0.0, complete)

    def share(cells: Sequence[int]) -> float:
        """Variance of the mean of a cell over that of all points."""
        places = np.array(cells)
        n = np.bincount(places)
        means = np.bincount(places, values)[n > 0] / n[n > 0]
        spread = float((n[n > 0] * (means - values.mean()) ** 2).sum() / len(values))
        free = len(values) - len(means)
        if complete or free <= 0:
            return spread / total
        # Means of few points differ by chance, by so much: taken off, as an analysis of variance does.
        chance = (total - spread) / free * (len(means) - 1)
        return max(0.0, spread - chance) / total

    alone = {name: share(levels[i]) for i, name in enumerate(names) if counts[i] > 1}
    together = {}
    for i, j in combinations([i for i in range(len(names)) if counts[i] > 1], 2):
        both = share([a * counts[j] + b for a, b in zip(levels[i], levels[j], strict=True)])
        together[names[i], names[j]] = max(0.0, both - alone[names[i]] - alone[names[j]])
    rest = max(0.0, 1.0 - sum(alone.values()) - sum(together.values()))
    return Importance(
        objective, model, len(rows),
        dict(sorted(alone.items(), key=lambda item: -item[1])),
        dict(sorted(together.items(), key=lambda item: -item[1])),
        rest, complete,
    )  # fmt: skip


def _levels(values: Sequence[Scalar]) -> list[int]:
    """The place of every value among the different ones; of many numbers, the group of so many that it falls into."""
    different = list(dict.fromkeys(values))
    sizes = {value: _size(value) for value in different}
    if len(different) <= GROUPS or any(size is None for size in sizes.values()):
        return [different.index(value) for value in values]
    # Groups of about as many points each; equal values stay together.
    ordered = sorted(values, key=lambda value: sizes[value] or 0.0)
    place: dict[Scalar, int] = {}
    for i, value in enumerate(ordered):
        place.setdefault(value, i * GROUPS // len(ordered))
    used = sorted(set(place.values()))
    return [used.index(place[value]) for value in values]


def _size(value: Scalar) -> float | None:
    if isinstance(value, str):
        read = quantity(value)
        return None if read is None else read[0]
    return float(value)
