"""A Report as tables: for pandas, and as files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .rows import ComponentRow, CountRow, OperatorRow, StallRow, TensorRow, TierRow

if TYPE_CHECKING:
    import pandas

    from .report import Report

KINDS: dict[str, type[Any]] = {
    "operators": OperatorRow,
    "components": ComponentRow,
    "tensors": TensorRow,
    "tiers": TierRow,
    "stalls": StallRow,
    "energy": CountRow,
}
"""Tables of a Report, and what their rows are."""


def to_dataframe(report: Report, kind: str = "operators") -> pandas.DataFrame:
    """One row per entry; the columns are the fields of the row's class.

    Raises:
        BadInput: no such table.
    """
    if kind not in KINDS:
        raise BadInput(f"a Report has no table '{kind}' (has: {', '.join(KINDS)})")
    import pandas

    rows = [asdict(row) for row in getattr(report, kind)]
    return pandas.DataFrame(rows, columns=[f.name for f in fields(KINDS[kind])])


def to_csv(report: Report, folder: str | Path) -> tuple[Path, ...]:
    """Write every table as ``<kind>.csv``; numbers are exact, what is not given is empty.

    Raises:
        BadInput: the folder cannot be made or written.
    """

    def write(kind: str, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [f.name for f in fields(KINDS[kind])], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in getattr(report, kind))

    return _written(folder, "csv", write)


def to_parquet(report: Report, folder: str | Path) -> tuple[Path, ...]:
    """Write every table as ``<kind>.parquet``.

    Raises:
        BadInput: pyarrow is not installed, or the folder cannot be made or written.
    """
    try:
        import_module("pyarrow")
    except ImportError:
        raise BadInput(
            "writing Parquet needs pyarrow: install accelsim with its extra, pip install 'accelsim[parquet]'"
        ) from None

    def write(kind: str, path: Path) -> None:
        to_dataframe(report, kind).to_parquet(path, engine="pyarrow", index=False)

    return _written(folder, "parquet", write)


def _written(folder: str | Path, ending: str, write: Callable[[str, Path], None]) -> tuple[Path, ...]:
    """The files of all tables, when `write` has written each. Raises BadInput."""
    paths = []
    for kind in KINDS:
        path = Path(folder) / f"{kind}.{ending}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(kind, path)
        except OSError as error:
            raise BadInput(f"{path}: cannot write ({error.strerror}); give another output folder") from None
        paths.append(path)
    return tuple(paths)
