"""FuseMax (MICRO 2024): unfused attention, FLAT, and the steps to FuseMax, by their published mappings.

The bound of each Program is compared with the published latency, which is a bound itself; the simulated latency must
lie at most 5 % above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...components.buffer import Buffer
from ...components.pe_array import PeArray
from ...errors import DoesNotFit
from ...report import Report
from ..loader import Row, data_path, table
from .cascade import MODELS, Model, one_pass, three_passes
from .mappings import PRODUCTS, flat, fused, resident_blocks, serial, unfused

SPILLED = "FLAT spills part of its scores (1/129 of them), which a Mapping keeps or moves tile by tile"
DIGITS = 5e-5


@cache
def run(design: str, model: Model, tokens: int) -> Report:
    """A design of the ladder at work on the attention of a model."""
    e = model.head_size
    file = "flat.yaml" if design in ("unfused", "flat", "cascade") else "fusemax.yaml"
    values: dict[str, object] = {}
    if design == "cascade":
        values["memories.buffer.capacity"] = "16 MiB"  # as published
    if design == "architecture":
        values["units.array2d.overlap"] = False
    arch = load_spec(data_path(__package__, file)).with_values(values).build()
    side, capacity = _side_and_capacity(arch)
    if design in ("unfused", "flat"):
        work = three_passes(model, tokens)
        mapping = unfused(work.name, tokens, e, side, capacity) if design == "unfused" else flat(work.name, side)
        return simulate(arch, work, mapping=mapping)
    work = one_pass(model, tokens)
    words = 2 * e + (514 if design == "cascade" else 2)  # of a resident query, as published
    resident = resident_blocks(e, tokens, side, capacity, words)
    if design == "cascade":
        return simulate(arch, work, mapping=fused(work.name, side, resident, on_array=PRODUCTS, depth=2))
    if design == "architecture":
        return simulate(arch, work, mapping=serial(work.name, side, resident))
    try:
        return simulate(arch, work, mapping=fused(work.name, side, resident, blocks=2))
    except DoesNotFit:
        return simulate(arch, work, mapping=fused(work.name, side, resident))


def _side_and_capacity(arch: Architecture) -> tuple[int, int]:
    """Rows of the 2D array, and bytes of the buffer."""
    array, buffer = arch.units["array2d"], arch.memories["buffer"]
    assert isinstance(array, PeArray) and isinstance(buffer, Buffer)
    return array.rows, buffer.capacity


def rows() -> Iterator[Row]:
    """Latency and traffic of every design, model and length."""
    models = {m.name: m for m in MODELS}
    for r in table(__package__, "attention.csv"):
        design, tokens = r["design"], int(r["tokens"].removesuffix("K")) * 1024
        if design == "flat" and tokens > 16384:
            continue  # its rows of scores exceed the buffer
        report = run(design, models[r["model"]], tokens)
        where, clock = f"{design}, {r['model']}, {r['tokens']}", float(report.arch.clock)
        published = float(r["latency_s"])
        yield Row("latency bound", where, published, report.bounds.program / clock, "s", DIGITS, r["source"])
        over = report.cycles / report.bounds.program
        yield Row("simulated latency outside 0 to 5 % above its bound", where, 0.0, max(0.0, over - 1.05, 1 - over), "",
                  0.0, "the published latency has no fill and drain", f"{over - 1:.2%} above")  # fmt: skip
        spilled = design == "flat" and tokens > 1024
        yield Row("DRAM traffic", where, float(r["dram_bytes"]), float(sum(report.traffic_bytes["dram"].values())),
                  "byte", None if spilled else DIGITS, r["source"], SPILLED if spilled else "")  # fmt: skip
