"""The constants come from the rows marked so alone, and a wrong machine shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from accelsim.arch.loader import RawSpec, load_spec
from accelsim.experiments.llm_validation import experiment, serving, serving_rows
from accelsim.experiments.llm_validation.all_reduces import NETWORKS, AllReduce, all_reduces, constants
from accelsim.experiments.llm_validation.experiment import SETS, WANTED, fit, held, records
from accelsim.experiments.llm_validation.gpt3_layer import CONTEXT, HIDDEN, PROMPT, SEQUENCES, SOCKETS, layer_parts
from accelsim.experiments.llm_validation.serving import DEVICES, Served, scenario_of, served
from accelsim.experiments.llm_validation.serving_rows import Flat
from accelsim.experiments.loader import data_path, table
from accelsim.serving.llm.costs import Overheads
from accelsim.serving.llm.run import simulate_serving
from accelsim.serving.llm.state import Tokens
from accelsim.study.calibrate import Constants, Errors, Predictor, Roofline

SET = "a100_llmcompass"


def machine(name: str) -> RawSpec:
    return load_spec(data_path("accelsim.experiments.llm_validation", SETS[name][0]))


def error_with(values: dict[str, str]) -> float:
    way = fit(SET, Predictor(machine(SET).with_values(values)))
    return Errors.of(way.errors(held(SET, "matmul"))).mean


def test_products_are_near_and_a_machine_with_too_little_is_not() -> None:
    assert error_with({}) < WANTED
    assert error_with({"units.sm.count": "54"}) > 2 * WANTED
    assert error_with({"memories.hbm.bandwidth": "400 GB/s"}) > 2 * WANTED


@pytest.mark.parametrize("name", SETS)
def test_both_regimes_are_fitted_and_split_as_the_readme_says(name: str) -> None:
    rows = records(name)
    found = fit(name, Roofline(machine(name))).found
    assert len(found.compute_bound) >= 4
    assert len(found.memory_bound) >= 2
    assert {r.operator for r in rows if r.measured.fit} == {"matmul"}


def test_h100_is_fitted_to_other_models_or_degrees_and_to_other_shapes() -> None:
    read = table("accelsim.experiments.llm_validation", "measured.csv")
    rows = [r for r in read if r["set"] == "h100_vidur" and r["operator"] == "matmul"]
    fitted, others = ([r for r in rows if r["use"] == use] for use in ("fit", "held"))
    assert (len(fitted), len(others)) == (57, 59)
    for keys in (("model", "tensor_parallel"), ("n", "k")):
        assert {tuple(r[k] for k in keys) for r in fitted}.isdisjoint(tuple(r[k] for k in keys) for r in others)
    added = [r for r in fitted if r["model"] == "internlm-20b"]
    assert {int(r["m"]) for r in added} == {2**i for i in range(3, 12, 2)}
    assert {r["tensor_parallel"] for r in added} == {"1", "4"}
    sizes = {(15360, 5120), (5120, 5120), (27648, 5120), (5120, 13824)}  # of the model's four products
    assert {_whole(r) for r in added} == sizes


def _whole(row: Mapping[str, str]) -> tuple[int, int]:
    """Columns and reduced size of the product that a row is a share of: columns of the model's width stay whole."""
    n, k, degree = (int(row[key]) for key in ("n", "k", "tensor_parallel"))
    return (n, k * degree) if n == 5120 else (n * degree, k)


def test_every_third_product_by_intensity_is_fitted() -> None:
    def intensity(m: int, n: int, k: int) -> tuple[float, int]:
        return m * n * k / (m * n + n * k + m * k), m * n * k

    shapes = [r.measured for r in records(SET) if r.operator == "matmul"]
    shapes.sort(key=lambda r: intensity(r.shape.m, r.shape.n, r.shape.k))
    assert [i for i, r in enumerate(shapes) if r.fit] == list(range(0, len(shapes), 3))


def test_all_reduces_give_their_constants_back() -> None:
    peaks = [1e-9, 1e-6, 1e-4, 1e-2]
    rows = [AllReduce(4, 1, p / 0.6 + 7e-6, True, "made", p) for p in peaks]
    assert constants(rows) == pytest.approx((0.6, 7e-6), rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_large_all_reduces_take_their_bytes_at_the_port(name: str) -> None:
    """Every socket sends and receives 2 (n - 1) / n of the bytes, at its port or over n - 1 equal cables."""
    row = max(all_reduces(name), key=lambda r: r.nbytes)
    n = row.sockets
    network = NETWORKS[name](n)
    port = sum(c.bandwidth for c in network.cables if c.src == 0)
    assert row.at_peak == pytest.approx(2 * (n - 1) / n * row.nbytes / port, rel=0.02)
    assert row.at_peak < row.seconds


def test_a_layer_reads_its_weights_and_the_cache_in_decode() -> None:
    for phase, keys in (("prefill", PROMPT), ("decode", CONTEXT)):
        parts = [p for p in layer_parts() if p.phase == phase]
        products = [(p.shape, p.count) for p in parts if p.shape is not None and p.shape.operator == "matmul"]
        assert sum(s.n * s.k * count for s, count in products if s.batch == 1) == 12 * HIDDEN**2 // SOCKETS
        cache = sum(s.batch * s.n * s.k * count for s, count in products if s.batch > 1)
        assert cache == 2 * SEQUENCES * keys * HIDDEN // SOCKETS
        tokens = SEQUENCES * (PROMPT if phase == "prefill" else 1)
        assert {s.m for s, _ in products if s.batch == 1} == {tokens}
        assert [(p.nbytes, p.count) for p in parts if p.shape is None] == [(tokens * HIDDEN * 2, 2)]
    assert sum(p.latency_ms for p in layer_parts() if p.phase == "decode") == pytest.approx(1.110897, abs=1e-5)


def test_one_model_on_one_and_two_sockets_is_fitted() -> None:
    fitted = {(r.device, r.software, r.model, r.sockets) for r in served() if r.fit}
    assert {(model, sockets) for _, _, model, sockets in fitted} == {("llama-3-8b", 1), ("llama-3-8b", 2)}
    assert {(device, software) for device, software, *_ in fitted} == {
        (device, software) for device in ("a100", "h100") for software in ("TensorRT-LLM", "vLLM")
    }
    assert len(served()) == 252
    assert {r.device for r in served()} == set(DEVICES)


@pytest.mark.parametrize("made", [Overheads(7e-6, 2e-5, grouped_attention=0.8), Overheads(5e-6, 3e-5, sequence_s=8e-5)])
def test_made_runs_give_their_constants_back(made: Overheads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two that may be the third, the one that the runs were made with."""

    def seconds(row: Served, constants: Constants, o: Overheads) -> float:
        steps = row.tokens.output
        per_step = 250 * o.kernel_s + 60 * row.sockets * o.exchange_s + row.batch * o.sequence_s
        attention = 1e-9 * row.batch * (row.tokens.prompt + 7 * row.sockets) ** 1.5 / o.grouped_attention
        return float(steps * (0.01 / row.sockets + per_step + attention))

    rows = [replace(r, seconds=seconds(r, Constants(), made)) for r in served()]
    monkeypatch.setattr(serving, "served", lambda: rows)
    monkeypatch.setattr(serving, "seconds_of", seconds)
    monkeypatch.setattr(serving, "constants_of", lambda device: Constants())
    found = serving.overheads_of.__wrapped__("h100", "vLLM")
    assert found.kernel_s == pytest.approx(made.kernel_s, rel=0.01)
    assert found.exchange_s == pytest.approx(made.exchange_s, rel=0.01)
    assert (found.sequence_s, found.grouped_attention) == pytest.approx(
        (made.sequence_s, made.grouped_attention), rel=0.01
    )


def test_errors_without_constants_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of operators, here by the roofline in place of both ways, and of serving runs."""
    flat = fit(SET, Roofline(machine(SET)))
    monkeypatch.setattr(experiment, "fitted", lambda name: (flat, flat))
    for rows, calibrated in ((experiment._uncalibrated, False), (experiment._calibrated, True)):
        e = Errors.of(flat.errors(held(SET, "softmax"), calibrated=calibrated))
        found = list(rows(SET, "softmax"))
        assert [r.accelsim for r in found] == [e.mean, e.median, e.p95, e.maximum] * 2
        assert [r.where.count("uncalibrated") for r in found] == [1 - calibrated] * 8
    monkeypatch.setattr(serving_rows, "bare_error", lambda row: -0.25 if row.batch > 1 else 0.25)
    shown = list(serving_rows.uncalibrated_rows())
    assert [r.accelsim for r in shown] == [0.25] * 24
    runs = [int(r.note.split()[0]) for r in shown[::4]]
    assert sum(runs) == sum(not r.fit for r in served())


RUN = Served("a100", "TensorRT-LLM", "llama-3-8b", 1, 16, Tokens(128, 128), 2.0, False, "made")
"""A run of the table, its time rounded."""


def seconds_with(overheads: Overheads, **values: str) -> float:
    scenario = scenario_of(RUN, Constants(0.75, 0.8), overheads)
    more = tuple((k.replace("__", "."), v) for k, v in values.items())
    return simulate_serving(replace(scenario, values=scenario.values + more)).seconds


def test_a_run_follows_its_machine_and_its_software() -> None:
    """A batch of 16 reads weights most of the time, and never more than its memory can bring."""
    base = seconds_with(Overheads())
    weights = 2 * 7.5e9 / (0.8 * 1555e9)
    assert 127 * weights < base < 1.4 * 127 * weights
    assert seconds_with(Overheads(kernel_s=5e-6)) > base + 127 * 32 * 8 * 5e-6
    assert seconds_with(Overheads(grouped_attention=0.5)) > base
    assert seconds_with(Overheads(), memories__hbm__bandwidth="900 GB/s") > 1.2 * base
    assert seconds_with(Overheads(), memories__hbm__bandwidth="3 TB/s") < 0.7 * base


def test_a_roofline_of_a_run_adds_its_steps_up() -> None:
    one = Flat(macs=1e9, weights=4e9, token_bytes=1e6, peak=1e13, bandwidth=1e12, at_once=8)
    row = replace(RUN, batch=8, tokens=Tokens(10, 3))
    by_hand = 8e-3 + sum((4e9 + 8 * (10 + i) * 1e6) / 1e12 for i in (1, 2))
    assert one.seconds(row, Constants()) == pytest.approx(by_hand)
    assert one.seconds(row, Constants(launch_s=1e-3)) == pytest.approx(by_hand + 3e-3)
    assert replace(one, at_once=4).seconds(row, Constants()) > 1.4 * by_hand
