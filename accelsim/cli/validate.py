"""``accelsim validate``: are these files well formed? Which form a file has is told by its keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import BadInput

_MAPPING = re.compile(r"^(root|phases)\s*:", re.MULTILINE)
_GRAPH = re.compile(r"^streams\s*:", re.MULTILINE)
_SCENARIO = {"arrivals", "policy"}
_MACHINE = {"memories", "units", "clock", "extends"}
_VARIANT = {"extends"}
"""Of machines and cascades."""
_CONSTRAINTS = {"operators", "tensors"}
_MODEL = {"layers", "input", "einsums", "ranks", "without"}


def validate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Machines, mappings, constraints, stream graphs, scenarios, "
                                  "sweeps or models in YAML.")
    ],
) -> None:
    """Check files of machines, mappings, models, sweeps ..., and list everything that is wrong with them."""
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

    scalesim = is_scalesim_cfg(file)
    text = "" if is_preset(file) or scalesim else read_text(file)
    if _MAPPING.search(text):
        from ..mapping import load_mapping

        load_mapping(Path(file))
        return "a mapping, well formed"
    if _GRAPH.search(text):
        from ..lowering.streams import load_graph

        graph = load_graph(file)
        return f"a stream graph of {len(graph.nodes)} nodes and {len(graph.streams)} streams"
    foreign = scalesim or foreign_reader(text) is not None
    data = None if is_preset(file) or foreign else parse_document(text, file).data
    keys = set(data) if isinstance(data, dict) else set()
    if keys & {"axes", "models"}:
        from ..study.sweep_file import load_sweep

        return f"a sweep of {len(load_sweep(file).points())} points"
    if not foreign and not keys & (_MACHINE - _VARIANT) and (told := _beside(file, data)) is not None:
        return told
    arch = load_architecture(file)
    parts = (("memories", arch.memories), ("units", arch.units), ("links", arch.links))
    notes = f". {arch.description}" if foreign else ""
    told = ", ".join(f"{len(part)} {name if len(part) != 1 else _one(name)}" for name, part in parts if part)
    return f"machine '{arch.name}' with {told}{notes}"


def _beside(file: str, data: Any) -> str | None:
    """What a file holds that goes with a machine; None where it may be one. Raises BadInput."""
    from ..workloads.loading import extends_cascade, load_model

    keys = set(data) if isinstance(data, dict) else set()
    # First: a cascade may have tensors and operators of its own, which are keys of constraints too.
    variant = isinstance(data, dict) and extends_cascade(data)
    if keys & _MODEL or variant or (isinstance(data, list) and data and all(isinstance(item, dict) for item in data)):
        workload = load_model(file)
        return f"model '{workload.name}' of {sum(1 for _ in workload.einsums())} Einsums"
    if keys & _SCENARIO:
        from ..serving.llm.scenario_file import load_scenario

        load_scenario(Path(file))
        return "a scenario, well formed"
    if keys & _CONSTRAINTS:
        from ..mapping import load_constraints

        found = load_constraints(Path(file))
        return f"constraints on {len(found.operators)} operators and {len(found.tensors)} tensors by name or pattern"
    return None


def _one(name: str) -> str:
    return "memory" if name == "memories" else name.removesuffix("s")
