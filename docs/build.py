"""Builds the documentation as a site: `python docs/build.py OUT`, with the extra `docs` installed; nothing is fetched.

Pages of this folder are taken as they are; the reference of machine files, commands, public names and presets is made
from the code, so that it cannot differ from it. Links that lead nowhere and other warnings end the build.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAV = [
    {"Overview": "index.md"},
    {"Tutorial": "tutorial.md"},
    {"How-to": [{"Sweeps, searches and studies": "sweeps.md"}, {"DRAM, and computing in it": "memory.md"},
                {"Add a component": "howto/component.md"}, {"Add a mapper": "howto/mapper.md"},
                {"Add an importer": "howto/importer.md"}]},
    {"Explanation": [{"How accelsim is built": "architecture.md"},
                     {"How far results are from measurements": "accuracy.md"}]},
    {"Reference": [{"Machine files": "reference/machines.md"}, {"Commands": "reference/commands.md"},
                   {"Python": "reference/python.md"}, {"Presets": "reference/presets.md"},
                   {"Published systems": "reference/experiments.md"}]},
]  # fmt: skip


def machines() -> Iterator[str]:
    """Every key of a machine file."""
    from accelsim.arch.explain import key_docs

    yield "# Machine files\n"
    yield "The keys of a machine and of all kinds of components; `accelsim explain KEY` prints one.\n"
    kinds: dict[str, list[str]] = {}
    for doc in key_docs():
        default = f" Default: {_cell(doc.default)}." if doc.default not in ("", "required") else ""
        needed = " Required." if doc.default == "required" else ""
        row = f"| `{doc.path}` | {_cell(doc.text)}{needed}{default} | {_cell(doc.value)} |"
        kinds.setdefault(doc.kind, []).append(row)
    for kind, rows in kinds.items():
        yield f"\n## {f'kind: {kind}' if kind else 'The machine'}\n"
        if kind:
            yield f"{_first(_kind(kind))}\n"
        yield "| key | meaning | value |\n|---|---|---|"
        yield from rows


def commands() -> Iterator[str]:
    """The help of every command."""
    import typer
    from typer.testing import CliRunner

    from accelsim.cli.app import app

    yield "# Commands\n"
    root = typer.main.get_command(app)
    names: list[tuple[str, ...]] = []
    for name, command in sorted(root.commands.items()):  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names += [(name, sub) for sub in sorted(inner)] if inner else [(name,)]
    for name in names:
        told = CliRunner().invoke(app, [*name, "--help"], env={"COLUMNS": "110", "TERM": "dumb"}).output
        yield f"\n## accelsim {' '.join(name)}\n\n```text\n{told.strip()}\n```"


def python() -> Iterator[str]:
    """Public names with their docstrings."""
    import accelsim

    yield "# Python\n"
    for name in accelsim.__all__:
        value = getattr(accelsim, name)
        sign = f"{inspect.signature(value)}" if inspect.isfunction(value) else ""
        yield f"\n## {name}\n\n```text\n{name}{sign}\n\n{inspect.getdoc(value)}\n```"


def presets() -> Iterator[str]:
    """The machines that come with accelsim, with the sources of their numbers."""
    yield "# Presets\n\nThe files as they are: a comment beside a number is its source.\n"
    for file in sorted((ROOT / "arch_specs").glob("*.yaml")):
        yield f"\n## {file.stem}\n\n```yaml\n{file.read_text(encoding='utf-8').strip()}\n```"


def experiments() -> Iterator[str]:
    """The README of every experiment."""
    from accelsim.experiments.loader import summaries

    yield "# Published systems\n\n`accelsim reproduce NAME` runs one, `accelsim reproduce all --out DIR` all of them.\n"
    for name, summary in summaries().items():
        text = (ROOT / "experiments" / name / "README.md").read_text(encoding="utf-8")
        body = re.sub(r"^(#+) ", r"##\1 ", text.partition("\n")[2], flags=re.MULTILINE)
        yield f"\n## {name}\n\n{summary}\n{_unlinked(body)}"


def _kind(kind: str) -> object:
    from accelsim.arch.registry import component_kind

    return component_kind(kind)


def _first(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _unlinked(text: str) -> str:
    """Links to files of the repository become their words: the site holds pages alone."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)


def build(out: Path) -> None:
    """Write the site to a folder. Raises whatever MkDocs finds wrong."""
    from mkdocs.commands.build import build as make
    from mkdocs.config import load_config

    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder, "docs")
        shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        (pages / "index.md").write_text(readme.replace("](docs/", "]("), encoding="utf-8")
        for page in ("sweeps.md", "architecture.md"):
            text = (pages / page).read_text(encoding="utf-8").replace("(../README.md)", "(index.md)")
            (pages / page).write_text(text, encoding="utf-8")
        (pages / "reference").mkdir()
        for make_page in (machines, commands, python, presets, experiments):
            text = "\n".join(make_page())
            (pages / "reference" / f"{make_page.__name__}.md").write_text(text + "\n", encoding="utf-8")
        settings = Path(folder, "mkdocs.yml")
        settings.write_text("site_name: accelsim\n")
        config = load_config(
            str(settings), docs_dir=str(pages), site_dir=str(out), nav=NAV, strict=True, use_directory_urls=False,
            theme={"name": "readthedocs", "highlightjs": False},
            validation={"links": {"anchors": "warn", "not_found": "warn", "unrecognized_links": "warn"}},
            exclude_docs="*.ipynb\n",
        )  # fmt: skip
        make(config)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build(Path(sys.argv[1]).resolve())
