"""Reads of storage in chunks by several threads at once: what a chunk costs depends on its size.

A thread that reads a chunk waits for it to begin and then for its bytes, which makes its time a line in its size.
Threads share the drive's sequential bandwidth. The line comes from throughputs that were measured at two or more sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from ...components.base import server_rate
from ...engine.program import Server
from ...errors import BadInput
from ...lowering.sites import Stage

DRIVE = "drive"
"""Name of the server of what threads share."""


@dataclass(frozen=True)
class Drive:
    """Storage as threads see it.

    Attributes:
        sequential: bytes per second of long reads, which all threads share.
        threads: that read chunks at once.
        measured: (bytes of a chunk, bytes per second of all threads), the smallest chunk first; between two, and beyond
            the last, the time of a chunk is a straight line. Smaller chunks cost what the smallest does.

    Raises:
        BadInput: fewer than two points, or chunks of which a larger one takes less time.
    """

    sequential: float
    threads: int
    measured: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        if self.threads < 1 or not self.sequential > 0:
            raise BadInput(f"a drive needs a thread and a bandwidth: {self.threads} threads, {self.sequential} B/s")
        times = [(c, c / b) for c, b in self.measured if c > 0 and b > 0]
        if len(times) < 2 or len(times) < len(self.measured):
            raise BadInput(f"throughputs at two sizes of chunks or more, all positive: {self.measured}")
        if times != sorted(times) or any(a[1] >= b[1] for a, b in pairwise(times)):
            raise BadInput(f"larger chunks must take more time: {self.measured}")

    def seconds(self, chunk: int) -> float:
        """One thread takes to read a chunk, while the others read others."""
        points = [(c, self.threads * c / b) for c, b in self.measured]
        if chunk <= points[0][0]:
            return points[0][1]
        above = next((i for i, p in enumerate(points) if p[0] >= chunk), len(points) - 1)
        (c0, t0), (c1, t1) = points[above - 1], points[above]
        return t0 + (t1 - t0) * (chunk - c0) / (c1 - c0)

    def servers(self, tick_hz: int) -> dict[str, Server]:
        """The threads, whose work is ticks, and what they share, whose work is bytes."""
        shared = Server(DRIVE, server_rate(DRIVE, self.sequential, Fraction(tick_hz)))
        return {DRIVE: shared, **{n: Server(n) for n in map(_thread, range(self.threads))}}

    def stages(self, what: str, chunks: int, chunk: int, tick_hz: int, after: Sequence[int], first: int) -> list[Stage]:
        """Stages that read so many chunks, dealt out to the threads.

        Args:
            what: name.
            chunks, chunk: how many, of how many bytes.
            tick_hz: ticks per second.
            after: stages of the way that are over before.
            first: number of the first stage in its way.
        """
        found: list[Stage] = []
        each = max(1, round(self.seconds(chunk) * tick_hz))
        for k in range(min(self.threads, chunks)):
            n = chunks // self.threads + (k < chunks % self.threads)
            found.append(Stage(f"{what}: waiting", _thread(k), n * each, n, tuple(after)))
            found.append(Stage(f"{what}: moving", DRIVE, n * chunk, n, follows=(first + len(found) - 1,)))
        return found


def _thread(k: int) -> str:
    return f"thread {k}"
