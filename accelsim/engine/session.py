"""Session: a resumable run of several Programs, its fragments, on one shared Platform."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from .program import Platform, Program
from .trace import Trace


class Session(Protocol):
    """What both kernels offer to a Driver.

    Fragments contend for the servers and pools of the Platform; FIFOs are a fragment's own. Wherever actor ids order
    anything, the order across fragments is (fragment id, actor id). What `program` says of tick 0 holds for a
    fragment of the tick in which its actors may first fire: its initial tokens are visible and its slots free from
    then on, and its first waits are counted from there.
    """

    platform: Platform
    tick_hz: Fraction

    @property
    def now(self) -> int:
        """The last tick processed; -1 before the first."""

    def submit(self, program: Program, at: int | None = None) -> int:
        """Add a fragment whose actors may first fire at tick max(`at` or 0, `now` + 1); return its id: 0, 1, 2 ...

        Raises:
            ProgramError: the Program's platform or tick is not the session's.
        """

    def advance(self, until: int | None = None) -> list[tuple[int, int]]:
        """Process whole ticks up to the first in which fragments complete; return those, as (id, finish tick) by id.

        A fragment completes in the tick of its last end (one without firings in the tick in which it could first
        fire). When none completes up to `until`, return [] with `now` at `until`; with nothing left to run and no
        `until`, return [] and leave `now`. `until` before `now` does nothing.

        Raises:
            Deadlock: nothing can move and work is left. With `until` given, actors that wait in a pool's queue may
                still be freed by a later fragment: then time passes instead.
            TimeOverflow: a time passes MAX_TICK.
            ProgramError: a pool is given more bytes than were taken from it.
        """

    def trace(self, fragment: int) -> Trace:
        """What a completed fragment did: absolute times, its own share of servers, and the `pool_peak` of the session
        up to its completion.

        Raises:
            ProgramError: the fragment is unknown or still running.
        """
