"""The user's own tables of energies, areas and leakage powers: CSV or YAML beside the machine, or written into it.

A row names a component of the machine, or a kind for all components of that kind, and an action of it, ``area`` or
``leakage``. A CSV file has the columns ``component,action,value`` and perhaps ``source``; in YAML it is
``component: {action: value}`` or ``component: {action: {value: ..., source: ...}}``. A row of a component's name goes
before one of its kind; both go before the cited defaults, and what a component states itself goes before all.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Problem, SpecError
from ..files import read_text
from ..text.document import Document, parse_document
from ..text.names import nearest_key, short
from ..text.nodes import Keys, Position
from .component import Component
from .document import SUFFIXES, MachineText
from .energy import Figure
from .registry import component_kind, kind_names
from .units import AREA, POWER, Quantity, QuantityError

COLUMNS = ("component", "action", "value", "source")
_BESIDE_ACTIONS: dict[str, Quantity] = {"area": AREA, "leakage": POWER}


@dataclass(frozen=True)
class TableRow:
    """A figure of the user's.

    Attributes:
        component: name or kind.
        action: of the component; or ``area``, ``leakage``.
        text: the value with its unit, as written.
        value: in joules per operation or per byte, square millimetres or watts.
        source: where it stands, such as ``my_table.csv:3``, with what the row itself gives as its source.
    """

    component: str
    action: str
    text: str
    value: float
    source: str


@dataclass(frozen=True)
class _Cell:
    """A row as read, with its place."""

    component: str
    action: str
    text: Any
    source: str
    at: Position
    path: Keys = ()


def figures(rows: Iterable[TableRow], component: str, kind: str) -> dict[str, Figure]:
    """What the rows give for one component, by action: those of its kind, those of its name over them."""
    found: dict[str, Figure] = {}
    by_owner = sorted((r for r in rows if r.component in (component, kind)), key=lambda r: r.component == component)
    for row in by_owner:
        found[row.action] = Figure(row.value, row.source)
    return found


def load_tables(
    document: MachineText, kinds: Mapping[str, str]
) -> tuple[tuple[TableRow, ...], list[tuple[Position, Problem]]]:
    """Read what a machine file has under `tables`.

    Args:
        document: the machine file.
        kinds: name of every component of the machine to its kind.

    Returns:
        The rows, and what is wrong with them.
    """
    value = document.data.get("tables")
    problems: list[tuple[Position, Problem]] = []
    cells: list[_Cell] = []
    try:
        cells += _cells(value, document)
    except SpecError as error:
        problems += [(document.position(("tables",)), problem) for problem in error.problems]
    rows: list[TableRow] = []
    first: dict[tuple[str, str], _Cell] = {}
    for cell in cells:
        what = _wrong(cell, kinds, first)
        if isinstance(what, Problem):
            problems.append((cell.at, what))
        else:
            rows.append(TableRow(cell.component, cell.action, str(cell.text), what, cell.source))
    return tuple(rows), problems


def _cells(value: Any, document: MachineText) -> Iterator[_Cell]:
    if value is None:
        return
    if isinstance(value, dict):
        yield from _of_mapping(value, document, ("tables",), None)
        return
    paths = value if isinstance(value, list) else [value]
    for ref in paths:
        if not isinstance(ref, str) or Path(ref).suffix.lower() not in (".csv", *SUFFIXES):
            hint = "a path that ends in .csv or .yaml, a list of such, or `component: {action: value}`"
            raise document.error(("tables",), f"`{short(ref, 60)}` is not a table", hint)
        yield from _of_file(ref, document)


def _of_file(ref: str, document: MachineText) -> Iterator[_Cell]:
    path = Path(ref) if document.tables_folder is None else document.tables_folder / ref
    text = read_text(path, document.where(("tables",)), (".csv", *SUFFIXES))
    if path.suffix.lower() == ".csv":
        yield from _of_csv(text, ref, str(path))
    else:
        root = ("a table is a mapping", "such as `sram: {read: 3.9 pJ/bit}`")
        inner = parse_document(text, str(path), root)
        yield from _of_mapping(inner.data, inner, (), ref)


def _of_mapping(components: Mapping[str, Any], document: Document, path: Keys, ref: str | None) -> Iterator[_Cell]:
    for component, actions in components.items():
        here = (*path, component)
        if not isinstance(actions, dict):
            hint = "such as `read: 2 pJ/bit`"
            raise document.error(here, "must be a mapping of actions to values", hint)
        for action, given in actions.items():
            spot = (*here, action)
            at = document.position(spot)
            stated = given if isinstance(given, dict) else {"value": given}
            unknown = [k for k in stated if k not in ("value", "source")]
            if unknown or "value" not in stated:
                what = f"unknown key `{unknown[0]}`" if unknown else "has no `value`"
                raise document.error(spot, what, "`value` and `source`")
            own = str(stated["source"]) if stated.get("source") is not None else ""
            line = f"{ref or at.file}:{at.line}" if at.line else at.file
            source = f"{line}: {own}" if own and ref else own or line
            yield _Cell(component, action, stated["value"], source, at, spot)


def _of_csv(text: str, ref: str, file: str) -> Iterator[_Cell]:
    reader = csv.reader(text.splitlines())
    header: list[str] | None = None
    for fields in reader:
        at = Position(file, reader.line_num)
        values = [f.strip() for f in fields]
        if not any(values) or values[0].startswith("#"):
            continue
        if header is None:
            header = values
            _check_header(header, at)
            continue
        if len(values) != len(header):
            what = f"{len(values)} fields under {len(header)} columns"
            raise SpecError([Problem(at.at(()), what, f"columns: {', '.join(header)}")])
        row = dict(zip(header, values, strict=True))
        line = f"{ref}:{at.line}"
        source = f"{line}: {row['source']}" if row.get("source") else line
        yield _Cell(row["component"], row["action"], row["value"], source, at)
    if header is None:
        raise SpecError([Problem(file, "the table is empty", f"its first line is {','.join(COLUMNS)}")])


def _check_header(header: Sequence[str], at: Position) -> None:
    problems = []
    for name in header:
        if name not in COLUMNS:
            problems.append(Problem(at.at(()), f"unknown column `{short(name)}`", nearest_key(name, COLUMNS)))
    for name in COLUMNS[:3]:
        if header.count(name) != 1:
            what = f"no column `{name}`" if name not in header else f"column `{name}` stands twice"
            problems.append(Problem(at.at(()), what, f"the first line is {','.join(COLUMNS)}"))
    if problems:
        raise SpecError(problems)


def _wrong(cell: _Cell, kinds: Mapping[str, str], first: dict[tuple[str, str], _Cell]) -> Problem | float:
    """The value of a cell, or what is wrong with it."""
    where = cell.at.at(cell.path)
    kind = kinds.get(cell.component, cell.component)
    if kind not in kind_names():
        if cell.component in kinds:
            return Problem(where, f"`{cell.component}` has no valid kind", "see the component itself")
        hint = nearest_key(cell.component, [*kinds, *kind_names()])
        return Problem(where, f"no component or kind `{short(cell.component)}`", hint)
    quantities = _quantities(component_kind(kind))
    if cell.action not in quantities:
        hint = nearest_key(cell.action, quantities)
        return Problem(where, f"{cell.component} has no action `{short(cell.action)}`", hint)
    if (other := first.setdefault((cell.component, cell.action), cell)) is not cell:
        earlier = f"{other.at.file}:{other.at.line}" if other.at.line else other.at.file
        return Problem(where, f"{cell.component}.{cell.action} stands twice", f"first given in {earlier}; remove one")
    quantity = quantities[cell.action]
    try:
        return quantity.to_si(str(cell.text))
    except QuantityError as error:
        return Problem(where, error.what, error.hint)


def _quantities(kind: type[Component]) -> Mapping[str, Quantity]:
    return {**kind.actions, **_BESIDE_ACTIONS}
