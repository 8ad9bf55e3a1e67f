"""Tables of the columns of a study on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 150
"""Columns of text where there is no terminal to ask."""


def console() -> Console:
    """Standard output, wide enough for a table where it is no terminal."""
    return terminal() if sys.stdout.isatty() else terminal(PIPED_WIDTH)


def terminal(width: int | None = None) -> Console:
    """Standard output; a reader that has gone is told as everywhere, where rich would leave with an exit code of 1."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Terminal(width=width)


def heading(name: str) -> str:
    """The name without the part of the machine or report that it stands in, which the report page shows in full."""
    if not name.replace(".", "").replace("_", "").isalnum():
        return name  # an expression
    return ".".join(name.split(".")[-2:]) if name.startswith("arch.") else name.rpartition(".")[2]


def cell(value: object) -> str:
    """A value to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(title: str, names: Sequence[str], rows: Iterable[Mapping[str, object]], right: Sequence[str] = ()) -> Table:
    """A table of records; a value that a record lacks stays empty."""
    from rich.table import Table

    found = Table(title=title, title_justify="left")
    headings = [heading(name) for name in names]
    for name, short in zip(names, headings, strict=True):
        # A heading that two columns share would tell neither.
        found.add_column(short if headings.count(short) == 1 else name, justify="right" if name in right else "left")
    for row in rows:
        found.add_row(*(cell(row.get(name, "")) for name in names))
    return found
