"""Hardware files of ZigZag as machines: what becomes of each memory, what is said, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import accelsim

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.components.spatial import SpatialArray
from accelsim.errors import SpecError
from accelsim.ir import Workload
from accelsim.simulation import simulate

PORTS = "[{name: rw, type: read_write, bandwidth_min: 8, bandwidth_max: %d, allocation: ['O, tl']}]"
TWO = (
    "[{name: r, type: read, bandwidth_max: 64, bandwidth_min: 8, allocation: []}, "
    "{name: w, type: write, bandwidth_max: 128, bandwidth_min: 8, allocation: []}]"
)


def memory(name: str, size: int, operands: str, served: str, ports: str, r_cost: str = "4", w_cost: str = "8") -> str:
    return (
        f"  {name}:\n    size: {size}\n    r_cost: {r_cost}\n    w_cost: {w_cost}\n    latency: 1\n"
        f"    operands: [{operands}]\n    ports: {ports}\n    served_dimensions: [{served}]\n"
    )


MACHINE = (
    "name: small\nmemories:\n"
    + memory("rf_w", 1024, "I2", "", PORTS % 8)
    + memory("rf_o", 16, "O", "D2", PORTS % 16)
    + memory("sram", 8 * 2**20, "I1, O", "D1, D2", TWO)
    + memory("dram", 10**10, "I1, I2, O", "D1, D2", PORTS % 64)
    + "operational_array:\n  unit_energy: 0.04\n  dimensions: [D1, D2]\n  sizes: [8, 4]\n"
)


def machine(text: str, folder: Path) -> Architecture:
    file = folder / "small.yaml"
    file.write_text(text)
    return load_architecture(file)


def test_every_memory_has_its_place(tmp_path: Path) -> None:
    arch = machine(MACHINE, tmp_path)
    assert list(arch.memories) == ["dram", "sram", "rf_w_all"]
    dram, sram, weights = arch.memories.values()
    assert (sram.parent, weights.parent) == ("dram", "dram")
    assert (sram.capacity, weights.capacity) == (2**20, 128 * 32)
    assert sram.action_energy() == pytest.approx({"read": 0.5e-12, "write": 0.5e-12})  # 4 pJ per 64, 8 pJ per 128 bits
    assert dram.action_energy() == pytest.approx({"read": 0.5e-12, "write": 1e-12})
    array = arch.units["array"]
    assert isinstance(array, SpatialArray)
    assert dict(array.dimensions) == {"D1": 8, "D2": 4}
    assert array.peak_rates() == {"mac": 32.0}
    assert array.feeds(2) == ("sram", "rf_w_all", "sram")
    assert array.registers["output"].shared == ("D2",)
    assert (array.accumulator_bits, array.mac_bits) == (16, 8)
    ports = [sram.port(way) for way in ("read", "write")]
    assert [port[1] for port in ports if port] == [8e9, 16e9]
    assert arch.clock == 1e9


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    told = machine(MACHINE + "  is_imc: true\n  adc_resolution: 8\ndataflows: {}\n", tmp_path).description
    for text in ("stand-in clock", "32 copies are the one buffer rf_w_all", "dataflows, is_imc, adc_resolution"):
        assert text in told
    assert "without energy" in told


def test_it_runs_as_the_same_machine_by_hand_does(tmp_path: Path) -> None:
    """The machine written out in accelsim's own keys gives the same report."""
    from accelsim.arch.loader import loads_architecture

    by_hand = """
name: small
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1250000000 B, bandwidth: 8 B/cycle, read_energy: 0.5 pJ/byte, write_energy: 1 pJ/byte}
  sram: {kind: buffer, parent: dram, capacity: 1 MiB, read_bandwidth: 8 B/cycle, write_bandwidth: 16 B/cycle,
         read_energy: 0.5 pJ/byte, write_energy: 0.5 pJ/byte}
  rf_w_all: {kind: buffer, parent: dram, capacity: 4 KiB, bandwidth: 32 B/cycle, read_energy: 4 pJ/byte,
             write_energy: 8 pJ/byte}
units:
  array:
    kind: spatial
    memory: sram
    operands: {weight: rf_w_all}
    dimensions: {D1: 8, D2: 4}
    registers: {output: {capacity: 2 B, shared: [D2], read_energy: 2 pJ/byte, write_energy: 4 pJ/byte}}
    mac_bits: 8
    accumulator_bits: 16
    mac_energy: 0.04 pJ
    transfer_energy: 0 pJ/byte
"""
    from support.machines import gemm

    workload: Workload = gemm(64, 48, 32, 8)
    one, two = (simulate(arch, workload) for arch in (machine(MACHINE, tmp_path), loads_architecture(by_hand)))
    assert one.cycles == two.cycles
    assert one.energy_J == pytest.approx(two.energy_J)
    assert one.traffic_bytes["dram"] == two.traffic_bytes["dram"]


def test_of_a_key_given_twice_the_last_counts_as_in_zigzag(tmp_path: Path) -> None:
    twice = MACHINE.replace("    size: 16\n", "    size: 8\n    size: 16\n")
    assert twice != MACHINE
    assert machine(twice, tmp_path).description == machine(MACHINE, tmp_path).description
    array = machine(twice, tmp_path).units["array"]
    assert isinstance(array, SpatialArray)
    assert array.registers["output"].capacity == 2


def test_a_machine_without_memory_outside_gets_one(tmp_path: Path) -> None:
    arch = machine(
        "memories:\n" + memory("l1", 4194304, "I1, I2, O", "D1", PORTS % 512)
        + "operational_array: {dimensions: [D1], sizes: [8], unit_energy: 1}\n", tmp_path,
    )  # fmt: skip
    assert list(arch.memories) == ["outside", "l1"]
    assert "no memory outside l1" in arch.description


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("    size: 16\n", "    size: many\n", "small.yaml:12: memories.rf_o.size: `many`"),
        ("operands: [O]", "operands: [O, X]", "some of I1, I2, O"),
        ("served_dimensions: [D2]", "served_dimensions: [D9]", "some of D1, D2"),
        ("sizes: [8, 4]", "sizes: [8]", "lists of one length"),
        ("sizes: [8, 4]", "sizes: [8, 0]", "a whole number from 1"),
        ("r_cost: 4", "r_cost: cheap", "picojoules per access"),
        ("type: read_write", "type: both", "read, write or read_write"),
    ],
)
def test_wrong_files_are_refused_with_their_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    wrong = MACHINE.replace(old, new)
    assert wrong != MACHINE
    with pytest.raises(SpecError) as error:
        machine(wrong, tmp_path)
    assert told in str(error.value)


def test_values_can_be_swept_and_validate_tells_the_notes(tmp_path: Path) -> None:
    from accelsim.study.evaluation import machine as point_machine

    file = tmp_path / "small.yaml"
    file.write_text(MACHINE)
    assert point_machine(str(file), (("memories.sram.capacity", "2 MiB"),)).memories["sram"].capacity == 2**21
    ran = accelsim("validate", file)
    assert ran.code == 0
    assert "stand-in clock" in ran.output
