"""Pipes whose stages work on different memories: what they hand on moves once, by links or common parents."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from support.chains import BYTES, CHANNELS, Case, Layer, cases, count, mapping_of, run

from accelsim.arch.loader import loads_architecture
from accelsim.mapping import yaml_form, yaml_text
from accelsim.mapping.handing import way_between
from accelsim.mapping.replay import replay
from accelsim.mapping.validate import validate

LINKED = """
name: linked
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 16 MiB, bandwidth: 4 GB/s}
  one: {kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: unlimited}
  two: {kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: unlimited}
units:
  first: {kind: vector, memory: one, lanes: 1}
  second: {kind: vector, memory: two, lanes: 2}
links:
  bus: {kind: link, between: [one, two], bandwidth: 1 GB/s, energy: 1 pJ/bit}
"""
SHARED = """
name: shared
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 16 MiB, bandwidth: 4 GB/s}
  common: {kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: 2 B/cycle}
  one: {kind: buffer, capacity: 1 MiB, parent: common, bandwidth: unlimited}
  two: {kind: buffer, capacity: 1 MiB, parent: common, bandwidth: 8 B/cycle}
units:
  first: {kind: vector, memory: one, lanes: 1}
  second: {kind: vector, memory: two, lanes: 2}
"""
BOTH = ("first", "second")


def test_ways_are_the_shortest() -> None:
    linked, shared = loads_architecture(LINKED), loads_architecture(SHARED)
    assert way_between(linked, "one", "two") == ("one", "two")
    assert way_between(shared, "two", "one") == ("two", "common", "one")
    assert way_between(shared, "one", "one") == ("one",)
    apart = loads_architecture(LINKED.split("links:")[0])
    assert way_between(apart, "one", "two") == ("one", "dram", "two")


@pytest.mark.parametrize("text", [LINKED, SHARED], ids=["linked", "shared"])
@settings(deadline=None, max_examples=20, derandomize=True)
@given(case=cases())
def test_what_is_counted_is_what_runs(text: str, case: Case) -> None:
    arch, workload = loads_architecture(text), case.workload()
    mapping = mapping_of(case, workload, arch, BOTH)
    assert [str(p) for p in validate(mapping, workload, arch)] == []
    assert yaml_form.loads(yaml_text.dumps(mapping)) == mapping
    run(arch, workload, mapping)


CHAIN = Case((Layer(3, 1, 1), Layer(3, 1, 1)), False, 12, (2, 12), ("retained", "clipped"), 2, True)
ROW = 12 * CHANNELS * BYTES


def test_what_a_pipe_hands_over_a_link_by_hand() -> None:
    """Twelve rows cross once; three are made first, then two by two, and in the end one."""
    arch, workload = loads_architecture(LINKED), CHAIN.workload()
    mapping = mapping_of(CHAIN, workload, arch, BOTH)
    trace = run(arch, workload, mapping)
    assert count(trace, "bus", "transfer", tensor="conv") == 12 * ROW
    counted = replay(mapping, workload, arch)
    assert counted.traffic_bytes["bus", "transfer"] == 12 * ROW
    assert counted.traffic_bytes["dram", "read"] == 12 * ROW + 2 * 3 * 3 * CHANNELS**2 * BYTES
    held = {c.what: c.nbytes for m in ("one", "two") for c in counted.peaks[m].contents}
    assert held["2 results of conv on their way to two"] == 2 * 3 * ROW
    assert held["2 results of conv between stages"] == 6 * ROW


def cycles(text: str, case: Case = CHAIN) -> int:
    arch, workload = loads_architecture(text), case.workload()
    return run(arch, workload, mapping_of(case, workload, arch, BOTH)).finish


def test_a_slow_link_is_waited_for() -> None:
    slow = LINKED.replace("bandwidth: 1 GB/s", "bandwidth: 10 MB/s")
    assert cycles(slow) > 12 * ROW * 100 > 2 * cycles(LINKED)


def test_a_way_through_a_common_parent_takes_its_ports() -> None:
    arch, workload = loads_architecture(SHARED), CHAIN.workload()
    counted = replay(mapping_of(CHAIN, workload, arch, BOTH), workload, arch).tensor_bytes
    assert counted["conv", "one", "read"] == counted["conv", "common", "write"] == 12 * ROW
    assert counted["conv", "common", "read"] == counted["conv", "two", "write"] == 12 * ROW
    assert ("conv", "dram", "read") not in counted


def test_nothing_moves_in_one_memory() -> None:
    arch, workload = loads_architecture(LINKED), CHAIN.workload()
    counted = replay(mapping_of(CHAIN, workload, arch, ("first",)), workload, arch)
    assert ("bus", "transfer") not in counted.traffic_bytes
