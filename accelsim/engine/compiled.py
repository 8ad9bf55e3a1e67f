"""The compiled kernel: runs Programs over arrays in numba, and jumps over recurring states."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

from ..errors import ProgramError, TimeOverflow
from . import columns as c
from .program import MAX_TICK, Platform, Program
from .tables import Tables
from .trace import Trace

_KEPT = 2
_recent: deque[Trace] = deque(maxlen=_KEPT)
"""Of Programs that were run last: a mapper runs those that it compares, and the one that it chooses is run again."""


def run(program: Program, *, jump: bool = True, record: int = 0, python: bool = False, most: int = 0) -> Trace:
    """Run a Program to its end.

    Args:
        program: what to run.
        jump: whether to skip over recurring states; the Trace is the same, but for its counts of jumps.
        record: the most firings to list in `Trace.slices`, those with the least (start, actor); 0 lists none.
        python: run the kernel's source uncompiled, thousands of times slower.
        most: give up after about so many visits of actors and ticks; 0 never gives up.

    Raises:
        TooLong: it gave up.
        Deadlock: nothing can move and work is left.
        TimeOverflow: a time passes MAX_TICK.
        ProgramError: a pool is given more bytes than were taken from it, or a number is beyond what can be counted.
    """
    tables = Tables(program.platform, session=False, jump=jump, python=python, record=record)
    live = tables.add(program, 0, 0)
    for scope in range(tables.n_scopes):
        tables.enter(scope)
        tables.go(MAX_TICK, most)
    if tables.net.globals[c.G_LEFT] > 0:
        raise tables.deadlock()
    return tables.trace(live)


def trace_of(program: Program, *, most: int = 0) -> Trace:
    """What `run` gives, without running a Program again that was among the last ones.

    Raises:
        As `run`.
    """
    for trace in _recent:
        if trace.program is program:
            return trace
    _recent.append(run(program, most=most))
    return _recent[-1]


class CompiledSession:
    """A resumable run of several Programs on one Platform; see the Protocol `Session`."""

    def __init__(self, platform: Platform, tick_hz: Fraction, *, jump: bool = True, python: bool = False) -> None:
        self.platform = platform
        self.tick_hz = Fraction(tick_hz)
        self._tables = Tables(platform, session=True, jump=jump, python=python, record=0)
        self._now = -1
        self._submitted = 0
        self._traces: dict[int, Trace] = {}

    @property
    def now(self) -> int:
        return self._now

    def submit(self, program: Program, at: int | None = None) -> int:
        if program.platform is not self.platform and program.platform != self.platform:
            raise ProgramError(f"program {program.name}: its platform is not the session's")
        if program.tick_hz != self.tick_hz:
            raise ProgramError(f"program {program.name}: {program.tick_hz} ticks a second, the session {self.tick_hz}")
        start = max(at or 0, self._now + 1)
        if start > MAX_TICK:
            raise TimeOverflow(f"program {program.name}: submitted at tick {start}, beyond 2^62")
        tables, fragment = self._tables, self._submitted
        tables.add(program, fragment, start)
        self._submitted += 1
        for scope in range(1, tables.n_scopes):  # what contends for nothing runs to its end at once
            tables.enter(scope)
            tables.go(-1)
        tables.enter(0)
        return fragment

    def advance(self, until: int | None = None) -> list[tuple[int, int]]:
        if until is not None and until <= self._now:
            return []
        tables = self._tables
        status = tables.go(MAX_TICK if until is None else until)
        net = tables.net
        if status == c.COMPLETED:
            self._now = int(net.globals[c.G_NOW])
            done = tables.completed()
            for live in done:
                self._traces[live.fragment] = tables.trace(live)
                net.fragments[live.row, 2] = 2
            return [(live.fragment, self._traces[live.fragment].finish) for live in done]
        if status == c.IDLE and net.globals[c.G_LEFT] > 0:
            in_pool = bool((net.actors[:, c.A_STATUS] == c.IN_POOL).any())
            if until is None or not in_pool:
                raise tables.deadlock()
        if until is not None:
            self._now = until
        return []

    def trace(self, fragment: int) -> Trace:
        if fragment not in self._traces:
            what = "still running" if 0 <= fragment < self._submitted else "unknown"
            raise ProgramError(f"fragment {fragment} is {what}")
        return self._traces[fragment]
