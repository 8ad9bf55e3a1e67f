"""Data Movement Is All You Need (MLSys 2021): bytes that a BERT encoder layer moves, kernel by kernel and fused.

A training step of one layer is a cascade of the kernels of a framework; the fused kernels are those of the paper. The
forward part, without dropout, also runs on a machine, one Einsum after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import Workload, contraction, count_operations, fused_traffic_curve, fusion_levels
from ...report.page import Figure
from ..loader import ANOTHER_ROUTE, Changes, Row, data_path, figures_of, table
from .layer import einsums_of_kernels, inference, kernels, moved_bytes, training_step

KERNELS = "which kernels the framework runs is not in the paper's summary: scaling scores, not queries, adds a tenth"
AGAIN = 0.05
"""Operands that do not fit beside each other come again, and results that the next one reads at once may stay."""
SOURCE = "Ivanov et al., MLSys 2021"
NO_COUNT = "the paper gives the reduction, not the bytes"
PEAKS = "both at data-sheet peaks; what was measured has products below their peak, and better layouts in the fused one"
TRAINING, FORWARD = "training step", "forward"


@cache
def machine(values: tuple[tuple[str, object], ...] = ()) -> Architecture:
    """That of ``machine.yaml``, on which the forward part runs, with changes."""
    return load_spec(data_path(__package__, "machine.yaml")).with_values(dict(values)).build()


def seconds(workload: Workload, fused: bool, changes: Changes = ()) -> float:
    """Time of a step in which every kernel takes the longer of its products and its bytes, at the peaks of a V100."""
    of, peak = einsums_of_kernels(workload), figures_of(table(__package__, "v100.csv"), changes)
    total = 0.0
    for group, nbytes in moved_bytes(workload, kernels(fused)).items():
        macs = sum(count_operations(e).macs for name in group for e in of[name] if contraction(e))
        total += max(2 * macs / peak["products"], nbytes / peak["memory"])
    return total


def rows() -> Iterator[Row]:
    """A training step counted, then the forward part counted, bounded and simulated."""
    published = {r["quantity"]: r for r in table(__package__, "published.csv")}
    step = training_step()
    unfused, fused = (sum(moved_bytes(step, kernels(f)).values()) for f in (False, True))
    for what, nbytes in (("kernel by kernel", unfused), ("fused kernels", fused)):
        yield Row("bytes moved", f"{TRAINING}, {what}", None, float(nbytes), "byte", None, SOURCE, NO_COUNT)
    for kernel, nbytes in moved_bytes(step, kernels(True)).items():
        if len(kernel) > 1:
            yield Row(
                "bytes moved", f"{TRAINING}, {' + '.join(kernel)}", None, float(nbytes), "byte", None, SOURCE, NO_COUNT
            )
    r = published["bytes moved less by fused kernels"]
    yield Row(r["quantity"], TRAINING, float(r["value"]), 1 - fused / unfused, "", None, r["source"], KERNELS)
    r = published["speed-up of training a layer"]
    speedup = seconds(step, False) / seconds(step, True)
    yield Row(r["quantity"], f"{TRAINING}, V100", float(r["value"]), speedup, "", None, r["source"], PEAKS)
    yield from _forward()


@cache
def forward_bytes(values: tuple[tuple[str, object], ...] = ()) -> int:
    """DRAM bytes of the forward part, one Einsum after the other, simulated."""
    report = simulate(machine(values), inference(), mapper="tile")
    return sum(report.traffic_bytes["dram"].values())


def buffer_bytes(arch: Architecture) -> int:
    """Capacity of the machine's buffer."""
    return int(arch.memories["buffer"].capacity)


def _forward() -> Iterator[Row]:
    """One Einsum after the other: counted and simulated; together: the least through the buffer."""
    work = inference()
    levels = {level.name: level.nbytes for level in fusion_levels(work)}
    moved = forward_bytes()
    where = f"{FORWARD}, one Einsum after the other"
    yield Row(
        "bytes moved",
        where,
        float(levels["unfused"]),
        float(moved),
        "byte",
        AGAIN,
        f"{ANOTHER_ROUTE}counted, operands and results once",
    )
    (point,) = fused_traffic_curve(work, [buffer_bytes(machine())])
    yield Row("bytes moved", f"{FORWARD}, together, at least", float(levels["full"]), float(point.fused_bytes), "byte",
              0.0, f"{ANOTHER_ROUTE}counted, what stands ready and the result once")  # fmt: skip


def figure(rows: Sequence[Row]) -> Figure:
    """Bytes of a training step by group of kernels that are fused, before and after."""
    step = training_step()
    alone = moved_bytes(step, kernels(False))
    shown = [r for r in rows if " + " in r.where]
    groups = [tuple(r.where.removeprefix(f"{TRAINING}, ").split(" + ")) for r in shown]
    bars: list[tuple[str, list[Any]]] = [
        ("kernel by kernel", [sum(alone[(name,)] for name in group) for group in groups]),
        ("fused", [r.accelsim for r in shown]),
    ]
    data = [
        {
            "type": "bar",
            "name": name,
            "x": [group[0] + " ..." for group in groups],
            "y": y,
            "marker": {"color": f"${i}"},
        }
        for i, (name, y) in enumerate(bars)
    ]
    return {"data": data, "layout": {"barmode": "group", "yaxis": {"title": "bytes moved"}}}
