"""A layer of GPT-3 on four A100, tensor parallel: parts of prefill, and one decode step as the sum of its operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...study.calibrate import NOMINAL, Calibration, Constants, Predictor
from ...study.operator_shapes import OperatorShape, measured_of
from ..loader import Row, table
from .all_reduces import all_reduces, constants, seconds_at_peak

HIDDEN, HEADS, SOCKETS, SEQUENCES, CONTEXT = 12288, 96, 4, 8, 3072
"""GPT-3 175B (arXiv:2005.14165); 8 sequences of 2048 tokens of prompt, at the 1024th token after."""
LAYER_MS, SOURCE = 1.110897, "LLMCompass ISCA 2024 repository (BSD-3), sum of measured operators"
ALL_REDUCES = "4 A100, all to all"
TOLERANCE = 0.05
REASON = "row-wise operators have a launch of their own, from the smallest measurement of each"
PRODUCTS = "queries, keys and values are three products, as where they were measured"
PREFILL = "missed: queries times keys, a kernel far from its bandwidth; a prefill in full is not in the table"


def decode_operators() -> tuple[OperatorShape, ...]:
    """One socket's operators of a decode step, in order."""
    share, head = HIDDEN // SOCKETS, HIDDEN // HEADS
    groups = SEQUENCES * HEADS // SOCKETS
    b, matmul = SEQUENCES, "matmul"
    return (
        OperatorShape("layernorm", b, HIDDEN),
        *(OperatorShape(matmul, b, share, HIDDEN),) * 3,  # measured as one product of the three, three times
        OperatorShape(matmul, 1, CONTEXT, head, batch=groups),
        OperatorShape("softmax", groups, CONTEXT),
        OperatorShape(matmul, 1, head, CONTEXT, batch=groups),
        OperatorShape(matmul, b, HIDDEN, share),
        OperatorShape("layernorm", b, HIDDEN),
        OperatorShape(matmul, b, 4 * share, HIDDEN),
        OperatorShape("gelu_tanh", b, 4 * share),
        OperatorShape(matmul, b, HIDDEN, 4 * share),
    )


def decode_seconds(
    time: Predictor, fitted: Constants, efficiency: float, launch_s: float, launches: Mapping[str, float]
) -> float:
    """A decode step: operators one after the other, and an all-reduce after attention and after the MLP.

    `launches` are those of row-wise operators; others have that of products.
    """
    peak = seconds_at_peak(ALL_REDUCES, SOCKETS, SEQUENCES * HIDDEN * 2)
    alone = sum(time(s, fitted) + launches.get(s.operator, fitted.launch_s) for s in decode_operators())
    return alone + 2 * (peak / efficiency + launch_s)


def layer_rows(time: Predictor, found: Calibration, launches: Mapping[str, float]) -> Iterator[Row]:
    """Parts of a layer and a decode step, with constants that were fitted to other shapes."""
    fit = constants([r for r in all_reduces(ALL_REDUCES) if r.fit])
    nominal = dict.fromkeys(launches, 0.0)
    for kind, c, exchange, by_operator in (("uncalibrated", NOMINAL, (1.0, 0.0), nominal),
                                           ("calibrated", found.constants, fit, launches)):  # fmt: skip
        yield from _parts(kind, time, c, exchange, by_operator)
        value = decode_seconds(time, c, *exchange, by_operator) * 1e3
        yield Row("latency", f"GPT-3 layer, decode, all, {kind}", LAYER_MS, value, "ms",
                  TOLERANCE if kind == "calibrated" else None, SOURCE, f"{PRODUCTS}; {REASON}")  # fmt: skip


def _parts(
    kind: str, time: Predictor, c: Constants, exchange: tuple[float, float], launches: Mapping[str, float]
) -> Iterator[Row]:
    """Each part of the table, then those of prefill together."""
    read = table(__package__, "gpt3_layer.csv")
    products = [r for r in read if r["operator"] != "all_reduce"]
    measured = iter(measured_of((("gpt3_layer.csv", r) for r in products), "gpt3_layer.csv"))
    total, wanted = 0.0, 0.0
    for r in read:
        published, note = float(r["latency_ms"]), "constants of other shapes"
        if r["operator"] == "all_reduce":
            efficiency, launch_s = exchange
            nbytes = int(r["m"]) * int(r["n"]) * 2
            value = (seconds_at_peak(ALL_REDUCES, SOCKETS, nbytes) / efficiency + launch_s) * 1e3
        else:
            own = launches.get(r["operator"], c.launch_s)
            value = (time(next(measured).shape, c) + own) * 1e3
            note = note if r["operator"] == "matmul" else REASON
        if r["phase"] == "prefill":
            total, wanted = total + value, wanted + published
        where = f"GPT-3 layer, {r['phase']}, {r['part']}, {kind}"
        yield Row("latency", where, published, value, "ms", None, r["source"], note)
    yield Row("latency", f"GPT-3 layer, prefill, parts together, {kind}", wanted, total, "ms", None, SOURCE, PREFILL)
