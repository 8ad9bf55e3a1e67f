"""``accelsim calibrate``: three constants of a machine from measured latencies of operators."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from . import options
from .working import working

if TYPE_CHECKING:
    from ..study.calibrate import Calibration
    from ..study.operator_shapes import Measured


def calibrate(
    arch: options.Arch,
    measured: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="CSV: operator, m, n, k, latency_ms; if wanted bits, use (fit, held)."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the machine with these constants.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit compute efficiency, memory efficiency and launch overhead; show errors, leaving each row out in turn."""
    from ..arch.loader import load_spec
    from ..files import writable_file, write_text
    from ..study.calibrate import Predictor, Roofline, variant_yaml
    from ..study.calibrate import calibrate as fit
    from ..study.operator_shapes import read_measured

    if out is not None:
        writable_file(out, (arch, measured))
    rows = read_measured(measured)
    spec = load_spec(arch)
    name = f"{spec.build().name}_calibrated"
    used = [r for r in rows if r.fit]
    simulated, roofline = Predictor(spec), Roofline(spec)
    with working(f"{spec.name} fitted to {len(used)} rows"):
        found = fit(used, simulated)
    told = {
        "machine": spec.name,
        "constants": asdict(found.constants),
        "rows": {"fit": len(used), "held": len(rows) - len(used), "compute_bound": len(found.compute_bound),
                 "memory_bound": len(found.memory_bound),
                 "bound_by_both": len(set(found.compute_bound) & set(found.memory_bound))},
        "errors": _errors(rows, found, simulated),
        "roofline": {},
    }  # fmt: skip
    try:
        flat = fit(used, roofline)
        told["roofline"] = {"constants": asdict(flat.constants), "errors": _errors(rows, flat, roofline)}
    except BadInput as error:  # what the simulation can tell may be hidden from a roofline
        typer.echo(f"warning: no roofline beside it: {error}", err=True)
    text = variant_yaml(arch, out, name, found.constants)
    if out is not None:
        write_text(out, text)
    typer.echo(json.dumps(told, indent=2) if json_ else _text(told, "" if out is not None else text))


def _errors(rows: tuple[Measured, ...], found: Calibration, time: Any) -> dict[str, Any]:
    from ..study.calibrate import NOMINAL, Errors, relative_error

    held = [r for r in rows if not r.fit]
    sets = {
        "uncalibrated": [relative_error(time, r, NOMINAL) for r in rows if r.fit],
        "fit": found.fitted,
        "left_out": found.left_out,
        "held, uncalibrated": [relative_error(time, r, NOMINAL) for r in held],
        "held": [relative_error(time, r, found.constants) for r in held],
    }
    return {name: asdict(Errors.of(values)) for name, values in sets.items() if values}


def _text(told: dict[str, Any], variant: str) -> str:
    c, rows = told["constants"], told["rows"]
    lines = [
        f"{told['machine']}: compute efficiency {c['compute']:.4f}, memory efficiency {c['memory']:.4f}, launch "
        f"overhead {c['launch_s'] * 1e6:.3g} us per operator",
        f"{rows['fit']} rows fitted, {rows['compute_bound']} of them bound by compute and {rows['memory_bound']} by "
        f"memory{f' ({both} by both)' if (both := rows['bound_by_both']) else ''}; {rows['held']} held out",
    ]
    for title, errors in (("simulated", told["errors"]), ("roofline", told["roofline"].get("errors", {}))):
        for name, e in errors.items():
            lines.append(f"{title}, {name}: mean {e['mean']:.1%}, median {e['median']:.1%}, 95th percentile "
                         f"{e['p95']:.1%}, maximum {e['maximum']:.1%} of {e['count']} rows")
    return "\n".join([*lines, *(["", variant.rstrip()] if variant else [])])
