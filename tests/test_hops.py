"""Hops of words through a spatial array, against a walk over the links of every word's tree."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL, gemm, machine

import accelsim
from accelsim.arch.component import Operand
from accelsim.arch.layout import Layout, Spread
from accelsim.arch.loader import load_spec
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_kernel import C_HOPS, TileCosts
from accelsim.components.spatial_layout import RegisterFile
from accelsim.ir import Einsum, WorkloadBuilder

FACTORS = st.sampled_from([1, 2, 3, 4])


def array(shared: tuple[str, ...] = (), hop_energy: float | None = 1e-12) -> SpatialArray:
    unit = machine(SpatialArray(
        memory="s", dimensions={"x": 16, "y": 16}, hop_energy=hop_energy,
        registers={"input": RegisterFile(capacity=2**20, shared=shared)}), bandwidth=1e15)  # fmt: skip
    assert isinstance(unit, SpatialArray)
    return unit


def links(sizes: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, int]:
    """Links that carry words, and copies that arrive: along x and then y, so many words, each for so many neighbours.

    A word leaves the line along x at every column that wants it, and ends at the last element of the column that does.
    """
    (c1, b1), (c2, b2) = sizes
    used: set[tuple[object, ...]] = set()
    copies = 0
    for word in product(range(c1), range(c2)):
        for x, y in product(range(c1 * b1), range(c2 * b2)):
            if (x // b1, y // b2) == word:
                copies += 1
                used |= {(word, "x", i) for i in range(x + 1)} | {(word, "y", x, i) for i in range(y + 1)}
    return len(used), copies


@SMALL
@given(FACTORS, FACTORS, FACTORS, FACTORS)
def test_hops_are_the_links_of_a_multicast_tree(mx: int, nx: int, my: int, ny: int) -> None:
    """A word of the input (m, k) is wanted along n; of the weight (k, n), along m; the output is its own everywhere."""
    layout = Layout((Spread("m", "x", mx), Spread("n", "x", nx), Spread("m", "y", my), Spread("n", "y", ny)))
    einsum = gemm(1, 16, 16, 3)
    words: dict[Operand, tuple[tuple[int, int], tuple[int, int]]] = {
        "input": ((mx, nx), (my, ny)), "weight": ((nx, mx), (ny, my)), "output": ((mx * nx, 1), (my * ny, 1))
    }  # fmt: skip
    for operand, sizes in words.items():
        used, copies = links(sizes)
        assert array().hops(einsum, layout, operand) * copies == used


def test_shared_registers_are_reached_once() -> None:
    layout = Layout((Spread("n", "x", 4), Spread("m", "y", 8)), (), {"input": 0})
    assert array(("x",)).hops(gemm(1, 8, 4, 2), layout, "input") == (8 + 1) / 2
    assert array().hops(gemm(1, 8, 4, 2), layout, "input") == 1 + (8 + 1) / 2


def sized(einsum: Einsum) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return {r: np.array([n]) for r, n in einsum.sizes.items()}


@SMALL
@given(FACTORS, FACTORS, st.integers(1, 5), st.booleans())
def test_compiled_hops_are_the_array_s_own(m: int, n: int, k: int, held: bool) -> None:
    unit, einsum = array(), gemm(1, m * 3, n * 2, k)
    layout = Layout((Spread("m", "x", m), Spread("n", "y", n)), (), {"input": 0} if held else {})
    cost = unit.cost(einsum, unit.option(einsum, VARIANT, layout), sized(einsum), (8, 8, 8))
    costs = TileCosts(unit, einsum, (8, 8, 8))
    assert costs.cost(costs.body(layout), einsum.sizes)[C_HOPS] == cost.actions["hop"][0] > 0


def test_no_hops_unless_they_have_an_energy() -> None:
    einsum, layout = gemm(1, 8, 8, 8), Layout((Spread("m", "x", 4),))
    unit = array(hop_energy=None)
    assert "hop" not in unit.cost(einsum, unit.option(einsum, VARIANT, layout), sized(einsum), (8, 8, 8)).actions


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_energy_of_a_run(objective: str) -> None:
    b = WorkloadBuilder("conv", bits=16)
    b.output(b.conv(b.input("x", (1, 8, 16, 16)), b.weight("w", (16, 8, 3, 3)), pads=[1, 1, 1, 1]))
    model, spec = b.build(), load_spec("eyeriss").with_values({"units.vector.rates.mac": 0})
    report = accelsim.simulate(spec.with_values({"units.pes.hop_energy": "1 pJ/B"}).build(), model, objective=objective)
    hops = [r for r in report.energy if r.action == "hop"]
    delivered = sum(r.count for r in report.energy if r.component == "pes" and r.action == "transfer")
    assert sum(r.count for r in hops) >= delivered > 0
    assert sum(r.energy_J for r in hops) == pytest.approx(sum(r.count for r in hops) * 1e-12)
    plain = accelsim.simulate(spec.build(), model, objective=objective)
    assert plain.energy_J < report.energy_J
