"""Small machines and models for tests."""

from __future__ import annotations

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder


def array_machine(
    rows: int = 8,
    cols: int = 8,
    *,
    bandwidth: str = "unlimited",
    capacity: str = "1 MiB",
    dataflows: str = "[os, ws, is]",
    latency: str = "0 ns",
) -> Architecture:
    """One systolic array on one buffer, whose own ports are never the limit, and one DRAM."""
    return loads_architecture(
        f"""
name: array_machine
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 64 GiB, bandwidth: {bandwidth}, latency: {latency}}}
  sram: {{kind: buffer, capacity: {capacity}, parent: dram, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, rows: {rows}, cols: {cols}, dataflows: {dataflows}, mac_bits: 16}}
  vector: {{kind: vector, memory: sram, lanes: 16}}
"""
    )


def gemm(m: int, n: int, k: int, bits: int = 16) -> Workload:
    """A[m,k] times a weight B[k,n]."""
    b = WorkloadBuilder("gemm", bits=bits)
    y = b.matmul(b.input("A", (m, k)), b.weight("B", (k, n)))
    b.output(y)
    return b.build()
