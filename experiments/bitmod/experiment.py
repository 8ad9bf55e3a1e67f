"""BitMoD's cycles of six language models on FP16, ANT, OliVe and bit-serial arrays, and what its speed-ups rest on.

The published simulator counts each matrix product as the longer of its arithmetic and its off-chip traffic, on its own.
`products` are those of the model, `bounded` is that count as the mapper's bound on products that are cut along rows and
columns alone, and `run` simulates every product on a tiling that the mapper finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ... import load_model, simulate
from ...arch import Architecture
from ...arch.loader import RawSpec, load_spec
from ...ir import Einsum, Workload, standalone, with_precision
from ...mappers.tile.bound import product_bound, uncut
from ...mapping.constraints import Constraints
from ..loader import Row, data_path, table

if TYPE_CHECKING:
    from ...report.page import Figure

SIMULATED = "llama-2-7b"
"""The model whose products are run, beside their count."""
CONTEXT = 256
"""Tokens of the prompt in prefill, and tokens that the new one attends to in decode."""
COUNT, FREE, CUT = "cycles", "cycles, run", "cycles, run cut along rows and columns"
BELOW = "cycles below the count, cut along rows and columns"


@dataclass(frozen=True)
class Product:
    """A matrix product of a model, by itself, and how often it runs."""

    workload: Workload
    einsum: Einsum
    times: int


def spec(machine: str, phase: str) -> RawSpec:
    """The machine of a file in this folder; in decode its array has twice the rows and half the columns."""
    read = load_spec(data_path(__package__, f"{machine}.yaml"))
    if phase == "prefill":
        return read
    array = read.build().units["array"].model_dump()
    return read.with_values({"units.array.rows": array["rows"] * 2, "units.array.cols": array["cols"] // 2})


@cache
def products(model: str, phase: str, precision: str) -> Sequence[Product]:
    """All products of the model, equal ones together: the linear layers, the head, and attention's two.

    Each has its operands off chip and leaves its result there, in 16 bits whatever is made of it afterwards.
    """
    decode = phase == "decode"
    whole = load_model(model, phase=phase, precision=precision, seq=None if decode else CONTEXT,
                       context=CONTEXT if decode else None)  # fmt: skip
    found: dict[object, Product] = {}
    for einsum, times in whole.einsums():
        if einsum.is_contraction:
            alone = with_precision(standalone(whole, einsum), {"output": 16})
            (only,) = (e for e, _ in alone.einsums())
            held = [(t.shape, t.bits, t.metadata_bits) for t in (alone.tensors[a.tensor] for a in only.inputs)]
            key = (tuple(only.sizes.items()), *held)
            first = found.setdefault(key, Product(alone, only, 0))
            found[key] = replace(first, times=first.times + times)
    return tuple(found.values())


def bounded(arch: Architecture, parts: Sequence[Product]) -> Fraction:
    """Cycles of the products, one after the other, each as the bound has it."""
    return sum((p.times * product_bound(p.workload, p.einsum, arch).cycles for p in parts), Fraction(0))


def run(arch: Architecture, parts: Sequence[Product], *, cut_all: bool) -> float:
    """Simulated cycles of the products, one after the other.

    With `cut_all`, the mapper may cut the reduction and the heads too; without, rows and columns alone.
    """
    total = 0.0
    for p in parts:
        kept = None if cut_all else Constraints(((p.einsum.name, uncut(p.einsum)),))
        total += p.times * float(simulate(arch, p.workload, constraints=kept).cycles)
    return total


def rows() -> Iterator[Row]:
    """One row per model, phase and machine, the two speed-ups, and runs of one model."""
    counted: dict[tuple[str, str, str, bool], float] = {}
    for r in table(__package__, "cycles.csv"):
        model, phase, machine, precision = r["model"], r["phase"], r["machine"], r["precision"]
        cycles = float(bounded(spec(machine, phase).build(), products(model, phase, precision)))
        counted[model, phase, machine, _lossless(precision)] = cycles
        where = f"{model} {phase}, {machine} {precision}"
        yield Row(COUNT, where, int(r["cycles"]), cycles, "cycles", 0.0, r["source"])
        if model == SIMULATED:
            yield from _runs(r, where)
    yield from _speedups(counted)


def _runs(r: Mapping[str, str], where: str) -> Iterator[Row]:
    arch = spec(r["machine"], r["phase"]).build()
    parts = products(r["model"], r["phase"], r["precision"])
    counted = int(r["cycles"])
    # In decode nothing is fetched anew, so the count holds for every tiling and a good one comes close.
    tolerance = 0.01 if r["phase"] == "decode" else None
    yield Row(FREE, where, counted, run(arch, parts, cut_all=True), "cycles", tolerance, r["source"],
              "the mapper cuts the reduction and the heads too, and fetches less anew than the count")  # fmt: skip
    cut = [run(arch, [p], cut_all=False) for p in parts]
    yield Row(CUT, where, counted, sum(cut), "cycles", None, r["source"],
              "the count lets blocks fill a buffer and end anywhere; a run holds whole rows and columns, "
              "and twice, since it loads ahead")  # fmt: skip
    below = float(sum(max(Fraction(0), bounded(arch, [p]) - Fraction(c)) for p, c in zip(parts, cut, strict=True)))
    yield Row(BELOW, where, 0, below, "cycles", 0.0, r["source"],
              "summed over the products that come below it; none may, since the count is the least so cut")  # fmt: skip


def _speedups(counted: Mapping[tuple[str, str, str, bool], float]) -> Iterator[Row]:
    """Mean over models and phases of the cycles of another machine over BitMoD's with the narrower weights."""
    for r in table(__package__, "speedups.csv"):
        faster = [cycles / counted[model, phase, "bitmod", False]
                  for (model, phase, machine, _), cycles in counted.items() if machine == r["over"]]
        where = f"over {r['over']}, mean of six models in prefill and decode"
        note = "from the cycles of the public simulator's head, which the paper's need not be"
        yield Row("speed-up of BitMoD", where, float(r["speedup"]), fmean(faster), "1", 0.005, r["source"], note)


def _lossless(precision: str) -> bool:
    return precision.startswith("weight=6:")


def figure(rows: Sequence[Row]) -> Figure:
    """Cycles of the model that is run, on every machine in both phases: counted, and run in two ways."""
    data: list[dict[str, Any]] = []
    bars = ((COUNT, "published", "published count"), (COUNT, "accelsim", "accelsim's count"),
            (FREE, "accelsim", "run"), (CUT, "accelsim", "run cut along rows and columns"))  # fmt: skip
    for axis, phase in (("", "prefill"), ("2", "decode")):
        start = f"{SIMULATED} {phase}, "
        for colour, (quantity, who, name) in enumerate(bars):
            shown = [r for r in rows if r.quantity == quantity and r.where.startswith(start)]
            data.append({
                "type": "bar", "name": name, "legendgroup": name, "showlegend": not axis,
                "x": [_label(r.where.removeprefix(start)) for r in shown], "y": [getattr(r, who) for r in shown],
                "marker": {"color": f"${colour}"}, "xaxis": f"x{axis}", "yaxis": f"y{axis}",
                "hovertemplate": "%{x}<br>%{y:.4s} cycles<extra>" + name + "</extra>",
            })  # fmt: skip
    return {
        "data": data,
        "layout": {
            "barmode": "group",
            "xaxis": {"title": f"{SIMULATED}, prefill", "domain": [0, 0.47]},
            "xaxis2": {"title": f"{SIMULATED}, decode", "domain": [0.53, 1], "anchor": "y2"},
            "yaxis": {"title": "cycles", "rangemode": "tozero"},
            "yaxis2": {"rangemode": "tozero", "anchor": "x2"},
        },
    }  # fmt: skip


def _label(machine: str) -> str:
    """Machine and bits of the weights, such as ``bitmod, 4 bits``, of ``bitmod weight=4:8/128+state=8``."""
    name, _, precision = machine.partition(" weight=")
    return f"{name}, {precision.partition('+')[0].partition(':')[0]} bits"
