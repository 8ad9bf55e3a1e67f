"""The HTML page of a Report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import figures
from .mapped import mapped
from .off_chip import off_chip_words
from .page import Cell, Column, Page, number, si
from .residency import MOST_TENSORS, Box, memory_map, residency_timeline
from .study_page import study_html

if TYPE_CHECKING:
    from .report import Report

__all__ = ["report_html", "study_html"]

MAX_ROWS = 1000
"""Operators listed in the table; the longest ones."""


def report_html(report: Report) -> str:
    """The text of one self-contained page: nothing is fetched when it is opened."""
    page = Page(report.name, f"accelsim {report.provenance.get('accelsim', '')}")
    _summary(page, report)
    _time(page, report)
    _breakdown(page, report)
    _timeline(page, report)
    _operators(page, report)
    _mapping(page, report)
    _provenance(page, report)
    return page.render()


def _summary(page: Page, report: Report) -> None:
    bounds, latency = report.bounds, report.latency_s
    page.section("Summary")
    page.text(report.bottleneck, strong=True)
    page.tiles(
        [
            ("latency", si(latency, "s"), f"{number(report.cycles)} cycles"),
            ("energy", si(report.energy_J, "J"), f"at least {si(bounds.energy_J, 'J')} in any mapping"),
            ("MACs", si(report.macs, "MAC"), si(report.macs / latency, "MAC/s") if latency else ""),
            ("off-chip traffic", *off_chip_words(report)),
            ("program bound", _share(bounds.program, report.cycles), f"{number(bounds.program)} cycles, this mapping"),
            ("machine bound", _share(bounds.machine, report.cycles),
             f"{number(bounds.machine)} cycles, any mapping; {bounds.machine_limit}"),
            *((f"unit {unit}", _share(use["busy"], 1),
               f"busy; MACs {_share(use['mac'], 1)} of its peak" if report.roofs.macs.get(unit) else "busy")
              for unit, use in report.utilization.items()),
        ]
    )  # fmt: skip


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _time(page: Page, report: Report) -> None:
    page.section("Where the time goes")
    page.figure(
        figures.times(report),
        title="Time per operator",
        note="Each operator's share of the latency; the shares add up to it. Operators that take turns share their "
        "common time by the service they need.",
        height=figures.times_height(report),
    )
    page.figure(
        figures.roofline(report),
        title="Roofline",
        note="A MAC is one operation. The larger the mark, the longer the operator.",
        height=440,
    )


def _breakdown(page: Page, report: Report) -> None:
    page.section("Energy and traffic")
    charts = [("Energy by component", figures.energy(report)), ("Traffic by memory", figures.traffic(report))]
    page.figures(charts, height=320)
    page.table(
        [Column("component"), Column("kind"), Column("busy", share=True), Column("waits mostly for"), Column("MACs"),
         Column("read", unit="B"), Column("written", unit="B"), Column("transferred", unit="B"),
         Column("energy", unit="J")],
        [[c.name, c.category, c.busy or None, c.idle, c.macs or None, c.read_bytes or None, c.write_bytes or None,
          c.transfer_bytes or None, c.energy_J] for c in report.components],
    )  # fmt: skip
    page.table(
        [Column("tensor"), Column("role"), Column("size", unit="B"), Column("compulsory", unit="B"),
         Column("off-chip read", unit="B"), Column("off-chip written", unit="B"), Column("energy", unit="J")],
        [[t.tensor, t.role, t.bytes, t.compulsory_bytes, t.off_chip_read_bytes, t.off_chip_write_bytes, t.energy_J]
         for t in sorted(report.tensors, key=lambda t: (-t.energy_J, t.tensor))[:MAX_ROWS]],
        title="Tensors",
    )  # fmt: skip


def _timeline(page: Page, report: Report) -> None:
    slices = report.trace.slices
    if slices is None or not len(slices.actor):
        return
    figure = figures.timeline(report.trace, slices)
    shown, fired = min(len(slices.actor), figures.MAX_SLICES), int(report.trace.firings.sum())
    page.section("Timeline")
    note = f"The first {number(shown)} of {number(fired)} firings." if shown < fired else ""
    page.figure(figure, title="What ran when", note=note, height=figures.timeline_height(figure))


def _operators(page: Page, report: Report) -> None:
    page.section("Operators")
    ranked = sorted(report.operators, key=lambda row: (-row.cycles, row.name))[:MAX_ROWS]
    if len(ranked) < len(report.operators):
        page.text(f"The longest {len(ranked)} of {len(report.operators)} are listed.")
    columns = [
        Column("operator"), Column("kind"), Column("unit"), Column("runs"), Column("cycles"),
        Column("share", share=True), Column("busy", share=True), Column("MAC util.", share=True), Column("MACs"),
        Column("off-chip", unit="B"), Column("op/B"), Column("energy", unit="J"), Column("limit"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [row.name, row.kind, row.unit, row.runs, row.cycles, row.cycles / report.cycles if report.cycles else None,
         min(1.0, row.busy_cycles / row.cycles) if row.cycles else None, row.utilization, row.macs,
         row.off_chip_read_bytes + row.off_chip_write_bytes, row.intensity, row.energy_J, row.limit]
        for row in ranked
    ]  # fmt: skip
    page.table(columns, rows, operators=[row.name for row in ranked])


def _mapping(page: Page, report: Report) -> None:
    """Loop nests of the operators, and what the memories hold."""
    how = mapped(report)
    if how is None:
        return
    page.section("Loop nests", "How each operator is cut into tiles, where it runs, which tensors are moved there.")
    ranked = sorted(report.operators, key=lambda row: (-row.cycles, row.name))[:MAX_ROWS]
    page.folds([(row.name, row.kind, how.nests[row.name]) for row in ranked if row.name in how.nests])
    if not how.occupancies:
        return
    page.section(
        "Memory occupancy",
        "What each memory holds from step to step of the mapping; a step is what runs without an order among its "
        "operators. The children of a pipeline that hold several steps run at once, though they stand side by side "
        "here; the peak counts them together.",
    )
    for held in how.occupancies:
        page.figure(
            figures.occupancy(held, how.steps),
            title=f"In {held.memory}",
            note=f"Peak {si(held.peak.nbytes, 'B')} of {si(held.capacity_bytes, 'B')} "
            f"({_share(held.peak.nbytes, held.capacity_bytes)}).",
            height=280,
        )
        lying = [box for box in how.boxes.get(held.memory, ()) if box.address is not None]
        if lying:
            page.figure(
                memory_map(lying, held.capacity_bytes, how.steps),
                title=f"Addresses in {held.memory}",
                note="Tensors that stay, as rectangles of addresses over steps; tiles in passing are left out.",
                height=360,
            )
    if how.boxes:
        page.figure(
            residency_timeline(how.boxes),
            title="Which tensor stays where",
            note=f"The {MOST_TENSORS} tensors that take most bytes for most steps." if _many(how.boxes) else "",
            height=600,
        )


def _many(held: Mapping[str, Sequence[Box]]) -> bool:
    return len({box.tensor for boxes in held.values() for box in boxes}) > MOST_TENSORS


def _provenance(page: Page, report: Report) -> None:
    page.section("Provenance")
    record = dict(report.provenance)
    folded = {"versions": "Versions of packages", "defaults_used": "Defaults for what the machine leaves out"}
    page.facts([fact for key, value in record.items() if key not in folded for fact in _facts(key, value)])
    for key, title in folded.items():
        facts = _facts("", record.get(key, {}))
        if facts:
            page.facts(facts, folded=f"{title} ({len(facts)})")


def _facts(name: str, value: Any) -> list[tuple[str, str]]:
    """Leaves of a nested value, each with its path in words."""
    if isinstance(value, dict):
        return [fact for key, inner in value.items() for fact in _facts(f"{name} {key}".strip(), inner)]
    if isinstance(value, list):
        return [fact for inner in value for fact in _facts(name, inner)]
    if value is None:
        return []
    return [(name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))]
