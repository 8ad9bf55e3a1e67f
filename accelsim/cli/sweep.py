"""``accelsim sweep``: a grid of machines, models and options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import BadInput, DoesNotFit
from . import INTERRUPTED, options, options_of_study
from . import options_of_sweep as of_sweep
from .cells import console, table
from .errors import fail
from .live import live

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..study import Scalar, Study, Sweep

SHOWN = 8
"""Rows of the Pareto front that are printed of each model, the best by the first objective."""
FILE_KEYS = {
    "--constraint": "constraints", "--derive": "derived", "--when": "when", "--sample": "sample", "--search": "search",
    "--bounds-first": "bounds_first",
}  # fmt: skip
"""Keys of a sweep file that options stand for."""
FOR_FILES = ("targets", "out", "resume", "retry_failed", "jobs", "cluster", "json_")
"""Options that go with a sweep file."""


def sweep(
    ctx: typer.Context,
    targets: of_sweep.Targets,
    out: of_sweep.Out,
    axis: of_sweep.Axis = None,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    option: options.Option = None,
    precision: options.Precision = None,
    density: options.Density = None,
    allow_unknown: options.AllowUnknown = False,
    mapper: options.Mapper = "auto",
    objective: options.Objective = "latency",
    seed: options.Seed = 0,
    pareto: of_sweep.Pareto = "latency_s,energy_J",
    constraint: of_sweep.Constraint = None,
    derive: of_sweep.Derive = None,
    when: of_sweep.When = None,
    sample: of_sweep.Sample = None,
    search: of_sweep.Search = None,
    bounds_first: of_sweep.BoundsFirst = False,
    resume: of_sweep.Resume = False,
    retry_failed: of_sweep.RetryFailed = False,
    jobs: of_sweep.Jobs = 2,
    cluster: of_sweep.Cluster = None,
    json_: options_of_study.Json = False,
) -> None:
    """Simulate every point of a grid; keep the results, their Pareto front and a report page in a folder."""
    if len(targets) == 1:
        planned = _of_file(ctx, targets[0])
    else:
        wanted = options.model_options(
            phase, batch, seq, context, bits, bind, precision, allow_unknown, option, density
        )
        planned = _planned(
            targets, wanted, axis, pareto=options_of_study.objectives(pareto), sample=sample, search=search,
            mapper=mapper, objective=objective, seed=seed, when=tuple(when or ()), bounds_first=bounds_first,
            constraints=tuple(constraint or ()), derived=options_of_study.derived(derive),
        )  # fmt: skip
    study = _run(planned, out, cluster, jobs=jobs, resume=resume, retry_failed=retry_failed, shown=not json_)
    _write(study, out)
    _tell_json(study, out) if json_ else _tell(study, planned, out)
    _leave(study)


def _of_file(ctx: typer.Context, target: str) -> Sweep:
    """The sweep of a file, with which no other option says what is swept. Raises BadInput."""
    from ..study.sweep_file import load_sweep

    if not target.endswith((".yaml", ".yml")):
        raise BadInput(f"{target}: give a machine and at least one model, or a sweep file ending in .yaml")
    _refuse_options(ctx)
    return load_sweep(target)


def _run(
    planned: Sweep, out: Path, cluster: str | None, *, jobs: int, resume: bool, retry_failed: bool, shown: bool
) -> Study:
    """Run what is not in `out` yet; Ctrl-C leaves with what is kept."""
    from ..study import run_sweep

    try:
        with _executor(cluster) as executor, live(planned, shown=shown) as steps:
            return run_sweep(
                planned, out, jobs=jobs, resume=resume or retry_failed, retry_failed=retry_failed,
                progress=steps.progress, watch=steps.watch, executor=executor,
            )  # fmt: skip
    except KeyboardInterrupt:
        fail(_kept(out), INTERRUPTED)


def _planned(
    targets: list[str], loaded_with: tuple[tuple[str, Scalar], ...], axes: list[str] | None, *, sample: str | None,
    search: str | None, **choices: Any,
) -> Sweep:  # fmt: skip
    """The sweep of a machine and models with the options of the command line."""
    from ..study import Axis, Model, Sample, Search, Sweep

    return Sweep(
        archs=(targets[0],),
        models=tuple(Model(ref, loaded_with) for ref in targets[1:]),
        axes=tuple(Axis.parse(text) for text in axes or []),
        name=f"{targets[0]}: {', '.join(targets[1:])}",
        sample=Sample.parse(sample) if sample is not None else None,
        search=Search.parse(search) if search is not None else None,
        **choices,
    )


@contextmanager
def _executor(address: str | None) -> Iterator[Executor | None]:
    """The cluster at an address, or None for this computer."""
    if address is None:
        yield None
        return
    from ..study.cluster import cluster

    with cluster(address) as executor:
        yield executor


def _refuse_options(ctx: typer.Context) -> None:
    """Refuse options that a sweep file would leave without effect."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in FOR_FILES or source is None or source.name != "COMMANDLINE":
            continue
        option = parameter.opts[0]
        key = "axes" if option == "--axis" else f"`{FILE_KEYS[option]}`" if option in FILE_KEYS else "keys for it"
        raise BadInput(f"{option} goes with a machine and models; a sweep file has its own {key}")


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

    # Both before either is written: an expression that fits no column leaves neither.
    results, page = study.to_csv(), study.to_html()
    write_text(out / "results.csv", results)
    write_text(out / "report.html", page)


def _tell(study: Study, planned: Sweep, out: Path) -> None:
    from ..study import Status

    screen = console()
    done = study.count(Status.DONE)
    if done:
        records = study.table()
        front = study.pareto()
        objectives = study.objectives()
        names = [*planned.leading(), *(name for name in objectives if name not in planned.leading()), "bottleneck"]
        shown = best_of_each_model(study, front)
        told = [{**records[i], "bottleneck": str(records[i].get("bottleneck", "")).partition(":")[0]} for i in shown]
        title = f"Pareto front by {', '.join(planned.pareto)}: {len(front)} of {done} points"
        screen.print(table(title, names, told, right=objectives) if front else title)
        if len(shown) < len(front):
            screen.print(f"Shown are the {SHOWN} best of each model by {planned.pareto[0]}; the report has them all.")
    for status in (s for s in Status if s not in (Status.DONE, Status.DOMINATED)):
        if count := study.count(status):
            first = next(f for f in study.failed() if f["status"] == status.value)
            what = f"{first['error']}: {first['message']}" if status is Status.CRASHED else first["message"]
            screen.print(f"{count} points: {status.value}, such as: {what}", markup=False)
    for note in study.notes():
        screen.print(note, markup=False)
    typer.echo(f"results: {out / 'results.csv'}\nreport:  {out / 'report.html'}")


def best_of_each_model(study: Study, front: list[int]) -> list[int]:
    """The first rows of the front for each model, in order of the first objective."""
    groups: dict[str, list[int]] = {}
    for position in study.sorted(front):
        groups.setdefault(str(study.rows[position].settings["model"]), []).append(position)
    return [position for group in groups.values() for position in group[:SHOWN]]


def _tell_json(study: Study, out: Path) -> None:
    from ..study import Status

    table = study.table()
    told = {
        "name": study.sweep.name,
        "points": len(study.rows),
        **{status.value.replace(" ", "_"): study.count(status) for status in Status},
        **({"feasible": len(study.feasible())} if study.sweep.constraints else {}),
        "pareto": [table[i] for i in study.pareto()] if study.count(Status.DONE) else [],
        "failures": study.failed(),
        "notes": study.notes(),
        "digest": study.digest(),
        "results": str(out / "results.csv"),
        "report": str(out / "report.html"),
    }
    typer.echo(json.dumps(told, indent=2))


def _leave(study: Study) -> None:
    """A sweep with a result that meets the constraints is done; one that gave none ends like a single run would."""
    from ..study import Status

    if study.rows and not study.count(Status.DONE):
        raise typer.Exit(DoesNotFit.exit_code if study.count(Status.DOES_NOT_FIT) else 1)
    if study.rows and not study.feasible():
        raise typer.Exit(1)
