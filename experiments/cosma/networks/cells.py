"""Networks of searched cells, 1000 classes: NASNet-A, PNASNet-5, AmoebaNet-D and DARTS.

Every cell works on the results of the two cells before it. Activation functions stand in front of convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....ir import Workload
from .net import Net

IMAGE = (1, 3, 224, 224)
CLASSES = 1000


def _separable(net: Net, x: str, out: int, kernel: int, stride: int = 1) -> str:
    """Two depthwise convolutions, a pointwise one behind each."""
    x = net.conv(net.depthwise(net.relu(x), kernel, stride, bias=False), out)
    return net.conv(net.depthwise(net.relu(x), kernel, bias=False), out)


def _halved(net: Net, x: str, out: int) -> str:
    """Half of the channels from every second pixel, half from those beside them (factorised reduction)."""
    x = net.relu(x)
    return net.concat([net.conv(x, out // 2, 1, 2), net.conv(x, out - out // 2, 1, 2)])


def _fitted(net: Net, x: str, out: int, like: str) -> str:
    """The result of an earlier cell with the channels, and at the resolution, of another."""
    if net.b.shape(x)[-1] > net.b.shape(like)[-1]:
        return _halved(net, x, out)
    return net.conv(net.relu(x), out) if net.b.shape(x)[1] != out else x


# -- NASNet-A (arXiv:1707.07012, figure 4 and appendix; 4 @ 1056, as keras.applications.nasnet has it) -----------------


def _nasnet_normal(net: Net, x: str, before: str, out: int) -> str:
    p = _fitted(net, before, out, x)
    h = net.conv(net.relu(x), out)
    return net.concat([
        p,
        net.add(_separable(net, h, out, 5), _separable(net, p, out, 3)),
        net.add(_separable(net, p, out, 5), _separable(net, p, out, 3)),
        net.add(net.pool(h, "average", 3), p),
        net.add(net.pool(p, "average", 3), net.pool(p, "average", 3)),
        net.add(_separable(net, h, out, 3), h),
    ])  # fmt: skip


def _nasnet_reduction(net: Net, x: str, before: str, out: int) -> str:
    p = _fitted(net, before, out, x)
    h = net.conv(net.relu(x), out)
    largest = net.pool(h, "max", 3, 2)
    a = net.add(_separable(net, h, out, 5, 2), _separable(net, p, out, 7, 2))
    b = net.add(largest, _separable(net, p, out, 7, 2))
    c = net.add(net.pool(h, "average", 3, 2), _separable(net, p, out, 5, 2))
    d = net.add(net.pool(a, "average", 3), b)
    e = net.add(_separable(net, a, out, 3), largest)
    return net.concat([b, c, d, e])


def nasnet_a() -> Workload:
    net = Net("nasnet_a_mobile", IMAGE, "same")
    filters, count = 44, 4
    stem = net.conv(net.x, 32, 3, 2, padding="valid")
    before, x = stem, _nasnet_reduction(net, stem, stem, filters // 4)
    before, x = x, _nasnet_reduction(net, x, before, filters // 2)
    for scale in (1, 2, 4):
        if scale > 1:
            before, x = x, _nasnet_reduction(net, x, before, filters * scale)
        for _ in range(count):
            before, x = x, _nasnet_normal(net, x, before, filters * scale)
    return net.classified(net.relu(x), CLASSES)


# -- PNASNet-5 (arXiv:1712.00559, figure 1; N = 3, F = 54, as slim/nets/nasnet/pnasnet.py has it) ----------------------


def _pnasnet_cell(net: Net, x: str, before: str, out: int, stride: int = 1) -> str:
    p = _fitted(net, before, out, x)
    h = net.conv(net.relu(x), out)

    def largest(y: str) -> str:
        return net.pool(y, "max", 3, stride)

    a = net.add(_separable(net, p, out, 5, stride), largest(p))
    b = net.add(_separable(net, h, out, 7, stride), largest(h))
    c = net.add(_separable(net, h, out, 5, stride), _separable(net, h, out, 3, stride))
    d = net.add(_separable(net, c, out, 3), largest(h))
    e = net.add(_separable(net, p, out, 3, stride), net.conv(net.relu(h), out, 1, stride) if stride > 1 else h)
    return net.concat([a, b, c, d, e])


def pnasnet_5() -> Workload:
    net = Net("pnasnet_5_mobile", IMAGE, "same")
    filters, count = 54, 3
    stem = net.conv(net.x, 32, 3, 2, padding="valid")
    before, x = stem, _pnasnet_cell(net, stem, stem, filters // 4, 2)
    before, x = x, _pnasnet_cell(net, x, before, filters // 2, 2)
    for scale in (1, 2, 4):
        for i in range(count):
            stride = 2 if scale > 1 and i == 0 else 1
            before, x = x, _pnasnet_cell(net, x, before, filters * scale, stride)
    return net.classified(net.relu(x), CLASSES)


# -- AmoebaNet-D (arXiv:1802.01548; cells and layers as torchgpipe/benchmarks/models/amoebanet has them) ---------------

Part = Callable[[Net, str, int], str]


def _bottleneck(net: Net, x: str, kernels: Sequence[tuple[int, int]], stride: int) -> str:
    """Convolutions on a quarter of the channels."""
    channels = net.b.shape(x)[1]
    x = net.conv(net.relu(x), channels // 4)
    for i, kernel in enumerate(kernels):
        steps = stride if len(kernels) == 1 else (1, stride) if i == 0 else (stride, 1)
        x = net.conv(net.relu(x), channels // 4, kernel, steps)
    return net.conv(net.relu(x), channels)


def _identity(net: Net, x: str, stride: int) -> str:
    return x if stride == 1 else _halved(net, x, net.b.shape(x)[1])


AMOEBA: dict[str, Part] = {
    "none": _identity,
    "conv 1x1": lambda net, x, stride: net.conv(net.relu(x), net.b.shape(x)[1], 1, stride),
    "conv 3x3": lambda net, x, stride: _bottleneck(net, x, ((3, 3),), stride),
    "conv 1x7 7x1": lambda net, x, stride: _bottleneck(net, x, ((1, 7), (7, 1)), stride),
    "max 2x2": lambda net, x, stride: net.pool(x, "max", 2, stride, padding="valid"),
    "max 3x3": lambda net, x, stride: net.pool(x, "max", 3, stride),
    "average 3x3": lambda net, x, stride: net.pool(x, "average", 3, stride),
}
Genotype = tuple[tuple[tuple[int, str], ...], tuple[int, ...]]
"""Pairs of (state, operator) whose results add up to a new state each; the states that are joined."""
AMOEBA_NORMAL: Genotype = (
    ((1, "conv 1x1"), (1, "max 3x3"), (1, "none"), (0, "conv 1x7 7x1"), (0, "conv 1x1"), (0, "conv 1x7 7x1"),
     (2, "max 3x3"), (2, "none"), (1, "average 3x3"), (5, "conv 1x1")),
    (0, 3, 4, 6),
)  # fmt: skip
AMOEBA_REDUCTION: Genotype = (
    ((0, "max 2x2"), (0, "max 3x3"), (2, "none"), (1, "conv 3x3"), (2, "conv 1x7 7x1"), (2, "max 3x3"),
     (3, "none"), (1, "max 2x2"), (2, "average 3x3"), (3, "conv 1x1")),
    (4, 5, 6),
)  # fmt: skip


def _amoeba_cell(net: Net, x: str, before: str, out: int, *, reduces: bool) -> str:
    parts, joined = AMOEBA_REDUCTION if reduces else AMOEBA_NORMAL
    states = [net.conv(net.relu(x), out), _fitted(net, before, out, x)]
    for (a, first), (b, second) in zip(parts[::2], parts[1::2], strict=True):
        found = [AMOEBA[part](net, states[i], 2 if reduces and i < 2 else 1) for i, part in ((a, first), (b, second))]
        states.append(net.add(*found))
    return net.concat([states[i] for i in joined])


def amoebanet_d() -> Workload:
    """18 normal cells, 208 filters: a benchmark of torchgpipe."""
    net = Net("amoebanet_d", IMAGE, "half")
    layers, filters = 18, 208
    channels = filters // 4
    stem = net.conv(net.x, channels, 3, 2)
    before = x = stem
    for _ in range(2):
        channels *= 2
        before, x = x, _amoeba_cell(net, x, before, channels, reduces=True)
    for stage in range(3):
        if stage:
            channels *= 2
            before, x = x, _amoeba_cell(net, x, before, channels, reduces=True)
        for _ in range(layers // 3):
            before, x = x, _amoeba_cell(net, x, before, channels, reduces=False)
    return net.classified(net.relu(x), CLASSES)


# -- DARTS (arXiv:1806.09055; genotype DARTS_V2 and NetworkImageNet of the authors' code) ------------------------------

DARTS_NORMAL: Genotype = (
    ((0, "separable 3x3"), (1, "separable 3x3"), (0, "separable 3x3"), (1, "separable 3x3"), (1, "separable 3x3"),
     (0, "skip"), (0, "skip"), (2, "dilated 3x3")),
    (2, 3, 4, 5),
)  # fmt: skip
DARTS_REDUCTION: Genotype = (
    ((0, "max 3x3"), (1, "max 3x3"), (2, "skip"), (1, "max 3x3"), (0, "max 3x3"), (2, "skip"), (2, "skip"),
     (1, "max 3x3")),
    (2, 3, 4, 5),
)  # fmt: skip


def _dilated(net: Net, x: str, stride: int) -> str:
    return net.conv(net.depthwise(net.relu(x), 3, stride, 2, bias=False), net.b.shape(x)[1])


DARTS_PARTS: dict[str, Part] = {
    "separable 3x3": lambda net, x, stride: _separable(net, x, net.b.shape(x)[1], 3, stride),
    "dilated 3x3": _dilated,
    "skip": _identity,
    "max 3x3": lambda net, x, stride: net.pool(x, "max", 3, stride),
}


def _darts_cell(net: Net, x: str, before: str, out: int, *, reduces: bool) -> str:
    parts, joined = DARTS_REDUCTION if reduces else DARTS_NORMAL
    larger = net.b.shape(before)[-1] > net.b.shape(x)[-1]
    states = [_halved(net, before, out) if larger else net.conv(net.relu(before), out), net.conv(net.relu(x), out)]
    for (a, first), (b, second) in zip(parts[::2], parts[1::2], strict=True):
        found = [
            DARTS_PARTS[part](net, states[i], 2 if reduces and i < 2 else 1) for i, part in ((a, first), (b, second))
        ]
        states.append(net.add(*found))
    return net.concat([states[i] for i in joined])


def darts() -> Workload:
    net = Net("darts_v2", IMAGE, "half")
    layers, channels = 14, 48
    before = net.conv(net.conv(net.x, channels // 2, 3, 2, relu=True), channels, 3, 2)
    x = net.conv(net.relu(before), channels, 3, 2)
    for i in range(layers):
        reduces = i in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduces else 1
        before, x = x, _darts_cell(net, x, before, channels, reduces=reduces)
    return net.classified(x, CLASSES)
