"""The compiled kernel: Programs worked out by hand, the jump, sessions, errors, and the same source uncompiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.programs import periodic_program, random_program

from accelsim.engine import reference
from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.compiled import CompiledSession, run
from accelsim.engine.program import (
    FIRST_COME,
    MAX_TICK,
    ROUND_ROBIN,
    UNBOUNDED,
    IntArray,
    Platform,
    Pool,
    Program,
    Server,
)
from accelsim.engine.trace import Trace
from accelsim.errors import Deadlock, ProgramError, TimeOverflow

DATA, SPACE, POOL, SERVER = range(4)


def both(program: Program) -> Trace:
    """Run compiled and uncompiled, with and without the jump; the Traces must be one."""
    traces = [run(program, jump=jump, python=python) for jump in (True, False) for python in (False, True)]
    for other in traces[1:]:
        assert traces[0].differences(other) == []
    return traces[0]


def jumped(program: Program) -> Trace:
    """Run with and without the jump, which must happen and change nothing."""
    trace = run(program)
    assert trace.jumps > 0
    assert trace.jumped_firings > 0.5 * trace.firings.sum()
    assert trace.differences(run(program, jump=False)) == []
    return trace


# Worked out by hand


def test_single_buffer() -> None:
    """x makes a token in 2 ticks, y eats it in 3, and there is one slot.

    x 0-2, y 2-5; the slot is free at 5: x 5-7, y 7-10; x 10-12, y 12-15.
    """
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=1)
    b.schedule(x, [Run(Phase(work=2, outputs=((f, 1, 1),)), 3)])
    b.schedule(y, [Run(Phase(work=3, inputs=((f, 1, 1),)), 3)])
    t = both(b.build())
    assert t.finish == 15
    assert t.start.tolist() == [0, 2]
    assert t.end.tolist() == [12, 15]
    assert t.busy.tolist() == [6, 9]
    assert t.stall.tolist() == [[0, 6, 0, 0], [6, 0, 0, 0]]
    assert t.fifo_data_stall.tolist() == [6]
    assert t.fifo_space_stall.tolist() == [6]


def test_latencies_and_space_at_start() -> None:
    """As above with the slot back 2 ticks after the start of y, and the token visible 4 ticks after the end of x.

    x 0-2, token at 6, y 6-9, slot at 8: x 8-10, token at 14, y 14-17, slot at 16: x 16-18, token at 22, y 22-25.
    """
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=1, latency=4, credit_latency=2, space_at_start=True)
    b.schedule(x, [Run(Phase(work=2, outputs=((f, 1, 1),)), 3)])
    b.schedule(y, [Run(Phase(work=3, inputs=((f, 1, 1),)), 3)])
    t = both(b.build())
    assert t.finish == 25
    assert t.stall.tolist() == [[0, 12, 0, 0], [16, 0, 0, 0]]


def test_initial_tokens_looked_at_but_not_taken() -> None:
    """y needs 3 tokens and takes 1; 2 lie there at the start, so it fires at each token of x from the first on."""
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=4, init=2)
    b.schedule(x, [Run(Phase(work=5, outputs=((f, 1, 1),)), 3)])
    b.schedule(y, [Run(Phase(work=1, inputs=((f, 3, 1),)), 3)])
    t = both(b.build())
    assert t.start.tolist() == [0, 5]
    assert t.end.tolist() == [15, 16]
    assert t.stall[1].tolist() == [5 + 4 + 4, 0, 0, 0]


def test_wait_is_charged_to_the_first_of_the_last_ports() -> None:
    """Tokens of x come at 4 by both FIFOs and at 2 by a third: the wait of 4 is the first one's alone."""
    b = ProgramBuilder()
    x, w, y = b.actor("x"), b.actor("w"), b.actor("y")
    early, one, two = b.fifo(w, y), b.fifo(x, y), b.fifo(x, y)
    b.schedule(x, [Run(Phase(work=4, outputs=((one, 1, 1), (two, 1, 1))))])
    b.schedule(w, [Run(Phase(work=2, outputs=((early, 1, 1),)))])
    b.schedule(y, [Run(Phase(inputs=((early, 1, 1), (one, 1, 1), (two, 1, 1))))])
    t = both(b.build())
    assert t.fifo_data_stall.tolist() == [0, 4, 0]


@pytest.mark.parametrize("shared", [False, True])
def test_channel_loses_nothing_to_rounding(shared: bool) -> None:
    """7 firings of 4 units at 7/3 a tick, back to back: 28 units in 12 ticks; alone each would last 2."""
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(7, 3)))
    one, other = b.actor("one", server=channel), b.actor("other", server=channel)
    b.schedule(one, [Run(Phase(work=4), 4 if shared else 7)])
    b.schedule(other, [Run(Phase(work=4), 3)] if shared else [])
    t = both(b.build())
    assert t.finish == 12
    assert t.server_busy.tolist() == [12]
    assert t.server_work.tolist() == [28]


def test_idle_tick_loses_the_credit() -> None:
    """1 unit at 4 a tick leaves 3; the next piece comes 1 tick later and does not get them: 8 units last 2 ticks.
    Then, back to back, 5 units after a whole unused tick would last 1 and more than the tick is never kept."""
    b = ProgramBuilder()
    s = b.server(Server("s", Fraction(4)))
    a, clock = b.actor("a", server=s), b.actor("clock")
    f = b.fifo(clock, a)
    b.schedule(clock, [Run(Phase(work=2, outputs=((f, 1, 1),)))])
    b.schedule(
        a,
        [
            Run(Phase(work=1)),  # 0-1, credit 3
            Run(Phase(work=8, inputs=((f, 1, 1),))),  # 2-4, credit 0
            Run(Phase(work=1), 3),  # 4-5 (3 left), 5-6 (4: a whole tick), 6-7 (4 again)
            Run(Phase(work=8)),  # 7-8 with 4 units in the tick before
            Run(Phase(work=8)),  # 8-10
        ],
    )
    t = both(b.build())
    assert t.end.tolist() == [10, 2]


@pytest.mark.parametrize(("policy", "ends", "stalls"), [(ROUND_ROBIN, [8, 7], [3, 4]), (FIRST_COME, [5, 8], [0, 5])])
def test_bursts(policy: int, ends: list[int], stalls: list[int]) -> None:
    """Works of 5 and 3 in pieces of 2. In turn: a 0-2, b 2-4, a 4-6, b 6-7, a 7-8; first come: a 0-5, b 5-8."""
    b = ProgramBuilder()
    s = b.server(Server("s", policy=policy, burst=2))
    b.actor("a", server=s, schedule=[Run(Phase(work=5))])
    b.actor("b", server=s, schedule=[Run(Phase(work=3))])
    t = both(b.build())
    assert t.end.tolist() == ends
    assert t.stall[:, SERVER].tolist() == stalls
    assert t.busy.tolist() == [5, 3]


def test_round_of_a_hundred() -> None:
    """All ask at once, twice: each is served at its number, and again a hundred ticks later."""
    b = ProgramBuilder()
    s = b.server(Server("s", policy=ROUND_ROBIN))
    for i in range(100):
        b.actor(f"a{i}", server=s, schedule=[Run(Phase(), 2)])
    t = both(b.build())
    assert t.start.tolist() == list(range(100))
    assert t.end.tolist() == list(range(101, 201))


@pytest.mark.parametrize("seed", range(5))
def test_sparse_rounds_agree_with_the_reference(seed: int) -> None:
    """Of 150 clients a few stand in the round at a time, in all places of it."""
    rng = np.random.default_rng(seed)
    b = ProgramBuilder()
    s = b.server(Server("s", Fraction(3, 2), ROUND_ROBIN, 3))
    clock = b.actor("clock")
    ports = []
    for i in range(150):
        a = b.actor(f"a{i}", server=s)
        f = b.fifo(clock, a, depth=6, latency=int(rng.integers(0, 400)))
        ports.append((f, 1, 1))
        b.schedule(a, [Run(Phase(work=int(rng.integers(1, 6)), inputs=((f, 1, 1),)), 6)])
    b.schedule(clock, [Run(Phase(work=333, outputs=tuple(ports)), 6)])
    program = b.build()
    assert run(program).differences(reference.run(program)) == []


def test_head_of_a_pool_queue_blocks() -> None:
    """Of 10 bytes x takes 6 for 4 ticks; y wants 6 and waits; z wants 2, which are there, but stands behind y."""
    b = ProgramBuilder()
    pool = b.pool(Pool("pool", 10))
    for name, amount in (("x", 6), ("y", 6), ("z", 2)):
        b.actor(name, schedule=[Run(Phase(work=4, take=(pool, amount), gives=((pool, amount),)))])
    t = both(b.build())
    assert t.start.tolist() == [0, 4, 4]
    assert t.stall[:, POOL].tolist() == [0, 4, 4]
    assert t.pool_peak.tolist() == [8]


def test_slices_are_the_first() -> None:
    """x fires at 0, 2, 4 ... and y at 2, 4, 6 ...: the first four by (start, actor)."""
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=9)
    b.schedule(x, [Run(Phase(work=2, outputs=((f, 1, 1),)), 9)])
    b.schedule(y, [Run(Phase(work=1, inputs=((f, 1, 1),)), 9)])
    slices = run(b.build(), record=4).slices
    assert slices is not None
    assert slices.start.tolist() == [0, 2, 2, 4]
    assert slices.end.tolist() == [2, 4, 3, 6]
    assert slices.actor.tolist() == [0, 0, 1, 0]
    assert slices.dropped == 14


def test_nothing_to_do() -> None:
    b = ProgramBuilder()
    b.actor("idle")
    t = both(b.build())
    assert (t.finish, t.start.tolist(), t.end.tolist()) == (0, [-1], [0])


# Rings


def test_ring_of_an_unbounded_fifo_grows() -> None:
    """A million tokens wait, for the consumer first waits for the last of another FIFO."""
    b = ProgramBuilder()
    channel = b.server(Server("channel"))
    x, y, z = b.actor("x", server=channel), b.actor("y"), b.actor("z", server=channel)
    many, gate = b.fifo(x, y, depth=UNBOUNDED), b.fifo(x, y)
    n = 10**6
    b.schedule(x, [Run(Phase(outputs=((many, 1, 1),)), n), Run(Phase(outputs=((gate, 1, 1),)))])
    b.schedule(y, [Run(Phase(inputs=((gate, 1, 1),))), Run(Phase(work=2, inputs=((many, 1, 1),)), n)])
    b.schedule(z, [Run(Phase(work=5))])
    t = run(b.build())
    assert t.finish == n + 1 + 5 + 1 + 2 * n
    assert t.firings.tolist() == [n + 1, n + 1, 1]


def test_tokens_for_a_finished_actor_cost_nothing() -> None:
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=UNBOUNDED)
    n = 10**12
    b.schedule(x, [Run(Phase(work=3, outputs=((f, 1, 1),)), n)])
    b.schedule(y, [Run(Phase(inputs=((f, 1, 1),)), 5)])
    t = run(b.build())
    assert t.end.tolist() == [3 * n, 16]


def test_huge_depth_is_no_memory() -> None:
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=10**15)
    b.schedule(x, [Run(Phase(work=3, outputs=((f, 1, 1),)), 10)])
    b.schedule(y, [Run(Phase(work=4, inputs=((f, 1, 1),)), 10)])
    assert both(b.build()).finish == 3 + 40


# The jump


def test_ten_billion_firings_of_two_loops() -> None:
    """Tiles of 10^5 steps and a store, loaded one at a time: the array is never idle but for the first load."""
    b = ProgramBuilder()
    load, array = b.actor("load"), b.actor("array")
    f = b.fifo(load, array, depth=2, latency=7)
    n = 10**5
    b.schedule(load, [Run(Phase(work=100, outputs=((f, 1, 1),)), n)])
    step, last = Phase(work=2, inputs=((f, 1, 0),)), Phase(work=11, inputs=((f, 1, 1),))
    b.schedule(array, [Repeat(n, (Run(step, n), Run(last)))])
    t = run(b.build())
    assert t.finish == 107 + n * (2 * n + 11)
    assert t.phase_firings.tolist() == [n, n * n, n]
    assert t.jumped_firings > 0.99 * n * n


def tiles(count: int, *, rate: Fraction = Fraction(64, 3), policy: int = ROUND_ROBIN, burst: int = 256) -> Program:
    """Two operands and a result through one channel, double buffers, a pool, 4 steps a tile, and a slow start."""
    b = ProgramBuilder("tiles")
    channel = b.server(Server("channel", rate, policy, burst))
    array = b.server(Server("array", Fraction(16)))
    pool = b.pool(Pool("buffer", 8192))
    left, right = b.actor("left", server=channel), b.actor("right", server=channel)
    compute, store = b.actor("compute", server=array), b.actor("store", server=channel)
    x, y = b.fifo(left, compute, depth=2, latency=20), b.fifo(right, compute, depth=2, latency=33)
    z = b.fifo(compute, store, depth=2)
    warm = [Run(Phase(work=1000 + 77 * i)) for i in range(20)]
    b.schedule(left, [*warm, Run(Phase(work=512, outputs=((x, 1, 1),), take=(pool, 1024)), count)])
    b.schedule(right, [Run(Phase(work=768, outputs=((y, 1, 1),), take=(pool, 1024)), count)])
    step = Run(Phase(work=384, inputs=((x, 1, 0), (y, 1, 0))), 3)
    last = Run(Phase(work=384, inputs=((x, 1, 1), (y, 1, 1)), outputs=((z, 1, 1),), gives=((pool, 2048),)))
    b.schedule(compute, [Repeat(count, (step, last))])
    b.schedule(store, [Run(Phase(work=300, inputs=((z, 1, 1),)), count)])
    return b.build()


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


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_uncompiled_is_the_same(seed: int) -> None:
    program = random_program(seed)
    assert_same(lambda python: run(program, python=python))


def assert_same(kernel: Callable[[bool], Trace]) -> None:
    try:
        one = kernel(False)
    except ProgramError as error:
        with pytest.raises(type(error)):
            kernel(True)
        return
    assert one.differences(kernel(True)) == []


# Errors


def test_deadlock_names_the_cycle() -> None:
    b = ProgramBuilder("ring")
    x, y, z = b.actor("x"), b.actor("y"), b.actor("z")
    go, back, out = b.fifo(x, y, name="go"), b.fifo(y, x, name="back"), b.fifo(x, z, name="out")
    b.schedule(x, [Run(Phase(outputs=((out, 1, 1),))), Run(Phase(inputs=((back, 1, 1),), outputs=((go, 1, 1),)), 4)])
    b.schedule(y, [Run(Phase(inputs=((go, 1, 1),), outputs=((back, 1, 1),)), 4)])
    b.schedule(z, [Run(Phase(inputs=((out, 1, 1),)))])
    with pytest.raises(Deadlock) as caught:
        run(b.build())
    assert str(caught.value) == (
        "program ring: nothing can move and 2 of 3 actors have work left\n"
        "cycle of waits:\n"
        "  x waits for data of FIFO back from y (0 of 1 tokens)\n"
        "  y waits for data of FIFO go from x (0 of 1 tokens)\n"
        "firings: x 1 of 5, y 0 of 4\n"
        "full FIFOs: none\n"
        "empty FIFOs: go, back, out"
    )


def test_deadlock_over_a_pool_after_a_jump() -> None:
    """Each round x takes two bytes and y gives one back: after 10^6 - 1 rounds the pool is empty."""
    b = ProgramBuilder()
    pool = b.pool(Pool("pool", 10**6))
    x, y = b.actor("x"), b.actor("y")
    f, g = b.fifo(x, y, name="f"), b.fifo(y, x, name="g", init=1)
    b.schedule(x, [Run(Phase(inputs=((g, 1, 1),), outputs=((f, 1, 1),), take=(pool, 2)), 10**7)])
    b.schedule(y, [Run(Phase(inputs=((f, 1, 1),), outputs=((g, 1, 1),), gives=((pool, 1),)), 10**7)])
    with pytest.raises(Deadlock, match=r"x waits for pool pool \(2 bytes, 1 free\), to which y could give") as caught:
        run(b.build())
    assert "x 999999 of 10000000, y 999999 of 10000000" in str(caught.value)


@pytest.mark.parametrize("count", [3, 10**18])
def test_time_overflows(count: int) -> None:
    """2^61 twice is the last tick there is; with small steps the jump must see the end of time as well."""
    b = ProgramBuilder()
    work = MAX_TICK // 2 - 1 if count == 3 else 1000
    b.actor("long", schedule=[Run(Phase(work=work), count)])
    with pytest.raises(TimeOverflow, match="actor long"):
        run(b.build())
    b = ProgramBuilder()
    b.actor("long", schedule=[Run(Phase(work=MAX_TICK // 2), 2)])
    assert run(b.build()).finish == MAX_TICK


def test_time_overflows_under_contention() -> None:
    b = ProgramBuilder()
    s = b.server(Server("s", Fraction(1, 3)))
    for name in "ab":
        b.actor(name, server=s, schedule=[Run(Phase(work=10**6), 10**15)])
    with pytest.raises(TimeOverflow):
        run(b.build())


def test_pool_is_given_too_much() -> None:
    b = ProgramBuilder()
    pool = b.pool(Pool("pool", 100, used=10))
    b.actor("giver", schedule=[Run(Phase(gives=((pool, 4),)), 3)])
    with pytest.raises(ProgramError, match="pool pool: given more bytes than were taken"):
        run(b.build())


def test_work_beyond_counting() -> None:
    b = ProgramBuilder()
    s = b.server(Server("s", Fraction(3, 2**31 - 1)))
    b.actor("huge", server=s, schedule=[Run(Phase(work=2**32))])
    with pytest.raises(ProgramError, match="actor huge: work"):
        run(b.build())


# Sessions


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
