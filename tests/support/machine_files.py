"""A small machine as text, ways to change it, and the problems that the loader finds in a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim.arch import loads_architecture
from accelsim.errors import SpecError

GOOD = """\
name: small
clock: 1 GHz
technology: 16 nm
memories:
  dram: {kind: dram, capacity: 4 GiB, bandwidth: 16 GB/s, latency: 80 ns}
  sram:
    kind: buffer
    parent: dram
    capacity: 512 KiB
    bandwidth: 64 B/cycle
units:
  array: {kind: systolic, memory: sram, rows: 16, cols: 8, dataflows: [os]}
  vector:
    kind: vector
    memory: sram
    lanes: 16
    rates: {exp: 1/6, div: 0.125}
links:
  bus: {kind: link, between: [dram, sram], bandwidth: 8 GB/s}
"""


def problems(text: str, folder: Path | None = None) -> list[str]:
    """Everything that the loader reports."""
    with pytest.raises(SpecError) as caught:
        loads_architecture(text, "m.yaml", folder)
    return [str(p) for p in caught.value.problems]


def changed(old: str, new: str) -> str:
    """The machine with one piece of its text, which stands there once, replaced."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)
