"""Options of ``accelsim sweep``: what varies, what is wanted, how points are chosen, where they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Targets = Annotated[
    list[str], typer.Argument(metavar="ARCH MODEL... | FILE.yaml", help="A machine and models, or a sweep file.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where results and the report page go.")]
Axis = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=V1,V2", help="Vary arch.<path>, model.<option>, mapper ...; A..B step S; a+b=... ties two."
    ),
]
Pareto = Annotated[
    str, typer.Option(metavar="COLUMNS", help="Objectives of the Pareto front; -name: larger is better.")
]
Constraint = Annotated[
    list[str] | None, typer.Option(metavar="CONDITION", help="Such as 'energy <= 3 mJ': points must meet it.")
]
Derive = Annotated[
    list[str] | None, typer.Option(metavar="NAME=EXPRESSION", help="A column, such as edp='latency * energy'.")
]
When = Annotated[
    list[str] | None, typer.Option(metavar="CONDITION", help="Take only points such as 'rows * cols <= 1024'.")
]
Sample = Annotated[
    str | None, typer.Option(metavar="METHOD:N[:SEED]", help="Draw N points: random, latin_hypercube or sobol.")
]
Search = Annotated[
    str | None,
    typer.Option(metavar="METHOD:N[:SEED]", help="Choose N points from results so far: nsga2, tpe or random."),
]
BoundsFirst = Annotated[
    bool, typer.Option("--bounds-first", help="Simulate only points whose bounds no result betters.")
]
Resume = Annotated[bool, typer.Option(help="Take up the study in DIR: only what it does not hold is run.")]
RetryFailed = Annotated[bool, typer.Option(help="Like --resume, and run failed points again.")]
Jobs = Annotated[int, typer.Option(min=0, help="Worker processes; 0 runs in this one.")]
Cluster = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Run on a Dask cluster: its scheduler, as tcp://HOST:8786.")
]
