"""The HTML pages in a real browser: what is drawn, at two widths, in light and dark, without errors or requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
from support.browser import Tab, browser_tab
from support.sample_report import LAYERS, sample

from accelsim.arch.loader import load_architecture
from accelsim.errors import BadInput
from accelsim.report import Report, make_report, study_html
from accelsim.report.page import Column, Page, number, si
from accelsim.simulation import simulate
from accelsim.workloads import load_model

WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser_tab() as tab:
        yield tab


@pytest.fixture(scope="module")
def report() -> Report:
    s = sample()
    return make_report(s.arch, s.workload, s.mapping, s.program, s.trace)


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.to_html(tmp_path_factory.mktemp("html") / "report.html")


def points() -> pandas.DataFrame:
    rows = [
        {"rows": r, "dataflow": d, "cycles": 6400.0 / r + (d == "ws"), "energy_J": 1e-3 + r * 1e-5}
        for r in (8, 16, 32) for d in ("ws", "os")
    ]  # fmt: skip
    return pandas.DataFrame(rows)


def study(**changes: Any) -> str:
    failed = pandas.DataFrame([{"rows": 64, "dataflow": "ws", "error": "does not <fit>"}])
    options: dict[str, Any] = {
        "title": "A <study> & more", "table": points(), "parameters": ["rows", "dataflow"],
        "objectives": ["cycles", "energy_J"], "pareto": [1, 3, 5], "failed": failed, "notes": ["An anomaly."],
    }  # fmt: skip
    return study_html(**options | changes)


@pytest.fixture(scope="module")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("html") / "study.html"
    path.write_text(study(), encoding="utf-8")
    return path


def marks(tab: Tab, title: str, selector: str) -> int:
    found: int = tab.run(
        f"""[...document.querySelectorAll('.card')].filter(c => c.querySelector('h3')?.textContent === {title!r})
        .map(c => c.querySelectorAll({selector!r}).length).reduce((a, b) => a + b, 0)"""
    )
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_report_page_opens_cleanly(tab: Tab, page: Path, width: int, dark: bool) -> None:
    tab.open(page, width=width, dark=dark)
    assert tab.errors == []
    assert tab.run("innerWidth") == width
    assert tab.run("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    assert tab.count(".js-plotly-plot .main-svg") >= 2 * 5
    outside = tab.run(
        "[...document.querySelectorAll('.chart')].filter(c => c.getBoundingClientRect().right > innerWidth).length"
    )
    assert outside == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_report_page_draws_every_operator_and_firing(tab: Tab, page: Path, report: Report, width: int) -> None:
    tab.open(page, width=width)
    assert marks(tab, "Roofline", ".point") == len(report.operators)
    parts = [
        getattr(row, f"wait_{w}") > 0 for row in report.operators for w in ("data", "space", "pool", "server", "drain")
    ]
    kinds = {i % 5 for i, waited in enumerate(parts) if waited}
    assert marks(tab, "Time per operator", ".point") == len(report.operators) * (1 + len(kinds))
    priced = {(row.role or row.action, row.component) for row in report.energy if row.energy_J}
    assert len(priced) <= marks(tab, "Energy by component", ".point") <= 5 * len(report.components)
    assert marks(tab, "Traffic by memory", ".point") == 4
    assert report.trace.slices is not None
    assert marks(tab, "What ran when", ".point") == len(report.trace.slices.actor) == 4 * LAYERS + 3
    assert tab.run("document.querySelectorAll('#s5 ~ .card table')[0].tBodies[0].rows.length") == len(report.operators)


def test_themes_differ_in_ink_and_colour(tab: Tab, page: Path) -> None:
    seen = []
    for dark in (False, True):
        tab.open(page, width=1280, dark=dark)
        body = tab.run("getComputedStyle(document.body).backgroundColor")
        text = tab.run("getComputedStyle(document.querySelector('.xtick text')).fill")
        bar = tab.run("getComputedStyle(document.querySelector('.bars .point path')).fill")
        seen.append((body, text, bar))
        assert contrast(body, text) >= 7
        assert contrast(body, bar) >= 3
    assert all(light != dark for light, dark in zip(*seen, strict=True))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two CSS colours (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_headings_sort_the_table(tab: Tab, page: Path, report: Report) -> None:
    tab.open(page, width=1280)
    table = "document.querySelectorAll('#s5 ~ .card table')[0]"
    column = [h.strip() for h in tab.run(f"[...{table}.tHead.rows[0].cells].map(c => c.textContent)")].index("energy")

    def click() -> list[str]:
        tab.run(f"{table}.tHead.rows[0].cells[{column}].querySelector('button').click()")
        found: list[str] = tab.run(f"[...{table}.tBodies[0].rows].map(r => r.cells[0].textContent)")
        return found

    names = [row.name for row in sorted(report.operators, key=lambda row: -row.energy_J)]
    assert click() == names
    assert click() == names[::-1]


@pytest.fixture(scope="module")
def mapped() -> Report:
    """A run with a mapping of the mapper's own."""
    return simulate(load_architecture("edge_npu"), load_model("gpt2", phase="prefill", seq=32), record=500)


@pytest.fixture(scope="module")
def mapped_page(mapped: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mapped.to_html(tmp_path_factory.mktemp("html") / "mapped.html")


def chosen(tab: Tab) -> list[list[str]]:
    """Names of the operators whose rows, loop nests and slices are marked."""
    slices = """[...new Set([...document.getElementById(TIMELINE).data].flatMap(t =>
      typeof t.marker.opacity === "object" ? t.customdata.filter((_, i) => t.marker.opacity[i] === 1) : []))]"""
    found: list[list[str]] = tab.run(
        f"""[[...document.querySelectorAll("tr.chosen[aria-current]")].map(r => r.dataset.op),
        [...document.querySelectorAll("details.chosen[open]")].map(d => d.dataset.op),
        {slices.replace("TIMELINE", repr(timeline_id(tab)))}]"""
    )
    return found


def timeline_id(tab: Tab) -> str:
    found: str = tab.run(
        """[...document.querySelectorAll(".card")].find(c => c.querySelector("h3")?.textContent === "What ran when")
        .querySelector(".chart").id"""
    )
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_mapped_page_opens_cleanly(tab: Tab, mapped_page: Path, mapped: Report, width: int) -> None:
    tab.open(mapped_page, width=width)
    assert tab.errors == []
    assert tab.run("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    assert tab.count("details[data-op]") == len(mapped.operators)
    assert tab.count("tr[data-op]") == len(mapped.operators)
    for memory, kinds in (("dram", {"weight", "output"}), ("sram", {"buffers"})):
        legend = tab.run(
            f"""[...document.querySelectorAll(".card")].find(c => c.querySelector("h3")?.textContent === "In {memory}")
            .querySelectorAll(".legendtext").values().map(t => t.textContent).toArray()"""
        )
        assert kinds <= set(legend)
        assert marks(tab, f"In {memory}", ".scatterlayer path.js-line") == len(legend)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_row_marks_its_slices_and_loop_nest(tab: Tab, mapped_page: Path, mapped: Report, width: int) -> None:
    tab.open(mapped_page, width=width)
    assert chosen(tab) == [[], [], []]
    operators = tab.run("[...document.querySelectorAll('tr[data-op]')].map(r => r.dataset.op)")
    drawn = tab.run(f"[...document.getElementById({timeline_id(tab)!r}).data].flatMap(t => t.customdata)")
    wanted = next(o for o in operators if o in drawn)
    row = f"[...document.querySelectorAll('tr[data-op]')].find(r => r.dataset.op === {wanted!r})"
    tab.run(f"{row}.click()")
    tab.settle()
    assert chosen(tab) == [[wanted], [wanted], [wanted]]
    assert tab.run("document.querySelector('#chosen strong').textContent") == wanted
    faint = tab.run(
        f"""[...document.querySelectorAll("#" + {timeline_id(tab)!r} + " .bars .point path")]
        .filter(p => Number(p.style.opacity || 1) < 0.5).length"""
    )
    assert faint == len([o for o in drawn if o != wanted])
    tab.run(f"{row}.click()")
    tab.settle()
    assert chosen(tab) == [[], [], []]
    assert tab.run("document.querySelector('#chosen').hidden")
    assert tab.errors == []


def test_rows_are_chosen_by_keyboard(tab: Tab, mapped_page: Path) -> None:
    tab.open(mapped_page, width=1280)
    operators = tab.run("[...document.querySelectorAll('tr[data-op]')].map(r => r.dataset.op)")
    tab.run("document.querySelector('tr[data-op]').focus()")
    tab.press("ArrowDown")
    tab.press("Enter")
    assert chosen(tab)[:2] == [[operators[1]], [operators[1]]]
    tab.press("ArrowUp")
    tab.press(" ")
    assert chosen(tab)[:2] == [[operators[0]], [operators[0]]]
    tab.press("Escape")
    assert chosen(tab) == [[], [], []]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_slice_chooses_its_operator(tab: Tab, mapped_page: Path, width: int) -> None:
    """A real click on the widest bar; `clear` undoes it."""
    tab.open(mapped_page, width=width)
    chart = timeline_id(tab)
    tab.run(f"document.getElementById({chart!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
    x, y, trace, point = tab.run(
        f"""[...document.querySelectorAll("#" + {chart!r} + " .trace.bars")].flatMap((t, k) =>
          [...t.querySelectorAll(".point path")].map((p, i) => [p.getBoundingClientRect(), k, i]))
        .sort((a, b) => b[0].width - a[0].width).map(([r, k, i]) => [r.x + r.width / 2, r.y + r.height / 2, k, i])[0]"""
    )
    wanted = tab.run(f"document.getElementById({chart!r}).data[{trace}].customdata[{point}]")
    tab.click(x, y)
    assert chosen(tab) == [[wanted], [wanted], [wanted]]
    tab.run("document.querySelector('#chosen button').click()")
    assert chosen(tab)[:2] == [[], []]
    assert tab.errors == []


def test_a_mapping_of_something_else_has_no_loop_nests(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "Loop nests" not in text
    assert "Memory occupancy" not in text


def test_report_without_slices_has_no_timeline(report: Report, tmp_path: Path) -> None:
    bare = replace(report, trace=replace(report.trace, slices=None))
    text = bare.to_html(tmp_path / "bare.html").read_text()
    assert "What ran when" not in text
    assert "Roofline" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_study_page_opens_cleanly(tab: Tab, study_page: Path, width: int) -> None:
    tab.open(study_page, width=width)
    assert tab.errors == []
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run("document.title") == tab.run("document.querySelector('h1').textContent") == "A <study> & more"


def test_study_page_draws_every_point(tab: Tab, study_page: Path) -> None:
    tab.open(study_page, width=1280)
    n = len(points())
    assert marks(tab, "cycles and energy_J", ".point") == n
    assert marks(tab, "Parameters and objectives", ".scatterlayer path.js-line") == n
    assert marks(tab, "cycles by rows", ".point") == n + 3
    assert marks(tab, "energy_J by dataflow", ".point") == n + 2
    assert tab.count("tr.marked") == 3
    assert tab.run("document.querySelectorAll('table')[0].tBodies[0].rows.length") == n
    assert tab.run("document.querySelectorAll('table')[0].tBodies[0].rows[0].classList.contains('marked')")
    assert "does not <fit>" in tab.run("document.querySelectorAll('table')[1].textContent")


def test_study_page_caps_what_it_draws(tab: Tab, tmp_path: Path) -> None:
    many = pandas.DataFrame(
        {"a": range(3000), "t": [float(3000 - i) for i in range(3000)], "e": [1.0 + i for i in range(3000)]}
    )
    path = tmp_path / "many.html"
    path.write_text(study(table=many, parameters=["a"], objectives=["t", "e"], pareto=[2999, 0]), encoding="utf-8")
    tab.open(path, width=1280)
    assert tab.errors == []
    assert 300 <= marks(tab, "Parameters and objectives", ".scatterlayer path.js-line") <= 400
    assert tab.run("document.querySelectorAll('table')[0].tBodies[0].rows.length") == 1000
    assert tab.count("tr.marked") == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"failed": None, "notes": [], "pareto": []},
        {"objectives": ["cycles"], "pareto": [5]},
        {"table": points().iloc[:0], "pareto": []},
        {"table": points().assign(cycles=float("nan")), "pareto": []},
        {"table": points().assign(rows=True), "pareto": [0]},
    ],
    ids=["bare", "one objective", "no points", "no values", "one value"],
)
def test_study_page_of_little(tab: Tab, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "little.html"
    path.write_text(study(**changes), encoding="utf-8")
    tab.open(path, width=1280)
    assert tab.errors == []
    assert tab.run("document.querySelectorAll('h2').length") >= 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"objectives": ["speed"]}, "no column 'speed'.*rows, dataflow, cycles"), ({"pareto": [6]}, "position 6.*0 to 5")],
)
def test_study_page_refuses_what_is_not_there(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        study(**changes)


def test_page_is_self_contained(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    head = text[: text.index("<script")]
    assert text.count("plotly.js v") == 1
    assert not re.findall(r'(?:src|href)="(?!#|data:)', head)
    assert "<link" not in head.replace('<link rel="icon" href="data:,">', "")


def test_page_without_charts_needs_no_script_of_charts() -> None:
    page = Page("plain")
    page.section("Only a table")
    page.table([Column("a"), Column("b", unit="B")], [["<x>", 2048], ["y", None]])
    text = page.render()
    assert len(text) < 20_000
    assert "&lt;x&gt;" in text
    assert "2.048 kB" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"), (2.5e-6, "s", "2.5 µs"), (999.96, "W", "1 kW"), (12, "B", "12 B"), (1536, "B", "1.536 kB"),
        (3.2e12, "op/s", "3.2 Top/s"), (5e-18, "J", "0.005 fJ"), (float("inf"), "s", "∞"),
    ],
)  # fmt: skip
def test_si(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"), (0.5, "0.5000"), (1234.567, "1,235"), (1e-9, "1.000e-09"), (1e6 + 0.4, "1,000,000"),
        (2e20, "2.000e+20"),
    ],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text
