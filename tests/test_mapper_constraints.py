"""Constraints on the tile mapper, on machines with several levels of memory: honoured or refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from support.random_plans import machine, workload

from accelsim import simulate
from accelsim.arch import Architecture
from accelsim.arch.layout import Spread
from accelsim.arch.loader import load_architecture, loads_architecture
from accelsim.components.base import ComputeUnit
from accelsim.components.pe_array import PeArray
from accelsim.components.systolic import SystolicArray
from accelsim.errors import AccelsimError, ConstraintError, DoesNotFit
from accelsim.ir import Workload, WorkloadBuilder
from accelsim.mappers.aims import ENERGY
from accelsim.mappers.tile import map_workload
from accelsim.mappers.tile.nest import TIE
from accelsim.mappers.tile.network import Network
from accelsim.mapping.constraints import Constraints, OpConstraint, loads
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import Loop, Node, Op

UNITS = ("systolic", "vector", "spatial", "serial")


def drawn(random: Random, model: Workload, arch: Architecture) -> OpConstraint:
    """A unit, a variant, an order and tiles, each or none."""
    einsum = next(model.einsums())[0]
    unit = random.choice(UNITS) if random.random() < 0.4 else None
    variants = ["os", "ws", "simd"] if unit is None else ["os", "ws", "is", "simd", "spatial"]
    ranks = list(einsum.sizes)
    tiles = {r: random.randint(1, einsum.sizes[r]) for r in random.sample(ranks, min(len(ranks), random.randint(0, 2)))}
    order = tuple(random.sample(ranks, min(len(ranks), 3))) if random.random() < 0.6 else None
    return OpConstraint(unit, random.choice(variants) if random.random() < 0.3 else None, order, tiles)


def able(arch: Architecture, model: Workload, unit: str, variant: str | None) -> bool:
    """Whether a unit can run the model's Einsum, in that variant if there is one."""
    found = arch.units[unit]
    assert isinstance(found, ComputeUnit)
    return any(variant in (None, o.variant) for o in found.spatial_options(next(model.einsums())[0]))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_what_the_user_fixes_is_kept_on_every_level(levels: int) -> None:
    kept = refused = 0
    for seed in range(60):
        random = Random(seed)
        arch, model = machine(random, levels=levels, capacity=f"{random.choice([64, 256])} B"), workload(random, 5)
        fixed = drawn(random, model, arch)
        einsum = next(model.einsums())[0]
        try:
            network = Network(model, arch, ENERGY, Constraints(((einsum.name, fixed),)))
        except ConstraintError:
            refused += 1
            assert not any(able(arch, model, unit, fixed.variant) for unit in ([fixed.unit] if fixed.unit else UNITS))
            continue
        except DoesNotFit:
            continue
        (plan,) = network.plans.values()
        assert fixed.allows(unit=plan.unit, variant=plan.variant)
        tile = dict(einsum.sizes) | dict(plan.loops)
        assert fixed.allows(tiles=tile)
        assert all(fixed.allows(order=[r for r, _ in level.loops]) for level in plan.levels)
        replay(network.mapping(), model, arch)
        kept += 1
    assert kept > 20
    assert refused > 3


@pytest.mark.parametrize("sizes", [(3, 2, 64), (32, 32, 32), (1, 300, 7)])
@pytest.mark.parametrize("name, rows", [("fusemax", 256), ("tpu_like", 64)])
def test_no_dataflow_betters_the_one_that_is_chosen(name: str, rows: int, sizes: tuple[int, int, int]) -> None:
    """Where the result of a product stays on the chip the fill of the array counts, too, before the next Einsum."""
    arch = load_architecture(name)
    array = next(unit for unit in arch.units.values() if isinstance(unit, PeArray | SystolicArray))
    arch = replace(arch, units={**arch.units, array.name: array.model_copy(update={"rows": rows})})
    m, k, n = sizes
    b = WorkloadBuilder("two", bits=8)
    b.output(b.relu(b.matmul(b.input("x", (m, k)), b.weight("w", (k, n)), name="product")))
    model = b.build()
    product = next(e.name for e, _ in model.einsums() if e.is_contraction)
    chosen = simulate(arch, model)
    for dataflow in array.dataflows:
        fixed = Constraints(((product, OpConstraint(array.name, dataflow)),))
        assert simulate(arch, model, constraints=fixed).cycles >= chosen.cycles * (1 - TIE["latency"]), dataflow


def test_a_tile_smaller_than_any_that_is_looked_at() -> None:
    """Outer levels take what is fixed, or more of it; the innermost one just that."""
    arch = machine(Random(1), levels=3)
    b = WorkloadBuilder("product", bits=8)
    b.output(b.matmul(b.input("a", (97, 50)), b.weight("b", (50, 31))))
    fixed = OpConstraint("systolic", order=("n", "m", "k"), tiles={"m": 13, "k": 50, "n": 7})
    (plan,) = Network(b.build(), arch, ENERGY, Constraints((("*", fixed),))).plans.values()
    assert dict({"m": 97, "k": 50, "n": 31} | dict(plan.loops)) == fixed.tiles


def test_a_tensor_that_cannot_stay_where_it_should_is_refused() -> None:
    arch = machine(Random(0), levels=2)
    b = WorkloadBuilder("two", bits=8)
    b.output(b.relu(b.relu(b.input("a", (8, 8)), out="x")))
    model = b.build()
    for memory in ("m1", "dram"):
        mapping = map_workload(model, arch, constraints=Constraints(tensors=(("x", memory),)))
        assert {s.memory for s in mapping.stays if s.tensor == "x"} == {memory}
    with pytest.raises(ConstraintError, match="x cannot be kept in m2; this mapper puts it in dram"):
        map_workload(model, arch, constraints=Constraints(tensors=(("x", "m2"),)))


# -- spreads ---------------------------------------------------------------------------------------------------------

ARRAY = """
name: array
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 8 GB/s, standard: DDR4}
  sram: {kind: buffer, parent: dram, capacity: 4 KiB, bandwidth: unlimited}
units:
  grid:
    kind: spatial
    memory: sram
    dimensions: {rows: 4, cols: 3}
    spread: {cols: [output_channel, column]}
    registers: {weight: {capacity: 64 B}, output: {capacity: 64 B}}
  vector: {kind: vector, memory: sram, lanes: 4}
technology: 45 nm
"""


def product(m: int = 8, n: int = 6, k: int = 8) -> Workload:
    b = WorkloadBuilder("product", bits=8)
    b.output(b.matmul(b.input("a", (m, k)), b.weight("b", (k, n))))
    return b.build()


def spread_of(constraint: str, model: Workload, objective: str = "latency") -> tuple[Spread, ...]:
    report = simulate(
        loads_architecture(ARRAY), model, objective=objective, constraints=loads(f"operators: {{'*': {constraint}}}")
    )
    assert report.mapping is not None
    node: Node = report.mapping.root
    while not isinstance(node, Op):
        node = node.body if isinstance(node, Loop) else node.children[0]  # type: ignore[union-attr]
    assert node.layout is not None
    return node.layout.spreads


@pytest.mark.parametrize(
    "constraint, along",
    [
        ("{spread: {rows: [k], cols: [n]}}", {"rows": {"k"}, "cols": {"n"}}),
        ("{spread: {rows: [m], cols: [n]}}", {"rows": {"m"}, "cols": {"n"}}),
        ("{spread: {rows: [n], cols: [m]}}", {"rows": {"n"}, "cols": {"m"}}),
        ("{spread: {rows: [k, m]}}", {"rows": {"k", "m"}}),
        ("{spread: {rows: [k], cols: []}}", {"rows": {"k"}, "cols": set()}),
        ("{spread: {rows: [m], cols: [m]}, unit: grid, tiles: {k: 4}}", {"rows": {"m"}, "cols": {"m"}}),
    ],
)
@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_ranks_lie_where_they_are_told_to(constraint: str, along: dict[str, set[str]], objective: str) -> None:
    found = spread_of(constraint, product(m=16), objective)
    for dimension, ranks in along.items():
        assert {s.rank for s in found if s.dimension == dimension} == ranks


def test_a_rank_of_one_point_lies_anywhere() -> None:
    found = spread_of("{spread: {rows: [k, m], cols: [n]}}", product(m=1))
    assert {(s.rank, s.dimension) for s in found} == {("k", "rows"), ("n", "cols")}


@pytest.mark.parametrize(
    "constraint, message",
    [
        (
            "{spread: {cols: [k]}}",
            r"with k along cols; along rows of grid: any rank, cols of grid: output_channel or column",
        ),
        ("{spread: {rows: [m, n, k]}}", r"with m and n and k along rows; .* two ranks at most"),
        ("{spread: {depth: [k]}}", r"with k along depth; along rows of grid"),
        ("{spread: {rows: [k]}, unit: vector}", r"can run matmul \(MatMul\) on vector with k along rows"),
        ("{spread: {rows: [z]}}", r"matmul has no rank 'z'|no operator that it matches has a rank 'z'"),
    ],
)
def test_a_spread_that_cannot_be_is_refused(constraint: str, message: str) -> None:
    with pytest.raises(AccelsimError, match=message):
        spread_of(constraint, product())


def test_machines_without_spatial_arrays_refuse_spreads() -> None:
    text = ARRAY[: ARRAY.index("  grid:")] + ARRAY[ARRAY.index("  vector:") :]
    fixed = Constraints((("*", OpConstraint(spread={"rows": ("k",)})),))
    with pytest.raises(
        ConstraintError, match=r"no unit of array can run .* with k along rows; it has no spatial array"
    ):
        map_workload(product(), loads_architecture(text), constraints=fixed)
