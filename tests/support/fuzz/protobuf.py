"""Mutations of ONNX models: of the graph's structure, of the fields of its messages, and of the bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from .text import mutated_bytes

WILD_SIZES = (0, -1, 1, 2, 3, 5, 1000003, 2**31, 2**40, 2**63 - 1, -(2**63))
WILD_LISTS: tuple[list[int], ...] = (
    [], [0], [-1], [1], [2, 2], [1, 1, 1, 1], [3, -3], [2**62, 2**62], [0] * 9, [10**6] * 4,
)  # fmt: skip
OPERATORS = (
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "ConcatFromSequence", "Constant",
    "ConstantOfShape",
    "Conv", "ConvInteger", "ConvTranspose", "CumSum", "DequantizeLinear", "Dropout", "Einsum", "Expand", "Flatten",
    "GRU",
    "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GroupNormalization", "Identity", "If",
    "InstanceNormalization", "LRN", "LSTM", "LayerNormalization", "Loop", "LpNormalization", "MatMul", "MatMulInteger",
    "MaxPool", "Mod", "OneHot", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RNN", "Range",
    "ReduceMean", "ReduceSum", "Reshape", "Resize", "ScatterND", "Shape", "Size", "Slice", "Softmax", "SpaceToDepth",
    "Split",
    "Squeeze", "Sum", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Attention",
    "RotaryEmbedding", "NoSuchOperator",
)  # fmt: skip
Mutation = Callable[[Any, random.Random], None]


def mutated_model(model: Any, rng: random.Random) -> bytes:
    """The model after mutations, as bytes."""
    if rng.random() < 0.15:
        return mutated_bytes(model.SerializeToString(), rng)
    changed = type(model)()
    changed.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_MUTATIONS)(changed, rng)
    content: bytes = changed.SerializeToString()
    return content


def _node(model: Any, rng: random.Random) -> Any:
    """One of the nodes, a new one if there is none."""
    return rng.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _names(model: Any) -> list[str]:
    graph = model.graph
    found = [i.name for i in (*graph.input, *graph.initializer)]
    return [*found, *(o for n in graph.node for o in n.output), "", "nowhere"]


def _drop_node(model: Any, rng: random.Random) -> None:
    if model.graph.node:
        del model.graph.node[rng.randrange(len(model.graph.node))]


def _repeat_node(model: Any, rng: random.Random) -> None:
    model.graph.node.add().CopyFrom(_node(model, rng))


def _reorder(model: Any, rng: random.Random) -> None:
    nodes = [type(n).FromString(n.SerializeToString()) for n in model.graph.node]
    rng.shuffle(nodes) if rng.random() < 0.5 else nodes.reverse()
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rewire(model: Any, rng: random.Random) -> None:
    """Read another value: one of a later node closes a cycle."""
    node = _node(model, rng)
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(_names(model))


def _reroute(model: Any, rng: random.Random) -> None:
    node = _node(model, rng)
    if node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice(_names(model))


def _arity(model: Any, rng: random.Random) -> None:
    node = _node(model, rng)
    values = rng.choice((node.input, node.output))
    match rng.randrange(3):
        case 0 if values:
            del values[rng.randrange(len(values))]
        case 1:
            del values[:]
        case _:
            values.append(rng.choice(_names(model)))


def _operator(model: Any, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice(OPERATORS)


def _domain(model: Any, rng: random.Random) -> None:
    _node(model, rng).domain = rng.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "nowhere"))


def _attribute(model: Any, rng: random.Random) -> None:
    """Change, drop, add or retype an attribute."""
    node = rng.choice([n for n in model.graph.node if n.attribute] or [_node(model, rng)])
    if not node.attribute or rng.random() < 0.15:
        a = node.attribute.add()
        a.name = rng.choice(("axis", "axes", "kernel_shape", "pads", "strides", "group", "mode", "perm", "value", "x"))
    else:
        a = rng.choice(node.attribute)
    match rng.randrange(9):
        case 0:
            node.attribute.remove(a)
        case 1:
            a.type, a.i = a.INT, rng.choice(WILD_SIZES)
        case 2 | 3:
            a.type = a.INTS
            del a.ints[:]
            a.ints.extend(rng.choice(WILD_LISTS))
        case 4 | 5:
            if a.ints:
                a.ints[rng.randrange(len(a.ints))] = rng.choice(WILD_SIZES)
            else:
                a.i = rng.choice(WILD_SIZES)
        case 6:
            a.type, a.f = a.FLOAT, rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
        case 7:
            words = (b"", b"SAME_UPPER", b"VALID", b"\xff\xfe", b"a,b->c", b"...", b"linear")
            a.type, a.s = a.STRING, rng.choice(words)
        case _:
            a.type = rng.randrange(15)


def _initializer(model: Any, rng: random.Random) -> None:
    """Lose a constant, or make its shape, type, data or place another."""
    if not model.graph.initializer:
        return
    at = rng.randrange(len(model.graph.initializer))
    tensor = model.graph.initializer[at]
    match rng.randrange(8):
        case 0:
            del model.graph.initializer[at]
        case 1 | 2:
            _dims(tensor.dims, rng)
        case 3:
            tensor.data_type = rng.randrange(26)
        case 4:
            tensor.raw_data = mutated_bytes(tensor.raw_data, rng)
        case 5:
            outside(tensor, rng.choice(("../../etc/passwd", "/etc/passwd", "weights.bin", "", "/dev/zero")))
        case 6:
            tensor.name = rng.choice(_names(model))
        case _:
            tensor.ClearField("raw_data")
            tensor.int64_data.extend(rng.choice(WILD_LISTS))


def outside(tensor: Any, location: str) -> None:
    """Make the data of a TensorProto lie in an external file."""
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _dims(dims: Any, rng: random.Random) -> None:
    match rng.randrange(3):
        case 0 if dims:
            dims[rng.randrange(len(dims))] = rng.choice(WILD_SIZES)
        case 1:
            dims.append(rng.choice(WILD_SIZES))
        case _:
            del dims[rng.randrange(len(dims) + 1) :]


def _input(model: Any, rng: random.Random) -> None:
    if not model.graph.input:
        return
    value = rng.choice(model.graph.input)
    kind = value.type.tensor_type
    match rng.randrange(7):
        case 0:
            model.graph.input.remove(value)
        case 1:
            kind.elem_type = rng.randrange(26)
        case 2:
            value.ClearField("type")
        case 3:
            kind.shape.dim.add().dim_value = rng.choice(WILD_SIZES)
        case 4 if kind.shape.dim:
            rng.choice(kind.shape.dim).dim_param = rng.choice(("N", "", "?", "batch", "é"))
        case 5 if kind.shape.dim:
            del kind.shape.dim[rng.randrange(len(kind.shape.dim))]
        case _ if kind.shape.dim:
            rng.choice(kind.shape.dim).dim_value = rng.choice(WILD_SIZES)


def _output(model: Any, rng: random.Random) -> None:
    match rng.randrange(3):
        case 0:
            del model.graph.output[:]
        case _:
            model.graph.output.add().name = rng.choice(_names(model))


def _header(model: Any, rng: random.Random) -> None:
    match rng.randrange(4):
        case 0:
            del model.opset_import[:]
        case 1:
            model.ClearField("graph")
        case _:
            for entry in model.opset_import:
                entry.version = rng.choice((*WILD_SIZES, 6, 7, 9, 11, 13, 18, 21, 23))


def _function(model: Any, rng: random.Random) -> None:
    """Make a node a call of a local function, which may call itself."""
    function = model.functions.add()
    function.name, function.domain = "F", rng.choice(("local", ""))
    node = _node(model, rng)
    function.input.extend(node.input)
    function.output.extend(node.output)
    inner = function.node.add()
    inner.CopyFrom(node)
    node.op_type, node.domain = "F", function.domain
    if rng.random() < 0.5:
        inner.CopyFrom(node)
    opset = function.opset_import.add()
    opset.domain, opset.version = function.domain, 1


def _branch(model: Any, rng: random.Random) -> None:
    """Make a node an If, a Loop or a Scan over a copy of the whole graph."""
    body = model.graph.SerializeToString()
    node = _node(model, rng)
    node.op_type = rng.choice(("If", "Loop", "Scan"))
    for name in rng.choice((("then_branch", "else_branch"), ("then_branch",), ("body",))):
        a = node.attribute.add()
        a.name, a.type = name, a.GRAPH
        a.g.ParseFromString(body)


_MUTATIONS: tuple[Mutation, ...] = (
    _drop_node, _repeat_node, _reorder, _rewire, _rewire, _reroute, _arity, _arity, _operator, _operator, _operator,
    _domain,
    _attribute, _attribute, _attribute, _attribute, _initializer, _initializer, _initializer, _input, _input, _output,
    _header, _function, _branch,
)  # fmt: skip
