"""The compiled kernel as a session: fragments that share servers and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from support.compiled import tiles

from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.compiled import CompiledSession
from accelsim.engine.program import (
    ROUND_ROBIN,
    Platform,
    Pool,
    Program,
    Server,
)
from accelsim.errors import Deadlock, ProgramError

# -- sessions --------------------------------------------------------------------------------------------------------


def chunk(platform: Platform, schedule: Sequence[Run | Repeat], name: str = "chunk") -> Program:
    b = ProgramBuilder(name)
    for s in platform.servers:
        b.server(s)
    for k in platform.pools:
        b.pool(k)
    b.actor(name, server=0, schedule=schedule)
    return b.build()


CHANNEL = Platform((Server("channel", Fraction(2), ROUND_ROBIN, 4),), (Pool("pool", 100),))


def session(**options: bool) -> CompiledSession:
    return CompiledSession(CHANNEL, Fraction(10**9), **options)


@pytest.mark.parametrize("python", [False, True])
def test_fragments_share_the_channel(python: bool) -> None:
    """Two fragments of 12 units at 2 a tick in pieces of 4, the second from tick 1 on.

    0: 0-2, then it is alone no more: 1: 2-4, 0: 4-6, 1: 6-8, 0: 8-10, 1: 10-12.
    """
    s = session(python=python)
    assert s.now == -1
    assert s.submit(chunk(CHANNEL, [Run(Phase(work=12))])) == 0
    assert s.advance(0) == []
    assert s.now == 0
    assert s.submit(chunk(CHANNEL, [Run(Phase(work=12))])) == 1
    assert s.advance(9) == []
    assert s.now == 9
    assert s.advance() == [(0, 10)]
    assert s.now == 10
    assert s.advance(11) == []
    assert s.advance(50) == [(1, 12)]
    assert s.now == 12
    assert s.advance(50) == []
    assert s.now == 50
    assert s.advance() == []
    assert s.now == 50
    assert s.trace(0).stall.tolist() == [[0, 0, 0, 4]]
    assert s.trace(1).stall.tolist() == [[0, 0, 0, 5]]  # counted from tick 1
    assert s.trace(1).start.tolist() == [2]
    assert s.trace(1).server_busy.tolist() == [6]
    assert s.trace(1).server_work.tolist() == [12]


def test_fragments_that_complete_in_one_tick_come_together() -> None:
    s = session()
    platform_actor = [Run(Phase(work=8))]
    b = ProgramBuilder("own")
    b.server(CHANNEL.servers[0])
    b.pool(CHANNEL.pools[0])
    b.actor("own", schedule=[Run(Phase(work=4))])
    own = b.build()
    s.submit(own, at=100)
    s.submit(chunk(CHANNEL, platform_actor), at=100)
    empty = ProgramBuilder("empty")
    empty.server(CHANNEL.servers[0])
    empty.pool(CHANNEL.pools[0])
    s.submit(empty.build(), at=104)
    assert s.advance() == [(0, 104), (1, 104), (2, 104)]
    assert s.now == 104
    s.submit(own, at=3)
    assert s.advance() == [(3, 109)]
    assert s.trace(3).start.tolist() == [105]


def test_round_robin_goes_on_behind_a_fragment_that_left() -> None:
    """Three fragments take turns; after the second has left, its turn falls to the third."""
    s = session()
    for work in (12, 4, 12):
        s.submit(chunk(CHANNEL, [Run(Phase(work=work))]))
    # 0: 0-2, 1: 2-4 and done
    assert s.advance() == [(1, 4)]
    s.submit(chunk(CHANNEL, [Run(Phase(work=4))]))  # may ask from 5 on
    # 2: 4-6, 3: 6-8, 0: 8-10, 2: 10-12, 0: 12-14, 2: 14-16
    assert s.advance() == [(3, 8)]
    assert s.advance() == [(0, 14)]
    assert s.advance() == [(2, 16)]


def test_bytes_of_a_later_fragment_free_an_earlier_one() -> None:
    """With `until` given a full pool is no deadlock, for the bytes may still come; without it, it is."""
    s = session()
    s.submit(chunk(CHANNEL, [Run(Phase(work=2, take=(0, 60)))], "first"))
    s.submit(chunk(CHANNEL, [Run(Phase(work=2, take=(0, 60), gives=((0, 120),)))], "second"))
    assert s.advance() == [(0, 1)]
    assert s.trace(0).pool_peak.tolist() == [60]
    assert s.advance(20) == []
    s.submit(chunk(CHANNEL, [Run(Phase(work=2, gives=((0, 25),)))], "giver"))
    assert s.advance() == [(2, 22)]
    assert s.trace(2).pool_peak.tolist() == [95]
    s.submit(chunk(CHANNEL, [Run(Phase(work=2, take=(0, 100)))], "third"))
    with pytest.raises(ProgramError, match="pool pool"):  # the second gives back more than was taken
        s.advance()


def test_deadlock_in_a_session() -> None:
    s = session()
    s.submit(chunk(CHANNEL, [Run(Phase(work=2, take=(0, 60)), 2)], "greedy"))
    assert s.advance(5) == []
    with pytest.raises(Deadlock, match="greedy waits for pool pool"):
        s.advance()


def test_session_refuses_strangers() -> None:
    s = session()
    with pytest.raises(ProgramError, match="platform"):
        s.submit(tiles(1))
    with pytest.raises(ProgramError, match="ticks a second"):
        s.submit(replace(chunk(CHANNEL, []), tick_hz=Fraction(5)))
    with pytest.raises(ProgramError, match="unknown"):
        s.trace(0)
    s.submit(chunk(CHANNEL, [Run(Phase())]))
    with pytest.raises(ProgramError, match="running"):
        s.trace(0)


def test_sessions_jump() -> None:
    """Long streams of several fragments, stopped at odd ticks and joined by others, with and without the jump."""

    def play(jump: bool) -> list[object]:
        s = session(jump=jump)
        said: list[object] = []
        works = [Repeat(100_000, (Run(Phase(work=7), 2), Run(Phase(work=5))))]
        s.submit(chunk(CHANNEL, works))
        s.submit(chunk(CHANNEL, [Run(Phase(work=6), 200_000)]), at=777)
        said += [s.advance(12_345), s.now]
        s.submit(chunk(CHANNEL, [Run(Phase(work=9), 1000)]), at=100_000)
        while done := s.advance():
            said += [done, s.now]
        traces = [s.trace(f) for f in range(3)]
        assert (traces[0].jumps > 3) == jump
        return said + [t.stall.tolist() for t in traces] + [t.busy.tolist() for t in traces]

    assert play(True) == play(False)


def test_session_runs_private_parts_of_any_length() -> None:
    s = session()
    b = ProgramBuilder("own")
    b.server(CHANNEL.servers[0])
    b.pool(CHANNEL.pools[0])
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=2)
    n = 10**11
    b.schedule(x, [Run(Phase(work=3, outputs=((f, 1, 1),)), n)])
    b.schedule(y, [Run(Phase(work=2, inputs=((f, 1, 1),)), n)])
    s.submit(b.build(), at=1000)
    s.submit(chunk(CHANNEL, [Run(Phase(work=4))]))
    assert s.advance() == [(1, 2)]
    assert s.advance(10**11) == []
    assert s.advance() == [(0, 1000 + 3 * n + 2)]
