"""``accelsim list``: what there is to run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..errors import BadInput

SECTIONS = ("machines", "models", "mappers", "components", "experiments")


def list_all(
    section: Annotated[str | None, typer.Argument(metavar="[SECTION]", help=", ".join(SECTIONS))] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List machines, models, mappers, kinds of components and experiments by name."""
    if section is not None and section not in SECTIONS:
        raise BadInput(f"no section '{section}' ({', '.join(SECTIONS)})")
    found = {name: names(name) for name in SECTIONS if section in (None, name)}
    if json_:
        typer.echo(json.dumps(found, indent=2))
        return
    for name, entries in found.items():
        if section is None:
            typer.echo(f"{name}:")
        for entry in entries:
            typer.echo(entry if section else f"  {entry}")


def names(section: str) -> list[str]:
    """What there is of one of `SECTIONS`."""
    if section == "machines":
        from ..arch.document import preset_names

        return list(preset_names())
    if section == "models":
        from ..workloads import zoo
        from ..workloads.onnx_import import wheel_models

        return [*zoo.names(), *(f"onnx:{name}" for name in sorted(wheel_models()))]
    if section == "mappers":
        from ..simulation import mapper_names

        return ["auto", *mapper_names()]
    if section == "components":
        from ..arch.registry import kind_names

        return list(kind_names())
    from ..experiments.loader import experiment_names

    return experiment_names()
