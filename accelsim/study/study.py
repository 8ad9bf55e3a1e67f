"""Study: a stored sweep, read back as a table, a Pareto front and a page."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import store
from .anomalies import anomalies
from .outcome import Status
from .pareto import front
from .store import Row
from .sweep import Scalar, Sweep

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Study:
    """The rows of a sweep in grid order, finished or not."""

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

    def count(self, status: Status | None) -> int:
        """Number of points of a status; None counts those not evaluated yet."""
        return sum((row.outcome.status if row.outcome else None) == status for row in self.rows)

    def objectives(self) -> list[str]:
        """Columns named by the sweep's `pareto`, without their sign."""
        return [name.removeprefix("-") for name in self.sweep.pareto]

    def table(self) -> list[dict[str, Scalar]]:
        """One record per point: its settings that vary, then `status`, then its results."""
        varying = self.sweep.parameters()
        records = []
        for row in self.rows:
            record = {name: row.settings[name] for name in varying if name in row.settings}
            record["status"] = row.outcome.status.value if row.outcome else "not evaluated"
            record.update(row.outcome.values if row.outcome else {})
            records.append(record)
        return records

    def to_dataframe(self) -> pd.DataFrame:
        """The table as a pandas DataFrame, rows in grid order."""
        import pandas as pd

        return pd.DataFrame.from_records(self.table())

    def to_csv(self) -> str:
        """The table as CSV text; a failed point has its reason in the column `message`."""
        records = self.table()
        for record, row in zip(records, self.rows, strict=True):
            record["message"] = row.outcome.message if row.outcome else ""
        names = list(dict.fromkeys(name for record in records for name in record if name != "message"))
        text = io.StringIO()
        writer = csv.DictWriter(text, [*names, "message"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue()

    def pareto(self, objectives: Sequence[str] | None = None) -> list[int]:
        """Positions of the rows that no other row for the same model betters in every objective.

        Args:
            objectives: result columns, smaller being better; a leading minus sign makes larger better. The default
                is the sweep's own.

        Raises:
            BadInput: no finished row has such a column, or it holds no numbers.
        """
        wanted = list(objectives if objectives is not None else self.sweep.pareto)
        groups: dict[str, list[int]] = {}
        for position, row in enumerate(self.rows):
            if row.outcome is not None and row.outcome.status is Status.DONE:
                model = {k: v for k, v in row.settings.items() if k.split(".")[0] == "model"}
                groups.setdefault(json.dumps(model), []).append(position)
        chosen: list[int] = []
        for positions in groups.values():
            values = [self.rows[p].outcome.values for p in positions]  # type: ignore[union-attr]
            chosen += [positions[i] for i in front(values, wanted)]
        return sorted(chosen)

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
            if row.outcome is not None and row.outcome.status is not Status.DONE
        ]

    def notes(self) -> list[str]:
        """What a reader should know of the table as a whole: scheduling anomalies, unfinished points."""
        notes = anomalies(self.rows)
        if missing := self.count(None):
            notes.append(f"{missing} of {len(self.rows)} points are not evaluated yet; --resume takes them up.")
        return notes

    def digest(self) -> str:
        """SHA-256 over settings and outcomes in grid order: equal for equal results, however they came about."""
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

        done = [i for i, row in enumerate(self.rows) if row.outcome and row.outcome.status is Status.DONE]
        table = self.to_dataframe().drop(columns="status").iloc[done]
        for axis in self.sweep.axes:
            for name, *steps in zip(axis.names, *axis.steps, strict=True):
                if all(isinstance(step, str) for step in steps):  # such as sizes, which are not in alphabetical order
                    table[name] = pd.Categorical(table[name], list(dict.fromkeys(steps)), ordered=True)
        failed = self.failed()
        return study_html(
            title=self.sweep.name,
            table=table,
            parameters=self.sweep.leading(),
            objectives=[name for name in self.objectives() if name in table.columns] if done else [],
            pareto=[done.index(i) for i in self.pareto()] if done else [],
            failed=pd.DataFrame.from_records(failed) if failed else None,
            notes=self.notes(),
        )
