"""What ``accelsim run`` makes of a Report beside JSON and pages: mapping files, time lines, tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..report import Report

MOST_WITHOUT_JUMPS = 50_000_000
"""Firings that a time line for Perfetto has run one by one; of more it lists those that the kernel does not skip."""


def write(report: Report, save_mapping: Path | None, html: Path | None, perfetto: Path | None) -> None:
    """Write the files that were asked for."""
    if save_mapping is not None:
        write_mapping(report, save_mapping)
    if html is not None:
        report.to_html(html)
    if perfetto is not None:
        write_timeline(report, perfetto)


def write_mapping(report: Report, file: Path) -> None:
    """The Report's Mapping as YAML, or in a file that ends in .txt as nests in the style of Timeloop."""
    from ..files import write_text
    from ..mapping import dumps_mapping

    if report.mapping is None:
        return
    if file.suffix == ".txt":
        from ..report.timeloop import timeloop_text

        write_text(file, timeloop_text(report.mapping, report.workload, report.arch))
    else:
        write_text(file, dumps_mapping(report.mapping))


def write_timeline(report: Report, file: Path) -> None:
    """A time line for Perfetto, of a run of its own that records; says on stderr what it leaves out."""
    from ..engine import compiled
    from ..files import replacing
    from ..report.perfetto import MOST_SLICES, cut_note, write_perfetto

    jump = int(report.trace.firings.sum()) > MOST_WITHOUT_JUMPS
    trace = compiled.run(report.trace.program, jump=jump, record=MOST_SLICES)
    with replacing(file) as temporary:
        write_perfetto(trace, temporary)
    if note := cut_note(trace):
        typer.echo(f"{file}: {note}", err=True)


def show(report: Report) -> None:
    """The tables of a Report, and what its model and mapper have to say."""
    from ..report import print_report
    from .cells import terminal

    console = terminal()
    print_report(report, console)
    for note in report.provenance["notes"]:
        console.print(note, markup=False)
