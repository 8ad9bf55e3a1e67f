"""Einsums that stand alone, and the bound on products that are cut along rows and columns: every nest, and the runs."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL

from accelsim import simulate
from accelsim.arch import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.errors import BadInput, MappingError, UnsupportedPrecision
from accelsim.ir import Einsum, Role, Workload, WorkloadBuilder, parse_cascade, standalone, with_precision
from accelsim.mappers.tile.bound import ProductBound, product_bound, uncut
from accelsim.mapping.constraints import Constraints
from accelsim.workloads import load_model

SPEC = """
name: two_buffers
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 1 GB, {ports}, standard: DDR4}}
  left: {{kind: buffer, parent: dram, capacity: {left} B, bandwidth: unlimited}}
  right: {{kind: buffer, parent: dram, capacity: {right} B, bandwidth: unlimited}}
units:
  pe: {{kind: bit_serial, memory: left, operands: {{weight: right}}, rows: 2, cols: 3, dot_width: 2, {more}}}
"""


def machine(left: int, right: int, ports: str = "bandwidth: 1 B/cycle", more: str = "") -> Architecture:
    return loads_architecture(SPEC.format(left=left, right=right, ports=ports, more=more))


def product(m: int, n: int, k: int, g: int = 1) -> tuple[Workload, Einsum]:
    b = WorkloadBuilder("product", bits=8)
    b.output(b.matmul(b.input("a", (g, m, k)), b.weight("b", (g, k, n)), out="c"))
    workload = b.build()
    return workload, next(workload.einsums())[0]


def bound(m: int, n: int, k: int, arch: Architecture, g: int = 1) -> ProductBound:
    return product_bound(*product(m, n, k, g), arch)


def nests(m: int, n: int, k: int, left: int, right: int) -> list[int]:
    """Bytes read by every pair of nested loops over blocks of whole rows and columns that fit."""
    found = []
    for high in (h for h in range(1, m + 1) if h * k <= left):
        for wide in (w for w in range(1, n + 1) if w * k <= right):
            rows, columns = ceil(m / high), ceil(n / wide)
            found.append(m * k + n * k * (rows if columns > 1 else 1))
            found.append(n * k + m * k * (columns if rows > 1 else 1))
    return found


@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(1, 120), st.integers(1, 120))
@SMALL
def test_no_nest_reads_less(mnk: tuple[int, int, int], left: int, right: int) -> None:
    m, n, k = mnk
    read = bound(m, n, k, machine(left, right)).read_bytes
    found = nests(m, n, k, left, right)
    assert all(nest >= read for nest in found)
    whole_blocks = left % k == right % k == 0 and found
    if whole_blocks:
        assert min(found) == read


@pytest.mark.parametrize(
    "left, right, fetches",
    [(80, 120, (1, 1)), (79, 120, (1, 1)), (80, 1, (1, 1)), (79, 119, (2, 1)), (40, 30, (1, 2)), (30, 60, (2, 1)),
     (20, 20, (1, 4))],
)  # fmt: skip
def test_an_operand_is_fetched_anew_where_both_exceed(left: int, right: int, fetches: tuple[int, int]) -> None:
    """A has 8 x 10 bytes, B 10 x 12: again is cheaper for the one whose bytes times the other's blocks are fewer."""
    found = bound(8, 12, 10, machine(left, right))
    assert found.fetches == fetches
    assert found.read_bytes == 80 * fetches[0] + 120 * fetches[1]
    assert found.write_bytes == 96
    assert found.traffic_cycles == found.read_bytes + 96


def test_cycles_are_the_larger_of_compute_and_traffic() -> None:
    slow = bound(8, 12, 10, machine(80, 120))
    assert slow.compute_cycles == 3 * 6 * 5
    assert slow.cycles == slow.traffic_cycles == 296
    apart = bound(8, 12, 10, machine(80, 120, "read_bandwidth: 3 B/cycle, write_bandwidth: 1.5 B/cycle"))
    assert apart.traffic_cycles == Fraction(200, 3)
    assert apart.cycles == apart.compute_cycles == 90
    free = bound(8, 12, 10, machine(80, 120, "bandwidth: unlimited", "clock: 250 MHz"))
    assert free.traffic_cycles == 0
    assert free.cycles == 4 * 90
    assert bound(8, 12, 10, machine(40, 60), g=3).read_bytes == 3 * (80 + 120) + 3 * 80 * 5


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.sampled_from([300, 600, 1000]))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_no_run_beats_the_bound(m: int, n: int, k: int, room: int) -> None:
    """The tile mapper, kept to nests of that kind, on one buffer and on two."""
    shared = loads_architecture(SPEC.format(left=room, right=room, ports="bandwidth: 1 B/cycle", more="")
                                .replace("operands: {weight: right}, ", ""))  # fmt: skip
    workload, einsum = product(m, n, k)
    only = Constraints(((einsum.name, uncut(einsum)),))
    least = product_bound(workload, einsum, shared)
    report = simulate(shared, workload, constraints=only)
    assert report.cycles >= least.cycles
    moved = report.traffic_bytes["dram"]
    assert moved["read"] >= least.read_bytes
    assert moved["write"] == least.write_bytes


def test_what_cannot_be_bounded_is_said() -> None:
    b = WorkloadBuilder("other")
    b.output(b.relu(b.input("x", (4, 4)), out="y"))
    workload = b.build()
    with pytest.raises(BadInput, match="not a sum of products of two operands"):
        product_bound(workload, next(workload.einsums())[0], machine(10, 10))
    lanes = loads_architecture(
        "name: lanes\nclock: 1 GHz\nmemories: {m: {kind: dram, capacity: 1 GB, bandwidth: 1 GB/s, standard: DDR4}}\n"
        "units: {v: {kind: vector, memory: m, lanes: 2, rates: {mac: 0}}}\n"
    )
    with pytest.raises(MappingError, match="no unit of lanes can run"):
        bound(2, 2, 2, lanes)
    with pytest.raises(UnsupportedPrecision, match=r"8 bits \(can: 4\)"):
        bound(2, 2, 2, machine(10, 10, more="weight_bits: [4]"))


# -- Einsums that stand alone ---------------------------------------------------------------------------------------


def alone(kind: str) -> tuple[Workload, Einsum]:
    model = load_model("opt-125m", phase="decode", weight_bits=4, state_bits=8, context=9)
    einsum = next(e for e, _ in model.einsums() if e.kind == kind)
    single = standalone(model, einsum)
    return single, next(single.einsums())[0]


def test_operands_keep_their_widths_and_roles() -> None:
    single, einsum = alone("Attention.values")
    share, values = (single.tensors[a.tensor] for a in einsum.inputs)
    assert (share.role, share.bits, values.role, values.bits) == (Role.INPUT, 16, Role.STATE, 8)
    assert values.shape == (1, 9, 12, 64)
    out = single.tensors[einsum.output.tensor]
    assert (out.role, out.bits, out.shape) == (Role.OUTPUT, 16, (1, 1, 12, 64))
    assert len(single.tensors) == 3
    assert with_precision(single, {"state": 4}).tensors[values.name].bits == 4


def test_a_written_part_of_a_tensor_stands_for_itself() -> None:
    """A decoded token's values are one row of the cache."""
    b = WorkloadBuilder("cache")
    cache = b.state("cache", (9, 8), 8)
    x, w = b.input("x", (1, 6)), b.weight("w", (8, 6), 4)
    b.linear(x, w, name="v", out=cache, at=(8, 0))
    b.output(b.relu(cache, out="y"))
    workload = b.build()
    einsum = next(workload.einsums())[0]
    single = standalone(workload, einsum)
    out = single.tensors["cache"]
    assert (out.shape, out.role, out.bits) == ((1, 8), Role.OUTPUT, 8)
    assert next(single.einsums())[0].sizes == einsum.sizes
    assert single.macs == 48


def test_an_einsum_that_reads_its_own_output_cannot_stand_alone() -> None:
    workload = parse_cascade("R[0,p] = 0\nR[i+1,p] = max(R[i,p], X[i,p])\n", {"i": 3, "p": 4}, name="running")
    with pytest.raises(BadInput, match="reads what it writes"):
        standalone(workload, next(e for e, _ in workload.einsums() if e.inputs))
