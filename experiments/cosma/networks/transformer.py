"""The base Transformer (Vaswani et al., arXiv:1706.03762, table 3): encoder and decoder over embedded tokens."""

from __future__ import annotations

from ....ir import Access, Workload, affine
from ....ir.build import WorkloadBuilder

WIDTH, HEADS, INNER, LAYERS = 512, 8, 2048, 6
TOKENS = 128
"""Of the source and of the target; the publication of the schedules gives no number."""


class _Layers:
    def __init__(self) -> None:
        self.b = WorkloadBuilder("transformer_base", bits=8)
        self.norms = 0

    def linear(self, x: str, out: int, *, relu: bool = False) -> str:
        b = self.b
        name = b.unique("linear")
        weight = b.weight(f"{name}.weight", (out, b.shape(x)[-1]))
        y = b.linear(x, weight, b.weight(f"{name}.bias", (out,)), name=name)
        return b.relu(y) if relu else y

    def attention(self, x: str, memory: str) -> str:
        """Of the tokens of `x` to those of `memory`."""
        b, size = self.b, WIDTH // HEADS
        q, k, v = (b.view(self.linear(s, WIDTH), (TOKENS, HEADS, size)) for s in (x, memory, memory))
        ranks = {"h": HEADS, "p": TOKENS, "m": TOKENS}
        h, p, m, e, f = (affine(r) for r in "hpmef")
        inputs = [Access(q, (p, h, e)), Access(k, (m, h, e))]
        scores = b.compute("mul", inputs, [h, p, m], {**ranks, "e": size}, reduce="add", name=b.unique("scores"))
        share = b.softmax(scores, -1, name=b.unique("softmax"))
        inputs = [Access(share, (h, p, m)), Access(v, (m, h, f))]
        mixed = b.compute("mul", inputs, [p, h, f], {**ranks, "f": size}, reduce="add", name=b.unique("values"))
        return self.linear(b.view(mixed, (TOKENS, WIDTH)), WIDTH)

    def normed(self, x: str, y: str) -> str:
        """The sum, normalised."""
        b = self.b
        self.norms += 1
        name = f"norm_{self.norms}"
        scale, shift = (b.weight(f"{name}.{part}", (WIDTH,)) for part in ("scale", "shift"))
        return b.layer_norm(b.elementwise("add", x, y, kind="Add"), scale, shift, name=name)

    def feed_forward(self, x: str) -> str:
        return self.normed(x, self.linear(self.linear(x, INNER, relu=True), WIDTH))


def transformer() -> Workload:
    net = _Layers()
    memory, x = (net.b.input(name, (TOKENS, WIDTH)) for name in ("source", "target"))
    for _ in range(LAYERS):
        memory = net.feed_forward(net.normed(memory, net.attention(memory, memory)))
    for _ in range(LAYERS):
        x = net.normed(x, net.attention(x, x))
        x = net.feed_forward(net.normed(x, net.attention(x, memory)))
    net.b.output(x)
    return net.b.build()
