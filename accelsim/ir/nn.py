"""Operators over images: convolution, pooling, batch and local response normalisation, as Einsums."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..errors import BadInput
from .builder import Builder, affine
from .einsum import Access, Affine, Apply, Const, Read

MOST_WINDOWS = 2**24
"""Windows of an average that may hold different numbers of elements, for each of which a number is kept."""

_OUT = ("p", "q", "z")
_FILTER = ("r", "s", "t")


def _spatial(names: tuple[str, ...], letter: str, n: int) -> list[str]:
    return list(names[:n]) if n <= len(names) else [f"{letter}{i}" for i in range(n)]


class ConvolutionOps(Builder):
    """The operators whose accesses slide a window: indices stride * p + dilation * r - pad."""

    def _window(
        self, name: str, x: str, kernel: Sequence[int], strides: Sequence[int] | None, pads: Sequence[int] | None,
        dilations: Sequence[int] | None, ceil_mode: bool = False,
    ) -> tuple[list[Affine], dict[str, int], dict[str, int], bool]:
        """Spatial indices of the input, output ranks, filter ranks, and whether indices leave the tensor."""
        shape = self.shape(x)[2:]
        n = len(shape)
        stride, dilation = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
        pad = tuple(pads or (0,) * (2 * n))
        lengths = len(kernel) == len(stride) == len(dilation) == n and len(pad) == 2 * n
        if not lengths or min((*kernel, *stride, *dilation), default=1) < 1:
            raise BadInput(f"{self.name}: '{name}' over '{x}' {self.shape(x)}: needs {n} kernel sizes, strides and "
                           f"dilations from 1 and {2 * n} pads (all begins, then all ends)")
        outs: dict[str, int] = {}
        filters: dict[str, int] = {}
        indices: list[Affine] = []
        outside = False
        for d, (p, r) in enumerate(zip(_spatial(_OUT, "p", n), _spatial(_FILTER, "r", n), strict=True)):
            room = shape[d] + pad[d] + pad[n + d] - dilation[d] * (kernel[d] - 1) - 1
            if room < 0:
                raise BadInput(f"{self.name}: '{name}': window {tuple(kernel)} does not fit '{x}' {self.shape(x)} "
                               f"with pads {pad}")
            outs[p] = (-(-room // stride[d]) if ceil_mode else room // stride[d]) + 1
            if ceil_mode and (outs[p] - 1) * stride[d] >= shape[d] + pad[d]:
                outs[p] -= 1  # a window that starts in the padding at the end sees no element
            filters[r] = kernel[d]
            index = Affine(((p, stride[d]), (r, dilation[d])), -pad[d])
            low, high = index.bounds({**outs, **filters})
            outside = outside or low < 0 or high >= shape[d]
            indices.append(index)
        return indices, outs, filters, outside

    def conv(
        self, x: str, w: str, bias: str | None = None, strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None, dilations: Sequence[int] | None = None, groups: int = 1, *,
        outside: float = 0.0, kind: str = "Conv", name: str = "conv", out: str | None = None, bits: int | None = None,
    ) -> str:
        """Convolution of x (N, C, spatial...) with w (M, C / groups, kernel...), as ONNX and torch define it.

        One contraction over ranks n, g, m, c, p, q, r, s; g (only with groups) is in both operands. `pads` are all
        begins, then all ends; elements there are `outside` (the zero point of quantised ones). The bias (M,) is an
        Einsum of its own.
        """
        sx, sw = self.shape(x), self.shape(w)
        if len(sx) < 3 or len(sw) != len(sx):
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx} with '{w}' {sw}: shapes (N, C, spatial...) and "
                           "(M, C / groups, kernel...)")
        if groups < 1 or sx[1] != sw[1] * groups or sw[0] % groups:
            raise BadInput(f"{self.name}: '{name}' of '{x}' {sx} with '{w}' {sw} in {groups} groups: channels must be "
                           f"{groups} times {sw[1]}, and {sw[0]} filters a multiple of the groups")
        indices, outs, filters, beyond = self._window(name, x, sw[2:], strides, pads, dilations)
        m, c = sw[0] // groups, sw[1]
        channel, filter_ = affine("c"), affine("m")
        sizes = {"n": sx[0], "m": m, **outs, "c": c, **filters}
        if groups > 1:
            channel, filter_ = Affine((("g", c), ("c", 1))), Affine((("g", m), ("m", 1)))
            sizes = {"n": sx[0], "g": groups, **{r: s for r, s in sizes.items() if r != "n"}}
        inputs = [
            Access(x, (affine("n"), channel, *indices), outside if beyond else None),
            Access(w, (filter_, affine("c"), *map(affine, filters))),
        ]
        target = out if bias is None else None
        y = self.compute("mul", inputs, [affine("n"), filter_, *map(affine, outs)], sizes, reduce="add", kind=kind,
                         name=name, out=target, bits=bits)
        if bias is None:
            return y
        return self.per_channel("add", y, bias, kind=f"{kind}.bias", name=f"{name}.bias", out=out, bits=bits)

    def per_channel(
        self, op: str | Apply, x: str, *vectors: str, kind: str = "", name: str = "per_channel",
        out: str | None = None, bits: int | None = None,
    ) -> str:
        """Operator of x (N, C, ...) and vectors (C,), broadcast along every other dimension."""
        shape = self.shape(x)
        for v in vectors:
            if len(shape) < 2 or self.shape(v) != shape[1:2]:
                raise BadInput(f"{self.name}: '{name}': '{v}' {self.shape(v)} is not one value per channel of '{x}' "
                               f"{shape}")
        sizes = {f"i{d}": size for d, size in enumerate(shape)}
        inputs = [Access(x, tuple(map(affine, sizes))), *(Access(v, (affine("i1"),)) for v in vectors)]
        return self.compute(op, inputs, list(sizes), sizes, kind=kind or name, name=name, out=out, bits=bits)

    def batch_norm(
        self, x: str, scale: str, shift: str, *, kind: str = "BatchNormalization", name: str = "batch_norm",
        out: str | None = None,
    ) -> str:
        """Inference: ``x * scale + shift`` per channel, with mean and variance folded into the two weights (C,)."""
        expr = Apply("add", (Apply("mul", (Read(0), Read(1))), Read(2)))
        return self.per_channel(expr, x, scale, shift, kind=kind, name=name, out=out)

    def pool(
        self, x: str, op: str, kernel: Sequence[int], strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None, dilations: Sequence[int] | None = None, *, ceil_mode: bool = False,
        count_include_pad: bool = False, kind: str = "", name: str = "", out: str | None = None,
    ) -> str:
        """Pooling of x (N, C, spatial...) by `op`, ``max`` or ``average``.

        Where windows of an average hold different numbers of elements (padding that does not count), the reciprocals
        are a weight of the output's spatial shape, with its values in `constants`.
        """
        if op not in ("max", "average"):
            raise BadInput(f"{self.name}: '{name}' pools by '{op}' (max or average)")
        hint = name or f"{op}_pool"
        kind = kind or ("MaxPool" if op == "max" else "AveragePool")
        indices, outs, filters, outside = self._window(hint, x, kernel, strides, pads, dilations, ceil_mode)
        pad = (-np.inf if op == "max" else 0.0) if outside else None
        sizes = {"n": self.shape(x)[0], "c": self.shape(x)[1], **outs, **filters}
        source = [Access(x, (affine("n"), affine("c"), *indices), pad)]
        kept = ["n", "c", *outs]
        bits = self.tensor(x).bits
        if op == "max":
            return self.compute(Read(0), source, kept, sizes, reduce="max", kind=kind, name=hint, out=out, bits=bits)
        total = self.compute(Read(0), source, kept, sizes, reduce="add", kind=f"{kind}.sum", name=f"{hint}.sum",
                             bits=bits)
        if prod(outs.values()) > MOST_WINDOWS and outside:
            raise BadInput(f"{self.name}: '{hint}' over '{x}' {self.shape(x)}: {prod(outs.values())} windows of "
                           f"different sizes (at most {MOST_WINDOWS} where windows reach into padding)")
        counts = self._window_counts(x, indices, outs, filters, pads, count_include_pad) if outside else (
            np.full((1,) * len(outs), float(prod(filters.values()))))
        if counts.min() == 0:
            raise BadInput(f"{self.name}: '{hint}' over '{x}' {self.shape(x)}: a window lies in the padding alone")
        if counts.min() == counts.max():
            share = Apply("mul", (Read(0), Const(1 / float(counts.flat[0]))))
            return self.elementwise(share, total, kind=f"{kind}.mean", name=f"{hint}.mean", out=out, bits=bits)
        weight = self.weight(self.unique(f"{hint}.reciprocals"), counts.shape, bits)
        self.constants[weight] = 1 / counts
        return self.elementwise("mul", total, weight, kind=f"{kind}.mean", name=f"{hint}.mean", out=out, bits=bits)

    def _window_counts(
        self, x: str, indices: Sequence[Affine], outs: dict[str, int], filters: dict[str, int],
        pads: Sequence[int] | None, count_pad: bool,
    ) -> np.ndarray:
        """Elements that count in each window: shape of the output's spatial dimensions."""
        shape = self.shape(x)[2:]
        n = len(shape)
        counts = np.ones((1,) * 0)
        for d, (index, p, r) in enumerate(zip(indices, outs, filters, strict=True)):
            (_, stride), (_, dilation) = index.terms
            first = stride * np.arange(outs[p]) + index.offset
            low, high = (-pads[d], shape[d] + pads[n + d]) if count_pad and pads else (0, shape[d])
            # Elements of a window below a position, from where the window begins.
            below = [np.clip(-((first - end) // dilation), 0, filters[r]) for end in (low, high)]
            counts = np.multiply.outer(counts, (below[1] - below[0]).astype(float))
        return counts

    def global_pool(self, x: str, op: str, *, kind: str = "", name: str = "", out: str | None = None) -> str:
        """Pooling of every channel of x (N, C, spatial...) to one element: shape (N, C, 1, ...)."""
        size = self.shape(x)[2:]
        kind = kind or ("GlobalMaxPool" if op == "max" else "GlobalAveragePool")
        return self.pool(x, op, size, kind=kind, name=name or f"global_{op}_pool", out=out)

    def lrn(
        self, x: str, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, *, kind: str = "LRN",
        name: str = "lrn", out: str | None = None,
    ) -> str:
        """Local response normalisation over `size` channels of x (N, C, ...), as the ONNX operator LRN defines it."""
        shape = self.shape(x)
        if len(shape) < 2 or size < 1:
            raise BadInput(f"{self.name}: '{name}' over {size} channels of '{x}' {shape}")
        sizes = {f"i{d}": s for d, s in enumerate(shape)}
        kept = [affine(r) for r in sizes]
        window = Affine((("i1", 1), ("w", 1)), -((size - 1) // 2))
        source = Access(x, (kept[0], window, *kept[2:]), 0.0 if size > 1 else None)
        square = self.compute(Apply("mul", (Read(0), Read(0))), [source], kept, {**sizes, "w": size}, reduce="add",
                              kind=f"{kind}.square", name=f"{name}.square")
        base = Apply("add", (Apply("mul", (Read(1), Const(alpha / size))), Const(bias)))
        expr = Apply("div", (Read(0), Apply("pow", (base, Const(beta)))))
        return self.elementwise(expr, x, square, kind=f"{kind}.scale", name=f"{name}.scale", out=out)


