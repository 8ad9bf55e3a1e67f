"""The whole path, from model and machine to Trace and Report, on real models and the machines that ship."""

from __future__ import annotations

from typing import Any

import pytest
from support.machines import array_machine, gemm

from accelsim import load_architecture, load_model, simulate
from accelsim.arch.architecture import Architecture
from accelsim.engine import reference
from accelsim.errors import BadInput
from accelsim.ir import Workload
from accelsim.mapping import dumps_mapping, loads_mapping
from accelsim.mapping.compulsory import compulsory_traffic
from accelsim.report import Report

# One GEMM of 64 x 48 by 48 x 40 in 16-bit words, in tiles of 32 x 40; A is cut with m, B stays whole.
BY_HAND = """
root:
  seq:
  - loop: {rank: m, tile: 32}
    body: {op: matmul, unit: array, variant: os}
workload: gemm
architecture: array_machine
stays:
- {tensor: A, memory: dram}
- {tensor: B, memory: dram}
- {tensor: matmul, memory: dram}
moves:
- {tensor: A, from: dram, to: sram, issue: "0", due: 0.body}
- {tensor: B, from: dram, to: sram, issue: "0", due: "0", buffers: 1}
- {tensor: matmul, from: sram, to: dram, issue: 0.body, due: "0", store: true}
"""

CASES = [
    ("edge_npu", "onnx:squeezenet", {"bits": 8}),
    ("tpu_like", "onnx:shufflenet", {"bits": 8}),
    ("tpu_like", "gpt2", {"seq": 64}),
    ("sn40l", "llama-3-8b", {"phase": "decode", "context": 256}),
]


def moved(report: Report, memory: str) -> int:
    return sum(report.traffic_bytes[memory].values())


def test_a_mapping_written_by_hand_runs() -> None:
    arch = array_machine(8, 8, bandwidth="16 GB/s")
    report = simulate(arch, gemm(64, 40, 48), mapping=loads_mapping(BY_HAND, "by_hand.yaml"))
    # A once in halves of 32·48 words, B once, the result once.
    assert report.traffic_bytes["dram"] == {"read": 2 * (64 * 48 + 48 * 40), "write": 2 * 64 * 40}
    # Two tiles of ceil(32/8)·ceil(40/8) folds of 48 + 8 + 8 - 2 cycles. Tokens at 16 bytes a tick: halves of A are
    # there after 192 and 384 ticks and B between them, or after them, at 432 or 624; the last store takes 160.
    array = 4 * 5 * 62
    assert report.trace.busy.tolist()[0] == 2 * array
    loads = (2 * 32 * 48 + 2 * 48 * 40) // 16
    assert report.trace.finish == loads + 2 * array + 2 * 32 * 40 // 16


@pytest.mark.parametrize(("machine", "model", "options"), CASES)
def test_saved_mapping_gives_the_same_trace(machine: str, model: str, options: dict[str, int]) -> None:
    arch, workload = load_architecture(machine), load_model(model, **options)  # type: ignore[arg-type]
    report = simulate(arch, workload)
    assert report.mapping is not None
    again = loads_mapping(dumps_mapping(report.mapping), "saved")
    assert again == report.mapping
    assert simulate(arch, workload, mapping=again).trace.differences(report.trace) == []


@pytest.mark.parametrize(("machine", "model", "options"), CASES)
def test_bounds_kernels_and_traffic(machine: str, model: str, options: dict[str, int]) -> None:
    arch, workload = load_architecture(machine), load_model(model, **options)  # type: ignore[arg-type]
    report = simulate(arch, workload)
    assert report.bounds.machine <= report.bounds.program * (1 + 1e-9)
    assert report.bounds.program <= report.cycles
    assert report.trace.differences(reference.run(report.trace.program)) == []
    compulsory = compulsory_traffic(workload)
    assert sum(moved(report, m.name) for m in arch.off_chip) >= compulsory.read_bytes + compulsory.write_bytes
    assert report.macs == workload.macs


def check_equal(first: Report, second: Report) -> None:
    assert first.mapping == second.mapping
    assert first.trace.differences(second.trace) == []


def test_equal_calls_give_equal_reports() -> None:
    arch, workload = load_architecture("edge_npu"), load_model("onnx:squeezenet", bits=8)
    check_equal(simulate(arch, workload), simulate(arch, workload))


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_each_objective_is_best_at_its_own_measure(objective: str) -> None:
    arch, workload = edge(), load_model("onnx:squeezenet", bits=8)
    reports = {o: simulate(arch, workload, objective=o) for o in ("latency", "energy", "edp")}
    found = {o: measured(report, objective) for o, report in reports.items()}
    # Latency is estimated per Einsum and ties within 1 % go to traffic; energy is counted exactly, products in runs.
    assert found[objective] <= min(found.values()) * (1.03 if objective == "latency" else 1.0 + 1e-9)


def measured(report: Report, objective: str) -> float:
    seconds, joules = report.latency_s, report.energy_J
    return {"latency": seconds, "energy": joules, "edp": seconds * joules}[objective]


def edge() -> Architecture:
    return load_architecture("edge_npu")


def test_claim_is_near_what_the_simulation_finds() -> None:
    for machine, model, options in CASES:
        workload: Workload = load_model(model, **options)  # type: ignore[arg-type]
        report = simulate(load_architecture(machine), workload)
        assert report.mapping is not None
        claim = report.mapping.claim
        assert claim is not None
        assert claim.bound <= report.cycles
        assert 0.7 * report.cycles <= claim.value <= 1.3 * report.cycles


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (("edge_npu", "gpt2"), {}, "str is no Architecture .load_architecture makes one"),
        ((array_machine(), "gpt2"), {}, "str is no Workload .load_model makes one"),
        ((gemm(8, 8, 8), array_machine()), {}, "Workload is no Architecture"),
        ((array_machine(), gemm(8, 8, 8)), {"kernel": "fast"}, "no kernel 'fast'; there are compiled, reference"),
    ],
)
def test_names_and_unknown_kernels_are_refused(given: tuple[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        simulate(*given, **options)
