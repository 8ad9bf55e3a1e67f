"""Speculative decoding, and replicas that prefill for others: every token once, no block twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.steps import step_of

from accelsim.engine.compiled import CompiledSession
from accelsim.engine.program import Platform, Program, Server
from accelsim.errors import BadInput
from accelsim.serving import Listed, Scenario
from accelsim.serving.driver import Request, Submission
from accelsim.serving.llm.arrivals import Lengths, PoissonRequests
from accelsim.serving.llm.batching import Batching
from accelsim.serving.llm.run import simulate_serving
from accelsim.serving.llm.scenario import LlmScenario, Parallel, Speculative
from accelsim.serving.llm.scenario_file import scenario_of
from accelsim.serving.llm.speculation import Draft
from accelsim.serving.llm.state import BatchState, Move, Policy, Replica, Step, Tokens
from accelsim.serving.loop import completions

TICK_HZ = Fraction(1_000_000_000)
PLATFORM = Platform((*(Server(f"replica {i}") for i in range(4)), Server("link")))


def program(server: int, ticks: int) -> Program:
    return step_of(PLATFORM, server, ticks)


def driver(replicas: int, blocks: int, prefill: int = 0, draft: Draft | None = None) -> Batching:
    return Batching(lambda r, shape: program(r, 5 + shape.tokens // 4), lambda r, way, n: program(4, 7 * n), replicas,
                    blocks, 4, 1, draft=draft, prefill=prefill)  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """A Driver, each of whose states is checked: a block is free or one request's, and none is lost."""

    inner: Batching
    seen: Counter[str] = field(default_factory=Counter)

    def start(self, policy: Policy, seed: int) -> BatchState:
        return self.inner.start(policy, seed)

    def on_arrival(self, state: BatchState, request: Request, now: int) -> tuple[BatchState, tuple[Submission, ...]]:
        return self._checked(*self.inner.on_arrival(state, request, now))

    def on_complete(
        self, state: BatchState, fragment: Submission, now: int
    ) -> tuple[BatchState, tuple[Submission, ...]]:
        return self._checked(*self.inner.on_complete(state, fragment, now))

    def _checked(
        self, state: BatchState, submissions: tuple[Submission, ...]
    ) -> tuple[BatchState, tuple[Submission, ...]]:
        for number, mine in enumerate(state.replicas):
            self._check(number, mine)
        self.seen["moves"] += sum(isinstance(s, Move) for s in submissions)
        return state, submissions

    def _check(self, number: int, mine: Replica) -> None:
        sequences = (*mine.running, *mine.waiting, *(s for _, s in mine.moving), *mine.lower)
        blocks = [b for s in sequences for b in s.blocks]
        assert sorted(blocks + mine.kv.unused()) == list(range(mine.kv.count))
        assert mine.lower_used >= 0
        for s in mine.running:
            assert s.generated < s.output and s.pending >= 1
            assert len(s.blocks) * mine.kv.tokens >= s.computed
        if number < self.inner.prefill:
            assert not mine.lower


def served(checked: Checked, policy: Policy, wants: list[Tokens], gap: int = 3) -> list[tuple[int, Submission]]:
    arrivals = Listed(tuple((gap * i, w) for i, w in enumerate(wants)))
    session = CompiledSession(PLATFORM, TICK_HZ)
    return [(c.tick, c.submission) for c in completions(checked, Scenario(arrivals, policy), session)]


def emitted(done: list[tuple[int, Submission]]) -> Counter[int]:
    return Counter(i for _, s in done if isinstance(s, Step) for i in s.emits)


WANTS = st.lists(st.builds(Tokens, st.integers(1, 20), st.integers(1, 14)), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(WANTS, st.sampled_from(["continuous", "chunked"]), st.integers(1, 5), st.integers(9, 30))
def test_replicas_that_prefill_hand_every_request_over_once(
    wants: list[Tokens], kind: str, batch: int, blocks: int
) -> None:
    checked = Checked(driver(3, blocks, prefill=1))
    policy = Policy("chunked" if kind == "chunked" else "continuous", batch, 16)
    done = served(checked, policy, wants)
    assert emitted(done) == {i: w.output for i, w in enumerate(wants)}
    moves = Counter(i for _, s in done if isinstance(s, Move) for i in s.requests)
    assert moves == Counter({i: 1 for i, w in enumerate(wants) if w.output > 1})
    first = Counter(i for _, s in done if isinstance(s, Step) and s.replica == 0 for i in s.emits)
    assert first == Counter(dict.fromkeys(range(len(wants)), 1))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(WANTS, st.sampled_from(["continuous", "chunked"]), st.integers(1, 4), st.floats(0, 1), st.integers(9, 30))
def test_speculation_makes_every_token_once(
    wants: list[Tokens], kind: str, ahead: int, acceptance: float, blocks: int
) -> None:
    checked = Checked(driver(2, blocks, draft=Draft(ahead, acceptance)))
    done = served(checked, Policy("chunked" if kind == "chunked" else "continuous", 4, 20), wants)
    assert emitted(done) == {i: w.output for i, w in enumerate(wants)}
    for _, s in done:
        if isinstance(s, Step):
            assert s.shape.tokens <= 20
            made = Counter(s.emits)
            assert all(1 <= made[i] <= ahead + 1 for i in s.decodes)
            assert s.shape.tokens == len(s.decodes) * (1 + s.shape.ahead) + sum(c.tokens for c in s.chunks)


@pytest.mark.parametrize("acceptance", [0.0, 0.4, 0.8, 1.0])
def test_tokens_of_a_step_follow_the_closed_form(acceptance: float) -> None:
    draft, k = Draft(4, acceptance, seed=3), 4
    mean = sum(draft.made(request, place, 100) for request in range(40) for place in range(100)) / 4000
    wanted = k + 1 if acceptance == 1 else (1 - acceptance ** (k + 1)) / (1 - acceptance)
    assert mean == pytest.approx(wanted, rel=0.03)
    assert draft.made(0, 0, 2) <= 2


SMALL = LlmScenario("gpt2-medium", "a100_80gb", PoissonRequests(8, 200.0, Lengths(40), Lengths(20)),
                    mappers=("tile", "tile", "tile"), checks=1)  # fmt: skip


def test_a_draft_that_is_right_saves_steps_and_one_that_is_wrong_only_costs() -> None:
    plain = simulate_serving(SMALL)
    right = simulate_serving(replace(SMALL, speculative=Speculative("gpt2", 3, 1.0)))
    wrong = simulate_serving(replace(SMALL, speculative=Speculative("gpt2", 3, 0.0)))
    assert len(right.steps.end_s) < len(plain.steps.end_s) / 2
    assert right.requests.tpot_s.mean() < wrong.requests.tpot_s.mean()
    assert wrong.requests.tpot_s.mean() > plain.requests.tpot_s.mean()
    assert right.output_tokens == wrong.output_tokens == plain.output_tokens == 160
    assert right.placement.weight_bytes > plain.placement.weight_bytes


def test_blocks_that_come_over_take_their_time_on_the_network() -> None:
    def tpot(bandwidth: float) -> float:
        parallel = Parallel(1, 2, "switch", bandwidth, prefill=1)
        found = simulate_serving(replace(SMALL, parallel=parallel))
        moved = found.swapped_bytes
        assert moved == 8 * -(-40 // 16) * 16 * 2 * 1024 * 24 * 2  # three blocks of each, keys and values of 24 layers
        return float(found.requests.tpot_s.mean())

    assert tpot(1e9) > tpot(100e9) + 0.8 * 3 * 16 * 98304 / 1e9 / 19


@pytest.mark.parametrize("change, words", [
    (lambda: driver(2, 20, prefill=2).start(Policy(), 0), "none decodes"),
    (lambda: driver(2, 20, prefill=1).start(Policy("static"), 0), "prefill for the others"),
    (lambda: driver(2, 20, draft=Draft(2, 0.5)).start(Policy("static"), 0), "no draft model"),
    (lambda: driver(2, 20, draft=Draft(4, 0.5)).start(Policy(batch=4, step_tokens=16), 0), "a draft model makes 5"),
    (lambda: Draft(0, 0.5), "at least 1"),
    (lambda: Draft(2, 1.5), "a share"),
    (lambda: simulate_serving(replace(SMALL, parallel=Parallel(pipeline=2, bandwidth=1e9),
                                      speculative=Speculative("gpt2"))), "not modelled"),
    (lambda: simulate_serving(replace(SMALL, model="llama-2-7b", speculative=Speculative("gpt2"),
                                      arrivals=PoissonRequests(1, 1.0, Lengths(1020), Lengths(5)))),
     "1024 learned positions of gpt2"),
])  # fmt: skip
def test_what_cannot_be_served_so_is_named(change: Callable[[], object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        change()


def test_scenario_files_say_all_of_it() -> None:
    s = scenario_of("""
model: mixtral-8x7b
machine: h100_sxm
arrivals: {poisson: {requests: 1, per_second: 1, prompt: 9, output: 9}}
parallel: {data: 4, expert: 8, overlap: 2, prefill: 1, network: {bandwidth: 450 GB/s}}
policy: {reserve: true}
overheads: {kernel: 5 us, exchange: 10 us, step: 1 ms, grouped_attention: 0.8}
speculative: {model: llama-3-8b, tokens: 3, acceptance: 0.6}
""")
    assert s.parallel == Parallel(1, 4, "switch", 450e9, expert=8, overlap=2, prefill=1)
    assert s.policy.reserve and s.speculative == Speculative("llama-3-8b", 3, 0.6)
    assert (s.overheads.kernel_s, s.overheads.exchange_s, s.overheads.step_s) == pytest.approx((5e-6, 1e-5, 1e-3))
    assert s.overheads.grouped_attention == 0.8
