"""LLM serving from scenario to result: costs, placement, arrivals, files, commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from accelsim.arch.loader import load_spec
from accelsim.cli.app import app
from accelsim.errors import BadInput, DoesNotFit, SpecError
from accelsim.serving.llm.arrivals import Lengths, PoissonRequests, TraceRequests, read_trace
from accelsim.serving.llm.costs import Fragment, StepCost, StepCosts
from accelsim.serving.llm.fragments import _simulated
from accelsim.serving.llm.page import serving_html
from accelsim.serving.llm.placement import place
from accelsim.serving.llm.result import ServingResult, spread
from accelsim.serving.llm.run import simulate_serving
from accelsim.serving.llm.scenario import Cache, LlmScenario, Lower, Objectives, Parallel
from accelsim.serving.llm.scenario_file import load_scenario, scenario_of
from accelsim.serving.llm.state import Policy, Shape, Tokens

REQUESTS = PoissonRequests(24, 400.0, Lengths(60, 0.5, 200), Lengths(20, 0.5, 60))
SMALL = LlmScenario("gpt2", "a100_80gb", REQUESTS, mappers=("tile", "tile", "tile"), checks=1)
TIGHT = replace(
    SMALL, arrivals=replace(REQUESTS, per_second=40_000.0), cache=Cache(4, nbytes=4 * 36_864 * 120),
    policy=Policy(batch=16, preemption="swap"), swap=Lower("host", 10**9, 20e9),
)  # fmt: skip
"""120 blocks, four or so to a request at first: some requests have to leave."""


@cache
def served(scenario: LlmScenario) -> ServingResult:
    return simulate_serving(scenario)


# -- costs -----------------------------------------------------------------------------------------------------------


def affine(f: Fragment) -> StepCost:
    """Exact for every rule of interpolation: linear in tokens of weights, sequences and past."""
    if f.part != "attention":
        return StepCost(2.0 + 3 * f.tokens, 1.0 * f.tokens, 5.0)
    return StepCost(*(f.tokens * f.sequences * (1 + f.past) * k for k in (1.0, 2.0, 0.0)))


@pytest.mark.parametrize(
    "decodes, past, chunk", [(5, 7, (9, 100)), (1, 0, (1, 0)), (256, 4096, (777, 70)), (3, 1, (8, 1))]
)
def test_interpolation_is_exact_where_costs_follow_its_rules(decodes: int, past: int, chunk: tuple[int, int]) -> None:
    costs, (tokens, before) = StepCosts(affine), chunk
    cost = costs.of(Shape(decodes, decodes * (past + 1), (chunk,), decodes))
    attention = decodes * (1 + past) + tokens * (1 + before)
    assert cost.seconds == pytest.approx(4 + 3 * (decodes + tokens) + 3 * decodes + attention)
    assert cost.joules == pytest.approx(2 * decodes + tokens + 2 * attention)
    assert cost.nbytes == pytest.approx(10)


def test_fragments_are_simulated_once_each_whatever_the_context() -> None:
    asked: list[Fragment] = []

    def simulate(fragment: Fragment) -> StepCost:
        asked.append(fragment)
        return affine(fragment)

    costs = StepCosts(simulate)
    for context in (999_000, 1_000_000, 1_000_001):
        costs.of(Shape(3, 3 * context, (), 3))
    assert len(asked) == len(set(asked)) == len(costs.known) == 8
    assert max(f.past for f in asked) == 64 * 4**7


def test_a_million_tokens_cost_as_many_fragments_as_a_thousand() -> None:
    results = [served(replace(SMALL, model="llama-2-7b", checks=0, cache=Cache(16, 1), policy=Policy(batch=4),
                              arrivals=TraceRequests(((0.0, Tokens(prompt, 2)),)))) for prompt in (8_192, 131_072)]
    assert results[1].requests.ttft_s[0] > 16 * results[0].requests.ttft_s[0]
    assert results[1].fragments < 2 * results[0].fragments


# -- whole scenarios -------------------------------------------------------------------------------------------------


def test_every_request_gets_its_tokens_and_figures_hang_together() -> None:
    result = served(SMALL)
    told = result.to_json()
    wants = [r.wants for r in REQUESTS.requests(0)]
    assert told["output_tokens"] == sum(w.output for w in wants if isinstance(w, Tokens))
    r = result.requests
    assert (r.ttft_s > 0).all() and (r.finish_s >= r.first_token_s).all() and (r.tpot_s >= 0).all()
    assert told["throughput_tokens_per_s"] == pytest.approx(told["output_tokens"] / told["seconds"])
    assert 0 < told["kv"]["occupancy_mean"] < told["kv"]["occupancy_peak"] <= 1
    assert told["energy_per_token_J"] * told["output_tokens"] == pytest.approx(told["energy_J"])
    assert told["interpolation"]["max_abs_error"] < 0.1
    assert json.loads(json.dumps(told)) == told
    prefilled = int(result.steps.tokens.sum() - result.steps.decodes.sum())
    assert prefilled == told["prompt_tokens"]
    assert int(result.steps.decodes.sum()) == told["output_tokens"] - told["requests"]


def test_blocks_in_use_count_for_the_time_of_their_steps_and_over_all_replicas() -> None:
    def occupancy(wait_s: float, data: int = 1) -> tuple[float, float]:
        arrivals = TraceRequests(tuple((at, Tokens(60, 20)) for at in (0.0, wait_s)))
        result = served(replace(SMALL, arrivals=arrivals, checks=0, parallel=Parallel(data=data, bandwidth=1e9),
                                cache=Cache(80, nbytes=80 * 36_864 * 256)))  # fmt: skip
        in_use, busy = result.occupancy[0], (result.requests.finish_s - result.requests.arrival_s).sum()
        assert result.occupancy[1] == pytest.approx(1 / 256)  # of a block each, one request at a time
        assert in_use == pytest.approx(busy / result.seconds / 256 / data, rel=1e-3)
        return result.occupancy

    assert occupancy(10.0)[0] == pytest.approx(10 * occupancy(100.0)[0], rel=0.01)
    assert occupancy(10.0)[0] == pytest.approx(2 * occupancy(10.0, 2)[0])


def test_equal_seeds_give_equal_results_and_others_do_not() -> None:
    again = simulate_serving(SMALL).to_json()
    _simulated.cache_clear()
    assert simulate_serving(replace(SMALL, checks=1)).to_json() == again
    assert again == served(SMALL).to_json()
    assert simulate_serving(replace(SMALL, seed=1, checks=0)).to_json()["ttft_s"] != again["ttft_s"]


def test_objectives_are_attained_by_those_within_both() -> None:
    ttft = float(np.median(served(SMALL).requests.ttft_s))
    result = served(replace(SMALL, objectives=Objectives(ttft, None), checks=0))
    assert result.attainment == pytest.approx(0.5, abs=0.05)
    assert served(replace(SMALL, objectives=Objectives(ttft, 0.0), checks=0)).attainment < 0.1


@pytest.mark.parametrize("kind", ["continuous", "chunked"])
def test_swapped_and_recomputed_requests_get_their_tokens_too(kind: str) -> None:
    policy = Policy(kind, 16, 64)  # type: ignore[arg-type]
    for preemption in ("swap", "recompute"):
        swap = TIGHT.swap if preemption == "swap" else None
        result = served(replace(TIGHT, policy=replace(policy, preemption=preemption), swap=swap, checks=0))
        assert result.preemptions[preemption] > 0
        assert (result.swapped_bytes > 0) == (preemption == "swap")
        assert result.output_tokens == served(SMALL).output_tokens


def test_a_slower_way_to_the_lower_tier_slows_serving() -> None:
    slow = replace(TIGHT, swap=Lower("host", 10**9, 1e9), checks=0)
    assert served(slow).seconds > served(replace(TIGHT, checks=0)).seconds


def test_replicas_share_the_requests() -> None:
    pair = served(replace(SMALL, parallel=Parallel(data=2), checks=0))
    assert set(pair.steps.replica) == {0, 1}
    assert pair.requests.ttft_s.mean() < served(SMALL).requests.ttft_s.mean()


def test_sockets_that_share_layers_wait_for_their_network() -> None:
    times = [served(replace(SMALL, parallel=Parallel(4, 1, "switch", bandwidth, 1e-6), checks=0)).seconds
             for bandwidth in (1e8, 300e9)]  # fmt: skip
    assert times[0] > times[1]


def test_weights_that_spill_are_read_from_the_farther_tier() -> None:
    arrivals = TraceRequests(((0.0, Tokens(64, 4)),))
    base = LlmScenario("llama-2-7b", "sn40l", arrivals, mappers=("tile", "tile", "tile"), checks=0,
                       policy=Policy(batch=4), cache=Cache(16, nbytes=10**9))  # fmt: skip
    spilled = replace(base, values=(("memories.hbm.capacity", "8 GiB"),))
    slow, fast = served(spilled), served(base)
    assert slow.placement.spilled_bytes > 0 == fast.placement.spilled_bytes
    assert slow.requests.tpot_s[0] > 3 * fast.requests.tpot_s[0]


# -- bad input -------------------------------------------------------------------------------------------------------


def test_weights_without_a_place_are_told_with_tier_and_bytes() -> None:
    with pytest.raises(DoesNotFit, match=r"memory hbm: a socket's share of the weights has 137,\S+ bytes .* too many"):
        simulate_serving(replace(SMALL, model="llama-2-70b"))
    with pytest.raises(DoesNotFit, match=r"ddr has room for them if `kv.memory` says how much of hbm"):
        simulate_serving(replace(SMALL, model="llama-2-70b", machine="sn40l"))
    arch = load_spec("a100_80gb").build()
    with pytest.raises(DoesNotFit, match="40,000,000,000 bytes of keys and values, and 8,000,000,000"):
        place(arch, 1, 1, share=0.1, kv_bytes=40 * 10**9)
    assert place(arch, 10**10, 1).kv_bytes == 72 * 10**9 - 10**10


BAD: tuple[tuple[Callable[[], LlmScenario], type[Exception], str], ...] = (
    (lambda: replace(SMALL, parallel=Parallel(5, 1, "switch", 1e9)), BadInput, "does not divide 12 heads"),
    (lambda: replace(SMALL, parallel=Parallel(4)), BadInput, "need the `bandwidth`"),
    (lambda: replace(SMALL, policy=Policy(batch=10**6, step_tokens=10**6)), DoesNotFit, "a batch of 1000000 requests"),
    (lambda: replace(SMALL, arrivals=TraceRequests(((0.0, Tokens(1000, 100)),))), BadInput, "exceed the 1024 learned"),
    (lambda: replace(SMALL, policy=Policy(preemption="swap")), BadInput, "needs `swap`"),
    (lambda: replace(SMALL, policy=Policy(preemption="swap"), swap="ddr"), BadInput, "no memory `ddr` behind hbm"),
    (lambda: replace(SMALL, swap="ddr"), BadInput, "nothing is swapped where preemption is recompute"),
    (lambda: replace(SMALL, policy=Policy("static", preemption="swap"), swap="ddr"), BadInput, "leaves a static batch"),
    (lambda: replace(SMALL, parallel=Parallel(10**9, 1, "switch", 1e9)), BadInput, "1,000,000,000 sockets in all"),
    (lambda: replace(SMALL, model="gpt22"), BadInput, "no model `gpt22` .did you mean 'gpt2'"),
    (lambda: replace(SMALL, model="bert-base"), BadInput, "decoders of text"),
    (lambda: replace(SMALL, arrivals=PoissonRequests(0, 1.0, Lengths(1), Lengths(1))), BadInput, "all at least 1"),
)


@pytest.mark.parametrize("make, error, words", BAD, ids=[words[:24] for _, _, words in BAD])
def test_bad_scenarios_are_named(make: Callable[[], LlmScenario], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        simulate_serving(make())


WRONG = (
    ("parallel: {tensor: 5}", "parallel:5: parallel: several sockets a replica need the `bandwidth`"),
    ("parallel:\n  data: 1\n  tensor: 5\n  network: {bandwidth: 1 GB/s}", "tensor:7: parallel.tensor: .*not divide 12"),
    ("parallel: {expert: 2, network: {bandwidth: 1 GB/s}}", "expert:5: parallel.expert: .*no experts"),
    ("parallel: {pipeline: 5, network: {bandwidth: 1 GB/s}}", "pipeline:5: parallel.pipeline: .*not divide 12 layers"),
    ("parallel: {data: 2, prefill: 2, network: {bandwidth: 1 GB/s}}", "parallel:5: parallel: .*none decodes"),
    ("policy: {batch: 8, step_tokens: 4}", "policy:5: policy: a batch of 8 in steps of 4"),
    ("policy: {preemption: swap}", "swap:5: policy.preemption: swap needs `swap`"),
    ("swap: ddr", "swap:5: swap: nothing is swapped"),
    ("policy: {preemption: swap}\nswap: ddr", "swap:6: swap: .*no memory `ddr`"),
    ("speculative: {model: gpt22}", "speculative:5: speculative.model: no model `gpt22`"),
    ("set: {memories.hbm.bandwith: 1 GB/s}", "set:5: set: .*no value at `memories.hbm.bandwith`"),
    ("set: {memories.hbm.bandwidth: 1 GB}", "set:5: set: .*memories.hbm.bandwidth: `GB` is not a unit of bandwidth"),
    ("slo: {ttft: 1 s}", ":4: arrivals: request 0: 2000 \\+ 8 tokens exceed the 1024 learned positions"),
)


@pytest.mark.parametrize("text, words", WRONG, ids=[text for text, _ in WRONG])
def test_what_does_not_go_together_is_told_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    poisson = f"{{requests: 1, per_second: 5, prompt: {2000 if 'positions' in words else 20}, output: 8}}"
    file.write_text(f"# of four lines\nmodel: gpt2\nmachine: a100_80gb\narrivals: {{poisson: {poisson}}}\n{text}\n")
    ran = CliRunner().invoke(app, ["serve", str(file)])
    assert ran.exit_code == 2
    assert re.match(f"error: {re.escape(str(file))}:{words.partition(':')[2]}", ran.output), ran.output


@pytest.mark.parametrize("model, machine, words", [
    ("gpt22", "a100_80gb", "2: model: no model `gpt22`"), ("gpt2", "a100", "3: machine: .*a100"),
])  # fmt: skip
def test_names_that_nothing_has_are_told_with_their_line(model: str, machine: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(TEXT.replace("gpt2", model).replace("a100_80gb", machine))
    ran = CliRunner().invoke(app, ["serve", str(file)])
    assert ran.exit_code == 2
    assert re.match(f"error: {re.escape(str(file))}:{words}", ran.output), ran.output


@pytest.mark.parametrize("trace, words", [
    ("{file: t.csv}", "must be a name"), ("t.csv", "cannot read .*t.csv: No such file"), ("''", "cannot read"),
    (".", "cannot read .*: Is a directory"),
])  # fmt: skip
def test_a_trace_that_cannot_be_read_is_told_with_its_line(trace: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"model: gpt2\nmachine: a100_80gb\narrivals:\n  trace: {trace}\n")
    ran = CliRunner().invoke(app, ["serve", str(file)])
    assert ran.exit_code == 2
    assert re.match(f"error: {re.escape(str(file))}:4: arrivals.trace: {words}", ran.output), ran.output


def test_rows_of_a_trace_that_are_wrong_are_named_and_the_others_kept(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("id,when,prompt_tokens,output_tokens\n1,0.5,10,20\n2,soon,10,20\n3,0.25,8,4\n4,1,0,4\n5,1\n\n6,-1,2,2\n"
                    "7,1,2.5,2\n8,nan,1,1\n")  # fmt: skip
    trace = read_trace(file, {"arrival_s": "when"})
    assert [r.wants for r in trace.requests(0)] == [Tokens(8, 4), Tokens(10, 20)]
    told = [str(p) for p in trace.problems]
    assert [t.split(":")[1] for t in told] == ["3", "5", "6", "8", "9", "10"]
    assert "arrival_s is 'soon', no number" in told[0] and "prompt_tokens is 0" in told[1]
    with pytest.raises(BadInput, match="no column 'arrival_s'"):
        read_trace(file)
    file.write_text("arrival_s,prompt_tokens,output_tokens\nx,1,1\n")
    with pytest.raises(BadInput, match=r"no row with an arrival.*'x', no number"):
        read_trace(file)


def test_poisson_requests_come_at_their_rate_and_length() -> None:
    many = PoissonRequests(20_000, 50.0, Lengths(300, 0.8), Lengths(40)).requests(3)
    assert many[-1].arrival / 1e9 == pytest.approx(20_000 / 50, rel=0.03)
    prompts = [r.wants.prompt for r in many if isinstance(r.wants, Tokens)]
    assert np.mean(prompts) == pytest.approx(300, rel=0.03) and {r.wants[1] for r in many} == {40}  # type: ignore[index]


TEXT = """
model: gpt2
machine: a100_80gb
parallel: {tensor: 4, network: {bandwidth: 300 GB/s, latency: 2 us, topology: ring}}
arrivals: {poisson: {requests: 12, per_second: 5, prompt: {mean: 40, sigma: 0.5}, output: 8}}
policy: {kind: chunked, batch: 8, step_tokens: 64}
kv: {block: 8, memory: 1 GiB}
slo: {ttft: 200 ms}
mappers: {prefill: tile}
"""


def test_a_scenario_file_says_what_it_says() -> None:
    assert scenario_of(TEXT) == LlmScenario(
        "gpt2", "a100_80gb", PoissonRequests(12, 5.0, Lengths(40, 0.5), Lengths(8)),
        parallel=Parallel(4, 1, "ring", 300e9, 2e-6), policy=Policy("chunked", 8, 64), cache=Cache(8, nbytes=2**30),
        objectives=Objectives(0.2), mappers=("tile", "tile", "tile"),
    )  # fmt: skip


def test_all_that_is_wrong_in_a_scenario_file_is_told_with_its_line() -> None:
    text = TEXT.replace("chunked", "chunky").replace("300 GB/s", "300 GB").replace("slo", "sla").replace("5,", "-5,")
    with pytest.raises(SpecError) as caught:
        scenario_of(text, "bad.yaml")
    told = str(caught.value)
    for words in ("bad.yaml:6: policy.kind: no `chunky`", "bad.yaml:4: parallel.network.bandwidth", "unknown key 'sla'",
                  "bad.yaml:5: arrivals.poisson.per_second"):  # fmt: skip
        assert words in told


def test_widths_that_no_unit_has_are_refused() -> None:
    assert scenario_of(TEXT.replace("block: 8", "bits: 64") + "bits: 1\n").cache.bits == 64
    with pytest.raises(SpecError) as caught:
        scenario_of(TEXT.replace("block: 8", "bits: 65") + "bits: 1000\n", "bad.yaml")
    assert "bad.yaml:7: kv.bits: `65` is not a whole number from 1 to 64" in str(caught.value)
    assert "bad.yaml:10: bits: `1000` is not a whole number from 1 to 64" in str(caught.value)


def test_more_requests_than_can_be_drawn_are_refused() -> None:
    with pytest.raises(BadInput, match="at most 10,000,000"):
        replace(REQUESTS, count=10**11).requests(0)
    with pytest.raises(SpecError, match=r"bad.yaml:5: arrivals.poisson.requests: .* from 1 to 10000000"):
        scenario_of(TEXT.replace("requests: 12,", "requests: 100000000000,"), "bad.yaml")


def test_spreads() -> None:
    assert spread(np.arange(101.0)) == {"mean": 50, "p50": 50, "p95": 95, "p99": 99, "max": 100}


def test_the_command_prints_a_report_a_page_and_json(tmp_path: Path) -> None:
    file, page = tmp_path / "small.yaml", tmp_path / "small.html"
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,30,4\n0.1,x,4\n0.2,9,2\n")
    file.write_text("model: gpt2\nmachine: a100_80gb\narrivals: {trace: t.csv}\nmappers: {prefill: tile}\nchecks: 1\n")
    assert load_scenario(file).name == "small"
    ran = CliRunner().invoke(app, ["serve", str(file), "--html", str(page)])
    assert ran.exit_code == 0, ran.output
    assert "2 requests, 39 + 6 tokens" in ran.output and "t.csv:3: prompt_tokens is 'x', no number" in ran.output
    assert "time to first token" in ran.output and "<html" in page.read_text()
    told = json.loads(CliRunner().invoke(app, ["serve", str(file), "--json", "--seed", "3"]).stdout)
    assert told["requests"] == 2 and told["seed"] == 3 and len(told["left_out"]) == 1
    assert CliRunner().invoke(app, ["serve", str(tmp_path / "none.yaml")]).exit_code == 2
    file.write_text(file.read_text().replace("gpt2", "llama-2-70b"))
    assert CliRunner().invoke(app, ["serve", str(file)]).exit_code == 3


def test_a_page_has_the_left_out_rows() -> None:
    result = served(SMALL)
    assert "Left out" not in serving_html(result)
