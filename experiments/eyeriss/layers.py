"""The convolutions that Eyeriss was measured on, how the chip maps them, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ...ir import Density, Workload, with_density
from ...ir.build import WorkloadBuilder
from ..loader import table

BATCH = {"alexnet": 4, "vgg16": 3}
"""Images of a measurement (JSSC 2017, tables V and VI)."""
SHAPE = ("channels", "side", "filters", "kernel", "stride", "groups")
MAPPED = ("m", "n", "e", "f", "p", "q", "r", "t")


@dataclass(frozen=True)
class Layer:
    """A convolution with padding included in its input, how the chip maps it, and its record in the table.

    Attributes:
        m, n, e: channels of results whose sums stay in the buffer, images there, and rows of results there.
        f: columns of results there.
        p, q: filters and channels that a PE works on in turn.
        r, t: sets of PEs with other channels, and with other filters.
        zeros: share of the input's elements, and of the result's.
        measured: columns of the table, by name.
    """

    network: str
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
    f: int
    p: int
    q: int
    r: int
    t: int
    zeros: tuple[float, float]
    measured: Mapping[str, str]

    @property
    def where(self) -> str:
        return f"{TITLES[self.network]}, {self.name}"

    def published(self, column: str) -> float:
        return float(self.measured[column])


TITLES = {"alexnet": "AlexNet, batch 4", "vgg16": "VGG-16, batch 3"}


@cache
def layers(network: str) -> tuple[Layer, ...]:
    """All convolutions of ``alexnet`` or ``vgg16``.

    The zeros of a result are those of the next layer's input, as no others are published: fewer than there are, where
    pooling lies between the two. The last layer's are those of its input.
    """
    records = table(__package__ or "", f"{network}.csv")
    zeros = [float(record["zeros_of_input_percent"]) / 100 for record in records]
    return tuple(
        Layer(
            network, record["layer"], **{key: int(record[key]) for key in (*SHAPE, *MAPPED)},
            zeros=(zeros[i], zeros[min(i + 1, len(records) - 1)]), measured=record,
        )
        for i, record in enumerate(records)
    )  # fmt: skip


def workload(layer: Layer, *, compressed: bool = False) -> Workload:
    """One layer for the images of a measurement.

    With `compressed`, feature maps have the zeros that were measured and the chip's code for them: runs of up to 31
    zeros in 5 bits (JSSC 2017, section IV-D), where that is shorter than 16 bits for every element.
    """
    b = WorkloadBuilder(layer.name)
    x = b.input("input", (BATCH[layer.network], layer.channels, layer.side, layer.side))
    w = b.weight("weight", (layer.filters, layer.channels // layer.groups, layer.kernel, layer.kernel))
    b.output(b.conv(x, w, None, (layer.stride,) * 2, groups=layer.groups, name="conv"))
    found = b.build()
    if compressed:
        kept = [Density.parse(f"{1 - share:.4f}/run_length") for share in layer.zeros]
        shorter = {name: d for name, d in zip(("input", "conv"), kept, strict=True) if d.bits(16) < 16}
        found = with_density(found, shorter)
    return found
