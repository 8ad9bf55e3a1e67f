"""Experts beside their memory: the split against brute force, and parameters that move the result the right way."""

from __future__ import annotations

import pytest

from accelsim.errors import DoesNotFit
from accelsim.experiments.monde.experiment import break_even, brute_force, machine, outcome
from accelsim.experiments.monde.layer import GPU, SWITCH, Load, Model, block, problem, routed
from accelsim.ir import Role
from accelsim.mappers.sites import choose, every_choice

SMALL = Model("small", 256, 1024, 4, 16, 1, 2, 4)
LOAD = Load(2, False, 1.0, 128)


def test_the_split_equals_every_subset_of_few_experts() -> None:
    found = problem(machine(), SMALL, LOAD, dense=False, tokens=(300, 120, 60, 30, 12, 5, 1))
    plan = choose(found)
    assert plan.complete
    assert plan.seconds == every_choice(found)[0]
    assert 0 < plan.at(found, GPU) - 1 < 7


def test_the_split_equals_brute_force_over_thresholds() -> None:
    found = problem(machine(), SMALL, LOAD)
    assert choose(found).seconds <= brute_force(found)[0] * (1 + 1e-9)


def test_routing() -> None:
    even, skewed = routed(SWITCH, Load(4, False, 0.0)), routed(SWITCH, Load(4, False, 1.5))
    assert sum(even) == sum(skewed) == 4 * 512
    assert skewed[0] > 4 * even[0]
    twice = routed(Model("two", 8, 8, 1, 8, 2, 1, 1), Load(64, True))
    assert sum(twice) == 128 and max(twice) <= 64  # different experts of each token


@pytest.mark.parametrize(
    ("key", "base", "unit", "sign"),
    [
        ("memories.device.bandwidth", 512, "GB/s", 1),
        ("links.pcie.bandwidth", 32, "GB/s", -1),
        ("units.arrays.clock", 1000, "MHz", 1),
    ],
)
def test_what_moves_the_gain(key: str, base: int, unit: str, sign: int) -> None:
    """A faster device raises the gain over offloading, a faster link lowers it."""
    load = Load(1, False)
    gains = [
        outcome(SWITCH, load, dense=False, changes=((key, f"{base * f / 10:g} {unit}"),)).gain for f in (8, 10, 12)
    ]
    assert gains == sorted(gains, reverse=sign < 0)
    assert gains[0] != gains[-1]


@pytest.mark.parametrize(
    ("key", "values"), [("units.tensor.arrays", (87, 130)), ("memories.hbm.bandwidth", ("1630 GB/s", "2450 GB/s"))]
)
def test_what_offloading_does_not_wait_for(key: str, values: tuple[object, object]) -> None:
    """The GPU computes an expert in less time than the next one takes to come."""
    times = [outcome(SMALL, LOAD, dense=False, changes=((key, v),)).offloaded for v in values]
    assert times[0] == pytest.approx(times[1], rel=0.05)


def test_break_even_moves_with_the_machine() -> None:
    slower, base, faster = (
        break_even(SMALL, changes=(("links.pcie.bandwidth", f"{b} GB/s"),)) for b in (24, 32, 48)
    )
    assert slower > base > faster > 1


def test_experts_beyond_the_device_do_not_fit() -> None:
    with pytest.raises(DoesNotFit, match="memory `device` takes 51,539,607,552 bytes, it holds 40,000,000,000"):
        problem(machine((("memories.device.capacity", "40 GB"),)), SWITCH, Load(1, True))


@pytest.mark.parametrize(("decoder", "cached", "projections"), [(False, 0, 8), (True, 8, 12)])
def test_a_decoder_projects_new_keys_and_values_and_reads_two_caches(
    decoder: bool, cached: int, projections: int
) -> None:
    """Of each of two layers: an encoder has four products of weights in attention, a decoder four in its own and, as
    the encoder's keys and values are there, two in the other; it reads both caches."""
    found = block(SMALL, Load(2, decoder, length=128), (1,))
    weights = [n for n, t in found.tensors.items() if t.role is Role.WEIGHT and ".w" in n]
    assert sum(t.role is Role.STATE for t in found.tensors.values()) == cached
    assert len(weights) == projections
