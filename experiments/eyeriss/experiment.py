"""Eyeriss (ISSCC 2016, JSSC 2017): AlexNet's convolutions on the chip, by its published mapping and bandwidths.

The mapping is the paper's: of every layer which filters, channels, rows and images a processing pass and the buffer
have. Nothing is fitted to the measured times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.layout import Layout, Spread
from ...arch.loader import load_spec
from ...components.spatial import SpatialArray
from ...ir import Einsum, Workload, standalone
from ...ir.build import WorkloadBuilder
from ...mapping.tree import BODY, Loop, Mapping, Move, Node, Op, Stay
from ...report import Report
from ...workloads import load_model
from ..loader import Row, table

BATCH, VGG_BATCH = 4, 3
JSSC = "Chen et al., JSSC 52(1), 2017"
LINK = (
    "maps cross the link uncompressed here; and where the buffer has no room for a second tile, loads wait for all of "
    "the first"
)


@dataclass(frozen=True)
class Layer:
    """A convolution with padding included in its input, and how the chip maps it (JSSC 2017, table II; ISCA 2016).

    Attributes:
        m, n, e: channels of results whose sums stay in the buffer, images there, and rows of results there.
        p, q: filters and channels that a PE works on in turn.
        r, t: sets of PEs with other channels, and with other filters.
    """

    name: str
    channels: int
    side: int
    filters: int
    kernel: int
    stride: int
    groups: int
    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int

    @property
    def rows(self) -> int:
        """Of results, and columns."""
        return (self.side - self.kernel) // self.stride + 1


LAYERS = (
    Layer("conv1", 3, 227, 96, 11, 4, 1, m=96, n=1, e=7, p=16, q=1, r=1, t=2),
    Layer("conv2", 96, 31, 256, 5, 1, 2, m=64, n=1, e=27, p=16, q=2, r=1, t=1),
    Layer("conv3", 256, 15, 384, 3, 1, 1, m=64, n=4, e=13, p=16, q=4, r=1, t=4),
    Layer("conv4", 384, 15, 384, 3, 1, 2, m=64, n=4, e=13, p=16, q=3, r=2, t=2),
    Layer("conv5", 384, 15, 256, 3, 1, 2, m=64, n=4, e=13, p=16, q=3, r=2, t=2),
)


def workload(layer: Layer) -> Workload:
    """One layer of AlexNet for four images."""
    b = WorkloadBuilder(layer.name)
    x = b.input("input", (BATCH, layer.channels, layer.side, layer.side))
    w = b.weight("weight", (layer.filters, layer.channels // layer.groups, layer.kernel, layer.kernel))
    b.output(b.conv(x, w, None, (layer.stride,) * 2, groups=layer.groups, name="conv"))
    return b.build()


def spreads(layer: Layer, arch: Architecture) -> tuple[Spread, ...]:
    """Sets of filter rows by rows of results, strips stacked, others beside them: along the columns where their rows
    leave room for it."""
    pes = arch.units["pes"]
    assert isinstance(pes, SpatialArray)
    wide = min(layer.e, pes.dimensions["columns"])
    beside = "columns" if wide * layer.t <= pes.dimensions["columns"] else "rows"
    found = (
        Spread("r", "rows", layer.kernel), Spread("p", "columns", wide), Spread("p", "rows", -(-layer.e // wide)),
        Spread("c", "rows", layer.r), Spread("m", beside, layer.t),
    )  # fmt: skip
    return tuple(s for s in found if s.factor > 1)


def mapping(layer: Layer, arch: Architecture, einsum: Einsum) -> Mapping:
    """The paper's mapping: images and rows in the buffer, then channels, then passes over filters."""
    filters, channels = layer.p * layer.t, layer.q * layer.r
    inside = (("n", 1), ("q", 1), ("c", layer.r), ("s", 1))
    layout = Layout(spreads(layer, arch), inside, {"weight": 0, "input": 2, "output": 2})
    loops = [("n", layer.n), ("g", 1), ("p", layer.e), ("m", layer.m), ("c", channels), ("m", filters)]
    loops = [(r, t) for i, (r, t) in enumerate(loops) if r in einsum.sizes and (i == 5 or t < einsum.sizes[r])]
    node: Node = Op("conv", "pes", "spatial", layout)
    for rank, tile in reversed(loops):
        node = Loop(rank, tile, node)
    at = tuple(BODY for _ in loops)
    stored = at[: 1 + max(i for i, (r, _) in enumerate(loops[:-2]) if r in einsum.output.ranks)] if loops[:-2] else ()
    outputs = layer.m * layer.n * layer.e * layer.rows * 2
    high = (layer.e - 1) * layer.stride + layer.kernel
    inputs = channels * layer.n * high * layer.side * 2
    weights = filters * channels * layer.kernel**2 * 2
    glb, buffer = arch.memories["glb"].capacity, arch.memories["filters"].capacity
    moves = (
        Move("input", "dram", "glb", at[:-1], at[:-1], 2 if 2 * inputs + outputs <= glb else 1),
        Move("weight", "dram", "filters", at, at, 2 if 2 * weights <= buffer else 1),
        Move("conv", "glb", "dram", stored, stored, 1, store=True),
    )
    stays = tuple(Stay(name, "dram", (), ()) for name in ("input", "weight", "conv"))
    return Mapping(layer.name, arch.name, node, stays, moves)


def machine(*, free_link: bool) -> Architecture:
    """The chip, with its link to DRAM or with one that takes no time."""
    spec = load_spec("eyeriss")
    free = {"memories.dram.bandwidth": "unlimited", "memories.dram.latency": "0 ns"}
    return (spec.with_values(free) if free_link else spec).build()


def run(layer: Layer, arch: Architecture) -> Report:
    model = workload(layer)
    einsum = next(e for e, _ in model.einsums())
    return simulate(arch, model, mapping=mapping(layer, arch, einsum))


def active_pes(layer: Layer, arch: Architecture) -> int:
    """PEs that work in a full step."""
    extent = {"r": layer.kernel, "p": layer.e, "c": layer.q * layer.r, "m": layer.p * layer.t}
    along = spreads(layer, arch)
    return prod(min(extent[r], prod(s.factor for s in along if s.rank == r)) for r in extent)


def compressed_words(tensor_bytes: float, zeros: float) -> float:
    """Words of 16 bits that a feature map takes with the chip's run-length code: three runs of zeros (5 bits each) and
    the values after them (16 bits) in 64 bits (JSSC 2017, section IV-D); as it is where that is no fewer."""
    return tensor_bytes / 2 * min(1.0, (1 - zeros) * 64 / 3 / 16)


def off_chip_bytes(report: Report) -> dict[str, float]:
    """Bytes that cross the link, by tensor."""
    moved: dict[str, float] = {}
    for row in report.energy:
        if row.component == "dram" and row.action in ("read", "write"):
            moved[row.tensor] = moved.get(row.tensor, 0) + row.count
    return moved


def rows() -> Iterator[Row]:
    """Processing times, active PEs and DRAM accesses of AlexNet; what is known of the rest, without judgement."""
    chip, free = machine(free_link=False), machine(free_link=True)
    records = {r["layer"]: r for r in table(__package__, "alexnet.csv")}
    zeros = [float(records[layer.name]["zeros_of_input_percent"]) / 100 for layer in LAYERS]
    processing = total = macs = plain = compressed = 0.0
    for i, layer in enumerate(LAYERS):
        record, where = records[layer.name], f"AlexNet, batch {BATCH}, {layer.name}"
        source = record["source"]
        yield Row("active PEs", where, float(record["active_pes"]), active_pes(layer, chip), "PEs", 0.0, source)
        report = run(layer, free)
        milliseconds = report.latency_s * 1e3
        processing += milliseconds
        macs += report.macs
        yield Row("processing time", where, float(record["processing_ms"]), milliseconds, "ms", 0.1, source)
        waited = run(layer, chip)
        total += waited.latency_s * 1e3
        yield Row("total time", where, float(record["total_ms"]), waited.latency_s * 1e3, "ms", None, source, LINK)
        moved = off_chip_bytes(waited)
        plain += sum(moved.values()) / 2
        after = zeros[min(i + 1, len(LAYERS) - 1)]
        compressed += moved["weight"] / 2
        compressed += compressed_words(moved["input"], zeros[i]) + compressed_words(moved["conv"], after)
    where = f"AlexNet, batch {BATCH}, all convolutions"
    published = sum(float(r["processing_ms"]) for r in records.values())
    yield Row("processing time", where, published, processing, "ms", 0.06, JSSC)
    yield Row("total time", where, sum(float(r["total_ms"]) for r in records.values()), total, "ms", None, JSSC, LINK)
    yield Row("DRAM accesses per MAC, compressed", where, 0.0029, compressed / macs, "words", 0.1, f"{JSSC}, abstract",
              "maps compressed by the published share of zeros in the inputs of each layer; a result by that of the "
              "layer after it")  # fmt: skip
    yield Row("DRAM accesses per MAC, not compressed", where, None, plain / macs, "words", None, JSSC,
              "the paper gives the compressed figure")  # fmt: skip
    yield from _vgg()


def _vgg() -> Iterator[Row]:
    """VGG-16, whose mapping is not published: every convolution alone, by the tile mapper, on the whole chip."""
    arch, workload = load_spec("eyeriss").build(), load_model("vgg16", batch=VGG_BATCH, bits=16)
    seconds = words = macs = 0.0
    waits: dict[str, float] = {}
    for einsum, times in workload.einsums():
        if not einsum.is_contraction or einsum.kind != "Conv":
            continue
        report = simulate(arch, standalone(workload, einsum))
        seconds, macs = seconds + times * report.latency_s, macs + times * report.macs
        words += times * sum(report.traffic_bytes["dram"].values()) / 2
        cause = report.bottleneck.split(":")[0]
        waits[cause] = waits.get(cause, 0.0) + times * report.latency_s
    where, most = f"VGG-16, batch {VGG_BATCH}", max(waits, key=lambda cause: waits[cause])
    ideal = macs / prod(arch.units["pes"].dimensions.values()) / float(arch.clock)  # type: ignore[attr-defined]
    yield Row("frame rate", where, 0.7, VGG_BATCH / seconds, "frame/s", None, f"{JSSC}, abstract",
              f"the chip's mapping is not published; the mapper's is {seconds / ideal:.2f} x the arithmetic, "
              f"the chip's 2.7 x; {most}")  # fmt: skip
    yield Row("DRAM accesses per MAC, compressed", where, 0.0035, None, "words", None, f"{JSSC}, abstract",
              "the zeros of VGG's feature maps are not published by layer")  # fmt: skip
    yield Row("DRAM accesses per MAC, not compressed", where, None, words / macs, "words", None, JSSC,
              "the paper gives the compressed figure")  # fmt: skip
