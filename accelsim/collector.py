"""The garbage collector kept away from where very many values are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector, which looks through all that is there again and again while objects are made.

    That takes a third of the time of a table of 100,000 rows, and a fifth of mapping and simulating a network; what
    these let go of has hardly any cycles.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
