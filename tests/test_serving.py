"""The serving loop and its small Driver, on both kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.compiled import CompiledSession
from accelsim.engine.program import Platform, Pool, Program
from accelsim.engine.reference import ReferenceSession
from accelsim.engine.session import Session
from accelsim.errors import BadInput, Deadlock, DoesNotFit, ProgramError
from accelsim.serving import (
    AtOnce,
    Listed,
    Poisson,
    Request,
    Scenario,
    ServeLog,
    Submission,
    TieredCache,
    notes_one_by_one,
    serve,
)
from accelsim.serving.tiered import HIT, MISS, TieredState

TICK_HZ = Fraction(1_000_000_000)
SESSIONS: dict[str, Callable[[Platform], Session]] = {
    "reference": lambda platform: ReferenceSession(platform, TICK_HZ),
    "compiled": lambda platform: CompiledSession(platform, TICK_HZ),
}
CACHE = TieredCache(
    object_bytes=(40, 60, 30, 80, 50, 20, 70, 10),
    capacity_bytes=160,
    link_rate=Fraction(7, 3),
    compute_ticks=12,
    link_burst_bytes=16,
)


@pytest.fixture(params=list(SESSIONS))
def new_session(request: pytest.FixtureRequest) -> Callable[[Platform], Session]:
    return SESSIONS[request.param]


def scenario(seed: int, count: int = 60, gap: float = 20.0, at_once: int = 3) -> Scenario[AtOnce]:
    return Scenario(Poisson(count, gap, len(CACHE.object_bytes), skew=0.8), AtOnce(at_once), seed)


def run(value: Scenario[AtOnce], kernel: str = "compiled", cache: TieredCache = CACHE) -> ServeLog:
    return serve(cache, value, SESSIONS[kernel](cache.platform))


def lru_notes(cache: TieredCache, wanted: list[int]) -> list[str]:
    """Hits and misses of a plain LRU cache."""
    held: OrderedDict[int, int] = OrderedDict()
    notes = []
    for n in wanted:
        notes.append(HIT if n in held else MISS)
        if n in held:
            held.move_to_end(n)
            continue
        while sum(held.values()) + cache.object_bytes[n] > cache.capacity_bytes:
            held.popitem(last=False)
        held[n] = cache.object_bytes[n]
    return notes


class Watched(TieredCache):
    """The same Driver, with its states on record."""

    states: list[TieredState]

    def _admit(self, state: TieredState) -> tuple[TieredState, tuple[Submission, ...]]:
        after, submissions = super()._admit(state)
        self.states.append(after)
        return after, submissions


def watched() -> Watched:
    cache = Watched(**{name: getattr(CACHE, name) for name in CACHE.__dataclass_fields__})
    object.__setattr__(cache, "states", [])
    return cache


def test_by_hand(new_session: Callable[[Platform], Session]) -> None:
    """Objects of 10 and 20 bytes, room for 20, 5 bytes a tick, 3 ticks of compute, one request at a time."""
    cache = TieredCache((10, 20), 20, Fraction(5), 3)
    listed = Listed(((4, 0), (5, 0), (6, 1), (100, 1)))
    log = serve(cache, Scenario(listed, AtOnce(1)), new_session(cache.platform))
    # Request 0, a miss: link 4-6, compute 6-9. Request 1 hits: from tick 10, 10-13. Request 2 must drop object 0:
    # drop 14-15, link 15-19, compute 19-22. Request 3 hits at once, 100-103.
    assert [(r.start, r.finish, r.notes) for r in log.served] == [
        (4, 9, (MISS,)),
        (10, 13, (HIT,)),
        (14, 22, (MISS,)),
        (100, 103, (HIT,)),
    ]
    assert [r.latency for r in log.served] == [5, 8, 16, 3]
    assert (log.finish, log.fragments) == (103, 4)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_request_is_served_once_as_lru_says(seed: int, at_once: int) -> None:
    value = scenario(seed, at_once=at_once)
    log = run(value)
    requests = value.arrivals.requests(seed)
    assert [r.request for r in log.served] == [q.id for q in requests]
    assert [r.arrival for r in log.served] == [q.arrival for q in requests]
    assert all(r.arrival <= r.start < r.finish for r in log.served)
    notes = [note for r in log.served for note in r.notes]
    assert len(notes) == log.fragments == len(requests)
    wanted = [q.wants for q in requests if isinstance(q.wants, int)]
    assert notes == lru_notes(CACHE, wanted)
    assert 0 < notes.count(HIT) < len(notes)
    assert log.finish == max(r.finish for r in log.served)


@pytest.mark.parametrize("seed", range(4))
def test_link_moves_the_bytes_of_the_misses(new_session: Callable[[Platform], Session], seed: int) -> None:
    session, value = new_session(CACHE.platform), scenario(seed)
    log = serve(CACHE, value, session)
    requests = value.arrivals.requests(seed)
    missed = [q.wants for q, r in zip(requests, log.served, strict=True) if r.notes == (MISS,)]
    traces = [session.trace(fragment) for fragment in range(log.fragments)]
    moved = sum(CACHE.object_bytes[n] for n in missed if isinstance(n, int))
    assert sum(int(t.server_work[0]) for t in traces) == moved
    assert sum(int(t.server_busy[1]) for t in traces) == CACHE.compute_ticks * len(requests)
    peak = max(int(t.pool_peak[0]) for t in traces)
    assert 100 < peak <= CACHE.capacity_bytes


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), gap=st.floats(0, 60), at_once=st.integers(1, 6))
def test_cache_and_work_stay_within_their_limits(seed: int, gap: float, at_once: int) -> None:
    cache = watched()
    run(scenario(seed, 40, gap, at_once), cache=cache)
    assert cache.states
    for state in cache.states:
        assert sum(CACHE.object_bytes[n] for n in state.cached) <= CACHE.capacity_bytes
        assert len(set(state.cached)) == len(state.cached)
        assert len(state.working) <= at_once
        assert {n for _, n in state.working} | state.loading <= set(state.cached)
    assert not cache.states[-1].working
    assert not cache.states[-1].waiting


@pytest.mark.parametrize("seed", range(10))
def test_both_kernels_log_the_same(seed: int) -> None:
    value = scenario(seed, gap=(5.0, 20.0, 60.0)[seed % 3])
    assert run(value, "reference") == run(value, "compiled")


def test_seed_decides() -> None:
    assert run(scenario(1)) == run(scenario(1))
    assert run(scenario(1)) != run(scenario(2))


def test_more_capacity_never_hits_less() -> None:
    """LRU over equal objects is a stack algorithm (Mattson et al., 1970)."""
    hits = []
    for slots in range(1, 9):
        cache = TieredCache((10,) * 8, 10 * slots, Fraction(2), 5)
        log = run(scenario(3), cache=cache)
        hits.append(sum(r.notes == (HIT,) for r in log.served))
    assert hits == sorted(hits)
    assert hits[-1] == 60 - 8  # all fit: one miss each
    assert hits[0] < hits[-1]


def test_hits_one_by_one_are_those_of_the_engine_and_of_a_plain_cache() -> None:
    rng = np.random.default_rng(0)
    for slots in (1, 3, 5):
        cache = TieredCache((10,) * 8, 10 * slots, Fraction(2), 5)
        wanted = [int(n) for n in rng.integers(0, 8, 60)]
        apart = Listed(tuple((i * 100, n) for i, n in enumerate(wanted)))
        served = run(Scenario(apart, AtOnce(1)), cache=cache).served
        notes = notes_one_by_one(cache, wanted)
        assert list(notes) == lru_notes(cache, wanted) == [r.notes[0] for r in served]
        assert {HIT, MISS} >= set(notes) and len({r.latency for r in served if r.notes == (HIT,)}) <= 1


def test_requests_queue_when_they_come_faster_than_they_are_served() -> None:
    slow, fast = run(scenario(0, gap=200.0)), run(scenario(0, gap=1.0))
    mean = [sum(r.latency for r in log.served) / len(log.served) for log in (slow, fast)]
    assert mean[1] > 3 * mean[0]


def test_poisson_arrivals() -> None:
    requests = Poisson(20_000, 50.0, 4, skew=1.0).requests(7)
    ticks = [r.arrival for r in requests]
    assert ticks == sorted(ticks)
    assert ticks[-1] / len(ticks) == pytest.approx(50.0, rel=0.03)  # 20,000 gaps: 4 standard errors are 2.8 %
    share = [sum(r.wants == n for r in requests) / len(requests) for n in range(4)]
    assert share == pytest.approx([12 / 25, 6 / 25, 4 / 25, 3 / 25], abs=0.015)  # 1, 1/2, 1/3, 1/4 of 25/12


def test_bad_scenarios() -> None:
    with pytest.raises(BadInput, match="negative"):
        run(Scenario(Listed(((-1, 0),)), AtOnce(1)))
    with pytest.raises(BadInput, match="wants 8"):
        run(Scenario(Listed(((0, 8),)), AtOnce(1)))
    with pytest.raises(BadInput, match="at least 1"):
        run(Scenario(Listed(((0, 0),)), AtOnce(0)))
    with pytest.raises(BadInput, match="at least one object"):
        run(Scenario(Poisson(5, 1.0, 0), AtOnce(1)))
    small = TieredCache((10, 30), 20, Fraction(1), 1)
    with pytest.raises(DoesNotFit, match="20 bytes, an object has 30"):
        run(Scenario(Listed(((0, 0),)), AtOnce(1)), cache=small)


def test_no_arrivals() -> None:
    assert run(Scenario(Listed(()), AtOnce(1))) == ServeLog((), 0, 0)


class Forgetful:
    """A Driver that serves every second request."""

    def start(self, policy: AtOnce, seed: int) -> None:
        return None

    def on_arrival(self, state: None, request: Request, now: int) -> tuple[None, tuple[Submission, ...]]:
        if request.id % 2:
            return None, ()
        return None, (Submission(busy(), (request.id,)),)

    def on_complete(self, state: None, fragment: Submission, now: int) -> tuple[None, tuple[Submission, ...]]:
        return None, ()


def busy(ticks: int = 5) -> Program:
    b = ProgramBuilder("busy")
    b.actor("x", schedule=[Run(Phase(work=ticks))])
    return b.build()


def test_unserved_requests_are_an_error() -> None:
    four = Scenario(Listed(((0, 0), (0, 0), (1, 0), (2, 0))), AtOnce(1))
    with pytest.raises(ProgramError, match="2 requests unserved, the first of them 1"):
        serve(Forgetful(), four, SESSIONS["compiled"](Platform()))


# The Session contract, on both kernels


def test_session_time(new_session: Callable[[Platform], Session]) -> None:
    session = new_session(Platform())
    assert session.now == -1
    assert session.advance() == []
    assert session.now == -1
    assert session.submit(busy()) == 0
    assert session.submit(busy(7), 3) == 1
    assert session.advance(4) == []
    assert session.now == 4
    assert session.advance(2) == []  # before now
    assert session.now == 4
    with pytest.raises(ProgramError):
        session.trace(0)
    assert session.advance(100) == [(0, 5)]  # stops in the tick of the completion
    assert session.now == 5
    assert session.submit(busy(2), 1) == 2  # too late for tick 1: fires from 6
    assert session.advance() == [(2, 8)]
    assert session.advance() == [(1, 10)]
    assert session.trace(2).start.tolist() == [6]
    assert session.trace(1).start.tolist() == [3]
    assert session.advance(50) == []
    assert session.now == 50
    assert session.advance() == []
    assert session.now == 50
    with pytest.raises(ProgramError):
        session.trace(3)


def test_session_reports_all_that_complete_in_a_tick(new_session: Callable[[Platform], Session]) -> None:
    session = new_session(Platform())
    for ticks, at in ((4, 4), (8, 0), (3, 6), (2, 6)):
        session.submit(busy(ticks), at)
    assert session.advance() == [(0, 8), (1, 8), (3, 8)]
    assert session.advance() == [(2, 9)]


def test_fragment_without_firings_completes_where_it_could_fire(new_session: Callable[[Platform], Session]) -> None:
    session = new_session(Platform())
    b = ProgramBuilder()
    b.actor("idle")
    session.submit(b.build(), 6)
    session.submit(ProgramBuilder().build(), 9)
    assert session.advance() == [(0, 6)]
    assert session.advance() == [(1, 9)]


def test_first_waits_count_from_the_first_tick(new_session: Callable[[Platform], Session]) -> None:
    session = new_session(Platform())
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y)
    b.schedule(x, [Run(Phase(work=3, outputs=((f, 1, 1),)))])
    b.schedule(y, [Run(Phase(work=1, inputs=((f, 1, 1),)))])
    session.submit(b.build(), 20)
    assert session.advance() == [(0, 24)]
    assert session.trace(0).stall.tolist() == [[0, 0, 0, 0], [3, 0, 0, 0]]


def test_session_refuses_another_platform(new_session: Callable[[Platform], Session]) -> None:
    with pytest.raises(ProgramError):
        new_session(CACHE.platform).submit(busy())
    b = ProgramBuilder(tick_hz=5)
    with pytest.raises(ProgramError):
        new_session(Platform()).submit(b.build())


def test_time_passes_while_a_later_fragment_may_give(new_session: Callable[[Platform], Session]) -> None:
    platform = Platform(pools=(Pool("kv", 10, used=8),))

    def program(take: int, give: int) -> Program:
        b = ProgramBuilder()
        pool = b.pool(platform.pools[0])
        b.actor("x", schedule=[Run(Phase(work=2, take=(pool, take) if take else None, gives=((pool, give),)))])
        return b.build()

    session = new_session(platform)
    session.submit(program(5, 5))
    assert session.advance(30) == []
    assert session.now == 30
    session.submit(program(0, 8))  # fires 31-33
    assert session.advance() == [(1, 33)]
    assert session.advance() == [(0, 35)]
    assert session.trace(0).stall.tolist() == [[0, 0, 33, 0]]
    session = new_session(platform)
    session.submit(program(5, 5))
    with pytest.raises(Deadlock):
        session.advance()


def test_waiting_for_a_fifo_is_a_deadlock_at_once(new_session: Callable[[Platform], Session]) -> None:
    session = new_session(Platform())
    b = ProgramBuilder()
    x, y = b.actor("x"), b.actor("y")
    f = b.fifo(x, y)
    b.schedule(y, [Run(Phase(inputs=((f, 1, 1),)))])
    session.submit(b.build())
    with pytest.raises(Deadlock):
        session.advance(1000)
