"""The notebooks run from the first cell to the last."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NAMES = sorted(file.name for file in FOLDER.glob("*.ipynb"))


def test_there_are_five_without_outputs() -> None:
    assert len(NAMES) == 5
    for name in NAMES:
        cells = nbformat.read(FOLDER / name, as_version=4).cells
        assert cells[0].source.startswith("# ")
        assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shell lines of notebooks find the command that belongs to this Python.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert shown
    assert not any(output.output_type == "error" for output in shown)
