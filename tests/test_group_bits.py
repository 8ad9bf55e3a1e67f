"""Metadata of groups: fractions of a bit per element, held and moved with the elements, never computed with."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL

from accelsim import load_architecture, simulate
from accelsim.arch.loader import loads_architecture
from accelsim.errors import BadInput
from accelsim.ir import (
    GroupBits,
    Role,
    Tensor,
    Workload,
    WorkloadBuilder,
    format_cascade,
    parse_precision,
    with_precision,
)
from accelsim.mapping.machine_bound import machine_bound


def product(m: int = 64, n: int = 1024, k: int = 512) -> Workload:
    b = WorkloadBuilder("fc", bits=8)
    x, w = b.input("x", (m, k)), b.weight("w", (k, n))
    b.output(b.matmul(x, w, out="y"))
    return b.build()


@given(st.integers(1, 16), st.integers(1, 32), st.integers(1, 512), st.integers(0, 2**40))
@SMALL
def test_bytes_are_rounded_up_once(bits: int, metadata: int, group: int, elements: int) -> None:
    share = GroupBits(bits, metadata, group).metadata_bits
    tensor = Tensor("w", (elements or 1,), Role.WEIGHT, bits, share)
    assert tensor.bytes_of(elements) == ceil(elements * (bits + Fraction(metadata, group)) / 8)
    assert tensor.nbytes == tensor.bytes_of(tensor.elements)


def test_a_row_of_llama_weights() -> None:
    """4096 weights of 4 bits in groups of 128 with 8 bits each: 2048 bytes and 32 more."""
    assert Tensor("w", (4096,), Role.WEIGHT, 4, GroupBits(4, 8, 128).metadata_bits).nbytes == 2080


def test_traffic_bounds_and_run_count_the_metadata() -> None:
    arch, plain = load_architecture("edge_npu"), with_precision(product(), {"weight": 4})
    grouped = with_precision(product(), {"weight": GroupBits(4, 8, 128)})
    more = 512 * 1024 // 128
    assert grouped.tensors["w"].nbytes - plain.tensors["w"].nbytes == more
    assert grouped.bytes_by_role()[Role.WEIGHT] == 512 * 1024 // 2 + more
    bounds = [machine_bound(w, arch).traffic.read_bytes for w in (plain, grouped)]
    runs = [simulate(arch, w, objective="energy") for w in (plain, grouped)]
    reads = [r.traffic_bytes["dram"]["read"] for r in runs]
    assert bounds[1] - bounds[0] == reads[1] - reads[0] == more


SERIAL = """
name: serial
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GB, bandwidth: unlimited, standard: DDR4}
  sram: {kind: buffer, parent: dram, capacity: 512 KiB, bandwidth: unlimited}
units:
  pe: {kind: bit_serial, memory: sram, rows: 32, cols: 32, dot_width: 4, weight_bits_per_cycle: 2}
"""


def test_units_compute_with_the_bits_alone() -> None:
    """8 bits of metadata beside every weight take no time on the array; 8 bits more of the weight itself do."""
    arch = loads_architecture(SERIAL)
    widths: list[int | GroupBits] = [8, GroupBits(8, 8, 1), 16]
    runs = [simulate(arch, with_precision(product(), {"weight": w})) for w in widths]
    busy = [r.operators[0].busy_cycles for r in runs]
    assert busy[0] == busy[1] == busy[2] / 2
    reads = [r.traffic_bytes["dram"]["read"] for r in runs]
    assert reads[1] == reads[2] == reads[0] + 512 * 1024


def test_text_and_views() -> None:
    given = parse_precision("weight=4:8/128+activation=8")
    assert given == {"weight": GroupBits(4, 8, 128), "activation": 8}
    b = WorkloadBuilder("view", bits=16)
    w = b.view(b.weight("w", (4, 256)), (8, 128), out="rows")
    b.output(b.relu(w, out="y"))
    workload = with_precision(b.build(), given)
    assert workload.tensors["rows"].metadata_bits == workload.tensors["w"].metadata_bits == Fraction(1, 16)
    assert with_precision(workload, {"w": 4}).tensors["rows"].metadata_bits == 0
    for text in ("weight=4:8", "weight=4:/128", "weight=0:8/128", "weight=4:0/128", "weight=4:8/0", "weight=4:999/1"):
        with pytest.raises(BadInput):
            parse_precision(text)


def test_an_iteration_hands_on_metadata_too() -> None:
    b = WorkloadBuilder("loop")
    x = b.input("x", (4, 4))
    with b.repeat("layers", 3) as scope:
        scope.carry(b.relu(x), x)
    b.relu(x)
    workload = b.build()
    with pytest.raises(BadInput, match=r"would have 16:1/16 bits .*give both the same: x=16:1/16"):
        with_precision(workload, {"activation": GroupBits(16, 8, 128)})


def test_the_cascade_notation_refuses_metadata() -> None:
    with pytest.raises(BadInput, match="no metadata of groups, and 'w' has"):
        format_cascade(with_precision(product(), {"w": GroupBits(4, 8, 128)}))
