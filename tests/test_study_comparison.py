"""Points and studies compared, and written as tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support import evaluators
from support.grid_study import B, pairs, run

from accelsim.errors import BadInput
from accelsim.study import Axis, Model, Outcome, Scalar, Status, Study, Sweep, compare_points, compare_studies
from accelsim.study.export import export_rows
from accelsim.study.row import Row

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
