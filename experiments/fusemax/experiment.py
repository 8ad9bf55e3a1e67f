"""FuseMax (MICRO 2024): unfused attention, FLAT, and the steps to FuseMax, by their published mappings.

The bound of each Program is compared with the published latency, which is a bound itself; the simulated latency must
lie at most 5 % above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from ... import simulate
from ...arch.loader import load_spec
from ...report import Report
from ..loader import Row, data_path, table
from .cascade import MODELS, Model, one_pass, three_passes
from .mappings import PRODUCTS, flat, fused, resident_blocks, serial, unfused

SIDE = 256
CAPACITY = 1 << 24
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
    if design in ("unfused", "flat"):
        work = three_passes(model, tokens)
        mapping = unfused(work.name, tokens, e, SIDE, 2 * CAPACITY) if design == "unfused" else flat(work.name, SIDE)
        return simulate(arch, work, mapping=mapping)
    work = one_pass(model, tokens)
    words = 2 * e + (514 if design == "cascade" else 2)
    resident = resident_blocks(e, tokens, SIDE, CAPACITY, words)
    if design == "cascade":
        return simulate(arch, work, mapping=fused(work.name, SIDE, resident, on_array=PRODUCTS, depth=2))
    if design == "architecture":
        return simulate(arch, work, mapping=serial(work.name, SIDE, resident))
    blocks = 2 if resident * SIDE <= 1 << 14 else 1
    return simulate(arch, work, mapping=fused(work.name, SIDE, resident, blocks=blocks))


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
        yield Row("latency over its bound", where, 1.025, report.cycles / report.bounds.program, "", 0.025,
                  "between 1 and 1.05", "the published latency has no fill and drain")  # fmt: skip
        spilled = design == "flat" and tokens > 1024
        yield Row("DRAM traffic", where, float(r["dram_bytes"]), float(sum(report.traffic_bytes["dram"].values())),
                  "byte", None if spilled else DIGITS, r["source"], SPILLED if spilled else "")  # fmt: skip
