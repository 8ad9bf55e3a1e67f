"""Training in memory: rows hold, and every constant of the machines moves what it should."""

from __future__ import annotations

import pytest

from accelsim.experiments.mram_training.experiment import SOFT, logic, machine, scaled, step

SCALE = 1.2


def test_full_adders_and_formats_order_the_machines() -> None:
    """FloatPIM takes more steps for every operation but a product of few bits, and all take fewer with fewer bits."""
    for name in ("sot_mram", "floatpim"):
        unit = logic(name)
        assert sum(unit.steps("mac", 16).values()) < sum(unit.steps("mac", 32).values()) / 3
    assert sum(logic("floatpim").steps("mac", 32).values()) > sum(logic("sot_mram").steps("mac", 32).values())
    ours, theirs = step("sot_mram"), step("floatpim")
    assert theirs.seconds > ours.seconds and theirs.joules > ours.joules
    assert ours.parts["backward"] == pytest.approx(2 * ours.parts["forward"], rel=0.25)


@pytest.mark.parametrize(("name", "key"), [s for s in SOFT if s[1].startswith("step_times")])
def test_slower_steps_take_longer_and_no_more_energy(name: str, key: str) -> None:
    slow = step(name, scaled(name, key, SCALE))
    assert slow.seconds > step(name).seconds
    assert slow.joules == pytest.approx(step(name).joules, rel=0.05)  # another split of sums may be the fastest


@pytest.mark.parametrize(("name", "key"), [s for s in SOFT if s[1].startswith("step_energies")])
def test_dearer_steps_take_energy_alone(name: str, key: str) -> None:
    dear = step(name, scaled(name, key, SCALE))
    assert dear.seconds == pytest.approx(step(name).seconds, rel=1e-6) and dear.joules > step(name).joules


@pytest.mark.parametrize(("name", "key"), [s for s in SOFT if s[1].endswith(("_area", "cols"))])
def test_cells_and_periphery_move_the_area(name: str, key: str) -> None:
    larger, base = machine(name, scaled(name, key, SCALE)).area_mm2, machine(name).area_mm2
    assert larger is not None and base is not None and larger > base


def test_fewer_lanes_take_longer() -> None:
    assert step("sot_mram", (("units.logic.arrays", 205),)).seconds > step("sot_mram").seconds
    assert step("sot_mram", (("units.logic.rows", 819),)).seconds > step("sot_mram").seconds
