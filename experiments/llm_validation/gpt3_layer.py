"""A layer of GPT-3 on four A100, tensor parallel: its parts in prefill and in a decode step, and their sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...study.calibrate import NOMINAL, Calibration, Constants, Predictor
from ...study.operator_shapes import OperatorShape
from ..loader import Row, table
from .all_reduces import all_reduces, constants, seconds_at_peak

HIDDEN, SOCKETS, SEQUENCES, PROMPT, CONTEXT = 12288, 4, 8, 2048, 3072
"""GPT-3 175B (arXiv:2005.14165); prefill of 8 sequences, and their step at the 1024th token after."""
ALL_REDUCES = "4 A100, all to all"
TOLERANCE = 0.05
NOTE = "constants of other shapes"
REASON = "row-wise operators have a launch of their own, from the smallest measurement of each"
PRODUCTS = "queries, keys and values are three products, as where they were measured"


@dataclass(frozen=True)
class Part:
    """What one socket does `count` times in a layer, and its measured milliseconds together.

    An all-reduce has no shape; `nbytes` are those of its tensor, 0 for the others.
    """

    phase: str
    name: str
    shape: OperatorShape | None
    nbytes: int
    count: int
    latency_ms: float
    source: str


def layer_parts() -> tuple[Part, ...]:
    """Rows of the table, in order."""
    found = []
    for r in table(__package__, "gpt3_layer.csv"):
        m, n, k, batch = (int(r[key] or default) for key, default in (("m", 0), ("n", 0), ("k", 0), ("batch", 1)))
        exchanged = r["operator"] == "all_reduce"
        shape = None if exchanged else OperatorShape(r["operator"], m, n, k, batch=batch)
        nbytes = m * n * 2 if exchanged else 0
        found.append(Part(r["phase"], r["part"], shape, nbytes, int(r["count"]), float(r["latency_ms"]), r["source"]))
    return tuple(found)


def layer_rows(time: Predictor, found: Calibration, launches: Mapping[str, float]) -> Iterator[Row]:
    """Parts of a layer and their sums, one after the other, with constants that were fitted to other shapes.

    `launches` are those of row-wise operators; others have that of products.
    """
    fit = constants([r for r in all_reduces(ALL_REDUCES) if r.fit])
    nominal = dict.fromkeys(launches, 0.0)
    parts = layer_parts()
    for kind, c, exchange, own in (("uncalibrated", NOMINAL, (1.0, 0.0), nominal),
                                   ("calibrated", found.constants, fit, launches)):  # fmt: skip
        values = [p.count * _seconds(p, time, c, exchange, own) * 1e3 for p in parts]
        for phase in dict.fromkeys(p.phase for p in parts):
            here = [(p, value) for p, value in zip(parts, values, strict=True) if p.phase == phase]
            for p, value in here:
                row_wise = p.shape is not None and p.shape.operator != "matmul"
                yield Row("latency", f"GPT-3 layer, {phase}, {p.name}, {kind}", p.latency_ms, value, "ms", None,
                          p.source, REASON if row_wise else NOTE)  # fmt: skip
            yield Row("latency", f"GPT-3 layer, {phase}, all, {kind}", sum(p.latency_ms for p, _ in here),
                      sum(value for _, value in here), "ms", TOLERANCE if kind == "calibrated" else None,
                      here[0][0].source, f"{PRODUCTS}; {REASON}")  # fmt: skip


def _seconds(
    part: Part, time: Predictor, c: Constants, exchange: tuple[float, float], launches: Mapping[str, float]
) -> float:
    """One of a part's count."""
    if part.shape is None:
        efficiency, launch_s = exchange
        return seconds_at_peak(ALL_REDUCES, SOCKETS, part.nbytes) / efficiency + launch_s
    return time(part.shape, c) + launches.get(part.shape.operator, c.launch_s)
