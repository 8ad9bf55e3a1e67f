"""A layer of GPT-3 on four A100, tensor parallel: parts of prefill, and one decode step as the sum of its operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...study.calibrate import NOMINAL, Calibration, Constants, Predictor, relative_error
from ...study.operator_shapes import OperatorShape, measured_of
from ..loader import Row, table
from .all_reduces import all_reduces, constants, seconds_at_peak

HIDDEN, HEADS, SOCKETS, SEQUENCES, CONTEXT = 12288, 96, 4, 8, 3072
"""GPT-3 175B (arXiv:2005.14165); 8 sequences of 2048 tokens of prompt, at the 1024th token after."""
LAYER_MS, SOURCE = 1.110897, "LLMCompass ISCA 2024 repository (BSD-3), sum of measured operators"
ALL_REDUCES = "4 A100, all to all"
REASON = "row-wise operators have a launch of their own, from the smallest measurement of each"


def decode_operators() -> tuple[OperatorShape, ...]:
    """One socket's operators of a decode step, in order."""
    share, head = HIDDEN // SOCKETS, HIDDEN // HEADS
    groups = SEQUENCES * HEADS // SOCKETS
    b, matmul = SEQUENCES, "matmul"
    return (
        OperatorShape("layernorm", b, HIDDEN),
        OperatorShape(matmul, b, 3 * share, HIDDEN),
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
    read = table(__package__, "gpt3_layer.csv")
    for r, m in zip(read, measured_of((("gpt3_layer.csv", r) for r in read), "gpt3_layer.csv"), strict=True):
        for kind, c in (("uncalibrated", NOMINAL), ("calibrated", found.constants)):
            own = launches.get(r["operator"]) if kind == "calibrated" else None
            used = c if own is None else replace(c, launch_s=own)
            value = m.seconds * (1 + relative_error(time, m, used)) * 1e3
            yield Row("latency", f"GPT-3 layer, {r['phase']}, {r['part']}, {kind}", m.seconds * 1e3, value, "ms", None,
                      r["source"], REASON if r["operator"] != "matmul" else "constants of other shapes")  # fmt: skip
    fit = constants([r for r in all_reduces(ALL_REDUCES) if r.fit])
    nominal = dict.fromkeys(launches, 0.0)
    for kind, c, e, launch, by_operator in (("uncalibrated", NOMINAL, 1.0, 0.0, nominal),
                                            ("calibrated", found.constants, *fit, launches)):  # fmt: skip
        value = decode_seconds(time, c, e, launch, by_operator) * 1e3
        yield Row("latency", f"GPT-3 layer, decode, all, {kind}", LAYER_MS, value, "ms", None, SOURCE,
                  f"5 % are missed; {REASON}")  # fmt: skip
