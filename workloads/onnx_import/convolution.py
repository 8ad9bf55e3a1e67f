"""Operators whose window slides over an image: convolution, pooling, local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from .graph import GraphImport, operator
from .loading import Node, Value


def window_pads(
    g: GraphImport, node: Node, shape: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """All begins, then all ends, from ``pads`` or ``auto_pad`` (formulas of the ONNX operator Conv).

    SAME makes as many outputs as ceil(input / stride); an odd element goes to the end (UPPER) or the begin (LOWER).
    """
    n = len(shape)
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = [int(p) for p in node.attributes.get("pads", [0] * (2 * n))]
        if len(pads) != 2 * n or min(pads, default=0) < 0:
            raise g.wrong(node, f"pads {pads} over {n} spatial dimensions ({2 * n} numbers from 0: begins, then ends)")
        return pads
    if mode == "VALID":
        return [0] * (2 * n)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise g.wrong(node, f"auto_pad '{mode}' (one of NOTSET, VALID, SAME_UPPER, SAME_LOWER)")
    begins, ends = [], []
    for size, k, stride, dilation in zip(shape, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max(0, (outputs - 1) * stride + dilation * (k - 1) + 1 - size)
        small = total // 2
        begins.append(small if mode == "SAME_UPPER" else total - small)
        ends.append(total - begins[-1])
    return [*begins, *ends]


def spatial(g: GraphImport, node: Node, x: Value, attribute: str) -> list[int]:
    """An attribute with one number from 1 per spatial dimension; ones by default."""
    n = len(x.shape) - 2
    if n < 1:
        raise g.wrong(node, f"'{x.name}' {x.shape} has no spatial dimension (batch, channels, then at least one)")
    values = [int(v) for v in node.attributes.get(attribute, [1] * n)]
    if len(values) != n or min(values) < 1:
        raise g.wrong(node, f"{attribute} {values} over '{x.name}' {x.shape} ({n} numbers from 1)")
    return values


@operator("Conv")
def conv(g: GraphImport, node: Node) -> None:
    """Of dequantised operands, a convolution of the integers behind them."""
    from .integers import conv_product, dequantised_operands, scaled_product

    x, w, bias = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    strides, dilations = spatial(g, node, x, "strides"), spatial(g, node, x, "dilations")
    kernel = list(w.shape[2:])
    if len(w.shape) != len(x.shape) or list(node.attributes.get("kernel_shape", kernel)) != kernel:
        raise g.wrong(node, f"kernel {node.attributes.get('kernel_shape', kernel)}, weight {w.shape} and input "
                            f"{x.shape} do not fit together")  # fmt: skip
    integers = dequantised_operands(g, node)
    if integers is not None:
        scaled_product(g, node, conv_product(g, node, *integers), bias, x.elem_type)
        return
    pads = window_pads(g, node, x.shape[2:], kernel, strides, dilations)
    out = g.builder.conv(
        g.tensor(x), g.tensor(w), None if bias is None else g.tensor(bias), strides, pads, dilations,
        int(node.attributes.get("group", 1)), name=node.name, out=node.outputs[0], bits=g.bits_of(x),
    )  # fmt: skip
    g.built(node, out)


@operator("ConvTranspose")
def conv_transpose(g: GraphImport, node: Node) -> None:
    """The result's size is given, or follows from the pads; what is given last decides on the others (ONNX's formulas).

    With ``output_shape`` or SAME, the pads are what is left over; SAME_UPPER puts the odd one at the end, anything
    else at the begin.
    """
    x, w, bias = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    strides, dilations = spatial(g, node, x, "strides"), spatial(g, node, x, "dilations")
    kernel, n = list(w.shape[2:]), len(x.shape) - 2
    if len(w.shape) != len(x.shape) or list(node.attributes.get("kernel_shape", kernel)) != kernel:
        raise g.wrong(node, f"kernel {node.attributes.get('kernel_shape', kernel)}, weight {w.shape} and input "
                            f"{x.shape} do not fit together")  # fmt: skip
    extra = [int(e) for e in node.attributes.get("output_padding", [0] * n)][:n]
    mode = str(node.attributes.get("auto_pad", "NOTSET"))
    wanted = [int(s) for s in node.attributes.get("output_shape", [])][-n:]
    full = [strides[d] * (x.shape[2 + d] - 1) + extra[d] + (kernel[d] - 1) * dilations[d] + 1 for d in range(n)]
    if wanted or mode.startswith("SAME"):
        wanted = wanted or [x.shape[2 + d] * strides[d] for d in range(n)]
        total = [max(0, f - o) for f, o in zip(full, wanted, strict=True)]
        begins = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        pads = [*begins, *(t - b for t, b in zip(total, begins, strict=True))]
    else:
        pads = [int(p) for p in node.attributes.get("pads", [0] * (2 * n))] if mode == "NOTSET" else [0] * (2 * n)
        wanted = [f - pads[d] - pads[n + d] for d, f in enumerate(full)] if len(pads) == 2 * n else []
    out = g.builder.conv_transpose(
        g.tensor(x), g.tensor(w), None if bias is None else g.tensor(bias), strides, pads, dilations,
        int(node.attributes.get("group", 1)), outputs=wanted, name=node.name, out=node.outputs[0], bits=g.bits_of(x),
    )  # fmt: skip
    g.built(node, out)


def _pool(g: GraphImport, node: Node, op: str) -> None:
    x = g.value(node, 0)
    if "kernel_shape" not in node.attributes:
        raise g.wrong(node, "kernel_shape is missing")
    strides, dilations = spatial(g, node, x, "strides"), spatial(g, node, x, "dilations")
    kernel = spatial(g, node, x, "kernel_shape")
    out = g.builder.pool(
        g.tensor(x), op, kernel, strides, window_pads(g, node, x.shape[2:], kernel, strides, dilations), dilations,
        ceil_mode=bool(node.attributes.get("ceil_mode", 0)),
        count_include_pad=bool(node.attributes.get("count_include_pad", 0)),
        kind=node.op_type, name=node.name, out=node.outputs[0],
    )  # fmt: skip
    g.built(node, out)


@operator("MaxPool")
def max_pool(g: GraphImport, node: Node) -> None:
    if len(node.outputs) > 1 and node.outputs[1] and g.is_used(node.outputs[1]):
        raise g.unsupported(node, "the positions of the maxima (second output) are used, which is not supported")
    _pool(g, node, "max")


@operator("AveragePool")
def average_pool(g: GraphImport, node: Node) -> None:
    _pool(g, node, "average")


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(g: GraphImport, node: Node) -> None:
    x = g.value(node, 0)
    spatial(g, node, x, "")
    op = "average" if node.op_type == "GlobalAveragePool" else "max"
    g.built(node, g.builder.global_pool(g.tensor(x), op, kind=node.op_type, name=node.name, out=node.outputs[0]))


@operator("LRN")
def lrn(g: GraphImport, node: Node) -> None:
    if "size" not in node.attributes:
        raise g.wrong(node, "size is missing")
    out = g.builder.lrn(
        g.tensor(g.value(node, 0)), int(node.attributes["size"]), float(node.attributes.get("alpha", 1e-4)),
        float(node.attributes.get("beta", 0.75)), float(node.attributes.get("bias", 1.0)),
        kind=node.op_type, name=node.name, out=node.outputs[0],
    )  # fmt: skip
    g.built(node, out)
