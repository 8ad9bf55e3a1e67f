"""Two points or two studies beside each other, the difference column by column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BadInput
from .outcome import Status
from .span import Scalar
from .study import Study

ADDED = 1e-6
"""Relative error up to which the parts of a group are taken to add up to its whole."""


@dataclass(frozen=True)
class Change:
    """A column of two points; `part` is the share in the change of the column that it is a part of."""

    column: str
    before: Scalar | None
    after: Scalar | None
    whole: str = ""
    part: float | None = None

    @property
    def ratio(self) -> float | None:
        """After over before, of numbers that are not zero."""
        return _ratio(self.before, self.after)


@dataclass(frozen=True)
class PointComparison:
    """What differs between two points, settings first; results with the largest change first."""

    settings: tuple[Change, ...]
    results: tuple[Change, ...]
    same: int
    """Number of result columns that are equal."""


@dataclass(frozen=True)
class ColumnComparison:
    """A result column over all pairs of points."""

    column: str
    pairs: int
    lower: int
    higher: int
    mean_ratio: float | None
    """Geometric mean of after over before, where both are above zero."""
    largest: tuple[str, float] | None
    """Where the ratio is furthest from one, and that ratio."""


@dataclass(frozen=True)
class StudyComparison:
    """Pairs of points with the same settings in two studies."""

    by: tuple[str, ...]
    """The settings that tell the points of a pair from others."""
    pairs: int
    only_first: int
    only_second: int
    changed_status: tuple[tuple[str, str, str], ...]
    """Settings and both statuses of the pairs of which one has no result."""
    columns: tuple[ColumnComparison, ...]
    """Result columns that differ, the largest mean change first."""


def compare_points(one: Study, first: int, other: Study, second: int) -> PointComparison:
    """Compare a row of a study with one of another or the same.

    Raises:
        BadInput: no such row, or one without a result.
    """
    before, after = _row(one, first), _row(other, second)
    settings = [
        Change(name, before[0].get(name), after[0].get(name))
        for name in dict.fromkeys((*before[0], *after[0]))
        if before[0].get(name) != after[0].get(name)
    ]
    names = list(dict.fromkeys((*before[1], *after[1])))
    wholes = _wholes(before[1], after[1])
    changes = []
    for name in names:
        was, now = before[1].get(name), after[1].get(name)
        if was == now:
            continue
        whole = wholes.get(name, "")
        part = None
        if whole:
            total = _number(after[1][whole]) - _number(before[1][whole])
            part = (_number(now) - _number(was)) / total if total else None
        changes.append(Change(name, was, now, whole if part is not None else "", part))
    changes.sort(key=lambda change: (-_distance(change.ratio), change.column))
    return PointComparison(tuple(settings), tuple(changes), len(names) - len(changes))


def compare_studies(one: Study, other: Study) -> StudyComparison:
    """Compare the points that two studies have in common, by the settings that vary in either.

    A setting that has one value in each study, and not the same, is no ground to tell points apart: it is what is
    being compared.

    Raises:
        BadInput: no point of one has the settings of a point of the other.
    """
    by = _by(one, other)
    first, second = _index(one, by), _index(other, by)
    both = [settings for settings in first if settings in second]
    if not both:
        raise BadInput(f"the studies have no point in common by {', '.join(by) or 'their settings'}")
    changed, ratios = [], dict[str, list[tuple[str, Scalar, Scalar]]]()
    for settings in both:
        was, now = one.rows[first[settings]].outcome, other.rows[second[settings]].outcome
        told = ", ".join(f"{name}={value}" for name, value in zip(by, settings, strict=True)) or "the only point"
        words = [outcome.status.value if outcome else "not evaluated" for outcome in (was, now)]
        if words[0] != words[1]:
            changed.append((told, words[0], words[1]))
        elif was and now and was.status is Status.DONE:
            before, after = one.results(first[settings]), other.results(second[settings])
            for name in before.keys() & after.keys():
                ratios.setdefault(name, []).append((told, before[name], after[name]))
    columns = [found for name, values in ratios.items() if (found := _column(name, values)) is not None]
    columns.sort(key=lambda column: (-_distance(column.mean_ratio), column.column))
    return StudyComparison(
        by, len(both), len(first) - len(both), len(second) - len(both), tuple(changed), tuple(columns)
    )


def _row(study: Study, position: int) -> tuple[Mapping[str, Scalar], Mapping[str, Scalar]]:
    if not 0 <= position < len(study.rows):
        raise BadInput(f"'{study.sweep.name}' has no point {position} (0 to {len(study.rows) - 1})")
    row = study.rows[position]
    if row.outcome is None or row.outcome.status is not Status.DONE:
        why = f"{row.outcome.status.value}: {row.outcome.message}" if row.outcome else "not evaluated yet"
        raise BadInput(f"point {position} of '{study.sweep.name}' has no result ({why})")
    return row.settings, study.results(position)


def _wholes(before: Mapping[str, Scalar], after: Mapping[str, Scalar]) -> dict[str, str]:
    """From columns to the column that they and others of their group add up to in both points.

    Parts are recognised by their name and checked by their sum: ``energy_by_component_J.dram`` of ``energy_J``.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys((*before, *after)):
        head, dot, _ = name.partition(".")
        if dot and "_by_" in head:
            groups.setdefault(head, []).append(name)
    found = {}
    for head, parts in groups.items():
        quantity, _, rest = head.partition("_by_")
        unit = rest.rpartition("_")[2]
        for whole in (f"{quantity}_{unit}", f"{quantity}_dynamic_{unit}", f"energy_{quantity}_{unit}"):
            if all(_adds_up(point, parts, whole) for point in (before, after)):
                found.update(dict.fromkeys(parts, whole))
                break
    return found


def _adds_up(point: Mapping[str, Scalar], parts: Sequence[str], whole: str) -> bool:
    if whole not in point:
        return False
    total = _number(point[whole])
    return math.isclose(sum(_number(point.get(part)) for part in parts), total, rel_tol=ADDED, abs_tol=0.0)


def _by(one: Study, other: Study) -> tuple[str, ...]:
    names = dict.fromkeys((*one.sweep.parameters(), *other.sweep.parameters()))
    names |= dict.fromkeys(name for study in (one, other) for row in study.rows[:1] for name in row.settings)
    kept = []
    for name in names:
        values = [{row.settings.get(name) for row in study.rows} for study in (one, other)]
        if any(len(of) > 1 for of in values) and values[0] & values[1]:
            kept.append(name)
    return tuple(kept)


def _index(study: Study, by: Sequence[str]) -> dict[tuple[Scalar | None, ...], int]:
    found: dict[tuple[Scalar | None, ...], int] = {}
    for position, row in enumerate(study.rows):
        settings = tuple(row.settings.get(name) for name in by)
        if settings in found:
            other = study.rows[found[settings]].settings
            apart = [name for name in row.settings if row.settings[name] != other.get(name)]
            raise BadInput(f"points {found[settings]} and {position} of '{study.sweep.name}' differ only in "
                           f"{', '.join(apart)}, of which the other study has no value")  # fmt: skip
        found[settings] = position
    return found


def _column(name: str, values: Sequence[tuple[str, Scalar, Scalar]]) -> ColumnComparison | None:
    pairs = [(told, float(was), float(now)) for told, was, now in values if _is_number(was) and _is_number(now)]
    lower, higher = sum(now < was for _, was, now in pairs), sum(now > was for _, was, now in pairs)
    if not lower and not higher:
        return None
    ratios = [(told, now / was) for told, was, now in pairs if was > 0 and now > 0]
    logs = [math.log(ratio) for _, ratio in ratios]
    mean = math.exp(math.fsum(logs) / len(logs)) if logs else None
    largest = max(ratios, key=lambda pair: abs(math.log(pair[1]))) if ratios else None
    return ColumnComparison(name, len(pairs), lower, higher, mean, largest)


def _is_number(value: Scalar | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Scalar | None) -> float:
    return float(value) if value is not None and _is_number(value) else 0.0


def _ratio(before: Scalar | None, after: Scalar | None) -> float | None:
    if not _is_number(before) or not _is_number(after) or not _number(before):
        return None
    return _number(after) / _number(before)


def _distance(ratio: float | None) -> float:
    """How far a ratio is from one, the same for a half as for twice."""
    if ratio is None:
        return 0.0
    return abs(math.log(ratio)) if ratio > 0 else math.inf
