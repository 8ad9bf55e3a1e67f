"""Scheduling anomalies: a machine with more bandwidth or capacity, all else equal, that took longer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from ..arch.units import BANDWIDTH, BYTES, Quantity, QuantityError
from .outcome import Status
from .store import Row
from .sweep import Scalar

LARGER_IS_MORE: Mapping[str, Quantity] = {
    "capacity": BYTES,
    "bandwidth": BANDWIDTH,
    "read_bandwidth": BANDWIDTH,
    "write_bandwidth": BANDWIDTH,
}
"""Keys of a machine whose increase cannot hurt a perfect schedule."""

COLUMN = "latency_s"


def anomalies(rows: Sequence[Row], most: int = 10) -> list[str]:
    """One sentence per pair of neighbours in which the larger machine is slower, the worst first, at most `most`."""
    found: list[tuple[float, str]] = []
    names = sorted({name for row in rows for name in row.settings})
    for name in names:
        quantity = LARGER_IS_MORE.get(name.rsplit(".", 1)[-1])
        if quantity is not None and name.startswith("arch."):
            found += _along(rows, name, quantity)
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    notes = [text for _, text in found[:most]]
    if len(found) > most:
        notes.append(f"{len(found) - most} more pairs of points show a scheduling anomaly of less effect.")
    return notes


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
    for others, line in lines.items():
        line.sort(key=lambda entry: entry[0])
        for (small, fast, less), (large, slow, more) in pairwise(line):
            if large > small and slow > fast:
                where = ", ".join(f"{k}={v}" for k, v in json.loads(others).items())
                text = (
                    f"Scheduling anomaly: {name} {more} is {slow / fast - 1:.2%} slower than {less} ({where}). A faster"
                    " part can delay the whole under contention; the mapping of the smaller machine would serve here."
                )
                found.append((slow / fast, text))
    return found


def _size(value: Scalar, quantity: Quantity) -> Fraction | float | None:
    """The value in SI; in units of one clock where it is given per cycle. None if it is no such quantity."""
    if not isinstance(value, str):
        return value
    for clock in (None, Fraction(1)):
        try:
            return quantity.parse(value, clock)
        except QuantityError:
            continue
    return None
