"""Transposed convolutions, resizing, padding and gathering: values by the reference, operations by closed forms."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from support.onnx_graphs import check, evaluate_import, graph, node, one, save

from accelsim.ir import Role
from accelsim.ir.strides import Piece, pieces
from accelsim.workloads.onnx_import import import_model

RNG = np.random.default_rng(11)
PROPERTY = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def array(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


# -- transposed convolution ----------------------------------------------------------------------------------------


def transposed(x: Any, w: Any, bias: Any, at: dict[str, Any], size: list[int]) -> Any:
    """Every input element times every filter element, added where it belongs (ONNX's reference mistakes groups)."""
    groups, (_, outer, *kernel) = at["group"], w.shape
    inner = x.shape[1] // groups
    y = np.zeros((x.shape[0], groups * outer, *size)) + bias.reshape(1, -1, 1, 1)
    for g, c, m in np.ndindex(groups, inner, outer):
        for i, j, r, s in np.ndindex(*x.shape[2:], *kernel):
            p = i * at["strides"][0] + r * at["dilations"][0] - at["pads"][0]
            q = j * at["strides"][1] + s * at["dilations"][1] - at["pads"][1]
            if 0 <= p < size[0] and 0 <= q < size[1]:
                y[:, g * outer + m, p, q] += x[:, g * inner + c, i, j] * w[g * inner + c, m, r, s]
    return y


@PROPERTY
@given(data=st.data())
def test_any_transposed_convolution(tmp_path: Path, data: st.DataObject) -> None:
    def pick(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    kernel, strides, dilations = ([pick(1, high) for _ in range(2)] for high in (4, 3, 2))
    at: dict[str, Any] = {
        "group": pick(1, 2), "strides": strides, "dilations": dilations, "pads": [pick(0, 2) for _ in range(4)],
        "output_padding": [pick(0, max(strides[d], dilations[d]) - 1) for d in range(2)],
    }  # fmt: skip
    inner, outer, image = pick(1, 2), pick(1, 2), [pick(1, 5), pick(1, 5)]
    size = [
        strides[d] * (image[d] - 1) + at["output_padding"][d] + dilations[d] * (kernel[d] - 1) + 1
        - at["pads"][d] - at["pads"][2 + d] for d in range(2)
    ]  # fmt: skip
    assume(min(size) > 0)
    groups = at["group"]
    x, w, bias = array(1, groups * inner, *image), array(groups * inner, outer, *kernel), array(groups * outer)
    model = graph([node("ConvTranspose", ["x", "w", "b"], ["y"], **at)], {"x": x.shape}, ["y"], {"w": w, "b": bias})
    got = evaluate_import(import_model(save(model, tmp_path)), model, {"x": x})["y"]
    np.testing.assert_allclose(got, transposed(x, w, bias, at, size), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "kernel, stride, pad, extra, einsums",
    [(2, 2, 0, 0, 1), (4, 2, 1, 0, 4), (3, 2, 1, 1, 4), (4, 4, 0, 0, 1), (16, 8, 4, 0, 4), (3, 1, 1, 0, 1)],
)
def test_products_are_those_with_real_elements(
    tmp_path: Path, kernel: int, stride: int, pad: int, extra: int, einsums: int
) -> None:
    """Where the result is stride times the input, each input element meets each filter element once."""
    imported = one(
        "ConvTranspose", array(1, 3, 5, 5), tmp_path, array(3, 2, kernel, kernel), strides=[stride] * 2, pads=[pad] * 4,
        output_padding=[extra] * 2,
    )  # fmt: skip
    assert imported.workload.tensors["y"].shape == (1, 2, 5 * stride, 5 * stride)
    assert imported.workload.macs == 3 * 2 * 25 * kernel**2
    assert len(list(imported.workload.einsums())) == einsums


@pytest.mark.parametrize("attributes", [
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"}
])  # fmt: skip
def test_transposed_convolution_by_its_result(tmp_path: Path, attributes: dict[str, Any]) -> None:
    one("ConvTranspose", array(1, 2, 4, 3), tmp_path, array(2, 3, 3, 3), strides=[3, 2], **attributes)


def test_outputs_that_no_filter_element_reaches_are_zero(tmp_path: Path) -> None:
    imported = one("ConvTranspose", array(1, 2, 3), tmp_path, array(2, 2, 1), strides=[3], output_padding=[2])
    assert imported.workload.macs == 2 * 2 * 3


# -- resize --------------------------------------------------------------------------------------------------------

SCALES = [[2.0, 2.0], [4.0, 3.0], [1.5, 2.0], [0.5, 0.5], [0.6, 0.8], [1.0, 2.5], [0.3, 3.7]]
COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
CASES = [*((c, s) for c in COORDINATES for s in SCALES), ("half_pixel_symmetric", [2.0, 2.0]),
         ("half_pixel_symmetric", [0.6, 2.4])]  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates, scales", CASES)
def test_resize(tmp_path: Path, mode: str, coordinates: str, scales: list[float]) -> None:
    factors = np.array([1.0, 1.0, *scales], np.float32)
    one("Resize", array(1, 2, 6, 7), tmp_path, None, factors, mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("scales", SCALES)
def test_resize_to_the_nearest(tmp_path: Path, rounding: str, scales: list[float]) -> None:
    imported = one("Resize", array(1, 2, 6, 7), tmp_path, None, np.array([1.0, 1.0, *scales], np.float32),
                   nearest_mode=rounding, coordinate_transformation_mode="asymmetric")  # fmt: skip
    assert imported.workload.operations().counts == {"copy": imported.workload.tensors["y"].elements}


BOTH = {"antialias": 1, "exclude_outside": 1}


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("attributes", [{"antialias": 1}, {"exclude_outside": 1}, BOTH])
@pytest.mark.parametrize("sizes", [[3, 4], [2, 9], [12, 5]])
def test_smooth_resize_to_sizes(tmp_path: Path, mode: str, attributes: dict[str, Any], sizes: list[int]) -> None:
    to = np.array([1, 2, *sizes])
    one("Resize", array(1, 2, 9, 10), tmp_path, None, None, to, mode=mode, **attributes)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_resize_of_some_axes(tmp_path: Path, policy: str) -> None:
    one("Resize", array(1, 2, 4, 6), tmp_path, None, None, np.array([8, 7]), axes=[2, 3], mode="linear",
        keep_aspect_ratio_policy=policy)  # fmt: skip


@pytest.mark.parametrize("mode, taps", [("linear", 2), ("cubic", 4)])
def test_doubling_costs_one_product_per_tap_and_pass(tmp_path: Path, mode: str, taps: int) -> None:
    """Rows first, then columns, as both grow alike: 2 * 8 * 8, then 2 * 8 * 16 values of `taps` products each."""
    imported = one("Resize", array(1, 2, 8, 8), tmp_path, None, np.array([1, 1, 2, 2], np.float32), mode=mode)
    einsums = [e for e, _ in imported.workload.einsums()]
    assert len(einsums) == 2
    assert imported.workload.operations().counts == {"mac": taps * 2 * (16 * 8 + 16 * 16)}
    assert imported.workload.bytes_by_role()[Role.WEIGHT] == 4 * 2 * 16 * taps


def test_an_odd_scale_is_looked_up(tmp_path: Path) -> None:
    imported = one("Resize", array(1, 1, 400, 3), tmp_path, None, None, np.array([1, 1, 179, 3]), mode="linear")
    counts = imported.workload.operations().counts
    assert counts == {"mul": 2 * 179 * 3, "add": 179 * 3}
    assert len(list(imported.workload.einsums())) == 1


# -- padding and gathering -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 1, 2, 0, 0, 3], [0, 0, 4, 0, 2, 0], [0, 0, 0, 1, 0, 0]])
def test_pad_by_what_is_there(tmp_path: Path, mode: str, pads: list[int]) -> None:
    if mode == "reflect":
        pads = [0, *pads[1:3], 0, *pads[4:]]
        if not any(pads):
            pads = [0, 2, 0, 0, 0, 0]
    imported = one("Pad", array(2, 4, 5), tmp_path, np.array(pads), opset=19, mode=mode)
    counts = imported.workload.operations().counts
    assert counts == {"copy": imported.workload.tensors["y"].elements}


def test_reflection_of_an_image_has_nine_copies(tmp_path: Path) -> None:
    imported = one("Pad", array(1, 1, 6, 6), tmp_path, np.array([0, 0, 2, 2, 0, 0, 2, 2]), mode="reflect")
    assert len(list(imported.workload.einsums())) == 9


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("rows", [(3,), (2, 2), ()])
def test_gather_by_data_along_any_axis(tmp_path: Path, axis: int, rows: tuple[int, ...]) -> None:
    model = graph([node("Gather", ["x", "at"], ["y"], axis=axis)], {"x": (4, 4, 4), "at": rows}, ["y"],
                  types={"at": TensorProto.INT64})  # fmt: skip
    imported = check(model, {"x": array(4, 4, 4), "at": RNG.integers(0, 4, rows)}, tmp_path)
    assert imported.workload.operations().counts == {"copy": 16 * max(1, prod(rows))}


def test_many_scattered_positions_are_looked_up(tmp_path: Path) -> None:
    positions = RNG.permutation(200)
    imported = one("Gather", array(2, 200), tmp_path, positions, axis=1)
    assert len(list(imported.workload.einsums())) == 1


@PROPERTY
@given(data=st.data())
def test_pieces_hold_every_element_once(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["any", "phases", "runs"]))
    if kind == "any":
        values = data.draw(st.lists(st.integers(-3, 9), min_size=1, max_size=30))
    elif kind == "phases":
        base = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
        step, count = data.draw(st.integers(-2, 3)), data.draw(st.integers(1, 20))
        values = [base[i % len(base)] + step * (i // len(base)) for i in range(count)]
    else:
        values = [v for _ in range(data.draw(st.integers(1, 4)))
                  for v in range(data.draw(st.integers(0, 9)), 30, data.draw(st.integers(3, 9)))]  # fmt: skip
    made: dict[int, int] = {}
    for piece in pieces(values):
        for i in range(piece.count):
            for j in range(piece.width):
                place = piece.start + piece.period * i + j
                assert place not in made
                made[place] = piece.first + piece.far * i + piece.near * j
    assert made == dict(enumerate(values))


def test_pieces_are_few() -> None:
    assert pieces([0, 0, 1, 1, 2, 2]) == [Piece(0, 2, 3, 2, 0, 1, 0)]
    assert pieces([4, 6, 8]) == [Piece(0, 1, 3, 1, 4, 2, 0)]
    assert len(pieces([3, 2, 1, 0, 1, 2, 3, 2, 1])) == 3
