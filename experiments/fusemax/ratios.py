"""Ratios: speed-up and energy of every design over unfused attention, alone and in a whole layer, and their means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

from ..loader import Row, table
from .attention import LATENCY_DIGITS, LENGTHS, TRAFFIC_DIGITS, array_utilisation, band, bound_s
from .cascade import MODELS, Model, tokens_of
from .ladder import DESIGNS, run, run_linear

RATIO_DIGITS = 5e-4
"""Half a unit of the last of three printed decimals, of ratios of at least one."""
MEAN_DIGITS = 1e-3
"""Of four printed digits."""
UTILISATION = 5e-3
"""Of two or three printed digits."""
ENERGY = 0.1
BAND = 0.05
LINEAR_BAND = 0.05
"""For linear layers, whose mapping is the mapper's own and not published."""

MEANS = {"flat": 1.507, "cascade": 1.358, "architecture": 3.270, "binding": 10.05}
"""Mean speed-ups of attention over unfused attention, of 24 models and lengths (MICRO 2024)."""
SOURCE = "MICRO 2024"


def ratio_rows() -> Iterator[Row]:
    """Ratios that are printed model by model, and means over all models and lengths."""
    models = {m.name: m for m in MODELS}
    for r in table(__package__, "linear_layers.csv"):
        yield from _linear(models[r["model"]], r)
    for r in table(__package__, "ratios.csv"):
        for design in DESIGNS[1:]:
            yield from _ratios(design, models[r["model"]], r)
    yield from _means()


def _linear(model: Model, printed: Mapping[str, str]) -> Iterator[Row]:
    """The rest of a layer."""
    where, source, tokens = f"linear layers, {model.name}, {printed['tokens']}", printed["source"], printed["tokens"]
    report = run_linear("binding", model, tokens_of(tokens))
    yield Row("latency bound", where, float(printed["latency_s"]), bound_s(report), "s", LATENCY_DIGITS, source)
    yield band(where, report, LINEAR_BAND)
    moved = float(sum(report.traffic_bytes["dram"].values()))
    yield Row("DRAM traffic", where, float(printed["dram_bytes"]), moved, "byte", TRAFFIC_DIGITS, source)
    for design in ("flat", "binding"):
        energy_pj = run_linear(design, model, tokens_of(tokens)).energy_J * 1e12
        yield Row("energy", f"{where}, machine of {design}", float(printed[f"energy_{design}_pJ"]), energy_pj, "pJ",
                  ENERGY, source)  # fmt: skip


def _ratios(design: str, model: Model, printed: Mapping[str, str]) -> Iterator[Row]:
    """Speed-up and energy over the unfused layer; latencies are bounds, as the published ones are."""
    where, source, tokens = f"{design}, {model.name}, {printed['tokens']}", printed["source"], printed["tokens"]
    base, ours = run("unfused", model, tokens_of(tokens)), run(design, model, tokens_of(tokens))
    rest = run_linear("unfused", model, tokens_of(tokens)), run_linear(design, model, tokens_of(tokens))
    alone = float(printed[f"attn_speedup_{design}"])
    yield Row("speed-up of attention", where, alone, bound_s(base) / bound_s(ours), "", RATIO_DIGITS, source)
    speedup = (bound_s(base) + bound_s(rest[0])) / (bound_s(ours) + bound_s(rest[1]))
    yield Row("speed-up of a layer", where, float(printed[f"e2e_speedup_{design}"]), speedup, "", RATIO_DIGITS, source)
    for quantity, key, energy in (
        ("energy of attention over unfused", f"attn_energy_ratio_{design}", ours.energy_J / base.energy_J),
        ("energy of a layer over unfused", f"e2e_energy_ratio_{design}",
         (ours.energy_J + rest[1].energy_J) / (base.energy_J + rest[0].energy_J)),
    ):  # fmt: skip
        yield Row(quantity, where, float(printed[key]), energy, "", ENERGY, source)


Measure = Callable[[str, Model, int], float]


def _mean(measure: Measure, design: str, over: str = "") -> float:
    """The mean over models and lengths of a measure of a design, or of its ratio to that of another."""
    values = []
    for model in MODELS:
        for length in LENGTHS:
            value = measure(design, model, tokens_of(length))
            values.append(value / measure(over, model, tokens_of(length)) if over else value)
    return fmean(values)


def _means() -> Iterator[Row]:
    """Means over four models and six lengths; speed-ups are ratios of rates."""
    for design, published in MEANS.items():
        for note, rate, tolerance in (("", _bound_rate, MEAN_DIGITS), (", simulated", _simulated_rate, BAND)):
            yield Row(f"mean speed-up of attention over unfused{note}", design, published,
                      _mean(rate, design, "unfused"), "", tolerance, SOURCE)  # fmt: skip
    for quantity, published, measure, tolerance in (
        ("mean speed-up of attention over FLAT", 6.72, _bound_rate, MEAN_DIGITS),
        ("mean speed-up of attention over FLAT, simulated", 6.72, _simulated_rate, BAND),
        ("mean speed-up of a layer over FLAT", 5.30, _layer_rate, MEAN_DIGITS),
    ):
        yield Row(quantity, "binding", published, _mean(measure, "binding", "flat"), "", tolerance, SOURCE)
    for quantity, published, measure in (
        ("mean energy of attention over FLAT", 0.787, _energy),
        ("mean energy of a layer over FLAT", 0.833, _layer_energy),
    ):
        yield Row(quantity, "binding", published, _mean(measure, "binding", "flat"), "", ENERGY, SOURCE)
    for design, published in (("flat", 0.149), ("binding", 0.97)):
        mean = _mean(lambda d, m, t: array_utilisation(run(d, m, t)), design)
        yield Row("mean utilisation of the 2D array", design, published, mean, "", UTILISATION, SOURCE)


def _bound_rate(design: str, model: Model, tokens: int) -> float:
    return 1 / bound_s(run(design, model, tokens))


def _simulated_rate(design: str, model: Model, tokens: int) -> float:
    return 1 / run(design, model, tokens).latency_s


def _layer_rate(design: str, model: Model, tokens: int) -> float:
    return 1 / (bound_s(run(design, model, tokens)) + bound_s(run_linear(design, model, tokens)))


def _energy(design: str, model: Model, tokens: int) -> float:
    return run(design, model, tokens).energy_J


def _layer_energy(design: str, model: Model, tokens: int) -> float:
    return run(design, model, tokens).energy_J + run_linear(design, model, tokens).energy_J
