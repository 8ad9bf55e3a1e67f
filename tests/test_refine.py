"""Finer ticks: transfers whole, nothing else changed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.program import Program, Server
from accelsim.engine.refine import exact_ticks


def pipeline(tiles: int, nbytes: int, rate: Fraction, cycles: int = 40) -> Program:
    """Load, compute and store of tiles over one channel."""
    b = ProgramBuilder("pipeline", tick_hz=940_000_000)
    channel, unit = b.server(Server("channel", rate=rate)), b.server(Server("unit"))
    load, use, store = b.actor("load", server=channel), b.actor("use", server=unit), b.actor("store", server=channel)
    filled = b.fifo(load, use, depth=2, latency=5)
    drained = b.fifo(use, store, depth=2)
    b.schedule(load, [Run(Phase(nbytes, outputs=((filled, 1, 1),)), tiles)])
    b.schedule(use, [Run(Phase(cycles, inputs=((filled, 1, 1),), outputs=((drained, 1, 1),)), tiles)])
    b.schedule(store, [Run(Phase(nbytes, inputs=((drained, 1, 1),)), tiles)])
    return b.build()


@pytest.mark.parametrize("rate", [Fraction(22500, 47), Fraction(7, 3), Fraction(16)])
def test_every_transfer_is_whole(rate: Fraction) -> None:
    coarse = pipeline(50, 4096, rate)
    fine = exact_ticks(coarse)
    trace = compiled.run(fine)
    assert trace.differences(reference.run(fine)) == []
    for s, server in enumerate(fine.platform.servers):
        assert trace.server_busy[s] == Fraction(int(trace.server_work[s])) / server.rate
    seconds = trace.finish / fine.tick_hz
    # On the coarse clock each firing ends at a whole tick: at most one tick late.
    slower = compiled.run(coarse)
    assert 0 <= slower.finish / coarse.tick_hz - seconds <= int(slower.firings.sum()) / coarse.tick_hz
    assert program_bound(fine) / fine.tick_hz == sum_of_work(coarse) / coarse.tick_hz


def sum_of_work(program: Program) -> Fraction:
    """Ticks of the busiest server, unrounded."""
    work = compiled.run(program).server_work
    return max(Fraction(int(w)) / s.rate for w, s in zip(work, program.platform.servers, strict=True))


def test_whole_transfers_keep_their_clock() -> None:
    program = pipeline(10, 4096, Fraction(16))
    assert exact_ticks(program) is program


def test_a_loop_recurs_at_once() -> None:
    # 22500/47 bytes a tick: on the coarse clock the remainder recurs after 5625 transfers of 4096 bytes.
    coarse = pipeline(2000, 4096, Fraction(22500, 47), cycles=10)
    assert compiled.run(coarse).jumps == 0
    assert compiled.run(exact_ticks(coarse)).jumped_firings > 3000


def test_too_fine_a_clock_is_refused() -> None:
    program = pipeline(10, 4097, Fraction(2**30 - 35, 2**20))
    assert exact_ticks(program) is program


def test_servers_with_state_keep_their_clock() -> None:
    b = ProgramBuilder()
    server = b.server(Server("dram", rate=Fraction(7, 3), step=_two, state=(0,)))
    b.actor("a", server=server, schedule=[Run(Phase(10), 3)])
    program = b.build()
    assert exact_ticks(program) is program


def _two(state: object, work: int, arg: int, now: int) -> int:
    return 2 * work
