"""Steps of spatial arrays where fills, drains, networks and ports hold them up, in both forms of the cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, gemm, group_conv, machine
from support.spatial_cases import Case, cases, check_compiled

from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout, Spread
from accelsim.components.base import Cost
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_layout import FILLINGS, Filling, RegisterFile
from accelsim.errors import DoesNotFit


def matmul_unit(network: Mapping[Operand, float], *, double: bool = False, **ports: float) -> SpatialArray:
    """Two rows of elements with registers for the weight, in a machine of 1 GHz."""
    unit = SpatialArray(
        memory="s", dimensions={"rows": 2}, network=network, mac_bits=16, latency=3,
        registers={"weight": RegisterFile(capacity=1024, double_buffered=double)},
    )  # fmt: skip
    fed = machine(unit, **(ports or {"bandwidth": float("inf")}))
    assert isinstance(fed, SpatialArray)
    return fed


def matmul_cost(unit: SpatialArray, loops: tuple[tuple[str, int], ...], hold: int) -> Cost:
    """8 bits; m = 6 rows of inputs by k = 4 by n = 8, of which two lie side by side."""
    einsum = gemm(1, 6, 8, 4)
    option = unit.option(einsum, VARIANT, Layout((Spread("n", "rows", 2),), loops, {"weight": hold}))
    return unit.cost(einsum, option, {r: np.array([n]) for r, n in einsum.sizes.items()}, (8, 8, 8))


@given(
    cases(), st.lists(st.sampled_from([None, 0.3e9, 1e9, 5e9]), min_size=4, max_size=4), st.booleans(),
    st.lists(st.sampled_from(FILLINGS), min_size=3, max_size=3),
)  # fmt: skip
@settings(SMALL, max_examples=400)
def test_mappers_take_the_same_times(
    case: Case, rates: list[float | None], double: bool, fillings: list[Filling]
) -> None:
    network = {o: rate for o, rate in zip(OPERANDS, rates, strict=False) if rate is not None}
    files = {
        o: case.unit.registers[o].model_copy(update={"double_buffered": double, "filling": filling})
        for o, filling in zip(OPERANDS, fillings, strict=True)
    }
    unit = case.unit.model_copy(update={"network": network, "registers": files})
    fed = machine(unit, bandwidth=rates[3] or float("inf"))
    assert isinstance(fed, SpatialArray)
    here = Case(fed, case.einsum, case.layout, case.extents)
    cost = here.cost()
    check_compiled(here, cost)
    assert cost.cycles[0] >= case.cost().cycles[0]


def test_fills_hide_behind_the_last_sweep() -> None:
    """Weights in four pieces of 8 bytes, each used in 6 · 4 steps: 6 sweeps of 4 steps.

    At one byte per cycle a piece takes 8 cycles; 4 hide behind the last sweep, 4 stop the array, and so does the first
    piece. A loop over k inside the hold and outside of m makes one sweep of 24 steps of it.
    """
    slow = matmul_unit({"weight": 1e9})
    assert matmul_cost(slow, (("n", 2),), 1).cycles[0] == 96 + 8 + 3 * 4
    assert matmul_cost(slow, (("n", 2), ("k", 1)), 1).cycles[0] == 96 + 8
    assert matmul_cost(matmul_unit({"weight": 2e9}), (("n", 2),), 1).cycles[0] == 96 + 4
    assert matmul_cost(matmul_unit({}), (("n", 2),), 1).cycles[0] == 96


def test_double_buffered_fills_hide_behind_the_whole_visit() -> None:
    cost = matmul_cost(matmul_unit({"weight": 1e9}, double=True), (("n", 2),), 1)
    assert (cost.cycles[0], cost.latency[0]) == (96, 3 + 8)
    cost = matmul_cost(matmul_unit({"weight": 0.25e9}, double=True), (("n", 2),), 1)
    assert (cost.cycles[0], cost.latency[0]) == (128, 3 + 32)


def test_results_drain_at_the_end_of_a_tile_as_within() -> None:
    """Sums of four steps, two side by side: two bytes, of which one leaves while the last step runs."""
    unit = SpatialArray(
        memory="s", dimensions={"rows": 2}, network={"output": 1e9}, mac_bits=16, latency=3,
        registers={"output": RegisterFile(capacity=4)},
    )  # fmt: skip
    fed = machine(unit, bandwidth=float("inf"))
    layout = Layout((Spread("n", "rows", 2),), (("m", 1), ("n", 2)), {"output": 2})
    einsum = gemm(1, 6, 8, 4)
    option = fed.option(einsum, VARIANT, layout)
    for rows in (1, 2, 3, 6):
        extents = {r: np.array([n]) for r, n in {**einsum.sizes, "m": rows}.items()}
        assert fed.cost(einsum, option, extents, (8, 8, 8)).cycles[0] == rows * 4 * (4 + 2 - 1)


def filled(filling: Filling, rate: float) -> int:
    """Cycles of `matmul_cost` with four pieces of weights that pass at so many bytes per cycle."""
    unit = matmul_unit({"weight": rate * 1e9})
    file = unit.registers["weight"].model_copy(update={"filling": filling})
    changed = unit.model_copy(update={"registers": {"weight": file}})
    return int(matmul_cost(changed, (("n", 2),), 1).cycles[0])


def test_fills_may_stop_the_array_or_queue() -> None:
    """Four pieces of 8 bytes, each used in 24 steps, 6 sweeps of 4."""
    assert filled("last_use", 1) == 96 + 8 + 3 * (8 - 4)
    assert filled("ahead", 1) == 96 + 8
    assert filled("stop", 1) == 96 + 4 * 8
    assert filled("ahead", 0.25) == 96 + 32 + 3 * (32 - 24)


@pytest.mark.parametrize(("filling", "waits"), [("ahead", 10 + 2 * (10 - 5)), ("stop", 21 * 4)])
def test_a_window_that_starts_anew_is_filled_whole(filling: Filling, waits: int) -> None:
    """Windows of 5 words in 7 places of a row of 11, one row after the other for 3 channels: 2 cycles for a word, which
    hide behind the 5 steps of a place if they may. Without queues every fill counts as the mean, 33 words in 21."""
    einsum = group_conv(c=3, side=(1, 7), window=(1, 5))
    file = RegisterFile(capacity=16, sliding=True, filling=filling)
    unit = SpatialArray(memory="s", dimensions={"rows": 1}, network={"input": 0.5e9}, registers={"input": file})
    fed = machine(unit, bandwidth=float("inf"))
    assert isinstance(fed, SpatialArray)
    option = fed.option(einsum, VARIANT, Layout((), (("c", 1), ("q", 1)), {"input": 2}))
    cost = fed.cost(einsum, option, {r: np.array([n]) for r, n in einsum.sizes.items()}, (8, 8, 8))
    assert cost.reads[0][0] == 33
    assert cost.cycles[0] == 3 * 7 * 5 + waits


def test_networks_and_ports_bound_the_steps() -> None:
    """Inputs pass in every step, 96 bytes in all; of outputs 4 bytes are written and, but for the first time, read."""
    assert matmul_cost(matmul_unit({"input": 0.5e9}), (), 0).cycles[0] == 2 * 96
    outputs = 4 * (2 * 96 - 48) + 48
    assert matmul_cost(matmul_unit({"output": 2e9}), (), 0).cycles[0] == outputs / 2
    fed = matmul_cost(matmul_unit({}, read_bandwidth=1e9, write_bandwidth=float("inf")), (), 0)
    assert fed.reads[0][0] + fed.reads[1][0] + fed.partial_reads[0] == fed.cycles[0] == 96 + 32 + 4 * (2 * 96 - 48)


def test_wide_operands_take_several_steps() -> None:
    unit = SpatialArray(memory="s", dimensions={"rows": 2}, mac_bits=8)
    einsum, layout = gemm(1, 6, 8, 4), Layout((Spread("n", "rows", 2),))
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    cost = unit.cost(einsum, unit.option(einsum, VARIANT, layout), extents, (16, 12, 8))
    assert cost.cycles[0] == 4 * 96
    assert cost.actions["mac"][0] == 4 * 192
    assert cost.reads[0][0] == 2 * 96


# What is refused


def test_registers_that_are_too_small() -> None:
    unit = SpatialArray(name="array", memory="s", dimensions={"rows": 2},
                        registers={"weight": RegisterFile(capacity=15)})  # fmt: skip
    with pytest.raises(DoesNotFit, match="array: registers of weight: gemm needs 16 bytes in one and it has 15, 1 too"):
        matmul_cost(unit, (), 0)
    assert matmul_cost(unit, (("k", 2),), 1).actions["weight_write"][0] == 32
