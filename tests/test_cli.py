"""The command line: what others script against."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from support.cli import Ran, accelsim

import accelsim as package
from accelsim.arch.loader import preset_names
from accelsim.cli.cells import terminal
from accelsim.cli.errors import guarded
from accelsim.report import schema

GPT2 = ("gpt2", "--seq", 16, "--bits", 8)
CONTRACT = {
    "cycles", "latency_s", "energy_J", "macs", "traffic_bytes", "utilization", "bounds", "bottleneck", "operators",
    "provenance",
}


def parsed(ran: Ran) -> Any:
    assert ran.code == 0, ran.output
    return json.loads(ran.output)


# -- run -------------------------------------------------------------------------------------------------------------


def test_json_keeps_its_contract() -> None:
    told = parsed(accelsim("run", "edge_npu", *GPT2, "--json"))
    assert set(told) >= CONTRACT
    assert set(told) <= set(schema()["properties"])
    assert {"machine", "program"} <= set(told["bounds"])
    assert told["latency_s"] == pytest.approx(told["cycles"] / 1e9, rel=1e-12)
    assert 0 < told["bounds"]["machine"] <= told["cycles"]
    assert told["bounds"]["program"] <= told["cycles"]
    assert {"dram", "sram"} <= set(told["traffic_bytes"])
    assert set(told["traffic_bytes"]["dram"]) == {"read", "write"}


def test_json_is_what_the_library_gives() -> None:
    told = parsed(accelsim("run", "edge_npu", *GPT2, "--json"))
    arch, workload = package.load_architecture("edge_npu"), package.load_model("gpt2", seq=16, bits=8)
    report = package.simulate(arch, workload)
    assert told == json.loads(json.dumps(report.to_json()))
    assert told["macs"] == workload.macs


def test_table_names_latency_and_bottleneck() -> None:
    ran = accelsim("run", "edge_npu", *GPT2)
    assert ran.code == 0
    assert "limits" in ran.output
    assert "latency" in ran.output


def test_model_options_reach_the_importer() -> None:
    def macs(*options: object) -> int:
        return int(parsed(accelsim("run", "edge_npu", "gpt2", "--bits", 8, *options, "--json"))["macs"])

    assert macs("--seq", 16, "--batch", 2) == 2 * macs("--seq", 16)
    decode = package.load_model("gpt2", phase="decode", context=64, bits=8)
    assert macs("--phase", "decode", "--context", 64) == decode.macs


def test_set_changes_the_machine() -> None:
    def cycles(*options: object) -> float:
        return float(parsed(accelsim("run", "edge_npu", *GPT2, *options, "--json"))["cycles"])

    assert cycles("--set", "memories.dram.bandwidth=1 GB/s") > cycles()
    assert cycles("--set", "arch.memories.dram.bandwidth=19.2 GB/s") == cycles()


def test_a_saved_mapping_replays_to_the_same_report(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mapping.yaml"
    first = parsed(accelsim("run", "edge_npu", *GPT2, "--save-mapping", file, "--json"))
    again = parsed(accelsim("run", "edge_npu", *GPT2, "--mapping", file, "--json"))
    for key in ("cycles", "energy_J", "traffic_bytes", "operators"):
        assert again[key] == first[key]
    assert accelsim("validate", file).output == f"{file}: a mapping, well formed\n"
    file.write_text(file.read_text().replace("architecture: edge_npu", "architecture: another", 1))
    shown = accelsim("run", "edge_npu", *GPT2, "--mapping", file).output
    assert "the mapping was written for the machine another, and this one is edge_npu" in " ".join(shown.split())


def test_constraints_bind_or_are_refused(tmp_path: Path) -> None:
    """Free, the array keeps every operator output-stationary; one of them is asked to do otherwise, then all."""
    file, mapping = tmp_path / "constraints.yaml", tmp_path / "mapping.yaml"
    saved = ("--save-mapping", mapping, "--json")
    parsed(accelsim("run", "edge_npu", *GPT2, *saved))
    assert "op: layer.up, unit: array, variant: os" in mapping.read_text()
    file.write_text("operators:\n  layer.up: {variant: ws}\n")
    parsed(accelsim("run", "edge_npu", *GPT2, *saved, "--constraints", file))
    assert "op: layer.up, unit: array, variant: ws" in mapping.read_text()
    assert "op: layer.down, unit: array, variant: os" in mapping.read_text()
    file.write_text('operators:\n  "*": {variant: ws}\n')
    ran = accelsim("run", "edge_npu", *GPT2, "--constraints", file)
    assert ran.code == 1
    assert "no unit of edge_npu can run" in ran.output


def test_outputs_are_written(tmp_path: Path) -> None:
    html, timeline = tmp_path / "report.html", tmp_path / "timeline.json.gz"
    ran = accelsim("run", "edge_npu", *GPT2, "--html", html, "--perfetto", timeline)
    assert ran.code == 0, ran.output
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert len(json.loads(gzip.decompress(timeline.read_bytes()))["traceEvents"]) > 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "timeline.json.gz"]


def test_a_failed_run_leaves_no_files(tmp_path: Path) -> None:
    ran = accelsim("run", "edge_npu", *GPT2, "--set", "memories.dram.capacity=1 MiB", "--html", tmp_path / "r.html")
    assert ran.code == 3
    assert list(tmp_path.iterdir()) == []


# -- sweep -----------------------------------------------------------------------------------------------------------

AXES = (
    "--axis", "arch.memories.sram.capacity=256 KiB,1 MiB",
    "--axis", "arch.units.array.rows+arch.units.array.cols=8,16",
)


def test_sweep_is_as_many_runs(tmp_path: Path) -> None:
    told = parsed(accelsim("sweep", "edge_npu", *GPT2, *AXES, "--out", tmp_path / "out", "--jobs", 0, "--json"))
    assert (told["points"], told["done"], told["does_not_fit"], told["failed"], told["crashed"]) == (4, 4, 0, 0, 0)
    with open(told["results"], newline="") as file:
        rows = list(csv.DictReader(file))
    settings = [[row[name] for name in row if name.startswith("arch.")] for row in rows]
    assert settings == [["256 KiB", "8", "8"], ["256 KiB", "16", "16"], ["1 MiB", "8", "8"], ["1 MiB", "16", "16"]]
    for row in rows:
        changes = [f"--set={name}={row[name]}" for name in row if name.startswith("arch.")]
        alone = parsed(accelsim("run", "edge_npu", *GPT2, *changes, "--json"))
        assert float(row["cycles"]) == alone["cycles"]
        assert float(row["energy_J"]) == alone["energy_J"]
        assert int(row["traffic_bytes.dram.read"]) == alone["traffic_bytes"]["dram"]["read"]
    assert Path(told["report"]).read_text().startswith("<!DOCTYPE html>")


def test_sweep_in_workers_gives_the_same_as_in_one_process(tmp_path: Path) -> None:
    def digest(jobs: int) -> str:
        out = ("--out", tmp_path / f"jobs{jobs}", "--jobs", jobs)
        return str(parsed(accelsim("sweep", "edge_npu", *GPT2, *AXES, *out, "--json"))["digest"])

    assert digest(0) == digest(2)


def test_sweep_resumes_and_enlarges(tmp_path: Path) -> None:
    def run(*options: object) -> Ran:
        return accelsim("sweep", "edge_npu", *GPT2, *options, "--out", tmp_path, "--jobs", 0, "--json")

    small = parsed(run("--axis", "arch.memories.sram.capacity=256 KiB"))
    assert run("--axis", "arch.memories.sram.capacity=256 KiB").code == 2
    again = parsed(run("--axis", "arch.memories.sram.capacity=256 KiB", "--resume"))
    assert again == small
    larger = parsed(run("--axis", "arch.memories.sram.capacity=256 KiB,512 KiB", "--resume"))
    assert larger["points"] == 2
    assert package.Study.load(tmp_path).table()[0]["latency_s"] == small["pareto"][0]["latency_s"]


def test_points_that_do_not_fit_are_rows(tmp_path: Path) -> None:
    told = parsed(
        accelsim("sweep", "edge_npu", *GPT2, "--axis", "arch.memories.dram.capacity=1 MiB,4 GiB", "--out", tmp_path,
                 "--jobs", 0, "--json")
    )
    assert (told["done"], told["does_not_fit"]) == (1, 1)
    assert told["failures"][0]["arch.memories.dram.capacity"] == "1 MiB"
    assert "dram" in told["failures"][0]["message"]


def test_a_sweep_in_which_nothing_fits_says_so(tmp_path: Path) -> None:
    ran = accelsim("sweep", "edge_npu", *GPT2, "--axis", "arch.memories.dram.capacity=1 MiB,2 MiB", "--out", tmp_path,
                   "--jobs", 0)
    assert ran.code == 3
    assert "2 points: does not fit, such as:" in ran.output


def test_sweep_file(tmp_path: Path) -> None:
    machine = tmp_path / "mine.yaml"
    machine.write_text("extends: edge_npu\nname: mine\n")
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: two models\narch: mine.yaml\nmodels:\n- {ref: gpt2, seq: 16, bits: 8}\n"
        "- {ref: gpt2, seq: 32, bits: 8}\naxes:\n- objective: [latency, energy]\npareto: [latency_s, energy_J]\n"
    )
    assert accelsim("validate", file).output == f"{file}: a sweep of 4 points\n"
    told = parsed(accelsim("sweep", file, "--out", tmp_path / "out", "--jobs", 0, "--json"))
    assert (told["name"], told["done"]) == ("two models", 4)
    assert set(told["pareto"][0]) >= {"objective", "latency_s", "energy_J", "bottleneck"}


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_a_reader_that_goes_away_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    @guarded
    def prints() -> None:
        terminal().print("a table")

    with open(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with pytest.raises(typer.Exit) as left:
            prints()
    assert left.value.exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    capacities = ",".join(f"{256 + i} KiB" for i in range(500))  # more than are done before the first is seen
    process = subprocess.Popen(
        [sys.executable, "-m", "accelsim", "sweep", "edge_npu", *map(str, GPT2),
         "--axis", f"arch.memories.sram.capacity={capacities}", "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE, text=True,
    )
    store = tmp_path / "out" / "study.sqlite"
    deadline = time.monotonic() + 60
    while not (store.exists() and _finished(tmp_path / "out")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    kept = _finished(tmp_path / "out")
    assert f"interrupted; {kept} of 500 points are kept" in stderr.replace("\n", " ")
    assert "--resume" in stderr


def test_ctrl_c_while_the_command_is_imported_is_told_in_one_line() -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from accelsim.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("command", "told"),
    [("run", "gpt2 on edge_npu"), ("elasticity --jobs 0 --parameter memories.dram.bandwidth", "3/3")],
)
def test_a_terminal_shows_what_is_being_done(command: str, told: str, tmp_path: Path) -> None:
    """On standard error alone. That nothing is shown where it is no terminal, tests elsewhere see."""
    shown, error = os.openpty()
    name, *options = command.split()
    answer = tmp_path / "answer.json"
    with answer.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "accelsim", name, "edge_npu", "gpt2", "--seq", "8", "--json", *options],
            stdout=out, stderr=error,
        )  # fmt: skip
    os.close(error)
    lines = b""
    with contextlib.suppress(OSError):  # the end, where nobody writes to a pseudo-terminal any more
        while piece := os.read(shown, 2**12):
            lines += piece
    os.close(shown)
    assert process.wait() == 0
    assert json.loads(answer.read_text())
    assert told in lines.decode()


def _finished(folder: Path) -> int:
    try:
        study = package.Study.load(folder)
    except package.BadInput:
        return 0
    return len(study.rows) - study.count(None)


# -- the rest --------------------------------------------------------------------------------------------------------


def test_list_names_what_there_is() -> None:
    told = parsed(accelsim("list", "--json"))
    assert {"edge_npu", "tpu_like"} <= set(told["machines"])
    assert {"gpt2", "onnx:resnet50"} <= set(told["models"])
    assert {"auto", "tile"} <= set(told["mappers"])
    assert {"systolic", "buffer", "dram"} <= set(told["components"])
    listed = accelsim("reproduce", "--list").output.splitlines()
    assert told["experiments"] == [line.partition(":")[0] for line in listed]
    assert accelsim("list", "machines").output.split() == told["machines"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name: str) -> None:
    assert accelsim("validate", name).code == 0


def test_every_model_of_the_zoo_in_yaml_is_valid() -> None:
    """Cascades with tensors or operators of their own among them, which are keys of constraints too."""
    files = sorted((Path(package.__file__).parent / "workloads" / "zoo").glob("*/*.yaml"))
    assert any("\ntensors:" in file.read_text("utf-8") for file in files)
    ran = accelsim("validate", *files)
    assert ran.code == 0
    assert [line.split(": model '")[0] for line in ran.output.splitlines()] == [str(file) for file in files]


@pytest.mark.parametrize("more", ["", "bits: 8\n", "einsums: ['Y[t,n] = E[t,n] * S[t]']\n"])
def test_a_cascade_that_extends_another_is_a_model(more: str, tmp_path: Path) -> None:
    file = tmp_path / "variant.yaml"
    file.write_text(f"extends: softmax\n{more}", "utf-8")
    assert accelsim("validate", file).output == f"{file}: model 'variant' of 4 Einsums\n"
    assert parsed(accelsim("model", file, "--json"))["model"] == "variant"


def test_version_and_help() -> None:
    assert accelsim("--version").output == f"accelsim {package.__version__}\n"
    told = accelsim("--help").output
    assert all(command in told for command in ("run", "sweep", "validate", "list", "reproduce"))
    for command in ("run", "sweep", "validate", "list", "reproduce"):
        assert accelsim(command, "--help").code == 0


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "numba", "pandas", "onnx", "plotly", "pydantic", "scipy", "ruamel.yaml",
             "accelsim.study")  # fmt: skip
    code = (
        "import sys\nfrom accelsim.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["run", "edge"], {"edge_npu"}),
        (["run", "edge_npu", "mobilenet_v2"], {"mobilenet_v2"}),
        (["run", "edge_npu", "gpt2", "--mapper", "casc"], {"cascade"}),
        (["sweep", "edge_npu", "gpt2", "--objective", "en"], {"energy"}),
        (["reproduce", "scale"], {"scalesim"}),
    ],
)
def test_the_shell_completes_names(typed: list[str], completed: set[str]) -> None:
    """As bash asks for them; see the script that ``accelsim --show-completion`` prints."""
    words = ["accelsim", *typed]
    asked = {"_ACCELSIM_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "from accelsim.cli.app import app; app(prog_name='accelsim')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                         env={**os.environ, **asked})  # fmt: skip
    assert set(ran.stdout.split()) == completed, ran.stderr


@pytest.mark.parametrize(
    "option", [("--objective", "energy"), ("--bits", "4"), ("--seed", "1"), ("--pareto", "latency_s")]
)
def test_a_sweep_file_leaves_no_option_without_effect(tmp_path: Path, option: tuple[str, str]) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("arch: edge_npu\nmodels: [gpt2]\naxes: [{model.seq: [16]}]\n")
    ran = accelsim("sweep", file, "--out", tmp_path / "out", *option)
    assert ran.code == 2
    assert f"{option[0]} goes with a machine and models" in ran.output
    assert not (tmp_path / "out").exists()
