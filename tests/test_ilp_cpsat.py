"""CP-SAT, the optional extra: missing it is told, rows become whole numbers, and its optima are those of HiGHS."""

from __future__ import annotations

import random
import sys

import pytest

from accelsim.errors import BadInput
from accelsim.mappers.ilp.cpsat import _whole
from accelsim.mappers.ilp.solver import Program, SolverMissing, SolverOptions, solve


def random_program(seed: int) -> Program:
    rng = random.Random(seed)
    program = Program()
    for _ in range(12):
        program.variable(rng.choice((-7.0, -3.5, -2.0, 1.0, 4.0)))
    for _ in range(8):
        terms = {v: rng.choice((-3.0, 0.5, 2.0, 5.0)) for v in rng.sample(range(12), 5)}
        program.row(terms, rng.choice((-1.0, 2.5, 6.0)))
    return program


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools.sat.python.cp_model", None)
    with pytest.raises(SolverMissing, match=r"pip install 'accelsim\[cpsat\]'"):
        solve(random_program(0), SolverOptions(name="cpsat"))


def test_rows_are_whole_numbers() -> None:
    assert _whole({0: 0.5, 3: -2.0, 4: 0.25}, 1.9) == ({0: 2, 3: -8, 4: 1}, 7)
    assert _whole({1: -1.0}, -1.5) == ({1: -1}, -2)
    with pytest.raises(BadInput, match="whole numbers"):
        _whole({0: 0.1}, 1.0)


def test_optima() -> None:
    pytest.importorskip("ortools.sat.python.cp_model")
    feasible = 0
    for seed in range(30):
        ours, other = (solve(random_program(seed), SolverOptions(name=name)) for name in ("cpsat", "highs"))
        assert ours.proven and other.proven
        assert (ours.chosen is None) == (other.chosen is None)
        feasible += ours.chosen is not None
        if ours.chosen is not None:
            assert random_program(seed).holds(ours.chosen)
            assert ours.value == pytest.approx(other.value) == ours.bound
    assert 10 <= feasible < 30
