"""Energy times delay as a weighted sum: against all combinations, and whole networks against other objectives."""

from __future__ import annotations

from itertools import product
from math import prod
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.mappers.aims import ENERGY, LATENCY, aim_about, best_options, least_product
from accelsim.simulation import simulate

Parts = list[list[tuple[float, float]]]
OPTIONS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=4)
PARTS = st.lists(st.tuples(OPTIONS, st.integers(1, 5)), min_size=1, max_size=5)


def totals(parts: Parts, times: list[int], chosen: tuple[int, ...] | list[int]) -> tuple[float, float]:
    picked = [options[k] for options, k in zip(parts, chosen, strict=True)]
    cycles, joules = (sum(n * cost[i] for n, cost in zip(times, picked, strict=True)) for i in range(2))
    return cycles, joules


@given(PARTS)
def test_no_combination_of_options_has_a_smaller_product(given: list[tuple[list[tuple[int, int]], int]]) -> None:
    parts: Parts = [[(float(c), float(j)) for c, j in options] for options, _ in given]
    times = [n for _, n in given]
    found = prod(totals(parts, times, least_product(parts, times)))
    assert found == min(prod(totals(parts, times, k)) for k in product(*(range(len(p)) for p in parts)))


@given(PARTS)
def test_at_the_least_product_every_part_minimises_the_sum_about_the_totals(
    given: list[tuple[list[tuple[int, int]], int]],
) -> None:
    parts: Parts = [[(float(c), float(j)) for c, j in options] for options, _ in given]
    times = [n for _, n in given]
    chosen = least_product(parts, times)
    aim = aim_about(*totals(parts, times, chosen))
    for options, k in zip(parts, chosen, strict=True):
        assert aim.of(*options[k]) <= min(aim.of(*cost) for cost in options) * (1 + 1e-9)


def test_parts_of_least_product_are_not_a_whole_of_least_product() -> None:
    """A long part, and a short one that takes most of the energy: that one may take longer to save some of it."""
    parts = [[(90.0, 10.0), (100.0, 8.9)], [(10.0, 90.0), (19.0, 50.0)]]
    assert [min(range(2), key=lambda k, o=options: prod(o[k])) for options in parts] == [1, 0]  # type: ignore[misc]
    assert least_product(parts, [1, 1]) == [0, 1]
    assert prod(totals(parts, [1, 1], [0, 1])) < prod(totals(parts, [1, 1], [1, 0]))


def test_how_often_parts_run_counts() -> None:
    parts = [[(10.0, 10.0)], [(10.0, 20.0), (25.0, 10.0)]]
    assert (least_product(parts, [1, 1]), least_product(parts, [9, 1])) == ([0, 0], [0, 0])
    assert least_product(parts, [1, 9]) == [0, 0]
    slow = [[(100.0, 1.0)], [(10.0, 20.0), (25.0, 10.0)]]
    assert (least_product(slow, [1, 1]), least_product(slow, [1, 100])) == ([0, 1], [0, 0])


def test_other_objectives_are_the_least_of_each_part() -> None:
    parts = [[(3.0, 4.0), (3.0, 2.0), (9.0, 1.0)], [(5.0, 5.0), (5.0, 5.0)]]
    assert (best_options("latency", parts, [1, 1]), best_options("energy", parts, [1, 1])) == ([1, 0], [2, 0])
    assert (LATENCY.of(7.0, 3.0), ENERGY.of(7.0, 3.0)) == (7.0, 3.0)
    assert aim_about(8.0, 0.0).of(7.0, 3.0) == 7.0


# -- whole networks --------------------------------------------------------------------------------------------------


MACHINE = """
name: small
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 4 GiB, bandwidth: {bandwidth} B/cycle, read_energy: {far} pJ/B,
          write_energy: {far} pJ/B}}
  sram: {{kind: buffer, parent: dram, capacity: {kib} KiB, bandwidth: {near} B/cycle, read_energy: 1 pJ/B,
          write_energy: 1 pJ/B}}
units:
  {array}
  vector: {{kind: vector, memory: sram, lanes: 4}}
"""
SYSTOLIC = "array: {kind: systolic, memory: sram, rows: 8, cols: 8, dataflows: [os, ws], mac_energy: 0.5 pJ}"
SPATIAL = """\
array: {kind: spatial, memory: sram, dimensions: {rows: 4, columns: 4}, mac_energy: 0.5 pJ,
          spread: {rows: [filter_row, input_channel], columns: [row, output_channel]},
          registers: {weight: {capacity: 64 B}, output: {capacity: 16 B}}}"""


def machine(random: Random, array: str) -> Architecture:
    return loads_architecture(
        MACHINE.format(bandwidth=random.choice((0.5, 2, 8)), far=random.choice((5, 50)), near=random.choice((8, 32)),
                       kib=random.choice((2, 8, 32)), array=array)
    )  # fmt: skip


def network(random: Random) -> Workload:
    """Convolutions, deep and wide, a sum of two of them, and products of few and many rows."""
    b = WorkloadBuilder("network", bits=8)
    side, channels = random.choice((4, 9, 14)), random.choice((8, 24))
    x = b.input("x", (1, 4, side, side))
    x = b.relu(b.conv(x, b.weight("w0", (channels, 4, 3, 3)), pads=[1] * 4))
    y = b.conv(x, b.weight("w1", (channels, 1, 3, 3)), pads=[1] * 4, groups=channels)
    z = b.elementwise("add", x, y) if random.random() < 0.5 else y
    b.output(b.conv(z, b.weight("w2", (random.choice((4, 40)), channels, 1, 1))))
    rows = b.input("rows", (random.choice((1, 4, 30)), random.choice((16, 60))))
    b.output(b.matmul(b.matmul(rows, b.weight("w3", (b.shape(rows)[1], 40))), b.weight("w4", (40, 100))))
    return b.build()


@pytest.mark.parametrize("array", [SYSTOLIC, SPATIAL], ids=["systolic", "spatial"])
@pytest.mark.parametrize("seed", range(8))
def test_no_other_objective_has_a_smaller_product(seed: int, array: str) -> None:
    random = Random(seed)
    arch, workload = machine(random, array), network(random)
    found = {o: simulate(arch, workload, objective=o) for o in ("latency", "energy", "edp")}
    values = {o: report.latency_s * report.energy_dynamic_J for o, report in found.items()}
    assert values["edp"] <= min(values.values()) * (1 + 1e-9)
    claim = found["edp"].mapping.claim if found["edp"].mapping else None
    assert claim is not None
    assert claim.bound <= values["edp"] * (1 + 1e-9)
