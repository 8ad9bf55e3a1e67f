"""Points whose results nothing reads: what is left of a Workload without them, and bounds that leave them out."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import load_architecture, simulate
from accelsim.arch.loader import loads_architecture
from accelsim.ir import Access, Affine, Einsum, Read, Repeat, Role, Tensor, View, Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.mapping.compulsory import compulsory_traffic
from accelsim.mapping.machine_bound import einsum_bounds, machine_bound
from accelsim.mapping.unread import without_unread
from accelsim.workloads.layers import loads_layers

STRIDED = "input: [16, 18, 18]\nlayers:\n- conv: {out: 64, kernel: 3}\n- conv: {out: 16, kernel: 1, stride: 2}\n"
MACHINE = """
name: elements
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 4 GiB, bandwidth: 50 B/cycle}
  buffer: {kind: buffer, parent: dram, capacity: 16 MiB, bandwidth: 128 B/cycle}
units:
  array: {kind: pe_array, memory: buffer, rows: 4, cols: 32, dataflows: [os]}
  vector: {kind: vector, memory: buffer, lanes: 1, rates: {mac: 0}}
"""
"""Elements that one pixel of 32 channels fills, so that single pixels take no longer than their share of a map."""


def copy(name: str, out: str, made: Affine, source: str, read: Affine, n: int) -> Einsum:
    return Einsum(name, Access(out, (made,)), (Access(source, (read,)),), Read(0), {"i": n})


def plain(step: int = 1, offset: int = 0) -> Affine:
    return Affine((("i", step),), offset)


def chain(*readers: tuple[int, Affine], role: Role = Role.ACTIVATION) -> Workload:
    """Ten elements are made of ten inputs, and copies read some of them."""
    tensors = [Tensor("x", (10,), Role.INPUT, 8), Tensor("y", (10,), role, 8)]
    body = [copy("y", "y", plain(), "x", plain(), 10)]
    for number, (n, read) in enumerate(readers):
        tensors.append(Tensor(f"z{number}", (n,), Role.OUTPUT, 8))
        body.append(copy(f"z{number}", f"z{number}", plain(), "y", read, n))
    return Workload("w", {t.name: t for t in tensors}, tuple(body))


def first(workload: Workload) -> Einsum:
    return next(einsum for einsum, _ in workload.einsums())


@pytest.mark.parametrize(
    ("readers", "number", "read"),
    [
        ([(4, plain(offset=3))], 4, plain(offset=3)),
        ([(4, plain(2, 1))], 4, plain(2, 1)),
        ([(2, plain()), (3, plain(offset=2))], 5, plain()),
        ([(2, plain()), (3, plain(offset=6))], 3, plain(offset=6)),
        ([(4, plain(3)), (3, plain(3, 1))], 4, plain(3)),
    ],
    ids=["slice", "every second", "neighbours", "two runs: the longer", "pairs: their starts"],
)
def test_what_is_left_is_what_is_read(readers: list[tuple[int, Affine]], number: int, read: Affine) -> None:
    less = first(without_unread(chain(*readers)))
    assert dict(less.sizes) == {"i": number}
    assert less.inputs[0].indices == less.output.indices == (read,)


def test_what_is_read_whole_stays_as_it_is() -> None:
    whole = chain((10, plain()), (5, plain(2)))
    assert without_unread(whole) is whole
    kept = chain((4, plain()), role=Role.OUTPUT)
    assert without_unread(kept) is kept
    read = chain((4, plain()))
    viewed = Workload("w", {**read.tensors, "v": Tensor("v", (2, 5), Role.ACTIVATION, 8)},
                      (*read.body, View("v", "y")))  # fmt: skip
    assert without_unread(viewed) is viewed
    carried = Workload("w", read.tensors, (Repeat("r", 3, read.body, carried=(("y", "x"),)),))
    assert without_unread(carried) is carried


def test_it_goes_from_the_end_to_the_beginning() -> None:
    """Two rows of a pooling read four of the convolution's five, which read six of seven of the input."""
    text = "input: [1, 7, 7]\nlayers:\n- conv: {out: 1, kernel: 3, bias: false}\n- max_pool: {kernel: 2, stride: 2}\n"
    workload = loads_layers(text, bits=8)
    less = without_unread(workload)
    assert sorted(first(less).sizes.values()) == [1, 1, 1, 3, 3, 4, 4]
    assert less.macs == 16 * 9 and workload.macs == 25 * 9
    assert compulsory_traffic(less).reads["input"] == 36
    repeated = Workload("r", workload.tensors, (Repeat("twice", 2, workload.body),))
    assert without_unread(repeated).macs == 2 * less.macs


def test_a_fused_run_may_leave_out_what_nothing_reads_and_is_above_the_bound() -> None:
    """One in two rows and columns of the first convolution is read: the bound with all of it would be above the run."""
    workload = loads_layers(STRIDED, bits=8)
    arch = loads_architecture(MACHINE)
    report = simulate(arch, workload, mapper="cascade")
    everything = sum(b.cycles[0] for b in einsum_bounds(workload, arch).values() if b.cycles[0] < inf)
    bound = machine_bound(workload, arch)
    assert bound.cycles <= report.cycles < everything
    assert bound.energy_J <= report.energy_J
    left_out = [note for note in report.provenance["notes"] if "nothing reads what the others make" in note]
    assert len(left_out) == 1 and "of its 2,359,296 MACs" in left_out[0]
    layers = simulate(arch, workload, mapper="tile")
    assert not any("nothing reads" in note for note in layers.provenance["notes"])


@settings(deadline=None, max_examples=6)
@given(
    kernels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    size=st.integers(6, 11),
    objective=st.sampled_from(["latency", "energy", "edp"]),
)
def test_no_fused_run_is_below_its_bounds(kernels: tuple[int, int], stride: int, size: int, objective: str) -> None:
    text = (f"input: [8, {size}, {size}]\nlayers:\n- conv: {{out: 16, kernel: {kernels[0]}}}\n"
            f"- conv: {{out: 8, kernel: {kernels[1]}, stride: {stride}}}\n")  # fmt: skip
    workload = loads_layers(text, bits=8)
    arch = load_architecture("edge_npu")
    report = simulate(arch, workload, mapper="cascade", objective=objective)
    bound = machine_bound(workload, arch)
    assert bound.cycles <= report.cycles
    assert bound.energy_J <= report.energy_J
    off_chip = sum(report.traffic_bytes["dram"].values())
    assert bound.traffic.read_bytes + bound.traffic.write_bytes <= off_chip


@pytest.mark.parametrize("unit", [
    "{kind: core_pool, memory: sram, cores: 2, multipliers: 1}", "{kind: vector, memory: sram, lanes: 2}",
])  # fmt: skip
def test_tiles_in_which_nothing_is_made_cost_nothing(unit: str) -> None:
    """Padding reads no row in the first tile and no column in the last: what is before it runs there on no points."""
    arch = loads_architecture(f"""
        name: m
        clock: 1 GHz
        memories:
          dram: {{kind: dram, capacity: 1 GiB, bandwidth: 64 B/cycle, latency: 100 ns}}
          sram: {{kind: buffer, parent: dram, capacity: 1 KiB, bandwidth: 256 B/cycle}}
        units: {{unit: {unit}}}
    """)
    b = WorkloadBuilder("padded", bits=8)
    b.output(b.pad(b.relu(b.input("x", (3, 8))), [1, 0], [0, 1]))
    workload = b.build()
    report = simulate(arch, workload, mapper="cascade")
    assert machine_bound(workload, arch).cycles <= report.cycles
    assert report.traffic_bytes["dram"] == {"read": 24, "write": 36}
