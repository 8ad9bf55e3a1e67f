"""Export: the points of a study as CSV, JSON or Parquet, written whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import BadInput
from ..files import replacing
from .study import Study
from .table_text import csv_lines, json_text

FORMATS = (".csv", ".json", ".parquet")


def check_format(file: Path) -> None:
    """Whether a file of this name can be written.

    Raises:
        BadInput: its ending is of no format, or Parquet is wanted and the extra for it is missing.
    """
    if file.suffix not in FORMATS:
        raise BadInput(f"{file}: '{file.suffix}' is no format to export to ({', '.join(FORMATS)})")
    if file.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise BadInput(f"{file}: Parquet needs the extra 'parquet' (pip install 'accelsim[parquet]'); "
                       "CSV and JSON need nothing")  # fmt: skip


def export_rows(study: Study, file: Path, positions: Iterable[int], columns: Sequence[str] | None = None) -> None:
    """Write rows of the table of a study; without `columns` all, and the reason of failures under `message`.

    In JSON a row is an object without what it lacks, in CSV that is empty.

    Raises:
        BadInput: see `check_format`; or the file cannot be written.
    """
    check_format(file)
    chosen = list(positions)
    names = list(columns) if columns is not None else [*study.table_columns(), "message"]
    with replacing(file) as temporary:
        if file.suffix == ".csv" and columns is None:
            with temporary.open("w", encoding="utf-8", newline="") as text:
                text.writelines(csv_lines(study, chosen))
            return
        if file.suffix == ".json" and columns is None:
            temporary.write_text(json_text(study, chosen), encoding="utf-8")
            return
        records = study.table(chosen)
        for i, record in zip(chosen, records, strict=True):
            outcome = study.rows[i].outcome
            if columns is None and outcome is not None and outcome.message:
                record["message"] = outcome.message
        if file.suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as text:
                writer = csv.writer(text, lineterminator="\n")
                writer.writerow(names)
                writer.writerows([record.get(name, "") for name in names] for record in records)
        elif file.suffix == ".json":
            plain = [{name: record[name] for name in names if name in record} for record in records]
            temporary.write_text(json.dumps(plain), encoding="utf-8")
        else:
            import pandas as pd

            pd.DataFrame.from_records(records, columns=names).to_parquet(temporary, engine="pyarrow", index=False)
