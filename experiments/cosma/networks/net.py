"""What the builders of these networks share: layers with batch normalisation folded into weights and a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ....ir import Apply, Const, Read, Workload, product
from ....ir.build import WorkloadBuilder

Size = int | Sequence[int]
Padding = Literal["same", "half", "valid"]
"""``same`` is TensorFlow's, ``half`` half of the kernel on both sides, as torch's models have it."""


class Net:
    """A network of images or videos in int8, (batch, channels, [time,] height, width).

    Args:
        name: of the Workload.
        shape: of the input.
        padding: of windows, unless a layer says otherwise.
    """

    def __init__(self, name: str, shape: Sequence[int], padding: Padding) -> None:
        self.b = WorkloadBuilder(name, bits=8)
        self.padding = padding
        self.x = self.b.input("input", shape)
        self._rectified: dict[str, str] = {}

    def _sizes(self, x: str, size: Size) -> tuple[int, ...]:
        n = len(self.b.shape(x)) - 2
        return (size,) * n if isinstance(size, int) else tuple(size)

    def _pads(
        self, x: str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Padding
    ) -> list[int]:
        before, after = [], []
        for n, k, s, d in zip(self.b.shape(x)[2:], kernel, stride, dilation, strict=True):
            if padding == "same":
                total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
                before.append(total // 2)
                after.append(total - total // 2)
            else:
                half = (k - 1) * d // 2 if padding == "half" else 0
                before.append(half)
                after.append(half)
        return [*before, *after]

    def conv(
        self,
        x: str,
        out: int,
        kernel: Size = 1,
        stride: Size = 1,
        *,
        groups: int = 1,
        dilation: Size = 1,
        relu: bool = False,
        bias: bool = True,
        padding: Padding | None = None,
    ) -> str:
        """Convolution, and an activation behind it."""
        k, s, d = (self._sizes(x, size) for size in (kernel, stride, dilation))
        name = self.b.unique("conv")
        weight = self.b.weight(f"{name}.weight", (out, self.b.shape(x)[1] // groups, *k))
        vector = self.b.weight(f"{name}.bias", (out,)) if bias else None
        pads = self._pads(x, k, s, d, padding or self.padding)
        y = self.b.conv(x, weight, vector, s, pads, d, groups, name=name)
        return self.b.relu(y) if relu else y

    def depthwise(self, x: str, kernel: Size, stride: Size = 1, dilation: Size = 1, *, bias: bool = True) -> str:
        channels = self.b.shape(x)[1]
        return self.conv(x, channels, kernel, stride, groups=channels, dilation=dilation, bias=bias)

    def relu(self, x: str) -> str:
        """What several branches rectify is rectified once."""
        if x not in self._rectified:
            self._rectified[x] = self.b.relu(x)
        return self._rectified[x]

    def hard_swish(self, x: str) -> str:
        gate = Apply("min", (Apply("max", (Apply("add", (Read(0), Const(3.0))), Const(0.0))), Const(6.0)))
        return self.b.elementwise(product(Read(0), product(gate, Const(1 / 6))), x, kind="HardSwish")

    def pool(self, x: str, op: str, kernel: Size, stride: Size = 1, *, padding: Padding | None = None) -> str:
        """``max`` or ``average``; padding counts."""
        k, s = self._sizes(x, kernel), self._sizes(x, stride)
        pads = self._pads(x, k, s, self._sizes(x, 1), padding or self.padding)
        return self.b.pool(x, op, k, s, pads, count_include_pad=True)

    def add(self, a: str, b: str) -> str:
        return self.b.elementwise("add", a, b, kind="Add")

    def concat(self, xs: Sequence[str]) -> str:
        """Along channels."""
        return xs[0] if len(xs) == 1 else self.b.concat(xs, 1)

    def upsample(self, x: str, factor: int) -> str:
        """To a larger image; nearest neighbours move as many bytes as interpolation."""
        return self.b.upsample(x, (1, 1, factor, factor))

    def classified(self, x: str, classes: int) -> Workload:
        """The mean of every channel, and a linear layer."""
        pooled = self.b.global_pool(x, "average")
        flat = self.b.view(pooled, self.b.shape(pooled)[:2])
        weight = self.b.weight("classes.weight", (classes, self.b.shape(flat)[1]))
        return self.built(self.b.linear(flat, weight, self.b.weight("classes.bias", (classes,)), name="classes"))

    def built(self, x: str) -> Workload:
        self.b.output(x)
        return self.b.build()
