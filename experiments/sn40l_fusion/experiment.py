"""SN40L: models unfused, partly fused and fused into kernels on a dataflow chip, launched by software and by hardware.

One machine, one engine: a kernel is a phase of `mappers.phases` whose stages share out compute and memory units.
Unfused, every operator is a kernel; fused, dynamic programming over bytes, pipelines and launches chooses the cuts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf, prod
from typing import TYPE_CHECKING, Any

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...mappers.phases import (
    Fabric,
    Plan,
    Result,
    TaskGraph,
    fabric_of,
    groups,
    operators,
    reconfigurable,
    simulate_plan,
)
from ..loader import Row, table
from .launches import Interval, Kernels, common, launch_at, of_fusion, of_hardware
from .models import SOCKETS, flash_fft_convolution, flops, language_model, monarch, partial

if TYPE_CHECKING:
    from ...report.page import Figure

FFT = "FlashFFT convolution"
LEVELS = ("unfused", "partly fused", "fused")
CONTEXT = {"llama-2-7b": 4096, "mistral-7b": 1536, "llama-3-8b": 1536, "llama-2-70b": 1536}
"""Tokens before the decoded one: 4K, or the middle of 1024 in and 1024 out."""
MODELS = (("llama-2-7b", "prefill"), ("llama-2-7b", "decode"), ("mistral-7b", "decode"), ("llama-3-8b", "decode"),
          ("llama-2-70b", "decode"))  # fmt: skip
DECODE = ("llama-2-7b", "decode")
LONGEST = 40
"""Operators in one kernel at most: more than a layer has."""
MONARCH = {"rows": 64, "inner": 256, "columns": 512, "out": 8, "batch": 512}
"""A shape whose three intensities are the published ones, see the README."""
FFT_FACTORS, FFT_CHANNELS = (32, 32, 32, 32), 64
"""A million points by four factors, as FlashFFTConv cuts them (arXiv:2311.05908); the batch is assumed."""
FFT_SHAPE = f"{prod(FFT_FACTORS)} points, {FFT_CHANNELS} channels"
ASSUMED = "the costs of launches, of the mesh and of links between sockets are assumed, see the preset sn40l_kernels"
IN_RANGE = "in the published range"


@dataclass(frozen=True)
class Measured:
    """A model at one level of fusion: seconds, kernel calls, off-chip bytes of one socket."""

    seconds: float
    calls: int
    nbytes: int

    @staticmethod
    def of(results: Sequence[Result]) -> Measured:
        return Measured(
            sum(r.seconds for r in results),
            sum(r.launches for r in results),
            sum(r.read_bytes + r.written_bytes for r in results),
        )


def machine(**values: object) -> Architecture:
    """One socket; `values` replaces keys of the preset."""
    return load_spec("sn40l_kernels").with_values(values).build()


def fabric(arch: Architecture, orchestration: str) -> Fabric:
    return fabric_of(arch, orchestration=orchestration, sockets=SOCKETS)


def plans(graphs: Sequence[TaskGraph], on: Fabric, level: str) -> tuple[Plan, ...]:
    """The kernels of every part of a model at a level of fusion."""
    if level == "unfused":
        return tuple(groups(g, on, operators(g), style=level) for g in graphs)
    if level == "partly fused":
        return tuple(groups(g, on, partial(g), style=level) for g in graphs)
    return tuple(reconfigurable(g, on, longest=LONGEST, units=operators(g), keep=False) for g in graphs)


def run_plans(made: Sequence[Plan], on: Fabric) -> Measured:
    """The same kernels on a machine, or launched in another way."""
    return Measured.of([simulate_plan(replace(p, fabric=on)) for p in made])


def graphs_of(model: str, phase: str, on: Fabric) -> tuple[TaskGraph, ...]:
    if model == FFT:
        return (flash_fft_convolution(FFT_FACTORS, FFT_CHANNELS),)
    return language_model(model, on.pool, phase=phase, tokens=CONTEXT[model])


@cache
def kernels(model: str, phase: str, level: str) -> tuple[Plan, ...]:
    """The kernels of a model on the preset, made for launches by software."""
    soft = fabric(machine(), "software")
    return plans(graphs_of(model, phase, soft), soft, level)


@cache
def measured(model: str, phase: str, level: str) -> tuple[Measured, Measured]:
    """Launched by software and by hardware; the kernels are those made for software."""
    arch = machine()
    soft, hard = fabric(arch, "software"), fabric(arch, "hardware")
    made = kernels(model, phase, level)
    return run_plans(made, soft), run_plans(made, hard)


def rows() -> Iterator[Row]:
    """Speed-ups, launches and kernel calls of every model, intensities of the Monarch FFT, HBM in decode."""
    for model, phase in MODELS:
        yield from _model(model, phase)
    yield from _model(FFT, "")
    yield from _intensities()
    yield from _assumptions()
    yield from _launches()


def _model(model: str, phase: str) -> Iterator[Row]:
    where = f"{model} {phase}".strip()
    runs = {level: measured(model, phase, level) for level in LEVELS}
    shape = FFT_SHAPE if model == FFT else f"{CONTEXT[model]} tokens"
    for level, (soft, hard) in runs.items():
        note = f"{shape}; {soft.calls} kernel calls; {ASSUMED}"
        yield Row("time", f"{where}, {level}, software launch", None, soft.seconds * 1e3, "ms", None, "simulated", note)
        yield Row("time", f"{where}, {level}, hardware launch", None, hard.seconds * 1e3, "ms", None, "simulated", note)
        yield Row("off-chip traffic", f"{where}, {level}", None, soft.nbytes / 1e9, "GB", None, "simulated",
                  f"{shape}; of one socket of {SOCKETS}")  # fmt: skip
    unfused, fused = runs["unfused"][0], runs["fused"][0]
    found = {
        "speed-up": unfused.seconds / fused.seconds,
        "launch": fused.seconds / runs["fused"][1].seconds,
        "kernel calls": unfused.calls / fused.calls,
        "HBM share": runs["fused"][1].nbytes / runs["fused"][1].seconds / fabric(machine(), "hardware").bandwidth,
        "time per token": runs["fused"][1].seconds * 1e3,
    }
    for r in table(__package__, "reference.csv"):
        if r["workload"] == where:
            yield from _published(r, found[r["quantity"]])


WHAT = {
    "speed-up": ("fused over unfused", "x", "both launched by software"),
    "launch": ("hardware over software launch", "x", "of the fused kernels"),
    "kernel calls": ("kernel calls, unfused over fused", "x", "of one pass"),
    "HBM share": ("share of HBM bandwidth", "fraction", "fused, launched by hardware"),
    "time per token": ("time per token", "ms", "fused, launched by hardware"),
}
TOLERANCES = {"HBM share": 0.05, "speed-up": 0.1}


def _published(r: Mapping[str, str], value: float) -> Iterator[Row]:
    """The row of a published figure, or of a range with whether the simulated value lies in it."""
    name, unit, what = WHAT[r["quantity"]]
    low, high, where, source = float(r["low"]), float(r["high"]), r["workload"], r["source"]
    note = "; ".join(filter(None, (what, r["reason"], ASSUMED)))
    if low == high:
        tolerance = None if r["reason"] else TOLERANCES[r["quantity"]]
        if where == FFT:
            note = f"length and batch are not published: {FFT_SHAPE}; {note}"
        yield Row(name, where, low, value, unit, tolerance, source, note)
        return
    yield Row(name, where, None, value, unit, None, source, f"published: {low:g} to {high:g}; {note}")
    inside = float(low <= value <= high)
    yield Row(f"{name}, {IN_RANGE}", where, 1.0, inside, "", None if r["reason"] else 0.0, source, note)


def intensities(arch: Architecture, shape: Mapping[str, int] = MONARCH) -> dict[str, float]:
    """FLOP per off-chip byte of the Monarch FFT at three levels of fusion."""
    graph, on = monarch(**shape), fabric(arch, "software")
    parts: dict[str, list[tuple[str, ...]]] = {
        "none": [("Gemm0",), ("Mul",), ("Transpose",), ("Gemm1",)],
        "partial": [("Gemm0", "Mul", "Transpose"), ("Gemm1",)],
        "full": [("Gemm0", "Mul", "Transpose", "Gemm1")],
    }
    found = {}
    for level, kernels in parts.items():
        result = simulate_plan(groups(graph, on, kernels))
        found[level] = flops(graph) / (result.read_bytes + result.written_bytes)
    return found


PREFILL, LARGEST = ("llama-2-7b", "prefill"), ("llama-2-70b", "decode")
ASSUMPTIONS: Mapping[str, tuple[str, object, object, Sequence[tuple[str, str]]]] = {
    "software launch": ("units.pool.switches", {"hardware": "1 us", "software": "12 us"},
                        {"hardware": "1 us", "software": "48 us"}, (DECODE, PREFILL, LARGEST)),
    "hardware launch": ("units.pool.switches", {"hardware": "0.5 us", "software": "24 us"},
                        {"hardware": "2 us", "software": "24 us"}, (DECODE,)),
    "links between sockets": ("units.pool.network_bandwidth", "100 GB/s", "400 GB/s", (DECODE, PREFILL)),
    "latency of an all-reduce": ("units.pool.network_latency", "1 us", "4 us", (DECODE,)),
    "latency of a hop": ("units.pool.hop_latency", 0, 2, (DECODE,)),
    "latency of HBM": ("memories.hbm.latency", "50 ns", "200 ns", (DECODE,)),
}  # fmt: skip
"""What is assumed of the machine: its key, half and twice its value (of a hop: none and two), and models to show."""


def _assumptions() -> Iterator[Row]:
    """What the figures that are assumed of the machine do to the speed-ups, with the kernels of the preset."""
    for what, (key, low, high, models) in ASSUMPTIONS.items():
        for value in (low, high):
            arch = machine(**{key: value})
            soft, hard = (fabric(arch, o) for o in ("software", "hardware"))
            shown = value[what.partition(" ")[0]] if isinstance(value, dict) else value
            for model in models:
                where = f"{' '.join(model)}, {what}: {shown}"
                unfused = run_plans(kernels(*model, "unfused"), soft).seconds
                slow, fast = (run_plans(kernels(*model, "fused"), on).seconds for on in (soft, hard))
                yield Row("fused over unfused", where, None, unfused / slow, "x", None, "simulated", ASSUMED)
                yield Row("hardware over software launch", where, None, slow / fast, "x", None, "simulated", ASSUMED)


LINKS = "units.pool.network_bandwidth"
LINK_RATES = ("200 GB/s", "100 GB/s", "400 GB/s")
"""Of the preset, half and twice."""
CALIBRATION = ("mistral-7b decode", 13.0)
"""The published range of speed-ups by fusion in decode ends at this model."""


def _launches() -> Iterator[Row]:
    """What launches by software must cost for each speed-up to be in its range, and whether one cost serves all."""
    references = [r for r in table(__package__, "reference.csv") if r["quantity"] in ("speed-up", "launch")]
    ranges = [r for r in references if r["low"] != r["high"]]
    for rate in LINK_RATES:
        arch = machine(**{LINKS: rate})
        found = {f"{r['workload']}, {WHAT[r['quantity']][0]}": _allowed(arch, r) for r in ranges}
        note = f"links of {rate}, all else as it is; a model's time is affine in the cost of a launch"
        for where, allowed in found.items() if rate == LINK_RATES[0] else ():
            for which, seconds in (("least", allowed.low), ("most", allowed.high)):
                if 0 < seconds < inf:
                    yield Row(f"{which} launch by software for the range", where, None, seconds * 1e6, "us", None,
                              "simulated", note)  # fmt: skip
        every = common(found.values())
        binding = max(found, key=lambda w: found[w].low), min(found, key=lambda w: found[w].high)
        yield Row("one launch by software for all ranges", f"links of {rate}", None, float(not every.empty), "", None,
                  "simulated", f"{binding[0]}: at least {every.low * 1e6:.1f} us; {binding[1]}: at most "
                  f"{every.high * 1e6:.1f} us")  # fmt: skip
    yield from _calibrated(ranges)


def _without_launches(arch: Architecture, where: str, level: str) -> tuple[Kernels, float]:
    """The kernels of a workload on a machine, and their seconds when launched by hardware."""
    model, _, phase = where.partition(" ") if where != FFT else (FFT, "", "")
    on = fabric(arch, "hardware")
    run = run_plans(kernels(model, phase, level), on)
    return Kernels(run.seconds - run.calls * on.switch_s, run.calls), run.seconds


def _allowed(arch: Architecture, r: Mapping[str, str]) -> Interval:
    """Launches by software that put a published figure into its range."""
    low, high = float(r["low"]), float(r["high"])
    fused, by_hardware_s = _without_launches(arch, r["workload"], "fused")
    if r["quantity"] == "launch":
        return of_hardware(fused, by_hardware_s, low, high)
    return of_fusion(_without_launches(arch, r["workload"], "unfused")[0], fused, low, high)


def _calibrated(ranges: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    """The launch by software that gives the one speed-up in decode that is published of one model, and what follows."""
    arch = machine()
    where, ratio = CALIBRATION
    unfused, fused = (_without_launches(arch, where, level)[0] for level in ("unfused", "fused"))
    launch_s = launch_at(unfused, fused, ratio)
    yield Row("launch by software for the published speed-up", f"{where}, {WHAT['speed-up'][0]}", None, launch_s * 1e6,
              "us", None, "simulated", f"{ratio:g} published, the most in decode; all else as it is")  # fmt: skip
    for r in ranges:
        fused, by_hardware_s = _without_launches(arch, r["workload"], "fused")
        by_software_s = fused.with_launches(launch_s)
        if r["quantity"] == "launch":
            value = by_software_s / by_hardware_s
        else:
            value = _without_launches(arch, r["workload"], "unfused")[0].with_launches(launch_s) / by_software_s
        inside = "in" if float(r["low"]) <= value <= float(r["high"]) else "out of"
        yield Row(f"{WHAT[r['quantity']][0]}, launches calibrated on {where}", r["workload"], None, value, "x", None,
                  r["source"], f"{inside} the published range of {r['low']} to {r['high']}")  # fmt: skip


def _intensities() -> Iterator[Row]:
    found = intensities(machine())
    for r in table(__package__, "reference.csv"):
        if r["quantity"] == "intensity":
            note = "the shape was looked for among those that have the published intensities: no prediction"
            yield Row("operational intensity", f"Monarch FFT, fusion: {r['workload']}", float(r["low"]),
                      found[r["workload"]], "FLOP/B", None, r["source"], note)  # fmt: skip


def figure(rows: Sequence[Row]) -> Figure:
    """Time of every workload at three levels of fusion, launched by software and by hardware, over fused hardware."""
    names = [f"{model} {phase}" for model, phase in MODELS] + [FFT]
    times = {r.where: r.accelsim for r in rows if r.quantity == "time" and r.accelsim is not None}
    data: list[dict[str, Any]] = []
    for colour, level in zip(("$0", "$1", "$2"), LEVELS, strict=True):
        for launch, opacity in (("software", 1.0), ("hardware", 0.5)):
            values = [times[f"{n}, {level}, {launch} launch"] / times[f"{n}, fused, hardware launch"] for n in names]
            data.append({
                "type": "bar", "name": f"{level}, {launch} launch", "x": names, "y": values,
                "marker": {"color": colour, "opacity": opacity},
            })  # fmt: skip
    return {"data": data, "layout": {"yaxis": {"title": "time over fused, hardware launch", "type": "log"}}}
