"""What a report says against itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.machines import array_machine, gemm

from accelsim import simulate
from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled
from accelsim.errors import BadInput
from accelsim.ir.build import WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mapping.tree import Claim, Loop, Mapping, Op, Par, Seq, Stay
from accelsim.mapping.unlike import unlike
from accelsim.report import Report
from accelsim.report.cautions import crowded_ports, idle_components, missed_claim

TWO_UNITS = """
name: two_units
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: unlimited}
  sram: {kind: buffer, parent: dram, capacity: 1 MiB, read_bandwidth: 1 B/cycle, write_bandwidth: 1 B/cycle}
units:
  left: {kind: vector, memory: sram, lanes: 16}
  right: {kind: vector, memory: sram, lanes: 16}
"""


def test_two_units_on_one_port_are_pointed_out() -> None:
    arch = loads_architecture(TWO_UNITS)
    b = WorkloadBuilder("two", bits=8)
    x, y = b.input("x", (64, 64)), b.input("y", (64, 64))
    b.output(b.relu(x, name="left"))
    b.output(b.relu(y, name="right"))
    model = b.build()
    names = [e.name for e, _ in model.einsums()]
    stays = tuple(Stay(t, "sram", (), ()) for t in model.tensors)
    both = Par((Op(names[0], "left", "simd"), Op(names[1], "right", "simd")))
    apart = Seq(both.children)
    for root, shares in ((both, 2), (apart, 1)):
        trace = compiled.run(lower(arch, model, Mapping("two", "two_units", root, stays)))
        notes = crowded_ports(arch, trace)
        assert len(notes) == (2 if shares == 2 else 0)
        assert all("2.00 times" in note for note in notes)


def test_a_claim_far_off_is_pointed_out() -> None:
    arch = array_machine(8, 8, bandwidth="16 GB/s")
    report = simulate(arch, gemm(64, 64, 64))
    mapping = report.mapping
    assert mapping is not None
    assert mapping.claim is not None
    assert not missed_claim(arch, mapping, report.trace)
    claim = Claim("latency", report.cycles * 1.5, 0.0, 1.0)
    boast = Mapping(mapping.workload, mapping.architecture, mapping.root, mapping.stays, mapping.moves, claim)
    assert missed_claim(arch, boast, report.trace) == [
        f"the mapper expected {report.cycles * 1.5:,.0f} cycles, +50% of what the run took"
    ]


def test_a_search_cut_short_is_pointed_out() -> None:
    arch, model = array_machine(8, 8), gemm(16, 16, 16)
    whole = simulate(arch, model)
    assert whole.mapping is not None and whole.mapping.claim is not None
    assert whole.mapping.claim.complete
    claim = replace(whole.mapping.claim, complete=False, gap=0.125)
    short = simulate(arch, model, mapping=replace(whole.mapping, claim=claim))
    told = short.provenance["notes"]
    assert [n for n in told if n not in whole.provenance["notes"]] == [
        "the mapper stopped its search early, gap 12.5% to its bound: there may be better mappings among those that it "
        "looks at"
    ]


def test_a_mapping_written_for_something_else_is_pointed_out() -> None:
    arch, model = array_machine(8, 8), gemm(16, 24, 16)
    whole = simulate(arch, model)
    assert whole.mapping is not None
    rank = next(r for e, _ in model.einsums() for r, size in e.sizes.items() if size == 24)
    told: dict[int, list[str]] = {}
    for tile in (24, 25):
        mapping = replace(whole.mapping, root=Loop(rank, tile, whole.mapping.root), stays=(), moves=())
        told[tile] = unlike(mapping, model, arch)
    assert told == {
        24: [], 25: [f"the mapping's loop at . cuts nothing: tiles of 25 of rank {rank}, which is 24"],
    }  # fmt: skip
    other = simulate(arch, model, mapping=replace(whole.mapping, workload="a", architecture="b"))
    assert other.cycles == whole.cycles
    assert [n for n in other.provenance["notes"] if n not in whole.provenance["notes"]] == [
        f"the mapping was written for the model a, and this one is {model.name}",
        f"the mapping was written for the machine b, and this one is {arch.name}",
    ]


def test_more_points_than_can_be_counted_are_refused() -> None:
    with pytest.raises(BadInput, match=r"has 1e\+21 points, more than 2\^62"):
        simulate(array_machine(8, 8), gemm(10**7, 10**7, 10**7))


def test_parts_that_do_nothing_are_pointed_out() -> None:
    arch = array_machine(8, 8, bandwidth="16 GB/s")
    report = simulate(arch, gemm(64, 64, 64))
    assert report.mapping is not None
    assert idle_components(arch, report.mapping, report.trace) == ["vector is not used by this mapping"]


def told_of_fusion(report: Report) -> list[str]:
    return [note for note in report.provenance["notes"] if "mapper cascade" in note]


def test_what_running_operators_together_may_save_is_pointed_out() -> None:
    """A chain whose results do not fit the buffer: all of them pass the chip's edge twice."""
    arch = loads_architecture(TWO_UNITS.replace("1 MiB", "16 KiB"))
    b = WorkloadBuilder("chain", bits=8)
    x = b.input("x", (256, 256))
    b.output(b.relu(b.relu(b.relu(x, name="first"), name="second"), name="third"))
    chain = b.build()
    (told,) = told_of_fusion(simulate(arch, chain))
    handed_on = 2 * 2 * 256 * 256
    assert f"what they hand on is {handed_on / (handed_on + 2 * 256 * 256):.0%} of the bytes off the chip" in told
    assert "idles" not in told  # a single unit works
    fused = simulate(arch, chain, mapper="cascade")
    assert fused.traffic_bytes["dram"]["read"] < 3 * 256 * 256
    roomy = loads_architecture(TWO_UNITS)
    assert not any(told_of_fusion(r) for r in (fused, simulate(arch, chain, mapper="tile"), simulate(roomy, chain)))


def test_time_that_operators_one_by_one_leave_the_busiest_unit_idle_is_pointed_out() -> None:
    """Products and element-wise operators that take about as long, on units that could work at once."""
    arch = array_machine(8, 8, bandwidth="unlimited")
    b = WorkloadBuilder("two kinds", bits=8)
    x, w = b.input("x", (64, 64)), b.weight("w", (64, 64))
    y = b.matmul(x, w, name="product")
    for number in range(5):
        y = b.relu(y, name=f"relu{number}")
    b.output(y)
    report = simulate(arch, b.build())
    idle = 1 - max(unit["busy"] for unit in report.utilization.values())
    assert idle > 0.1
    (told,) = told_of_fusion(report)
    assert told.split(": ")[1].startswith(f"the busiest component idles for {idle:.0%} of the time")
