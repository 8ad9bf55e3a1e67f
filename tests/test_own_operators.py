"""Operators that a cascade declares: what they compute, what they cost, and what is wrong with some."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import erf, sqrt

import numpy as np
import pytest

from accelsim import simulate
from accelsim.arch.loader import load_architecture
from accelsim.errors import BadInput, SpecError
from accelsim.ir import (
    OPERATORS,
    Apply,
    Const,
    Einsum,
    Read,
    Workload,
    count_operations,
    evaluate,
    format_cascade,
    parse_cascade,
    validate,
)
from accelsim.ir.einsum import Definition
from accelsim.ir.operators import operator_of
from accelsim.workloads.text import loads_cascade

TEXT = """
Z[m,n] = gelu(A[m,n]) + distance(A[m,n], B[m])
operator gelu(x) = 0.5 * x * (1 + erf(x / 1.4142135623730951)) costs exp 1, mac 3
operator square(x) = x * x
operator distance(x, y) = square(x - y) / sqrt(2)   # the root of a number is known
"""
SIZES = {"m": 4, "n": 3}
YAML = """
ranks: {m: 4, n: 3}
operators:
  gelu(x): {value: 0.5 * x * (1 + erf(x / 1.4142135623730951)), costs: {exp: 1, mac: 3}}
  square(x): x * x
  distance(x, y): {value: square(x - y) / sqrt(2)}
einsums:
- Z[m,n] = gelu(A[m,n]) + distance(A[m,n], B[m])
"""


def parsed(text: str = TEXT) -> Workload:
    return parse_cascade(text, SIZES)


def first(workload: Workload) -> Einsum:
    einsum = workload.body[0]
    assert isinstance(einsum, Einsum)
    return einsum


def test_they_compute_what_they_say() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    expected = 0.5 * a * (1 + np.vectorize(erf)(a / sqrt(2))) + (a - b[:, None]) ** 2 / sqrt(2)
    np.testing.assert_allclose(evaluate(parsed(), {"A": a, "B": b})["Z"], expected, rtol=1e-12)


def test_they_cost_what_they_say_or_what_they_are_made_of() -> None:
    """12 points: gelu as declared; distance a difference, a product and a quotient; and the sum of both."""
    assert count_operations(first(parsed())).counts == {"exp": 12, "mac": 36, "add": 24, "mul": 12, "div": 12}


def test_an_argument_of_few_ranks_is_worked_on_once() -> None:
    """square(B[m]) is needed once per m, not once per point."""
    workload = parse_cascade("Z[m,n] = A[m,n] * square(B[m])\noperator square(x) = x * x costs mul", SIZES)
    assert count_operations(first(workload)).counts == {"mul": 12 + 4}


def test_they_print_and_read_back() -> None:
    workload = parsed()
    assert parse_cascade(format_cascade(workload)) == workload
    assert format_cascade(workload).count("operator ") == 3


def test_they_travel_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(parsed())) == parsed()


def test_a_file_declares_the_same() -> None:
    assert loads_cascade(YAML).body == parsed().body
    listed = YAML.replace("{exp: 1, mac: 3}", "[mac, exp, mac, mac]")
    assert count_operations(first(loads_cascade(listed))) == count_operations(first(parsed()))
    one = loads_cascade(YAML.replace("{exp: 1, mac: 3}", "exp"))
    assert count_operations(first(one)).counts["exp"] == 12
    block = YAML.replace("einsums:\n- Z", "einsums: |\n  Z")
    assert loads_cascade(block).body == parsed().body


def test_they_run_on_a_machine() -> None:
    """Three more multiplications per point cost three times the elements in operations of the vector unit."""
    arch = load_architecture("edge_npu")
    counts = []
    for costs in ("mul 1", "mul 4"):
        text = f"Z[m,n] = own(A[m,n])\noperator own(x) = 2 * x costs {costs}"
        report = simulate(arch, parse_cascade(text, {"m": 64, "n": 64}))
        done = zip(report.trace.program.actions, report.trace.action_counts(), strict=True)
        counts.append(sum(n for action, n in done if getattr(action, "action", "") == "mul"))
    assert counts == [64 * 64, 4 * 64 * 64]


@pytest.mark.parametrize(
    "text, message",
    [
        ("Z[m] = gelux(A[m])\noperator gelu(x) = x + 1", r"^t:1:8: no operator 'gelux' \(did you mean 'gelu'\?\)"),
        ("Z[m] = zzz(A[m])", r"^t:1:8: no operator 'zzz' \(one of mul, .*; or declare it: operator zzz\(x\) = ...\)"),
        ("operator exp(x) = x + 1", r"^t:1:10: operator 'exp' is built in \(give it another name\)"),
        ("operator f(x) = x * y", r"^t:1:21: no argument 'y' \(there are x\)"),
        ("operator f(x, y) = x + 1", r"^t:1:10: operator 'f' does not use y \(each argument at least once\)"),
        ("operator f(x) = A[x]", r"^t:1:17: an operator is declared on its arguments alone \(arguments: x\)"),
        ("operator f(x) = pad(x, 0)", "declared on its arguments alone"),
        ("operator f(x) = x costs expp", r"^t:1:10: no cost class 'expp' \(did you mean 'exp'\?\)"),
        ("operator f(x) = x costs exp 0", r"operator 'f' costs 0 exp \(1 to 1000 operations\)"),
        ("operator f(x) = x costs exp, exp 2", r"operator 'f' has two costs 'exp' \(give their sum\)"),
        ("operator f() = 3", r"operator 'f' needs arguments of different names \(f\(x\) or f\(x, y\)\)"),
        ("operator f(x, x) = x", "needs arguments of different names"),
        ("operator f(x) = x\noperator f(x) = 2 * x", r"^t:2:10: operator 'f' is declared twice"),
        ("operator f(x) = g(x)\noperator g(x) = x", r"^t:1:17: no operator 'g'"),
        ("Z[m] = f(A[m], A[m])\noperator f(x) = x", r"^t:1:8: operator 'f' has 2 arguments \(takes 1\)"),
        ("Z[] = f(m) A[m]\noperator f(x) = x", r"^t:1:7: 'f' cannot reduce \(one of mul, add, max, min"),
        ("operator f(x) = x costs exp 1 2", "expected the end of the statement, found '2'"),
    ],
)
def test_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_cascade(text, SIZES, source="t")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("square(x):", "square:", r"^z\.yaml:5: operators\.square: names no arguments \(such as square\(x\)\)"),
        ("{exp: 1, mac: 3}", "{exp: 1.5}", r"^z\.yaml:4: .*costs: is .* \(a cost class, a list of them"),
        ("{exp: 1, mac: 3}", "{expo: 1}", r"^z\.yaml:4: no cost class 'expo' \(did you mean 'exp'"),
        ("costs:", "cost:", r"^z\.yaml:4: .*unknown key 'cost' \(value or costs\)"),
        ("x * x", "x * q", r"^z\.yaml:5: no argument 'q'"),
        ("{value: square(x - y) / sqrt(2)}", "{costs: exp}", r"^z\.yaml:6: .*says not what it computes"),
        ("- Z[m,n] = gelu", "- Z[m,n] = gelux", r"^z\.yaml:8: no operator 'gelux'"),
    ],
)
def test_what_is_wrong_in_a_file(old: str, new: str, message: str) -> None:
    assert old in YAML
    with pytest.raises(SpecError, match=message):
        loads_cascade(YAML.replace(old, new), "z.yaml")


def test_definitions_made_by_hand_are_judged() -> None:
    workload = parsed("Z[m,n] = exp(A[m,n])")

    def judged(definition: Definition) -> Workload:
        own = replace(first(workload), expr=Apply(definition.name, (Read(0),), definition))
        return replace(workload, body=(own,))

    validate(judged(Definition("own", ("x",), Apply("exp", (Read(0),)))))
    for wrong, message in (
        (Definition("own", ("x",), Apply("expp", (Read(0),))), "applies 'expp'"),
        (Definition("own", ("x",), Apply("add", (Read(0), Read(1)))), "reads more than its arguments"),
        (Definition("own", ("x",), Read(0), (("flops", 1),)), "no cost class 'flops'"),
        (Definition("exp", ("x",), Const(1.0)), "built in"),
    ):
        with pytest.raises(SpecError, match=message):
            validate(judged(wrong))
    one, other = (judged(Definition("own", ("x",), e)) for e in (Read(0), Apply("exp", (Read(0),))))
    tensors = {**workload.tensors, "Y": replace(workload.tensors["Z"], name="Y")}
    second = replace(first(other), name="Y", output=replace(first(other).output, tensor="Y"))
    with pytest.raises(BadInput, match="two operators are called 'own'"):
        format_cascade(Workload("both", tensors, (first(one), second)))


def test_built_in_operators_are_found_by_name() -> None:
    for name, operator in OPERATORS.items():
        assert operator_of(Apply(name, (Read(0),) * operator.arity)) is operator
    assert operator_of(Apply("none", (Read(0),))) is None
