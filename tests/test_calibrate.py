"""Calibration recovers the constants that made a table, refuses tables that cannot tell them, and writes a machine."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelsim.arch.loader import load_architecture, load_spec
from accelsim.cli.app import app
from accelsim.cli.calibrate import _text
from accelsim.errors import BadInput, SpecError
from accelsim.experiments.loader import data_path
from accelsim.study.calibrate import (
    NOMINAL,
    Calibration,
    Constants,
    Errors,
    Predictor,
    Roofline,
    calibrate,
    relative_error,
    variant_values,
    variant_yaml,
)
from accelsim.study.operator_shapes import OPERATORS, Measured, OperatorShape, read_measured

TRUE = Constants(0.7, 0.8, 5e-6)
SHAPES = (
    OperatorShape("matmul", 1, 4096, 4096),
    OperatorShape("matmul", 8, 512, 512),
    OperatorShape("matmul", 32, 8192, 4096),
    OperatorShape("matmul", 2048, 4096, 4096),
    OperatorShape("matmul", 4096, 8192, 1024),
)
COMPUTE, MEMORY = SHAPES[3:], SHAPES[:3]


def made(time: Predictor | Roofline, shapes: tuple[OperatorShape, ...] = SHAPES) -> list[Measured]:
    return [Measured(s, time(s, TRUE) + TRUE.launch_s) for s in shapes]


def assert_recovered(found: Calibration) -> None:
    assert found.constants.compute == pytest.approx(TRUE.compute, rel=0.01)
    assert found.constants.memory == pytest.approx(TRUE.memory, rel=0.01)
    assert found.constants.launch_s == pytest.approx(TRUE.launch_s, rel=0.03)
    assert max(map(abs, found.fitted)) < 0.01


def test_simulated_latencies_give_their_constants_back() -> None:
    time = Predictor(load_spec("a100_80gb"))
    found = calibrate(made(time), time)
    assert_recovered(found)
    assert found.compute_bound == COMPUTE
    assert SHAPES[0] in found.memory_bound and SHAPES[2] in found.memory_bound


def test_a_roofline_gives_its_constants_back_and_is_the_closed_form() -> None:
    time = Roofline(load_spec("a100_80gb"))
    assert_recovered(calibrate(made(time), time))
    m, n, k = 2048, 4096, 4096
    peak, bandwidth = 108 * 32 * 32 * 1.41e9, 2039e9
    nbytes = 2 * (m * k + k * n + m * n)
    expected = max(m * n * k / peak / 0.7, nbytes / bandwidth / 0.8)
    assert time(OperatorShape("matmul", m, n, k), TRUE) == pytest.approx(expected)


def test_a_machine_that_keeps_its_clock_gives_its_constants_back() -> None:
    spec = load_spec(data_path("accelsim.experiments.llm_validation", "a100_kernels.yaml"))
    values = variant_values(spec, TRUE)
    assert values == {"units.sm.sustained": "0.7", "memories.hbm.bandwidth": f"{round(2039e9 * 0.8)} B/s"}
    time = Predictor(spec)
    assert time.keeps_clock and not Predictor(load_spec("a100_80gb")).keeps_clock
    assert_recovered(calibrate(made(time), time, leave_out=False))


def test_left_out_rows_tell_a_wrong_one() -> None:
    time = Roofline(load_spec("a100_80gb"))
    rows = made(time)
    rows[2] = Measured(rows[2].shape, rows[2].seconds * 2)
    found = calibrate(rows, time)
    assert calibrate(rows, time, leave_out=False) == replace(found, left_out=())
    assert found.left_out[2] < -0.4
    assert abs(found.left_out[2]) > abs(found.fitted[2])


@pytest.mark.parametrize(("shapes", "missing"), [
    ((*COMPUTE, OperatorShape("matmul", 4096, 4096, 4096), OperatorShape("matmul", 8192, 4096, 4096)), "memory"),
    ((*MEMORY, OperatorShape("add", 4096, 4096)), "compute"),
])  # fmt: skip
def test_one_regime_alone_is_refused(shapes: tuple[OperatorShape, ...], missing: str) -> None:
    time = Roofline(load_spec("a100_80gb"))
    with pytest.raises(BadInput, match=f"none is decided by {missing}"):
        calibrate(made(time, shapes), time)


def test_too_few_rows_are_refused() -> None:
    time = Roofline(load_spec("a100_80gb"))
    with pytest.raises(BadInput, match="at least 4"):
        calibrate(made(time, SHAPES[:3]), time)


def test_constants_stay_within_physical_limits() -> None:
    time = Roofline(load_spec("a100_80gb"))
    fast = [Measured(s, time(s, NOMINAL) / 2) for s in SHAPES]
    found = calibrate(fast, time).constants
    assert found == Constants(1.0, 1.0, 0.0)


def test_clock_and_bandwidth_of_a_variant_and_what_they_cost(tmp_path: Path) -> None:
    spec = load_spec("a100_80gb")
    values = variant_values(spec, TRUE)
    assert values == {"clock": f"{round(1.41e9 * 0.7)} Hz", "memories.hbm.bandwidth": f"{round(2039e9 * 0.8)} B/s"}
    out = tmp_path / "mine.yaml"
    out.write_text(variant_yaml("a100_80gb", out, "mine", TRUE), encoding="utf-8")
    arch = load_architecture(out)
    assert arch.clock == pytest.approx(1.41e9 * 0.7)
    again = Predictor(load_spec(out))
    assert again(SHAPES[0], NOMINAL) == pytest.approx(Predictor(spec)(SHAPES[0], TRUE))


def test_a_variant_of_a_file_finds_it_from_another_folder(tmp_path: Path) -> None:
    base, out = tmp_path / "a: machine #1.yaml", tmp_path / "deeper" / "mine.yaml"
    base.write_text("name: base\nextends: a100_80gb\nclock: 1 GHz\n", encoding="utf-8")
    out.parent.mkdir()
    out.write_text(variant_yaml(str(base), out, "mine", TRUE), encoding="utf-8")
    assert load_architecture(out).clock == 0.7e9


def test_ports_on_the_chip_in_bytes_per_second_follow_the_clock() -> None:
    values = variant_values(load_spec("tpu_v4"), TRUE)
    on_chip = [k for k in values if k.startswith("memories.") and not k.startswith("memories.hbm")]
    arch, slow = (load_spec("tpu_v4").with_values(v).build() for v in ({}, values))
    assert on_chip
    for key in on_chip:
        _, name, rate = key.split(".")
        assert getattr(slow.memories[name], rate) == pytest.approx(0.7 * getattr(arch.memories[name], rate))


def test_errors_are_those_of_their_definition() -> None:
    found = Errors.of([-0.1, 0.2, 0.3])
    assert (found.count, found.median, found.maximum) == (3, 0.2, 0.3)
    assert (found.mean, found.p95) == pytest.approx((0.2, 0.29))
    row = Measured(SHAPES[0], 2e-3)
    assert relative_error(lambda s, c: 1e-3, row, Constants(1, 1, 5e-4)) == pytest.approx(-0.25)


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_operators_move_their_compulsory_bytes_at_least(operator: str) -> None:
    shape = OperatorShape(operator, 256, 1024, 512 if operator == "matmul" else 0)
    spec = load_spec("a100_80gb")
    assert Predictor(spec)(shape, NOMINAL) >= Roofline(spec)(shape, NOMINAL) * (1 - 1e-9)


def test_products_alike_read_both_operands_each() -> None:
    shape = OperatorShape("matmul", 8, 16, 32, batch=4)
    workload = shape.workload()
    assert workload.macs == 4 * 8 * 16 * 32
    time = Roofline(load_spec("a100_80gb").with_values({"memories.hbm.bandwidth": "1 MB/s"}))
    assert time(shape, NOMINAL) == pytest.approx(4 * 2 * (8 * 32 + 32 * 16 + 8 * 16) / 1e6)


TABLE = "operator,m,n,k,latency_ms,use\nmatmul,1,4096,4096,0.02,fit\nadd,8,4096,,0.002,held\n"


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TABLE, encoding="utf-8")
    assert read_measured(path) == (
        Measured(SHAPES[0], 0.02 / 1e3), Measured(OperatorShape("add", 8, 4096), 0.002 / 1e3, False)
    )  # fmt: skip


@pytest.mark.parametrize(("row", "said"), [
    ("matmull,1,2,3,1,", "no operator 'matmull'"),
    ("matmul,0,2,3,1,", "m is '0'"),
    ("matmul,1,2,,1,", "k is ''"),
    ("matmul,1,2,3,-1,", "latency_ms is '-1'"),
    ("matmul,1,2,3,nan,", "latency_ms is 'nan'"),
    ("matmul,1,2,3,1,maybe", "use is 'maybe'"),
])  # fmt: skip
def test_bad_rows_are_told_by_line(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TABLE + row + "\n", encoding="utf-8")
    with pytest.raises(SpecError, match=said) as error:
        read_measured(path)
    assert ":4: " in str(error.value)


def test_the_command_writes_a_machine(tmp_path: Path) -> None:
    time = Predictor(load_spec("a100_80gb"))
    table, out = tmp_path / "t.csv", tmp_path / "fitted.yaml"
    lines = [f"matmul,{r.shape.m},{r.shape.n},{r.shape.k},{r.seconds * 1e3!r},fit" for r in made(time)]
    table.write_text("operator,m,n,k,latency_ms,use\n" + "\n".join(lines) + "\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["calibrate", "a100_80gb", str(table), "--json", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    assert told["constants"]["compute"] == pytest.approx(TRUE.compute, rel=0.01)
    assert told["errors"]["fit"]["maximum"] < 0.01 < told["errors"]["uncalibrated"]["mean"]
    assert load_architecture(out).clock == pytest.approx(1.41e9 * told["constants"]["compute"], rel=1e-3)


def test_the_command_refuses_a_bad_table(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("operator,m,n\nmatmul,1,2\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["calibrate", "a100_80gb", str(table)])
    assert ran.exit_code == 2
    assert "no column 'latency_ms'" in ran.output




@pytest.mark.parametrize(("both", "said"), [(0, "by memory; 1 held"), (2, "by memory (2 by both); 1 held")])
def test_rows_bound_by_both_are_counted(both: int, said: str) -> None:
    rows = {"fit": 4, "held": 1, "compute_bound": 3, "memory_bound": 1 + both, "bound_by_both": both}
    told = {"machine": "m", "constants": asdict(NOMINAL), "rows": rows, "errors": {}, "roofline": {}}
    assert said in _text(told, "")
