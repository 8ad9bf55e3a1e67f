"""Row-stationary arrays: the general array equals the published closed rule on any layer, and the experiment moves."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, group_conv

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.components.spatial import SpatialArray
from accelsim.experiments.draco.experiment import array, cycles, mobilenet, mobilenet_v1
from accelsim.experiments.loader import data_path

LAYERS = st.tuples(
    st.sampled_from([1, 2, 3, 4, 8, 30]), st.integers(1, 40), st.integers(1, 40),
    st.sampled_from([1, 7, 14, 27, 56, 80]), st.sampled_from([1, 3, 5, 7, 11]),
)  # fmt: skip


def rule(rows: int, columns: int, groups: int, m: int, c: int, side: int, window: int) -> int:
    """Cycles of a layer of m output and c input channels per group: the rule that nn_dataflow evaluates
    (core/map_strategy.py, MapStrategyEyeriss, with DRACO's group convolutions), written anew."""
    fold_high, sets_high = ceil(window / rows), max(1, rows // window)
    fold_wide, sets_wide = ceil(side / columns), max(1, columns // side)
    stacked = min(sets_high, fold_wide)
    fold_wide, sets_high = ceil(fold_wide / stacked), sets_high // stacked
    passes = min(
        ceil(c / min(c, inputs)) * ceil(groups * m / min(m, sets_high // inputs * sets_wide))
        for inputs in range(1, sets_high + 1)
        if sets_high % inputs == 0
    )
    return passes * fold_wide * fold_high * window * side


@given(st.integers(1, 70), st.integers(1, 70), LAYERS)
@settings(SMALL, max_examples=400)
def test_the_array_equals_the_published_rule(rows: int, columns: int, layer: tuple[int, int, int, int, int]) -> None:
    groups, m, c, side, window = layer
    unit = array(rows, columns).units["pes"]
    assert isinstance(unit, SpatialArray)
    einsum = group_conv(g=groups, m=m, c=c, side=(side, side), window=(window, window))
    option = unit.spatial_options(einsum)[0]
    cost = unit.cost(einsum, option, {r: np.array([n]) for r, n in einsum.sizes.items()}, (16, 16, 16))
    assert cost.cycles[0] == rule(rows, columns, groups, m, c, side, window)


def test_larger_arrays_take_fewer_cycles() -> None:
    """±20 % of rows and columns."""
    high = [sum(mobilenet(rows, 64, 1).values()) for rows in (51, 64, 77)]
    wide = [sum(mobilenet(64, columns, 1).values()) for columns in (51, 64, 77)]
    assert high[0] > high[1] > high[2]
    assert wide[0] > wide[1] > wide[2]


@pytest.mark.parametrize(
    ("path", "value"),
    [("clock", "160 MHz"), ("clock", "240 MHz"), ("memories.glb.capacity", "800 MiB"),
     ("memories.glb.capacity", "1200 MiB"), ("memories.dram.capacity", "51 GiB"), ("units.pes.mac_bits", 19)],
)  # fmt: skip
def test_what_cycles_do_not_depend_on(path: str, value: object) -> None:
    """The clock scales seconds, not cycles; both memories hold every layer; 16 bits are one product either way."""
    spec = load_spec(data_path("accelsim.experiments.draco", "array.yaml"))
    assert cycles(spec.with_values({path: value}).build(), mobilenet_v1(4)) == dict(mobilenet(64, 64, 4))


def test_layers_that_may_be_cut_are_no_slower() -> None:
    """The mapper's choice without the experiment's constraint that every layer runs whole."""
    free = simulate(array(16, 16), mobilenet_v1(32))
    assert float(free.cycles) <= sum(mobilenet(16, 16, 32).values())
