"""``accelsim reproduce``: published figures beside accelsim's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInput
from . import INTERRUPTED, completion
from .errors import fail
from .working import working

if TYPE_CHECKING:
    from ..experiments.loader import Comparison


OF_ONE_ROW = ("where", "published", "accelsim")
"""Columns of the overview that the terminal has no room for."""


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="The experiment, or `all`.", autocompletion=completion.of("experiments")
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name all experiments.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with a figure of the rows.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With `all`: write reproduce.html and reproduce.md there.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=0, help="With `all`: experiments at once, 2 unless given; 0 runs in this process.")
    ] = None,
) -> None:
    """Run an experiment and print published figure, accelsim's figure and error; exit 1 if one misses its tolerance."""
    from ..experiments.loader import load_experiment, summaries
    from ..files import writable_file, write_text

    if list_:
        for known, summary in summaries().items():
            typer.echo(f"{known}: {summary}")
        return
    if name is None:
        raise BadInput("give the name of an experiment (--list names all)")
    if name == "all":
        if figure is not None:
            raise BadInput("--figure goes with one experiment (--out writes the page of all)")
        _all(out, json_, 2 if jobs is None else jobs)
        return
    if out is not None:
        raise BadInput("--out goes with `all` (--figure writes the page of one experiment)")
    if jobs is not None:
        raise BadInput("--jobs goes with `all`; one experiment runs in this process")
    experiment = load_experiment(name)
    if figure is not None:
        if experiment.figure is None:
            raise BadInput(f"experiment '{name}' draws no figure (its experiment.py has no function figure)")
        writable_file(figure)
    with working(name):
        comparison = experiment.run()
    if figure is not None and experiment.figure is not None:
        from ..experiments.page import comparison_html

        write_text(figure, comparison_html(comparison, summaries()[name], experiment.figure(comparison.rows)))
    if json_:
        typer.echo(json.dumps(comparison.to_json(), indent=2))
    else:
        _print(comparison)
    if not comparison.ok:
        raise typer.Exit(1)


def _all(out: Path | None, json_: bool, jobs: int) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from ..experiments.loader import summaries
    from ..experiments.overview import Outcome, markdown, page, run_all, summary_of, totals
    from ..files import writable_folder, write_text
    from .cells import console, table

    known = summaries()
    where = writable_folder(out) if out is not None else None
    found: dict[str, Outcome] = {}
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=json_) as progress:
            task = progress.add_task("experiments", total=len(known))
            for outcome in run_all(known, jobs):
                found[outcome.name] = outcome
                progress.advance(task)
    except KeyboardInterrupt:
        if not found:
            fail("interrupted before the first experiment ended", INTERRUPTED)
    outcomes = [found[name] for name in known if name in found]
    if where is not None:
        write_text(where / "reproduce.html", page(outcomes))
        write_text(where / "reproduce.md", markdown(outcomes))
    if json_:
        told = [
            {"experiment": one.name, "error": one.message} if one.comparison is None else one.comparison.to_json()
            for one in outcomes
        ]
        typer.echo(json.dumps(told, indent=2))
    else:
        lines = [{k: v for k, v in totals(outcome).items() if k not in OF_ONE_ROW} for outcome in outcomes]
        console().print(table("published systems", list(lines[0]), lines, right=list(lines[0])[1:]))
        typer.echo(summary_of(outcomes))
        for one in outcomes:
            if one.comparison is None:
                typer.echo(f"{one.name} did not run: {one.message}")
        if where is not None:
            typer.echo(f"page: {where / 'reproduce.html'}\ntext: {where / 'reproduce.md'}")
    if len(outcomes) < len(known):
        fail(f"interrupted; {len(outcomes)} of {len(known)} experiments had ended", INTERRUPTED)
    if not all(outcome.ok for outcome in outcomes):
        raise typer.Exit(1)


def _print(comparison: Comparison) -> None:
    from rich.table import Table

    from .cells import console

    table = Table(title=comparison.experiment)
    for heading in ("quantity", "where", "published", "accelsim", "unit", "error", "tolerance", ""):
        table.add_column(heading, justify="right" if heading in ("published", "accelsim", "error") else "left")
    for row in comparison.rows:
        error = "" if row.error is None else f"{row.error:+.2%}"
        tolerance = "unreachable" if row.tolerance is None else f"{row.tolerance:.2%}"
        verdict = "" if row.ok is None else "ok" if row.ok else "MISSED"
        table.add_row(row.quantity, row.where, _figure(row.published), _figure(row.accelsim), row.unit, error,
                      tolerance, verdict)
    console().print(table)
    judged = [row for row in comparison.rows if row.ok is not None]
    missed = sum(not row.ok for row in judged)
    typer.echo(f"{len(judged) - missed} of {len(judged)} rows within tolerance, "
               f"{len(comparison.rows) - len(judged)} without one, {comparison.seconds:.1f} s")


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
