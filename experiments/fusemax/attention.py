"""Attention: latency, traffic, utilisation and energy of every design, model and length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...components.pe_array import PeArray
from ...report import Report
from ..loader import Row, table
from . import closed_forms
from .cascade import BATCH, MODELS, Model
from .ladder import DESIGNS, run

LENGTHS = ("1K", "4K", "16K", "64K", "256K", "1M")
LATENCY_DIGITS = 5e-7
"""Half a unit of the last of seven printed digits, at most."""
TRAFFIC_DIGITS = 5e-6
ONCE = 1e-3
"""What reading operands again adds, where the published traffic has them once and they do not fit the buffer."""
SPILL_MOVES = 7
"""Times that a spilled score goes over the chip's edge: in the passes of a softmax, in and out."""
COPIES = 2e-3
"""What setting running maxima and sums to their first values adds, which the published utilisation leaves out."""

SPILLED = "but for what spills: a Mapping moves whole tiles, FLAT spills 1/129 of its scores"
TOO_LONG = "256 rows of scores are all of the buffer: steps that overlap hold 124, and read keys and values more often"
CLOSED = "closed form of the MICRO 2024 artifact"
NO_CHOICE = "what FLAT keeps of this model at this length is not published"


def tokens_of(length: str) -> int:
    """Tokens of a length such as 4K."""
    return int(length[:-1]) * {"K": 1024, "M": 1024**2}[length[-1]]


def attention_rows() -> Iterator[Row]:
    """Every design, model and length."""
    printed = {(r["design"], r["model"], r["tokens"]): r for r in table(__package__, "attention.csv")}
    spills = {(r["model"], r["tokens"]): float(r["spilled_fraction"]) for r in table(__package__, "flat_spill.csv")}
    for design in DESIGNS:
        for model in MODELS:
            for length in LENGTHS:
                where = f"{design}, {model.name}, {length}"
                known = printed.get((design, model.name, length))
                if not chosen(design, model, length):
                    yield Row("latency bound", where, None, None, "s", None, "MICRO 2024", NO_CHOICE)
                    continue
                yield from _latency(design, model, length, known)
                spilled = spills.get((model.name, length), 0.0) if design == "flat" else 0.0
                yield _traffic(design, model, length, known, spilled)
                if known is not None:
                    yield from _utilisation(where, run(design, model, tokens_of(length)), known)


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


def _traffic(design: str, model: Model, length: str, printed: Mapping[str, str] | None, spilled: float) -> Row:
    """Bytes over the chip's edge; `spilled` is the part of the scores that does not stay."""
    where, tokens = f"{design}, {model.name}, {length}", tokens_of(length)
    moved = float(sum(run(design, model, tokens).traffic_bytes["dram"].values()))
    published, source = float(closed_forms.traffic_bytes(design, model, tokens)), CLOSED
    if printed is not None:
        spills = SPILL_MOVES * spilled * BATCH * model.heads * tokens**2 * 2
        published, source = float(printed["dram_bytes"]) - spills, printed["source"]
    if design == "flat" and length == "64K":
        return Row("DRAM traffic", where, published, moved, "byte", None, source, TOO_LONG)
    tolerance = ONCE if _again(design, length) else TRAFFIC_DIGITS
    return Row("DRAM traffic", where, published, moved, "byte", tolerance, source, SPILLED if spilled else "")


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
