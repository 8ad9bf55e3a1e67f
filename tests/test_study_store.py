"""Stores: older formats, damage, rows of different columns."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support import evaluators
from support.grid_study import run

from accelsim.errors import BadInput
from accelsim.study import Axis, Model, Outcome, Point, Scalar, Status, Study, Sweep, run_sweep
from accelsim.study.migrations import FORMAT

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
