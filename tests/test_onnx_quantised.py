"""Quantised models: bits by type, values by the reference, and products that stay products of integers."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from support.onnx_graphs import check, node, save
from support.onnx_graphs import graph as any_graph

from accelsim.ir import Role
from accelsim.workloads.onnx_import import import_onnx

RNG = np.random.default_rng(5)
U8, I8 = np.uint8, np.int8
INTEGER = {U8: TensorProto.UINT8, I8: TensorProto.INT8}


def graph(*args: Any, **keywords: Any) -> Any:
    """A ModelProto of the first opset whose quantisation the reference evaluates in all forms."""
    return any_graph(*args, **{"opset": 21, **keywords})


def integers(kind: Any, *shape: int) -> np.ndarray[Any, Any]:
    low, high = (0, 256) if kind is U8 else (-128, 128)
    return RNG.integers(low, high, shape).astype(kind)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def f32(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value, np.float32)


@pytest.mark.parametrize("kind, zero", [(U8, 128), (U8, 0), (I8, 0), (I8, -3)])
@pytest.mark.parametrize("scale", [0.25, [0.5, 0.125, 1.0]])
def test_to_integers_and_back(tmp_path: Path, kind: Any, zero: int, scale: Any) -> None:
    constants = {"s": f32(scale), "z": np.full(np.shape(scale), zero, kind)}
    model = graph(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
            node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=1),
            node("Relu", ["d"], ["y"]),
        ],
        {"x": (2, 3, 4)}, ["y"], constants,
    )  # fmt: skip
    workload = check(model, {"x": floats(2, 3, 4) * 20}, tmp_path, rounding=0.05).workload
    assert (workload.tensors["q"].bits, workload.tensors["d"].bits) == (8, 32)


@pytest.mark.parametrize("kind, bits", [(TensorProto.UINT16, 16), (TensorProto.INT4, 4), (TensorProto.UINT4, 4)])
def test_other_widths(tmp_path: Path, kind: int, bits: int) -> None:
    model = graph([node("QuantizeLinear", ["x", "s"], ["y"], output_dtype=kind)], {"x": (2, 3)}, ["y"],
                  {"s": f32(0.5)})  # fmt: skip
    assert import_onnx(save(model, tmp_path)).tensors["y"].bits == bits


def test_dynamic_quantisation(tmp_path: Path) -> None:
    model = graph([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], {"x": (3, 5)}, ["y", "s", "z"])
    for x in (floats(3, 5) * 3, np.abs(floats(3, 5)), -np.abs(floats(3, 5)), np.zeros((3, 5), np.float32)):
        workload = check(model, {"x": x}, tmp_path, rounding=0.05).workload
    assert [workload.tensors[n].bits for n in ("y", "s", "z")] == [8, 32, 8]


@pytest.mark.parametrize("zeros", [(0, 0), (7, 0), (0, 3), (7, 3)])
@pytest.mark.parametrize("pads", [0, 1])
def test_convolution_of_integers(tmp_path: Path, zeros: tuple[int, int], pads: int) -> None:
    w = integers(U8, 4, 3, 3, 3)
    model = graph(
        [node("ConvInteger", ["x", "w", "zx", "zw"], ["y"], pads=[pads] * 4)], {"x": (1, 3, 6, 5)}, ["y"],
        {"w": w, "zx": np.array(zeros[0], U8), "zw": np.array(zeros[1], U8)}, types={"x": TensorProto.UINT8},
    )  # fmt: skip
    imported = check(model, {"x": integers(U8, 1, 3, 6, 5)}, tmp_path, rounding=0.05)
    workload = imported.workload
    assert workload.macs == prod(workload.tensors["y"].shape) * 27
    assert workload.tensors["y"].bits == 32
    offset = 4 * 4 if zeros[0] else 0
    assert workload.bytes_by_role()[Role.WEIGHT] == w.size + offset
    assert len(list(workload.einsums())) == (2 if zeros[0] else 1)


def test_two_operands_of_data_are_centred(tmp_path: Path) -> None:
    model = graph(
        [node("MatMulInteger", ["a", "b", "za", "zb"], ["y"])], {"a": (4, 3), "b": (3, 5)}, ["y"],
        {"za": np.array([12], U8), "zb": np.array([3], U8)},
        types={"a": TensorProto.UINT8, "b": TensorProto.UINT8},
    )  # fmt: skip
    workload = check(model, {"a": integers(U8, 4, 3), "b": integers(U8, 3, 5)}, tmp_path).workload
    assert workload.operations().counts == {"mac": 60, "add": 4 * 3 + 3 * 5}


def test_dynamically_quantised_product(tmp_path: Path) -> None:
    """As exporters write it: the zero point of the activations is known to the run alone, the sums of weights ahead."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z", "zw"], ["acc"]),
        node("Cast", ["acc"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["s", "sw"], ["m"]),
        node("Mul", ["f", "m"], ["y"]),
    ]
    constants = {"w": integers(I8, 6, 5), "zw": np.array(0, I8), "sw": f32(0.02)}
    workload = check(graph(nodes, {"x": (4, 6)}, ["y"], constants), {"x": floats(4, 6)}, tmp_path).workload
    assert workload.macs == 4 * 6 * 5
    assert workload.bytes_by_role()[Role.WEIGHT] == 6 * 5 + 4 * 5


@pytest.mark.parametrize("kind, zeros", [(U8, (128, 0, 100)), (I8, (0, 0, 0)), (I8, (-5, 0, 4)), (U8, (3, 9, 0))])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_quantised_convolution(
    tmp_path: Path, kind: Any, zeros: tuple[int, int, int], per_channel: bool, bias: bool, groups: int
) -> None:
    scale = f32(RNG.uniform(0.01, 0.03, 4) if per_channel else 0.02)
    constants = {
        "sx": f32(0.05), "zx": np.array(zeros[0], kind), "w": integers(kind, 4, 4 // groups, 3, 3), "sw": scale,
        "zw": np.full(scale.shape, zeros[1], kind), "sy": f32(0.7), "zy": np.array(zeros[2], kind),
        "b": RNG.integers(-500, 500, 4).astype(np.int32),
    }  # fmt: skip
    names = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", *(["b"] if bias else [])]
    model = graph([node("QLinearConv", names, ["y"], pads=[1, 1, 0, 0], strides=[2, 1], group=groups)],
                  {"x": (1, 4, 7, 6)}, ["y"], constants, types={"x": INTEGER[kind]})  # fmt: skip
    workload = check(model, {"x": integers(kind, 1, 4, 7, 6)}, tmp_path, rounding=0.05).workload
    assert {n: workload.tensors[n].bits for n in ("x", "y")} == {"x": 8, "y": 8}
    assert workload.macs == prod(workload.tensors["y"].shape) * 9 * 4 // groups
    product, finish = (e for e, _ in workload.einsums())
    assert product.is_contraction
    assert workload.tensors[product.output.tensor].bits == 32
    assert finish.kind == "QLinearConv.requantise"


@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6)])
@pytest.mark.parametrize("zeros", [(0, 0), (113, 0), (113, 114)])
def test_quantised_product(tmp_path: Path, shape: tuple[int, ...], zeros: tuple[int, int]) -> None:
    constants = {
        "sa": f32(0.03), "za": np.array(zeros[0], U8), "b": integers(U8, 6, 5), "sb": f32(0.02),
        "zb": np.array(zeros[1], U8), "sy": f32(0.9), "zy": np.array(118, U8),
    }  # fmt: skip
    model = graph([node("QLinearMatMul", ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"], ["y"])], {"a": shape}, ["y"],
                  constants, types={"a": TensorProto.UINT8})  # fmt: skip
    workload = check(model, {"a": integers(U8, *shape)}, tmp_path, rounding=0.05).workload
    assert workload.macs == prod(shape) * 5
    assert workload.tensors["y"].bits == 8


def qdq(op_type: str, constants: dict[str, Any], shape: tuple[int, ...], kind: Any, **attributes: Any) -> Any:
    """A product between DequantizeLinear and QuantizeLinear, with a dequantised weight and bias."""
    nodes = [
        node("QuantizeLinear", ["x", "sx", "zx"], ["q"]),
        node("DequantizeLinear", ["q", "sx", "zx"], ["xd"], name="in"),
        node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], axis=0 if op_type != "MatMul" else 1, name="weight"),
        *([node("DequantizeLinear", ["b", "sb"], ["bd"], axis=0)] if "b" in constants else []),
        node(op_type, ["xd", "wd", *(["bd"] if "b" in constants else [])], ["f"], name="product", **attributes),
        node("Relu", ["f"], ["r"]),
        node("QuantizeLinear", ["r", "sy", "zy"], ["y"]),
    ]
    scales = {"sx": f32(0.05), "zx": np.array(3, kind), "sy": f32(0.4), "zy": np.array(0, kind)}
    return graph(nodes, {"x": shape}, ["y"], {**scales, **constants})


@pytest.mark.parametrize("kind", [U8, I8])
@pytest.mark.parametrize("channels", [False, True])
def test_products_between_dequantise_and_quantise_are_of_integers(tmp_path: Path, kind: Any, channels: bool) -> None:
    scale = f32(RNG.uniform(0.01, 0.03, 4)) if channels else f32(0.02)
    zero = np.zeros(scale.shape, I8)
    bias = {"b": RNG.integers(-99, 99, 4).astype(np.int32), "sb": f32(0.001)}
    conv = {"w": integers(I8, 4, 3, 3, 3), "sw": scale, "zw": zero, **bias}
    gemm = {"w": integers(I8, 4, 6), "sw": scale, "zw": zero, **bias}
    matmul = {"w": integers(I8, 6, 4), "sw": scale, "zw": zero}
    for model, shape in (
        (qdq("Conv", conv, (1, 3, 5, 5), kind, pads=[1] * 4), (1, 3, 5, 5)),
        (qdq("Gemm", gemm, (2, 6), kind, transB=1), (2, 6)),
        (qdq("MatMul", matmul, (2, 5, 6), kind), (2, 5, 6)),
    ):
        imported = check(model, {"x": floats(*shape)}, tmp_path, rounding=0.05)
        workload = imported.workload
        fates = {n.name: n.became for n in imported.nodes}
        assert (fates["in"], fates["weight"], fates["product"]) == ("view", "folded", "einsums")
        (product,) = [e for e, _ in workload.einsums() if e.is_contraction]
        assert {workload.tensors[a.tensor].bits for a in product.inputs} == {8}
        assert workload.tensors["wd" if "wd" in workload.tensors else "w"].bits == 8


def test_a_residual_is_dequantised_once_and_the_product_keeps_its_integers(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], name="both"),
        node("DequantizeLinear", ["w", "s", "zw"], ["wd"]),
        node("MatMul", ["d", "wd"], ["p"]),
        node("Add", ["p", "d"], ["y"]),
    ]
    constants = {"s": f32(0.05), "z": np.array(9, U8), "w": integers(I8, 6, 6), "zw": np.array(0, I8)}
    imported = check(graph(nodes, {"x": (4, 6)}, ["y"], constants), {"x": floats(4, 6)}, tmp_path, tolerance=1e-4)
    assert {n.name: n.became for n in imported.nodes}["both"] == "einsums"
    (product,) = [e for e, _ in imported.workload.einsums() if e.is_contraction]
    assert {a.tensor for a in product.inputs} == {"q", "w"}


def test_weights_alone_are_held_in_their_bits(tmp_path: Path) -> None:
    """A product of floats with a dequantised weight: the weight is made ahead, and takes the bytes of its integers."""
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["wd"], axis=1), node("MatMul", ["x", "wd"], ["y"])]
    constants = {"w": integers(I8, 6, 20), "s": f32(RNG.uniform(0.1, 1, 20)), "z": np.zeros(20, I8)}
    workload = check(graph(nodes, {"x": (4, 6)}, ["y"], constants), {"x": floats(4, 6)}, tmp_path).workload
    assert workload.bytes_by_role()[Role.WEIGHT] == 6 * 20
    assert (workload.tensors["wd"].bits, workload.tensors["y"].bits) == (8, 32)
