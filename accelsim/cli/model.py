"""``accelsim model``: what a model counts, on any machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from ..ir import OperatorCounts


def model(
    model: options.ModelRef,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    option: options.Option = None,
    precision: options.Precision = None,
    density: options.Density = None,
    allow_unknown: options.AllowUnknown = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every operator.")] = False,
) -> None:
    """Count multiply-accumulates, parameters and the feature maps of convolutions (CIO), by operator and in all."""
    from ..ir import operator_counts, total_counts
    from ..study.evaluation import model as workload_of

    options.check_phase(phase, seq, context)
    wanted = options.model_options(phase, batch, seq, context, bits, bind, precision, allow_unknown, option, density)
    workload = workload_of(model, wanted)
    counts = operator_counts(workload)
    total = total_counts(workload.name, counts)
    if json_:
        told = {"model": workload.name, "total": _json(total), "operators": [_json(c) for c in counts]}
        typer.echo(json.dumps(told, indent=2))
        return
    _print([c for c in counts if c.macs], total)
    for note in workload.notes:
        typer.echo(note)


def _json(counts: OperatorCounts) -> dict[str, Any]:
    return {**asdict(counts), "cio": counts.cio, "macs_per_cio": counts.macs_per_cio}


def _print(counts: list[OperatorCounts], total: OperatorCounts) -> None:
    """A line for each operator with multiply-accumulates; the total has the parameters of all others too."""
    from .cells import console, table

    def line(c: OperatorCounts) -> dict[str, object]:
        return {
            "operator": c.name, "kind": c.kind, "times": f"{c.times:,}", "MACs": f"{c.macs:,}",
            "parameters": f"{c.parameters:,}", "CIO": f"{c.cio:,}" if c.cio else "",
            "MACs/CIO": "" if c.macs_per_cio is None else f"{c.macs_per_cio:,.1f}",
        }  # fmt: skip

    numbers = ("times", "MACs", "parameters", "CIO", "MACs/CIO")
    whole = {**line(total), "operator": "total", "kind": "", "times": ""}
    shown = table(total.name, ("operator", "kind", *numbers), map(line, counts), numbers)
    shown.add_section()
    shown.add_row(*(str(value) for value in whole.values()))
    console().print(shown)
