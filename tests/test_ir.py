"""The workload representation: operators of the builder, their meaning on numpy, counts, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from accelsim.errors import BadInput, SpecError
from accelsim.ir import (
    Access,
    Affine,
    Apply,
    Const,
    Einsum,
    Expr,
    Operations,
    Read,
    Repeat,
    Role,
    Tensor,
    View,
    Workload,
    WorkloadBuilder,
    affine,
    contraction_of,
    count_operations,
    evaluate,
    validate,
)
from accelsim.ir.operators import OPERATORS

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def run(builder: WorkloadBuilder, out: str, /, **values: np.ndarray) -> np.ndarray:
    builder.output(out)
    return evaluate(builder.build(), {**builder.constants, **values})[out]


def close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


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


# -- counts --------------------------------------------------------------------------------------------------------


def brute_count(einsum: Einsum) -> dict[str, int]:
    """Count operations by visiting every point, computing each sub-expression once per value of the ranks it sees."""
    seen: dict[str, set[tuple[object, ...]]] = {}
    counts: dict[str, int] = {}
    mac = einsum.is_contraction
    names = list(einsum.sizes)

    def visit(e: Expr, at: dict[str, int], path: tuple[int, ...]) -> frozenset[str]:
        if isinstance(e, Const):
            return frozenset()
        if isinstance(e, Read):
            return frozenset(r for i in einsum.inputs[e.index].indices for r, _ in i.terms)
        ranks = frozenset().union(*(visit(a, at, (*path, i)) for i, a in enumerate(e.args)))
        key = (path, *((r, at[r]) for r in names if r in ranks))
        if key not in seen.setdefault(e.op, set()):
            seen[e.op].add(key)
            for cost in ("mac",) if mac else OPERATORS[e.op].costs:
                counts[cost] = counts.get(cost, 0) + 1
        return ranks

    for point in product(*(range(s) for s in einsum.sizes.values())):
        visit(einsum.expr, dict(zip(names, point, strict=True)), ())
        if einsum.reduced_ranks and not mac:
            for cost in OPERATORS[einsum.reduce].costs:
                counts[cost] = counts.get(cost, 0) + 1
    return counts


@st.composite
def einsums(draw: Any) -> Einsum:
    ranks = ["a", "b", "c", "d"][: draw(st.integers(1, 4))]
    sizes = {r: draw(st.integers(1, 4)) for r in ranks}
    subset = st.lists(st.sampled_from(ranks), unique=True).map(sorted)
    inputs = [Access(f"T{i}", tuple(map(affine, draw(subset)))) for i in range(draw(st.integers(1, 3)))]
    leaves: Any = st.one_of(st.sampled_from([Read(i) for i in range(len(inputs))]), st.just(Const(2.0)))
    trees = st.recursive(leaves, lambda sub: st.one_of(
        st.builds(lambda op, x, y: Apply(op, (x, y)), st.sampled_from(["add", "sub", "mul", "max", "div"]), sub, sub),
        st.builds(lambda op, x: Apply(op, (x,)), st.sampled_from(["exp", "sqrt", "tanh"]), sub)), max_leaves=5)
    inner = draw(trees)
    expr = Apply(draw(st.sampled_from(["add", "mul"])), (inner, Read(0)))
    kept = draw(subset)
    return Einsum("E", Access("O", tuple(map(affine, kept))), tuple(inputs), expr, sizes,
                  draw(st.sampled_from(["add", "max"])) if len(kept) < len(ranks) else "")


@SETTINGS
@given(einsums())
def test_counts_equal_brute_force(einsum: Einsum) -> None:
    if einsum.is_contraction:
        carried = einsum.inputs[0].ranks | einsum.inputs[1].ranks
        assert count_operations(einsum).counts == {"mac": einsum.points}
        if carried == set(einsum.sizes):
            assert brute_count(einsum) == {"mac": einsum.points}
    else:
        assert dict(count_operations(einsum).counts) == brute_count(einsum)


def test_a_square_that_is_summed_is_no_contraction() -> None:
    b = WorkloadBuilder("t")
    b.reduce(b.input("x", (3, 4)), expr=Apply("mul", (Read(0), Read(0))), axes=1)
    assert b.build().operations().counts == {"mul": 12, "add": 12}


# -- repeats -----------------------------------------------------------------------------------------------------


def layers(count: int = 3) -> tuple[WorkloadBuilder, str]:
    b = WorkloadBuilder("t")
    x = b.relu(b.input("x", (2, 4)), name="start")
    with b.repeat("layer", count) as scope:
        w, shared = b.weight("w", (4, 4)), b.weight("shared", (4,))
        cache = b.state("cache", (2, 4))
        y = b.elementwise("add", b.matmul(x, w, out=cache), shared, name="next")
        scope.carry(y, x)
        scope.share(shared)
    return b, b.elementwise("mul", y, shared)


def test_repeat_has_weights_and_states_per_iteration_and_carries() -> None:
    b, out = layers()
    x, w, shared = random(2, 4), random(3, 4, 4), random(4)
    b.output(out)
    after = b.output(b.elementwise("copy", "start", name="after"))
    built = b.build()
    got = evaluate(built, {"x": x, "w": w, "shared": shared})
    value, caches = np.maximum(x, 0), []
    for i in range(3):
        caches.append(value @ w[i])
        value = caches[-1] + shared
    close(got["cache"], np.array(caches))
    close(got[out], value * shared)
    close(got[after], np.maximum(x, 0))  # outside the Repeat, the name means what it meant before
    assert built.macs == 3 * 2 * 4 * 4
    assert built.instances()["w"] == (3,)
    assert built.copies() == {"x": 1, "start": 1, "w": 3, "cache": 3, "shared": 1, "next": 1, out: 1, after: 1}


def test_nested_repeats_multiply() -> None:
    b = WorkloadBuilder("t")
    x = b.input("x", (2,))
    with b.repeat("outer", 2) as outer, b.repeat("inner", 3) as inner:
        y = b.elementwise("add", b.elementwise("mul", x, b.weight("w", (2,))), b.weight("s", (2,)))
        inner.carry(y, x)
        inner.share("s")
    outer.carry(y, x)
    built = b.build()
    body = built.body[0]
    assert isinstance(body, Repeat)
    w = Workload("t", built.tensors, (Repeat("outer", 2, body.body, ((y, x),)),))
    ws, ss = random(2, 3, 2), random(2, 2)
    value = first = random(2, seed=4)
    for i, j in product(range(2), range(3)):
        value = value * ws[i, j] + ss[i]
    assert w.instances()["w"] == (2, 3)
    assert w.instances()["s"] == (2,)
    close(evaluate(w, {"x": first, "w": ws, "s": ss})[y], value)


# -- what is refused ---------------------------------------------------------------------------------------------


A = Tensor("A", (4, 3), Role.INPUT)
O2 = Tensor("O", (4, 3), Role.ACTIVATION)
IJ = (affine("i"), affine("j"))
OUT = Access("O", IJ)


def workload(*items: Einsum | View | Repeat, tensors: tuple[Tensor, ...] = (A, O2)) -> Workload:
    return Workload("t", {x.name: x for x in tensors}, items)


def einsum(name: str = "E", out: Access = OUT, **changes: Any) -> Einsum:
    given: dict[str, Any] = {"inputs": (Access("A", IJ),), "expr": Read(0), "sizes": {"i": 4, "j": 3}, **changes}
    return Einsum(name, out, **given)


@pytest.mark.parametrize(
    "bad, message",
    [
        (workload(einsum(inputs=(Access("Aa", IJ),))), r"'E': tensor 'Aa' is not declared \(did you mean 'A'\?\)"),
        (workload(einsum(inputs=(Access("O", IJ),))), "Einsum 'E': reads activation 'O' before anything produces it"),
        (workload(einsum(inputs=(Access("A", IJ[:1]),))), r"A\[i\] has 1 indices for 'A' \(4, 3\)"),
        (workload(einsum(inputs=(Access("A", (affine("i"), affine("z"))),))), "uses rank 'z' .ranks here: i, j"),
        (workload(einsum(inputs=(Access("A", (affine("i"), Affine((("j", 1),), 1))),))), r"runs over 1..3"),
        (workload(einsum(), einsum("F")), "Einsum 'F': writes elements of 'O' that 'E' writes"),
        (workload(einsum(), einsum()), "Einsum 'E': name is used twice"),
        (workload(einsum(sizes={"i": 4, "j": 2})), "leaves 'O' .* unfinished: 8 of 12"),
        (workload(einsum(sizes={"i": 4, "j": 3, "k": 2})), "ranks k are not in the output and nothing reduces them"),
        (workload(einsum(sizes={"i": 4, "j": 3, "k": 2}, reduce="sub")), "'sub' cannot reduce .one of mul, add"),
        (workload(einsum(expr=Apply("expp", (Read(0),)))), r"no operator 'expp' \(did you mean 'exp'\?\)"),
        (workload(einsum(expr=Apply("add", (Read(0),)))), "operator 'add' has 1 arguments .takes 2"),
        (workload(einsum(expr=Read(1))), "has 1 inputs and reads"),
        (workload(einsum(out=Access("A", IJ))), "Einsum 'E': writes input 'A'"),
        (workload(einsum(out=Access("O", (affine("i"), Affine((("j", 0),)))))), "takes the same value twice"),
        (workload(View("O", "A"), tensors=(A, Tensor("O", (5, 3), Role.INPUT))), "differ in elements"),
        (workload(Repeat("r", 0, (einsum(),))), "repeat 'r': runs 0 times"),
        (workload(Repeat("r", 2, (einsum(),), (("O", "B"),)), tensors=(A, O2, Tensor("B", (3, 4), Role.INPUT))),
         r"carries 'O' \(4, 3\) into 'B' \(3, 4\)"),
        (workload(Repeat("r", 2, (einsum(),), (("A", "A"),))), "carries 'A', which its body does not produce"),
    ],
)
def test_validation_names_einsum_and_tensor(bad: Workload, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        validate(bad)


def test_all_problems_are_reported_at_once() -> None:
    bad = workload(einsum(inputs=(Access("Aa", IJ),), sizes={"i": 4, "j": 3, "k": 2}))
    with pytest.raises(SpecError) as caught:
        validate(bad)
    assert len(caught.value.problems) == 2


def test_interleaved_boxes_are_disjoint() -> None:
    even, odd = (einsum(n, Access("O", (Affine((("i", 2),), o), affine("j"))), sizes={"i": 2, "j": 3})
                 for n, o in (("E", 0), ("F", 1)))
    validate(workload(even, odd))
    with pytest.raises(SpecError, match="disjoint"):
        validate(workload(even, einsum("G", Access("O", IJ), sizes={"i": 2, "j": 3})))


@st.composite
def output_indices(draw: Any) -> tuple[Affine, dict[str, int]]:
    """A one-to-one index over two ranks, such as 4*a+b+1, and their sizes."""
    small, large = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    inner = draw(st.integers(1, 3))
    outer = inner * (small - 1) + draw(st.integers(1, 4))
    return Affine((("a", outer), ("b", inner)), draw(st.integers(0, 6))), {"a": large, "b": small}


@settings(deadline=None, derandomize=True, max_examples=400)
@given(output_indices(), output_indices())
def test_boxes_that_overlap_are_never_called_disjoint(
    one: tuple[Affine, dict[str, int]], other: tuple[Affine, dict[str, int]]
) -> None:
    written = [{index.offset + sum(c * at[r] for r, c in index.terms)
                for at in (dict(zip(sizes, p, strict=True)) for p in product(*map(range, sizes.values())))}
               for index, sizes in (one, other)]
    state = Tensor("O", (64,), Role.STATE)
    both = workload(*(Einsum(n, Access("O", (index,)), (), Const(0.0), sizes)
                      for n, (index, sizes) in zip("EF", (one, other), strict=True)), tensors=(state,))
    if written[0] & written[1]:
        with pytest.raises(SpecError, match="disjoint"):
            validate(both)
    elif max(written[0]) < min(written[1]):
        validate(both)


def test_builder_refuses_early() -> None:
    b = WorkloadBuilder("t")
    b.input("x", (2, 3))
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: b.input("x", (1,)), "tensor 'x' is declared twice"),
        (lambda: b.matmul("x", "x"), "rank k is 3 in one and 2"),
        (lambda: b.relu("y"), "no tensor 'y'"),
        (lambda: b.elementwise("foo", "x"), "no operator 'foo'"),
        (lambda: b.reshape("x", (4, 2)), "elements differ"),
        (lambda: b.reduce("x", axes=2), "must lie in -2..1"),
        (lambda: b.weight("z", (0, 3)), "every dimension must be at least 1"),
        (lambda: b.conv("x", "x"), r"shapes \(N, C, spatial...\)"),
    ]
    for call, message in cases:
        with pytest.raises(BadInput, match=message):
            call()


def test_evaluate_says_which_value_is_wrong() -> None:
    b = WorkloadBuilder("t")
    b.relu(b.input("x", (2,)))
    w = b.build()
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "no value for input 'x'"), ({"x": [1.0]}, "must be"), ({"x": [1, 2], "xx": 1}, "mean 'x'"),
    ]
    for values, message in cases:
        with pytest.raises(BadInput, match=message):
            evaluate(w, values)


def test_operations_add_and_scale() -> None:
    total = Operations({"mac": 2, "exp": 1}) + Operations({"mac": 3}).scaled(2)
    assert total == Operations({"mac": 8, "exp": 1})
    assert prod((total.macs,)) == 8
