"""What was done, how often and at what energy: the counted actions of a Trace, priced by the machine, and leakage."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from ..arch.architecture import Architecture
from ..engine.labels import Action
from ..engine.trace import Trace
from ..ir import Workload
from .rows import CountRow

LEAKAGE = "leakage"
"""Action and role of rows of leakage."""


def count_rows(arch: Architecture, workload: Workload, trace: Trace) -> tuple[tuple[CountRow, ...], tuple[str, ...]]:
    """Rows by component, action, operator and tensor, and the names of actions for which the machine has no energy.

    Energy is count · joules per action of the component; actions that are not `labels.Action` are left out.
    """
    parts = {c.name: c for c in arch.components()}
    prices = {name: dict(c.action_energy()) for name, c in parts.items()}
    rows: list[CountRow] = []
    unpriced: set[str] = set()
    outside = {memory.name for memory in arch.off_chip}
    counted = zip(trace.program.actions, trace.action_counts().tolist(), strict=True)
    for action, count in sorted((a, n) for a, n in counted if isinstance(a, Action) and n):
        part = parts.get(action.component)
        price = prices.get(action.component, {}).get(action.action)
        if price is None:
            unpriced.add(f"{action.component}.{action.action}")
        category = part.category if part is not None else ""
        tensor = workload.tensors.get(action.tensor)
        role = str(tensor.role) if tensor is not None else "compute" if category == "unit" else ""
        energy = count * (price or 0.0)
        crosses = action.component in outside and action.peer not in outside
        name = action.component
        rows.append(
            CountRow(name, category, action.action, action.operator, action.tensor, role, count, energy, crosses)
        )
    return tuple(rows), tuple(sorted(unpriced))


def leakage_rows(arch: Architecture, cycles: float, latency_s: float) -> tuple[CountRow, ...]:
    """A row for each component whose leakage power is given: that power over the whole run, on behalf of no operator.

    Its count is the cycles of the machine's clock, rounded up.
    """
    return tuple(
        CountRow(c.name, c.category, LEAKAGE, "", "", LEAKAGE, ceil(cycles), c.leakage_watts * latency_s)
        for c in arch.components()
        if c.leakage_watts is not None
    )


def leaked(rows: Iterable[CountRow]) -> float:
    """The joules of leakage among the rows."""
    return sum(row.energy_J for row in rows if row.action == LEAKAGE)


def total(rows: Iterable[CountRow]) -> int:
    return sum(row.count for row in rows)


def joules(rows: Iterable[CountRow]) -> float:
    return sum(row.energy_J for row in rows)
