"""What an imported model computes is what ONNX says it computes, operator by operator."""

from __future__ import annotations

import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from support.onnx_graphs import check, evaluate_import, graph, node, one, reference, save

from accelsim.errors import BadInput
from accelsim.ir import Role
from accelsim.workloads.onnx_import import import_model
from accelsim.workloads.onnx_import.graph import TABLE

RNG = np.random.default_rng(7)
PROPERTY = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def array(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 7, 6), (4, 3, 3, 2), {}),
    "strided": ((1, 3, 9, 9), (4, 3, 3, 3), {"strides": [2, 3]}),
    "dilated": ((1, 3, 11, 9), (4, 3, 3, 3), {"dilations": [3, 2], "pads": [1, 1, 1, 1]}),
    "grouped": ((1, 6, 5, 5), (8, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 6, 5, 5), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "depth multiplier": ((1, 3, 5, 5), (6, 1, 3, 3), {"group": 3}),
    "asymmetric pads": ((1, 2, 5, 5), (3, 2, 3, 3), {"pads": [0, 1, 2, 3], "strides": [2, 1]}),
    "same upper": ((1, 2, 6, 7), (3, 2, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 2, 6, 7), (3, 2, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((1, 2, 6, 7), (3, 2, 3, 2), {"auto_pad": "VALID", "strides": [2, 2]}),
    "one dimension": ((2, 3, 9), (4, 3, 4), {"strides": [2], "pads": [1, 2]}),
    "three dimensions": ((1, 2, 4, 5, 6), (3, 2, 2, 3, 3), {"pads": [0, 1, 1, 1, 1, 0]}),
    "pointwise": ((2, 5, 3, 3), (7, 5, 1, 1), {}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_convolution(tmp_path: Path, case: str, bias: bool) -> None:
    x, w, attributes = CONVOLUTIONS[case]
    imported = one("Conv", array(*x), tmp_path, array(*w), *([array(w[0])] if bias else []), **attributes)
    outputs = prod(imported.workload.tensors["y"].shape)
    assert imported.workload.macs == outputs * prod(w[1:])


@PROPERTY
@given(data=st.data())
def test_any_convolution(tmp_path: Path, data: st.DataObject) -> None:
    def pick(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups, inner, outer = pick(1, 3), pick(1, 2), pick(1, 2)
    kernel = [pick(1, 3), pick(1, 3)]
    strides, dilations, pads = [pick(1, 3), pick(1, 3)], [pick(1, 2), pick(1, 2)], [pick(0, 2) for _ in range(4)]
    image = [pick(dilations[d] * (kernel[d] - 1) + 1, 8) for d in range(2)]
    one(
        "Conv", array(pick(1, 2), groups * inner, *image), tmp_path, array(groups * outer, inner, *kernel),
        group=groups, strides=strides, dilations=dilations, pads=pads,
    )  # fmt: skip


def pooled(x: Any, op_type: str, at: dict[str, Any]) -> Any:
    """Pooling by the text of the operator reference, window by window."""
    kernel, strides, pads = at["kernel_shape"], at["strides"], at["pads"]
    dilations = at["dilations"]
    room = [x.shape[2 + d] + pads[d] + pads[2 + d] - dilations[d] * (kernel[d] - 1) - 1 for d in range(2)]
    outs = [-(-room[d] // strides[d]) + 1 if at["ceil_mode"] else room[d] // strides[d] + 1 for d in range(2)]
    # a window that would start in the padding at the end is left out
    outs = [o - ((o - 1) * strides[d] >= x.shape[2 + d] + pads[d]) for d, o in enumerate(outs)]
    y = np.zeros((*x.shape[:2], *outs))
    for p, q in np.ndindex(*outs):
        inside, counted = [], 0
        for r, s in np.ndindex(*kernel):
            h, w = p * strides[0] + r * dilations[0] - pads[0], q * strides[1] + s * dilations[1] - pads[1]
            if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
                inside.append(x[:, :, h, w])
            counted += -pads[0] <= h < x.shape[2] + pads[2] and -pads[1] <= w < x.shape[3] + pads[3]
        if op_type == "MaxPool":
            y[:, :, p, q] = np.max(inside, axis=0)
        else:
            y[:, :, p, q] = np.sum(inside, axis=0) / (counted if at["count_include_pad"] else len(inside))
    return y


@PROPERTY
@given(data=st.data())
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_any_pool(tmp_path: Path, op_type: str, data: st.DataObject) -> None:
    kernel = [data.draw(st.integers(1, 3)) for _ in range(2)]
    dilations = [data.draw(st.integers(1, 2)) if k > 1 else 1 for k in kernel]
    reach = [dilation * (k - 1) + 1 for dilation, k in zip(dilations, kernel, strict=True)]
    at: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [data.draw(st.integers(1, 3)) for _ in range(2)],
        "dilations": dilations,
        "pads": [data.draw(st.integers(0, kernel[d % 2] - 1)) for d in range(4)],
        "ceil_mode": int(data.draw(st.booleans())),
    }
    if op_type == "AveragePool":
        at["count_include_pad"] = int(data.draw(st.booleans()))
    x = array(1, 2, *(data.draw(st.integers(reach[d] + 1, 8)) for d in range(2)))
    expected = pooled(x, op_type, at)
    model = graph([node(op_type, ["x"], ["y"], **at)], {"x": x.shape}, ["y"], opset=19)
    got = evaluate_import(import_model(save(model, tmp_path)), model, {"x": x})["y"]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"ceil_mode": 1, "strides": [2, 2]},
        {"ceil_mode": 1, "strides": [2, 2], "pads": [1, 1, 0, 0]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER"},
        {"dilations": [2, 2]},
    ],
)
def test_pool(tmp_path: Path, op_type: str, attributes: dict[str, Any]) -> None:
    imported = one(op_type, array(1, 2, 8, 8), tmp_path, opset=19, kernel_shape=[3, 3], **attributes)
    assert imported.workload.macs == 0


def test_average_that_counts_the_padding_and_rounds_up(tmp_path: Path) -> None:
    """By hand: 5 elements, padded by 1 before, windows of 2 by 2; the last one holds one real element and no pad."""
    x = np.arange(1.0, 6.0, dtype=np.float32).reshape(1, 1, 5)
    model = graph(
        [node("AveragePool", ["x"], ["y"], kernel_shape=[2], strides=[2], pads=[1, 0], ceil_mode=1,
              count_include_pad=1)],
        {"x": (1, 1, 5)}, ["y"], opset=19,
    )  # fmt: skip
    imported = import_model(save(model, tmp_path))
    got = evaluate_import(imported, model, {"x": x})["y"]
    np.testing.assert_allclose(got, [[[0.5, 2.5, 4.5]]])


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pool(tmp_path: Path, op_type: str) -> None:
    one(op_type, array(2, 3, 4, 5), tmp_path)


@pytest.mark.parametrize("transposed_a", [0, 1])
@pytest.mark.parametrize("transposed_b", [0, 1])
@pytest.mark.parametrize("c", [None, (), (5,), (1, 5), (4, 1), (4, 5)])
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.5, 2.0)])
def test_gemm(
    tmp_path: Path, transposed_a: int, transposed_b: int, c: tuple[int, ...] | None, factors: tuple[float, float]
) -> None:
    a = array(*((3, 4) if transposed_a else (4, 3)))
    b = array(*((5, 3) if transposed_b else (3, 5)))
    imported = one(
        "Gemm", a, tmp_path, b, *([] if c is None else [array(*c)]), transA=transposed_a, transB=transposed_b,
        alpha=factors[0], beta=factors[1],
    )  # fmt: skip
    assert imported.workload.macs == 4 * 3 * 5


@pytest.mark.parametrize(
    "a, b, macs",
    [
        ((4, 3), (3, 5), 60),
        ((2, 4, 3), (3, 5), 120),
        ((2, 1, 4, 3), (7, 3, 5), 840),
        ((3,), (3, 5), 15),
        ((4, 3), (3,), 12),
        ((3,), (3,), 3),
    ],
)
def test_matmul(tmp_path: Path, a: tuple[int, ...], b: tuple[int, ...], macs: int) -> None:
    model = graph([node("MatMul", ["x", "z"], ["y"])], {"x": a, "z": b}, ["y"])
    assert check(model, {"x": array(*a), "z": array(*b)}, tmp_path).workload.macs == macs


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_softmax(tmp_path: Path, op_type: str, opset: int, axis: int | None) -> None:
    """Before opset 13 the dimensions from `axis` (default 1) on are one; the expectation is written out here."""
    x = array(2, 3, 4)
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    model = graph([node(op_type, ["x"], ["y"], **attributes)], {"x": x.shape}, ["y"], opset=opset)
    if opset >= 13:
        over: tuple[int, ...] = (-1 if axis is None else axis,)
    else:
        over = tuple(range((1 if axis is None else axis) % 3, 3))
    e = np.exp(x.astype(np.float64))
    expected = e / e.sum(axis=over, keepdims=True)
    got = evaluate_import(import_model(save(model, tmp_path)), model, {"x": x})["y"]
    np.testing.assert_allclose(got, expected if op_type == "Softmax" else np.log(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_batch_normalization(tmp_path: Path, shape: tuple[int, ...]) -> None:
    scale, bias, mean, variance = array(3), array(3), array(3), np.abs(array(3))
    imported = one("BatchNormalization", array(*shape), tmp_path, scale, bias, mean, variance, epsilon=1e-3)
    workload = imported.workload
    assert workload.operations().counts == {"add": prod(shape), "mul": prod(shape)}
    assert workload.bytes_by_role()[Role.WEIGHT] == 4 * 2 * 3


def test_batch_normalization_by_data(tmp_path: Path) -> None:
    feeds = {"x": array(2, 3, 4), "s": array(3), "b": array(3), "m": array(3), "v": np.abs(array(3))}
    model = graph([node("BatchNormalization", list(feeds), ["y"])], {n: v.shape for n, v in feeds.items()}, ["y"])
    counts = check(model, feeds, tmp_path).workload.operations().counts
    assert counts == {"add": 24 + 3 * 3, "mul": 24 + 3 * 3, "sqrt": 2 * 3}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_lrn(tmp_path: Path, size: int) -> None:
    # the reference runs over as many channels as there are images (onnx 1.23), so there are as many of both
    imported = one("LRN", array(6, 6, 3, 3), tmp_path, size=size, alpha=0.3, beta=0.6, bias=1.5)
    assert imported.workload.macs == 0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(tmp_path: Path, axis: int) -> None:
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for i, shape in enumerate(shapes):
        shape[axis] = i + 1
    names = ["a", "b", "c"]
    model = graph([node("Concat", names, ["y"], axis=axis)], dict(zip(names, shapes, strict=True)), ["y"])
    check(model, {n: array(*s) for n, s in zip(names, shapes, strict=True)}, tmp_path)


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"])
@pytest.mark.parametrize("axes", [None, [0], [1, -1], [0, 1, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [11, 18])
def test_reduce(tmp_path: Path, op_type: str, axes: list[int] | None, keepdims: int, opset: int) -> None:
    attributes: dict[str, Any] = {}
    if opset == 18:
        given = [] if axes is None else [np.array(axes)]
        one(op_type, array(2, 3, 4), tmp_path, *given, keepdims=keepdims)
    else:
        attributes |= {} if axes is None else {"axes": axes}
        one(op_type, array(2, 3, 4), tmp_path, keepdims=keepdims, opset=opset, **attributes)


@pytest.mark.parametrize("perm", [None, [0, 2, 1], [2, 0, 1]])
def test_transpose_copies(tmp_path: Path, perm: list[int] | None) -> None:
    attributes: dict[str, Any] = {} if perm is None else {"perm": perm}
    imported = one("Transpose", array(2, 3, 4), tmp_path, **attributes)
    assert imported.nodes[0].became == "einsums"


def test_transpose_of_unit_dimensions_is_a_view(tmp_path: Path) -> None:
    model = graph(
        [node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]), node("Relu", ["t"], ["y"])], {"x": (1, 1, 4, 5)}, ["y"]
    )
    assert check(model, {"x": array(1, 1, 4, 5)}, tmp_path).nodes[0].became == "view"


def test_channel_shuffle(tmp_path: Path) -> None:
    """ShuffleNet's reshape, transpose, reshape: one copy of the tensor."""
    model = graph(
        [
            node("Reshape", ["x", "apart"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["b", "together"], ["c"]),
            node("Relu", ["c"], ["y"]),
        ],
        {"x": (1, 6, 4, 4)}, ["y"],
        {"apart": np.array([1, 2, 3, 4, 4]), "together": np.array([0, -1, 4, 4])},
    )  # fmt: skip
    imported = check(model, {"x": array(1, 6, 4, 4)}, tmp_path)
    assert [n.became for n in imported.nodes] == ["view", "einsums", "view", "einsums"]
    assert imported.workload.operations().counts == {"copy": 96, "max": 96}


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"])
@pytest.mark.parametrize("other", [(), (4,), (3, 1), (2, 1, 4), (5, 2, 3, 4)])
def test_broadcasting(tmp_path: Path, op_type: str, other: tuple[int, ...]) -> None:
    model = graph([node(op_type, ["x", "z"], ["y"])], {"x": (2, 3, 4), "z": other}, ["y"])
    check(model, {"x": np.abs(array(2, 3, 4)) + 0.5, "z": np.abs(array(*other)) + 0.5}, tmp_path)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -0.5, -1.0, 1.7])
def test_known_powers(tmp_path: Path, exponent: float) -> None:
    imported = one("Pow", np.abs(array(2, 3)) + 0.5, tmp_path, np.array(exponent, np.float32))
    assert ("exp" in imported.workload.operations().counts) == (exponent == 1.7)


def test_a_known_number_is_no_weight(tmp_path: Path) -> None:
    imported = one("Mul", array(2, 3), tmp_path, np.array([[0.125]], np.float32))
    assert imported.workload.bytes_by_role()[Role.WEIGHT] == 0
    widening = one("Mul", array(3), tmp_path, np.array([[0.125]], np.float32))
    assert widening.workload.tensors["y"].shape == (1, 3)


def test_clip_by_attributes_by_constants_and_by_data(tmp_path: Path) -> None:
    x = array(4, 5)
    one("Clip", x, tmp_path, np.array(-0.5, np.float32), np.array(0.25, np.float32))
    one("Clip", x, tmp_path, None, np.array(0.25, np.float32))
    one("Clip", x, tmp_path, opset=10, min=-0.5, max=0.25)
    model = graph([node("Clip", ["x", "low"], ["y"])], {"x": (4, 5), "low": ()}, ["y"])
    check(model, {"x": x, "low": np.float32(0.1)}, tmp_path)


def test_transposed_weight_is_made_ahead(tmp_path: Path) -> None:
    model = graph(
        [node("Transpose", ["w"], ["wt"]), node("MatMul", ["x", "wt"], ["y"])], {"x": (2, 9)}, ["y"], {"w": array(7, 9)}
    )
    imported = check(model, {"x": array(2, 9)}, tmp_path)
    assert [n.became for n in imported.nodes] == ["folded", "einsums"]
    assert imported.workload.bytes_by_role()[Role.WEIGHT] == 4 * 63


def test_embedding_copies_only_its_rows(tmp_path: Path) -> None:
    model = graph(
        [node("Gather", ["table", "ids"], ["y"])], {"ids": (2, 3)}, ["y"], {"table": array(50, 8)},
        types={"ids": TensorProto.INT64},
    )  # fmt: skip
    imported = check(model, {"ids": np.array([[0, 49, 7], [7, 3, 1]])}, tmp_path)
    assert imported.workload.bytes_by_role()[Role.WEIGHT] == 4 * 50 * 8
    assert imported.workload.operations().counts == {"copy": 6 * 8}


@pytest.mark.parametrize("rows", [np.array(1), np.array([0, 2]), np.array([3, 1, 0]), np.array([[0, 0], [-1, 2]])])
@pytest.mark.parametrize("axis", [1, 2])
def test_known_gather(tmp_path: Path, rows: Any, axis: int) -> None:
    one("Gather", array(2, 4, 4), tmp_path, rows, axis=axis)


def attention_block() -> Any:
    """A transformer block as exporters write it: shapes computed in the graph, masks by Where, heads by Reshape."""
    embed, heads = 8, 2
    constants = {
        "wq": array(embed, embed), "wk": array(embed, embed), "wv": array(embed, embed), "wo": array(embed, embed),
        "gamma": array(embed), "beta": array(embed), "zero": np.array(0), "one": np.array(1),
        "heads": np.array([heads]), "head": np.array([embed // heads]), "scale": np.array(2.0, np.float32),
        "low": np.array(-1e9, np.float32), "all": np.array([embed]), "axis0": np.array([0]),
    }  # fmt: skip
    nodes = [
        node("LayerNormalization", ["x", "gamma", "beta"], ["n"], axis=-1, epsilon=1e-5),
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["b0"]),
        node("Gather", ["shape", "one"], ["t0"]),
        node("Unsqueeze", ["b0", "axis0"], ["b"]),
        node("Unsqueeze", ["t0", "axis0"], ["t"]),
        node("Concat", ["b", "t", "heads", "head"], ["split"], axis=0),
        node("Concat", ["b", "t", "all"], ["joined"], axis=0),
    ]
    for p in "qkv":
        nodes += [
            node("MatMul", ["n", f"w{p}"], [f"{p}0"]),
            node("Reshape", [f"{p}0", "split"], [f"{p}1"]),
            node("Transpose", [f"{p}1"], [p], perm=[0, 2, 3, 1] if p == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["s0"]),
        node("Div", ["s0", "scale"], ["s1"]),
        node("Where", ["mask", "s1", "low"], ["s2"]),
        node("Softmax", ["s2"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["z0"]),
        node("Transpose", ["z0"], ["z1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["z1", "joined"], ["z"]),
        node("MatMul", ["z", "wo"], ["o"]),
        node("Add", ["o", "x"], ["y"]),
    ]
    return graph(
        nodes, {"x": ("batch", "time", embed), "mask": ("time", "time")}, ["y"], constants,
        types={"mask": TensorProto.BOOL},
    )  # fmt: skip


def test_transformer_block(tmp_path: Path) -> None:
    model = attention_block()
    batch, time, embed = 2, 5, 8
    imported = import_model(save(model, tmp_path), bindings={"batch": batch, "time": time})
    feeds = {"x": array(batch, time, embed), "mask": np.tril(np.ones((time, time), bool))}
    (expected,) = reference(model, feeds, ["y"])
    np.testing.assert_allclose(evaluate_import(imported, model, feeds)["y"], expected, rtol=1e-5, atol=1e-5)
    assert imported.workload.macs == 4 * batch * time * embed**2 + 2 * batch * time**2 * embed
    assert imported.workload.bytes_by_role()[Role.WEIGHT] == 4 * (4 * embed**2 + 2 * embed)


# -- ONNX's own conformance cases ------------------------------------------------------------------------------------

NO_KEY = "a query that no key answers gives 0 by convention, and 0 / 0 here"
NOT_COMPARED = {
    "test_averagepool_2d_ceil_last_window_starts_on_pad": "its expected values are printed to four digits",
    "test_dynamicquantizelinear": "an element lies halfway between two integers, and float32 rounds the quotient up",
    "test_attention_causal_boolmask_nan_robustness": NO_KEY,
    "test_attention_23_boolmask_fullymasked_row_nan_robustness": NO_KEY,
    "test_attention_4d_causal_nonpad_negative_offset_structural_empty": NO_KEY,
    "test_attention_23_fullymasked_qk_matmul_output_mode3_zero": NO_KEY,
    "test_attention_24_fullymasked_qk_matmul_output_mode3_zero": NO_KEY,
    "test_attention_24_qk_matmul_output_mode3_softmax_precision": NO_KEY,
    "test_attention_local_window_gqa_rank4_mask": NO_KEY,
}

SUPPORTED_CASES = 700
"""A floor under the number of cases compared (1006 with onnx 1.23), so that refusals cannot pass for agreement."""

KNOWN_ONLY = {"Mod", "EyeLike", "OneHot", "Trilu", "CumSum"}
"""Supported where their inputs are known before the run, which those of the cases are not."""


def _own_cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(collect_testcases(None))


def _concrete(case: Any) -> tuple[Any, dict[str, Any], list[Any]] | None:
    """Model with shapes of the data, feeds and expectations; None when the case is not one of plain tensors.

    Shapes, axes and other small integers become initializers, as they are in exported models.
    """
    inputs, outputs = case.data_sets[0]
    if not all(isinstance(v, np.ndarray | np.generic) for v in (*inputs, *outputs)):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    del model.graph.output[1:]
    feeds = {i.name: np.asarray(v) for i, v in zip(model.graph.input, inputs, strict=True)}
    for position, proto in enumerate(model.graph.input):
        value = feeds[proto.name]
        if not value.size or value.dtype.kind not in "fiub" or not proto.type.HasField("tensor_type"):
            return None
        dims = proto.type.tensor_type.shape.dim
        del dims[:]
        for size in value.shape:
            dims.add().dim_value = size
        parameter = value.ndim <= 1 and (value.dtype.kind in "iub" or value.size == 1)
        if position and (parameter or case.model.graph.node[0].op_type in ("Resize", "Upsample")):
            model.graph.initializer.append(numpy_helper.from_array(value, proto.name))
    return model, feeds, [np.asarray(v) for v in outputs]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_conformance_cases_of_onnx(tmp_path: Path) -> None:
    """Every case of ONNX's node tests whose operators are supported gives the listed values, or is refused."""
    compared: set[str] = set()
    seen: set[str] = set()
    tried: set[str] = set()
    known = {op for domain, op in TABLE.handlers if not domain} | {"Constant", "ConstantOfShape", "Shape", "Size"}
    for case in _own_cases():
        operators = {n.op_type for n in case.model.graph.node}
        tried |= operators & known
        concrete = _concrete(case) if operators <= known and case.name not in NOT_COMPARED else None
        if concrete is None:
            continue
        model, feeds, (expected, *_) = concrete
        if expected.dtype.kind != "f" and operators & {"Div", "Cast", "CastLike"}:
            continue  # whole-number division and rounding: the representation computes with real numbers
        try:
            imported = import_model(save(model, tmp_path))
        except BadInput:
            continue
        workload_inputs = {n for n, t in imported.workload.tensors.items() if t.role is Role.INPUT}
        got = evaluate_import(imported, model, {n: v for n, v in feeds.items() if n in workload_inputs})
        tolerance = 2e-3 if expected.dtype.itemsize == 2 else 1e-5
        name = model.graph.output[0].name
        np.testing.assert_allclose(
            got[name if name in got else f"{name}.copy"], expected.astype(np.float64), rtol=tolerance, atol=tolerance,
            err_msg=case.name,
        )  # fmt: skip
        compared.add(case.name)
        seen |= operators
    assert len(compared) >= SUPPORTED_CASES
    assert tried - seen <= KNOWN_ONLY
