"""``accelsim cascade``: what a cascade of Einsums needs on any machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput, DoesNotFit
from . import options

if TYPE_CHECKING:
    from ..ir import Einsum, RankPasses, Workload

CascadeRef = Annotated[
    str, typer.Argument(metavar="CASCADE", help="A cascade: a YAML file, or a name of the zoo such as attention_3pass.")
]


def cascade(
    cascade: CascadeRef,
    bind: Annotated[list[str] | None, typer.Option(metavar="RANK=N", help="Size of a rank.")] = None,
    bits: options.Bits = None,
    buffer: Annotated[
        list[str] | None, typer.Option(metavar="SIZE", help="Also the least traffic through a buffer: '1 MiB'.")
    ] = None,
    fewest_passes: Annotated[
        bool, typer.Option("--fewest-passes", help="Rewrite it for fewer passes first, and say by which rewrites.")
    ] = False,
    block: Annotated[
        list[str] | None, typer.Option(metavar="RANK=N", help="With --fewest-passes: cut a rank into blocks first.")
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --fewest-passes: write the rewritten cascade as YAML.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count passes over ranks and say why each starts; live footprint, operations, traffic by fusion, intensity."""
    if (block or save) and not fewest_passes:
        raise BadInput("--block and --save go with --fewest-passes")
    from ..study.evaluation import model as workload_of

    wanted = options.model_options(None, None, None, None, bits, bind)
    workload = workload_of(cascade, wanted)
    sizes = [_bytes(size) for size in buffer or []]
    rewrites = None
    if fewest_passes:
        workload, rewrites = _rewritten(workload, block or [])
    told = described(workload, sizes)
    if rewrites is not None:
        told["rewrites"] = rewrites
    if save is not None:
        save_cascade(workload, save)
    if json_:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(told)


def _rewritten(workload: Workload, blocks: list[str]) -> tuple[Workload, dict[str, Any]]:
    """The cascade of fewest passes, and how it came about as plain values."""
    from ..ir import passes
    from ..ir.rewrites import fewest_passes

    cut: dict[str, int] = {}
    for rank, size in options.pairs("--block", blocks):
        if not isinstance(size, int) or isinstance(size, bool):
            raise BadInput(f"--block {rank}={size}: write RANK=N")
        cut[rank] = size
    found = fewest_passes(workload, blocks=cut)
    before = max(p.count for p in passes(workload))
    steps = [{**asdict(step), "text": str(step)} for step in found.steps]
    return found.workload, {"passes": [before, found.passes], "checked": found.checked, "steps": steps}


def save_cascade(workload: Workload, file: str | Path) -> None:
    """Write a cascade in the YAML form that `accelsim cascade` and `accelsim run` read."""
    from ..files import write_text
    from ..ir import format_cascade

    lines = format_cascade(workload).splitlines()
    write_text(file, "\n".join([f"name: {json.dumps(workload.name)}", "einsums: |", *(f"  {x}" for x in lines), ""]))


def described(workload: Workload, buffers_bytes: list[int]) -> dict[str, Any]:
    """All analyses of a cascade as plain values; the contract of ``--json``."""
    from ..ir import compulsory_bytes, fusion_levels, live_footprint, passes

    over = passes(workload)
    read, written = compulsory_bytes(workload)
    told: dict[str, Any] = {
        "cascade": workload.name,
        "einsums": [str(e) for e, _ in workload.einsums()],
        "passes": max(p.count for p in over),
        "ranks": [_rank(p, asdict(live_footprint(workload, p))) for p in over],
        "operations": dict(workload.operations().counts),
        "compulsory_bytes": {"read": read, "write": written},
        "fusion": [{**asdict(level), "intensity": level.intensity} for level in fusion_levels(workload)],
    }
    if buffers_bytes:
        told["least_traffic"] = [
            {"einsum": e.name, "buffers": [_least(e, workload, size) for size in buffers_bytes]}
            for e, _ in workload.einsums()
            if not e.iterative
        ]
        told["least_traffic_fused"] = [_fused(workload, size) for size in buffers_bytes]
    return told


def _rank(over: RankPasses, live: dict[str, Any]) -> dict[str, Any]:
    forms = [list(form) for form in over.family.forms]
    return {
        "rank": over.rank, "size": over.family.size, "forms": forms, "passes": over.count,
        "starts": [asdict(start) for start in over.starts], "prefixes": list(over.prefixes),
        "tensors": {name: list(at) for name, at in over.tensors.items()}, "einsums": dict(over.einsums),
        "footprint": {"grows": bool(live["crossings"]), **{k: v for k, v in live.items() if k != "rank"}},
    }  # fmt: skip


def _least(einsum: Einsum, workload: Workload, buffer_bytes: int) -> dict[str, Any]:
    from ..ir import minimum_traffic

    try:
        traffic: int | None = minimum_traffic(einsum, buffer_bytes, workload.tensors).traffic_bytes
    except DoesNotFit:
        traffic = None
    return {"buffer_bytes": buffer_bytes, "traffic_bytes": traffic}


def _fused(workload: Workload, buffer_bytes: int) -> dict[str, Any]:
    from ..ir import fused_traffic_curve

    try:
        return asdict(fused_traffic_curve(workload, [buffer_bytes])[0])
    except DoesNotFit:
        return {"buffer_bytes": buffer_bytes, "alone_bytes": None, "fused_bytes": None, "footprint": ""}


def _bytes(text: str) -> int:
    from ..arch.units import BYTES, QuantityError

    try:
        return int(BYTES.parse(text))
    except QuantityError as error:
        raise BadInput(f"--buffer {text}: {error}") from None


def _print(told: dict[str, Any]) -> None:
    from .cells import console, table

    if "rewrites" in told:
        _print_rewrites(told["rewrites"])
    lines = [told["cascade"], *(f"    {text}" for text in told["einsums"]), ""]
    for rank in told["ranks"]:
        lines += _rank_lines(rank)
    typer.echo("\n".join(lines))
    counts = ", ".join(f"{cost_class} {n:,}" for cost_class, n in told["operations"].items())
    least = told["compulsory_bytes"]
    typer.echo(f"\noperations: {counts}")
    typer.echo(f"compulsory traffic: {least['read']:,} bytes read, {least['write']:,} written")
    rows = [
        {"fusion": level["name"], "bytes": f"{level['nbytes']:,}", "operations/byte": f"{level['intensity']:,.2f}"}
        for level in told["fusion"]
    ]
    console().print(table("traffic by how far it is fused", tuple(rows[0]), rows, ("bytes", "operations/byte")))
    if "least_traffic" in told:
        _print_least(told["least_traffic"], told["least_traffic_fused"])


def _print_least(alone: list[dict[str, Any]], fused: list[dict[str, Any]]) -> None:
    from .cells import console, table

    def amount(nbytes: int | None) -> str:
        return "does not fit" if nbytes is None else f"{nbytes:,}"

    shown = [
        {"Einsum": row["einsum"], **{f"{p['buffer_bytes']:,}": amount(p["traffic_bytes"]) for p in row["buffers"]}}
        for row in alone
    ]
    if shown:
        title = "least bytes moved by each Einsum alone"
        console().print(table(title, tuple(shown[0]), shown, tuple(shown[0])[1:]))
    rows = [
        {"buffer": f"{p['buffer_bytes']:,}", "one after the other": amount(p["alone_bytes"]),
         "together, at least": amount(p["fused_bytes"]), "held back by": p["footprint"]}
        for p in fused
    ]  # fmt: skip
    console().print(table("least bytes moved by all of it", tuple(rows[0]), rows, tuple(rows[0])[:3]))


def _print_rewrites(rewrites: dict[str, Any]) -> None:
    before, after = rewrites["passes"]
    typer.echo(f"rewritten from {before} to {after} passes" if rewrites["steps"] else "no rewrite lowers its passes")
    for i, step in enumerate(rewrites["steps"], 1):
        typer.echo(f"    {i}. {step['text']}")
    if rewrites["steps"]:
        equal = "equal on random inputs" if rewrites["checked"] else "not compared: too large to evaluate"
        typer.echo(f"    results before and after: {equal}\n")


def _rank_lines(rank: dict[str, Any]) -> list[str]:
    times = "1 pass" if rank["passes"] == 1 else f"{rank['passes']} passes"
    cut = [" x ".join(form) for form in rank["forms"] if len(form) > 1]
    lines = [f"{rank['rank']} ({rank['size']:,}{', cut into ' + ', '.join(cut) if cut else ''}): {times}"]
    lines += [f"    pass {start['number']}: {start['reason']}" for start in rank["starts"]]
    if rank["prefixes"]:
        lines.append(f"    {', '.join(rank['prefixes'])}: step by step (a prefix starts no pass)")
    for crossing in rank["footprint"]["crossings"]:
        until = ", ".join(map(str, crossing["read"]))
        kept = "read again, or held" if crossing["given"] else "held"
        size = f"{crossing['bytes_per_point']:,} bytes per point of the other ranks, {crossing['nbytes']:,} in all"
        lines.append(f"    {crossing['tensor']}: {kept} from pass {crossing['made']} to {until}: {size}")
    return lines
