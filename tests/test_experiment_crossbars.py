"""Crossbars: rows hold, and every part of the machines moves what it should."""

from __future__ import annotations

import numpy as np
import pytest
from support.experiments import rows_of

from accelsim.experiments.crossbars.experiment import Changes, filling, full, reservoir_joules
from accelsim.experiments.crossbars.reservoir import DECAY, reservoir
from accelsim.ir import Role
from accelsim.ir.evaluate import evaluate


def test_rows_hold() -> None:
    found = rows_of("crossbars")
    assert [row for row in found if row.ok is False] == []
    assert sum(row.tolerance is not None for row in found) >= 55
    assert {row.where.split(",")[0] for row in found} == {
        "isaac", "colonnade", "jia_2020", "sinangil_2021", "wang_2022", "reservoir",
    }  # fmt: skip
    met = [row for row in found if "taken from this measurement" in row.note]
    assert len(met) < len([row for row in found if row.tolerance == 0.2]) / 3


SLOWER: dict[str, Changes] = {
    "array time": (("units.crossbars.array_time", "120 ns"),),
    "converter rate": (("units.crossbars.adc_rate", "1.024 GHz"),),
    "link": (("links.hypertransport.bandwidth", "2 GB/s"),),
}  # fmt: skip


@pytest.mark.parametrize("part", ["array time", "converter rate", "link"])
def test_slower_parts_take_longer(part: str) -> None:
    assert filling(SLOWER[part]).seconds > filling().seconds


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("adc_energy", "1.25 pJ", "1.875 pJ"), ("dac_energy", "312.5 fJ", "468.75 fJ"),
     ("cell_energy", "1.46 fJ", "2.2 fJ"), ("column_energy", "0.78 fJ", "1.17 fJ"),
     ("shift_add_energy", "15.6 fJ", "23.4 fJ"), ("array_energy", "14.7 pJ", "22 pJ"),
     ("input_activity", 0.6, 0.9), ("weight_activity", 0.6, 0.9)],
)  # fmt: skip
def test_energies_move_power_alone(key: str, low: object, high: object) -> None:
    less, more = (filling(((f"units.crossbars.{key}", value),)) for value in (low, high))
    assert less.seconds == more.seconds and less.area_mm2 == more.area_mm2
    assert less.watts < more.watts


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("array_area", "0.00002 mm2", "0.00003 mm2"), ("adc_area", "0.00096 mm2", "0.00144 mm2"),
     ("tile_area", "0.1055 mm2", "0.158 mm2"), ("periphery_area", "0.00031 mm2", "0.00047 mm2")],
)  # fmt: skip
def test_areas_move_the_area_alone(key: str, low: object, high: object) -> None:
    less, more = (filling(((f"units.crossbars.{key}", value),)) for value in (low, high))
    assert (less.seconds, less.watts) == (more.seconds, more.watts)
    assert less.area_mm2 < more.area_mm2


def test_what_the_layer_does_not_use_changes_nothing() -> None:
    """Room beside what the buffers hold, lanes of a unit that waits for the arrays, the time of writing cells."""
    for change in (("memories.edram.capacity", "12 MiB"), ("units.vector.lanes", 3200),
                   ("memories.cells.write_bandwidth", "3000 B/cycle")):  # fmt: skip
        assert filling((change,)).seconds == pytest.approx(filling().seconds, rel=1e-3)


@pytest.mark.parametrize("name", ["colonnade", "jia_2020", "wang_2022"])
def test_energy_follows_activity_and_width(name: str) -> None:
    quiet = (("units.array.input_activity", 0.5),)
    assert full(name, 8, 8, quiet).per_mac < full(name, 8, 8).per_mac
    assert full(name, 8, 8).per_mac < full(name, 16, 8).per_mac


def test_a_reservoir_does_what_it_says() -> None:
    events, neurons, steps = 5, 4, 6
    model = reservoir("small", events, neurons, steps)
    rng = np.random.default_rng(3)
    values = {
        "potential": rng.normal(size=(1, neurons)), "spikes": np.zeros((1, neurons)), "counts": np.zeros((1, neurons)),
        "w": rng.normal(size=(events, neurons)), "r": rng.normal(size=(neurons, neurons)),
        "events": rng.integers(0, 2, size=(steps, 1, events)), "readout": rng.normal(size=(neurons, 10)),
    }  # fmt: skip
    v, s, count = (values[n] for n in ("potential", "spikes", "counts"))
    for x in values["events"]:
        v = DECAY * v * (1 - s) + x @ values["w"] + s @ values["r"]
        s = (v > 1).astype(float)
        count = count + s
    (found,) = (n for n, t in model.tensors.items() if t.role is Role.OUTPUT)
    np.testing.assert_allclose(evaluate(model, values)[found], count @ values["readout"])


def test_quiet_neurons_take_less_energy() -> None:
    loud = (("units.crossbars.input_activity", 0.5),)
    assert reservoir_joules("N-TIDIGITS", "reservoir") < reservoir_joules("N-TIDIGITS", "reservoir", loud)
