"""Segmentation networks of torchvision (models/segmentation), 21 classes, without the auxiliary classifiers.

FCN (arXiv:1411.4038) and DeepLabV3 (arXiv:1706.05587) on ResNet-50 with dilated layers 3 and 4, L-RASPP
(arXiv:1905.02244) on MobileNetV3-Large with a dilated last stage.
"""

from __future__ import annotations

from ....ir import Workload
from .net import Net

CLASSES = 21
IMAGE = (1, 3, 224, 224)


def _dilated_resnet50(net: Net) -> str:
    x = net.pool(net.conv(net.x, 64, 7, 2, relu=True), "max", 3, 2)
    dilation = 1
    for count, width, stride, dilated in ((3, 64, 1, False), (4, 128, 2, False), (6, 256, 2, True), (3, 512, 2, True)):
        first = dilation
        if dilated:
            dilation, stride = dilation * stride, 1
        for i in range(count):
            step, spread = (stride, first) if i == 0 else (1, dilation)
            y = net.conv(x, width, relu=True)
            y = net.conv(y, width, 3, step, dilation=spread, relu=True)
            y = net.conv(y, 4 * width)
            shortcut = net.conv(x, 4 * width, 1, step) if i == 0 else x
            x = net.b.relu(net.add(y, shortcut))
    return x


def fcn() -> Workload:
    net = Net("fcn_resnet50", IMAGE, "half")
    x = net.conv(_dilated_resnet50(net), 512, 3, relu=True)
    return net.built(net.upsample(net.conv(x, CLASSES), 8))


def deeplabv3() -> Workload:
    net = Net("deeplabv3_resnet50", IMAGE, "half")
    x = _dilated_resnet50(net)
    branches = [net.conv(x, 256, relu=True)]
    branches += [net.conv(x, 256, 3, dilation=rate, relu=True) for rate in (12, 24, 36)]
    pooled = net.conv(net.b.global_pool(x, "average"), 256, relu=True)
    branches.append(net.upsample(pooled, net.b.shape(x)[-1]))
    x = net.conv(net.concat(branches), 256, relu=True)
    x = net.conv(x, 256, 3, relu=True)
    return net.built(net.upsample(net.conv(x, CLASSES), 8))


MOBILENET_V3_LARGE = (
    # kernel, expanded, out, squeeze and excite, hard swish, stride, dilation
    (3, 16, 16, False, False, 1, 1), (3, 64, 24, False, False, 2, 1), (3, 72, 24, False, False, 1, 1),
    (5, 72, 40, True, False, 2, 1), (5, 120, 40, True, False, 1, 1), (5, 120, 40, True, False, 1, 1),
    (3, 240, 80, False, True, 2, 1), (3, 200, 80, False, True, 1, 1), (3, 184, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1), (3, 480, 112, True, True, 1, 1), (3, 672, 112, True, True, 1, 1),
    (5, 672, 160, True, True, 1, 2), (5, 960, 160, True, True, 1, 2), (5, 960, 160, True, True, 1, 2),
)  # fmt: skip
"""Table 1 of arXiv:1905.02244, the last stage dilated (torchvision, models/mobilenetv3.py)."""
LOW = 5
"""The block whose result, at an eighth of the resolution, is the low one of the head."""


def _divisible(n: float) -> int:
    """The nearest multiple of 8, at least 8 and at least nine tenths of it."""
    found = max(8, int(n + 4) // 8 * 8)
    return found + 8 if found < 0.9 * n else found


def lraspp() -> Workload:
    net = Net("lraspp_mobilenet_v3_large", IMAGE, "half")
    b = net.b
    x = net.hard_swish(net.conv(net.x, 16, 3, 2))
    low = x
    for i, (kernel, wide, out, excite, swish, stride, dilation) in enumerate(MOBILENET_V3_LARGE):

        def act(y: str, swish: bool = swish) -> str:
            return net.hard_swish(y) if swish else b.relu(y)

        y = act(net.conv(x, wide)) if wide != b.shape(x)[1] else x
        y = act(net.depthwise(y, kernel, stride, dilation))
        if excite:
            gate = net.conv(net.conv(b.global_pool(y, "average"), _divisible(wide / 4), relu=True), wide)
            y = b.elementwise("mul", y, b.sigmoid(gate), kind="Scale")
        y = net.conv(y, out)
        x = net.add(x, y) if stride == 1 and out == b.shape(x)[1] else y
        low = x if i == LOW else low
    high = net.hard_swish(net.conv(x, 960))
    gate = b.sigmoid(net.conv(b.global_pool(high, "average"), 128))
    y = b.elementwise("mul", net.conv(high, 128, relu=True), gate, kind="Scale")
    y = net.conv(net.upsample(y, 2), CLASSES)
    return net.built(net.upsample(net.add(net.conv(low, CLASSES), y), 8))
