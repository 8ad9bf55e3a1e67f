"""The search for layouts against a walk over all of its space, every layout costed by the array itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, permutations, product
from math import inf, isclose
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, gemm, group_conv

from accelsim.arch import Architecture
from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout
from accelsim.components.base import SpatialOption
from accelsim.components.buffer import Buffer
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_kernel import C_CYCLES, C_NEEDED
from accelsim.components.spatial_layout import FILLINGS, Filling, RegisterFile
from accelsim.errors import DoesNotFit
from accelsim.ir import Einsum
from accelsim.ir.roles import RankRole
from accelsim.mappers.aims import AIMS, Aim
from accelsim.mappers.tile import layouts as searched_by
from accelsim.mappers.tile.layout_kernel import B_CYCLES, B_JOULES, Best
from accelsim.mappers.tile.layouts import LayoutLeaf
from accelsim.mappers.tile.leaf import Leaf
from accelsim.mappers.tile.nest import TIE, Nest, Shortfall

BITS = (8, 8, 16)

EDP = Aim("edp", 1.0, 1e11)
"""A cycle of 1 GHz counts as much as ten picojoules."""


class Cost(NamedTuple):
    cycles: int
    joules: float


def leaf_of(unit: SpatialArray, einsum: Einsum, objective: str = "latency", **ports: float) -> LayoutLeaf:
    """A search in a machine of 1 GHz, the array fed by a buffer with these ports (bytes per second)."""
    memory = Buffer(capacity=2**20, read_energy=2e-12, write_energy=3e-12, **(ports or {"bandwidth": inf}))
    arch = Architecture("m", 1e9, {"s": memory}, {"u": unit})
    bound = arch.units["u"]
    assert isinstance(bound, SpatialArray)
    leaf = LayoutLeaf(einsum, bound, SpatialOption(VARIANT, {}), BITS, arch)
    leaf.aim = AIMS.get(objective, EDP)
    return leaf


def grouped(einsum: Einsum, factor: Mapping[str, int]) -> dict[tuple[bool, ...], list[str]]:
    """Ranks that take several steps, by the operands that they matter to."""
    accesses = (einsum.inputs[0], einsum.inputs[1], einsum.output)
    groups: dict[tuple[bool, ...], list[str]] = {}
    for r, n in einsum.sizes.items():
        if n > factor[r]:
            groups.setdefault(tuple(r in a.ranks for a in accesses), []).append(r)
    return groups


def can_hold(spread: Layout, shared: tuple[str, ...]) -> bool:
    """Whether registers that elements share along some dimensions can hold an operand under a spread."""
    sharing = {s.rank for s in spread.spreads if s.dimension in shared}
    return not sharing & {s.rank for s in spread.spreads if s.dimension not in shared}


def space(leaf: LayoutLeaf) -> Iterator[Layout]:
    """Every layout that the search may choose for the whole Einsum."""
    sizes = leaf.einsum.sizes
    for option in leaf.unit.spatial_options(leaf.einsum):
        assert option.layout is not None
        spread = option.layout
        factor = {r: spread.factor(r) for r in sizes}
        groups = grouped(leaf.einsum, factor)
        lists = [searched_by.pieces_of(ranks, sizes, factor) for ranks in groups.values()]
        for chosen in product(*lists):
            tile = {r: t for piece in chosen for r, t in piece.items()}
            cut = [g for g, ranks in groups.items() if any(tile[r] < sizes[r] for r in ranks)]
            inside = {g: [(r, factor[r]) for r in ranks if tile[r] > factor[r]] for g, ranks in groups.items()}
            insides = {tuple(loop for g in order for loop in inside[g]) for order in permutations(groups)} | {()}
            for order in permutations(cut):
                ends = [0]
                loops: list[tuple[str, int]] = []
                for g in order:
                    loops += [(r, tile[r]) for r in groups[g] if tile[r] < sizes[r]]
                    ends.append(len(loops))
                places = {
                    o: [0, *(end for end, g in zip(ends[1:], order, strict=True) if g[i])]
                    for i, o in enumerate(OPERANDS)
                    if o in leaf.unit.registers and can_hold(spread, leaf.unit.registers[o].shared)
                }
                for depths in product(*places.values()):
                    for steps in sorted(insides):
                        yield Layout(spread.spreads, (*loops, *steps), dict(zip(places, depths, strict=True)))


def stated(leaf: LayoutLeaf, layout: Layout) -> Cost | None:
    """What the array says; None if its registers are too small."""
    one = {r: np.array([n]) for r, n in leaf.einsum.sizes.items()}
    try:
        work = Leaf.run(leaf, leaf.unit.option(leaf.einsum, VARIANT, layout), one, np.ones(1, np.int64))
    except DoesNotFit:
        return None
    return Cost(int(work.cycles[0]), float(work.joules[0]))


def compiled(leaf: LayoutLeaf, layout: Layout) -> Cost | None:
    """The same by compiled code, which takes a fiftieth of the time."""
    words = leaf.costs.cost(leaf.costs.body(layout), leaf.einsum.sizes)
    for needed, o in zip(words[C_NEEDED : C_NEEDED + 3], OPERANDS, strict=True):
        if o in layout.holds and needed > leaf.unit.registers[o].capacity:
            return None
    return Cost(int(words[C_CYCLES]), float(words @ leaf.word_prices))


def same(a: Cost | None, b: Cost | None) -> bool:
    return a == b or (a is not None and b is not None and a.cycles == b.cycles and isclose(a.joules, b.joules))


def check(leaf: LayoutLeaf, layouts: Sequence[Layout], *, all_pieces: bool = True) -> None:
    """The least objective, and what decides among those near it."""
    searched: list[Best] = []

    def remembered(groups: int, of: Callable[[int], Best] = Best.of) -> Best:
        searched.append(of(groups))
        return searched[-1]

    with patch.object(Best, "of", side_effect=remembered):
        found = leaf.settle(leaf.einsum.sizes, 1, {})
    costs = [c for layout in layouts if (c := compiled(leaf, layout)) is not None]
    for layout in layouts[:: max(1, len(layouts) // 20)]:
        assert same(compiled(leaf, layout), stated(leaf, layout))
    if not costs:
        assert isinstance(found, Shortfall)
        assert found.needed > found.capacity or not all_pieces
        return
    assert isinstance(found, Nest)
    assert found.layout is not None
    chosen = stated(leaf, found.layout)
    assert chosen is not None
    (best,) = searched
    assert same(chosen, Cost(int(best.value[B_CYCLES]), float(best.value[B_JOULES])))

    def objective(cost: Cost) -> float:
        return leaf.aim.of(cost.cycles * leaf.ratio, cost.joules)

    limit = min(map(objective, costs)) * (1 + TIE[leaf.aim.objective]) * (1 + 1e-9)
    near = [c for c in costs if objective(c) <= limit]
    assert objective(chosen) <= limit
    if leaf.aim.energy_alone:
        least = min(c.cycles for c in near)
        assert chosen.cycles == least
        assert isclose(chosen.joules, min(c.joules for c in near if c.cycles == least), rel_tol=1e-8)
    else:
        fewest = min(c.joules for c in near)
        assert isclose(chosen.joules, fewest, rel_tol=1e-8)
        assert chosen.cycles == min(c.cycles for c in near if c.joules <= fewest * (1 + 1e-9))


SIZE = st.integers(1, 5)
EINSUMS = st.one_of(
    st.builds(gemm, st.integers(1, 2), SIZE, SIZE, SIZE),
    st.builds(group_conv, m=SIZE, c=st.integers(1, 3), side=st.tuples(SIZE, st.just(1)),
              window=st.tuples(st.integers(1, 3), st.just(1)), stride=st.integers(1, 2)),
    st.builds(group_conv, g=st.integers(1, 3), m=st.integers(1, 4), side=st.tuples(st.just(1), SIZE),
              window=st.tuples(st.just(1), st.integers(1, 3))),
    st.builds(group_conv, m=st.integers(1, 3), side=st.tuples(*[st.integers(1, 3)] * 2),
              window=st.tuples(*[st.integers(1, 2)] * 2)),
)  # fmt: skip
ENERGY = st.sampled_from([0.0, 1e-13, 1e-12, 4e-12])
RATE = st.sampled_from([0.5e9, 1e9, 4e9, inf])


@st.composite
def arrays(draw: st.DrawFn) -> SpatialArray:
    """Arrays of which registers of all kinds are too small, slow to fill, shared and not."""
    dimensions = {d: draw(st.integers(1, 3)) for d in ("rows", "columns")[: draw(st.integers(1, 2))]}
    registers: dict[Operand, RegisterFile] = {}
    for operand in OPERANDS:
        if draw(st.integers(0, 4)):
            registers[operand] = RegisterFile(
                capacity=draw(st.integers(4, 40)), read_energy=draw(ENERGY), write_energy=draw(ENERGY),
                shared=tuple(d for d in dimensions if draw(st.booleans())),
                double_buffered=draw(st.booleans()), sliding=draw(st.booleans()),
                filling=draw(st.sampled_from(FILLINGS)),
            )  # fmt: skip
    return SpatialArray(
        name="u", memory="s", dimensions=dimensions, registers=registers, mac_energy=1e-12,
        transfer_energy=draw(ENERGY),
        network={o: rate for o in OPERANDS if (rate := draw(RATE)) < inf},
        fill=draw(st.sampled_from([{}, {"rows": ("filter_row",)}, {"rows": ("column", "output_channel")}])),
        spread={"rows": draw(st.sampled_from([("output_channel",), ("input_channel", "column"), ("group", "column")]))},
        through=draw(st.sampled_from([{}, {"output_channel": "group"}, {"column": "output_channel"}])),
    )  # fmt: skip


def of_some_size(leaf: LayoutLeaf, limit: int) -> list[Layout]:
    """All layouts to choose from, if they are not too many."""
    layouts = list(islice(space(leaf), limit))
    assume(len(layouts) < limit)
    return layouts


def check_bound(leaf: LayoutLeaf, layouts: Sequence[Layout]) -> None:
    """No layout takes fewer cycles or joules than the bound says."""
    one = {r: np.array([n]) for r, n in leaf.einsum.sizes.items()}
    bound = leaf.bound(one, np.ones(1, np.int64), {})
    costs = [c for layout in layouts if (c := compiled(leaf, layout)) is not None]
    assert all(bound.cycles[0] <= c.cycles for c in costs)
    assert all(bound.joules[0] <= c.joules for c in costs)


def of_tiles(leaf: LayoutLeaf) -> list[tuple[float, float]]:
    """Joules that the bound says, and of the best layout, of tiles with every rank whole or cut in half."""
    found = []
    for tile in product(*({n, -(-n // 2)} for n in leaf.einsum.sizes.values())):
        extents = dict(zip(leaf.einsum.sizes, tile, strict=True))
        nest = leaf.settle(extents, 1, {})
        if not isinstance(nest, Shortfall):
            arrays, one = {r: np.array([n]) for r, n in extents.items()}, np.ones(1, np.int64)
            bound, work = leaf.bound(arrays, one, {}), leaf.work(nest, arrays, one, {})
            found.append((float(bound.joules[0]), float(work.joules[0])))
    return found


@contextmanager
def few_pieces(number: int | None) -> Iterator[None]:
    """Have only one piece of every group to choose from, so that holds and orders of poor ones are seen too."""
    every = searched_by.pieces_of

    def one(ranks: Sequence[str], sizes: Mapping[str, int], factor: Mapping[str, int]) -> list[dict[str, int]]:
        pieces = every(ranks, sizes, factor)
        return pieces if number is None else [pieces[number % len(pieces)]]

    with patch.object(searched_by, "pieces_of", one):
        yield


PIECE = st.none() | st.integers(0, 7)
OBJECTIVE = st.sampled_from(["latency", "energy", "edp"])


@given(EINSUMS, arrays(), OBJECTIVE, RATE, RATE, st.sampled_from([0.0, 0.01, 0.3]), PIECE)
@settings(SMALL, max_examples=60, suppress_health_check=list(HealthCheck))
def test_the_best_layout_of_the_space_is_found(
    einsum: Einsum, unit: SpatialArray, objective: str, read: float, write: float, tie: float, piece: int | None
) -> None:
    leaf = leaf_of(unit, einsum, objective, read_bandwidth=read, write_bandwidth=write)
    with patch.dict(TIE, {objective: tie}), few_pieces(piece):
        layouts = of_some_size(leaf, 4000)
        check(leaf, layouts, all_pieces=piece is None)
    check_bound(leaf, layouts)


@given(EINSUMS, arrays(), RATE)
@settings(SMALL, max_examples=40, suppress_health_check=list(HealthCheck))
def test_no_tile_takes_less_energy_than_its_bound(einsum: Einsum, unit: SpatialArray, rate: float) -> None:
    assert all(bound <= joules for bound, joules in of_tiles(leaf_of(unit, einsum, "energy", bandwidth=rate)))


@given(
    st.builds(group_conv, m=st.integers(1, 2), c=st.integers(1, 2), side=st.tuples(st.integers(1, 6), st.just(1)),
              window=st.tuples(st.integers(2, 4), st.just(1)), stride=st.integers(1, 2), dilation=st.integers(1, 2)),
    st.integers(1, 3), st.sampled_from([("column",), ("filter_column",), ("input_channel",)]), st.integers(2, 12),
    st.sampled_from(FILLINGS), OBJECTIVE, RATE, PIECE,
)  # fmt: skip
@settings(SMALL, max_examples=60, suppress_health_check=list(HealthCheck))
def test_windows_that_slide_bring_new_words_alone(
    einsum: Einsum, rows: int, roles: tuple[RankRole, ...], capacity: int, filling: Filling, objective: str,
    rate: float, piece: int | None,
) -> None:  # fmt: skip
    register = RegisterFile(capacity=capacity, sliding=True, filling=filling, read_energy=0.0, write_energy=1e-12)
    unit = SpatialArray(
        name="u", memory="s", dimensions={"rows": rows}, spread={"rows": roles}, mac_energy=1e-12, transfer_energy=0.0,
        registers={"input": register},
    )  # fmt: skip
    leaf = leaf_of(unit, einsum, objective, bandwidth=rate)
    with few_pieces(piece):
        layouts = of_some_size(leaf, 4000)
        check(leaf, layouts, all_pieces=piece is None)
    check_bound(leaf, layouts)


def test_registers_that_only_some_elements_of_a_rank_share_hold_nothing() -> None:
    """Two by two elements with a rank along both dimensions: results stream, and the array takes the layout."""
    output = RegisterFile(capacity=64, shared=("columns",), read_energy=0.0, write_energy=0.0)
    unit = SpatialArray(
        name="u", memory="s", dimensions={"rows": 2, "columns": 2}, mac_energy=1e-12, transfer_energy=0.0,
        spread={"rows": ("output_channel",), "columns": ("output_channel",)}, registers={"output": output},
    )  # fmt: skip
    leaf = leaf_of(unit, gemm(1, 1, 4, 3))
    check(leaf, list(space(leaf)))
    found = leaf.settle(leaf.einsum.sizes, 1, {})
    assert isinstance(found, Nest)
    assert found.layout is not None
    assert (found.layout.factor("n"), found.layout.holds) == (4, {})


@given(st.integers(2, 4), st.integers(2, 5), st.integers(1, 3), arrays(), OBJECTIVE, RATE)
@settings(SMALL, max_examples=30, suppress_health_check=list(HealthCheck))
def test_spreads_that_run_on_stop_at_loops(
    g: int, n: int, k: int, unit: SpatialArray, objective: str, read: float
) -> None:
    roles = {"rows": ("output_channel", "input_channel")}
    rows = {"dimensions": {"rows": 3}, "spread": roles, "through": {"output_channel": "group"}}
    own = {o: r.model_copy(update={"shared": ()}) for o, r in unit.registers.items()}
    leaf = leaf_of(unit.model_copy(update={**rows, "registers": own}), gemm(g, 1, n, k), objective, bandwidth=read)
    spreads = [o.layout for o in leaf.unit.spatial_options(leaf.einsum)]
    assert any(spread.joined for spread in spreads if spread is not None) == (n % min(n, 3) > 0)
    layouts = of_some_size(leaf, 4000)
    check(leaf, layouts)
    check_bound(leaf, layouts)


def test_a_spread_that_runs_on_needs_fewer_registers() -> None:
    """Twelve weights side by side three at a time: four in each register, where three rows of four would need six."""
    weight = RegisterFile(capacity=4, read_energy=0.0, write_energy=0.0)
    unit = SpatialArray(
        name="u", memory="s", dimensions={"rows": 3}, spread={"rows": ("output_channel",)}, mac_energy=1e-12,
        through={"output_channel": "group"}, transfer_energy=0.0, registers={"weight": weight},
    )  # fmt: skip
    leaf = leaf_of(unit, gemm(3, 2, 4, 1), "energy")
    check(leaf, list(space(leaf)))
    found = leaf.settle(leaf.einsum.sizes, 1, {})
    assert isinstance(found, Nest)
    assert found.layout is not None
    assert (found.layout.joined, found.layout.holds) == ({"n": "g"}, {"weight": 0})


def row(dimension: int, role: RankRole, capacity: Sequence[int], network: Sequence[float]) -> SpatialArray:
    """A row of elements with registers of their own, single buffered (bytes; 0: none), and slow networks (bytes per
    nanosecond), both by operand."""
    return SpatialArray(
        name="u", memory="s", dimensions={"rows": dimension}, spread={"rows": (role,)}, accumulator_bits=16,
        mac_energy=1e-12, transfer_energy=0.0,
        network={o: rate * 1e9 for o, rate in zip(OPERANDS, network, strict=True)},
        registers={o: RegisterFile(capacity=n, read_energy=0.0, write_energy=0.0)
                   for o, n in zip(OPERANDS, capacity, strict=True) if n},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("einsum", "unit", "read", "write", "cycles"),
    [
        (gemm(1, 3, 2, 4), row(3, "input_channel", (32, 32, 4), (1, 0.5, 2)), 4, 8, 23),
        (group_conv(m=4, side=(5, 1), window=(3, 1)), row(1, "output_channel", (4, 12, 12), (1, 0.5, 2)), 2, 8, 66),
        (group_conv(m=5, c=2, side=(5, 1), window=(2, 1)), row(1, "input_channel", (2, 0, 32), (0.5, 2, 1)), 4, 8, 104),
    ],
)  # fmt: skip
def test_fills_overlap_with_more_in_the_right_order(
    einsum: Einsum, unit: SpatialArray, read: float, write: float, cycles: int
) -> None:
    """Of the same holds some orders of the loops outside (the first two), or of the steps inside, wait for less."""
    leaf = leaf_of(unit, einsum, "latency", read_bandwidth=read * 1e9, write_bandwidth=write * 1e9)
    layouts = list(space(leaf))
    check(leaf, layouts)
    assert min(c.cycles for layout in layouts if (c := compiled(leaf, layout)) is not None) == cycles
