"""Eyeriss (ISSCC 2016, JSSC 2017): AlexNet's and VGG-16's convolutions by the chip's mapping and published bandwidths.

Nothing is fitted to measured times: `row_stationary` carries out the mapping of each layer, and what the array waits
for follows from the bandwidths in the machine file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import standalone
from ...report import Report
from ...workloads import load_model
from ..loader import Row
from .layers import BATCH, TITLES, Layer, layers, workload
from .row_stationary import active_pes, mapping

JSSC = "Chen et al., JSSC 52(1), 2017"
ISCA = "Chen, Emer and Sze, ISCA 2016, figure 10"
IDEAL = "map_strategy.py of stanford-mast/nn_dataflow at 200 MHz, rounded to 0.1 ms"
FILTERS = {"memories.filters.capacity": "16 KiB"}
"""The 8 KiB of the chip hold the filters of the next pass, those at work are in registers of the PEs. Here what an Op
reads stays in its buffer until the Op ends, so that a second 8 KiB stand for the registers."""
FREE_LINK = {"memories.dram.bandwidth": "unlimited", "memories.dram.latency": "0 ns"}
LIMITS: Mapping[str, Mapping[str, object]] = {
    "filters": {"units.pes.network.weight": "unlimited", "memories.filters.bandwidth": "unlimited"},
    "inputs": {"units.pes.network.input": "unlimited"},
    "partial sums": {"units.pes.network.output": "unlimited"},
}
"""What the array waits for, and the bandwidths without which it does not."""
UNLIMITED = {k: v for limit in LIMITS.values() for k, v in limit.items()} | {"memories.glb.bandwidth": "unlimited"}
ELSEWHERE = ("alexnet", "conv3")
"""The layer whose published accesses to the buffer are not those of its published mapping."""
LEVELS = ("register files", "multipliers", "network of PEs", "buffer", "DRAM")
TOLERANCE = {"processing time": 0.1, "total time": 0.125, "DRAM traffic, compressed": 0.125, "buffer accesses": 0.02}
"""Of single layers."""
SUM_TOLERANCE = {"processing time": 0.06, "total time": 0.06, "DRAM traffic, compressed": 0.1, "buffer accesses": 0.02}


def machine(values: Mapping[str, object] | None = None, *, free_link: bool = False) -> Architecture:
    """The chip with its link to DRAM, or with one that takes no time, and some values of its file changed."""
    return load_spec("eyeriss").with_values({**FILTERS, **(FREE_LINK if free_link else {}), **(values or {})}).build()


def run(layer: Layer, arch: Architecture, *, compressed: bool = False) -> Report:
    """One layer by the chip's mapping; `compressed`: its feature maps cross the link in the chip's code."""
    model = workload(layer, compressed=compressed)
    einsum = next(e for e, _ in model.einsums())
    return simulate(arch, model, mapping=mapping(layer, arch, einsum))


def milliseconds(layer: Layer, values: Mapping[str, object] | None = None) -> float:
    """Processing time: what the layer takes if the link takes none."""
    return run(layer, machine(values, free_link=True)).latency_s * 1e3


def waits(layer: Layer) -> dict[str, float]:
    """Share of the processing time that is saved where one of the `LIMITS` is lifted."""
    whole = milliseconds(layer)
    return {name: 1 - milliseconds(layer, limit) / whole for name, limit in LIMITS.items()}


def buffer_megabytes(layer: Layer, report: Report) -> float:
    """Accesses to the buffer as the paper's tables count them, which shows in their figures.

    These are inputs that the array reads, sums that it reads and writes, and results on their way out; of VGG-16 the
    filters too, in units of 2^20 bytes.
    """
    counted = {("glb", "conv", "read"), ("glb", "conv", "write"), ("glb", "input", "read")}
    if layer.network == "vgg16":
        counted.add(("filters", "weight", "read"))
    found = sum(r.count for r in report.energy if (r.component, r.tensor, r.action) in counted)
    return found / (2**20 if layer.network == "vgg16" else 1e6)


def link_megabytes(report: Report) -> float:
    return sum(report.traffic_bytes["dram"].values()) / 1e6


def energy_by_level(report: Report) -> dict[str, float]:
    """Joules of every level, by `LEVELS`."""
    found = dict.fromkeys(LEVELS, 0.0)
    for row in report.energy:
        if row.component == "pes":
            level = {"mac": "multipliers", "transfer": "network of PEs"}.get(row.action, "register files")
        else:
            level = "DRAM" if row.component == "dram" else "buffer"
        found[level] += row.energy_J
    return found


@cache
def measured(network: str) -> Mapping[str, Mapping[str, float]]:
    """What the simulator has for the measured quantities of every layer: quantity, then layer."""
    found: dict[str, dict[str, float]] = {}
    for layer in layers(network):
        free = run(layer, machine(free_link=True))
        whole = run(layer, machine(), compressed=True)
        values = {"processing time": free.latency_s * 1e3, "total time": whole.latency_s * 1e3,
                  "buffer accesses": buffer_megabytes(layer, free), "DRAM traffic, compressed": link_megabytes(whole),
                  "DRAM traffic, not compressed": link_megabytes(free), "MACs": free.macs}  # fmt: skip
        for quantity, value in values.items():
            found.setdefault(quantity, {})[layer.name] = value
    return found


COLUMNS = {"processing time": ("processing_ms", "ms"), "total time": ("total_ms", "ms"),
           "buffer accesses": ("glb_MB", "MB"), "DRAM traffic, compressed": ("dram_MB", "MB")}  # fmt: skip


def rows() -> Iterator[Row]:
    """Both networks: every layer, then their sums and what follows from these."""
    for network in BATCH:
        for layer in layers(network):
            yield from _layer(layer)
        yield from _sums(network)
    yield from _energies()
    yield _mapped_freely()


def _layer(layer: Layer) -> Iterator[Row]:
    source, where = layer.measured["source"], layer.where
    yield Row("active PEs", where, layer.published("active_pes"), active_pes(layer, machine()), "PEs", 0.0, source)
    for quantity, (column, unit) in COLUMNS.items():
        note, tolerance = "", TOLERANCE.get(quantity)
        if quantity == "processing time":
            saved = ", ".join(f"{name} {share:.0%}" for name, share in waits(layer).items())
            note = f"time saved where one bandwidth is lifted: {saved}"
        if quantity == "buffer accesses" and (layer.network, layer.name) == ELSEWHERE:
            note, tolerance = "the published count is not that of the published mapping, but of conv4's: next row", None
        found = measured(layer.network)[quantity][layer.name]
        yield Row(quantity, where, layer.published(column), found, unit, tolerance, source, note)
    if (layer.network, layer.name) == ELSEWHERE:
        as_conv4 = replace(layer, q=3, r=2, t=2)
        for quantity, found in (("buffer accesses", buffer_megabytes(as_conv4, run(as_conv4, machine(free_link=True)))),
                                ("processing time", milliseconds(as_conv4))):  # fmt: skip
            column, unit = COLUMNS[quantity]
            yield Row(f"{quantity}, mapped as conv4", where, layer.published(column), found, unit, TOLERANCE[quantity],
                      source)  # fmt: skip
    if layer.measured["unlimited_ms"]:
        published = layer.published("unlimited_ms")
        yield Row("processing time, bandwidths unlimited", where, published, milliseconds(layer, UNLIMITED), "ms",
                  0.05 / published, IDEAL)  # fmt: skip


def _sums(network: str) -> Iterator[Row]:
    where, found = f"{TITLES[network]}, all convolutions", measured(network)
    macs = sum(found["MACs"].values())
    compressed, plain = (
        sum(found[f"DRAM traffic, {way}"].values()) * 1e6 / 2 / macs for way in ("compressed", "not compressed")
    )
    for quantity, (column, unit) in COLUMNS.items():
        without = ELSEWHERE[1] if (network, quantity) == (ELSEWHERE[0], "buffer accesses") else ""
        kept = [layer for layer in layers(network) if layer.name != without]
        yield Row(quantity, where + (f" but {without}" if without else ""), sum(x.published(column) for x in kept),
                  sum(found[quantity][x.name] for x in kept), unit, SUM_TOLERANCE[quantity], JSSC)  # fmt: skip
    rate = BATCH[network] / sum(found["total time"].values()) * 1e3
    published = {"alexnet": (34.7, 0.0029), "vgg16": (0.7, 0.0035)}[network]
    yield Row("frame rate", where, published[0], rate, "frame/s", 0.1, f"{JSSC}, abstract")
    yield Row("DRAM accesses per MAC, compressed", where, published[1], compressed, "words", 0.1,
              f"{JSSC}, abstract")  # fmt: skip
    yield Row("DRAM accesses per MAC, not compressed", where, None, plain, "words", None, JSSC,
              "the paper gives the compressed figure")  # fmt: skip


def _energies() -> Iterator[Row]:
    """By the energies of the machine file.

    Relative to a multiply-accumulate they are per 16-bit word: register 1, between PEs 2, buffer 6, DRAM 200 (ISCA
    2016, table IV).
    """
    whole = dict.fromkeys(LEVELS, 0.0)
    for layer in layers("alexnet"):
        found = energy_by_level(run(layer, machine()))
        more = [level for level in LEVELS if found[level] > found["register files"]]
        yield Row("levels that take more energy than register files", layer.where, 0, len(more), "levels", 0.0, ISCA)
        whole = {level: whole[level] + joules for level, joules in found.items()}
    for level, joules in whole.items():
        yield Row(f"share of energy, {level}", f"{TITLES['alexnet']}, all convolutions", None,
                  joules / sum(whole.values()), "fraction", None, ISCA,
                  "the figure shows bars without numbers: register files take most in convolutions")  # fmt: skip


def _mapped_freely() -> Row:
    """VGG-16 as the tile mapper has it: what the machine could do, not what the chip did."""
    arch, model = machine(), load_model("vgg16", batch=BATCH["vgg16"], bits=16)
    convolutions = [(e, times) for e, times in model.einsums() if e.is_contraction and e.kind == "Conv"]
    seconds = sum(times * simulate(arch, standalone(model, e)).latency_s for e, times in convolutions)
    return Row("frame rate, mapped freely", f"{TITLES['vgg16']}, all convolutions", 0.7, BATCH["vgg16"] / seconds,
               "frame/s", None, f"{JSSC}, abstract", "not the chip's mapping: the tile mapper takes more channels in a "
               "pass, so that fewer sums pass the buffer, and lays other ranks along the array")  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Times of every layer, published and simulated, relative to the published processing time."""
    kept = [r for r in rows if r.quantity in ("processing time", "total time") and "all" not in r.where]
    pairs = [(a, b) for a, b in pairwise(kept) if a.where == b.where]
    names = [a.where for a, _ in pairs]
    series = {
        "processing, published": [1.0 for _ in pairs],
        "processing, accelsim": [(a.accelsim or 0) / (a.published or 1) for a, _ in pairs],
        "total, published": [(b.published or 0) / (a.published or 1) for a, b in pairs],
        "total, accelsim": [(b.accelsim or 0) / (a.published or 1) for a, b in pairs],
    }
    data = [{"type": "bar", "name": name, "x": names, "y": values} for name, values in series.items()]
    return {"data": data, "layout": {"barmode": "group", "yaxis": {"title": "time / published processing time"}}}
