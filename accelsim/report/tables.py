"""A Report as pandas tables."""

from __future__ import annotations

from dataclasses import asdict, fields
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
