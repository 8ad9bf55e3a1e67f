"""Trace: what happened when a Program ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .program import IntArray, Program

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Slices:
    """Recorded firings, at most as many as were asked for, in order of (start, actor).

    `start` is the grant of the first piece, `end` the completion, so that a firing served in pieces is one slice.
    """

    actor: IntArray
    phase: IntArray
    start: IntArray
    end: IntArray
    dropped: int = 0
    """Firings beyond the cap, or jumped over, that are counted everywhere but not listed."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Times in ticks, bytes in bytes, work in units of the server. Equal for both kernels, with and without jumps."""

    program: Program
    finish: int
    """Tick at which the last firing ended."""
    firings: IntArray
    """[a] firings of each actor."""
    phase_firings: IntArray
    """[p]"""
    start: IntArray
    """[a] start of the first firing, -1 if none."""
    end: IntArray
    """[a] end of the last firing, 0 if none."""
    busy: IntArray
    """[a] ticks in service, over all pieces."""
    stall: IntArray
    """[a, 4] ticks waited, by cause (program.CAUSES)."""
    fifo_data_stall: IntArray
    """[f] ticks its consumer waited for its tokens."""
    fifo_space_stall: IntArray
    """[f] ticks its producer waited for its slots."""
    server_busy: IntArray
    """[s]"""
    server_work: IntArray
    """[s]"""
    pool_peak: IntArray
    """[k] most bytes taken at once."""
    slices: Slices | None = None
    jumps: int = field(default=0)
    """How often the kernel jumped over recurring states, and how many firings it so skipped (not part of equality)."""
    jumped_firings: int = field(default=0)

    def action_counts(self) -> IntArray:
        """[action] how often each action of the Program was done."""
        p = self.program
        counts = np.zeros(len(p.actions), np.int64)
        per_entry = np.repeat(self.phase_firings, np.diff(p.action_ptr)) * p.action_count
        np.add.at(counts, p.action_id, per_entry)
        return counts

    def differences(self, other: Trace) -> list[str]:
        """Names of the fields in which two Traces of one Program differ; empty when they agree to the tick."""
        names = [
            "finish", "firings", "phase_firings", "start", "end", "busy", "stall", "fifo_data_stall",
            "fifo_space_stall", "server_busy", "server_work", "pool_peak",
        ]  # fmt: skip
        return [n for n in names if not np.array_equal(getattr(self, n), getattr(other, n))]

    def to_dataframe(self, kind: str = "actors") -> pandas.DataFrame:
        """A table, times in ticks: ``actors``, ``servers``, ``fifos``, ``pools`` or ``slices``.

        Raises:
            BadInput: no such table, or slices of a Trace that recorded none.
        """
        from .frames import to_dataframe

        return to_dataframe(self, kind)
