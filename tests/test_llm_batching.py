"""The Driver of LLM serving: tokens, blocks, preemption and swap, on steps of made-up lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.steps import step_of

from accelsim.engine.compiled import CompiledSession
from accelsim.engine.program import Platform, Program, Server
from accelsim.engine.reference import ReferenceSession
from accelsim.engine.session import Session
from accelsim.errors import BadInput, DoesNotFit
from accelsim.serving import Listed, Scenario
from accelsim.serving.driver import Request, Submission
from accelsim.serving.llm.batching import Batching
from accelsim.serving.llm.blocks import Blocks
from accelsim.serving.llm.state import BatchState, Move, Policy, Replica, Shape, Step, Tokens
from accelsim.serving.loop import Completion, completions

TICK_HZ = Fraction(1_000_000_000)
PLATFORM = Platform((Server("replica 0"), Server("replica 1"), Server("link")))


def program(server: int, ticks: int) -> Program:
    return step_of(PLATFORM, server, ticks)


def step_program(replica: int, shape: Shape) -> Program:
    return program(replica, 5 + shape.decodes + shape.decode_context // 50 + sum(t for t, _ in shape.chunks) // 4)


def move_program(replica: int, way: str, blocks: int) -> Program:
    return program(2, 7 * blocks)


def owned(mine: Replica) -> list[int]:
    sequences = (*mine.running, *mine.waiting, *(s for _, s in mine.moving), *mine.lower)
    return [block for s in sequences for block in s.blocks]


@dataclass(frozen=True)
class Checked:
    """The Driver, each of whose states is checked."""

    driver: Batching
    seen: Counter[str] = field(default_factory=Counter)

    def start(self, policy: Policy, seed: int) -> BatchState:
        return self._checked(self.driver.start(policy, seed))

    def on_arrival(self, state: BatchState, request: Request, now: int) -> tuple[BatchState, tuple[Submission, ...]]:
        after, submissions = self.driver.on_arrival(state, request, now)
        return self._checked(after), submissions

    def on_complete(
        self, state: BatchState, fragment: Submission, now: int
    ) -> tuple[BatchState, tuple[Submission, ...]]:
        after, submissions = self.driver.on_complete(state, fragment, now)
        again, same = self.driver.on_complete(state, fragment, now)
        assert (again, [s.note for s in same]) == (after, [s.note for s in submissions]), "equal calls, equal answers"
        return self._checked(after), submissions

    def _checked(self, state: BatchState) -> BatchState:
        """Every block is in one place; running sequences have room for what they have computed."""
        for mine in state.replicas:
            blocks = owned(mine) + mine.kv.unused()
            assert sorted(blocks) == list(range(self.driver.blocks)), "no block is leaked or shared"
            assert len(owned(mine)) == mine.kv.in_use
            assert 0 <= mine.lower_used <= self.driver.lower_blocks
            assert len(mine.running) + len(mine.moving) <= state.policy.batch
            for s in (*mine.running, *(s for _, s in mine.moving)):
                assert s.computed <= len(s.blocks) * mine.kv.tokens
            self.seen["recomputed"] = max(self.seen["recomputed"], mine.recomputed)
            self.seen["swapped"] = max(self.seen["swapped"], mine.swapped)
            self.seen["stalled"] = max(self.seen["stalled"], mine.stalled)
        return state


def driver(blocks: int = 24, lower_blocks: int = 40, replicas: int = 1) -> Batching:
    return Batching(step_program, move_program, replicas, blocks, 4, 4096, lower_blocks, "hbm")


SESSIONS: dict[str, Callable[[], Session]] = {
    "compiled": lambda: CompiledSession(PLATFORM, TICK_HZ),
    "reference": lambda: ReferenceSession(PLATFORM, TICK_HZ),
}


def run(
    arrivals: list[tuple[int, Tokens]], policy: Policy, make: Batching | None = None, kernel: str = "compiled"
) -> tuple[list[Completion], Checked]:
    checked = Checked(make or driver())
    return list(completions(checked, Scenario(Listed(tuple(arrivals)), policy), SESSIONS[kernel]())), checked


def steps(done: list[Completion]) -> Iterator[Step]:
    for completion in done:
        if isinstance(completion.submission, Step):
            yield completion.submission


def emitted(done: list[Completion]) -> Counter[int]:
    return Counter(request for step in steps(done) for request in step.emits)


REQUESTS = st.lists(
    st.tuples(st.integers(0, 400), st.builds(Tokens, st.integers(1, 40), st.integers(1, 40))), min_size=1, max_size=12
)
POLICIES = st.builds(
    Policy, st.sampled_from(["continuous", "chunked"]), st.integers(1, 6), st.integers(6, 30),
    st.sampled_from(["recompute", "swap"]))  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(REQUESTS, POLICIES, st.integers(20, 40), st.integers(1, 40), st.integers(1, 2))
def test_every_token_is_generated_once_and_no_block_is_leaked(
    arrivals: list[tuple[int, Tokens]], policy: Policy, blocks: int, lower: int, replicas: int
) -> None:
    done, _ = run(arrivals, policy, driver(blocks, lower, replicas))
    ordered = sorted(arrivals, key=lambda a: a[0])
    assert emitted(done) == {i: tokens.output for i, (_, tokens) in enumerate(ordered)}
    computed: Counter[int] = Counter()
    for step in steps(done):
        assert step.requests and len(set(step.requests)) == len(step.requests)
        computed.update({c.request: c.tokens for c in step.chunks})
        computed.update(step.decodes)
    for i, (_, tokens) in enumerate(ordered):
        assert computed[i] >= tokens.prompt + tokens.output - 1, "more only where blocks were dropped"


@settings(max_examples=10, deadline=None)
@given(REQUESTS, st.integers(1, 3))
def test_static_batches_wait_for_their_last_request(arrivals: list[tuple[int, Tokens]], batch: int) -> None:
    done, _ = run(arrivals, Policy("static", batch, 30), driver(blocks=60))
    ordered = sorted(arrivals, key=lambda a: a[0])
    assert emitted(done) == {i: tokens.output for i, (_, tokens) in enumerate(ordered)}
    members: set[int] = set()
    for step in steps(done):
        if step.chunks:
            members = {c.request for c in step.chunks}
        assert set(step.decodes) in (members, set())


@pytest.mark.parametrize("kind", ["continuous", "chunked"])
@pytest.mark.parametrize("kernel", sorted(SESSIONS))
def test_preemption_and_swap_happen_and_both_kernels_agree(kind: str, kernel: str) -> None:
    arrivals = [(10 * i, Tokens(12 + i % 7, 30)) for i in range(12)]
    runs = {}
    for preemption in ("recompute", "swap"):
        policy = Policy(kind, 6, 40, preemption)  # type: ignore[arg-type]
        runs[preemption], checked = run(arrivals, policy, kernel=kernel)
        assert checked.seen["recomputed" if preemption == "recompute" else "swapped"] > 0
    moves = [c.submission for c in runs["swap"] if isinstance(c.submission, Move)]
    ways = Counter(m.way for m in moves)
    assert ways["out"] == ways["in"] > 0
    assert not any(isinstance(c.submission, Move) for c in runs["recompute"])
    again, _ = run(arrivals, Policy(kind, 6, 40, "swap"))  # type: ignore[arg-type]
    assert [(c.tick, c.submission.note) for c in again] == [(c.tick, c.submission.note) for c in runs["swap"]]


def test_a_small_lower_tier_makes_the_rest_recompute() -> None:
    arrivals = [(0, Tokens(12, 40)) for _ in range(8)]
    _, checked = run(arrivals, Policy("continuous", 6, 40, "swap"), driver(lower_blocks=6))
    assert checked.seen["swapped"] > 0 and checked.seen["recomputed"] > 0


def test_decodes_go_on_beside_chunks_of_prompts() -> None:
    arrivals = [(0, Tokens(4, 30)), (40, Tokens(40, 2))]
    chunked, _ = run(arrivals, Policy("chunked", 4, 8))
    mixed = [s for s in steps(chunked) if s.decodes and s.chunks]
    assert [c for s in mixed for c in s.chunks][:2] == [(1, 7, 0), (1, 7, 7)]
    continuous, _ = run(arrivals, Policy("continuous", 4, 8))
    assert not [s for s in steps(continuous) if s.decodes and s.chunks]


def test_arrivals_spread_over_replicas() -> None:
    done, _ = run([(0, Tokens(8, 8)) for _ in range(8)], Policy("continuous", 4, 40), driver(replicas=2))
    assert {s.replica for s in steps(done)} == {0, 1}
    assert {i for s in steps(done) if s.replica == 1 for i in s.emits} == {1, 3, 5, 7}


def test_requests_and_batches_beyond_the_cache_are_refused_with_the_bytes() -> None:
    words = r"KV cache in hbm: request 0 of 90 \+ 10 tokens needs 25 blocks of 4 tokens and there are 24, 4,096 bytes"
    with pytest.raises(DoesNotFit, match=words):
        run([(0, Tokens(90, 10))], Policy(batch=8))
    with pytest.raises(DoesNotFit, match="a batch of 256 requests with a block each needs 256 blocks"):
        run([(0, Tokens(9, 1))], Policy(batch=256))
    with pytest.raises(DoesNotFit, match="a static batch of 6 requests such as 0"):
        run([(0, Tokens(20, 20))], Policy("static", 6))


def test_a_request_has_all_its_blocks_on_one_socket_of_its_replica() -> None:
    """24 blocks of 4 tokens are 12 on each of two sockets: room for 48 tokens of a request, the last one not kept."""
    two = replace(driver(), sockets=2)
    assert two.blocks == 24
    done, _ = run([(0, Tokens(40, 9)), (0, Tokens(40, 9))], Policy(batch=8), two)
    assert {i for s in steps(done) for i in s.emits} == {0, 1}
    words = r"request 0 of 40 \+ 10 tokens needs 13 blocks of 4 tokens on each socket and there are 12, 4,096 bytes"
    with pytest.raises(DoesNotFit, match=words):
        run([(0, Tokens(40, 10))], Policy(batch=8), two)
    run([(0, Tokens(20, 5))] * 3, Policy("static", 3), two)  # two of them on one socket: 12 blocks
    with pytest.raises(DoesNotFit, match=r"a static batch of 3 requests such as 0, of 20 .* needs 14 blocks"):
        run([(0, Tokens(20, 6))] * 3, Policy("static", 3), two)


def test_bad_policies_and_requests_are_named() -> None:
    for policy, words in (
        (Policy("greedy"), "known: static, continuous, chunked"),  # type: ignore[arg-type]
        (Policy(batch=0), "a batch is at least 1"),
        (Policy(batch=8, step_tokens=4), "room for one token of each"),
    ):
        with pytest.raises(BadInput, match=words):
            run([(0, Tokens(1, 1))], policy)
    with pytest.raises(BadInput, match="needs a lower tier"):
        run([(0, Tokens(1, 1))], Policy(batch=8, preemption="swap"), driver(lower_blocks=0))
    with pytest.raises(BadInput, match="request 0: wants"):
        run([(0, Tokens(0, 1))], Policy(batch=8))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-6, 6), max_size=30))
def test_blocks_are_handed_out_once(changes: list[int]) -> None:
    kv, held = Blocks(20, 16), list[int]()
    for change in changes:
        if 0 < change <= kv.free:
            kv, taken = kv.take(change)
            held += taken
        elif change < 0:
            kv, held = kv.give(held[change:]), held[:change]
        assert sorted(held + kv.unused()) == list(range(20)) and kv.free == 20 - len(held)


def test_blocks_round_up() -> None:
    assert [Blocks(9, 16).needed(n) for n in (0, 1, 16, 17)] == [0, 1, 1, 2]
