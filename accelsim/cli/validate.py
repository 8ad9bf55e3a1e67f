"""``accelsim validate``: are these files well formed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Machines, mappings or sweeps.")],
) -> None:
    """Check machine, mapping and sweep files, and list everything that is wrong with them."""
    wrong = 0
    for file in files:
        try:
            typer.echo(f"{file}: {_check(file)}")
        except BadInput as error:
            wrong += 1
            typer.echo(f"error: {error}", err=True)
    if wrong:
        raise typer.Exit(BadInput.exit_code)


def _check(file: str) -> str:
    """What the file holds, in words. Raises BadInput."""
    from ..arch.document import is_preset
    from ..arch.imports import foreign_reader
    from ..arch.imports.scalesim_cfg import is_scalesim_cfg
    from ..arch.loader import load_architecture
    from ..files import read_text
    from ..text.document import parse_document

    foreign = is_scalesim_cfg(file) or (not is_preset(file) and foreign_reader(read_text(file)) is not None)
    data = None if is_preset(file) or foreign else parse_document(read_text(file), file).data
    keys = set(data) if isinstance(data, dict) else set()
    if "root" in keys:
        from ..mapping import load_mapping

        load_mapping(Path(file))
        return "a mapping, well formed"
    if keys & {"axes", "models"}:
        from ..study.sweep_file import load_sweep

        return f"a sweep of {len(load_sweep(file).points())} points"
    arch = load_architecture(file)
    parts = (("memories", arch.memories), ("units", arch.units), ("links", arch.links))
    notes = f". {arch.description}" if foreign else ""
    told = ", ".join(f"{len(part)} {name if len(part) != 1 else _one(name)}" for name, part in parts if part)
    return f"machine '{arch.name}' with {told}{notes}"


def _one(name: str) -> str:
    return "memory" if name == "memories" else name.removesuffix("s")
