"""A trace of requests on vLLM: latencies from constants of products alone, nothing fitted to serving."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from ...arch.loader import load_spec
from ...serving.llm.arrivals import TraceRequests
from ...serving.llm.costs import Overheads
from ...serving.llm.result import ServingResult
from ...serving.llm.run import simulate_serving
from ...serving.llm.scenario import Cache, LlmScenario, Parallel
from ...serving.llm.state import Policy, Tokens
from ...study.calibrate import Calibration, Predictor, calibrate, variant_values
from ...study.operator_shapes import measured_of
from ..loader import Row, data_path, table

COUNT, PER_SECOND = 300, 10.0
BATCH, STEP_TOKENS, MEMORY_SHARE = 128, 2048, 0.92
"""Of the configuration that is published with the trace."""
PCIE = 35e9
"""Bytes per second between cards, one way: what all-reduces of NCCL reach between four cards on 16 lanes of PCIe 5
(64 GB/s) without NVLink, RTX 5090, github.com/NVIDIA/nccl/issues/1639."""
TOLERANCE = 0.12
LINKED = "missed: what two cards exchange over PCIe is measured on other cards, and only for long messages"
NOTE = "constants of 14 or 18 products, a kernel's overhead that of a product; the first 67 requests stand for all 300"


@cache
def products(device: str) -> Calibration:
    """Constants of a card, fitted to products of Llama-3.1-8B on it."""
    rows = [r for r in table(__package__ or "", "vllm_operators.csv") if r["set"] == device]
    measured = measured_of((("vllm_operators.csv", r) for r in rows), "vllm_operators.csv")
    return calibrate(measured, Predictor(load_spec(data_path(__package__ or "", f"{device}.yaml"))), leave_out=False)


def requests(seed: int = 0) -> TraceRequests:
    """The published requests over and over, at exponentially distributed intervals."""
    rows = table(__package__ or "", "sharegpt.csv")
    lengths = [Tokens(int(r["prompt_tokens"]), int(r["output_tokens"])) for r in rows]
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / PER_SECOND, COUNT))
    return TraceRequests(tuple((float(t), lengths[i % len(lengths)]) for i, t in enumerate(times)))


@cache
def run(device: str, model: str, sockets: int) -> ServingResult:
    """The trace on so many cards."""
    machine, constants = data_path(__package__ or "", f"{device}.yaml"), products(device).constants
    name = data_path(__package__ or "", model) if model.endswith(".json") else model
    values = tuple(variant_values(load_spec(machine), replace(constants, launch_s=0.0)).items())
    return simulate_serving(LlmScenario(
        name, machine, requests(), values, Parallel(sockets, 1, "full", PCIE), Policy("chunked", BATCH, STEP_TOKENS),
        Cache(memory_share=MEMORY_SHARE), overheads=Overheads(constants.launch_s, constants.launch_s), checks=0,
    ))  # fmt: skip


def trace_rows() -> Iterator[Row]:
    """Constants, then each published mean."""
    read = table(__package__ or "", "traces.csv")
    for device in dict.fromkeys(r["device"] for r in read):
        c, source = products(device).constants, read[0]["source"]
        for what, value, unit in (("compute efficiency", c.compute, "share"), ("memory efficiency", c.memory, "share"),
                                  ("launch overhead", c.launch_s * 1e6, "us")):  # fmt: skip
            yield Row(what, device, None, value, unit, None, source, "fitted to products of vLLM on the card")
    for r in read:
        found = run(r["device"], r["model"], int(r["sockets"])).requests
        seconds = {"ttft": found.ttft_s, "tpot": found.tpot_s, "latency": found.finish_s - found.arrival_s}
        where = f"{r['sockets']} x {r['device']}, vLLM, {r['model'].removesuffix('.json')}, 300 requests"
        mean_ms = float(seconds[r["quantity"]].mean()) * 1e3
        tolerance, note = (TOLERANCE, NOTE) if r["sockets"] == "1" else (None, LINKED)
        yield Row(f"mean {r['quantity']}", where, float(r["value_ms"]), mean_ms, "ms", tolerance, r["source"], note)
