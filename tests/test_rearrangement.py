"""Copies that are left out: the same values, fewer Einsums, and the cases that must stay."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.ir import Role, View, Workload, WorkloadBuilder, evaluate, read_in_place, validate

RNG = np.random.default_rng(0)


def values(w: Workload) -> dict[str, np.ndarray]:
    given_roles = (Role.INPUT, Role.WEIGHT, Role.STATE)
    views = {item.output for item in w.body if isinstance(item, View)}
    rng = np.random.default_rng(1)
    feeds = {n: rng.standard_normal(t.shape) for n, t in w.tensors.items() if t.role in given_roles and n not in views}
    return {n: v for n, v in evaluate(w, feeds).items() if w.tensors[n].role is Role.OUTPUT}


def left(w: Workload) -> list[str]:
    """Kinds of the Einsums that are left, after checking that values are the same."""
    folded = read_in_place(w)
    validate(folded)
    before, after = values(w), values(folded)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-12)
    return [e.kind for e, _ in folded.einsums()]


def built(make: Callable[[WorkloadBuilder, str], str], *shape: int) -> Workload:
    """A Workload whose input is squared before and doubled after what is made of it."""
    b = WorkloadBuilder("w", bits=8)
    x = b.elementwise("mul", b.input("x", shape), b.weight("w", shape), kind="Before", name="before")
    y = make(b, x)
    b.output(b.elementwise("add", y, b.weight("v", b.shape(y)), kind="After", name="after"))
    return b.build()


def test_readers_read_what_was_permuted_sliced_or_broadcast() -> None:
    assert left(built(lambda b, x: b.transpose(x, (2, 0, 1)), 2, 3, 4)) == ["Before", "After"]
    assert left(built(lambda b, x: b.slice(x, (0, 2), (3, 2), (1, -1)), 3, 4)) == ["Before", "After"]
    assert left(built(lambda b, x: b.expand(x, (4, 3, 5)), 3, 1)) == ["Before", "After"]
    assert left(built(lambda b, x: b.transpose(b.slice(b.transpose(x), (1, 0), (2, 3))), 3, 4)) == ["Before", "After"]


def test_views_that_split_are_seen_through() -> None:
    def heads(b: WorkloadBuilder, x: str) -> str:
        return b.view(b.transpose(x), (2, 1, 3, 5))

    assert left(built(heads, 5, 6)) == ["Before", "After"]


def test_makers_write_in_the_other_order_before_views_that_merge() -> None:
    def merged(b: WorkloadBuilder, x: str) -> str:
        return b.view(b.transpose(x, (0, 2, 1, 3)), (2, 4, 15))

    assert left(built(merged, 2, 3, 4, 5)) == ["Before", "After"]


@pytest.mark.parametrize("make, kinds", [
    (lambda b, x: b.view(b.slice(x, (0, 1), (3, 4)), (6, 2)), ["Slice"]),  # the view regroups what was sliced
    (lambda b, x: b.view(b.transpose(b.view(x, (3, 5, 2))), (10, 3)), ["Transpose"]),  # and here both sides do
    (lambda b, x: b.pad(x, (0, 1), (0, 0)), ["Pad"]),
    (lambda b, x: b.concat([x, x], 0), ["Concat", "Concat"]),
    (lambda b, x: b.elementwise("copy", x, kind="Cast", name="cast", bits=16), ["Cast"]),
    (lambda b, x: b.pool(b.view(b.slice(x, (0, 1), (3, 4)), (1, 3, 4)), "max", (2,), pads=(1, 0)),
     ["Slice", "MaxPool"]),  # the window reaches over the edge of the slice
])  # fmt: skip
def test_what_stays(make: Callable[[WorkloadBuilder, str], str], kinds: list[str]) -> None:
    assert left(built(make, 3, 10)) == ["Before", *kinds, "After"]


def test_outputs_and_inputs_keep_their_order() -> None:
    b = WorkloadBuilder("w")
    b.output(b.transpose(b.input("x", (3, 4)), name="turned"))
    assert left(b.build()) == ["Transpose"]
    b = WorkloadBuilder("w")
    x = b.relu(b.input("x", (3, 4)))
    b.output(x)
    b.output(b.transpose(x, name="turned"))
    assert left(b.build()) == ["Relu", "Transpose"], "the original is wanted too"


def test_an_output_is_written_in_its_order() -> None:
    b = WorkloadBuilder("w")
    b.output(b.transpose(b.relu(b.input("x", (3, 4))), name="turned"))
    assert left(b.build()) == ["Relu"]


def test_a_state_read_before_it_changes_is_copied() -> None:
    b = WorkloadBuilder("w")
    cache = b.state("cache", (3, 4))
    before = b.transpose(cache)
    b.elementwise("copy", b.input("x", (1, 4)), kind="Append", name="append", out=cache, at=(2, 0))
    b.output(b.relu(before))
    folded = read_in_place(b.build())
    assert [e.kind for e, _ in folded.einsums()] == ["Transpose", "Append", "Relu"]


def test_tensors_of_repeats_stay() -> None:
    b = WorkloadBuilder("w")
    x = b.transpose(b.relu(b.input("x", (3, 3))), name="turned")
    with b.repeat("layers", 2) as scope:
        y = b.elementwise("mul", x, b.weight("w", (3, 3)), name="y")
        scope.carry(y, x)
    b.output(b.relu(x))
    assert [e.kind for e, _ in read_in_place(b.build()).einsums()][:2] == ["Relu", "Transpose"]


@st.composite
def programs(draw: st.DrawFn) -> Workload:
    """Chains of permutations, slices, broadcasts, views and element-wise operators with several readers."""
    b = WorkloadBuilder("w", bits=8)
    pool = [b.relu(b.input("x", draw(st.sampled_from([(2, 3, 4), (4, 6), (2, 2, 3, 2)]))))]
    for i in range(draw(st.integers(1, 7))):
        x = draw(st.sampled_from(pool))
        shape = b.shape(x)
        match draw(st.sampled_from(["transpose", "slice", "view", "expand", "relu", "matmul"])):
            case "transpose":
                y = b.transpose(x, draw(st.permutations(range(len(shape)))))
            case "slice":
                starts = [draw(st.integers(0, n - 1)) for n in shape]
                y = b.slice(x, starts, [draw(st.integers(1, n - s)) for n, s in zip(shape, starts, strict=True)])
            case "view":
                total = prod(shape)
                cut = draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0]))
                y = b.view(x, draw(st.sampled_from([(cut, total // cut), (cut, 1, total // cut), (total,)])))
            case "expand":
                y = b.expand(x, (2, *shape)) if prod(shape) < 64 and len(shape) < 4 else b.relu(x)
            case "relu":
                y = b.relu(x)
            case _:
                y = b.matmul(x, b.weight(f"w{i}", (shape[-1], 2)))
        pool.append(y)
    used = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique=True))
    for name in used:
        b.output(b.relu(name))
    return b.build()


@settings(deadline=None, max_examples=150)
@given(programs())
def test_values_never_change(w: Workload) -> None:
    left(w)
