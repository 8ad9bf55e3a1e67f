"""The commands together, and what happens to their errors."""

from __future__ import annotations

import typer

from . import (
    calibrate,
    cascade,
    compare,
    dram,
    elasticity,
    explain,
    listing,
    model,
    phases,
    pipeline,
    reproduce,
    run,
    schema,
    serve,
    study,
    study_insight,
    sweep,
    validate,
)
from .errors import guarded

app = typer.Typer(
    name="accelsim",
    help="How long a model takes on a machine, what energy and traffic it costs, what limits it, what to build.",
    epilog="Exit codes: 0 done, 1 a comparison or constraint failed or a stream graph deadlocks, 2 bad input, "
    "3 does not fit, 70 a bug of accelsim, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"accelsim {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of accelsim itself."""


app.command("run")(guarded(run.run))
app.command("model")(guarded(model.model))
app.command("cascade")(guarded(cascade.cascade))
app.command("pipeline")(guarded(pipeline.pipeline))
app.command("compare")(guarded(compare.compare))
app.command("dram")(guarded(dram.dram))
app.command("phases")(guarded(phases.phases))
app.command("serve")(guarded(serve.serve))
app.command("calibrate")(guarded(calibrate.calibrate))
app.command("elasticity")(guarded(elasticity.elasticity))
app.command("sweep")(guarded(sweep.sweep))
app.command("validate")(guarded(validate.validate))
app.command("list")(guarded(listing.list_all))
app.command("schema")(guarded(schema.schema))
app.command("explain")(guarded(explain.explain))
app.command("reproduce")(guarded(reproduce.reproduce))

studies = typer.Typer(help="List, show, compare and export the studies that sweeps have written.", no_args_is_help=True)
studies.command("ls")(guarded(study.ls))
studies.command("show")(guarded(study.show))
studies.command("pareto")(guarded(study.pareto))
studies.command("compare")(guarded(study.compare))
studies.command("export")(guarded(study.export))
studies.command("importance")(guarded(study_insight.importance))
studies.command("hypervolume")(guarded(study_insight.hypervolume))
app.add_typer(studies, name="study")
