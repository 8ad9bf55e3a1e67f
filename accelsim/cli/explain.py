"""``accelsim explain``: what a key of a machine file means."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def explain(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A path (memories.*.bandwidth), kind.key (systolic.rows), kind or key.")
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """Print what a key of a machine file means, what it takes, and where it occurs."""
    from ..arch.explain import explain as docs_of

    found = docs_of(key)
    if json_:
        typer.echo(json.dumps([asdict(doc) for doc in found], indent=2, ensure_ascii=False))
        return
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for doc in found:
        alike.setdefault((doc.path, doc.text, doc.value, doc.default), []).append(doc.kind)
    typer.echo("\n".join(line for (path, *rest), kinds in alike.items() for line in _lines(path, kinds, *rest)))


def _lines(path: str, kinds: list[str], text: str, value: str, default: str) -> list[str]:
    of = f" ({', '.join(kinds)})" if any(kinds) else ""
    then = {"required": "; required", "": ""}.get(default, f"; {default} unless given")
    return [f"{path}{of}: {value}{then}", f"    {text}"]
