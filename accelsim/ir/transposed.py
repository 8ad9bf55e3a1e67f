"""The transposed convolution as few convolutions, in which no product with an inserted zero is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from ..errors import BadInput
from .builder import affine
from .einsum import Access, Affine, Const
from .nn import ConvolutionOps

MOST_REACHES = 2**20
"""Pairs of an output and a filter element that are looked at in one dimension."""

MOST_PHASES = 4096
"""Einsums of one transposed convolution. Without dilation there are at most two for each dimension."""


@dataclass(frozen=True)
class Phase:
    """Outputs ``start + stride*p + f`` of a dimension, p < count and f < width.

    Each is the sum over t < taps of filter element ``tap + f + tap_step*t`` times input element ``p + shift - back*t``.
    """

    start: int
    count: int
    width: int
    taps: int
    tap: int
    tap_step: int
    shift: int
    back: int


def phases(outputs: int, kernel: int, stride: int, pad: int, dilation: int) -> list[Phase]:
    """The outputs of one dimension by the filter elements that reach them.

    Filter element r adds to output o what input element i holds, where ``o = i*stride + r*dilation - pad``: outputs
    that are equal modulo the stride share their filter elements. Neighbours with as many are one Phase.
    """
    found: list[Phase] = []
    for o in range(min(stride, outputs)):
        reach = [r for r in range(kernel) if (o + pad - r * dilation) % stride == 0]
        count = -(-(outputs - o) // stride)
        if not reach:
            one = Phase(o, count, 1, 0, 0, 1, 0, 1)
        else:
            step = reach[1] - reach[0] if len(reach) > 1 else 1
            shift = (o + pad - reach[0] * dilation) // stride
            one = Phase(o, count, 1, len(reach), reach[0], step, shift, step * dilation // stride)
        last = found[-1] if found else None
        if last is not None and _follows(last, one):
            found[-1] = replace(last, width=last.width + 1)
        else:
            found.append(one)
    return found


def _follows(last: Phase, one: Phase) -> bool:
    """Whether a Phase of one output is the next of a wider one: the same but for a filter element one further on."""
    same = (last.count, last.taps, last.tap_step, last.shift, last.back) == (
        one.count, one.taps, one.tap_step, one.shift, one.back)  # fmt: skip
    return same and (not one.taps or one.tap == last.tap + last.width)


class TransposedConvolution(ConvolutionOps):
    """`conv_transpose`, the gradient of a convolution as a layer of its own."""

    def conv_transpose(
        self, x: str, w: str, bias: str | None = None, strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None, dilations: Sequence[int] | None = None, groups: int = 1, *,
        outputs: Sequence[int] | None = None, kind: str = "ConvTranspose", name: str = "conv_transpose",
        out: str | None = None, bits: int | None = None,
    ) -> str:
        """Transposed convolution of x (N, C, spatial...) with w (C, M / groups, kernel...), as ONNX and torch have it.

        It is the convolution of the input dilated by the stride with the filter turned round. Of each output only the
        filter elements that meet an input element are counted, not those that meet an inserted zero: with kernel k,
        stride s and inputs i, a dimension costs k * i products when it has s * i outputs. Elements beyond the edges
        read as zero and are counted, as in `conv`.

        Args:
            x: input.
            w: filters.
            bias: (M,), an Einsum of its own.
            strides: of the input in the output, per spatial dimension; default: 1.
            pads: outputs cropped, all begins, then all ends.
            dilations: of the filter.
            groups: of channels.
            outputs: spatial size of the result; default: ``(i - 1) * s + d * (k - 1) + 1 - pads``. A larger one has
                more elements at the end.
            kind: see `WorkloadBuilder`.
            name: see `WorkloadBuilder`.
            out: see `WorkloadBuilder`.
            bits: see `WorkloadBuilder`.
        """
        sx, sw = self.shape(x), self.shape(w)
        n = len(sx) - 2
        if n < 1 or len(sw) != len(sx) or groups < 1 or sx[1] != sw[0] or sx[1] % groups:
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx} with '{w}' {sw} in {groups} groups: shapes (N, C, "
                           "spatial...) and (C, M / groups, kernel...), and C a multiple of the groups")
        stride, dilation = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
        pad = tuple(pads or (0,) * (2 * n))
        if not (len(stride) == len(dilation) == n and len(pad) == 2 * n and min(*stride, *dilation) >= 1):
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx}: needs {n} strides and dilations from 1, {2 * n} pads")
        size = tuple(outputs or ((sx[2 + d] - 1) * stride[d] + dilation[d] * (sw[2 + d] - 1) + 1 - pad[d] - pad[n + d]
                                 for d in range(n)))  # fmt: skip
        if len(size) != n or min(size) < 1:
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx} with '{w}' {sw}: result of spatial size {size}")
        width = self.tensor(x).bits if bits is None else bits
        target = None if bias is not None else out
        y = self.activation(target or self.unique(name), (sx[0], sw[1] * groups, *size), width)
        if max(min(stride[d], size[d]) * sw[2 + d] for d in range(n)) > MOST_REACHES:
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx} with '{w}' {sw}: strides {stride} are too large")
        parts = [phases(size[d], sw[2 + d], stride[d], pad[d], dilation[d]) for d in range(n)]
        if prod(len(part) for part in parts) > MOST_PHASES:
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx} with '{w}' {sw}: strides {stride} and dilations "
                           f"{dilation} make more than {MOST_PHASES} Einsums of it")
        for combination in product(*parts):
            self._phase(x, w, y, combination, stride, groups, kind, name)
        if bias is None:
            return y
        return self.per_channel("add", y, bias, kind=f"{kind}.bias", name=f"{name}.bias", out=out, bits=bits)

    def _phase(
        self, x: str, w: str, y: str, combination: Sequence[Phase], stride: Sequence[int], groups: int, kind: str,
        name: str,
    ) -> None:
        """One Einsum: the outputs of one Phase in every dimension."""
        sx, sw = self.shape(x), self.shape(w)
        m, c = sw[1], sx[1] // groups
        ranks = {"n": sx[0], **({"g": groups} if groups > 1 else {}), "m": m}
        reduced = {"c": c}
        source: list[Affine] = []
        filters: list[Affine] = []
        place: list[Affine] = []
        outside = False
        for d, phase in enumerate(combination):
            p, f, t = f"p{d}", f"f{d}", f"t{d}"
            ranks[p] = phase.count
            wide: tuple[tuple[str, int], ...] = ()
            if phase.width > 1:
                ranks[f], wide = phase.width, ((f, 1),)
            reduced[t] = phase.taps
            place.append(Affine(((p, stride[d]), *wide)))
            source.append(Affine(((p, 1), (t, -phase.back)), phase.shift))
            filters.append(Affine((*wide, (t, phase.tap_step)), phase.tap))
            low, high = phase.shift - phase.back * (phase.taps - 1), phase.shift + phase.count - 1
            outside = outside or low < 0 or high >= sx[2 + d]
        in_channel, out_channel = affine("c"), affine("m")
        if groups > 1:
            in_channel, out_channel = Affine((("g", c), ("c", 1))), Affine((("g", m), ("m", 1)))
        kept = [affine("n"), out_channel, *place]
        at = [0, 0, *(phase.start for phase in combination)]
        if not all(phase.taps for phase in combination):
            self.compute(Const(0.0), [], kept, ranks, kind=f"{kind}.zero", name=f"{name}.zero", out=y, at=at)
            return
        inputs = [
            Access(x, (affine("n"), in_channel, *source), 0.0 if outside else None),
            Access(w, (in_channel, affine("m"), *filters)),
        ]
        self.compute("mul", inputs, kept, {**ranks, **reduced}, reduce="add", kind=kind, name=name, out=y, at=at)
