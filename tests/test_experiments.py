"""Experiments: every one reproduces its rows within tolerance, and responds to its machine as it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.accuracy import not_on_their_pages
from support.cli import accelsim
from support.experiments import rows_of

from accelsim.errors import BadInput
from accelsim.experiments.loader import Comparison, Row, data_path, experiment_names, load_experiment, summaries, table

ROW_KEYS = ["quantity", "where", "published", "accelsim", "unit", "error", "tolerance", "ok", "source", "note"]


ENDS_WITH_SHOWN = {
    "arbitrary_precision": 7, "cosma": 7, "fusemax": 740, "hardnet": 40, "irregular_reads": 8, "kv_compression": 5,
    "llm_validation": 23, "long_context": 11, "mcunetv2": 11, "memory_mapping": 15, "memory_wall": 3, "monde": 2,
    "offloading": 7, "sn40l_coe": 13, "sn40l_fusion": 22, "tiered_placement": 0,
}  # fmt: skip
"""Rows with a tolerance of experiments behind which there are only rows that nothing judges, and that take long."""


@pytest.mark.parametrize("name", experiment_names())
def test_experiment_is_within_its_tolerances(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows_of(name, ENDS_WITH_SHOWN.get(name))
    monkeypatch.setattr(f"accelsim.experiments.{name}.experiment.rows", lambda: found)
    ran = accelsim("reproduce", name, "--json")
    told = json.loads(ran.output)
    assert list(told) == ["experiment", "rows", "seconds"]
    assert told["rows"]
    if name in ENDS_WITH_SHOWN:
        assert sum(row["tolerance"] != "unreachable" for row in told["rows"]) == ENDS_WITH_SHOWN[name]
    assert all(list(row) == ROW_KEYS for row in told["rows"])
    assert all(row["source"] for row in told["rows"])
    missed = [row for row in told["rows"] if row["ok"] is False]
    assert not missed
    assert ran.code == 0
    assert not_on_their_pages(name, found) == []


@pytest.mark.parametrize("name", experiment_names())
def test_experiment_folder_is_complete(name: str) -> None:
    folder = Path(data_path(f"accelsim.experiments.{name}", ""))
    assert (folder / "README.md").read_text().startswith("# ")
    assert summaries()[name].endswith(".")
    tables = list(folder.glob("*.csv"))
    assert tables
    assert all(record["source"] for file in tables for record in table(f"accelsim.experiments.{name}", file.name))


def row(published: float | None, got: float | None, tolerance: float | None) -> Row:
    return Row("cycles", "here", published, got, "cycles", tolerance, "a paper", "a reason")


@pytest.mark.parametrize(
    ("published", "got", "tolerance", "error", "ok"),
    [
        (100, 103, 0.05, 0.03, True),
        (100, 97, 0.02, -0.03, False),
        (100, 100, 0.0, 0.0, True),
        (0, 0, 0.0, 0.0, True),
        (0, 1, 0.0, 1.0, False),
        (100, 50, None, -0.5, None),
        (100, None, 0.05, None, False),
        (None, 3, None, None, None),
    ],
)
def test_rows_are_judged(
    published: float | None, got: float | None, tolerance: float | None, error: float | None, ok: bool | None
) -> None:
    judged = row(published, got, tolerance)
    assert judged.error == (None if error is None else pytest.approx(error))
    assert judged.ok is ok
    assert judged.to_json()["tolerance"] == ("unreachable" if tolerance is None else tolerance)


def test_a_row_without_tolerance_needs_a_reason() -> None:
    with pytest.raises(BadInput, match="needs the reason"):
        Row("cycles", "here", 1, 2, "cycles", None, "a paper")


def test_one_missed_row_fails_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad, free = row(100, 100, 0.0), row(100, 101, 0.0), row(100, 300, None)
    assert Comparison("x", (good, free), 0.0).ok
    assert not Comparison("x", (good, bad), 0.0).ok
    experiment = load_experiment("scalesim")
    monkeypatch.setattr("accelsim.experiments.scalesim.experiment.rows", lambda: [good, bad])
    assert load_experiment("scalesim") != experiment
    assert accelsim("reproduce", "scalesim").code == 1


def test_figure_is_drawn_from_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page holds the figure that the experiment drew of the very rows that are printed, and names them."""
    module = "accelsim.experiments.scalesim.experiment"
    good, bad = row(100, 100, 0.0), row(100, 250, 0.0)

    def figure(rows: Sequence[Row]) -> dict[str, Any]:
        return {"data": [{"type": "bar", "y": [r.accelsim for r in rows]}], "layout": {}}

    monkeypatch.setattr(f"{module}.rows", lambda: iter([good, bad]))
    monkeypatch.setattr(f"{module}.figure", figure, raising=False)
    file = tmp_path / "new" / "figure.html"
    assert accelsim("reproduce", "scalesim", "--figure", file).code == 1
    text = file.read_text()
    assert json.loads(text.split('id="figures">')[1].split("</script>")[0]) == [figure([good, bad])]
    assert "1 of 2 rows within tolerance" in text
    assert text.count('<tr class="marked"') == 1
    assert "+150.00%" in text


def test_an_experiment_without_figure_says_so_before_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("accelsim.experiments.scalesim.experiment.rows", lambda: pytest.fail("it ran"))
    ran = accelsim("reproduce", "scalesim", "--figure", tmp_path / "figure.html")
    assert ran.code == 2
    assert "draws no figure" in ran.output
    assert list(tmp_path.iterdir()) == []
