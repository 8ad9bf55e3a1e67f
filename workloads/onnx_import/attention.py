"""Attention and RotaryEmbedding: single nodes of the file, cascades in the Workload."""

from __future__ import annotations

from math import sqrt

import numpy as np

from ...ir import Access, Affine, Apply, Const, Expr, Read, Role, affine
from .elementwise import add, mul, sub
from .graph import GraphImport, operator
from .loading import Node, Value

# -- attention -----------------------------------------------------------------------------------------------------


class Heads:
    """A tensor of heads, (batch, heads, tokens, elements) or (batch, tokens, heads * elements), and how it is read."""

    def __init__(self, g: GraphImport, node: Node, value: Value, attribute: str) -> None:
        self.flat = len(value.shape) == 3
        if not self.flat and len(value.shape) != 4:
            raise g.wrong(node, f"'{value.name}' {value.shape} (batch, heads, tokens, elements, or three dimensions)")
        self.name = g.tensor(value)
        if self.flat:
            self.heads = int(node.attributes.get(attribute, 0))
            if self.heads < 1 or value.shape[2] % self.heads:
                raise g.wrong(node, f"{attribute}={self.heads} of '{value.name}' {value.shape} (a divisor of its last "
                                    "dimension)")  # fmt: skip
            self.batch, self.tokens, width = value.shape
            self.width = width // self.heads
            self.name = g.builder.view(self.name, (self.batch, self.tokens, self.heads, self.width))
        else:
            self.batch, self.heads, self.tokens, self.width = value.shape

    def read(self, head: Affine | str, token: str, element: str) -> Access:
        """The access to one element of one token of one head of batch b."""
        b, h, t, e = affine("b"), affine(head), affine(token), affine(element)
        return Access(self.name, (b, t, h, e) if self.flat else (b, h, t, e))


@operator("Attention")
def attention(g: GraphImport, node: Node) -> None:
    """``softmax(softcap(Q K' scale) + mask) V``, heads of Q in equal groups over the heads of K and V.

    The scale goes onto Q, as kernels have it. Causal masks and windows depend on the distance of key and query alone,
    and so are a vector of one number per distance.
    """
    for name in node.outputs[3:]:
        if g.is_used(name):
            raise g.unsupported(node, f"its output '{name}' (the scores) is used")
    q = Heads(g, node, g.value(node, 0), "q_num_heads")
    k, v = (_cached(g, node, i, Heads(g, node, g.value(node, i), "kv_num_heads")) for i in (1, 2))
    if q.heads % k.heads or q.width != k.width or (k.heads, k.tokens) != (v.heads, v.tokens):
        raise g.wrong(node, f"{q.heads} heads of {q.width} elements over {k.heads} of {k.width} and {v.heads}, and "
                            f"{k.tokens} keys for {v.tokens} values, do not fit together")  # fmt: skip
    b, kind, hint, bits = g.builder, node.op_type, node.name, g.bits_of(g.value(node, 0))
    scale = float(node.attributes.get("scale", 0.0)) or 1 / sqrt(q.width)
    if scale != 1.0:
        q.name = b.elementwise(mul(Read(0), scale), q.name, kind=f"{kind}.scale", name=f"{hint}.scale", bits=bits)
    group = q.heads // k.heads
    sizes = {"b": q.batch, "h": k.heads, **({"r": group} if group > 1 else {}), "q": q.tokens}
    head = Affine((("h", group), ("r", 1))) if group > 1 else affine("h")
    scores = b.compute(
        "mul", [q.read(head, "q", "d"), k.read("h", "k", "d")], [affine("b"), head, affine("q"), affine("k")],
        {**sizes, "k": k.tokens, "d": q.width}, reduce="add", kind=f"{kind}.QK", name=f"{hint}.QK", bits=bits,
    )  # fmt: skip
    scores = _masked(g, node, scores)
    shares = b.softmax(scores, -1, kind=f"{kind}.softmax", name=f"{hint}.softmax")
    inputs = [Access(shares, (affine("b"), head, affine("q"), affine("k"))), v.read("h", "k", "e")]
    place = [affine("b"), *((affine("q"), head) if q.flat else (head, affine("q"))), affine("e")]
    out = b.compute(
        "mul", inputs, place, {**sizes, "e": v.width, "k": k.tokens}, reduce="add", kind=f"{kind}.AV",
        name=f"{hint}.AV", out=None if q.flat else node.outputs[0], bits=bits,
    )  # fmt: skip
    if q.flat:
        out = b.view(out, (q.batch, q.tokens, q.heads * v.width), out=node.outputs[0])
    g.built(node, out)


def _cached(g: GraphImport, node: Node, position: int, new: Heads) -> Heads:
    """Keys or values after those of the cache: written behind a copy of it, where there is one or it is asked for."""
    past = g.maybe(node, position + 3)
    name = node.outputs[position] if len(node.outputs) > position else ""
    if past is None and not (name and g.is_used(name)):
        return new
    before = past.shape[2] if past is not None else 0
    bits, hint, b = g.bits_of(g.value(node, position)), f"{node.name}.{'key' if position == 1 else 'value'}", g.builder
    shape = (new.batch, new.heads, before + new.tokens, new.width)
    target = b.activation(name or b.unique(hint), shape, bits)
    if past is not None:
        if past.shape[:2] != shape[:2] or past.shape[3] != new.width:
            raise g.wrong(node, f"cache '{past.name}' {past.shape} before {shape}")
        b.elementwise("copy", g.tensor(past), kind=f"{node.op_type}.cache", name=hint, out=target, at=(0, 0, 0, 0))
    sizes = {"b": new.batch, "h": new.heads, "k": new.tokens, "d": new.width}
    b.compute(Read(0), [new.read("h", "k", "d")], list(sizes), sizes, kind=f"{node.op_type}.append",
              name=f"{hint}.append", out=target, at=(0, 0, before, 0))  # fmt: skip
    if name:
        g.result(node, shape, position=position)
    new.flat, new.name, new.tokens = False, target, shape[2]
    return new


def _masked(g: GraphImport, node: Node, scores: str) -> str:
    """Scores after the soft cap and the masks, in one Einsum; the scores themselves if there is none of these."""
    b = g.builder
    batch, heads, queries, keys = b.shape(scores)
    sizes = {"b": batch, "h": heads, "q": queries, "k": keys}
    expr: Expr = Read(0)
    inputs = [Access(scores, tuple(map(affine, sizes)))]
    cap = float(node.attributes.get("softcap", 0.0))
    if cap:
        expr = mul(Apply("tanh", (mul(expr, 1 / cap),)), cap)
    mask = g.maybe(node, 3)
    if mask is not None:
        expr = _with_mask(g, node, mask, expr, inputs, (batch, heads, queries, keys))
    for values, index in _made_masks(g, node, queries, keys):
        weight = b.declare(b.unique(f"{node.name}.mask"), values.shape, Role.WEIGHT, g.bits_of(g.value(node, 0)))
        b.constants[weight] = values
        expr = add(expr, Read(len(inputs)))
        inputs.append(Access(weight, index))
    if isinstance(expr, Read):
        return scores
    return b.compute(expr, inputs, list(sizes), sizes, kind=f"{node.op_type}.mask", name=f"{node.name}.masked",
                     bits=g.bits_of(g.value(node, 0)))  # fmt: skip


def _with_mask(
    g: GraphImport, node: Node, mask: Value, expr: Expr, inputs: list[Access], full: tuple[int, ...]
) -> Expr:
    """The mask given: true where a key counts, or a number to add; keys beyond its end do not count."""
    from onnx import TensorProto

    ranks = ("b", "h", "q", "k")[4 - len(mask.shape):]
    truth = mask.elem_type == TensorProto.BOOL
    short = 1 < mask.shape[-1] < full[-1]
    for size, rank, whole in zip(mask.shape, ranks, full[4 - len(mask.shape):], strict=True):
        if size not in (1, whole) and not (rank == "k" and short):
            raise g.wrong(node, f"mask '{mask.name}' {mask.shape} for scores {full}")
    indices = tuple(affine(r) if n > 1 else affine(0) for r, n in zip(ranks, mask.shape, strict=True))
    position = len(inputs)
    inputs.append(Access(g.tensor(mask), indices, (0.0 if truth else -np.inf) if short else None))
    if truth:
        return Apply("select", (Read(position), expr, Const(-np.inf)))
    return add(expr, Read(position))


def _made_masks(g: GraphImport, node: Node, queries: int, keys: int) -> list[tuple[np.ndarray, tuple[Affine, ...]]]:
    """Masks that are known before the run, with the indices under which the scores read them.

    By distance ``k - q``, at index ``k - q + queries - 1``: the causal frontier and the window. By key: the lengths of
    the sequences in a cache of fixed size, one row per sequence.
    """
    left, right = (int(node.attributes.get(f"{side}_window_size", -1)) for side in ("left", "right"))
    causal = bool(node.attributes.get("is_causal", 0))
    past, lengths = g.maybe(node, 4), g.maybe(node, 6)
    masks: list[tuple[np.ndarray, tuple[Affine, ...]]] = []
    offset = np.array([past.shape[2] if past is not None else 0])
    if lengths is not None:
        if lengths.data is None:
            raise g.unsupported(node, f"the lengths '{lengths.name}' must be known before the run")
        filled = lengths.data.reshape(-1, 1)
        masks.append((np.where(np.arange(keys) < filled, 0.0, -np.inf), (affine("b"), affine("k"))))
        if past is None:
            offset = lengths.data.reshape(-1) - queries
    distance = np.arange(1 - queries, keys)
    allowed = np.ones((len(offset), len(distance)), bool)
    if causal:
        allowed &= distance <= offset[:, None]
    if left >= 0:
        allowed &= offset[:, None] - distance <= left
    if right >= 0:
        allowed &= distance - offset[:, None] <= right
    if not allowed.all():
        row = affine("b") if len(offset) > 1 else affine(0)
        at = Affine((("k", 1), ("q", -1)), queries - 1)
        masks.append((np.where(allowed, 0.0, -np.inf), (row, at)))
    return masks


# -- rotary embedding ----------------------------------------------------------------------------------------------


@operator("RotaryEmbedding")
def rotary_embedding(g: GraphImport, node: Node) -> None:
    """Pairs of elements turned by the angle of their token (Su et al., arXiv:2104.09864); the rest is copied.

    Each element costs two products and a sum. Cosines and sines are read at the positions given, or one per token.
    """
    x, cosines, sines, positions = g.value(node, 0), g.value(node, 1), g.value(node, 2), g.maybe(node, 3)
    heads = Heads(g, node, x, "num_heads")
    turned = int(node.attributes.get("rotary_embedding_dim", 0)) or heads.width
    half = turned // 2
    if turned % 2 or turned > heads.width or cosines.shape[-1] != half or cosines.shape != sines.shape:
        raise g.wrong(node, f"{turned} of {heads.width} elements turned by '{cosines.name}' {cosines.shape} (an even "
                            "number, and half as many cosines)")  # fmt: skip
    b, kind, hint = g.builder, node.op_type, node.name
    tables = [g.tensor(cosines), g.tensor(sines)]
    if positions is not None:
        tables = [b.look_up(table, g.tensor(positions), name=f"{hint}.{part}")
                  for table, part in zip(tables, ("cos", "sin"), strict=True)]  # fmt: skip
    shape = (heads.batch, heads.tokens, heads.heads, heads.width) if heads.flat else x.shape
    out = b.activation(b.unique(f"{hint}.heads") if heads.flat else node.outputs[0], shape, g.bits_of(x))
    sizes = {"b": heads.batch, "h": heads.heads, "s": heads.tokens, "j": half}
    one, other = (_pair(node, half, side) for side in (0, 1))
    inputs = [heads.read("h", "s", "j"), *(Access(t, tuple(map(affine, ("b", "s", "j")))) for t in tables)]
    order = ("b", "s", "h") if heads.flat else ("b", "h", "s")

    def emit(expr: Expr, element: Affine, reads: list[Access], extent: int, step: str) -> None:
        at = [0, 0, 0, element.offset]
        index = [*map(affine, order), Affine(element.terms)]
        b.compute(expr, reads, index, {**sizes, "j": extent}, kind=kind, name=f"{hint}.{step}", out=out, at=at)

    pairs = [Access(heads.name, (*inputs[0].indices[:3], element)) for element in (one, other)]
    real = sub(mul(Read(2), Read(0)), mul(Read(3), Read(1)))
    imaginary = add(mul(Read(3), Read(0)), mul(Read(2), Read(1)))
    emit(real, one, [*pairs, *inputs[1:]], half, "real")
    emit(imaginary, other, [*pairs, *inputs[1:]], half, "imaginary")
    if turned < heads.width:
        rest = Affine((("j", 1),), turned)
        emit(Read(0), rest, [Access(heads.name, (*inputs[0].indices[:3], rest))], heads.width - turned, "rest")
    if heads.flat:
        out = b.view(out, x.shape, out=node.outputs[0])
    g.built(node, out)


def _pair(node: Node, half: int, side: int) -> Affine:
    """Where the first (0) or second (1) element of pair j stands: side by side, or half a head apart."""
    if node.attributes.get("interleaved", 0):
        return Affine((("j", 2),), side)
    return Affine((("j", 1),), half * side)
