"""WorkloadBuilder: the usual operators of neural networks as cascades of Einsums. All importers build with it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..errors import BadInput
from .activations import ACTIVATIONS, product
from .builder import Builder, IndexLike, affine
from .einsum import Access, Affine, Apply, Const, Expr, Read
from .resample import ResampleOps
from .transposed import TransposedConvolution

_X = Read(0)


class WorkloadBuilder(TransposedConvolution, ResampleOps, Builder):
    """Builds a Workload operator by operator.

    Every operator appends its Einsums and returns the name of the tensor that holds the result. Common keywords:
    `name` (hint for the names of Einsums and tensors), `kind` (what the model calls the operator; a cascade adds its
    step, as in ``Softmax.exp``), `out` (name of the result: a new tensor, or a declared one, of which a box at offset
    `at` is written), `bits` (of a new result; default: the builder's).

    Example:
        >>> b = WorkloadBuilder("mlp")
        >>> x, w = b.input("x", (8, 64)), b.weight("w", (64, 32))
        >>> y = b.output(b.relu(b.matmul(x, w)))
        >>> b.build().macs
        16384
    """

    # -- contractions ------------------------------------------------------------------------------------------------

    def matmul(
        self, a: str, b: str, *, transpose_a: bool = False, transpose_b: bool = False, kind: str = "MatMul",
        name: str = "matmul", out: str | None = None, at: Sequence[int] | None = None, bits: int | None = None,
    ) -> str:
        """``a @ b`` of numpy: shapes (..., M, K) and (..., K, N), batch dimensions broadcast, vectors allowed."""
        sa, sb = self.shape(a), self.shape(b)
        if not sa or not sb:
            raise BadInput(f"{self.name}: '{name}' multiplies '{a}' {sa} and '{b}' {sb}: a scalar is no matrix")
        core_a, core_b = (["m", "k"] if len(sa) > 1 else ["k"]), (["k", "n"] if len(sb) > 1 else ["k"])
        if transpose_a:
            core_a.reverse()
        if transpose_b:
            core_b.reverse()
        batch_a, batch_b = sa[: len(sa) - len(core_a)], sb[: len(sb) - len(core_b)]
        batch = self._broadcast(name, batch_a, batch_b)
        sizes = {f"b{i}": size for i, size in enumerate(batch)}
        for tensor, shape, core in ((a, sa, core_a), (b, sb, core_b)):
            for rank, size in zip(core, shape[len(shape) - len(core):], strict=True):
                if sizes.setdefault(rank, size) != size:
                    raise BadInput(f"{self.name}: '{name}' multiplies '{a}' {sa} and '{b}' {sb}: rank {rank} is "
                                   f"{sizes[rank]} in one and {size} in '{tensor}'")
        sizes = {r: sizes[r] for r in (*(f"b{i}" for i in range(len(batch))), "m", "n", "k") if r in sizes}
        inputs = [
            Access(tensor, (*self._aligned(dims, batch, "b"), *map(affine, core)))
            for tensor, dims, core in ((a, batch_a, core_a), (b, batch_b, core_b))
        ]
        if inputs[0] == inputs[1]:
            raise BadInput(f"{self.name}: '{name}' multiplies vector '{a}' by itself; use reduce with a square")
        kept = [r for r in sizes if r != "k"]
        return self.compute("mul", inputs, kept, sizes, reduce="add", kind=kind, name=name, out=out, at=at, bits=bits)

    def linear(
        self, x: str, weight: str, bias: str | None = None, *, transpose_weight: bool = True, kind: str = "Linear",
        name: str = "linear", out: str | None = None, at: Sequence[int] | None = None, bits: int | None = None,
    ) -> str:
        """``x @ weight.T + bias``: x (..., K), weight (N, K), or (K, N) with ``transpose_weight=False``; bias (N,)."""
        if bias is None:
            return self.matmul(x, weight, transpose_b=transpose_weight, kind=kind, name=name, out=out, at=at, bits=bits)
        y = self.matmul(x, weight, transpose_b=transpose_weight, kind=kind, name=name, bits=bits)
        return self.elementwise("add", y, bias, kind=f"{kind}.bias", name=f"{name}.bias", out=out, at=at, bits=bits)

    # -- element by element ------------------------------------------------------------------------------------------

    def _activation(self, function: str, x: str, kind: str, name: str, out: str | None) -> str:
        return self.elementwise(ACTIVATIONS[function], x, kind=kind, name=name, out=out)

    def relu(self, x: str, *, kind: str = "Relu", name: str = "relu", out: str | None = None) -> str:
        return self._activation("relu", x, kind, name, out)

    def sigmoid(self, x: str, *, kind: str = "Sigmoid", name: str = "sigmoid", out: str | None = None) -> str:
        return self._activation("sigmoid", x, kind, name, out)

    def tanh(self, x: str, *, kind: str = "Tanh", name: str = "tanh", out: str | None = None) -> str:
        return self._activation("tanh", x, kind, name, out)

    def silu(self, x: str, *, kind: str = "Silu", name: str = "silu", out: str | None = None) -> str:
        """``x * sigmoid(x)``."""
        return self._activation("silu", x, kind, name, out)

    def gelu(
        self, x: str, *, approximate: str = "none", kind: str = "Gelu", name: str = "gelu", out: str | None = None
    ) -> str:
        """GELU by erf (`approximate` "none") or by tanh ("tanh"), as the ONNX operator names them."""
        if approximate not in ("none", "tanh"):
            raise BadInput(f"{self.name}: '{name}': gelu approximate='{approximate}' (one of none, tanh)")
        return self._activation("gelu" if approximate == "none" else "gelu_tanh", x, kind, name, out)

    def clip(
        self, x: str, low: float | None = None, high: float | None = None, *, kind: str = "Clip", name: str = "clip",
        out: str | None = None,
    ) -> str:
        """``min(max(x, low), high)``; a bound of None is no bound."""
        expr: Expr = _X
        if low is not None:
            expr = Apply("max", (expr, Const(low)))
        if high is not None:
            expr = Apply("min", (expr, Const(high)))
        return self.elementwise(expr, x, kind=kind, name=name, out=out)

    # -- reductions and normalisation --------------------------------------------------------------------------------

    def axes(self, x: str, axes: Sequence[int] | int | None) -> tuple[int, ...]:
        """Axes as sorted non-negative numbers; None means all. Raises BadInput for an axis that is not there."""
        n = len(self.shape(x))
        given = range(n) if axes is None else (axes,) if isinstance(axes, int) else axes
        if any(not -n <= a < n for a in given):
            raise BadInput(f"{self.name}: axes {tuple(given)} of '{x}' {self.shape(x)}: must lie in {-n}..{n - 1}")
        return tuple(sorted({a % n for a in given}))

    def reduce(
        self, x: str, op: str = "add", axes: Sequence[int] | int | None = None, keepdims: bool = False, *,
        mean: bool = False, expr: Expr | None = None, kind: str = "", name: str = "", out: str | None = None,
        bits: int | None = None,
    ) -> str:
        """Reduce `axes` (None: all) by `op`; with `mean`, divide by their number; `expr` maps elements first."""
        shape, gone = self.shape(x), self.axes(x, axes)
        hint = name or f"reduce_{'mean' if mean else op}"
        kind = kind or hint
        sizes = {f"i{d}": size for d, size in enumerate(shape)}
        indices: list[IndexLike] = [
            0 if d in gone else f"i{d}" for d in range(len(shape)) if keepdims or d not in gone
        ]
        inputs = [Access(x, tuple(map(affine, sizes)))]
        if not mean:
            return self.compute(expr or _X, inputs, indices, sizes, reduce=op, kind=kind, name=hint, out=out, bits=bits)
        total = self.compute(expr or _X, inputs, indices, sizes, reduce="add", kind=f"{kind}.sum", name=f"{hint}.sum",
                             bits=bits)
        share = Const(1 / prod(shape[d] for d in gone))
        return self.elementwise(product(_X, share), total, kind=f"{kind}.mean", name=f"{hint}.mean", out=out, bits=bits)

    def softmax(
        self, x: str, axis: int = -1, *, kind: str = "Softmax", name: str = "softmax", out: str | None = None
    ) -> str:
        """Numerically stable softmax over `axis`, as the cascade max, exp(x - max), sum, quotient (three passes)."""
        top = self.reduce(x, "max", axis, True, kind=f"{kind}.max", name=f"{name}.max")
        shifted = Apply("exp", (Apply("sub", (Read(0), Read(1))),))
        e = self.elementwise(shifted, x, top, kind=f"{kind}.exp", name=f"{name}.exp")
        total = self.reduce(e, "add", axis, True, kind=f"{kind}.sum", name=f"{name}.sum")
        return self.elementwise("div", e, total, kind=f"{kind}.div", name=f"{name}.div", out=out)

    def _scaled(
        self, x: str, inverse: str, scale: str | None, bias: str | None, kind: str, name: str, out: str | None,
        at: Sequence[int] | None = None,
    ) -> str:
        expr, tensors = product(Read(0), Read(1)), [x, inverse]
        for op, tensor in (("mul", scale), ("add", bias)):
            if tensor is not None:
                expr = Apply(op, (expr, Read(len(tensors))))
                tensors.append(tensor)
        return self.elementwise(expr, *tensors, kind=f"{kind}.scale", name=f"{name}.scale", out=out, at=at)

    def _inverse_norm(self, x: str, axes: tuple[int, ...], eps: float, kind: str, name: str) -> str:
        square = self.reduce(x, "add", axes, True, expr=product(_X, _X), kind=f"{kind}.square", name=f"{name}.square")
        mean = product(_X, Const(1 / prod(self.shape(x)[d] for d in axes)))
        inverse = Apply("rsqrt", (Apply("add", (mean, Const(eps))),))
        return self.elementwise(inverse, square, kind=f"{kind}.rsqrt", name=f"{name}.rsqrt")

    def layer_norm(
        self, x: str, scale: str | None = None, bias: str | None = None, axes: Sequence[int] | int = -1,
        eps: float = 1e-5, *, kind: str = "LayerNorm", name: str = "layer_norm", out: str | None = None,
    ) -> str:
        """``(x - mean) / sqrt(var + eps) * scale + bias`` over `axes`, biased variance (arXiv:1607.06450)."""
        over = self.axes(x, axes)
        mean = self.reduce(x, "add", over, True, mean=True, kind=kind, name=name)
        centered = self.elementwise("sub", x, mean, kind=f"{kind}.center", name=f"{name}.center")
        inverse = self._inverse_norm(centered, over, eps, kind, name)
        return self._scaled(centered, inverse, scale, bias, kind, name, out)

    def rms_norm(
        self, x: str, scale: str | None = None, axes: Sequence[int] | int = -1, eps: float = 1e-6, *,
        kind: str = "RMSNorm", name: str = "rms_norm", out: str | None = None, at: Sequence[int] | None = None,
    ) -> str:
        """``x / sqrt(mean(x^2) + eps) * scale`` over `axes` (Zhang and Sennrich, arXiv:1910.07467)."""
        inverse = self._inverse_norm(x, self.axes(x, axes), eps, kind, name)
        return self._scaled(x, inverse, scale, None, kind, name, out, at)

    # -- data movement -----------------------------------------------------------------------------------------------

    def concat(
        self, xs: Sequence[str], axis: int, *, kind: str = "Concat", name: str = "concat", out: str | None = None
    ) -> str:
        """Join tensors along `axis`: one copy per input, each into its own box of the result."""
        if not xs:
            raise BadInput(f"{self.name}: '{name}' joins no tensors")
        (axis,) = self.axes(xs[0], axis)
        shapes = [self.shape(x) for x in xs]
        rest = {s[:axis] + s[axis + 1:] for s in shapes}
        if len({len(s) for s in shapes}) > 1 or len(rest) > 1:
            raise BadInput(f"{self.name}: '{name}' joins shapes {', '.join(map(str, shapes))} along axis {axis}")
        full = list(shapes[0])
        full[axis] = sum(s[axis] for s in shapes)
        target = self.activation(out or self.unique(name), full, self.tensor(xs[0]).bits)
        offset = [0] * len(full)
        for x, shape in zip(xs, shapes, strict=True):
            self.elementwise("copy", x, kind=kind, name=f"{name}.copy", out=target, at=offset)
            offset[axis] += shape[axis]
        return target

    def transpose(
        self, x: str, perm: Sequence[int] | None = None, *, kind: str = "Transpose", name: str = "transpose",
        out: str | None = None,
    ) -> str:
        """Permute dimensions as numpy.transpose does; a copy."""
        shape = self.shape(x)
        order = tuple(reversed(range(len(shape)))) if perm is None else tuple(p % len(shape) for p in perm)
        if sorted(order) != list(range(len(shape))):
            raise BadInput(f"{self.name}: '{name}' permutes '{x}' {shape} by {order}")
        sizes = {f"i{d}": size for d, size in enumerate(shape)}
        return self._copy(Access(x, tuple(map(affine, sizes))), [f"i{d}" for d in order], sizes, kind, name, out)

    def _copy(
        self, source: Access, indices: Sequence[IndexLike], sizes: dict[str, int], kind: str, name: str, out: str | None
    ) -> str:
        bits = self.tensor(source.tensor).bits
        return self.compute(Read(0), [source], indices, sizes, kind=kind, name=name, out=out, bits=bits)

    def gather(
        self, table: str, rows: str, *, axis: int = 0, kind: str = "Gather", name: str = "gather",
        out: str | None = None, bits: int | None = None,
    ) -> str:
        """Rows of a table (V, ...) chosen by an integer tensor, or positions along another axis: a View, and a copy."""
        source = self.tensor(table)
        if not source.shape:
            raise BadInput(f"{self.name}: '{name}' gathers rows of the scalar '{table}'")
        (axis,) = self.axes(table, axis)
        chosen = self.look_up(table, rows, axis=axis, name=name)
        return self.elementwise("copy", chosen, kind=kind, name=name, out=out, bits=bits or source.bits)

    def reshape(self, x: str, shape: Sequence[int], *, out: str | None = None) -> str:
        """Another shape of the same elements, as a View; one dimension may be -1."""
        dims = list(shape)
        if dims.count(-1) == 1:
            known = prod(d for d in dims if d != -1)
            dims[dims.index(-1)] = self.tensor(x).elements // known if known else 0
        return self.view(x, dims, out=out)

    def slice(
        self, x: str, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int] | None = None, *,
        kind: str = "Slice", name: str = "slice", out: str | None = None,
    ) -> str:
        """Box of `x`: per dimension the first element, the number of elements and the step (may be negative)."""
        shape = self.shape(x)
        step = tuple(steps) if steps is not None else (1,) * len(shape)
        if not len(starts) == len(sizes) == len(step) == len(shape):
            raise BadInput(f"{self.name}: '{name}' of '{x}' {shape}: one start, size and step per dimension")
        ranks = {f"i{d}": size for d, size in enumerate(sizes)}
        source = tuple(Affine(((r, s),), start) for r, s, start in zip(ranks, step, starts, strict=True))
        return self._copy(Access(x, source), list(ranks), ranks, kind, name, out)

    def pad(
        self, x: str, before: Sequence[int], after: Sequence[int], value: float = 0.0, *, kind: str = "Pad",
        name: str = "pad", out: str | None = None,
    ) -> str:
        """`x` with `before` and `after` elements of `value` added per dimension (negative: cropped)."""
        shape = self.shape(x)
        if not len(before) == len(after) == len(shape):
            raise BadInput(f"{self.name}: '{name}' of '{x}' {shape}: one width before and after per dimension")
        ranks = {f"i{d}": b + s + a for d, (b, s, a) in enumerate(zip(before, shape, after, strict=True))}
        source = tuple(Affine(((r, 1),), -b) for r, b in zip(ranks, before, strict=True))
        return self._copy(Access(x, source, value), list(ranks), ranks, kind, name, out)

    def expand(
        self, x: str, shape: Sequence[int], *, kind: str = "Expand", name: str = "expand", out: str | None = None
    ) -> str:
        """`x` broadcast to `shape` (numpy rules, both ways), written out as a copy."""
        full = self._broadcast(name, self.shape(x), tuple(shape))
        ranks = {f"i{d}": size for d, size in enumerate(full)}
        source = Access(x, self._aligned(self.shape(x), full, "i"))
        return self._copy(source, list(ranks), ranks, kind, name, out)

    def upsample(
        self, x: str, factors: Sequence[int], *, kind: str = "Upsample", name: str = "upsample", out: str | None = None
    ) -> str:
        """Nearest neighbour by whole factors: element i of a dimension becomes elements i*f .. i*f + f-1."""
        shape = self.shape(x)
        if len(factors) != len(shape) or any(f < 1 for f in factors):
            raise BadInput(f"{self.name}: '{name}' of '{x}' {shape} by {tuple(factors)}: one factor >= 1 per dimension")
        ranks = {f"i{d}": size for d, size in enumerate(shape)}
        indices: list[IndexLike] = []
        for d, f in enumerate(factors):
            if f > 1:
                ranks[f"f{d}"] = f
            indices.append(Affine(((f"i{d}", f), (f"f{d}", 1))) if f > 1 else f"i{d}")
        source = Access(x, tuple(affine(f"i{d}") for d in range(len(shape))))
        return self._copy(source, indices, ranks, kind, name, out)
