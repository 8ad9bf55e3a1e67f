"""``accelsim compare``: what differs between two runs, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="What `accelsim run --json` printed.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="The same of the run that differs.")],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Operators listed.")] = 12,
) -> None:
    """Explain the difference in latency and energy between two runs, by operator and by limiting resource."""
    from ..report.comparison import compare_files

    comparison = compare_files(a, b)
    if json_:
        typer.echo(json.dumps(comparison.to_json(), indent=2))
    else:
        from ..report.comparison_text import print_comparison
        from .cells import terminal

        print_comparison(comparison, terminal(), top=top)
