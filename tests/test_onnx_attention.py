"""Attention and rotary embedding as single nodes: what they cost. Their values are ONNX's conformance cases."""

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

RNG = np.random.default_rng(3)
BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 4, 5, 7, 8


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def attend(folder: Path, key_heads: int = HEADS, **attributes: Any) -> Any:
    shapes = {"q": (BATCH, HEADS, QUERIES, WIDTH), "k": (BATCH, key_heads, KEYS, WIDTH),
              "v": (BATCH, key_heads, KEYS, 3)}  # fmt: skip
    model = graph([node("Attention", ["q", "k", "v"], ["y"], **attributes)], shapes, ["y"], opset=24)
    return check(model, {name: floats(*shape) for name, shape in shapes.items()}, folder)


@pytest.mark.parametrize("key_heads", [HEADS, 2, 1])
def test_two_products_and_a_softmax(tmp_path: Path, key_heads: int) -> None:
    """Heads of queries share keys and values: the bytes of these fall, the products stay."""
    workload = attend(tmp_path, key_heads).workload
    scores = BATCH * HEADS * QUERIES * KEYS
    assert workload.macs == scores * (WIDTH + 3)
    counts = workload.operations().counts
    assert counts["exp"] == counts["div"] == scores
    assert counts["mul"] == BATCH * HEADS * QUERIES * WIDTH
    assert workload.bytes_by_role()[Role.INPUT] == 4 * BATCH * (
        HEADS * QUERIES * WIDTH + key_heads * KEYS * (WIDTH + 3))  # fmt: skip
    assert workload.bytes_by_role()[Role.WEIGHT] == 0


def test_a_causal_mask_is_one_number_per_distance(tmp_path: Path) -> None:
    workload = attend(tmp_path, is_causal=1).workload
    assert workload.bytes_by_role()[Role.WEIGHT] == 4 * (QUERIES + KEYS - 1)
    scores = BATCH * HEADS * QUERIES * KEYS
    # the mask, the difference to the maximum, and the sum
    assert workload.operations().counts["add"] == 3 * scores


def test_a_cache_is_read_and_written(tmp_path: Path) -> None:
    past = 6
    shapes = {
        "q": (1, 2, 1, 8), "k": (1, 2, 1, 8), "v": (1, 2, 1, 8), "pk": (1, 2, past, 8), "pv": (1, 2, past, 8),
    }  # fmt: skip
    model = graph([node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])], shapes, ["y", "nk", "nv"],
                  opset=24)  # fmt: skip
    workload = check(model, {name: floats(*shape) for name, shape in shapes.items()}, tmp_path).workload
    assert workload.tensors["nk"].shape == (1, 2, past + 1, 8)
    assert workload.operations().counts["copy"] == 2 * 2 * (past + 1) * 8
    assert workload.bytes_by_role()[Role.OUTPUT] == 4 * (2 * 8 + 2 * 2 * (past + 1) * 8)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
def test_rotary_embedding(tmp_path: Path, interleaved: int, turned: int) -> None:
    x, half = floats(2, 3, 5, 8), (turned or 8) // 2
    tables = {"cos": floats(50, half), "sin": floats(50, half)}
    model = graph(
        [node("RotaryEmbedding", ["x", "cos", "sin", "at"], ["y"], interleaved=interleaved,
              rotary_embedding_dim=turned)],
        {"x": x.shape, "at": (2, 5)}, ["y"], tables, opset=23, types={"at": TensorProto.INT64},
    )  # fmt: skip
    workload = check(model, {"x": x, "at": RNG.integers(0, 50, (2, 5))}, tmp_path).workload
    elements = 2 * 3 * 5 * 2 * half
    rest = {} if half == 4 else {"copy": x.size - elements}
    assert workload.operations().counts == {"add": elements, "mul": 2 * elements, **rest}


def test_heads_that_do_not_fit_are_named(tmp_path: Path) -> None:
    shapes = {"q": (1, 4, 24), "k": (1, 4, 24), "v": (1, 4, 24)}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"q_num_heads": 5, "kv_num_heads": 4}, r"q_num_heads=5 of 'q' \(1, 4, 24\)"),
        ({"q_num_heads": 3, "kv_num_heads": 2}, "3 heads of 8 elements over 2 of 12"),
    )
    for attributes, said in cases:
        model = graph([node("Attention", list(shapes), ["y"], **attributes)], shapes, ["y"], opset=24)
        with pytest.raises(BadInput, match=said):
            import_onnx(save(model, tmp_path))
