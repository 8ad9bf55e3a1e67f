"""Rows of a store that are decoded when they are looked at, and CSV and JSON made from their text."""

from __future__ import annotations

import csv
import gc
import io
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.collector import uncollected
from accelsim.errors import BadInput
from accelsim.study import Axis, Model, Outcome, Scalar, Status, Study, Sweep
from accelsim.study.record import Layout, Record, all_names, picker, plain
from accelsim.study.row import Row
from accelsim.study.store import Store
from accelsim.study.table_text import json_text

TEXT = st.text(alphabet='ab ,"\\\n\ré[]true', max_size=8)
SCALAR = st.one_of(TEXT, st.integers(-(10**20), 10**20), st.booleans(), st.floats(), st.just("true"))
NAMES = ("latency_s", "energy_J", "macs", "bottleneck", "status")


def record(values: dict[str, Scalar]) -> Record:
    return Record(Layout(list(values)), json.dumps(list(values.values())))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from("abcdefgh"), SCALAR, max_size=8), st.integers(0, 8))
def test_a_record_is_the_dict_it_was_made_from(values: dict[str, Scalar], count: int) -> None:
    told = record(values)
    assert repr(told.first(count)[:count]) == repr(list(values.values())[:count])
    assert repr(dict(told)) == repr(dict(plain(told))) == repr(values)
    assert len(told) == len(values)
    wanted = ["h", "zz", "a"]
    assert repr(picker(wanted)(record(values))) == repr(picker(wanted)(values))
    assert all_names([{"x": 1}, told, {"x": 2}]) == list(dict.fromkeys(["x", *values]))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), SCALAR),
            st.sampled_from(["", "why, then"]),
            st.booleans(),
        ),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_tables_from_stored_text_are_those_of_the_writers(rows: list[tuple[dict[str, Scalar], str, bool]]) -> None:
    """Whatever texts, numbers and truth values there are, in whatever layouts."""
    made, study = [], None
    for i, (values, message, stored) in enumerate(rows):
        status = Status.FAILED if message else Status.DONE
        outcome = Outcome(status, record(values) if stored else values, "", message)
        made.append(Row({"arch": "m", "seed": i}, outcome, i))
    study = Study(Sweep(("m",), (Model("w"),), (Axis.of("seed", list(range(len(rows)))),), pareto=()), tuple(made))
    names = study.table_columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "message"])
    objects: list[dict[str, Scalar]] = []
    for (values, message, _), row in zip(rows, made, strict=True):
        whole = {**row.settings, "status": row.status, **values}
        writer.writerow([*(whole.get(name, "") for name in names), message])
        told = {name: value for name, value in whole.items() if name in names}
        objects.append({**told, "message": message} if message else told)
    assert study.to_csv() == text.getvalue()
    assert json_text(study, range(len(rows))) == json.dumps(objects)


@pytest.mark.parametrize("text", ['["gpt2", 1', "{}", "[1, 2, 3]", "nothing"])
def test_a_damaged_row_is_told(tmp_path: Path, text: str) -> None:
    sweep = Sweep(("m",), (Model("w"),), (Axis.of("seed", [0, 1]),), pareto=("latency_s",))
    store = Store(tmp_path, sweep, sweep.points(), ["0", "1"])
    store.write([(str(i), Outcome(Status.DONE, {"latency_s": 1.0, "cycles": 4})) for i in range(2)])
    store.close()
    with sqlite3.connect(tmp_path / "study.sqlite") as db:
        db.execute("UPDATE results SET result = ? WHERE key = '1'", (text,))
    study = Study.load(tmp_path)
    with pytest.raises(BadInput, match="a row that is none of its layout"):
        study.table()
    with pytest.raises(BadInput, match="a row that is none of its layout"):
        json_text(Study.load(tmp_path), [0, 1])


@pytest.mark.parametrize(
    "change",
    ["UPDATE results SET status = 'won'", "DELETE FROM layouts", "DELETE FROM meta WHERE name = 'sweep'",
     "UPDATE meta SET value = '[1' WHERE name = 'sweep'", "UPDATE layouts SET names = '7' WHERE id = 1"],
)  # fmt: skip
def test_a_damaged_store_is_refused(tmp_path: Path, change: str) -> None:
    sweep = Sweep(("m",), (Model("w"),), (Axis.of("seed", [0, 1]),), pareto=("latency_s",))
    store = Store(tmp_path, sweep, sweep.points(), ["0", "1"])
    store.write([("0", Outcome(Status.DONE, {"latency_s": 1.0}))])
    store.close()
    with sqlite3.connect(tmp_path / "study.sqlite") as db:
        db.execute(change)
    with pytest.raises(BadInput, match="a study that is damaged"):
        Study.load(tmp_path)


def test_a_damaged_store_is_not_taken_up(tmp_path: Path) -> None:
    sweep = Sweep(("m",), (Model("w"),), (Axis.of("seed", [0, 1]),), pareto=("latency_s",))
    store = Store(tmp_path, sweep, sweep.points(), ["0", "1"])
    store.write([("0", Outcome(Status.DONE, {"latency_s": 1.0}))])
    with sqlite3.connect(tmp_path / "study.sqlite") as db:
        db.execute("UPDATE results SET layout = 77")
    with pytest.raises(BadInput, match="a study that is damaged"):
        store.results()
    store.close()


def test_the_collector_is_as_it_was_before() -> None:
    assert gc.isenabled()
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), uncollected():
        raise ValueError("x")
    assert gc.isenabled()


SWEEP = Sweep(("m",), (Model("w"),), (Axis.of("seed", [0, 1]),), pareto=("latency_s",))


def opened(folder: Path) -> Store:
    return Store(folder, SWEEP, SWEEP.points(), ["0", "1"])


def test_a_full_disk_is_told_and_what_was_kept_stays(tmp_path: Path) -> None:
    """SQLite refuses to grow beyond a number of pages as it refuses to on a full disk."""
    store = opened(tmp_path)
    store.write([("0", Outcome(Status.DONE, {"latency_s": 1.0}))])
    store._db.execute("PRAGMA max_page_count = 1")
    long = [("1", Outcome(Status.DONE, {"latency_s": 2.0, "why": "x" * 10**6}))]
    message = r"study\.sqlite: cannot write \(.*full\); what was kept .* --resume"
    with pytest.raises(BadInput, match=message):
        store.write(long)
    with pytest.raises(BadInput, match=message):
        store.write_floors("y" * 10**6, [("1", (1.0,))])
    store.close()
    again = opened(tmp_path)
    assert {key: dict(outcome.values) for key, outcome in again.results().items()} == {"0": {"latency_s": 1.0}}
    again.write(long)
    assert set(again.results()) == {"0", "1"}
    again.close()


def test_a_store_that_was_not_finished_being_made_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "to_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path)
    assert (tmp_path / "study.sqlite").exists()
    opened(tmp_path).close()
    assert [row.outcome for row in Study.load(tmp_path).rows] == [None, None]


def interrupted(_: Sweep) -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["study.sqlite", ".lock"])
def test_a_folder_in_the_place_of_a_file_of_a_study(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(BadInput, match=rf"{name}: (cannot write|not a study)"):
        opened(tmp_path)
