"""Time lines for Perfetto: the cap, its note, and the counters of buffers and servers."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim

from accelsim import simulate
from accelsim.arch.loader import load_architecture
from accelsim.engine import compiled
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.labels import Action, ActorLabel
from accelsim.engine.program import Program, Server
from accelsim.engine.trace import Trace
from accelsim.report.perfetto import MOST_SLICES, _covered, cut_note, write_perfetto
from accelsim.workloads import load_model


def written(trace: Trace, folder: Path, **options: int) -> dict[str, Any]:
    path = write_perfetto(trace, folder / "t.json.gz", **options)
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


def counter(content: dict[str, Any], name: str) -> list[tuple[float, float]]:
    """(microseconds, value) of one counter."""
    events = [e for e in content["traceEvents"] if e["ph"] == "C" and e["name"] == name]
    return [(e["ts"], next(iter(e["args"].values()))) for e in events]


def tiles() -> Program:
    """Three tiles of 100 bytes loaded in 10 ticks each into a double buffer, each used for 30; 40 bytes stored in 4."""
    b = ProgramBuilder("tiles", tick_hz=Fraction(10**9))
    dram, array = b.server(Server("dram", Fraction(10))), b.server(Server("array", Fraction(1)))
    load = b.actor("load a", server=dram, label=ActorLabel("mm", "dram", "load", "a"))
    mm = b.actor("mm", server=array, label=ActorLabel("mm", "array", "compute"))
    store = b.actor("store z", server=dram, label=ActorLabel("mm", "dram", "store", "z"))
    a, z = b.fifo(load, mm, depth=2), b.fifo(mm, store, depth=1)
    arrive = (Action("dram", "read", "mm", "a", "sram"), 100), (Action("sram", "write", "mm", "a", "dram"), 100)
    leave = (Action("sram", "read", "mm", "z", "dram"), 40), (Action("dram", "write", "mm", "z", "sram"), 40)
    b.schedule(load, [Run(Phase(work=100, outputs=((a, 1, 1),), actions=arrive), 3)])
    b.schedule(mm, [Run(Phase(work=30, inputs=((a, 1, 1),), outputs=((z, 1, 1),)), 3)])
    b.schedule(store, [Run(Phase(work=40, inputs=((z, 1, 1),), actions=leave), 3)])
    return b.build()


def test_bytes_of_tiles_in_buffers(tmp_path: Path) -> None:
    """Loads run at 0-10, 10-20 and 40-50, products at 10-40, 54-84 and 88-118, stores at 50-54, 84-88 and 118-122."""
    content = written(compiled.run(tiles(), record=100), tmp_path)
    assert counter(content, "sram: tiles in buffers") == [
        (0.0, 100), (0.01, 240), (0.084, 140), (0.118, 40), (0.122, 0),
    ]  # fmt: skip


def test_use_of_servers(tmp_path: Path) -> None:
    content = written(compiled.run(tiles(), record=100), tmp_path)
    points = counter(content, "dram: use")
    assert points[0] == (0.0, 100.0)
    finish = 0.122
    mean = sum(value * (next_ts - ts) for (ts, value), (next_ts, _) in pairwise(points)) / finish
    assert mean == pytest.approx(100 * (3 * 10 + 3 * 4) / 122, abs=0.01)


def test_the_cap_is_told(tmp_path: Path) -> None:
    trace = compiled.run(tiles(), record=100)
    assert cut_note(trace) == ""
    assert "cut" not in written(trace, tmp_path)["otherData"]
    content = written(trace, tmp_path, most=5)
    note = cut_note(trace, most=5)
    assert note == "cut: the first 5 of 9 firings are listed, to 5e-05 ms of 0.000122 ms"
    assert content["otherData"]["cut"] == note
    assert content["otherData"]["dropped_firings"] == 4
    events = content["traceEvents"]
    assert sum(e["ph"] == "X" for e in events) == 5
    assert [(e["name"], e["ts"]) for e in events if e["ph"] == "i"] == [(note, 0.05)]
    whole = written(trace, tmp_path)
    buffers = "sram: tiles in buffers"
    # At the cut itself a firing that starts then may be missing.
    assert [p for p in counter(content, buffers) if p[0] < 0.05] == [p for p in counter(whole, buffers) if p[0] < 0.05]
    assert max(ts for ts, _ in counter(content, "dram: use")) <= 0.05


def test_holes_are_told(tmp_path: Path) -> None:
    trace = replace(compiled.run(tiles(), record=5), jumps=1, jumped_firings=4)
    content = written(trace, tmp_path)
    assert content["otherData"]["cut"] == (
        "cut: 5 of 9 firings are listed; others were skipped where the network repeats itself"
    )
    assert not any(e["ph"] == "C" for e in content["traceEvents"])


def test_buffers_of_a_model_stay_inside_the_memory(tmp_path: Path) -> None:
    arch = load_architecture("edge_npu")
    report = simulate(arch, load_model("gpt2", phase="prefill", seq=16), record=0)
    trace = compiled.run(report.trace.program, jump=False, record=MOST_SLICES)
    content = written(trace, tmp_path)
    levels = [value for _, value in counter(content, "sram: tiles in buffers")]
    assert min(levels) == 0 < max(levels) <= arch.memories["sram"].capacity


def test_command_lists_every_firing(tmp_path: Path) -> None:
    """The kernel may jump; the time line has no holes, and so nothing is said of a cut."""
    path = tmp_path / "t.json.gz"
    ran = accelsim("run", "edge_npu", "gpt2", "--phase", "prefill", "--seq", 16, "--perfetto", path)
    assert ran.code == 0
    assert "cut:" not in ran.output
    assert json.loads(gzip.decompress(path.read_bytes()))["otherData"]["dropped_firings"] == 0


def test_command_says_what_it_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.report.perfetto.MOST_SLICES", 50)
    path = tmp_path / "t.json.gz"
    ran = accelsim("run", "edge_npu", "gpt2", "--phase", "prefill", "--seq", 16, "--perfetto", path)
    assert ran.code == 0
    assert f"{path}: cut: the first 50 of " in ran.output.replace("\n", "")
    assert json.loads(gzip.decompress(path.read_bytes()))["otherData"]["cut"].startswith("cut: the first 50 of ")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=200)
def test_covered_counts_each_tick_once(spans: list[tuple[int, int]]) -> None:
    spans = sorted(spans)
    start, end = (np.array(column) for column in zip(*((a, a + n) for a, n in spans), strict=True))
    edges = np.arange(0, 80, 7)
    expected = [sum(any(a <= t < a + n for a, n in spans) for t in range(edge)) for edge in edges]
    assert _covered(start, end, edges).tolist() == expected
