"""Options of the commands about studies, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from ..errors import BadInput

Pareto = Annotated[
    str | None, typer.Option("--pareto", metavar="COLUMNS", help="Other objectives; -name: larger is better.")
]
Constraint = Annotated[
    list[str] | None, typer.Option("--constraint", metavar="CONDITION", help="A further constraint: 'energy <= 3 mJ'.")
]
Derive = Annotated[
    list[str] | None, typer.Option("--derive", metavar="NAME=EXPRESSION", help="A column: edp='latency * energy'.")
]
Where = Annotated[list[str] | None, typer.Option("--where", metavar="CONDITION", help="Only points such as these.")]
Columns = Annotated[str | None, typer.Option("--columns", metavar="NAMES", help="Only these columns.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def objectives(text: str) -> tuple[str, ...]:
    """Texts between commas that stand in no parentheses. Raises BadInput if there is none."""
    found, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    texts = tuple(part.strip() for part in found if part.strip())
    if not texts:
        raise BadInput("--pareto needs an objective, such as latency_s")
    return texts


def derived(texts: Iterable[str] | None) -> tuple[tuple[str, str], ...]:
    """``NAME=EXPRESSION`` texts as pairs. Raises BadInput."""
    found = []
    for text in texts or ():
        name, equals, expression = text.partition("=")
        if not name.strip() or not equals or not expression.strip() or expression.startswith("="):
            raise BadInput(f"--derive {text}: write NAME=EXPRESSION, such as edp='latency * energy'")
        found.append((name.strip(), expression.strip()))
    return tuple(found)
