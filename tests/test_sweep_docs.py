"""What docs/sweeps.md says holds: its commands run, its files load, its ranges have the values of its table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.cli import accelsim

from accelsim.study import Span
from accelsim.study.span import parse_range
from accelsim.study.sweep_file import load_sweep

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (block,) = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        ran = accelsim(*shlex.split(line)[1:])
        assert ran.code == 0, f"{line}\n{ran.output}"
    assert len((tmp_path / "sampled.csv").read_text().splitlines()) == 17


def test_files_load(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    file = tmp_path / "sweep.yaml"
    file.write_text(block)
    points = load_sweep(file).points()
    assert len(points) == 2 + 2 * 2
    assert {(p.arch, dict(p.arch_values).get("memories.vmem.capacity")) for p in points} == {
        ("edge_npu", None), ("tpu_like", "8 MiB"), ("tpu_like", "16 MiB"),
    }  # fmt: skip


def test_ranges_of_the_table() -> None:
    rows = re.findall(r"^\| `\{.*?\}` \| `(.*?)` \| (.*?) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 4
    for text, told in rows:
        values = parse_range(text)
        if "sampled" in told:
            assert isinstance(values, Span)
        else:
            assert isinstance(values, list)
            unit = " KiB" if "KiB" in told else ""
            shown = ", ".join(f"{float(str(v).removesuffix(unit)):g}" for v in values) + unit
            assert shown == told


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
