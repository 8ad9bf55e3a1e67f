"""What a study shows beyond its front: hypervolume against counting, importance against its definition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim

from accelsim.errors import BadInput
from accelsim.study import Axis, Model, Point, Scalar, Study, Sweep, run_sweep
from accelsim.study.hypervolume import hypervolume, progress, worst
from accelsim.study.importance import importance

SIDE = 5


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.integers(1, 4).flatmap(lambda d: st.lists(st.tuples(*[st.integers(0, SIDE)] * d), min_size=1, max_size=8)))
def test_hypervolume_counts_the_cells_that_are_bettered(scores: list[tuple[int, ...]]) -> None:
    """On whole numbers the volume is the number of unit cells whose lower corner some score does not exceed."""
    dimensions = len(scores[0])
    counted = sum(
        any(all(s <= c for s, c in zip(score, cell, strict=True)) for score in scores)
        for cell in product(range(SIDE), repeat=dimensions)
    )
    floats = [tuple(map(float, score)) for score in scores]
    reference = (float(SIDE),) * dimensions
    assert hypervolume(floats, reference) == pytest.approx(counted)
    steps = progress([*floats, None], reference)
    assert steps[-1] == steps[-2] == pytest.approx(counted)
    assert steps == sorted(steps)
    assert steps[0] == pytest.approx(hypervolume(floats[:1], reference))
    assert worst(floats) == tuple(max(column) for column in zip(*floats, strict=True))


A, B, C = "arch.units.array.rows", "arch.units.array.cols", "arch.clock"
GRID = Sweep(("edge_npu",), (Model("gpt2"),), (Axis.of(A, [1, 2, 4, 8]), Axis.of(B, [1, 2, 4]), Axis.of(C, [1, 2])))


def law(point: Point) -> Mapping[str, Scalar]:
    """latency = a² b, independent of c; energy = a b where c is 1, else a / b; flat is flat."""
    values = {name: float(value) for name, value in point.arch_values}
    a, b, c = values["units.array.rows"], values["units.array.cols"], values["clock"]
    return {"latency_s": a**2 * b, "energy_J": a * b if c == 1 else a / b, "flat": 7.0}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("grid") / "study"
    return run_sweep(GRID, folder, jobs=0, evaluate=law, identify=repr)


def test_settings_that_multiply_share_the_variance_of_the_logarithm(study: Study) -> None:
    found = importance(study, "latency_s")[0]
    a, b = np.var([2 * i for i in range(4)]), np.var(range(3))
    assert found.alone == pytest.approx({A: a / (a + b), B: b / (a + b), C: 0.0})
    assert next(iter(found.alone)) == A
    assert max(found.together.values()) == pytest.approx(0.0, abs=1e-12)
    assert found.rest == pytest.approx(0.0, abs=1e-12)
    assert found.complete
    assert (found.points, found.model) == (24, "gpt2")


def test_settings_that_work_together_are_found(study: Study) -> None:
    """b counts for and against as c says: its own share is 0, that of the pair its whole spread."""
    found = importance(study, "energy_J")[0]
    b = [math.log(x) * sign for x in (1, 2, 4) for sign in (1, -1)]
    a, both = np.var([math.log(x) for x in (1, 2, 4, 8)]), np.var(b)
    mean_c = np.var([np.mean(b[::2]), np.mean(b[1::2])])
    total = a + both
    assert found.alone == pytest.approx({A: a / total, C: mean_c / total, B: 0.0}, abs=1e-12)
    assert found.together[B, C] == pytest.approx((both - mean_c) / total)


def test_what_never_changes_depends_on_nothing(study: Study) -> None:
    assert importance(study, "flat")[0].alone == {A: 0.0, B: 0.0, C: 0.0}
    with pytest.raises(BadInput, match="'nothing'"):
        importance(study, "nothing")


def test_a_sample_comes_near_the_grid(tmp_path: Path) -> None:
    from accelsim.study import Sample, Span

    axes = (Axis.of(A, Span(1, 64, log=True)), Axis.of(B, Span(1, 8, log=True)), Axis.of(C, Span(1, 100)))

    def evaluate(point: Point) -> Mapping[str, Scalar]:
        values = {name: float(value) for name, value in point.arch_values}
        return {"latency_s": values["units.array.rows"] * values["units.array.cols"], "energy_J": 1.0}

    sweep = Sweep(("edge_npu",), (Model("gpt2"),), axes, sample=Sample("sobol", 512))
    found = importance(run_sweep(sweep, tmp_path, jobs=0, evaluate=evaluate, identify=repr), "latency_s")[0]
    assert found.alone[A] == pytest.approx(0.8, abs=0.08)
    assert found.alone[C] < 0.02
    assert not found.complete


def test_the_command_tells_both(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    run_sweep(GRID, folder, jobs=0, evaluate=law, identify=repr)
    told = accelsim("study", "importance", folder)
    assert told.code == 0, told.output
    assert "arch.units.array.rows" in told.output.replace("\n", "") or "rows" in told.output
    data = accelsim("study", "importance", folder, "--json")
    assert '"alone"' in data.output
    steps = accelsim("study", "hypervolume", folder, "--json")
    assert steps.code == 0, steps.output
    assert '"hypervolume"' in steps.output
    assert accelsim("study", "importance", folder, "--objective", "nothing").code == 2
