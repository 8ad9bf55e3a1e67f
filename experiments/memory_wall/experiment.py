"""AI and Memory Wall: an encoder and a decoder on machines that grow by the published rates, two years at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...components.systolic import SystolicArray
from ...components.vector import VectorUnit
from ...ir import Workload
from ...report import Report
from ...simulation import simulate
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, build
from ...workloads.zoo import load
from ..loader import Row, beside, shown, table

BASE = "a100_80gb"
OPERATIONS, MEMORY, LINKS = 3.0, 1.6, 1.4
"""Published growth in two years."""
GENERATIONS = 4
ENCODER = "encoder: BERT-base, 16 x 512 tokens"
ALONE = "encoder: BERT-base, 1 x 512 tokens"
DECODER = "decoder: GPT-2 XL, a token at 512"
BATCHES = {ENCODER: 16, ALONE: 1}
MAPPERS = {ENCODER: "cascade", ALONE: "tile", DECODER: "tile"}
"""Attention that keeps its scores on the chip, where all of them are many."""
Growth = tuple[float, float]
"""Of operations, and of memory bandwidth, in two years."""
PUBLISHED: Growth = (OPERATIONS, MEMORY)


@cache
def machine(generation: int, growth: Growth = PUBLISHED) -> Architecture:
    """The GPU so many times two years on: units and their memory grow with operations, HBM with bandwidth."""
    spec = load_spec(BASE)
    base = spec.build()
    more, wider = growth[0] ** generation, growth[1] ** generation
    tensor, cuda = base.units["tensor"], base.units["cuda"]
    assert isinstance(tensor, SystolicArray) and isinstance(cuda, VectorUnit)  # as the preset has them
    port, on_chip = base.memories["hbm"].port("read"), base.memories["l2"].port("read")
    assert port is not None and on_chip is not None  # the preset gives bandwidths
    chip = f"{round(on_chip[1] * more / 1e9)} GB/s"
    return spec.with_values({
        "units.tensor.arrays": round(tensor.arrays * more),
        "units.cuda.lanes": round(cuda.lanes * more),
        "memories.l2.read_bandwidth": chip,
        "memories.l2.write_bandwidth": chip,
        "memories.hbm.bandwidth": f"{port[1] * wider / 1e9} GB/s",
    }).build()  # fmt: skip


@cache
def workload(which: str) -> Workload:
    bits = Bits(16, 16, 16)
    if which in BATCHES:
        spec = load_config(load("bert-base"), name="bert-base").spec
        return build(spec, "prefill", BATCHES[which], 512, 512, "none", bits)
    return build(load_config(load("gpt2-xl"), name="gpt2-xl").spec, "decode", 1, 1, 512, "last", bits)


@cache
def run(which: str, generation: int, growth: Growth = PUBLISHED) -> Report:
    return simulate(machine(generation, growth), workload(which), mapper=MAPPERS[which])


def gain(which: str, generation: int, since: int = 0, growth: Growth = PUBLISHED) -> float:
    """Of speed from one generation to another."""
    return run(which, since, growth).latency_s / run(which, generation, growth).latency_s


def intensity(which: str) -> float:
    """Operations, two per multiply-accumulate, per byte of inputs, weights, states and results."""
    found = workload(which)
    held = found.bytes_by_role()
    return 2 * found.macs / sum(n for role, n in held.items() if role.value != "activation")


def growth(column: str) -> float:
    """Of the devices' table in two years, by a line through the logarithms."""
    rows_ = table(__package__ or "", "devices.csv")
    years, values = ([float(r[c]) for r in rows_] for c in ("year", column))
    slope = np.polyfit(years, np.log(values), 1)[0]
    return float(np.exp(2 * slope))


def rows() -> Iterator[Row]:
    """Growth of devices; gains of encoder and decoder, generation by generation; what limits them."""
    published = {(r["quantity"], r["where"]): r for r in table(__package__ or "", "published.csv")}
    columns = {
        "peak operations": "tera_operations_per_s",
        "memory bandwidth": "memory_GB_per_s",
        "bandwidth of links": "links_GB_per_s",
    }
    for where, column in columns.items():
        yield beside(published["growth in two years", where], growth(column))
    for which in (ENCODER, DECODER):
        yield beside(published["gain of the first two years", which], gain(which, 1))
    yield beside(published["gain of six years", DECODER], gain(DECODER, 3))
    for which in (ENCODER, ALONE, DECODER):
        yield shown("operations per byte", which, intensity(which), "", "of what is held off chip before and after")
        for g in range(GENERATIONS):
            found = run(which, g)
            yield shown("latency", f"{which}, {2 * g} years on", found.latency_s * 1e3, "ms", found.bottleneck)
    many = 512 * run(DECODER, 0).latency_s / (run(ENCODER, 0).latency_s / 16)
    yield shown("time of 512 tokens, one by one over all at once", "GPT-2 XL over BERT-base", many, "",
                 "GPT-2 XL has 18 times as many weights outside of embeddings")  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Speed over that of the first machine, by year, beside the growth of operations and bandwidth."""
    years = [2 * g for g in range(GENERATIONS)]
    data: list[dict[str, object]] = []
    for which in (ENCODER, ALONE, DECODER):
        found = [r.accelsim for r in rows if r.quantity == "latency" and r.where.startswith(which) and r.accelsim]
        data.append({"type": "scatter", "name": which, "x": years, "y": [found[0] / x for x in found]})
    for name, rate in (("operations", OPERATIONS), ("memory bandwidth", MEMORY)):
        data.append({"type": "scatter", "mode": "lines", "name": name, "x": years,
                     "y": [rate**g for g in range(GENERATIONS)], "line": {"dash": "dot"}})  # fmt: skip
    return {"data": data, "layout": {"xaxis": {"title": "years"}, "yaxis": {"title": "speed", "type": "log"}}}
