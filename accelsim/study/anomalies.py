"""Scheduling anomalies: a machine with more bandwidth or capacity, all else equal, that took longer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from .outcome import Status
from .row import Row
from .span import Scalar

if TYPE_CHECKING:
    from ..arch.units import Quantity

LARGER_IS_MORE = ("capacity", "bandwidth", "read_bandwidth", "write_bandwidth")
"""Keys of a machine whose increase cannot hurt a perfect schedule."""

COLUMN = "latency_s"


def anomalies(rows: Sequence[Row], most: int = 5) -> list[str]:
    """One sentence on how many pairs of neighbours have the larger machine slower, then one on each of the worst."""
    from ..arch.units import BANDWIDTH, BYTES

    found: list[tuple[float, str]] = []
    for name in sorted({name for row in rows for name in row.settings}):
        key = name.rpartition(".")[2]
        if name.startswith("arch.") and key in LARGER_IS_MORE:
            found += _along(rows, name, BYTES if key == "capacity" else BANDWIDTH)
    if not found:
        return []
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    count = "1 pair of points shows" if len(found) == 1 else f"{len(found)} pairs of points show"
    head = (f"{count} a scheduling anomaly: a machine with more bandwidth or capacity, all else equal, is slower. A "
            "faster part can delay the whole under contention; the mapping of the smaller machine would serve there.")
    return [head, *(text for _, text in found[:most])]


def _along(rows: Sequence[Row], name: str, quantity: Quantity) -> list[tuple[float, str]]:
    lines: dict[str, list[tuple[Fraction | float, float, Scalar]]] = {}
    for row in rows:
        if row.outcome is None or row.outcome.status is not Status.DONE or name not in row.settings:
            continue
        size = _size(row.settings[name], quantity)
        latency = row.outcome.values.get(COLUMN)
        if size is None or not isinstance(latency, int | float):
            continue
        others = json.dumps({k: v for k, v in row.settings.items() if k != name})
        lines.setdefault(others, []).append((size, latency, row.settings[name]))
    found = []
    varying = {k for row in rows for k, v in row.settings.items() if v != rows[0].settings.get(k)}
    for others, line in lines.items():
        line.sort(key=lambda entry: entry[0])
        for (small, fast, less), (large, slow, more) in pairwise(line):
            if large > small and slow > fast:
                where = ", ".join(f"{k}={v}" for k, v in json.loads(others).items() if k in varying)
                told = f"{name} {more} is {slow / fast - 1:.2%} slower than {less}"
                found.append((slow / fast, f"{told} at {where}" if where else told))
    return found


def _size(value: Scalar, quantity: Quantity) -> Fraction | float | None:
    """The value in SI; in units of one clock where it is given per cycle. None if it is no such quantity."""
    from ..arch.units import QuantityError

    if not isinstance(value, str):
        return value
    for clock in (None, Fraction(1)):
        try:
            return quantity.parse(value, clock)
        except QuantityError:
            continue
    return None
