"""LLM serving over stages, experts and parts that overlap: tokens are conserved, times follow their closed forms."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from accelsim.arch.network import full
from accelsim.errors import BadInput
from accelsim.lowering.collectives import collective_seconds
from accelsim.serving.llm.arrivals import Lengths, PoissonRequests, TraceRequests
from accelsim.serving.llm.costs import Overheads
from accelsim.serving.llm.deployment import deploy
from accelsim.serving.llm.parallel import dispatches, expert_parallel, overlapped_seconds, parts_of, stages
from accelsim.serving.llm.result import ServingResult
from accelsim.serving.llm.run import simulate_serving
from accelsim.serving.llm.scenario import LlmScenario, Parallel
from accelsim.serving.llm.state import Policy, Shape, Tokens
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.transformer import Experts

REQUESTS = PoissonRequests(16, 2000.0, Lengths(40, 0.5, 100), Lengths(12, 0.5, 30))
SMALL = LlmScenario("gpt2", "a100_80gb", REQUESTS, mappers=("tile", "tile", "tile"), checks=0)


@cache
def served(parallel: Parallel, arrivals: PoissonRequests | TraceRequests = REQUESTS) -> ServingResult:
    return simulate_serving(replace(SMALL, parallel=parallel, arrivals=arrivals))


# -- exchanges that overlap ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compute, exchange", [(3e-6, 1e-6), (1e-6, 3e-6), (2e-6, 2e-6)])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_hide_their_exchanges(compute: float, exchange: float, parts: int) -> None:
    """One part waits for all; of several the slower of both resources is never idle but for one turn of the other."""
    times = 5
    found = overlapped_seconds(compute, exchange, times, parts)
    if parts == 1:
        assert found == pytest.approx(times * (compute + exchange))
    else:
        assert found == pytest.approx(times * parts * max(compute, exchange) + min(compute, exchange), rel=1e-6)


def test_steps_are_cut_in_powers_of_two() -> None:
    assert [list(parts_of(most, tokens)) for most, tokens in ((1, 99), (4, 99), (8, 5))] == [[], [2, 4], [2, 4]]


def test_overlap_is_taken_where_it_pays() -> None:
    """Of a prefill with slow links parts are faster; of one decode, which cannot be cut, nothing changes."""
    slow = Parallel(2, 1, "full", 50e9)
    apart = deploy(replace(SMALL, parallel=slow)).costs
    over = deploy(replace(SMALL, parallel=replace(slow, overlap=4))).costs
    assert over.of(Shape(0, 0, ((512, 0),), 0)).seconds < 0.9 * apart.of(Shape(0, 0, ((512, 0),), 0)).seconds
    assert over.of(Shape(1, 9, (), 1)) == apart.of(Shape(1, 9, (), 1))


# -- experts ---------------------------------------------------------------------------------------------------------


def test_experts_are_shared_and_tokens_sent_to_them() -> None:
    model = load_config("mixtral-8x7b").spec
    share = expert_parallel(model, 4)
    assert [layer.mlp.count for layer in share.layers if isinstance(layer.mlp, Experts)] == [2] * 32
    (there_and_back,) = dispatches(model, 4)
    assert there_and_back == (2 * 4096, 2 * 32)
    with pytest.raises(BadInput, match="3 sockets, and 8 experts"):
        expert_parallel(model, 3)
    with pytest.raises(BadInput, match="no experts"):
        expert_parallel(load_config("gpt2").spec, 2)


def test_all_to_all_sends_every_socket_its_part() -> None:
    """On cables between all sockets every one carries a part, all at once."""
    assert collective_seconds(full(4, 1e9), "all_to_all", 4_000_000) == pytest.approx(1e-3, rel=1e-3)


def test_an_expert_parallel_step_is_that_of_a_socket_with_its_exchanges() -> None:
    scenario = LlmScenario("mixtral-8x7b", "h100_sxm", REQUESTS, parallel=Parallel(
        bandwidth=100e9, topology="full", expert=8))  # fmt: skip
    d = deploy(scenario)
    cost = d.costs.stages[0].dense(64)
    alone = deploy(replace(scenario, parallel=replace(scenario.parallel, bandwidth=1e15))).costs.stages[0].dense(64)
    sent = collective_seconds(full(8, 100e9), "all_to_all", 2 * 4096 * 2 * 64 // 8)
    assert cost.exchanges == 64
    assert cost.seconds - alone.seconds == pytest.approx(64 * sent, rel=1e-2)
    assert d.placement.weight_bytes < 93e9 / 4  # an eighth of the experts, and all else
    assert d.driver.sockets == 8 and d.driver.blocks % 8 == 0


def test_layers_or_experts_are_shared_not_both() -> None:
    with pytest.raises(BadInput, match="only one of both"):
        deploy(replace(SMALL, model="mixtral-8x7b", parallel=Parallel(2, bandwidth=1e9, expert=2)))


# -- pipelines -------------------------------------------------------------------------------------------------------

TWO = Parallel(1, 1, "switch", 100e9, 1e-6, pipeline=2)


@pytest.mark.parametrize("parallel", [TWO, replace(TWO, data=2), replace(TWO, pipeline=3, tensor=2)])
def test_every_token_passes_a_pipeline_once(parallel: Parallel) -> None:
    found = served(parallel)
    wants = [r.wants for r in REQUESTS.requests(0)]
    assert found.requests.output_tokens.tolist() == [w.output for w in wants if isinstance(w, Tokens)]
    assert found.steps.tokens.sum() == sum(sum(w) - 1 for w in wants if isinstance(w, Tokens))
    assert set(found.steps.replica.tolist()) <= set(range(parallel.batches))
    assert (found.requests.ttft_s > 0).all()


def test_a_request_alone_passes_stage_after_stage() -> None:
    one = TraceRequests(((0.0, Tokens(64, 2)),))
    d = deploy(replace(SMALL, parallel=TWO))
    prefill, decode = (d.costs.of(s).seconds for s in (Shape(0, 0, ((64, 0),), 1), Shape(1, 65, (), 1)))
    sent = sum(n * 768 * 2 / 100e9 + 1e-6 for n in (64, 1))
    assert served(TWO, one).seconds == pytest.approx(prefill + decode + sent, rel=1e-3)


def test_batches_take_turns_on_the_stages() -> None:
    """Two batches in two stages take less than two after each other: one computes where the other has been."""
    burst = TraceRequests(((0.0, Tokens(64, 40)),) * 2)
    both, alone = served(TWO, burst), served(TWO, TraceRequests(burst.listed[:1]))
    assert alone.seconds <= both.seconds < 1.3 * alone.seconds
    assert np.array_equal(served(TWO, burst).requests.finish_s, both.requests.finish_s)


def test_stages_are_equal() -> None:
    model = load_config("gpt2").spec
    assert sum((s.layers for s in stages(model, 4)), ()) == model.layers
    with pytest.raises(BadInput, match="5 stages does not divide 12 layers"):
        stages(model, 5)
    with pytest.raises(BadInput, match="cannot be swapped"):
        deploy(replace(SMALL, parallel=TWO, policy=Policy(preemption="swap")))


# -- overheads -------------------------------------------------------------------------------------------------------


def test_overheads_are_those_of_kernels_exchanges_and_steps() -> None:
    """GPT-2 has 10 kernels a layer: norm, q k v, cache, attention, out, norm, up, activation, down, sum; and three
    beside them: embedding, last norm, logits. It has two exchanges a layer, and two more."""
    shape, two = Shape(1, 9, (), 1), Parallel(2, 1, "full", 100e9)

    def cost(overheads: Overheads) -> float:
        return deploy(replace(SMALL, parallel=two, overheads=overheads)).costs.of(shape).seconds

    bare = cost(Overheads())
    assert cost(Overheads(step_s=1e-3)) - bare == pytest.approx(1e-3)
    assert cost(Overheads(sequence_s=1e-3)) - bare == pytest.approx(1e-3)
    assert cost(Overheads(exchange_s=1e-6)) - bare == pytest.approx(26e-6)
    assert cost(Overheads(kernel_s=1e-6)) - bare == pytest.approx(123e-6)
    with pytest.raises(BadInput, match="overheads"):
        Overheads(kernel_s=-1.0)
