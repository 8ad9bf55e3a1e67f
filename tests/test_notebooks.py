"""The notebooks run from the first cell to the last."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


SHORTER = {"2_edge_npu.ipynb": ("Search(\"nsga2\", 32, batch=16)", "Search(\"nsga2\", 8, batch=4)")}
"""What is tried with fewer points than the reader gets: the same cells, on fewer machines."""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """One kernel for all of them, since to start one takes longer than most cells."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        # Shell lines of notebooks find the command that belongs to this Python.
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, kernel: Any, tmp_path: Path) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    if name in SHORTER:
        long, short = SHORTER[name]
        assert sum(long in cell.source for cell in notebook.cells) == 1
        for cell in notebook.cells:
            cell.source = cell.source.replace(long, short)
    fresh = nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}")
    notebook.cells.insert(0, fresh)
    nbclient.NotebookClient(notebook, km=kernel, timeout=300).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert shown
    assert not any(output.output_type == "error" for output in shown)
