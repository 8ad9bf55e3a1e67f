"""``accelsim sweep`` and ``accelsim study`` on the command line: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import evaluators
from support.cli import Ran, accelsim

from accelsim.study import Axis, Model, Status, Study, Sweep, run_sweep

GPT2 = ("gpt2", "--seq", 16, "--bits", 8)
ROWS = ("--axis", "arch.units.array.rows+arch.units.array.cols=8..16 step 8")


def parsed(ran: Ran) -> Any:
    assert ran.code == 0, ran.output
    return json.loads(ran.output)


def refused(ran: Ran, *messages: str) -> None:
    assert ran.code == 2, ran.output
    assert "Traceback" not in ran.output
    assert ran.output.count("error: ") == 1
    for message in messages:
        assert message in ran.output


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sweep of a real machine with everything the command line takes."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    told = parsed(
        accelsim("sweep", "edge_npu", *GPT2, *ROWS, "--axis", "arch.memories.sram.capacity=128 KiB..1 MiB log",
                 "--sample", "sobol:4:1", "--when", "capacity >= 128 KiB", "--derive", "edp=latency * energy",
                 "--constraint", "energy <= 1 J", "--pareto", "edp,-macs/latency", "--out", out, "--jobs", 0, "--json")
    )  # fmt: skip
    assert (told["points"], told["done"], told["feasible"]) == (4, 4, 4)
    return out


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Eighteen points, three of which do not fit, three failed and three crashed."""
    sweep = Sweep(("m",), (Model("w"),), (Axis.of("arch.a", list(range(1, 7))), Axis.of("arch.b", [10, 20, 30])),
                  name="made")  # fmt: skip
    folder = tmp_path / "made"
    run_sweep(sweep, folder, jobs=0, evaluate=evaluators.failing, identify=evaluators.identify)
    return folder


# -- sweep -----------------------------------------------------------------------------------------------------------


def test_the_options_of_a_sweep_reach_its_study(real: Path) -> None:
    study = Study.load(real)
    assert len(study.rows) == 4
    for row in study.table():
        assert row["edp"] == float(row["latency_s"]) * float(row["energy_J"])
        assert row["feasible"] is True
        assert row["arch.units.array.rows"] in (8, 16)
    assert "edp" in (real / "results.csv").read_text().splitlines()[0]


def test_a_sweep_in_which_no_point_is_feasible_ends_with_one(tmp_path: Path) -> None:
    ran = accelsim("sweep", "edge_npu", *GPT2, "--constraint", "energy <= 1 pJ", "--out", tmp_path, "--jobs", 0)
    assert ran.code == 1
    assert "0 of 1 points meet every constraint (energy <= 1 pJ: 0)." in ran.output


def test_failed_points_are_retried(tmp_path: Path) -> None:
    def run(*more: object) -> Any:
        return parsed(accelsim("sweep", "edge_npu", *GPT2, "--out", tmp_path, "--jobs", 0, "--json", *more))

    run()
    assert run("--retry-failed")["done"] == 1


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--constraint", "enrgy <= 3 mJ"], ["'enrgy <= 3 mJ', character 1", "did you mean 'energy_J'"]),
        (["--constraint", "energy <= 3 ms"], ["character 8: J beside s"]),
        (["--constraint", "energy"], ["is no condition", "energy"]),
        (["--derive", "edp"], ["--derive edp: write NAME=EXPRESSION"]),
        (["--derive", "edp=latency *"], ["'latency *', character 10"]),
        (["--pareto", "latncy"], ["no column 'latncy'", "latency_s"]),
        (["--pareto", " , "], ["--pareto needs an objective"]),
        (["--sample", "sobol"], ["--sample sobol: not a sample", "sobol:64"]),
        (["--sample", "sobel:4"], ["no method 'sobel'", "latin_hypercube"]),
        (["--sample", "sobol:4"], ["a sample without axes"]),
        (["--when", "rows > 2"], ["no column 'rows'"]),
        (["--axis", "model.seq=8..4 step 1"], ["`from` 8 is more than `to` 4"]),
        (["--axis", "model.seq=8..16"], ["has neither `step` nor `points`", "sample"]),
        (["--axis", "model.seq=8,16", "--when", "seq > 99"], ["no point is left", "seq > 99"]),
    ],
)
def test_wrong_sweeps(options: list[str], messages: list[str], tmp_path: Path) -> None:
    refused(accelsim("sweep", "edge_npu", "gpt2", "--bits", 8, *options, "--out", tmp_path / "out"), *messages)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("option", ["--constraint", "--derive", "--when", "--sample"])
def test_a_sweep_file_has_its_own(option: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("arch: edge_npu\nmodels: gpt2\n")
    refused(accelsim("sweep", file, option, "x=1", "--out", tmp_path / "out"), "a sweep file has its own")


# -- study -----------------------------------------------------------------------------------------------------------


def test_ls_finds_studies_and_tells_broken_ones(made: Path, real: Path) -> None:
    (made.parent / "broken").mkdir()
    (made.parent / "broken" / "study.sqlite").write_bytes(b"nothing")
    told = parsed(accelsim("study", "ls", made.parent, real, "--json"))
    assert [one["study"] for one in told] == [str(made.parent / "broken"), str(made), str(real)]
    assert "not a study" in told[0]["error"]
    assert (told[1]["points"], told[1]["done"], told[1]["objective"]) == (18, 9, "latency_s")
    assert told[1]["best"] == 1000 / 6 + 10
    assert told[2]["objective"] == "edp"
    assert accelsim("study", "ls", made.parent).code == 0
    (made.parent / "empty").mkdir()
    assert "no study here" in accelsim("study", "ls", made.parent / "empty").output


def test_show_tells_what_a_study_holds(made: Path) -> None:
    told = parsed(accelsim("study", "show", made, "--top", 2, "--json"))
    assert (told["points"], told["done"], told["does not fit"], told["failed"], told["crashed"]) == (18, 9, 3, 3, 3)
    assert [(row["point"], row["arch.a"], row["arch.b"]) for row in told["best"]] == [(15, 6, 10), (16, 6, 20)]
    output = accelsim("study", "show", made).output
    assert "made: 18 points (9 done, 3 does not fit, 3 failed, 3 crashed)" in output
    assert "arch.b" in output and "10, 20, 30" in output


def test_show_one_point(made: Path, real: Path) -> None:
    told = parsed(accelsim("study", "show", made, "--point", 15, "--json"))
    assert told["latency_s"] == 1000 / 6 + 10
    assert "sram holds 1 B" in accelsim("study", "show", made, "--point", 0).output
    assert "edp" in accelsim("study", "show", real, "--point", 0).output
    refused(accelsim("study", "show", made, "--point", 18), "no point 18 (0 to 17)")


def test_where_keeps_the_numbers_of_points(made: Path) -> None:
    told = parsed(accelsim("study", "pareto", made, "--pareto", "latency", "--where", "arch.b == 20", "--json"))
    assert [row["point"] for row in told["pareto"]] == [16]
    assert parsed(accelsim("study", "show", made, "--where", "arch.b == 20", "--point", 16, "--json"))["arch.a"] == 6


def test_pareto_takes_other_objectives_and_constraints(made: Path) -> None:
    told = parsed(
        accelsim("study", "pareto", made, "--pareto", "edp,-energy", "--derive", "edp=latency * energy",
                 "--constraint", "energy <= 30 J", "--columns", "arch.a,edp", "--json")
    )  # fmt: skip
    study = Study.load(made).judged_by(
        objectives=["edp", "-energy"], derived=[("edp", "latency * energy")], constraints=["energy <= 30 J"]
    )
    assert {row["point"] for row in told["pareto"]} == set(study.pareto())
    assert all(set(row) == {"point", "arch.a", "edp"} for row in told["pareto"])
    assert accelsim("study", "pareto", made, "--constraint", "energy <= 1 J").code == 1
    assert "Pareto front by latency_s, energy_J: 3 of 9 points" in accelsim("study", "pareto", made).output


def test_compare_points_and_studies(made: Path, tmp_path: Path) -> None:
    told = parsed(accelsim("study", "compare", f"{made}:15", f"{made}:16", "--json"))
    assert told["settings"] == [{"column": "arch.b", "before": 10, "after": 20, "whole": "", "part": None}]
    assert {c["column"] for c in told["results"]} == {"latency_s", "energy_J"}
    assert "settings that differ" in accelsim("study", "compare", f"{made}:15", ":16").output
    other = tmp_path / "other"
    sweep = Sweep(("m",), (Model("w"),), (Axis.of("arch.a", [5, 6]), Axis.of("arch.b", [10, 20])), name="other")
    run_sweep(sweep, other, jobs=0, evaluate=evaluators.arithmetic, identify=evaluators.identify)
    told = parsed(accelsim("study", "compare", made, other, "--json"))
    assert (told["pairs"], told["only_first"], told["only_second"], told["columns"]) == (4, 14, 0, [])
    assert "All results are the same." in accelsim("study", "compare", made, other).output


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_export(suffix: str, made: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / f"points.{suffix}"
    ran = accelsim("study", "export", made, "--out", file, "--where", "status == 'done'")
    assert (ran.code, ran.output) == (0, f"9 points: {file}\n")
    assert len(file.read_text().splitlines()) == 10 if suffix == "csv" else len(json.loads(file.read_text())) == 9
    accelsim("study", "export", made, "--out", file, "--front", "--columns", "arch.a")
    front = file.read_text()
    assert front == ("arch.a\n4\n5\n6\n" if suffix == "csv" else '[{"arch.a": 4}, {"arch.a": 5}, {"arch.a": 6}]')


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["ls", "{}/none"], ["none: no such folder"]),
        (["show", "{}/none"], ["no study here"]),
        (["pareto", "{}/made", "--pareto", "cost"], ["objective 'cost', character 1: no column 'cost'"]),
        (["pareto", "{}/made", "--pareto", "bottleneck"], ["no column of numbers 'bottleneck'"]),
        (["pareto", "{}/made", "--where", "arch.a > 99"], ["--where arch.a > 99: holds at no point"]),
        (["pareto", "{}/made", "--where", "arch.a >"], ["'arch.a >', character 9"]),
        (["pareto", "{}/made", "--columns", "latency"], ["no column 'latency' (did you mean 'latency_s'?)"]),
        (["compare", "{}/made", "{}/made:3"], ["give two studies or two points"]),
        (["compare", "{}/made:0", "{}/made:15"], ["point 0 of 'made' has no result (does not fit"]),
        (["compare", "{}/made:99", ":1"], ["has no point 99"]),
        (["export", "{}/made", "--out", "{}/x.xls"], ["'.xls' is no format to export to (.csv, .json, .parquet)"]),
        (["export", "{}/made", "--out", "{}/made/study.sqlite/x.csv"], ["cannot write here"]),
        (["export", "{}/made", "--out", "{}/x.csv", "--columns", "nothing"], ["no column 'nothing'"]),
        (["export", "{}/made", "--out", "{}/x.csv", "--derive", "x=1/"], ["'1/', character 3"]),
    ],
)
def test_what_is_refused(arguments: list[str], messages: list[str], made: Path) -> None:
    refused(accelsim("study", *[text.format(made.parent) for text in arguments]), *messages)
    assert [path.name for path in made.parent.iterdir()] == ["made"]


def test_help_names_every_command() -> None:
    told = accelsim("study", "--help").output
    assert all(command in told for command in ("ls", "show", "compare", "pareto", "export"))
    assert "study" in accelsim("--help").output


def test_statuses_have_their_words() -> None:
    assert [status.value for status in Status] == ["done", "does not fit", "failed", "crashed", "dominated"]
