"""The how-tos of the documentation as packages: found through their entry points, and conforming."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOWTO = Path(__file__).parent.parent / "docs" / "howto"
NAMES = ("component", "mapper", "importer")
_BLOCK = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r'^\[project\.entry-points\."([\w.]+)"\]\n(.*?)^```$', re.MULTILINE | re.DOTALL)
MOST_LINES = 60


def blocks(name: str) -> dict[str, str]:
    return dict(_BLOCK.findall((HOWTO / f"{name}.md").read_text()))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them installed in a folder, with the metadata that pip would write."""
    root = tmp_path_factory.mktemp("site")
    entries = []
    for name in NAMES:
        for file, text in blocks(name).items():
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).write_text(text)
        for group, lines in _ENTRY.findall((HOWTO / f"{name}.md").read_text()):
            entries.append(f"[{group}]\n{lines.replace(chr(34), '')}")
    (root / "howto" / "__init__.py").touch()
    info = root / "howto-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: howto\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(entries))
    return root


def run(package: Path, *command: str) -> str:
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-m", *command], cwd=package, env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_is_short(name: str) -> None:
    found = blocks(name)
    assert len(found) == 2
    assert all(text.count("\n") <= MOST_LINES for text in found.values())


def test_they_pass_the_conformance_classes_from_another_package(package: Path) -> None:
    told = run(package, "pytest", "-q", "-p", "no:cacheprovider", "howto")
    assert re.search(r"\b19 passed", told), told


def test_they_are_found_by_name(package: Path) -> None:
    assert "dot" in run(package, "accelsim", "list", "components").split()
    assert "whole" in run(package, "accelsim", "list", "mappers").split()
    (package / "digits.mlp").write_text("64 -> 32 relu\n32 -> 10\n")
    (package / "dots.yaml").write_text(
        "extends: edge_npu\nunits: {array: null, dots: {kind: dot, memory: sram, units: 8, width: 16}}\n"
    )
    told = run(package, "accelsim", "run", "dots.yaml", "digits.mlp", "--mapper", "whole", "--batch", "4", "--json")
    assert f'"macs": {4 * (64 * 32 + 32 * 10)}' in told
    assert '"dots"' in told
