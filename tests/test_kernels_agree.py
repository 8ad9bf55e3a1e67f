"""The two kernels agree to the tick on random Programs, and the checker finds nothing wrong with what they say."""

from __future__ import annotations

import inspect
import sys
import types
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from support.drifting import drifting_program
from support.kernels import RECORD, differences, has_transient, kernels, outcome
from support.programs import periodic_program, programs, random_program

from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.checker import check
from accelsim.engine.program import FIRST_COME, ROUND_ROBIN, Fifo, Platform, Program, Server
from accelsim.engine.session import Session
from accelsim.engine.trace import Trace
from accelsim.errors import Deadlock, ProgramError

CHUNKS, RANDOM, PERIODIC, DRIFTING = 10, 100, 12, 8
"""Each of the 10 chunks runs so many Programs of each family."""


def judge(program: Program, seed: int) -> Trace | None:
    """Hold all kernels against the reference kernel, and it against the checker and the bound."""
    expected = outcome(lambda p: reference.run(p, record=RECORD), program)
    for name, kernel in kernels(seed):
        assert differences(expected, outcome(kernel, program)) == [], name
    if not isinstance(expected, Trace):
        return None
    assert check(program, expected) == []
    assert program_bound(program) <= expected.finish
    assert_work_is_conserved(program, expected)
    return expected


def assert_work_is_conserved(program: Program, trace: Trace) -> None:
    firings, owner = program.phase_firings(), program.actor_of_phase()
    assert np.array_equal(trace.phase_firings, firings)
    served = program.actor_server[owner]
    for s in range(len(program.platform.servers)):
        assert trace.server_work[s] == (firings * program.phase_work)[served == s].sum()
    works = {name: count for name, count in zip(program.actions, trace.action_counts(), strict=True) if name != "fire"}
    labelled = np.diff(program.action_ptr) > 0
    assert sum(works.values()) == (firings * program.phase_work)[labelled].sum()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs(chunk: int) -> None:
    traces = [judge(random_program(seed), seed) for seed in range(chunk * RANDOM, (chunk + 1) * RANDOM)]
    assert sum(t is not None for t in traces) > RANDOM // 2  # most run to their end
    assert any(t is None for t in traces)  # and some do not


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_periodic_programs(chunk: int) -> None:
    for seed in range(chunk * PERIODIC, (chunk + 1) * PERIODIC):
        judge(periodic_program(seed), seed)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_drifting_programs(chunk: int) -> None:
    for seed in range(chunk * DRIFTING, (chunk + 1) * DRIFTING):
        judge(drifting_program(seed), seed=1)


def test_jumps_stop_where_a_drift_ends() -> None:
    """The compiled kernel jumps in most drifting Programs, and never past the tick at which the drift bears."""
    jumped = jumped_under_contention = 0
    for seed in range(400):
        program = drifting_program(seed)
        trace = outcome(compiled.run, program)
        assert differences(outcome(lambda p: compiled.run(p, jump=False), program), trace) == [], seed
        if isinstance(trace, Trace) and trace.jumps:
            jumped += 1
            jumped_under_contention += bool(trace.stall[:, 2:].any())
    assert jumped > 150
    assert jumped_under_contention > 100


@settings(max_examples=30, deadline=None, derandomize=True)
@given(programs)
def test_any_program(program: Program) -> None:
    judge(program, seed=0)


def test_compiled_slices_pass_the_checker() -> None:
    for seed in range(100):
        for program in (random_program(seed), periodic_program(seed)):
            trace = outcome(lambda p: compiled.run(p, jump=False, record=RECORD), program)
            assert not isinstance(trace, Trace) or check(program, trace) == []


def test_slices_agree() -> None:
    for seed in range(100):
        program = random_program(seed)
        one = outcome(lambda p: reference.run(p, record=40), program)
        two = outcome(lambda p: compiled.run(p, jump=False, record=40), program)
        if isinstance(one, Trace) and isinstance(two, Trace):
            assert one.slices is not None
            assert two.slices is not None
            for column in ("actor", "phase", "start", "end", "dropped"):
                assert np.array_equal(getattr(one.slices, column), getattr(two.slices, column)), column


def test_jumps_follow_real_transients() -> None:
    """In at least a third of the periodic Programs that run to their end, the compiled kernel jumps under contention
    and after a transient; so the equality of the Traces with and without the jump says something."""
    finished = telling = refreshed = 0
    for seed in range(CHUNKS * PERIODIC):
        program = periodic_program(seed)
        trace = outcome(compiled.run, program)
        if not isinstance(trace, Trace):
            continue
        finished += 1
        contended = trace.stall[:, 2:].sum() > 0
        if trace.jumps and trace.jumped_firings and contended:
            full = reference.run(program, record=RECORD)
            telling += has_transient(full)
            refreshed += any(
                server.state_times and trace.server_busy[s] for s, server in enumerate(program.platform.servers)
            )
    assert telling * 3 >= finished
    assert refreshed >= 5


def test_jump_over_billions() -> None:
    b = ProgramBuilder()
    channel = b.server(Server("channel", Fraction(7, 3)))
    load, store, tile = b.actor("load", server=channel), b.actor("store", server=channel), b.actor("tile")
    ready, done = b.fifo(load, tile, depth=5), b.fifo(tile, store, depth=4)
    n = 10**10
    b.schedule(load, [Run(Phase(work=4, outputs=((ready, 1, 1),)), n)])
    b.schedule(tile, [Run(Phase(work=1, inputs=((ready, 1, 1),), outputs=((done, 1, 1),)), n)])
    b.schedule(store, [Run(Phase(work=3, inputs=((done, 1, 1),)), n)])
    # 7 units a tile at 7/3 a tick: 3 ticks each, the channel never idle but for the first and last tile.
    trace = compiled.run(b.build())
    assert 3 * n <= trace.finish <= 3 * n + 10
    assert trace.server_work.tolist() == [7 * n]
    assert trace.jumped_firings > 2.9 * n


# Sessions


def play(session: Session, program: Program, seed: int) -> list[object]:
    """Submit one Program several times at random ticks; return all that the session says."""
    rng = np.random.default_rng(seed)
    said: list[object] = []
    fragments = [session.submit(program)]
    try:
        for _ in range(12):
            kind = rng.integers(3)
            if kind == 0 and len(fragments) < 4:
                at = None if rng.random() < 0.5 else session.now + int(rng.integers(0, 40))
                fragments.append(session.submit(program, at))
            elif kind == 1:
                said.append(session.advance(session.now + int(rng.integers(0, 60))))
            else:
                said.append(session.advance())
            said.append(session.now)
        while done := session.advance():
            said += [done, session.now]
    except ProgramError as error:
        return [*said, type(error)]
    return said + [session.trace(fragment) for fragment in fragments]


def test_sessions_agree() -> None:
    finished = 0
    for seed in range(150):
        program = random_program(seed)
        one = play(reference.ReferenceSession(program.platform, program.tick_hz), program, seed)
        two = play(compiled.CompiledSession(program.platform, program.tick_hz), program, seed)
        assert len(one) == len(two), seed
        for a, b in zip(one, two, strict=True):
            if isinstance(a, Trace) and isinstance(b, Trace):
                assert a.differences(b) == [], seed
                finished += 1
            else:
                assert a == b, seed
    assert finished > 200


# Planted faults

REFERENCE_FAULTS = [
    ("if f.tokens < need]", "if f.tokens <= need]"),
    ("if f.slots < need", "if f.slots <= need"),
    ("self.level + self.queue[0][2] <= self.spec.capacity", "self.level + self.queue[0][2] < self.spec.capacity"),
    ("self.queue.sort(key=lambda request: request[:2])", "self.queue.sort(key=lambda request: request[2])"),
    ("key=lambda w: (w <= self.last, w)", "key=lambda w: (w < self.last, w)"),
    ("key=lambda w: (self.waiting[w][0], w)", "key=lambda w: w"),
    ("self.credit = ticks * num - owed", "self.credit = 0"),
    ("if self.ended == self.clock.now else 0", "if self.ended >= 0 else 0"),
    ("owed = max(0, ", "owed = max(-99, "),
    ("spec.data_at_start:\n                    fifo.later(fifo.arrive, put, fifo.spec.latency)",
     "spec.data_at_start:\n                    fifo.later(fifo.arrive, put, fifo.spec.latency + 1)"),
    ("if not fifo.spec.data_at_start:", "if True:"),
    ("if not fifo.spec.space_at_start:", "if True:"),
    ("cause, fifo = last[0]", "cause, fifo = last[-1]"),
    ("passes[i] = (passes[i] + 1) % count", "passes[i] = (passes[i] + 1) % (count + 1)"),
    ("yield self.server.request(self.who, asked)", "yield self.server.request(self.who, self.clock.now)"),
]


@pytest.mark.parametrize(("sound", "faulty"), REFERENCE_FAULTS)
def test_fault_in_the_reference_kernel_is_caught(sound: str, faulty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = inspect.getsource(reference)
    assert source.count(sound) == 1
    module = types.ModuleType("accelsim.engine.faulty")
    module.__package__ = "accelsim.engine"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(source.replace(sound, faulty), module.__dict__)
    assert any(
        differences(outcome(module.run, random_program(seed)), outcome(compiled.run, random_program(seed)))
        for seed in range(200)
    )


def plus_one(program: Program, column: str) -> Program:
    values = getattr(program, column).copy()
    values[len(values) // 2 :] += 1
    return replace(program, **{column: values})


def with_fifos(program: Program, change: dict[str, int]) -> Program:
    """Every FIFO's fields raised by so much."""
    raised: list[Fifo] = [replace(f, **{k: getattr(f, k) + n for k, n in change.items()}) for f in program.fifos]
    return replace(program, fifos=tuple(raised))


def without_early_results(program: Program) -> Program:
    return replace(program, fifos=tuple(replace(f, data_at_start=False) for f in program.fifos))


def with_servers(program: Program, **change: object) -> Program:
    servers = tuple(replace(s, **change) for s in program.platform.servers)  # type: ignore[arg-type]
    return replace(program, platform=Platform(servers, program.platform.pools))


def with_pools(program: Program) -> Program:
    pools = tuple(replace(k, capacity=max(k.used, k.capacity - 1)) for k in program.platform.pools)
    return replace(program, platform=Platform(program.platform.servers, pools))


PROGRAM_FAULTS = {
    "work": lambda p: plus_one(p, "phase_work"),
    "argument": lambda p: plus_one(p, "phase_arg"),
    "count": lambda p: plus_one(p, "code_count"),
    "need of tokens": lambda p: plus_one(p, "in_need"),
    "need of slots": lambda p: plus_one(p, "out_need"),
    "bytes taken": lambda p: plus_one(p, "take_bytes"),
    "bytes given": lambda p: plus_one(p, "give_bytes"),
    "latency": lambda p: with_fifos(p, {"latency": 1}),
    "credit latency": lambda p: with_fifos(p, {"credit_latency": 1}),
    "early results": without_early_results,
    "initial tokens": lambda p: with_fifos(p, {"init": 1, "depth": 1}),
    "rate": lambda p: with_servers(p, rate=Fraction(9, 4)),
    "burst": lambda p: with_servers(p, burst=2),
    "round robin": lambda p: with_servers(p, policy=ROUND_ROBIN),
    "first come": lambda p: with_servers(p, policy=FIRST_COME),
    "capacity": with_pools,
}


@pytest.mark.parametrize("fault", list(PROGRAM_FAULTS))
def test_fault_in_the_compiled_kernel_is_caught(fault: str) -> None:
    """A compiled kernel that reads one thing wrongly differs somewhere; so both kernels heed each of these."""
    seen = 0
    for seed in range(60):
        program = random_program(seed)
        wrong = outcome(lambda p: compiled.run(PROGRAM_FAULTS[fault](p)), program)
        seen += bool(differences(outcome(reference.run, program), wrong))
    assert seen >= 2


def test_deadlocks_name_the_same_waits() -> None:
    found = 0
    for seed in range(300):
        program = random_program(seed)
        if outcome(reference.run, program) is Deadlock:
            with pytest.raises(Deadlock) as one:
                reference.run(program)
            with pytest.raises(Deadlock) as two:
                compiled.run(program)
            assert str(one.value) == str(two.value)
            found += 1
    assert found > 20
