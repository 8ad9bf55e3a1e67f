"""Reductions and the normalisations built on them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from ...ir import Apply, Expr, Read
from .elementwise import X, add, apply, mul, sub
from .graph import GraphImport, operator
from .integers import Array, made_up
from .loading import Node, Value


@operator("BatchNormalization")
def batch_normalization(g: GraphImport, node: Node) -> None:
    """Inference: ``x * s + (bias - mean * s)`` with ``s = scale / sqrt(variance + epsilon)``, per channel.

    Every element takes one product and one sum. Of constants, s and the shift are two weights in the place of the four,
    as every compiler folds them; else what depends on the channel alone is computed per channel (s twice).
    """
    if node.attributes.get("training_mode", 0) or g.uses_more_than_first(node):
        raise g.unsupported(node, "training is not supported (export the model for inference)")
    x, vectors = g.value(node, 0), [g.value(node, i) for i in range(1, 5)]
    for v in vectors:
        if v.shape != x.shape[1:2]:
            raise g.wrong(node, f"'{v.name}' {v.shape} is not one value per channel of '{x.name}' {x.shape}")
    eps = float(node.attributes.get("epsilon", 1e-5))
    if all(v.constant for v in vectors):
        folded = _folded(g, node, vectors, eps)
        g.built(node, g.builder.batch_norm(g.tensor(x), *folded, kind=node.op_type, name=node.name,
                                           out=node.outputs[0]))  # fmt: skip
        return
    scale, bias, mean, variance = (Read(i) for i in range(1, 5))
    s = mul(scale, apply("rsqrt", add(variance, eps)))
    expr = Apply("add", (mul(X, s), sub(bias, mul(mean, s))))
    names = [g.tensor(v) for v in (x, *vectors)]
    g.built(node, g.builder.per_channel(expr, *names, kind=node.op_type, name=node.name, out=node.outputs[0]))


def _folded(g: GraphImport, node: Node, vectors: list[Value], eps: float) -> tuple[str, str]:
    """Scale and shift as weights that follow from scale, bias, mean and variance."""
    scale, bias, mean, variance = (v.name for v in vectors)

    def factor(weights: Mapping[str, Array]) -> Array:
        found: Array = weights[scale] / np.sqrt(np.asarray(weights[variance], np.float64) + eps)
        return found

    def shift(weights: Mapping[str, Array]) -> Array:
        found: Array = weights[bias] - weights[mean] * factor(weights)
        return found

    shape, bits = vectors[0].shape, g.bits_of(vectors[0])
    return made_up(g, f"{node.name}.scale", shape, bits, factor), made_up(g, f"{node.name}.shift", shape, bits, shift)


def _axis(g: GraphImport, node: Node, x: Value, axis: int) -> int:
    rank = len(x.shape)
    if not -rank <= axis < max(rank, 1):
        raise g.wrong(node, f"axis {axis} of '{x.name}' {x.shape} (one of {-rank}..{rank - 1})")
    return axis % rank if rank else 0


@operator("Softmax", "LogSoftmax")
def softmax(g: GraphImport, node: Node) -> None:
    """Over one axis; before opset 13 over all dimensions from `axis` (default 1) on, taken as one."""
    x = g.value(node, 0)
    flat = node.opset < 13
    axis = _axis(g, node, x, int(node.attributes.get("axis", 1 if flat else -1)))
    name, out = g.tensor(x), node.outputs[0]
    one_axis = not flat or prod(x.shape[axis + 1 :]) == 1
    if not one_axis:
        name = g.builder.view(name, (prod(x.shape[:axis]), prod(x.shape[axis:])))
    over = axis if one_axis else 1
    target = out if one_axis else None
    b, kind, hint = g.builder, node.op_type, node.name
    if kind == "Softmax":
        y = b.softmax(name, over, kind=kind, name=hint, out=target)
    else:
        top = b.reduce(name, "max", over, True, kind=f"{kind}.max", name=f"{hint}.max")
        centred = b.elementwise("sub", name, top, kind=f"{kind}.center", name=f"{hint}.center")
        total = b.reduce(centred, "add", over, True, expr=apply("exp", X), kind=f"{kind}.sum", name=f"{hint}.sum")
        minus_log = Apply("sub", (Read(0), apply("log", Read(1))))
        y = b.elementwise(minus_log, centred, total, kind=f"{kind}.scale", name=f"{hint}.scale", out=target)
    g.built(node, y if one_axis else b.view(y, x.shape, out=out))


SQUARE = mul(X, X)
REDUCTIONS: dict[str, tuple[str, Expr, Expr | None]] = {
    "ReduceSum": ("add", X, None),
    "ReduceMean": ("add", X, None),
    "ReduceMax": ("max", X, None),
    "ReduceMin": ("min", X, None),
    "ReduceProd": ("mul", X, None),
    "ReduceL1": ("add", apply("abs", X), None),
    "ReduceL2": ("add", SQUARE, apply("sqrt", X)),
    "ReduceSumSquare": ("add", SQUARE, None),
    "ReduceLogSum": ("add", X, apply("log", X)),
    "ReduceLogSumExp": ("add", apply("exp", X), apply("log", X)),
}
"""By operator: what reduces, the expression of what is reduced, and what is done to the result."""


@operator(*REDUCTIONS)
def reduction(g: GraphImport, node: Node) -> None:
    x = g.value(node, 0)
    axes = g.integers(node, 1, "axes")
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0):
            g.view(node, x.shape)
            return
        axes = list(range(len(x.shape)))
    axes = [_axis(g, node, x, a) for a in axes]
    op, expr, last = REDUCTIONS[node.op_type]
    step = "" if last is None else ".sum"
    y = g.builder.reduce(
        g.tensor(x), op, axes, bool(node.attributes.get("keepdims", 1)), mean=node.op_type == "ReduceMean", expr=expr,
        kind=node.op_type + step, name=node.name + step, out=node.outputs[0] if last is None else None,
    )  # fmt: skip
    if last is not None:
        y = g.builder.elementwise(last, y, kind=f"{node.op_type}.last", name=f"{node.name}.last", out=node.outputs[0])
    g.built(node, y)


@operator("LayerNormalization", "RMSNormalization")
def layer_normalization(g: GraphImport, node: Node) -> None:
    """Over all dimensions from `axis` on."""
    if g.uses_more_than_first(node):
        raise g.unsupported(node, "its second and third output (mean, inverse deviation) are used: not supported")
    x, scale, bias = g.value(node, 0), g.maybe(node, 1), g.maybe(node, 2)
    axes = range(_axis(g, node, x, int(node.attributes.get("axis", -1))), len(x.shape))
    eps = float(node.attributes.get("epsilon", 1e-5))
    gamma = None if scale is None else g.tensor(scale)
    kind, hint, out = node.op_type, node.name, node.outputs[0]
    if kind == "RMSNormalization":
        y = g.builder.rms_norm(g.tensor(x), gamma, axes, eps, kind=kind, name=hint, out=out)
    else:
        beta = None if bias is None else g.tensor(bias)
        y = g.builder.layer_norm(g.tensor(x), gamma, beta, axes, eps, kind=kind, name=hint, out=out)
    g.built(node, y)


@operator("InstanceNormalization", "GroupNormalization")
def group_normalization(g: GraphImport, node: Node) -> None:
    """Over the spatial dimensions of each channel, or of each group of channels together."""
    x, scale, bias = g.value(node, 0), g.value(node, 1), g.value(node, 2)
    channels, spatial = x.shape[1], x.shape[2:]
    groups = channels if node.op_type == "InstanceNormalization" else int(node.attributes.get("num_groups", 1))
    if groups < 1 or channels % groups:
        raise g.wrong(node, f"{groups} groups of {channels} channels (a divisor of the channels)")
    b = g.builder
    grouped = b.view(g.tensor(x), (x.shape[0], groups, channels // groups, *spatial))
    per_group = scale.shape == (groups,) and groups != channels  # before opset 21, one factor per group
    shape = (groups, 1 if per_group else channels // groups, *(1 for _ in spatial))
    factors = [b.view(g.tensor(v), shape) for v in (scale, bias)]
    axes = range(2, 3 + len(spatial))
    eps = float(node.attributes.get("epsilon", 1e-5))
    y = b.layer_norm(grouped, factors[0], factors[1], axes, eps, kind=node.op_type, name=node.name)
    g.built(node, b.view(y, x.shape, out=node.outputs[0]))
