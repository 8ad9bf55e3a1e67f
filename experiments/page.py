"""The page of an experiment: its figure, and published and simulated values side by side."""

from __future__ import annotations

from ..report.page import Cell, Column, Figure, Page
from .loader import Comparison, Row

COLUMNS = ("quantity", "where", "published", "accelsim", "unit", "error", "tolerance", "source", "note")
"""Of a table of rows."""


def cells(row: Row) -> list[Cell]:
    """A row under COLUMNS."""
    error = "" if row.error is None else f"{row.error:+.2%}"
    tolerance = "unreachable" if row.tolerance is None else f"{row.tolerance:.2%}"
    return [row.quantity, row.where, row.published, row.accelsim, row.unit, error, tolerance, row.source, row.note]


def comparison_html(comparison: Comparison, summary: str, figure: Figure) -> str:
    """Return the text of a self-contained page; rows that miss their tolerance stand out.

    Args:
        comparison: what the experiment gave.
        summary: what it reproduces, in one sentence; the title of the figure.
        figure: ``{"data": [...], "layout": {...}}`` as plotly takes it; see `report.page` for colour names.
    """
    judged = [row for row in comparison.rows if row.ok is not None]
    missed = frozenset(i for i, row in enumerate(comparison.rows) if row.ok is False)
    page = Page(comparison.experiment, f"{len(judged) - len(missed)} of {len(judged)} rows within tolerance")
    page.section("Figure")
    page.figure(figure, title=summary, height=480)
    page.section("Rows")
    page.table([Column(name) for name in COLUMNS], [cells(row) for row in comparison.rows], marked=missed)
    return page.render()
