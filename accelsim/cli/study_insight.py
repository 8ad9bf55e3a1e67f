"""``accelsim study importance`` and ``accelsim study hypervolume``: what a study says beyond its best points."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import BadInput
from . import options_of_study as options
from .cells import console, table

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="A folder that a sweep has written.")]
PAIRS = 5
"""Pairs of settings that are printed."""


def importance(
    folder: Folder,
    objective: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What depends on the settings; the sweep's own if not given.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Print the shares of the variance of an objective that settings, and pairs of them, account for."""
    from ..study import Study
    from ..study.importance import importance as shares

    study = Study.load(folder)
    columns = [objective] if objective is not None else study.objectives()
    found = [one for column in columns for one in shares(study, column)]
    if json_:
        told = [{**asdict(one), "together": [[*pair, s] for pair, s in one.together.items()]} for one in found]
        typer.echo(json.dumps(told, indent=2))
        return
    for one in found:
        rows = [{"setting": name, "share": f"{share:.1%}"} for name, share in one.alone.items()]
        rows += [{"setting": f"{a} with {b}", "share": f"{s:.1%}"} for (a, b), s in list(one.together.items())[:PAIRS]]
        rows.append({"setting": "all else", "share": f"{one.rest:.1%}"})
        exact = "a whole grid: exact" if one.complete else "estimated"
        title = f"variance of {one.objective}, {one.model}, {one.points} points ({exact})"
        console().print(table(title, ["setting", "share"], rows, right=["share"]))


def hypervolume(
    folder: Folder,
    reference: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="One bound per objective; the worst results if not given.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Print how the volume that the front betters grew point by point, for every model."""
    from ..study import Study
    from ..study.hypervolume import progress, worst

    study = Study.load(folder)
    aims = study.objectives()
    told: list[dict[str, Any]] = []
    for model, scores in study.scores_by_model().items():
        known = [score for score in scores if score is not None]
        if not known:
            continue
        bound = _reference(reference, len(aims)) if reference is not None else worst(known)
        steps = progress(scores, bound)
        told.append({"model": model, "objectives": aims, "reference": bound, "hypervolume": steps})
    if not told:
        raise BadInput(f"{folder}: no feasible point has numbers in {', '.join(aims)}")
    if json_:
        typer.echo(json.dumps(told, indent=2))
        return
    for one in told:
        steps = one["hypervolume"]
        places = sorted({max(1, len(steps) * i // 10) for i in range(1, 11)})
        rows = [
            {"points": n, "hypervolume": steps[n - 1], "of the last": _share(steps[n - 1], steps[-1])} for n in places
        ]
        below = ", ".join(f"{x:.4g}" for x in one["reference"])
        title = f"{one['model']}: hypervolume by {', '.join(aims)}, below {below}"
        names = ["points", "hypervolume", "of the last"]
        console().print(table(title, names, rows, right=names))


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _reference(text: str, count: int) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count:
        raise BadInput(f"--reference {text}: write {count} numbers between commas, one per objective")
    return found
