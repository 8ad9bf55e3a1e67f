"""Architectures of Timeloop as machines: what becomes of each node, what is said, what is refused."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest
from support.cli import accelsim
from support.machines import gemm

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture, loads_architecture
from accelsim.components.spatial import SpatialArray
from accelsim.errors import SpecError
from accelsim.simulation import simulate
from accelsim.text.arithmetic import arithmetic

MACHINE = """
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {technology: 32nm, global_cycle_seconds: 4e-9}
  - !Component
    name: main
    class: DRAM
    attributes: {type: LPDDR4, width: 64, datawidth: 8, shared_bandwidth: 16}
  - !Component
    name: glb
    class: smartbuffer_SRAM
    attributes: {depth: 1024 * 16, width: 64, n_banks: 32, datawidth: 8, read_bandwidth: 16, write_bandwidth: 8}
    constraints:
      dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}
  - !Container
    name: columns
    spatial: {meshX: 8}
    constraints:
      spatial: {permutation: [M, Q], factors: [N=1, C=1, P=1, R=1, S=1], split: 7}
  - !Container
    name: rows
    spatial: {meshY: 4}
  - !Component
    name: router
    class: XY_NoC
  - !Parallel
    nodes:
    - !Component
      name: sums
      class: smartbuffer_RF
      attributes: {depth: 16, width: 16, datawidth: 16}
      constraints:
        dataspace: {keep: [Outputs]}
        temporal: {factors: [N=1]}
    - !Component
      name: taps
      class: regfile
      attributes: {depth: 32, width: 8}
      constraints:
        dataspace: {keep_only: [Weights]}
  - !Component
    name: mac
    class: intmac
    attributes: {multiplier_width: 8, adder_width: 16}
"""


def machine(text: str, folder: Path) -> Architecture:
    file = folder / "small.yaml"
    file.write_text(text)
    return load_architecture(file)


def test_every_node_has_its_place(tmp_path: Path) -> None:
    arch = machine(MACHINE, tmp_path)
    assert arch.clock == 250e6
    assert arch.technology_nm == pytest.approx(32)
    assert list(arch.memories) == ["main", "glb", "taps_all"]
    main, glb, taps = arch.memories.values()
    assert (glb.parent, taps.parent) == ("main", "main")
    assert (glb.capacity, taps.capacity) == (128 * 1024, 32 * 32)
    assert [port[1] for way in ("read", "write") if (port := glb.port(way))] == [16 * 250e6, 8 * 250e6]
    assert [port[1] for way in ("read", "write") if (port := main.port(way))] == [16 * 250e6] * 2
    array = arch.units["array"]
    assert isinstance(array, SpatialArray)
    assert dict(array.dimensions) == {"columns": 8, "rows": 4}
    assert set(array.spread) == {"columns"}
    assert set(array.spread["columns"]) == {"output_channel", "row", "group"}
    assert array.feeds(2) == ("glb", "taps_all", "glb")
    assert (array.registers["output"].capacity, array.registers["output"].shared) == (32, ())
    assert (array.mac_bits, array.accumulator_bits) == (8, 16)


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    told = machine(MACHINE, tmp_path).description
    for text in ("router: left out, `xy_noc`", "glb: not followed: n_banks", "constraints on loops", "cited tables"):
        assert text in told
    assert "stand-in clock" not in told


def test_it_runs_as_the_same_machine_by_hand_does(tmp_path: Path) -> None:
    by_hand = """
name: small
clock: 250 MHz
technology: 32nm
memories:
  main: {kind: dram, capacity: 1125899906842624 B, standard: LPDDR4, bandwidth: 16 B/cycle}
  glb: {kind: buffer, parent: main, capacity: 128 KiB, read_bandwidth: 16 B/cycle, write_bandwidth: 8 B/cycle}
  taps_all: {kind: buffer, parent: main, capacity: 1 KiB, bandwidth: unlimited}
units:
  array:
    kind: spatial
    memory: glb
    operands: {weight: taps_all}
    dimensions: {columns: 8, rows: 4}
    spread: {columns: [output_channel, row, group]}
    registers: {output: {capacity: 32 B}}
    mac_bits: 8
    accumulator_bits: 16
    transfer_energy: 0 pJ/byte
"""
    one, two = (simulate(arch, gemm(64, 48, 32, 8)) for arch in (machine(MACHINE, tmp_path),
                                                                 loads_architecture(by_hand)))  # fmt: skip
    assert one.cycles == two.cycles
    assert one.energy_J == pytest.approx(two.energy_J)
    assert one.traffic_bytes["main"] == two.traffic_bytes["main"]


def test_a_chip_without_memory_outside_gets_one(tmp_path: Path) -> None:
    text = MACHINE.replace("class: DRAM", "class: SRAM").replace("{type: LPDDR4, width", "{depth: 1024, width")
    arch = machine(text, tmp_path)
    assert next(iter(arch.memories)) == "outside"
    assert "no memory outside main" in arch.description


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("meshX: 8", "meshX: many", "small.yaml:20: architecture.nodes.3.spatial.meshX: `many`"),
        ("keep: [Inputs, Outputs]", "keep: [A]", "Inputs, Weights or Outputs"),
        ("depth: 1024 * 16", "depth: __import__('os')", "a number above 0, or a sum"),
        ("!Parallel", "!Beside", "`!Beside` is not read"),
        ("class: intmac", "class: wire", "no arithmetic"),
        ("  nodes:\n  - !Container", "  subtree:\n  - !Container", "version 0.4 are read"),
        ("depth: 16, width: 16", "depth: 1, width: 1", "a memory of 1 bits"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_their_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    wrong = MACHINE.replace(old, new)
    assert wrong != MACHINE
    with pytest.raises(SpecError) as error:
        machine(wrong, tmp_path)
    assert told in str(error.value)


def test_validate_tells_the_notes(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(MACHINE)
    done = accelsim("validate", str(file))
    assert done.code == 0, done.output
    assert "of Timeloop has it" in done.output


@pytest.mark.parametrize(
    "text, value",
    [("1024 * 8 // 64", 128), ("8 * 614e9", 4.912e12), ("-(2 ** 3) + 1", -7), ("inf", inf), (3, 3), (True, None),
     ("2 ** 9999", None), ("9 ** 9 ** 9", None), ("1 / 0", None), ("len(x)", None), ("(-8) ** 0.5", None),
     ("(" * 150 + ")" * 50, None), (None, None), ("'a' * 3", None)],
)  # fmt: skip
def test_sums_of_numbers(text: object, value: float | None) -> None:
    assert arithmetic(text) == value
