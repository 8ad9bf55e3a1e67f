"""A Session for the simplest of Programs, without tables: spans of work on servers, first come, first served."""

from __future__ import annotations

from fractions import Fraction
from heapq import heappop, heappush

from ..engine.program import FIRST_COME, NONE, Platform, Program
from ..engine.session import Session
from ..engine.trace import Trace
from ..errors import ProgramError


class SpanSession(Session):
    """Fragments that are one actor each, which fires once on a server of rate 1, with no FIFO and no pool.

    Of the fragments that wait for a server the one that could fire first goes first, among equals by id. Where Programs
    are of this kind it gives the same completions as the kernels of the engine, in a fraction of the time; it keeps no
    Traces.

    Raises:
        ProgramError: a server has another rate or order.
    """

    def __init__(self, platform: Platform, tick_hz: Fraction) -> None:
        if any(s.rate != 1 or s.policy != FIRST_COME for s in platform.servers):
            raise ProgramError("spans: servers of a rate of one a tick, first come, first served")
        self.platform = platform
        self.tick_hz = Fraction(tick_hz)
        self._now = -1
        self._submitted = 0
        self._waiting: list[list[tuple[int, int, int]]] = [[] for _ in platform.servers]
        """By server, a heap of (first tick, fragment, work)."""
        self._working: list[tuple[int, int] | None] = [None] * len(platform.servers)
        """By server, (end, fragment)."""
        self._free = [0] * len(platform.servers)

    @property
    def now(self) -> int:
        return self._now

    def submit(self, program: Program, at: int | None = None) -> int:
        """See `Session`. Raises ProgramError for another kind of Program, platform or tick."""
        if program.platform is not self.platform and program.platform != self.platform:
            raise ProgramError(f"program {program.name}: its platform is not the session's")
        if program.tick_hz != self.tick_hz:
            raise ProgramError(f"program {program.name}: {program.tick_hz} ticks a second, the session {self.tick_hz}")
        single = len(program.actor_names) == 1 and len(program.code_op) == 1 and program.code_count[0] == 1
        server = int(program.actor_server[0]) if single else NONE
        if server == NONE or program.fifos or program.take_pool[0] != NONE or len(program.give_pool):
            raise ProgramError(f"program {program.name}: more than one firing on a server")
        fragment = self._submitted
        self._submitted += 1
        heappush(self._waiting[server], (max(at or 0, self._now + 1), fragment, int(program.phase_work[0])))
        return fragment

    def advance(self, until: int | None = None) -> list[tuple[int, int]]:
        if until is not None and until <= self._now:
            return []
        ends = [end for server in range(len(self._free)) if (end := self._end(server)) is not None]
        if not ends or (until is not None and min(ends) > until):
            if until is not None:
                self._now = until
                self._begin()
            return []
        self._now = min(ends)
        self._begin()
        done = []
        for server, work in enumerate(self._working):
            if work is not None and work[0] == self._now:
                self._working[server] = None
                self._free[server] = self._now
                done.append(work[1])
        self._begin()
        return [(fragment, self._now) for fragment in sorted(done)]

    def _end(self, server: int) -> int | None:
        """Of what works, or would work next as things stand."""
        work, waiting = self._working[server], self._waiting[server]
        if work is not None:
            return work[0]
        return max(waiting[0][0], self._free[server]) + waiting[0][2] if waiting else None

    def _begin(self) -> None:
        """What could fire by now does, where its server is free."""
        for server, waiting in enumerate(self._waiting):
            if waiting and self._working[server] is None and max(waiting[0][0], self._free[server]) <= self._now:
                at, fragment, work = heappop(waiting)
                self._working[server] = max(at, self._free[server]) + work, fragment

    def trace(self, fragment: int) -> Trace:
        raise ProgramError(f"fragment {fragment}: a session of spans keeps no traces")
