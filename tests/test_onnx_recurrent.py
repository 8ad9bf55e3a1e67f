"""RNN, GRU and LSTM: values by the reference, in every form; costs by closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from support.onnx_graphs import check, graph, node, save

from accelsim.errors import BadInput
from accelsim.ir import Role
from accelsim.workloads.onnx_import import import_onnx

RNG = np.random.default_rng(9)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def layer(op_type: str, directions: int = 1, *, full: bool = True, steps: int = STEPS, **attributes: Any) -> Any:
    """A graph of one node; with `full`, biases, first states and (LSTM) peepholes."""
    gates = GATES[op_type]
    constants = {"w": floats(directions, gates * HIDDEN, INPUTS), "r": floats(directions, gates * HIDDEN, HIDDEN)}
    names = ["x", "w", "r"]
    if full:
        constants["b"] = floats(directions, 2 * gates * HIDDEN)
        constants["h0"] = floats(directions, BATCH, HIDDEN)
        names += ["b", "", "h0"]
        if op_type == "LSTM":
            constants |= {"c0": floats(directions, BATCH, HIDDEN), "p": floats(directions, 3 * HIDDEN)}
            names += ["c0", "p"]
    outputs = ["y", "yh", *(["yc"] if op_type == "LSTM" else [])]
    return graph([node(op_type, names, outputs, hidden_size=HIDDEN, **attributes)], {"x": (steps, BATCH, INPUTS)},
                 outputs, constants, opset=22)  # fmt: skip


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("full", [False, True])
def test_every_direction(tmp_path: Path, op_type: str, direction: str, full: bool) -> None:
    model = layer(op_type, 2 if direction == "bidirectional" else 1, full=full, direction=direction)
    check(model, {"x": floats(STEPS, BATCH, INPUTS)}, tmp_path)


@pytest.mark.parametrize("full", [False, True])
def test_reset_after_the_product(tmp_path: Path, full: bool) -> None:
    check(layer("GRU", full=full, linear_before_reset=1), {"x": floats(STEPS, BATCH, INPUTS)}, tmp_path)


@pytest.mark.parametrize("op_type", GATES)
def test_batch_first(tmp_path: Path, op_type: str) -> None:
    gates = GATES[op_type]
    constants = {"w": floats(1, gates * HIDDEN, INPUTS), "r": floats(1, gates * HIDDEN, HIDDEN)}
    model = graph([node(op_type, ["x", "w", "r"], ["y", "yh"], hidden_size=HIDDEN, layout=1)],
                  {"x": (BATCH, STEPS, INPUTS)}, ["y", "yh"], constants, opset=22)  # fmt: skip
    check(model, {"x": floats(BATCH, STEPS, INPUTS)}, tmp_path)


@pytest.mark.parametrize("op_type", GATES)
def test_products(tmp_path: Path, op_type: str) -> None:
    """Every step multiplies input and state with their weights, but for the first, whose state is 0."""
    workload = import_onnx(save(layer(op_type, full=False), tmp_path))
    rows = BATCH * GATES[op_type] * HIDDEN
    assert workload.macs == rows * (STEPS * INPUTS + (STEPS - 1) * HIDDEN)
    assert workload.bytes_by_role()[Role.WEIGHT] == 4 * GATES[op_type] * HIDDEN * (INPUTS + HIDDEN)
    with_state = import_onnx(save(layer(op_type), tmp_path))
    assert with_state.macs == rows * STEPS * (INPUTS + HIDDEN)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"node 'LSTM_0' \(LSTM\): 600 steps are too many to unroll"):
        import_onnx(save(layer("LSTM", steps=600), tmp_path))
    with pytest.raises(BadInput, match=r"activations affine \(1 per direction, of sigmoid"):
        import_onnx(save(layer("RNN", activations=["Affine"]), tmp_path))
    model = layer("GRU")
    next(a for a in model.graph.node[0].attribute if a.name == "hidden_size").i = HIDDEN + 1
    with pytest.raises(BadInput, match=rf"hidden_size {HIDDEN + 1}, and weights .* of {HIDDEN}"):
        import_onnx(save(model, tmp_path))
    model = layer("GRU")
    model.graph.node[0].input[3] = "h0"
    with pytest.raises(BadInput, match=r"biases \(1, .* of the input, then of the recurrence"):
        import_onnx(save(model, tmp_path))
    model = layer("RNN")
    model.graph.node[0].input[4] = "lengths"
    model.graph.input.append(graph([], {"lengths": (BATCH,)}, [], elem_type=TensorProto.INT32).graph.input[0])
    with pytest.raises(BadInput, match="sequences of different lengths"):
        import_onnx(save(model, tmp_path))
    model = layer("LSTM", steps=600)
    model.graph.node.append(node("Relu", ["y"], ["z"]))
    model.graph.output[0].name = "z"
    allowed = import_onnx(save(model, tmp_path), allow_unknown=True)
    assert allowed.tensors["y"].shape == (600, 1, BATCH, HIDDEN)
    assert "LSTM 'LSTM_0'" in allowed.notes[0]
