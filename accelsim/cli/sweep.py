"""``accelsim sweep``: a grid of machines, models and options."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInput, DoesNotFit
from . import options
from .errors import INTERRUPTED, fail

if TYPE_CHECKING:
    from ..study import Outcome, Study, Sweep
    from ..study.run import Progress

SHOWN = 8
"""Rows of the Pareto front that are printed of each model, the best by the first objective."""
PIPED_WIDTH = 150
"""Columns of text where there is no terminal to ask."""


def sweep(
    targets: Annotated[
        list[str], typer.Argument(metavar="ARCH MODEL... | FILE.yaml", help="A machine and models, or a sweep file.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results and the report page go.")],
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2", help="Vary arch.<path>, model.<option>, mapper ...; a+b=... ties two."),
    ] = None,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    precision: options.Precision = None,
    allow_unknown: options.AllowUnknown = False,
    mapper: options.Mapper = "auto",
    objective: options.Objective = "latency",
    seed: options.Seed = 0,
    pareto: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Objectives of the Pareto front; -name: larger is better.")
    ] = "latency_s,energy_J",
    resume: Annotated[bool, typer.Option(help="Take up the study in DIR: only what it does not hold is run.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0 runs in this one.")] = 2,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Simulate every point of a grid; keep the results, their Pareto front and a report page in a folder."""
    from ..study import Axis, Model, Sweep, run_sweep
    from ..study.sweep_file import load_sweep

    if len(targets) == 1 and targets[0].endswith((".yaml", ".yml")):
        if axis:
            raise BadInput("--axis goes with a machine and models; a sweep file has its own axes")
        planned = load_sweep(targets[0])
    elif len(targets) > 1:
        loaded_with = options.model_options(phase, batch, seq, context, bits, bind, precision, allow_unknown)
        planned = Sweep(
            archs=(targets[0],),
            models=tuple(Model(ref, loaded_with) for ref in targets[1:]),
            axes=tuple(Axis.parse(text) for text in axis or []),
            name=f"{targets[0]}: {', '.join(targets[1:])}",
            mapper=mapper,
            objective=objective,
            seed=seed,
            pareto=tuple(name.strip() for name in pareto.split(",") if name.strip()),
        )
    else:
        raise BadInput(f"{targets[0]}: give a machine and at least one model, or a sweep file ending in .yaml")
    try:
        with _bar(shown=not json_) as progress:
            study = run_sweep(planned, out, jobs=jobs, resume=resume, progress=progress)
    except KeyboardInterrupt:
        fail(_kept(out), INTERRUPTED)
    _write(study, out)
    _tell_json(study, out) if json_ else _tell(study, planned, out)
    _leave(study)


@contextmanager
def _bar(shown: bool) -> Iterator[Progress]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[failed]}"))
    bar = Bar(*columns, console=Console(stderr=True), disable=not shown)
    task = bar.add_task("points", failed="")
    failed = 0

    def step(done: int, total: int, outcome: Outcome | None) -> None:
        nonlocal failed
        bar.start()
        failed += outcome is not None and outcome.status.value != "done"
        bar.update(task, completed=done, total=total, failed=f"{failed} failed" if failed else "")

    try:
        yield step
    finally:
        bar.stop()


def _kept(out: Path) -> str:
    from ..study import Study

    try:
        study = Study.load(out)
    except BadInput:
        return "interrupted before the first point"
    kept = len(study.rows) - study.count(None)
    return f"interrupted; {kept} of {len(study.rows)} points are kept in {out} (--resume goes on from there)"


def _write(study: Study, out: Path) -> None:
    from ..files import write_text

    write_text(out / "results.csv", study.to_csv())
    write_text(out / "report.html", study.to_html())


def _tell(study: Study, planned: Sweep, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..study import Status

    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    done = study.count(Status.DONE)
    if done:
        table = study.table()
        front = study.pareto()
        objectives = study.objectives()
        names = [*planned.leading(), *objectives, "bottleneck"]
        shown = Table(title=f"Pareto front by {', '.join(planned.pareto)}: {len(front)} of {done} points")
        for name in names:
            shown.add_column(_heading(name), justify="right" if name in objectives else "left")
        for position in _shown(study, front):
            told = {**table[position], "bottleneck": str(table[position].get("bottleneck", "")).partition(":")[0]}
            shown.add_row(*(_cell(told.get(name, "")) for name in names))
        console.print(shown)
        if len(_shown(study, front)) < len(front):
            console.print(f"Shown are the {SHOWN} best of each model by {planned.pareto[0]}; the report has them all.")
    for status in (s for s in Status if s is not Status.DONE):
        if count := study.count(status):
            first = next(f for f in study.failed() if f["status"] == status.value)
            what = f"{first['error']}: {first['message']}" if status is Status.CRASHED else first["message"]
            console.print(f"{count} points: {status.value}, such as: {what}", markup=False)
    for note in study.notes():
        console.print(note, markup=False)
    print(f"results: {out / 'results.csv'}\nreport:  {out / 'report.html'}")


def _shown(study: Study, front: list[int]) -> list[int]:
    """The first rows of the front for each model, in order of the first objective."""
    table = study.table()
    first = study.sweep.pareto[0]
    sign, column = (-1 if first.startswith("-") else 1), first.removeprefix("-")
    groups: dict[str, list[int]] = {}
    for position in sorted(front, key=lambda i: (sign * float(table[i][column]), i)):
        groups.setdefault(str(study.rows[position].settings["model"]), []).append(position)
    return [position for group in groups.values() for position in group[:SHOWN]]


def _heading(name: str) -> str:
    """The name without the part of the machine or report that it stands in, which the report page shows in full."""
    return ".".join(name.split(".")[-2:]) if name.startswith("arch.") else name.rpartition(".")[2]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tell_json(study: Study, out: Path) -> None:
    from ..study import Status

    table = study.table()
    told = {
        "name": study.sweep.name,
        "points": len(study.rows),
        **{status.value.replace(" ", "_"): study.count(status) for status in Status},
        "pareto": [table[i] for i in study.pareto()] if study.count(Status.DONE) else [],
        "failures": study.failed(),
        "notes": study.notes(),
        "digest": study.digest(),
        "results": str(out / "results.csv"),
        "report": str(out / "report.html"),
    }
    typer.echo(json.dumps(told, indent=2))


def _leave(study: Study) -> None:
    """A sweep that gave any result is done; one that gave none ends like a single run would."""
    from ..study import Status

    if study.rows and not study.count(Status.DONE):
        raise typer.Exit(DoesNotFit.exit_code if study.count(Status.DOES_NOT_FIT) else 1)
