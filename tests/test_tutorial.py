"""The tutorial works as it stands: its machine, its commands and its Python, in order and in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

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
