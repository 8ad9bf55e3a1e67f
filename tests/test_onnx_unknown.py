"""Operators without support: refused by name, or let through, listed and never silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.onnx_graphs import graph, node, save
from typer.testing import CliRunner

from accelsim.cli.app import app
from accelsim.errors import BadInput
from accelsim.ir import Role
from accelsim.study.evaluation import model as workload_of
from accelsim.workloads import load_model
from accelsim.workloads.onnx_import import costed_share, import_model, import_onnx


def with_top_k() -> Any:
    """A product, the four largest of every row, and their sum with a bias."""
    return graph(
        [
            node("MatMul", ["x", "w"], ["scores"], name="mm"),
            node("TopK", ["scores", "k"], ["best", "where"], name="top"),
            node("Add", ["best", "bias"], ["y"], name="add"),
        ],
        {"x": (8, 16)}, ["y", "where"],
        {"w": np.ones((16, 10), np.float32), "k": np.array([4]), "bias": np.ones(4, np.float32)},
    )  # fmt: skip


def test_refused_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"node 'top' \(TopK\): is not supported: what it compares"):
        import_onnx(save(with_top_k(), tmp_path))


def test_an_unknown_operator_hands_its_bytes_over(tmp_path: Path) -> None:
    imported = import_model(save(with_top_k(), tmp_path), allow_unknown=True)
    assert [n.became for n in imported.nodes] == ["einsums", "unknown", "einsums"]
    workload = imported.workload
    tensors = workload.tensors
    assert (tensors["best"].shape, tensors["best"].bits, tensors["best"].role) == ((8, 4), 32, Role.INPUT)
    assert (tensors["where"].shape, tensors["where"].bits) == ((8, 4), 64)
    assert tensors["scores"].role is Role.OUTPUT
    held = workload.bytes_by_role()
    assert held[Role.OUTPUT] == 4 * (8 * 10 + 8 * 4)
    assert held[Role.INPUT] == 4 * (8 * 16 + 8 * 4)
    assert workload.macs == 8 * 16 * 10
    assert workload.operations().counts == {"mac": 8 * 16 * 10, "add": 8 * 4}


def test_every_unknown_operator_is_named(tmp_path: Path) -> None:
    imported = import_model(save(with_top_k(), tmp_path), allow_unknown=True)
    (note,) = imported.workload.notes
    assert note.startswith("66.7 % of the operators are costed (2 of 3)")
    assert note.endswith("TopK 'top'")
    assert costed_share(imported.nodes) == 2 / 3


def test_nothing_is_said_where_nothing_is_left_out(tmp_path: Path) -> None:
    path = save(graph([node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ["y"]), tmp_path)
    allowed = import_model(path, allow_unknown=True)
    assert allowed.workload.notes == ()
    assert costed_share(allowed.nodes) == 1.0
    assert allowed.workload == import_onnx(path)


def test_an_operator_of_another_domain_by_its_declared_shape(tmp_path: Path) -> None:
    model = graph(
        [node("Magic", ["x"], ["m"], domain="org.example"), node("Relu", ["m"], ["y"])], {"x": ("n", 3)}, ["y"]
    )
    path = save(model, tmp_path)
    with pytest.raises(BadInput, match="nor can it be left out: the shape of its output 'm' is not known"):
        import_onnx(path, bindings={"n": 2}, allow_unknown=True)
    model.graph.value_info.append(helper.make_tensor_value_info("m", TensorProto.FLOAT16, ["n", 7]))
    tensors = import_onnx(save(model, tmp_path), bindings={"n": 2}, allow_unknown=True).tensors
    assert (tensors["m"].shape, tensors["m"].bits, tensors["y"].shape) == ((2, 7), 16, (2, 7))


@pytest.mark.parametrize("op_type", ["NonZero", "NonMaxSuppression"])
def test_results_of_unknown_size_stay_refused(tmp_path: Path, op_type: str) -> None:
    inputs = {"x": (1, 5, 4), "s": (1, 1, 5)} if op_type == "NonMaxSuppression" else {"x": (1, 5, 4)}
    model = graph([node(op_type, list(inputs), ["y"], name="pick")], inputs, ["y"])
    with pytest.raises(BadInput, match=rf"'pick' \({op_type}\): is not supported: how many elements .* nor can it be"):
        import_onnx(save(model, tmp_path), allow_unknown=True)


def test_a_branch_reads_what_its_bodies_capture(tmp_path: Path) -> None:
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, [2, 3])
    body = helper.make_graph([node("Exp", ["h"], ["r"])], "body", [], [out])
    model = graph(
        [
            node("Relu", ["x"], ["h"]),
            node("If", ["c"], ["z"], name="branch", then_branch=body, else_branch=body),
            node("Neg", ["z"], ["y"]),
        ],
        {"x": (2, 3), "c": ()}, ["y"], types={"c": TensorProto.BOOL},
    )  # fmt: skip
    model.graph.value_info.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 3]))
    imported = import_model(save(model, tmp_path), allow_unknown=True)
    assert [n.became for n in imported.nodes] == ["einsums", "unknown", "einsums"]
    assert imported.workload.tensors["h"].role is Role.OUTPUT


def test_an_unsupported_form_of_a_known_operator_counts_as_unknown(tmp_path: Path) -> None:
    model = graph([node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], strides=[2, 2])], {"x": (1, 1, 4, 4)},
                  ["i", "r"])  # fmt: skip
    model.graph.node.append(node("Relu", ["y"], ["r"]))
    imported = import_model(save(model, tmp_path), allow_unknown=True)
    assert [n.became for n in imported.nodes] == ["unknown", "einsums"]
    assert imported.workload.tensors["i"].shape == (1, 1, 2, 2)


def test_mistakes_are_refused_all_the_same(tmp_path: Path) -> None:
    model = graph([node("MatMul", ["x", "y"], ["z"])], {"x": (2, 3), "y": (4, 5)}, ["z"])
    with pytest.raises(BadInput, match="multiplies"):
        import_onnx(save(model, tmp_path), allow_unknown=True)


def test_option_of_models_and_of_the_command_line(tmp_path: Path) -> None:
    path = str(save(with_top_k(), tmp_path))
    assert workload_of(path, (("allow_unknown", True),)).notes == load_model(path, allow_unknown=True).notes != ()
    with pytest.raises(BadInput, match="true or false"):
        workload_of(path, (("allow_unknown", 2),))
    run = CliRunner()
    refused = run.invoke(app, ["run", "edge_npu", path])
    assert refused.exit_code == 2
    shown = run.invoke(app, ["run", "edge_npu", path, "--allow-unknown"])
    assert shown.exit_code == 0
    assert "66.7 % of the operators are costed (2 of 3)" in " ".join(shown.output.split())
    told = json.loads(run.invoke(app, ["run", "edge_npu", path, "--allow-unknown", "--json"]).output)
    assert any("TopK 'top'" in note for note in told["provenance"]["notes"])


def test_a_dimension_goes_by_its_place_too(tmp_path: Path) -> None:
    path = save(graph([node("Relu", ["x"], ["y"])], {"x": ("?", 3, "?", "n")}, ["y"]), tmp_path)
    by_place = import_onnx(path, bindings={"x:0": 2, "x:2": 5, "n": 7})
    assert by_place.tensors["y"].shape == (2, 3, 5, 7)
    assert import_onnx(path, bindings={"x:0": 2, "x:2": 5, "x:3": 9}).tensors["y"].shape == (2, 3, 5, 9)
    with pytest.raises(BadInput, match=r"--bind x:0=1 --bind x:2=1 --bind n=1"):
        import_onnx(path)
