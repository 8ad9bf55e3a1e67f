"""What holds of every array, whatever its kind: peaks, utilisation, symmetry, splitting; and what arrays refuse."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import gemm

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.errors import AccelsimError
from accelsim.mapping.machine_bound import machine_bound
from accelsim.workloads import load_model

SETTINGS = settings(deadline=None, derandomize=True, max_examples=10)
SIZES = st.tuples(*(st.integers(1, 70) for _ in range(3)))
UNITS = {
    "systolic": "{kind: systolic, memory: sram, rows: 8, cols: 4, mac_bits: 16}",
    "overlapping": "{kind: systolic, memory: sram, rows: 8, cols: 4, mac_bits: 16, overlap: true}",
    "several": "{kind: systolic, memory: sram, rows: 4, cols: 4, arrays: 2, mac_bits: 16}",
    "dealt": """{kind: systolic, memory: sram, rows: 4, cols: 4, arrays: 2, mac_bits: 16,
      deals: [rows, columns, contraction, groups], multicast: false}""",
    "spatial": """{kind: spatial, memory: sram, dimensions: {rows: 8, columns: 4}, mac_bits: 16,
      registers: {weight: {capacity: 32 B}, output: {capacity: 16 B}}}""",
    "streaming": "{kind: spatial, memory: sram, dimensions: {rows: 8, columns: 4}, mac_bits: 16}",
    "bit_serial": "{kind: bit_serial, memory: sram, rows: 8, cols: 4, dot_width: 1}",
}


@lru_cache
def machine(unit: str, bandwidth: str = "unlimited") -> Architecture:
    return loads_architecture(f"""
name: properties
clock: 1 GHz
memories:
  dram: {{kind: dram, standard: DDR4, capacity: 64 GiB, bandwidth: {bandwidth}}}
  sram: {{kind: buffer, capacity: 64 KiB, parent: dram, bandwidth: {bandwidth}}}
units:
  array: {UNITS[unit]}
""")


@pytest.mark.parametrize("unit", UNITS)
@SETTINGS
@given(SIZES, st.sampled_from(["unlimited", "24 GB/s"]))
def test_no_faster_than_the_peak(unit: str, mnk: tuple[int, int, int], bandwidth: str) -> None:
    arch, workload = machine(unit, bandwidth), gemm(*mnk)
    report = simulate(arch, workload)
    peak = arch.units["array"].peak_rates()["mac"]
    assert report.cycles * peak >= report.macs == mnk[0] * mnk[1] * mnk[2]
    assert 0 < report.utilization["array"]["mac"] <= 1
    assert machine_bound(workload, arch).cycles <= report.cycles


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@SETTINGS
@given(SIZES, st.integers(1, 9), st.integers(1, 9))
def test_a_transposed_problem_on_the_transposed_dataflow(
    dataflow: str, mnk: tuple[int, int, int], rows: int, cols: int
) -> None:
    """Swapping the operands swaps weight- and input-stationary; of output-stationary, the sides of the array."""

    def cycles(m: int, n: int, k: int, dataflow: str, rows: int, cols: int) -> float:
        arch = loads_architecture(f"""
name: transposed
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 64 GiB, bandwidth: unlimited}}
  sram: {{kind: buffer, capacity: 1 GiB, parent: dram, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, rows: {rows}, cols: {cols}, dataflows: [{dataflow}], mac_bits: 16}}
""")
        return float(simulate(arch, gemm(m, n, k)).cycles)

    m, n, k = mnk
    other = {"os": "os", "ws": "is", "is": "ws"}[dataflow]
    sides = (cols, rows) if dataflow == "os" else (rows, cols)
    assert cycles(m, n, k, dataflow, rows, cols) == cycles(n, m, k, other, *sides)


@pytest.mark.parametrize("unit", UNITS)
@SETTINGS
@given(SIZES, st.integers(1, 69))
def test_splitting_a_product_never_beats_the_bound(unit: str, mnk: tuple[int, int, int], at: int) -> None:
    m, n, k = mnk
    arch = machine(unit, "24 GB/s")
    whole = machine_bound(gemm(m, n, k), arch).cycles
    parts = [part for part in (min(at, m), m - min(at, m)) if part]
    assert sum(simulate(arch, gemm(part, n, k)).cycles for part in parts) >= whole


LAYERS = (
    "input: [{channels}, {side}, {side}]\nlayers:\n- conv: {{out: 8, kernel: {kernel}, pad: {pad}, groups: {groups}}}\n"
)


@pytest.mark.parametrize(
    ("channels", "side", "kernel", "pad", "groups", "said"),
    [(4, 8, 11, 1, 1, r"window (11, 11) does not fit"), (6, 8, 3, 1, 4, "groups"), (4, 8, 3, 1, 3, "groups")],
)
def test_convolutions_that_cannot_be(
    tmp_path: Path, channels: int, side: int, kernel: int, pad: int, groups: int, said: str
) -> None:
    file = tmp_path / "layers.yaml"
    file.write_text(LAYERS.format(channels=channels, side=side, kernel=kernel, pad=pad, groups=groups))
    with pytest.raises(AccelsimError, match=re.escape(said)) as caught:
        load_model(str(file))
    assert "layers.yaml:3" in str(caught.value)


def test_a_dataflow_that_the_array_cannot_do() -> None:
    with pytest.raises(AccelsimError, match="dataflows"):
        loads_architecture("""
name: other
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 64 GiB, bandwidth: unlimited}
units:
  array: {kind: systolic, memory: dram, rows: 4, cols: 4, dataflows: [rs]}
""")
