"""SN40L: models unfused, partly fused and fused into kernels on a dataflow chip, launched by software and by hardware.

One machine, one engine: a kernel is a phase of `mappers.phases` whose stages share out compute and memory units.
Unfused, every operator is a kernel; fused, dynamic programming over bytes, pipelines and launches chooses the cuts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from ...arch.architecture import Architecture
from ...mappers.phases import groups, simulate_plan
from ..loader import Row, table
from . import calibrated
from .launches import Interval, common, of_fusion, of_hardware
from .models import flops, monarch
from .runs import (
    FFT,
    FFT_CHANNELS,
    IN_RANGE,
    LEVELS,
    PAPER,
    TOLERANCES,
    Run,
    fabric,
    inside,
    kernels,
    machine,
    measured,
    references,
    run_plans,
    without_launches,
)

if TYPE_CHECKING:
    from ...report.page import Figure

MEASURED = tuple(Run(model, "decode", 1536) for model in ("mistral-7b", "llama-3-8b", "llama-2-70b"))
"""The middle of 1024 tokens in and 1024 out."""
PREFILL, DECODE = Run("llama-2-7b", "prefill", 4096), Run("llama-2-7b", "decode", 4096)
LARGE = Run("llama-2-70b", "decode", 4096)
MONARCH = {"rows": 64, "inner": 256, "columns": 512, "out": 8, "batch": 512}
"""A shape whose three intensities are the published ones, see the README."""
FFT_SHAPE = f"{FFT.tokens} points, {FFT_CHANNELS} channels"
ASSUMED = "the costs of launches, of the mesh and of links between sockets are assumed, see the preset sn40l_kernels"


def rows() -> Iterator[Row]:
    """Speed-ups, launches and kernel calls of every model, intensities of the Monarch FFT, HBM in decode."""
    for run in PAPER:
        yield from of_run(run)
    yield largest()
    for run in MEASURED:
        yield from _time_per_token(run)
    yield from _intensities()
    yield from _assumptions()
    yield from _launches()
    yield from calibrated.rows()


def of_run(run: Run) -> Iterator[Row]:
    """Times and traffic at every level of fusion, and what follows from them beside what is published."""
    runs = {level: measured(run, level) for level in LEVELS}
    shape = FFT_SHAPE if run == FFT else f"{run.tokens} tokens"
    for level, (soft, hard) in runs.items():
        note = f"{shape}; {soft.calls} kernel calls; {ASSUMED}"
        yield Row("time", f"{run}, {level}, software launch", None, soft.seconds * 1e3, "ms", None, "simulated", note)
        yield Row("time", f"{run}, {level}, hardware launch", None, hard.seconds * 1e3, "ms", None, "simulated", note)
        yield Row("off-chip traffic", f"{run}, {level}", None, soft.nbytes / 1e9, "GB", None, "simulated",
                  f"{shape}; of one socket")  # fmt: skip
    (unfused, _), (soft, hard) = runs["unfused"], runs["fused"]
    found = {
        "speed-up": unfused.seconds / soft.seconds,
        "launch": soft.seconds / hard.seconds,
        "kernel calls": unfused.calls / soft.calls,
        "HBM share": hard.nbytes / hard.seconds / fabric(machine(), "hardware").bandwidth,
    }
    for r in references(run):
        yield from _published(r, found[r["quantity"]])


def largest() -> Row:
    """Whether the model that gains most by fusion in decode is the one that the paper names."""
    decodes = [run for run in PAPER if run.phase == "decode"]
    gains = {run: measured(run, "unfused")[0].seconds / measured(run, "fused")[0].seconds for run in decodes}
    most = max(gains, key=lambda run: gains[run])
    note = "; ".join(f"{run}: {gain:.2f}" for run, gain in gains.items())
    return Row("the largest speed-up by fusion in decode is Mistral's", "all models", 1.0,
               float(most.model == "mistral-7b"), "", 0.0, "MICRO 2024, section VI-A", note)  # fmt: skip


def _time_per_token(run: Run) -> Iterator[Row]:
    _, hard = measured(run, "fused")
    for r in references(run):
        yield from _published(r, hard.seconds * 1e3)


WHAT = {
    "speed-up": ("fused over unfused", "x", "both launched by software"),
    "launch": ("hardware over software launch", "x", "of the fused kernels"),
    "kernel calls": ("kernel calls, unfused over fused", "x", "of one pass"),
    "HBM share": ("share of HBM bandwidth", "fraction", "fused, launched by hardware"),
    "time per token": ("time per token", "ms", "fused, launched by hardware"),
}


def _published(r: Mapping[str, str], value: float) -> Iterator[Row]:
    """The row of a published figure, or of a range with whether the simulated value lies in it."""
    name, unit, what = WHAT[r["quantity"]]
    low, high, where, source = float(r["low"]), float(r["high"]), r["workload"], r["source"]
    note = "; ".join(filter(None, (what, r["reason"], ASSUMED)))
    if low == high:
        tolerance = None if r["reason"] else TOLERANCES[r["quantity"]]
        if where == str(FFT):
            note = f"channels are assumed: {FFT_SHAPE}; {note}"
        yield Row(name, where, low, value, unit, tolerance, source, note)
        return
    yield Row(name, where, None, value, unit, None, source, f"published: {low:g} to {high:g}; {note}")
    tolerance = None if r["reason"] else 0.0
    yield Row(f"{name}, {IN_RANGE}", where, 1.0, inside(value, low, high), "", tolerance, source, note)


def intensities(arch: Architecture, shape: Mapping[str, int] = MONARCH) -> dict[str, float]:
    """FLOP per off-chip byte of the Monarch FFT at three levels of fusion."""
    graph, on = monarch(**shape), fabric(arch, "software")
    parts: dict[str, list[tuple[str, ...]]] = {
        "none": [("Gemm0",), ("Mul",), ("Transpose",), ("Gemm1",)],
        "partial": [("Gemm0", "Mul", "Transpose"), ("Gemm1",)],
        "full": [("Gemm0", "Mul", "Transpose", "Gemm1")],
    }
    found = {}
    for level, made in parts.items():
        result = simulate_plan(groups(graph, on, made))
        found[level] = flops(graph) / (result.read_bytes + result.written_bytes)
    return found


ASSUMPTIONS: Mapping[str, tuple[str, object, object, Sequence[Run]]] = {
    "software launch": ("units.pool.switches", {"hardware": "1 us", "software": "12 us"},
                        {"hardware": "1 us", "software": "48 us"}, (DECODE, PREFILL, LARGE)),
    "hardware launch": ("units.pool.switches", {"hardware": "0.5 us", "software": "24 us"},
                        {"hardware": "2 us", "software": "24 us"}, (DECODE,)),
    "links between sockets": ("units.pool.network_bandwidth", "100 GB/s", "400 GB/s", (DECODE, PREFILL)),
    "latency of an all-reduce": ("units.pool.network_latency", "1 us", "4 us", (DECODE,)),
    "latency of a hop": ("units.pool.hop_latency", 0, 2, (DECODE,)),
    "latency of HBM": ("memories.hbm.latency", "50 ns", "200 ns", (DECODE,)),
}  # fmt: skip
"""What is assumed of the machine: its key, half and twice its value (of a hop: none and two), and runs to show."""


def _assumptions() -> Iterator[Row]:
    """What the figures that are assumed of the machine do to the speed-ups, with the kernels of the preset."""
    for what, (key, low, high, models) in ASSUMPTIONS.items():
        for value in (low, high):
            arch = machine(**{key: value})
            soft, hard = (fabric(arch, o) for o in ("software", "hardware"))
            shown = value[what.partition(" ")[0]] if isinstance(value, dict) else value
            for run in models:
                where = f"{run}, {what}: {shown}"
                unfused = run_plans(kernels(run, "unfused"), soft).seconds
                slow, fast = (run_plans(kernels(run, "fused"), on).seconds for on in (soft, hard))
                yield Row("fused over unfused", where, None, unfused / slow, "x", None, "simulated", ASSUMED)
                yield Row("hardware over software launch", where, None, slow / fast, "x", None, "simulated", ASSUMED)


def _launches() -> Iterator[Row]:
    """What launches by software must cost for each speed-up to be in its range, and whether one cost serves all."""
    note = "all else as it is; a model's time is affine in the cost of a launch"
    found = {(run, r["quantity"]): allowed(run, r) for run in PAPER if run != FFT for r in references(run)
             if r["quantity"] in ("speed-up", "launch") and r["low"] != r["high"]}  # fmt: skip
    for (run, quantity), interval in found.items():
        for which, seconds in (("least", interval.low), ("most", interval.high)):
            if 0 < seconds < inf:
                yield Row(f"{which} launch by software for the range", f"{run}, {WHAT[quantity][0]}", None,
                          seconds * 1e6, "us", None, "simulated", note)  # fmt: skip
    every = common(found.values())
    least, most = max(found, key=lambda w: found[w].low), min(found, key=lambda w: found[w].high)
    yield Row("one launch by software for all ranges", "all models", None, float(not every.empty), "", None,
              "simulated", f"{least[0]}, {WHAT[least[1]][0]}: at least {every.low * 1e6:.1f} us; {most[0]}, "
              f"{WHAT[most[1]][0]}: at most {every.high * 1e6:.1f} us")  # fmt: skip


def allowed(run: Run, r: Mapping[str, str]) -> Interval:
    """Launches by software that put a published figure into its range."""
    low, high = float(r["low"]), float(r["high"])
    fused, by_hardware_s = without_launches(run, "fused")
    if r["quantity"] == "launch":
        return of_hardware(fused, by_hardware_s, low, high)
    return of_fusion(without_launches(run, "unfused")[0], fused, low, high)


def _intensities() -> Iterator[Row]:
    found = intensities(machine())
    for r in table(__package__, "reference.csv"):
        if r["quantity"] == "intensity":
            note = "the shape was looked for among those that have the published intensities: no prediction"
            yield Row("operational intensity", f"Monarch FFT, fusion: {r['workload']}", float(r["low"]),
                      found[r["workload"]], "FLOP/B", None, r["source"], note)  # fmt: skip


def figure(rows: Sequence[Row]) -> Figure:
    """Time of every workload at three levels of fusion, launched by software and by hardware, over fused hardware."""
    names = [str(run) for run in PAPER]
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
