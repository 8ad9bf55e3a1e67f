"""FuseMax (MICRO 2024): unfused attention, FLAT, and the steps to FuseMax, by their published mappings.

The bound of each Program is compared with the published latency, which is a bound itself; the simulated latency must
lie at most 5 % above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

SPILLED = "but for what spills: a Mapping moves whole tiles, FLAT spills 1/129 of its scores"
TOO_LONG = "256 rows of scores are all of the buffer: a step that overlaps another holds 124, and reads operands again"
CLOSED = "closed form of the MICRO 2024 artifact"
NO_CHOICE = "what FLAT keeps of this model at this length is not published"


def tokens_of(length: str) -> int:
    """Tokens of a length such as 4K."""
    return int(length[:-1]) * {"K": 1024, "M": 1024**2}[length[-1]]


def rows() -> Iterator[Row]:
    """Every design, model and length."""
    printed = {(r["design"], r["model"], r["tokens"]): r for r in table(__package__, "attention.csv")}
    spills = {(r["model"], r["tokens"]): float(r["spilled_fraction"]) for r in table(__package__, "flat_spill.csv")}
    for design in DESIGNS:
        for model in MODELS:
            for length in LENGTHS:
                known = printed.get((design, model.name, length))
                spilled = spills.get((model.name, length), 0.0) if design == "flat" else 0.0
                yield from _ladder(design, model, length, known, spilled)


def _ladder(design: str, model: Model, length: str, printed: Mapping[str, str] | None, spilled: float) -> Iterator[Row]:
    """Latency and traffic of a design; `spilled` is the part of the scores that does not stay."""
    where, tokens = f"{design}, {model.name}, {length}", tokens_of(length)
    if design == "flat" and model.head_size > 64 and length == "64K":
        yield Row("latency bound", where, None, None, "s", None, "", NO_CHOICE)
        return
    report = run(design, model, tokens)
    bound_s = report.bounds.program / float(report.arch.clock)
    moved = float(sum(report.traffic_bytes["dram"].values()))
    if printed is not None:
        published_s, published, source = float(printed["latency_s"]), float(printed["dram_bytes"]), printed["source"]
    else:
        published_s = closed_forms.latency_s(design, model, tokens)
        published, source = float(closed_forms.traffic_bytes(design, model, tokens)), CLOSED
    again = design == "unfused" and tokens > 65536
    yield Row("latency bound", where, published_s, bound_s, "s", ONCE if again else LATENCY_DIGITS, source)
    over = report.cycles / report.bounds.program
    yield Row("simulated latency outside 0 to 5 % above its bound", where, 0.0, max(0.0, over - 1.05, 1 - over), "",
              0.0, "the published latency has no fill and drain", f"{over - 1:.2%} above")  # fmt: skip
    if spilled and printed is not None:
        published -= SPILL_MOVES * spilled * BATCH * model.heads * tokens**2 * 2
    if design == "flat" and length == "64K":
        yield Row("DRAM traffic", where, published, moved, "byte", None, source, TOO_LONG)
    else:
        yield Row("DRAM traffic", where, published, moved, "byte", ONCE if again else TRAFFIC_DIGITS, source,
                  SPILLED if spilled else "")  # fmt: skip
