"""A Workload in a notebook: what it holds and what it computes."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from ..text.html_table import html_table
from .operators import count_operations

if TYPE_CHECKING:
    from .workload import Workload

SHOWN = 50
"""Operators listed; the first ones."""


def workload_html(workload: Workload) -> str:
    """MACs, bytes by role, and the operators in their order with their kinds, runs, ranks and MACs."""
    operators = list(workload.einsums())
    rows = [
        (einsum.name, einsum.kind, f"{runs:,}", " ".join(f"{r}={n}" for r, n in einsum.sizes.items()),
         f"{count_operations(einsum).macs * runs:,}")
        for einsum, runs in operators[:SHOWN]
    ]  # fmt: skip
    held = [(str(role), f"{nbytes:,}") for role, nbytes in workload.bytes_by_role().items() if nbytes]
    count = f"{len(operators):,} operators"
    if len(operators) > SHOWN:
        count += f", the first {SHOWN} shown"
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in workload.notes)
    return (
        f"<p><b>{html.escape(workload.name)}</b>: {workload.macs:,} MACs, {count}</p>{notes}"
        + html_table(("role", "bytes"), held)
        + html_table(("operator", "kind", "runs", "ranks", "MACs"), rows)
    )
