"""The HTML page of a sweep or search: its points, the Pareto front, what each parameter does, and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .page import Cell, Column, Figure, Page, number

if TYPE_CHECKING:
    import pandas

MAX_LINES = 400
"""Points drawn in the chart of parallel coordinates; the front is always among them."""
MAX_STEPS = 12
"""Values of a numeric parameter that are drawn at equal distances."""
MAX_POINTS = 4000
"""Points drawn in a scatter plot; the front is always among them."""
MEDIANS = 8
"""Groups of equal size whose medians are drawn where a numeric parameter has more values."""
MAX_ROWS = 1000
"""Rows of the table; the front is always among them."""


def study_html(
    *,
    title: str,
    table: pandas.DataFrame,
    parameters: list[str],
    objectives: list[str],
    pareto: list[int],
    failed: pandas.DataFrame | None,
    notes: list[str],
    larger: Sequence[str] = (),
    infeasible: Sequence[int] = (),
) -> str:
    """Return the text of a self-contained page about the points of a study.

    Args:
        title: heading of the page.
        table: one row per finished point; its columns hold at least the parameters and objectives.
        parameters: columns that were varied, in the order of the parallel coordinates.
        objectives: columns to be judged by; the first is drawn against each of the others.
        pareto: positions (as for ``table.iloc``) of the points on the Pareto front.
        failed: rows of points without a result, or None.
        notes: sentences to stand above the charts.
        larger: objectives of which larger is better.
        infeasible: positions of the points that do not meet the constraints.

    Raises:
        BadInput: a named column or a position is not in the table.
    """
    _check(table, [*parameters, *objectives], [*pareto, *infeasible])
    finished, lost = len(table), 0 if failed is None else len(failed)
    subtitle = f"{finished} points, {len(pareto)} of them on the Pareto front"
    page = Page(title, f"{subtitle}, {lost} failed" if lost else subtitle)
    page.section("Summary")
    page.tiles(
        [
            ("points", number(finished), f"over {len(parameters)} parameters"),
            ("Pareto front", number(len(pareto)), "no other point is as good in every objective"),
            *((_range(o, values, o in larger)) for o in objectives if (values := _finite(table[o]))),
            *([("feasible", number(finished - len(infeasible)), "meet every constraint")] if infeasible else []),
            *([("failed", number(lost), "listed at the end")] if lost else []),
        ]
    )
    for note in notes:
        page.text(note, strong=True)
    if finished:
        _charts(page, table, parameters, objectives, pareto, frozenset(larger), frozenset(infeasible))
        _points(page, table, parameters, objectives, pareto)
    if failed is not None and lost:
        page.section("Failed points")
        page.table([Column(str(c)) for c in failed.columns], _cells(failed, list(failed.columns)))
    return page.render()


def _check(table: pandas.DataFrame, columns: Sequence[str], pareto: Sequence[int]) -> None:
    from ..errors import BadInput

    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise BadInput(f"no column '{missing[0]}' in the study's table (columns: {', '.join(map(str, table.columns))})")
    wrong = [i for i in pareto if not 0 <= i < len(table)]
    if wrong:
        raise BadInput(f"Pareto position {wrong[0]} is outside the study's table (0 to {len(table) - 1})")


def _range(objective: str, values: list[float], larger: bool) -> tuple[str, str, str]:
    low, high = number(min(values)), number(max(values))
    if larger:
        return f"highest {objective}", high, f"lowest {low}"
    return f"lowest {objective}", low, f"highest {high}"


def _charts(
    page: Page,
    table: pandas.DataFrame,
    parameters: list[str],
    objectives: list[str],
    pareto: list[int],
    larger: frozenset[str],
    infeasible: frozenset[int],
) -> None:
    if len(objectives) > 1:
        page.section("Trade-offs")
        for other in objectives[1:]:
            x, stairs = objectives[0], len(objectives) == 2
            # What is reached at least: a step keeps the value of the point on the worse side of it in x.
            shape = "vh" if x in larger else "hv"
            figure = _scatter(table, parameters, x, other, pareto, infeasible, shape if stairs else "")
            note = f"{MAX_POINTS} of {len(table)} points are drawn." if len(table) > MAX_POINTS else ""
            page.figure(figure, title=f"{x} and {other}", note=note)
    axes = [*parameters, *objectives]
    if len(axes) > 1:
        page.section("Parallel coordinates", "One line per point, each axis from its lowest value to its highest.")
        note = f"{MAX_LINES} of {len(table)} points are drawn." if len(table) > MAX_LINES else ""
        page.figure(_parallel(table, axes, pareto), title="Parameters and objectives", note=note, height=380)
    if parameters and objectives:
        page.section("What each parameter does", "Points, and the median at each value of the parameter; of more than "
                     f"{MAX_STEPS} numbers, over {MEDIANS} groups of equal size.")  # fmt: skip
        for objective in objectives:
            page.figures([(f"{objective} by {p}", _effect(table, p, objective, pareto)) for p in parameters])


def _points(
    page: Page, table: pandas.DataFrame, parameters: list[str], objectives: list[str], pareto: list[int]
) -> None:
    front = set(pareto)
    best = sorted(front, key=lambda i: [_float(table[o].iloc[i]) for o in objectives])
    shown = [*best, *[i for i in range(len(table)) if i not in front][: max(0, MAX_ROWS - len(best))]]
    first = [*objectives, *parameters]
    columns = [*first, *[c for c in table.columns if c not in first]]
    page.section("Points", "The Pareto front comes first." + _missing(len(shown), len(table)))
    rows = _cells(table.iloc[shown], columns)
    page.table([Column(str(c)) for c in columns], rows, marked=frozenset(range(len(best))))


def _missing(shown: int, of: int) -> str:
    return f" {shown} of {of} points are listed." if shown < of else ""


def _thinned(rows: list[int], most: int) -> list[int]:
    """At most so many of the rows, evenly over their order."""
    return rows[:: max(1, math.ceil(len(rows) / max(1, most)))]


def _scatter(
    table: pandas.DataFrame,
    parameters: list[str],
    x: str,
    y: str,
    pareto: list[int],
    infeasible: frozenset[int],
    shape: str,
) -> Figure:
    """One objective against another; lines of a `shape` join the front, which only two objectives order."""
    front = sorted(pareto, key=lambda i: _float(table[x].iloc[i]))
    rest = _thinned(sorted(set(range(len(table))) - set(pareto)), MAX_POINTS - len(pareto))
    hover = {i: _hover(table, i, [*parameters, x, y]) for i in (*front, *rest)}

    def points(rows: list[int]) -> dict[str, Any]:
        return {
            "type": "scatter",
            "x": [_plain(table[x].iloc[i]) for i in rows],
            "y": [_plain(table[y].iloc[i]) for i in rows],
            "text": [hover[i] for i in rows],
            "hovertemplate": "%{text}<extra></extra>",
        }

    others = {**points([i for i in rest if i not in infeasible]), "mode": "markers", "name": "other points",
              "marker": {"color": "$muted", "size": 6, "opacity": 0.5}}
    beyond = {**points([i for i in rest if i in infeasible]), "mode": "markers", "name": "not feasible",
              "marker": {"color": "$muted", "size": 6, "opacity": 0.5, "symbol": "x-thin-open"}}
    best = {**points(front), "mode": "lines+markers" if shape else "markers", "name": "Pareto front",
            "marker": {"color": "$1", "size": 10, "line": {"color": "$surface", "width": 1.5}},
            "line": {"color": "$1", "width": 1.5, "shape": shape or "linear", "dash": "dot"}}
    return {"data": [others, *([beyond] if infeasible else []), best],
            "layout": {"xaxis": _axis(table[x], x), "yaxis": _axis(table[y], y)}}  # fmt: skip


def _parallel(table: pandas.DataFrame, axes: list[str], pareto: list[int]) -> Figure:
    scales = [_Scale(table[a]) for a in axes]
    front = set(pareto)
    rest = [i for i in range(len(table)) if i not in front]
    data = []
    for rows, name, line in (
        (_thinned(rest, MAX_LINES - len(pareto)), "other points", {"color": "$muted", "width": 0.8}),
        (sorted(front), "Pareto front", {"color": "$1", "width": 2}),
    ):
        for k, i in enumerate(rows):
            data.append({
                "type": "scatter", "mode": "lines", "name": name, "legendgroup": name, "showlegend": k == 0,
                "x": list(range(len(axes))),
                "y": [s.place(table[a].iloc[i]) for s, a in zip(scales, axes, strict=True)],
                "line": line, "opacity": 0.35 if name == "other points" else 0.9, "hoverinfo": "text",
                "text": _hover(table, i, axes),
            })  # fmt: skip
    notes = [
        {"x": k, "y": y, "text": text, "showarrow": False, "yshift": 11 * sign, "font": {"size": 11, "color": "$muted"}}
        for k, s in enumerate(scales)
        for y, sign, text in ((0.0, -1, s.low_text), (1.0, 1, s.high_text))
    ]
    lines = [{"type": "line", "x0": k, "x1": k, "y0": 0, "y1": 1, "line": {"color": "$grid", "width": 1}}
             for k in range(len(axes))]
    layout = {
        "xaxis": {"tickvals": list(range(len(axes))), "ticktext": axes, "range": [-0.4, len(axes) - 0.6],
                  "showgrid": False, "zeroline": False},
        "yaxis": {"visible": False, "range": [-0.1, 1.1]}, "annotations": notes, "shapes": lines,
    }  # fmt: skip
    return {"data": data, "layout": layout}


class _Scale:
    """Places the values of a column between 0 and 1: by size (its logarithm over a wide range), else as `_names`."""

    def __init__(self, column: pandas.Series[Any]) -> None:
        self._names: list[str] = []
        self._log = False
        values = _finite(column) if _is_number(column) else []
        if values:
            self._log = _wide(column)
            self._low, self._high = (math.log(v) if self._log else v for v in (min(values), max(values)))
            self.low_text, self.high_text = number(min(values), 3), number(max(values), 3)
        else:
            self._names = _names(column)
            self.low_text, self.high_text = self._names[0], self._names[-1]

    def place(self, value: Any) -> float | None:
        if self._names:
            return self._names.index(str(value)) / max(1, len(self._names) - 1)
        at = _float(value)
        if not math.isfinite(at):
            return None
        at = math.log(at) if self._log else at
        return (at - self._low) / (self._high - self._low) if self._high > self._low else 0.5


def _effect(table: pandas.DataFrame, parameter: str, objective: str, pareto: list[int]) -> Figure:
    """An objective against a parameter: every point, and the median at each value.

    Up to MAX_STEPS different values stand at equal distances, more of them at their size, with medians over groups.
    """
    front = set(pareto)
    known = [i for i in range(len(table)) if math.isfinite(_float(table[objective].iloc[i]))]
    numeric = _is_number(table[parameter])
    values = sorted(_finite(table[parameter])) if numeric else _names(table[parameter])
    steps = not numeric or len(set(values)) <= MAX_STEPS
    names = list(dict.fromkeys(number(v) if isinstance(v, float) else v for v in values))

    def place(i: int) -> float | str | None:
        value = table[parameter].iloc[i]
        if not numeric:
            return str(value)
        return number(_float(value)) if steps else _plain(value)

    def group(rows: list[int], name: str, marker: dict[str, Any]) -> dict[str, Any]:
        return {"type": "scatter", "mode": "markers", "name": name, "marker": marker, "x": [place(i) for i in rows],
                "y": [_plain(table[objective].iloc[i]) for i in rows], "hovertemplate": "%{x}: %{y}<extra></extra>"}

    if steps and numeric and any(not math.isfinite(_float(v)) for v in table[parameter]):
        names.append(number(math.nan))
    by_value: dict[Any, list[float]] = {}
    for i in known:
        by_value.setdefault(place(i), []).append(_float(table[objective].iloc[i]))
    if steps:
        order: list[Any] = [n for n in names if n in by_value]
    else:
        by_value = _grouped({k: v for k, v in by_value.items() if k is not None})
        order = list(by_value)
    median = {"type": "scatter", "mode": "lines+markers" if numeric else "markers", "name": "median",
              "line": {"color": "$0", "width": 2}, "marker": {"color": "$0", "size": 8, "symbol": "diamond"},
              "x": order, "y": [_median(by_value[k]) for k in order],
              "hovertemplate": "median at %{x}: %{y}<extra></extra>"}  # fmt: skip
    across = _axis(table[parameter], "")
    if steps:
        across = {"type": "category", "categoryorder": "array", "categoryarray": names}
    dots = {"color": "$muted", "size": 5, "opacity": 0.45}
    drawn = _thinned([i for i in known if i not in front], MAX_POINTS - len(pareto))
    return {"data": [group(drawn, "points", dots),
                     group([i for i in known if i in front], "Pareto front", {"color": "$1", "size": 6}), median],
            "layout": {"showlegend": False, "yaxis": _axis(table[objective], ""), "xaxis": across}}  # fmt: skip


def _grouped(by_value: dict[float, list[float]]) -> dict[float, list[float]]:
    """Values in MEDIANS groups of about equal size along the parameter, each at the median of its parameters."""
    pairs = sorted((key, value) for key, values in by_value.items() for value in values)
    cuts = [round(k * len(pairs) / MEDIANS) for k in range(MEDIANS + 1)]
    groups = [pairs[a:b] for a, b in pairwise(cuts) if b > a]
    return {_median([key for key, _ in group]): [value for _, value in group] for group in groups}


def _names(column: pandas.Series[Any]) -> list[str]:
    """The different values as text: in the order of an ordered Categorical, else of the alphabet."""
    used = {str(v) for v in column}
    if getattr(column.dtype, "ordered", False):
        return [str(v) for v in column.cat.categories if str(v) in used]
    return sorted(used)


def _median(values: list[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _axis(column: pandas.Series[Any], title: str) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": title} if title else {}
    if _is_number(column) and _wide(column):
        axis |= {"type": "log", "dtick": 1, "exponentformat": "SI"}
    return axis


def _wide(column: pandas.Series[Any]) -> bool:
    values = _finite(column)
    return bool(values) and min(values) > 0 and max(values) >= 50 * min(values)


def _is_number(column: pandas.Series[Any]) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(column)) and not is_bool_dtype(column)


def _finite(column: pandas.Series[Any]) -> list[float]:
    return [v for v in map(_float, column) if math.isfinite(v)]


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _plain(value: Any) -> float | None:
    """The value as JSON can hold it."""
    number_ = _float(value)
    return number_ if math.isfinite(number_) else None


def _hover(table: pandas.DataFrame, row: int, columns: Sequence[str]) -> str:
    return "<br>".join(f"{c}: {_text(table[c].iloc[row])}" for c in dict.fromkeys(columns))


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return number(value)
    if isinstance(value, str) or not math.isfinite(_float(value)):
        return str(value).replace("&", "&amp;").replace("<", "&lt;")
    return str(value) if isinstance(value, bool) else number(_float(value))


def _cells(table: pandas.DataFrame, columns: Sequence[Any]) -> list[list[Cell]]:
    numeric = {c: _is_number(table[c]) for c in columns}
    return [
        [_plain(row[c]) if numeric[c] else str(row[c]) for c in columns] for row in table.to_dict(orient="records")
    ]
