"""SCALE-Sim's cycles of output-, weight- and input-stationary systolic arrays without stalls.

SCALE-Sim prints the index of the last cycle, counted from 0, so its figure plus one is the number of cycles.
"""

from __future__ import annotations

from collections.abc import Iterator

from ... import simulate
from ...arch.loader import load_spec
from ...ir import Workload
from ...ir.build import WorkloadBuilder
from ..loader import Row, data_path, table


def gemm(m: int, n: int, k: int) -> Workload:
    """One product of an m × k input and a k × n weight, 8 bits per element."""
    builder = WorkloadBuilder(f"gemm_{m}x{n}x{k}", bits=8)
    builder.output(builder.matmul(builder.input("a", (m, k)), builder.weight("b", (k, n))))
    return builder.build()


def cycles(m: int, n: int, k: int, dataflow: str, rows: int, cols: int) -> float:
    """Simulated cycles of one GEMM on one array."""
    values = {"units.array.rows": rows, "units.array.cols": cols, "units.array.dataflows": [dataflow]}
    arch = load_spec(data_path(__package__, "array.yaml")).with_values(values).build()
    return float(simulate(arch, gemm(m, n, k)).cycles)


def rows() -> Iterator[Row]:
    """One row per layer, dataflow and array of the reference table."""
    for r in table(__package__, "scalesim_cycles.csv"):
        m, n, k, height, width = (int(r[name]) for name in ("m", "n", "k", "rows", "cols"))
        yield Row(
            quantity="cycles",
            where=f"{r['topology']} {r['layer']} ({m}x{n}x{k}), {r['dataflow']} {height}x{width}",
            published=int(r["last_cycle"]) + 1,
            accelsim=cycles(m, n, k, r["dataflow"], height, width),
            unit="cycles",
            tolerance=0.0,
            source=r["source"],
        )
