"""Quantities with units, and rates as fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.units import (
    AREA,
    BANDWIDTH,
    BYTES,
    DISTANCE,
    ENERGY,
    ENERGY_PER_BYTE,
    FREQUENCY,
    LENGTH,
    POWER,
    TIME,
    VOLTAGE,
    Quantity,
    QuantityError,
    rate_fraction,
)


@pytest.mark.parametrize(
    "quantity, text, value",
    [
        (BYTES, "16 MiB", 16 * 2**20),
        (BYTES, "16MB", 16_000_000),
        (BYTES, "1.5 TiB", 3 * 2**39),
        (BYTES, "64 GB", 64 * 10**9),
        (BYTES, "256 kbit", 32_000),
        (BYTES, "1 kB", 1000),
        (BANDWIDTH, "1.8 TB/s", 1_800_000_000_000),
        (BANDWIDTH, "400 GiB/s", 400 * 2**30),
        (BANDWIDTH, "656 Gb/s", 82 * 10**9),
        (BANDWIDTH, "656 Gbit/s", 82 * 10**9),
        (BANDWIDTH, "1e3 B / s", 1000),
        (FREQUENCY, "940 MHz", 940_000_000),
        (FREQUENCY, "1.05 GHz", 1_050_000_000),
        (TIME, "80 ns", Fraction(80, 10**9)),
        (TIME, "2 µs", Fraction(2, 10**6)),
        (TIME, "0", 0),
        (ENERGY, "0.2 pJ", Fraction(2, 10**13)),
        (ENERGY_PER_BYTE, "3.9 pJ/bit", Fraction(312, 10**13)),
        (ENERGY_PER_BYTE, "10 pJ/byte", Fraction(1, 10**11)),
        (ENERGY_PER_BYTE, "249.6 pJ/64 bit", Fraction(312, 10**13)),
        (ENERGY_PER_BYTE, "2 nJ / kB", Fraction(2, 10**12)),
        (AREA, "850 um2", Fraction(85, 10**5)),
        (AREA, "1.4 mm²", Fraction(7, 5)),
        (POWER, "12 mW", Fraction(12, 1000)),
        (VOLTAGE, "750 mV", Fraction(3, 4)),
        (DISTANCE, "300 um", Fraction(3, 10)),
    ],
)
def test_quantities_are_exact(quantity: Quantity, text: str, value: Fraction | int) -> None:
    assert quantity.parse(text) == value
    assert quantity.to_si(text) == float(value)


def test_unlimited_is_a_bandwidth_and_nothing_else() -> None:
    assert BANDWIDTH.parse("unlimited") == math.inf
    with pytest.raises(QuantityError, match="not a size in bytes"):
        BYTES.parse("unlimited")


def test_cycles_need_a_clock() -> None:
    assert BANDWIDTH.parse("256 B/cycle", Fraction(940_000_000)) == 256 * 940_000_000
    assert BANDWIDTH.parse("256 bit/cycle", Fraction(10**9)) == 32 * 10**9
    assert TIME.parse("3 cycles", Fraction(10**9)) == Fraction(3, 10**9)
    with pytest.raises(QuantityError, match="needs a clock"):
        TIME.parse("3 cycles")


@pytest.mark.parametrize(
    "quantity, text, what",
    [
        (BYTES, "16", "has no unit (such as `16 MiB`"),
        (BYTES, "16 KB", "kB is 1000 bytes, KiB 1024"),
        (BYTES, "16 gib", "did you mean `GiB`?"),
        (BYTES, "-1 B", "is negative"),
        (BYTES, "0 B", "must be more than zero"),
        (BYTES, "1.3 B", "not a whole number of B"),
        (BYTES, "lots", "is not a size in bytes"),
        (BYTES, "1e400 B", "is out of range"),
        (BYTES, "1e30 EB", "is too large"),
        (BYTES, f"{2**50 + 1} KiB", "is too large"),
        (TIME, "1e30 s", "is too large"),
        (FREQUENCY, "1e20 GHz", "is too large"),
        (LENGTH, "1e-9 nm", "`1e-9 nm` is too small"),
        (ENERGY, "nan pJ", "is not an energy"),
        (BYTES, "٣ B", "is not a size in bytes"),
        (BANDWIDTH, "10 GB", "did you mean `GB/s`?"),
        (BANDWIDTH, "10 Gbps", "bits per second are written `Gb/s`, bytes `GB/s`"),
        (BANDWIDTH, "0 GB/s", "must be more than zero"),
        (FREQUENCY, "940 Mhz", "did you mean `MHz`?"),
        (TIME, "80 GHz", "is not a unit of time"),
        (AREA, "3 mm", "such as `1.4 mm2`"),
        (POWER, "3 mw", "did you mean `mW`?"),
        (VOLTAGE, "0 V", "must be more than zero"),
        (ENERGY_PER_BYTE, "3 pJ", "is not a unit of energy per byte"),
        (ENERGY_PER_BYTE, "3 pJ/0 bit", "is not a unit of energy per byte"),
    ],
)
def test_wrong_quantities_say_what_is_right(quantity: Quantity, text: str, what: str) -> None:
    with pytest.raises(QuantityError) as caught:
        quantity.parse(text)
    assert what in str(caught.value)


@given(st.floats(1e-3, 1e20), st.integers(1, 2**60))
@settings(deadline=None, derandomize=True)
def test_what_is_written_reads_back_as_the_same(value: float, size: int) -> None:
    for quantity in (BANDWIDTH, FREQUENCY, TIME, ENERGY, ENERGY_PER_BYTE, AREA, POWER, VOLTAGE, DISTANCE):
        rate = value if quantity is BANDWIDTH else min(value, 1e13)
        small = rate if quantity in (BANDWIDTH, FREQUENCY) else value * 1e-22
        assert quantity.to_si(quantity.format(small)) == small
    assert BYTES.to_si(BYTES.format(size)) == size


@given(st.fractions(Fraction(1, 10**6), 10**6).filter(lambda f: f > 0), st.integers(2**21, 2**31))
@settings(deadline=None, derandomize=True)
def test_rates_are_rounded_down_and_closely(value: Fraction, limit: int) -> None:
    rate = rate_fraction(value, limit)
    assert rate.numerator <= limit
    assert rate.denominator <= limit
    assert value * (1 - Fraction(2, 1) / min(limit, int(limit * value), int(limit / value))) <= rate <= value
    if value.numerator <= limit and value.denominator <= limit:
        assert rate == value
