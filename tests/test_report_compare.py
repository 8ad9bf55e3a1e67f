"""Two Reports compared: parts that add up to the difference, limits that move, files that are no reports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.sample_report import CLOCK, sample
from typer.testing import CliRunner

from accelsim.cli.app import app
from accelsim.errors import BadInput
from accelsim.report import Report, compare_files, compare_reports, make_report, print_comparison
from accelsim.report.comparison import LEAKAGE, NO_OPERATOR


def report_json(cycles: float = 100.0, energy: float = 10.0, leakage: float = 0.0, *rows: tuple[Any, ...]) -> Any:
    """A report of operators (name, cycles, energy, limit), at one cycle a second."""
    operators = [{"name": n, "kind": f"kind of {n}", "cycles": c, "energy_J": e, "limit": x} for n, c, e, x in rows]
    return {
        "name": "model on machine", "bottleneck": "Nothing ran.", "cycles": cycles, "latency_s": cycles,
        "energy_J": energy, "energy_leakage_J": leakage, "operators": operators,
    }  # fmt: skip


A = report_json(100, 10, 0, ("x", 60, 7, "dram"), ("y", 30, 2, "array"), ("gone", 10, 1, "array"))
B = report_json(130, 14, 2, ("x", 60, 7, "array"), ("y", 50, 3, "array"), ("new", 20, 2, "dram"))


def test_by_hand() -> None:
    found = compare_reports(A, B)
    rows = {r.name: r for r in found.operators}
    assert found.latency_s.difference == 30
    assert {n: (r.where, float(r.latency_s.difference), float(r.energy_J.difference)) for n, r in rows.items()} == {
        "x": ("both", 0, 0), "y": ("both", 20, 1), "gone": ("a", -10, -1), "new": ("b", 20, 2), LEAKAGE: ("b", 0, 2),
    }  # fmt: skip
    assert [r.name for r in found.operators] == ["new", "y", "gone", LEAKAGE, "x"]
    assert [r.name for r in found.limit_changed()] == ["x"]
    assert rows["y"].latency_s.share_of(found.latency_s) == 20 / 30
    assert {n: (float(p.a), float(p.b)) for n, p in found.resources.items()} == {"array": (40, 110), "dram": (60, 20)}


amounts = st.floats(0, 1e12, allow_nan=False)
names = st.lists(st.sampled_from("abcdefgh"), unique=True)


@st.composite
def reports(draw: st.DrawFn) -> Any:
    """Totals that are the sum of the operators as floating point has it, or anything at all."""
    limits = st.sampled_from(("dram", "array", ""))
    rows = [(n, draw(amounts), draw(amounts), draw(limits)) for n in draw(names)]
    leakage = draw(st.one_of(st.just(0.0), amounts))
    consistent = draw(st.booleans())
    cycles = sum(r[1] for r in rows) if consistent else draw(amounts)
    energy = sum(r[2] for r in rows) + leakage if consistent else draw(amounts)
    return report_json(cycles, energy, leakage, *rows)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(reports(), reports())
def test_parts_add_up_exactly(a: Any, b: Any) -> None:
    found = compare_reports(a, b)
    for side in ("a", "b"):
        data = a if side == "a" else b
        assert sum(getattr(r.latency_s, side) for r in found.operators) == Fraction(data["latency_s"])
        assert sum(getattr(r.energy_J, side) for r in found.operators) == Fraction(data["energy_J"])
        assert sum(getattr(p, side) for p in found.resources.values()) == Fraction(data["latency_s"])
    assert sum(r.latency_s.difference for r in found.operators) == found.latency_s.difference
    assert sum(r.energy_J.difference for r in found.operators) == found.energy_J.difference


@settings(deadline=None, derandomize=True, max_examples=50)
@given(reports(), reports())
def test_the_other_way_round_changes_signs(a: Any, b: Any) -> None:
    there, back = compare_reports(a, b), compare_reports(b, a)
    assert {r.name: r.latency_s.difference for r in there.operators} == {
        r.name: -r.latency_s.difference for r in back.operators
    }
    assert not any(r.latency_s.difference or r.energy_J.difference for r in compare_reports(a, a).operators)
    assert not compare_reports(a, a).limit_changed()


def test_what_no_operator_accounts_for_has_its_row() -> None:
    found = compare_reports(A, report_json(500, 10))
    (row,) = [r for r in found.operators if r.name == NO_OPERATOR]
    assert (float(row.latency_s.b), float(row.energy_J.b), row.where) == (500, 10, "b")


def runs() -> tuple[Report, Report]:
    """The sample at its clock and at half of it."""
    one, other = sample(), sample(clock=CLOCK / 2)
    fast, slow = (make_report(s.arch, s.workload, s.mapping, s.program, s.trace) for s in (one, other))
    return fast, slow


def test_reports_and_their_json_compare_alike() -> None:
    fast, slow = runs()
    found = compare_reports(fast, slow)
    assert found == compare_reports(fast.to_json(), json.loads(json.dumps(slow.to_json())))
    for row in found.operators:  # half the clock: every share twice as long
        assert float(row.latency_s.b) == pytest.approx(2 * float(row.latency_s.a), rel=1e-12)
    assert found.energy_J.difference == 0
    assert NO_OPERATOR not in {r.name for r in found.operators}


def test_text_holds_the_figures() -> None:
    def text(a: Any, b: Any) -> str:
        out = io.StringIO()
        print_comparison(compare_reports(a, b), Console(file=out, width=100))
        return out.getvalue()

    told = text(A, B)
    for expected in ("+30 s", "66.7 %", "kind of y", "A alone", "x: limited by array, in A by dram", "-40 s"):
        assert expected in told
    assert max(len(line) for line in told.splitlines()) <= 100
    assert "By operator" not in text(A, A)
    assert "[red]" in text(A, report_json(10, 1, 0, ("[red]", 10, 1, "dram")))


def test_command(tmp_path: Path) -> None:
    for name, report in zip(("a.json", "b.json"), runs(), strict=True):
        (tmp_path / name).write_text(json.dumps(report.to_json()), encoding="utf-8")
    files = [str(tmp_path / n) for n in ("a.json", "b.json")]
    ran = CliRunner().invoke(app, ["compare", *files, "--json"])
    assert ran.exit_code == 0
    told = json.loads(ran.stdout)
    assert told == compare_files(*files).to_json()
    for key in ("latency_s", "energy_J"):
        total = sum(row[key]["difference"] for row in told["operators"])
        assert total == pytest.approx(told[key]["difference"], rel=1e-12, abs=1e-30)
    assert sum(row["latency_s"]["share"] for row in told["operators"]) == pytest.approx(1, rel=1e-12)
    assert "By operator" in CliRunner().invoke(app, ["compare", *files]).stdout


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in A.items() if k != key}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", ":1: is not JSON"),
        ("\udcff", "is not text"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "object is wanted, not list"),
        ('{"cycles": 1, "cycles": 1}', "key 'cycles' is given twice; remove one; give a file that"),
        (json.dumps(without("cycles")), "`cycles` is missing"),
        (json.dumps(without("operators")), "`operators` is missing"),
        (json.dumps({**A, "operators": [1]}), r"`operators\[0\]` is no object"),
        (json.dumps({**A, "latency_s": None}), "`latency_s` is missing or no number"),
        (json.dumps({**A, "energy_J": -1}), "`energy_J` is missing or no number from 0 on"),
        (json.dumps({**A, "energy_J": float("nan")}), "`energy_J` is missing or no number"),
        (json.dumps({**A, "operators": [*A["operators"], A["operators"][0]]}), "name of another, x"),
        (json.dumps({**A, "operators": [{"name": "x"}]}), r"`operators\[0\].kind` is missing"),
    ],
    ids=lambda value: value[:20],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(A), encoding="utf-8")
    bad.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=message) as caught:
        compare_files(good, bad)
    assert str(bad) in str(caught.value)
    ran = CliRunner().invoke(app, ["compare", str(good), str(bad)])
    assert ran.exit_code == 2
    assert ran.stderr.count("\n") == 1


def test_missing_file(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path)])
    assert ran.exit_code == 2
    assert "a.json: cannot read" in ran.stderr


def test_a_report_that_is_none_names_its_side() -> None:
    with pytest.raises(BadInput, match="the second report: is not a report"):
        compare_reports(A, replace(runs()[0], name=3))  # type: ignore[arg-type]
