"""Report pages that the command line writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelsim.cli.app import app
from accelsim.cli.run import RECORDED_FOR_PAGE
from accelsim.report.figures import MAX_SLICES


def test_page_has_its_timeline_and_json_its_kinds(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    model = ("edge_npu", "gpt2", "--phase", "decode", "--context", "32")
    ran = CliRunner().invoke(app, ["run", *model, "--html", str(page), "--json"])
    assert ran.exit_code == 0
    told = json.loads(ran.stdout)
    found = re.search(r'id="figures">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    timelines = [f for f in json.loads(found[1]) if f.get("linked") and f["layout"].get("barmode") == "overlay"]
    (timeline,) = timelines
    slices = sum(len(trace["x"]) for trace in timeline["data"])
    assert slices == min(RECORDED_FOR_PAGE, MAX_SLICES)
    assert all(row["kind"] for row in told["operators"])
    operators = {row["name"] for row in told["operators"]}
    assert {name for trace in timeline["data"] for name in trace["customdata"]} <= operators
    plain = CliRunner().invoke(app, ["run", *model, "--json"])
    assert json.loads(plain.stdout) == told, "recording changes nothing else"


@pytest.mark.parametrize("width", ["80", "100"])
def test_terminal_shows_kinds(width: str) -> None:
    ran = CliRunner().invoke(app, ["run", "edge_npu", "gpt2", "--seq", "16"], env={"COLUMNS": width})
    assert ran.exit_code == 0
    assert "Linear" in ran.stdout
    assert max(len(line) for line in ran.stdout.splitlines()) <= int(width)
