"""The compiled kernel: with and without the jump, the Trace is the same."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support.compiled import POOL, SERVER, tiles
from support.programs import periodic_program

from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.compiled import run
from accelsim.engine.program import (
    FIRST_COME,
    ROUND_ROBIN,
    UNBOUNDED,
    IntArray,
    Pool,
    Program,
    Server,
)
from accelsim.engine.trace import Trace
from accelsim.errors import ProgramError


def jumped(program: Program) -> Trace:
    """Run with and without the jump, which must happen and change nothing."""
    trace = run(program)
    assert trace.jumps > 0
    assert trace.jumped_firings > 0.5 * trace.firings.sum()
    assert trace.differences(run(program, jump=False)) == []
    return trace


# -- jumps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [FIRST_COME, ROUND_ROBIN])
@pytest.mark.parametrize("rate", [Fraction(64, 3), Fraction(101, 7), Fraction(16)])
def test_jump_under_contention_after_a_transient(policy: int, rate: Fraction) -> None:
    """The channel is shared in bursts at a rate whose credit goes round; the warm-up of one loader is a transient."""
    t = jumped(tiles(3000, rate=rate, policy=policy))
    assert t.stall[:, SERVER].sum() > 0
    assert t.server_work[0] == 3000 * (512 + 768 + 300) + sum(1000 + 77 * i for i in range(20))


def test_jump_of_ten_billion_tiles_scales_the_shorter_run() -> None:
    """Past the transient each tile costs the same, so two lengths give the third."""
    one, two, long = (run(tiles(n)) for n in (3 * 4096, 6 * 4096, 3 * 4096 * (1 + 10**6)))
    assert long.finish == one.finish + 10**6 * (two.finish - one.finish)
    assert np.array_equal(long.stall, one.stall + 10**6 * (two.stall - one.stall))
    assert np.array_equal(long.server_busy, one.server_busy + 10**6 * (two.server_busy - one.server_busy))
    assert long.pool_peak.tolist() == one.pool_peak.tolist()


def row_and_refresh(state: IntArray, work: int, arg: int, now: int) -> int:
    """An open row (state[0]), the next refresh (state[1]) every 390 ticks, and the last activation (state[2]), after
    which the next must wait 12 ticks."""
    ticks = (work + 3) // 4
    if now >= state[1]:
        state[1] = now + 390 - (now - state[1]) % 390
        state[0] = -1
        ticks += 35
    if state[0] != arg:
        state[0] = arg
        wait = state[2] + 12 - now
        if wait > 0:
            ticks += wait
        state[2] = now
        ticks += 9
    return ticks


def banked(count: int, **change: object) -> Program:
    b = ProgramBuilder("banked")
    dram = b.server(
        replace(
            Server(
                "dram",
                Fraction(4),
                ROUND_ROBIN,
                64,
                row_and_refresh,
                (-1, 390, -100),
                state_times=(1, 2),
                state_horizon=12,
            ),
            **change,  # type: ignore[arg-type]
        )
    )
    x, y = b.actor("x", server=dram), b.actor("y", server=dram)
    b.schedule(x, [Repeat(count, (Run(Phase(work=100, arg=0), 3), Run(Phase(work=60, arg=1), 2)))])
    b.schedule(y, [Run(Phase(work=130, arg=1), 3 * count)])
    return b.build()


def test_jump_under_refresh() -> None:
    t = jumped(banked(4000))
    assert t.server_busy[0] > 4000 * 810 / 4 * (1 + 35 / 390)  # refreshes were paid for


def test_jump_with_a_private_stateful_server() -> None:
    b = ProgramBuilder()
    dram = b.server(
        Server("dram", Fraction(4), step=row_and_refresh, state=(-1, 390, -100), state_times=(1, 2), state_horizon=12)
    )
    x, y = b.actor("x", server=dram), b.actor("y")
    f = b.fifo(x, y, depth=3)
    b.schedule(x, [Repeat(5000, (Run(Phase(work=9, arg=0, outputs=((f, 1, 1),)), 3), Run(Phase(work=8, arg=1))))])
    b.schedule(y, [Run(Phase(work=7, inputs=((f, 1, 1),)), 15000)])
    jumped(b.build())


def test_time_words_that_are_not_declared_do_not_recur() -> None:
    """The kernel must not jump over a state whose time words grow as plain numbers."""
    plain = run(banked(2000, state_times=(), state_horizon=None))
    assert plain.jumps == 0
    assert plain.differences(run(banked(2000))) == []


def test_reader_drifts_behind_an_unbounded_fifo() -> None:
    """x makes a token in 2 ticks, y needs 3: y is ever further behind, and a million tokens are in the queue."""
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=UNBOUNDED, latency=5)
    b.schedule(x, [Run(Phase(work=2, outputs=((f, 1, 1),)), 100_000)])
    b.schedule(y, [Repeat(50_000, (Run(Phase(work=3, inputs=((f, 1, 1),))), Run(Phase(work=1, inputs=((f, 1, 1),)))))])
    t = jumped(b.build())
    assert t.end.tolist() == [200_000, 200_007]
    b.schedule(y, [Run(Phase(work=3, inputs=((f, 1, 1),)), 100_000)])
    t = jumped(b.build())
    assert t.end.tolist() == [200_000, 7 + 300_000]


def test_jump_inside_a_firing_of_many_pieces() -> None:
    """One firing of 10^9 units in bursts of 64 takes turns with small ones."""
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(16), ROUND_ROBIN, 64))
    b.actor("bulk", server=channel, schedule=[Run(Phase(work=64_000_000))])
    b.actor("small", server=channel, schedule=[Repeat(500_000, (Run(Phase(work=32)), Run(Phase(work=48))))])
    t = jumped(b.build())
    assert t.busy.tolist() == [4_000_000, 2_500_000]
    assert t.end.tolist() == [6_499_997, 6_500_000]  # one piece each in turn, 10^6 of them, the small one's last


def test_jump_leaves_alone_what_stands_still() -> None:
    """A long firing ends, and one who waits for its bytes begins, amid 10^6 small ones."""
    b = ProgramBuilder()
    pool = b.pool(Pool("pool", 100))
    channel = b.server(Server("channel", Fraction(3, 2)))
    long, late = b.actor("long"), b.actor("late")
    one, two = b.actor("one", server=channel), b.actor("two", server=channel)
    joined, start = b.fifo(one, two, depth=4), b.fifo(late, two)
    b.schedule(long, [Run(Phase(work=1_234_567, take=(pool, 80), gives=((pool, 80),)))])
    b.schedule(late, [Run(Phase(work=10, take=(pool, 30), gives=((pool, 30),), outputs=((start, 1, 1),)))])
    b.schedule(one, [Run(Phase(work=5, outputs=((joined, 1, 1),)), 600_000)])
    move = Phase(work=2, inputs=((joined, 1, 1),))
    b.schedule(two, [Run(move, 500_000), Run(Phase(inputs=((start, 1, 1),))), Run(move, 100_000)])
    t = jumped(b.build())
    assert t.start[1] == 1_234_567
    assert t.stall[1, POOL] == 1_234_567


def test_independent_parts_jump_each_on_its_own() -> None:
    """Rhythms that share nothing would together recur only after the product of their periods."""
    b = ProgramBuilder()
    for period in (97, 101, 103, 107):
        x, y = b.actor(f"x{period}"), b.actor(f"y{period}")
        f = b.fifo(x, y, depth=3)
        b.schedule(x, [Repeat(10**6, (Run(Phase(outputs=((f, 1, 1),)), period), Run(Phase(work=period))))])
        b.schedule(y, [Run(Phase(work=2, inputs=((f, 1, 1),)), period * 10**6)])
    t = run(b.build())
    assert t.jumps >= 4
    assert t.jumped_firings > 0.99 * t.firings.sum()


def test_record_counts_what_the_jump_skips() -> None:
    program = tiles(3000)
    slices = run(program, record=10**6).slices
    assert slices is not None
    assert 0 < len(slices.actor) < 3000
    assert len(slices.actor) + slices.dropped == run(program).firings.sum()


def test_periodic_programs_jump_and_agree() -> None:
    seen = 0
    for seed in range(2000, 2030):
        program = periodic_program(seed)
        try:
            trace = run(program)
        except ProgramError:
            continue
        assert trace.differences(run(program, jump=False)) == []
        seen += trace.jumps > 0
    assert seen > 15
