"""What ``accelsim run`` makes of a Report beside JSON and pages: mapping files, time lines, tables."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..report import Report

MOST_WITHOUT_JUMPS = 50_000_000
"""Firings that a time line for Perfetto has run one by one; of more it lists those that the kernel does not skip."""

SHOWN = 0.005
"""Elasticities below that are not printed."""


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


def fluid_bound_of(report: Report) -> dict[str, Any]:
    """The fluid bound of what was run, in cycles, and what one percent more of each resource takes off it, in percent.

    A Program with too many firings for it has a note instead.
    """
    from ..engine.fluid import fluid_bound
    from ..errors import BadInput

    program = report.trace.program
    try:
        bound = fluid_bound(program)
    except BadInput as error:
        return {"cycles": None, "prices": [], "note": str(error)}
    prices = [{"kind": p.kind, "name": p.name, "elasticity": p.elasticity} for p in bound.prices]
    return {"cycles": float(bound.ticks * Fraction(report.arch.clock) / program.tick_hz), "prices": prices}


def show_fluid_bound(told: dict[str, Any], report: Report) -> None:
    """What `fluid_bound_of` says, in words."""
    if told["cycles"] is None:
        typer.echo(told["note"])
        return
    typer.echo(
        f"fluid bound: {told['cycles']:,.0f} cycles, {100 * told['cycles'] / report.cycles:.1f} % of the latency"
    )
    worth = [f"{p['kind']} {p['name']} {p['elasticity']:.2f} %" for p in told["prices"] if p["elasticity"] >= SHOWN]
    if worth:
        typer.echo(f"    1 % more of each takes off it: {'; '.join(worth)}")
    else:
        typer.echo("    no higher than the program bound: no want of room is proven")


def show(report: Report) -> None:
    """The tables of a Report, and what its model and mapper have to say."""
    from ..report import print_report
    from .cells import terminal

    console = terminal()
    print_report(report, console)
    for note in report.provenance["notes"]:
        console.print(note, markup=False)
