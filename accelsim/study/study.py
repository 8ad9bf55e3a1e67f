"""Study: a stored sweep, read back as a table, a Pareto front and a page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..collector import uncollected
from ..errors import BadInput
from . import store
from .analysis import Analysis, Objective, scores
from .anomalies import anomalies
from .conditions import shown
from .dimensions import quantity
from .expression import Expression
from .outcome import Status
from .pareto import front
from .record import all_names, picker, plain
from .row import Row
from .span import Scalar
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
        bound = Expression.parse(condition, condition=True).bind(columns)
        holds = bound.compile()
        kept = []
        pick = picker(bound.columns.values())
        for row, added, feasible in zip(self.rows, self._added, self._feasible, strict=True):
            values = pick(row.outcome.values) if row.outcome else {}
            whole = {**shown(pick(row.settings)), **values, **added, "status": row.status, "feasible": feasible is True}
            if holds(whole) is True:
                kept.append(row)
        return Study(self.sweep, tuple(kept))

    def count(self, status: Status | None) -> int:
        """Number of points of a status; None counts those not evaluated yet."""
        return sum((row.outcome.status if row.outcome else None) == status for row in self.rows)

    def columns(self) -> list[str]:
        """Names of settings, results and derived columns, as expressions may use them."""
        derived = [name for name, _ in self.sweep.derived]
        return list(dict.fromkeys((*self._setting_columns(), *self.result_columns(), *derived)))

    def _setting_columns(self) -> list[str]:
        return all_names(row.settings for row in self.rows)

    def _model_columns(self) -> list[str]:
        return [name for name in self._setting_columns() if name == "model" or name.startswith("model.")]

    def result_columns(self) -> list[str]:
        """Names of results, in order of their first use."""
        return all_names(row.outcome.values for row in self.rows if row.outcome)

    @cached_property
    def analysis(self) -> Analysis:
        """Derived columns, constraints and objectives, bound to the columns of the study.

        Raises:
            SpecError: one of them names no column.
        """
        derived = {name for name, _ in self.sweep.derived}
        if twice := sorted(derived & set(self.result_columns())):
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
        return [judge.derived(seen) if seen is not None else {} for seen in self._seen]

    @cached_property
    def _seen(self) -> list[dict[str, Scalar] | None]:
        """Of every row what the analysis reads of settings and results, and the model; None without a result."""
        if not self.count(Status.DONE):
            return [None] * len(self.rows)
        aims = (aim.column for aim in self.analysis.objectives)
        pick = picker([*self.analysis.columns(), *aims, *self._model_columns()])
        results = ((row, row.result) for row in self.rows)
        return [None if result is None else {**pick(row.settings), **pick(result)} for row, result in results]

    def _judged(self) -> Iterator[dict[str, Scalar] | None]:
        """The same with derived columns."""
        for seen, added in zip(self._seen, self._added, strict=True):
            yield {**seen, **added} if seen is not None else None

    @cached_property
    def _feasible(self) -> list[bool | None]:
        """Whether every row meets all constraints; None without a result or without constraints."""
        if not self.sweep.constraints or not self.count(Status.DONE):
            return [None] * len(self.rows)
        violated = self.analysis.judge().violated
        return [None if row is None else not violated(row) for row in self._judged()]

    def results(self, position: int) -> dict[str, Scalar]:
        """Results and derived columns of a row; nothing for one without a result."""
        result = self.rows[position].result
        return {} if result is None else {**plain(result), **self._added[position]}

    @uncollected()
    def feasible(self) -> list[int]:
        """Positions of the rows with a result that meet every constraint."""
        pairs = zip(self.rows, self._feasible, strict=True)
        return [i for i, (row, ok) in enumerate(pairs) if row.result is not None and ok is not False]

    def objectives(self) -> list[str]:
        """Columns that the sweep's `pareto` names, without their sign."""
        return [objective.column for objective in self._objectives()]

    def _objectives(self) -> tuple[Objective, ...]:
        if self.count(Status.DONE):
            return self.analysis.objectives
        return Analysis.parse((), (), self.sweep.pareto).objectives

    def heads(self, positions: Iterable[int] | None = None) -> Iterator[dict[str, Scalar]]:
        """Of every row, or of some, the settings that vary, `status`, with constraints `feasible`, derived columns."""
        pick = picker(self.sweep.parameters())
        for i in range(len(self.rows)) if positions is None else positions:
            head = pick(self.rows[i].settings)
            head["status"] = self.rows[i].status
            if (feasible := self._feasible[i]) is not None:
                head["feasible"] = feasible
            yield head | self._added[i]

    @uncollected()
    def table(self, positions: Iterable[int] | None = None) -> list[dict[str, Scalar]]:
        """One record per point, or for some of them: its head (see `heads`), then the results."""
        chosen = range(len(self.rows)) if positions is None else list(positions)
        outcomes = (self.rows[i].outcome for i in chosen)
        return [
            {**head, **plain(outcome.values)} if outcome is not None else head
            for head, outcome in zip(self.heads(chosen), outcomes, strict=True)
        ]

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
        return list(dict.fromkeys((*self.head_columns(), *self.result_columns())))

    def head_columns(self) -> list[str]:
        """Columns of `heads`."""
        first = [*self.sweep.parameters(), "status", *(["feasible"] if self.sweep.constraints else [])]
        return list(dict.fromkeys((*first, *all_names(self._added))))

    def to_csv(self) -> str:
        """The table as CSV text; a failed point has its reason in the column `message`."""
        from .table_text import csv_lines

        return "".join(csv_lines(self))

    @uncollected()
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
        groups: dict[tuple[Scalar | None, ...], list[tuple[int, tuple[float, ...]]]] = {}
        scored, names = self._scores(), self._model_columns()
        for position in self.feasible():
            if (score := scored[position]) is not None and (seen := self._seen[position]) is not None:
                model = tuple(map(seen.get, names))
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
        found = [None if row is None else scores(row, aims) for row in self._judged()]
        if all(score is None for score in found):
            self._numbers(aims)
        return found

    def _numbers(self, aims: Sequence[Objective]) -> None:
        """Say which objective has no numbers."""
        rows = [
            {**row.settings, **result, **added}
            for row, added in zip(self.rows, self._added, strict=True)
            if (result := row.result) is not None
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
            if lacking := sum(row.result is not None and name not in added for row, added in given):
                notes.append(f"'{name}' has no value at {lacking} of {self.count(Status.DONE)} points.")
        if missing := self.count(None):
            notes.append(f"{missing} of {len(self.rows)} points are not evaluated yet; --resume takes them up.")
        return notes

    def _constraint_notes(self) -> list[str]:
        if not self.sweep.constraints or not self.count(Status.DONE):
            return []
        judge = self.analysis.judge()
        met = [0] * len(self.sweep.constraints)
        for row in self._judged():
            if row is not None:
                violated = judge.violated(row)
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

        done = [i for i, row in enumerate(self.rows) if row.result is not None]
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
