"""Operators of the Workload builder, and their meaning on numpy."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from support.arrays import close, random

from accelsim.errors import BadInput
from accelsim.ir import (
    Role,
    WorkloadBuilder,
    contraction_of,
    evaluate,
)

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)


def run(builder: WorkloadBuilder, out: str, /, **values: np.ndarray) -> np.ndarray:
    builder.output(out)
    return evaluate(builder.build(), {**builder.constants, **values})[out]


# -- contractions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sa, sb",
    [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (6, 4, 5)), ((4,), (4, 5)), ((3, 4), (4,)),
     ((4,), (2, 4, 5))],
)
def test_matmul_is_numpy_matmul(sa: tuple[int, ...], sb: tuple[int, ...]) -> None:
    a, c = random(*sa), random(*sb, seed=1)
    b = WorkloadBuilder("t")
    y = b.matmul(b.input("a", sa), b.weight("b", sb))
    want = a @ c
    close(run(b, y, a=a, b=c), want)
    assert b.build().macs == want.size * 4


def test_matmul_transposed_and_linear() -> None:
    a, w, v = random(2, 4, 3), random(5, 4), random(5)
    b = WorkloadBuilder("t")
    y = b.matmul(b.input("a", (2, 4, 3)), b.weight("w", (5, 4)), transpose_a=True, transpose_b=True)
    close(run(b, y, a=a, w=w), a.swapaxes(1, 2) @ w.T)
    b = WorkloadBuilder("t")
    y = b.linear(b.transpose(b.input("a", (2, 4, 3)), (0, 2, 1)), b.weight("w", (5, 4)), b.weight("v", (5,)))
    close(run(b, y, a=a, w=w, v=v), a.swapaxes(1, 2) @ w.T + v)


def conv_reference(
    x: np.ndarray, w: np.ndarray, strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...],
    groups: int,
) -> tuple[np.ndarray, int]:
    """Direct loops over the definition; also the number of multiplications with padding."""
    n = len(strides)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)])
    out = [(x.shape[2 + d] - dilations[d] * (w.shape[2 + d] - 1) - 1) // strides[d] + 1 for d in range(n)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    count = 0
    for i, m, *o in product(*map(range, y.shape)):
        group = m // (w.shape[0] // groups)
        for c, *f in product(*map(range, w.shape[1:])):
            at = [o[d] * strides[d] + f[d] * dilations[d] for d in range(n)]
            y[(i, m, *o)] += x[(i, group * w.shape[1] + c, *at)] * w[(m, c, *f)]
            count += 1
    return y, count


@SETTINGS
@given(st.data())
def test_conv_is_the_direct_loop(data: Any) -> None:
    n = data.draw(st.integers(1, 2))
    small = st.integers(1, 3)
    dims = st.tuples(*[small] * n)
    groups, c, m, batch = data.draw(small), data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2)), data.draw(small)
    kernel, strides, dilations = data.draw(dims), data.draw(dims), data.draw(dims)
    pads = data.draw(st.tuples(*[st.integers(0, 2)] * (2 * n)))
    extra = data.draw(dims)
    size = [max(1, dilations[d] * (kernel[d] - 1) + extra[d] - pads[d] - pads[n + d]) for d in range(n)]
    sx, sw = (batch, groups * c, *size), (groups * m, c, *kernel)
    x, w, v = random(*sx), random(*sw, seed=1), random(sw[0], seed=2)
    want, count = conv_reference(x, w, strides, pads, dilations, groups)
    b = WorkloadBuilder("t")
    y = b.conv(b.input("x", sx), b.weight("w", sw), b.weight("v", (sw[0],)), strides, pads, dilations, groups)
    close(run(b, y, x=x, w=w, v=v), want + v.reshape(-1, *[1] * n))
    assert b.build().macs == count


def test_depthwise_convolution_has_its_channels_in_both_operands() -> None:
    b = WorkloadBuilder("t")
    b.conv(b.input("x", (1, 8, 6, 6)), b.weight("w", (8, 1, 3, 3)), pads=(1, 1, 1, 1), groups=8)
    w = b.build()
    ((einsum, times),) = w.einsums()
    found = contraction_of(einsum, w)
    assert times == 1
    assert found is not None
    assert (found.a, found.b, found.g, found.m, found.n, found.k) == (
        0, 1, ("g",), ("n", "p", "q"), ("m",), ("c", "r", "s"))
    assert w.macs == 8 * 36 * 9


def test_the_weight_is_operand_b_wherever_it_stands() -> None:
    b = WorkloadBuilder("t")
    b.matmul(b.weight("w", (5, 4)), b.input("x", (4, 3)))
    b.matmul(b.input("q", (5, 4)), b.state("cache", (4, 3)))
    w = b.build()
    found = [contraction_of(e, w) for e, _ in w.einsums()]
    assert [(c.a, c.b, c.m, c.n) for c in found if c] == [(1, 0, ("n",), ("m",)), (0, 1, ("m",), ("n",))]


# -- pooling and normalisation ---------------------------------------------------------------------------------------


def pool_reference(
    x: np.ndarray, op: str, k: tuple[int, int], s: tuple[int, int], pads: tuple[int, ...], count_pad: bool,
    out: tuple[int, int],
) -> np.ndarray:
    y = np.zeros((*x.shape[:2], *out))
    h, w = x.shape[2:]
    for i, c, p, q in product(*map(range, y.shape)):
        seen, area = [], 0
        for r, t in product(range(k[0]), range(k[1])):
            a, b = p * s[0] + r - pads[0], q * s[1] + t - pads[1]
            area += -pads[0] <= a < h + pads[2] and -pads[1] <= b < w + pads[3]
            if 0 <= a < h and 0 <= b < w:
                seen.append(x[i, c, a, b])
        y[i, c, p, q] = max(seen) if op == "max" else sum(seen) / (area if count_pad else len(seen))
    return y


@pytest.mark.parametrize("op", ["max", "average"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_pad", [False, True])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 1, 1)])
def test_pool(op: str, ceil_mode: bool, count_pad: bool, pads: tuple[int, ...]) -> None:
    x = random(2, 3, 7, 6)
    b = WorkloadBuilder("t")
    y = b.pool(b.input("x", x.shape), op, (3, 2), (2, 3), pads, ceil_mode=ceil_mode, count_include_pad=count_pad)
    rooms = [7 + pads[0] + pads[2] - 3, 6 + pads[1] + pads[3] - 2]
    outs = [(-(-room // s) if ceil_mode else room // s) + 1 for room, s in zip(rooms, (2, 3), strict=True)]
    outs = [o - (ceil_mode and (o - 1) * s >= size + pad)
            for o, s, size, pad in zip(outs, (2, 3), (7, 6), pads, strict=False)]
    close(run(b, y, x=x), pool_reference(x, op, (3, 2), (2, 3), pads, count_pad, (outs[0], outs[1])))


def test_global_pool_and_batch_norm_and_lrn() -> None:
    x, scale, shift = random(2, 5, 4, 3), random(5), random(5, seed=3)
    b = WorkloadBuilder("t")
    b.input("x", x.shape), b.weight("scale", (5,)), b.weight("shift", (5,))
    names = [b.global_pool("x", "average"), b.global_pool("x", "max"), b.batch_norm("x", "scale", "shift"),
             b.lrn("x", 4, 0.3, 0.6, 1.5)]
    for name in names:
        b.output(name)
    got = evaluate(b.build(), {"x": x, "scale": scale, "shift": shift})
    close(got[names[0]], x.mean(axis=(2, 3), keepdims=True))
    close(got[names[1]], x.max(axis=(2, 3), keepdims=True))
    close(got[names[2]], x * scale[:, None, None] + shift[:, None, None])
    square = np.zeros_like(x)  # ONNX: channels c - floor((size-1)/2) .. c + ceil((size-1)/2)
    for c in range(5):
        square[:, c] = (x[:, max(0, c - 1): c + 3] ** 2).sum(axis=1)
    close(got[names[3]], x / (1.5 + 0.3 / 4 * square) ** 0.6)


def test_softmax_and_norms_are_the_formulas() -> None:
    x, scale, bias = random(3, 5, 8), random(8, seed=1), random(8, seed=2)
    b = WorkloadBuilder("t")
    b.input("x", x.shape), b.weight("scale", (8,)), b.weight("bias", (8,))
    names = [b.softmax("x", 1), b.layer_norm("x", "scale", "bias", eps=0.1), b.rms_norm("x", "scale", eps=0.1),
             b.layer_norm("x", axes=(1, 2)), b.reduce("x", axes=(0, 2), mean=True), b.reduce("x", "min", -1, True)]
    for name in names:
        b.output(name)
    w = b.build()
    got = evaluate(w, {"x": x, "scale": scale, "bias": bias})
    e = np.exp(x - x.max(axis=1, keepdims=True))
    close(got[names[0]], e / e.sum(axis=1, keepdims=True))
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    close(got[names[1]], (x - mean) / np.sqrt(var + 0.1) * scale + bias)
    close(got[names[2]], x / np.sqrt((x * x).mean(-1, keepdims=True) + 0.1) * scale)
    close(got[names[3]], (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5))
    close(got[names[4]], x.mean((0, 2)))
    close(got[names[5]], x.min(-1, keepdims=True))
    assert w.macs == 0
    assert [e.kind for e, _ in w.einsums()][:4] == ["Softmax.max", "Softmax.exp", "Softmax.sum", "Softmax.div"]


def test_pointwise_functions() -> None:
    x = random(4, 5)
    b = WorkloadBuilder("t")
    b.input("x", x.shape)
    wanted = {
        b.relu("x"): np.maximum(x, 0), b.sigmoid("x"): 1 / (1 + np.exp(-x)), b.tanh("x"): np.tanh(x),
        b.silu("x"): x / (1 + np.exp(-x)), b.gelu("x"): 0.5 * x * (1 + erf(x / np.sqrt(2))),
        b.gelu("x", approximate="tanh"): 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        b.clip("x", -0.5, 0.25): np.clip(x, -0.5, 0.25), b.elementwise("add", "x", "x", "x"): 3 * x,
    }
    for name in wanted:
        b.output(name)
    got = evaluate(b.build(), {"x": x})
    for name, want in wanted.items():
        close(got[name], want)


def test_elementwise_broadcasts_as_numpy() -> None:
    x, y = random(3, 1, 4), random(5, 1)
    b = WorkloadBuilder("t")
    close(run(b, b.elementwise("sub", b.input("x", x.shape), b.input("y", y.shape)), x=x, y=y), x - y)


def test_shapes_beyond_64_bits_broadcast_too() -> None:
    b = WorkloadBuilder("t")
    total = b.elementwise("add", b.input("x", (2**40, 1, 2**30)), b.input("y", (2**20, 2**30)))
    assert b.shape(total) == (2**40, 2**20, 2**30)
    with pytest.raises(BadInput, match=r"shapes \(3, 2\), \(2, 3\) do not broadcast"):
        b.elementwise("add", b.input("v", (3, 2)), b.input("w", (2, 3)))


# -- data movement -----------------------------------------------------------------------------------------------


def test_data_movement() -> None:
    x, y, table = random(2, 3, 4), random(2, 5, 4), random(11, 6)
    rows = np.array([[3, 0], [10, 3], [7, 7]])
    b = WorkloadBuilder("t")
    b.input("x", x.shape), b.input("y", y.shape), b.weight("table", table.shape), b.input("rows", rows.shape, 32)
    wanted = {
        b.concat(["x", "y", "x"], -2): np.concatenate([x, y, x], -2),
        b.transpose("x", (2, 0, 1)): x.transpose(2, 0, 1), b.reshape("x", (4, -1)): x.reshape(4, -1),
        b.gather("table", "rows"): table[rows],
        b.slice("x", (1, 0, 3), (1, 2, 4), (1, 2, -1)): x[1:2, 0:4:2, ::-1],
        b.pad("x", (0, 1, -1), (0, 0, 2), 7.0): np.pad(x[:, :, 1:], ((0, 0), (1, 0), (0, 2)), constant_values=7.0),
        b.expand("x", (2, 2, 3, 4)): np.broadcast_to(x, (2, 2, 3, 4)),
        b.upsample("x", (1, 2, 3)): x.repeat(2, 1).repeat(3, 2),
    }
    for name in wanted:
        b.output(name)
    w = b.build()
    got = evaluate(w, {"x": x, "y": y, "table": table, "rows": rows})
    for name, want in wanted.items():
        close(got[name], want)
    assert set(w.operations().counts) == {"copy"}
    assert w.operations().counts["copy"] == sum(want.size for want in wanted.values()) - x.size  # the reshape is free


def test_looked_up_rows_are_read_and_the_table_is_stored() -> None:
    b = WorkloadBuilder("t", bits=16)
    out = b.output(b.gather(b.weight("table", (1000, 8)), b.input("ids", (3,), 32)))
    w = b.build()
    ((einsum, _),) = w.einsums()
    assert w.tensors[einsum.inputs[0].tensor].nbytes == 3 * 8 * 2
    assert w.bytes_by_role() == {Role.INPUT: 12, Role.WEIGHT: 16000, Role.OUTPUT: 48, Role.ACTIVATION: 0, Role.STATE: 0}
    assert w.storage(einsum.inputs[0].tensor) == einsum.inputs[0].tensor
    assert w.storage(out) == out
