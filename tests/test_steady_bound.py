"""The steady-state fluid bound: worked out by hand, below every run, and the same for one period as for several."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import gcd

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.programs import periodic_program, random_program

from accelsim.engine import compiled
from accelsim.engine.bounds import program_bound
from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.fluid import steady_bound
from accelsim.engine.fluid.period import one_period
from accelsim.engine.program import NONE, UNBOUNDED, Pool, Program, Server
from accelsim.errors import BadInput, ProgramError

CLOSE = 2e-6
TILES = 4
GROUPS = 10**8


def groups_of_tiles(
    depth: int, *, unrolled: int = 1, latency: int = 0, ticks: int = 1, rate: Fraction | int = 1, groups: int = GROUPS
) -> Program:
    """A load of tiles, some ticks each, and a unit that takes as long for every four of them."""
    b = ProgramBuilder("groups")
    port, unit = b.server(Server("port", Fraction(rate))), b.server(Server("unit"))
    load, use = b.actor("load", server=port), b.actor("use", server=unit)
    f = b.fifo(load, use, depth=depth, latency=latency)
    tiles = (Run(Phase(work=ticks, arg=n, outputs=((f, 1, 1),)), TILES) for n in range(unrolled))
    uses = (Run(Phase(work=ticks * TILES, arg=n, inputs=((f, TILES, TILES),))) for n in range(unrolled))
    b.schedule(load, [Repeat(groups, tuple(tiles))])
    b.schedule(use, [Repeat(groups, tuple(uses))])
    return b.build()


def bursts_through_a_pool(capacity: int, *, latency: int = 0, groups: int = GROUPS) -> Program:
    """A unit makes eight bytes in a tick each and rests eight ticks; a port takes two ticks to bring each away."""
    b = ProgramBuilder("bursts")
    make, store = b.actor("make", server=b.server(Server("unit"))), b.actor("store", server=b.server(Server("port")))
    room = b.pool(Pool("room", capacity))
    f = b.fifo(make, store, depth=UNBOUNDED, latency=latency)
    b.schedule(make, [Repeat(groups, (Run(Phase(outputs=((f, 1, 1),), take=(room, 1)), 8), Run(Phase(work=8))))])
    b.schedule(store, [Run(Phase(work=2, inputs=((f, 1, 1),), gives=((room, 1),)), 8 * groups)])
    return b.build()


@st.composite
def pipelines(draw: st.DrawFn) -> Program:
    """Two to four stages that hand over a group of tiles in batches of different size, through tight FIFOs."""
    b = ProgramBuilder("pipeline")
    shared = b.server(Server("shared", draw(st.sampled_from([Fraction(1), Fraction(3, 2)]))))
    stages = [b.actor(f"stage {n}", server=shared if draw(st.integers(0, 3)) == 0 else NONE)
              for n in range(draw(st.integers(2, 4)))]  # fmt: skip
    batches = [draw(st.sampled_from([1, 2, 3, 6])) for _ in stages]
    looked_at = [draw(st.sampled_from([0, 0, 8])) for _ in stages]  # beyond what is taken
    fifos = [b.fifo(*pair, depth=sum(sizes) - gcd(*sizes) + seen + draw(st.sampled_from([0, 1, 3, 6, 400])), init=seen,
                    latency=draw(st.sampled_from([0, 1, 2, 150])))
             for pair, sizes, seen in zip(pairwise(stages), pairwise(batches), looked_at, strict=False)]  # fmt: skip
    groups = draw(st.integers(2, 20))
    for n, (stage, size) in enumerate(zip(stages, batches, strict=True)):
        before = tuple((f, size + looked_at[n - 1], size) for f in fifos[:n][-1:])
        after = tuple((f, size, size) for f in fifos[n : n + 1])
        phase = Phase(work=size * draw(st.integers(1, 9)), inputs=before, outputs=after)
        b.schedule(stage, [Run(phase, groups * 6 // size)])
    return b.build()


@pytest.mark.parametrize(("depth", "period"), [(TILES, 2 * TILES), (TILES + 1, 2 * TILES - 1), (2 * TILES, TILES)])
def test_tiles_by_hand(depth: int, period: int) -> None:
    """With room for one group loading and using take turns; with one place more one tile comes while four are used."""
    program = groups_of_tiles(depth)
    bound = steady_bound(program)
    assert bound.periods == GROUPS
    assert float(bound.period) == pytest.approx(period, rel=CLOSE)
    assert float(bound.ticks) == pytest.approx(GROUPS * period, rel=CLOSE)
    assert bound.ticks <= compiled.run(program).finish <= GROUPS * period + TILES


def test_what_is_under_way_counts_once() -> None:
    """Tokens that need a hundred ticks to be seen: those of the last group are over when the run is."""
    program = groups_of_tiles(TILES, latency=100, groups=3)
    bound = steady_bound(program)
    assert bound.ticks == max(program_bound(program), 3 * bound.period - 100)
    assert bound.ticks <= compiled.run(program).finish


@pytest.mark.parametrize(("capacity", "period", "simulated"), [(2, 21, 22), (4, 17, 18), (8, 16, 16)])
def test_a_pool_by_hand(capacity: int, period: int, simulated: int) -> None:
    """The last byte begins when all but one, or three, of the others are away, and nine ticks later the next round.

    The simulated port is in the middle of a byte then, and comes to its end first.
    """
    program = bursts_through_a_pool(capacity)
    bound = steady_bound(program)
    assert float(bound.period) == pytest.approx(period, rel=CLOSE)
    assert compiled.run(program).finish == pytest.approx(GROUPS * simulated, rel=CLOSE)


@pytest.mark.parametrize(("program", "period"), [
    (groups_of_tiles(40 * TILES, latency=100), TILES), (bursts_through_a_pool(400, latency=400), 16)
])  # fmt: skip
def test_actors_may_be_many_periods_apart(program: Program, period: int) -> None:
    """Tokens on their way for 25 periods cost room, and no time where there is enough."""
    bound = steady_bound(program)
    assert float(bound.period) == pytest.approx(period, rel=CLOSE)
    assert bound.ticks <= compiled.run(program).finish


@pytest.mark.parametrize("depth", range(TILES, 2 * TILES + 1))
def test_two_periods_take_twice_as_long_as_one(depth: int) -> None:
    """Flows that may differ from one period to the next gain nothing by it."""
    one, two = (steady_bound(groups_of_tiles(depth, unrolled=n)) for n in (1, 2))
    assert one.periods == two.periods
    assert float(two.period / one.period) == pytest.approx(2, rel=CLOSE)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pipelines(), st.sampled_from([4, 48]))
def test_a_pipeline_takes_no_less(program: Program, instants: int) -> None:
    bound = steady_bound(program, instants=instants)
    assert bound.periods >= 2
    finish = compiled.run(program).finish
    event(f"above the program bound: {bound.ticks > program_bound(program)}")
    assert program_bound(program) <= bound.ticks <= finish


@pytest.mark.parametrize("make", [random_program, periodic_program])
def test_between_the_program_bound_and_every_run(make: Callable[[int], Program]) -> None:
    for seed in range(12):
        program = make(seed)
        try:
            finish = compiled.run(program).finish
        except ProgramError:
            continue
        everything = [a for a in range(program.n_actors) if program.code_ptr[a + 1] > program.code_ptr[a]]
        for references in ((), everything):
            bound = steady_bound(program, instants=48, references=references)
            assert program_bound(program) <= bound.ticks <= finish, seed


def test_a_period_is_what_all_actors_repeat() -> None:
    b = ProgramBuilder()
    a, c, idle = b.actor("a"), b.actor("c"), b.actor("idle")
    f = b.fifo(a, c, depth=9)
    first, second = Phase(work=2, outputs=((f, 1, 1),)), Phase(work=5)
    b.schedule(a, [Repeat(4, (Repeat(3, (Run(first, 5), Run(second))),))])
    b.schedule(c, [Run(Phase(inputs=((f, 1, 1),)), 60)])
    b.schedule(idle, [])
    program = b.build()
    once, periods = one_period(program)
    assert periods == 12
    assert (12 * once.phase_firings() == program.phase_firings()).all()
    assert one_period(once)[1] == 1
    b.schedule(idle, [Run(Phase(work=1)), Run(Phase(work=2))])
    assert one_period(b.build())[1] == 1


def test_nothing_may_be_left_behind() -> None:
    b = ProgramBuilder("left")
    a, c = b.actor("a"), b.actor("c")
    f = b.fifo(a, c, depth=9)
    b.schedule(a, [Run(Phase(outputs=((f, 1, 1),)), 3)])
    b.schedule(c, [Run(Phase(inputs=((f, 1, 1),)), 2)])
    program = b.build()
    assert compiled.run(program).finish > 0
    with pytest.raises(BadInput, match="no steady state: FIFO"):
        steady_bound(program)
    b = ProgramBuilder("kept")
    b.schedule(b.actor("a"), [Run(Phase(take=(b.pool(Pool("room", 4)), 1)), 4)])
    with pytest.raises(BadInput, match="no steady state: of pool"):
        steady_bound(b.build())


def test_a_long_period_is_refused() -> None:
    b = ProgramBuilder("long")
    a, c = b.actor("a"), b.actor("c")
    b.schedule(a, [Run(Phase(), 10**8)])
    b.schedule(c, [Run(Phase())])
    with pytest.raises(BadInput, match="too many firings in a period"):
        steady_bound(b.build())


def test_rates_are_what_they_gain() -> None:
    bound = steady_bound(groups_of_tiles(TILES, ticks=1000))
    prices = {price.name: price.elasticity for price in bound.prices if price.kind == "server"}
    assert prices == pytest.approx({"port": 0.5, "unit": 0.5}, rel=1e-3)
    quicker = steady_bound(groups_of_tiles(TILES, ticks=1000, rate=Fraction(1000, 999)))
    assert float(1 - quicker.period / bound.period) == pytest.approx(0.5e-3, rel=0.01)
