"""``accelsim dram``: requests of a trace file through a DRAM."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import AccelsimError, BadInput
from . import options

if TYPE_CHECKING:
    from ..components.dram_timing import DramDevice
    from ..components.dram_trace import PagePolicy, TraceResult

PresetName = Annotated[
    str, typer.Argument(metavar="PRESET", help="A DRAM preset, such as DDR4_3200W (`list` names all).")
]
TraceFile = Annotated[str | None, typer.Argument(metavar="[TRACE]", help="A file of lines `address R|W time`.")]


def dram(
    preset: PresetName,
    trace: TraceFile = None,
    channels: Annotated[int, typer.Option(help="Channels.")] = 1,
    mapping: Annotated[
        str | None, typer.Option(metavar="FIELDS", help="Address mapping, such as 'ro ba co bg ch'.")
    ] = None,
    page: Annotated[str, typer.Option(help="Page policy: open, closed, adaptive.")] = "open",
    outstanding: Annotated[int, typer.Option(help="Most requests on their way; 0 means any number.")] = 0,
    refresh: Annotated[bool, typer.Option(help="Whether it refreshes.")] = True,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=N", help="A time in cycles, such as tRFC=560.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check every command against the times of the device.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a trace file of requests, one burst each, through a DRAM preset: time, row hits, energy."""
    from ..components.dram_file import parse_trace
    from ..components.dram_timing import DEFAULT_MAPPING, preset_names
    from ..components.dram_timing import preset as preset_of
    from ..components.dram_trace import Controller, run_trace
    from ..files import read_text

    if preset == "list" and trace is None:
        typer.echo("\n".join(preset_names()))
        return
    if trace is None:
        raise BadInput("no trace file (write `accelsim dram PRESET TRACE`)")
    if channels < 1:
        raise BadInput(f"--channels {channels}: at least 1")
    device = preset_of(preset).with_(channels=channels, **_times(set_ or []))
    requests = parse_trace(read_text(trace), trace, device.clock_s)
    controller = Controller(page=cast("PagePolicy", page), outstanding=outstanding, refresh=refresh)
    result = run_trace(
        device, requests.addresses, requests.writes, requests.times, mapping=mapping or DEFAULT_MAPPING,
        controller=controller, commands=20 * len(requests.addresses) + 1000 if check else 0,
    )  # fmt: skip
    broken = _broken(device, result, refresh) if check else []
    told = described(result)
    if check:
        told["violations"] = broken
    typer.echo(json.dumps(told, indent=2) if json_ else _text(told))
    if broken:
        raise AccelsimError(f"{len(broken)} commands break a time of {device.name}")


def _times(pairs: list[str]) -> dict[str, Any]:
    found = {}
    for name, value in options.pairs("--set", pairs):
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadInput(f"--set {name}={value}: write NAME=N")
        found[name] = value
    return found


def _broken(device: DramDevice, result: TraceResult, refresh: bool) -> list[str]:
    from ..components.dram_check import violations

    return [text for commands in result.commands for text in violations(device, commands, refresh=refresh)]


def described(result: TraceResult) -> dict[str, Any]:
    """A result as plain values; the contract of ``--json``."""
    device = result.device
    energy = dict(result.energy_J)
    return {
        "preset": device.name,
        "source": device.source,
        "channels": device.channels,
        "requests": result.reads + result.writes,
        "reads": result.reads,
        "writes": result.writes,
        "cycles": result.cycles,
        "seconds": result.seconds,
        "bandwidth_B_per_s": result.bandwidth,
        "peak_bandwidth_B_per_s": device.peak_bandwidth,
        "row_hits": result.row_hits,
        "row_hit_rate": result.hit_rate,
        "activates": result.activates,
        "precharges": result.precharges,
        "refreshes": result.refreshes,
        "mean_read_latency_cycles": result.latency_cycles,
        "energy_J": {**energy, "total": sum(energy.values())},
    }


def _text(told: dict[str, Any]) -> str:
    energy = told["energy_J"]
    lines = [
        f"{told['preset']} x {told['channels']} ({told['source']})",
        f"{told['requests']:,} requests ({told['writes']:,} write), {told['cycles']:,} cycles, {told['seconds']:.4g} s",
        f"bandwidth {told['bandwidth_B_per_s'] / 1e9:.4g} of {told['peak_bandwidth_B_per_s'] / 1e9:.4g} GB/s",
        f"row hits {told['row_hit_rate']:.2%}; {told['activates']:,} activations, {told['refreshes']:,} refreshes",
        f"mean latency of reads {told['mean_read_latency_cycles']:.1f} cycles",
        "energy " + ", ".join(f"{name} {joules * 1e6:.4g} uJ" for name, joules in energy.items()),
    ]
    if "violations" in told:
        lines.append(f"commands that break a time: {len(told['violations'])}")
        lines += told["violations"][:10]
    return "\n".join(lines)
