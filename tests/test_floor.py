"""The tile mapper's floor: never above its Mappings, never below the machine bound; a closed form of each part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import array_machine, gemm

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture, loads_architecture
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.mapping.machine_bound import machine_bound
from accelsim.simulation import load_floor, simulate
from accelsim.workloads import load_model


def machine(
    rows: int, cols: int, kib: int, bandwidth: int, accumulators: int, overlap: str, flows: str
) -> Architecture:
    return loads_architecture(
        f"""
name: small
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 4 GiB, bandwidth: {bandwidth} B/cycle, standard: LPDDR4}}
  sram: {{kind: buffer, parent: dram, capacity: {kib} KiB, read_bandwidth: 32 B/cycle, write_bandwidth: 16 B/cycle}}
units:
  array: {{kind: systolic, memory: sram, rows: {rows}, cols: {cols}, dataflows: {flows}, overlap: {overlap},
           accumulators: {accumulators} KiB}}
  vector: {{kind: vector, memory: sram, lanes: 8}}
"""
    )


def network(channels: int, side: int, stride: int, depthwise: bool, tokens: int) -> Workload:
    """A convolution, perhaps a depthwise one, a branch that is added, and a product over a softmax."""
    b = WorkloadBuilder("network", bits=8)
    x = b.input("x", (1, 4, side, side))
    first = b.relu(b.conv(x, b.weight("w0", (channels, 4, 3, 3)), pads=[1] * 4, strides=[stride, stride]))
    groups = channels if depthwise else 1
    inner = b.weight("w1", (channels, channels // groups, 3, 3))
    second = b.elementwise("add", first, b.conv(first, inner, pads=[1] * 4, groups=groups))
    b.output(second)
    q, k = b.input("q", (tokens, 32)), b.weight("k", (32, 48))
    b.output(b.softmax(b.matmul(q, k)))
    return b.build()


FLOWS = ("[os]", "[ws]", "[is]", "[os, ws, is]")


@settings(max_examples=25)
@given(
    st.builds(network, st.integers(1, 24), st.integers(3, 20), st.integers(1, 2), st.booleans(), st.integers(1, 40)),
    st.builds(machine, st.integers(1, 16), st.integers(1, 16), st.sampled_from((4, 8, 16, 64)), st.integers(1, 64),
              st.integers(1, 8), st.sampled_from(("true", "false", "[skew]")), st.sampled_from(FLOWS)),
    st.sampled_from(("latency", "energy", "edp")),
)  # fmt: skip
def test_no_mapping_comes_below_it(workload: Workload, arch: Architecture, objective: str) -> None:
    floor = load_floor("tile")
    assert floor is not None
    cycles, joules = floor(workload, arch)
    told: list[tuple[float, float]] = []
    report = simulate(arch, workload, mapper="tile", objective=objective, watch=lambda *least: told.append(least))
    assert told[0] == (cycles, joules)
    assert all(c <= report.cycles and j <= report.energy_dynamic_J * (1 + 1e-9) for c, j in told)
    assert cycles <= report.cycles
    assert joules <= report.energy_dynamic_J * (1 + 1e-12)
    bound = machine_bound(workload, arch)
    assert cycles >= bound.cycles
    assert joules >= bound.energy_J


@pytest.mark.parametrize("preset, model, options", [
    ("edge_npu", "mobilenet_v2", {"bits": 8}),
    ("edge_npu", "gpt2", {"phase": "decode", "context": 256, "bits": 8}),
    ("tpu_like", "resnet18", {"bits": 8}),
    ("eyeriss", "alexnet", {"bits": 16}),
])  # fmt: skip
def test_of_presets(preset: str, model: str, options: dict[str, Any]) -> None:
    arch, workload = load_architecture(preset), load_model(model, **options)
    floor = load_floor("tile")
    assert floor is not None
    cycles, joules = floor(workload, arch)
    report = simulate(arch, workload, mapper="tile")
    assert machine_bound(workload, arch).cycles <= cycles <= report.cycles
    assert joules <= report.energy_dynamic_J


def test_it_rises_to_what_the_mapper_expects() -> None:
    arch, workload = load_architecture("edge_npu"), load_model("mobilenet_v2", bits=8)
    told: list[tuple[float, float]] = []
    report = simulate(arch, workload, watch=lambda *least: told.append(least))
    assert told == sorted(told)
    assert 0.95 * report.cycles < told[-1][0] <= report.cycles
    assert told[-1][1] == pytest.approx(report.energy_dynamic_J, rel=0.02)
    assert told[-1][1] <= report.energy_dynamic_J


class Enough(Exception):
    pass


def test_whoever_watches_ends_the_search() -> None:
    def watch(cycles: float, joules: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        simulate(array_machine(8, 8), gemm(33, 17, 50), watch=watch)


def test_a_product_takes_the_folds_of_its_array() -> None:
    arch, workload = array_machine(8, 8, dataflows="[os]"), gemm(33, 17, 50)
    floor = load_floor("tile")
    assert floor is not None
    cycles, _ = floor(workload, arch)
    assert cycles == pytest.approx(5 * 3 * (50 + 8 + 8 - 2))


def test_einsums_come_one_after_the_other_though_their_units_differ() -> None:
    b = WorkloadBuilder("two", bits=8)
    b.output(b.relu(b.matmul(b.input("a", (64, 64)), b.weight("b", (64, 64)))))
    workload = b.build()
    arch = array_machine(64, 64, dataflows="[os]")
    floor = load_floor("tile")
    assert floor is not None
    assert floor(workload, arch)[0] == pytest.approx(64 + 64 + 64 - 2 + 64 * 64 / 16)


def test_an_activation_that_does_not_fit_goes_off_chip_and_back() -> None:
    b = WorkloadBuilder("wide", bits=8)
    b.output(b.relu(b.relu(b.input("a", (64, 1024)))))
    workload = b.build()
    floor = load_floor("tile")
    assert floor is not None
    short, enough = (array_machine(capacity=c, bandwidth="16 B/cycle") for c in ("85 KiB", "86 KiB"))
    passing = floor(workload, short)[1] - machine_bound(workload, short).energy_J
    both = [short.memories[name].action_energy() for name in ("dram", "sram")]
    assert passing == pytest.approx(65536 * sum(e["read"] + e["write"] for e in both))
    assert floor(workload, enough)[1] == pytest.approx(machine_bound(workload, enough).energy_J)


def test_a_mapper_without_floor_has_none() -> None:
    assert load_floor("ilp") is None
