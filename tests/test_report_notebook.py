"""Values as notebooks show them, and tables as files."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.sample_report import CLOCK, INPUT_BYTES, LAYERS, WEIGHT_BYTES, K, M, N, sample

from accelsim.errors import BadInput
from accelsim.mapping.nest import tree_text
from accelsim.report import Report, make_report
from accelsim.report.tables import KINDS
from accelsim.study.outcome import Outcome, Status
from accelsim.study.point import Model
from accelsim.study.row import Row
from accelsim.study.study import Study
from accelsim.study.sweep import Sweep


class Cells(HTMLParser):
    """Collects the text of every element by tag, and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.found.setdefault(tag, []).append("")
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append(self.found[tag][-1])

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.found[tag][-1] += data


@pytest.fixture(scope="module")
def report() -> Report:
    s = sample()
    return make_report(s.arch, s.workload, s.mapping, s.program, s.trace)


def test_architecture() -> None:
    rows = Cells(sample().arch._repr_html_()).rows
    assert rows[0] == ["memory", "kind", "parent", "where", "capacity", "bandwidth", "units"]
    assert rows[1] == ["dram", "dram", "", "off chip", "1 GiB", "2 GB/s", ""]
    assert rows[2] == ["buffer", "buffer", "dram", "on chip", "64 KiB", "1 TB/s", "array, vector"]
    assert rows[4][:4] == ["array", "systolic", "buffer", "500 MHz"]
    assert "512 mac" in rows[4][4]
    assert rows[-1] == ["bus", "link", "dram – buffer", "4 GB/s"]


def test_architecture_with_ports_apart() -> None:
    arch = sample().arch
    apart = {"bandwidth": None, "read_bandwidth": 4e9, "write_bandwidth": 2e9}
    memories = {**arch.memories, "buffer": arch.memories["buffer"].model_copy(update=apart)}
    assert Cells(replace(arch, memories=memories)._repr_html_()).rows[2][5] == "4 GB/s read, 2 GB/s write"


def test_workload() -> None:
    cells = Cells(sample().workload._repr_html_())
    assert cells.found["p"] == [f"two operators: {LAYERS * M * N * K:,} MACs, 2 operators"]
    held = dict(row for row in cells.rows if len(row) == 2)
    assert (held["weight"], held["input"]) == (f"{LAYERS * WEIGHT_BYTES:,}", f"{INPUT_BYTES:,}")
    assert cells.rows[-2:] == [
        ["mm", "MatMul", "3", f"m={M} n={N} k={K}", f"{LAYERS * M * N * K:,}"],
        ["act<1>", "Exp", "3", f"m={M} n={N}", "0"],
    ]


def test_workload_says_what_it_leaves_out() -> None:
    workload = replace(sample().workload, notes=("<left> out",))
    assert "<left> out" in Cells(workload._repr_html_()).found["p"]


def test_mapping() -> None:
    mapping = sample().mapping
    cells = Cells(mapping._repr_html_())
    assert cells.found["pre"] == [tree_text(mapping)]
    assert "act<1> on vector, simd" in cells.found["pre"][0]


def test_report(report: Report) -> None:
    cells = Cells(report._repr_html_())
    assert report.bottleneck in cells.found["p"]
    totals = {row[0]: row[1:] for row in cells.rows if len(row) == 3}
    assert totals["latency"] == [f"{1e6 * report.cycles / CLOCK:.4g} µs", "1,480 cycles"]
    ranked = sorted(report.operators, key=lambda row: -row.cycles)
    assert [row[:2] for row in cells.rows if len(row) == 7][1:] == [[row.name, row.kind] for row in ranked]


def test_study() -> None:
    sweep = Sweep(("edge_npu", "tpu_like"), (Model.of("gpt2"),), name="two <machines>")
    outcome = Outcome(Status.DONE, {"latency_s": 12.0, "energy_J": 0.5})
    rows = tuple(Row({"arch": arch, "model": "gpt2"}, outcome) for arch in sweep.archs)
    cells = Cells(Study(sweep, rows)._repr_html_())
    assert cells.found["p"] == ["two <machines>: 2 points"]
    assert cells.rows[0][1:3] == ["arch", "status"]
    assert [row[1] for row in cells.rows[1:]] == list(sweep.archs)
    assert {"12.0", "0.5"} <= set(cells.rows[1])


def test_csv_holds_every_table(report: Report, tmp_path: Path) -> None:
    paths = report.to_csv(tmp_path / "a" / "b")
    assert [p.name for p in paths] == [f"{kind}.csv" for kind in KINDS]
    for path, kind in zip(paths, KINDS, strict=True):
        with path.open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        rows = getattr(report, kind)
        assert len(read) == len(rows) > 0
        for line, row in zip(read, rows, strict=True):
            for name, text in line.items():
                value = getattr(row, name)
                assert text == ("" if value is None else str(value))
                if isinstance(value, float):
                    assert float(text) == value


def test_csv_says_where_it_cannot_write(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file.*cannot write"):
        report.to_csv(tmp_path / "file")


def test_parquet_names_its_extra(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"accelsim\[parquet\]"):
        report.to_parquet(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_parquet_holds_every_table(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas

    for path, kind in zip(report.to_parquet(tmp_path), KINDS, strict=True):
        pandas.testing.assert_frame_equal(pandas.read_parquet(path), report.to_dataframe(kind), check_dtype=False)
