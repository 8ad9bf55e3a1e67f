"""Programs worked out by hand; every kernel has to agree with the arithmetic in the comments."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from support.programs import open_row_step

from accelsim.engine import compiled, reference
from accelsim.engine.bounds import binding, program_bound
from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.checker import check
from accelsim.engine.program import MAX_TICK, ROUND_ROBIN, UNBOUNDED, Pool, Program, Server
from accelsim.engine.trace import Trace
from accelsim.errors import Deadlock, ProgramError, TimeOverflow

RECORD = 100_000

KERNELS: dict[str, Callable[[Program], Trace]] = {
    "reference": lambda p: reference.run(p, record=RECORD),
    "compiled": lambda p: compiled.run(p, record=RECORD),
    "compiled, no jump": lambda p: compiled.run(p, jump=False, record=RECORD),
    "uncompiled, no jump": lambda p: compiled.run(p, jump=False, record=RECORD, python=True),
}


@pytest.fixture(params=list(KERNELS))
def run(request: pytest.FixtureRequest) -> Callable[[Program], Trace]:
    kernel = KERNELS[request.param]

    def checked(program: Program) -> Trace:
        trace = kernel(program)
        if trace.slices is not None and not trace.slices.dropped:
            assert check(program, trace) == []
        assert program_bound(program) <= trace.finish
        return trace

    return checked


Kernel = Callable[[Program], Trace]


def spans(trace: Trace, actor: int) -> list[tuple[int, int]]:
    """The first recorded (start, end) of an actor's firings."""
    assert trace.slices is not None
    mine = trace.slices.actor == actor
    return list(zip(trace.slices.start[mine].tolist(), trace.slices.end[mine].tolist(), strict=True))


def test_single_server(run: Kernel) -> None:
    b = ProgramBuilder()
    array = b.server(Server("array", Fraction(4)))
    a = b.actor("tiles", server=array, schedule=[Run(Phase(work=10), 5)])
    # Each tile is 10 units at 4 a tick: 2.5 ticks. Back to back the half tick carries over, so the ends are at
    # ceil(2.5), 5, ceil(7.5), 10, ceil(12.5) = 3, 5, 8, 10, 13.
    t = run(b.build())
    assert spans(t, a) == [(0, 3), (3, 5), (5, 8), (8, 10), (10, 13)]
    assert (t.finish, t.server_busy[0], t.server_work[0]) == (13, 13, 50)
    assert t.stall.sum() == 0
    # The bound is unrounded: 50 / 4.
    assert program_bound(b.build()) == Fraction(25, 2)


def test_first_come_breaks_ties_by_actor(run: Kernel) -> None:
    b = ProgramBuilder()
    link = b.server(Server("link"))
    x = b.actor("x", server=link, schedule=[Run(Phase(work=3), 2)])
    y = b.actor("y", server=link, schedule=[Run(Phase(work=5), 2)])
    # Tick 0: both ask, x (the lower id) goes, 0-3. Tick 3: x asks again (3, x) but y has asked since 0: y 3-8.
    # Tick 8: y asks again (8, y), x since 3: x 8-11. y 11-16.
    t = run(b.build())
    assert spans(t, x) == [(0, 3), (8, 11)]
    assert spans(t, y) == [(3, 8), (11, 16)]
    # x waits 3..8 = 5; y waits 0..3 and 8..11 = 6; both for the server.
    assert t.stall.tolist() == [[0, 0, 0, 5], [0, 0, 0, 6]]


def test_round_robin_bursts(run: Kernel) -> None:
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(1), ROUND_ROBIN, burst=4))
    x = b.actor("x", server=channel, schedule=[Run(Phase(work=8))])
    y = b.actor("y", server=channel, schedule=[Run(Phase(work=6))])
    z = b.actor("z", server=channel, schedule=[Run(Phase(work=4))])
    # Pieces in turn: x 0-4, y 4-8, z 8-12 (done), x 12-16 (done), y 2 units 16-18 (done).
    t = run(b.build())
    assert spans(t, x) == [(0, 16)]
    assert spans(t, y) == [(4, 18)]
    assert spans(t, z) == [(8, 12)]
    # x waits 8 ticks between pieces; y 4 before and 8 between; z 8 before.
    assert t.stall[:, 3].tolist() == [8, 12, 8]
    assert t.busy.tolist() == [8, 6, 4]


def test_first_come_bursts_stay_together(run: Kernel) -> None:
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(1), burst=4))
    x = b.actor("x", server=channel, schedule=[Run(Phase(work=2)), Run(Phase(work=6))])
    y = b.actor("y", server=channel, schedule=[Run(Phase(work=9))])
    # x 0-2. y has asked since 0 and keeps that over its pieces: 2-6, 6-10, 10-11. x's second asks at 2: 11-15, 15-17.
    t = run(b.build())
    assert spans(t, x) == [(0, 2), (11, 17)]
    assert spans(t, y) == [(2, 11)]


def test_rational_rate_carries(run: Kernel) -> None:
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(7, 3)))
    x = b.actor("x", server=channel, schedule=[Run(Phase(work=4), 7)])
    # 4 units are 12 thirds, 7 thirds go in a tick. Thirds owed - credit: 12 -> 2 ticks, 2 spare; 10 -> 2, 4;
    # 8 -> 2, 6; 6 -> 1, 1; 11 -> 2, 3; 9 -> 2, 5; 7 -> 1, 0. In all 84 / 7 = 12 ticks and nothing is lost.
    t = run(b.build())
    assert [e - s for s, e in spans(t, x)] == [2, 2, 2, 1, 2, 2, 1]
    assert t.finish == 12 == program_bound(b.build())


def test_slow_rate(run: Kernel) -> None:
    b = ProgramBuilder()
    link = b.server(Server("link", Fraction(2, 5)))
    x = b.actor("x", server=link, schedule=[Run(Phase(work=1), 4)])
    # A unit is 5 fifths at 2 a tick: 2.5 ticks; 3, then with 1 spare fifth 2, then 3, 2.
    assert [e - s for s, e in spans(run(b.build()), x)] == [3, 2, 3, 2]


def test_credit_is_at_most_a_tick(run: Kernel) -> None:
    b = ProgramBuilder()
    wide = b.server(Server("wide", Fraction(10)))
    x = b.actor("x", server=wide, schedule=[Run(Phase(work=1), 3), Run(Phase(work=21))])
    # Each single unit takes a whole tick. The second is served from the first tick's spare 9, so all 10 of its own
    # tick are spare, and no more than that: 10 for the third, then 10 for the last, which needs ceil(11 / 10) = 2.
    assert spans(run(b.build()), x) == [(0, 1), (1, 2), (2, 3), (3, 5)]


def test_credit_is_lost_when_idle(run: Kernel) -> None:
    b = ProgramBuilder()
    link = b.server(Server("link", Fraction(2)))
    slow = b.actor("slow")
    x = b.actor("x", server=link)
    f = b.fifo(slow, x, depth=3)
    b.schedule(slow, [Run(Phase(work=4, outputs=((f, 1, 1),)), 3)])
    b.schedule(x, [Run(Phase(work=3, inputs=((f, 1, 1),)), 3)])
    # Tokens at 4, 8, 12. A transfer takes 1.5 ticks, rounded up to 2 each time, since the link idles in between.
    t = run(b.build())
    assert spans(t, x) == [(4, 6), (8, 10), (12, 14)]
    # x waits 4 for its first token and twice from 6 (10) to 8 (12).
    assert t.stall[x].tolist() == [8, 0, 0, 0]
    assert t.fifo_data_stall.tolist() == [8]


@pytest.mark.parametrize(("load", "compute"), [(5, 8), (8, 5), (6, 6)])
def test_double_buffer(run: Kernel, load: int, compute: int) -> None:
    b = ProgramBuilder()
    channel, array = b.server(Server("channel")), b.server(Server("array"))
    dma = b.actor("dma", server=channel)
    tile = b.actor("tile", server=array)
    f = b.fifo(dma, tile, depth=2)
    b.schedule(dma, [Run(Phase(work=load, outputs=((f, 1, 1),)), 10)])
    b.schedule(tile, [Run(Phase(work=compute, inputs=((f, 1, 1),)), 10)])
    # The first load, then ten steps of the slower of the two, the other hidden; last a compute if loads were slower.
    t = run(b.build())
    assert t.finish == load + 9 * max(load, compute) + compute
    # With two buffers, load n waits for the end of compute n - 2: nothing at all where loads are slower; else the
    # third load could start at 2 * load and does at load + compute, and each after it waits compute - load more.
    assert t.fifo_space_stall.tolist() == [8 * (compute - load) if compute > load else 0]
    # The tile waits for the first load and for the rest of each later one.
    assert t.fifo_data_stall.tolist() == [load + 9 * max(0, load - compute)]


def test_fifo_latency_and_credit(run: Kernel) -> None:
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=1, latency=3, credit_latency=2)
    b.schedule(x, [Run(Phase(work=1, outputs=((f, 1, 1),)), 3)])
    b.schedule(y, [Run(Phase(work=4, inputs=((f, 1, 1),)), 3)])
    # x 0-1, visible at 4, y 4-8, slot free at 10: a period of 1 + 3 + 4 + 2 = 10.
    t = run(b.build())
    assert spans(t, x) == [(0, 1), (10, 11), (20, 21)]
    assert spans(t, y) == [(4, 8), (14, 18), (24, 28)]
    assert t.stall.tolist() == [[0, 18, 0, 0], [16, 0, 0, 0]]  # x: 9 + 9; y: 4 + 6 + 6


@pytest.mark.parametrize(("depth", "period"), [(1, 9), (2, 5), (3, 3), (4, 3)])
def test_depth_for_full_rate(run: Kernel, depth: int, period: int) -> None:
    """A pipeline of interval II = 3 whose slot comes back L + r after its reservation runs at full rate from depth
    ceil((L + r) / II) on, and below at the pace of its slots."""
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y, depth=depth, latency=4, credit_latency=2, space_at_start=True)
    b.schedule(x, [Run(Phase(work=3, outputs=((f, 1, 1),)), 12)])
    b.schedule(y, [Run(Phase(work=3, inputs=((f, 1, 1),)), 12)])
    # Reserved at 0, put at 3, visible at 7, taken at 7, slot back at 9: L = 7, r = 2. Full rate from ceil(9 / 3) = 3.
    # Depth 1: one firing each 9 ticks. Depth 2: two each 9, at 0, 3, 9, 12, ...: on average 4.5.
    starts = [s for s, _ in spans(run(b.build()), x)]
    if depth == 2:
        assert starts[:6] == [0, 3, 9, 12, 18, 21]
    else:
        assert starts == [period * n for n in range(12)]


def test_pool_head_blocks(run: Kernel) -> None:
    b = ProgramBuilder()
    pool = b.pool(Pool("scratchpad", 10))

    def hold(n: int, ticks: int) -> list[Run | Repeat]:
        return [Run(Phase(work=ticks, take=(pool, n), gives=((pool, n),)))]

    x = b.actor("x", schedule=hold(6, 10))
    y = b.actor("y", schedule=hold(5, 4))
    z = b.actor("z", schedule=[Run(Phase(work=2)), *hold(4, 3)])
    # x takes 6 of 10. y wants 5, heads the queue. z wants 4 from tick 2; they would fit, but y is ahead.
    # Tick 10: x gives back, y and z fit together (9).
    t = run(b.build())
    assert spans(t, x) == [(0, 10)]
    assert spans(t, y) == [(10, 14)]
    assert spans(t, z) == [(0, 2), (10, 13)]
    assert t.stall[:, 2].tolist() == [0, 10, 8]
    assert t.pool_peak.tolist() == [9]


def test_pool_bytes_cross_actors(run: Kernel) -> None:
    b = ProgramBuilder()
    pool = b.pool(Pool("kv", 100, used=40))
    x, y = b.actor("load"), b.actor("use")
    f = b.fifo(x, y, depth=UNBOUNDED)
    b.schedule(x, [Run(Phase(work=2, take=(pool, 30), outputs=((f, 1, 1),)), 4)])
    b.schedule(y, [Run(Phase(work=5, inputs=((f, 1, 1),), gives=((pool, 30),)), 4)])
    # 60 free: loads 0-2, 2-4. Uses 2-7, 7-12, 12-17, 17-22. The third load waits for 7 (7-9), the fourth for 12.
    t = run(b.build())
    assert spans(t, x) == [(0, 2), (2, 4), (7, 9), (12, 14)]
    assert spans(t, y) == [(2, 7), (7, 12), (12, 17), (17, 22)]
    assert t.pool_peak.tolist() == [100]
    assert t.stall.tolist() == [[0, 0, 6, 0], [2, 0, 0, 0]]


def test_more_given_than_taken(run: Kernel) -> None:
    b = ProgramBuilder()
    pool = b.pool(Pool("kv", 100, used=10))
    b.actor("x", schedule=[Run(Phase(work=2, gives=((pool, 6),)), 2)])
    with pytest.raises(ProgramError, match="kv") as caught:  # 10 - 6 - 6
        run(b.build())
    assert not isinstance(caught.value, Deadlock)


def test_tile_reuse_with_nested_repeats(run: Kernel) -> None:
    b = ProgramBuilder()
    load, mac = b.actor("load"), b.actor("mac")
    f = b.fifo(load, mac, depth=2)
    look = Phase(work=2, inputs=((f, 1, 0),))  # uses the tile and keeps it
    last = Phase(work=2, inputs=((f, 1, 1),))
    b.schedule(load, [Run(Phase(work=3, outputs=((f, 1, 1),)), 6)])
    b.schedule(mac, [Repeat(2, (Repeat(3, (Run(look, 3), Run(last))), Run(Phase(work=5))))])
    # A tile serves 4 firings of 2: 8 ticks, against 3 to load one. First tile at 3, so mac works 3-27 on three
    # tiles, 27-32 on its own, 32-56, 56-61.
    t = run(b.build())
    assert t.finish == 61
    assert t.firings.tolist() == [6, 26]
    assert t.stall[mac].tolist() == [3, 0, 0, 0]
    # load: 0-3, 3-6, then a slot at 11, 19, 27 and 40 (the fourth tile is used 32-40).
    assert spans(t, load) == [(0, 3), (3, 6), (11, 14), (19, 22), (27, 30), (40, 43)]
    assert t.fifo_space_stall.tolist() == [5 + 5 + 5 + 10]


def test_join_of_unequal_rates(run: Kernel) -> None:
    b = ProgramBuilder()
    x, y, j = b.actor("x"), b.actor("y"), b.actor("join")
    fx, fy = b.fifo(x, j, depth=6), b.fifo(y, j, depth=2)
    b.schedule(x, [Run(Phase(work=2, outputs=((fx, 1, 1),)), 9)])
    b.schedule(y, [Run(Phase(work=5, outputs=((fy, 1, 1),)), 3)])
    b.schedule(j, [Run(Phase(work=1, inputs=((fx, 3, 3), (fy, 1, 1))), 3)])
    # Three x take 6 ticks, a y takes 5: join at 6, 12, 18, always waiting for x.
    t = run(b.build())
    assert spans(t, j) == [(6, 7), (12, 13), (18, 19)]
    assert t.fifo_data_stall.tolist() == [6 + 5 + 5, 0]


def test_tie_is_charged_to_the_first_port(run: Kernel) -> None:
    b = ProgramBuilder()
    x, y, j = b.actor("x"), b.actor("y"), b.actor("join")
    fx, fy = b.fifo(x, j), b.fifo(y, j)
    b.schedule(x, [Run(Phase(work=4, outputs=((fx, 1, 1),)))])
    b.schedule(y, [Run(Phase(work=4, outputs=((fy, 1, 1),)))])
    b.schedule(j, [Run(Phase(inputs=((fy, 1, 1), (fx, 1, 1))))])
    t = run(b.build())
    assert t.fifo_data_stall.tolist() == [0, 4]  # both come at 4; the port of y stands first


def test_open_rows(run: Kernel) -> None:
    b = ProgramBuilder()
    dram = b.server(Server("dram", Fraction(4), step=open_row_step, state=(-1, -1)))

    def row(r: int, bank: int) -> Phase:
        return Phase(work=8, arg=2 * r + bank)

    x = b.actor("x", server=dram, schedule=[Run(row(5, 0), 3), Run(row(5, 1)), Run(row(6, 0)), Run(row(5, 1))])
    # 8 units take 2 ticks, a row miss 6 more: miss, hit, hit; miss in bank 1; miss in bank 0; bank 1 still open.
    assert [e - s for s, e in spans(run(b.build()), x)] == [8, 2, 2, 8, 8, 2]


def test_deadlock_of_a_cycle(run: Kernel) -> None:
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    there, back = b.fifo(x, y, depth=4), b.fifo(y, x, depth=4, init=1)
    b.schedule(x, [Run(Phase(inputs=((back, 2, 2),), outputs=((there, 2, 2),)), 3)])
    b.schedule(y, [Run(Phase(inputs=((there, 2, 2),), outputs=((back, 2, 2),)), 3)])
    with pytest.raises(Deadlock, match="x") as caught:  # one initial token, two are needed
        run(b.build())
    assert "y -> x" in str(caught.value)


def test_deadlock_of_a_shallow_fifo(run: Kernel) -> None:
    """Two paths from x to y: all of the first come before any of the second is put, and the first FIFO is full."""
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    first, second = b.fifo(x, y, depth=3), b.fifo(x, y, depth=3)
    b.schedule(x, [Run(Phase(outputs=((first, 1, 1),)), 4), Run(Phase(outputs=((second, 1, 1),)), 4)])
    b.schedule(y, [Run(Phase(inputs=((first, 1, 1), (second, 1, 1))), 4)])
    with pytest.raises(Deadlock):
        run(b.build())


def test_time_overflow(run: Kernel) -> None:
    b = ProgramBuilder()
    b.actor("x", schedule=[Run(Phase(work=2**60), 5)])
    with pytest.raises(TimeOverflow):  # 5 * 2^60 > 2^62
        run(b.build())
    b = ProgramBuilder()
    b.actor("x", schedule=[Run(Phase(work=2**60), 4)])
    assert run(b.build()).finish == MAX_TICK


def test_bound_by_segment(run: Kernel) -> None:
    b = ProgramBuilder()
    array, channel = b.server(Server("array")), b.server(Server("channel", Fraction(3)))
    x, y, barrier = b.actor("x", server=array), b.actor("y", server=channel), b.actor("barrier")
    done = [b.fifo(a, barrier) for a in (x, y)]
    go = [b.fifo(barrier, a) for a in (x, y)]
    b.schedule(barrier, [Run(Phase(inputs=tuple((f, 1, 1) for f in done), outputs=tuple((f, 1, 1) for f in go)))])
    for i, a in enumerate((x, y)):
        before = Phase(work=(12, 6)[i], outputs=((done[i], 1, 1),))
        after = Phase(work=(4, 30)[i], inputs=((go[i], 1, 1),), segment=1)
        b.schedule(a, [Run(before), Run(after)])
    # Segment 0: array 12, channel 2. Segment 1: array 4, channel 10. The barrier itself takes a tick.
    program = b.build()
    assert [(r.segment, r.name) for r in binding(program)] == [(0, "array"), (1, "channel")]
    assert [r.ticks for r in binding(program)] == [Fraction(12), Fraction(10)]
    assert program_bound(program) == 22
    assert run(program).finish == 23


def test_bound_allows_for_a_carried_tick(run: Kernel) -> None:
    """A channel may do work of the next segment in the rest of its last tick; the bound must not count that twice."""
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(7, 3)))
    x, y = b.actor("x", server=channel), b.actor("y")
    f = b.fifo(y, x)
    b.schedule(y, [Run(Phase(work=2, outputs=((f, 1, 1),)))])
    b.schedule(x, [Run(Phase(work=3)), Run(Phase(work=4, inputs=((f, 1, 1),), segment=1))])
    # Segment 0: y 2 ticks, x 9/7 of 2 with 5 thirds spare. Segment 1: (12 - 5) / 7 = 1 tick, not 12/7.
    program = b.build()
    assert run(program).finish == 3
    assert program_bound(program) == 2 + Fraction(12, 7) - 1
