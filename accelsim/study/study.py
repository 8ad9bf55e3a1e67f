"""Study: a stored sweep, read back as a table, a Pareto front and a page."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput
from . import store
from .analysis import Analysis, Objective, scores
from .anomalies import anomalies
from .conditions import shown
from .dimensions import quantity
from .expression import Expression
from .outcome import Status
from .pareto import front
from .span import Scalar
from .store import Row
from .sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Study:
    """The rows of a sweep in order, finished or not."""

    sweep: Sweep
    rows: tuple[Row, ...]

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Read a folder that a sweep has written, also while it is still running.

        Raises:
            BadInput: there is no study at `path`.
        """
        sweep, rows = store.read(Path(path))
        return cls(sweep, tuple(rows))

    def judged_by(
        self,
        *,
        objectives: Sequence[str] | None = None,
        constraints: Sequence[str] = (),
        derived: Sequence[tuple[str, str]] = (),
    ) -> Study:
        """The same rows with other objectives, and further constraints and derived columns.

        Raises:
            SpecError: an expression that is not well formed, or does not fit the columns.
        """
        sweep = replace(
            self.sweep,
            pareto=tuple(objectives) if objectives is not None else self.sweep.pareto,
            constraints=(*self.sweep.constraints, *constraints),
            derived=(*self.sweep.derived, *derived),
        )
        study = Study(sweep, self.rows)
        if study.count(Status.DONE):
            study.analysis  # noqa: B018  (raises what is wrong with it)
        else:
            Analysis.parse(sweep.derived, sweep.constraints, sweep.pareto)
        return study

    def where(self, condition: str) -> Study:
        """The rows at which a condition over settings, results and derived columns holds.

        Raises:
            SpecError: no condition, or a name that is no column.
        """
        columns = [*self.columns(), "status", *(["feasible"] if self.sweep.constraints else [])]
        holds = Expression.parse(condition, condition=True).bind(columns).compile()
        kept = []
        for row, added, feasible in zip(self.rows, self._added, self._feasible, strict=True):
            values = row.outcome.values if row.outcome else {}
            status = row.outcome.status.value if row.outcome else "not evaluated"
            whole = {**shown(row.settings), **values, **added, "status": status, "feasible": feasible is True}
            if holds(whole) is True:
                kept.append(row)
        return Study(self.sweep, tuple(kept))

    def count(self, status: Status | None) -> int:
        """Number of points of a status; None counts those not evaluated yet."""
        return sum((row.outcome.status if row.outcome else None) == status for row in self.rows)

    def columns(self) -> list[str]:
        """Names of settings, results and derived columns, as expressions may use them."""
        found = {name: None for row in self.rows for name in row.settings}
        found |= {name: None for row in self.rows if row.outcome for name in row.outcome.values}
        return list(found | dict.fromkeys(name for name, _ in self.sweep.derived))

    @cached_property
    def analysis(self) -> Analysis:
        """Derived columns, constraints and objectives, bound to the columns of the study.

        Raises:
            SpecError: one of them names no column.
        """
        derived = {name for name, _ in self.sweep.derived}
        results = {name for row in self.rows if row.outcome for name in row.outcome.values}
        if twice := sorted(derived & results):
            raise BadInput(f"derived '{twice[0]}': is a column already (give it another name)")
        return self.sweep.analysis(name for name in self.columns() if name not in derived)

    @cached_property
    def _added(self) -> list[dict[str, Scalar]]:
        """Derived columns of every row."""
        if not self.count(Status.DONE):
            return [{} for _ in self.rows]
        judge = self.analysis.judge()
        if not judge.derives:
            return [{} for _ in self.rows]
        return [
            judge.derived({**row.settings, **row.outcome.values}) if _done(row) and row.outcome else {}
            for row in self.rows
        ]

    @cached_property
    def _feasible(self) -> list[bool | None]:
        """Whether every row meets all constraints; None without a result or without constraints."""
        if not self.sweep.constraints or not self.count(Status.DONE):
            return [None] * len(self.rows)
        judge = self.analysis.judge()
        return [
            not judge.violated({**row.settings, **row.outcome.values, **added}) if _done(row) and row.outcome else None
            for row, added in zip(self.rows, self._added, strict=True)
        ]

    def results(self, position: int) -> dict[str, Scalar]:
        """Results and derived columns of a row; nothing for one without a result."""
        row = self.rows[position]
        return {**row.outcome.values, **self._added[position]} if _done(row) and row.outcome else {}

    def feasible(self) -> list[int]:
        """Positions of the rows with a result that meet every constraint."""
        return [i for i, row in enumerate(self.rows) if _done(row) and self._feasible[i] is not False]

    def objectives(self) -> list[str]:
        """Columns that the sweep's `pareto` names, without their sign."""
        return [objective.column for objective in self._objectives()]

    def _objectives(self) -> tuple[Objective, ...]:
        if self.count(Status.DONE):
            return self.analysis.objectives
        return Analysis.parse((), (), self.sweep.pareto).objectives

    def table(self) -> list[dict[str, Scalar]]:
        """One record per point.

        It holds the settings that vary, `status`, with constraints `feasible`, the derived columns, then the results.
        """
        varying = self.sweep.parameters()
        records = []
        for row, added, feasible in zip(self.rows, self._added, self._feasible, strict=True):
            record = {name: row.settings[name] for name in varying if name in row.settings}
            record["status"] = row.outcome.status.value if row.outcome else "not evaluated"
            if feasible is not None:
                record["feasible"] = feasible
            record.update(added)
            if row.outcome:
                record.update(row.outcome.values)
            records.append(record)
        return records

    def to_dataframe(self) -> pd.DataFrame:
        """The table as a pandas DataFrame, rows in order."""
        import pandas as pd

        return pd.DataFrame.from_records(self.table(), columns=self.table_columns())

    def _repr_html_(self) -> str:
        """The name and the table, in notebooks; of a long one the first and last rows."""
        from html import escape

        table = self.to_dataframe().to_html(max_rows=60, border=0)
        return f"<p><b>{escape(self.sweep.name)}</b>: {len(self.rows)} points</p>{table}"

    def table_columns(self) -> list[str]:
        """Columns of the table, settings before results whichever row has them first."""
        first = [*self.sweep.parameters(), "status", *(["feasible"] if self.sweep.constraints else [])]
        added = {name: None for row in self._added for name in row}
        results = {name: None for row in self.rows if row.outcome for name in row.outcome.values}
        return list(dict.fromkeys((*first, *added, *results)))

    def to_csv(self) -> str:
        """The table as CSV text; a failed point has its reason in the column `message`."""
        names = self.table_columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*names, "message"])
        writer.writerows(
            [*(record.get(name, "") for name in names), row.outcome.message if row.outcome else ""]
            for record, row in zip(self.table(), self.rows, strict=True)
        )
        return text.getvalue()

    def pareto(self, objectives: Sequence[str] | None = None) -> list[int]:
        """Positions of the feasible rows that no other for the same model betters in every objective.

        Args:
            objectives: columns or expressions, smaller being better; a leading minus sign makes larger better. The
                default is the sweep's own.

        Raises:
            BadInput: no finished row has such a column, or it holds no numbers.
        """
        if objectives is not None:
            return self.judged_by(objectives=objectives).pareto()
        if not self.sweep.pareto:
            raise BadInput("a Pareto front needs an objective, such as latency_s")
        if not self.count(Status.DONE):
            return []
        groups: dict[tuple[tuple[str, Scalar], ...], list[tuple[int, tuple[float, ...]]]] = {}
        scored = self._scores()
        for position in self.feasible():
            if (score := scored[position]) is not None:
                settings = self.rows[position].settings
                model = tuple((k, v) for k, v in settings.items() if k == "model" or k.startswith("model."))
                groups.setdefault(model, []).append((position, score))
        return sorted(
            places[i][0] for places in groups.values() for i in front([score for _, score in places])
        )

    def scores_by_model(self) -> dict[str, list[tuple[float, ...] | None]]:
        """The objectives of the rows of every model in order, smaller being better; None for those not feasible."""
        feasible, scored = set(self.feasible()), self._scores()
        found: dict[str, list[tuple[float, ...] | None]] = {}
        for i, row in enumerate(self.rows):
            found.setdefault(self.model_of(row), []).append(scored[i] if i in feasible else None)
        return found

    @staticmethod
    def model_of(row: Row) -> str:
        """The model of a row with its options, in words."""
        options = [f"{k.removeprefix('model.')}={v}" for k, v in row.settings.items() if k.startswith("model.")]
        return " ".join([str(row.settings["model"]), *options])

    def _scores(self) -> list[tuple[float, ...] | None]:
        """The objectives of every row, smaller being better. Raises BadInput for one that is no number anywhere."""
        aims = self._objectives()
        found: list[tuple[float, ...] | None] = []
        for row, added in zip(self.rows, self._added, strict=True):
            values = row.outcome.values if row.outcome else {}
            if any(aim.column not in values for aim in aims):
                values = {**row.settings, **values, **added} if row.outcome else values
            found.append(scores(values, aims))
        if all(score is None for score in found):
            self._numbers(aims)
        return found

    def _numbers(self, aims: Sequence[Objective]) -> None:
        """Say which objective has no numbers."""
        rows = [
            {**row.settings, **row.outcome.values, **added}
            for row, added in zip(self.rows, self._added, strict=True)
            if row.outcome
        ]
        for aim in aims:
            if all(scores(row, [aim]) is None for row in rows):
                known = sorted({name for row in rows for name, v in row.items() if isinstance(v, int | float)})
                raise BadInput(f"no column of numbers '{aim.column}' (there are {', '.join(known) or 'none'})")

    def sorted(self, positions: Iterable[int]) -> list[int]:
        """Positions by the first objective, then the next; rows that lack one are left out."""
        scored = self._scores()
        known = ((score, i) for i in positions if (score := scored[i]) is not None)
        return [i for _, i in sorted(known)]

    def best(self, count: int) -> list[int]:
        """Positions of the best feasible rows by the first objective, then the next."""
        if not self.count(Status.DONE) or not self.sweep.pareto:
            return []
        return self.sorted(self.feasible())[:count]

    def failed(self) -> list[dict[str, Scalar]]:
        """The points that gave no result: the settings that vary, `status`, `error` and `message`."""
        varying = self.sweep.parameters()
        return [
            {
                **{name: row.settings[name] for name in varying if name in row.settings},
                "status": row.outcome.status.value,
                "error": row.outcome.error,
                "message": row.outcome.message,
            }
            for row in self.rows
            if row.outcome is not None and row.outcome.status not in (Status.DONE, Status.DOMINATED)
        ]

    def notes(self) -> list[str]:
        """What a reader should know of the table as a whole: anomalies, constraints not met, unfinished points."""
        notes = [*self._constraint_notes(), *anomalies(self.rows)]
        if self.sweep.sample is not None:
            wanted = self.sweep.sample.points * len(self.sweep.archs) * len(self.sweep.models)
            if len(self.rows) < wanted:
                notes.append(f"The sample has {len(self.rows)} of the {wanted} points wanted: the axes and conditions "
                             "leave no more, or the method does not draw on.")  # fmt: skip
        if left := self.count(Status.DOMINATED):
            notes.append(f"{left} points were not simulated: results of others better their bounds, so they cannot be "
                         f"on the front by {', '.join(self.sweep.pareto)}.")  # fmt: skip
        for name in (name for name, _ in self.sweep.derived):
            given = zip(self.rows, self._added, strict=True)
            if lacking := sum(_done(row) and name not in added for row, added in given):
                notes.append(f"'{name}' has no value at {lacking} of {self.count(Status.DONE)} points.")
        if missing := self.count(None):
            notes.append(f"{missing} of {len(self.rows)} points are not evaluated yet; --resume takes them up.")
        return notes

    def _constraint_notes(self) -> list[str]:
        if not self.sweep.constraints or not self.count(Status.DONE):
            return []
        judge = self.analysis.judge()
        met = [0] * len(self.sweep.constraints)
        for row, added in zip(self.rows, self._added, strict=True):
            if _done(row) and row.outcome:
                violated = judge.violated({**row.settings, **row.outcome.values, **added})
                for i in range(len(met)):
                    met[i] += i not in violated
        done = self.count(Status.DONE)
        each = "; ".join(f"{text}: {n}" for text, n in zip(self.sweep.constraints, met, strict=True))
        return [f"{len(self.feasible())} of {done} points meet every constraint ({each})."]

    def digest(self) -> str:
        """SHA-256 over settings and outcomes in order: equal for equal results, however they came about."""
        digest = hashlib.sha256()
        for row in self.rows:
            out = row.outcome
            told = [out.status.value, dict(out.values), out.error, out.message] if out else None
            digest.update(json.dumps([dict(row.settings), told], sort_keys=True).encode())
        return digest.hexdigest()

    def to_html(self) -> str:
        """One self-contained page: the finished points, their Pareto front, what failed and why."""
        import pandas as pd

        from ..report import study_html
        from .ordered import UNSET, measured, ordered_texts

        done = [i for i, row in enumerate(self.rows) if _done(row)]
        table = self.to_dataframe().drop(columns="status").iloc[done]
        texts = ordered_texts(self.sweep, self.rows)
        titles = measured(texts)
        for name, values in texts.items():
            if name in titles:
                table[name] = [amount[0] if (amount := quantity(str(text))) else None for text in table[name]]
            else:
                table[name] = pd.Categorical(table[name].fillna(UNSET), values, ordered=True)
        table = table.rename(columns=titles)
        failed = self.failed()
        place = {position: i for i, position in enumerate(done)}
        aims = self._objectives()
        return study_html(
            title=self.sweep.name,
            table=table,
            parameters=[titles.get(name, name) for name in self.sweep.leading()],
            objectives=[aim.column for aim in aims] if done else [],
            pareto=[place[i] for i in self.pareto()] if done else [],
            failed=pd.DataFrame.from_records(failed) if failed else None,
            notes=self.notes(),
            larger=[aim.column for aim in aims if aim.larger],
            infeasible=[place[i] for i in done if self._feasible[i] is False],
        )


def _done(row: Row) -> bool:
    return row.outcome is not None and row.outcome.status is Status.DONE
