"""Convolution, pooling, products of matrices, attention, normalisation, reductions."""

from __future__ import annotations

from math import prod
from typing import Any

from .recording import Ref
from .translation import DOMAIN, Operation, Refused, aten, operator_of

# -- windows ---------------------------------------------------------------------------------------------------------


def _per_axis(value: Any, n: int) -> list[int]:
    """One number per spatial dimension, from one for all or a list."""
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) for v in (values * n if len(values) == 1 else values)]


def _spatial(op: Operation, x: str, n: int | None = None) -> tuple[str, int]:
    """The image with a batch, which a single one lacks, and its number of spatial dimensions."""
    rank = len(op.shape(x))
    n = rank - 2 if n is None else n
    return (op.renamed(x, (1, *op.shape(x))) if rank == n + 1 else x), n


def _batched(op: Operation, x: str, n: int, op_type: str, inputs: list[str | None], attributes: dict[str, Any]) -> None:
    """Emit a node over an image; of a single one, the result loses the batch again."""
    if len(op.result.shape) == n + 2:
        op.emit(op_type, [x, *inputs], attributes)
        return
    y = op.step(op_type, [x, *inputs], (1, *op.result.shape), "", attributes)
    op.renamed(y)


def _conv(
    op: Operation, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any, groups: int
) -> None:
    w = op.tensor(1, "weight")
    x, n = _spatial(op, op.tensor(0, "input"), len(op.shape(w)) - 2)
    steps, spread = _per_axis(stride, n), _per_axis(dilation, n)
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(spread, op.shape(w)[2:], strict=True)]
        begins = [r // 2 if padding == "same" else 0 for r in reach]
        ends = [r - b if padding == "same" else 0 for r, b in zip(reach, begins, strict=True)]
    else:
        begins = ends = _per_axis(padding, n)
    attributes = {"strides": steps, "pads": [*begins, *ends], "dilations": spread, "group": int(groups)}
    if transposed:
        attributes["output_padding"] = _per_axis(output_padding, n)
    _batched(op, x, n, "ConvTranspose" if transposed else "Conv", [w, op.maybe(2, "bias")], attributes)


@aten("conv1d", "conv2d", "conv3d")
def conv(op: Operation) -> None:
    _conv(op, op.get(3, "stride", 1), op.get(4, "padding", 0), op.get(5, "dilation", 1), False, 0,
          op.get(6, "groups", 1))


@aten("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(op: Operation) -> None:
    _conv(op, op.get(3, "stride", 1), op.get(4, "padding", 0), op.get(7, "dilation", 1), True,
          op.get(5, "output_padding", 0), op.get(6, "groups", 1))


@aten("convolution")
def convolution(op: Operation) -> None:
    _conv(op, *(op.get(3 + i, name) for i, name in enumerate(
        ("stride", "padding", "dilation", "transposed", "output_padding", "groups"))))


def _pool(op: Operation, n: int, op_type: str, dilation: Any, attributes: dict[str, Any]) -> None:
    x, _ = _spatial(op, op.tensor(0), n)
    kernel, padding = _per_axis(op.get(1, "kernel_size"), n), _per_axis(op.get(3, "padding", 0), n)
    stride = op.get(2, "stride", ())
    _batched(op, x, n, op_type, [], {
        "kernel_shape": kernel, "strides": kernel if stride in ((), None) else _per_axis(stride, n),
        "pads": [*padding, *padding], "dilations": _per_axis(dilation, n), **attributes,
    })  # fmt: skip


def _dimensions(op: Operation) -> int:
    """The digit before ``d`` in the name of an operator: ``max_pool2d`` has 2."""
    name = op.call.target.split(".")[1]
    return int(name[name.index("d_" if "d_" in name else "d", name.index("pool")) - 1])


@aten("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices")
def max_pool(op: Operation) -> None:
    if any(op.call.outputs[1:]):
        raise Refused("the positions of the maxima (second result) are used, which is not supported")
    _pool(op, _dimensions(op), "MaxPool", op.get(4, "dilation", 1), {"ceil_mode": int(op.get(5, "ceil_mode", False))})


@aten("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(op: Operation) -> None:
    if op.get(6, "divisor_override") is not None:
        raise Refused("divisor_override is not supported")
    _pool(op, _dimensions(op), "AveragePool", 1, {
        "ceil_mode": int(op.get(4, "ceil_mode", False)), "count_include_pad": int(op.get(5, "count_include_pad", True)),
    })  # fmt: skip


@aten("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
      "_adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_pool(op: Operation) -> None:
    """Windows of equal size, where the sizes divide; all of the image is a global pool."""
    if any(op.call.outputs[1:]):
        raise Refused("the positions of the maxima (second result) are used, which is not supported")
    n, kind = _dimensions(op), "Max" if "max" in op.call.target else "Average"
    x, _ = _spatial(op, op.tensor(0), n)
    before, after = op.shape(x)[2:], op.result.shape[-n:]
    if any(s % o for s, o in zip(before, after, strict=True)):
        raise Refused(f"windows of unequal size, from {before} to {after}, are not supported")
    if before == after:
        op.renamed(x)
    elif prod(after) == 1:
        _batched(op, x, n, f"Global{kind}Pool", [], {})
    else:
        kernel = [s // o for s, o in zip(before, after, strict=True)]
        _batched(op, x, n, f"{kind}Pool", [], {"kernel_shape": kernel, "strides": kernel})


# -- products --------------------------------------------------------------------------------------------------------


@aten("linear")
def linear(op: Operation) -> None:
    op.emit("Linear", [op.tensor(0, "input"), op.tensor(1, "weight"), op.maybe(2, "bias")], domain=DOMAIN)


def _unturned(op: Operation, name: str) -> tuple[str, int]:
    """What a matrix is the transpose of, and 1; or the matrix itself, and 0."""
    call = op.t.called.get(name)
    source = call.args[0] if call is not None and call.args else None
    if call is None or not isinstance(source, Ref) or len(op.shape(source.name)) != 2:
        return name, 0
    given: tuple[Any, ...] = call.args[1:]
    match call.target:
        case "aten.t.default" | "aten.numpy_T.default" | "aten.mT.default":
            turned = True
        case "aten.permute.default":
            turned = [int(a) % 2 for a in given[0]] == [1, 0]
        case "aten.transpose.int":
            turned = {int(a) % 2 for a in given} == {0, 1}
        case _:
            turned = False
    return (source.name, 1) if turned else (name, 0)


def _plain(op: Operation, name: str) -> str:
    """The tensor behind copies and broadcasts along leading dimensions, which a product makes by itself."""
    while (call := op.t.called.get(name)) is not None:
        source = call.args[0] if call.args else None
        if call.target not in ("aten.view.default", "aten.expand.default", "aten.clone.default",
                               "aten._unsafe_view.default") or not isinstance(source, Ref):
            return name
        before, after = op.shape(source.name), op.shape(name)
        broadcast = call.target == "aten.expand.default" and after[len(after) - len(before):] == before
        if before != after and not broadcast:
            return name
        name = source.name
    return name


@aten("matmul", "mm", "bmm", "mv", "dot")
def matmul(op: Operation) -> None:
    a, b = op.tensor(0), op.tensor(1, "mat2")
    if len(op.shape(a)) == len(op.shape(b)) == 2:
        (a, turn_a), (b, turn_b) = _unturned(op, a), _unturned(op, b)
        op.emit("Gemm", [a, b], {"transA": turn_a, "transB": turn_b})
        return
    plain = _plain(op, b)
    source, turned = _unturned(op, plain)
    if turned:
        op.emit("Linear", [a, source], domain=DOMAIN)
    else:
        op.emit("MatMul", [a, plain if len(op.shape(plain)) >= 2 else b])


@aten("addmm")
def addmm(op: Operation) -> None:
    (a, turn_a), (b, turn_b) = (_unturned(op, op.tensor(i, f"mat{i}")) for i in (1, 2))
    op.emit("Gemm", [a, b, op.tensor(0)], {
        "transA": turn_a, "transB": turn_b, "alpha": float(op.get(4, "alpha", 1)), "beta": float(op.get(3, "beta", 1)),
    })  # fmt: skip


@aten("baddbmm")
def baddbmm(op: Operation) -> None:
    if op.get(3, "beta", 1) != 1 or op.get(4, "alpha", 1) != 1:
        raise Refused("alpha and beta are not supported")
    y = op.step("MatMul", [op.tensor(1, "batch1"), op.tensor(2, "batch2")], op.result.shape)
    op.emit("Add", [y, op.tensor(0)])


@aten("einsum")
def einsum(op: Operation) -> None:
    op.emit("Einsum", op.tensors(1, "tensors"), {"equation": op.get(0, "equation")})


ATTENTION = {
    "aten.scaled_dot_product_attention": (3, 4, 5),
    "aten._scaled_dot_product_attention_math": (3, 4, 5),
    "aten._scaled_dot_product_efficient_attention": (3, 5, 6),
    "aten._scaled_dot_product_flash_attention": (None, 3, 4),
    "aten._scaled_dot_product_flash_attention_for_cpu": (None, 3, 4),
}
"""The places of mask, dropout and causal mask among the arguments; a mask without a place is given by name."""


@aten(*(name.removeprefix("aten.") for name in ATTENTION))
def attention(op: Operation) -> None:
    """Queries, keys and values (batch, heads, tokens, elements); without heads, one."""
    mask_at, dropout_at, causal_at = ATTENTION[operator_of(op.call.target)]
    if any(op.call.outputs[1:]) or op.get(dropout_at, "dropout_p", 0.0):
        raise Refused("dropout, and results for the gradient, are not supported (export the model for inference)")
    mask = op.option("attn_mask") if mask_at is None else op.get(mask_at, "attn_mask", op.option("attn_bias"))
    mask = mask.name if isinstance(mask, Ref) else None
    operands = [op.tensor(i, name) for i, name in enumerate(("query", "key", "value"))]
    flat = len(op.result.shape) == 3
    if len(op.result.shape) not in (3, 4):
        raise Refused(f"its result {op.result.shape} is not (batch, heads, tokens, elements)")
    if flat:
        operands = [op.renamed(x, (op.shape(x)[0], 1, *op.shape(x)[1:])) for x in operands]
        if mask is not None and len(op.shape(mask)) == 3:
            mask = op.renamed(mask, (op.shape(mask)[0], 1, *op.shape(mask)[1:]))
    attributes = {"is_causal": int(bool(op.get(causal_at, "is_causal", False)))}
    if op.option("scale") is not None:
        attributes["scale"] = op.option("scale")
    if not flat:
        op.emit("Attention", [*operands, mask], attributes)
        return
    batch, *rest = op.result.shape
    op.renamed(op.step("Attention", [*operands, mask], (batch, 1, *rest), "", attributes))


# -- normalisation ---------------------------------------------------------------------------------------------------


@aten("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(op: Operation) -> None:
    native = "native" in op.call.target
    if any(op.call.outputs[1:]) or (not native and op.get(5, "training", False)):
        raise Refused("training is not supported (export the model for inference, after .eval())")
    vectors = [op.maybe(i, name) for i, name in enumerate(("weight", "bias", "running_mean", "running_var"), start=1)]
    if None in vectors:
        raise Refused("a batch normalisation without weight, bias, mean or variance is not supported")
    eps = op.get(6, "eps") if native else op.get(7, "eps", 1e-5)
    op.emit("BatchNormalization", [op.tensor(0), *vectors], {"epsilon": float(eps)})


@aten("layer_norm", "native_layer_norm")
def layer_norm(op: Operation) -> None:
    if any(op.call.outputs[1:]):
        raise Refused("its mean and inverse deviation (further results) are used, which is not supported")
    axis = -len(op.get(1, "normalized_shape"))
    op.emit("LayerNormalization", [op.tensor(0), op.maybe(2, "weight"), op.maybe(3, "bias")],
            {"axis": axis, "epsilon": float(op.get(4, "eps", 1e-5))})


@aten("rms_norm", "_fused_rms_norm")
def rms_norm(op: Operation) -> None:
    if any(op.call.outputs[1:]):
        raise Refused("its inverse root mean square (second result) is used, which is not supported")
    eps = op.get(3, "eps")
    op.emit("RMSNormalization", [op.tensor(0), op.maybe(2, "weight")],
            {"axis": -len(op.get(1, "normalized_shape")), "epsilon": 2.0**-23 if eps is None else float(eps)})


@aten("group_norm", "native_group_norm")
def group_norm(op: Operation) -> None:
    native = "native" in op.call.target
    weight, bias = (op.maybe(1 if native else 2, "weight"), op.maybe(2 if native else 3, "bias"))
    if any(op.call.outputs[1:]) or weight is None or bias is None:
        raise Refused("a group normalisation for training, or without weight and bias, is not supported")
    groups = op.get(6, "group") if native else op.get(1, "num_groups")
    eps = op.get(7, "eps") if native else op.get(4, "eps", 1e-5)
    op.emit("GroupNormalization", [op.tensor(0), weight, bias], {"num_groups": int(groups), "epsilon": float(eps)})


@aten("instance_norm")
def instance_norm(op: Operation) -> None:
    weight, bias = op.maybe(1, "weight"), op.maybe(2, "bias")
    if weight is None or bias is None or not op.get(5, "use_input_stats", True):
        raise Refused("an instance normalisation without weight and bias, or with running statistics, is not supported")
    op.emit("InstanceNormalization", [op.tensor(0), weight, bias], {"epsilon": float(op.get(7, "eps", 1e-5))})


@aten("softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax")
def softmax(op: Operation) -> None:
    x = op.cast(op.tensor(0), op.result.dtype)
    kind = "LogSoftmax" if "log" in op.call.target else "Softmax"
    op.emit(kind, [x], {"axis": op.axis(op.get(1, "dim"), len(op.shape(x)))})


# -- reductions ------------------------------------------------------------------------------------------------------


def _reduce(op: Operation, op_type: str, x: str, dims: Any, keep: bool) -> None:
    axes = op.axes(dims, len(op.shape(x)))
    op.emit(op_type, [op.cast(x, op.result.dtype), op.integers(axes)], {"keepdims": int(keep)})


_SUMS = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin", "logsumexp":
         "ReduceLogSumExp", "any": "ReduceMax", "all": "ReduceMin"}  # fmt: skip


@aten(*_SUMS)
def reduction(op: Operation) -> None:
    x = op.tensor(0)
    _reduce(op, _SUMS[op.call.target.split(".")[1]], x, op.get(1, "dim"), bool(op.get(2, "keepdim", False)))


@aten("max", "min", "prod")
def one_axis(op: Operation) -> None:
    """Over one dimension or all; of two tensors, the larger or smaller of each pair."""
    name = op.call.target.split(".")[1]
    other = op.maybe(1, "other")
    if other is not None:
        op.emit(name.capitalize(), [op.tensor(0), other])
        return
    if any(op.call.outputs[1:]):
        raise Refused("the positions (second result) are used, and depend on the data")
    _reduce(op, f"Reduce{name.capitalize()}", op.tensor(0), op.get(1, "dim"), bool(op.get(2, "keepdim", False)))


@aten("linalg_vector_norm", "norm")
def norm(op: Operation) -> None:
    order = op.get(1, "ord" if "linalg" in op.call.target else "p", 2)
    kinds = {1: "ReduceL1", 2: "ReduceL2", None: "ReduceL2"}
    if order not in kinds:
        raise Refused(f"a norm of order {order} is not supported (1 or 2)")
    _reduce(op, kinds[order], op.tensor(0), op.get(2, "dim"), bool(op.get(3, "keepdim", False)))


@aten("var", "std")
def variance(op: Operation) -> None:
    """The mean square of what is left after the mean, as two passes; divided by the elements less the correction."""
    root = op.call.target.startswith("aten.std")
    x, keep = op.tensor(0), bool(op.get(3, "keepdim", False))
    correction = op.get(2, "correction", 1) if op.overload == "correction" else int(bool(op.get(2, "unbiased", True)))
    shape = op.shape(x)
    axes = op.axes(op.get(1, "dim"), len(shape))
    kept = [1 if d in axes else n for d, n in enumerate(shape)]
    mean = op.step("ReduceMean", [x, op.integers(axes)], kept, "", {"keepdims": 1})
    centred = op.step("Sub", [x, mean], shape)
    square = op.step("ReduceSumSquare", [centred, op.integers(axes)], op.result.shape, "", {"keepdims": int(keep)})
    count = prod(shape[d] for d in axes) - (1 if correction is None else correction)
    if root:
        op.emit("Sqrt", [op.step("Mul", [square, op.number(1 / max(count, 1))], op.result.shape)])
    else:
        op.emit("Mul", [square, op.number(1 / max(count, 1))])
