"""Encoders gain what operations gain and decoders what bandwidth gains; which growth moves which."""

from __future__ import annotations

import pytest

from accelsim.experiments.memory_wall.experiment import ALONE, DECODER, ENCODER, gain, growth, intensity, machine, run


def test_machines_grow() -> None:
    first, second = machine(0), machine(1)
    assert second.units["tensor"].peak_rates()["mac"] == 3 * first.units["tensor"].peak_rates()["mac"]
    ports = [m.memories["hbm"].port("read") for m in (first, second)]
    assert ports[0] is not None and ports[1] is not None
    assert ports[1][1] == pytest.approx(1.6 * ports[0][1])


def test_growth_of_devices_is_the_line_through_them() -> None:
    """From P100 to B200 in eight years, peaks grow 106-fold: 3.2-fold in two years by the ends alone."""
    assert growth("tera_operations_per_s") == pytest.approx((2250 / 21.2) ** (1 / 4), rel=0.15)
    assert growth("memory_GB_per_s") == pytest.approx((8000 / 732) ** (1 / 4), rel=0.05)


def test_decoders_gain_what_bandwidth_gains() -> None:
    assert gain(DECODER, 1) == pytest.approx(1.6, rel=0.05)
    assert gain(DECODER, 1, growth=(3.6, 1.6)) == pytest.approx(gain(DECODER, 1), rel=0.02)  # waits for memory
    assert gain(DECODER, 1, growth=(3.0, 1.92)) > gain(DECODER, 1) > gain(DECODER, 1, growth=(3.0, 1.28))
    assert "hbm limits" in run(DECODER, 0).bottleneck


def test_encoders_gain_what_operations_gain() -> None:
    assert gain(ALONE, 1) == pytest.approx(3.0, rel=0.1)
    assert gain(ALONE, 1, growth=(2.4, 1.6)) < 0.85 * gain(ALONE, 1)
    assert gain(ALONE, 1, growth=(3.0, 1.92)) < 1.08 * gain(ALONE, 1)
    assert "tensor limits" in run(ALONE, 0).bottleneck


def test_operations_per_byte() -> None:
    """A decoder's token does two operations per weight of two bytes; an encoder's weights serve 8,192 tokens."""
    assert intensity(DECODER) == pytest.approx(1.0, rel=0.02)
    assert intensity(ENCODER) > 5000
