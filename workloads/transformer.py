"""A decoder-only transformer as a Workload: one layer in a Repeat, between embedding and vocabulary projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from ..errors import BadInput
from ..ir import ACTIVATIONS, Access, Affine, Apply, Const, Read, Workload, WorkloadBuilder, affine, product


@dataclass(frozen=True)
class Transformer:
    """Sizes and choices of a decoder-only transformer.

    Attributes:
        name: of the model.
        hidden: width of the residual stream.
        layers: number of them.
        heads: query heads.
        kv_heads: heads of keys and values (fewer than `heads` is grouped-query attention).
        head_size: width of one head.
        intermediate: width inside the MLP.
        vocabulary: tokens.
        positions: learned position embeddings, or None for rotary ones.
        norm: ``layer`` or ``rms``.
        eps: of the norm.
        activation: a key of `ACTIVATIONS`.
        gated: the MLP is ``down(activation(gate(x)) * up(x))``, not ``down(activation(up(x)))``.
        qkv_bias: biases on the query, key and value projections.
        out_bias: bias on the output projection of attention.
        mlp_bias: biases in the MLP.
        tied: the vocabulary projection is the embedding table.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    positions: int | None
    norm: Literal["layer", "rms"]
    eps: float
    activation: str
    gated: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    tied: bool


@dataclass(frozen=True)
class Bits:
    """Bits per element by role."""

    activation: int
    weight: int
    state: int


def build(
    model: Transformer, phase: str, batch: int, tokens: int, context: int, head: Literal["all", "last", "none"],
    bits: Bits,
) -> Workload:
    """The Workload in which `tokens` new tokens per sequence attend to `context` tokens, themselves included.

    Tensors: ``tokens`` (batch, tokens); ``layer.k_cache`` and ``layer.v_cache``, per layer (batch, context, kv_heads *
    head_size), of which the last `tokens` rows are written; ``logits`` (batch, tokens, vocabulary), for
    ``head="last"`` (batch, vocabulary); for ``head="none"`` the output is the final norm (batch, tokens, hidden).

    Raises:
        BadInput: a number is not positive, or `context` exceeds the learned positions.
    """
    for what, value in (("batch", batch), ("seq", tokens), ("context", context)):
        if value < 1:
            raise BadInput(f"{model.name}: {what} is {value} (at least 1)")
    if head not in ("all", "last", "none"):
        raise BadInput(f"{model.name}: head '{head}' (one of all, last, none)")
    if model.positions is not None and context > model.positions:
        raise BadInput(f"{model.name}: {context} tokens exceed the {model.positions} learned positions of the model")
    name = f"{model.name}.{phase}"
    return _Layers(model, WorkloadBuilder(name, bits=bits.activation), bits, batch, tokens, context).workload(head)


class _Layers:
    def __init__(
        self, model: Transformer, b: WorkloadBuilder, bits: Bits, batch: int, tokens: int, context: int
    ) -> None:
        self.model, self.b, self.bits = model, b, bits
        self.batch, self.tokens, self.context = batch, tokens, context
        self.past = context - tokens

    def weight(self, name: str, *shape: int) -> str:
        return self.b.weight(name, shape, self.bits.weight)

    def workload(self, head: str) -> Workload:
        b, model = self.b, self.model
        x = self.embed()
        rotary: tuple[str, ...] = ()
        if model.positions is None:
            half = (self.tokens, model.head_size // 2)
            rotary = tuple(b.weight(f"rotary.{f}", half, self.bits.activation) for f in ("cos", "sin"))
        with b.repeat("layer", model.layers) as scope:
            scope.share(*rotary)
            attended = self.attention(self.norm(x, "layer.attention_norm"), rotary)
            middle = b.elementwise("add", x, attended, kind="Residual", name="layer.attention_residual")
            mlp = self.mlp(self.norm(middle, "layer.mlp_norm"))
            scope.carry(b.elementwise("add", middle, mlp, kind="Residual", name="layer.mlp_residual"), x)
        x = self.norm(scope.carried[0][0], "final_norm")
        b.output(x if head == "none" else self.logits(x, head))
        return b.build()

    def embed(self) -> str:
        b, model = self.b, self.model
        ids = b.input("tokens", (self.batch, self.tokens), 32)
        table = self.weight("embedding", model.vocabulary, model.hidden)
        x = b.gather(table, ids, kind="Embedding", name="embed", bits=self.bits.activation)
        if model.positions is None:
            return x
        learned = self.weight("positions", model.positions, model.hidden)
        sizes = {"b": self.batch, "s": self.tokens, "k": model.hidden}
        position = Access(learned, (Affine((("s", 1),), self.past), affine("k")))
        inputs = [Access(x, tuple(map(affine, sizes))), position]
        return b.compute("add", inputs, list(sizes), sizes, kind="Embedding.position", name="embed.position")

    def norm(self, x: str, name: str) -> str:
        scale = self.weight(f"{name}.weight", self.model.hidden)
        if self.model.norm == "rms":
            return self.b.rms_norm(x, scale, eps=self.model.eps, name=name)
        bias = self.weight(f"{name}.bias", self.model.hidden)
        return self.b.layer_norm(x, scale, bias, eps=self.model.eps, name=name)

    def linear(
        self, x: str, name: str, width: int, bias: bool, out: str | None = None, at: Sequence[int] | None = None
    ) -> str:
        weight = self.weight(f"{name}.weight", width, self.b.shape(x)[-1])
        vector = self.weight(f"{name}.bias", width) if bias else None
        return self.b.linear(x, weight, vector, name=name, out=out, at=at)

    # -- attention -----------------------------------------------------------------------------------------------

    def attention(self, x: str, rotary: tuple[str, ...]) -> str:
        b, model = self.b, self.model
        width, kv_width = model.heads * model.head_size, model.kv_heads * model.head_size
        at = (0, self.past, 0)
        caches = [b.state(f"layer.{t}_cache", (self.batch, self.context, kv_width), self.bits.state) for t in "kv"]
        q = self.linear(x, "layer.q", width, model.qkv_bias)
        if rotary:
            k = self.linear(x, "layer.k", kv_width, model.qkv_bias)
            q = self.rotate(q, "layer.q_rotary", model.heads, rotary)
            self.rotate(k, "layer.k_rotary", model.kv_heads, rotary, caches[0])
        else:
            self.linear(x, "layer.k", kv_width, model.qkv_bias, caches[0], at)
        self.linear(x, "layer.v", kv_width, model.qkv_bias, caches[1], at)
        scale = product(Read(0), Const(1 / sqrt(model.head_size)))
        q = b.elementwise(scale, q, kind="Attention.scale", name="layer.q_scale")
        return self.linear(self.heads(q, *caches), "layer.out", model.hidden, model.out_bias)

    def rotate(self, x: str, name: str, heads: int, rotary: tuple[str, ...], out: str | None = None) -> str:
        """Rotary embedding (arXiv:2104.09864), halves paired as in Llama: two Einsums, one per half of every head."""
        b, size = self.b, self.model.head_size
        half = size // 2
        sizes = {"b": self.batch, "s": self.tokens, "h": heads, "e": half}
        target = out or b.activation(name, b.shape(x))
        past = 0 if out is None else self.past

        def at(side: int, first: int = 0) -> tuple[Affine, ...]:
            return affine("b"), Affine((("s", 1),), first), Affine((("h", size), ("e", 1)), side * half)

        angles = [Access(f, (affine("s"), affine("e"))) for f in rotary]
        for side, op in enumerate(("sub", "add")):
            expr = Apply(op, (product(Read(0), Read(2)), product(Read(1), Read(3))))
            inputs = [Access(x, at(side)), Access(x, at(1 - side)), *angles]
            b.compute(expr, inputs, at(side), sizes, kind="Rotary", name=name, out=target, at=(0, past, 0))
        return target

    def heads(self, q: str, k: str, v: str) -> str:
        """softmax(Q K) V per head, with ranks b batch, h KV head, g its query heads, p query, m key, e and f width."""
        b, model = self.b, self.model
        group, size = model.heads // model.kv_heads, model.head_size
        split = {"h": model.kv_heads, **({"g": group} if group > 1 else {})}
        q = b.view(q, (self.batch, self.tokens, *split.values(), size), out="layer.q_heads")
        keys = b.view(k, (self.batch, self.context, model.kv_heads, size), out="layer.k_heads")
        values = b.view(v, (self.batch, self.context, model.kv_heads, size), out="layer.v_heads")
        outer = {"b": self.batch, **split, "p": self.tokens}
        space = {**outer, "m": self.context}

        def access(tensor: str, *ranks: str) -> Access:
            return Access(tensor, tuple(map(affine, ranks)))

        name = "layer.attention"
        scores = b.compute("mul", [access(q, "b", "p", *split, "e"), access(keys, "b", "m", "h", "e")], list(space),
                           {**space, "e": size}, reduce="add", kind="Attention.scores", name=f"{name}.scores")
        top = b.compute("copy", [access(scores, *space)], list(outer), space, reduce="max", kind="Softmax.max",
                        name=f"{name}.max")
        shifted = Apply("exp", (Apply("sub", (Read(0), Read(1))),))
        e = b.compute(shifted, [access(scores, *space), access(top, *outer)], list(space), space, kind="Softmax.exp",
                      name=f"{name}.exp")
        total = b.compute("copy", [access(e, *space)], list(outer), space, reduce="add", kind="Softmax.sum",
                          name=f"{name}.sum")
        share = b.compute("div", [access(e, *space), access(total, *outer)], list(space), space, kind="Softmax.div",
                          name=f"{name}.div")
        mixed = b.compute("mul", [access(share, *space), access(values, "b", "m", "h", "f")], ["b", "p", *split, "f"],
                          {**space, "f": size}, reduce="add", kind="Attention.values", name=f"{name}.values")
        return b.view(mixed, (self.batch, self.tokens, model.heads * size), out="layer.attention_heads")

    # -- the rest --------------------------------------------------------------------------------------------------

    def mlp(self, x: str) -> str:
        b, model = self.b, self.model
        act = ACTIVATIONS[model.activation]
        if not model.gated:
            up = self.linear(x, "layer.up", model.intermediate, model.mlp_bias)
            return self.linear(b.elementwise(act, up, kind="Activation", name="layer.activation"), "layer.down",
                               model.hidden, model.mlp_bias)
        gate = self.linear(x, "layer.gate", model.intermediate, model.mlp_bias)
        up = self.linear(x, "layer.up", model.intermediate, model.mlp_bias)
        gated = b.elementwise(product(act, Read(1)), gate, up, kind="Activation", name="layer.activation")
        return self.linear(gated, "layer.down", model.hidden, model.mlp_bias)

    def logits(self, x: str, head: str) -> str:
        model = self.model
        weight = "embedding" if model.tied else self.weight("head", model.vocabulary, model.hidden)
        if head == "all":
            return self.b.linear(x, weight, name="logits", kind="Head")
        sizes = {"b": self.batch, "n": model.vocabulary, "k": model.hidden}
        last = Access(x, (affine("b"), affine(self.tokens - 1), affine("k")))
        inputs = [last, Access(weight, (affine("n"), affine("k")))]
        return self.b.compute("mul", inputs, ["b", "n"], sizes, reduce="add", kind="Head", name="logits")
