"""The layout holds together: imports go one way, nothing global is squatted, editable install and wheel agree."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "accelsim"
LINKED = ("mappers", "workloads", "arch_specs", "experiments")

BASE = {"errors", "text", "files"}
BELOW_LOWERING = BASE | {"jit", "ir", "arch", "engine", "components", "mapping"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "collector": set(),
    "jit": set(),
    "text": {"errors"},
    "files": {"errors", "text"},
    "ir": BASE,
    "arch": BASE,
    "engine": {"errors", "jit"},
    "components": BASE | {"jit", "ir", "arch", "engine"},
    "mapping": BASE | {"ir", "arch"},
    "lowering": BELOW_LOWERING,
    "mappers": BELOW_LOWERING | {"lowering"},
    "serving": BELOW_LOWERING | {"lowering", "mappers", "workloads", "report", "simulation"},
    "workloads": BASE | {"ir"},
    "arch_specs": set(),
    "report": BASE | {"ir", "arch", "engine", "mapping"},
}
"""What each part may import of accelsim, beside itself. Parts not listed (study, cli, experiments ...) sit on top."""
ON_TOP = {"__init__", "__main__", "simulation", "study", "cli", "experiments", "conformance"}


def part_files(part: str) -> Iterator[Path]:
    folder = PACKAGE / part
    if folder.is_dir():
        yield from sorted(folder.resolve().rglob("*.py"))
    else:
        yield PACKAGE / f"{part}.py"


def parts() -> list[str]:
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py"}
    names |= {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    return sorted(names)


def imports(file: Path, part: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that `file` of `part` imports of accelsim."""
    folder = (PACKAGE / part).resolve()
    inside = file.relative_to(folder).parent.parts if folder.is_dir() else ()
    package = ["accelsim", *([part] if folder.is_dir() else []), *inside]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.split(".")[0] == "accelsim")


def test_every_part_has_its_place_in_the_contract() -> None:
    assert set(parts()) == set(MAY_IMPORT) | (ON_TOP & set(parts()))


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_imports_go_one_way(part: str) -> None:
    allowed = MAY_IMPORT[part] | {part}
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in part_files(part)
        for line, name in imports(file, part)
        if [*name.split("."), ""][1] not in allowed
    ]
    assert not wrong, f"{part} may import only {sorted(MAY_IMPORT[part])} of accelsim"


def test_the_contract_sees_relative_imports_through_the_links(tmp_path: Path) -> None:
    """The check above would be empty if it did not resolve ``from ...ir import X`` inside mappers/tile."""
    seen = {name for part in ("mappers", "workloads") for f in part_files(part) for _, name in imports(f, part)}
    assert any(name.startswith("accelsim.ir") for name in seen)


def naming(source: str, names: set[str]) -> list[int]:
    """Lines of a module that use one of the names, in a string or an identifier; docstrings may speak of them."""
    named = re.compile(r"(?<![a-z])(" + "|".join(sorted(names)) + r"|accelsim\.experiments)(?![a-z])")
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }
    found: list[int] = []
    for node in ast.walk(tree):
        texts = [node.value] if isinstance(node, ast.Constant) and id(node) not in docstrings else []
        texts += [getattr(node, field, None) for field in ("id", "attr", "name", "arg")]
        if any(isinstance(text, str) and named.search(text.lower()) for text in texts):
            found.append(getattr(node, "lineno", 0))
    return sorted(set(found))


def test_naming_finds_names() -> None:
    source = '"""Like eyeriss."""\nx = "draco"\ndef run_fusemax(): ...\nif model == "the cosma": pass\n'
    assert naming(source, {"draco", "fusemax", "cosma", "eyeriss"}) == [2, 3, 4]
    assert naming(source, {"other"}) == []


FORMATS = {"cxl", "scalesim"}
"""Experiments that have the name of a format that the simulator reads, or of a standard of its links."""


@pytest.mark.parametrize("part", sorted(set(MAY_IMPORT) - {"arch_specs"}))
def test_no_core_package_names_an_experiment(part: str) -> None:
    """Nothing in the simulator knows which published system is being reproduced."""
    kinds = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["accelsim.components"])
    experiments = {p.parent.name for p in (ROOT / "experiments").glob("*/experiment.py")}
    for file in part_files(part):
        assert naming(file.read_text(), (experiments - kinds - FORMATS) | {"accelsim.experiments"}) == [], file


def python(code: str, *, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path:
        env["PYTHONPATH"] = path
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_editable_install_imports_from_another_folder(tmp_path: Path) -> None:
    names = ", ".join(f"accelsim.{name}" for name in LINKED)
    ran = python(f"import {names}; print(accelsim.__file__)", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).parent == PACKAGE


@pytest.mark.parametrize("name", LINKED)
def test_linked_folders_squat_no_global_name(name: str, tmp_path: Path) -> None:
    """From another folder the name is unknown; from the repository root its modules refuse to load on their own."""
    assert (PACKAGE / name).is_symlink()
    assert os.readlink(PACKAGE / name) == f"../{name}"
    assert "ModuleNotFoundError" in python(f"import {name}", cwd=tmp_path).stderr
    modules = [f for f in part_files(name) if any(True for _ in imports(f, name))]
    for file in modules[:1]:
        dotted = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        ran = python(f"import {dotted}", cwd=ROOT)
        assert "ImportError" in ran.stderr, f"{dotted} can be imported without accelsim"


def test_import_accelsim_is_light(tmp_path: Path) -> None:
    """The public names load on first use: importing accelsim alone pulls in none of the heavy dependencies."""
    heavy = ("numpy", "numba", "pandas", "onnx", "plotly", "pydantic", "typer")
    code = f"import accelsim, sys; print([m for m in {heavy} if m in sys.modules])"
    assert python(code, cwd=tmp_path).stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    import accelsim

    for name in accelsim.__all__:
        assert getattr(accelsim, name) is not None
    assert set(accelsim.__all__) <= set(dir(accelsim))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = accelsim.nonsense


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree, built from a copy so that no build folder appears in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")
    for name in filter(None, names):
        file, copy = ROOT / name, source / name
        if file.is_symlink() or file.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            if file.is_symlink():
                copy.symlink_to(os.readlink(file))
            else:
                copy.write_bytes(file.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source],
        check=True, capture_output=True,
    )
    return next(folder.glob("accelsim-*.whl"))


def test_wheel_holds_code_and_data(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert "accelsim/py.typed" in inside
    top = {name.split("/")[0] for name in inside}
    assert {name for name in top if not name.endswith(".dist-info")} == {"accelsim"}
    folders = {**{name: ROOT / name for name in LINKED}, "": PACKAGE}
    for name, folder in folders.items():
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink() and "__pycache__" not in file.parts:
                assert (Path("accelsim") / name / file.relative_to(folder)).as_posix() in inside


def test_wheel_installs_and_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel],
        check=True, capture_output=True,
    )
    code = """
import accelsim, accelsim.mappers, accelsim.workloads, accelsim.experiments
from importlib.resources import files
print(accelsim.__file__)
from accelsim.arch.loader import load_architecture, preset_names
for name in preset_names():
    load_architecture(name)
print(len(list(files('accelsim.arch_specs').iterdir())))
"""
    ran = python(code, cwd=tmp_path, path=str(target))
    assert ran.returncode == 0, ran.stderr
    where, presets = ran.stdout.split()
    assert Path(where).is_relative_to(target)
    assert int(presets) > 1
