"""PE utilisation of row-stationary arrays: DRACO's group convolutions in MobileNetV1, and AlexNet on Eyeriss' array.

Layers run whole, as the published simulator runs them: a mapper that may cut them finds faster ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import Workload
from ...ir.build import WorkloadBuilder
from ...mapping.constraints import Constraints, OpConstraint
from ..loader import Row, data_path, table

GROUPS = (1, 2, 4, 8, 16, 32)
"""Channels per group that the former depthwise layers may have; the first of them has 32 channels."""
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Channels and stride of MobileNetV1's blocks (arXiv:1704.04861, table 1)."""
PAPER = "Jha et al., DRACO, ISVLSI 2020, arXiv:2006.15103, abstract"
EYERISS = "map_strategy.py of stanford-mast/nn_dataflow at 200 MHz, batch 4, rounded to 0.1 ms"
ALEXNET_MS = (13.9, 33.2, 19.2, 14.4, 9.6)
"""Processing time of conv1 to conv5 on 12 x 14 PEs without waiting for memory."""


def _conv(b: WorkloadBuilder, x: str, name: str, out: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
    weight = b.weight(f"{name}.weight", (out, b.shape(x)[1] // groups, kernel, kernel))
    return b.conv(x, weight, None, (stride, stride), (kernel // 2,) * 4, groups=groups, name=name)


def mobilenet_v1(channels_per_group: int) -> Workload:
    """The convolutions and the classifier of MobileNetV1, depthwise layers in groups of so many channels."""
    b = WorkloadBuilder("mobilenet_v1")
    x = _conv(b, b.input("image", (1, 3, 224, 224)), "conv1", 32, 3, 2)
    for i, (channels, stride) in enumerate(BLOCKS, 2):
        before = b.shape(x)[1]
        x = _conv(b, x, f"conv{i}_dw", before, 3, stride, before // channels_per_group)
        x = _conv(b, x, f"conv{i}_pw", channels, 1)
    b.output(x)
    b.output(b.linear(b.input("pooled", (1, 1024)), b.weight("fc.weight", (1000, 1024)), name="fc"))
    return b.build()


def alexnet(batch: int = 4) -> Workload:
    """The convolutions of AlexNet (Krizhevsky et al., NIPS 2012), each on an input of its own, padding included."""
    b = WorkloadBuilder("alexnet")
    layers = (("conv1", 3, 227, 96, 11, 4, 1), ("conv2", 96, 31, 256, 5, 1, 2), ("conv3", 256, 15, 384, 3, 1, 1),
              ("conv4", 384, 15, 384, 3, 1, 2), ("conv5", 384, 15, 256, 3, 1, 2))  # fmt: skip
    for name, channels, side, out, kernel, stride, groups in layers:
        x = b.input(f"{name}.input", (batch, channels, side, side))
        weight = b.weight(f"{name}.weight", (out, channels // groups, kernel, kernel))
        b.output(b.conv(x, weight, None, (stride, stride), groups=groups, name=name))
    return b.build()


def array(rows: int, columns: int, *, across_groups: bool = False) -> Architecture:
    """The row-stationary array; `across_groups` lets sets of several groups work at once."""
    values: dict[str, object] = {"units.pes.dimensions": {"rows": rows, "columns": columns}}
    if across_groups:
        values["units.pes.spread"] = {
            "rows": ["input_channel", "output_channel", "group"], "columns": ["output_channel", "group"],
        }  # fmt: skip
    return load_spec(data_path(__package__, "array.yaml")).with_values(values).build()


def cycles(arch: Architecture, workload: Workload) -> Mapping[str, float]:
    """Simulated cycles of every layer, none of them cut."""
    whole = tuple((e.name, OpConstraint(tiles=dict(e.sizes))) for e, _ in workload.einsums())
    report = simulate(arch, workload, constraints=Constraints(whole))
    return {o.name: float(o.cycles) for o in report.operators}


@cache
def mobilenet(rows: int, columns: int, group: int, across_groups: bool = False) -> Mapping[str, float]:
    return cycles(array(rows, columns, across_groups=across_groups), mobilenet_v1(group))


def utilisation(layers: Mapping[str, float], group: int, pes: int) -> float:
    """Mean over the layers of busy PEs over all PEs."""
    macs = {e.name: e.points for e, _ in mobilenet_v1(group).einsums()}
    return fmean(macs[name] / (n * pes) for name, n in layers.items())


def rows() -> Iterator[Row]:
    """Cycles of every layer of the reference table; totals; the gains over all sizes of groups; AlexNet's times."""
    eyeriss = cycles(array(12, 14), alexnet())
    for r in table(__package__, "cycles.csv"):
        if r["network"] == "alexnet":
            layers, what = eyeriss, "AlexNet, batch 4"
        else:
            layers = mobilenet(int(r["rows"]), int(r["columns"]), int(r["channels_per_group"]))
            what = f"MobileNetV1, {r['channels_per_group']} channels per group"
        where = f"{what}, {r['layer']}, {r['rows']}x{r['columns']}"
        yield Row("cycles", where, float(r["cycles"]), layers[r["layer"]], "cycles", 0.0, r["source"])
    for i, published in enumerate(ALEXNET_MS, 1):
        yield Row("processing time, memory never waited for", f"AlexNet, batch 4, conv{i}, 12x14", published,
                  eyeriss[f"conv{i}"] / 200e3, "ms", 0.05 / published, EYERISS)  # fmt: skip
    yield from _gains()


def _gains() -> Iterator[Row]:
    """Utilisation and latency of all sizes of groups, as gains over one channel per group."""
    uneven = "no one number of channels per group gives both published gains; the paper chooses it for the layers"
    across = "as above, with sets of several groups at once"
    for across_groups, side in ((False, 64), (False, 16), (True, 64)):
        before = mobilenet(side, side, 1, across_groups)
        start = sum(before.values()), utilisation(before, 1, side * side)
        paper = side == 64 and not across_groups
        place = f"{side}x{side}" + (", sets across groups" if across_groups else "")
        if paper:
            yield _known("total cycles", f"{place}, depthwise", 378_256, start[0], "cycles", 0.0)
            yield _known("mean utilisation of PEs", f"{place}, depthwise", 0.482, start[1], "fraction", 0.0005 / 0.482)
        for group in GROUPS[1:]:
            layers = mobilenet(side, side, group, across_groups)
            latency = sum(layers.values()) / start[0] - 1
            busy = utilisation(layers, group, side * side) / start[1] - 1
            where = f"MobileNetV1, {place}, {group} channels per group"
            if paper and group == 4:
                four = f"{place}, 4 channels per group"
                yield _known("total cycles", four, 214_456, sum(layers.values()), "cycles", 0.0)
                yield _known("latency, change", four, -0.433, latency, "fraction", 0.0005 / 0.433)
                yield _known("utilisation, change", four, 0.233, busy, "fraction", 0.0005 / 0.233)
            note = uneven if paper else across if across_groups else "the paper gives no figure for this array"
            yield Row("latency, change", where, -0.426 if paper else None, latency, "fraction", None, PAPER, note)
            yield Row("utilisation, change", where, 0.418 if paper else None, busy, "fraction", None, PAPER, note)


def _known(quantity: str, place: str, published: float, found: float, unit: str, tolerance: float) -> Row:
    """A figure of the published simulator's rule for the whole network."""
    source = "sum or mean of the figures of cycles.csv"
    return Row(quantity, f"MobileNetV1, {place}", published, found, unit, tolerance, source)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Change of latency over the channels per group, for every array."""
    places: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.quantity == "latency, change" and row.tolerance is None and row.accelsim is not None:
            _, *place, group = row.where.split(", ")
            places.setdefault(", ".join(place), []).append((int(group.split()[0]), row.accelsim))
    data = [
        {"type": "scatter", "name": name, "x": [g for g, _ in points], "y": [y for _, y in points]}
        for name, points in places.items()
    ]
    axes = {"xaxis": {"title": "channels per group", "type": "log"}, "yaxis": {"title": "latency, change"}}
    return {"data": data, "layout": axes}
