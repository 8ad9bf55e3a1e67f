"""The documentation builds without a warning, and its reference has what the code has."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    runpy.run_path(str(ROOT / "docs" / "build.py"))["build"](out)
    return out


def test_every_key_command_preset_and_experiment_is_there(site: Path) -> None:
    from accelsim.arch.explain import key_docs
    from accelsim.arch.loader import preset_names
    from accelsim.experiments.loader import experiment_names

    pages = {name: (site / "reference" / f"{name}.html").read_text() for name in ("machines", "commands", "presets",
                                                                                 "experiments", "python")}  # fmt: skip
    assert all(f"<code>{doc.path}</code>" in pages["machines"] for doc in key_docs())
    assert all(f">{name}</h2>" in pages["presets"] for name in preset_names())
    assert all(f">{name}</h2>" in pages["experiments"] for name in experiment_names())
    assert all(f"accelsim {name}" in pages["commands"] for name in ("run", "sweep", "study importance", "elasticity"))
    assert "simulate" in pages["python"]


def test_every_page_is_in_the_navigation_and_every_guide_in_the_readme() -> None:
    def pages(entry: object) -> list[str]:
        entries = entry if isinstance(entry, list) else entry.values() if isinstance(entry, dict) else ()
        return [entry] if isinstance(entry, str) else [page for e in entries for page in pages(e)]

    navigated = set(pages(runpy.run_path(str(ROOT / "docs" / "build.py"))["NAV"]))
    assert {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")} <= navigated
    readme = (ROOT / "README.md").read_text()
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f"(docs/{p.name}" not in readme] == []


def test_nothing_is_fetched(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text
        assert 'rel="stylesheet" href="http' not in text
