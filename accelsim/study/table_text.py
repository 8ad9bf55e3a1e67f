"""The table of a study as lines of CSV, and as a JSON list with an object for every row.

Where the results of a row lie in the store as they stand in the table, their part of the line is made from the text
that lies there: JSON and CSV write numbers alike, and decoding them to write them again takes most of the time of a
long table.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ..collector import uncollected
from .record import Layout, Record, plain
from .span import Scalar

if TYPE_CHECKING:
    from .study import Study


@uncollected()
def csv_lines(study: Study, positions: Iterable[int] | None = None) -> list[str]:
    """Lines of the table, the names of its columns first; the last column is `message`, the reason of a failure.

    Args:
        study: whose table.
        positions: of the rows wanted; all without it.
    """
    rows = range(len(study.rows)) if positions is None else list(positions)
    names, lines = study.table_columns(), list[str]()
    first = study.head_columns()
    tail = _Tail(names[len(first) :])
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\n")
    writer.writerow([*names, "message"])
    for i, record in zip(rows, study.heads(rows), strict=True):
        outcome = study.rows[i].outcome
        text = tail(outcome.values) if outcome is not None and not outcome.message else None
        if text is None:
            record.update(plain(outcome.values) if outcome is not None else {})
            writer.writerow([*(record.get(name, "") for name in names), outcome.message if outcome is not None else ""])
        else:
            writer.writerow([record.get(name, "") for name in first])
            lines[-1] = f"{lines[-1][:-1]},{text},\n"
    return lines


@uncollected()
def json_text(study: Study, positions: Iterable[int]) -> str:
    """A JSON list of the rows at these positions; an object lacks what its row lacks, and has the reason of a failure
    under `message`."""
    rows = list(positions)
    lines, members = list[str](), _Members(study.head_columns())
    for i, record in zip(rows, study.heads(rows), strict=True):
        outcome = study.rows[i].outcome
        text = members(outcome.values) if outcome is not None and not outcome.message else None
        if text is None:
            record.update(plain(outcome.values) if outcome is not None else {})
            if outcome is not None and outcome.message:
                record["message"] = outcome.message
            lines.append(json.dumps(record))
        else:
            lines.append(f"{json.dumps(record)[:-1]}, {text}}}" if record else f"{{{text}}}")
    return f"[{', '.join(lines)}]"


class _Members:
    """Makes the last members of a JSON object from results as they lie in the store."""

    _VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,]+')

    def __init__(self, head: Iterable[str]) -> None:
        self._head = frozenset(head)
        self._templates: dict[Layout, str | None] = {}

    def __call__(self, values: Mapping[str, Scalar]) -> str | None:
        """The members between commas; None if they must be made from the values."""
        if not isinstance(values, Record):
            return None
        if values.layout not in self._templates:
            self._templates[values.layout] = self._template(values.layout.names)
        template, text = self._templates[values.layout], values.text
        if template is None or text[:1] + text[-1:] != "[]":
            return None
        inner = text[1:-1]
        cells = inner.split(", ")
        if len(cells) != len(values):  # a comma in a text
            cells = self._VALUE.findall(inner)
        return template % tuple(cells) if len(cells) == len(values) else None

    def _template(self, names: tuple[str, ...]) -> str | None:
        """What stands around the values; None if there are none, or one has the name of another column."""
        if not names or not self._head.isdisjoint(names):
            return None
        return ", ".join(f"{json.dumps(name).replace('%', '%%')}: %s" for name in names)


class _Tail:
    """Makes the last columns of a line from results as they lie in the store."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._around: dict[Layout, tuple[str, str] | None] = {}

    def __call__(self, values: Mapping[str, Scalar]) -> str | None:
        """The cells between commas; None if they must be made from the values."""
        if not isinstance(values, Record):
            return None
        if values.layout not in self._around:
            self._around[values.layout] = self._place(values.layout.names)
        around, text = self._around[values.layout], values.text
        if around is None or _written_otherwise(text):
            return None
        if text.count(",") == len(values) - 1:
            cells = text[1:-1].replace(", ", ",").replace('"', "")
        else:  # a comma in a text, which keeps its quotes for it
            parts = text[1:-1].split('"')
            parts[::2] = [numbers.replace(", ", ",") for numbers in parts[::2]]
            parts[1::2] = [f'"{part}"' if "," in part else part for part in parts[1::2]]
            cells = "".join(parts)
        return f"{around[0]}{cells}{around[1]}"

    def _place(self, names: tuple[str, ...]) -> tuple[str, str] | None:
        """Commas of the empty cells before and after; None unless the names stand together in their order."""
        at = self._names.index(names[0]) if names and names[0] in self._names else 0
        if not names or self._names[at : at + len(names)] != names:
            return None
        return "," * at, "," * (len(self._names) - at - len(names))


def _written_otherwise(text: str) -> bool:
    """Whether there may be something that CSV writes otherwise than JSON, beside commas and quotes."""
    words = "true" in text or "false" in text or "null" in text
    return words or "\\" in text or "NaN" in text or "Infinity" in text
