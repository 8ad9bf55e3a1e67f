"""``accelsim phases``: styles, plans that are written and run again, and what users get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from accelsim.cli.app import app
from accelsim.report import schema

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
    assert again["energy_J"] == min(styles.values(), key=lambda run: run["latency_s"])["energy_J"]


def test_a_style_has_all_that_a_run_has(tmp_path: Path) -> None:
    """The keys of `accelsim run --json`, bytes and MACs counted, and the same when the mapping is run by itself."""
    file, page = tmp_path / "plan.yaml", tmp_path / "page.html"
    found = told(*MODEL, "--style", "sequential", "--save-plan", str(file), "--html", str(page))["styles"]["sequential"]
    jsonschema.validate({k: v for k, v in found.items() if k in schema()["properties"]}, schema())
    assert set(schema()["required"]) <= set(found)
    assert found["traffic_bytes"]["dram"] == found["off_chip_bytes"]
    assert found["macs"] == 2 * 2 * 64 * 64 * 64
    assert found["energy_J"] > 0
    assert found["cycles"] == sum(part["cycles"] for part in found["parts"])
    assert "<html" in page.read_text()
    done = CliRunner().invoke(app, ["run", *MODEL, "--mapping", str(file), "--json"])
    assert done.exit_code == 0, done.output
    again = json.loads(done.stdout)
    assert {k: again[k] for k in again if k != "provenance"} == {k: found[k] for k in again if k != "provenance"}


def test_mappings_with_phases_and_stream_graphs_are_validated(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    told(*MODEL, "--style", "sequential", "--save-plan", str(file))
    graph = Path(__file__).parents[1] / "docs" / "examples" / "softmax_stream.yaml"
    done = CliRunner().invoke(app, ["validate", str(file), str(graph)])
    assert done.exit_code == 0, done.output
    assert "a mapping, well formed" in done.output
    assert "a stream graph of 6 nodes and 6 streams" in done.output
    file.write_text(file.read_text().replace("cores:", "core:", 1))
    done = CliRunner().invoke(app, ["validate", str(file)])
    assert done.exit_code == 2
    assert "unknown key 'core'" in done.output


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_phases_as_a_mapper(objective: str, tmp_path: Path) -> None:
    """`accelsim run --mapper phases` finds what is claimed, and what it saves runs alike."""
    file = tmp_path / "mapping.yaml"
    done = CliRunner().invoke(
        app, ["run", *MODEL, "--mapper", "phases", "--objective", objective, "--save-mapping", str(file), "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    claim = found["provenance"]["claim"]
    assert claim["mapper"] == "phases"
    cost = {"latency": found["cycles"], "energy": found["energy_J"], "edp": found["energy_J"] * found["latency_s"]}
    assert claim["value"] == pytest.approx(cost[objective])
    assert claim["bound"] <= claim["value"]
    again = CliRunner().invoke(app, ["run", *MODEL, "--mapping", str(file), "--json"])
    assert json.loads(again.stdout)["energy_J"] == found["energy_J"]


def test_a_table_names_phases_and_limits() -> None:
    code, text = phases(*MODEL, "--style", "dataflow")
    assert code == 0
    assert "limited by" in text
    assert "QK |" in text


def test_a_phase_shorter_than_its_switch_says_so() -> None:
    code, text = phases("sn40l_kernels", "softmax", "--bind", "t=8", "--bind", "n=8", "--style", "dataflow")
    assert code == 0
    assert text.rstrip().endswith("limited by the switch to it")


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
