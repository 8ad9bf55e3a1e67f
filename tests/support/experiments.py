"""The rows of experiments, computed once for all tests of a process."""

from __future__ import annotations

from functools import cache

from accelsim.experiments.loader import Row, load_experiment


def rows_of(name: str, judged: int | None = None) -> tuple[Row, ...]:
    """The rows of the experiment of that name; with `judged`, until so many of them had a tolerance."""
    return _rows_of(name, judged)  # one key, whether None is given or not


@cache
def _rows_of(name: str, judged: int | None) -> tuple[Row, ...]:
    found = []
    for row in load_experiment(name).rows():
        found.append(row)
        if judged is not None and sum(r.tolerance is not None for r in found) == judged:
            break
    return tuple(found)
