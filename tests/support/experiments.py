"""The rows of experiments, computed once for all tests of a process."""

from __future__ import annotations

from functools import cache

from accelsim.experiments.loader import Row, load_experiment


@cache
def rows_of(name: str) -> tuple[Row, ...]:
    """The rows of the experiment of that name, of its machine files as they are."""
    return tuple(load_experiment(name).rows())
