"""The cascade notation: what it means, that it prints and reads back, and where it says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import BadInput, SpecError
from accelsim.ir import (
    Access,
    Affine,
    Apply,
    Const,
    Einsum,
    Read,
    Role,
    Tensor,
    Workload,
    WorkloadBuilder,
    affine,
    contraction,
    evaluate,
    format_cascade,
    parse_cascade,
    validate,
)

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)

ATTENTION = """
# Three passes over m: maxima, sums, products.
QK[m,p] = Q[e,p] * K[e,m]
GM[p] = max(m) QK[m,p]
SN[m,p] = exp(QK[m,p] - GM[p])
SD[p] = SN[m,p]
A[m,p] = SN[m,p] / SD[p]
AV[f,p] = A[m,p] * V[f,m]
"""

ONE_PASS = """
BQK[i,j,p] = Q[e,p] * BK[e,i,j]
LM[i,p] = max(j) BQK[i,j,p]
RM[0,p] = -inf
RM[i+1,p] = max(RM[i,p], LM[i,p])
SLN[i,j,p] = exp(BQK[i,j,p] - RM[i+1,p])
SLD[i,p] = SLN[i,j,p]
SLNV[f,i,p] = SLN[i,j,p] * BV[f,i,j]
PRM[i,p] = exp(RM[i,p] - RM[i+1,p])
RD[0,p] = 0
RD[i+1,p] = SLD[i,p] + RD[i,p] * PRM[i,p]
RNV[f,0,p] = 0
RNV[f,i+1,p] = SLNV[f,i,p] + RNV[f,i,p] * PRM[i,p]
AV[f,p] = RNV[f,I,p] / RD[I,p]
"""


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return 3 * np.random.default_rng([seed, *shape]).standard_normal(shape)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """softmax over m of q[e,p] k[e,m], times v[f,m], in plain numpy."""
    scores = k.T @ q
    e = np.exp(scores - scores.max(0))
    return np.asarray(v @ (e / e.sum(0)))


# -- meaning -------------------------------------------------------------------------------------------------------


def test_three_pass_attention() -> None:
    w = parse_cascade(ATTENTION, {"e": 5, "f": 4, "m": 12, "p": 7})
    q, k, v = random(5, 7), random(5, 12), random(4, 12)
    np.testing.assert_allclose(evaluate(w, {"Q": q, "K": k, "V": v})["AV"], attention(q, k, v), rtol=1e-9, atol=1e-9)
    assert {t.name: t.role for t in w.tensors.values() if t.role is not Role.ACTIVATION} == {
        "Q": Role.INPUT, "K": Role.INPUT, "V": Role.INPUT, "AV": Role.OUTPUT}
    points = 12 * 7
    assert w.operations().counts == {
        "mac": (5 + 4) * points, "max": points, "add": 2 * points, "exp": points, "div": points}


def test_one_pass_attention_with_running_maxima_and_sums() -> None:
    w = parse_cascade(ONE_PASS, {"e": 5, "f": 4, "i": 3, "j": 4, "p": 7})
    q, k, v = random(5, 7), random(5, 12), random(4, 12)
    got = evaluate(w, {"Q": q, "BK": k.reshape(5, 3, 4), "BV": v.reshape(4, 3, 4)})
    np.testing.assert_allclose(got["AV"], attention(q, k, v), rtol=1e-9, atol=1e-9)
    assert w.tensors["RM"].shape == (4, 7)
    assert [e.iterative for e, _ in w.einsums() if e.output.tensor in ("RM", "RD", "RNV")] == ["", "i"] * 3


def test_convolution_with_padding_and_named_reductions() -> None:
    w = parse_cascade("""
        input I[c,9]
        O[m,p] = pad(I[c,2*p+r-1], 0) * W[m,c,r]
        T[p] = max(m) abs(O[m,p])
    """, {"c": 3, "m": 4, "p": 5, "r": 3}, roles={"W": Role.WEIGHT})
    i, f = random(3, 9), random(4, 3, 3)
    padded = np.pad(i, ((0, 0), (1, 1)))
    want = np.array([[(padded[:, 2 * p: 2 * p + 3] * f[m]).sum() for p in range(5)] for m in range(4)])
    got = evaluate(w, {"I": i, "W": f})
    np.testing.assert_allclose(got["O"], want, rtol=1e-9)
    np.testing.assert_allclose(got["T"], np.abs(want).max(0), rtol=1e-9)
    assert w.macs == 4 * 5 * 3 * 3


@pytest.mark.parametrize(
    "expression, value",
    [
        ("A[] - B[] - C[]", 2 - 3 - 5), ("A[] - (B[] - C[])", 2 - (3 - 5)), ("A[] + B[] * C[]", 2 + 3 * 5),
        ("(A[] + B[]) * C[]", 25), ("C[] / A[] / B[]", 5 / 2 / 3), ("-A[] * B[]", -6), ("A[] - -B[]", 5),
        ("2 * A[] + -1.5e1", -11), ("max(A[], min(B[], C[]))", 3), ("rsqrt(A[] * A[])", 0.5), ("pow(A[], B[])", 8),
        ("-(A[] + B[])", -5), ("max(A[], -inf)", 2), ("inf", np.inf), ("7", 7),
    ],
)
def test_precedence(expression: str, value: float) -> None:
    w = parse_cascade(f"Z[] = {expression}")
    got = evaluate(w, {n: v for n, v in {"A": 2.0, "B": 3.0, "C": 5.0}.items() if n in w.tensors})
    assert got["Z"] == pytest.approx(value)
    assert parse_cascade(format_cascade(w)) == w


def test_indices() -> None:
    w = parse_cascade("Z[p] = A[P-p-1] + A[2*p - p] + A[p*1] + A[0*p+1]", {"p": 4})
    a = random(4)
    np.testing.assert_allclose(evaluate(w, {"A": a})["Z"], a[::-1] + 2 * a + a[1])


def test_statements_in_any_order_run_in_the_order_of_their_needs() -> None:
    lines = ONE_PASS.strip().splitlines()
    sizes = {"e": 5, "f": 4, "i": 3, "j": 4, "p": 7}
    backwards = parse_cascade("\n".join(reversed(lines)), sizes)
    values = {"Q": random(5, 7), "BK": random(5, 3, 4), "BV": random(4, 3, 4)}
    np.testing.assert_allclose(
        evaluate(backwards, values)["AV"], evaluate(parse_cascade(ONE_PASS, sizes), values)["AV"], rtol=1e-12)


def test_the_same_access_twice_is_one_input() -> None:
    (e, _), = parse_cascade("S[] = X[k] * X[k]", {"k": 4}).einsums()
    assert e.inputs == (Access("X", (affine("k"),)),)
    assert not e.is_contraction
    assert contraction(e) is None


def test_declarations_give_role_shape_and_bits() -> None:
    w = parse_cascade("""
        size k = 4; size m = 3
        weight W[k,10] 8 bits
        state S 4 bits
        output 'a/b'[m]
        first: 'a/b'[m] = W[k,m+7] * S[k,m] @ 'Mat Mul'
        Z[m] = 'a/b'[m]
    """, bits={"Z": 32})
    assert w.tensors["W"] == Tensor("W", (4, 10), Role.WEIGHT, 8)
    assert w.tensors["S"] == Tensor("S", (4, 3), Role.STATE, 4)
    assert w.tensors["a/b"] == Tensor("a/b", (3,), Role.OUTPUT, 16)
    assert w.tensors["Z"].bits == 32
    assert [(e.name, e.kind) for e, _ in w.einsums()] == [("first", "Mat Mul"), ("Z", "")]
    assert parse_cascade(format_cascade(w), name="cascade") == w


# -- print and read back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [ATTENTION, ONE_PASS])
def test_cascades_read_back(text: str) -> None:
    w = parse_cascade(text, {"e": 5, "f": 4, "i": 3, "j": 4, "m": 12, "p": 7})
    assert parse_cascade(format_cascade(w)) == w
    lines = "\n".join(str(e) for e, _ in w.einsums())
    assert parse_cascade(lines, {"e": 5, "f": 4, "i": 3, "j": 4, "m": 12, "p": 7}) == w


@st.composite
def workloads(draw: Any) -> Workload:
    """Chains of random Einsums; input tensors are as large as their indices reach."""
    sizes = {r: draw(st.integers(1, 4)) for r in "abc"}
    tensors: dict[str, Tensor] = {}
    items: list[Einsum] = []
    for n in range(draw(st.integers(1, 4))):
        inputs: dict[Access, int] = {}
        own = dict(sizes)
        if draw(st.booleans()):
            own["a"] = draw(st.integers(1, 5))

        def leaf(own: dict[str, int] = own, inputs: dict[Access, int] = inputs) -> Any:
            if draw(st.booleans()) and draw(st.booleans()):
                return Const(draw(st.sampled_from([0.5, -2.0, 1e-12, float("inf"), -float("inf")])))
            old = [t for t in tensors.values() if t.role is not Role.INPUT]
            if old and draw(st.booleans()):
                t = draw(st.sampled_from(old))
                access = Access(t.name, tuple(affine(0) for _ in t.shape))
            else:
                indices = tuple(
                    Affine(tuple((r, draw(st.integers(1, 3))) for r in sorted(draw(st.sets(st.sampled_from("abc"))))),
                           draw(st.integers(-2, 2)))
                    for _ in range(draw(st.integers(0, 2))))
                shape = tuple(max(1, 1 + i.bounds(own)[1]) for i in indices)
                outside = any(i.bounds(own)[0] < 0 for i in indices)
                pad = draw(st.sampled_from([0.0, -1.5, -float("inf")])) if outside else None
                name = draw(st.sampled_from(["T", "in.put", "odd/na me"])) + str(len(tensors))
                tensors[name] = Tensor(name, shape, draw(st.sampled_from([Role.INPUT, Role.WEIGHT])),
                                       draw(st.sampled_from([4, 16])))
                access = Access(name, indices, pad)
            return Read(inputs.setdefault(access, len(inputs)))

        def tree(depth: int, leaf: Any = leaf) -> Any:
            op = draw(st.sampled_from(["", "add", "sub", "mul", "div", "max", "pow", "neg", "exp"])) if depth else ""
            if not op:
                return leaf()
            count = 1 if op in ("neg", "exp") else 2
            return Apply(op, tuple(tree(depth - 1) for _ in range(count)))

        expr = tree(3)
        carried = {r for a in inputs for r in a.ranks}
        kept = sorted(draw(st.sets(st.sampled_from("abc"))))
        space = {r: own[r] for r in (*kept, *sorted(carried - set(kept)))}
        gone = carried - set(kept)
        items.append(Einsum(f"E{n}", Access(f"O{n}", tuple(map(affine, kept))), tuple(inputs), expr, space,
                            draw(st.sampled_from(["add", "max", "mul", "min"])) if gone else "",
                            draw(st.sampled_from(["", "Conv", "Soft max"]))))
        tensors[f"O{n}"] = Tensor(f"O{n}", tuple(own[r] for r in kept), Role.ACTIVATION)
    return Workload("cascade", tensors, tuple(items))


@SETTINGS
@given(workloads())
def test_any_workload_of_einsums_reads_back(w: Workload) -> None:
    validate(w)
    assert parse_cascade(format_cascade(w)) == w


def test_operators_of_the_builder_read_back_with_the_same_meaning() -> None:
    b = WorkloadBuilder("cascade")
    x, f = b.input("x", (1, 4, 6, 6)), b.weight("f", (4, 2, 3, 3))
    y = b.conv(x, f, strides=(2, 2), pads=(1, 1, 1, 1), groups=2)
    y = b.gelu(b.lrn(b.pool(y, "max", (2, 2)), 3))
    y = b.output(b.layer_norm(b.concat([y, b.softmax(y, 1)], 1), axes=(1, 2, 3)))
    w = b.build()
    again = parse_cascade(format_cascade(w))
    values = {"x": random(1, 4, 6, 6), "f": random(4, 2, 3, 3)}
    np.testing.assert_array_equal(evaluate(again, values)[y], evaluate(w, values)[y])
    assert again.operations() == w.operations()
    assert again.tensors == w.tensors


def test_views_have_no_notation() -> None:
    b = WorkloadBuilder("t")
    b.reshape(b.input("x", (4,)), (2, 2))
    with pytest.raises(BadInput, match="only Einsums can be written as a cascade"):
        format_cascade(b.build())


# -- what is wrong, and where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        ("Z[m] = A[m,kk]", r"^t:1:12: rank 'kk' has no size \(did you mean 'k'\?\)$"),
        ("\n  Z[z] = A[m]", r"^t:2:5: rank 'z' has no size \(ranks: k, m\)$"),
        ("size m = 5\nZ[m] = A[m]", "^t:1:6: rank 'm' has two sizes, 4 and 5$"),
        ("Y[m] = A[m]\nZ[k] = A[k]", r"^t:2:1: dimension 0 of 'A' has two sizes, 4 \(rank m\) and 3 \(rank k\)$"),
        ("Y[m] = A[m]\nZ[k] = Y[k]", r"^t:2:1: dimension 0 of 'Y' has two sizes, 4 \(rank m\) and 3 "),
        ("Z[m] = max(p) A[m,k]", "^t:1:12: reduction over rank 'p', which is not there to reduce: no tensor here"),
        ("Z[m] = max(m,k) A[m,k]", "^t:1:12: reduction over rank 'm', which is not there to reduce: it stands on"),
        ("Z[] = max(k) A[m,k]", r"^t:1:7: rank 'm' is missing on the left and in the reduction \(max\(m,k\)\)"),
        ("Z[m] = exp(k) A[m,k]", "^t:1:8: 'exp' cannot reduce .one of mul, add, max, min"),
        ("R[m+1] = max(R[m], A[m])", r"^t:1:1: iterative rank 'm' of 'R' has no initial value \(such as R\[0\] = 0\)"),
        ("R[0] = 1; R[m+1] = max(R[m+1], R[m])", r"^t:1:11: Einsum 'R_2': reads R\[m\+1\] while it writes R\[m\+1\]"),
        ("X[m] = Y[m] + A[m]\nY[m] = Z[m]\nZ[m] = X[m]", "^t:1:1: cyclic cascade: X needs Y needs Z needs X .a recur"),
        ("X[m] = X[m] + A[m]", "^t:1:1: cyclic cascade: X needs X"),
        ("Z[m] = expp(A[m])", r"^t:1:8: no operator 'expp' \(did you mean 'exp'\?\)"),
        ("Z[m] = max(A[m])", r"^t:1:8: operator 'max' has 1 arguments \(takes 2\)"),
        ("Z[m] = A", r"^t:1:8: 'A' has no indices \(a tensor is written A\[...\], a scalar A\[\]\)"),
        ("Z[m] = A[m", r"^t:1:11: expected '\]', found the end of the line"),
        ("Z[m] = A[m] A[m]", "^t:1:13: expected the end of the statement, found 'A'"),
        ("Z[m] A[m]", "^t:1:6: expected '=', found 'A'"),
        ("Z[m] = A[m] $", r"^t:1:13: expected the end of the statement, found '\$'"),
        ("Z[m] = A[1.5*m]", "^t:1:10: expected a whole number, found '1.5'"),
        ("Z[m] = pad(A[m-1], 0)", r"^t:1:1: 'A' is read with padding alone.*declare it, such as: input A\[8\]"),
        ("Z[m] = A[m-1]", r"^t:1:1: Einsum 'Z': A\[m-1\] runs over -1..2 in dimension 0"),
        ("Z[m] = A[m]; Z[m] = B[m]", "^t:1:14: Einsum 'Z_2': writes elements of 'Z' that 'Z' writes"),
        ("Z[m] = A[m] + A[m,k]", r"^t:1:1: tensor 'A' has \[1, 2\] indices"),
        ("E: Z[m] = A[m]; E: Y[m] = A[m]", "^t:1:20: two Einsums are called 'E'"),
        ("Z[m] = A[m] where k=3", "^t:1:1: 'where' sizes rank 'k', which is not here"),
        ("input A[q]\nZ[m] = A[m]", "^t:1:7: rank 'q' has no size"),
        ("input A[8] 65 bits\nZ[m] = A[m]", r"^t:1:12: A has 65 bits .from 1 to 64"),
        ("input A[8] 0 bits\nZ[m] = A[m]", r"^t:1:12: A has 0 bits .from 1 to 64"),
        ("input A\ninput A\nZ[m] = A[m]", "^t:2:7: tensor 'A' is declared twice"),
        ("input B\nZ[m] = A[m]", "^t:1:7: the shape of tensor 'B' is not given, and nothing uses it"),
    ],
)
def test_errors_point_at_line_and_column(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_cascade(text, {"k": 3, "m": 4}, name="t")


def test_every_unreadable_statement_is_reported() -> None:
    with pytest.raises(SpecError) as caught:
        parse_cascade("Z[m] = \nY[m] = A[m]\nX[m] = foo(A[m])", {"m": 4}, source="file.txt")
    assert [p.where for p in caught.value.problems] == ["file.txt:1:8", "file.txt:3:8"]


def test_a_role_for_no_tensor_is_refused() -> None:
    with pytest.raises(SpecError, match=r"no tensor 'Ws' to give a role or bits \(did you mean 'W'\?\)"):
        parse_cascade("Z[m] = W[m]", {"m": 4}, roles={"Ws": Role.WEIGHT})
