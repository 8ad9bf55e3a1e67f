"""All experiments on one page: what was published, what accelsim gives, the error, and the time it took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from statistics import median

from ..errors import AccelsimError
from ..report.page import Cell, Column, Link, Page
from ..study.batches import workers
from ..study.pool import WorkerDied
from .loader import Comparison, load_experiment
from .page import COLUMNS, cells

OVERVIEW = "Errors are over rows that have a tolerance; published and accelsim are those of the row with the largest."


@dataclass(frozen=True)
class Outcome:
    """What became of one experiment: its comparison, or why there is none."""

    name: str
    summary: str
    comparison: Comparison | None
    message: str = ""

    @property
    def ok(self) -> bool:
        """It ran, and every row with a tolerance is within it."""
        return self.comparison is not None and self.comparison.ok


def run_all(summaries: Mapping[str, str], jobs: int = 0) -> Iterator[Outcome]:
    """Run experiments, each as it ends; one that fails, or whose process is lost, keeps no other from running.

    Args:
        summaries: what each reproduces, by name.
        jobs: processes that run one each at a time; 0 runs all in this one, in order.
    """
    with workers(None, jobs) as pool:
        if pool is None:
            yield from (outcome_of(name, summary) for name, summary in summaries.items())
            return
        running = {pool.submit(outcome_of, name, summary): name for name, summary in summaries.items()}
        for future in as_completed(running):
            try:
                yield future.result()
            except WorkerDied as error:
                name = running[future]
                yield Outcome(name, summaries[name], None, str(error))


def outcome_of(name: str, summary: str) -> Outcome:
    """Run one experiment, whatever becomes of it."""
    try:
        return Outcome(name, summary, load_experiment(name).run())
    except AccelsimError as error:
        return Outcome(name, summary, None, str(error))
    except Exception as error:
        return Outcome(name, summary, None, f"{type(error).__name__}: {error}")


def totals(outcome: Outcome) -> dict[str, str | float | None]:
    """One line of the overview: errors are over rows with a tolerance, the figures of the row furthest off."""
    if outcome.comparison is None:
        return {"experiment": outcome.name, "rows": None, "within": "did not run", "unjudged": None, "median error": "",
                "largest error": "", "where": "", "published": None, "accelsim": None, "seconds": None}  # fmt: skip
    rows = outcome.comparison.rows
    judged = [row for row in rows if row.ok is not None]
    errors = [abs(row.error) for row in judged if row.error is not None]
    widest = max((row for row in judged if row.error is not None), key=lambda row: abs(row.error or 0.0), default=None)
    return {
        "experiment": outcome.name,
        "rows": len(rows),
        "within": f"{sum(row.ok is True for row in judged)} of {len(judged)}",
        "unjudged": len(rows) - len(judged),
        "median error": f"{median(errors):.2%}" if errors else "",
        "largest error": f"{max(errors):.2%}" if errors else "",
        "where": f"{widest.quantity}, {widest.where}" if widest else "",
        "published": widest.published if widest else None,
        "accelsim": widest.accelsim if widest else None,
        "seconds": round(outcome.comparison.seconds, 1),
    }


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The overview and every row as Markdown."""
    names = list(totals(outcomes[0]))
    linked = [[f"[{one.name}](#{one.name})", *list(totals(one).values())[1:]] for one in outcomes]
    told = f"{summary_of(outcomes)}. {OVERVIEW}"
    lines = ["# Published systems beside accelsim", "", told, "", *_table(names, linked)]
    for outcome in outcomes:
        lines += ["", f"## {outcome.name}", "", outcome.summary, ""]
        if outcome.comparison is None:
            lines.append(f"It did not run: {outcome.message}")
        else:
            lines += _table(COLUMNS, [cells(row) for row in outcome.comparison.rows])
    return "\n".join(lines) + "\n"


def _table(names: Sequence[str], rows: Sequence[Iterable[object]]) -> list[str]:
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        texts = ("" if cell is None else _text(cell) for cell in row)
        lines.append(f"| {' | '.join(texts)} |")
    return lines


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return str(cell).replace("|", "\\|").replace("\n", " ")


def summary_of(outcomes: Sequence[Outcome]) -> str:
    """How many experiments and rows are within their tolerances, and what time all took."""
    compared = [outcome.comparison for outcome in outcomes if outcome.comparison is not None]
    judged = [row.ok for comparison in compared for row in comparison.rows if row.ok is not None]
    good, seconds = sum(outcome.ok for outcome in outcomes), sum(comparison.seconds for comparison in compared)
    return (f"{good} of {len(outcomes)} experiments within all tolerances, {sum(judged)} of {len(judged)} rows; "
            f"{seconds:,.0f} s")  # fmt: skip


def page(outcomes: Sequence[Outcome]) -> str:
    """The same as one self-contained HTML page; experiments and rows that miss a tolerance stand out."""
    made = Page("Published systems beside accelsim", summary_of(outcomes))
    made.section("Overview", OVERVIEW)
    missed = frozenset(i for i, outcome in enumerate(outcomes) if not outcome.ok)
    lines: list[list[Cell]] = [[Link(one.name, one.name), *list(totals(one).values())[1:]] for one in outcomes]
    made.table([Column(name) for name in totals(outcomes[0])], lines, marked=missed)
    for outcome in outcomes:
        made.section(outcome.name, outcome.summary, anchor=outcome.name)
        if outcome.comparison is None:
            made.text(f"It did not run: {outcome.message}", strong=True)
            continue
        rows = outcome.comparison.rows
        wrong = frozenset(i for i, row in enumerate(rows) if row.ok is False)
        made.table([Column(name) for name in COLUMNS], [cells(row) for row in rows], marked=wrong)
    return made.render()
