"""The compiled kernel: Programs worked out by hand, and what cannot go on."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compiled import POOL, SERVER
from support.programs import random_program

from accelsim.engine import reference
from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.compiled import run
from accelsim.engine.program import (
    FIRST_COME,
    MAX_TICK,
    ROUND_ROBIN,
    UNBOUNDED,
    Pool,
    Program,
    Server,
)
from accelsim.engine.trace import Trace
from accelsim.errors import Deadlock, ProgramError, TimeOverflow


def both(program: Program) -> Trace:
    """Run compiled and uncompiled, with and without the jump; the Traces must be one."""
    traces = [run(program, jump=jump, python=python) for jump in (True, False) for python in (False, True)]
    for other in traces[1:]:
        assert traces[0].differences(other) == []
    return traces[0]


# -- single firings --------------------------------------------------------------------------------------------------


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


# -- without the compiler --------------------------------------------------------------------------------------------


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


# -- what cannot go on -----------------------------------------------------------------------------------------------


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
    with pytest.raises(TimeOverflow, match=r"actor long: time passes 2\^62 ticks, 4.61e\+09 s at .* `clock`"):
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
