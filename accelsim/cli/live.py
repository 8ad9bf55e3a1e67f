"""What a running sweep shows on standard error: a progress bar and, in a terminal, the best points so far."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .cells import cell, heading

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..study import Outcome, Point, Scalar, Sweep
    from ..study.analysis import Analysis
    from ..study.run import Progress, Watch

SHOWN = 5
"""Rows of the table."""


class Steps(NamedTuple):
    """What `run_sweep` is to call."""

    progress: Progress
    watch: Watch


class Best:
    """The best feasible points so far, by the first objective."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.names = sweep.leading()
        self.seen = self.feasible = 0
        self.aims: list[str] = []
        self._bound: dict[tuple[str, ...], Analysis] = {}
        self.rows: list[tuple[tuple[float, ...], int, Mapping[str, Scalar]]] = []

    def add(self, point: Point, outcome: Outcome) -> None:
        """Take in one point; one whose columns the objectives do not fit is told at the end, not here."""
        from ..errors import SpecError
        from ..study.analysis import scores

        self.seen += 1
        if outcome.status.value != "done":
            return
        row = {**point.settings(), **outcome.values}
        columns = tuple(row)
        try:
            if columns not in self._bound:
                self._bound[columns] = self.sweep.analysis(columns)
            analysis = self._bound[columns]
            judge = analysis.judge()
            row |= judge.derived(row)
            score = scores(row, analysis.objectives)
            if score is None or judge.violated(row):
                return
        except SpecError:
            return
        self.feasible += 1
        self.aims = [objective.column for objective in analysis.objectives]
        insort(self.rows, (score, self.seen, row))
        del self.rows[SHOWN:]

    def table(self) -> Table:
        """The best points as a table for the terminal."""
        from rich.table import Table

        title = f"best of {self.feasible} by {self.aims[0]}" if self.aims else "no point yet"
        table = Table(title=title, title_justify="left")
        for name in (*self.names, *self.aims):
            table.add_column(heading(name), justify="right" if name in self.aims else "left")
        for _, _, row in self.rows:
            table.add_row(*(cell(row.get(name, "")) for name in (*self.names, *self.aims)))
        return table


@contextmanager
def live(sweep: Sweep, *, shown: bool, console: Console | None = None) -> Iterator[Steps]:
    """A progress bar; in a terminal with the table of the best points below it.

    Args:
        sweep: what is run.
        shown: False shows nothing at all.
        console: where to; standard error if None.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[failed]}"))
    console = console or Console(stderr=True)
    bar = Bar(*columns, console=console)
    task = bar.add_task("points", failed="")
    best = Best(sweep)
    failed = 0
    terminal = shown and console.is_terminal
    at_once = sweep.search is None and not sweep.bounds_first  # else what is there shows batch by batch
    screen = Live(
        console=console, refresh_per_second=4, transient=True, get_renderable=lambda: Group(bar, best.table())
    )  # fmt: skip

    def progress(done: int, total: int, outcome: Outcome | None) -> None:
        nonlocal failed
        if shown and outcome is None and done and at_once:
            console.print(f"{done} of {total} points are there already", markup=False)
        if shown and not terminal:
            bar.start()
        elif terminal:
            screen.start()
        failed += outcome is not None and outcome.status.value != "done"
        bar.update(task, completed=done, total=total, failed=f"{failed} failed" if failed else "")

    def watch(point: Point, outcome: Outcome) -> None:
        if terminal:
            best.add(point, outcome)

    try:
        yield Steps(progress, watch)
    finally:
        if bar.live.is_started:  # else it would print an empty line
            bar.stop()
        if screen.is_started:
            screen.stop()
            console.print(bar)
