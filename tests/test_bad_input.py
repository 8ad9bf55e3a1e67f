"""What users get wrong: one message that says what, where and what would be valid; the exit code; never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import Ran, accelsim

ROOT = Path(__file__).resolve().parent.parent
MACHINE = """\
name: small
clock: 1 GHz
memories:
  dram:
    kind: dram
    capacity: 1 GiB
    bandwidth: 10 GB/s
    standard: DDR4
  sram:
    kind: buffer
    parent: dram
    capacity: 256 KiB
    bandwidth: 64 B/cycle
units:
  array:
    kind: systolic
    memory: sram
    rows: 16
    cols: 16
  vector:
    kind: vector
    memory: sram
    lanes: 16
"""


def line_of(text: str) -> int:
    return 1 + MACHINE[: MACHINE.index(text)].count("\n")


def refused(ran: Ran, code: int, *messages: str) -> None:
    assert ran.code == code, ran.output
    assert "Traceback" not in ran.output
    assert "did not foresee" not in ran.output
    for message in messages:
        assert message in ran.output


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """Write the small machine with one piece of its text replaced."""

    def write(old: str = "", new: str = "") -> Path:
        assert old in MACHINE
        file = tmp_path / "small.yaml"
        file.write_text(MACHINE.replace(old, new, 1) if old else MACHINE)
        return file

    return write


def test_the_machine_itself_is_valid(machine: Callable[..., Path]) -> None:
    ran = accelsim("validate", machine())
    assert (ran.code, "machine 'small' with 2 memories, 2 units" in ran.output) == (0, True)


MACHINE_FAULTS = {
    "unknown key": ("    capacity: 256 KiB", "    capcity: 256 KiB", ["capcity", "capacity", "unknown key"]),
    "wrong unit": ("256 KiB", "256 GHz", ["`GHz` is not a unit", "16 MiB"]),
    "no unit": ("256 KiB", "262144", ["no unit"]),
    "ambiguous unit": ("256 KiB", "256 KB", ["KB", "KiB"]),
    "negative size": ("256 KiB", "-256 KiB", ["negative"]),
    "missing tier": ("parent: dram", "parent: hbm", ["hbm", "dram"]),
    "memory of a unit": ("memory: sram\n    lanes", "memory: cache\n    lanes", ["cache", "sram"]),
    "duplicate key": ("    capacity: 256 KiB", "    capacity: 256 KiB\n    capacity: 1 MiB", ["duplicate key"]),
    "unknown kind": ("kind: systolic", "kind: sistolic", ["sistolic", "systolic"]),
    "no clock": ("clock: 1 GHz\n", "", ["clock"]),
    "not YAML": ("memories:", "memories: [", ["not valid YAML"]),
    "latency beyond time": ("256 KiB", "256 KiB\n    latency: 1e30 s", ["memories.sram.latency", "too large"]),
}


@pytest.mark.parametrize("fault", MACHINE_FAULTS)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_wrong_machines(fault: str, command: str, machine: Callable[..., Path]) -> None:
    old, new, messages = MACHINE_FAULTS[fault]
    file = machine(old, new)
    ran = accelsim("validate", file) if command == "validate" else accelsim("run", file, "gpt2", "--seq", 16)
    refused(ran, 2, str(file), *messages)


def test_the_line_of_a_fault_is_told(machine: Callable[..., Path]) -> None:
    file = machine("256 KiB", "256 GHz")
    refused(accelsim("validate", file), 2, f"{file}:{line_of('    capacity: 256 KiB')}")


def test_every_fault_is_told_at_once(machine: Callable[..., Path]) -> None:
    file = machine("capacity: 256 KiB\n    bandwidth: 64 B/cycle", "capacity: 256 GHz\n    bandwith: 64 B/cycle")
    refused(accelsim("validate", file), 2, "`GHz` is not a unit", "bandwith")


def test_validate_looks_at_every_file(machine: Callable[..., Path], tmp_path: Path) -> None:
    ran = accelsim("validate", tmp_path / "absent.yaml", machine(), tmp_path / "missing.yaml")
    refused(ran, 2, "absent.yaml", "machine 'small'", "missing.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", ""), (b"\xff\xfe\x00\x01", ""), (b"- a list", "mapping"), (b"just text", "mapping")],
)
def test_files_that_hold_something_else(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_bytes(content)
    refused(accelsim("validate", file), 2, str(file), message)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("operators: {conv: {unit: array}}\ntensors: {w: sram}\n", "constraints on 1 operators and 1 tensors"),
        ("input: [3, 8, 8]\nlayers:\n- relu\n", "model 'other' of 1 Einsums"),
        ("ranks: {m: 4}\neinsums:\n- Z[m] = A[m] * B[m]\n", "model 'other' of 1 Einsums"),
        ((ROOT / "docs/examples/serving.yaml").read_text(), "a scenario, well formed"),
    ],
)
def test_files_beside_machines_are_told_by_their_keys(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(content)
    ran = accelsim("validate", file)
    assert (ran.code, told in ran.output) == (0, True), ran.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("operators: {conv: {unut: array}}\n", ":1: operators.conv: unknown key 'unut'"),
        ("input: [3, 8, 8]\nlayers:\n- reluu\n", "did you mean 'relu'"),
        ("ranks: {m: 4}\neinsums:\n- Z[m] = A[q]\n", "rank 'q' has no size"),
        ("model: gpt2\npolicy: {}\n", "missing key 'arrivals'"),
    ],
)
def test_faults_beside_machines_are_not_those_of_a_machine(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(content)
    ran = accelsim("validate", file)
    refused(ran, 2, message)
    assert "memories" not in ran.output


def test_a_folder_is_no_machine(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder.yaml", tmp_path / "folder2.yaml"
    folder.mkdir()
    other.mkdir()
    for command in (("validate", folder), ("run", folder, "gpt2"), ("run", "edge_npu", "gpt2", "--mapping", folder)):
        ran = accelsim(*command)
        refused(ran, 2, f"cannot read {folder}: Is a directory")
        assert "did you mean" not in ran.output  # neither itself nor another folder
    other.rmdir()
    other.write_text(MACHINE)
    refused(accelsim("validate", folder), 2, "did you mean `folder2.yaml`?")


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["tpu_lik", "gpt2"], ["no preset `tpu_lik`", "tpu_like"]),
        (["nowhere/machine.yaml", "gpt2"], ["cannot read nowhere/machine.yaml"]),
        (["edge_npu", "gpt3"], ["no model 'gpt3'", "gpt2"]),
        (["edge_npu", "nowhere/model.onnx"], ["nowhere/model.onnx"]),
        (["edge_npu", "onnx:resnet5"], ["resnet50"]),
        (["edge_npu", "onnx:resnet50", "--seq", "5"], ["no option 'seq'"]),
        (["edge_npu", "gpt2", "--bind", "N=1"], ["bind.N"]),
        (["edge_npu", "gpt2", "--bind", "N"], ["--bind N: write NAME=VALUE"]),
        (["edge_npu", "gpt2", "--phase", "training"], ["training", "prefill, decode", "training=cross"]),
        (["edge_npu", "gpt2", "--seq", "0"], ["--seq"]),
        (["edge_npu", "gpt2", "--seq", "4096"], ["1024"]),
        (["edge_npu", "gpt2", "--set", "memories.sram.capacty=1 MiB"], ["did you mean `memories.sram.capacity`"]),
        (["edge_npu", "gpt2", "--set", "memories.sram.capacity=-1 MiB"], ["negative"]),
        (["edge_npu", "gpt2", "--set", "memories.sram.capacity=1e23 GiB"], ["`1e23 GiB` is too large"]),
        (["edge_npu", "gpt2", "--set", "memories.sram.capacity"], ["write NAME=VALUE"]),
        (["edge_npu", "gpt2", "--mapper", "tyle"], ["no mapper 'tyle'", "tile"]),
        (["edge_npu", "gpt2", "--objective", "speed"], ["speed", "latency"]),
        (["edge_npu", "gpt2", "--mapping", "nowhere.yaml"], ["nowhere.yaml"]),
        (["edge_npu", "gpt2", "--constraints", "nowhere.yaml"], ["nowhere.yaml"]),
        (["edge_npu", "gpt2", "--mapping", "m.yaml", "--constraints", "c.yaml"], ["give one of them"]),
        (["edge_npu"], ["MODEL"]),
        (["edge_npu", "gpt2", "--colour"], ["--colour"]),
        (["edge_npu", ""], ["no model is named", ".onnx"]),
        (["edge_npu", "gpt2", "--option", "causal=maybe"], ["gpt2: causal=maybe (true or false)"]),
        (["edge_npu", "gpt2", "--option", "sliding_window=5"], ["gpt2: sliding_window=5 (true or false)"]),
        (["edge_npu", "gpt2", "--batch", 10**20], ["gpt2: batch=1", "from 1 to 1099511627776"]),
        (["edge_npu", "gpt2", "--seq", "32", "--option", "seq=16"], ["--option seq=16", "give one of them"]),
        (["edge_npu", "gpt2", "--context", "32"], ["--context 32", "--phase decode"]),
        (["edge_npu", "gpt2", "--phase", "decode", "--context", 32, "--seq", 8], ["--seq 8 beside --context 32"]),
        (["edge_npu", "gpt2", "--set", "clock=1 GHz", "--set", "arch.clock=2 GHz"], ["--set clock: is given twice"]),
        (["edge_npu", "attention_3pass", "--bind", "m=4", "--bind", "m=8"], ["--bind m: is given twice"]),
        (["edge_npu", "gpt2", "--seed", "-1"], ["--seed"]),
    ],
)
def test_wrong_runs(arguments: list[str], messages: list[str]) -> None:
    refused(accelsim("run", *arguments), 2, *messages)


def test_a_file_that_is_no_onnx(tmp_path: Path) -> None:
    file = tmp_path / "noise.onnx"
    file.write_bytes(b"this is no protocol buffer")
    refused(accelsim("run", "edge_npu", file), 2, str(file))


def dynamic_onnx(folder: Path) -> Path:
    """A MatMul with a free dimension N."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "free",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 32]),
         helper.make_tensor_value_info("w", TensorProto.FLOAT, [32, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 16])],
    )
    file = folder / "free.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), file)
    return file


def test_a_dimension_without_a_size(tmp_path: Path) -> None:
    file = dynamic_onnx(tmp_path)
    refused(accelsim("run", "edge_npu", file), 2, "'N'")
    assert accelsim("run", "edge_npu", file, "--bind", "N=8", "--json").code == 0


def test_a_model_larger_than_every_tier(machine: Callable[..., Path]) -> None:
    refused(accelsim("run", machine("1 GiB", "1 MiB"), "gpt2", "--seq", 16), 3, "dram")


# -- output paths ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--html", "--perfetto", "--save-mapping"])
def test_outputs_that_cannot_be_written_are_told_before_any_work(option: str, tmp_path: Path) -> None:
    """The machine does not exist either: that the output is named shows that it is looked at first."""
    (tmp_path / "file").write_text("")
    ran = accelsim("run", "no_such_machine", "gpt2", option, tmp_path / "file" / "out")
    refused(ran, 2, "cannot write here", str(tmp_path / "file"))
    refused(accelsim("run", "no_such_machine", "gpt2", option, tmp_path), 2, "is a folder")


@pytest.mark.parametrize("option", ["--html", "--perfetto", "--save-mapping"])
def test_an_output_does_not_overwrite_what_is_read(
    option: str, machine: Callable[..., Path], tmp_path: Path
) -> None:
    file, other = machine(), tmp_path / "link.yaml"
    other.symlink_to(file)
    message = "is read here and would be overwritten; give the output another name"
    refused(accelsim("run", file, "gpt2", option, other), 2, f"{other}: {message}")
    refused(accelsim("run", "no_such_machine", file, option, file), 2, f"{file}: {message}")
    refused(accelsim("run", "edge_npu", "gpt2", "--constraints", file, option, file), 2, f"{file}: {message}")
    refused(accelsim("phases", file, "gpt2", "--html", file), 2, f"{file}: {message}")
    refused(accelsim("serve", file, "--html", file), 2, f"{file}: {message}")
    refused(accelsim("calibrate", file, tmp_path / "t.csv", "--out", file), 2, f"{file}: {message}")
    assert file.read_text() == MACHINE


def test_two_outputs_in_one_file(tmp_path: Path) -> None:
    both = ("--html", tmp_path / "out", "--perfetto", tmp_path / "x" / ".." / "out")
    refused(accelsim("run", "no_such_machine", "gpt2", *both), 2, "two outputs", "out")


def test_a_folder_of_pipelines_is_looked_at_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = accelsim("pipeline", "no_such_cascade", "--save", tmp_path / "file")
    refused(ran, 2, "cannot write here", str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("option", "text", "messages"),
    [("--constraints", "operators: {nope: {unit: array}}", ["operators.nope", "no operator of the model"]),
     ("--mapping", "{workload: gpt2, architecture: edge_npu, root: {op: nope, unit: array, variant: os}}",
      ["no Einsum 'nope'"])],
)
def test_what_does_not_fit_the_model_names_its_file(
    option: str, text: str, messages: list[str], tmp_path: Path
) -> None:
    (tmp_path / "given.yaml").write_text(text)
    ran = accelsim("run", "edge_npu", "gpt2", "--seq", 8, option, tmp_path / "given.yaml")
    refused(ran, 2, f"{tmp_path / 'given.yaml'}: ", *messages)


def test_a_sweep_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(accelsim("sweep", "edge_npu", "gpt2", "--out", tmp_path / "file"), 2, "cannot write here")
    refused(accelsim("sweep", "edge_npu", "gpt2", "--out", tmp_path / "file" / "x"), 2, "cannot write here")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_sweep_into_a_folder_that_takes_no_files() -> None:
    refused(accelsim("sweep", "edge_npu", "gpt2", "--out", "/proc/accelsim"), 2, "/proc/accelsim: cannot write here")


# -- sweeps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["edge_npu", "gpt2", "--axis", "arch.memories.srm.capacity=1 MiB"], ["memories.sram.capacity"]),
        (["edge_npu", "gpt2", "--axis", "arch.memories.sram.capacity=-1 MiB"], ["negative"]),
        (["edge_npu", "gpt2", "--axis", "memories.sram.capacity=1 MiB"], ["no axis 'memories.sram.capacity'", "arch."]),
        (["edge_npu", "gpt2", "--axis", "model.length=3"], ["no axis 'model.length'", "seq"]),
        (["edge_npu", "gpt2", "--axis", "model.seq"], ["not an axis"]),
        (["edge_npu", "gpt2", "--axis", "model.seq=8,8"], ["lists a value twice"]),
        (["edge_npu", "gpt2", "--axis", "model.seq=many"], ["many", "whole number"]),
        (["edge_npu", "gpt2", "--axis", "mapper=tyle"], ["tyle"]),
        (["edge_npu", "gpt2", "--jobs", 10**9], ["1000000000 worker processes (from 0", "to 1024)"]),
        (["edge_npu", "gpt3"], ["no model 'gpt3'"]),
        (["edge_npu"], ["at least one model"]),
        (["nowhere.yaml"], ["cannot read nowhere.yaml"]),
    ],
)
def test_wrong_sweeps(arguments: list[str], messages: list[str], tmp_path: Path) -> None:
    refused(accelsim("sweep", *arguments, "--out", tmp_path / "out"), 2, *messages)
    assert not (tmp_path / "out" / "study.sqlite").exists()


SWEEP_FAULTS = {
    "unknown key": ("arch: edge_npu\nmodels: gpt2\naxis: []\n", ":3: axis: unknown key `axis` (did you mean `axes`?)"),
    "unknown axis": ("arch: edge_npu\nmodels: gpt2\naxes:\n- {array.rows: [1]}\n", ":4: axes.0: no axis 'array.rows'"),
    "no list": ("arch: edge_npu\nmodels: gpt2\naxes:\n- {seed: 1}\n", ":4: axes.0.seed: must be a list"),
    "tied": ("arch: edge_npu\nmodels: gpt2\naxes:\n- {seed: [1], model.seq: [1, 2]}\n", "seed has 1, model.seq has 2"),
    "model": ("arch: edge_npu\nmodels:\n- {seq: 3}\n", ":3: models.0: a model is a name"),
    "option": ("arch: edge_npu\nmodels:\n- {ref: gpt2, length: 3}\n", "no option 'length'"),
    "no machine": ("models: gpt2\naxes: []\n", "no machine"),
    "duplicate": ("arch: a\narch: b\nmodels: gpt2\n", "duplicate key"),
}


@pytest.mark.parametrize("fault", SWEEP_FAULTS)
def test_wrong_sweep_files(fault: str, tmp_path: Path) -> None:
    text, message = SWEEP_FAULTS[fault]
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    refused(accelsim("validate", file), 2, message)
    refused(accelsim("sweep", file, "--out", tmp_path / "out"), 2, message)


def test_axes_belong_in_a_sweep_file(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("arch: edge_npu\nmodels: gpt2\n")
    refused(accelsim("sweep", file, "--axis", "seed=1", "--out", tmp_path / "out"), 2, "a sweep file has its own axes")


# -- the rest --------------------------------------------------------------------------------------------------------


def test_unknown_experiments_and_sections() -> None:
    refused(accelsim("reproduce", "scalesim_calk"), 2, "no experiment 'scalesim_calk'", "scalesim")
    refused(accelsim("reproduce"), 2, "--list")
    refused(accelsim("list", "machine"), 2, "no section 'machine'", "machines")


def test_elasticity_loads_before_it_starts_workers() -> None:
    refused(accelsim("elasticity", "edge_npu", "gpt3"), 2, "error: no model 'gpt3'")
    refused(accelsim("elasticity", "edge_npo", "gpt2"), 2, "no preset `edge_npo`")


def test_an_unforeseen_error_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the unthinkable")

    monkeypatch.setattr("accelsim.study.evaluation.machine", broken)
    monkeypatch.delenv("ACCELSIM_DEBUG", raising=False)
    ran = accelsim("run", "edge_npu", "gpt2")
    assert ran.code == 70
    assert "RuntimeError: the unthinkable" in ran.output
    assert "ACCELSIM_DEBUG=1" in ran.output
    assert "Traceback" not in ran.output
    monkeypatch.setenv("ACCELSIM_DEBUG", "1")
    with pytest.raises(RuntimeError, match="the unthinkable"):
        accelsim("run", "edge_npu", "gpt2")


def test_messages_go_to_standard_error(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "accelsim", "run", "no_such_machine", "gpt2", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: ")
