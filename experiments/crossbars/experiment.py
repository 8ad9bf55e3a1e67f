"""Crossbars: throughput, area, power and energy split of ISAAC, energy per MAC of four macros, over published ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ... import load_model, simulate
from ...arch.architecture import Architecture
from ...components.crossbar import CrossbarArray
from ...ir import Workload
from ...ir.build import WorkloadBuilder
from ...study.evaluation import machine
from ..loader import Row, data_path, table
from .reservoir import reservoir

VECTORS = 64
SAMPLES = 32
"""Of the layer that fills ISAAC: its first load and last store are 1/32 of the run."""
CHANNELS, FILTERS, SIDE = 1792, 2048, 16
"""A layer of 3 x 3 windows over 1792 channels and with 2048 filters has 126 x 128 full arrays."""
PARTS = {"converters": ("adc",), "drivers": ("dac",), "array": ("cell",), "data path": ("result",),
         "rest": ("array", "column", "shift_add")}  # fmt: skip
MEASURED = {"colonnade, 1 b by 8 b", "jia_2020, 1 b at 0.85 V", "wang_2022, 8 b at 1 V",
            "sinangil_2021, output 0 at 0.8 V", "sinangil_2021, output 15 at 0.8 V"}  # fmt: skip
"""Measurements that the machines' energies are taken from."""
CLOCKS = {
    ("jia_2020", "1.2"): "100 MHz", ("wang_2022", "0.7"): "144.928 MHz", ("wang_2022", "0.8"): "173.06 MHz",
    ("wang_2022", "0.9"): "193.76 MHz", ("wang_2022", "1.1"): "238.64 MHz",
}  # fmt: skip
"""Of voltages: Jia table II; Wang fig. 23, TOPS/mm2 times 0.124 mm2 over 2048 operations."""
BEYOND = "energy falls faster with the voltage than by its square, the simulator's law: leakage and technology"
OUTLIERS = {"sinangil_2021, output 6 at 1 V": "out of line with its neighbours: 0.8 V over 1 V is 1.09, and 1.40 and "
            "1.39 at outputs 0 and 15"}  # fmt: skip
RESERVOIRS = {"N-MNIST": (2312, 128, 100), "N-TIDIGITS": (64, 128, 300)}
"""Events at a time (34 x 34 of two polarities, 64 channels), neurons and steps; the last two are assumed."""
Changes = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Run:
    """What a run took; `joules` of the crossbars alone, by action, `parts` of all components."""

    seconds: float
    macs: int
    joules: Mapping[str, float]
    parts: Mapping[str, float]
    watts: float
    area_mm2: float

    @property
    def per_mac(self) -> float:
        """Joules, of what TOPS/W count: without the data path behind the columns."""
        return sum(n for action, n in self.joules.items() if action != "result") / self.macs


def crossbars(arch: Architecture) -> CrossbarArray:
    """The unit of crossbars of a machine."""
    return next(unit for unit in arch.units.values() if isinstance(unit, CrossbarArray))


def run(arch: Architecture, workload: Workload) -> Run:
    """A simulated run."""
    report = simulate(arch, workload)
    name = crossbars(arch).name
    joules: dict[str, float] = {}
    for row in report.energy:
        if row.component == name:
            joules[row.action] = joules.get(row.action, 0.0) + (row.energy_J or 0.0)
    joules.pop("leakage", None)
    parts = {c.name: c.energy_J for c in report.components}
    return Run(report.latency_s, report.macs, joules, parts, report.energy_J / report.latency_s, report.area_mm2 or 0.0)


@cache
def full(name: str, input_bits: int, weight_bits: int, changes: Changes = ()) -> Run:
    """Vectors times a matrix that fills an array."""
    arch = machine(name, changes)
    unit = crossbars(arch)
    b = WorkloadBuilder("full", bits=input_bits)
    w = b.weight("w", (unit.rows, unit.cols // unit.columns_of(weight_bits)), bits=weight_bits)
    b.output(b.matmul(b.input("x", (VECTORS, unit.rows)), w))
    return run(arch, b.build())


@cache
def filling(changes: Changes = ()) -> Run:
    """Samples through a layer that fills all arrays of ISAAC."""
    b = WorkloadBuilder("filling", bits=16)
    x = b.input("x", (SAMPLES, CHANNELS, SIDE + 2, SIDE + 2))
    y = b.conv(x, b.weight("w", (FILTERS, CHANNELS, 3, 3)))
    b.output(b.relu(y))
    return run(machine("isaac", changes), b.build())


def rows() -> Iterator[Row]:
    """ISAAC, then the macros, then networks on ISAAC, then the reservoir."""
    yield from _isaac()
    for record in table(__package__, "published.csv"):
        if not record["where"].startswith(("isaac", "reservoir")):
            yield _macro(record)
    for model in ("resnet18", "resnet34", "mobilenet_v2"):
        report = simulate(machine("isaac"), load_model(model))
        yield Row("latency", f"isaac, {model}", None, report.latency_s * 1e3, "ms", None, "ISAAC, ISCA 2016",
                  "no latency of this network is published; operators one after the other, one sample")  # fmt: skip
    yield from _reservoirs()


@cache
def reservoir_joules(name: str, machine_name: str, changes: Changes = ()) -> float:
    """Of one sample through a reservoir."""
    arch = machine(data_path(__package__, f"{machine_name}.yaml"), changes)
    return simulate(arch, reservoir(name, *RESERVOIRS[name])).energy_J


def _reservoirs() -> Iterator[Row]:
    for record in table(__package__, "published.csv"):
        name = record["where"].removeprefix("reservoir, ")
        if name != record["where"]:
            ratio = reservoir_joules(name, "reservoir_digital") / reservoir_joules(name, "reservoir")
            yield Row(record["quantity"], record["where"], float(record["value"]), ratio, record["unit"], None,
                      record["source"], "neither the digital hardware nor the macro's energies are published in what "
                      "is known here: sizes are assumed, energies are cited defaults")  # fmt: skip


def _isaac() -> Iterator[Row]:
    ran, unit = filling(), crossbars(machine("isaac"))
    ops = 2 * ran.macs / ran.seconds
    found = {
        "throughput": ops / 1e12,
        "throughput per area": ops / 1e9 / ran.area_mm2,
        "power at full use": ran.watts,
        "area": ran.area_mm2,
        "storage per area": unit.weight_bytes / 2**20 / ran.area_mm2,
    }
    joules = {"converters": ran.joules["adc"], "drivers": ran.joules["dac"], "cells": ran.joules["cell"],
              "registers of arrays": ran.joules["array"], "eDRAM": ran.parts["edram"],
              "HyperTransport": ran.parts["hypertransport"]}  # fmt: skip
    found |= {f"share of {n} in the power": j / ran.seconds / ran.watts for n, j in joules.items()}
    for record in table(__package__, "published.csv"):
        if record["where"] == "isaac":
            note = "energies are the table's powers at full use" if "power" in record["quantity"] else ""
            yield Row(record["quantity"], "isaac", float(record["value"]), found[record["quantity"]], record["unit"],
                      0.05, record["source"], note)  # fmt: skip


def _macro(record: Mapping[str, str]) -> Row:
    quantity, where = record["quantity"], record["where"]
    name, _, rest = where.partition(", ")
    found = _figure(quantity, full(name, *_widths(name, rest), _changes(name, rest)), name)
    timed = quantity.startswith("throughput") and "V" in rest and name != "jia_2020"  # whose table has clocks
    note = "the array time at this voltage is the published one, so that this judges nothing" if timed else ""
    if where in MEASURED and "throughput" not in quantity:
        note = "energies of the machine are taken from this measurement, so that this judges nothing"
    if (name == "colonnade" and " at " in rest) or where in OUTLIERS:
        note = OUTLIERS.get(where, BEYOND)
    tolerance = None if note else 0.2
    return Row(quantity, where, float(record["value"]), found, record["unit"], tolerance, record["source"], note)


def _widths(name: str, rest: str) -> tuple[int, int]:
    bits = [int(b) for b in re.findall(r"(\d+) b\b", rest)]
    return (4, 4) if name == "sinangil_2021" else (bits[0], bits[-1])


def _changes(name: str, rest: str) -> Changes:
    """The operating point, and the values of operands of which the mean output is stated."""
    changes: list[tuple[str, object]] = []
    if at := re.search(r" at ([\d.]+) V", rest):
        volts = at[1]
        nominal = machine(name).operating_point
        if nominal is None or float(volts) != nominal.nominal_voltage:
            point = {"voltage": f"{volts} V"}
            if (name, volts) in CLOCKS:
                point["clock"] = CLOCKS[name, volts]
            changes += [(f"operating_point.{key}", value) for key, value in point.items()]
        if name == "sinangil_2021" and volts == "1":
            changes.append(("units.array.array_time", "4.5 ns"))  # table I: 455.1 GOPS
    if output := re.search(r"output (\d+)", rest):
        mean = 0.25 * float(output[1]) ** 0.5  # of operands and weights alike (CiMLoop)
        changes += [("units.array.input_activity", mean), ("units.array.weight_activity", mean)]
    return tuple(changes)


def _figure(quantity: str, ran: Run, name: str) -> float:
    if quantity == "energy per MAC":
        return ran.per_mac * 1e15
    if quantity == "efficiency":
        return 2 / ran.per_mac / 1e12
    if quantity == "throughput":
        return 2 * ran.macs / ran.seconds / 1e12
    if quantity == "throughput per area":
        return 2 * ran.macs / ran.seconds / 1e12 / (crossbars(machine(name)).area_mm2 or 0.0)
    if quantity == "energy per vector":
        return ran.per_mac * ran.macs / VECTORS * 1e12
    part = next(p for p in (*PARTS, "converter") if f" {p} " in f" {quantity} ")
    joules = sum(ran.joules.get(action, 0.0) for action in PARTS.get(part, ("adc",)))
    if quantity.startswith("share"):
        return joules / sum(ran.joules.values())
    return joules / VECTORS / crossbars(machine(name)).cols * 1e12


def figure(found: Sequence[Row]) -> dict[str, object]:
    """Energy per MAC of Colonnade over the width of operands and weights, measured and simulated."""
    points = [(int(m[1]), row) for row in found if (m := re.fullmatch(r"colonnade, (\d+) b", row.where))]
    data = [
        {"type": "scatter", "name": who, "x": [b for b, _ in points],
         "y": [getattr(row, key) for _, row in points]}
        for who, key in (("published", "published"), ("accelsim", "accelsim"))
    ]  # fmt: skip
    return {"data": data, "layout": {"xaxis": {"title": "bits"}, "yaxis": {"title": "fJ per MAC"}}}
