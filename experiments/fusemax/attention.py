"""Attention: latency, traffic, utilisation and energy of every design, model and length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...components.pe_array import PeArray
from ...report import Report
from ..loader import Row, table
from . import closed_forms
from .cascade import MODELS, Model, tokens_of
from .ladder import DESIGNS, KEPT_TOKENS, run

LENGTHS = ("1K", "4K", "16K", "64K", "256K", "1M")
LATENCY_DIGITS = 5e-7
"""Half a unit of the last of seven printed digits, at most."""
TRAFFIC_DIGITS = 5e-6
ONCE = 1e-3
"""What reading operands again adds, where the published traffic has them once and they do not fit the buffer."""
COPIES = 2e-3
"""What setting running maxima and sums to their first values adds, which the published utilisation leaves out."""

CLOSED = "closed form of the MICRO 2024 artifact"
NO_SPILL = "what FLAT spills of heads of this size is not published: nothing, on both sides"
COUNTED = "the artifact lets operands pass the buffer by and leaves out drains, see the README; ratios are judged"
NO_CHOICE = "what FLAT keeps of this model at this length is not published"


def attention_rows() -> Iterator[Row]:
    """Every design, model and length."""
    printed = {(r["design"], r["model"], r["tokens"]): r for r in table(__package__, "attention.csv")}
    for design in DESIGNS:
        for model in MODELS:
            for length in LENGTHS:
                where = f"{design}, {model.name}, {length}"
                known = printed.get((design, model.name, length))
                if not chosen(design, model, length):
                    yield Row("latency bound", where, None, None, "s", None, "MICRO 2024", NO_CHOICE)
                    continue
                yield from _latency(design, model, length, known)
                yield _traffic(design, model, length, known)
                if known is not None:
                    report = run(design, model, tokens_of(length))
                    yield from _utilisation(where, report, known)
                    yield Row("energy", where, float(known["energy_pJ"]), report.energy_J * 1e12, "pJ", None,
                              known["source"], COUNTED)  # fmt: skip


def chosen(design: str, model: Model, length: str) -> bool:
    """Whether it is published what a design keeps on the chip."""
    return not (design == "flat" and model.head_size > 64 and length == "64K")


def bound_s(report: Report) -> float:
    """The bound of its Program in seconds."""
    return report.bounds.program / float(report.arch.clock)


def _again(design: str, length: str) -> bool:
    return design == "unfused" and tokens_of(length) > 65536


def _latency(design: str, model: Model, length: str, printed: Mapping[str, str] | None) -> Iterator[Row]:
    where, tokens = f"{design}, {model.name}, {length}", tokens_of(length)
    report = run(design, model, tokens)
    published, source = closed_forms.latency_s(design, model, tokens), CLOSED
    if printed is not None:
        published, source = float(printed["latency_s"]), printed["source"]
    tolerance = ONCE if _again(design, length) else LATENCY_DIGITS
    yield Row("latency bound", where, published, bound_s(report), "s", tolerance, source)
    yield band(where, report)


def band(where: str, report: Report, width: float = 0.05) -> Row:
    """Whether the simulated latency lies at most so much above the bound of its Program, and not below."""
    over = report.cycles / report.bounds.program
    return Row(f"simulated latency outside 0 to {width:.0%} above its bound", where, 0.0,
               max(0.0, over - 1 - width, 1 - over), "", 0.0, "the published latency has no fill and drain",
               f"{over - 1:.2%} above")  # fmt: skip


def _traffic(design: str, model: Model, length: str, printed: Mapping[str, str] | None) -> Row:
    """Bytes over the chip's edge."""
    where, tokens = f"{design}, {model.name}, {length}", tokens_of(length)
    moved = float(sum(run(design, model, tokens).traffic_bytes["dram"].values()))
    published, source = float(closed_forms.traffic_bytes(design, model, tokens)), CLOSED
    if printed is not None:
        published, source = float(printed["dram_bytes"]), printed["source"]
    tolerance = ONCE if _again(design, length) else TRAFFIC_DIGITS
    unknown = design == "flat" and model.head_size > 64 and 1024 < tokens <= KEPT_TOKENS
    return Row("DRAM traffic", where, published, moved, "byte", tolerance, source, NO_SPILL if unknown else "")


def array_utilisation(report: Report) -> float:
    """Part of the bound in which the 2D array works, fills and copies left out, as published."""
    array = report.arch.units["array2d"]
    assert isinstance(array, PeArray)
    cycles = 0.0
    for row in report.energy:
        if row.component == "array2d" and row.action not in ("register", "copy"):
            cycles += row.count / array.elements / float(array.rates.get(row.action, 1))
    return cycles / report.bounds.program


def _utilisation(where: str, report: Report, printed: Mapping[str, str]) -> Iterator[Row]:
    source = printed["source"]
    yield Row("utilisation of the 2D array", where, float(printed["util_2d"]), array_utilisation(report), "", COPIES,
              source)  # fmt: skip
    busy = report.utilization["array1d"]["busy"] * report.cycles / report.bounds.program
    yield Row("utilisation of the 1D array", where, float(printed["util_1d"]), busy, "", COPIES, source)
