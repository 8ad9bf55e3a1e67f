"""Experiments: finding them, running them, and judging their rows against published figures.

An experiment is a folder here with

- ``experiment.py``, which has a function ``rows()`` that returns `Row` values, and whose docstring's first line says
  what it reproduces; it may have ``figure(rows)``, which draws those rows as a plotly figure: a dictionary
  ``{"data": [...], "layout": {...}}`` with the colour names of `report.page`;
- its machine files, and a reference table in CSV with the source of every figure;
- ``README.md``: what the system is and what is uncertain.
"""

from __future__ import annotations

import ast
import csv
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..text.names import nearest

if TYPE_CHECKING:
    from ..report.page import Figure


SHOWN = "simulated: not published"
"""The source of rows without a published figure."""
ANOTHER_ROUTE = "accelsim, another route: "
"""How the source of a row begins that holds one way of computing against another, as no figure is published."""
UNITS: Mapping[str, float] = {
    "TFLOP/s": 1e12, "GB/s": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "ms": 1e-3, "us": 1e-6, "ns": 1e-9,
    "bytes": 1.0, "requests": 1.0, "fraction": 1.0, "": 1.0,
}  # fmt: skip
"""Of the tables of machines."""
Changes = tuple[tuple[str, float], ...]
"""Names of a machine's table, and factors on their figures."""


@dataclass(frozen=True)
class Row:
    """One published figure and accelsim's.

    Attributes:
        quantity: what is compared, such as ``cycles``.
        where: for which machine, model, layer.
        published: the figure in the source, which may be a closed law, a count or `ANOTHER_ROUTE` in place of a
            publication; None where there is none to compare with.
        accelsim: the simulator's figure; None where it has none.
        unit: of both.
        tolerance: largest relative error that passes, 0 for exact; None for a figure that is unreachable, or shown
            without judgement, and `note` gives the reason.
        source: of the published figure, or what stands in its place.
        note: what a reader should know.
    """

    quantity: str
    where: str
    published: float | None
    accelsim: float | None
    unit: str
    tolerance: float | None
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.tolerance is None and not self.note:
            raise BadInput(f"{self.quantity} {self.where}: a row without a tolerance needs the reason as its note")

    @property
    def error(self) -> float | None:
        """Relative error, signed; absolute where the published figure is 0; None where a figure is missing."""
        if self.published is None or self.accelsim is None:
            return None
        return (self.accelsim - self.published) / (abs(self.published) or 1.0)

    @property
    def ok(self) -> bool | None:
        """Whether the error is within the tolerance; None without one."""
        if self.tolerance is None:
            return None
        return self.error is not None and bool(abs(self.error) <= self.tolerance)  # numpy's truth has no JSON form

    def to_json(self) -> dict[str, Any]:
        return {
            "quantity": self.quantity,
            "where": self.where,
            "published": self.published,
            "accelsim": self.accelsim,
            "unit": self.unit,
            "error": self.error,
            "tolerance": "unreachable" if self.tolerance is None else self.tolerance,
            "ok": self.ok,
            "source": self.source,
            "note": self.note,
        }


@dataclass(frozen=True)
class Comparison:
    """What running an experiment gave."""

    experiment: str
    rows: Sequence[Row]
    seconds: float

    @property
    def ok(self) -> bool:
        """Every row with a tolerance is within it."""
        return all(row.ok is not False for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        return {"experiment": self.experiment, "rows": [r.to_json() for r in self.rows], "seconds": self.seconds}


@dataclass(frozen=True)
class Experiment:
    """A folder of experiments/, loaded."""

    name: str
    rows: Callable[[], Iterable[Row]]
    figure: Callable[[Sequence[Row]], Figure] | None = None

    def run(self) -> Comparison:
        """Run all its simulations. Raises AccelsimError where one fails."""
        start = time.perf_counter()
        rows = tuple(self.rows())
        return Comparison(self.name, rows, time.perf_counter() - start)


def experiment_names() -> list[str]:
    """Names of all experiments, sorted."""
    folder = resources.files(__package__ or "")
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and f.joinpath("experiment.py").is_file())


def summaries() -> dict[str, str]:
    """The first line of every experiment's docstring, by name; imports none of them."""
    found = {}
    for name in experiment_names():
        text = resources.files(__package__ or "").joinpath(name, "experiment.py").read_text(encoding="utf-8")
        found[name] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def load_experiment(name: str) -> Experiment:
    """The experiment of that name. Raises BadInput if there is none, with the nearest names."""
    known = experiment_names()
    if name not in known:
        raise BadInput(f"no experiment '{name}' ({nearest(name, known)})")
    module = import_module(f".{name}.experiment", __package__)
    return Experiment(name, module.rows, getattr(module, "figure", None))


def table(package: str, file: str) -> list[Mapping[str, str]]:
    """The records of a reference table in the folder of an experiment.

    Args:
        package: ``__package__`` of the experiment.
        file: name of a CSV file with a heading.
    """
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def beside(record: Mapping[str, str], value: float) -> Row:
    """A published figure, a record with the columns of `Row` but its figure as ``value``, and ours."""
    tolerance = float(record["tolerance"]) if record["tolerance"] else None
    return Row(record["quantity"], record["where"], float(record["value"]), value, record["unit"], tolerance,
               record["source"], record["note"])  # fmt: skip


def shown(quantity: str, where: str, value: float, unit: str, note: str) -> Row:
    """A figure that nobody has published."""
    return Row(quantity, where, None, value, unit, None, SHOWN, note)


def figures_of(records: Iterable[Mapping[str, str]], changes: Changes = ()) -> dict[str, float]:
    """Figures of a machine's table by ``name``, in SI units and bytes, times the factors of `changes`."""
    factors = dict(changes)
    return {r["name"]: float(r["value"]) * UNITS[r["unit"]] * factors.get(r["name"], 1.0) for r in records}


def data_path(package: str, file: str) -> str:
    """Path of a data file, such as a machine, in the folder of an experiment."""
    return str(resources.files(package).joinpath(file))
