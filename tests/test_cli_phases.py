"""``accelsim phases``: styles, plans that are written and run again, and what users get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from accelsim.cli.app import app

MODEL = ["plasticine", "attention_3pass", "--bind", "h=2", "--bind", "m=64", "--bind", "p=64"]


def phases(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["phases", *arguments])
    return done.exit_code, done.output


def told(*arguments: str) -> dict[str, Any]:
    code, text = phases(*arguments, "--json")
    assert code == 0, text
    found: dict[str, Any] = json.loads(text)
    return found


def test_styles_beside_each_other(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    styles = told(*MODEL, "--save-plan", str(file))["styles"]
    assert list(styles) == ["sequential", "dataflow", "reconfigurable", "operators"]
    fastest = min(run["cycles"] for run in styles.values())
    assert styles["reconfigurable"]["cycles"] == fastest
    assert styles["dataflow"]["launches"] == 1
    for run in styles.values():
        assert run["bounds"]["machine"] <= run["bounds"]["program"] + 1 <= run["cycles"] + 1
    again = told(*MODEL, "--plan", str(file))["styles"]["plan"]
    assert again["cycles"] == fastest


def test_a_table_names_phases_and_limits() -> None:
    code, text = phases(*MODEL, "--style", "dataflow")
    assert code == 0
    assert "limited by" in text
    assert "QK |" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["eyeriss", "attention_3pass"], 2, "one unit of kind core_pool"),
        ([*MODEL, "--style", "fast"], 2, "known: sequential, dataflow"),
        ([*MODEL, "--orchestration", "hots"], 2, "did you mean 'host'"),
        (["plasticine", "attention_1pass"], 2, "no iterative Einsums"),
        ([*MODEL, "--style", "dataflow", "--set", "units.pcu.cores=3"], 3, "stages at once"),
        ([*MODEL, "--plan", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_what_users_get_wrong(arguments: list[str], code: int, message: str) -> None:
    found, text = phases(*arguments)
    assert found == code
    assert message in text
