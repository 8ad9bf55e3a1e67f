"""The checker accepts what is sound and names each planted fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.kernels import RECORD, outcome
from support.programs import open_row_step, random_program

from accelsim.engine import reference
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.checker import check
from accelsim.engine.program import NONE, ROUND_ROBIN, IntArray, Platform, Pool, Program, Server
from accelsim.engine.trace import Slices, Trace


def run(program: Program) -> Trace:
    return reference.run(program, record=RECORD)


def sound() -> Iterator[tuple[Program, Trace]]:
    """Random Programs that run to their end, and their Traces."""
    for seed in range(40):
        program = random_program(seed)
        trace = outcome(run, program)
        if isinstance(trace, Trace) and trace.firings.sum() > 0:
            yield program, trace


def changed(trace: Trace, **columns: Any) -> Trace:
    """The Trace with other columns in its slices."""
    assert trace.slices is not None
    return replace(trace, slices=replace(trace.slices, **columns))


def bumped(values: IntArray, i: int, by: int = 1) -> IntArray:
    values = values.copy()
    values.flat[i] += by
    return values


def test_all_firings_must_be_recorded() -> None:
    program = random_program(0)
    assert check(program, reference.run(program)) != []
    assert check(program, reference.run(program, record=3)) != []


def test_every_number_of_a_trace_is_checked() -> None:
    """Whatever single number of the sums is one too many, the checker says so."""
    skipped = {"program", "slices", "jumps", "jumped_firings"}
    planted = 0
    for program, trace in sound():
        assert check(program, trace) == []
        assert check(program, replace(trace, finish=trace.finish + 1))
        for name in {f.name for f in fields(Trace)} - skipped - {"finish"}:
            for i in range(getattr(trace, name).size):
                one_more: dict[str, Any] = {name: bumped(getattr(trace, name), i)}
                fault = replace(trace, **one_more)
                assert check(program, fault), f"{program.name}: {name}[{i}]"
                planted += 1
    assert planted > 1000


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1)])
def test_every_time_of_a_firing_is_checked(start: int, end: int) -> None:
    """A firing that starts or ends a tick off is found, but where a round-robin server works in pieces: there the
    first start is only known to lie after the grant."""
    rng = np.random.default_rng(1)
    planted = 0
    for program, trace in sound():
        assert trace.slices is not None
        for i in rng.integers(len(trace.slices.start), size=10).tolist():
            s = int(program.actor_server[trace.slices.actor[i]])
            server = program.platform.servers[s] if s != NONE else None
            if server is not None and server.burst and server.policy == ROUND_ROBIN:
                continue
            fault = changed(trace, start=bumped(trace.slices.start, i, start), end=bumped(trace.slices.end, i, end))
            assert check(program, fault), f"{program.name}: firing {i}"
            planted += 1
    assert planted > 100


def test_a_missing_and_a_doubled_firing_are_found() -> None:
    for program, trace in sound():
        assert trace.slices is not None
        columns = ("actor", "phase", "start", "end")
        for order in (slice(1, None), [0, *range(len(trace.slices.start))]):
            fault = Slices(*(getattr(trace.slices, c)[order] for c in columns))
            assert check(program, replace(trace, slices=fault))


# Each rule by name: a Program is run with one thing wrong, and its Trace held against the sound Program.


SEVEN_THIRDS = Fraction(7, 3)


def pipeline(
    *, rate: Fraction = SEVEN_THIRDS, policy: int = 0, latency: int = 2, credit: int = 2, depth: int = 2, work: int = 4
) -> Program:
    b = ProgramBuilder()
    link = b.server(Server("link", rate, policy))
    x, y, z = b.actor("x", server=link), b.actor("y", server=link), b.actor("z", server=link)
    xy = b.fifo(x, y, depth=depth, latency=latency, credit_latency=credit)
    yz = b.fifo(y, z, depth=depth, latency=latency, credit_latency=credit)
    b.schedule(x, [Run(Phase(work=work, outputs=((xy, 1, 1),)), 9)])
    b.schedule(y, [Run(Phase(work=3, inputs=((xy, 1, 1),), outputs=((yz, 1, 1),)), 9)])
    b.schedule(z, [Run(Phase(work=5, inputs=((yz, 1, 1),)), 9)])
    return b.build()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (pipeline(latency=1), "needs tokens that are not visible in x -> y"),
        (pipeline(credit=1), "needs slots that are not free in x -> y"),
        (pipeline(depth=3), "needs slots that are not free in x -> y"),
        (pipeline(latency=3), "could serve at"),
        (pipeline(rate=Fraction(2)), "should take 2 ticks"),
        (pipeline(rate=Fraction(5, 2)), "should take"),
        (pipeline(work=5), "should take 2 ticks"),
        (pipeline(policy=ROUND_ROBIN), "out of turn"),
    ],
)
def test_pipeline_rules(wrong: Program, complaint: str) -> None:
    program = pipeline()
    assert check(program, run(program)) == []
    assert any_matches(complaint, check(program, run(wrong)))


def any_matches(pattern: str, problems: list[str]) -> bool:
    return any(re.search(pattern, p) for p in problems)


def test_round_robin_out_of_turn() -> None:
    program = pipeline(policy=ROUND_ROBIN)
    assert check(program, run(program)) == []
    assert any_matches("out of turn", check(program, run(pipeline())))


def test_server_that_serves_two() -> None:
    program = pipeline()
    apart = replace(program, actor_server=np.array([0, 1, 2]), platform=Platform(program.platform.servers * 3))
    assert any_matches("serves two", check(program, run(apart)))


def test_actor_that_overlaps_itself() -> None:
    b = ProgramBuilder()
    b.actor("x", schedule=[Run(Phase(work=4), 2)])
    trace = run(b.build())
    assert trace.slices is not None
    early = changed(trace, start=np.array([0, 3]), end=np.array([4, 7]))
    assert any_matches("starts before its previous firing ended", check(b.build(), early))


def test_credit_rule() -> None:
    """3 and 4 units at 7/3 a tick; without the credit of the first the second would take 2 ticks."""
    b = ProgramBuilder()
    link = b.server(Server("link", Fraction(7, 3)))
    b.actor("x", server=link, schedule=[Run(Phase(work=3)), Run(Phase(work=4))])
    trace = run(b.build())  # 9 thirds: 2 ticks, 5 spare; 12 - 5 = 7: 1 tick
    assert trace.slices is not None
    assert trace.slices.end.tolist() == [2, 3]
    assert any_matches("should take 1 ticks", check(b.build(), changed(trace, end=np.array([2, 4]))))


def test_step_of_a_stateful_server() -> None:
    def program(second: int) -> Program:
        b = ProgramBuilder()
        dram = b.server(Server("dram", Fraction(4), step=open_row_step, state=(-1, -1)))
        b.actor("x", server=dram, schedule=[Run(Phase(work=8, arg=4)), Run(Phase(work=7, arg=second))])
        return b.build()

    assert check(program(4), run(program(4))) == []
    assert any_matches("should take 2 ticks", check(program(4), run(program(6))))


def pooled(capacity: int = 10, order: tuple[int, int] = (6, 5)) -> Program:
    b = ProgramBuilder()
    pool = b.pool(Pool("scratchpad", capacity))
    for i, n in enumerate(order):
        b.actor(f"x{i}", schedule=[Run(Phase(work=5, take=(pool, n), gives=((pool, n),)), 3)])
    return b.build()


def test_pool_rules() -> None:
    assert check(pooled(), run(pooled())) == []
    over = check(pooled(), run(pooled(capacity=11)))
    assert any_matches("takes 5 bytes of pool scratchpad too early or out of turn", over)
    peak = replace(run(pooled()), pool_peak=np.array([11]))
    assert any_matches("pool_peak", check(pooled(), peak))


def test_pool_grants_out_of_turn() -> None:
    b = ProgramBuilder()
    pool = b.pool(Pool("scratchpad", 10))
    for name, n, before in (("x", 6, 1), ("y", 5, 2), ("z", 4, 3)):
        b.actor(name, schedule=[Run(Phase(work=before)), Run(Phase(work=8, take=(pool, n), gives=((pool, n),)))])
    trace = run(b.build())
    assert trace.slices is not None
    assert trace.slices.start.tolist() == [0, 0, 0, 1, 9, 9]  # z would fit at 3, but y is ahead of it
    jumped = changed(trace, start=np.array([0, 0, 0, 1, 9, 3]), end=np.array([1, 2, 3, 9, 17, 11]))
    assert any_matches("out of turn", check(b.build(), jumped))


def test_pool_given_more_than_taken() -> None:
    def program(used: int) -> Program:
        b = ProgramBuilder()
        pool = b.pool(Pool("kv", 20, used))
        b.actor("x", schedule=[Run(Phase(gives=((pool, 6),)), 2)])
        return b.build()

    assert check(program(12), run(program(12))) == []
    assert any_matches("more given back than taken", check(program(10), run(program(12))))
