"""The tutorial works as it stands: its machine, its commands and its Python, in order and in one folder."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.cli import accelsim

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"


def test_everything_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.M | re.S):
        if language == "yaml":
            Path("chip.yaml").write_text(text)
        elif language == "python":
            exec(compile(text, TUTORIAL.name, "exec"), {"__name__": "tutorial"})
        else:
            for line in text.splitlines():
                command, _, file = line.partition(" > ")
                result = accelsim(*shlex.split(command)[1:])
                assert result.code == 0, f"{line}\n{result.output}"
                if file:
                    Path(file).write_text(result.output)
                ran += 1
    assert ran == 12
    assert {"gpt2.html", "gpt2.yaml", "chips"} <= {path.name for path in tmp_path.iterdir()}
    fusing_does_what_the_page_says(*(json.loads(Path(f"{name}.json").read_text()) for name in ("tile", "cascade")))


def fusing_does_what_the_page_says(alone: Mapping[str, Any], fused: Mapping[str, Any]) -> None:
    text = " ".join(TUTORIAL.read_text(encoding="utf-8").split()).replace(" %", "%")
    moved = [sum(report["traffic_bytes"]["dram"].values()) / 1e9 for report in (fused, alone)]
    energy, time = (1 - fused[key] / alone[key] for key in ("energy_J", "latency_s"))
    assert f"moves {moved[0]:.1f} in place of {moved[1]:.1f} GB" in text
    assert f"for {energy:.0%} less energy and {time:.0%} less time" in text
