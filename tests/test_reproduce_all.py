"""`accelsim reproduce all`: every experiment on one page, whatever becomes of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import lost_experiments
from support.browser import browser_tab
from support.cli import accelsim

from accelsim.errors import DoesNotFit
from accelsim.experiments.loader import Row
from accelsim.experiments.overview import run_all

NAMES = {"gemm_bound": "Good.", "scalesim": "Broken.", "draco": "Missed | row."}


def row(where: str, got: float) -> Row:
    return Row("cycles", where, 100.0, got, "cycles", 0.05, "a paper", "a | reason")


@pytest.fixture(autouse=True)
def _three(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Row]:
        raise DoesNotFit("sram: 7 bytes too small")

    monkeypatch.setattr("accelsim.experiments.loader.summaries", lambda: NAMES)
    monkeypatch.setattr("accelsim.experiments.gemm_bound.experiment.rows", lambda: [row("a", 101), row("b", 100)])
    monkeypatch.setattr("accelsim.experiments.scalesim.experiment.rows", broken)
    monkeypatch.setattr("accelsim.experiments.draco.experiment.rows", lambda: [row("c", 100), row("d", 110)])


def test_it_tells_each_and_ends_with_1_where_one_misses(tmp_path: Path) -> None:
    ran = accelsim("reproduce", "all", "--jobs", 0, "--out", tmp_path / "out")
    assert ran.code == 1, ran.output
    for text in ("2 of 2", "1 of 2", "10.00%", "scalesim did not run: sram: 7 bytes too small"):
        assert text in ran.output
    told = (tmp_path / "out" / "reproduce.md").read_text()
    assert "| [gemm_bound](#gemm_bound) | 2 | 2 of 2 | 0 | 0.50% | 1.00% | cycles, a | 100 | 101 |" in told
    assert "1 of 3 experiments within all tolerances, 3 of 4 rows" in told
    assert "| cycles | d | 100 | 110 | cycles | +10.00% | 5.00% | a paper | a \\| reason |" in told
    assert "It did not run: sram: 7 bytes too small" in told


def test_json_has_one_entry_per_experiment() -> None:
    told = json.loads(accelsim("reproduce", "all", "--jobs", 0, "--json").output)
    assert [one["experiment"] for one in told] == list(NAMES)
    assert told[1]["error"] == "sram: 7 bytes too small"
    assert [r["ok"] for r in told[2]["rows"]] == [True, False]


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    assert accelsim("reproduce", "all", "--figure", tmp_path / "f.html").code == 2
    assert accelsim("reproduce", "draco", "--out", tmp_path / "o").code == 2
    assert accelsim("reproduce", "draco", "--jobs", 2).code == 2
    assert not list(tmp_path.iterdir())


def test_the_page_opens_without_errors(tmp_path: Path) -> None:
    accelsim("reproduce", "all", "--jobs", 0, "--out", tmp_path)
    with browser_tab() as tab:
        for width in (400, 1280):
            tab.open(tmp_path / "reproduce.html", width=width)
            assert not tab.errors
            assert tab.run("document.querySelectorAll('tr.marked').length") == 3
            assert tab.run("document.documentElement.scrollWidth <= innerWidth")
            linked = "[...document.querySelectorAll('td a')].map(a => document.querySelector(a.getAttribute('href')))"
            assert tab.run(f"{linked}.map(h => h && h.textContent)") == list(NAMES)


def test_an_experiment_that_breaks_or_loses_its_process_keeps_none_from_landing(
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def wrong() -> list[Row]:
        raise KeyError("a fault of its own")

    monkeypatch.setattr("accelsim.experiments.gemm_bound.experiment.rows", wrong)
    told = {one.name: one.message for one in run_all(NAMES)}
    assert told == {"gemm_bound": "KeyError: 'a fault of its own'", "scalesim": "sram: 7 bytes too small", "draco": ""}


def test_workers_that_are_lost_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names stand for processes that end at once, and one that answers."""
    monkeypatch.setattr("accelsim.experiments.overview.outcome_of", lost_experiments.outcome_or_end)
    told = {one.name: one.message for one in run_all({"ends": "", "answers": "", "ends too": ""}, jobs=2)}
    assert told["answers"] == "here"
    assert "exit code 7" in told["ends"]
    assert "exit code 7" in told["ends too"]
