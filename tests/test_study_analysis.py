"""Studies judged: constraints, derived columns, objectives, comparison, export, retries, older stores, the page."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import evaluators

from accelsim.errors import BadInput, SpecError
from accelsim.study import (
    Axis,
    Evaluate,
    Model,
    Outcome,
    Point,
    Sample,
    Scalar,
    Span,
    Status,
    Study,
    Sweep,
    compare_points,
    compare_studies,
    run_sweep,
)
from accelsim.study.export import export_rows
from accelsim.study.migrations import FORMAT
from accelsim.study.row import Row

A, B = Axis.of("arch.a", list(range(1, 7))), Axis.of("arch.b", [10, 20, 30])


def run(folder: Path, evaluate: Evaluate = evaluators.arithmetic, *, resume: bool = False,
        retry_failed: bool = False, **changes: Any) -> Study:  # fmt: skip
    """Latency is 1000 / a + b, energy a + b."""
    sweep = Sweep(**{"archs": ("m",), "models": (Model("w"),), "axes": (A, B), "name": "grid", **changes})
    return run_sweep(sweep, folder, jobs=0, resume=resume, retry_failed=retry_failed, evaluate=evaluate,
                     identify=evaluators.identify)  # fmt: skip


def pairs() -> list[tuple[int, int]]:
    return [(a, b) for a in range(1, 7) for b in (10, 20, 30)]


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


# -- comparison ------------------------------------------------------------------------------------------------------


def study_of(rows: list[tuple[dict[str, Scalar], dict[str, Scalar]]], *axes: Axis) -> Study:
    made = [Row({"arch": "m", **s}, Outcome(Status.DONE, values), i) for i, (s, values) in enumerate(rows)]
    return Study(Sweep(("m",), (Model("w"),), axes, name="made", pareto=("energy_J",)), tuple(made))


def test_two_points_column_by_column() -> None:
    before: dict[str, Scalar] = {
        "latency_s": 2.0, "energy_J": 3.0, "energy_by_component_J.dram": 2.0, "energy_by_component_J.sram": 1.0,
        "macs": 5,
    }
    after: dict[str, Scalar] = {
        "latency_s": 1.0, "energy_J": 7.0, "energy_by_component_J.dram": 5.0, "energy_by_component_J.sram": 2.0,
        "macs": 5,
    }
    study = study_of([({"arch.a": 1}, before), ({"arch.a": 2}, after)], Axis.of("arch.a", [1, 2]))
    found = compare_points(study, 0, study, 1)
    assert [(c.column, c.before, c.after) for c in found.settings] == [("arch.a", 1, 2)]
    assert found.same == 1
    parts = {c.column: (c.ratio, c.whole, c.part) for c in found.results}
    assert parts == {
        "energy_by_component_J.dram": (2.5, "energy_J", 0.75),
        "energy_J": (7 / 3, "", None),
        "energy_by_component_J.sram": (2.0, "energy_J", 0.25),
        "latency_s": (0.5, "", None),
    }
    assert list(parts) == ["energy_by_component_J.dram", "energy_J", "energy_by_component_J.sram", "latency_s"]


def test_parts_that_do_not_add_up_explain_nothing() -> None:
    rows: list[tuple[dict[str, Scalar], dict[str, Scalar]]] = [
        ({"arch.a": i}, {"energy_J": 3.0 * i, "energy_by_component_J.dram": 2.0 * i}) for i in (1, 2)
    ]
    study = study_of(rows, Axis.of("arch.a", [1, 2]))
    results = compare_points(study, 0, study, 1).results
    assert [(change.column, change.part) for change in results] == [
        ("energy_J", None), ("energy_by_component_J.dram", None)
    ]  # fmt: skip


def test_two_studies_pair_by_pair(tmp_path: Path) -> None:
    one = run(tmp_path / "one")
    other = run(tmp_path / "other", archs=("n",), axes=(Axis.of("arch.a", [1, 2, 3, 9]), Axis.of("arch.b", [10])))
    found = compare_studies(one, other)
    assert set(found.by) == {"arch.a", "arch.b"}
    assert (found.pairs, found.only_first, found.only_second, found.columns) == (3, 15, 1, ())

    def doubled(row: Row) -> Row:
        assert row.outcome is not None
        values = row.outcome.values
        return Row(row.settings, Outcome(Status.DONE, {**values, "energy_J": 2.0 * float(values["energy_J"])}))

    (column,) = compare_studies(one, Study(other.sweep, tuple(map(doubled, other.rows)))).columns
    assert (column.column, column.pairs, column.lower, column.higher) == ("energy_J", 3, 0, 3)
    assert column.mean_ratio == pytest.approx(2.0, rel=1e-12)


def test_changes_of_status_are_told(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one"), run(tmp_path / "other", evaluators.failing)
    changed = compare_studies(one, other).changed_status
    assert len(changed) == 9
    assert changed[0] == ("arch.a=1, arch.b=10", "done", "does not fit")


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = run(tmp_path / "one", evaluators.failing)
    other = run(tmp_path / "other", axes=(Axis.of("arch.a", [50, 51]), B))
    with pytest.raises(BadInput, match=r"point 0 of 'grid' has no result \(does not fit: sram holds 1 B"):
        compare_points(one, 0, one, 10)
    with pytest.raises(BadInput, match=r"has no point 99 \(0 to 17\)"):
        compare_points(one, 99, one, 10)
    with pytest.raises(BadInput, match=r"differ only in arch\.a, of which the other study has no value"):
        compare_studies(one, other)


# -- export ----------------------------------------------------------------------------------------------------------


def test_exports_hold_the_table(tmp_path: Path) -> None:
    study = run(tmp_path / "s", evaluators.failing, derived=(("edp", "latency * energy"),))
    export_rows(study, tmp_path / "all.csv", range(18))
    export_rows(study, tmp_path / "all.json", range(18))
    assert (tmp_path / "all.csv").read_text() == study.to_csv()
    table = json.loads((tmp_path / "all.json").read_text())
    assert [{k: v for k, v in row.items() if k != "message"} for row in table] == study.table()
    assert table[0]["message"] == "sram holds 1 B, tile needs 2 B"
    export_rows(study, tmp_path / "some.csv", [9, 10], ["edp", "arch.a"])
    with (tmp_path / "some.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["edp", "arch.a"], ["3640.0", "4"], ["6480.0", "4"]]


def test_parquet_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.study.export.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'accelsim\[parquet\]'"):
        export_rows(run(tmp_path / "s"), tmp_path / "x.parquet", [0])
    assert not (tmp_path / "x.parquet").exists()


def test_parquet_holds_the_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    study = run(tmp_path / "s")
    export_rows(study, tmp_path / "x.parquet", range(18))
    assert pd.read_parquet(tmp_path / "x.parquet")["energy_J"].tolist() == [a + b for a, b in pairs()]


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = run(tmp_path / "s")
    (tmp_path / "x.csv").write_text("old")

    def full(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("accelsim.study.export.csv_lines", full)
    with pytest.raises(BadInput, match="No space left"):
        export_rows(study, tmp_path / "x.csv", [0])
    assert (tmp_path / "x.csv").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "x.csv"]


# -- the store -------------------------------------------------------------------------------------------------------

FORMAT_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE points (position INTEGER PRIMARY KEY, key TEXT NOT NULL, settings TEXT NOT NULL);
CREATE TABLE results (
  key TEXT PRIMARY KEY, status TEXT NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL);
"""
SWEEP_1 = {
    "name": "old", "archs": ["m"], "models": [["w", [["seq", 3]]]],
    "axes": [[["arch.a", "arch.b"], [[1, 10], [2, 10]]]], "mapper": "auto", "objective": "latency", "seed": 0,
    "pareto": ["latency_s", "energy_J"],
}  # fmt: skip


def old_store(folder: Path) -> tuple[Sweep, dict[str, Any]]:
    """A store as format 1 had it: objects in place of lists; one point done, one to do."""
    sweep = Sweep(("m",), (Model.of("w", seq=3),), (Axis.tied({"arch.a": [1, 2], "arch.b": [10, 10]}),), name="old")
    first, second = sweep.points()
    result = {"latency_s": 1010.0, "energy_J": 11, "bottleneck": "a"}
    folder.mkdir()
    with sqlite3.connect(folder / "study.sqlite") as db:
        db.executescript(FORMAT_1)
        db.executemany("INSERT INTO meta VALUES (?, ?)", [("format", "1"), ("sweep", json.dumps(SWEEP_1))])
        keys = [(i, evaluators.identify(p), json.dumps(p.settings())) for i, p in enumerate((first, second))]
        db.executemany("INSERT INTO points VALUES (?, ?, ?)", keys)
        db.execute("INSERT INTO results VALUES (?, 'done', ?, '', '')", (keys[0][1], json.dumps(result)))
    return sweep, result


def test_a_store_of_format_1_is_read(tmp_path: Path) -> None:
    sweep, result = old_store(tmp_path / "s")
    for study in (Study.load(tmp_path / "s"), Study.load(tmp_path / "s")):
        assert study.sweep == sweep
        assert [dict(row.settings) for row in study.rows] == [point.settings() for point in sweep.points()]
        assert study.rows[0].outcome == Outcome(Status.DONE, result)
        assert study.rows[1].outcome is None


def test_a_store_of_format_1_is_resumed(tmp_path: Path) -> None:
    sweep, _ = old_store(tmp_path / "s")
    steps: list[int] = []
    study = run_sweep(sweep, tmp_path / "s", jobs=0, resume=True, evaluate=evaluators.arithmetic,
                      identify=evaluators.identify, progress=lambda done, _t, _o: steps.append(done))  # fmt: skip
    assert steps == [1, 2]
    assert study.count(Status.DONE) == 2


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    old_store(tmp_path / "s")
    file = tmp_path / "s" / "study.sqlite"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE old_points (x)")
    with pytest.raises(BadInput, match="a study of format 1, which has to be rewritten"):
        Study.load(tmp_path / "s")
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() == ("1",)
        assert db.execute("SELECT count(*) FROM points").fetchone() == (2,)


@pytest.mark.parametrize("number", [str(FORMAT + 1), "x", "0"])
def test_formats_that_are_not_known(tmp_path: Path, number: str) -> None:
    run(tmp_path)
    with sqlite3.connect(tmp_path / "study.sqlite") as db:
        db.execute("UPDATE meta SET value = ? WHERE name = 'format'", (number,))
    with pytest.raises(BadInput, match="format"):
        Study.load(tmp_path)
    with pytest.raises(BadInput, match="format"):
        run(tmp_path, resume=True)


def test_a_damaged_store_is_refused_on_resuming(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(BadInput, match="not a study"):
        run(tmp_path, resume=True)


def test_rows_of_different_columns_are_kept(tmp_path: Path) -> None:
    """Machines with different parts give different columns; each row has its own."""

    def two_kinds(point: Point) -> dict[str, Scalar]:
        return {"latency_s": 1.0, f"traffic_bytes.memory{point.settings()['arch.a']}.read": 4}

    study = run(tmp_path, two_kinds, axes=(Axis.of("arch.a", [1, 2, 3]),), pareto=("latency_s",))
    assert [list(row.outcome.values) for row in study.rows if row.outcome] == [
        ["latency_s", f"traffic_bytes.memory{i}.read"] for i in (1, 2, 3)
    ]
    judged = study.judged_by(constraints=["memory2.read <= 5 B"])
    assert judged.feasible() == [1]


# -- the page --------------------------------------------------------------------------------------------------------


def test_page_of_a_sampled_study_of_several_machines(tmp_path: Path) -> None:
    def evaluate(point: Point) -> dict[str, Scalar]:
        rows = int(point.settings().get("arch.rows", 32))
        return {"latency_s": 1 / rows, "energy_J": float(rows), "macs": 1000}

    axes = (
        Axis.of("arch.size", Span("64 KiB", "4 MiB", log=True)),
        Axis.of("arch.rows", Span(8, 64), when="arch == 'one'"),
        Axis.of("arch.rate", ["1 GB/s", "2 GB/s"], when="arch == 'two'"),
    )
    study = run(tmp_path, evaluate, archs=("one", "two"), axes=axes, sample=Sample("sobol", 40),
                constraints=("energy <= 50 J",), pareto=("latency", "energy", "-macs / latency"))  # fmt: skip
    page = study.to_html()
    assert "arch.size [byte]" in page  # forty sizes are drawn as numbers
    assert '"categoryarray":["1 GB/s","2 GB/s","not set"]' in page
    assert "not feasible" in page
    assert "highest macs / latency" in page
    assert "arch.rows: n/a" in page
    assert "nan" not in re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    assert study.count(Status.DONE) == 80


@pytest.mark.parametrize(("larger", "shape"), [([], "hv"), (["t"], "vh"), (["e"], "hv"), (["t", "e"], "vh")])
def test_the_front_is_joined_by_what_is_reached(larger: list[str], shape: str) -> None:
    import pandas as pd

    from accelsim.report import study_html

    table = pd.DataFrame({"a": [1, 2, 3], "t": [1.0, 2.0, 3.0], "e": [3.0, 2.0, 1.0]})
    page = study_html(title="t", table=table, parameters=["a"], objectives=["t", "e"], pareto=[0, 1, 2], failed=None,
                      notes=[], larger=larger)  # fmt: skip
    assert f'"shape":"{shape}"' in page


def test_a_page_of_many_points_is_of_bounded_size() -> None:
    import pandas as pd

    from accelsim.report import study_html

    count = 12_600  # of which a third is more than is drawn
    up, down = [float(i) for i in range(count)], [float(-i) for i in range(count)]
    table = pd.DataFrame({"a": range(count), "t": up, "e": down})

    def size(rows: int) -> int:
        return len(study_html(title="t", table=table.iloc[:rows], parameters=["a"], objectives=["t", "e"],
                              pareto=[0], failed=None, notes=[]))  # fmt: skip

    assert size(count) < 1.2 * size(count // 3)


def test_medians_over_groups_of_many_values() -> None:
    from accelsim.report.study_page import MEDIANS, _grouped

    groups = _grouped({float(i): [float(i), 3.0 * i] for i in range(64)})
    assert len(groups) == MEDIANS
    assert [len(values) for values in groups.values()] == [16] * MEDIANS
    assert list(groups) == sorted(groups)



@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_no_study(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(BadInput, match="no study here"):
        Study.load(make(tmp_path))
