"""All experiments on one page: what was published, what accelsim gives, the error, and the time it took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..errors import AccelsimError
from ..report.page import Column, Page
from .loader import Comparison, Row, load_experiment

COLUMNS = ("quantity", "where", "published", "accelsim", "unit", "error", "tolerance", "source", "note")


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


def run_all(summaries: Mapping[str, str]) -> Iterator[Outcome]:
    """Run experiments one after the other; one that fails does not keep the others from running."""
    for name, summary in summaries.items():
        try:
            yield Outcome(name, summary, load_experiment(name).run())
        except AccelsimError as error:
            yield Outcome(name, summary, None, str(error))


def totals(outcome: Outcome) -> dict[str, str | float | None]:
    """One line of the overview."""
    if outcome.comparison is None:
        return {"experiment": outcome.name, "rows": None, "within": None, "unjudged": None, "median error": "",
                "largest error": "", "seconds": None}  # fmt: skip
    rows = outcome.comparison.rows
    judged = [row for row in rows if row.ok is not None]
    errors = [abs(row.error) for row in judged if row.error is not None]
    return {
        "experiment": outcome.name,
        "rows": len(rows),
        "within": f"{sum(row.ok is True for row in judged)} of {len(judged)}",
        "unjudged": len(rows) - len(judged),
        "median error": f"{median(errors):.2%}" if errors else "",
        "largest error": f"{max(errors):.2%}" if errors else "",
        "seconds": round(outcome.comparison.seconds, 1),
    }


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The overview and every row as Markdown."""
    names = list(totals(outcomes[0]))
    lines = ["# Published systems beside accelsim", "", *_table(names, [totals(one).values() for one in outcomes])]
    for outcome in outcomes:
        lines += ["", f"## {outcome.name}", "", outcome.summary, ""]
        if outcome.comparison is None:
            lines.append(f"It did not run: {outcome.message}")
        else:
            lines += _table(COLUMNS, [_cells(row) for row in outcome.comparison.rows])
    return "\n".join(lines) + "\n"


def _table(names: Sequence[str], rows: Sequence[Iterable[object]]) -> list[str]:
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        cells = ("" if cell is None else _text(cell) for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _cells(row: Row) -> list[str | float | None]:
    error = "" if row.error is None else f"{row.error:+.2%}"
    tolerance = "unreachable" if row.tolerance is None else f"{row.tolerance:.2%}"
    return [row.quantity, row.where, row.published, row.accelsim, row.unit, error, tolerance, row.source, row.note]


def page(outcomes: Sequence[Outcome]) -> str:
    """The same as one self-contained HTML page; experiments and rows that miss a tolerance stand out."""
    good = sum(outcome.ok for outcome in outcomes)
    made = Page("Published systems beside accelsim", f"{good} of {len(outcomes)} experiments within all tolerances")
    made.section("Overview")
    missed = frozenset(i for i, outcome in enumerate(outcomes) if not outcome.ok)
    lines = [list(totals(outcome).values()) for outcome in outcomes]
    made.table([Column(name) for name in totals(outcomes[0])], lines, marked=missed)
    for outcome in outcomes:
        made.section(outcome.name, outcome.summary)
        if outcome.comparison is None:
            made.text(f"It did not run: {outcome.message}", strong=True)
            continue
        rows = outcome.comparison.rows
        wrong = frozenset(i for i, row in enumerate(rows) if row.ok is False)
        made.table([Column(name) for name in COLUMNS], [_cells(row) for row in rows], marked=wrong)
    return made.render()
