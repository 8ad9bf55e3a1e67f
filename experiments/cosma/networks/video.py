"""Video networks of torchvision, 400 classes: R(2+1)D-18 (arXiv:1711.11248) and S3D (arXiv:1712.04851)."""

from __future__ import annotations

from ....ir import Workload
from .net import Net

CLASSES = 400
FRAMES = 16
"""Frames of a clip."""


def r2plus1d_18() -> Workload:
    net = Net("r2plus1d_18", (1, 3, FRAMES, 112, 112), "half")
    x = net.conv(net.x, 45, (1, 7, 7), (1, 2, 2), relu=True)
    x = net.conv(x, 64, (3, 1, 1), relu=True)
    for planes in (64, 128, 256, 512):
        for i in range(2):
            channels = net.b.shape(x)[1]
            stride = 2 if planes > 64 and i == 0 else 1
            middle = channels * planes * 27 // (channels * 9 + 3 * planes)
            y = net.conv(x, middle, (1, 3, 3), (1, stride, stride), relu=True)
            y = net.conv(y, planes, (3, 1, 1), (stride, 1, 1), relu=True)
            y = net.conv(y, middle, (1, 3, 3), relu=True)
            y = net.conv(y, planes, (3, 1, 1))
            x = net.b.relu(net.add(y, net.conv(x, planes, 1, stride) if stride > 1 else x))
    return net.classified(x, CLASSES)


INCEPTION = (
    # branch 0; branch 1, in and out; branch 2, in and out; branch 3
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (),
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), (),
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
"""Channels of the blocks; empty where a pooling is."""


def _separable(net: Net, x: str, out: int, kernel: int, stride: int = 1) -> str:
    x = net.conv(x, out, (1, kernel, kernel), (1, stride, stride), relu=True)
    return net.conv(x, out, (kernel, 1, 1), (stride, 1, 1), relu=True)


def s3d() -> Workload:
    net = Net("s3d", (1, 3, FRAMES, 224, 224), "half")
    x = net.pool(_separable(net, net.x, 64, 7, 2), "max", (1, 3, 3), (1, 2, 2))
    x = _separable(net, net.conv(x, 64, relu=True), 192, 3)
    x = net.pool(x, "max", (1, 3, 3), (1, 2, 2))
    pools = iter(((3, 2, "half"), (2, 2, "valid")))
    for widths in INCEPTION:
        if not widths:
            kernel, stride, padding = next(pools)
            x = net.pool(x, "max", kernel, stride, padding="half" if padding == "half" else "valid")
            continue
        a, b_in, b_out, c_in, c_out, d = widths
        branches = [
            net.conv(x, a, relu=True),
            _separable(net, net.conv(x, b_in, relu=True), b_out, 3),
            _separable(net, net.conv(x, c_in, relu=True), c_out, 3),
            net.conv(net.pool(x, "max", 3), d, relu=True),
        ]
        x = net.concat(branches)
    x = net.pool(x, "average", (2, 7, 7), padding="valid")
    return net.built(net.b.global_pool(net.conv(x, CLASSES), "average"))
