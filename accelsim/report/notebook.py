"""A Report in a notebook: its figures and its longest operators."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .off_chip import off_chip_words
from .page import number, si

if TYPE_CHECKING:
    from .report import Report

TOP = 10
"""Operators listed; the longest ones."""


def summary_html(report: Report) -> str:
    """Totals, the bottleneck and the longest operators, as HTML."""
    totals = [
        ("latency", si(report.latency_s, "s"), f"{number(report.cycles)} cycles"),
        ("energy", si(report.energy_J, "J"), f"at least {si(report.bounds.energy_J, 'J')} in any mapping"),
        ("MACs", number(report.macs), si(report.macs / report.latency_s, "MAC/s") if report.latency_s else ""),
        ("off-chip traffic", *off_chip_words(report)),
        ("program bound", f"{number(report.bounds.program)} cycles", "this mapping"),
        ("machine bound", f"{number(report.bounds.machine)} cycles", "any mapping"),
    ]
    ranked = sorted(report.operators, key=lambda row: (-row.cycles, row.name))
    rows = [
        (row.name, row.kind, row.unit, number(row.cycles),
         f"{100 * row.cycles / report.cycles:.1f} %" if report.cycles else "", si(row.energy_J, "J"), row.limit)
        for row in ranked[:TOP]
    ]  # fmt: skip
    title = f"the longest {TOP} of {len(ranked)} operators" if len(ranked) > TOP else "operators"
    return (
        f"<p><b>{html.escape(report.name)}</b></p><p>{html.escape(report.bottleneck)}</p>"
        + _table((), totals)
        + f"<p>{title}</p>"
        + _table(("operator", "kind", "unit", "cycles", "share", "energy", "limit"), rows)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heading = f"<thead><tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr></thead>" if head else ""
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{heading}<tbody>{lines}</tbody></table>"
