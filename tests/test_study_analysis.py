"""Studies judged: constraints, derived columns, objectives, retries, names that no report holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from support import evaluators
from support.grid_study import A, B, pairs, run

from accelsim.errors import BadInput, SpecError
from accelsim.study import Axis, Model, Outcome, Point, Sample, Scalar, Search, Span, Status, Sweep, run_sweep

# -- derived columns, constraints, objectives ------------------------------------------------------------------------


def test_derived_columns_are_columns(tmp_path: Path) -> None:
    study = run(tmp_path, derived=(("edp", "latency * energy"), ("edp_per_a", "edp / arch.a")), pareto=("edp_per_a",))
    for (a, b), row in zip(pairs(), study.table(), strict=True):
        assert row["edp"] == (1000 / a + b) * (a + b)
        assert row["edp_per_a"] == (1000 / a + b) * (a + b) / a
    best = min(range(18), key=lambda i: float(study.table()[i]["edp_per_a"]))
    assert study.pareto() == study.best(1) == [best]
    header = study.to_csv().splitlines()[0]
    assert header == "arch.a,arch.b,status,edp,edp_per_a,latency_s,energy_J,bottleneck,message"


def test_constraints_mark_points_and_bound_the_front(tmp_path: Path) -> None:
    study = run(tmp_path, constraints=("energy <= 24 J", "latency <= 400 s"))
    feasible = [a + b <= 24 and 1000 / a + b <= 400 for a, b in pairs()]
    assert [row["feasible"] for row in study.table()] == feasible
    assert study.feasible() == [i for i, good in enumerate(feasible) if good]
    assert all(feasible[i] for i in study.pareto())
    assert study.pareto() == [i for i, (a, b) in enumerate(pairs()) if b == 10 and a >= 3]
    energy, latency = sum(a + b <= 24 for a, b in pairs()), sum(1000 / a + b <= 400 for a, b in pairs())
    each = f"energy <= 24 J: {energy}; latency <= 400 s: {latency}"
    assert f"{sum(feasible)} of 18 points meet every constraint ({each})." in study.notes()


def test_no_feasible_point_is_an_empty_front(tmp_path: Path) -> None:
    study = run(tmp_path, constraints=("energy <= 1 mJ",))
    assert (study.feasible(), study.pareto(), study.best(3)) == ([], [], [])
    assert "0 of 18 points meet every constraint" in study.notes()[0]
    assert "<!DOCTYPE html>" in study.to_html()


def test_objectives_may_be_expressions(tmp_path: Path) -> None:
    study = run(tmp_path)
    assert study.pareto(["-(energy / latency)"]) == study.pareto(["latency / energy"])
    judged = study.judged_by(objectives=["latency * energy", "-energy"])
    assert judged.objectives() == ["latency * energy", "energy_J"]
    assert judged.table()[0]["latency * energy"] == 1010 * 11
    assert judged.sorted(range(18))[0] == judged.best(1)[0]


def test_names_without_units_stand_for_columns(tmp_path: Path) -> None:
    study = run(tmp_path)
    assert study.pareto(["latency", "energy"]) == study.pareto(["latency_s", "energy_J"])


def test_failed_points_are_not_feasible(tmp_path: Path) -> None:
    study = run(tmp_path, evaluators.failing, constraints=("energy >= 0 J",))
    assert study.feasible() == list(range(9, 18))
    assert "feasible" not in study.table()[0]


def test_an_undefined_value_is_missing_and_told(tmp_path: Path) -> None:
    study = run(tmp_path, derived=(("inverse", "1 / (arch.a - 1)"),), constraints=("inverse > 0",))
    assert ["inverse" in row for row in study.table()] == [a != 1 for a, _ in pairs()]
    assert study.feasible() == list(range(3, 18))
    assert "'inverse' has no value at 3 of 18 points." in study.notes()


def test_where_keeps_points_and_their_numbers(tmp_path: Path) -> None:
    study = run(tmp_path, constraints=("energy <= 24 J",)).where("arch.b == 20 and feasible")
    assert [row.number for row in study.rows] == [1, 4, 7, 10]
    with pytest.raises(SpecError, match=r"no column 'arch\.c'"):
        study.where("arch.c == 1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"constraints": ("energy <= 3 ms",)}, "constraint 'energy <= 3 ms', character 8: J beside s"),
        ({"constraints": ("power <= 3",)}, "constraint 'power <= 3', character 1: no column 'power'"),
        ({"derived": (("energy_J", "1"),)}, "derived 'energy_J': is a column already"),
        ({"derived": (("x", "energy + latency"),)}, "derived 'energy + latency', character 8: J beside s"),
        ({"objectives": ["enrgy"]}, "objective 'enrgy', character 1: no column 'enrgy' (did you mean 'energy_J'?"),
        ({"derived": (("a b", "1"),)}, "derived 'a b': is no name of a column"),
        ({"derived": (("x", "1"), ("x", "2"))}, "derived 'x': is given twice"),
    ],
)
def test_expressions_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    study = run(tmp_path)
    with pytest.raises(BadInput) as error:
        study.judged_by(**changes)
    assert message in str(error.value)


def test_a_derived_unit_is_known_further_on(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="J·s beside J"):
        run(tmp_path).judged_by(derived=[("edp", "latency * energy")], constraints=["edp <= 3 mJ"])


# -- retries, watching -----------------------------------------------------------------------------------------------


def test_failed_points_are_tried_again_when_asked(tmp_path: Path) -> None:
    run(tmp_path, evaluators.failing)
    assert run(tmp_path, resume=True).count(Status.FAILED) == 3
    study = run(tmp_path, resume=True, retry_failed=True)
    assert [study.count(status) for status in (Status.DONE, Status.DOES_NOT_FIT, Status.FAILED)] == [15, 3, 0]


def test_a_watcher_sees_held_points_and_new_ones(tmp_path: Path) -> None:
    run(tmp_path, axes=(Axis.of("arch.a", [1, 2]), B))
    seen: list[tuple[Scalar, Scalar, Scalar]] = []

    def watch(point: Point, outcome: Outcome) -> None:
        settings = point.settings()
        seen.append((settings["arch.a"], settings["arch.b"], outcome.values["energy_J"]))

    sweep = Sweep(("m",), (Model("w"),), (A, B))
    run_sweep(sweep, tmp_path, jobs=0, resume=True, watch=watch, evaluate=evaluators.arithmetic,
              identify=evaluators.identify)  # fmt: skip
    assert seen == [(a, b, a + b) for a, b in pairs()]


def test_a_larger_sample_runs_only_its_new_points(tmp_path: Path) -> None:
    spans = (Axis.of("arch.a", Span(1, 500)), Axis.of("arch.b", Span(1, 500)))
    run(tmp_path, axes=spans, sample=Sample("sobol", 16))
    steps: list[int] = []
    sweep = Sweep(("m",), (Model("w"),), spans, sample=Sample("sobol", 24))
    run_sweep(sweep, tmp_path, jobs=0, resume=True, evaluate=evaluators.arithmetic, identify=evaluators.identify,
              progress=lambda done, _total, _outcome: steps.append(done))  # fmt: skip
    assert steps == list(range(16, 25))


def test_the_best_points_stand_beside_the_bar(tmp_path: Path) -> None:
    from rich.console import Console

    from accelsim.cli.live import SHOWN, Best, live

    sweep = Sweep(("m",), (Model("w"),), (A, B), pareto=("energy",), constraints=("energy >= 14 J",))
    best = Best(sweep)
    for point in sweep.points():
        best.add(point, Outcome(Status.DONE, evaluators.arithmetic(point)))
    assert [row["energy_J"] for _, _, row in best.rows] == [14, 15, 16, 21, 22][:SHOWN]
    assert best.feasible == sum(a + b >= 14 for a, b in pairs())
    text = io.StringIO()
    with live(sweep, shown=True, console=Console(file=text, force_terminal=True, width=80)) as steps:
        run_sweep(sweep, tmp_path, jobs=0, progress=steps.progress, watch=steps.watch,
                  evaluate=evaluators.arithmetic, identify=evaluators.identify)  # fmt: skip
    assert "18/18" in text.getvalue()
    assert f"best of {best.feasible} by energy_J" in text.getvalue()
    assert "already" not in text.getvalue()


def test_what_a_resumed_sweep_keeps_is_told(tmp_path: Path) -> None:
    from rich.console import Console

    from accelsim.cli.live import live

    def run(sweep: Sweep, *, resume: bool) -> list[Point]:
        asked: list[Point] = []

        def evaluate(point: Point) -> dict[str, Scalar]:
            asked.append(point)
            return evaluators.arithmetic(point)

        with live(sweep, shown=True, console=Console(file=text, width=80)) as steps:
            run_sweep(sweep, tmp_path, jobs=0, progress=steps.progress, watch=steps.watch, resume=resume,
                      evaluate=evaluate, identify=evaluators.identify)  # fmt: skip
        return asked

    text = io.StringIO()
    few, many = (Sweep(("m",), (Model("w"),), (Axis.of("arch.a", values), B)) for values in ([1, 2], [1, 2, 3]))
    first, more = run(few, resume=False), run(many, resume=True)
    assert not {p.settings()["arch.a"] for p in more} & {1, 2}
    assert len(first) + len(more) == len(many.points())
    assert f"{len(first)} of {len(many.points())} points are there already" in text.getvalue()


@pytest.mark.parametrize("keys", [{"search": Search("nsga2", 24)}, {"bounds_first": True}])
def test_a_sweep_in_batches_tells_no_number(keys: dict[str, Any]) -> None:
    from rich.console import Console

    from accelsim.cli.live import live

    text = io.StringIO()
    with live(Sweep(("m",), (Model("w"),), (A, B), **keys), shown=True, console=Console(file=text)) as steps:
        steps.progress(3, 24, None)
    assert "already" not in text.getvalue()


# -- names that no report holds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pareto": ("latncy",)}, "objective 'latncy', character 1: no column 'latncy' (did you mean 'latency_s'?"),
        ({"constraints": ("energy_K <= 3",)}, "no column 'energy_K'"),
        ({"constraints": ("trafic_bytes.dram.read <= 3",)}, "no column 'trafic_bytes.dram.read'"),
        ({"derived": (("x", "latency * enrgy"),)}, "derived 'latency * enrgy', character 11"),
        ({"constraints": ("latency <= 3 mJ",)}, "s beside J"),
    ],
)
def test_slips_show_before_the_first_simulation(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    sweep = Sweep(("edge_npu",), (Model("no such model"),), **changes)
    with pytest.raises(SpecError) as error:
        run_sweep(sweep, tmp_path / "out", jobs=0)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_columns_of_parts_pass_before_they_are_known(tmp_path: Path) -> None:
    from accelsim.study.foreseen import check_names

    texts = ("traffic_bytes.dram.read <= 1 GB", "utilization.array.busy >= 0.5", "machine.on_chip_bytes <= 1 MiB",
             "dram.read <= 1 GB", "on_chip_bytes <= 1 MiB", "seq >= 3")  # fmt: skip
    check_names(Sweep(("edge_npu",), (Model.of("gpt2", seq=16),), constraints=texts))
