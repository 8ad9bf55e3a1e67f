"""Where a layer is built: the builder, the sizes of the run, the prefix of names, and the parts that all layers use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...ir import ACTIVATIONS, Access, Affine, Apply, Read, WorkloadBuilder, affine, product
from .spec import Bits, Mlp, Norm, Options


@dataclass
class Site:
    """`tokens` new tokens in each of `batch` sequences, in a context of `context` tokens, themselves included."""

    b: WorkloadBuilder
    bits: Bits
    options: Options
    batch: int
    tokens: int
    context: int
    decoder: bool
    prefix: str = "layer"
    tables: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Cosines and sines of rotary embedding, by the number of elements turned; shared by all layers."""

    @property
    def past(self) -> int:
        return self.context - self.tokens

    def at(self, prefix: str, *, context: int | None = None) -> Site:
        """The same run under another prefix, with another context where a layer's cache is shorter."""
        return replace(self, prefix=prefix, context=self.context if context is None else context)

    def name(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def weight(self, name: str, *shape: int) -> str:
        """A weight of this layer."""
        return self.b.weight(self.name(name), shape, self.bits.weight)

    def linear(
        self, x: str, name: str, width: int, bias: bool = False, out: str | None = None,
        at: Sequence[int] | None = None,
    ) -> str:
        """``x @ weight.T + bias`` with weights of its own, called by `name`."""
        weight = self.weight(f"{name}.weight", width, self.b.shape(x)[-1])
        vector = self.weight(f"{name}.bias", width) if bias else None
        return self.b.linear(x, weight, vector, name=self.name(name), out=out, at=at)

    def norm(self, x: str, norm: Norm, name: str, out: str | None = None, at: Sequence[int] | None = None) -> str:
        """Normalise the last dimension of `x`, with weights of its own."""
        scale = self.weight(f"{name}.weight", self.b.shape(x)[-1])
        if norm.kind == "rms":
            return self.b.rms_norm(x, scale, eps=norm.eps, name=self.name(name), out=out, at=at)
        bias = self.weight(f"{name}.bias", self.b.shape(x)[-1])
        return self.b.layer_norm(x, scale, bias, eps=norm.eps, name=self.name(name), out=out)

    def mlp(self, x: str, mlp: Mlp, name: str = "") -> str:
        """An MLP on (..., hidden); `name` goes before ``gate``, ``up`` and ``down``."""
        b, act, hidden = self.b, ACTIVATIONS[mlp.activation], self.b.shape(x)[-1]
        label = f"{name}." if name else ""
        gate = self.linear(x, f"{label}gate", mlp.intermediate, mlp.bias) if mlp.gated else ""
        up = self.linear(x, f"{label}up", mlp.intermediate, mlp.bias)
        expr, read = (product(act, Read(1)), (gate, up)) if mlp.gated else (act, (up,))
        inner = b.elementwise(expr, *read, kind="Activation", name=self.name(f"{label}activation"))
        return self.linear(inner, f"{label}down", hidden, mlp.bias)

    def rotate(
        self, x: str, name: str, heads: int, size: int, turned: int, *, first: int = 0, out: str | None = None,
        at: Sequence[int] = (0, 0, 0),
    ) -> str:
        """Rotary embedding (arXiv:2104.09864) of (batch, tokens, heads * size), halves paired as in Llama.

        `turned` elements of every head, from `first` on, are turned by two Einsums, one per half; the rest is copied.
        The result is a new tensor, or a box of `out` at offset `at`.
        """
        b, half = self.b, turned // 2
        target = out or b.activation(self.name(name), b.shape(x))
        angles = [Access(f, (affine("s"), affine("e"))) for f in self.tables[turned]]
        outer = {"b": self.batch, "s": self.tokens, "h": heads}

        def index(start: int) -> tuple[Affine, ...]:
            return affine("b"), affine("s"), Affine((("h", size), ("e", 1)), start)

        for side, op in enumerate(("sub", "add")):
            expr = Apply(op, (product(Read(0), Read(2)), product(Read(1), Read(3))))
            inputs = [Access(x, index(first + side * half)), Access(x, index(first + (1 - side) * half)), *angles]
            b.compute(expr, inputs, index(first + side * half), {**outer, "e": half}, kind="Rotary",
                      name=self.name(name), out=target, at=at)
        for start, width in ((0, first), (first + turned, size - first - turned)):
            if width:
                b.compute(Read(0), [Access(x, index(start))], index(start), {**outer, "e": width}, kind="Rotary.copy",
                          name=self.name(f"{name}.copy"), out=target, at=at)
        return target
