"""The ONNX importer: real models counted exactly, nothing lost, and every mistake named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.onnx_graphs import graph, node, save

from accelsim.errors import BadInput
from accelsim.ir import Einsum, Repeat, Role, View, Workload
from accelsim.workloads.onnx_import import import_model, import_onnx, import_report, wheel_models

MODELS = wheel_models()

PUBLISHED_MACS = {
    "bvlc_alexnet": 654_560_384,
    "densenet121": 2_834_161_664,
    "inception_v1": 1_431_556_352,
    "resnet50": 4_089_184_256,
    "squeezenet": 349_151_936,
    "zfnet512": 1_481_727_008,
}
"""MACs of one image by layer tables of these networks (convolutions and fully connected layers, padding dense)."""

PARAMETERS = {"vgg19": 143_667_240}
"""Simonyan and Zisserman, arXiv:1409.1556, configuration E: 144 million."""


def shapes_by_onnx(model: Any) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    known = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    return known | {i.name: tuple(i.dims) for i in model.graph.initializer}


def macs_by_walk(path: Path) -> int:
    """Closed forms over the nodes: outputs * filter elements of a convolution, M * N * K of a product."""
    model = onnx.load(path)
    shapes = shapes_by_onnx(model)
    total = 0
    for n in model.graph.node:
        if n.op_type == "Conv":
            _, channels_per_group, *kernel = shapes[n.input[1]]
            total += prod(shapes[n.output[0]]) * channels_per_group * prod(kernel)
        elif n.op_type == "Gemm":
            transposed = any(a.name == "transA" and a.i for a in n.attribute)
            total += prod(shapes[n.output[0]]) * shapes[n.input[0]][0 if transposed else 1]
        else:
            assert n.op_type not in ("MatMul", "ConvTranspose", "Einsum"), "the walk would miss MACs"
    return total


def test_the_nine_models_are_there() -> None:
    assert sorted(MODELS) == sorted([*PUBLISHED_MACS, "inception_v2", "shufflenet", "vgg19"])


@pytest.mark.parametrize("name", MODELS)
def test_macs_are_those_of_an_independent_walk(name: str) -> None:
    counted = import_onnx(MODELS[name]).macs
    assert counted == macs_by_walk(MODELS[name])
    assert counted == PUBLISHED_MACS.get(name, counted)


@pytest.mark.parametrize("name", MODELS)
def test_no_node_is_lost(name: str) -> None:
    imported = import_model(MODELS[name])
    file_nodes = onnx.load(MODELS[name]).graph.node
    assert len(imported.nodes) == len(file_nodes)
    einsums = [item.name for item in imported.workload.body if isinstance(item, Einsum)]
    owners: dict[str, int] = {}
    for einsum in einsums:
        owner = max((n.name for n in imported.nodes if einsum == n.name or einsum.startswith(f"{n.name}.")), key=len)
        owners[owner] = owners.get(owner, 0) + 1
    views = {item.output for item in imported.workload.body if isinstance(item, View)}
    for row, proto in zip(imported.nodes, file_nodes, strict=True):
        assert row.op_type == proto.op_type
        assert (owners.get(row.name, 0) > 0) == (row.became == "einsums"), row
        assert (proto.output[0] in views) == (row.became == "view"), row
        assert (row.became == "folded") == (row.op_type == "ConstantOfShape"), row
    assert import_report(MODELS[name]) == imported.nodes


@pytest.mark.parametrize("name", MODELS)
def test_compulsory_bytes_are_those_of_the_file(name: str) -> None:
    model = onnx.load(MODELS[name])
    shapes = shapes_by_onnx(model)
    constant = {i.name for i in model.graph.initializer} | {
        n.output[0] for n in model.graph.node if n.op_type == "ConstantOfShape"
    }
    parameters = {
        name
        for n in model.graph.node
        if n.op_type not in ("ConstantOfShape", "BatchNormalization")
        for position, name in enumerate(n.input)
        if name in constant and not (n.op_type == "Reshape" and position == 1)
    }
    folded = sum(2 * prod(shapes[n.input[1]]) for n in model.graph.node if n.op_type == "BatchNormalization")
    imported = import_model(MODELS[name])
    held = imported.workload.bytes_by_role()
    made_up = sum(4 * values.size for values in imported.constants.values())
    assert held[Role.WEIGHT] - made_up == 4 * (sum(prod(shapes[p]) for p in parameters) + folded)
    data = [i.name for i in model.graph.input if i.name not in constant]
    assert held[Role.INPUT] == sum(4 * prod(shapes[d]) for d in data)
    assert held[Role.OUTPUT] == sum(4 * prod(shapes[o.name]) for o in model.graph.output)
    if name in PARAMETERS:
        assert held[Role.WEIGHT] == 4 * PARAMETERS[name]


def test_pooling_and_normalisation_are_no_macs() -> None:
    workload = import_onnx(MODELS["inception_v1"])
    by_kind: dict[str, int] = {}
    for einsum, _ in workload.einsums():
        if einsum.is_contraction:
            by_kind[einsum.kind] = by_kind.get(einsum.kind, 0) + einsum.points
    assert set(by_kind) == {"Conv", "Gemm"}
    assert sum(by_kind.values()) == workload.macs


def test_residuals_and_branches_keep_their_readers() -> None:
    """Every activation is read, or is an output; every tensor read was written, or stands from the start."""
    for path in MODELS.values():
        workload = import_onnx(path)
        read = {a.tensor for e, _ in workload.einsums() for a in e.inputs}
        read |= {item.input for item in workload.body if isinstance(item, View)}
        for tensor in workload.tensors.values():
            if tensor.role is Role.ACTIVATION:
                assert tensor.name in read, (path.name, tensor.name)


def test_large_weights_are_never_made() -> None:
    tracemalloc.start()
    import_onnx(MODELS["vgg19"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20  # the weights are 575 MB


def test_bits_come_from_the_file_or_from_the_caller(tmp_path: Path) -> None:
    half = graph(
        [node("MatMul", ["x", "w"], ["y"]), node("Cast", ["y"], ["z"], to=TensorProto.FLOAT)],
        {"x": (2, 3)}, ["z"], {"w": np.ones((3, 5), np.float16)}, elem_type=TensorProto.FLOAT16,
    )  # fmt: skip
    path = save(half, tmp_path)
    imported = import_model(path)
    assert {t.name: t.bits for t in imported.workload.tensors.values()} == {"x": 16, "w": 16, "y": 16, "z": 32}
    assert [n.became for n in imported.nodes] == ["einsums", "einsums"]
    narrow = import_model(path, bits=8)
    assert {t.bits for t in narrow.workload.tensors.values()} == {8}
    assert [n.became for n in narrow.nodes] == ["einsums", "view"]
    images = import_onnx(MODELS["resnet50"], bits=8)
    assert 4 * images.bytes_by_role()[Role.WEIGHT] == import_onnx(MODELS["resnet50"]).bytes_by_role()[Role.WEIGHT]


def test_an_output_that_only_renames_is_still_written(tmp_path: Path) -> None:
    model = graph([node("Reshape", ["x", "s"], ["y"])], {"x": (2, 3)}, ["y"], {"s": np.array([6])})
    held = import_onnx(save(model, tmp_path)).bytes_by_role()
    assert (held[Role.INPUT], held[Role.OUTPUT]) == (24, 24)


@pytest.mark.parametrize("channels", [2, 4, 64])
def test_a_renamed_weight_keeps_its_name(tmp_path: Path, channels: int) -> None:
    model = graph(
        [node("Unsqueeze", ["w", "axes"], ["v"]), node("Mul", ["x", "v"], ["y"])], {"x": (channels, 3)}, ["y"],
        {"w": np.ones(channels, np.float32), "axes": np.array([1])},
    )  # fmt: skip
    imported = import_model(save(model, tmp_path))
    assert [n.became for n in imported.nodes] == ["view", "einsums"]
    assert imported.workload.storage("v") == "w"


def test_unused_nodes_cost_nothing(tmp_path: Path) -> None:
    model = graph(
        [node("Relu", ["x"], ["y"]), node("NonMaxSuppression", ["x", "x"], ["dead"]), node("Exp", ["dead"], ["dead2"])],
        {"x": (2, 3)}, ["y"],
    )  # fmt: skip
    imported = import_model(save(model, tmp_path))
    assert [n.became for n in imported.nodes] == ["einsums", "unused", "unused"]
    assert len(list(imported.workload.einsums())) == 1


def test_a_node_named_like_its_output_keeps_its_steps_apart(tmp_path: Path) -> None:
    """Keras and MXNet name a node like its output; the product before the bias needs a name of its own."""
    model = graph(
        [node("Conv", ["x", "w", "b"], ["conv1"], name="conv1"), node("Relu", ["conv1"], ["conv1.bias"], name="relu")],
        {"x": (1, 2, 4, 4)}, ["conv1.bias"], {"w": np.ones((3, 2, 3, 3), "f"), "b": np.ones(3, "f")},
    )  # fmt: skip
    workload = import_onnx(save(model, tmp_path))
    writers = [e.output.tensor for e, _ in workload.einsums()]
    assert len(set(writers)) == 3
    assert {"conv1", "conv1.bias"} < set(writers)


# -- symbolic dimensions -------------------------------------------------------------------------------------------


def symbolic() -> Any:
    return graph([node("Relu", ["x"], ["y"])], {"x": ("batch", 3, None)}, ["y"])


def test_symbolic_dimensions_are_bound(tmp_path: Path) -> None:
    workload = import_onnx(save(symbolic(), tmp_path), bindings={"batch": 4, "x:2": 5})
    assert workload.tensors["y"].shape == (4, 3, 5)
    assert workload.tensors["y"].role is Role.OUTPUT


@pytest.mark.parametrize(
    "bindings, said",
    [
        (None, ["'batch' (axis 0 of input 'x')", "'x:2' (axis 2 of input 'x')", "bindings={'batch': 1, 'x:2': 1}"]),
        ({"batch": 2}, ["'x:2' (axis 2 of input 'x')", "bindings={'x:2': 1}"]),
        ({"batch": 2, "x:2": 5, "btach": 3}, ["'btach' fits no symbolic dimension", "'batch', 'x:2'"]),
        ({"batch": 0, "x:2": 5}, ["'batch' is 0", "whole number from 1"]),
        ({"batch": 1.5, "x:2": 5}, ["'batch' is 1.5"]),
    ],
)
def test_dimensions_without_a_size(tmp_path: Path, bindings: Any, said: list[str]) -> None:
    path = save(symbolic(), tmp_path)
    with pytest.raises(BadInput) as error:
        import_onnx(path, bindings=bindings)
    for part in (str(path), *said):
        assert part in str(error.value)


# -- what is refused, and how ----------------------------------------------------------------------------------------


def test_missing_file_directory_and_text(tmp_path: Path) -> None:
    text = tmp_path / "notes.onnx"
    text.write_text("this is no model")
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    for path, said in [
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path, "is a directory"),
        (text, "not an ONNX model"),
        (empty, "not an ONNX model, or cut short"),
    ]:
        with pytest.raises(BadInput, match=said) as error:
            import_onnx(path)
        assert str(error.value).startswith(str(path))


def test_an_opset_that_onnx_does_not_know(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in (newest, newest + 1, 99):
        model = graph([node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ["y"])
        del model.opset_import[:]
        model.opset_import.append(onnx.helper.make_opsetid("", opset))
        path = save(model, tmp_path)
        if opset == newest:
            assert import_onnx(path).tensors
            continue
        with pytest.raises(BadInput, match=f"opset {opset} is newer than any .* \\(up to {newest};"):
            import_onnx(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    model = graph([node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ["y"])
    whole = model.SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="cut short"):
            import_onnx(path)
    path.write_bytes(whole)
    assert import_onnx(path).name == "cut"


CONV_WEIGHT = {"w": np.ones((4, 2, 3, 3), np.float32)}


def refused(nodes: Sequence[Any], inputs: Mapping[str, Sequence[int]], constants: Any = None, opset: int = 18) -> Any:
    return graph(nodes, inputs, [nodes[-1].output[0]], constants, opset=opset)


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "unknown operator": (
        refused([node("Sofmax", ["x"], ["y"], name="last")], {"x": (2, 3)}),
        ["node 'last' (Sofmax)", "domain 'ai.onnx' is not supported", "nearest: Softmax"],
    ),
    "other domain": (
        refused([node("FusedConv", ["x"], ["y"], domain="com.microsoft")], {"x": (2, 3)}),
        ["FusedConv_0", "domain 'com.microsoft'", "nearest:", "Conv"],
    ),
    "no producer": (
        refused([node("Relu", ["inptu"], ["y"])], {"input": (2, 3)}),
        ["node 'Relu_0'", "'inptu' is produced by no earlier node", "nearest: input"],
    ),
    "two producers": (
        refused([node("Relu", ["x"], ["y"]), node("Exp", ["x"], ["y"])], {"x": (2,)}),
        ["node 'Exp_1'", "'y' has a producer already"],
    ),
    "shape from data": (
        refused([node("Reshape", ["x", "s"], ["y"])], {"x": (2, 3), "s": (1,)}),
        ["node 'Reshape_0'", "shape 's' must be known before the run"],
    ),
    "reshape to another size": (
        refused([node("Reshape", ["x", "s"], ["y"])], {"x": (2, 3)}, {"s": np.array([4, -1])}),
        ["'x' (2, 3) cannot take shape [4, -1]"],
    ),
    "channels of a convolution": (
        refused([node("Conv", ["x", "w"], ["y"], name="c1")], {"x": (1, 3, 8, 8)}, CONV_WEIGHT),
        ["'c1'", "(1, 3, 8, 8)", "(4, 2, 3, 3)", "channels must be"],
    ),
    "window larger than image": (
        refused([node("Conv", ["x", "w"], ["y"], name="c1")], {"x": (1, 2, 2, 2)}, CONV_WEIGHT),
        ["'c1'", "window (3, 3) does not fit"],
    ),
    "kernel_shape against weight": (
        refused([node("Conv", ["x", "w"], ["y"], kernel_shape=[5, 5])], {"x": (1, 2, 8, 8)}, CONV_WEIGHT),
        ["Conv_0", "kernel [5, 5]", "do not fit together"],
    ),
    "negative pads": (
        refused([node("Conv", ["x", "w"], ["y"], pads=[-1, 0, 0, 0])], {"x": (1, 2, 8, 8)}, CONV_WEIGHT),
        ["Conv_0", "pads [-1, 0, 0, 0]"],
    ),
    "shapes that do not broadcast": (
        refused([node("Add", ["x", "y"], ["z"])], {"x": (2, 3), "y": (4,)}),
        ["Add_0", "cannot be broadcast together", "'x' (2, 3)", "'y' (4,)"],
    ),
    "inner sizes of a product": (
        refused([node("MatMul", ["x", "y"], ["z"], name="mm")], {"x": (2, 3), "y": (4, 5)}),
        ["'mm'", "(2, 3)", "(4, 5)"],
    ),
    "axis": (
        refused([node("Softmax", ["x"], ["y"], axis=2)], {"x": (2, 3)}),
        ["Softmax_0", "axis 2 of 'x' (2, 3)", "-2..1"],
    ),
    "positions of maxima": (
        graph([node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])], {"x": (1, 1, 4, 4)}, ["y", "i"]),
        ["MaxPool_0", "positions of the maxima"],
    ),
    "training": (
        refused([node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], training_mode=1)],
                {"x": (1, 2, 3), "s": (2,)}),
        ["BatchNormalization_0", "training is not supported"],
    ),
    "old opset": (refused([node("Relu", ["x"], ["y"])], {"x": (2,)}, opset=6), ["opset 6 is too old", "opset 7"]),
    "strings": (
        graph([node("Identity", ["x"], ["y"])], {"x": (2,)}, ["y"], elem_type=TensorProto.STRING),
        ["tensor 'x'", "element type string is not supported"],
    ),
    "output without producer": (
        graph([node("Relu", ["x"], ["y"])], {"x": (2,)}, ["z"]), ["output 'z'", "produced by no node"],
    ),
    "constants that do not fit": (
        refused([node("Add", ["a", "b"], ["s"]), node("Reshape", ["x", "s"], ["y"])], {"x": (6,)},
                {"a": np.array([1, 2]), "b": np.array([1, 2, 3])}),
        ["node 'Add_0'", "constant inputs do not fit together"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_named(tmp_path: Path, case: str) -> None:
    model, said = REFUSED[case]
    path = save(model, tmp_path)
    with pytest.raises(BadInput) as error:
        import_onnx(path)
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize("op_type", ["If", "Loop", "Scan"])
def test_control_flow_is_refused_by_name(tmp_path: Path, op_type: str) -> None:
    body = helper.make_graph([node("Relu", ["x"], ["r"])], "body", [], [])
    attributes = {"then_branch": body, "else_branch": body} if op_type == "If" else {"body": body}
    model = graph([node(op_type, ["x"], ["y"], name="branch", **attributes)], {"x": (2,)}, ["y"])
    with pytest.raises(BadInput, match=rf"node 'branch' \({op_type}\): control flow .* is not supported"):
        import_onnx(save(model, tmp_path))


def switched(condition: Sequence[Any]) -> Any:
    """x through Exp or, with a constant of the branch, through Add; `condition` computes c."""
    bodies = [
        helper.make_graph([node("Exp", ["h"], ["t"])], "then", [], [helper.make_empty_tensor_value_info("t")]),
        helper.make_graph([node("Add", ["h", "two"], ["a"]), node("Neg", ["a"], ["e"])], "else", [],
                          [helper.make_empty_tensor_value_info("e")],
                          [helper.make_tensor("two", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])]),
    ]  # fmt: skip
    branch = node("If", ["c"], ["z"], name="branch", then_branch=bodies[0], else_branch=bodies[1])
    return graph([node("Relu", ["x"], ["h"]), *condition, branch, node("Neg", ["z"], ["y"])],
                 {"x": ("n", 3), "rate": ()}, ["y"], {"limit": np.array([4]), "fast": np.array(16000)},
                 types={"rate": TensorProto.INT64})  # fmt: skip


@pytest.mark.parametrize("size, taken", [(2, ["Exp"]), (7, ["Add", "Neg"])])
def test_a_branch_that_sizes_decide_is_taken(tmp_path: Path, size: int, taken: list[str]) -> None:
    condition = [node("Shape", ["x"], ["s"], end=1), node("Less", ["s", "limit"], ["c"])]
    imported = import_model(save(switched(condition), tmp_path), bindings={"n": size, "rate": 8000})
    assert [e.kind for e, _ in imported.workload.einsums()] == ["Relu", *taken, "Neg"]
    assert {n.name: n.became for n in imported.nodes}["branch"] == "folded"
    assert [n.op_type for n in imported.nodes if n.name.startswith("branch/")] == taken


def test_an_input_of_one_whole_number_may_be_bound_to_its_value(tmp_path: Path) -> None:
    path = save(switched([node("Equal", ["rate", "fast"], ["c"])]), tmp_path)
    kinds = {rate: [e.kind for e, _ in import_onnx(path, bindings={"n": 2, "rate": rate}).einsums()]
             for rate in (16000, 8000)}  # fmt: skip
    assert kinds == {16000: ["Relu", "Exp", "Neg"], 8000: ["Relu", "Add", "Neg", "Neg"]}
    with pytest.raises(BadInput, match=r"node 'branch' \(If\): control flow"):
        import_onnx(path, bindings={"n": 2})
    with pytest.raises(BadInput, match=r"input 'rate' is bound to 1\.5"):
        import_onnx(path, bindings={"n": 2, "rate": 1.5})  # type: ignore[dict-item]


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    twice = helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], opsets[:1])
    model = graph([node("Twice", ["x"], ["y"], domain="local")], {"x": (2,)}, ["y"])
    model = helper.make_model(model.graph, functions=[twice], opset_imports=opsets, ir_version=8)
    workload = import_onnx(save(model, tmp_path))
    assert [e.kind for e, _ in workload.einsums()] == ["Add"]


def test_external_weights_need_not_be_there(tmp_path: Path) -> None:
    model = graph([node("MatMul", ["x", "w"], ["y"])], {"x": (2, 3)}, ["y"], {"w": np.ones((3, 50), np.float32)})
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert import_onnx(path).macs == 300


def test_workloads_hold_no_repeat_and_valid_names() -> None:
    workload: Workload = import_onnx(MODELS["shufflenet"], name="shuffle")
    assert workload.name == "shuffle"
    assert not any(isinstance(item, Repeat) for item in workload.body)
    names = [e.name for e, _ in workload.einsums()]
    assert len(names) == len(set(names))


def declared_as(shape: Sequence[int | str | None] | None) -> Any:
    """A product of shape (3, 4) whose output the file says to have another."""
    model = graph([node("MatMul", ["x", "w"], ["y"])], {"x": (3, "k")}, ["y"], {"w": np.ones((2, 4), np.float32)})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize("shape", [(3, 5), (4,), (3, 4, 1), (), ("n", 3), (0, 3)])
def test_an_output_of_another_shape_than_the_file_says_is_told(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    sizes = ", ".join(str(n) if isinstance(n, int) and n else "?" for n in shape)
    (note,) = import_onnx(save(declared_as(shape), tmp_path), bindings={"k": 2}).notes
    assert note.startswith(f"output 'y' is declared as [{sizes}] in the file; the nodes give it shape [3, 4]")


@pytest.mark.parametrize("shape", [(3, 4), ("n", 4), (3, None), (0, 4), None])
def test_what_the_file_leaves_open_of_an_output_fits(
    tmp_path: Path, shape: tuple[int | str | None, ...] | None
) -> None:
    workload = import_onnx(save(declared_as(shape), tmp_path), bindings={"k": 2})
    assert workload.macs == 24
    assert not workload.notes
