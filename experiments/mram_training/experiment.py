"""Training in memory: latency, energy and area of FloatPIM over SOT-MRAM logic, with the steps of their arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any

from ... import load_model, simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...components.memory_logic import FORMATS, MemoryLogic
from ..loader import Row, data_path, table

MACHINES = ("sot_mram", "floatpim")
BATCH = 64
PAPER = "arXiv:2003.01551 (2020)"
PUBLISHED = {(r["quantity"], r["where"]): (float(r["value"]), r["source"]) for r in table(__package__, "published.csv")}
OPERATIONS = {"add": "steps of an addition", "mul": "steps of a product"}
SOFT = (
    ("sot_mram", "step_times.read"), ("sot_mram", "step_times.write"), ("sot_mram", "step_times.search"),
    ("floatpim", "step_times.nor"), ("sot_mram", "step_energies.read"), ("sot_mram", "step_energies.write"),
    ("sot_mram", "step_energies.search"), ("floatpim", "step_energies.nor"), ("sot_mram", "cell_area"),
    ("floatpim", "cell_area"), ("sot_mram", "periphery_area"), ("floatpim", "periphery_area"), ("sot_mram", "cols"),
    ("floatpim", "cols"),
)  # fmt: skip
"""Constants that are recalled or assumed: machine and key."""
MORE = 1.2
WRITES = (1.0, 1.5, 3.0)
"""Times of a write, in nanoseconds, beside the one that is taken."""
NOTE = "cell times, energies and areas are recalled or assumed; see the sensitivities"
Changes = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Ran:
    """A training step; `parts` are seconds of the forward pass, the backward pass and the update."""

    seconds: float
    joules: float
    parts: dict[str, float]


def machine(name: str, changes: Changes = ()) -> Architecture:
    """One of the two, with changes."""
    return load_spec(data_path(__package__, f"{name}.yaml")).with_values(dict(changes)).build()


def logic(name: str, changes: Changes = ()) -> MemoryLogic:
    """Its unit."""
    unit = machine(name, changes).units["logic"]
    assert isinstance(unit, MemoryLogic)
    return unit


@cache
def step(name: str, changes: Changes = (), bits: int = 32) -> Ran:
    """A training step of LeNet-5."""
    model = load_model(data_path(__package__, "lenet5.yaml"), batch=BATCH, bits=bits, training="squared")
    report = simulate(machine(name, changes), model)
    clock = report.cycles / report.latency_s
    parts = dict.fromkeys(("forward", "backward", "update"), 0.0)
    for operator in report.operators:
        back = ".gradient" in operator.kind or operator.kind in ("Loss", "Gradient.sum")
        part = "update" if operator.kind == "Update" else "backward" if back else "forward"
        parts[part] += float(operator.cycles) / clock
    return Ran(report.latency_s, report.energy_J, parts)


def ratios(sot: Changes = (), floatpim: Changes = ()) -> dict[str, float]:
    """FloatPIM over SOT-MRAM: more than 1 where SOT-MRAM is better."""
    ours, theirs = (step(n, tuple(c for c in changes if not c[0].endswith(("_area", "cols"))))
                    for n, changes in (("sot_mram", sot), ("floatpim", floatpim)))  # fmt: skip
    area = [machine(n, changes).area_mm2 or 0.0 for n, changes in (("floatpim", floatpim), ("sot_mram", sot))]
    return {
        "latency ratio": theirs.seconds / ours.seconds,
        "energy ratio": theirs.joules / ours.joules,
        "area ratio": area[0] / area[1],
    }


def stated(name: str, key: str) -> str:
    """What a machine's file says of a key of its unit."""
    found: Any = load_spec(data_path(__package__, f"{name}.yaml")).document.data["units"]["logic"]
    for part in key.split("."):
        found = found[part]
    return str(found)


def scaled(name: str, key: str, times: float) -> Changes:
    """A constant of a machine's unit, so many times what its file says."""
    value, _, unit = stated(name, key).partition(" ")
    return ((f"units.logic.{key}", f"{float(value) * times:.6g} {unit}" if unit else round(float(value) * times)),)


def rows() -> Iterator[Row]:
    """Ratios, the steps of arithmetic, sensitivities, and the parts of a step."""
    base = ratios()
    for quantity, found in base.items():
        published, source = PUBLISHED[quantity, "lenet5"]
        yield Row(quantity, "lenet5", published, found, "ratio", None, source, NOTE)
    yield from _steps()
    for name, key in SOFT:
        change = scaled(name, key, MORE)
        moved = ratios(**{"sot" if name == "sot_mram" else "floatpim": change})
        for quantity, found in moved.items():
            if abs(slope := log(found / base[quantity]) / log(MORE)) > 1e-3:
                yield Row(f"sensitivity of the {quantity}", f"{name}, {key}", None, slope, "d ln / d ln", None, PAPER,
                          f"{stated(name, key)} is soft; here it is 20 % more")  # fmt: skip
    for time in WRITES:
        found = ratios(sot=(("units.logic.step_times.write", f"{time:g} ns"),))["latency ratio"]
        yield Row("latency ratio", f"lenet5, writes of {time:g} ns", None, found, "ratio", None, PAPER,
                  "which write time is published is recalled: 2 ns")  # fmt: skip
    for name in MACHINES:
        ran = step(name)
        yield Row("latency", f"{name}, lenet5, batch {BATCH}", None, ran.seconds * 1e3, "ms", None, PAPER,
                  "only ratios are published; 256 arrays of 1024 rows are taken")  # fmt: skip
        for part, seconds in ran.parts.items():
            yield Row(f"share of the {part}", name, None, seconds / sum(ran.parts.values()), "fraction", None, PAPER,
                      "no split is published")  # fmt: skip
        half = step(name, bits=16)
        yield Row("speed-up of bf16 over fp32", name, None, ran.seconds / half.seconds, "ratio", None, PAPER,
                  "no figure of this format is published")  # fmt: skip


def _steps() -> Iterator[Row]:
    for name in MACHINES:
        for fmt in ("fp32", "bf16", "fp16"):
            unit = logic(name, (("units.logic.formats", [fmt]),))
            bits = 1 + sum(FORMATS[fmt])
            for operation, quantity in OPERATIONS.items():
                published, source = PUBLISHED[quantity, f"{name}, {fmt}"]
                yield Row(quantity, f"{name}, {fmt}", published, float(sum(unit.steps(operation, bits).values())),
                          "steps", 0.0, source, "the recipe is the paper's; half steps are rounded up")  # fmt: skip


def figure(found: Sequence[Row]) -> dict[str, object]:
    """Sensitivities of the three ratios to every soft constant."""
    data = []
    for quantity in ("latency ratio", "energy ratio", "area ratio"):
        mine = [row for row in found if row.quantity == f"sensitivity of the {quantity}"]
        data.append({"type": "bar", "name": quantity, "x": [r.where for r in mine], "y": [r.accelsim for r in mine]})
    return {"data": data, "layout": {"yaxis": {"title": "d ln ratio / d ln constant"}}}
