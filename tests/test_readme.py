"""What the README shows works: its commands run, its Python runs, its machine is valid, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.cli import accelsim

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_first_block_is_the_two_commands() -> None:
    first = [shlex.split(line, comments=True) for line in blocks("sh")[0].splitlines()]
    assert first == [["make", "demo"], ["make", "test"]]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "lint"} <= set(targets)


def test_every_command_is_one_that_is_tested() -> None:
    assert {line[0] for line in commands()} == {"make", "accelsim"}


def test_commands_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order and in one folder, as a reader would: later blocks use what earlier ones wrote."""
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```(sh|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        language, text = block
        if language == "python":
            exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["accelsim"]:
                ran = accelsim(*words[1:])
                assert ran.code == 0, f"{line}\n{ran.output}"
                assert ran.output.strip()
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"resnet50.html", "resnet50.yaml", "timeline.json.gz", "sweep"}
    assert {path.name for path in (tmp_path / "sweep").glob("[!.]*")} == {"results.csv", "report.html", "study.sqlite"}


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "'two_tiers' with 2 memories, 2 units"), (1, "'elements' with 2 memories, 2 units")]
)
def test_the_machine_is_valid(tmp_path: Path, number: int, shown: str) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(blocks("yaml")[number])
    ran = accelsim("validate", file)
    assert (ran.code, f"machine {shown}" in ran.output) == (0, True)
    assert accelsim("run", file, "onnx:squeezenet", "--bits", 8).code == 0


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/tutorial.md", "docs/accuracy.md",
                                  "docs/memory.md", "docs/sweeps.md"])  # fmt: skip
def test_links_and_paths_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = [path for path in re.findall(r"`([\w./]+/[\w./]*)`", text) if not path.startswith(".venv")]
    for target in links:
        assert ((ROOT / page).parent / target).exists(), target
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_demo_is_a_sweep_of_at_least_48_points() -> None:
    from accelsim.study.sweep_file import load_sweep

    points = load_sweep(ROOT / "docs/examples/demo_sweep.yaml").points()
    machines = {point.arch_values for point in points}
    assert len(points) >= 48
    assert f"sweeps {len(machines)} edge NPUs" in README
    assert {point.model for point in points} == {"onnx:resnet50", "gpt2"}
