"""MCUNetV2: CNNs patch by patch on microcontrollers, peak memory against recomputation and latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import TYPE_CHECKING, Any

from ... import load_architecture, load_model, simulate
from ...ir import Role, Workload
from ...mappers.patch import Patching, map_workload
from ...mapping.counting import tally
from ...mapping.replay import replay
from ...mapping.scope import Scope
from ...mapping.tree import Mapping as MappingValue
from ...report.occupancy import Occupancy, occupancies, step_operators
from ..loader import SHOWN, Row, data_path, table

if TYPE_CHECKING:
    from ...report.page import Figure

STAGE = "inverted_3.unit_2.conv"
"""The last convolution of the patch stage: the first that makes 28x28 feature maps."""
OPEN, CHIP = "stm32f746_open.yaml", "stm32f746_flash.yaml"
PEAK, RECOMPUTE, LATENCY = "peak activations", "recompute of the network", "latency"
KB = 1024


@dataclass(frozen=True)
class Run:
    """MobileNetV2 mapped one way.

    Attributes:
        activations: bytes of feature maps in SRAM, in each step.
        operators: what runs in each step.
        sram: the most bytes that SRAM holds, buffers of weights and of what passes between operators included.
        stage, network: multiply-accumulates up to the end of the patch stage, and in all.
        input_side: pixels a side of the largest piece of the input that is loaded at once.
        seconds, joules: of one image.
    """

    activations: tuple[int, ...]
    operators: tuple[str, ...]
    sram: int
    stage: int
    network: int
    input_side: int
    seconds: float
    joules: float


@cache
def network() -> Workload:
    return load_model("mobilenet_v2", bits=8)


@cache
def run(machine: str, patching: Patching) -> Run:
    """Map and simulate on a preset, or a machine of this folder."""
    workload = network()
    arch = load_architecture(data_path(__package__, machine) if machine.endswith(".yaml") else machine)
    mapping = map_workload(workload, arch, patching=patching)
    report = simulate(arch, workload, mapping=mapping)
    counted = replay(mapping, workload, arch)
    scope = Scope(mapping, workload)
    tallies = [tally(scope, move) for move in mapping.moves]
    sram = next(o for o in occupancies(scope, arch, tallies) if o.memory == "sram")
    names = list(counted.macs)
    return Run(
        _activations(sram),
        tuple(step_operators(scope)),
        counted.peaks["sram"].nbytes,
        sum(counted.macs[n] for n in names[: names.index(STAGE) + 1]),
        sum(counted.macs.values()),
        _input_side(mapping, scope),
        report.latency_s,
        report.energy_J,
    )


def _activations(held: Occupancy) -> tuple[int, ...]:
    return held.bytes_by_kind[str(Role.ACTIVATION)]


def _input_side(mapping: MappingValue, scope: Scope) -> int:
    move = next(m for m in mapping.moves if m.tensor == "input")
    channels = scope.workload.tensors["input"].shape[1]
    return isqrt(tally(scope, move).largest // channels)


def patched(grid: int, halo: str = "clipped", **switches: Any) -> Patching:
    """A square grid of patches up to the first 28x28 feature maps; 1 for layer by layer."""
    stage = STAGE if grid > 1 else ""
    return Patching((grid, grid), stage, "whole" if halo == "whole" else "clipped", **switches)


def rows() -> Iterator[Row]:
    """Published figures and closed forms, the sweep of grids, the switches, and what fits which microcontroller."""
    for r in table(__package__, "reference.csv"):
        yield _reference(r)
    base = run(OPEN, patched(1))
    for grid in (1, 2, 4, 7):
        got = run(OPEN, patched(grid))
        where = f"{grid}x{grid} patches"
        fits = f"needs {got.sram / KB:.0f} of the chip's 320 KiB with its buffers"
        yield Row(PEAK, where, None, max(got.activations) / KB, "kB", None, SHOWN, fits)
        yield Row(RECOMPUTE, where, None, got.network / base.network - 1, "", None, SHOWN, "clipped at the borders")
        yield Row(LATENCY, where, None, got.seconds * 1e3, "ms", None, SHOWN, f"STM32F746; {fits}")
        yield Row("energy", where, None, got.joules * 1e3, "mJ", None, SHOWN, f"STM32F746; {fits}")
    yield from _switches()
    yield from _chips()


def _reference(r: Mapping[str, str]) -> Row:
    grid = int(r["grid"])
    got, base = run(OPEN, patched(grid, r["halo"])), run(OPEN, patched(1))
    value = {
        PEAK: max(got.activations) / KB,
        "input of an inner patch": float(got.input_side),
        "MACs of the patch stage": float(got.stage),
        "MACs of the network": float(got.network),
        "recompute of the patch stage": got.stage / base.stage - 1,
        RECOMPUTE: got.network / base.network - 1,
    }[r["quantity"]]
    borders = f", {'not ' if r['halo'] == 'whole' else ''}clipped at the borders" if grid > 1 else ""
    where = f"MobileNetV2, 224x224, int8, {grid}x{grid} patches{borders}" if grid > 1 else "MobileNetV2, 224x224, int8"
    return Row(r["quantity"], where, float(r["value"]), value, r["unit"], float(r["tolerance"]), r["source"])


def _switches() -> Iterator[Row]:
    """What each way of counting does to the peak of 4x4 patches."""
    note = "without buffers; the channel that waits counts as one"
    for what, switches in (
        ("all switches as published", {}),
        ("no result in place", {"in_place": "none"}),
        ("residuals added in a step of their own", {"fuse_residual": False}),
        ("the same, pointwise convolutions in place, too", {"fuse_residual": False, "in_place": "all"}),
        ("the channel that waits beside a depthwise convolution counted", {"aside": True}),
    ):
        got = run(OPEN, patched(4, **switches))
        where = f"patches of 4x4, {what}"
        yield Row(PEAK, where, None, max(got.activations) / KB, "kB", None, SHOWN, note)
        yield Row("SRAM", where, None, got.sram / KB, "kB", None, SHOWN, "with buffers")


def _chips() -> Iterator[Row]:
    """The fewest patches that fit the SRAM of the chip."""
    got = run(CHIP, Patching())
    where = "STM32F746, fewest multiply-accumulates that fit"
    note = "all of the network's 3.5 MB of weights do not fit the 1 MB on the chip: 16 MB beside it are assumed"
    yield Row("SRAM", where, None, got.sram / KB, "kB", None, SHOWN, note)
    yield Row(PEAK, where, None, max(got.activations) / KB, "kB", None, SHOWN, note)
    yield Row(LATENCY, where, None, got.seconds * 1e3, "ms", None, SHOWN, note)


def figure(rows: Sequence[Row]) -> Figure:
    """Feature maps in SRAM along the run, layer by layer and in 4x4 patches; peaks over latency of the sweep."""
    data: list[dict[str, Any]] = []
    for colour, name, grid in (("$0", "layer by layer", 1), ("$1", "4x4 patches", 4)):
        got = run(OPEN, patched(grid))
        steps = range(len(got.activations) + 1)
        held = [n / KB for n in got.activations]
        data.append({
            "type": "scatter", "mode": "lines", "name": name, "x": list(steps), "y": [*held, held[-1]],
            "text": [*got.operators, got.operators[-1]], "line": {"shape": "hv", "color": colour},
            "hovertemplate": "%{text}<br>%{y:.1f} kB<extra>" + name + "</extra>",
        })  # fmt: skip
    peaks, times = ({r.where: r.accelsim for r in rows if r.quantity == q and r.published is None and r.where[1] == "x"}
                    for q in (PEAK, LATENCY))  # fmt: skip
    data.append({
        "type": "scatter", "mode": "lines+markers+text", "name": "grids", "x": [times[w] for w in times],
        "y": [peaks[w] for w in times], "text": [w.split()[0] for w in times], "textposition": "top right",
        "cliponaxis": False,
        "line": {"color": "$2"}, "xaxis": "x2", "yaxis": "y2",
        "hovertemplate": "%{text}<br>%{x:.0f} ms, %{y:.1f} kB<extra></extra>",
    })  # fmt: skip
    return {
        "data": data,
        "layout": {
            "xaxis": {"title": "step of the run", "domain": [0, 0.55]},
            "yaxis": {"title": "feature maps in SRAM (kB)", "type": "log"},
            "xaxis2": {"title": "latency on the STM32F746 (ms)", "domain": [0.65, 1], "anchor": "y2"},
            "yaxis2": {"title": "peak (kB)", "type": "log", "anchor": "x2"},
        },
    }
