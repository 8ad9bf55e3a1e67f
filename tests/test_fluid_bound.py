"""The fluid bound: worked out by hand, below every run, at least the program bound, and what its prices say."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction

import jsonschema
import numpy as np
import pytest
from support.cli import accelsim
from support.programs import periodic_program, random_program

from accelsim.engine import compiled
from accelsim.engine.bounds import program_bound
from accelsim.engine.builder import Phase, ProgramBuilder, Repeat, Run
from accelsim.engine.depths import with_depths
from accelsim.engine.fluid import fluid_bound
from accelsim.engine.fluid.curves import Curves
from accelsim.engine.fluid.lines import lines_above, lines_below
from accelsim.engine.program import Pool, Program, Server
from accelsim.errors import BadInput, Deadlock, ProgramError
from accelsim.report import schema

CLOSE = 2e-6
GROUPS, TILES = 6, 4


def groups_of_tiles(depth: int, *, ticks: int = 1, rate: Fraction | int = 1) -> Program:
    """A load of tiles, some ticks each, and a unit that takes as long for every four of them."""
    b = ProgramBuilder("groups")
    port, unit = b.server(Server("port", Fraction(rate))), b.server(Server("unit"))
    load, use = b.actor("load", server=port), b.actor("use", server=unit)
    f = b.fifo(load, use, depth=depth)
    b.schedule(load, [Run(Phase(work=ticks, outputs=((f, 1, 1),)), GROUPS * TILES)])
    b.schedule(use, [Run(Phase(work=ticks * TILES, inputs=((f, TILES, TILES),)), GROUPS)])
    return b.build()


def test_single_buffer_by_hand() -> None:
    """Room for one group: its tiles come, then they are used, then the next come: 8 ticks a group, 4 by work alone."""
    program = groups_of_tiles(TILES)
    bound = fluid_bound(program)
    assert float(bound.ticks) == pytest.approx(8 * GROUPS, rel=CLOSE)
    assert compiled.run(program).finish == 8 * GROUPS
    assert program_bound(program) == 4 * GROUPS
    assert bound.instants == GROUPS * TILES + GROUPS


def test_double_buffer_by_hand() -> None:
    """Room for two: only the first group's tiles are waited for."""
    program = groups_of_tiles(2 * TILES)
    assert float(fluid_bound(program).ticks) == pytest.approx(4 * GROUPS + TILES, rel=CLOSE)
    assert compiled.run(program).finish == 4 * GROUPS + TILES


def test_coarse_instants_give_a_lower_bound() -> None:
    program = groups_of_tiles(TILES)
    ticks = [fluid_bound(program, instants=n).ticks for n in (2, 8, 30)]
    assert 4 * GROUPS <= ticks[0] <= ticks[1] <= ticks[2] + CLOSE * ticks[2]


def test_prices_of_servers_are_what_they_gain() -> None:
    """Load and use follow one another and take as long: one permille less of either takes half of that off."""
    bound = fluid_bound(groups_of_tiles(TILES, ticks=1000))
    prices = {price.name: price.elasticity for price in bound.prices if price.kind == "server"}
    assert prices == pytest.approx({"port": 0.5, "unit": 0.5}, rel=1e-3)
    quicker = fluid_bound(groups_of_tiles(TILES, ticks=1000, rate=Fraction(1000, 999))).ticks
    assert float(1 - quicker / bound.ticks) == pytest.approx(0.5e-3, rel=0.01)


def test_price_of_a_pool_that_is_short() -> None:
    """A store leaves through a pool that holds two of the eight bytes that come at once, at a byte a tick.

    The unit makes eight bytes in a tick each, then works eight ticks on something else; with room for all of them
    these eight ticks are enough to bring them away, with room for two six of them are waited for.
    """

    def bursts(capacity: int) -> Program:
        b = ProgramBuilder("bursts")
        unit, port = b.server(Server("unit", Fraction(8))), b.server(Server("port"))
        make, store = b.actor("make", server=unit), b.actor("store", server=port)
        room = b.pool(Pool("room", capacity))
        f = b.fifo(make, store, depth=100)
        made = Run(Phase(work=8, outputs=((f, 1, 1),), take=(room, 1)), 8)
        b.schedule(make, [Repeat(10, (made, Run(Phase(work=64))))])
        b.schedule(store, [Run(Phase(work=2, inputs=((f, 1, 1),), gives=((room, 1),)), 80)])
        return b.build()

    short, ample = bursts(2), bursts(8)
    bound = fluid_bound(short)
    assert bound.ticks > 1.1 * float(program_bound(short))
    assert bound.ticks <= compiled.run(short).finish
    assert "room" in {price.name for price in bound.prices if price.kind == "pool" and price.elasticity > 0.01}
    assert fluid_bound(ample).ticks < bound.ticks


@pytest.mark.parametrize("make, seldom", [(random_program, 0.25), (periodic_program, 0.05)])
def test_between_the_program_bound_and_every_run(make: Callable[[int], Program], seldom: float) -> None:
    above = judged = 0
    for seed in range(24):
        program = make(seed)
        try:
            finish = compiled.run(program).finish
        except ProgramError:
            continue
        everything = [a for a in range(program.n_actors) if program.code_ptr[a + 1] > program.code_ptr[a]]
        for references in ((), everything):
            bound = fluid_bound(program, instants=48, references=references)
            assert program_bound(program) <= bound.ticks <= finish, seed
            above += bound.ticks > program_bound(program)
            judged += 1
    assert above > seldom * judged  # it says more than the program bound


def test_a_deadlock_is_proven() -> None:
    """Two FIFOs from one actor to another, which first needs two tokens of the one that is filled last."""
    b = ProgramBuilder("stuck")
    src, dst = b.actor("src"), b.actor("dst")
    one, two = b.fifo(src, dst, depth=2), b.fifo(src, dst, depth=2)
    b.schedule(src, [Run(Phase(outputs=((one, 1, 1),)), 3), Run(Phase(outputs=((two, 1, 1),)), 3)])
    b.schedule(dst, [Run(Phase(inputs=((one, 1, 1), (two, 1, 1))), 3)])
    program = b.build()
    with pytest.raises(Deadlock):
        compiled.run(program)
    with pytest.raises(ProgramError, match="cannot run to its end"):
        fluid_bound(program)
    assert fluid_bound(with_depths(program, {one: 3})).ticks > 0


def test_too_many_firings_are_refused() -> None:
    b = ProgramBuilder("long")
    a = b.actor("a")
    b.schedule(a, [Run(Phase(), 10**9)])
    with pytest.raises(BadInput, match="too many firings"):
        fluid_bound(b.build())


def test_curves_of_nested_repeats() -> None:
    b = ProgramBuilder()
    a, c = b.actor("a"), b.actor("c")
    f = b.fifo(a, c, depth=9)
    first, second = Phase(work=2, outputs=((f, 3, 1),)), Phase(work=5)
    b.schedule(a, [Repeat(2, (Repeat(2, (Run(first), Run(second))), Run(first)))])
    b.schedule(c, [Run(Phase(inputs=((f, 2, 2),)), 3)])
    curves = Curves(b.build())
    assert curves.work[a].tolist() == [0, 2, 7, 9, 14, 16, 18, 23, 25, 30, 32]
    tokens, slots = curves.needs
    assert tokens.given.tolist() == [0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6]
    assert tokens.asked.tolist() == [0, 2, 4, 6]
    assert slots.asked.tolist() == [0, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8]
    assert slots.given.tolist() == [9, 11, 13, 15]


def test_lines_are_the_hull() -> None:
    x = np.array([0.0, 1, 2, 3, 4])
    y = np.array([0.0, 0, 4, 4, 8])
    for lines, sign in ((lines_below(x, y), 1), (lines_above(x, y), -1)):
        best = [sign * max(sign * (slope * at + value) for slope, value in lines) for at in x]
        assert all(sign * (given - line) >= -1e-12 for given, line in zip(y, best, strict=True))
        assert best[0] == y[0]
        assert best[-1] == y[-1]
    assert lines_below(x[:1], y[:1] + 3) == [(0.0, 3.0)]


def test_the_command_line_shows_it() -> None:
    ran = accelsim("run", "edge_npu", "softmax", "--room")
    assert ran.code == 0, ran.output
    assert "fluid bound:" in ran.output
    told = json.loads(accelsim("run", "edge_npu", "softmax", "--room", "--json").output)
    jsonschema.validate(told, schema())
    assert told["bounds"]["program"] <= told["fluid_bound"]["cycles"] <= told["cycles"]


def test_room_is_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Program with too many firings has a note, and the rest is told all the same."""
    from accelsim.engine.fluid import bound

    monkeypatch.setattr(bound, "MOST_CELLS", 1)
    ran = accelsim("run", "edge_npu", "softmax", "--room")
    assert ran.code == 0
    assert "too many firings" in ran.output
