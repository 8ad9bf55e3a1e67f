"""What commands show in a terminal while they compute: what they do, for how long, and how much of it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def working(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A line on standard error with the time so far, gone at the end; nothing where that is no terminal.

    Args:
        what: is being done.
        total: parts of the work, where they are counted; then there is a bar.

    Yields:
        what to call after each part.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    counted = (BarColumn(), MofNCompleteColumn()) if total is not None else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *counted, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)
