"""The fusion mapper where memories lie between the chip's edge and its units, and operands come from their own."""

from pathlib import Path

import pytest

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_spec
from accelsim.ir import Workload, parse_cascade
from accelsim.mappers.cascade import map_workload
from accelsim.mappers.cascade.memories import memories_of
from accelsim.mapping.constraints import Constraints
from accelsim.mapping.tree import Op, Pipe, walk

MACHINE = """
name: three_levels
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 64 GB/s, read_energy: 50 pJ/byte, write_energy: 50 pJ/byte}
  outer:
    {kind: buffer, parent: dram, capacity: 256 KiB, bandwidth: 256 GB/s, read_energy: 8 pJ/byte,
     write_energy: 8 pJ/byte}
  inner:
    {kind: buffer, parent: outer, capacity: 32 KiB, bandwidth: unlimited, read_energy: 1 pJ/byte,
     write_energy: 1 pJ/byte}
units:
  array:
    {kind: systolic, memory: inner, operands: {weight: outer}, rows: 16, cols: 16, dataflows: [ws], overlap: true,
     mac_bits: 16, accumulator_bits: 16, mac_energy: 0 pJ, register_energy: 0 pJ/byte}
  lanes: {kind: vector, memory: inner, lanes: 16, accumulator_bits: 16, rates: {mac: 0}}
"""
ATTENTION = """
QK[m,p,h] = Q[m,h,e] * K[p,h,e]
S[m,p,h]  = QK[m,p,h]
AV[m,h,f] = S[m,p,h] * V[p,h,f]
"""
TOKENS, HEADS, CHANNELS = 512, 4, 32


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    file = tmp_path_factory.mktemp("machine") / "three_levels.yaml"
    file.write_text(MACHINE, encoding="utf-8")
    return load_spec(file).build()


def attention(before: str = "") -> Workload:
    sizes = {"m": TOKENS, "p": TOKENS, "h": HEADS, "e": CHANNELS, "f": CHANNELS, "d": 64}
    return parse_cascade(before + ATTENTION, sizes, name="attention", bits=16)


def test_what_feeds_the_units(machine: Architecture) -> None:
    found = memories_of(machine)
    assert found is not None
    assert (found.home, found.near, found.buffer) == ("dram", "outer", "inner")
    assert found.chains == {"inner": ("dram", "outer", "inner"), "outer": ("dram", "outer")}


def test_scores_never_leave_the_inner_memory(machine: Architecture) -> None:
    """All operands cross the edge once, in 2-byte words; scores, 16 times as much, are nowhere but in `inner`."""
    mapping = map_workload(attention(), machine, objective="energy")
    assert any(isinstance(node, Pipe) for _, node in walk(mapping.root))
    report = simulate(machine, attention(), mapping=mapping)
    operand = TOKENS * HEADS * CHANNELS * 2
    assert report.traffic_bytes["dram"] == {"read": 3 * operand, "write": operand}
    # Into `outer`: three operands, and the result on its way out.
    assert report.traffic_bytes["outer"]["write"] == 4 * operand


def test_kept_off_the_chip(machine: Architecture) -> None:
    """Where scores must live outside, nothing is fused, and they cross the edge both ways."""
    constraints = Constraints(tensors=(("QK", "dram"), ("S", "dram")))
    mapping = map_workload(attention(), machine, objective="energy", constraints=constraints)
    assert not any(isinstance(node, Pipe) for _, node in walk(mapping.root))
    report = simulate(machine, attention(), mapping=mapping)
    scores = TOKENS * TOKENS * HEADS * 2
    assert report.traffic_bytes["dram"]["read"] >= 2 * scores
    assert report.traffic_bytes["dram"]["write"] >= 2 * scores


def test_what_stays_next_to_the_edge_is_not_loaded_from_outside(machine: Architecture) -> None:
    """Q is made before the group, stays in `outer`, and comes from there: outside are read X, W, K and V alone."""
    work = attention("Q[m,h,e] = X[m,d] * W[h,e,d]\n")
    mapping = map_workload(work, machine, objective="energy")
    report = simulate(machine, work, mapping=mapping)
    operand, read = TOKENS * HEADS * CHANNELS * 2, report.traffic_bytes["dram"]["read"]
    assert read == 2 * operand + (TOKENS * 64 + HEADS * CHANNELS * 64) * 2
    assert report.traffic_bytes["dram"]["write"] == operand


SECOND = """
  registers:
    {kind: buffer, parent: dram, capacity: 4 KiB, bandwidth: unlimited, read_energy: 0 pJ/byte, write_energy: 0 pJ/byte}
units:
  past:
    {kind: systolic, memory: inner, operands: {weight: registers}, rows: 16, cols: 16, dataflows: [ws], overlap: true,
     mac_bits: 16, accumulator_bits: 16, mac_energy: 0 pJ, register_energy: 0 pJ/byte}
"""


def test_an_array_whose_weights_come_past_the_buffer_leaves_others_their_tensors(tmp_path: Path) -> None:
    """K is the second operand of a product. It stays in `outer`, though one of two equal arrays could not reach it."""
    file = tmp_path / "two_arrays.yaml"
    file.write_text(MACHINE.replace("units:\n", SECOND.lstrip("\n")), encoding="utf-8")
    machine = load_spec(file).build()
    work = attention("K[p,h,e] = X[p,d] * W[h,e,d]\n")
    mapping = map_workload(work, machine, objective="energy")
    units = {node.einsum: node.unit for _, node in walk(mapping.root) if isinstance(node, Op)}
    assert units["QK"] == "array"
    report = simulate(machine, work, mapping=mapping)
    operand, product = TOKENS * HEADS * CHANNELS * 2, (TOKENS + HEADS * CHANNELS) * 64 * 2
    assert report.traffic_bytes["dram"] == {"read": 2 * operand + product, "write": operand}
