"""Whatever stands in an input file, it ends in a result or in a refusal with a message, and nothing else is touched.

Mutated files by the thousand go through the functions that the command line calls, and a few through the command line
itself; `benchmarks/fuzz.py` tries many more. A case is made again by its name: ``python benchmarks/fuzz.py onnx:17``.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import accelsim
from support.fuzz import FAMILIES, Case, attempt, case, single_change_cases
from support.fuzz.protobuf import outside
from support.fuzz.seeds import (
    CHAIN,
    CONSTRAINTS,
    LAYERS,
    PIPED,
    SMALL_MACHINE,
    SWEEP,
    TIMELOOP_ARCHITECTURE,
    ZIGZAG,
    ZIGZAG_HARDWARE,
    models,
    texts,
)
from support.onnx_graphs import graph, node, save

from accelsim.errors import BadInput, SpecError
from accelsim.workloads import load_model

CASES = {"machine": 300, "sweep": 200, "onnx": 500, "mapping": 200, "constraints": 100, "text": 250, "config": 100,
         "stream": 200, "phases": 150}
CHUNK = 50
COMMANDS = 42


def test_there_are_cases_of_all_families() -> None:
    assert set(CASES) == set(FAMILIES)
    assert sum(CASES.values()) == 2000


@pytest.mark.parametrize(("family", "first"), [(f, n) for f, cases in CASES.items() for n in range(0, cases, CHUNK)])
def test_a_result_or_a_refusal(family: str, first: int, tmp_path: Path) -> None:
    found = [(made, attempt(made, tmp_path)) for made in (case(family, first + i) for i in range(CHUNK))]
    faults = [f"{made}\n{outcome.detail}" for made, outcome in found if outcome.kind == "fault"]
    assert not faults, "\n\n".join(faults)
    kinds = Counter(outcome.kind for _, outcome in found)
    # Neither are all files refused before anything is computed, nor are the mutations without effect.
    assert kinds["done"]
    assert kinds["refused"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"onnx"}))
def test_every_value_gone_or_another_one(family: str, tmp_path: Path) -> None:
    found = [(made, attempt(made, tmp_path)) for made in single_change_cases(family)]
    faults = [f"{made.content.decode()}\n{outcome.detail}" for made, outcome in found if outcome.kind == "fault"]
    assert not faults, "\n\n".join(faults[:20])
    assert len(found) > 50


def originals() -> list[Case]:
    """The files before any mutation."""
    found = [Case("onnx", 1, f"{n}.onnx", m.SerializeToString()) for n, m in models().items()]
    for family in set(FAMILIES) - {"onnx"}:
        found += [Case(family, 0, name, text.encode()) for name, text in texts(family).items()]
    return found


def test_mutations_start_from_valid_files(tmp_path: Path) -> None:
    found = [(made, attempt(made, tmp_path)) for made in originals()]
    refused = {str(made): outcome.detail for made, outcome in found if outcome.kind != "done"}
    # Some machines are valid, and cannot run the model that machines are tried with.
    assert {n: why for n, why in refused.items() if not n.startswith("machine") or str(tmp_path) in why} == {}


def test_cases_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib; from support.fuzz import case\n"
        "print(hashlib.sha256(b''.join(case(f, n).content for f in ('machine', 'onnx', 'text', 'config') "
        "for n in range(30))).hexdigest())"
    )
    here = hashlib.sha256(
        b"".join(case(f, n).content for f in ("machine", "onnx", "text", "config") for n in range(30))
    ).hexdigest()
    there = python("-c", code, PYTHONHASHSEED="12345")
    assert there.stdout.strip() == here, there.stderr


def python(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests.parent), str(tests), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=env, cwd=cwd)


# -- could it fail? --------------------------------------------------------------------------------------------------


def test_a_seeded_exception_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fault(*_: Any, **__: Any) -> Any:
        raise KeyError("sram")

    monkeypatch.setattr("accelsim.arch.loader.structure_faults", fault)
    outcomes = [attempt(case("machine", n), tmp_path) for n in range(CHUNK)]
    faults = [outcome.detail for outcome in outcomes if outcome.kind == "fault"]
    assert faults
    assert all("KeyError: 'sram'" in detail for detail in faults)


def test_a_seeded_hang_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forever(_: object) -> None:
        while True:
            pass

    monkeypatch.setattr("accelsim.workloads.onnx_import.loading.model_opset", forever)
    outcome = attempt(Case("onnx", 0, "dense.onnx", models()["dense"].SerializeToString()), tmp_path, limit_s=1)
    assert (outcome.kind, "Hang: more than 1 s" in outcome.detail) == ("fault", True)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (lambda: BadInput(""), "a refusal without a message"),
        (lambda: BadInput("x" * 10**6), "a message of 1000000 characters"),
        (lambda: BadInput("they differ, please report it"), "a bug that is told as the user's"),
        (lambda: MemoryError(), "MemoryError"),
        (lambda: RecursionError("too deep"), "too deep"),
    ],
)
def test_what_is_no_refusal(
    error: Callable[[], Exception], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fault(*_: Any, **__: Any) -> Any:
        raise error()

    monkeypatch.setattr("accelsim.workloads.load_model", fault)
    outcome = attempt(Case("text", 0, "chain.yaml", CHAIN.encode()), tmp_path)
    assert (outcome.kind, told in outcome.detail) == ("fault", True)


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder in which the commands ran, and what they did."""
    folder = tmp_path_factory.mktemp("commands")
    temporary = tmp_path_factory.mktemp("temporary")
    ran = python("-m", "support.fuzz.commands", str(folder), str(COMMANDS), cwd=folder, TMPDIR=str(temporary),
                 HOME=str(folder))  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told: list[dict[str, Any]] = json.loads(ran.stdout)
    return folder, told


def test_commands_end_with_a_code_and_a_message(commands: tuple[Path, list[dict[str, Any]]]) -> None:
    _, told = commands
    assert len(told) == COMMANDS
    for one in told:
        assert one["code"] in (0, 1, 2, 3), one
        assert "Traceback" not in one["output"]
        assert "did not foresee" not in one["output"]
        assert one["code"] == 0 or one["output"].strip(), one
    assert {0, 2} <= {one["code"] for one in told}


def test_commands_write_in_the_output_folder_alone(commands: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, told = commands
    out = folder.resolve() / "out"
    compiled = ("__pycache__", ".nbi", ".nbc")  # numba keeps what it compiles beside the code

    def elsewhere(path: str) -> bool:
        own = Path(path).is_relative_to(out) or path == os.devnull
        return not own and not any(mark in path for mark in compiled)

    assert [(one["arguments"], p) for one in told for p in one["paths"] if elsewhere(p)] == []
    assert any(one["paths"] for one in told)
    assert {p.name for p in folder.iterdir()} == {"in", "out"}
    given = {"small.yaml", "chain.yaml", "pool.yaml", "attention.yaml"}
    assert len({p.name for p in (folder / "in").iterdir()} - given) == COMMANDS
    assert not [p.name for p in out.rglob(".*")], "what was being written is left over"


# -- what a file may not do ------------------------------------------------------------------------------------------

READERS: dict[str, tuple[str, list[str]]] = {
    "machine": (SMALL_MACHINE, ["validate", "FILE"]),
    "machine to run": (SMALL_MACHINE, ["run", "FILE", "gpt2"]),
    "machine of ZigZag": (ZIGZAG_HARDWARE, ["validate", "FILE"]),
    "machine of Timeloop": (TIMELOOP_ARCHITECTURE, ["validate", "FILE"]),
    "sweep": (SWEEP, ["validate", "FILE"]),
    "mapping": (PIPED, ["validate", "FILE"]),
    "constraints": (CONSTRAINTS, ["run", "edge_npu", "gpt2", "--seq", "2", "--constraints", "FILE"]),
    "cascade": (CHAIN, ["run", "edge_npu", "FILE"]),
    "layer list": (LAYERS, ["run", "edge_npu", "FILE"]),
    "ZigZag": (ZIGZAG, ["run", "edge_npu", "FILE"]),
}
CODE = (
    "!!python/object/apply:os.mkdir [MARK]", "!!python/object/new:os.mkdir [MARK]", "!!python/name:os.mkdir",
    "!!python/module:os.path", "!!python/object:builtins.dict {}",
    "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [MARK]",
)  # fmt: skip
BOMB = "b0: &b0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
"""Aliases that stand for ten thousand million words."""


def refused(reader: str, text: str, folder: Path) -> str:
    """The message with which a command refuses a text."""
    file = folder / "file.yaml"
    file.write_text(text)
    ran = accelsim(*(str(file) if a == "FILE" else a for a in READERS[reader][1]))
    assert ran.code == 2, ran.output
    assert "did not foresee" not in ran.output
    assert "Traceback" not in ran.output
    return ran.output


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("code", CODE)
def test_no_tag_runs_code(reader: str, code: str, tmp_path: Path) -> None:
    mark = tmp_path / "made by the file"
    value = code.replace("MARK", f"'{mark}'")
    text = READERS[reader][0]
    text = f"- {value}\n{text}" if text.startswith("-") else f"{text}more: {value}\n"
    assert "is not read" in refused(reader, text, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("reader", READERS)
def test_aliases_do_not_blow_up(reader: str, tmp_path: Path) -> None:
    text = READERS[reader][0]
    if text.startswith("-"):
        text = "- &b0 {a: 1}\n" + "".join(f"- &b{i} [{', '.join([f'*b{i - 1}'] * 10)}]\n" for i in range(1, 10)) + text
    else:
        text += BOMB
    assert "aliases" in refused(reader, text, tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_an_alias_of_itself(reader: str, tmp_path: Path) -> None:
    text = READERS[reader][0]
    text = f"- &me [*me]\n{text}" if text.startswith("-") else f"{text}more: &me [*me]\n"
    assert "an alias contains itself" in refused(reader, text, tmp_path)


@pytest.mark.parametrize(
    "base", ["../../etc/passwd", "/etc/passwd", "/dev/zero", "..", "/", "secret", "secret.txt", "./secret"]
)
def test_a_machine_extends_machines_alone(base: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: 12345\n")
    (tmp_path / "secret.txt").write_text("password: 12345\n")
    message = refused("machine", f"extends: {base}\n{SMALL_MACHINE}", tmp_path)
    assert "extends: must be one preset's name or one path" in message or "extends: no preset" in message
    assert "password" not in message
    assert "root:" not in message


@pytest.mark.parametrize("key", ["extends", "tables"])
def test_what_a_machine_names_is_a_regular_file(key: str, tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "waiting.yaml")
    for name in ("endless.yaml", "waiting.yaml"):
        assert "it is no regular file" in refused("machine", f"{key}: {name}\n{SMALL_MACHINE}", tmp_path)


def test_a_device_is_no_endless_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.files.MOST_BYTES", 2**16)
    ran = accelsim("validate", "/dev/zero")
    assert (ran.code, "cannot read /dev/zero: it has more than" in ran.output) == (2, True)


def test_bases_by_ever_longer_paths(tmp_path: Path) -> None:
    message = refused("machine", f"extends: ../{tmp_path.name}/file.yaml\n", tmp_path)
    assert "more than 16 files extend one another" in message


@pytest.mark.parametrize("location", ["../secret.bin", "secret.bin", "/dev/zero"])
def test_external_data_of_onnx_is_not_read(location: str, tmp_path: Path) -> None:
    """A shape that lies in another file is not known; a weight that does needs no values."""
    import numpy as np

    inner = tmp_path / "inner"
    inner.mkdir()
    for folder in (tmp_path, inner):
        (folder / "secret.bin").write_bytes(np.array([6, 2], np.int64).tobytes())
    model = graph(
        [node("Reshape", ["x", "to"], ["r"]), node("MatMul", ["r", "w"], ["y"])], {"x": (3, 4)}, ["y"],
        {"to": np.array([6, 2], np.int64), "w": np.ones((2, 5), np.float32)},
    )  # fmt: skip
    outside(model.graph.initializer[1], location)
    assert load_model(save(model, inner)).macs == 6 * 2 * 5
    outside(model.graph.initializer[0], location)
    with pytest.raises(BadInput, match="shape 'to' must be known before the run"):
        load_model(save(model, inner))
    model.graph.node.insert(0, node("ConstantOfShape", ["n"], ["w2"], value=model.graph.initializer[0]))
    model.graph.initializer.add().CopyFrom(graph([], {}, [], {"n": np.array([2, 5], np.int64)}).graph.initializer[0])
    model.graph.node[2].input[1] = "w2"
    with pytest.raises(BadInput, match="lies in another file, which is not read"):
        load_model(save(model, inner))


def test_local_functions_of_onnx_do_not_blow_up(tmp_path: Path) -> None:
    """Forty functions, each of which calls the next twice; and one that calls itself."""
    from onnx import helper

    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    last = [node("Relu", ["a"], ["b"])]

    def twice(i: int) -> list[Any]:
        return [node(f"F{i}", ["a"], ["c"], domain="local"), node(f"F{i}", ["c"], ["b"], domain="local")]

    bodies = [*(twice(i) for i in range(1, 40)), last]
    functions = [helper.make_function("local", f"F{i}", ["a"], ["b"], nodes, opsets) for i, nodes in enumerate(bodies)]
    body = graph([node("F0", ["x"], ["y"], domain="local")], {"x": (2,)}, ["y"]).graph
    model = helper.make_model(body, functions=functions, opset_imports=opsets, ir_version=8)
    with pytest.raises(BadInput, match=rf"local functions make {2**39} nodes of it"):
        load_model(save(model, tmp_path))
    functions[-1] = helper.make_function("local", "F39", ["a"], ["b"], twice(39), opsets)
    model = helper.make_model(body, functions=functions, opset_imports=opsets, ir_version=8)
    with pytest.raises(BadInput, match="call each other in a circle: F39 -> F39"):
        load_model(save(model, tmp_path))


@pytest.mark.parametrize("count", [10**6, 10**12])
def test_layers_written_out_have_a_limit(count: int, tmp_path: Path) -> None:
    for inner in ("relu", ""):
        file = tmp_path / "many.yaml"
        file.write_text(f"input: [3]\nlayers:\n- times: {{count: {count}, layers: [{inner}]}}\n")
        with pytest.raises(SpecError, match="more than 20000 layers"):
            load_model(file)


def test_names_are_no_paths(tmp_path: Path) -> None:
    """What a sweep and its model are called decides no path."""
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(SMALL_MACHINE)
    (folder / "chain.yaml").write_text(CHAIN.replace("name: chain", "name: ../../evil"))
    (folder / "sweep.yaml").write_text("name: ../../evil\narch: small.yaml\nmodels: [chain.yaml]\n")
    ran = accelsim("sweep", folder / "sweep.yaml", "--out", folder / "out", "--jobs", 1)
    assert ran.code == 0, ran.output
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert {f for f in files if not f.startswith("inner/folder/out/")} == {
        f"inner/folder/{name}.yaml" for name in ("small", "chain", "sweep")
    }


@pytest.mark.parametrize("option", ["--html", "--save-mapping", "--perfetto"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file" / "x", tmp_path, "/dev/null/x", "/proc/x"):
        ran = accelsim("run", "edge_npu", "gpt2", "--seq", 2, option, place)
        assert (ran.code, "Traceback" in ran.output) == (2, False), ran.output
    assert (tmp_path / "file").read_text() == "kept"
