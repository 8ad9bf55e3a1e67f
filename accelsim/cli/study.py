"""``accelsim study``: what the folders of sweeps hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from . import options_of_study as options
from .cells import cell, console, table

if TYPE_CHECKING:
    from ..study import Study

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="A folder that a sweep has written.")]
Top = Annotated[int, typer.Option(min=1, help="Rows to print.")]


def ls(
    folders: Annotated[list[Path] | None, typer.Argument(metavar="[DIR...]", help="Where to look.")] = None,
    json_: options.Json = False,
) -> None:
    """List the studies in folders and the folders in them."""
    from ..study.store import FILE

    found: list[dict[str, Any]] = []
    for folder in folders or [Path(".")]:
        if not folder.is_dir():
            raise BadInput(f"{folder}: no such folder")
        files = sorted({*folder.glob(FILE), *folder.glob(f"*/{FILE}")})
        found += [_listed(file.parent) for file in files]
    if json_:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found:
        typer.echo("no study here (accelsim sweep --out DIR writes one)")
        return
    names = ["study", "name", "points", "done", "feasible", "not_evaluated", "objective", "best"]
    rows = [{**one, "name": one.get("name", one.get("error", ""))} for one in found]
    console().print(table("studies", names, rows, right=["points", "done", "feasible", "not_evaluated", "best"]))


def _listed(folder: Path) -> dict[str, Any]:
    from ..study import Status, Study

    try:
        study = Study.load(folder)
        best = study.best(1)
        aim = study.objectives()[0]
        return {
            "study": str(folder),
            "name": study.sweep.name,
            "points": len(study.rows),
            "done": study.count(Status.DONE),
            "feasible": len(study.feasible()),
            "not_evaluated": study.count(None),
            "objective": aim,
            **({"best": study.results(best[0])[aim]} if best and aim in study.results(best[0]) else {}),
        }
    except BadInput as error:  # one that cannot be read is no reason to hide the others
        return {"study": str(folder), "error": str(error)}


def show(
    folder: Folder,
    point: Annotated[int | None, typer.Option(help="All columns of one point, by its number.")] = None,
    where: options.Where = None,
    constraint: options.Constraint = None,
    derive: options.Derive = None,
    pareto: options.Pareto = None,
    top: Top = 8,
    json_: options.Json = False,
) -> None:
    """Print the axes of a study, its best points, what failed, and what to know of it."""
    study = _study(folder, where, constraint, derive, pareto)
    if point is not None:
        _show_point(study, point, json_)
        return
    from ..study import Status

    counts = {status.value: study.count(status) for status in Status} | {"not evaluated": study.count(None)}
    best = study.best(top)
    if json_:
        records = _records(study, best)
        told = {"name": study.sweep.name, "points": len(study.rows), **counts, "feasible": len(study.feasible()),
                "parameters": study.sweep.parameters(), "best": records, "notes": study.notes()}  # fmt: skip
        typer.echo(json.dumps(told, indent=2))
        return
    screen = console()
    states = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    screen.print(f"{study.sweep.name}: {len(study.rows)} points ({states or 'none'})", markup=False, highlight=False)
    screen.print(table("what varies", ["setting", "values"], _varied(study)))
    if best:
        title = f"best by {study.sweep.pareto[0]}: {len(best)} of {len(study.feasible())} feasible points"
        screen.print(_points_table(study, best, title))
    for failure in study.failed()[:3]:
        screen.print(f"{failure['status']}: {failure['message']}", markup=False)
    for note in study.notes():
        screen.print(note, markup=False)


def _varied(study: Study) -> Iterator[dict[str, object]]:
    for name in study.sweep.parameters():
        values = list(dict.fromkeys(row.settings[name] for row in study.rows if name in row.settings))
        shown = ", ".join(map(str, values[:8]))
        yield {"setting": name, "values": f"{shown} ... ({len(values)} values)" if len(values) > 8 else shown}


def _show_point(study: Study, point: int, json_: bool) -> None:
    position = next((i for i, row in enumerate(study.rows) if row.number == point), None)
    if position is None:
        raise BadInput(f"no point {point} ({study.rows[0].number} to {study.rows[-1].number})")
    row = study.rows[position]
    state = row.outcome.status.value if row.outcome else "not evaluated"
    told = {"point": point, "status": state, **row.settings, **study.results(position)}
    if row.outcome and row.outcome.message:
        told["message"] = row.outcome.message
    if json_:
        typer.echo(json.dumps(told, indent=2))
    else:
        width = max(map(len, told))
        typer.echo("\n".join(f"{name:{width}}  {cell(value)}" for name, value in told.items()))


def pareto(
    folder: Folder,
    by: options.Pareto = None,
    where: options.Where = None,
    constraint: options.Constraint = None,
    derive: options.Derive = None,
    columns: options.Columns = None,
    json_: options.Json = False,
) -> None:
    """Print the feasible points that no other for the same model betters in every objective."""
    study = _study(folder, where, constraint, derive, by)
    front = study.sorted(study.pareto())
    if json_:
        typer.echo(json.dumps({"objectives": study.sweep.pareto, "pareto": _records(study, front, columns)}, indent=2))
    else:
        title = f"Pareto front by {', '.join(study.sweep.pareto)}: {len(front)} of {len(study.feasible())} points"
        console().print(_points_table(study, front, title, columns))
    if not front:
        raise typer.Exit(1)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A study, or one point of it as STUDY:NUMBER.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another study or point; :NUMBER is a point of the same.")],
    derive: options.Derive = None,
    top: Top = 20,
    json_: options.Json = False,
) -> None:
    """Compare two studies point by point, or two points column by column."""
    from dataclasses import asdict

    from ..study import compare_points, compare_studies

    one, here = _place(first)
    other, there = _place(f"{one}{second}" if second.startswith(":") else second)
    if (here is None) != (there is None):
        raise BadInput(f"{first} and {second}: give two studies or two points")
    before = _study(one, None, None, derive, None)
    after = before if other == one else _study(other, None, None, derive, None)
    if here is not None and there is not None:
        points = compare_points(before, here, after, there)
        if json_:
            typer.echo(json.dumps(asdict(points), indent=2))
            return
        _print_changes(points, top)
        return
    studies = compare_studies(before, after)
    if json_:
        typer.echo(json.dumps(asdict(studies), indent=2))
        return
    _print_studies(studies, top)


def _place(text: str) -> tuple[Path, int | None]:
    """A folder, and the number of a point after a colon if there is one."""
    folder, colon, number = text.rpartition(":")
    if colon and number.isdecimal() and not Path(text).exists():
        return Path(folder), int(number)
    return Path(text), None


def _print_changes(found: Any, top: int) -> None:
    screen = console()
    names = ["setting", "A", "B"]
    rows = [{"setting": c.column, "A": _known(c.before), "B": _known(c.after)} for c in found.settings]
    screen.print(table("settings that differ", names, rows) if rows else "The settings are the same.")
    told = [
        {
            "column": change.column, "A": _told(change.before), "B": _told(change.after),
            "B / A": "" if change.ratio is None else change.ratio,
            "of the change": "" if change.part is None else f"{change.part:.0%} of {change.whole}",
        }
        for change in found.results[:top]
    ]  # fmt: skip
    title = f"results that differ: {len(told)} of {len(found.results)} shown, {found.same} are the same"
    screen.print(table(title, ["column", "A", "B", "B / A", "of the change"], told, right=["A", "B", "B / A"]))


def _known(value: object) -> object:
    return "" if value is None else value


def _told(result: object) -> object:
    """A result; of a bottleneck its head, since the reasons after it would fill a screen."""
    return result.partition(": ")[0] if isinstance(result, str) else _known(result)


def _print_studies(found: Any, top: int) -> None:
    screen = console()
    by = ", ".join(found.by) or "their order"
    screen.print(f"{found.pairs} points in both by {by}; {found.only_first} only in A, {found.only_second} only in B",
                 markup=False, highlight=False)  # fmt: skip
    for settings, was, now in found.changed_status[:top]:
        screen.print(f"{settings}: {was} in A, {now} in B", markup=False)
    if not found.columns:
        screen.print("All results are the same.")
        return
    rows = [
        {
            "column": c.column, "lower in B": c.lower, "higher in B": c.higher, "of pairs": c.pairs,
            "mean B / A": "" if c.mean_ratio is None else c.mean_ratio,
            "most": f"{c.largest[1]:.4g} at {c.largest[0]}" if c.largest else "",
        }
        for c in found.columns[:top]
    ]  # fmt: skip
    title = f"results that differ: {len(rows)} of {len(found.columns)} columns shown; geometric means"
    names = ["column", "lower in B", "higher in B", "of pairs", "mean B / A", "most"]
    screen.print(table(title, names, rows, right=names[1:5]))


def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to: .csv, .json or .parquet.")],
    where: options.Where = None,
    constraint: options.Constraint = None,
    derive: options.Derive = None,
    columns: options.Columns = None,
    front: Annotated[bool, typer.Option("--front", help="The Pareto front alone.")] = False,
) -> None:
    """Write the points of a study as CSV, JSON or Parquet."""
    from ..files import writable_file
    from ..study.export import check_format, export_rows

    check_format(out)
    study = _study(folder, where, constraint, derive, None)
    wanted = _columns(study, columns)
    positions = study.pareto() if front else range(len(study.rows))
    export_rows(study, writable_file(out), positions, wanted)
    typer.echo(f"{len(positions)} points: {out}")


def _study(
    folder: Path,
    where: Iterable[str] | None,
    constraint: Iterable[str] | None,
    derive: Iterable[str] | None,
    pareto: str | None,
) -> Study:
    """The study with the further expressions of the options."""
    from ..study import Study

    study = Study.load(folder).judged_by(
        objectives=options.objectives(pareto) if pareto is not None else None,
        constraints=tuple(constraint or ()),
        derived=options.derived(derive),
    )
    for condition in where or ():
        study = study.where(condition)
        if not study.rows:
            raise BadInput(f"--where {condition}: holds at no point")
    return study


def _columns(study: Study, text: str | None) -> list[str] | None:
    """Names between commas, each a column of the table. Raises BadInput."""
    if text is None:
        return None
    from ..text.names import nearest

    known = study.table_columns()
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise BadInput(f"--columns: no column '{name}' ({nearest(name, known)})")
    return wanted


def _records(study: Study, positions: Iterable[int], columns: str | None = None) -> list[dict[str, Any]]:
    records, wanted = study.table(), _columns(study, columns)
    found = [{"point": study.rows[i].number, **records[i]} for i in positions]
    return [{k: v for k, v in r.items() if k == "point" or k in wanted} for r in found] if wanted else found


def _points_table(study: Study, positions: Iterable[int], title: str, columns: str | None = None) -> Any:
    aims = study.objectives()
    names = _columns(study, columns) or list(dict.fromkeys((*study.sweep.leading(), *aims, "bottleneck")))
    rows = _records(study, positions)
    for row in rows:
        row["bottleneck"] = str(row.get("bottleneck", "")).partition(":")[0]
    kept = [name for name in names if any(str(row.get(name, "")) for row in rows)]
    return table(title, ["point", *kept], rows, right=["point", *aims])
