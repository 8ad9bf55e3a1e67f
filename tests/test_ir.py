"""The workload representation: counts, repeats, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arrays import close, random

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
    count_operations,
    evaluate,
    parse_cascade,
    validate,
)
from accelsim.ir.operators import OPERATORS

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)


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
        (lambda: parse_cascade("C[m] = A[m]", sizes={"m": 10**23}), "at most 1,000,000,000,000,000,000"),
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
