"""InTAR: five kernels on an FPGA, sequential, as a dataflow and reconfigured from phase to phase.

As built: the loops of the public designs, each on its own multipliers, ports and clock, beside the logs of the board.
On one budget: the schedules that the mapper finds on the multipliers, memory and ports of the reconfigurable design.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import exp, fsum, log, prod
from typing import TYPE_CHECKING, Any

from ... import load_architecture, load_model
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...mappers.phases import (
    STYLES,
    Fabric,
    Loop,
    Phase,
    Plan,
    Result,
    Stage,
    TaskGraph,
    fabric_of,
    reconfigurable,
    run_style,
    simulate_plan,
    task_graphs,
    with_residents,
)
from ..loader import Row, table
from .kernels import KERNELS

if TYPE_CHECKING:
    from ...report.page import Figure

Key = tuple[str, str]
PAPER = "He et al., InTAR, FCCM 2025, arXiv:2502.08807, abstract"
BUILT, BUDGET = "as built", "one budget"
OVER = {"dataflow": 1.8, "sequential": 7.1}
"""Published mean speed-ups of the reconfigurable designs."""
LOOSE = {
    ("attention", "reconfigurable"): "4.7 million cycles that no loop of the public design accounts for",
    ("attention", "sequential"): "the II that loops without a pragma reach is taken as their latency",
    ("attention", "dataflow"): "V is ready here when S is; the design's short FIFOs hold it back until then",
    ("mlp", "sequential"): "waits for single words of HBM are not counted",
    ("cnn", "sequential"): "loops not public; on the board every row waits for HBM: emulation gives 1,500,860 cycles",
    ("cnn", "dataflow"): "the board is 11 times slower than its loops, in emulation as well; the cause is not public",
    ("cnn", "reconfigurable"): "by its loops at II 1; II 2 in C3, for conflicts of its banks, would give about 127,000",
    ("vae", "sequential"): "loops not public; 35 cycles a window in emulation",
    ("vae", "dataflow"): "loops not public",
    ("vae", "reconfigurable"): "fill of the transposed convolutions in turns, which here overlap",
    ("gating", "sequential"): "every column waits for HBM once per word that is written and read back",
}
"""Why a board log is out of reach of the public facts."""
TOLERANCE = 0.02
GPT2_RANGE = (3.65, 39.14)
U280_DSPS = 9024
GPT2_CLOCK_MHZ = 240.0
"""The middle of the published 190 to 290 MHz."""


@cache
def built() -> Mapping[Key, Mapping[str, str]]:
    """The rows of board.csv by kernel and style."""
    return {(r["kernel"], r["style"]): r for r in table(__package__, "board.csv")}


@cache
def designs() -> Mapping[Key, Sequence[Mapping[str, str]]]:
    """The rows of designs.csv by kernel and style."""
    found: dict[Key, list[Mapping[str, str]]] = {}
    for r in table(__package__, "designs.csv"):
        found.setdefault((r["kernel"], r["style"]), []).append(r)
    return found


def machine(cores: int, clock_mhz: float, ports: int, port_bytes: int, **values: object) -> Architecture:
    """The U280 with so many multipliers, at that clock; `values` replaces keys of the preset."""
    given: dict[str, object] = {
        "clock": f"{clock_mhz} MHz",
        "units.cores.cores": cores,
        "units.cores.ports": ports,
        "units.cores.port_bandwidth": f"{port_bytes} B/cycle",
        **values,
    }
    return load_spec("alveo_u280_cores").with_values(given).build()


def unrolled(text: str) -> tuple[tuple[str, int], ...]:
    """``n:16 k:2`` as pairs."""
    return tuple((r, int(f)) for r, _, f in (part.partition(":") for part in text.split()))


def interval(fabric: Fabric, sums: str) -> int:
    """Initiation interval of a loop by where it adds up: in a register every cycle, in memory when the word that it
    reads has come, been added to and is there again."""
    return {"register": 1, "memory": fabric.pool.depth}[sums]


def as_built(kernel: str, style: str, **values: object) -> Plan:
    """The Plan of a public design."""
    rows, board = designs()[kernel, style], built()[kernel, style]
    phases = []
    for number in sorted({int(r["phase"]) for r in rows}):
        here = [r for r in rows if int(r["phase"]) == number]
        stages = tuple(Stage(r["task"], prod(f for _, f in unrolled(r["unroll"])), r["outer"]) for r in here)
        phases.append(Phase(stages, tuple(r["keep"] for r in here if r["keep"])))
    cores = max(sum(s.cores for s in p.stages) for p in phases)
    arch = machine(cores, float(board["clock_mhz"]), int(board["ports"]), int(board["port_bytes"]), **values)
    fabric = fabric_of(arch)
    loops = {
        r["task"]: Loop(
            unrolled(r["unroll"]), interval(fabric, r["sums"]), tuple(r["inner"].split()), r["outer"], int(r["fetch"])
        )
        for r in rows
    }
    graph = KERNELS[kernel]()
    graph = replace(graph, tasks=tuple(replace(t, loop=loops[t.name]) for t in graph.tasks))
    held = Plan(graph, fabric, tuple(phases)).held
    filled = tuple(
        replace(with_residents(graph, fabric, p.stages, h)[0], keep=p.keep) for p, h in zip(phases, held, strict=True)
    )
    return Plan(graph, fabric, filled, style)


@cache
def run_built(kernel: str, style: str) -> Result:
    return simulate_plan(as_built(kernel, style))


def budget(kernel: str) -> Fabric:
    """Multipliers, clock and ports of the reconfigurable design, and the most bytes on the chip that any design of this
    kernel holds, free to be shared out otherwise."""
    capacity = max(run_built(kernel, style).on_chip_bytes for style in STYLES)
    return replace(run_built(kernel, "reconfigurable").plan.fabric, capacity=capacity)


def free(kernel: str, style: str, fabric: Fabric) -> TaskGraph:
    """The kernel with loops left to the mapper. One engine for all tasks adds up in memory: its II is the loop's
    latency, as in the public sequential designs."""
    return _free(kernel, Loop(ii=interval(fabric, "memory" if style == "sequential" else "register")))


def _free(kernel: str, loop: Loop) -> TaskGraph:
    graph = KERNELS[kernel]()
    return replace(graph, tasks=tuple(replace(t, loop=loop) for t in graph.tasks))


@cache
def run_budget(kernel: str, style: str) -> Result:
    fabric = budget(kernel)
    return run_style(free(kernel, style, fabric), fabric, style)


def rows() -> Iterator[Row]:
    """Every kernel and style as built and on one budget, the orders, the averages, and GPT-2."""
    for kernel in KERNELS:
        for style in STYLES:
            yield from _built(kernel, style)
        yield from _budget(kernel)
    yield from _averages()
    yield from _gpt2()


def _built(kernel: str, style: str) -> Iterator[Row]:
    board, got = built()[kernel, style], run_built(kernel, style)
    where, source = f"{kernel}, {style}, {BUILT}", board["source"]
    reason = LOOSE.get((kernel, style), "")
    note = "; ".join(filter(None, (reason, board["note"])))
    tolerance = None if reason else TOLERANCE
    yield Row("cycles", where, float(board["cycles"]), float(got.cycles), "cycles", tolerance, source, note)
    yield Row("time", where, float(board["latency_ms"]), got.seconds * 1e3, "ms", None, source,
              f"at {board['clock_mhz']} MHz; {note or 'published to three digits, host included'}")  # fmt: skip
    shown = f"simulated: {board['dsp']} DSPs published, {got.plan.fabric.pool.lanes} multipliers"
    yield Row("on-chip memory", where, None, float(got.on_chip_bytes), "bytes", None, shown, "blocks of 4.5 KiB")
    yield Row("off-chip traffic", where, None, float(got.read_bytes + got.written_bytes), "bytes", None, shown,
              f"{got.read_bytes} read, {got.written_bytes} written")  # fmt: skip
    yield Row("bound of the schedule", where, None, float(got.program_bound), "cycles", None, shown, "phase by phase")


def _budget(kernel: str) -> Iterator[Row]:
    results = {style: run_budget(kernel, style) for style in STYLES}
    limits = budget(kernel)
    what = f"{limits.pool.lanes} multipliers, {limits.capacity} bytes on chip, {limits.pool.ports} ports"
    for style, got in results.items():
        where = f"{kernel}, {style}, {BUDGET}"
        phases = "; ".join(" | ".join(p.tasks) for p in got.phases)
        yield Row("cycles", where, None, float(got.cycles), "cycles", None, what, f"phases: {phases}")
        yield Row("time", where, None, got.seconds * 1e3, "ms", None, what, "at the reconfigurable design's clock")
        yield Row("on-chip memory", where, None, float(got.on_chip_bytes), "bytes", None, what, "simulated")
        yield Row("off-chip traffic", where, None, float(got.read_bytes + got.written_bytes), "bytes", None, what,
                  "simulated")  # fmt: skip
    bound = results["reconfigurable"].machine_bound
    yield Row("bound", f"{kernel}, {BUDGET}", None, float(bound), "cycles", None, what,
              "multipliers at II 1, or compulsory bytes through all ports")  # fmt: skip
    least = min(results[s].cycles for s in STYLES)
    yield Row("best schedule over bound", f"{kernel}, {BUDGET}", None, least / bound, "x", None, what,
              "no schedule of phases on this budget takes fewer cycles than the bound")  # fmt: skip
    quick = run_style(_free(kernel, Loop()), limits, "sequential")
    yield Row("cycles", f"{kernel}, sequential at II 1, {BUDGET}", None, float(quick.cycles), "cycles", None, what,
              "results through HBM, loops that add up in registers: what the order owes to the II of the public "
              "sequential designs")  # fmt: skip
    for style in OVER:
        board = float(built()[kernel, style]["latency_ms"]) / float(built()[kernel, "reconfigurable"]["latency_ms"])
        for place, run in ((BUDGET, run_budget), (BUILT, run_built)):
            ratio = run(kernel, style).seconds / run(kernel, "reconfigurable").seconds
            yield Row(f"speed-up over {style}", f"{kernel}, {place}", board, ratio, "x", None, "board.csv",
                      "published: latencies of the board, on its own multipliers and clocks")  # fmt: skip
    for place, cycles, order in (
        (BUDGET, [results[s].cycles for s in STYLES], 0.0),
        (BUILT, [run_built(kernel, s).cycles for s in STYLES], None if kernel == "cnn" else 0.0),
    ):
        holds = cycles[0] > cycles[1] >= cycles[2]
        note = "slowest to fastest: sequential, dataflow, reconfigurable; " + " > ".join(f"{n}" for n in cycles)
        if cycles[1] == cycles[2]:
            note += "; a tie: reconfigured execution runs as the dataflow, in one phase, as the published design does"
        if order is None:
            note += "; the board's dataflow design is 11 times slower than its loops, which are all that is public"
        yield Row("order of the styles", f"{kernel}, {place}", 1.0, float(holds), "", order, "board.csv", note)


def _averages() -> Iterator[Row]:
    for style, published in OVER.items():
        board = [float(built()[k, style]["latency_ms"]) / float(built()[k, "reconfigurable"]["latency_ms"])
                 for k in KERNELS]  # fmt: skip
        note = ("geometric mean over the kernels; the paper's table per kernel is not public, nor how it averages; "
                f"that of the board's latencies is {_mean(board):.3f}")  # fmt: skip
        for place, run in ((BUILT, run_built), (BUDGET, run_budget)):
            ratios = [run(k, style).seconds / run(k, "reconfigurable").seconds for k in KERNELS]
            yield Row(f"speed-up over {style}", f"mean of the kernels, {place}", published, _mean(ratios), "x", None,
                      PAPER, note)  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return exp(fsum(map(log, values)) / len(values))


def gpt2(tokens: int, clock_mhz: float = GPT2_CLOCK_MHZ, *, longest: int = 2, preset: str = "") -> float:
    """Seconds of one pass over so many tokens: int8 activations, int4 weights, all DSPs of the U280 or of a preset."""
    workload = load_model("gpt2-medium", seq=tokens, bits=8, weight_bits=4)
    fabric = fabric_of(load_architecture(preset) if preset else machine(U280_DSPS, clock_mhz, 32, 64))
    results = [simulate_plan(reconfigurable(g, fabric, longest=longest)) for g in task_graphs(workload, fabric.pool)]
    return sum(r.seconds for r in results)


def _gpt2() -> Iterator[Row]:
    low, high = GPT2_RANGE
    note = (f"published: {low} to {high} times over both; one pass over the tokens on {U280_DSPS} multipliers at "
            f"{GPT2_CLOCK_MHZ:g} MHz, more than a design reaches; its DSPs and clock are not public here")  # fmt: skip
    for r in table(__package__, "gpt2.csv"):
        larger = gpt2(int(r["tokens"]), preset="versal_vpk180") * 1e3
        yield Row("time", f"GPT-2 medium, {r['tokens']} tokens, VPK180", None, larger, "ms", None, "simulated",
                  "all of its 14,352 DSPs at 300 MHz")  # fmt: skip
        ms = gpt2(int(r["tokens"])) * 1e3
        where = f"GPT-2 medium, {r['tokens']} tokens"
        yield Row("time", where, None, ms, "ms", None, "simulated", note)
        for name in ("Allo", "DFX"):
            ratio = float(r[f"{name.lower()}_ms"]) / ms
            yield Row(f"speed-up over {name}", where, None, ratio, "x", None, r["source"], note)
            inside = float(low <= ratio <= high)
            yield Row(f"speed-up over {name} in the published range", where, 1.0, inside, "", 0.0, PAPER, note)


def figure(rows: Sequence[Row]) -> Figure:
    """Cycles of every design on the board and simulated, and of the schedules on one budget."""
    kernels = list(KERNELS)
    data: list[dict[str, Any]] = []
    for colour, style in zip(("$0", "$1", "$2"), STYLES, strict=True):
        found = {r.where: r for r in rows if r.quantity == "cycles"}
        built = [found[f"{k}, {style}, {BUILT}"] for k in kernels]
        free = [found[f"{k}, {style}, {BUDGET}"] for k in kernels]
        for name, symbol, values in (
            ("board", "circle-open", [r.published for r in built]),
            (BUILT, "circle", [r.accelsim for r in built]),
            (BUDGET, "diamond", [r.accelsim for r in free]),
        ):
            data.append({
                "type": "scatter", "mode": "markers", "name": f"{style}, {name}", "x": kernels, "y": values,
                "marker": {"color": colour, "symbol": symbol, "size": 10},
            })  # fmt: skip
    return {"data": data, "layout": {"yaxis": {"title": "cycles", "type": "log"}}}
