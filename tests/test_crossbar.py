"""Crossbars against a walk over their arrays, what they refuse, and models on a machine of them."""

from __future__ import annotations

import json
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim
from support.einsums import at, conv, gemm, group_conv, run

from accelsim import load_model, simulate
from accelsim.arch import Architecture
from accelsim.arch.loader import load_architecture, load_spec, loads_architecture
from accelsim.components.base import ComputeUnit
from accelsim.components.crossbar import CrossbarArray
from accelsim.conformance import ComponentConformance, MapperConformance
from accelsim.engine import compiled, reference
from accelsim.errors import BadInput, DoesNotFit, SpecError, UnsupportedPrecision
from accelsim.ir import Access, Apply, Einsum, Read, Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mappers.crossbar import map_workload
from accelsim.simulation import Mapper

SMALL = settings(deadline=None, derandomize=True, max_examples=60)
ENERGIES = ("dac", "cell", "column", "adc", "shift_add", "array", "result")


def unit(**keys: object) -> CrossbarArray:
    given_keys: dict[str, object] = {
        "memory": "sram", "arrays_per_tile": 4, "rows": 8, "cols": 16, "adc_bits": 4, "array_time": 5e-9,
        "clock": 1e9,
    }  # fmt: skip
    return CrossbarArray.model_validate(given_keys | keys)


class TestConformance(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return unit(cell_bits=2, adcs=4, adc_rate=2e9, array_energy=1e-12, write_time=1e-8)

    def einsums(self) -> list[Einsum]:
        return [gemm(2, 5, 7, 19), conv(3, 6, 5, 3), group_conv(1, 4, 1, 1, (4, 4), (3, 3))]


class Walk:
    """Every weight put into cells one after the other, every pass driven array by array."""

    def __init__(self, u: CrossbarArray, m: int, n: int, k: int, a_bits: int, b_bits: int) -> None:
        per_weight = ceil(b_bits / u.cell_bits) * (2 if u.encoding == "differential" else 1) + u.guard_columns
        arrays: dict[tuple[int, int], set[tuple[int, int]]] = {}
        for i, j in product(range(k), range(n)):
            across = u.cols // per_weight
            cells = arrays.setdefault((i // u.rows, j // across), set())
            for c in range(per_weight):
                cells.add((i % u.rows, (j % across) * per_weight + c))
        self.arrays = len(arrays)
        self.dac = self.cell = self.adc = self.cycles = 0
        slowest = 0
        for cells in arrays.values():
            rows, cols = {r for r, _ in cells}, {c for _, c in cells}
            active = u.active_rows or u.rows
            groups = ceil(len(rows) / active)
            sweeps = ceil(len(cols) / (u.adcs or u.cols))
            one = max(round(u.array_time * 1e9), ceil(sweeps * 1e9 / u.adc_rate) if u.adc_rate else 0)
            passes = ceil(a_bits / u.dac_bits)
            slowest = max(slowest, passes * groups * one)
            self.dac += m * passes * len(rows)
            self.cell += m * passes * len(cells)
            self.adc += m * passes * groups * len(cols)
        self.cycles = m * slowest


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 24), st.integers(9, 40)),
    st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.integers(1, 8), st.integers(1, 8),
    st.sampled_from(["offset", "differential"]), st.sampled_from([None, 1, 4]), st.sampled_from([None, 3]),
    st.integers(0, 2),
)  # fmt: skip
@SMALL
def test_cycles_and_actions_equal_a_walk(
    mnk: tuple[int, int, int], cell: int, dac: int, a_bits: int, b_bits: int, encoding: str, adcs: int | None,
    active: int | None, guard: int,
) -> None:  # fmt: skip
    u = unit(arrays_per_tile=4096, cols=24, cell_bits=cell, dac_bits=dac, encoding=encoding, adcs=adcs, adc_rate=3e8,
             active_rows=active, guard_columns=guard)  # fmt: skip
    cost = run(u, gemm(1, *mnk), "shared1", (a_bits, b_bits, 16))
    walk = Walk(u, *mnk, a_bits, b_bits)
    assert cost.cycles[0] == walk.cycles
    found = {name: int(cost.actions[name][0]) for name in ("dac", "cell", "adc", "column", "shift_add")}
    assert found == {"dac": walk.dac, "cell": walk.cell, **dict.fromkeys(("adc", "column", "shift_add"), walk.adc)}
    assert u.held(gemm(1, *mnk), u.option(gemm(1, *mnk), "resident1", None), (a_bits, b_bits, 16)) == walk.arrays


@given(
    st.tuples(*[st.integers(1, 40)] * 4), st.integers(1, 16), st.integers(1, 16), st.sampled_from([1, 2, 4]),
    st.sampled_from([None, 4]), st.integers(0, 7), st.sampled_from([None, 3]),
)  # fmt: skip
@SMALL
def test_no_product_beats_the_arrays(
    gmnk: tuple[int, int, int, int], a_bits: int, b_bits: int, cell: int, adcs: int | None, power: int,
    active: int | None,
) -> None:  # fmt: skip
    u = unit(arrays_per_tile=128, cols=32, cell_bits=cell, adcs=adcs, adc_rate=6e8, active_rows=active)
    cost = run(u, gemm(*gmnk), f"shared{2**power}", (a_bits, b_bits, 16))
    macs = np.prod(gmnk)
    assert cost.actions["mac"][0] == macs
    assert macs <= u.rate_at(a_bits, b_bits) * cost.cycles[0] * (1 + 1e-9)
    assert 0 < u.rate_at(a_bits, b_bits) <= u.peak_rates()["mac"] * (1 + 1e-9)


def test_small_matrices_share_an_array_and_copies_share_vectors() -> None:
    depthwise = group_conv(1, 6, 1, 1, (4, 4), (3, 1))  # six matrices of 3 by 1
    u = unit(cols=8, adcs=8)
    assert u.held(depthwise, u.option(depthwise, "resident1", None), (1, 4, 8)) == 3  # two along the diagonal of each
    one = run(u, gemm(1, 12, 4, 8), "shared1", (1, 1, 8)).cycles[0]
    assert [run(u, gemm(1, 12, 4, 8), f"shared{c}", (1, 1, 8)).cycles[0] for c in (2, 4)] == [one // 2, one // 4]
    many = run(u, gemm(1, 1, 40, 40), "shared1", (1, 1, 8)).cycles[0]  # 25 arrays on 4
    assert many == 7 * run(u, gemm(1, 1, 8, 8), "shared1", (1, 1, 8)).cycles[0]


def test_unused_cells_take_energy_where_they_are_not_gated() -> None:
    gated, whole = unit(), unit(gated=False)
    e = gemm(1, 3, 2, 5)
    assert [int(run(u, e, "shared1", (2, 2, 8)).actions["cell"][0]) for u in (gated, whole)] == [
        3 * 2 * 2 * 5 * 2, 3 * 2 * 8 * 16,
    ]  # fmt: skip


def test_converters_that_are_impossible_are_refused() -> None:
    assert unit(adc_bits=4, lossless=True).lossless_adc_bits == 4
    with pytest.raises(ValueError, match="cannot tell the sums of a column apart: 4 bits are needed"):
        unit(adc_bits=3, lossless=True)
    with pytest.raises(ValueError, match="sums of no more than 4 bits"):
        unit(adc_bits=9)
    assert unit(rows=128, cell_bits=2, adc_bits=8, encoding="flipped", lossless=True).lossless_adc_bits == 8
    with pytest.raises(ValueError, match="exceed the 8 rows"):
        unit(active_rows=9)
    with pytest.raises(ValueError, match="at most one each"):
        unit(adcs=17)
    ran = accelsim("run", "isaac", "resnet18", "--set", "units.crossbars.adc_bits=7")
    assert ran.code == 2 and "8 bits are needed" in ran.output


def test_what_does_not_fit_is_named() -> None:
    u = unit(cell_bits=1)
    with pytest.raises(UnsupportedPrecision, match="a weight of 17 bits takes 17 columns, an array has 16"):
        run(u, gemm(1, 1, 1, 1), "shared1", (8, 17, 8))
    with pytest.raises(UnsupportedPrecision, match="operands of 33 bits"):
        run(u, gemm(1, 1, 1, 1), "shared1", (33, 8, 8))
    with pytest.raises(BadInput, match="resident1 or shared1"):
        u.option(gemm(1, 1, 1, 1), "resident5", None)
    copy = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 9})
    assert u.spatial_options(copy) == ()
    ran = accelsim("run", "isaac", "alexnet")
    assert ran.code == 3 and "take 29,864 arrays, unit `crossbars` has 16,128" in ran.output
    with pytest.raises(SpecError):
        loads_architecture(MACHINE.replace("arrays_per_tile: 64", "arrays_per_tile: 0"))
    with pytest.raises(BadInput, match=r"cells for 8,192 bytes, memory `cells` for 16,384"):
        loads_architecture(MACHINE.replace("capacity: 8 KiB", "capacity: 16 KiB"))
    with pytest.raises(BadInput, match="kind `crossbar`"):
        simulate(load_architecture("tpu_like"), cnn(), mapper="crossbar")


MACHINE = """
name: small
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 20 GB/s, read_energy: 1 pJ/bit, write_energy: 1 pJ/bit}
  sram: {kind: buffer, parent: dram, capacity: 24 KiB, bandwidth: 64 B/cycle}
  cells: {kind: buffer, parent: sram, capacity: 8 KiB, read_bandwidth: unlimited, write_bandwidth: 8 B/cycle}
units:
  arrays:
    kind: crossbar
    memory: sram
    operands: {weight: cells}
    arrays_per_tile: 64
    rows: 32
    cols: 32
    adc_bits: 6
    adcs: 4
    adc_rate: 1 GHz
    array_time: 4 ns
  vector: {kind: vector, memory: sram, lanes: 16}
"""


def cnn(batch: int = 1, width: int = 8) -> Workload:
    b = WorkloadBuilder("cnn", bits=4)
    x = b.input("x", (batch, 3, 12, 12))
    y = b.relu(b.conv(x, b.weight("w1", (width, 3, 3, 3)), pads=[1] * 4))
    z = b.relu(b.conv(y, b.weight("w2", (width, width, 3, 3)), pads=[1] * 4))
    s = b.elementwise("add", y, z)
    p = b.pool(s, "max", (2, 2), (2, 2))
    b.output(b.matmul(b.reshape(p, (batch, -1)), b.weight("w3", (width * 36, 10))))
    return b.build()


class TestMapper(MapperConformance):
    def mapper(self) -> Mapper:
        return map_workload

    def cases(self) -> list[tuple[Workload, Architecture]]:
        small = loads_architecture(MACHINE)
        tight = loads_architecture(MACHINE.replace("24 KiB", "3 KiB"))
        return [(cnn(), small), (cnn(4), small), (cnn(4, 6), tight)]


@pytest.mark.parametrize("batch", [1, 6])
def test_both_kernels_agree_and_energy_is_the_sum_of_its_parts(batch: int) -> None:
    arch, model = loads_architecture(MACHINE), cnn(batch)
    report = simulate(arch, model)
    assert report.mapping is not None and report.mapping.claim is not None
    assert report.mapping.claim.mapper == "crossbar"
    assert report.mapping.claim.value == pytest.approx(report.cycles)
    program = lower(arch, model, report.mapping)
    assert compiled.run(program).differences(reference.run(program)) == []
    parts = {row.action: row.energy_J for row in report.energy if row.component == "arrays" and row.energy_J}
    assert set(parts) <= {*ENERGIES, "write"}
    total = sum(c.energy_J for c in report.components)
    assert total == pytest.approx(report.energy_J)
    (crossbars,) = [c for c in report.components if c.name == "arrays"]
    rows = [r.energy_J or 0.0 for r in report.energy if r.component == "arrays"]
    assert crossbars.energy_J == pytest.approx(sum(rows))


def test_samples_form_a_pipeline_and_more_arrays_do_not_harm() -> None:
    one = simulate(loads_architecture(MACHINE), cnn()).cycles
    many = simulate(loads_architecture(MACHINE), cnn(8)).cycles
    assert many < 8 * one
    more = MACHINE.replace("arrays_per_tile: 64", "arrays_per_tile: 128")
    assert simulate(loads_architecture(more), cnn()).cycles <= one


def test_weights_can_be_written_again_by_the_tile_mapper() -> None:
    few = MACHINE.replace("arrays_per_tile: 64", "arrays_per_tile: 4").replace("capacity: 8 KiB", "capacity: 512 B")
    with pytest.raises(DoesNotFit, match="arrays are written again"):
        simulate(loads_architecture(few), cnn())
    report = simulate(loads_architecture(few), cnn(), mapper="tile")
    assert report.utilization["arrays"]["busy"] > 0
    assert sum(report.traffic_bytes["cells"].values()) > 0


@pytest.mark.parametrize(
    ("path", "slower"),
    [("array_time", "200 ns"), ("adc_rate", "0.64 GHz"), ("dac_bits", None), ("cell_bits", 1), ("tiles", 160)],
)
def test_slower_parts_make_slower_machines(path: str, slower: object) -> None:
    model = load_model("resnet18")
    base = simulate(load_architecture("isaac"), model).latency_s
    change = {f"units.crossbars.{path}": slower, "units.crossbars.lossless": False, "memories.cells.capacity": "30 MiB"}
    if slower is None:
        faster = {"units.crossbars.dac_bits": 2, "units.crossbars.lossless": False}
        assert simulate(load_spec("isaac").with_values(faster).build(), model).latency_s < base
        return
    assert simulate(load_spec("isaac").with_values(change).build(), model).latency_s > base


def test_a_network_from_an_onnx_file_runs() -> None:
    ran = accelsim("run", "isaac", "onnx:squeezenet", "--bits", 16, "--json")
    assert ran.code == 0
    told = json.loads(ran.output)
    assert told["macs"] / told["latency_s"] < 41.3e12 / 2
    assert told["traffic_bytes"]["cells"] == {"read": 0, "write": 0}
    assert not any("cells" in note for note in told["provenance"]["notes"])


def test_transformers_run_where_their_weights_fit() -> None:
    """Layers have arrays of their own, tables of which rows are looked up lie outside, attention runs on the lanes."""
    many = MACHINE.replace("arrays_per_tile: 64", "arrays_per_tile: 4096").replace("8 KiB", "512 KiB")
    arch = loads_architecture(many)
    b = WorkloadBuilder("layers", bits=8)
    table = b.weight("table", (64, 16))
    x = b.gather(table, b.input("tokens", (6,)))
    with b.repeat("layer", 3) as scope:
        y = b.relu(b.matmul(x, b.weight("w1", (16, 24))))
        y = b.elementwise("add", x, b.matmul(y, b.weight("w2", (24, 16))))
        scope.carry(y, x)
    b.output(b.matmul(y, table, transpose_b=True))
    model = b.build()
    report = simulate(arch, model)
    assert report.mapping is not None
    held = {(s.tensor, s.memory) for s in report.mapping.stays}
    assert {("w1", "cells"), ("w2", "cells"), ("table", "cells"), ("table", "dram")} <= held
    program = lower(arch, model, report.mapping)
    assert compiled.run(program).differences(reference.run(program)) == []
    few = loads_architecture(MACHINE.replace("arrays_per_tile: 64", "arrays_per_tile: 40").replace("8 KiB", "5 KiB"))
    with pytest.raises(DoesNotFit, match="take 46 arrays"):
        simulate(few, model)
