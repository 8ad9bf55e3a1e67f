"""``accelsim schema``: JSON Schema of a machine file, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def schema(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to a file instead.")] = None,
) -> None:
    """Print the JSON Schema of a machine file, with the documentation of every key."""
    from ..arch.schema import json_schema
    from ..files import writable_file, write_text

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
    else:
        write_text(writable_file(out), text + "\n")
